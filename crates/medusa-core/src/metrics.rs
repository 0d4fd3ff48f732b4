//! What services have done so far, counted over all shards: for a status page and for monitoring.
//!
//! Counting costs an atomic addition when a connection comes or goes or a batch of datagrams is moved, and
//! nothing per request: what a protocol counts itself goes into its own [`Counter`]s.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What is counted of one service.
#[derive(Debug, Default)]
pub struct ServiceMetrics {
    /// Connections taken.
    pub accepted: Counter,
    /// Connections refused for a limit.
    pub refused: Counter,
    /// Connections that have ended.
    pub ended: Counter,
    /// Connections that sessions have made, or have listened for, for their own use: FTP's for data.
    pub own_opened: Counter,
    /// Those of them that have ended.
    pub own_ended: Counter,
    /// Octets received on connections that have ended.
    pub received_octets: Counter,
    /// Octets sent on connections that have ended.
    pub sent_octets: Counter,
    /// Datagrams.
    pub datagrams: Arc<DatagramCounts>,
    /// The protocol's own, with names such as `requests`.
    own: Mutex<Vec<(&'static str, Arc<Counter>)>>,
}

/// What went through a datagram service.
#[derive(Debug, Default)]
pub struct DatagramCounts {
    /// Datagrams received.
    pub received: Counter,
    /// Those of them that were longer than the service takes.
    pub truncated: Counter,
    /// Datagrams that were dropped unseen because their peer sends too many.
    pub refused: Counter,
    /// Datagrams that the kernel took.
    pub sent: Counter,
    /// Datagrams that were to be sent and were dropped: too many waited already, or the kernel refused
    /// them.
    pub dropped: Counter,
}

impl ServiceMetrics {
    /// Connections that stand now.
    pub fn open(&self) -> u64 {
        self.accepted.value().saturating_sub(self.ended.value())
    }

    /// Connections of sessions' own that stand now, or are being made.
    pub fn own_open(&self) -> u64 {
        self.own_opened.value().saturating_sub(self.own_ended.value())
    }

    /// The protocol's counter of this name; a new one the first time.
    pub fn counter(&self, name: &'static str) -> Arc<Counter> {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, counter)) = own.iter().find(|(known, _)| *known == name) {
            return Arc::clone(counter);
        }
        let counter = Arc::<Counter>::default();
        own.push((name, Arc::clone(&counter)));
        counter
    }

    /// A share of the protocol's counter of this name, for one shard alone: what is counted for each request
    /// shouldn't have shards wait for one another's cache lines.
    pub fn share(&self, name: &'static str) -> Arc<Counter> {
        let counter = Arc::<Counter>::default();
        self.adopt(name, Arc::clone(&counter));
        counter
    }

    /// Shows a counter that was there before as a share of this name.
    pub fn adopt(&self, name: &'static str, counter: Arc<Counter>) {
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        // Shares of shards that have ended are kept as one: a service may be replaced any number of times.
        let mut ended: Vec<(&'static str, u64)> = Vec::new();
        own.retain(|(name, counter)| {
            let is_held = Arc::strong_count(counter) > 1;
            if !is_held {
                match ended.iter_mut().find(|(known, _)| known == name) {
                    Some((_, value)) => *value += counter.value(),
                    None => ended.push((name, counter.value())),
                }
            }
            is_held
        });
        for (name, value) in ended {
            let kept = Counter::default();
            kept.add(value);
            own.push((name, Arc::new(kept)));
        }
        own.push((name, counter));
    }

    /// The protocol's own counters, all shares of one together.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<(&'static str, u64)> = Vec::new();
        for (name, counter) in own.iter() {
            match all.iter_mut().find(|(known, _)| known == name) {
                Some((_, value)) => *value += counter.value(),
                None => all.push((name, counter.value())),
            }
        }
        all
    }
}

/// The metrics of all services of a process, by name. One is shared through
/// [`BuildContext::with_shared`](crate::BuildContext::with_shared) and given to the
/// [server](crate::server::Builder::metrics).
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    services: Arc<RwLock<Vec<Named>>>,
}

/// A service's name and metrics.
pub type Named = (Arc<str>, Arc<ServiceMetrics>);

impl Metrics {
    /// The metrics of the service `name`; new ones the first time.
    pub fn service(&self, name: &str) -> Arc<ServiceMetrics> {
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, metrics)) = services.iter().find(|(known, _)| &**known == name) {
            return Arc::clone(metrics);
        }
        let metrics = Arc::<ServiceMetrics>::default();
        services.push((name.into(), Arc::clone(&metrics)));
        metrics
    }

    /// Forgets a service that has ended while the process goes on. Should it come again, it begins anew.
    pub fn forget(&self, name: &str) {
        let mut services = self.services.write().unwrap_or_else(PoisonError::into_inner);
        services.retain(|(known, _)| &**known != name);
    }

    /// All services, in the order in which they were first named.
    pub fn all(&self) -> Vec<Named> {
        self.services.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_service_and_one_counter() {
        let metrics = Metrics::default();
        metrics.service("http.a").accepted.add(3);
        metrics.service("http.b").counter("requests").add(2);
        metrics.clone().service("http.a").ended.add(1);
        metrics.service("http.b").counter("requests").add(5);
        metrics.service("http.b").share("requests").add(1);
        metrics.service("http.b").share("requests").add(1);
        let all = metrics.all();
        assert_eq!(all.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["http.a", "http.b"]);
        assert_eq!(all[0].1.open(), 2);
        assert_eq!(all[1].1.counters(), [("requests", 9)]);
        for _ in 0..1000 {
            metrics.service("http.b").share("requests").add(1);
        }
        assert_eq!(all[1].1.counters(), [("requests", 1009)]);
        assert!(all[1].1.own.lock().unwrap().len() < 10);
        metrics.forget("http.a");
        assert_eq!(metrics.all().len(), 1);
        assert_eq!(metrics.service("http.a").open(), 0);
    }
}
