//! The reply to RETR and TOP: a recipe that opens its message only when its turn has come.
//!
//! So a thousand pipelined RETRs hold one file open, and keep their order by themselves. The file is
//! opened in the pool; whether it can be decides between `+OK` and `-ERR`, which is why the first line
//! belongs to the recipe too.

use std::fs::File;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use medusa_core::producer::{dot_stuffed, file, hooked};
use medusa_core::{Outbox, ProduceError, Produced, Producer};
use medusa_mail::{Error, Maildrop};
use medusa_text::status;

use crate::access::Record;
use crate::replies::refuse;
use crate::wire_text::wire_text;

/// Produces the whole reply that holds a message, or with `lines` its top. A message that is sent, whole or
/// not, is told to `record`.
pub(crate) fn retrieval(
    maildrop: Arc<dyn Maildrop>,
    index: usize,
    lines: Option<u64>,
    record: Option<Record>,
) -> Retrieval {
    Retrieval { lines, record, state: State::Closed(maildrop, index) }
}

/// Made by [`retrieval`].
pub(crate) struct Retrieval {
    lines: Option<u64>,
    record: Option<Record>,
    state: State,
}

type Opened = Result<(Arc<File>, u64), Error>;

enum State {
    Closed(Arc<dyn Maildrop>, usize),
    /// Being opened; what RETR is going to say of its size.
    Opening(Arc<Mutex<Option<Opened>>>, u64),
    Sending(Box<dyn Producer>),
}

impl Producer for Retrieval {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        match &mut self.state {
            State::Closed(maildrop, index) => {
                let index = *index;
                let wire_size = maildrop.messages().get(index).map_or(0, |m| m.wire_size);
                let slot = Arc::new(Mutex::new(None));
                let (maildrop, result) = (Arc::clone(maildrop), Arc::clone(&slot));
                out.defer(Box::new(move || {
                    let opened = open(&*maildrop, index);
                    if let Err(error) = &opened
                        && !matches!(error, Error::Missing)
                    {
                        tracing::error!(%error, "a message can't be read");
                    }
                    // Before anybody hears of it: the maildrop's lock ends with its last handle.
                    drop(maildrop);
                    *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
                }));
                self.state = State::Opening(slot, wire_size);
                Ok(Produced::Pending)
            }
            State::Opening(slot, wire_size) => {
                // Who holds the slot alone knows that the job is gone, whatever it left.
                let is_alone = Arc::strong_count(slot) == 1;
                let opened = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                let wire_size = *wire_size;
                match opened {
                    Some(Ok((opened, length))) => {
                        out.compose(|reply| match self.lines {
                            None => status::ok(reply, &format!("{wire_size} octets")),
                            Some(_) => status::ok(reply, "top of the message"),
                        });
                        let text = dot_stuffed(wire_text(file(opened, length), self.lines));
                        self.state = State::Sending(match self.record.take() {
                            Some(record) => Box::new(hooked(text, |sent| record.write(sent))),
                            None => Box::new(text),
                        });
                        Ok(Produced::More)
                    }
                    Some(Err(error)) => {
                        out.compose(|reply| refuse(reply, &error));
                        Ok(Produced::Done)
                    }
                    None if is_alone => {
                        out.compose(|reply| refuse(reply, &Error::Closing));
                        Ok(Produced::Done)
                    }
                    None => Ok(Produced::Pending),
                }
            }
            State::Sending(text) => text.produce(out),
        }
    }
}

fn open(maildrop: &dyn Maildrop, index: usize) -> Opened {
    let opened = maildrop.read(index)?;
    let metadata = opened.metadata().map_err(unreadable)?;
    Ok((Arc::new(opened), metadata.len()))
}

fn unreadable(source: io::Error) -> Error {
    Error::Io { path: "message".into(), source }
}
