//! Which services a server has, which sockets are theirs, and what a shard is told when that changes.
//!
//! Nothing is served here. A change is bound whole before a shard hears of it, so one that fails leaves
//! everything as it was.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;

use super::binding::{bind_all, bind_all_datagrams};
use super::{BindError, BindErrors, Bound};
use crate::config::Listen;
use crate::limits::Census;
use crate::metrics::Metrics;
use crate::parts::ServiceParts;
use crate::peer_rates::PeerRates;
use crate::service::{Listener, Service};
use crate::shard::Socket;

/// A service's number. None is given to two services.
pub(crate) type Number = u32;

/// What a shard is to take in and to give up.
pub(crate) struct Change {
    pub(crate) mountings: Vec<Mounting>,
    pub(crate) leaving: Vec<Number>,
    /// How long the sessions of those that leave may take to finish.
    pub(crate) within: Option<Duration>,
}

/// A service as one shard takes it in.
pub(crate) struct Mounting {
    pub(crate) number: Number,
    pub(crate) service: Arc<dyn Service>,
    pub(crate) parts: ServiceParts,
    pub(crate) census: Arc<Census>,
    pub(crate) rates: Option<Arc<PeerRates>>,
    pub(crate) metrics: Metrics,
    pub(crate) sockets: Vec<Entrance<Socket>>,
    pub(crate) datagram_sockets: Vec<Entrance<UdpSocket>>,
}

/// One of a service's listeners on a shard.
pub(crate) struct Entrance<S> {
    pub(crate) number: Number,
    pub(crate) secured: bool,
    /// `None` for the socket that a service which leaves has under this number: what waits in it to be
    /// accepted is not lost.
    pub(crate) socket: Option<S>,
}

/// The services of a server and their sockets.
pub(super) struct Roster {
    shards: usize,
    metrics: Metrics,
    mounted: Vec<Mounted>,
    numbers: Number,
}

struct Mounted {
    number: Number,
    name: Arc<str>,
    held: Vec<Held>,
}

/// A bound listener, and the address that was asked for.
#[derive(Clone)]
struct Held {
    number: Number,
    asked: Listen,
    bound: Bound,
}

impl Roster {
    pub(super) fn new(shards: usize, metrics: Metrics) -> Roster {
        Roster { shards, metrics, mounted: Vec::new(), numbers: 0 }
    }

    /// Every bound address.
    pub(super) fn bound(&self) -> Vec<Bound> {
        let held = self.mounted.iter().flat_map(|mounted| &mounted.held);
        held.map(|held| held.bound.clone()).collect()
    }

    /// Takes services in, and gives up those named in `without`: what each shard is to do for it.
    pub(super) fn change(
        &mut self,
        without: &[&str],
        services: Vec<Box<dyn Service>>,
        within: Option<Duration>,
    ) -> Result<Vec<Change>, BindErrors> {
        let services: Vec<(ServiceParts, Arc<dyn Service>)> =
            services.into_iter().map(|service| (service.parts(), Arc::from(service))).collect();
        let leaves = |mounted: &Mounted| without.contains(&&*mounted.name);
        let leaving: Vec<_> =
            self.mounted.iter().filter(|one| leaves(one)).map(|one| one.number).collect();
        let old = self.mounted.iter().filter(|one| leaves(one));
        let mut free: Vec<Held> = old.flat_map(|one| one.held.iter().cloned()).collect();
        let blank = || Change { mountings: Vec::new(), leaving: leaving.clone(), within };
        let mut changes: Vec<Change> = (0..self.shards).map(|_| blank()).collect();
        let (mut errors, mut taken) = (Vec::new(), Vec::new());
        for (parts, service) in services {
            taken.push(self.take_in(parts, service, &mut free, &mut changes, &mut errors));
        }
        if !errors.is_empty() {
            return Err(BindErrors(errors));
        }
        self.mounted.retain(|one| !leaving.contains(&one.number));
        self.mounted.extend(taken);
        Ok(changes)
    }

    fn take_in(
        &mut self,
        parts: ServiceParts,
        service: Arc<dyn Service>,
        free: &mut Vec<Held>,
        changes: &mut [Change],
        errors: &mut Vec<BindError>,
    ) -> Mounted {
        let number = self.number();
        let census = Arc::new(Census::new(self.metrics.service(parts.name())));
        let rate = parts.limits().datagram_rate;
        let rates = rate.map(|rate| Arc::new(PeerRates::new(rate, Instant::now())));
        for change in changes.iter_mut() {
            change.mountings.push(Mounting {
                number,
                service: Arc::clone(&service),
                parts: parts.clone(),
                census: Arc::clone(&census),
                rates: rates.clone(),
                metrics: self.metrics.clone(),
                sockets: Vec::new(),
                datagram_sockets: Vec::new(),
            });
        }
        let mut held = Vec::new();
        let streams = parts.listeners().iter().cloned().map(|listener| (listener, false));
        let datagrams = service.datagram_listeners().into_iter().map(|listener| (listener, true));
        for (listener, datagrams) in streams.chain(datagrams) {
            match self.open(&parts, &listener, datagrams, free, changes) {
                Ok(one) => held.push(one),
                Err(source) => {
                    errors.push(BindError::new(&parts, listener, datagrams, source));
                }
            }
        }
        Mounted { number, name: Arc::clone(parts.name()), held }
    }

    /// One listener on all shards: a free one of the same address, or a new one.
    fn open(
        &mut self,
        parts: &ServiceParts,
        listener: &Listener,
        datagrams: bool,
        free: &mut Vec<Held>,
        changes: &mut [Change],
    ) -> std::io::Result<Held> {
        let secured = listener.secured;
        let fits = |held: &Held| {
            // Port 0 is another port for each service.
            let anyones = !matches!(&held.asked, Listen::Inet(asked) if asked.port() == 0);
            held.asked == listener.address
                && held.bound.datagrams == datagrams
                && (anyones || *held.bound.service == **parts.name())
        };
        let known = free.iter().position(fits).map(|at| free.swap_remove(at));
        let number = known.as_ref().map_or_else(|| self.number(), |held| held.number);
        let mine = changes.iter_mut().filter_map(|change| change.mountings.last_mut());
        let address = match (known, datagrams) {
            (Some(held), false) => {
                let entrance = || Entrance { number, secured, socket: None };
                mine.for_each(|mine| mine.sockets.push(entrance()));
                held.bound.address
            }
            (Some(held), true) => {
                let entrance = || Entrance { number, secured, socket: None };
                mine.for_each(|mine| mine.datagram_sockets.push(entrance()));
                held.bound.address
            }
            (None, false) => {
                let (address, sockets) = bind_all(&listener.address, self.shards)?;
                for (mine, socket) in mine.zip(sockets) {
                    mine.sockets.push(Entrance { number, secured, socket: Some(socket) });
                }
                address
            }
            (None, true) => {
                let (address, sockets) = bind_all_datagrams(&listener.address, self.shards)?;
                for (mine, socket) in mine.zip(sockets) {
                    mine.datagram_sockets.push(Entrance { number, secured, socket: Some(socket) });
                }
                address
            }
        };
        let bound = Bound { secured, datagrams, ..Bound::new(parts, address) };
        Ok(Held { number, asked: listener.address.clone(), bound })
    }

    fn number(&mut self) -> Number {
        self.numbers += 1;
        self.numbers
    }
}
