//! The reply to RETR and TOP: a recipe that opens its message only when its turn has come, unless it was read
//! with the one before.
//!
//! So a thousand pipelined RETRs hold one file open, and keep their order by themselves. The file is
//! opened in the pool; whether it can be decides between `+OK` and `-ERR`, which is why the first line
//! belongs to the recipe too.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use medusa_core::producer::{bytes, chain, dot_stuffed, file, hooked};
use medusa_core::{Outbox, ProduceError, Produced, Producer};
use medusa_mail::{Error, Maildrop, Surrogate};
use medusa_text::status;
use memchr::memchr_iter;

use crate::access::Record;
use crate::ahead::{Ahead, Text};
use crate::replies::refuse;
use crate::surrogate_text::surrogate_text;
use crate::visit::Visit;
use crate::wire_text::wire_text;

/// Produces the whole reply that holds a message, or with `lines` its top. A message that is sent, whole or
/// not, is told to `record`.
pub(crate) fn retrieval(
    visit: &Visit,
    index: usize,
    lines: Option<u64>,
    record: Option<Record>,
) -> Retrieval {
    let (maildrop, ahead) = (Arc::clone(&visit.maildrop), Arc::clone(&visit.ahead));
    let message = maildrop.messages().get(index);
    Retrieval {
        lines,
        record,
        is_replaced: message.is_some_and(|message| visit.form().replaces(message)),
        wire_size: message.map_or(0, |message| visit.form().size(message)),
        state: State::Closed { maildrop, ahead, index },
    }
}

/// Made by [`retrieval`].
pub(crate) struct Retrieval {
    lines: Option<u64>,
    record: Option<Record>,
    /// Whether a surrogate is sent in place of the message.
    is_replaced: bool,
    /// What RETR says of its size.
    wire_size: u64,
    state: State,
}

type Opened = Result<Text, Error>;

enum State {
    Closed { maildrop: Arc<dyn Maildrop>, ahead: Arc<Ahead>, index: usize },
    Opening(Arc<Mutex<Option<Opened>>>),
    Sending(Box<dyn Producer>),
}

impl Producer for Retrieval {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        match &mut self.state {
            State::Closed { maildrop, ahead, index } => {
                let index = *index;
                if let Some(text) = ahead.take(index) {
                    self.begin(out, Text::Small(text));
                    return Ok(Produced::More);
                }
                let slot = Arc::new(Mutex::new(None));
                let (maildrop, result) = (Arc::clone(maildrop), Arc::clone(&slot));
                let ahead = Arc::clone(ahead);
                out.defer(Box::new(move || {
                    let opened = ahead.open(&*maildrop, index);
                    if let Err(error) = &opened
                        && !matches!(error, Error::Missing)
                    {
                        tracing::error!(%error, "a message can't be read");
                    }
                    // Before anybody hears of it: the maildrop's lock ends with its last handle.
                    drop(maildrop);
                    *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(opened);
                }));
                self.state = State::Opening(slot);
                Ok(Produced::Pending)
            }
            State::Opening(slot) => {
                // Who holds the slot alone knows that the job is gone, whatever it left.
                let is_alone = Arc::strong_count(slot) == 1;
                let opened = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                match opened {
                    Some(Ok(text)) => {
                        self.begin(out, text);
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

impl Retrieval {
    /// Says that it comes, and has it come.
    fn begin(&mut self, out: &mut Outbox, text: Text) {
        out.compose(|reply| match self.lines {
            None => status::ok(reply, &format!("{} octets", self.wire_size)),
            Some(_) => status::ok(reply, "top of the message"),
        });
        let text = match text {
            Text::Small(text) if self.is_replaced => Text::Small(Surrogate::of(&text).into()),
            text => text,
        };
        let text: Box<dyn Producer> = match text {
            Text::Small(text) if self.lines.is_none() && is_wire_text(&text) => {
                Box::new(chain(bytes(text), bytes(Bytes::from_static(b".\r\n"))))
            }
            Text::Small(text) => Box::new(dot_stuffed(wire_text(bytes(text), self.lines))),
            Text::Large(opened, length) if self.is_replaced => {
                let text = surrogate_text(file(opened, length));
                Box::new(dot_stuffed(wire_text(text, self.lines)))
            }
            Text::Large(opened, length) => {
                Box::new(dot_stuffed(wire_text(file(opened, length), self.lines)))
            }
        };
        self.state = State::Sending(match self.record.take() {
            Some(record) => Box::new(hooked(text, |sent| record.write(sent))),
            None => text,
        });
    }
}

/// Whether a text can go out as it is: each line ends in CRLF, and none begins with a dot.
fn is_wire_text(text: &[u8]) -> bool {
    let ended = text.is_empty() || text.ends_with(b"\n");
    let plain = |at: usize| {
        at > 0 && text[at - 1] == b'\r' && text.get(at + 1).is_none_or(|octet| *octet != b'.')
    };
    ended && !text.starts_with(b".") && memchr_iter(b'\n', text).all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_out_as_it_is() {
        for text in ["", "a\r\n", "\r\n", "a.\r\nb\r\n", "a\rb\r\n"] {
            assert!(is_wire_text(text.as_bytes()), "{text:?}");
        }
        for text in ["a", "\n", "a\n", "a\r", ".\r\n", "a\r\n.b\r\n", "a\r\nb\nc\r\n"] {
            assert!(!is_wire_text(text.as_bytes()), "{text:?}");
        }
    }
}
