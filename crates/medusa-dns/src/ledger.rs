//! What was answered, in numbers for the status page and, where that is asked for, in the access log: a line
//! for each question in the manner of Apache's common format:
//! `192.0.2.1 - - [22/Nov/2026:15:20:04 +0000] "DNS www.example.test. A" NOERROR 62`. The octets are those of the
//! answer.
//!
//! Transfers, notices and updates aren't in it: what becomes of them is told in the log of the program.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use medusa_core::AccessSink;
use medusa_core::metrics::{Counter, ServiceMetrics};
use medusa_text::log::date;

use crate::name::Shown;
use crate::rate::Verdict;
use crate::types::{Rcode, RecordType};
use crate::wire::question_of;

/// The counters of answers by their response codes, in the order of those; the last one is for all others.
const ANSWERS: [&str; 7] = [
    "answers_noerror",
    "answers_formerr",
    "answers_servfail",
    "answers_nxdomain",
    "answers_notimp",
    "answers_refused",
    "answers_other",
];

/// Where answers are written down. It is one shard's own, so that shards don't wait for one another to count.
#[derive(Clone, Default)]
pub(crate) struct Ledger {
    metrics: Option<Arc<ServiceMetrics>>,
    access: Option<Arc<dyn AccessSink>>,
    answers: [Arc<Counter>; ANSWERS.len()],
    /// Answers that weren't sent for the rate limit.
    dropped: Arc<Counter>,
    /// Those that were sent without anything in them for it.
    slipped: Arc<Counter>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ledger")
    }
}

/// Whom an answer is for, and when it leaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Receiver {
    pub(crate) address: Option<IpAddr>,
    pub(crate) at: SystemTime,
}

impl Ledger {
    pub(crate) fn with_metrics(self, metrics: Option<Arc<ServiceMetrics>>) -> Ledger {
        Ledger { metrics, ..self }
    }

    pub(crate) fn with_access(self, access: Option<Arc<dyn AccessSink>>) -> Ledger {
        Ledger { access, ..self }
    }

    /// The same with counters of its own, which are summed where they are shown.
    pub(crate) fn of_a_shard(&self) -> Ledger {
        let counter = |name| match &self.metrics {
            Some(metrics) => metrics.share(name),
            None => Arc::default(),
        };
        Ledger {
            metrics: self.metrics.clone(),
            access: self.access.clone(),
            answers: ANSWERS.map(counter),
            dropped: counter("rate_limit_dropped"),
            slipped: counter("rate_limit_truncated"),
        }
    }

    /// An answer is sent: its response code and its octets.
    #[inline]
    pub(crate) fn answered(&self, rcode: Rcode, answer: &[u8], to: Receiver) {
        self.answers[usize::from(rcode.0).min(ANSWERS.len() - 1)].add(1);
        if let Some(access) = &self.access {
            access.line(line(rcode, answer, to).as_bytes());
        }
    }

    /// An answer isn't sent as it is.
    pub(crate) fn limited(&self, verdict: Verdict) {
        match verdict {
            Verdict::Sent => {}
            Verdict::Dropped => self.dropped.add(1),
            Verdict::Slipped => self.slipped.add(1),
        }
    }
}

/// The response code of an answer, as far as its header has it.
pub(crate) fn rcode_of(answer: &[u8]) -> Rcode {
    Rcode(answer.get(3).map_or(0, |flags| flags & 15).into())
}

#[cold]
fn line(rcode: Rcode, answer: &[u8], to: Receiver) -> String {
    let address = to.address.map_or_else(|| "unix".to_owned(), |address| address.to_string());
    let question = match question_of(answer).and_then(<[u8]>::split_last_chunk::<4>) {
        Some((name, [high, low, ..])) => {
            format!("{} {}", Shown(name), RecordType(u16::from_be_bytes([*high, *low])))
        }
        None => "- -".to_owned(),
    };
    format!("{address} - - [{}] \"DNS {question}\" {rcode} {}", date(to.at), answer.len())
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    struct Lines(Mutex<Vec<String>>);

    impl AccessSink for Lines {
        fn line(&self, line: &[u8]) {
            self.0.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
        }
    }

    #[test]
    fn answers_are_counted_over_all_shards_and_told_in_lines() {
        let (metrics, lines) =
            (Arc::<ServiceMetrics>::default(), Arc::new(Lines(Mutex::default())));
        let ledger = Ledger::default().with_metrics(Some(Arc::clone(&metrics)));
        let ledger = ledger.with_access(Some(Arc::clone(&lines) as _));
        let (one, other) = (ledger.of_a_shard(), ledger.of_a_shard());
        let answer = b"\0\0\x84\x03\0\x01\0\0\0\0\0\0\x04a\"\n \x01B\0\0\x1C\0\x01";
        let at = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let to = Receiver { address: Some([192, 0, 2, 1].into()), at };
        one.answered(rcode_of(answer), answer, to);
        other.answered(Rcode::NXDOMAIN, answer, to);
        other.answered(Rcode::BADVERS, &answer[..12], Receiver { address: None, at });
        other.limited(Verdict::Dropped);
        let counters = metrics.counters();
        let value = |name: &str| counters.iter().find(|(known, _)| *known == name).unwrap().1;
        assert_eq!((value("answers_nxdomain"), value("answers_other")), (2, 1));
        assert_eq!((value("rate_limit_dropped"), value("rate_limit_truncated")), (1, 0));
        assert_eq!(counters.len(), ANSWERS.len() + 2);
        let lines = lines.0.lock().unwrap();
        let date = "[06/Nov/1994:08:49:37 +0000]";
        let told = format!("192.0.2.1 - - {date} \"DNS a\\\"\\010\\032.B. AAAA\" NXDOMAIN 24");
        assert_eq!(lines[1], told);
        assert_eq!(lines[2], format!("unix - - {date} \"DNS - -\" BADVERS 12"));
    }
}
