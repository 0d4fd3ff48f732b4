//! The part of a shard that works the queue: it takes parcels from the schedule, finds servers, hands messages
//! to connections and has what comes of it written down.
//!
//! It is a datagram service without a socket, which is how something lives on a shard without a connection of
//! its own. All shards' workers share one schedule; each keeps its own connections, and gives a parcel to one
//! that stands already where it can. Here are the worker's life, its timers and its jobs for the pool.
//!
//! | file | does |
//! |---|---|
//! | `attempt` | what is known of one parcel that is under way |
//! | `dispatch` | from a parcel to a connection that has its job |
//! | `heard` | what connections say, and what is done about it |
//! | `written` | what it came to is written down; the end of an attempt |
//! | `inbox` | how words come back to a worker, without one being lost |

mod attempt;
mod dispatch;
mod heard;
pub(super) mod inbox;
#[cfg(test)]
mod tests;
mod written;

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use medusa_core::{Address, Datagram, DatagramCx, DatagramService, Note, Returned, TimerKey};
use medusa_resolver::Answer;

use super::schedule::Place;
use super::shared::{Recovered, Shared, Woken};
use attempt::Attempt;
use inbox::{Inbox, Rung, Word};
use written::Repeat;

/// There may be something to take.
const DUE: TimerKey = TimerKey(1);
/// The pool may have room again.
const POOL: (TimerKey, Duration) = (TimerKey(2), Duration::from_millis(50));
/// Operators may have asked for something.
const CONTROL: (TimerKey, Duration) = (TimerKey(3), Duration::from_secs(1));
/// The queue could not be opened, or not all of it be read; it is tried again.
const OPEN: (TimerKey, Duration) = (TimerKey(4), Duration::from_secs(10));
/// While something is under way: notes and answers may have been lost.
const ROUND: (TimerKey, Duration) = (TimerKey(5), Duration::from_secs(1));
/// What could not be written down may be now.
const REPEAT: (TimerKey, Duration) = (TimerKey(6), Duration::from_secs(1));

/// A connection.
struct Link {
    address: Address,
    place: Place,
    /// The attempt that it works for.
    ticket: Option<u64>,
}

/// Something for the pool that found it full.
type Deferred = Box<dyn FnOnce(&mut Worker, &mut DatagramCx<'_>)>;

/// A shard's worker.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    attempts: HashMap<u64, Attempt>,
    links: HashMap<u64, Link>,
    count: u64,
    deferred: VecDeque<Deferred>,
    /// By tickets.
    repeats: Vec<(u64, Repeat)>,
    patience: Duration,
    /// Whether it looks around each [`ROUND`].
    is_on_round: bool,
    leaving: bool,
    address: Option<Address>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Worker {
        Worker {
            shared,
            inbox: Arc::default(),
            attempts: HashMap::new(),
            links: HashMap::new(),
            count: 0,
            deferred: VecDeque::new(),
            repeats: Vec::new(),
            patience: REPEAT.1,
            is_on_round: false,
            leaving: false,
            address: None,
        }
    }

    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Runs `work` in the pool, now or when it has room, and `then` with what came of it: `None` where it has
    /// panicked.
    fn offload<T: Send + 'static>(
        &mut self,
        cx: &mut DatagramCx<'_>,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut Worker, &mut DatagramCx<'_>, Option<T>) + Send + 'static,
    ) {
        self.submit(cx, move || catch_unwind(AssertUnwindSafe(work)).ok(), then);
    }

    fn submit<T: Send + 'static>(
        &mut self,
        cx: &mut DatagramCx<'_>,
        work: impl FnOnce() -> Option<T> + Send + 'static,
        then: impl FnOnce(&mut Worker, &mut DatagramCx<'_>, Option<T>) + Send + 'static,
    ) {
        if let Err(Returned((work, then))) = cx.offload(work, then) {
            self.deferred.push_back(Box::new(move |worker, cx| worker.submit(cx, work, then)));
            cx.arm(POOL.0, POOL.1);
        }
    }

    /// An attempt is under way.
    fn admit(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, attempt: Attempt) {
        self.attempts.insert(ticket, attempt);
        if !std::mem::replace(&mut self.is_on_round, true) {
            cx.arm(ROUND.0, ROUND.1);
        }
    }

    /// Looks after what may have been lost.
    fn go_round(&mut self, cx: &mut DatagramCx<'_>) {
        self.look(cx);
        self.look_for_lost_answers(cx);
        self.is_on_round = !self.attempts.is_empty();
        if self.is_on_round {
            cx.arm(ROUND.0, ROUND.1);
        }
    }

    /// Takes what has come back.
    fn look(&mut self, cx: &mut DatagramCx<'_>) {
        for word in self.inbox.take() {
            match word {
                Word::Reported(report) => self.reported(cx, report),
                Word::Retired(ticket, result) => self.retired(cx, ticket, result),
            }
        }
    }

    // ---- the queue ---------------------------------------------------------------------------

    /// Reads what the queue holds: once, whichever shard is first.
    fn open_queue(&mut self, cx: &mut DatagramCx<'_>) {
        let shared = Arc::clone(&self.shared);
        let (now, wall) = (cx.now(), cx.wall_clock());
        self.offload(
            cx,
            move || shared.recover(now, wall),
            |worker, cx, read| match read {
                Some(Ok(Recovered { added, unread })) => {
                    if added > 0 {
                        tracing::info!(entries = added, "the queue holds mail that is to be sent");
                    }
                    worker.shared.wake_all();
                    if worker.leaving {
                        return;
                    }
                    cx.arm(CONTROL.0, Duration::ZERO);
                    if unread > 0 {
                        cx.arm(OPEN.0, OPEN.1);
                    }
                }
                failed => {
                    let error = failed.and_then(Result::err).map(tracing::field::display);
                    let queue = worker.shared.ledger.queue.name();
                    tracing::error!(queue, error, "it can't be opened; it is tried again");
                    cx.arm(OPEN.0, OPEN.1);
                }
            },
        );
    }

    fn read_requests(&mut self, cx: &mut DatagramCx<'_>) {
        let shared = Arc::clone(&self.shared);
        let (now, wall) = (cx.now(), cx.wall_clock());
        let read = move || {
            let read = shared.read_requests(now, wall);
            shared.remark(now, wall).and(read)
        };
        self.offload(cx, read, |worker, cx, read| {
            if let Some(Err(error)) = read {
                tracing::warn!(%error, "requests to the queue can't be read, or nothing be said of it");
            }
            worker.pump(cx);
            if !worker.leaving {
                cx.arm(CONTROL.0, CONTROL.1);
            }
        });
    }

    /// Takes what may be taken, up to this worker's share.
    fn pump(&mut self, cx: &mut DatagramCx<'_>) {
        let share = self.shared.share();
        while !self.leaving && self.attempts.len() < share {
            let Some(parcel) = self.shared.schedule().take(cx.now()) else { break };
            self.start(cx, parcel);
        }
        self.set_alarm(cx);
    }

    fn set_alarm(&self, cx: &mut DatagramCx<'_>) {
        match self.shared.schedule().next_due().filter(|_| !self.leaving) {
            Some(at) => {
                let wait = at.saturating_duration_since(cx.now());
                cx.arm(DUE, wait.max(Duration::from_millis(1)));
            }
            None => cx.disarm(DUE),
        }
    }
}

impl DatagramService for Worker {
    fn opened(&mut self, cx: &mut DatagramCx<'_>) {
        self.inbox.belongs_to(cx.remote());
        self.shared.enlist(cx.remote());
        self.address = Some(cx.address());
        // The first reads the queue, and operators' requests from then on.
        if !self.shared.begun.swap(true, Ordering::AcqRel) {
            self.open_queue(cx);
        }
    }

    fn received(&mut self, _: &mut DatagramCx<'_>, _: Datagram<'_>) {}

    fn expired(&mut self, cx: &mut DatagramCx<'_>, key: TimerKey) {
        if key == DUE {
            self.pump(cx);
        } else if key == POOL.0 {
            for deferred in std::mem::take(&mut self.deferred) {
                deferred(self, cx);
            }
        } else if key == CONTROL.0 {
            self.read_requests(cx);
        } else if key == OPEN.0 {
            self.open_queue(cx);
        } else if key == REPEAT.0 {
            self.repeat(cx);
        } else {
            self.go_round(cx);
        }
    }

    fn notified(&mut self, cx: &mut DatagramCx<'_>, note: Note) {
        let note = match note.downcast::<Rung>() {
            Ok(Rung) => return self.look(cx),
            Err(note) => note,
        };
        let note = match note.downcast::<Answer>() {
            Ok(answer) => return self.answered(cx, answer),
            Err(note) => note,
        };
        if let Ok(Woken(passed)) = note.downcast::<Woken>() {
            match self.attempts.len() < self.shared.share() {
                true => self.pump(cx),
                false => self.shared.pass_on(cx.address(), passed),
            }
        }
    }

    fn draining(&mut self, cx: &mut DatagramCx<'_>) {
        self.leaving = true;
        for key in [DUE, CONTROL.0, OPEN.0] {
            cx.disarm(key);
        }
        // What isn't with a server yet stays on disk as it is.
        self.attempts.retain(|_, attempt| attempt.session.is_some() || attempt.writing > 0);
    }

    fn closed(&mut self) {
        if let Some(address) = self.address {
            self.shared.dismiss(address);
        }
    }

    fn is_idle(&self) -> bool {
        self.attempts.is_empty() && self.deferred.is_empty()
    }
}
