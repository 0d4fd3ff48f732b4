//! Answers that come from code: a [`Program`] is asked for the names that no zone has.

use std::fmt;
use std::net::IpAddr;

use super::writer::{IN, Owner, QUESTION, Section, Writer};
use crate::name::Shown;
use crate::types::{Rcode, RecordType};
use crate::zone::rdata;

/// Answers questions by code. It is called on a shard, so it must not block.
///
/// ```
/// use medusa_dns::answer::{Question, Reply};
/// use medusa_dns::types::RecordType;
///
/// let whoami = |question: &Question<'_>, reply: &mut Reply<'_, '_>| {
///     if question.name() != "whoami.example.test." {
///         return false;
///     }
///     if let (RecordType::TXT, Some(address)) = (question.rtype, question.address) {
///         reply.text(0, &address.to_string());
///     }
///     true
/// };
/// # fn check(_: impl medusa_dns::answer::Program) {}
/// # check(whoami);
/// ```
pub trait Program: Send + Sync {
    /// Answers, and says whether the name is one of its own; a name of others is refused. An answer
    /// without records says that the name has none of that type.
    fn answer(&self, question: &Question<'_>, reply: &mut Reply<'_, '_>) -> bool;
}

impl<F> Program for F
where
    F: Fn(&Question<'_>, &mut Reply<'_, '_>) -> bool + Send + Sync,
{
    fn answer(&self, question: &Question<'_>, reply: &mut Reply<'_, '_>) -> bool {
        self(question, reply)
    }
}

impl fmt::Debug for dyn Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Program")
    }
}

/// What is asked, by whom.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Question<'q> {
    /// The name on the wire, in lower case.
    pub wire: &'q [u8],
    /// The type.
    pub rtype: RecordType,
    /// Who asks, if that is known. Over UDP it may be forged.
    pub address: Option<IpAddr>,
}

impl Question<'_> {
    /// The name as text, in lower case and with a dot at its end.
    pub fn name(&self) -> String {
        Shown(self.wire).to_string()
    }
}

/// The answer as it is made.
pub struct Reply<'r, 'o> {
    pub(super) writer: &'r mut Writer<'o>,
    pub(super) rcode: Rcode,
    pub(super) is_full: bool,
}

impl fmt::Debug for Reply<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("rcode", &self.rcode).finish_non_exhaustive()
    }
}

impl Reply<'_, '_> {
    /// Adds a record to the name that is asked for, with its data in wire form. Data that isn't that of
    /// its type is left out, and the answer becomes SERVFAIL. What doesn't fit into the answer makes it a
    /// truncated one, and the client comes again by TCP.
    pub fn record(&mut self, rtype: RecordType, ttl: u32, data: &[u8]) {
        if data.len() > usize::from(u16::MAX) || !rdata::is_sound(rtype, data) {
            self.rcode = Rcode::SERVFAIL;
            return;
        }
        let head = (rtype, IN, ttl);
        let added = self.writer.record(Section::Answer, Owner::At(QUESTION), head, data);
        self.is_full |= added.is_err();
    }

    /// Adds the address to the name that is asked for.
    pub fn address(&mut self, ttl: u32, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.record(RecordType::A, ttl, &address.octets()),
            IpAddr::V6(address) => self.record(RecordType::AAAA, ttl, &address.octets()),
        }
    }

    /// Adds a text to the name that is asked for, cut into strings of 255 octets.
    pub fn text(&mut self, ttl: u32, text: &str) {
        let mut data = Vec::with_capacity(text.len() + 2);
        for piece in text.as_bytes().chunks(255) {
            data.push(piece.len() as u8);
            data.extend_from_slice(piece);
        }
        if data.is_empty() {
            data.push(0);
        }
        self.record(RecordType::TXT, ttl, &data);
    }

    /// Says how it went, where that isn't well: [`Rcode::NXDOMAIN`] for a name that isn't there.
    pub fn set_rcode(&mut self, rcode: Rcode) {
        self.rcode = rcode;
    }
}
