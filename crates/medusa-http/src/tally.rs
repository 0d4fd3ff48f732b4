//! Requests counted by their status. Each shard counts for itself and adds to the shared counters when
//! a connection has sent what it had to send: a burst of pipelined requests costs one addition that
//! other shards can notice. Pure.

use std::cell::Cell;
use std::sync::Arc;

use http::StatusCode;
use medusa_core::metrics::{Counter, ServiceMetrics};

/// The classes of final responses (RFC 9110 §15).
const NAMES: [&str; 4] = ["requests_2xx", "requests_3xx", "requests_4xx", "requests_5xx"];

pub(crate) struct Tally {
    classes: [(Cell<u32>, Arc<Counter>); NAMES.len()],
}

impl Tally {
    pub(crate) fn new(metrics: &ServiceMetrics) -> Tally {
        Tally { classes: NAMES.map(|name| (Cell::new(0), metrics.counter(name))) }
    }

    #[inline]
    pub(crate) fn count(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).wrapping_sub(2);
        // Statuses of no class are as bad as a server's failure.
        let (pending, _) = &self.classes[class.min(NAMES.len() - 1)];
        pending.set(pending.get().wrapping_add(1));
    }

    #[inline]
    pub(crate) fn flush(&self) {
        for (pending, counter) in &self.classes {
            let count = pending.take();
            if count > 0 {
                counter.add(count.into());
            }
        }
    }
}
