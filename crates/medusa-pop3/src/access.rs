//! The access log: one line for each message that was sent, in the manner of Apache's common format, told
//! when the socket has taken its last octet or the client has left:
//! `192.0.2.1 - alice [22/Nov/2026:15:20:04 +0000] "POP3 RETR <unique id>" 1234`, and ` incomplete` behind
//! it for one that was not sent whole. The octets are those of the message as it went out.

use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

use medusa_core::{AccessSink, Delivered, Peer};
use medusa_text::log::date;

/// A line that waits for its end.
pub(crate) struct Record {
    sink: Arc<dyn AccessSink>,
    line: String,
}

impl Record {
    pub(crate) fn new(
        sink: &Arc<dyn AccessSink>,
        peer: &Peer,
        at: SystemTime,
        account: &str,
        verb: &str,
        unique_id: &str,
    ) -> Record {
        let mut line = String::with_capacity(160);
        // A String takes everything.
        let _ = match peer.remote.ip() {
            Some(address) => write!(line, "{address}"),
            None => write!(line, "{}", peer.remote),
        };
        let _ = write!(line, " - {account} [{}] \"POP3 {verb} {unique_id}\"", date(at));
        Record { sink: Arc::clone(sink), line }
    }

    /// Writes the line.
    pub(crate) fn write(mut self, sent: Delivered) {
        let _ = write!(self.line, " {}", sent.bytes);
        if !sent.completed {
            self.line.push_str(" incomplete");
        }
        self.sink.line(self.line.as_bytes());
    }
}
