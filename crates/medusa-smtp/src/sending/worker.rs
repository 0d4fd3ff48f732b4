//! The part of a shard that works the queue: it takes parcels from the schedule, finds servers, hands messages
//! to connections and has what comes of it written down.
//!
//! It is a datagram service without a socket, which is how something lives on a shard without a connection of
//! its own. All shards' workers share one schedule; each keeps its own connections, and gives a parcel to one
//! that stands already where it can.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use medusa_core::{Address, Datagram, DatagramCx, DatagramService, Note, TimerKey};
use medusa_mail::Error as MailError;
use medusa_resolver::{Answer, Asker, LookupError, Question};

use super::client::{Addressee, ClientSession, Job, Outgoing, Profile, Report};
use super::hosts::{Step, Trail};
use super::ledger::{Opened, Record, Settled};
use super::outcome::{Fate, Kind, Outcome, Problem};
use super::reply::Status;
use super::route::Security;
use super::schedule::{Health, Parcel, Place};
use super::shared::{Recovered, Shared, Woken};

/// There may be something to take.
const DUE: TimerKey = TimerKey(1);
/// The pool may have room again.
const POOL: (TimerKey, Duration) = (TimerKey(2), Duration::from_millis(50));
/// Operators may have asked for something.
const CONTROL: (TimerKey, Duration) = (TimerKey(3), Duration::from_secs(1));
/// The queue could not be opened, or not all of it be read; it is tried again.
const OPEN: (TimerKey, Duration) = (TimerKey(4), Duration::from_secs(10));
/// Answers of the resolver may have been lost.
const LOOKUPS: (TimerKey, Duration) = (TimerKey(5), Duration::from_secs(60));

/// What could not be written down is tried again: first after a second, then after twice as long each time.
const REPEAT: (TimerKey, Duration) = (TimerKey(6), Duration::from_secs(1));
const MOST_PATIENCE: Duration = Duration::from_secs(60);

/// How long an answer may take. Resolvers give up far earlier; this is for one that was lost.
const ANSWER: Duration = Duration::from_secs(120);
/// Connections that may end before a job of ours has begun, before it is put off.
const MOST_ENDED: u32 = 3;

/// One parcel that is under way.
struct Attempt {
    parcel: Parcel,
    message: Option<Arc<Outgoing>>,
    /// Recipients who haven't been named yet.
    left: VecDeque<Addressee>,
    /// Those of the job at hand.
    batch: Vec<Addressee>,
    trail: Option<Trail>,
    /// The server at hand.
    target: Option<(std::net::SocketAddr, Arc<str>)>,
    /// Which connection has the job at hand.
    session: Option<u64>,
    /// Since when the resolver is waited for.
    asked: Option<Instant>,
    /// Connections that ended before they took the job.
    ended: u32,
    /// Which connection has done a job of ours.
    served: Option<u64>,
    /// Results that are being written down.
    writing: usize,
    /// Nothing more is tried.
    over: bool,
    health: Health,
    next: Option<Duration>,
}

impl Attempt {
    fn new(parcel: Parcel) -> Attempt {
        Attempt {
            parcel,
            message: None,
            left: VecDeque::new(),
            batch: Vec::new(),
            trail: None,
            target: None,
            session: None,
            asked: None,
            ended: 0,
            served: None,
            writing: 0,
            over: false,
            health: Health::Unknown,
            next: None,
        }
    }

    /// Its entry can't be read: it waits, unless somebody has taken it away.
    fn unread(&mut self, shared: &Shared, error: &MailError) {
        if !matches!(error, MailError::Missing) {
            tracing::error!(entry = %self.parcel.id, %error, "a queue entry can't be read");
            self.next = Some(shared.ledger.schedule.wait(u32::MAX, shared.random()));
        }
    }
}

/// The note that an entry was ended.
struct Retired {
    ticket: u64,
    result: Result<(), MailError>,
}

/// A connection.
struct Link {
    address: Address,
    place: Place,
    /// The attempt that it works for.
    ticket: Option<u64>,
}

/// Something for the pool that found it full.
type Deferred = Box<dyn FnOnce(&mut Worker, &mut DatagramCx<'_>)>;

/// What could not be written down.
enum Repeat {
    Settle(Record),
    End,
}

/// A shard's worker.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    attempts: HashMap<u64, Attempt>,
    links: HashMap<u64, Link>,
    count: u64,
    deferred: VecDeque<Deferred>,
    /// By tickets.
    repeats: Vec<(u64, Repeat)>,
    patience: Duration,
    leaving: bool,
    address: Option<Address>,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>) -> Worker {
        Worker {
            shared,
            attempts: HashMap::new(),
            links: HashMap::new(),
            count: 0,
            deferred: VecDeque::new(),
            repeats: Vec::new(),
            patience: REPEAT.1,
            leaving: false,
            address: None,
        }
    }

    fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Runs `work` in the pool, now or when it has room.
    fn offload<T: Send + 'static>(
        &mut self,
        cx: &mut DatagramCx<'_>,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(&mut Worker, &mut DatagramCx<'_>, T) + Send + 'static,
    ) {
        if let Err((work, then)) = cx.try_offload(work, then) {
            self.deferred.push_back(Box::new(move |worker, cx| worker.offload(cx, work, then)));
            cx.arm(POOL.0, POOL.1);
        }
    }

    // ---- the queue ---------------------------------------------------------------------------

    /// Reads what the queue holds: once, whichever shard is first.
    fn open_queue(&mut self, cx: &mut DatagramCx<'_>) {
        let shared = Arc::clone(&self.shared);
        let (now, wall) = (cx.now(), cx.wall_clock());
        self.offload(
            cx,
            move || shared.recover(now, wall),
            |worker, cx, read| match read {
                Ok(Recovered { added, unread }) => {
                    if added > 0 {
                        tracing::info!(entries = added, "the queue holds mail that is to be sent");
                    }
                    worker.shared.wake_all();
                    if worker.leaving {
                        return;
                    }
                    cx.arm(CONTROL.0, Duration::ZERO);
                    if unread > 0 {
                        cx.arm(OPEN.0, OPEN.1);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the queue can't be opened; it is tried again");
                    cx.arm(OPEN.0, OPEN.1);
                }
            },
        );
    }

    fn read_requests(&mut self, cx: &mut DatagramCx<'_>) {
        let shared = Arc::clone(&self.shared);
        let (now, wall) = (cx.now(), cx.wall_clock());
        let read = move || {
            for request in shared.ledger.queue.requests()? {
                shared.carry_out(&request, now, wall);
            }
            shared.remark(now, wall)
        };
        self.offload(cx, read, |worker, cx, read| {
            if let Err(error) = read {
                tracing::warn!(%error, "requests to the queue can't be read, or nothing be said of it");
            }
            worker.pump(cx);
            if !worker.leaving {
                cx.arm(CONTROL.0, CONTROL.1);
            }
        });
    }

    /// Takes what may be taken, up to this worker's share.
    fn pump(&mut self, cx: &mut DatagramCx<'_>) {
        let share = self.shared.share();
        while !self.leaving && self.attempts.len() < share {
            let Some(parcel) = self.shared.schedule().take(cx.now()) else { break };
            self.start(cx, parcel);
        }
        self.set_alarm(cx);
    }

    fn set_alarm(&self, cx: &mut DatagramCx<'_>) {
        match self.shared.schedule().next_due().filter(|_| !self.leaving) {
            Some(at) => {
                let wait = at.saturating_duration_since(cx.now());
                cx.arm(DUE, wait.max(Duration::from_millis(1)));
            }
            None => cx.disarm(DUE),
        }
    }

    // ---- one attempt -------------------------------------------------------------------------

    fn start(&mut self, cx: &mut DatagramCx<'_>, parcel: Parcel) {
        let ticket = self.number();
        let shared = Arc::clone(&self.shared);
        let opened = parcel.clone();
        self.attempts.insert(ticket, Attempt::new(parcel));
        self.offload(
            cx,
            move || shared.ledger.open(&shared.ways, &opened),
            move |worker, cx, opened| worker.opened_entry(cx, ticket, opened),
        );
    }

    fn opened_entry(
        &mut self,
        cx: &mut DatagramCx<'_>,
        ticket: u64,
        opened: Result<Opened, MailError>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        match opened {
            Ok(Opened { envelope, file, size, recipients }) => {
                for index in recipients {
                    let Some(one) = envelope.recipients.get(index) else { continue };
                    attempt.left.push_back(Addressee {
                        index,
                        address: one.address.clone(),
                        notify: one.notify.clone(),
                        orcpt: one.orcpt.clone(),
                    });
                }
                attempt.message = Some(Arc::new(Outgoing {
                    sender: envelope.sender,
                    body: envelope.body,
                    smtputf8: envelope.smtputf8,
                    ret: envelope.ret,
                    envid: envelope.envid,
                    file,
                    size,
                }));
            }
            Err(error) => attempt.unread(&self.shared, &error),
        }
        self.dispatch(cx, ticket);
    }

    /// Hands the attempt's next recipients to a connection, or ends it.
    fn dispatch(&mut self, cx: &mut DatagramCx<'_>, ticket: u64) {
        let most = self.shared.limits.recipients.max(1);
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        attempt.session = None;
        if attempt.batch.is_empty() {
            let count = attempt.left.len().min(most);
            attempt.batch = attempt.left.drain(..count).collect();
        }
        let Some(message) = attempt.message.clone().filter(|_| !attempt.batch.is_empty()) else {
            attempt.over = true;
            return self.conclude(cx, ticket);
        };
        let place = &attempt.parcel.place;
        let idle =
            self.links.iter_mut().find(|(_, link)| link.ticket.is_none() && link.place == *place);
        if let Some((number, link)) = idle {
            link.ticket = Some(ticket);
            attempt.session = Some(*number);
            let recipients = attempt.batch.clone();
            cx.notify(link.address, Job { ticket, message, recipients });
            return;
        }
        if self.leaving {
            return self.leave(cx, ticket);
        }
        if attempt.target.is_some() {
            return self.connect(cx, ticket, false);
        }
        let (way, name) = self.shared.ways.way(place);
        let (ourselves, port) = (&self.shared.hostname, self.shared.ways.port);
        let random = self.shared.random();
        let (trail, step) = match &way.relay {
            Some(relay) => Trail::to_relay(relay, ourselves, random),
            None => Trail::to_domain(name, port, ourselves, random),
        };
        attempt.trail = Some(trail);
        self.step(cx, ticket, step);
    }

    fn step(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, step: Step) {
        match step {
            Step::Ask(questions) => {
                for question in questions {
                    self.ask(cx, ticket, question);
                }
            }
            Step::Wait => {}
            Step::Connect(target, host) => {
                if let Some(attempt) = self.attempts.get_mut(&ticket) {
                    attempt.target = Some((target, host));
                }
                self.connect(cx, ticket, false);
            }
            Step::Done(outcome) => self.give_up(cx, ticket, &outcome),
        }
    }

    fn ask(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, question: Question) {
        if let Some(attempt) = self.attempts.get_mut(&ticket) {
            attempt.asked = Some(cx.now());
            cx.arm(LOOKUPS.0, LOOKUPS.1);
        }
        match &self.shared.resolver {
            Some(resolver) => resolver.resolve(question, Asker::new(cx.remote(), ticket)),
            None => {
                let error = LookupError::temporary("no resolver is configured");
                cx.notify(cx.address(), Answer::new(ticket, question, Err(error)));
            }
        }
    }

    fn answered(&mut self, cx: &mut DatagramCx<'_>, answer: Answer) {
        let Answer { ticket, question, result, .. } = answer;
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        let Some(trail) = &mut attempt.trail else { return };
        let step = trail.answered(&question, result);
        if step != Step::Wait {
            attempt.asked = None;
        }
        self.step(cx, ticket, step);
    }

    /// A new connection to the server at hand, with the job at hand.
    fn connect(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, plain: bool) {
        let number = self.number();
        if self.leaving {
            return self.leave(cx, ticket);
        }
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        let (Some((target, host)), Some(message)) = (&attempt.target, &attempt.message) else {
            return;
        };
        let place = Arc::clone(&attempt.parcel.place);
        let (way, _) = self.shared.ways.way(&place);
        let security = if plain { Security::Off } else { way.security };
        let tls = self.shared.tls_for(way);
        let literal = host.starts_with('[');
        let profile = Profile {
            host: Arc::clone(host),
            server_name: if literal { target.ip().to_string().into() } else { (&**host).into() },
            ourselves: Arc::clone(&self.shared.hostname),
            security,
            tls,
            login: way.login.clone(),
            idle: self.shared.limits.idle,
        };
        let recipients = attempt.batch.clone();
        let job = Job { ticket, message: Arc::clone(message), recipients };
        attempt.session = Some(number);
        let session = ClientSession::new(number, cx.remote(), profile, job);
        let address = cx.connect(*target, Box::new(session));
        self.links.insert(number, Link { address, place, ticket: Some(ticket) });
    }

    /// Every recipient who is left meets the same fate.
    fn give_up(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, outcome: &Outcome) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        let rest = attempt.batch.drain(..).chain(attempt.left.drain(..));
        let outcomes: Vec<_> = rest.map(|one| (one.index, outcome.clone())).collect();
        attempt.over = true;
        let place = Arc::clone(&attempt.parcel.place);
        if outcome.fate == Fate::Deferred {
            let failures = self.shared.schedule().failures(&place).saturating_add(1);
            let rest = self.shared.ledger.schedule.wait(failures, self.shared.random());
            self.shared.schedule().explain(&place, &outcome.text);
            if let Some(attempt) = self.attempts.get_mut(&ticket) {
                attempt.health = Health::Down(rest);
            }
            // What stands in its line and has grown too old isn't tried before it is returned, or before its
            // sender is told that it waits.
            let late = self.shared.schedule().overdue(&place, cx.now());
            for parcel in late {
                self.expire(cx, parcel, outcome.clone());
            }
        }
        self.write_down(cx, ticket, outcomes);
    }

    /// Returns a parcel that has grown too old in its destination's line, or has its sender told that it waits:
    /// what is written down knows which.
    fn expire(&mut self, cx: &mut DatagramCx<'_>, parcel: Parcel, outcome: Outcome) {
        let ticket = self.number();
        let shared = Arc::clone(&self.shared);
        let opened = parcel.clone();
        let mut attempt = Attempt::new(parcel);
        attempt.over = true;
        attempt.writing = 1;
        self.attempts.insert(ticket, attempt);
        let work = move || shared.ledger.open(&shared.ways, &opened);
        self.offload(cx, work, move |worker, cx, opened| {
            let Some(attempt) = worker.attempts.get_mut(&ticket) else { return };
            attempt.writing -= 1;
            let recipients = match opened {
                Ok(opened) => opened.recipients,
                Err(error) => {
                    attempt.unread(&worker.shared, &error);
                    Vec::new()
                }
            };
            let outcomes = recipients.into_iter().map(|one| (one, outcome.clone())).collect();
            worker.write_down(cx, ticket, outcomes);
        });
    }

    fn write_down(
        &mut self,
        cx: &mut DatagramCx<'_>,
        ticket: u64,
        outcomes: Vec<(usize, Outcome)>,
    ) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        if outcomes.is_empty() {
            return self.conclude(cx, ticket);
        }
        attempt.writing += 1;
        let record = Record::new(outcomes, cx.wall_clock());
        self.settle(cx, ticket, record);
    }

    fn settle(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, mut record: Record) {
        let Some(attempt) = self.attempts.get(&ticket) else { return };
        let (shared, id) = (Arc::clone(&self.shared), Arc::clone(&attempt.parcel.id));
        let remote = cx.remote();
        let work = move || {
            let settled = shared.ledger.settle(&id, &mut record);
            if settled.as_ref().is_ok_and(|settled| settled.ended) {
                // One who doesn't hear it has ended.
                let then = move |result| _ = remote.notify(Retired { ticket, result });
                shared.ledger.end(&id, Box::new(then));
            }
            (settled, record)
        };
        self.offload(cx, work, move |worker, cx, (settled, record)| {
            worker.written(cx, ticket, settled, record);
        });
    }

    fn written(
        &mut self,
        cx: &mut DatagramCx<'_>,
        ticket: u64,
        settled: Result<Settled, MailError>,
        record: Record,
    ) {
        let is_to_be_repeated = match &settled {
            Ok(settled) => settled.again,
            Err(MailError::Missing) => false,
            Err(error) => {
                tracing::error!(%error, "what became of a message can't be written down");
                true
            }
        };
        // What is to be ended is over once that is certain.
        let is_over = !is_to_be_repeated && !settled.as_ref().is_ok_and(|settled| settled.ended);
        let next = self.count(cx, settled);
        if let Some(attempt) = self.attempts.get_mut(&ticket) {
            attempt.writing -= usize::from(is_over);
            attempt.next = [attempt.next, next].into_iter().flatten().min();
        }
        match is_to_be_repeated {
            true => self.repeat_later(cx, ticket, Repeat::Settle(record)),
            false => self.patience = REPEAT.1,
        }
        self.conclude(cx, ticket);
    }

    /// Until then nothing more is done with the parcel: another attempt would be another copy.
    fn repeat_later(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, repeat: Repeat) {
        if self.repeats.is_empty() {
            cx.arm(REPEAT.0, self.patience);
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
        }
        self.repeats.push((ticket, repeat));
    }

    fn repeat(&mut self, cx: &mut DatagramCx<'_>) {
        for (ticket, repeat) in std::mem::take(&mut self.repeats) {
            match repeat {
                Repeat::Settle(record) => self.settle(cx, ticket, record),
                Repeat::End => self.end_again(cx, ticket),
            }
        }
    }

    fn end_again(&mut self, cx: &mut DatagramCx<'_>, ticket: u64) {
        let Some(attempt) = self.attempts.get(&ticket) else { return };
        let (shared, id) = (Arc::clone(&self.shared), Arc::clone(&attempt.parcel.id));
        let remote = cx.remote();
        let then = move |result| _ = remote.notify(Retired { ticket, result });
        self.offload(cx, move || shared.ledger.end_again(&id, Box::new(then)), |_, _, ()| {});
    }

    /// An entry has ended.
    fn retired(&mut self, cx: &mut DatagramCx<'_>, retired: Retired) {
        let Retired { ticket, result } = retired;
        match result {
            Ok(()) | Err(MailError::Missing) => self.shared.counts.dequeued.add(1),
            Err(error) => {
                tracing::error!(%error, "a queue entry can't be removed; it is tried again");
                return self.repeat_later(cx, ticket, Repeat::End);
            }
        }
        if let Some(attempt) = self.attempts.get_mut(&ticket) {
            attempt.writing -= 1;
        }
        self.conclude(cx, ticket);
    }

    /// Counts what was written down; after how long it is tried again.
    fn count(
        &mut self,
        cx: &mut DatagramCx<'_>,
        settled: Result<Settled, MailError>,
    ) -> Option<Duration> {
        match settled {
            Ok(settled) => {
                self.shared.counts.delivered.add(settled.delivered);
                self.shared.counts.deferred.add(settled.deferred);
                self.shared.counts.bounced.add(settled.bounced);
                for (id, envelope) in settled.queued {
                    self.shared.add(id.as_ref(), &envelope, cx.now(), cx.wall_clock());
                }
                settled.next
            }
            Err(_) => None,
        }
    }

    /// What is left of an attempt is on disk as it was: another time.
    fn leave(&mut self, cx: &mut DatagramCx<'_>, ticket: u64) {
        if let Some(attempt) = self.attempts.get_mut(&ticket) {
            attempt.over = true;
            attempt.next = Some(Duration::ZERO);
        }
        self.conclude(cx, ticket);
    }

    /// Ends an attempt of which nothing is left.
    fn conclude(&mut self, cx: &mut DatagramCx<'_>, ticket: u64) {
        let over = |attempt: &Attempt| attempt.over && attempt.writing == 0;
        if !self.attempts.get(&ticket).is_some_and(over) {
            return;
        }
        if let Some(attempt) = self.attempts.remove(&ticket) {
            let next = attempt.next.map(|next| cx.now() + next);
            self.shared.schedule().finished(&attempt.parcel, next, attempt.health, cx.now());
        }
        self.pump(cx);
    }

    // ---- what connections say ----------------------------------------------------------------

    fn reported(&mut self, cx: &mut DatagramCx<'_>, report: Report) {
        let Report { session, ticket, outcomes, problem, gone } = report;
        let mut lost = None;
        if gone {
            // One that left before it had heard of its next job.
            lost = self
                .links
                .remove(&session)
                .and_then(|link| link.ticket)
                .filter(|_| ticket.is_none());
        } else if let Some(link) = self.links.get_mut(&session) {
            link.ticket = None;
        }
        if let Some(ticket) = lost {
            return self.again(cx, ticket, session);
        }
        let Some(ticket) = ticket else { return };
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        if attempt.session != Some(session) {
            return;
        }
        let told = |one: &Addressee| outcomes.iter().any(|(index, _)| *index == one.index);
        attempt.batch.retain(|one| !told(one));
        if !outcomes.is_empty() {
            attempt.health = Health::Good;
            attempt.ended = 0;
            attempt.served = problem.is_none().then_some(session);
        }
        if !outcomes.is_empty() {
            self.write_down(cx, ticket, outcomes);
        }
        match problem {
            None => {
                if let Some(attempt) = self.attempts.get_mut(&ticket) {
                    // Those that the server didn't want in one transaction come in the next.
                    for one in attempt.batch.drain(..).rev() {
                        attempt.left.push_front(one);
                    }
                }
                self.dispatch(cx, ticket);
                self.reuse(cx, session);
            }
            Some(problem) => self.troubled(cx, ticket, session, &problem),
        }
    }

    /// A connection that is idle now takes a parcel for its destination.
    fn reuse(&mut self, cx: &mut DatagramCx<'_>, session: u64) {
        let Some(link) = self.links.get(&session).filter(|link| link.ticket.is_none()) else {
            return;
        };
        if self.leaving || self.attempts.len() >= self.shared.share() {
            return;
        }
        let parcel = self.shared.schedule().take_for(&link.place, cx.now());
        if let Some(parcel) = parcel {
            self.start(cx, parcel);
        }
    }

    /// The job at hand wasn't begun.
    fn again(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, session: u64) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        if attempt.session != Some(session) {
            return;
        }
        attempt.ended += 1;
        if attempt.ended > MOST_ENDED {
            let text = "connections end before a message is taken";
            // Of the destination that says nothing: connections were there.
            return self.give_up_softly(cx, ticket, &Outcome::deferred(Status(4, 4, 2), text));
        }
        self.dispatch(cx, ticket);
    }

    fn troubled(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, session: u64, problem: &Problem) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        if attempt.batch.is_empty() && attempt.left.is_empty() {
            attempt.over = true;
            return self.conclude(cx, ticket);
        }
        let (way, _) = self.shared.ways.way(&attempt.parcel.place);
        let may_be_plain = way.security == Security::Opportunistic && way.login.is_none();
        match problem.kind {
            Kind::Untried => self.again(cx, ticket, session),
            Kind::Unanswered => self.give_up_softly(cx, ticket, &problem.outcome),
            Kind::Insecure if may_be_plain => self.connect(cx, ticket, true),
            // A connection that stood already has broken: another one to the same place, first.
            _ if attempt.trail.is_none() || attempt.served == Some(session) => {
                self.again(cx, ticket, session)
            }
            _ => {
                attempt.target = None;
                let step = attempt.trail.as_mut().map(|trail| trail.failed(problem));
                self.step(cx, ticket, step.unwrap_or(Step::Done(problem.outcome.clone())));
            }
        }
    }

    /// Puts off what is left, without a word about the destination.
    fn give_up_softly(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, outcome: &Outcome) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        let rest = attempt.batch.drain(..).chain(attempt.left.drain(..));
        let outcomes: Vec<_> = rest.map(|one| (one.index, outcome.clone())).collect();
        attempt.over = true;
        // An answer that comes yet is for nobody.
        attempt.asked = None;
        attempt.trail = None;
        self.write_down(cx, ticket, outcomes);
    }

    /// Questions that nobody has answered count as such.
    fn look_for_lost_answers(&mut self, cx: &mut DatagramCx<'_>) {
        let now = cx.now();
        let lost = |attempt: &Attempt| attempt.asked.is_some_and(|asked| now - asked > ANSWER);
        let late: Vec<u64> =
            self.attempts.iter().filter(|(_, one)| lost(one)).map(|(ticket, _)| *ticket).collect();
        for ticket in late {
            let outcome = Outcome::deferred(Status(4, 4, 3), "the resolver doesn't answer");
            self.give_up_softly(cx, ticket, &outcome);
        }
        if self.attempts.values().any(|attempt| attempt.asked.is_some()) {
            cx.arm(LOOKUPS.0, LOOKUPS.1);
        }
    }
}

impl DatagramService for Worker {
    fn opened(&mut self, cx: &mut DatagramCx<'_>) {
        self.shared.enlist(cx.remote());
        self.address = Some(cx.address());
        // The first reads the queue, and operators' requests from then on.
        if !self.shared.begun.swap(true, Ordering::AcqRel) {
            self.open_queue(cx);
        }
    }

    fn received(&mut self, _: &mut DatagramCx<'_>, _: Datagram<'_>) {}

    fn expired(&mut self, cx: &mut DatagramCx<'_>, key: TimerKey) {
        if key == DUE {
            self.pump(cx);
        } else if key == POOL.0 {
            for deferred in std::mem::take(&mut self.deferred) {
                deferred(self, cx);
            }
        } else if key == CONTROL.0 {
            self.read_requests(cx);
        } else if key == OPEN.0 {
            self.open_queue(cx);
        } else if key == REPEAT.0 {
            self.repeat(cx);
        } else {
            self.look_for_lost_answers(cx);
        }
    }

    fn notified(&mut self, cx: &mut DatagramCx<'_>, note: Note) {
        let note = match note.downcast::<Report>() {
            Ok(report) => return self.reported(cx, report),
            Err(note) => note,
        };
        let note = match note.downcast::<Answer>() {
            Ok(answer) => return self.answered(cx, answer),
            Err(note) => note,
        };
        let note = match note.downcast::<Retired>() {
            Ok(retired) => return self.retired(cx, retired),
            Err(note) => note,
        };
        if let Ok(Woken(passed)) = note.downcast::<Woken>() {
            match self.attempts.len() < self.shared.share() {
                true => self.pump(cx),
                false => self.shared.pass_on(cx.address(), passed),
            }
        }
    }

    fn draining(&mut self, cx: &mut DatagramCx<'_>) {
        self.leaving = true;
        for key in [DUE, CONTROL.0, OPEN.0, LOOKUPS.0] {
            cx.disarm(key);
        }
        // What isn't with a server yet stays on disk as it is.
        self.attempts.retain(|_, attempt| attempt.session.is_some() || attempt.writing > 0);
    }

    fn closed(&mut self) {
        if let Some(address) = self.address {
            self.shared.dismiss(address);
        }
    }

    fn is_idle(&self) -> bool {
        self.attempts.is_empty() && self.deferred.is_empty()
    }
}
