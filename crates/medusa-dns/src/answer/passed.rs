//! Questions that are passed on: what is kept of one while others are asked, and the answer that is made of
//! what they say.
//!
//! Pure. For whom others are asked is in `recursion`, and how in `medusa-resolver`.

use std::net::IpAddr;

use medusa_resolver::{LookupError, RawQuestion, Reply};

use super::edns::{self, Extended};
use super::resolve::Kind;
use super::writer::Writer;
use super::{Asker, Settings, limit};
use crate::name::QueryName;
use crate::types::{Rcode, RecordType};
use crate::wire::{Edns, HEADER, Header, Query, RawRecord, flag};

/// The longest cookie that there is (RFC 7873 §4).
const LONGEST_COOKIE: usize = 40;

/// What is kept of a question.
#[derive(Debug)]
pub(crate) struct Kept {
    asker: Asker,
    header: Header,
    /// Name, type and class, as they were asked.
    question: Box<[u8]>,
    rtype: RecordType,
    /// All but the cookie.
    edns: Option<Edns<'static>>,
    cookie: Option<Box<[u8]>>,
    alias: Option<Alias>,
}

/// What a zone of ours says, where that leads to a name of others.
#[derive(Debug)]
struct Alias {
    /// How many records there are, as they stand behind the question.
    count: u16,
    records: Box<[u8]>,
    /// The name of others.
    target: Box<[u8]>,
}

impl Kept {
    /// What is to be kept of a query: it is in order, since it was answered with REFUSED. A signed one stays
    /// refused: what others say would go out unsigned.
    pub(crate) fn of(message: &[u8], asker: &Asker) -> Option<Kept> {
        let query = Query::read(message, &mut QueryName::default()).ok()?;
        if query.tsig.is_some() {
            return None;
        }
        let cookie = query.edns.and_then(|edns| edns.cookie);
        Some(Kept {
            asker: *asker,
            header: query.header,
            question: query.question.into(),
            rtype: query.rtype,
            edns: query.edns.map(|edns| Edns { cookie: None, ..edns }),
            cookie: cookie.filter(|cookie| cookie.len() <= LONGEST_COOKIE).map(Into::into),
            alias: None,
        })
    }

    /// What is to be kept of a query whose `answer` is an alias that leads to `target`. None if it can't be
    /// completed: it is cut, or proves something.
    pub(crate) fn behind(
        message: &[u8],
        asker: &Asker,
        answer: &[u8],
        target: &[u8],
    ) -> Option<Kept> {
        let mut kept = Kept::of(message, asker)?;
        let header = Header::read(answer)?;
        let [_, count, authority, _] = header.counts;
        if authority > 0 || header.flags[0] & flag::TRUNCATED != 0 {
            return None;
        }
        let start = HEADER + kept.question.len();
        let end = (0..count).try_fold(start, |at, _| Some(RawRecord::read(answer, at)?.end))?;
        let records = answer[start..end].into();
        kept.alias = Some(Alias { count, records, target: target.into() });
        Some(kept)
    }

    /// Who asks.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.asker.address
    }

    /// The question as others are asked it.
    pub(crate) fn question(&self) -> RawQuestion<'_> {
        let mut question = RawQuestion::new(
            self.alias.as_ref().map_or(self.name(), |alias| &alias.target),
            self.rtype.0,
        );
        question.dnssec_ok = self.edns.is_some_and(|edns| edns.dnssec);
        question.checking_disabled = self.header.flags[1] & flag::CHECKING_DISABLED != 0;
        question
    }

    /// Appends the answer: what others say, cut to what the asker takes; or SERVFAIL.
    pub(crate) fn answer(
        &self,
        settings: &Settings,
        said: Result<&Reply, &LookupError>,
        out: &mut Vec<u8>,
    ) -> Kind {
        let start = out.len();
        let (rcode, extended) = match said {
            Ok(reply) => {
                match &self.alias {
                    Some(alias) => self.complete(alias, reply, out),
                    None => reply.write(self.header.id, self.name(), out),
                }
                (Rcode(reply.rcode().into()), reply.is_stale().then_some(Extended::STALE))
            }
            Err(error) => {
                out.extend_from_slice(&[0; HEADER]);
                out.extend_from_slice(&self.question);
                match error {
                    LookupError::Invalid { .. } => (Rcode::NOTIMP, None),
                    _ => (Rcode::SERVFAIL, Some(Extended::UNREACHABLE)),
                }
            }
        };
        let answers = said.is_ok_and(|_| out[start + 6..start + 8] != [0, 0]);
        let authentic = said.is_ok_and(Reply::is_authentic) && self.wants_authenticity();
        // Nobody has looked into what zones of ours say.
        let authentic = authentic && self.alias.is_none();
        self.finish(settings, out, start, (rcode, extended, authentic));
        match rcode {
            Rcode::NOERROR if answers => Kind::Positive,
            Rcode::NOERROR => Kind::NoData,
            Rcode::NXDOMAIN => Kind::NameError,
            _ => Kind::Error,
        }
    }

    /// Appends an answer that says nothing but to come again by TCP.
    pub(crate) fn slip(&self, settings: &Settings, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        out.extend_from_slice(&self.question);
        out[start + 2] = flag::TRUNCATED;
        self.finish(settings, out, start, (Rcode::NOERROR, None, false));
    }

    /// Adds an OPT record to the message at `start`, cuts it where that doesn't fit, and sets the header.
    fn finish(
        &self,
        settings: &Settings,
        out: &mut Vec<u8>,
        start: usize,
        (rcode, extended, authentic): (Rcode, Option<Extended>, bool),
    ) {
        let mut flags = out[start + 2] & (flag::TRUNCATED | flag::AUTHORITATIVE);
        let edns = self.edns.map(|edns| Edns { cookie: self.cookie.as_deref(), ..edns });
        let limit = limit(self.asker.transport, edns.as_ref(), settings);
        let edns = edns.map(|edns| edns::Reply::to(&edns, settings, &self.asker));
        let reserved = edns.as_ref().map_or(0, edns::Reply::len);
        if out.len() - start + reserved > limit {
            // RFC 2181 §9: who is told that something is missing looks at nothing else.
            out.truncate(start + HEADER + self.question.len());
            out[start + 6..start + HEADER].fill(0);
            flags |= flag::TRUNCATED;
        }
        let mut writer = Writer::over(out, start, limit);
        if let Some(edns) = edns {
            edns.write(rcode, extended, &mut writer);
        }
        let desired = self.header.flags[0] & flag::RECURSION_DESIRED;
        let authentic = if authentic { flag::AUTHENTIC } else { 0 };
        let checking = self.header.flags[1] & flag::CHECKING_DISABLED;
        let flags =
            [flag::RESPONSE | flags | desired, flag::RECURSION_AVAILABLE | authentic | checking];
        writer.finish(self.header.id, flags, rcode, 1);
    }

    /// Appends our records and those of others. The alias is ours, and so AA is due (RFC 1035 §4.1.1).
    fn complete(&self, alias: &Alias, reply: &Reply, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        out.extend_from_slice(&self.question);
        out.extend_from_slice(&alias.records);
        let [answers, authority] = reply.append(out);
        out[start + 2] = flag::AUTHORITATIVE;
        out[start + 6..start + 8].copy_from_slice(&(alias.count + answers).to_be_bytes());
        out[start + 8..start + 10].copy_from_slice(&authority.to_be_bytes());
    }

    fn name(&self) -> &[u8] {
        &self.question[..self.question.len() - 4]
    }

    /// RFC 6840 §5.7 and §5.8.
    fn wants_authenticity(&self) -> bool {
        self.header.flags[1] & flag::AUTHENTIC != 0 || self.edns.is_some_and(|edns| edns.dnssec)
    }
}
