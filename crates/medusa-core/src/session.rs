//! What a protocol is made of: a [`Session`] per connection, and [`Cx`], through which it acts.
//!
//! Pure: a session sees frames, timers and notes, never a socket or a clock. A `Cx` borrows its own
//! connection's state; everything that reaches beyond it is recorded as a command and carried out by
//! the shard after the callback, so there is no re-entrancy.

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use crate::channel::{Flow, State};
use crate::datagram::{ClientSocket, DatagramService, SocketId};
use crate::env::Env;
use crate::framing::{Frame, Framing};
use crate::limits::Limits;
use crate::mailbox::{Address, Message, Note, Remote};
use crate::offload::{Lane, Returned};
use crate::producer::{ProduceError, Producer};
use crate::reply::ReplySlot;
use crate::service::{Acceptor, Peer};
use crate::target::Target;
use crate::timer::TimerKey;
use crate::tls::{ClientTls, Secure, TlsError};

/// One connection's side of a protocol.
pub trait Session: Any {
    /// The connection stands. Says what is [expected](Cx::expect) first, and a greeting if there is
    /// one.
    fn opened(&mut self, cx: &mut Cx<'_>);

    /// A frame, or a piece of one, has come.
    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>);

    /// Room of the session's own for the bytes of a [stream](Framing::stream), where it gathers them anyway:
    /// they are read straight into what is left of its capacity, which should be much, and
    /// [`filled`](Self::filled) tells of them. By default, and always over TLS or where something was
    /// buffered before, they come as frames.
    fn room(&mut self) -> Option<&mut Vec<u8>> {
        None
    }

    /// So many bytes were added to the [`room`](Self::room).
    fn filled(&mut self, cx: &mut Cx<'_>, count: usize) {
        let _ = (cx, count);
    }

    /// A whole frame has begun and isn't complete. `so_far[fresh..]` was not shown before. A chance to
    /// refuse what can't become right any more; nothing needs to be kept.
    fn unfinished(&mut self, cx: &mut Cx<'_>, so_far: &[u8], fresh: usize) {
        let _ = (cx, so_far, fresh);
    }

    /// A whole frame is longer than its limit. What is left of it will be skipped.
    fn overlong(&mut self, cx: &mut Cx<'_>) {
        cx.close();
    }

    /// One of the connection's [deadlines](Deadline) has passed. Said once; the connection should be
    /// closed, and is aborted if it stands much longer.
    fn timed_out(&mut self, cx: &mut Cx<'_>, deadline: Deadline) {
        let _ = deadline;
        cx.close();
    }

    /// A timer that this session [armed](Cx::arm) has run out.
    fn expired(&mut self, cx: &mut Cx<'_>, key: TimerKey) {
        let _ = (cx, key);
    }

    /// A message for this session. It may come before [`opened`](Self::opened), while a connection or a
    /// handshake is under way.
    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        let _ = (cx, note);
    }

    /// The peer will send no more, and all it sent has been received. By default what is owed is sent
    /// and the connection closed.
    fn half_closed(&mut self, cx: &mut Cx<'_>) {
        cx.close();
    }

    /// Everything that was sent has been handed to the transport.
    fn drained(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }

    /// The server is shutting down, or the service leaves it: finish soon. By default what is owed is sent
    /// and the connection closed.
    fn draining(&mut self, cx: &mut Cx<'_>) {
        cx.close();
    }

    /// The handshake that this session asked for with [`Cx::start_tls`] is done;
    /// [`Peer::tls`](crate::Peer) tells what was agreed upon. Nothing that was said before counts (RFC
    /// 3207 §4.2).
    fn secured(&mut self, cx: &mut Cx<'_>) {
        let _ = cx;
    }

    /// The connection is gone. The last thing a session hears; what others wait for it can tell them through the
    /// [`Goodbye`].
    fn closed(&mut self, goodbye: &Goodbye) {
        let _ = goodbye;
    }
}

/// A deadline that the core keeps for every connection, by its service's [`Limits`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Deadline {
    /// Nothing was sent or received between requests for too long.
    Idle,
    /// A request or command took too long from its first octet to its end.
    Head,
    /// The peer sends a body, or takes a reply, too slowly.
    Rate,
    /// The transport took too long to stand.
    Handshake,
}

/// How a connection ended, and what went through it.
#[derive(Debug)]
pub struct Goodbye {
    /// Why it ended.
    pub reason: Reason,
    /// Octets received.
    pub received: u64,
    /// Octets sent.
    pub sent: u64,
    notes: RefCell<Vec<(Address, Note)>>,
}

impl Goodbye {
    pub(crate) fn new(reason: Reason, received: u64, sent: u64) -> Goodbye {
        Goodbye { reason, received, sent, notes: RefCell::default() }
    }

    /// Sends a message to another session or datagram service, as [`Cx::notify`] does: what this one has come
    /// to, for whoever waits for it. On this shard it never finds a full mailbox.
    pub fn notify(&self, to: Address, message: impl Any + Send) {
        self.notes.borrow_mut().push((to, Note::new(message)));
    }

    /// What was sent by the session that has ended.
    pub(crate) fn into_notes(self) -> Vec<(Address, Note)> {
        self.notes.into_inner()
    }
}

/// Why a connection ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Reason {
    /// The session closed it, and all that was owed was sent.
    Closed,
    /// The session aborted it.
    Aborted,
    /// The peer reset it, or left with replies unsent.
    Lost(io::Error),
    /// A deadline passed and the session did not end in time.
    TimedOut(Deadline),
    /// A reply could not be completed.
    Failed(ProduceError),
    /// An outbound connection could not be made.
    Unreachable(io::Error),
    /// The server stopped.
    Stopped,
    /// TLS failed: the handshake, or a record later on.
    Insecure(TlsError),
    /// The session panicked.
    Panicked,
}

/// What the shard is to do after a callback.
pub(crate) enum Command {
    Notify {
        to: Address,
        note: Note,
    },
    Connect {
        id: Address,
        from: Address,
        target: Target,
        session: Box<dyn Session>,
    },
    Listen {
        id: Address,
        owner: Address,
        bind: Vec<SocketAddr>,
        acceptor: Box<dyn Acceptor>,
        secured: bool,
    },
    Unlisten(Address),
    OpenDatagrams {
        id: Address,
        owner: Address,
        service: Box<dyn DatagramService>,
    },
    OpenSocket {
        id: SocketId,
        owner: u64,
        socket: ClientSocket,
    },
    CloseSocket(SocketId),
}

/// The note that a session gets after [`Cx::listen_private`].
#[derive(Debug)]
pub struct Listening {
    /// Which listener.
    pub id: Address,
    /// The address it is bound to, or why none of those asked for could be bound.
    pub bound: io::Result<SocketAddr>,
}

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
        self.state.closing || self.state.aborted
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
        self.state.closing = true;
    }

    /// As [`close`](Self::close), to a peer that has nothing to say, as one that fetches a file from FTP's
    /// data connection: its end isn't waited for, unless it has said something nevertheless, or there is TLS.
    pub fn close_unheard(&mut self) {
        self.state.closing = true;
        self.state.unheard = true;
    }

    /// Closes at once; what was not sent is lost, visibly.
    pub fn abort(&mut self) {
        self.state.aborted = true;
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
    /// [`opened`](Session::opened), or in [`closed`](Session::closed) with [`Reason::Unreachable`]. The limits
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
    /// FTP data connection, say. What is accepted carries data in bulk: a packet that isn't full waits for the
    /// next octets or the end (RFC 9293 §3.7.4). The session is sent a [`Listening`] note. The listener is
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
