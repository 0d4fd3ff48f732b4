//! What a message is given on its way (RFC 5321 §4.4): Received, in maildrops Return-Path, and its id.

use std::fmt::Write;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use medusa_core::Peer;

/// What is known of a message when it begins.
#[derive(Debug)]
pub(crate) struct Trace<'t> {
    pub hostname: &'t str,
    pub helo: &'t str,
    pub extended: bool,
    pub authenticated: bool,
    pub smtputf8: bool,
    pub peer: &'t Peer,
    /// The recipient, where there is one alone: of several, none learns of the others.
    pub recipient: Option<&'t str>,
    pub id: &'t str,
    pub at: SystemTime,
}

impl Trace<'_> {
    /// Writes the Received field.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        // A String takes everything.
        let mut text = String::from("Received: from ");
        let _ = match (self.helo.is_ascii(), self.peer.remote.ip()) {
            (true, _) => write!(text, "{}", self.helo),
            // RFC 6531 §3.7.1: a name is in ASCII there. Who says another is known by his address.
            (false, Some(IpAddr::V6(address))) => write!(text, "[IPv6:{address}]"),
            (false, Some(IpAddr::V4(address))) => write!(text, "[{address}]"),
            (false, None) => write!(text, "local"),
        };
        let _ = match self.peer.remote.ip() {
            Some(IpAddr::V6(address)) => write!(text, " ([IPv6:{address}])"),
            Some(IpAddr::V4(address)) => write!(text, " ([{address}])"),
            None => write!(text, " (local)"),
        };
        let _ = write!(text, "\r\n\tby {} (Medusa) with {}", self.hostname, self.protocol());
        if let Some(tls) = &self.peer.tls {
            let _ = write!(text, "\r\n\t({} {})", tls.version, tls.cipher);
        }
        let _ = write!(text, "\r\n\tid {}", self.id);
        if let Some(recipient) = self.recipient {
            let _ = write!(text, "\r\n\tfor <{recipient}>");
        }
        let _ = write!(text, ";\r\n\t{}\r\n", date(self.at));
        out.extend_from_slice(text.as_bytes());
    }

    /// RFC 3848 and RFC 6531 §4.3.
    fn protocol(&self) -> String {
        if !self.extended {
            return "SMTP".into();
        }
        let name = if self.smtputf8 { "UTF8SMTP" } else { "ESMTP" };
        let secured = if self.peer.tls.is_some() { "S" } else { "" };
        let authenticated = if self.authenticated { "A" } else { "" };
        format!("{name}{secured}{authenticated}")
    }
}

/// The field that says whom the message is from, for maildrops alone (RFC 5321 §4.4).
pub(crate) fn return_path(sender: &str) -> Vec<u8> {
    format!("Return-Path: <{sender}>\r\n").into_bytes()
}

/// RFC 5322 §3.3, in UTC.
pub(crate) fn date(at: SystemTime) -> String {
    httpdate::fmt_http_date(at).replace("GMT", "+0000")
}

/// A text of which nothing is beyond ASCII: for parts of reports that are labelled so.
pub(crate) fn ascii(text: String) -> String {
    match text.is_ascii() {
        true => text,
        false => text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect(),
    }
}

/// A message's id, for logs and replies: when it came, where, and the how manieth of its shard.
pub(crate) fn id(at: SystemTime, shard: impl std::fmt::Display, count: u64) -> String {
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let shard: String = shard.to_string().chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{seconds:x}.{shard}.{count}")
}
