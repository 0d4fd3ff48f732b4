//! A data connection: a session of its own on the shard of its control connection, which it is told by
//! and reports to by notes.
//!
//! What comes in is gathered and written in the pool, and reading rests meanwhile; what goes out is a
//! producer. Which peer and which TLS session are right is the control connection's to judge, but for
//! the address, which is looked at before anything is read.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use medusa_core::producer::hooked;
use medusa_core::tls::Facts;
use medusa_core::{
    Acceptor, Cx, Deadline, Delivered, Frame, Framing, Goodbye, Note, Peer, Producer, Reason,
    Remote, Session, TimerKey,
};

use crate::Error;
use crate::storage::Ending;
use crate::stream::{Counted, Sink};

/// So much is gathered before the pool is asked to write it.
const PIECE: usize = 128 * 1024;
/// After how long a full pool is asked again.
const RETRY: Duration = Duration::from_millis(10);
const RETRY_KEY: TimerKey = TimerKey(1);
/// How long a data connection waits to be used: vsftpd's accept_timeout is 60 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_KEY: TimerKey = TimerKey(2);

/// What a data connection is told.
pub(crate) enum Order {
    Begin(Work),
    /// End at once.
    Abandon,
}

/// What a data connection is for.
pub(crate) enum Work {
    Send { make: Box<dyn FnOnce() -> Box<dyn Producer> + Send>, moved: Arc<AtomicU64> },
    Receive { tray: Tray, moved: Arc<AtomicU64> },
}

/// What a data connection reports, and which one it is.
pub(crate) struct Report {
    pub(crate) serial: u64,
    pub(crate) event: Event,
}

pub(crate) enum Event {
    Opened { remote: Remote, tls: Option<Arc<Facts>> },
    Ended { result: Result<(), Failure>, left: Option<Tray> },
}

/// Why a transfer did not end well.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The connection was lost.
    Lost,
    /// The peer's stream ended without TLS's word for it: it may have been cut by anyone.
    Truncated,
    /// It was told to end.
    Abandoned,
    /// It could not be made.
    Unreachable,
    /// No TLS could be agreed upon.
    Insecure,
    /// The peer was too slow or silent.
    TimedOut,
    /// What was to be sent could not be read.
    Unreadable,
    /// What has come could not be stored.
    Stored(Error),
}

/// An upload and what was gathered for it.
pub(crate) struct Tray {
    pub(crate) sink: Sink,
    pub(crate) gathered: Vec<u8>,
}

impl Tray {
    fn write(&mut self) -> Result<(), Error> {
        let result = self.sink.write(&self.gathered);
        self.gathered.clear();
        result
    }

    /// Writes what is left and ends the upload. Blocks.
    pub(crate) fn end(mut self, ending: Ending) -> Result<(), Error> {
        match self.write() {
            Ok(()) => self.sink.end(ending),
            Err(error) => {
                self.sink.end(Ending::Failed)?;
                Err(error)
            }
        }
    }
}

/// Where a tray is while it isn't in the pool: a closure that a full pool refuses is lost, this isn't.
type Shelf = Arc<Mutex<Option<Tray>>>;

fn take(shelf: &Shelf) -> Option<Tray> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// One data connection.
pub(crate) struct DataSession {
    control: Remote,
    serial: u64,
    shelf: Shelf,
    moved: Arc<AtomicU64>,
    /// What the pool is to do as soon as it has room.
    owed: Option<Owed>,
    is_abandoned: bool,
    has_reported: bool,
}

#[derive(Clone, Copy)]
enum Owed {
    Write,
    End,
}

impl DataSession {
    pub(crate) fn new(control: Remote, serial: u64) -> DataSession {
        let (shelf, moved) = (Shelf::default(), Arc::default());
        DataSession {
            control,
            serial,
            shelf,
            moved,
            owed: None,
            is_abandoned: false,
            has_reported: false,
        }
    }

    fn begin(&mut self, cx: &mut Cx<'_>, work: Work) {
        cx.disarm(PATIENCE_KEY);
        match work {
            Work::Send { make, moved } => {
                let (control, serial) = (self.control.clone(), self.serial);
                // Told when the socket has taken everything; `closed` tells of the rest.
                let hook = move |delivered: Delivered| {
                    if delivered.completed {
                        report(&control, serial, Event::Ended { result: Ok(()), left: None });
                    }
                };
                cx.send(hooked(Counted { inner: make(), moved }, hook));
                cx.close();
            }
            Work::Receive { tray, moved } => {
                self.shelf = Arc::new(Mutex::new(Some(tray)));
                self.moved = moved;
                // Bytes as they come, with the minimum rate of a body: a stream has none.
                cx.expect(Framing::length(u64::MAX));
                cx.resume();
            }
        }
    }

    /// Has the pool do what is owed, now or when it has room.
    fn settle(&mut self, cx: &mut Cx<'_>, owed: Owed) {
        cx.pause();
        let shelf = Arc::clone(&self.shelf);
        let submitted = match owed {
            Owed::Write => cx.offload(
                move || {
                    let mut tray = take(&shelf)?;
                    match tray.write() {
                        Ok(()) => {
                            *shelf.lock().unwrap_or_else(PoisonError::into_inner) = Some(tray)
                        }
                        Err(error) => {
                            let undone = tray.sink.end(Ending::Failed);
                            return Some(undone.err().unwrap_or(error));
                        }
                    }
                    None
                },
                |session: &mut DataSession, cx, failed: Option<Error>| match failed {
                    None => cx.resume(),
                    Some(error) => session.ended(cx, Err(Failure::Stored(error))),
                },
            ),
            Owed::End => cx.offload(
                move || take(&shelf).map_or(Ok(()), |tray| tray.end(Ending::Complete)),
                |session: &mut DataSession, cx, result: Result<(), Error>| {
                    session.ended(cx, result.map_err(Failure::Stored));
                },
            ),
        };
        self.owed = None;
        if submitted.is_err() {
            self.owed = Some(owed);
            cx.arm(RETRY_KEY, RETRY);
        }
    }

    fn ended(&mut self, cx: &mut Cx<'_>, result: Result<(), Failure>) {
        self.has_reported = true;
        let event = Event::Ended { result, left: take(&self.shelf) };
        cx.notify(self.control.address(), Report { serial: self.serial, event });
        cx.close();
    }
}

impl Session for DataSession {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.pause();
        cx.arm(PATIENCE_KEY, PATIENCE);
        let event = Event::Opened { remote: cx.remote(), tls: cx.peer().tls.clone() };
        cx.notify(self.control.address(), Report { serial: self.serial, event });
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        let gathered = match &mut *self.shelf.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(tray) => {
                tray.gathered.extend_from_slice(frame.bytes);
                tray.gathered.len()
            }
            None => 0,
        };
        self.moved.fetch_add(frame.bytes.len() as u64, Ordering::Relaxed);
        if gathered >= PIECE {
            self.settle(cx, Owed::Write);
        }
    }

    fn half_closed(&mut self, cx: &mut Cx<'_>) {
        match cx.is_truncated() {
            true => self.ended(cx, Err(Failure::Truncated)),
            false => self.settle(cx, Owed::End),
        }
    }

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        match note.downcast::<Order>() {
            Ok(Order::Begin(work)) => self.begin(cx, work),
            Ok(Order::Abandon) => {
                self.is_abandoned = true;
                cx.abort();
            }
            Err(_) => debug_assert!(false, "a data connection takes orders"),
        }
    }

    fn expired(&mut self, cx: &mut Cx<'_>, key: TimerKey) {
        match (key, self.owed) {
            (RETRY_KEY, Some(owed)) => self.settle(cx, owed),
            (PATIENCE_KEY, _) => cx.abort(),
            _ => {}
        }
    }

    fn timed_out(&mut self, cx: &mut Cx<'_>, _: Deadline) {
        self.ended(cx, Err(Failure::TimedOut));
        cx.abort();
    }

    /// A transfer under way may finish.
    fn draining(&mut self, _: &mut Cx<'_>) {}

    fn closed(&mut self, goodbye: &Goodbye) {
        if self.has_reported {
            return;
        }
        let failure = match &goodbye.reason {
            _ if self.is_abandoned => Failure::Abandoned,
            // All was sent, and that was told.
            Reason::Closed => return,
            Reason::Unreachable(_) => Failure::Unreachable,
            Reason::Insecure(_) => Failure::Insecure,
            Reason::TimedOut(_) => Failure::TimedOut,
            Reason::Failed(_) => Failure::Unreadable,
            _ => Failure::Lost,
        };
        // What is left is the control connection's to end, in the pool: here is an event loop.
        let event = Event::Ended { result: Err(failure), left: take(&self.shelf) };
        report(&self.control, self.serial, event);
    }
}

fn report(control: &Remote, serial: u64, event: Event) {
    if control.notify(Report { serial, event }).is_err() {
        tracing::warn!("the end of a transfer could not be told: too many notes wait");
    }
}

/// Takes the data connections of one passive listener: those of the control connection's peer.
pub(crate) struct DataAcceptor {
    pub(crate) control: Remote,
    pub(crate) serial: u64,
    pub(crate) peer: Option<IpAddr>,
}

impl Acceptor for DataAcceptor {
    fn accepted(&mut self, peer: &Peer) -> Box<dyn Session> {
        match peer.remote.ip() == self.peer {
            true => Box::new(DataSession::new(self.control.clone(), self.serial)),
            false => {
                tracing::info!(peer = %peer.remote, "a data connection of another host is refused");
                Box::new(Stranger)
            }
        }
    }
}

/// Somebody else at a data port (RFC 2577 §4). It doesn't take the place of the right one.
struct Stranger;

impl Session for Stranger {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.abort();
    }

    fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
}
