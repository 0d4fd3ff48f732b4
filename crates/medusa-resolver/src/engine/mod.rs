//! The client without sockets, threads or clock: questions in, packets out.
//!
//! [`ask`](Engine::ask) answers from what is known, joins a question that is under way, or begins to ask;
//! `handle_…` takes what has come; [`poll_transmit`](Engine::poll_transmit) and
//! [`poll_answer`](Engine::poll_answer) give what is to be sent and told. One engine a shard, and one cache
//! for all of them.
//!
//! What a forger would have to guess of an answer over UDP: the id (16 bits), our port (a fresh one for
//! each packet), and the case of every letter of the name (0x20); within the time of one question, as
//! identical questions are never asked twice at a time (RFC 5452). A wrong guess doesn't end the wait, and
//! some of them move the question to TCP.

mod health;
mod judge;
mod putting;
mod running;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::cache::{Cache, Found};
use crate::counts::Counts;
use crate::special;
use crate::stored::{Reply, Stored};
use crate::upstream::Upstream;
use crate::wire::{self, Query, flag, rcode};
use health::Health;
use judge::{Outcome, Verdict, judge};
use running::{Attempt, Running, Way};

/// Nobody waits longer than this.
const PATIENCE: Duration = Duration::from_secs(30);
/// Whoever asks is given a stale answer after this, if there is one (RFC 8767 §5).
const STALE_AFTER: Duration = Duration::from_millis(1800);
/// So many packets that are no answer, and the question goes over TCP (RFC 5452 §9.2 asks for something
/// to be done).
const MISMATCHES: u32 = 8;

/// How upstream servers are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// The longest that a packet waits for its answer.
    pub(crate) timeout: Duration,
    /// How often each server is asked.
    pub(crate) attempts: u32,
    /// Questions that may be under way.
    pub(crate) outstanding: usize,
    /// Askers that may wait.
    pub(crate) waiting: usize,
    /// Whether servers are believed that answers are authentic.
    pub(crate) trust_ad: bool,
}

impl Default for Pace {
    /// resolv.conf(5) has a timeout of 5 s and 2 attempts. Packets are repeated sooner than that, so that
    /// there are 3. Unbound has 1,000 questions under way in a thread.
    fn default() -> Self {
        Pace {
            timeout: Duration::from_secs(5),
            attempts: 3,
            outstanding: 1_000,
            waiting: 10_000,
            trust_ad: false,
        }
    }
}

/// What is to be sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Transmit {
    /// A datagram, from a socket of its own, which is known as `path` from then on.
    Datagram { path: u64, to: SocketAddr, bytes: Vec<u8> },
    /// A socket isn't needed any more.
    Close { path: u64 },
    /// A message on the connection to a server, which is made if there is none.
    Stream { server: u32, bytes: Vec<u8> },
    /// The connection to a server is of no use any more; a message for it makes another.
    Leave { server: u32 },
}

/// What came of a question.
#[derive(Debug)]
pub(crate) enum Asked {
    Now(Result<Reply, &'static str>),
    /// Whoever waits will be told.
    Later,
    /// There is too much to do.
    Busy,
}

/// Fills what it is given with octets that nobody can guess.
type Random = Box<dyn FnMut(&mut [u8])>;

/// What was asked for, and what came of it.
type Told<W> = (W, Result<Reply, &'static str>);

pub(crate) struct Engine<W> {
    pace: Pace,
    servers: Vec<Health>,
    next_server: u32,
    cache: Arc<Cache>,
    counts: Arc<Counts>,
    random: Random,
    by_key: HashMap<Vec<u8>, u64>,
    running: HashMap<u64, Running<W>>,
    /// Sockets and ids on connections, and whose they are.
    paths: HashMap<u64, u64>,
    ids: HashMap<(u32, u16), u64>,
    next: u64,
    waiting: usize,
    deadlines: BTreeSet<(Instant, u64)>,
    transmits: VecDeque<Transmit>,
    told: VecDeque<Told<W>>,
}

impl<W> Engine<W> {
    /// An engine that asks nobody yet. `random` fills what it is given with octets that nobody can guess.
    pub(crate) fn new(
        cache: Arc<Cache>,
        counts: Arc<Counts>,
        random: impl FnMut(&mut [u8]) + 'static,
    ) -> Self {
        Engine {
            pace: Pace::default(),
            servers: Vec::new(),
            next_server: 0,
            cache,
            counts,
            random: Box::new(random),
            by_key: HashMap::new(),
            running: HashMap::new(),
            paths: HashMap::new(),
            ids: HashMap::new(),
            next: 0,
            waiting: 0,
            deadlines: BTreeSet::new(),
            transmits: VecDeque::new(),
            told: VecDeque::new(),
        }
    }

    /// Sets whom to ask, and how. Questions under way begin anew, if that has changed.
    pub(crate) fn set_servers(&mut self, upstreams: &[Upstream], pace: Pace, now: Instant) {
        self.pace = pace;
        if self.servers.iter().map(|health| &health.upstream).eq(upstreams) {
            return;
        }
        let mut before = std::mem::take(&mut self.servers);
        for upstream in upstreams {
            match before.iter().position(|health| health.upstream == *upstream) {
                Some(index) => self.servers.push(before.swap_remove(index)),
                None => {
                    self.servers.push(Health::new(self.next_server, upstream.clone()));
                    self.next_server += 1;
                }
            }
        }
        for mut running in std::mem::take(&mut self.running).into_values().collect::<Vec<_>>() {
            self.deadlines.remove(&(running.wakes, running.id));
            self.abandon(&mut running, 0);
            running.begin_again();
            self.put_next(running, now);
        }
        self.transmits
            .extend(before.into_iter().map(|health| Transmit::Leave { server: health.id }));
    }

    /// Which server has this number.
    pub(crate) fn upstream(&self, server: u32) -> Option<&Upstream> {
        self.health(server).map(|health| &health.upstream)
    }

    /// Questions under way.
    #[cfg(test)]
    pub(crate) fn outstanding(&self) -> usize {
        self.running.len()
    }

    /// Answers a question from what is known, or has `waiter` wait for what others say.
    pub(crate) fn ask(&mut self, query: &Query, now: Instant, waiter: impl FnOnce() -> W) -> Asked {
        self.counts.questions.add();
        if let Some(stored) = special::answer(query) {
            return Asked::Now(Ok(Reply::new(Arc::new(stored))));
        }
        let stale = match self.cache.find(query, now) {
            Found::Fresh { reply, prefetch } => {
                self.counts.hits.add();
                if prefetch {
                    self.prefetch(query, now);
                }
                return Asked::Now(Ok(reply));
            }
            Found::Failed(reason) => return Asked::Now(Err(reason)),
            Found::Stale { reply, only: true } => {
                self.counts.stale.add();
                return Asked::Now(Ok(reply));
            }
            Found::Stale { reply, only: false } => Some(reply),
            Found::Nothing => None,
        };
        let under_way = self.by_key.get(query.key()).copied();
        if self.waiting >= self.pace.waiting
            || under_way.is_none() && self.running.len() >= self.pace.outstanding
        {
            return match stale {
                Some(reply) => Asked::Now(Ok(reply)),
                None => Asked::Busy,
            };
        }
        if let Some(running) = under_way.and_then(|id| self.running.get_mut(&id)) {
            self.counts.joined.add();
            if let Some(reply) = stale.filter(|_| running.stale_told) {
                self.counts.stale.add();
                return Asked::Now(Ok(reply));
            }
            running.waiters.push(waiter());
            self.waiting += 1;
            return Asked::Later;
        }
        if self.servers.is_empty() {
            return match stale {
                Some(reply) => Asked::Now(Ok(reply)),
                None => Asked::Now(Err("no name server is known")),
            };
        }
        self.waiting += 1;
        self.begin(query, stale, vec![waiter()], now);
        Asked::Later
    }

    /// A datagram has come by a socket.
    pub(crate) fn handle_datagram(
        &mut self,
        path: u64,
        from: SocketAddr,
        bytes: &[u8],
        now: Instant,
    ) {
        let Some((mut running, at)) =
            self.take(self.paths.get(&path).copied(), |attempt| attempt.way == Way::Datagram(path))
        else {
            return;
        };
        let attempt = &running.attempts[at];
        let server = attempt.server;
        let is_ours = self.health(server).is_some_and(|health| health.upstream.address() == from);
        match attempt.check(bytes).filter(|_| is_ours) {
            Some(running::Match::Whole) => {
                let attempt = running.attempts.remove(at);
                self.close(&attempt);
                if let Some(health) = self.health_mut(server) {
                    health.heard(false, now);
                    health.answered(now.saturating_duration_since(attempt.sent_at));
                    if attempt.odd_case {
                        health.kept_case(true);
                    }
                }
                if wire::u16_at(bytes, 2).is_ok_and(|flags| flags & flag::TC != 0) {
                    return self.put(running, server, true, attempt.edns, now);
                }
                self.settle(running, server, attempt.edns, bytes, now);
            }
            Some(running::Match::Folded) => {
                self.counts.mismatches.add();
                if let Some(health) = self.health_mut(server) {
                    health.kept_case(false);
                }
                self.put_over_tcp(running, server, now);
            }
            None => {
                self.counts.mismatches.add();
                running.mismatches += 1;
                if running.mismatches >= MISMATCHES {
                    tracing::debug!("answers were forged, or are mixed up: going to TCP");
                    running.tcp_only = true;
                    self.abandon_datagrams(&mut running);
                    return self.put_over_tcp(running, server, now);
                }
                self.keep(running);
            }
        }
    }

    /// Nobody is there; or `there` may be, and it is us who have no socket for it.
    pub(crate) fn handle_unreachable(&mut self, path: u64, there: bool, now: Instant) {
        let taken =
            self.take(self.paths.get(&path).copied(), |attempt| attempt.way == Way::Datagram(path));
        let Some((mut running, at)) = taken else { return };
        let attempt = running.attempts.remove(at);
        self.close(&attempt);
        if let Some(health) = self.health_mut(attempt.server).filter(|_| !there) {
            health.missed(attempt.sent_at, now);
        }
        let reason =
            if there { "there are no sockets left" } else { "a name server can't be reached" };
        self.reject(running, attempt.server, reason, now);
    }

    /// A message has come by the connection to a server. Says whether it was one that was waited for.
    pub(crate) fn handle_message(&mut self, server: u32, bytes: &[u8], now: Instant) -> bool {
        let Ok(id) = wire::u16_at(bytes, 0) else { return false };
        if let Some(health) = self.health_mut(server) {
            health.heard(true, now);
        }
        let taken = self.take(self.ids.get(&(server, id)).copied(), |attempt| {
            attempt.way == Way::Stream(id) && attempt.server == server
        });
        let Some((mut running, at)) = taken else { return false };
        if running.attempts[at].check(bytes).is_none() {
            self.counts.mismatches.add();
            self.keep(running);
            return false;
        }
        let attempt = running.attempts.remove(at);
        self.close(&attempt);
        if let Some(health) =
            self.health_mut(server).filter(|one| one.upstream.tls_name().is_some())
        {
            health.answered(now.saturating_duration_since(attempt.sent_at));
        }
        // Nothing is too long for a connection: what says that it is cut off isn't whole.
        if wire::u16_at(bytes, 2).is_ok_and(|flags| flags & flag::TC != 0) {
            self.reject(running, server, "a name server's answer is cut off", now);
        } else {
            self.settle(running, server, attempt.edns, bytes, now);
        }
        true
    }

    /// The connection to a server has ended, or couldn't be made. What waited on it is put once more (RFC
    /// 7766 §6.2.4), unless it `failed`.
    pub(crate) fn handle_hangup(&mut self, server: u32, failed: bool, now: Instant) {
        // In their order, so that what follows doesn't depend on chance.
        let on_it = self.ids.iter().filter(|((of, _), _)| *of == server).map(|(_, id)| *id);
        let waiting: BTreeSet<u64> = on_it.collect();
        if failed
            && !waiting.is_empty()
            && let Some(health) = self.health_mut(server)
        {
            health.missed(now, now);
        }
        for id in waiting {
            let Some(mut running) = self.running.remove(&id) else { continue };
            self.deadlines.remove(&(running.wakes, id));
            let lost = |attempt: &mut Attempt| {
                attempt.server == server && matches!(attempt.way, Way::Stream(_))
            };
            let lost: Vec<_> = running.attempts.extract_if(.., lost).collect();
            lost.iter().for_each(|attempt| self.close(attempt));
            if failed || running.hangups > 0 {
                self.reject(running, server, "a name server hung up", now);
            } else {
                running.hangups += 1;
                let edns = lost.iter().all(|attempt| attempt.edns);
                self.put(running, server, true, edns, now);
            }
        }
    }

    /// Time has passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, id)) = self.deadlines.first()
            && at <= now
        {
            self.deadlines.pop_first();
            let Some(mut running) = self.running.remove(&id) else { continue };
            if let Some(reply) = running.stale.clone()
                && !running.stale_told
                && now >= running.began + STALE_AFTER
            {
                running.stale_told = true;
                self.tell(&mut running, &Ok(reply));
            }
            if now < running.retry_at {
                self.keep(running);
                continue;
            }
            self.counts.timeouts.add();
            if let Some(silent) = running.attempts.last() {
                self.miss(silent, now);
            }
            if now >= running.began + PATIENCE {
                self.fail(running, "no name server has answered", now);
            } else {
                running.reason = "no name server has answered";
                self.put_next(running, now);
            }
        }
    }

    /// When time should be told next.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Whether there is something to be sent or told.
    pub(crate) fn has_news(&self) -> bool {
        !self.transmits.is_empty() || !self.told.is_empty()
    }

    /// What is to be sent.
    pub(crate) fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What is to be told, and to whom.
    pub(crate) fn poll_answer(&mut self) -> Option<Told<W>> {
        self.told.pop_front()
    }

    /// A server was silent. If nothing at all has come by its connection since it was asked, that is
    /// dead, whatever TCP says, and the next question makes another.
    fn miss(&mut self, silent: &Attempt, now: Instant) {
        let (server, sent_at) = (silent.server, silent.sent_at);
        let Some(health) = self.health_mut(server) else { return };
        health.missed(sent_at, now);
        let is_dead = health.is_dead_since(sent_at);
        if is_dead && matches!(silent.way, Way::Stream(_)) {
            self.transmits.push_back(Transmit::Leave { server });
        }
    }

    // ---- answers -----------------------------------------------------------------------------

    /// A server has answered.
    fn settle(&mut self, running: Running<W>, server: u32, edns: bool, bytes: &[u8], now: Instant) {
        let Ok(message) = wire::read(bytes, &running.name) else {
            return self.reject(running, server, "a name server's answer makes no sense", now);
        };
        let query = &running.query;
        match message.rcode {
            rcode::NOERROR | rcode::NXDOMAIN => {}
            // It has no EDNS (RFC 6891 §7).
            rcode::FORMERR | rcode::NOTIMP | rcode::BADVERS if edns => {
                if let Some(health) = self.health_mut(server) {
                    health.refused_edns(now);
                }
                return self.put(running, server, false, false, now);
            }
            _ => return self.reject(running, server, "the name servers can't answer", now),
        }
        let links = &running.links;
        match judge(&message, &running.name, query.kind(), query.dnssec_ok(), links) {
            Verdict::Answer(outcome) => {
                let authentic = message.flags & flag::AD != 0 && running.links.is_empty();
                self.finish(running, &outcome, authentic, now);
            }
            Verdict::Alias { links, target } => {
                let mut running = running;
                self.abandon(&mut running, 0);
                running.follow(links, target);
                self.put_next(running, now);
            }
            Verdict::Lame(reason) => self.reject(running, server, reason, now),
        }
    }

    /// This server doesn't know; the next one is asked.
    fn reject(&mut self, mut running: Running<W>, server: u32, reason: &'static str, now: Instant) {
        running.rejected.push(server);
        running.reason = reason;
        self.put_next(running, now);
    }

    fn finish(
        &mut self,
        mut running: Running<W>,
        outcome: &Outcome,
        authentic: bool,
        now: Instant,
    ) {
        let authentic = authentic && self.pace.trust_ad;
        let Outcome { rcode, answers, authority, ttl, answered } = outcome;
        let stored = Stored::new(&running.query, *rcode, authentic, answers, authority, *ttl);
        let Ok(mut stored) = stored else {
            return self.fail(running, "an answer is too long", now);
        };
        stored.answered = *answered;
        let stored = Arc::new(stored);
        self.cache.keep(&running.query, Arc::clone(&stored), now);
        self.tell(&mut running, &Ok(Reply::new(stored)));
        self.end(running);
    }

    fn fail(&mut self, mut running: Running<W>, reason: &'static str, now: Instant) {
        self.counts.failures.add();
        self.cache.keep_failure(&running.query, reason, now);
        let answer = running.stale.clone().ok_or(reason);
        self.tell(&mut running, &answer);
        self.end(running);
    }

    fn tell(&mut self, running: &mut Running<W>, answer: &Result<Reply, &'static str>) {
        self.waiting -= running.waiters.len();
        for waiter in running.waiters.drain(..) {
            if let Ok(Reply { stale: true, .. }) = answer {
                self.counts.stale.add();
            }
            self.told.push_back((waiter, answer.clone()));
        }
    }

    // ---- keeping books -----------------------------------------------------------------------

    fn allocate(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn health(&self, server: u32) -> Option<&Health> {
        self.servers.iter().find(|health| health.id == server)
    }

    fn health_mut(&mut self, server: u32) -> Option<&mut Health> {
        self.servers.iter_mut().find(|health| health.id == server)
    }

    /// Takes a question out whose attempt this is, to be kept or ended afterwards.
    fn take(
        &mut self,
        id: Option<u64>,
        is: impl Fn(&Attempt) -> bool,
    ) -> Option<(Running<W>, usize)> {
        let id = id?;
        let at = self.running.get(&id)?.attempts.iter().position(is)?;
        let running = self.running.remove(&id)?;
        self.deadlines.remove(&(running.wakes, id));
        Some((running, at))
    }

    /// Puts a question back among those under way.
    fn keep(&mut self, mut running: Running<W>) {
        let stale = running.stale.is_some() && !running.stale_told;
        let stale_at = stale.then_some(running.began + STALE_AFTER);
        running.wakes = stale_at.map_or(running.retry_at, |at| at.min(running.retry_at));
        self.deadlines.insert((running.wakes, running.id));
        self.running.insert(running.id, running);
    }

    fn end(&mut self, mut running: Running<W>) {
        self.abandon(&mut running, 0);
        self.by_key.remove(running.query.key());
    }

    /// Gives up all but the latest `kept` attempts.
    fn abandon(&mut self, running: &mut Running<W>, kept: usize) {
        let surplus = running.attempts.len().saturating_sub(kept);
        for attempt in running.attempts.drain(..surplus).collect::<Vec<_>>() {
            self.close(&attempt);
        }
    }

    /// Gives up what was put over UDP, so that no datagram is taken for an answer any more.
    fn abandon_datagrams(&mut self, running: &mut Running<W>) {
        let is_datagram = |attempt: &mut Attempt| matches!(attempt.way, Way::Datagram(_));
        for attempt in running.attempts.extract_if(.., is_datagram).collect::<Vec<_>>() {
            self.close(&attempt);
        }
    }

    fn close(&mut self, attempt: &Attempt) {
        match attempt.way {
            Way::Datagram(path) => {
                self.paths.remove(&path);
                self.transmits.push_back(Transmit::Close { path });
            }
            Way::Stream(id) => {
                self.ids.remove(&(attempt.server, id));
            }
        }
    }
}

#[cfg(test)]
mod tests;
