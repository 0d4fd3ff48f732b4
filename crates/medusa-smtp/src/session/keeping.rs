//! Where a message goes as it comes: into maildrops, into the queue, or both. All of it blocks, but for the
//! commit, and runs in the pool.

use std::sync::Arc;

use medusa_mail::{Envelope, Error, Incoming, MailStore, Queuing, Then};

use crate::sending::Sending;

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
        Ok(Keeping { incoming, preface: self.preface, queuing })
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

    /// Has it reach the disk, all of it, and calls `then` once that is certain. Writes the envelope first.
    pub(super) fn commit(self, then: Then) -> Result<(), Error> {
        let onward: Option<Box<dyn FnOnce(Then) + Send>> = match self.queuing {
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
        match (self.incoming, onward) {
            (None, None) => then(Ok(())),
            (Some(incoming), None) => incoming.commit(then),
            (None, Some(onward)) => onward(then),
            // If the second fails, the client sends the whole again: twice here rather than never there.
            (Some(incoming), Some(onward)) => {
                incoming.commit(Box::new(move |result| match result {
                    Ok(()) => onward(then),
                    Err(error) => then(Err(error)),
                }))
            }
        }
        Ok(())
    }
}
