//! What a resolver has done, in numbers.

use std::sync::Arc;

use medusa_core::metrics::{Counter, ServiceMetrics};

/// Counts over all shards, since the start.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Questions that were asked of this resolver.
    pub questions: Count,
    /// Those that were answered from what was known, stale answers not counted.
    pub hits: Count,
    /// Those that joined one that was under way.
    pub joined: Count,
    /// Those that were answered with stale data (RFC 8767).
    pub stale: Count,
    /// Those that nobody could answer.
    pub failures: Count,
    /// Datagrams that were sent to upstream servers.
    pub sent: Count,
    /// Questions that were put over TCP or TLS.
    pub streamed: Count,
    /// Questions that were put and not answered in time.
    pub timeouts: Count,
    /// Datagrams that were not the answer they claimed to be: another sender, id, question or case.
    pub mismatches: Count,
    /// Popular answers that were asked for before they ran out.
    pub prefetches: Count,
}

impl Counts {
    /// Has all of them shown among the counters of a service.
    pub(crate) fn show(&self, metrics: &ServiceMetrics) {
        for (name, count) in [
            ("questions", &self.questions),
            ("cache_hits", &self.hits),
            ("joined", &self.joined),
            ("stale_answers", &self.stale),
            ("failures", &self.failures),
            ("datagrams_asked", &self.sent),
            ("streams_asked", &self.streamed),
            ("timeouts", &self.timeouts),
            ("mismatches", &self.mismatches),
            ("prefetches", &self.prefetches),
        ] {
            metrics.adopt(name, Arc::clone(&count.0));
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(Arc<Counter>);

impl Count {
    /// Its value now.
    pub fn value(&self) -> u64 {
        self.0.value()
    }

    pub(crate) fn add(&self) {
        self.0.add(1);
    }
}
