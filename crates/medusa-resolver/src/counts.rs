//! What a resolver has done, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

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

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Its value now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
