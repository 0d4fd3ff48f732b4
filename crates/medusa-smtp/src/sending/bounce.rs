//! Reports to senders: delivery status notifications (RFC 3464) in a multipart/report (RFC 6522).
//!
//! What is told to whom: failures, unless NOTIFY says otherwise; delays and successes to those who have asked
//! for them (RFC 3461 §4.1). Never about a report, whose sender is nobody: that is a line in the log.

use std::fmt::Write as _;
use std::io::{Read, Seek};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::SystemTime;

use medusa_mail::{Body, EntryId, Envelope, Error, MailStore, Queue, Recipient};

use super::outcome::Outcome;
use super::route::domain_of;
use crate::Directory;
use crate::address;
use crate::service::account;
use crate::trace::{ascii, date};

/// A message up to this is returned whole where its sender hasn't said what he wants (RFC 3461 §4.3 leaves it
/// to us; Postfix's `bounce_size_limit` is 50,000).
const WHOLE_OCTETS: u64 = 64 * 1024;
/// A head that is longer isn't returned whole.
const HEAD_OCTETS: u64 = 64 * 1024;

/// What is told of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Failed,
    Delayed,
    /// The next server has it; it tells the sender itself if `dsn`.
    Relayed {
        dsn: bool,
    },
}

/// A recipient of whom something may be told.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub recipient: Recipient,
    pub kind: Kind,
    pub outcome: Outcome,
}

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

/// Whether a NOTIFY names this (RFC 3461 §4.1).
pub(crate) fn wants(notify: &str, what: &str) -> bool {
    notify.split(',').any(|word| word.trim().eq_ignore_ascii_case(what))
}

impl Notice {
    /// Whether the sender is to be told.
    fn is_wanted(&self) -> bool {
        let notify = self.recipient.notify.as_deref();
        match self.kind {
            Kind::Failed => notify.is_none_or(|notify| wants(notify, "FAILURE")),
            Kind::Delayed => notify.is_none_or(|notify| wants(notify, "DELAY")),
            Kind::Relayed { dsn } => !dsn && notify.is_some_and(|notify| wants(notify, "SUCCESS")),
        }
    }
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
        let envelope = subject.envelope;
        if envelope.sender.is_empty() {
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
        let report = self.compose(queue, subject, &told)?;
        match self.account_of(&envelope.sender) {
            Home::Here(account) => self.deliver(&account, envelope, &report).map(|()| Vec::new()),
            Home::Nowhere => {
                let (entry, sender) = (subject.id, &envelope.sender);
                tracing::warn!(%entry, %sender, "a report's addressee isn't known here; it is dropped");
                Ok(Vec::new())
            }
            Home::Elsewhere => enqueue(queue, subject, report).map(|entry| vec![entry]),
        }
    }

    fn account_of(&self, sender: &str) -> Home {
        let Some(local) = &self.local else { return Home::Elsewhere };
        let domain = domain_of(sender);
        let same = |ours: &&String| ours.to_lowercase() == domain.to_lowercase();
        let Some(ours) = local.domains.iter().find(same) else { return Home::Elsewhere };
        let mailbox = address::path(&format!("<{sender}>")).and_then(|(mailbox, _)| mailbox);
        let Some(mailbox) = mailbox else { return Home::Nowhere };
        match account(&*local.directory, &mailbox.local, ours) {
            Ok(account) => Home::Here(account),
            Err(_) => Home::Nowhere,
        }
    }

    fn deliver(&self, account: &str, of: &Envelope, report: &Report) -> Result<(), Error> {
        let Some(local) = &self.local else { return Err(Error::Missing) };
        let mut incoming = local.store.begin(&[account.to_owned()])?;
        incoming.write(b"Return-Path: <>\r\n")?;
        incoming.write(format!("Delivered-To: {}\r\n", of.sender).as_bytes())?;
        report.write(&mut |bytes| incoming.write(bytes))?;
        committed(|then| incoming.commit(then))
    }

    // ---- what is written ---------------------------------------------------------------------

    fn compose(
        &self,
        queue: &dyn Queue,
        subject: &Subject<'_>,
        told: &[&Notice],
    ) -> Result<Report, Error> {
        let envelope = subject.envelope;
        let mut file = queue.message(subject.id)?;
        let length = |error| Error::Io { path: subject.id.to_string().into(), source: error };
        let size = file.metadata().map_err(length)?.len();
        let failed = told.iter().any(|notice| notice.kind == Kind::Failed);
        let whole = failed
            && envelope.body != Body::BinaryMime
            && match envelope.ret.as_deref() {
                Some(ret) => ret.eq_ignore_ascii_case("FULL"),
                None => size <= WHOLE_OCTETS,
            };
        let mut head = Vec::new();
        (&file).take(HEAD_OCTETS).read_to_end(&mut head).map_err(length)?;
        // What was submitted as 7-bit text may be more than that.
        let beyond = whole
            && (envelope.body != Body::SevenBit
                || !head.is_ascii()
                || holds_more_than_ascii(&file).map_err(length)?);
        file.rewind().map_err(length)?;
        let end = memchr::memmem::find(&head, b"\r\n\r\n").map_or(head.len(), |at| at + 2);
        head.truncate(end);
        let is_ascii = head.is_ascii();
        // RFC 6533 §4: addresses and heads that aren't ASCII need the types that may hold them.
        let global = envelope.smtputf8
            || !envelope.sender.is_ascii()
            || !is_ascii
            || told.iter().any(|notice| !notice.recipient.address.is_ascii());
        let boundary = format!("{}/{}", subject.id, self.hostname);
        let eight_bit = global || beyond;
        let encoding = if eight_bit { "8bit" } else { "7bit" };
        let mut front = self.front(subject, told, &boundary, global, encoding);
        let kind = match (whole, global) {
            (true, false) => "message/rfc822",
            (true, true) => "message/global",
            (false, false) => "text/rfc822-headers",
            (false, true) => "message/global-headers",
        };
        let _ = write!(
            front,
            "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        );
        Ok(Report {
            front: front.into_bytes(),
            content: if whole { Content::Whole(file) } else { Content::Head(head) },
            back: format!("\r\n--{boundary}--\r\n").into_bytes(),
            eight_bit,
            global,
        })
    }

    fn front(
        &self,
        subject: &Subject<'_>,
        told: &[&Notice],
        boundary: &str,
        global: bool,
        encoding: &str,
    ) -> String {
        let Subject { id, envelope, until, now } = subject;
        let hostname = &self.hostname;
        let is_any = |kind: fn(Kind) -> bool| told.iter().any(|notice| kind(notice.kind));
        let (title, auto) = if is_any(|kind| kind == Kind::Failed) {
            ("Undelivered Mail Returned to Sender", "could not be delivered to")
        } else if is_any(|kind| kind == Kind::Delayed) {
            ("Delayed Mail (still being retried)", "has not been delivered yet to")
        } else {
            ("Successful Mail Delivery Report", "was relayed for")
        };
        let charset = if global { "utf-8" } else { "us-ascii" };
        let transfer = if global { "8bit" } else { "7bit" };
        let status =
            if global { "message/global-delivery-status" } else { "message/delivery-status" };
        let mut text = format!(
            "Received: by {hostname} (Medusa)\r\n\tid {id}-report; {date}\r\n\
             From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\nTo: <{sender}>\r\n\
             Subject: {title}\r\nDate: {date}\r\nMessage-ID: <{id}.{count}.report@{hostname}>\r\n\
             Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\
             Content-Transfer-Encoding: {encoding}\r\n\r\n\
             This is a message in the format of a delivery status notification (RFC 3464).\r\n\
             \r\n--{boundary}\r\nContent-Type: text/plain; charset={charset}\r\n\
             Content-Transfer-Encoding: {transfer}\r\n\r\n\
             This is the mail system at {hostname}.\r\n\r\n\
             Your message {auto}:\r\n",
            sender = envelope.sender,
            date = date(*now),
            count = envelope.recipients.iter().map(|one| u64::from(one.attempts)).sum::<u64>(),
        );
        for notice in told {
            let _ = write!(text, "\r\n  <{}>\r\n", notice.recipient.address);
            if let Some(host) = &notice.outcome.host {
                let _ = write!(text, "    Server: {host}\r\n");
            }
            for line in wrapped(&notice.outcome.text) {
                let _ = write!(text, "    {line}\r\n");
            }
        }
        if is_any(|kind| kind == Kind::Delayed) {
            let _ = write!(
                text,
                "\r\nYou need not do anything. It is tried again until {}.\r\n",
                date(*until)
            );
        }
        if is_any(|kind| matches!(kind, Kind::Relayed { .. })) {
            text.push_str(
                "\r\nThe next server has taken it, and may tell nothing of what follows.\r\n",
            );
        }
        let _ = write!(
            text,
            "\r\n--{boundary}\r\nContent-Type: {status}\r\nContent-Transfer-Encoding: {transfer}\r\n\r\n"
        );
        if let Some(envid) = &envelope.envid {
            let envid = xtext(envid);
            let _ = write!(text, "Original-Envelope-Id: {envid}\r\n");
        }
        let _ = write!(text, "Reporting-MTA: dns; {hostname}\r\n");
        let _ = write!(text, "X-Queue-ID: {id}\r\n");
        let _ = write!(text, "Arrival-Date: {}\r\n", date(envelope.accepted));
        for notice in told {
            self.fields(&mut text, subject, notice);
        }
        // What servers say, and what xtext stands for, may be anything.
        if global { text } else { ascii(text) }
    }

    /// One recipient's fields (RFC 3464 §2.3).
    fn fields(&self, text: &mut String, subject: &Subject<'_>, notice: &Notice) {
        let Notice { recipient, kind, outcome } = notice;
        let typed = |address: &str| if address.is_ascii() { "rfc822" } else { "utf-8" };
        text.push_str("\r\n");
        if let Some((kind, address)) = recipient.orcpt.as_deref().and_then(|o| o.split_once(';')) {
            let _ = write!(text, "Original-Recipient: {kind}; {}\r\n", xtext(address));
        }
        let address = &recipient.address;
        let _ = write!(text, "Final-Recipient: {}; {address}\r\n", typed(address));
        let action = match kind {
            Kind::Failed => "failed",
            Kind::Delayed => "delayed",
            Kind::Relayed { .. } => "relayed",
        };
        let _ = write!(text, "Action: {action}\r\nStatus: {}\r\n", outcome.status);
        if let Some(host) = &outcome.host {
            let _ = write!(text, "Remote-MTA: dns; {host}\r\n");
        }
        let said = if outcome.said { "smtp" } else { "X-Medusa" };
        let lines = wrapped(&outcome.text);
        let _ = write!(text, "Diagnostic-Code: {said}; {}\r\n", lines.join("\r\n "));
        let _ = write!(text, "Last-Attempt-Date: {}\r\n", date(subject.now));
        if *kind == Kind::Delayed {
            let _ = write!(text, "Will-Retry-Until: {}\r\n", date(subject.until));
        }
    }
}

/// Where a report goes.
enum Home {
    Here(String),
    Elsewhere,
    Nowhere,
}

struct Report {
    front: Vec<u8>,
    content: Content,
    back: Vec<u8>,
    eight_bit: bool,
    global: bool,
}

enum Content {
    Whole(std::fs::File),
    Head(Vec<u8>),
}

impl Report {
    fn write(&self, out: &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        out(&self.front)?;
        match &self.content {
            Content::Head(head) => out(head)?,
            Content::Whole(file) => {
                let mut reader = file;
                let mut buffer = vec![0; 64 * 1024];
                loop {
                    let read = reader.read(&mut buffer);
                    let count =
                        read.map_err(|source| Error::Io { path: "messages".into(), source })?;
                    if count == 0 {
                        break;
                    }
                    out(&buffer[..count])?;
                }
            }
        }
        out(&self.back)
    }
}

fn enqueue(
    queue: &dyn Queue,
    subject: &Subject<'_>,
    report: Report,
) -> Result<(EntryId, Envelope), Error> {
    let mut envelope = Envelope::new("", subject.now);
    envelope.body = if report.eight_bit { Body::EightBitMime } else { Body::SevenBit };
    envelope.smtputf8 = report.global;
    envelope.recipients.push(Recipient {
        address: subject.envelope.sender.clone(),
        // RFC 3461 §5.2.9: nobody is told of a report's fate.
        notify: Some("NEVER".into()),
        ..Recipient::default()
    });
    let mut queuing = queue.begin()?;
    report.write(&mut |bytes| queuing.write(bytes))?;
    queuing.seal(&envelope)?;
    let id = queuing.id().clone();
    committed(|then| queuing.commit(then))?;
    Ok((id, envelope))
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

/// Waits for a commit.
fn committed(commit: impl FnOnce(medusa_mail::Then)) -> Result<(), Error> {
    let (tell, told) = mpsc::channel();
    commit(Box::new(move |result| drop(tell.send(result))));
    told.recv().unwrap_or(Err(Error::Closing))
}

/// A text in lines that fit a report, cut at spaces where there are any.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, String::len);
        if line > 0 && line + word.len() > 72 {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.extend(word.chars().filter(|c| !c.is_control()).take(900));
        }
    }
    lines
}

/// What xtext stands for (RFC 3461 §4), as far as a field may hold it.
fn xtext(text: &str) -> String {
    let octets = text.as_bytes();
    let (mut shown, mut at) = (Vec::with_capacity(octets.len()), 0);
    while let Some(&octet) = octets.get(at) {
        let digits = octets.get(at + 1..at + 3).filter(|_| octet == b'+');
        let value = digits.and_then(|two| std::str::from_utf8(two).ok());
        let value = value.and_then(|two| u8::from_str_radix(two, 16).ok());
        match value {
            Some(value) => {
                shown.push(value);
                at += 3;
            }
            None => {
                shown.push(octet);
                at += 1;
            }
        }
    }
    let shown = String::from_utf8(shown).unwrap_or_else(|_| text.to_owned());
    shown.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
