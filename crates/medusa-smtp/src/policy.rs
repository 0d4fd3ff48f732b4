//! The door for filters: asked at each step of a conversation whether to go on.
//!
//! What a message says of itself, a filter reads with [`header_fields`]; bodies are its own to look into, once they
//! are stored.

use medusa_accounts::Identity;
use medusa_core::Peer;

/// Who speaks.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Client<'c> {
    /// The other end.
    pub peer: &'c Peer,
    /// What it named itself; empty before it has.
    pub helo: &'c str,
    /// Who has logged in.
    pub identity: Option<&'c Identity>,
}

impl<'c> Client<'c> {
    pub(crate) fn new(peer: &'c Peer, helo: &'c str, identity: Option<&'c Identity>) -> Client<'c> {
        Client { peer, helo, identity }
    }
}

/// Whose message to whom.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Transaction<'t> {
    /// The sender; empty for the null sender.
    pub sender: &'t str,
    /// The recipients that were taken.
    pub recipients: &'t [String],
}

impl<'t> Transaction<'t> {
    pub(crate) fn new(sender: &'t str, recipients: &'t [String]) -> Transaction<'t> {
        Transaction { sender, recipients }
    }
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verdict {
    /// Go on.
    #[default]
    Accept,
    /// Go on, and put these header fields in front of the message: whole lines with CRLF. Where there is no
    /// message yet, it is as [`Accept`](Verdict::Accept).
    AcceptWith(Vec<u8>),
    /// No, for good: 550 5.7.1, or 554 for a connection.
    Refuse(String),
    /// Not now: 451 4.7.1, or 421 for a connection.
    Defer(String),
    /// Say yes and throw it away: this recipient, or the message.
    Discard,
}

/// A field of a message's header section.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderField {
    /// Its name, as it was written.
    pub name: String,
    /// Its value on one line, encoded words decoded (RFC 2047). What is no text in its charset holds U+FFFD.
    pub value: String,
}

/// A field that is longer is cut: so much of it is read.
const FIELD_OCTETS: usize = 8 * 1024;

/// The fields of a header section, in their order: of what [`Policy::headed`] is handed. Lines that are no field are
/// left out, and of a field 8 KiB are read.
pub fn header_fields(head: &[u8]) -> Vec<HeaderField> {
    let mut fields = Vec::new();
    let mut rest = head;
    while !rest.is_empty() {
        // One after the other: a line that is none must not hide those behind it.
        let end = field_end(rest);
        let (field, behind) = rest.split_at(end);
        rest = behind;
        // mailparse takes four times as long for twice as much.
        let field = &field[..field.len().min(FIELD_OCTETS)];
        let has_name = memchr::memchr(b':', field).is_some_and(|colon| {
            colon > 0 && field[..colon].iter().all(|c| c.is_ascii_graphic() || *c == b' ')
        });
        if has_name && let Ok((parsed, _)) = mailparse::parse_header(field) {
            let name = parsed.get_key().trim_end().to_owned();
            fields.push(HeaderField { name, value: parsed.get_value() });
        }
    }
    fields
}

/// Where a field ends that begins here: behind the first line end that no white space follows.
fn field_end(text: &[u8]) -> usize {
    let ends = memchr::memchr_iter(b'\n', text).map(|at| at + 1);
    let mut ends = ends.filter(|end| !matches!(text.get(*end), Some(b' ' | b'\t')));
    ends.next().unwrap_or(text.len())
}

/// Decides beside the server's own rules, which come first. Called on an event loop: it must not block.
pub trait Policy: Send + Sync {
    /// A client has connected.
    fn connected(&self, client: &Client<'_>) -> Verdict {
        let _ = client;
        Verdict::Accept
    }

    /// It said HELO or EHLO.
    fn greeted(&self, client: &Client<'_>) -> Verdict {
        let _ = client;
        Verdict::Accept
    }

    /// It named a sender.
    fn sender(&self, client: &Client<'_>, sender: &str) -> Verdict {
        let _ = (client, sender);
        Verdict::Accept
    }

    /// It named a recipient who is here.
    fn recipient(&self, client: &Client<'_>, sender: &str, recipient: &str) -> Verdict {
        let _ = (client, sender, recipient);
        Verdict::Accept
    }

    /// The header section has come: `head` is as much of it as fits in 64 KiB, as it was sent.
    fn headed(&self, client: &Client<'_>, message: &Transaction<'_>, head: &[u8]) -> Verdict {
        let _ = (client, message, head);
        Verdict::Accept
    }

    /// The message has come whole: `size` octets with what was put in front of it.
    fn ended(&self, client: &Client<'_>, message: &Transaction<'_>, size: u64) -> Verdict {
        let _ = (client, message, size);
        Verdict::Accept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(head: &str) -> Vec<(String, String)> {
        header_fields(head.as_bytes()).into_iter().map(|f| (f.name, f.value)).collect()
    }

    #[test]
    fn fields_are_unfolded_and_decoded() {
        let head = "Subject: =?utf-8?q?caf=C3=A9?=\r\n =?utf-8?b?IG5vaXI=?=\r\nno field\r\n: none\r\n\
                    To:a@b.test,\r\n\tc@d.test\r\nEmpty:\r\nX : y\r\nLast: one";
        let expected = [
            ("Subject", "caf\u{e9} noir"),
            ("To", "a@b.test, c@d.test"),
            ("Empty", ""),
            ("X", "y"),
            ("Last", "one"),
        ];
        let found = fields(head);
        let found: Vec<_> = found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(found, expected);
        assert!(fields("").is_empty() && fields("\r\n").is_empty());
    }

    #[test]
    fn what_is_hostile_takes_no_longer() {
        let megabyte = 1 << 20;
        let long = format!("Subject: {}\r\nNext: 1\r\n", "x".repeat(megabyte));
        assert_eq!(fields(&long).len(), 2);
        let folded = format!("A: b\r\n{}", " c\r\n".repeat(megabyte / 4));
        assert_eq!(fields(&folded).len(), 1);
        let words = format!("A: {}\r\n", "=?utf-8?q?x?= ".repeat(megabyte / 14));
        assert_eq!(fields(&words).len(), 1);
        let many = "A: b\r\n".repeat(megabyte / 6);
        assert_eq!(fields(&many).len(), megabyte / 6);
        let nested = "Content-Type: multipart/mixed; boundary=x\r\n".repeat(1000);
        assert_eq!(fields(&nested).len(), 1000);
        for octets in [&b"\xff\xfe: \xff\r\n"[..], b"=?", b"A: =?x?q?\xff?=\r\n", b"\r", b":"] {
            let _ = header_fields(octets);
        }
    }
}
