//! A data connection: a session of its own on the shard of its control connection, which it is told by
//! and reports to by notes.
//!
//! What comes in is gathered and written in the pool. Reading goes on meanwhile, within bounds, and from
//! the beginning: who only sends may reset the connection when it has sent all, because it has left our
//! TLS tickets unread, and what is read by then counts. What goes out is a producer. Which peer and which
//! TLS session are right is the control connection's to judge, but for the address, which is looked at
//! before anything is read.

mod acceptor;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use medusa_core::producer::hooked;
use medusa_core::tls::Facts;
use medusa_core::{
    Cx, Deadline, Delivered, Frame, Framing, Goodbye, Note, Producer, Reason, Remote, Session,
    TimerKey,
};

use crate::Error;
use crate::pace::{Exhausted, Pace, Paced};
use crate::storage::Ending;
use crate::stream::{Counted, Sink};

pub(crate) use acceptor::DataAcceptor;

/// So much is gathered before the pool is asked to write it: a sixteenth of what has come, within these
/// bounds. Each piece wakes a thread and the loop again; with 512 KiB a large upload took four fifths of the
/// processor time that it took with 128 KiB (240 µs a MiB, and 300), and with 1 MiB hardly less (233).
const PIECE: (usize, usize) = (128 * 1024, 512 * 1024);
/// So many pieces are held at most, while the pool writes or before it is known what the connection is for.
const AHEAD: usize = 2;
/// After how long a full pool is asked again.
pub(crate) const RETRY: Duration = Duration::from_millis(10);
const RETRY_KEY: TimerKey = TimerKey(1);
/// How long a data connection waits to be used: vsftpd's accept_timeout is 60 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const PATIENCE_KEY: TimerKey = TimerKey(2);
/// When more may go, where there is a limit to how fast.
const PACE_KEY: TimerKey = TimerKey(3);

/// What a data connection is told.
pub(crate) enum Order {
    Begin(Work),
    /// End at once.
    Abandon,
}

/// What a data connection is for.
pub(crate) enum Work {
    Send { make: Box<dyn FnOnce() -> Box<dyn Producer> + Send>, moved: Arc<AtomicU64>, pace: Pace },
    Receive { tray: Tray, moved: Arc<AtomicU64>, pace: Pace },
}

/// What a data connection reports, and which one it is.
pub(crate) struct Report {
    pub(crate) from: Name,
    pub(crate) event: Event,
}

/// Which data connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    /// Of the channel that was asked for.
    pub(crate) serial: u64,
    /// Of those that have come to its port: one that is too late must not be taken for the right one.
    pub(crate) index: u32,
}

pub(crate) enum Event {
    Opened {
        remote: Remote,
        tls: Option<Arc<Facts>>,
    },
    Ended {
        result: Result<(), Failure>,
        left: Option<Tray>,
    },
    /// More have come to its port than one client has a use for.
    Crowded,
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
    /// Adds what was gathered. The two buffers change places where nothing is left in the tray's.
    fn take_over(&mut self, gathered: &mut Vec<u8>) {
        match self.gathered.is_empty() {
            true => std::mem::swap(&mut self.gathered, gathered),
            // A full pool has refused it.
            false => self.gathered.append(gathered),
        }
    }

    fn write(&mut self) -> Result<(), Error> {
        let result = self.sink.write(&self.gathered);
        self.gathered.clear();
        result
    }

    /// Ends the upload of a connection that has gone, by how it went. Blocks.
    pub(crate) fn end_as(self, result: Result<(), Failure>) -> Result<(), Failure> {
        match result {
            Ok(()) => self.end(Ending::Complete).map_err(Failure::Stored),
            Err(failure) => {
                // What can't be kept isn't.
                if let Err(error) = self.end(Ending::Cut) {
                    tracing::debug!(%error, "a broken upload could not be kept");
                }
                Err(failure)
            }
        }
    }

    /// Writes what is left and ends the upload. Blocks.
    fn end(mut self, ending: Ending) -> Result<(), Error> {
        match self.write() {
            Ok(()) => self.sink.end(ending),
            Err(error) => {
                self.sink.end(Ending::Failed)?;
                Err(error)
            }
        }
    }
}

/// What session and pool share of an upload.
#[derive(Default)]
struct Shelf {
    /// Gone while the pool has it. A closure that a full pool refuses is lost, this isn't.
    tray: Option<Tray>,
    /// The pool is to write the tray, or is at it.
    is_owed: bool,
    /// The connection has gone while that was so: what it had gathered since, and why it went, unless all
    /// had come.
    orphaned: Option<(Vec<u8>, Result<(), Failure>)>,
}

fn lock(shelf: &Mutex<Shelf>) -> MutexGuard<'_, Shelf> {
    // No code that holds the lock can leave it half changed.
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One data connection.
pub(crate) struct DataSession {
    control: Remote,
    name: Name,
    shelf: Arc<Mutex<Shelf>>,
    gathered: Vec<u8>,
    moved: Arc<AtomicU64>,
    pace: Pace,
    /// What the producer may still make, where that is limited.
    granted: Arc<AtomicI64>,
    /// What it gets next, once that is paid for.
    next_grant: i64,
    /// More has come than may, and reading rests until that has been paid for.
    is_ahead: bool,
    phase: Phase,
    /// The peer has sent all, and whether it said so.
    end: Option<End>,
    /// The pool has work of this connection.
    in_pool: bool,
    /// The pool was full: what it was to do waits on the shelf, and nothing more is taken until then.
    is_refused: bool,
    is_abandoned: bool,
    /// The socket has taken everything.
    is_sent: Arc<AtomicBool>,
    /// How it ended was told, or will be by the pool.
    has_reported: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It wasn't told what it is for.
    Waiting,
    Sending,
    Receiving,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Complete,
    Truncated,
}

impl DataSession {
    pub(crate) fn new(control: Remote, name: Name) -> DataSession {
        DataSession {
            control,
            name,
            shelf: Arc::default(),
            gathered: Vec::new(),
            moved: Arc::default(),
            pace: Pace::default(),
            granted: Arc::default(),
            next_grant: 0,
            is_ahead: false,
            phase: Phase::Waiting,
            end: None,
            in_pool: false,
            is_refused: false,
            is_abandoned: false,
            is_sent: Arc::default(),
            has_reported: false,
        }
    }

    fn begin(&mut self, cx: &mut Cx<'_>, work: Work) {
        cx.disarm(PATIENCE_KEY);
        match work {
            Work::Send { make, moved, pace } => {
                self.phase = Phase::Sending;
                self.pace = pace;
                let is_sent = Arc::clone(&self.is_sent);
                let hook = move |delivered: Delivered| {
                    is_sent.store(delivered.completed, Ordering::Relaxed);
                };
                let inner = match self.pace.grant() {
                    Some(_) => Box::new(Paced {
                        inner: make(),
                        granted: Arc::clone(&self.granted),
                        session: cx.remote(),
                        has_asked: false,
                    }),
                    None => make(),
                };
                cx.send(hooked(Counted { inner, moved }, hook));
                cx.close_unheard();
            }
            Work::Receive { tray, moved, pace } => {
                self.phase = Phase::Receiving;
                self.pace = pace;
                lock(&self.shelf).tray = Some(tray);
                self.moved = moved;
                self.moved.fetch_add(self.gathered.len() as u64, Ordering::Relaxed);
                // Bytes as they come, with the minimum rate of a body: a stream has none.
                cx.expect_in_body(Framing::stream());
                self.go_on(cx);
            }
        }
    }

    /// The producer has used up what it might make: it gets more when that is paid for.
    fn grant(&mut self, cx: &mut Cx<'_>) {
        let Some(grant) = self.pace.grant() else { return };
        let octets = grant + self.granted.load(Ordering::Relaxed).min(0).unsigned_abs();
        self.next_grant = octets as i64;
        let wait = self.pace.take(octets, cx.now());
        match wait.is_zero() {
            true => self.granted(cx),
            false => cx.arm(PACE_KEY, wait),
        }
    }

    fn granted(&mut self, cx: &mut Cx<'_>) {
        self.granted.fetch_add(std::mem::take(&mut self.next_grant), Ordering::Relaxed);
        cx.remote().wake();
    }

    /// Rests when more has come than may.
    fn pay(&mut self, cx: &mut Cx<'_>, octets: usize) {
        let wait = self.pace.take(octets as u64, cx.now());
        if !wait.is_zero() {
            self.is_ahead = true;
            cx.arm(PACE_KEY, wait);
        }
    }

    /// Has the pool do what is to be done, if it isn't at it, and reads as far as there is room.
    fn go_on(&mut self, cx: &mut Cx<'_>) {
        let may_work = !self.in_pool && !self.is_refused && !self.has_reported;
        if self.phase == Phase::Receiving && may_work {
            match self.end {
                Some(End::Truncated) => self.ended(cx, Failure::Truncated),
                Some(End::Complete) => self.finish(cx),
                None if self.gathered.len() >= self.piece() => self.write(cx),
                None => {}
            }
        }
        let is_full = self.is_refused || self.gathered.len() >= AHEAD * self.piece();
        match self.is_ahead || is_full {
            true => cx.pause(),
            false => cx.resume(),
        }
    }

    fn piece(&self) -> usize {
        let moved = usize::try_from(self.moved.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        // One of a few lengths, so that the buffers seldom grow.
        let share = (moved / 16).clamp(PIECE.0, PIECE.1) / PIECE.0;
        PIECE.0 << share.ilog2()
    }

    /// Writes what was gathered.
    fn write(&mut self, cx: &mut Cx<'_>) {
        {
            let mut shelf = lock(&self.shelf);
            if let Some(tray) = &mut shelf.tray {
                tray.take_over(&mut self.gathered);
            }
            shelf.is_owed = true;
        }
        let (shelf, control, name) = (Arc::clone(&self.shelf), self.control.clone(), self.name);
        let work = move || {
            let tray = lock(&shelf).tray.take();
            let Some(mut tray) = tray else { return false };
            let written = tray.write();
            let mut shelf = lock(&shelf);
            shelf.is_owed = false;
            let result = match (written, shelf.orphaned.take()) {
                (Ok(()), None) => {
                    shelf.tray = Some(tray);
                    return true;
                }
                (Ok(()), Some((rest, result))) => {
                    drop(shelf);
                    tray.gathered = rest;
                    tray.end_as(result)
                }
                (Err(error), _) => {
                    drop(shelf);
                    let undone = tray.sink.end(Ending::Failed);
                    Err(Failure::Stored(undone.err().unwrap_or(error)))
                }
            };
            report(&control, name, Event::Ended { result, left: None });
            false
        };
        self.submit(cx, work, |session, cx, goes_on| match goes_on {
            true => session.go_on(cx),
            false => {
                session.has_reported = true;
                cx.close();
            }
        });
    }

    /// All has come: writes what is left and ends the upload. The pool tells how that went, whether this
    /// connection is still there or not.
    fn finish(&mut self, cx: &mut Cx<'_>) {
        if let Some(tray) = &mut lock(&self.shelf).tray {
            tray.take_over(&mut self.gathered);
        }
        let (shelf, control, name) = (Arc::clone(&self.shelf), self.control.clone(), self.name);
        let work = move || {
            let tray = lock(&shelf).tray.take();
            let ended = tray.map_or(Ok(()), |tray| tray.end(Ending::Complete));
            let result = ended.map_err(Failure::Stored);
            report(&control, name, Event::Ended { result, left: None });
        };
        self.has_reported = true;
        self.submit(cx, work, |_, cx, ()| cx.close());
    }

    fn submit<T: Send + 'static>(
        &mut self,
        cx: &mut Cx<'_>,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut DataSession, &mut Cx<'_>, T) + Send + 'static,
    ) {
        self.in_pool = true;
        let done = move |session: &mut DataSession, cx: &mut Cx<'_>, value: T| {
            session.in_pool = false;
            then(session, cx, value);
        };
        if cx.offload(work, done).is_err() {
            // What it was to work on is on the shelf still.
            lock(&self.shelf).is_owed = false;
            self.in_pool = false;
            self.is_refused = true;
            self.has_reported = false;
            cx.pause();
            cx.arm(RETRY_KEY, RETRY);
        }
    }

    fn ended(&mut self, cx: &mut Cx<'_>, failure: Failure) {
        self.has_reported = true;
        let mut left = lock(&self.shelf).tray.take();
        if let Some(tray) = &mut left {
            tray.take_over(&mut self.gathered);
        }
        let event = Event::Ended { result: Err(failure), left };
        cx.notify(self.control.address(), Report { from: self.name, event });
        cx.close();
    }
}

impl Session for DataSession {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::stream());
        cx.arm(PATIENCE_KEY, PATIENCE);
        let event = Event::Opened { remote: cx.remote(), tls: cx.peer().tls.clone() };
        cx.notify(self.control.address(), Report { from: self.name, event });
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        self.gathered.extend_from_slice(frame.bytes);
        self.filled(cx, frame.bytes.len());
    }

    fn room(&mut self) -> Option<&mut Vec<u8>> {
        let is_large = self.moved.load(Ordering::Relaxed) >= PIECE.0 as u64;
        if self.phase != Phase::Receiving || !is_large || self.pace.grant().is_some() {
            return None;
        }
        let most = AHEAD * self.piece();
        if self.gathered.is_empty() || self.gathered.len() == self.gathered.capacity() {
            self.gathered.reserve_exact(most.saturating_sub(self.gathered.len()));
        }
        Some(&mut self.gathered)
    }

    fn filled(&mut self, cx: &mut Cx<'_>, count: usize) {
        self.moved.fetch_add(count as u64, Ordering::Relaxed);
        self.pay(cx, count);
        self.go_on(cx);
    }

    fn drained(&mut self, cx: &mut Cx<'_>) {
        if self.is_sent.load(Ordering::Relaxed) && !self.has_reported {
            self.has_reported = true;
            let event = Event::Ended { result: Ok(()), left: None };
            cx.notify(self.control.address(), Report { from: self.name, event });
        }
    }

    fn half_closed(&mut self, cx: &mut Cx<'_>) {
        self.end = Some(if cx.is_truncated() { End::Truncated } else { End::Complete });
        self.go_on(cx);
    }

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        let note = match note.downcast::<Exhausted>() {
            Ok(Exhausted) => return self.grant(cx),
            Err(note) => note,
        };
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
        match key {
            RETRY_KEY => {
                self.is_refused = false;
                // What is on the shelf is owed, however little it is.
                if self.end.is_none() && !self.has_reported {
                    self.write(cx);
                }
                self.go_on(cx);
            }
            PACE_KEY if self.phase == Phase::Sending => self.granted(cx),
            PACE_KEY => {
                self.is_ahead = false;
                self.go_on(cx);
            }
            _ => cx.abort(),
        }
    }

    fn timed_out(&mut self, cx: &mut Cx<'_>, _: Deadline) {
        if !self.in_pool && !self.has_reported {
            self.ended(cx, Failure::TimedOut);
        }
        cx.abort();
    }

    /// A transfer under way may finish.
    fn draining(&mut self, _: &mut Cx<'_>) {}

    fn closed(&mut self, goodbye: &Goodbye) {
        if matches!(goodbye.reason, Reason::Panicked) {
            // The pool may have been about to tell, and won't.
            let failure = Failure::Stored(Error::Io(std::io::Error::other("it panicked")));
            let event = Event::Ended { result: Err(failure), left: None };
            return goodbye.notify(self.control.address(), Report { from: self.name, event });
        }
        if self.has_reported {
            return;
        }
        if self.is_sent.load(Ordering::Relaxed) {
            let event = Event::Ended { result: Ok(()), left: None };
            return goodbye.notify(self.control.address(), Report { from: self.name, event });
        }
        let result = match &goodbye.reason {
            _ if self.is_abandoned => Err(Failure::Abandoned),
            // Nothing was to be sent.
            Reason::Closed => return,
            // All had come before it was lost: the pool is late, not the peer.
            _ if self.phase == Phase::Receiving && self.end == Some(End::Complete) => Ok(()),
            Reason::Unreachable(_) => Err(Failure::Unreachable),
            Reason::Insecure(_) => Err(Failure::Insecure),
            Reason::TimedOut(_) => Err(Failure::TimedOut),
            Reason::Failed(_) => Err(Failure::Unreadable),
            _ => Err(Failure::Lost),
        };
        let mut shelf = lock(&self.shelf);
        if shelf.is_owed {
            // The pool tells when it is done, whether it has begun or not.
            return shelf.orphaned = Some((std::mem::take(&mut self.gathered), result));
        }
        let left = shelf.tray.take().map(|mut tray| {
            tray.take_over(&mut self.gathered);
            tray
        });
        drop(shelf);
        // What is left is the control connection's to end, in the pool: here is an event loop.
        let event = Event::Ended { result, left };
        goodbye.notify(self.control.address(), Report { from: self.name, event });
    }
}

fn report(control: &Remote, from: Name, event: Event) {
    if control.notify(Report { from, event }).is_err() {
        tracing::warn!("the end of a transfer could not be told: too many notes wait");
    }
}
