//! What the workers of all shards share: the schedule, the ledger, who the workers are, counters and TLS towards
//! servers; and what is done with the queue as a whole. Methods that say so block.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use medusa_core::metrics::{Counter, ServiceMetrics};
use medusa_core::tls::{ClientTls, Roots, TlsError};
use medusa_core::{Address, Remote};
use medusa_mail::{Action, Envelope, Error as MailError, Request};
use medusa_resolver::Resolver;

use super::SendingLimits;
use super::ledger::Ledger;
use super::route::{self, Authorities, Security, Way, Ways};
use super::schedule::{Id, Scheduler};

/// The note that there may be something to send, and how many have passed it on.
pub(super) struct Woken(pub usize);

/// What all workers share.
pub(super) struct Shared {
    pub ledger: Ledger,
    pub ways: Ways,
    pub hostname: Arc<str>,
    pub limits: SendingLimits,
    pub resolver: Option<Arc<dyn Resolver>>,
    pub tls: Clients,
    pub counts: Counts,
    pub scheduler: Mutex<Scheduler>,
    pub workers: Mutex<Vec<Remote>>,
    /// Whose turn it is, and a seed.
    pub turn: AtomicU64,
    /// Whether somebody reads the queue.
    pub begun: AtomicBool,
    /// What was last said to operators.
    pub remarks: Mutex<String>,
}

impl Shared {
    pub(super) fn schedule(&self) -> MutexGuard<'_, Scheduler> {
        // A panic leaves it as it was between two steps, at worst with a parcel that is never taken again.
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn workers(&self) -> MutexGuard<'_, Vec<Remote>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enlist(&self, worker: Remote) {
        self.workers().push(worker);
    }

    /// The parcels that one worker may have under way.
    pub(super) fn share(&self) -> usize {
        self.limits.concurrency.div_ceil(self.workers().len().max(1)).max(1)
    }

    pub(super) fn wake_one(&self) {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let workers = self.workers();
        if !workers.is_empty() {
            // One that can't be told has more to do than it can.
            let _ = workers[(turn % workers.len() as u64) as usize].notify(Woken(0));
        }
    }

    /// A worker that has its hands full passes a wake on.
    pub(super) fn pass_on(&self, from: Address, passed: usize) {
        let workers = self.workers();
        if passed + 1 < workers.len() {
            let at = workers.iter().position(|one| one.address() == from).unwrap_or_default();
            let _ = workers[(at + 1) % workers.len()].notify(Woken(passed + 1));
        }
    }

    /// A worker has ended. When the last has, the next one begins anew.
    pub(super) fn dismiss(&self, worker: Address) {
        let mut workers = self.workers();
        workers.retain(|one| one.address() != worker);
        if workers.is_empty() {
            self.schedule().clear();
            self.remarks.lock().unwrap_or_else(PoisonError::into_inner).clear();
            self.begun.store(false, Ordering::Release);
        }
    }

    pub(super) fn wake_all(&self) {
        for worker in self.workers().iter() {
            let _ = worker.notify(Woken(0));
        }
    }

    pub(super) fn add(&self, id: &str, envelope: &Envelope, now: Instant, wall: SystemTime) {
        let places = route::places(&self.ways, envelope);
        let in_time = |at: SystemTime| at.duration_since(wall).unwrap_or_default();
        let next = now + in_time(envelope.next);
        let expires = now + in_time(envelope.accepted + self.ledger.schedule.expire);
        let mut schedule = self.schedule();
        for place in &places {
            let (way, _) = self.ways.way(place);
            schedule.limit(place, way.connections.map(|most| most.max(1)), way.pause);
        }
        if schedule.add(id.into(), places, next, expires) {
            self.counts.queued.add(1);
        }
    }

    /// No secret: for orders and waits.
    pub(super) fn random(&self) -> u64 {
        let count = self.turn.fetch_add(1, Ordering::Relaxed);
        count.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) | 1
    }

    /// Does what an operator has asked for. Blocks.
    pub(super) fn carry_out(&self, request: &Request, now: Instant) {
        let id = request.id.as_ref().map(AsRef::as_ref);
        match (request.action, id) {
            (Action::Retry, id) => self.schedule().hurry(id, now),
            (Action::Drop, Some(id)) => {
                if !self.schedule().forget(id) {
                    tracing::warn!(
                        entry = id,
                        "the entry is being sent at this moment; it isn't dropped"
                    );
                    return;
                }
                match self.ledger.drop_entry(&Id::from(id)) {
                    Ok(()) => {
                        self.counts.dequeued.add(1);
                        tracing::info!(entry = id, "the entry is dropped");
                    }
                    Err(error) => tracing::warn!(entry = id, %error, "the entry can't be dropped"),
                }
            }
            (Action::Drop, None) => tracing::warn!("a request to drop everything is not obeyed"),
        }
    }

    /// Says which destinations rest, where that has changed: a line each, of its name, when it is tried again
    /// (seconds since 1970) and why, parted by tabs. Blocks.
    pub(super) fn remark(&self, now: Instant, wall: SystemTime) -> Result<(), MailError> {
        let resting = self.schedule().resting();
        let lines = resting.into_iter().map(|(place, until, why)| {
            let (_, name) = self.ways.way(&place);
            let until = wall + until.saturating_duration_since(now);
            let until = until.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            format!("{name}\t{until}\t{}\n", why.replace(char::is_control, " "))
        });
        let text: String = lines.collect();
        let mut said = self.remarks.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != text {
            self.ledger.queue.remark(&text)?;
            *said = text;
        }
        Ok(())
    }

    /// Reads the queue. Blocks.
    pub(super) fn recover(&self, now: Instant, wall: SystemTime) -> Result<usize, MailError> {
        self.ledger.queue.prepare()?;
        let mut count = 0;
        for entry in self.ledger.queue.entries()?.into_iter().filter(|entry| !entry.held) {
            match self.ledger.queue.envelope(&entry.id) {
                // It is for nobody any more.
                Ok(envelope) if envelope.recipients.iter().all(|one| one.done) => {
                    self.ledger.queue.remove(&entry.id)?;
                }
                Ok(envelope) => {
                    self.add(entry.id.as_ref(), &envelope, now, wall);
                    count += 1;
                }
                // It has been sent meanwhile.
                Err(MailError::Missing) => {}
                Err(error) => {
                    tracing::error!(entry = %entry.id, %error, "the entry can't be read, and is held");
                    let _ = self.ledger.queue.hold(&entry.id, true);
                }
            }
        }
        Ok(count)
    }

    pub(super) fn tls_for(&self, way: &Way) -> Option<Arc<ClientTls>> {
        match way.security {
            Security::Off => None,
            Security::Opportunistic => self.tls.anyone.clone(),
            Security::Require => self.tls.verified(&way.authorities),
        }
    }
}

/// What is counted.
#[derive(Default)]
pub(super) struct Counts {
    pub queued: Arc<Counter>,
    pub dequeued: Arc<Counter>,
    pub delivered: Arc<Counter>,
    pub deferred: Arc<Counter>,
    pub bounced: Arc<Counter>,
}

impl Counts {
    pub(super) fn of(metrics: Option<&ServiceMetrics>) -> Counts {
        match metrics {
            Some(metrics) => Counts {
                queued: metrics.counter("queued"),
                dequeued: metrics.counter("dequeued"),
                delivered: metrics.counter("delivered"),
                deferred: metrics.counter("deferred"),
                bounced: metrics.counter("bounced"),
            },
            None => Counts::default(),
        }
    }
}

/// TLS towards servers: with anybody, or with those that some authorities vouch for.
pub(super) struct Clients {
    pub anyone: Option<Arc<ClientTls>>,
    pub verified: Vec<(Authorities, Arc<ClientTls>)>,
}

impl Clients {
    pub(super) fn new(ways: &Ways) -> Result<Clients, TlsError> {
        let mut clients = Clients { anyone: None, verified: Vec::new() };
        for way in ways.all() {
            match way.security {
                Security::Off => {}
                Security::Opportunistic if clients.anyone.is_some() => {}
                Security::Opportunistic => {
                    clients.anyone = Some(Arc::new(ClientTls::new(&Roots::Anyone, &[])?));
                }
                Security::Require if clients.verified(&way.authorities).is_some() => {}
                Security::Require => {
                    let roots = match &way.authorities {
                        Authorities::System => Roots::System,
                        Authorities::File(path) => Roots::File(path.clone()),
                    };
                    let client = Arc::new(ClientTls::new(&roots, &[])?);
                    clients.verified.push((way.authorities.clone(), client));
                }
            }
        }
        Ok(clients)
    }

    pub(super) fn verified(&self, authorities: &Authorities) -> Option<Arc<ClientTls>> {
        let found = self.verified.iter().find(|(whose, _)| whose == authorities);
        found.map(|(_, client)| Arc::clone(client))
    }
}
