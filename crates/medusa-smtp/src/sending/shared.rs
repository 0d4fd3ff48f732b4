//! What the workers of all shards share: the schedule, the ledger, who the workers are, counters and TLS towards
//! servers; and what is done with the queue as a whole. Methods that say so block.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use medusa_core::metrics::{Counter, ServiceMetrics};
use medusa_core::tls::{ClientTls, Roots, TlsError};
use medusa_core::{Address, Remote};
use medusa_mail::{Action, EntryId, Envelope, Error as MailError, Request};
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
    /// Which worker's turn it is.
    pub turn: AtomicUsize,
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
            let _ = workers[turn % workers.len()].notify(Woken(0));
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

    /// Says no if it is there already.
    pub(super) fn add(
        &self,
        id: &str,
        envelope: &Envelope,
        now: Instant,
        wall: SystemTime,
    ) -> bool {
        let places = route::places(&self.ways, envelope);
        let in_time = |at: SystemTime| at.duration_since(wall).unwrap_or_default();
        let next = now + in_time(envelope.next);
        let expires = now + in_time(envelope.accepted + self.ledger.schedule.expire);
        let warns = self.ledger.warns(envelope);
        let mut schedule = self.schedule();
        for place in &places {
            let (way, _) = self.ways.way(place);
            schedule.limit(place, way.connections.map(|most| most.max(1)), way.pause);
        }
        let is_new = schedule.add(id.into(), places, next, expires);
        if is_new {
            self.counts.queued.add(1);
            if let Some(at) = warns {
                schedule.warn(id, now + in_time(at));
            }
        }
        is_new
    }

    /// For orders and waits.
    pub(super) fn random(&self) -> u64 {
        self.ledger.lot.draw()
    }

    /// Does what operators have asked for. Blocks.
    pub(super) fn read_requests(&self, now: Instant, wall: SystemTime) -> Result<(), MailError> {
        for request in self.ledger.queue.requests()? {
            self.carry_out(&request, now, wall);
        }
        Ok(())
    }

    /// Sets an entry aside that can't be worked. What is under way of it comes to its end. Blocks.
    pub(super) fn set_aside(&self, id: &Id) -> Result<(), MailError> {
        self.ledger.hold(id)?;
        if self.schedule().withdraw(id) {
            // What is held isn't waiting to be sent.
            self.counts.dequeued.add(1);
        }
        Ok(())
    }

    fn carry_out(&self, request: &Request, now: Instant, wall: SystemTime) {
        let id = request.id.as_ref().map(AsRef::as_ref);
        match (request.action, id) {
            (Action::Retry, id) => {
                if let Err(error) = self.release(request.id.as_ref(), now, wall) {
                    tracing::warn!(%error, "the entries that are held can't be read");
                }
                self.schedule().hurry(id, now);
            }
            (Action::Drop, Some(id)) => {
                let was_known = self.schedule().knows(id);
                if !self.schedule().forget(id) {
                    tracing::warn!(
                        entry = id,
                        "the entry is being sent at this moment; it isn't dropped"
                    );
                    return;
                }
                match self.ledger.drop_entry(&Id::from(id)) {
                    Ok(()) => {
                        self.counts.dequeued.add(u64::from(was_known));
                        tracing::info!(entry = id, "the entry is dropped");
                    }
                    Err(error) => {
                        tracing::warn!(entry = id, %error, "the entry can't be dropped");
                        self.add_again(id, now, wall);
                    }
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

    /// Reads the queue. Blocks. May be called again.
    pub(super) fn recover(&self, now: Instant, wall: SystemTime) -> Result<Recovered, MailError> {
        let queue = &self.ledger.queue;
        queue.prepare()?;
        let mut recovered = Recovered::default();
        for entry in queue.entries()?.into_iter().filter(|entry| !entry.held) {
            let read = queue.envelope(&entry.id).and_then(|envelope| {
                // It may be for nobody any more.
                match envelope.recipients.iter().all(|one| one.done) {
                    true => queue.remove(&entry.id).map(|()| false),
                    false => Ok(self.add(entry.id.as_ref(), &envelope, now, wall)),
                }
            });
            match read {
                Ok(is_new) => recovered.added += usize::from(is_new),
                // It has been sent meanwhile.
                Err(MailError::Missing) => {}
                // That won't pass.
                Err(error @ MailError::Envelope(_)) => {
                    tracing::error!(entry = %entry.id, %error, "the entry can't be read, and is held");
                    let _ = queue.hold(&entry.id, true);
                }
                Err(error) => {
                    tracing::error!(entry = %entry.id, %error, "the entry can't be read now");
                    recovered.unread += 1;
                }
            }
        }
        Ok(recovered)
    }

    /// Has entries that were held sent again, if they can be.
    fn release(
        &self,
        id: Option<&EntryId>,
        now: Instant,
        wall: SystemTime,
    ) -> Result<(), MailError> {
        let queue = &self.ledger.queue;
        let ids: Vec<EntryId> = match id {
            Some(id) => vec![id.clone()],
            None => queue.entries()?.into_iter().filter(|one| one.held).map(|one| one.id).collect(),
        };
        for id in ids {
            if self.schedule().knows(id.as_ref()) {
                // It isn't held, or what was under way when it was set aside isn't over.
                continue;
            }
            let released = queue.message(&id).and_then(|_| queue.envelope(&id));
            let released = released.and_then(|envelope| {
                queue.hold(&id, false)?;
                Ok(self.add(id.as_ref(), &envelope, now, wall))
            });
            match released {
                Ok(true) => tracing::info!(entry = %id, "the entry isn't held any more"),
                Ok(false) => {}
                Err(error) => tracing::warn!(entry = %id, %error, "the entry can't be sent"),
            }
        }
        Ok(())
    }

    /// What could not be dropped is sent as before, or dropped another time.
    fn add_again(&self, id: &str, now: Instant, wall: SystemTime) {
        let read = EntryId::parse(id).and_then(|id| {
            let held = self.ledger.queue.entries()?.iter().any(|one| one.held && one.id == id);
            Ok((held, self.ledger.queue.envelope(&id)?))
        });
        match read {
            Ok((true, _)) | Err(MailError::Missing) => {}
            Ok((false, envelope)) => {
                self.add(id, &envelope, now, wall);
            }
            Err(error) => {
                tracing::error!(entry = id, %error, "the entry isn't sent before a restart");
            }
        }
    }

    pub(super) fn tls_for(&self, way: &Way) -> Option<Arc<ClientTls>> {
        match way.security {
            Security::Off => None,
            Security::Opportunistic => self.tls.anyone.clone(),
            Security::Require => self.tls.verified(&way.authorities),
        }
    }
}

/// What the queue held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Recovered {
    pub added: usize,
    /// What can't be read at this moment.
    pub unread: usize,
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

#[cfg(test)]
mod tests {
    use medusa_mail::{Commits, DiskQueue, Queue, RealDisk, Recipient};

    use super::super::flawed::Flawed;
    use super::super::{Outbound, Sending};
    use super::*;

    struct House {
        queue: Arc<Flawed>,
        sending: Sending,
        folder: tempfile::TempDir,
    }

    impl House {
        fn new() -> House {
            let folder = tempfile::tempdir().unwrap();
            let queue = DiskQueue::open(folder.path(), Arc::new(RealDisk), Commits::AtOnce);
            let queue = Arc::new(Flawed::new(queue.unwrap()));
            let sending = Outbound::new(queue.clone(), "we.test").build().unwrap();
            House { queue, sending, folder }
        }

        fn enter(&self) -> EntryId {
            let mut envelope = Envelope::new("a@b.test", SystemTime::now());
            let address = "x@next.test".to_owned();
            envelope.recipients.push(Recipient { address, ..Recipient::default() });
            let mut queuing = self.queue.begin().unwrap();
            queuing.seal(&envelope).unwrap();
            let id = queuing.id().clone();
            queuing.commit(Box::new(|result| result.unwrap()));
            id
        }

        fn recover(&self) -> Recovered {
            self.sending.0.recover(Instant::now(), SystemTime::now()).unwrap()
        }

        fn ask(&self, id: Option<&EntryId>, action: Action) {
            let request = Request { id: id.cloned(), action };
            self.sending.0.carry_out(&request, Instant::now(), SystemTime::now());
        }

        fn held(&self) -> usize {
            self.queue.entries().unwrap().iter().filter(|one| one.held).count()
        }
    }

    #[test]
    fn what_can_not_be_read_now_is_read_later() {
        let house = House::new();
        let _ids = [house.enter(), house.enter(), house.enter()];
        house.queue.fail("envelope", 1);
        assert_eq!(house.recover(), Recovered { added: 2, unread: 1 });
        assert_eq!(house.held(), 0);
        assert_eq!(house.recover(), Recovered { added: 1, unread: 0 });
        assert_eq!(house.sending.queue_length(), 3);
    }

    #[test]
    fn what_is_held_is_released_or_dropped() {
        let house = House::new();
        let ids = [house.enter(), house.enter(), house.enter()];
        let waiting = house.folder.path().join("waiting").join(ids[0].as_ref());
        let whole = std::fs::read(&waiting).unwrap();
        std::fs::write(&waiting, "damaged").unwrap();
        house.queue.hold(&ids[1], true).unwrap();
        assert_eq!(house.recover(), Recovered { added: 1, unread: 0 });
        assert_eq!(house.held(), 2);
        // What is damaged stays.
        house.ask(None, Action::Retry);
        assert_eq!((house.held(), house.sending.queue_length()), (1, 2));
        std::fs::write(house.folder.path().join("held").join(ids[0].as_ref()), whole).unwrap();
        house.ask(Some(&ids[0]), Action::Retry);
        assert_eq!((house.held(), house.sending.queue_length()), (0, 3));
        // One whose message is gone can be dropped.
        std::fs::remove_file(house.folder.path().join("messages").join(ids[2].as_ref())).unwrap();
        house.ask(Some(&ids[2]), Action::Drop);
        assert_eq!(house.queue.entries().unwrap().len(), 2);
    }

    #[test]
    fn what_can_not_be_dropped_is_still_sent() {
        let house = House::new();
        let id = house.enter();
        house.recover();
        house.queue.fail("remove", 1);
        house.ask(Some(&id), Action::Drop);
        assert_eq!(house.sending.queue_length(), 1);
        house.ask(Some(&id), Action::Drop);
        assert_eq!(house.sending.queue_length(), 0);
        assert!(house.queue.entries().unwrap().is_empty());
    }
}
