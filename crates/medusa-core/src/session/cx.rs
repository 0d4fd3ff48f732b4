//! A session's hands: all that it can do to its own connection, and what it can ask of its shard.

use std::any::Any;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::channel::{Closing, Flow, State};
use crate::datagram::DatagramService;
use crate::env::Env;
use crate::framing::Framing;
use crate::limits::Limits;
use crate::mailbox::{Address, Message, Note, Remote};
use crate::offload::{Lane, Returned};
use crate::producer::Producer;
use crate::reply::ReplySlot;
use crate::service::{Acceptor, Peer};
use crate::target::Target;
use crate::timer::TimerKey;
use crate::tls::{ClientTls, Secure};

use super::{Command, Session};

/// A session's hands. Valid during one callback.
pub struct Cx<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) flow: &'a mut Flow,
    pub(crate) env: &'a mut Env,
}

impl std::fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Cx<'_> {
    // ---- what is known -----------------------------------------------------------------------

    /// The time of this turn. It never goes back.
    pub fn now(&self) -> Instant {
        self.env.now
    }

    /// The wall clock of this turn, for dates that people read. Never for deadlines.
    pub fn wall_clock(&self) -> SystemTime {
        self.env.wall_clock
    }

    /// Who is at the other end, and where it came in.
    pub fn peer(&self) -> &Peer {
        &self.state.peer
    }

    /// Where this connection lives, for others to [notify](Cx::notify) it.
    pub fn address(&self) -> Address {
        Address { shard: self.env.shard, token: self.state.token }
    }

    /// A handle to this connection for other threads and for producers that are pending.
    pub fn remote(&self) -> Remote {
        Remote { address: self.address(), mailbox: Arc::clone(&self.env.mailbox) }
    }

    /// The limits of this connection's service.
    pub fn limits(&self) -> &Limits {
        &self.state.limits
    }

    /// Whether the server is shutting down, or the service of this connection is leaving it.
    pub fn is_draining(&self) -> bool {
        self.env.draining || self.state.draining
    }

    /// Whether this session has called [`close`](Cx::close) or [`abort`](Cx::abort).
    pub fn is_closing(&self) -> bool {
        self.state.closing != Closing::No
    }

    // ---- input -------------------------------------------------------------------------------

    /// Expects something else from the next byte on, whether it has arrived already or not. Behind an
    /// overlong frame, it is expected once the rest of that has been skipped.
    #[inline]
    pub fn expect(&mut self, framing: Framing) {
        self.state.framer.expect(framing);
        self.state.reframed = true;
        self.state.in_body = false;
    }

    /// As [`expect`](Self::expect), for what is a part of a body and comes as a whole frame: the line of a
    /// chunk, say. The body's minimum rate holds on across such frames, where the deadlines of a head and
    /// of silence between requests would begin anew with each.
    pub fn expect_in_body(&mut self, framing: Framing) {
        self.expect(framing);
        self.state.in_body = true;
    }

    /// Stops reading and cutting frames until [`resume`](Cx::resume). What has arrived is kept.
    pub fn pause(&mut self) {
        self.state.paused = true;
    }

    /// Goes on after [`pause`](Cx::pause).
    pub fn resume(&mut self) {
        self.state.paused = false;
    }

    // ---- output ------------------------------------------------------------------------------

    /// Sends a copy of `bytes`. With nothing before it, it goes straight into the outbox: no
    /// allocation.
    #[inline]
    pub fn write(&mut self, bytes: &[u8]) {
        self.flow.replies.write(&mut self.flow.outbox, bytes);
    }

    /// Sends what `compose` appends to the buffer that it is lent.
    #[inline]
    pub fn compose<R>(&mut self, compose: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        self.flow.replies.compose(&mut self.flow.outbox, compose)
    }

    /// Sends shared bytes.
    pub fn send_bytes(&mut self, bytes: Bytes) {
        self.flow.replies.push_bytes(&mut self.flow.outbox, bytes);
    }

    /// Sends what `producer` makes.
    pub fn send(&mut self, producer: impl Producer + 'static) {
        self.flow.replies.push_producer(Box::new(producer));
    }

    /// Sends what a boxed producer makes.
    pub fn send_boxed(&mut self, producer: Box<dyn Producer>) {
        self.flow.replies.push_producer(producer);
    }

    /// Takes the next place in the order of replies, to be filled later.
    pub fn reserve(&mut self) -> ReplySlot {
        self.flow.replies.reserve()
    }

    /// Fills a reserved place.
    pub fn fulfil(&mut self, slot: ReplySlot, producer: impl Producer + 'static) {
        self.flow.replies.fulfil(slot, Box::new(producer));
    }

    /// Fills a reserved place with bytes; none are fine.
    pub fn fulfil_bytes(&mut self, slot: ReplySlot, bytes: Bytes) {
        self.flow.replies.fulfil_bytes(slot, bytes);
    }

    /// Replies that are not in the outbox yet, reserved ones included.
    pub fn in_flight(&self) -> usize {
        self.flow.replies.len()
    }

    /// Bytes in the outbox that the socket has not taken yet.
    pub fn unsent_bytes(&self) -> u64 {
        self.flow.outbox.len()
    }

    // ---- TLS ---------------------------------------------------------------------------------

    /// Begins TLS once all that was sent so far is gone, with the certificates of this connection's
    /// service. Plaintext that has arrived already is thrown away: it could have been slipped in by
    /// anyone (CVE-2011-0411). The session hears of the end of the handshake in
    /// [`secured`](Session::secured).
    pub fn start_tls(&mut self) {
        self.state.securing = Some(None);
    }

    /// As [`start_tls`](Self::start_tls), as the client of a server that is known as `name`.
    pub fn start_tls_as_client(&mut self, client: &Arc<ClientTls>, name: &str) {
        self.state.securing = Some(Some(Secure::Client(Arc::clone(client), name.into())));
    }

    /// Whether the connection has TLS.
    pub fn is_secured(&self) -> bool {
        self.state.peer.tls.is_some()
    }

    /// Whether the peer's stream ended without TLS's close_notify: what came may be cut short (RFC 8446
    /// §6.1). Known in [`half_closed`](Session::half_closed).
    pub fn is_truncated(&self) -> bool {
        self.state.truncated
    }

    // ---- the end -----------------------------------------------------------------------------

    /// Sends what is owed, then closes. No further frame is received.
    pub fn close(&mut self) {
        self.state.close(Closing::Heard);
    }

    /// As [`close`](Self::close), to a peer that has nothing to say, as one that fetches a file from FTP's
    /// data connection: its end isn't waited for, unless it has said something nevertheless, or there is TLS.
    pub fn close_unheard(&mut self) {
        self.state.close(Closing::Unheard);
    }

    /// Closes at once; what was not sent is lost, visibly.
    pub fn abort(&mut self) {
        self.state.close(Closing::Aborted);
    }

    // ---- time --------------------------------------------------------------------------------

    /// Has [`expired`](Session::expired) called with `key` after `after`, and never in this moment. Arming
    /// a key again moves its deadline.
    pub fn arm(&mut self, key: TimerKey, after: Duration) {
        let at = self.env.deadline_after(after);
        self.state.timers.arm(key, at);
    }

    /// Takes an armed timer back.
    pub fn disarm(&mut self, key: TimerKey) {
        self.state.timers.disarm(key);
    }

    // ---- others ------------------------------------------------------------------------------

    /// Sends a message to another session, on this shard or another. One that has gone hears nothing.
    pub fn notify(&mut self, to: Address, message: impl Any + Send) {
        self.env.commands.push(Command::Notify { to, note: Note::new(message) });
    }

    /// Connects to `target` with a session of its own on this shard. The session hears of it in
    /// [`opened`](Session::opened), or in [`closed`](Session::closed) with [`Reason::Unreachable`](crate::Reason::Unreachable). The limits
    /// of this connection's service hold for it, unless the [`Target`] says otherwise.
    pub fn connect(&mut self, target: impl Into<Target>, session: Box<dyn Session>) -> Address {
        let (id, from, target) = (self.env.allocate(), self.address(), target.into());
        self.env.commands.push(Command::Connect { id, from, target, session });
        id
    }

    /// As [`connect`](Self::connect), to a [target with TLS](Target::with_tls).
    pub fn connect_tls(
        &mut self,
        target: SocketAddr,
        client: &Arc<ClientTls>,
        name: &str,
        session: Box<dyn Session>,
    ) -> Address {
        self.connect(Target::new(target).with_tls(client, name), session)
    }

    /// As [`connect`](Self::connect), as [the server in TLS](Target::as_tls_server).
    pub fn connect_as_tls_server(
        &mut self,
        target: SocketAddr,
        session: Box<dyn Session>,
    ) -> Address {
        self.connect(Target::new(target).as_tls_server(), session)
    }

    /// Listens on the first address of `bind` that is free (port 0: any), for this session's own use: an
    /// FTP data connection, say. The session is sent a [`Listening`](crate::Listening) note. The listener is
    /// closed by [`unlisten`](Cx::unlisten) or when this connection ends. If `secured`, connections have TLS
    /// from the first octet, with the certificates of this connection's service.
    pub fn listen_private(
        &mut self,
        bind: Vec<SocketAddr>,
        acceptor: Box<dyn Acceptor>,
        secured: bool,
    ) -> Address {
        let id = self.env.allocate();
        let owner = self.address();
        self.state.owns_listeners = true;
        self.env.commands.push(Command::Listen { id, owner, bind, acceptor, secured });
        id
    }

    /// Closes a private listener.
    pub fn unlisten(&mut self, id: Address) {
        self.env.commands.push(Command::Unlisten(id));
    }

    /// Begins a datagram service for this session's own use, on this shard: to ask a name server, say.
    /// It opens sockets by [`DatagramCx::open_socket`](crate::DatagramCx::open_socket) and talks with this
    /// session by notes. It ends with this connection, or when it closes itself.
    pub fn open_datagrams(&mut self, service: Box<dyn DatagramService>) -> Address {
        let id = self.env.allocate();
        let owner = self.address();
        // It is looked for among what this connection owns, when that ends.
        self.state.owns_listeners = true;
        self.env.commands.push(Command::OpenDatagrams { id, owner, service });
        id
    }

    /// Runs blocking `work` in the offload pool and then, back on this shard, `then` with its result.
    /// If the connection has gone by then, `then` is dropped.
    ///
    /// # Errors
    ///
    /// Both closures, with all that was moved into them, when the pool's queue is full: to be tried again
    /// later, or `then` to be called at once with a failure of the session's own. Where they are dropped, the
    /// peer is to be told in the protocol's words.
    pub fn offload<S, T, W, F>(&mut self, work: W, then: F) -> Result<(), Returned<(W, F)>>
    where
        S: Session,
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
        F: FnOnce(&mut S, &mut Cx<'_>, T) + Send + 'static,
    {
        self.submit(Lane::Waiting, work, then)
    }

    /// As [`offload`](Self::offload), for work that keeps a processor busy for milliseconds, such as a password
    /// hash: half of the pool's threads do it at most, and the rest is there for work that waits.
    ///
    /// # Errors
    ///
    /// Both closures, when too much of this kind waits already.
    pub fn compute<S, T, W, F>(&mut self, work: W, then: F) -> Result<(), Returned<(W, F)>>
    where
        S: Session,
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
        F: FnOnce(&mut S, &mut Cx<'_>, T) + Send + 'static,
    {
        self.submit(Lane::Computing, work, then)
    }

    fn submit<S, T, W, F>(&mut self, lane: Lane, work: W, then: F) -> Result<(), Returned<(W, F)>>
    where
        S: Session,
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
        F: FnOnce(&mut S, &mut Cx<'_>, T) + Send + 'static,
    {
        let (token, mailbox) = (self.state.token, &self.env.mailbox);
        self.env.pool.submit_made(lane, (work, then), |(work, then)| {
            let mailbox = Arc::clone(mailbox);
            Box::new(move || {
                let message = match catch_unwind(AssertUnwindSafe(work)) {
                    Ok(value) => Message::Resume(
                        token,
                        Box::new(move |session: &mut dyn Session, cx: &mut Cx<'_>| {
                            let session: &mut dyn Any = session;
                            match session.downcast_mut::<S>() {
                                Some(session) => then(session, cx, value),
                                None => debug_assert!(false, "offload named another session type"),
                            }
                        }),
                    ),
                    Err(_) => Message::Abort(token),
                };
                mailbox.post(message);
            })
        })
    }
}
