//! A request at the desk, and the answers that it is given, signed as it was.
//!
//! What is answered is the desk's to say.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Asked, Handled, reply};
use crate::answer::{Answered, Transport};
use crate::ledger::rcode_of;
use crate::transfer::message::{LONGEST, Question, Reader, serial_of};
use crate::transfer::outgoing::{Clock, Outgoing};
use crate::transfer::tsig::{Key, Signer, error_answer};
use crate::types::{Rcode, RecordType, opcode};
use crate::wire::{HEADER, Header, flag, question_of};

/// The longest datagram without EDNS (RFC 1035 §4.2.1), and the longest that is sent at all.
const PLAIN: usize = 512;
pub(super) const DATAGRAM: usize = 1232;

/// An answer to a signed question, still without its own signature.
pub(crate) struct Said {
    answer: Vec<u8>,
    /// None where the question's signature is refused: the answer says so already.
    signer: Option<Signer>,
    /// How many octets there may be.
    limit: usize,
    now: u64,
    pub(crate) answered: Answered,
}

impl Said {
    /// The answer, signed as the question was. What is too long then is cut altogether, and its response
    /// code is 0 (RFC 8945 §5.3).
    pub(crate) fn message(mut self) -> Vec<u8> {
        let octets = self.signer.as_ref().map_or(0, Signer::octets);
        if self.answer.len() + octets > self.limit {
            cut(&mut self.answer);
        }
        self.sign()
    }

    /// An answer that says nothing but to come again by TCP, signed too.
    pub(crate) fn slipped(mut self) -> Vec<u8> {
        cut(&mut self.answer);
        self.sign()
    }

    fn sign(mut self) -> Vec<u8> {
        if let Some(signer) = &mut self.signer {
            signer.sign(&mut self.answer, self.now);
        }
        self.answer
    }
}

/// Leaves nothing of an answer but its header and its question.
fn cut(answer: &mut Vec<u8>) {
    let question = question_of(answer).map_or(0, <[u8]>::len);
    answer.truncate(HEADER + question);
    answer[2] |= flag::TRUNCATED;
    answer[3] &= 0xF0;
    answer[6..HEADER].fill(0);
}

/// What is said to a message that isn't in order, or whose signature is refused. To a question it is its answer.
pub(super) fn unsigned(asked: &Asked<'_>, answer: Vec<u8>) -> Handled {
    let Some(header) = Header::read(asked.message) else { return Handled::Ignored };
    let question = question_of(&answer).and_then(<[u8]>::split_last_chunk::<4>);
    let rtype = question.map_or(0, |(_, [high, low, ..])| u16::from_be_bytes([*high, *low]));
    match Business::of(&header, RecordType(rtype), asked.transport) {
        Business::Question => {
            let answered = Answered::failed(rcode_of(&answer));
            let said = Said { answer, signer: None, limit: LONGEST, now: asked.now, answered };
            Handled::Answered(Box::new(said))
        }
        _ => Handled::Reply(answer),
    }
}

/// What a request is about.
pub(super) enum Business {
    Notice,
    Update,
    Transfer,
    /// The answerer's; it is here for its signature.
    Question,
}

impl Business {
    pub(super) fn of(header: &Header, rtype: RecordType, transport: Transport) -> Business {
        let datagram = transport == Transport::Udp;
        match (header.opcode(), rtype) {
            (opcode::NOTIFY, _) => Business::Notice,
            (opcode::UPDATE, _) => Business::Update,
            (_, RecordType::AXFR) if !datagram => Business::Transfer,
            (_, RecordType::IXFR) => Business::Transfer,
            _ => Business::Question,
        }
    }
}

/// A request whose signature, if it has one, holds.
pub(super) struct Request<'m> {
    pub(super) asked: &'m Asked<'m>,
    /// Without its signature.
    pub(super) message: Cow<'m, [u8]>,
    pub(super) header: Header,
    pub(super) question: Question,
    pub(super) key: Option<Arc<Key>>,
    pub(super) signer: Option<Signer>,
}

impl Request<'_> {
    /// Answers with a response code alone.
    pub(super) fn rcode(self, rcode: Rcode) -> Handled {
        let mut out = error_answer(&self.message, rcode).unwrap_or_default();
        if self.header.opcode() == opcode::NOTIFY {
            out[2] |= flag::AUTHORITATIVE;
        }
        self.signed(out)
    }

    /// Answers with this, signed as the request was.
    pub(super) fn signed(mut self, mut out: Vec<u8>) -> Handled {
        if let Some(signer) = &mut self.signer {
            signer.sign(&mut out, self.asked.now);
        }
        Handled::Reply(out)
    }

    /// The answer to a question.
    pub(super) fn said(self, answer: Vec<u8>, answered: Answered) -> Handled {
        let limit = self.limit();
        let Request { signer, asked, .. } = self;
        Handled::Answered(Box::new(Said { answer, signer, limit, now: asked.now, answered }))
    }

    /// Answers with these records.
    pub(super) fn stream(
        self,
        records: impl Iterator<Item = crate::zone::Record> + Send + 'static,
        clock: Clock,
    ) -> Handled {
        let limit = self.limit();
        let outgoing = Outgoing::new(records, self.header.id, self.question, self.signer, clock);
        match self.asked.transport {
            Transport::Udp => reply(outgoing.single(limit)),
            _ => Handled::Stream(Box::new(outgoing)),
        }
    }

    /// One more signer for the same answer, should the first try be too long.
    pub(super) fn again(&self) -> Option<Signer> {
        self.signer.clone()
    }

    /// The serial of the version that who asks for changes has (RFC 1995 §3).
    pub(super) fn held_serial(&self) -> Option<u32> {
        let (mut reader, _) = Reader::open(&self.message)?;
        while let Some(entry) = reader.next().ok()? {
            if entry.section == 1 && entry.rtype == RecordType::SOA {
                return reader.data(&entry).and_then(|rdata| serial_of(&rdata));
            }
        }
        None
    }

    /// How long a message to who asks may be.
    pub(super) fn limit(&self) -> usize {
        if self.asked.transport != Transport::Udp {
            return LONGEST;
        }
        let (Some((mut reader, _)), mut limit) = (Reader::open(&self.message), PLAIN) else {
            return PLAIN;
        };
        while let Ok(Some(entry)) = reader.next() {
            if entry.section == 2 && entry.rtype == RecordType::OPT {
                limit = usize::from(entry.class).clamp(PLAIN, DATAGRAM);
            }
        }
        limit
    }
}
