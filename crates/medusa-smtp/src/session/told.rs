//! Senders who want to know that a message was delivered here are told (RFC 3461 §5.2.3), with the head of the
//! message: into the sender's maildrop, or into the queue.
//!
//! **The report is written before the message is committed**, or neither is taken, and committed right behind it,
//! before 250 is said. If that last step alone fails, the message is here and is answered by 250: the report is
//! lost, and a line in the log. What becomes of mail for elsewhere is told by whoever sends it on.

use std::sync::Arc;
use std::time::SystemTime;

use medusa_mail::{Error, Recipient, Then};

use super::Shared;
use crate::report::{self, Home, Kind, Notice, Posted, Returned, Subject, Write};
use crate::sending::{Fate, Outcome, Sending, Status};

/// A message's head that is longer is cut in a report.
const HEAD_OCTETS: usize = 16 * 1024;

/// The head of a message, as far as it stands at its beginning, in whole lines.
pub(super) fn head(text: &[u8]) -> &[u8] {
    let text = &text[..text.len().min(HEAD_OCTETS)];
    match memchr::memmem::find(text, b"\r\n\r\n") {
        Some(end) => &text[..end + 2],
        None => &text[..memchr::memmem::rfind(text, b"\r\n").map_or(0, |end| end + 2)],
    }
}

/// A report that is to be made.
pub(super) struct Told {
    pub shared: Arc<Shared>,
    pub id: String,
    pub sender: String,
    pub envid: Option<String>,
    pub smtputf8: bool,
    pub recipients: Vec<Recipient>,
    pub head: Vec<u8>,
    pub at: SystemTime,
}

/// One that is written. Dropped, it was never there.
pub(super) struct Written {
    posted: Posted,
    sending: Sending,
}

impl Told {
    /// Writes it. Blocks. `None` where there is nobody to be told.
    pub(super) fn write(self) -> Result<Option<Written>, Error> {
        let Some(sending) = &self.shared.sending else { return Ok(None) };
        let delivered = Outcome::ours(Fate::Delivered { dsn: false }, Status(2, 0, 0), "");
        let notices: Vec<Notice> = self
            .recipients
            .iter()
            .map(|one| Notice {
                recipient: one.clone(),
                kind: Kind::Delivered,
                outcome: delivered.clone(),
            })
            .collect();
        let subject = Subject {
            hostname: &self.shared.hostname,
            id: &self.id,
            is_queued: false,
            number: 0,
            sender: &self.sender,
            envid: self.envid.as_deref(),
            accepted: self.at,
            until: None,
            now: self.at,
        };
        let international = self.smtputf8 || !self.head.is_ascii();
        let returned = Returned { whole: false, international, eight_bit: false };
        let report = report::compose(&subject, &notices.iter().collect::<Vec<_>>(), returned);
        let home = Home {
            hostname: &self.shared.hostname,
            domains: &self.shared.domains,
            directory: &*self.shared.directory,
            store: &*self.shared.store,
        };
        let (queue, head) = (&**sending.queue(), &self.head);
        let mut write = |out: &mut Write<'_>| out(head);
        let posted = report::post(Some(home), queue, &self.sender, &report, self.at, &mut write)?;
        Ok(posted.map(|posted| Written { posted, sending: sending.clone() }))
    }
}

impl Written {
    /// Has it reach the disk, and calls `then` once that is certain. Doesn't block.
    pub(super) fn commit(self, then: Then) {
        let Written { posted, sending } = self;
        posted.commit(move |result| {
            then(result.map(|entry| {
                if let Some((id, envelope)) = entry {
                    sending.queued(&id, &envelope);
                }
            }));
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        assert_eq!(head(b"A: b\r\nC: d\r\n\r\nbody\r\n"), b"A: b\r\nC: d\r\n");
        assert_eq!(head(b"A: b\r\nC: d"), b"A: b\r\n");
        assert_eq!(head(&[b'x'; 20_000]), b"");
    }
}
