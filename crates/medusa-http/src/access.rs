//! The access log: one line in Apache's combined format for each finished request, told when the
//! response's last octet was taken by the socket or the client has left. A response that was not
//! sent whole has ` incomplete` at its line's end; the octets are those of the body really sent.

use std::fmt::Display;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use http::StatusCode;
use medusa_core::{AccessSink, Delivered, Outbox, Peer, ProduceError, Produced, Producer};

use crate::date::Stamp;
use crate::head::{Head, Known};
use crate::origin::Origin;

/// The longest that a part of a line may be, unescaped; a head may be far longer.
const PART: usize = 2048;

/// What is remembered of a request until its response is through.
pub(crate) struct Record {
    sink: Arc<dyn AccessSink>,
    /// The line up to the status.
    line: Vec<u8>,
    /// Where the user's name stands in it, or a hyphen.
    user: usize,
    /// What follows the octets: referer and user agent.
    tail: Vec<u8>,
}

impl Record {
    pub(crate) fn of(
        sink: &Arc<dyn AccessSink>,
        origin: &Origin,
        stamp: &Stamp,
        head: &Head<'_>,
    ) -> Box<Record> {
        let mut record = Record::begin(sink, origin, stamp, head.request_line());
        if let Some(subject) = origin.certificate() {
            record.set_user(subject);
        }
        for field in [Known::Referer, Known::UserAgent] {
            record.tail.push(b' ');
            quote(&mut record.tail, head.known(field).unwrap_or(b"-"));
        }
        record
    }

    /// Of a request that could not be made out: as much as there is of its first line.
    pub(crate) fn of_part(
        sink: &Arc<dyn AccessSink>,
        peer: &Peer,
        stamp: &Stamp,
        part: &[u8],
    ) -> Box<Record> {
        let part = part.strip_prefix(b"\r\n").unwrap_or(part);
        let line = part.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
        let line = if line.is_empty() { b"-" } else { line };
        let mut record = match peer.remote.ip() {
            Some(address) => Record::begin(sink, address, stamp, line),
            None => Record::begin(sink, peer.remote, stamp, line),
        };
        record.tail.extend_from_slice(b" \"-\" \"-\"");
        record
    }

    fn begin(
        sink: &Arc<dyn AccessSink>,
        who: impl Display,
        stamp: &Stamp,
        request_line: &[u8],
    ) -> Box<Record> {
        let mut line = Vec::with_capacity(128);
        let _ = write!(line, "{who} - ");
        let user = line.len();
        line.extend_from_slice(b"- [");
        let date = stamp.date();
        // `Sun, 06 Nov 1994 08:49:37 GMT` holds all that `06/Nov/1994:08:49:37 +0000` needs.
        for part in [&date[5..7], b"/", &date[8..11], b"/", &date[12..16], b":", &date[17..25]] {
            line.extend_from_slice(part);
        }
        line.extend_from_slice(b" +0000] ");
        quote(&mut line, request_line);
        Box::new(Record { sink: Arc::clone(sink), line, user, tail: Vec::new() })
    }

    /// Says who it was. An account's name goes before what a certificate says, since it is told later.
    pub(crate) fn set_user(&mut self, user: &str) {
        let mut field = Vec::with_capacity(user.len());
        // The field ends at the first space.
        escape(&mut field, user.as_bytes(), b" \"\\");
        let rest = &self.line[self.user..];
        let length = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
        if !field.is_empty() {
            self.line.splice(self.user..self.user + length, field);
        }
    }

    /// The same response, which writes its line when it is through.
    pub(crate) fn logged(
        self,
        inner: Box<dyn Producer>,
        status: StatusCode,
        head_length: usize,
    ) -> Logged {
        let account = Account {
            record: self,
            status,
            head_length: head_length as u64,
            sent: AtomicU64::new(0),
            completed: AtomicBool::new(false),
        };
        Logged { inner, account: Arc::new(account) }
    }
}

/// A response that is logged.
///
/// What the producer made since it was last asked is one entry, told about when the socket has taken
/// it or the connection is gone. So the sum is exact, however the response ends.
pub(crate) struct Logged {
    inner: Box<dyn Producer>,
    account: Arc<Account>,
}

impl Producer for Logged {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let began = out.pushed();
        let produced = self.inner.produce(out);
        let is_last = matches!(produced, Ok(Produced::Done));
        if is_last || out.pushed() > began {
            let account = Arc::clone(&self.account);
            let hook = move |delivered: Delivered| {
                account.sent.fetch_add(delivered.bytes, Ordering::Relaxed);
                if is_last && delivered.completed {
                    account.completed.store(true, Ordering::Relaxed);
                }
            };
            out.push_milestone(began, Box::new(hook));
        }
        produced
    }

    fn remaining(&self) -> Option<u64> {
        self.inner.remaining()
    }
}

/// What became of a response. It is written down when nobody can add to it any more.
struct Account {
    record: Record,
    status: StatusCode,
    head_length: u64,
    sent: AtomicU64,
    completed: AtomicBool,
}

impl Drop for Account {
    fn drop(&mut self) {
        let Record { sink, line, tail, .. } = &mut self.record;
        let octets = self.sent.get_mut().saturating_sub(self.head_length);
        let _ = write!(line, " {} {octets}", self.status.as_str());
        line.extend_from_slice(tail);
        if !*self.completed.get_mut() {
            line.extend_from_slice(b" incomplete");
        }
        sink.line(line);
    }
}

/// In quotes, and so that nobody can end the quotes, the line, or colour the reader's terminal.
fn quote(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for &octet in &text[..text.len().min(PART)] {
        match octet {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', octet]),
            octet => escape(out, &[octet], b""),
        }
    }
    out.push(b'"');
}

/// As hexadecimal digits, what isn't printable ASCII and what is among `others`.
fn escape(out: &mut Vec<u8>, text: &[u8], others: &[u8]) {
    for &octet in &text[..text.len().min(PART)] {
        match octet {
            0x20..=0x7e if !others.contains(&octet) => out.push(octet),
            _ => {
                let _ = write!(out, "\\x{octet:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_can_not_leave_its_quotes() {
        let mut out = Vec::new();
        quote(&mut out, b"a\" \\ \x1b[31m\n\xc3");
        assert_eq!(out, b"\"a\\\" \\\\ \\x1b[31m\\x0a\\xc3\"");
        out.clear();
        quote(&mut out, &[b'a'; 5000]);
        assert_eq!(out.len(), PART + 2);
    }
}
