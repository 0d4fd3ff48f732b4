//! The access log, in the manner of Apache's common format. One line for each message that came to its end:
//! `192.0.2.1 - alice [date] "SMTP <sender> <recipient>,<recipient>" 250 octets id`; and one for each recipient
//! in each attempt to send it on:
//! `mx.example.org - alice [date] "RELAY <sender> <recipient>" sent 2.1.5 entry id seconds`.

use std::fmt;
use std::time::{Duration, SystemTime};

use medusa_core::Peer;
use medusa_mail::EntryId;
use medusa_text::log::date;

use crate::sending::Status;

/// How many recipients are named.
const NAMED: usize = 20;

pub(crate) struct Line<'l> {
    pub peer: &'l Peer,
    pub account: Option<&'l str>,
    pub at: SystemTime,
    pub sender: &'l str,
    pub recipients: &'l [String],
    pub code: u16,
    pub octets: u64,
    pub id: &'l str,
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer.remote.ip() {
            Some(address) => write!(f, "{address}")?,
            None => f.write_str("unix")?,
        }
        let account = self.account.unwrap_or("-");
        write!(f, " - {account} [{}] \"SMTP <{}>", date(self.at), quoted(self.sender))?;
        for (index, recipient) in self.recipients.iter().take(NAMED).enumerate() {
            write!(f, "{}<{}>", if index == 0 { " " } else { "," }, quoted(recipient))?;
        }
        if self.recipients.len() > NAMED {
            write!(f, ",+{}", self.recipients.len() - NAMED)?;
        }
        write!(f, "\" {} {} {}", self.code, self.octets, self.id)
    }
}

/// What became of a recipient elsewhere.
pub(crate) struct Onward<'l> {
    /// The server that was spoken to last.
    pub host: Option<&'l str>,
    pub submitter: Option<&'l str>,
    pub at: SystemTime,
    pub sender: &'l str,
    pub recipient: &'l str,
    pub result: &'static str,
    pub status: Status,
    /// The queue entry.
    pub id: &'l EntryId,
    /// What the message was called when it was taken.
    pub trace: Option<&'l str>,
    /// Since it was accepted.
    pub age: Duration,
}

impl fmt::Display for Onward<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, submitter) = (self.host.unwrap_or("-"), self.submitter.unwrap_or("-"));
        let (sender, recipient) = (quoted(self.sender), quoted(self.recipient));
        let trace = self.trace.unwrap_or("-");
        write!(f, "{host} - {submitter} [{}] \"RELAY <{sender}> <{recipient}>\"", date(self.at))?;
        let age = self.age.as_secs();
        write!(f, " {} {} {} {trace} {age}", self.result, self.status, self.id)
    }
}

/// A text that can't end the quotes around it. Addresses hold no control characters.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
