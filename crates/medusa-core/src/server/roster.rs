//! Which services a server has, which sockets are theirs, and what a shard is told when that changes.
//!
//! Nothing is served here. A change is bound whole before a shard hears of it, so one that fails leaves
//! everything as it was.

use std::sync::{Arc, Weak};
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
    /// Those that have left, while something of them is still there.
    leaving: Vec<(Arc<str>, Weak<Census>)>,
    numbers: Number,
}

/// The services as they are to be.
pub(super) struct Next {
    leaving: Vec<Number>,
    taken: Vec<Mounted>,
}

struct Mounted {
    number: Number,
    name: Arc<str>,
    /// There is one as long as a shard has it, or a session of it.
    census: Weak<Census>,
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
        Roster { shards, metrics, mounted: Vec::new(), leaving: Vec::new(), numbers: 0 }
    }

    /// Every bound address.
    pub(super) fn bound(&self) -> Vec<Bound> {
        let held = self.mounted.iter().flat_map(|mounted| &mounted.held);
        held.map(|held| held.bound.clone()).collect()
    }

    /// What each shard is to do so that services come, and those named in `without` go.
    pub(super) fn plan(
        &mut self,
        without: &[&str],
        services: Vec<Box<dyn Service>>,
        within: Option<Duration>,
    ) -> Result<(Vec<Change>, Next), BindErrors> {
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
        Ok((changes, Next { leaving, taken }))
    }

    /// What was planned has been done.
    pub(super) fn settle(&mut self, next: Next) {
        let (stay, gone) = std::mem::take(&mut self.mounted)
            .into_iter()
            .partition(|one| !next.leaving.contains(&one.number));
        self.mounted = stay;
        self.mounted.extend(next.taken);
        let gone: Vec<Mounted> = gone;
        self.leaving.retain(|(_, census)| census.strong_count() > 0);
        self.leaving.extend(gone.into_iter().map(|one| (one.name, one.census)));
    }

    /// The services that have left and have yet to end, by their names.
    pub(super) fn leaving(&self) -> Vec<String> {
        let left = self.leaving.iter().filter(|(_, census)| census.strong_count() > 0);
        left.map(|(name, _)| name.to_string()).collect()
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
        Mounted { number, name: Arc::clone(parts.name()), census: Arc::downgrade(&census), held }
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
            // Port 0 is another port for each service, and for plain connections and TLS.
            let anyones = !matches!(&held.asked, Listen::Inet(asked) if asked.port() == 0);
            held.asked == listener.address
                && held.bound.datagrams == datagrams
                && (anyones
                    || *held.bound.service == **parts.name() && held.bound.secured == secured)
        };
        let known = free.iter().position(fits).map(|at| free.remove(at));
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
