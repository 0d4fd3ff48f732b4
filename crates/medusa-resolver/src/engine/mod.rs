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
use crate::wire::{self, HEADER, Query, flag, rcode};
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
/// A server other than the fastest is asked once in so many questions, to learn what has become of it.
const EXPLORED: u16 = 32;
/// Sockets that listen for the answer to one question.
const OPEN_PATHS: usize = 2;

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
    /// A server isn't needed any more.
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
                if running.mismatches == MISMATCHES {
                    tracing::debug!("answers were forged, or are mixed up: going to TCP");
                    return self.put_over_tcp(running, server, now);
                }
                self.keep(running);
            }
        }
    }

    /// Nobody is there, or the socket is of no use.
    pub(crate) fn handle_unreachable(&mut self, path: u64, now: Instant) {
        let taken =
            self.take(self.paths.get(&path).copied(), |attempt| attempt.way == Way::Datagram(path));
        let Some((mut running, at)) = taken else { return };
        let attempt = running.attempts.remove(at);
        self.close(&attempt);
        if let Some(health) = self.health_mut(attempt.server) {
            health.missed(now);
        }
        self.reject(running, attempt.server, "a name server can't be reached", now);
    }

    /// A message has come by the connection to a server. Says whether it was one that was waited for.
    pub(crate) fn handle_message(&mut self, server: u32, bytes: &[u8], now: Instant) -> bool {
        let Ok(id) = wire::u16_at(bytes, 0) else { return false };
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
        self.settle(running, server, attempt.edns, bytes, now);
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
            health.missed(now);
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
            let silent = running.attempts.last().map(|attempt| attempt.server);
            if let Some(health) = silent.and_then(|server| self.health_mut(server)) {
                health.missed(now);
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

    // ---- asking ------------------------------------------------------------------------------

    fn prefetch(&mut self, query: &Query, now: Instant) {
        let room = self.running.len() < self.pace.outstanding && !self.servers.is_empty();
        if room && !self.by_key.contains_key(query.key()) {
            self.counts.prefetches.add();
            self.begin(query, None, Vec::new(), now);
        }
    }

    fn begin(&mut self, query: &Query, stale: Option<Reply>, waiters: Vec<W>, now: Instant) {
        let id = self.allocate();
        self.by_key.insert(query.key().into(), id);
        let running = Running::new(id, query.clone(), stale, waiters, now);
        self.put_next(running, now);
    }

    /// Puts the question to the next server, or gives up.
    fn put_next(&mut self, running: Running<W>, now: Instant) {
        let most = self.pace.attempts.max(1) as usize * self.servers.len();
        match self.choose(&running, now) {
            Some(server) if running.puts < most => {
                let edns = self.health(server).is_none_or(|health| health.takes_edns(now));
                self.put(running, server, false, edns, now);
            }
            _ => {
                let reason = running.reason;
                self.fail(running, reason, now);
            }
        }
    }

    fn put_over_tcp(&mut self, running: Running<W>, server: u32, now: Instant) {
        let is_put =
            |attempt: &Attempt| attempt.server == server && matches!(attempt.way, Way::Stream(_));
        if running.attempts.iter().any(is_put) {
            return self.keep(running);
        }
        let edns = self.health(server).is_none_or(|health| health.takes_edns(now));
        self.put(running, server, true, edns, now);
    }

    /// Puts the question to a server: over UDP, unless that is one for TLS or TCP is told.
    fn put(&mut self, mut running: Running<W>, server: u32, tcp: bool, edns: bool, now: Instant) {
        let Some(health) = self.health(server) else { return self.put_next(running, now) };
        let secured = health.upstream.tls_name().is_some();
        let (to, wait, odd_case) = (health.upstream.address(), health.wait(), health.keeps_case());
        let stream = tcp || secured;
        let mut name = running.name.clone();
        if odd_case && !stream {
            self.randomise_case(&mut name);
        }
        let mut id = self.random_id();
        let way = if stream {
            // There are far fewer under way than there are ids.
            while self.ids.contains_key(&(server, id)) {
                id = id.wrapping_add(1);
            }
            self.ids.insert((server, id), running.id);
            Way::Stream(id)
        } else {
            let path = self.allocate();
            self.paths.insert(path, running.id);
            Way::Datagram(path)
        };
        let bytes = wire::compose(&running.query, &name, id, edns, secured);
        let question = bytes[HEADER..HEADER + name.len() + 4].into();
        let odd_case = odd_case && !stream;
        running.attempts.push(Attempt { server, way, id, question, sent_at: now, edns, odd_case });
        match way {
            Way::Datagram(path) => {
                self.counts.sent.add();
                self.transmits.push_back(Transmit::Datagram { path, to, bytes });
            }
            Way::Stream(_) => {
                self.counts.streamed.add();
                self.transmits.push_back(Transmit::Stream { server, bytes });
            }
        }
        self.abandon(&mut running, OPEN_PATHS);
        // Each round waits twice as long; the last packet as long as there is patience. A connection may
        // have to be made first.
        let round = running.puts / self.servers.len().max(1);
        running.puts += 1;
        let last = running.puts >= self.pace.attempts.max(1) as usize * self.servers.len();
        let wait = wait * 2_u32.pow(round.min(8) as u32) * if stream { 4 } else { 1 };
        let wait = if last { self.pace.timeout } else { wait.min(self.pace.timeout) };
        running.retry_at = (now + wait).min(running.began + PATIENCE);
        self.keep(running);
    }

    /// The server to be asked next: one that isn't known not to know, hasn't been asked as often as
    /// others, is up, and fast.
    fn choose(&mut self, running: &Running<W>, now: Instant) -> Option<u32> {
        let explores = self.servers.len() > 1 && self.random_id().is_multiple_of(EXPLORED);
        let candidates =
            self.servers.iter().filter(|health| !running.rejected.contains(&health.id));
        let puts = |health: &Health| {
            running.attempts.iter().filter(|attempt| attempt.server == health.id).count()
        };
        if explores && running.puts == 0 {
            let up: Vec<_> = candidates.filter(|health| !health.is_down(now)).collect();
            let index = running.id as usize % up.len().max(1);
            return up.get(index).or(self.servers.first().as_ref()).map(|health| health.id);
        }
        let chosen =
            candidates.min_by_key(|health| (health.rank(now).0, puts(health), health.rank(now).1));
        chosen.map(|health| health.id)
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
        let Outcome { rcode, answers, authority, ttl } = outcome;
        let stored = Stored::new(&running.query, *rcode, authentic, answers, authority, *ttl);
        let Ok(stored) = stored.map(Arc::new) else {
            return self.fail(running, "an answer is too long", now);
        };
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

    fn random_id(&mut self) -> u16 {
        let mut octets = [0; 2];
        (self.random)(&mut octets);
        u16::from_ne_bytes(octets)
    }

    /// Gives each letter a case by chance (draft-vixie-dnsext-dns0x20).
    fn randomise_case(&mut self, name: &mut [u8]) {
        let mut bits = [0; 32];
        (self.random)(&mut bits);
        for (index, octet) in name.iter_mut().enumerate() {
            if octet.is_ascii_lowercase() && bits[index / 8] >> (index % 8) & 1 == 1 {
                octet.make_ascii_uppercase();
            }
        }
    }
}

#[cfg(test)]
mod tests;
