//! What an attempt has come to, written down: recipients that are done with, when the rest is tried again, and
//! reports to senders. All of it blocks, and runs in the pool.
//!
//! A report is kept before the recipient that it is about is done with, and a delivery is written down before
//! anything else is done with its entry: what a crash repeats is at most what was under way (at least once).

use std::collections::HashMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use medusa_core::AccessSink;
use medusa_mail::{EntryId, Envelope, Error as MailError, Queue, Then};

use crate::access::Onward;
use crate::report::{Kind, Notice, wants};

use super::bounce::{Poster, Subject};
use super::lot::Lot;
use super::outcome::{Fate, Outcome};
use super::route::Ways;
use super::schedule::{Id, Parcel};

/// Entries are locked by a part of their names' hash: two with one lock only wait for each other.
const LOCKS: usize = 64;

/// How much is kept of what was said to the last attempt, for operators.
const LAST_REPLY: usize = 500;
/// And of what was said about all recipients of a message, so that no peer makes its envelope too long.
const LAST_REPLIES: usize = 1 << 20;

/// When what is tried again, and given up.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Schedule {
    /// The waits between attempts; the last one is repeated. Default 1, 5, 15 minutes, 1 hour, 4 hours: within
    /// RFC 5321 §4.5.4.1, which asks for 30 minutes in general and for more patience later.
    pub retry: Vec<Duration>,
    /// How old a message may become. Default 5 days (RFC 5321 §4.5.4.1: at least 4 to 5).
    pub expire: Duration,
    /// After how long a sender is told that a message waits, once, if his NOTIFY doesn't say otherwise. Default
    /// never: only those are told who have asked for it (RFC 3461 §4.1), after 4 hours.
    pub warn: Option<Duration>,
}

impl Default for Schedule {
    fn default() -> Self {
        let minutes = |count: u64| Duration::from_secs(count * 60);
        Schedule {
            retry: vec![minutes(1), minutes(5), minutes(15), minutes(60), minutes(240)],
            expire: minutes(5 * 24 * 60),
            warn: None,
        }
    }
}

/// When those are told that their message waits who asked for it with NOTIFY=DELAY.
const WARN_WHO_ASKED: Duration = Duration::from_secs(4 * 60 * 60);

impl Schedule {
    /// The wait behind the `attempts`th attempt, a sixth more or less as `random` has it.
    pub(crate) fn wait(&self, attempts: u32, random: u64) -> Duration {
        let place = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let wait = self.retry.get(place).or(self.retry.last()).copied();
        let wait = wait.unwrap_or(Duration::from_secs(60));
        let spread = wait / 3;
        wait - wait / 6 + spread.mul_f64((random % 1024) as f64 / 1024.0)
    }
}

/// An entry that was opened for an attempt.
#[derive(Debug)]
pub(crate) struct Opened {
    pub envelope: Envelope,
    pub file: Arc<File>,
    pub size: u64,
    /// The numbers of the recipients that the parcel is for.
    pub recipients: Vec<usize>,
}

/// What was said to recipients, until all of it is written down and told.
#[derive(Debug)]
pub(crate) struct Record {
    outcomes: Vec<(usize, Outcome)>,
    at: SystemTime,
    random: u64,
    /// Whether it was logged and counted.
    begun: bool,
    /// Whether it stands in the envelope, but for those of whom nobody could be told.
    written: bool,
    /// Who is warned.
    warned: Vec<usize>,
    /// What has to be told.
    notices: Vec<(usize, Notice)>,
    /// Has the entry stay for as long as they can't be told.
    untold: Option<Untold>,
}

/// How many records of each entry hold something that couldn't be told.
type UntoldOf = Arc<Mutex<HashMap<Id, usize>>>;

/// One of them, until it is dropped.
#[derive(Debug)]
struct Untold {
    of: UntoldOf,
    id: Id,
}

impl Untold {
    fn new(of: &UntoldOf, id: &Id) -> Untold {
        let (of, id) = (Arc::clone(of), Arc::clone(id));
        *locked(&of).entry(Arc::clone(&id)).or_default() += 1;
        Untold { of, id }
    }
}

impl Drop for Untold {
    fn drop(&mut self) {
        let mut of = locked(&self.of);
        let left = of.get(&self.id).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => of.remove(&self.id),
            left => of.insert(Arc::clone(&self.id), left),
        };
    }
}

impl Record {
    /// What was said at `at`, to recipients by their numbers.
    pub(crate) fn new(outcomes: Vec<(usize, Outcome)>, at: SystemTime) -> Record {
        let (warned, notices) = (Vec::new(), Vec::new());
        let (begun, written, untold) = (false, false, None);
        Record { outcomes, at, random: 0, begun, written, warned, notices, untold }
    }
}

/// What was written down.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// After how long the parcel's recipients that are left are tried again.
    pub next: Option<Duration>,
    /// Reports that have to be sent, too.
    pub queued: Vec<(EntryId, Envelope)>,
    pub delivered: u64,
    pub deferred: u64,
    pub bounced: u64,
    /// Nothing is left to be done: the entry is to be [ended](Ledger::end).
    pub ended: bool,
    /// Not all of it could be written down or told: it is to be settled again, and nothing sent before.
    pub again: bool,
}

/// Writes down.
pub(crate) struct Ledger {
    pub queue: Arc<dyn Queue>,
    pub schedule: Schedule,
    pub poster: Poster,
    access: Option<Arc<dyn AccessSink>>,
    locks: [Mutex<()>; LOCKS],
    untold: UntoldOf,
    /// So that what failed together isn't tried again together.
    pub lot: Lot,
}

impl Ledger {
    pub(crate) fn new(
        queue: Arc<dyn Queue>,
        schedule: Schedule,
        poster: Poster,
        access: Option<Arc<dyn AccessSink>>,
        lot: Lot,
    ) -> Ledger {
        let locks = std::array::from_fn(|_| Mutex::default());
        Ledger { queue, schedule, poster, access, locks, untold: UntoldOf::default(), lot }
    }

    /// Opens an entry for an attempt at the parcel's destination.
    pub(crate) fn open(&self, ways: &Ways, parcel: &Parcel) -> Result<Opened, MailError> {
        let id = EntryId::parse(&parcel.id)?;
        let envelope = self.queue.envelope(&id)?;
        let pending = envelope.recipients.iter().enumerate().filter(|(_, one)| !one.done);
        let ours = pending.filter(|(_, one)| ways.place(&one.address) == parcel.place);
        let recipients = ours.map(|(index, _)| index).collect();
        let file = match self.queue.message(&id) {
            // It has ended meanwhile, or has lost its message.
            Err(MailError::Missing) => {
                self.queue.envelope(&id)?;
                return Err(MailError::Envelope("its message is gone"));
            }
            file => file?,
        };
        let size = file
            .metadata()
            .map_err(|source| MailError::Io { path: id.to_string().into(), source })?;
        Ok(Opened { envelope, file: Arc::new(file), size: size.len(), recipients })
    }

    /// Writes down what was said to recipients. What has failed of it, and nothing else, is done when it is
    /// called again with the same record.
    pub(crate) fn settle(&self, id: &Id, record: &mut Record) -> Result<Settled, MailError> {
        let _guard = self.lock(id);
        let key = id;
        let id = EntryId::parse(id)?;
        let mut envelope = self.queue.envelope(&id)?;
        let mut settled = Settled::default();
        if !record.begun {
            record.begun = true;
            record.random = self.lot.draw();
            self.begin(&id, &envelope, record, &mut settled);
        }
        if !record.notices.is_empty() {
            let until = envelope.accepted + self.schedule.expire;
            let subject = Subject { id: &id, envelope: &envelope, until, now: record.at };
            let notices: Vec<Notice> = record.notices.iter().map(|(_, one)| one.clone()).collect();
            match self.poster.post(&*self.queue, &subject, &notices) {
                Ok(queued) => {
                    settled.queued = queued;
                    record.notices.clear();
                    record.untold = None;
                }
                Err(error) => {
                    tracing::error!(entry = %id, %error, "a report to a sender can't be kept");
                    settled.again = true;
                    record.untold.get_or_insert_with(|| Untold::new(&self.untold, key));
                }
            }
        }
        // Nobody has failed or was warned before that is told; what was delivered is never sent again.
        let is_untold = |index: usize| record.notices.iter().any(|(untold, _)| *untold == index);
        let most = LAST_REPLY.min(LAST_REPLIES / envelope.recipients.len().max(1));
        for (index, outcome) in &record.outcomes {
            let Some(recipient) = envelope.recipients.get_mut(*index).filter(|one| !one.done)
            else {
                continue;
            };
            if !record.written {
                recipient.attempts = recipient.attempts.saturating_add(1);
            }
            recipient.done = match outcome.fate {
                Fate::Delivered { .. } => true,
                Fate::Failed => !is_untold(*index),
                Fate::Deferred => false,
            };
            // Of those who are done with, nobody asks.
            recipient.last_reply = Some(kept(outcome, most)).filter(|_| !recipient.done);
            if outcome.fate == Fate::Deferred {
                recipient.warned |= record.warned.contains(index) && !is_untold(*index);
                let wait = self.schedule.wait(recipient.attempts, record.random);
                settled.next = Some(settled.next.map_or(wait, |before| before.min(wait)));
            }
        }
        let all_done = envelope.recipients.iter().all(|recipient| recipient.done);
        // What another destination's record has to tell needs the message: that one ends it.
        if all_done && !settled.again && !locked(&self.untold).contains_key(key) {
            settled.ended = true;
            return Ok(settled);
        }
        if let Some(next) = settled.next.map(|next| record.at + next) {
            // Of several destinations, the one that is tried first.
            let sooner = envelope.next > record.at && envelope.next < next;
            envelope.next = if sooner { envelope.next } else { next };
        }
        match self.queue.update(&id, &envelope) {
            Ok(()) => record.written = true,
            Err(error) => {
                tracing::error!(entry = %id, %error, "what became of a message can't be written down");
                settled.again = true;
            }
        }
        Ok(settled)
    }

    /// Logs and counts what was said, and finds what is to be told of it.
    fn begin(&self, id: &EntryId, envelope: &Envelope, record: &mut Record, settled: &mut Settled) {
        let age = record.at.duration_since(envelope.accepted).unwrap_or_default();
        let is_pending =
            |index: usize| envelope.recipients.get(index).is_some_and(|recipient| !recipient.done);
        record.outcomes.retain(|(index, _)| is_pending(*index));
        for (index, outcome) in &mut record.outcomes {
            let recipient = &envelope.recipients[*index];
            if outcome.fate == Fate::Deferred && age >= self.schedule.expire {
                *outcome = outcome.clone().expired();
            }
            if let Some(sink) = &self.access {
                let line = Onward {
                    host: outcome.host.as_deref(),
                    submitter: envelope.submitter.as_deref(),
                    at: record.at,
                    sender: &envelope.sender,
                    recipient: &recipient.address,
                    result: result(&outcome.fate),
                    status: outcome.status,
                    id,
                    trace: envelope.trace.as_deref(),
                    age,
                };
                sink.line(line.to_string().as_bytes());
            }
            let kind = match outcome.fate {
                Fate::Delivered { dsn } => {
                    settled.delivered += 1;
                    Kind::Relayed { dsn }
                }
                Fate::Failed => {
                    settled.bounced += 1;
                    Kind::Failed
                }
                Fate::Deferred => {
                    settled.deferred += 1;
                    if !self.is_to_be_warned(recipient.notify.as_deref(), age) || recipient.warned {
                        continue;
                    }
                    record.warned.push(*index);
                    Kind::Delayed
                }
            };
            let notice = Notice { recipient: recipient.clone(), kind, outcome: outcome.clone() };
            record.notices.push((*index, notice));
        }
    }

    /// Ends an entry of which nothing is left, and calls `then` once that is certain.
    pub(crate) fn end(&self, id: &Id, then: Then) {
        match EntryId::parse(id) {
            Ok(id) => self.queue.retire(&id, then),
            Err(error) => then(Err(error)),
        }
    }

    /// As [`end`](Self::end), where that has failed: a start in between must not send it again.
    pub(crate) fn end_again(&self, id: &Id, then: Then) {
        let marked = EntryId::parse(id).and_then(|id| {
            let mut envelope = self.queue.envelope(&id)?;
            envelope.recipients.iter_mut().for_each(|recipient| recipient.done = true);
            self.queue.update(&id, &envelope)
        });
        if let Err(error) = marked {
            tracing::warn!(entry = %id, %error, "an entry that has ended can't be marked as such");
        }
        self.end(id, then);
    }

    /// Sets an entry aside, until an operator has looked at it.
    pub(crate) fn hold(&self, id: &Id) -> Result<(), MailError> {
        let _guard = self.lock(id);
        self.queue.hold(&EntryId::parse(id)?, true)
    }

    /// Ends an entry without a word.
    pub(crate) fn drop_entry(&self, id: &Id) -> Result<(), MailError> {
        let _guard = self.lock(id);
        self.queue.remove(&EntryId::parse(id)?)
    }

    // ---- helpers -----------------------------------------------------------------------------

    fn is_to_be_warned(&self, notify: Option<&str>, age: Duration) -> bool {
        self.warned_after(notify).is_some_and(|after| age >= after)
    }

    fn warned_after(&self, notify: Option<&str>) -> Option<Duration> {
        match notify {
            None => self.schedule.warn,
            // Who has asked isn't told later than who hasn't.
            Some(notify) => wants(notify, "DELAY").then_some(
                self.schedule.warn.map_or(WARN_WHO_ASKED, |warn| warn.min(WARN_WHO_ASKED)),
            ),
        }
    }

    /// When a sender is to be told first that this waits, if at all.
    pub(crate) fn warns(&self, envelope: &Envelope) -> Option<SystemTime> {
        let waits = envelope.recipients.iter().filter(|one| !one.done && !one.warned);
        let after = waits.filter_map(|one| self.warned_after(one.notify.as_deref())).min()?;
        Some(envelope.accepted + after)
    }

    fn lock(&self, id: &Id) -> MutexGuard<'_, ()> {
        let sum = id.bytes().fold(0_usize, |sum, octet| sum.wrapping_mul(31) + usize::from(octet));
        locked(&self.locks[sum % LOCKS])
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What an operator is shown of it.
fn kept(outcome: &Outcome, most: usize) -> String {
    let mut reply = match outcome.said {
        true => outcome.text.clone(),
        false => format!("{} {}", outcome.status, outcome.text),
    };
    let cut = (0..=most).rev().find(|at| reply.is_char_boundary(*at));
    reply.truncate(cut.unwrap_or_default());
    reply
}

fn result(fate: &Fate) -> &'static str {
    match fate {
        Fate::Delivered { .. } => "sent",
        Fate::Deferred => "deferred",
        Fate::Failed => "bounced",
    }
}

#[cfg(test)]
mod tests;
