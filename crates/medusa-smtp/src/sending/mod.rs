//! Sending: mail for elsewhere goes into a durable queue, and from there to the servers that take it.
//!
//! [`Outbound`] says how; [`Sending`] is it at work, on the event loops of the service that it is given to.
//! A submission service puts what it takes into the queue; a program may put messages there itself.
//!
//! | file | does |
//! |---|---|
//! | `schedule` | what is tried when and where, and how much at one time (pure) |
//! | `route`, `hosts` | which way a domain's mail goes, and which servers are tried (pure) |
//! | `client` | the conversation with one server (pure) |
//! | `reply`, `outcome` | what servers say, and what it means (pure) |
//! | `worker`, `shared` | the part of a shard that does it, and what all shards' have in common |
//! | `ledger`, `bounce` | what is written down, and told to senders (blocking) |
//! | `lot` | orders and spreads |

mod bounce;
mod client;
#[cfg(test)]
mod flawed;
mod hosts;
mod ledger;
mod lot;
mod outcome;
mod reply;
mod route;
mod schedule;
mod shared;
mod worker;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use medusa_core::metrics::ServiceMetrics;
use medusa_core::{Acceptor, AccessSink, DatagramService, Peer, Service, ServiceParts, Session};
use medusa_mail::{EntryId, Envelope, MailStore, Queue};
use medusa_resolver::Resolver;

pub use ledger::Schedule;
pub(crate) use outcome::{Fate, Outcome};
pub(crate) use reply::Status;
pub(crate) use route::domain_of;
pub use route::{Authorities, Host, Relay, Security, Way};

use crate::Directory;
use bounce::{Local, Poster};
use ledger::Ledger;
use lot::Lot;
use route::Ways;
use schedule::{Caps, Scheduler};
use shared::{Clients, Counts, Shared};
use worker::Worker;

/// How much is sent at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SendingLimits {
    /// Messages under way. Default 100 (Postfix's `default_process_limit`).
    pub concurrency: usize,
    /// Those of one destination: a domain, or a relay. Default 20 (Postfix's
    /// `default_destination_concurrency_limit`).
    pub per_destination: usize,
    /// Recipients of one transaction. Default 100: what every server takes (RFC 5321 §4.5.3.1.8).
    pub recipients: usize,
    /// How long a connection waits for another message. Default 5 s.
    pub idle: Duration,
    /// The least time between two messages to one destination. Default none.
    pub pause: Duration,
}

impl Default for SendingLimits {
    fn default() -> Self {
        SendingLimits {
            concurrency: 100,
            per_destination: 20,
            recipients: 100,
            idle: Duration::from_secs(5),
            pause: Duration::ZERO,
        }
    }
}

/// How mail goes out.
pub struct Outbound {
    queue: Arc<dyn Queue>,
    hostname: Arc<str>,
    ways: Vec<Way>,
    relay: Option<Relay>,
    port: Option<u16>,
    schedule: Schedule,
    limits: SendingLimits,
    resolver: Option<Arc<dyn Resolver>>,
    local: Option<Local>,
    access: Option<Arc<dyn AccessSink>>,
    metrics: Option<Arc<ServiceMetrics>>,
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("hostname", &self.hostname).finish_non_exhaustive()
    }
}

impl Outbound {
    /// Sends what `queue` holds, as `hostname`. Without a [resolver](Self::with_resolver) only to relays and
    /// literals that name an address.
    pub fn new(queue: Arc<dyn Queue>, hostname: impl Into<Arc<str>>) -> Outbound {
        Outbound {
            queue,
            hostname: hostname.into(),
            ways: Vec::new(),
            relay: None,
            port: None,
            schedule: Schedule::default(),
            limits: SendingLimits::default(),
            resolver: None,
            local: None,
            access: None,
            metrics: None,
        }
    }

    /// Who looks names up.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolver>) -> Outbound {
        self.resolver = Some(resolver);
        self
    }

    /// Sends everything to one server, but for domains that have a [way](Self::with_ways) of their own.
    #[must_use]
    pub fn with_relay(mut self, relay: Option<Relay>) -> Outbound {
        self.relay = relay;
        self
    }

    /// Ways for some domains; the first that fits is taken.
    #[must_use]
    pub fn with_ways(mut self, ways: Vec<Way>) -> Outbound {
        self.ways = ways;
        self
    }

    /// Connects to the servers that domains name at another port than 25: for tests.
    #[must_use]
    pub fn with_port(mut self, port: u16) -> Outbound {
        self.port = Some(port);
        self
    }

    /// When what is tried again, and given up.
    #[must_use]
    pub fn with_schedule(mut self, schedule: Schedule) -> Outbound {
        self.schedule = schedule;
        self
    }

    /// How much is sent at one time.
    #[must_use]
    pub fn with_limits(mut self, limits: SendingLimits) -> Outbound {
        self.limits = limits;
        self
    }

    /// Reports to accounts of these domains are put into their maildrops.
    #[must_use]
    pub fn with_local(
        mut self,
        domains: Vec<String>,
        directory: Arc<dyn Directory>,
        store: Arc<dyn MailStore>,
    ) -> Outbound {
        self.local = Some(Local { domains, directory, store });
        self
    }

    /// Where a line goes for what becomes of each recipient.
    #[must_use]
    pub fn with_access(mut self, sink: Option<Arc<dyn AccessSink>>) -> Outbound {
        self.access = sink;
        self
    }

    /// Counts into a service's metrics: `queued`, `dequeued`, `delivered`, `deferred`, `bounced`.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Arc<ServiceMetrics>) -> Outbound {
        self.metrics = Some(metrics);
        self
    }

    /// Ready to be given to a service. Nothing is sent, nor the queue touched, before that runs.
    ///
    /// # Errors
    ///
    /// TLS can't be set up: a file of authorities can't be read.
    pub fn build(self) -> Result<Sending, medusa_core::tls::TlsError> {
        let ways = Ways::new(self.ways, self.relay, self.port);
        let tls = Clients::new(&ways)?;
        let limits = &self.limits;
        let caps = Caps {
            running: limits.concurrency.max(1),
            per_place: limits.per_destination.max(1),
            pause: limits.pause,
        };
        let poster = Poster { hostname: Arc::clone(&self.hostname), local: self.local };
        let seed = RandomState::new().build_hasher().finish();
        let counts = Counts::of(self.metrics.as_deref());
        let ledger = Ledger::new(self.queue, self.schedule, poster, self.access, Lot::new(seed));
        Ok(Sending(Arc::new(Shared {
            ledger,
            ways,
            hostname: self.hostname,
            limits: self.limits,
            resolver: self.resolver,
            tls,
            counts,
            scheduler: Mutex::new(Scheduler::new(caps)),
            workers: Mutex::default(),
            turn: AtomicUsize::new(0),
            begun: AtomicBool::new(false),
            remarks: Mutex::default(),
        })))
    }
}

/// Sending at work. Cheap to clone.
#[derive(Clone)]
pub struct Sending(Arc<Shared>);

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending").field("hostname", &self.0.hostname).finish_non_exhaustive()
    }
}

impl Sending {
    /// The queue that is sent from.
    pub fn queue(&self) -> &Arc<dyn Queue> {
        &self.0.ledger.queue
    }

    /// Says that an entry was committed to the queue: it is sent at its time, at once as a rule. May be called
    /// on any thread.
    pub fn queued(&self, id: &EntryId, envelope: &Envelope) {
        self.0.add(id.as_ref(), envelope, Instant::now(), SystemTime::now());
        self.0.wake_one();
    }

    /// Entries that aren't done with.
    pub fn queue_length(&self) -> usize {
        self.0.schedule().len()
    }

    /// A service that does nothing but send, for programs that take no mail.
    pub fn service(&self, name: impl Into<String>) -> Box<dyn Service> {
        let parts = ServiceParts::new(name.into()).with_limits(crate::default_limits());
        let parts = parts.with_summary("mail on its way");
        Box::new(SendingService { parts, sending: self.clone() })
    }

    /// What a service runs on each shard, so that mail is sent from there.
    pub fn worker(&self) -> Box<dyn DatagramService> {
        Box::new(Worker::new(Arc::clone(&self.0)))
    }
}

struct SendingService {
    parts: ServiceParts,
    sending: Sending,
}

impl Service for SendingService {
    fn parts(&self) -> ServiceParts {
        self.parts.clone()
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        // Nobody comes: there is no listener.
        Box::new(|_: &Peer| -> Box<dyn Session> { Box::new(Nobody) })
    }

    fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
        Some(self.sending.worker())
    }
}

struct Nobody;

impl Session for Nobody {
    fn opened(&mut self, cx: &mut medusa_core::Cx<'_>) {
        cx.close();
    }

    fn received(&mut self, _: &mut medusa_core::Cx<'_>, _: medusa_core::Frame<'_>) {}
}
