//! The access log: one line for each transfer that has ended, in the form that wu-ftpd's xferlog(5) has
//! given to the field. Lists are no transfers.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use medusa_core::AccessSink;

use crate::stream::Representation;
use crate::time::push_logged;

/// What is remembered of a transfer until it ends.
pub(crate) struct Record {
    sink: Arc<dyn AccessSink>,
    peer: Option<IpAddr>,
    path: Vec<u8>,
    how: Representation,
    direction: char,
    access: char,
    user: String,
}

impl Record {
    /// `direction` is `i` or `o`, `access` is `a` for anonymous and `r` for an account.
    pub(crate) fn new(
        sink: &Arc<dyn AccessSink>,
        path: &[u8],
        how: Representation,
        direction: char,
        access: char,
        user: &str,
    ) -> Record {
        let (sink, path, user) = (Arc::clone(sink), path.to_vec(), user.to_owned());
        Record { sink, peer: None, path, how, direction, access, user }
    }

    /// The same, of this peer.
    pub(crate) fn of(self, peer: Option<IpAddr>) -> Record {
        Record { peer, ..self }
    }

    /// Writes the line.
    pub(crate) fn finish(self, now: i64, elapsed: Duration, octets: u64, is_complete: bool) {
        let Record { sink, peer, path, how, direction, access, user } = self;
        let mut line = Vec::with_capacity(128 + path.len());
        push_logged(&mut line, now);
        let seconds = elapsed.as_secs().max(1);
        let _ = match peer {
            Some(peer) => write!(line, " {seconds} {peer} {octets} "),
            None => write!(line, " {seconds} unix {octets} "),
        };
        push_word(&mut line, &path);
        let kind = if how.ascii { 'a' } else { 'b' };
        let action = if how.deflate.is_some() { 'C' } else { '_' };
        let _ = write!(line, " {kind} {action} {direction} {access} ");
        push_word(&mut line, user.as_bytes());
        let end = if is_complete { 'c' } else { 'i' };
        let _ = write!(line, " ftp 0 * {end}");
        sink.line(&line);
    }
}

/// One word, which can neither be parted nor end the line nor command a terminal.
fn push_word(out: &mut Vec<u8>, word: &[u8]) {
    out.extend(word.iter().map(|&octet| match octet {
        0x21..=0x7e => octet,
        _ => b'_',
    }));
}
