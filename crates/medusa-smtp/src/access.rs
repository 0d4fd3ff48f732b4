//! The access log: one line for each message that came to its end, in the manner of Apache's common format:
//! `192.0.2.1 - alice [date] "SMTP <sender> <recipient>,<recipient>" 250 octets id`.

use std::fmt;
use std::time::SystemTime;

use medusa_core::Peer;

use crate::trace::date;

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

/// A text that can't end the quotes around it. Addresses hold no control characters.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
