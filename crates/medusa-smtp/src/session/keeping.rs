//! Where a message goes as it comes: into maildrops, into the queue, or both. All of it blocks, but for the
//! commit, and runs in the pool.

use std::sync::Arc;

use medusa_mail::{Envelope, Error, Incoming, MailStore, Queuing, Then};

use super::told::{Told, Written};
use crate::sending::Sending;

/// Commits a part, and calls back.
type Commit = Box<dyn FnOnce(Then) + Send>;

/// Whom a message is for.
pub(super) struct Plan {
    pub store: Arc<dyn MailStore>,
    /// Here.
    pub accounts: Vec<String>,
    /// What goes in front of it in maildrops alone.
    pub preface: Vec<u8>,
    /// And elsewhere.
    pub onward: Option<(Sending, Envelope)>,
}

/// A message that is being kept.
pub(super) struct Keeping {
    incoming: Option<Box<dyn Incoming>>,
    /// What goes in front of it there, until it has.
    preface: Vec<u8>,
    queuing: Option<(Box<dyn Queuing>, Sending, Envelope)>,
    /// What its sender is told of that.
    report: Option<Written>,
}

impl Plan {
    /// Begins to keep it.
    pub(super) fn begin(self) -> Result<Keeping, Error> {
        let mut incoming = None;
        if !self.accounts.is_empty() {
            incoming = Some(self.store.begin(&self.accounts)?);
        }
        let mut queuing = None;
        if let Some((sending, envelope)) = self.onward {
            queuing = Some((sending.queue().begin()?, sending, envelope));
        }
        Ok(Keeping { incoming, preface: self.preface, queuing, report: None })
    }
}

impl Keeping {
    /// Writes what came next.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if let Some(incoming) = &mut self.incoming {
            let mut first = std::mem::take(&mut self.preface);
            if first.is_empty() {
                incoming.write(bytes)?;
            } else {
                first.extend_from_slice(bytes);
                incoming.write(&first)?;
            }
        }
        match &mut self.queuing {
            Some((queuing, ..)) => queuing.write(bytes),
            None => Ok(()),
        }
    }

    /// Writes what its sender is told. If that can't be written, nothing is kept.
    pub(super) fn tell(&mut self, told: Told) -> Result<(), Error> {
        self.report = told.write()?;
        Ok(())
    }

    /// Has it reach the disk, all of it, and calls `then` once that is certain. Writes the envelope first.
    pub(super) fn commit(self, then: Then) -> Result<(), Error> {
        let onward: Option<Commit> = match self.queuing {
            None => None,
            Some((mut queuing, sending, envelope)) => {
                queuing.seal(&envelope)?;
                Some(Box::new(move |then: Then| {
                    let id = queuing.id().clone();
                    queuing.commit(Box::new(move |result| {
                        if result.is_ok() {
                            sending.queued(&id, &envelope);
                        }
                        then(result);
                    }));
                }))
            }
        };
        let incoming =
            self.incoming.map(|incoming| -> Commit { Box::new(|then| incoming.commit(then)) });
        let report = self.report.map(|report| -> Commit { Box::new(|then| tell(report, then)) });
        // One after the other. If the queue fails, the client sends the whole again: twice here rather than never
        // there.
        let steps = [incoming, onward, report].into_iter().flatten();
        let first = steps.rev().fold(then, |then, step| {
            Box::new(move |result| match result {
                Ok(()) => step(then),
                Err(error) => then(Err(error)),
            })
        });
        first(Ok(()));
        Ok(())
    }
}

/// Commits a report. The message is kept by now, and that is what is answered: who is told that it isn't sends
/// it again and again, and each time one more would be here.
fn tell(report: Written, then: Then) {
    report.commit(Box::new(|result| {
        if let Err(error) = result {
            tracing::error!(%error, "a message is kept, but its sender can't be told as he had asked");
        }
        then(Ok(()));
    }));
}
