//! Reports to senders: delivery status notifications (RFC 3464) in a multipart/report (RFC 6522). Composing is
//! pure; `post` has reports kept.
//!
//! Who is to be told of what is decided by those who know what became of a message: the session of deliveries
//! here, the ledger of what was sent on. How much of the message goes back is theirs, too: a report has a front
//! and a back, and they put the message or its head in between.

mod post;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::SystemTime;

use medusa_mail::{Body, Envelope, Recipient};

pub(crate) use post::{Home, Posted, Write, post};

use crate::sending::Outcome;
use crate::trace::{ascii, date};

/// What is told of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Failed,
    Delayed,
    /// The next server has it; it tells the sender itself if `dsn`.
    Relayed {
        dsn: bool,
    },
    /// It is in a maildrop here.
    Delivered,
}

/// A recipient of whom something may be told.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub recipient: Recipient,
    pub kind: Kind,
    pub outcome: Outcome,
}

/// The message that it is told about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'s> {
    pub hostname: &'s str,
    /// What the message is called here.
    pub id: &'s str,
    /// Whether that is an entry of the queue.
    pub is_queued: bool,
    /// The how manieth report about it this is, more or less: no two have one number.
    pub number: u64,
    pub sender: &'s str,
    pub envid: Option<&'s str>,
    pub accepted: SystemTime,
    /// Until when it is tried.
    pub until: Option<SystemTime>,
    pub now: SystemTime,
}

/// What is returned of the message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Returned {
    /// All of it, or its head.
    pub whole: bool,
    /// Its head isn't ASCII, or it was sent with SMTPUTF8.
    pub international: bool,
    /// What is returned of it isn't ASCII.
    pub eight_bit: bool,
}

/// A report but for what it returns.
#[derive(Debug)]
pub(crate) struct Report {
    /// What comes before the message.
    pub front: Vec<u8>,
    /// And behind it.
    pub back: Vec<u8>,
    eight_bit: bool,
    /// It has the types of RFC 6533.
    global: bool,
}

/// Whether a NOTIFY names this (RFC 3461 §4.1).
pub(crate) fn wants(notify: &str, what: &str) -> bool {
    notify.split(',').any(|word| word.trim().eq_ignore_ascii_case(what))
}

impl Notice {
    /// Whether the sender is to be told.
    pub(crate) fn is_wanted(&self) -> bool {
        let notify = self.recipient.notify.as_deref();
        let asked_for = |what| notify.is_some_and(|notify| wants(notify, what));
        match self.kind {
            Kind::Failed => notify.is_none() || asked_for("FAILURE"),
            Kind::Delayed => notify.is_none() || asked_for("DELAY"),
            Kind::Relayed { dsn } => !dsn && asked_for("SUCCESS"),
            Kind::Delivered => asked_for("SUCCESS"),
        }
    }
}

impl Report {
    /// What it is sent with.
    pub(crate) fn envelope(&self, to: &str, at: SystemTime) -> Envelope {
        let mut envelope = Envelope::new("", at);
        envelope.body = if self.eight_bit { Body::EightBitMime } else { Body::SevenBit };
        envelope.smtputf8 = self.global;
        envelope.recipients.push(Recipient {
            address: to.to_owned(),
            // RFC 3461 §5.2.9: nobody is told of a report's fate.
            notify: Some("NEVER".into()),
            ..Recipient::default()
        });
        envelope
    }
}

/// Writes a report.
pub(crate) fn compose(subject: &Subject<'_>, told: &[&Notice], returned: Returned) -> Report {
    // RFC 6533 §4: addresses and heads that aren't ASCII need the types that may hold them.
    let global = returned.international
        || !subject.sender.is_ascii()
        || told.iter().any(|notice| !notice.recipient.address.is_ascii());
    let eight_bit = global || returned.eight_bit;
    let boundary = format!("{}/{}", subject.id, subject.hostname);
    let encoding = if eight_bit { "8bit" } else { "7bit" };
    let kind = match (returned.whole, global) {
        (true, false) => "message/rfc822",
        (true, true) => "message/global",
        (false, false) => "text/rfc822-headers",
        (false, true) => "message/global-headers",
    };
    let mut front = head(subject, told, &boundary, encoding);
    let transfer = if global { "8bit" } else { "7bit" };
    let charset = if global { "utf-8" } else { "us-ascii" };
    part(&mut front, &boundary, &format!("text/plain; charset={charset}"), transfer);
    words(&mut front, subject, told);
    let status = if global { "message/global-delivery-status" } else { "message/delivery-status" };
    part(&mut front, &boundary, status, transfer);
    statuses(&mut front, subject, told, global);
    part(&mut front, &boundary, kind, encoding);
    // What servers say, and what xtext stands for, may be anything.
    let front = if global { front } else { ascii(front) };
    let back = format!("\r\n--{boundary}--\r\n").into_bytes();
    Report { front: front.into_bytes(), back, eight_bit, global }
}

// ---- its parts -------------------------------------------------------------------------------
//
// A String takes everything: what `write!` returns says nothing.

fn part(text: &mut String, boundary: &str, kind: &str, encoding: &str) {
    let _ = write!(
        text,
        "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    );
}

fn is_any(told: &[&Notice], kind: fn(Kind) -> bool) -> bool {
    told.iter().any(|notice| kind(notice.kind))
}

fn is_failed(kind: Kind) -> bool {
    kind == Kind::Failed
}

fn is_delayed(kind: Kind) -> bool {
    kind == Kind::Delayed
}

fn is_relayed(kind: Kind) -> bool {
    matches!(kind, Kind::Relayed { .. })
}

fn head(subject: &Subject<'_>, told: &[&Notice], boundary: &str, encoding: &str) -> String {
    let title = match () {
        () if is_any(told, is_failed) => "Undelivered Mail Returned to Sender",
        () if is_any(told, is_delayed) => "Delayed Mail (still being retried)",
        () => "Successful Mail Delivery Report",
    };
    let Subject { hostname, id, number, sender, now, .. } = subject;
    let date = date(*now);
    format!(
        "Received: by {hostname} (Medusa)\r\n\tid {id}-report; {date}\r\n\
         From: Mail Delivery System <MAILER-DAEMON@{hostname}>\r\nTo: <{sender}>\r\n\
         Subject: {title}\r\nDate: {date}\r\nMessage-ID: <{id}.{number}.report@{hostname}>\r\n\
         Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\n\
         Content-Transfer-Encoding: {encoding}\r\n\r\n\
         This is a message in the format of a delivery status notification (RFC 3464).\r\n"
    )
}

/// What people read.
fn words(text: &mut String, subject: &Subject<'_>, told: &[&Notice]) {
    let what = match () {
        () if is_any(told, is_failed) => "could not be delivered to",
        () if is_any(told, is_delayed) => "has not been delivered yet to",
        () if is_any(told, is_relayed) => "was relayed for",
        () => "was delivered to",
    };
    let hostname = subject.hostname;
    let _ = write!(text, "This is the mail system at {hostname}.\r\n\r\nYour message {what}:\r\n");
    for notice in told {
        let _ = write!(text, "\r\n  <{}>\r\n", notice.recipient.address);
        if notice.outcome.gave_up {
            text.push_str(
                "    It was tried for too long, and is given up. What was said last:\r\n",
            );
        }
        if let Some(host) = &notice.outcome.host {
            let _ = write!(text, "    Server: {host}\r\n");
        }
        for line in wrapped(&notice.outcome.text).iter().filter(|line| !line.is_empty()) {
            let _ = write!(text, "    {line}\r\n");
        }
    }
    if let Some(until) = subject.until.filter(|_| is_any(told, is_delayed)) {
        let until = date(until);
        let _ = write!(text, "\r\nYou need not do anything. It is tried again until {until}.\r\n");
    }
    if is_any(told, is_relayed) {
        text.push_str(
            "\r\nThe next server has taken it, and may tell nothing of what follows.\r\n",
        );
    }
}

/// What programs read (RFC 3464 §2.2, §2.3).
fn statuses(text: &mut String, subject: &Subject<'_>, told: &[&Notice], global: bool) {
    if let Some(envid) = subject.envid {
        let _ = write!(text, "Original-Envelope-Id: {}\r\n", plain(envid, global));
    }
    let _ = write!(text, "Reporting-MTA: dns; {}\r\n", subject.hostname);
    if subject.is_queued {
        let _ = write!(text, "X-Queue-ID: {}\r\n", subject.id);
    }
    let _ = write!(text, "Arrival-Date: {}\r\n", date(subject.accepted));
    for notice in told {
        fields(text, subject, notice, global);
    }
}

/// One recipient's.
fn fields(text: &mut String, subject: &Subject<'_>, notice: &Notice, global: bool) {
    let Notice { recipient, kind, outcome } = notice;
    text.push_str("\r\n");
    if let Some(original) = recipient.orcpt.as_deref().and_then(|orcpt| original(orcpt, global)) {
        let _ = write!(text, "Original-Recipient: {original}\r\n");
    }
    let address = &recipient.address;
    let typed = if address.is_ascii() { "rfc822" } else { "utf-8" };
    let _ = write!(text, "Final-Recipient: {typed}; {address}\r\n");
    let action = match kind {
        Kind::Failed => "failed",
        Kind::Delayed => "delayed",
        Kind::Relayed { .. } => "relayed",
        Kind::Delivered => "delivered",
    };
    let _ = write!(text, "Action: {action}\r\nStatus: {}\r\n", outcome.status);
    if let Some(host) = &outcome.host {
        let _ = match host.parse::<IpAddr>() {
            Err(_) => write!(text, "Remote-MTA: dns; {host}\r\n"),
            Ok(IpAddr::V4(address)) => write!(text, "Remote-MTA: dns; [{address}]\r\n"),
            Ok(IpAddr::V6(address)) => write!(text, "Remote-MTA: dns; [IPv6:{address}]\r\n"),
        };
    }
    if !outcome.text.is_empty() {
        let said = if outcome.said { "smtp" } else { "X-Medusa" };
        let lines = wrapped(&outcome.text);
        let _ = write!(text, "Diagnostic-Code: {said}; {}\r\n", lines.join("\r\n "));
    }
    let _ = write!(text, "Last-Attempt-Date: {}\r\n", date(subject.now));
    if let Some(until) = subject.until.filter(|_| is_delayed(*kind)) {
        let _ = write!(text, "Will-Retry-Until: {}\r\n", date(until));
    }
}

// ---- what senders have said ------------------------------------------------------------------

/// An ORCPT as a field has it (RFC 3464 §2.3.1). `rfc822` is in xtext, as is every other type but `utf-8`,
/// which has escapes of its own, and only for what a field could not hold (RFC 6533 §3): `+` is a plus there.
fn original(orcpt: &str, global: bool) -> Option<String> {
    let (kind, address) = orcpt.split_once(';')?;
    if !kind.eq_ignore_ascii_case("utf-8") {
        return Some(format!("{kind}; {}", plain(address, global)));
    }
    let mut shown = format!("{kind}; ");
    for c in address.chars() {
        match c.is_ascii() || global {
            true => shown.push(c),
            false => drop(write!(shown, "\\x{{{:X}}}", u32::from(c))),
        }
    }
    Some(shown)
}

/// What xtext stands for (RFC 3461 §4); left as it is where that is nothing that a field may hold.
fn plain(xtext: &str, global: bool) -> String {
    let mut parts = xtext.split('+');
    let mut octets = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(octet) => octets.push(octet),
            None => return xtext.to_owned(),
        }
        octets.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
    }
    match String::from_utf8(octets) {
        Ok(text) if !text.contains(char::is_control) && (global || text.is_ascii()) => text,
        _ => xtext.to_owned(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sending::{Fate, Status};

    fn notice(orcpt: &str, address: &str) -> Notice {
        let recipient = Recipient {
            address: address.into(),
            notify: Some("SUCCESS".into()),
            orcpt: Some(orcpt.into()),
            ..Recipient::default()
        };
        let outcome = Outcome::ours(Fate::Delivered { dsn: false }, Status(2, 0, 0), "");
        Notice { recipient, kind: Kind::Delivered, outcome }
    }

    fn report(orcpt: &str, address: &str) -> String {
        let subject = Subject {
            hostname: "we.test",
            id: "7",
            is_queued: false,
            number: 1,
            sender: "a@b.test",
            envid: Some("QQ+3D1"),
            accepted: SystemTime::UNIX_EPOCH,
            until: None,
            now: SystemTime::UNIX_EPOCH,
        };
        let returned = Returned { whole: false, international: false, eight_bit: false };
        let report = compose(&subject, &[&notice(orcpt, address)], returned);
        String::from_utf8(report.front).unwrap()
    }

    #[test]
    fn whom_a_sender_has_named_is_shown_as_its_type_has_it() {
        for (orcpt, address, shown) in [
            ("rfc822;a+2Bb@c.test", "x@c.test", "rfc822; a+b@c.test"),
            ("X-4;+C3+BC", "x@c.test", "X-4; +C3+BC"),
            ("rfc822;+C3+BC@c.test", "\u{fc}@c.test", "rfc822; \u{fc}@c.test"),
            // RFC 6533 §3: not xtext.
            ("utf-8;a+2Bb@c.test", "x@c.test", "utf-8; a+2Bb@c.test"),
            ("UTF-8;\\x{FC}@c.test", "x@c.test", "UTF-8; \\x{FC}@c.test"),
            ("utf-8;\u{fc}@c.test", "x@c.test", "utf-8; \\x{FC}@c.test"),
            ("utf-8;\u{fc}@c.test", "\u{fc}@c.test", "utf-8; \u{fc}@c.test"),
        ] {
            let text = report(orcpt, address);
            assert!(text.contains(&format!("\r\nOriginal-Recipient: {shown}\r\n")), "{text}");
            assert!(text.contains("\r\nOriginal-Envelope-Id: QQ=1\r\n"), "{text}");
            assert_eq!(text.contains("message/global-delivery-status"), !address.is_ascii());
        }
    }

    #[test]
    fn escapes_that_stand_for_nothing_stay() {
        for (xtext, text) in
            [("QQ+3D1", "QQ=1"), ("a+2Bb@c", "a+b@c"), ("x+0D+0Ay", "x+0D+0Ay"), ("a+", "a+")]
        {
            assert_eq!(plain(xtext, false), text);
        }
        assert_eq!((&*plain("+C3+BC", false), &*plain("+C3+BC", true)), ("+C3+BC", "\u{fc}"));
        assert!(wants("FAILURE,success", "SUCCESS") && !wants("NEVER", "SUCCESS"));
    }

    #[test]
    fn a_delivery_is_told_in_words_and_fields() {
        let text = report("rfc822;o@b.test", "x@c.test");
        for part in [
            "Your message was delivered to:\r\n\r\n  <x@c.test>\r\n\r\n--7/we.test\r\n",
            "Final-Recipient: rfc822; x@c.test\r\nAction: delivered\r\nStatus: 2.0.0\r\nLast-",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("X-Queue-ID") && !text.contains("Diagnostic"), "{text}");
    }
}
