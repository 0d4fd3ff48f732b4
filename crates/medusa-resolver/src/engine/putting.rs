//! How a question is put: to which server, by which way, and for how long its answer is waited for.

use std::time::Instant;

use super::health::Health;
use super::running::{Attempt, Running, Way};
use super::{Engine, PATIENCE, Transmit};
use crate::stored::Reply;
use crate::wire::{self, HEADER, Query};

/// A server other than the fastest is asked once in so many questions, to learn what has become of it.
const EXPLORED: u16 = 32;
/// Sockets that listen for the answer to one question.
const OPEN_PATHS: usize = 2;

impl<W> Engine<W> {
    pub(super) fn prefetch(&mut self, query: &Query, now: Instant) {
        let room = self.running.len() < self.pace.outstanding && !self.servers.is_empty();
        if room && !self.by_key.contains_key(query.key()) {
            self.counts.prefetches.add();
            self.begin(query, None, Vec::new(), now);
        }
    }

    pub(super) fn begin(
        &mut self,
        query: &Query,
        stale: Option<Reply>,
        waiters: Vec<W>,
        now: Instant,
    ) {
        let id = self.allocate();
        self.by_key.insert(query.key().into(), id);
        let running = Running::new(id, query.clone(), stale, waiters, now);
        self.put_next(running, now);
    }

    /// Puts the question to the next server, or gives up.
    pub(super) fn put_next(&mut self, running: Running<W>, now: Instant) {
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

    pub(super) fn put_over_tcp(&mut self, running: Running<W>, server: u32, now: Instant) {
        let is_put =
            |attempt: &Attempt| attempt.server == server && matches!(attempt.way, Way::Stream(_));
        if running.attempts.iter().any(is_put) {
            return self.keep(running);
        }
        let edns = self.health(server).is_none_or(|health| health.takes_edns(now));
        self.put(running, server, true, edns, now);
    }

    /// Puts the question to a server: over UDP, unless that is one for TLS or TCP is told.
    pub(super) fn put(
        &mut self,
        mut running: Running<W>,
        server: u32,
        tcp: bool,
        edns: bool,
        now: Instant,
    ) {
        let Some(health) = self.health(server) else { return self.put_next(running, now) };
        let secured = health.upstream.tls_name().is_some();
        let (to, wait, odd_case) = (health.upstream.address(), health.wait(), health.keeps_case());
        let stream = tcp || secured || running.tcp_only;
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
    pub(super) fn choose(&mut self, running: &Running<W>, now: Instant) -> Option<u32> {
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
