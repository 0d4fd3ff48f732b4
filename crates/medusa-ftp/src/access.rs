//! The access log: one line for each transfer that has ended, in the form that wu-ftpd's xferlog(5) has
//! given to the field. What is counted for monitors is counted here too. Lists are no transfers.

use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use medusa_core::AccessSink;
use medusa_core::metrics::{Counter, ServiceMetrics};

use crate::stream::Representation;
use crate::time::push_logged;

/// What is remembered of a transfer until it ends.
pub(crate) struct Record {
    sink: Option<Arc<dyn AccessSink>>,
    counts: Option<Arc<Counts>>,
    peer: Option<IpAddr>,
    path: Vec<u8>,
    how: Representation,
    direction: char,
    access: char,
    user: String,
}

/// What is counted of a service's transfers.
pub(crate) struct Counts {
    downloads: Arc<Counter>,
    downloaded_octets: Arc<Counter>,
    uploads: Arc<Counter>,
    uploaded_octets: Arc<Counter>,
}

impl Counts {
    pub(crate) fn of(metrics: &ServiceMetrics) -> Counts {
        Counts {
            downloads: metrics.counter("downloads"),
            downloaded_octets: metrics.counter("downloaded_octets"),
            uploads: metrics.counter("uploads"),
            uploaded_octets: metrics.counter("uploaded_octets"),
        }
    }

    fn add(&self, direction: char, octets: u64) {
        let (transfers, sum) = match direction {
            'i' => (&self.uploads, &self.uploaded_octets),
            _ => (&self.downloads, &self.downloaded_octets),
        };
        transfers.add(1);
        sum.add(octets);
    }
}

impl Record {
    /// `direction` is `i` or `o`, `access` is `a` for anonymous and `r` for an account.
    pub(crate) fn new(
        path: &[u8],
        how: Representation,
        direction: char,
        access: char,
        user: &str,
    ) -> Record {
        let (path, user) = (path.to_vec(), user.to_owned());
        Record { sink: None, counts: None, peer: None, path, how, direction, access, user }
    }

    /// The same, of this peer.
    pub(crate) fn of(self, peer: Option<IpAddr>) -> Record {
        Record { peer, ..self }
    }

    /// The same, to be told to these.
    pub(crate) fn to(
        self,
        sink: Option<Arc<dyn AccessSink>>,
        counts: Option<Arc<Counts>>,
    ) -> Record {
        Record { sink, counts, ..self }
    }

    /// Writes the line and counts it.
    pub(crate) fn finish(self, now: i64, elapsed: Duration, octets: u64, is_complete: bool) {
        let Record { sink, counts, peer, path, how, direction, access, user } = self;
        if let Some(counts) = counts {
            counts.add(direction, octets);
        }
        let Some(sink) = sink else { return };
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
