//! What senders are told of mail that was to be sent on, and how much of it they get back.
//!
//! Failures, unless NOTIFY says otherwise; delays and successes to those who have asked for them (RFC 3461
//! §4.1). Never about a report, whose sender is nobody: that is a line in the log. Reports are composed and
//! posted in `report`.

use std::fs::File;
use std::io::{Read, Seek};
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use medusa_mail::{Body, EntryId, Envelope, Error, MailStore, Queue};

use crate::Directory;
use crate::report::{self, Home, Kind, Notice, Report, Returned, Write};

/// A message up to this is returned whole where its sender hasn't said what he wants (RFC 3461 §4.3 leaves it
/// to us; Postfix's `bounce_size_limit` is 50,000).
const WHOLE_OCTETS: u64 = 64 * 1024;
/// A head that is longer isn't returned whole.
const HEAD_OCTETS: u64 = 64 * 1024;

/// What it is told about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'s> {
    pub id: &'s EntryId,
    pub envelope: &'s Envelope,
    /// Until when it is tried.
    pub until: SystemTime,
    pub now: SystemTime,
}

/// Who has accounts here: their reports don't go out.
#[derive(Clone)]
pub(crate) struct Local {
    pub domains: Vec<String>,
    pub directory: Arc<dyn Directory>,
    pub store: Arc<dyn MailStore>,
}

/// Writes reports and has them kept.
pub(crate) struct Poster {
    pub hostname: Arc<str>,
    pub local: Option<Local>,
}

impl Poster {
    /// Keeps a report of those who are to be told of: in the sender's maildrop, or in the queue, whose new
    /// entries are returned. Blocks until it is durable.
    pub(crate) fn post(
        &self,
        queue: &dyn Queue,
        subject: &Subject<'_>,
        notices: &[Notice],
    ) -> Result<Vec<(EntryId, Envelope)>, Error> {
        let sender = &subject.envelope.sender;
        if sender.is_empty() {
            // Whatever NOTIFY says: nobody is to be told, but nothing is lost without a word.
            for notice in notices.iter().filter(|notice| notice.kind == Kind::Failed) {
                let (entry, to) = (subject.id, &notice.recipient.address);
                let why = &notice.outcome.text;
                tracing::warn!(%entry, %to, %why, "a report can't be delivered, and is dropped");
            }
            return Ok(Vec::new());
        }
        let told: Vec<&Notice> = notices.iter().filter(|notice| notice.is_wanted()).collect();
        if told.is_empty() {
            return Ok(Vec::new());
        }
        let (report, content) = self.compose(queue, subject, &told)?;
        let home = self.local.as_ref().map(|local| Home {
            hostname: &self.hostname,
            domains: &local.domains,
            directory: &*local.directory,
            store: &*local.store,
        });
        let mut write = |out: &mut Write<'_>| content.write(out);
        let posted = report::post(home, queue, sender, &report, subject.now, &mut write)?;
        let Some(posted) = posted else { return Ok(Vec::new()) };
        let (tell, told) = mpsc::channel();
        posted.commit(move |result| drop(tell.send(result)));
        let entry = told.recv().unwrap_or(Err(Error::Closing))?;
        Ok(entry.into_iter().collect())
    }

    fn compose(
        &self,
        queue: &dyn Queue,
        subject: &Subject<'_>,
        told: &[&Notice],
    ) -> Result<(Report, Content), Error> {
        let Subject { id, envelope, until, now } = *subject;
        let mut file = queue.message(id)?;
        let unread = |error| Error::Io { path: id.to_string().into(), source: error };
        let size = file.metadata().map_err(unread)?.len();
        let failed = told.iter().any(|notice| notice.kind == Kind::Failed);
        let whole = failed
            && envelope.body != Body::BinaryMime
            && match envelope.ret.as_deref() {
                Some(ret) => ret.eq_ignore_ascii_case("FULL"),
                None => size <= WHOLE_OCTETS,
            };
        let mut head = Vec::new();
        (&file).take(HEAD_OCTETS).read_to_end(&mut head).map_err(unread)?;
        // What was submitted as 7-bit text may be more than that.
        let eight_bit = whole
            && (envelope.body != Body::SevenBit
                || !head.is_ascii()
                || holds_more_than_ascii(&file).map_err(unread)?);
        file.rewind().map_err(unread)?;
        let end = memchr::memmem::find(&head, b"\r\n\r\n").map_or(head.len(), |at| at + 2);
        head.truncate(end);
        let international = envelope.smtputf8 || !head.is_ascii();
        let id = id.to_string();
        let subject = report::Subject {
            hostname: &self.hostname,
            id: &id,
            is_queued: true,
            number: envelope.recipients.iter().map(|one| u64::from(one.attempts)).sum(),
            sender: &envelope.sender,
            envid: envelope.envid.as_deref(),
            accepted: envelope.accepted,
            until: Some(until),
            now,
        };
        let report = report::compose(&subject, told, Returned { whole, international, eight_bit });
        Ok((report, if whole { Content::Whole(file) } else { Content::Head(head) }))
    }
}

/// What is returned.
enum Content {
    Whole(File),
    Head(Vec<u8>),
}

impl Content {
    fn write(&self, out: &mut Write<'_>) -> Result<(), Error> {
        let mut reader = match self {
            Content::Head(head) => return out(head),
            Content::Whole(file) => file,
        };
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = reader.read(&mut buffer);
            match read.map_err(|source| Error::Io { path: "messages".into(), source })? {
                0 => return Ok(()),
                count => out(&buffer[..count])?,
            }
        }
    }
}

/// Whether there is anything beyond ASCII in the rest of a file.
fn holds_more_than_ascii(mut file: &std::fs::File) -> std::io::Result<bool> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(false),
            count if !buffer[..count].is_ascii() => return Ok(true),
            _ => {}
        }
    }
}
