//! What an attempt has come to is written down, and the attempt ends: it goes back to the schedule once nothing
//! more is tried and nothing is being written.
//!
//! What can't be written down now is written later, and nothing of the entry is sent meanwhile: another attempt
//! would be another copy. What can't be read now is read another time. An entry that is damaged, or that has the
//! ledger panic again and again, is held until an operator has looked at it. **However it goes, an attempt comes
//! back**: a job of the pool that panics is heard of, and who ends an entry holds a promise.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use medusa_core::DatagramCx;
use medusa_mail::Error as MailError;

use super::inbox::Promise;
use super::{REPEAT, Worker};
use crate::sending::ledger::{Record, Settled};
use crate::sending::outcome::Outcome;

/// What could not be written down is tried again: first after [`REPEAT`], then after twice as long each time.
const MOST_PATIENCE: Duration = Duration::from_secs(60);
/// How often that may panic, before the entry is held.
const MOST_PANICS: u32 = 3;

/// What was said to recipients, which outlives a job that panics.
pub(super) type SharedRecord = Arc<Mutex<Record>>;

/// What could not be done.
pub(super) enum Repeat {
    Settle(SharedRecord),
    End,
    Hold,
}

impl Worker {
    pub(super) fn write_down(
        &mut self,
        cx: &mut DatagramCx<'_>,
        ticket: u64,
        outcomes: Vec<(usize, Outcome)>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        if outcomes.is_empty() {
            return self.conclude(cx, ticket);
        }
        attempt.writing += 1;
        let record = Record::new(outcomes, cx.wall_clock());
        self.settle(cx, ticket, Arc::new(Mutex::new(record)));
    }

    fn settle(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, record: SharedRecord) {
        let Some(attempt) = self.attempts.get(&ticket) else { return };
        let (shared, id) = (Arc::clone(&self.shared), Arc::clone(&attempt.parcel.id));
        let (inbox, kept) = (Arc::clone(&self.inbox), Arc::clone(&record));
        let work = move || {
            let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
            let settled = shared.ledger.settle(&id, &mut record);
            if settled.as_ref().is_ok_and(|settled| settled.ended) {
                let promise = Promise::new(&inbox, ticket);
                // If that panics, the promise says so: what was settled is settled.
                let end = || shared.ledger.end(&id, promise.into_then());
                let _ = catch_unwind(AssertUnwindSafe(end));
            }
            settled
        };
        self.offload(cx, work, move |worker, cx, settled| {
            worker.written(cx, ticket, settled, kept);
        });
    }

    /// `None` where the job has panicked.
    fn written(
        &mut self,
        cx: &mut DatagramCx<'_>,
        ticket: u64,
        settled: Option<Result<Settled, MailError>>,
        record: SharedRecord,
    ) {
        let is_to_be_repeated = match &settled {
            Some(Ok(settled)) => settled.again,
            Some(Err(MailError::Missing)) => false,
            Some(Err(error @ MailError::Envelope(_))) => {
                return self.hold(cx, ticket, &error.to_string());
            }
            Some(Err(error)) => {
                tracing::error!(%error, "what became of a message can't be written down");
                true
            }
            None => {
                let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
                attempt.panics += 1;
                if attempt.panics > MOST_PANICS {
                    return self.hold(cx, ticket, "what becomes of it can't be written down");
                }
                true
            }
        };
        let settled = settled.and_then(Result::ok);
        // What is to be ended is over once that is certain.
        let is_over = !is_to_be_repeated && !settled.as_ref().is_some_and(|settled| settled.ended);
        let next = settled.and_then(|settled| self.count(cx, settled));
        if let Some(attempt) = self.attempts.get_mut(&ticket) {
            attempt.writing -= usize::from(is_over);
            attempt.next = [attempt.next, next].into_iter().flatten().min();
        }
        match is_to_be_repeated {
            true => self.repeat_later(cx, ticket, Repeat::Settle(record)),
            false => self.patience = REPEAT.1,
        }
        self.conclude(cx, ticket);
    }

    /// Until then nothing more is done with the parcel.
    fn repeat_later(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, repeat: Repeat) {
        if self.repeats.is_empty() {
            cx.arm(REPEAT.0, self.patience);
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
        }
        self.repeats.push((ticket, repeat));
    }

    pub(super) fn repeat(&mut self, cx: &mut DatagramCx<'_>) {
        for (ticket, repeat) in std::mem::take(&mut self.repeats) {
            match repeat {
                Repeat::Settle(record) => self.settle(cx, ticket, record),
                Repeat::End => self.end_again(cx, ticket),
                Repeat::Hold => self.set_aside(cx, ticket),
            }
        }
    }

    fn end_again(&mut self, cx: &mut DatagramCx<'_>, ticket: u64) {
        let Some(attempt) = self.attempts.get(&ticket) else { return };
        let (shared, id) = (Arc::clone(&self.shared), Arc::clone(&attempt.parcel.id));
        let promise = Promise::new(&self.inbox, ticket);
        let work = move || shared.ledger.end_again(&id, promise.into_then());
        self.offload(cx, work, |_, _, _| {});
    }

    /// An entry has ended.
    pub(super) fn retired(
        &mut self,
        cx: &mut DatagramCx<'_>,
        ticket: u64,
        result: Result<(), MailError>,
    ) {
        match result {
            Ok(()) | Err(MailError::Missing) => self.shared.counts.dequeued.add(1),
            Err(error) => {
                tracing::error!(%error, "a queue entry can't be removed; it is tried again");
                return self.repeat_later(cx, ticket, Repeat::End);
            }
        }
        if let Some(attempt) = self.attempts.get_mut(&ticket) {
            attempt.writing -= 1;
        }
        self.conclude(cx, ticket);
    }

    /// Counts what was written down; after how long it is tried again.
    fn count(&mut self, cx: &mut DatagramCx<'_>, settled: Settled) -> Option<Duration> {
        self.shared.counts.delivered.add(settled.delivered);
        self.shared.counts.deferred.add(settled.deferred);
        self.shared.counts.bounced.add(settled.bounced);
        for (id, envelope) in settled.queued {
            self.shared.add(id.as_ref(), &envelope, cx.now(), cx.wall_clock());
        }
        settled.next
    }

    // ---- entries that can't be worked --------------------------------------------------------

    /// An attempt's entry can't be opened: `None` where that has panicked. It is held if that won't pass, and
    /// waits otherwise, unless somebody has taken it away.
    pub(super) fn unread(
        &mut self,
        cx: &mut DatagramCx<'_>,
        ticket: u64,
        error: Option<MailError>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        attempt.over = true;
        let why = match error {
            Some(MailError::Missing) => return self.conclude(cx, ticket),
            Some(error @ MailError::Envelope(_)) => {
                attempt.writing += 1;
                return self.hold(cx, ticket, &error.to_string());
            }
            Some(error) => error.to_string(),
            None => "that has panicked".into(),
        };
        tracing::error!(entry = %attempt.parcel.id, %why, "the entry can't be read now");
        // As behind a first attempt: it needs not be the entry's fault.
        attempt.next = Some(self.shared.ledger.schedule.wait(1, self.shared.random()));
        self.conclude(cx, ticket);
    }

    /// Sets an attempt's entry aside; that counts among what is being written down.
    fn hold(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, why: &str) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        tracing::error!(entry = %attempt.parcel.id, %why, "the entry can't be sent, and is held");
        attempt.over = true;
        attempt.session = None;
        attempt.asked = None;
        attempt.trail = None;
        attempt.batch.clear();
        attempt.left.clear();
        self.set_aside(cx, ticket);
    }

    fn set_aside(&mut self, cx: &mut DatagramCx<'_>, ticket: u64) {
        let Some(attempt) = self.attempts.get(&ticket) else { return };
        let (shared, id) = (Arc::clone(&self.shared), Arc::clone(&attempt.parcel.id));
        let work = move || shared.set_aside(&id);
        self.offload(cx, work, move |worker, cx, held| {
            match held {
                Some(Ok(()) | Err(MailError::Missing)) => {}
                failed => {
                    let error = failed.and_then(Result::err).map(tracing::field::display);
                    tracing::error!(error, "an entry can't be held; it is tried again");
                    return worker.repeat_later(cx, ticket, Repeat::Hold);
                }
            }
            if let Some(attempt) = worker.attempts.get_mut(&ticket) {
                attempt.writing -= 1;
                attempt.next = None;
            }
            worker.conclude(cx, ticket);
        });
    }

    // ---- the end of an attempt ---------------------------------------------------------------

    /// What is left of an attempt is on disk as it was: another time.
    pub(super) fn leave(&mut self, cx: &mut DatagramCx<'_>, ticket: u64) {
        if let Some(attempt) = self.attempts.get_mut(&ticket) {
            attempt.over = true;
            attempt.next = Some(Duration::ZERO);
        }
        self.conclude(cx, ticket);
    }

    /// Ends an attempt of which nothing is left.
    pub(super) fn conclude(&mut self, cx: &mut DatagramCx<'_>, ticket: u64) {
        if !self.attempts.get(&ticket).is_some_and(|attempt| attempt.is_done()) {
            return;
        }
        if let Some(attempt) = self.attempts.remove(&ticket) {
            let next = attempt.next.map(|next| cx.now() + next);
            self.shared.schedule().finished(&attempt.parcel, next, attempt.health, cx.now());
        }
        self.pump(cx);
    }
}
