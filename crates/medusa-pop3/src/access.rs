//! The access log: one line for each message that was sent, in the manner of Apache's common format, told
//! when the socket has taken its last octet or the client has left:
//! `192.0.2.1 - alice [22/Nov/2026:15:20:04 +0000] "POP3 RETR <unique id>" 1234`, and ` incomplete` behind
//! it for one that was not sent whole. The octets are those of the message as it went out.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use medusa_core::{AccessSink, Delivered, Peer};

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

fn date(at: SystemTime) -> String {
    // Beyond the year 9999 there is no such date; httpdate would panic.
    let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(253_402_300_799);
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
    // `Sun, 06 Nov 1994 08:49:37 GMT` holds all that `06/Nov/1994:08:49:37 +0000` needs.
    let part = |range| date.get(range).unwrap_or_default();
    format!("{}/{}/{}:{} +0000", part(5..7), part(8..11), part(12..16), part(17..25))
}
