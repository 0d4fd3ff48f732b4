//! A datagram service without its sockets: who answers, with what limits and timers.
//!
//! Pure. The shard and the `testing` module drive it alike: they hand in what has come, and send what
//! stands in [`Outgoing`] afterwards.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::datagram::{
    Datagram, DatagramCx, DatagramService, DatagramState, Failure, Outgoing, SocketId,
};
use crate::env::Env;
use crate::limits::Limits;
use crate::mailbox::{Note, ResumeDatagrams};
use crate::metrics::DatagramCounts;
use crate::peer_rates::PeerRates;
use crate::server::roster::Number;
use crate::timer::{Deadlines, Millis};

/// The longest UDP datagram that there can be (RFC 768), with a little to spare.
const LARGEST: usize = 64 * 1024;

/// A datagram service at work.
pub(crate) struct Desk {
    service: Box<dyn DatagramService>,
    pub(crate) state: DatagramState,
    /// What its peers may send, where that is limited.
    rates: Option<Arc<PeerRates>>,
    /// What holds for the connections that it makes.
    pub(crate) limits: Arc<Limits>,
    /// The connection whose own it is.
    pub(crate) owner: Option<u64>,
    /// The service that it belongs to otherwise.
    pub(crate) number: Option<Number>,
    /// Its earliest entry in the shard's timers.
    pub(crate) wakes_at: Option<Millis>,
}

impl Desk {
    pub(crate) fn new(
        service: Box<dyn DatagramService>,
        token: u64,
        limits: Arc<Limits>,
        owner: Option<u64>,
        counts: Arc<DatagramCounts>,
    ) -> Self {
        let mut own = service.limits();
        own.datagram_bytes = own.datagram_bytes.clamp(1, LARGEST);
        let state = DatagramState {
            token,
            limits: own,
            listeners: Vec::new(),
            clients: HashSet::new(),
            timers: Deadlines::default(),
            closing: false,
            draining: false,
            counts,
        };
        Desk { service, state, rates: None, limits, owner, number: None, wakes_at: None }
    }

    /// Holds those who send to its listeners to a rate, which it may share with other shards.
    pub(crate) fn limit_peers(&mut self, rates: Option<Arc<PeerRates>>) {
        self.rates = rates;
    }

    /// Adds a socket that others send to.
    pub(crate) fn add_listener(&mut self, socket: SocketId, local: SocketAddr) {
        self.state.listeners.push((socket, local));
    }

    /// Takes a socket away that others send to.
    pub(crate) fn remove_listener(&mut self, socket: SocketId) {
        self.state.listeners.retain(|(id, _)| *id != socket);
    }

    pub(crate) fn counts(&self) -> Arc<DatagramCounts> {
        Arc::clone(&self.state.counts)
    }

    /// Whether what `peer` has sent to a listener may be seen.
    #[inline]
    pub(crate) fn admits(&self, peer: SocketAddr, now: Instant) -> bool {
        let Some(rates) = &self.rates else { return true };
        let admitted = rates.admits(peer.ip(), now);
        if !admitted {
            self.state.counts.refused.add(1);
        }
        admitted
    }

    /// Whether datagrams from this client socket are still wanted.
    pub(crate) fn has_client(&self, socket: SocketId) -> bool {
        self.state.clients.contains(&socket)
    }

    /// All of its sockets.
    pub(crate) fn sockets(&self) -> Vec<SocketId> {
        let listeners = self.state.listeners.iter().map(|(socket, _)| *socket);
        listeners.chain(self.state.clients.iter().copied()).collect()
    }

    pub(crate) fn open(&mut self, env: &mut Env, outgoing: &mut Outgoing) {
        self.call(env, outgoing, |service, cx| service.opened(cx));
    }

    pub(crate) fn receive(
        &mut self,
        env: &mut Env,
        outgoing: &mut Outgoing,
        datagram: Datagram<'_>,
    ) {
        let mut cx = DatagramCx { state: &mut self.state, outgoing, env };
        self.service.received(&mut cx, datagram);
    }

    pub(crate) fn fail(
        &mut self,
        env: &mut Env,
        outgoing: &mut Outgoing,
        socket: SocketId,
        failure: Failure,
    ) {
        if let Failure::Unopened(_) = failure {
            self.state.clients.remove(&socket);
        }
        self.call(env, outgoing, |service, cx| service.failed(cx, socket, failure));
    }

    pub(crate) fn notify(&mut self, env: &mut Env, outgoing: &mut Outgoing, note: Note) {
        self.call(env, outgoing, |service, cx| service.notified(cx, note));
    }

    pub(crate) fn resume(&mut self, env: &mut Env, outgoing: &mut Outgoing, then: ResumeDatagrams) {
        self.call(env, outgoing, |service, cx| then(service, cx));
    }

    pub(crate) fn drain(&mut self, env: &mut Env, outgoing: &mut Outgoing) {
        self.state.draining = true;
        self.call(env, outgoing, |service, cx| service.draining(cx));
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.service.is_idle()
    }

    /// When it wants to be looked at next.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        self.state.timers.earliest()
    }

    /// Runs one timer that is due. Says whether there was one.
    pub(crate) fn lapse(&mut self, env: &mut Env, outgoing: &mut Outgoing) -> bool {
        let Some(key) = self.state.timers.take_due(env.millis()) else { return false };
        self.call(env, outgoing, |service, cx| service.expired(cx, key));
        true
    }

    pub(crate) fn into_service(self) -> Box<dyn DatagramService> {
        self.service
    }

    fn call(
        &mut self,
        env: &mut Env,
        outgoing: &mut Outgoing,
        callback: impl FnOnce(&mut dyn DatagramService, &mut DatagramCx<'_>),
    ) {
        let mut cx = DatagramCx { state: &mut self.state, outgoing, env };
        callback(&mut *self.service, &mut cx);
    }
}
