//! What a protocol is made of: a [`Session`] per connection, and [`Cx`], through which it acts.
//!
//! Pure: a session sees frames, timers and notes, never a socket or a clock. A `Cx` borrows its own
//! connection's state; everything that reaches beyond it is recorded as a command and carried out by
//! the shard after the callback, so there is no re-entrancy.

mod cx;

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;

use crate::datagram::{ClientSocket, DatagramService, SocketId};
use crate::framing::Frame;
use crate::mailbox::{Address, Note};
use crate::producer::ProduceError;
use crate::service::Acceptor;
use crate::target::Target;
use crate::timer::TimerKey;
use crate::tls::TlsError;

pub use self::cx::Cx;

/// One connection's side of a protocol.
pub trait Session: Any {
    /// The connection stands. Says what is [expected](Cx::expect) first, and a greeting if there is
    /// one.
    fn opened(&mut self, cx: &mut Cx<'_>);

    /// A frame, or a piece of one, has come.
    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>);

    /// Room of the session's own for the bytes of a [stream](crate::Framing::stream), where it gathers them anyway:
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
    /// and the connection closed. A connection of a session's own may hear of it before
    /// [`opened`](Self::opened), while it is being made.
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

/// A deadline that the core keeps for every connection, by its service's [`Limits`](crate::Limits).
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
