//! Questions for names of others, from those who may ask them: passed on to a resolver, and answered when
//! it has answered.
//!
//! Whom the resolver asks and what it remembers is `medusa-resolver`'s business. What zones of ours say is
//! said before anything comes here.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use medusa_core::{Network, Remote};
use medusa_resolver::{Forwarded, Forwarding, LookupError, Passed, RawQuestion, Reply};

use crate::answer::{LONGEST, PLAIN, Settings, Transport, Writer};
use crate::name::QueryName;
use crate::types::{Rcode, RecordType};
use crate::wire::{Query, flag, option};

/// The most questions of one shard, or of one connection, that wait for the resolver.
const MOST: usize = 10_000;

/// Recursion is available, and the data is authentic: in the fourth octet of a header.
const AVAILABLE: u8 = 0x80;
const AUTHENTIC: u8 = 0x20;
/// An answer that is told after its time (RFC 8914 §4.4).
const STALE: u16 = 3;

/// A resolver, and for whom it is.
#[derive(Debug, Clone)]
pub(crate) struct Forwarder {
    resolver: Forwarding,
    networks: Arc<[Network]>,
}

impl Forwarder {
    pub(crate) fn new(resolver: Forwarding, networks: Vec<Network>) -> Forwarder {
        Forwarder { resolver, networks: networks.into() }
    }

    /// Whether this client may ask for names of others.
    pub(crate) fn is_for(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.networks.iter().any(|one| one.contains(address)))
    }
}

/// Marks an answer, whose header begins at `start`, as one of a server that asks others.
pub(crate) fn mark_available(answer: &mut [u8], start: usize) {
    if let Some(flags) = answer.get_mut(start + 3) {
        *flags |= AVAILABLE;
    }
}

/// Questions that wait, each with what is needed to answer.
pub(crate) struct Waiting<T> {
    questions: HashMap<u64, (T, Asked)>,
    last: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Waiting { questions: HashMap::new(), last: 0 }
    }
}

impl<T> fmt::Debug for Waiting<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiting").field("questions", &self.questions.len()).finish_non_exhaustive()
    }
}

impl<T> Waiting<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.questions.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.questions.len()
    }

    /// Passes a question on. Gives `to` back with the answer if there is one already; otherwise a note
    /// comes.
    pub(crate) fn ask(
        &mut self,
        forwarder: &Forwarder,
        asked: Asked,
        now: Instant,
        own: &Remote,
        to: T,
    ) -> Option<(T, Vec<u8>)> {
        let temporary = |why: &'static str| Passed::Now(Err(LookupError::temporary(why)));
        self.last += 1;
        let passed = match forwarder.resolver.local() {
            _ if self.questions.len() >= MOST => temporary("too many questions wait"),
            None => temporary("there is no resolver on this shard"),
            Some(local) => local.forward(asked.raw(), now, own, self.last),
        };
        match passed {
            Passed::Now(result) => Some((to, asked.answer(result.as_ref().ok()))),
            Passed::Later => {
                self.questions.insert(self.last, (to, asked));
                None
            }
        }
    }

    /// The answer that a note brings, and to whom it goes.
    pub(crate) fn answered(&mut self, note: &Forwarded) -> Option<(T, Vec<u8>)> {
        let (to, asked) = self.questions.remove(&note.ticket)?;
        let answer = asked.answer(note.result.as_ref().ok());
        Some((to, answer))
    }
}

/// A question that is passed on, as it was asked.
#[derive(Debug)]
pub(crate) struct Asked {
    id: u16,
    /// Name, type and class.
    question: Box<[u8]>,
    rtype: RecordType,
    flags: [u8; 2],
    /// With EDNS, the longest datagram that we take, and DO.
    edns: Option<(u16, bool)>,
    limit: usize,
}

impl Asked {
    /// The question of a message, if recursion is desired.
    pub(crate) fn read(message: &[u8], settings: &Settings, transport: Transport) -> Option<Asked> {
        let query = Query::read(message, &mut QueryName::default()).ok()?;
        if query.header.flags[0] & flag::RECURSION_DESIRED == 0 {
            return None;
        }
        let limit = match (transport, query.edns) {
            (Transport::Udp, None) => PLAIN,
            (Transport::Udp, Some(edns)) => {
                usize::from(edns.payload.min(settings.payload)).max(PLAIN)
            }
            _ => LONGEST,
        };
        Some(Asked {
            id: query.header.id,
            question: query.question.into(),
            rtype: query.rtype,
            flags: query.header.flags,
            edns: query.edns.map(|edns| (settings.payload, edns.dnssec)),
            limit,
        })
    }

    fn name(&self) -> &[u8] {
        &self.question[..self.question.len() - 4]
    }

    fn raw(&self) -> RawQuestion<'_> {
        let mut raw = RawQuestion::new(self.name(), self.rtype.0);
        raw.dnssec_ok = self.edns.is_some_and(|(_, dnssec)| dnssec);
        raw.checking_disabled = self.flags[1] & flag::CHECKING_DISABLED != 0;
        raw
    }

    /// The answer, from what the resolver has said; SERVFAIL if it has said nothing.
    fn answer(&self, reply: Option<&Reply>) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let checking = self.flags[1] & flag::CHECKING_DISABLED;
        let Some(reply) = reply else {
            let writer = Writer::new(&mut out, self.limit, &self.question);
            let flags = [flag::RESPONSE | flag::RECURSION_DESIRED, AVAILABLE | checking];
            writer.finish(self.id, flags, Rcode::SERVFAIL, 1);
            self.add_opt(false, &mut out);
            return out;
        };
        reply.write(self.id, self.name(), &mut out);
        let opt = if self.edns.is_some() { 11 + 6 } else { 0 };
        if out.len() + opt > self.limit {
            out.truncate(reply.question_end());
            out[2] |= flag::TRUNCATED;
            out[6..12].fill(0);
        }
        out[3] |= checking;
        // Who hasn't asked for it isn't told (RFC 6840 §5.8).
        let wants = self.flags[1] & AUTHENTIC != 0 || self.edns.is_some_and(|(_, dnssec)| dnssec);
        if !wants {
            out[3] &= !AUTHENTIC;
        }
        self.add_opt(reply.is_stale(), &mut out);
        out
    }

    /// Appends an OPT record, if there was one in the question.
    fn add_opt(&self, is_stale: bool, out: &mut Vec<u8>) {
        let Some((payload, dnssec)) = self.edns else { return };
        out.push(0);
        out.extend_from_slice(&RecordType::OPT.0.to_be_bytes());
        out.extend_from_slice(&payload.to_be_bytes());
        out.extend_from_slice(&[0, 0, if dnssec { 0x80 } else { 0 }, 0]);
        let options: u16 = if is_stale { 6 } else { 0 };
        out.extend_from_slice(&options.to_be_bytes());
        if is_stale {
            for word in [option::EXTENDED_ERROR, 2, STALE] {
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
        out[11] += 1;
    }
}
