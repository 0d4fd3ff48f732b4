//! A question under way, and the packets by which it was put.

use std::time::Instant;

use crate::stored::Reply;
use crate::wire::{self, HEADER, Query, RawRecord, flag, rcode};

/// A question under way.
#[derive(Debug)]
pub(super) struct Running<W> {
    pub(super) id: u64,
    pub(super) query: Query,
    /// Whose records are asked for now: an alias may have led elsewhere.
    pub(super) name: Vec<u8>,
    /// The aliases that have led there.
    pub(super) links: Vec<RawRecord>,
    pub(super) waiters: Vec<W>,
    /// What can be told if nobody answers.
    pub(super) stale: Option<Reply>,
    pub(super) stale_told: bool,
    /// The oldest first.
    pub(super) attempts: Vec<Attempt>,
    /// Servers that don't know.
    pub(super) rejected: Vec<u32>,
    /// How often it was put, under this name.
    pub(super) puts: usize,
    pub(super) hangups: u32,
    pub(super) mismatches: u32,
    /// So many packets were no answer that no datagram is believed.
    pub(super) tcp_only: bool,
    pub(super) reason: &'static str,
    pub(super) began: Instant,
    pub(super) retry_at: Instant,
    /// What stands among the deadlines.
    pub(super) wakes: Instant,
}

/// A packet that an answer is awaited to.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) server: u32,
    pub(super) way: Way,
    pub(super) id: u16,
    /// The question as it was put, in its case.
    pub(super) question: Box<[u8]>,
    pub(super) sent_at: Instant,
    pub(super) edns: bool,
    /// The case of its letters was chosen by chance.
    pub(super) odd_case: bool,
}

/// How a question was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// By a socket of its own.
    Datagram(u64),
    /// On the connection to the server, by this id.
    Stream(u16),
}

/// How well a message answers a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// In all.
    Whole,
    /// But for the case of its letters.
    Folded,
}

impl<W> Running<W> {
    pub(super) fn new(
        id: u64,
        query: Query,
        stale: Option<Reply>,
        waiters: Vec<W>,
        now: Instant,
    ) -> Self {
        Running {
            id,
            name: query.name().into(),
            query,
            links: Vec::new(),
            waiters,
            stale,
            stale_told: false,
            attempts: Vec::new(),
            rejected: Vec::new(),
            puts: 0,
            hangups: 0,
            mismatches: 0,
            tcp_only: false,
            reason: "no name server has answered",
            began: now,
            retry_at: now,
            wakes: now,
        }
    }

    /// Goes on with the name that an alias led to. Whoever told of the alias may still know it.
    pub(super) fn follow(&mut self, links: Vec<RawRecord>, target: Vec<u8>) {
        self.links.extend(links);
        self.name = target.to_ascii_lowercase();
        self.puts = 0;
        self.rejected.clear();
    }

    /// Starts over, with other servers.
    pub(super) fn begin_again(&mut self) {
        self.name = self.query.name().into();
        self.links.clear();
        self.rejected.clear();
        self.puts = 0;
    }
}

impl Attempt {
    /// Whether a message answers this: an answer to a query with the same id and question. A server that
    /// couldn't read the question may leave it out (RFC 6891 §7 tells what follows).
    pub(super) fn check(&self, bytes: &[u8]) -> Option<Match> {
        let number = |at| wire::u16_at(bytes, at).ok();
        let flags = number(2)?;
        if number(0)? != self.id || flags & flag::QR == 0 || flags & flag::OPCODE != 0 {
            return None;
        }
        let questions = number(4)?;
        if questions == 0 && matches!(flags & 15, rcode::FORMERR | rcode::NOTIMP) {
            return Some(Match::Whole);
        }
        let question = bytes.get(HEADER..HEADER + self.question.len())?;
        if questions != 1 {
            return None;
        }
        if *question == *self.question {
            return Some(Match::Whole);
        }
        // Type and class are numbers, whose octets might be letters.
        let (name, end) = question.split_at(question.len() - 4);
        let (asked, asked_end) = self.question.split_at(self.question.len() - 4);
        let same = end == asked_end && name.eq_ignore_ascii_case(asked);
        match same && self.odd_case {
            true => Some(Match::Folded),
            // Case was not chosen, so that it isn't looked at.
            false => same.then_some(Match::Whole),
        }
    }
}
