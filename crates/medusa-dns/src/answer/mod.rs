//! From a message to its answer: [`Answerer::answer`] is what UDP, TCP, TLS and HTTPS have in common.
//!
//! Pure: who asks, over what and when is handed in. Transfers, updates and questions for others are told
//! to the caller; what a zone says is found in `resolve`.

mod cookie;
mod denial;
mod edns;
mod passed;
mod program;
mod resolve;
mod writer;

use std::net::IpAddr;
use std::sync::Arc;

use resolve::{Names, Resolution, zone_of};

use crate::name::QueryName;
use crate::transfer::concerns;
use crate::types::{Rcode, RecordType, class};
use crate::wire::{Edns, Header, Query, Unfit, flag, question_of};
use crate::zone::{Zone, ZonesSnapshot, below};

pub(crate) use edns::MAX_NSID;
pub(crate) use passed::Kept;
pub use program::{Program, Question, Reply};
pub use resolve::Kind;
pub(crate) use writer::{Full, Owner, QUESTION, Section, Writer};

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram: from whom is as good as unknown.
    Udp,
    /// Over a connection.
    Tcp,
    /// Over a connection that nobody else can read.
    Secured,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Its address; none for a Unix-domain socket.
    pub address: Option<IpAddr>,
    /// How the message came.
    pub transport: Transport,
    /// Seconds since 1970, modulo 2³².
    pub now: u32,
}

/// What a server says of itself, and how much.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// Who it is among several with one address (RFC 5001). With more than 128 octets it isn't sent by EDNS.
    pub nsid: Option<Box<[u8]>>,
    /// What it answers to `version.bind`; without one it refuses.
    pub version: Option<Box<str>>,
    /// The longest datagram that it sends (1232: DNS flag day 2020).
    pub payload: u16,
    /// How long a connection may be idle, in tenths of a second, to those who ask (RFC 7828).
    pub keepalive: u16,
    /// What cookies are made with (RFC 9018); without it there are none. Servers that answer at one
    /// address have the same.
    pub cookie_secret: Option<[u8; 16]>,
    /// Answers for the names that no zone has.
    pub program: Option<Arc<dyn Program>>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            nsid: None,
            version: None,
            payload: 1232,
            keepalive: 100,
            cookie_secret: None,
            program: None,
        }
    }
}

/// What became of a message.
#[derive(Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing is said to it.
    Ignored,
    /// An answer was written.
    Answered(Answered),
    /// A zone is asked for as a whole (RFC 5936, RFC 1995). Nothing was written.
    Transfer,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// The response code.
    pub rcode: Rcode,
    /// What kind of answer it is.
    pub kind: Kind,
    /// No zone of ours has this name: somebody else may be asked.
    pub is_foreign: bool,
    /// The asker is where its address says: it had a cookie of ours.
    pub is_known: bool,
}

impl Answered {
    /// Nothing but a response code.
    pub(crate) fn failed(rcode: Rcode) -> Answered {
        Answered { rcode, kind: Kind::Error, is_foreign: false, is_known: false }
    }
}

/// The longest answer over a connection.
pub const LONGEST: usize = u16::MAX as usize;
/// The longest datagram to who knows nothing of EDNS (RFC 1035 §4.2.1).
const PLAIN: usize = 512;

/// Answers messages, one after the other. It holds nothing but memory to work with.
#[derive(Debug, Default)]
pub struct Answerer {
    names: Names,
}

impl Answerer {
    /// Appends the answer to `message` to `out`. Over UDP it is never longer than the asker and the
    /// settings allow; otherwise never longer than [`LONGEST`].
    #[inline]
    pub fn answer(
        &mut self,
        zones: &ZonesSnapshot,
        settings: &Settings,
        asker: &Asker,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Outcome {
        match Query::read(message, &mut self.names.asked) {
            Ok(query) => self.answer_query(zones, settings, asker, &query, out),
            Err(unfit) => refuse_unfit(message, unfit, out),
        }
    }

    /// The same for plain questions alone. Others aren't answered: notices, updates, transfers, and all that
    /// is signed.
    #[inline]
    pub(crate) fn answer_plain(
        &mut self,
        zones: &ZonesSnapshot,
        settings: &Settings,
        asker: &Asker,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Outcome> {
        match Query::read(message, &mut self.names.asked) {
            Ok(query) => {
                let is_plain = query.tsig.is_none()
                    && !matches!(query.rtype, RecordType::AXFR | RecordType::IXFR);
                is_plain.then(|| self.answer_query(zones, settings, asker, &query, out))
            }
            Err(_) if concerns(message) => None,
            Err(unfit) => Some(refuse_unfit(message, unfit, out)),
        }
    }

    #[inline]
    fn answer_query(
        &mut self,
        zones: &ZonesSnapshot,
        settings: &Settings,
        asker: &Asker,
        query: &Query<'_>,
        out: &mut Vec<u8>,
    ) -> Outcome {
        let limit = limit(asker.transport, query.edns.as_ref(), settings);
        let mut writer = Writer::new(out, limit, query.question);
        let edns = query.edns.map(|edns| edns::Reply::to(&edns, settings, asker));
        let reserved = edns.as_ref().map_or(0, edns::Reply::len);
        writer.reserve(reserved);
        let is_malformed = edns.as_ref().is_some_and(edns::Reply::is_malformed);
        let target = match is_malformed {
            true => Target::Nowhere(Rcode::FORMERR),
            false => self.find(zones, settings, query, asker),
        };
        let resolved = match target {
            Target::Zone(zone, apex) => {
                writer.set_apex(apex);
                let mut resolution = Resolution {
                    zones,
                    zone,
                    writer: &mut writer,
                    rtype: match query.rtype {
                        // The version that there is; whoever has another one comes by TCP.
                        RecordType::IXFR => RecordType::SOA,
                        rtype => rtype,
                    },
                    dnssec: query.edns.is_some_and(|edns| edns.dnssec),
                    proofs: Default::default(),
                };
                resolution.resolve(&mut self.names)
            }
            Target::Transfer => {
                let (start, _) = writer.mark();
                let length = writer.len();
                out.truncate(start - length);
                return Outcome::Transfer;
            }
            Target::Program(program) => {
                let question = Question {
                    wire: self.names.asked.wire(),
                    rtype: query.rtype,
                    address: asker.address,
                };
                programmed(program, &question, &mut writer)
            }
            Target::Chaos => chaos(query, &self.names, settings, &mut writer),
            Target::Nowhere(rcode) => failed(rcode),
        };
        let rcode = resolved.rcode;
        let is_foreign = rcode == Rcode::REFUSED && query.class == class::IN;
        let is_known = edns.as_ref().is_some_and(edns::Reply::is_known);
        if let Some(edns) = edns {
            writer.release(reserved);
            let extended = is_foreign.then_some(edns::Extended::NOT_AUTHORITATIVE);
            edns.write(rcode, extended, &mut writer);
        }
        let flags = [
            flag::RESPONSE | query.header.flags[0] & flag::RECURSION_DESIRED | resolved.flags,
            query.header.flags[1] & flag::CHECKING_DISABLED,
        ];
        writer.finish(query.header.id, flags, rcode, 1);
        Outcome::Answered(Answered { rcode, kind: resolved.kind, is_foreign, is_known })
    }

    /// Appends an answer to `message` that says nothing but to come again by TCP.
    pub(crate) fn slip(
        &mut self,
        settings: &Settings,
        asker: &Asker,
        message: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        let Ok(query) = Query::read(message, &mut self.names.asked) else { return false };
        let mut writer = Writer::new(out, PLAIN, query.question);
        if let Some(edns) = query.edns {
            edns::Reply::to(&edns, settings, asker).write(Rcode::NOERROR, None, &mut writer);
        }
        let flags = flag::RESPONSE | flag::TRUNCATED;
        let flags = [flags | query.header.flags[0] & flag::RECURSION_DESIRED, 0];
        writer.finish(query.header.id, flags, Rcode::NOERROR, 1);
        true
    }

    /// The name that the alias at the end of the last answer leads to, if no zone has it.
    pub(crate) fn target(&self, zones: &ZonesSnapshot) -> Option<&[u8]> {
        let mut name = QueryName::default();
        name.read(self.names.target()).ok()?;
        zones.find(&name, 0).is_none().then(|| self.names.target())
    }

    /// Who is to answer.
    #[inline]
    fn find<'z>(
        &self,
        zones: &'z ZonesSnapshot,
        settings: &'z Settings,
        query: &Query<'_>,
        asker: &Asker,
    ) -> Target<'z> {
        if query.edns.is_some_and(|edns| edns.version > 0) {
            return Target::Nowhere(Rcode::BADVERS);
        }
        match query.class {
            class::IN => {}
            class::CH => return Target::Chaos,
            _ => return Target::Nowhere(Rcode::REFUSED),
        }
        let name = &self.names.asked;
        let zone = zone_of(zones, name, query.rtype);
        match query.rtype {
            RecordType::AXFR | RecordType::IXFR => {
                let zone = zone.filter(|zone| zone.apex().wire() == name.wire());
                let datagram = asker.transport == Transport::Udp;
                // RFC 5936 §4.2 has no datagrams; an IXFR may be told by one which version there is.
                return match (query.rtype, zone) {
                    (RecordType::AXFR, _) if datagram => Target::Nowhere(Rcode::NOTIMP),
                    (RecordType::IXFR, Some(zone)) if datagram => Target::Zone(zone, 0),
                    (RecordType::IXFR, None) if datagram => Target::Nowhere(Rcode::NOTAUTH),
                    _ => Target::Transfer,
                };
            }
            RecordType::ANY => {}
            rtype if rtype.is_meta() => return Target::Nowhere(Rcode::NOTIMP),
            _ => {}
        }
        match zone {
            // A secondary that has heard nothing for too long knows nothing (RFC 1034 §4.3.5).
            Some(zone) if zone.is_stale() => Target::Nowhere(Rcode::SERVFAIL),
            Some(zone) => {
                let prefix = below(name.wire(), zone.apex().wire());
                Target::Zone(zone, prefix.map_or(0, <[u8]>::len))
            }
            None => {
                settings.program.as_deref().map_or(Target::Nowhere(Rcode::REFUSED), Target::Program)
            }
        }
    }
}

/// Who is to answer a question.
enum Target<'z> {
    /// A zone, and how many octets of the name are in front of its apex.
    Zone(&'z Zone, usize),
    Transfer,
    /// Code.
    Program(&'z dyn Program),
    /// The server, of itself.
    Chaos,
    /// Nobody.
    Nowhere(Rcode),
}

/// How long an answer may be.
#[inline]
fn limit(transport: Transport, edns: Option<&Edns<'_>>, settings: &Settings) -> usize {
    match (transport, edns) {
        (Transport::Udp, None) => PLAIN,
        (Transport::Udp, Some(edns)) => usize::from(edns.payload.min(settings.payload)).max(PLAIN),
        _ => LONGEST,
    }
}

fn failed(rcode: Rcode) -> resolve::Resolved {
    resolve::Resolved { rcode, kind: Kind::Error, flags: 0 }
}

/// Answers by code.
fn programmed(
    program: &dyn Program,
    question: &Question<'_>,
    writer: &mut Writer<'_>,
) -> resolve::Resolved {
    let mark = writer.mark();
    let mut reply = Reply { writer: &mut *writer, rcode: Rcode::NOERROR, is_full: false };
    if !program.answer(question, &mut reply) {
        writer.back_to(mark);
        return failed(Rcode::REFUSED);
    }
    let (rcode, is_full) = (reply.rcode, reply.is_full);
    let mut flags = flag::AUTHORITATIVE;
    if is_full {
        writer.back_to(mark);
        flags |= flag::TRUNCATED;
    }
    let kind = match rcode {
        Rcode::NOERROR if writer.has(Section::Answer) || is_full => Kind::Positive,
        Rcode::NOERROR => Kind::NoData,
        Rcode::NXDOMAIN => Kind::NameError,
        _ => Kind::Error,
    };
    resolve::Resolved { rcode, kind, flags }
}

/// Answers about the server itself (RFC 4892), which are nobody's business unless it is set.
fn chaos(
    query: &Query<'_>,
    names: &Names,
    settings: &Settings,
    writer: &mut Writer<'_>,
) -> resolve::Resolved {
    const VERSIONS: [&[u8]; 2] = [b"\x07version\x04bind\x00", b"\x07version\x06server\x00"];
    const IDS: [&[u8]; 2] = [b"\x02id\x06server\x00", b"\x08hostname\x04bind\x00"];
    let name = names.asked.wire();
    let text = if VERSIONS.contains(&name) {
        settings.version.as_deref().map(str::as_bytes)
    } else if IDS.contains(&name) {
        settings.nsid.as_deref()
    } else {
        None
    };
    let wanted = [RecordType::TXT, RecordType::ANY].contains(&query.rtype);
    let Some(text) = text.filter(|_| wanted) else { return failed(Rcode::REFUSED) };
    let text = &text[..text.len().min(255)];
    let mut data = vec![text.len() as u8];
    data.extend_from_slice(text);
    let head = (RecordType::TXT, class::CH, 0);
    let owner = Owner::At(QUESTION);
    match writer.record(Section::Answer, owner, head, &data) {
        Ok(_) => resolve::Resolved {
            rcode: Rcode::NOERROR,
            kind: Kind::Positive,
            flags: flag::AUTHORITATIVE,
        },
        Err(Full) => failed(Rcode::SERVFAIL),
    }
}

#[cold]
fn refuse_unfit(message: &[u8], unfit: Unfit, out: &mut Vec<u8>) -> Outcome {
    match unfit {
        Unfit::Ignored => Outcome::Ignored,
        Unfit::Malformed => refuse(message, Rcode::FORMERR, out),
        Unfit::NotImplemented => refuse(message, Rcode::NOTIMP, out),
    }
}

/// Answers a message with a response code alone, and with as much of its question as could be read.
pub(crate) fn refuse(message: &[u8], rcode: Rcode, out: &mut Vec<u8>) -> Outcome {
    let Some(header) = Header::read(message) else { return Outcome::Ignored };
    let question = question_of(message).unwrap_or_default();
    let writer = Writer::new(out, PLAIN, question);
    let flags = [
        flag::RESPONSE | header.flags[0] & (0x78 | flag::RECURSION_DESIRED),
        header.flags[1] & flag::CHECKING_DISABLED,
    ];
    let questions = u16::from(!question.is_empty());
    writer.finish(header.id, flags, rcode, questions);
    Outcome::Answered(Answered::failed(rcode))
}

#[cfg(test)]
pub(crate) mod tests;
