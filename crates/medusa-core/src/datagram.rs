//! What a datagram protocol is made of: a [`DatagramService`] per shard, and [`DatagramCx`], through
//! which it answers.
//!
//! Pure: a service sees datagrams, timers and notes, never a socket or a clock. What it sends is
//! composed into buffers that go round and leaves in batches after the callback; sockets are opened and
//! closed after it too.

mod outgoing;

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub(crate) use self::outgoing::{Letter, Outgoing};
use crate::env::Env;
use crate::mailbox::{Address, Message, Note, Remote};
use crate::metrics::DatagramCounts;
use crate::offload::{Busy, Lane, Returned};
use crate::session::{Command, Session};
use crate::target::Target;
use crate::timer::{Deadlines, TimerKey};
use crate::tls::ClientTls;

/// One shard's side of a datagram protocol. It has all of the service's sockets on that shard.
///
/// A panic in a callback is logged and what the callback has sent is dropped; the service is kept, as
/// there is no other. It should therefore leave nothing half done where it calls code that may panic.
pub trait DatagramService: Any {
    /// A datagram has come.
    fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>);

    /// The shard has begun, and the [listeners](DatagramCx::listeners) stand.
    fn opened(&mut self, cx: &mut DatagramCx<'_>) {
        let _ = cx;
    }

    /// A socket is in trouble; [`Failure`] says whether it is still there. By default it is ignored: a
    /// datagram may always be lost.
    fn failed(&mut self, cx: &mut DatagramCx<'_>, socket: SocketId, failure: Failure) {
        let _ = (cx, socket, failure);
    }

    /// A timer that this service [armed](DatagramCx::arm) has run out.
    fn expired(&mut self, cx: &mut DatagramCx<'_>, key: TimerKey) {
        let _ = (cx, key);
    }

    /// A message for this service.
    fn notified(&mut self, cx: &mut DatagramCx<'_>, note: Note) {
        let _ = (cx, note);
    }

    /// The server is shutting down, or the service leaves it. Datagrams are received until it ends, unless
    /// another service has taken its listeners over.
    fn draining(&mut self, cx: &mut DatagramCx<'_>) {
        let _ = cx;
    }

    /// Whether nothing is owed to anybody. A server that is shutting down waits for this, as it waits for
    /// its connections.
    fn is_idle(&self) -> bool {
        true
    }

    /// The service has ended. The last thing it hears.
    fn closed(&mut self) {}

    /// What it may use; asked once, before [`opened`](Self::opened).
    fn limits(&self) -> DatagramLimits {
        DatagramLimits::default()
    }
}

/// A datagram that has come in.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Datagram<'a> {
    /// What it holds; it may be nothing.
    pub bytes: &'a [u8],
    /// Who sent it, and all that is needed to answer.
    pub sender: Sender,
    /// It was longer than [`DatagramLimits::datagram_bytes`] and the rest is lost.
    pub truncated: bool,
}

/// Who sent a datagram, to which address of ours, and over which socket: all that is needed to
/// [answer](DatagramCx::reply), now or later. It belongs to its shard; elsewhere it reaches nobody, and
/// what is sent to it counts as dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sender {
    pub(crate) socket: SocketId,
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
}

impl Sender {
    /// Who it is.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The address of ours that was sent to, and from which the answer goes: not a wildcard.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The socket that it came in by.
    pub fn socket(&self) -> SocketId {
        self.socket
    }

    /// The address that an answer goes from. What was sent to a group is answered from whatever address
    /// the route has.
    fn source(&self) -> Option<IpAddr> {
        Some(self.local.ip()).filter(|local| !local.is_multicast())
    }
}

/// A socket of a [`DatagramService`]. It is never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SocketId(pub(crate) Address);

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A socket for asking others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientSocket {
    pub(crate) local: SocketAddr,
    pub(crate) remote: Option<SocketAddr>,
}

impl ClientSocket {
    /// A socket for one peer: others' datagrams are not received (but for one that comes while it is
    /// opened, so look at the [sender](Sender::remote)), and where the peer says that it is not there
    /// (ICMP), the service hears of it. Its port is chosen by the kernel, at random.
    pub fn connected(remote: SocketAddr) -> Self {
        let any = match remote {
            SocketAddr::V4(_) => IpAddr::from([0; 4]),
            SocketAddr::V6(_) => IpAddr::from([0; 16]),
        };
        ClientSocket { local: SocketAddr::new(any, 0), remote: Some(remote) }
    }

    /// A socket for any peer, bound to `local`; for port 0 the kernel chooses one at random.
    pub fn unconnected(local: SocketAddr) -> Self {
        ClientSocket { local, remote: None }
    }

    /// Where it is bound; port 0 for any.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The one peer that it is for, if it is.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.remote
    }

    /// Binds it to an address of ours.
    #[must_use]
    pub fn bound_to(mut self, local: SocketAddr) -> Self {
        self.local = local;
        self
    }
}

/// What a socket could not do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Failure {
    /// It could not be opened, and is closed.
    Unopened(io::Error),
    /// A datagram could not be sent, and is dropped: it is too long, there is no route, a firewall
    /// forbids it.
    Unsent {
        /// To whom it was to go; none for the peer of a connected socket.
        to: Option<SocketAddr>,
        /// Why not.
        error: io::Error,
    },
    /// The peer of a connected socket is not there ([`ConnectionRefused`](io::ErrorKind::ConnectionRefused),
    /// mostly). The socket stays open.
    Unreachable(io::Error),
}

/// What one datagram service may use on each shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatagramLimits {
    /// The longest datagram that is received whole; of a longer one the rest is lost, and
    /// [`Datagram::truncated`] says so. Default 4 KiB, which was the usual EDNS buffer before 1,232
    /// became it (RFC 6891 §6.2.5). The most that there can be is 64 KiB.
    pub datagram_bytes: usize,
    /// What may wait to be sent on one socket that the kernel takes nothing for now. What is sent beyond
    /// is counted and dropped. Default 1 MiB.
    pub unsent_bytes: usize,
    /// Client sockets that may be open at one time. Default 1,024.
    pub client_sockets: usize,
}

impl Default for DatagramLimits {
    fn default() -> Self {
        DatagramLimits { datagram_bytes: 4096, unsent_bytes: 1 << 20, client_sockets: 1024 }
    }
}

/// What a service's callbacks may change of its surroundings.
pub(crate) struct DatagramState {
    pub(crate) token: u64,
    pub(crate) limits: DatagramLimits,
    pub(crate) listeners: Vec<(SocketId, SocketAddr)>,
    pub(crate) clients: HashSet<SocketId>,
    pub(crate) timers: Deadlines,
    pub(crate) closing: bool,
    /// The service has been told that it is to end.
    pub(crate) draining: bool,
    pub(crate) counts: Arc<DatagramCounts>,
}

/// A datagram service's hands. Valid during one callback.
pub struct DatagramCx<'a> {
    pub(crate) state: &'a mut DatagramState,
    pub(crate) outgoing: &'a mut Outgoing,
    pub(crate) env: &'a mut Env,
}

impl fmt::Debug for DatagramCx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatagramCx").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl DatagramCx<'_> {
    // ---- what is known -----------------------------------------------------------------------

    /// The time of this turn. It never goes back.
    pub fn now(&self) -> Instant {
        self.env.now
    }

    /// The wall clock of this turn, for dates that people read. Never for deadlines.
    pub fn wall_clock(&self) -> SystemTime {
        self.env.wall_clock
    }

    /// Where this service lives, for others to notify it.
    pub fn address(&self) -> Address {
        Address { shard: self.env.shard, token: self.state.token }
    }

    /// A handle to this service for other threads, whose [notes](Remote::notify) it hears.
    pub fn remote(&self) -> Remote {
        Remote { address: self.address(), mailbox: Arc::clone(&self.env.mailbox) }
    }

    /// Whether the server is shutting down, or the service is leaving it.
    pub fn is_draining(&self) -> bool {
        self.env.draining || self.state.draining
    }

    /// The sockets that others send to, with the addresses that they are bound to.
    pub fn listeners(&self) -> &[(SocketId, SocketAddr)] {
        &self.state.listeners
    }

    /// What went through this service, over all shards.
    pub fn counts(&self) -> &Arc<DatagramCounts> {
        &self.state.counts
    }

    // ---- output ------------------------------------------------------------------------------

    /// Answers with what `compose` writes into the empty buffer that it is lent. The buffers go round:
    /// no allocation.
    #[inline]
    pub fn reply<R>(&mut self, to: Sender, compose: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.compose(to.socket, Some(to.remote), to.source(), |buffer| (true, compose(buffer)))
    }

    /// Answers like [`reply`](Self::reply), unless `compose` says no.
    #[inline]
    pub fn reply_if(&mut self, to: Sender, compose: impl FnOnce(&mut Vec<u8>) -> bool) {
        self.compose(to.socket, Some(to.remote), to.source(), |buffer| (compose(buffer), ()));
    }

    /// Sends to the peer of a [connected](ClientSocket::connected) socket what `compose` writes into the
    /// empty buffer that it is lent. A socket that is being opened may be used at once.
    pub fn send<R>(&mut self, socket: SocketId, compose: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.compose(socket, None, None, |buffer| (true, compose(buffer)))
    }

    /// Sends to `to`, from any socket of this service.
    pub fn send_to<R>(
        &mut self,
        socket: SocketId,
        to: SocketAddr,
        compose: impl FnOnce(&mut Vec<u8>) -> R,
    ) -> R {
        self.compose(socket, Some(to), None, |buffer| (true, compose(buffer)))
    }

    // ---- sockets -----------------------------------------------------------------------------

    /// Opens a socket for asking others; what they answer is [received](DatagramService::received) here,
    /// with the socket's id in its [`Sender`]. It is open until it is
    /// [closed](Self::close_socket) or the service ends. If it can't be opened, the service is told by
    /// [`Failure::Unopened`].
    ///
    /// # Errors
    ///
    /// [`Busy`] when [`DatagramLimits::client_sockets`] are open.
    pub fn open_socket(&mut self, socket: ClientSocket) -> Result<SocketId, Busy> {
        if self.state.clients.len() >= self.state.limits.client_sockets {
            return Err(Busy);
        }
        let id = SocketId(self.env.allocate());
        self.state.clients.insert(id);
        self.env.commands.push(Command::OpenSocket { id, owner: self.state.token, socket });
        Ok(id)
    }

    /// Closes a client socket. Nothing more is received from it; what was sent before leaves, as far as
    /// the kernel takes it now.
    pub fn close_socket(&mut self, socket: SocketId) {
        if self.state.clients.remove(&socket) {
            self.env.commands.push(Command::CloseSocket(socket));
        }
    }

    /// Ends this service on this shard, with all of its sockets.
    pub fn close(&mut self) {
        self.state.closing = true;
    }

    // ---- time --------------------------------------------------------------------------------

    /// Has [`expired`](DatagramService::expired) called with `key` after `after`. Arming a key again
    /// moves its deadline. Keys are few; who waits for many things keeps them in order and arms one key
    /// for the first.
    pub fn arm(&mut self, key: TimerKey, after: Duration) {
        let at = self.env.deadline_after(after);
        self.state.timers.arm(key, at);
    }

    /// Takes an armed timer back.
    pub fn disarm(&mut self, key: TimerKey) {
        self.state.timers.disarm(key);
    }

    // ---- others ------------------------------------------------------------------------------

    /// Sends a message to a session or another datagram service, on this shard or another. One that has
    /// gone hears nothing.
    pub fn notify(&mut self, to: Address, message: impl Any + Send) {
        self.env.commands.push(Command::Notify { to, note: Note::new(message) });
    }

    /// Connects to `target` over TCP with a session on this shard, as [`Cx::connect`](crate::Cx::connect)
    /// does: for an answer that fits no datagram. The connection does not end with this service.
    pub fn connect(&mut self, target: impl Into<Target>, session: Box<dyn Session>) -> Address {
        let (id, from, target) = (self.env.allocate(), self.address(), target.into());
        self.env.commands.push(Command::Connect { id, from, target, session });
        id
    }

    /// Connects to `target` with TLS, as [`Cx::connect_tls`](crate::Cx::connect_tls) does.
    pub fn connect_tls(
        &mut self,
        target: SocketAddr,
        client: &Arc<ClientTls>,
        name: &str,
        session: Box<dyn Session>,
    ) -> Address {
        self.connect(Target::new(target).with_tls(client, name), session)
    }

    /// Runs blocking `work` in the offload pool and then, back on this shard, `then` with its result. If
    /// the service has ended by then, or `work` panics, `then` is dropped.
    ///
    /// # Errors
    ///
    /// Both closures, with all that was moved into them, when the pool's queue is full, as
    /// [`Cx::offload`](crate::Cx::offload) hands them back.
    pub fn offload<S, T, W, F>(&mut self, work: W, then: F) -> Result<(), Returned<(W, F)>>
    where
        S: DatagramService,
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
        F: FnOnce(&mut S, &mut DatagramCx<'_>, T) + Send + 'static,
    {
        let (token, mailbox) = (self.state.token, &self.env.mailbox);
        self.env.pool.submit_made(Lane::Waiting, (work, then), |(work, then)| {
            let mailbox = Arc::clone(mailbox);
            Box::new(move || match catch_unwind(AssertUnwindSafe(work)) {
                Ok(value) => {
                    let then = move |service: &mut dyn DatagramService, cx: &mut DatagramCx<'_>| {
                        let service: &mut dyn Any = service;
                        match service.downcast_mut::<S>() {
                            Some(service) => then(service, cx, value),
                            None => debug_assert!(false, "offload named another service type"),
                        }
                    };
                    mailbox.post(Message::ResumeDatagrams(token, Box::new(then)));
                }
                Err(_) => tracing::error!("a datagram service's work panicked in the offload pool"),
            })
        })
    }

    // ---- helpers -----------------------------------------------------------------------------

    #[inline]
    fn compose<R>(
        &mut self,
        socket: SocketId,
        to: Option<SocketAddr>,
        from: Option<IpAddr>,
        compose: impl FnOnce(&mut Vec<u8>) -> (bool, R),
    ) -> R {
        let mut bytes = self.outgoing.buffer();
        let (wanted, result) = compose(&mut bytes);
        let letter = Letter { socket, to, from, bytes };
        // The kernel is given letters between callbacks, and one callback may send without end.
        let room = Outgoing::MANY_BYTES + self.state.limits.unsent_bytes;
        let elsewhere = socket.0.shard != self.env.shard;
        if !wanted {
            self.outgoing.recycle(letter.bytes);
        } else if elsewhere || self.outgoing.bytes + letter.cost() > room {
            self.state.counts.dropped.add(1);
            self.outgoing.recycle(letter.bytes);
        } else {
            self.outgoing.push(letter);
        }
        result
    }
}
