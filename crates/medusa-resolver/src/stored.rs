//! An answer as it is kept and told again: a message whose times to live are counted down.

use std::sync::Arc;
use std::time::Duration;

use crate::error::LookupError;
use crate::question::{Question, RecordKind};
use crate::records::{Data, Record, Records, Validation};
use crate::wire::{self, HEADER, Malformed, Query, RawRecord, flag, kind, rcode};

/// What a stale record is said to hold for (RFC 8767 §4).
const STALE_SECONDS: u32 = 30;

/// A message with one question, and answer and authority sections: no OPT record, no additional section.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    wire: Box<[u8]>,
    /// Where the times to live stand.
    times: Box<[u16]>,
    /// For how long it may be kept, in seconds.
    pub(crate) ttl: u32,
    /// Whether there are records that answer: aliases with nothing at their end don't.
    pub(crate) answered: bool,
}

impl Stored {
    /// Keeps an answer. `authentic` says whether signatures were checked, by whoever is trusted to.
    pub(crate) fn new(
        query: &Query,
        rcode: u16,
        authentic: bool,
        answers: &[RawRecord],
        authority: &[RawRecord],
        ttl: u32,
    ) -> Result<Self, Malformed> {
        let authentic = if authentic { flag::AD } else { 0 };
        let flags = flag::QR | flag::RD | flag::RA | authentic | (rcode & 15);
        let (wire, times) = wire::write(flags, (query.name(), query.kind()), answers, authority)?;
        let answered = !answers.is_empty();
        Ok(Stored { wire: wire.into(), times: times.into(), ttl, answered })
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + self.wire.len() + 2 * self.times.len()
    }

    pub(crate) fn rcode(&self) -> u16 {
        u16::from(self.wire[3] & 15)
    }

    /// Whether there are records that answer: what is negative is never told when it is stale.
    pub(crate) fn is_positive(&self) -> bool {
        self.rcode() == rcode::NOERROR && self.answered
    }
}

/// An answer, ready to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub(crate) stored: Arc<Stored>,
    /// How old it is, in seconds.
    pub(crate) age: u32,
    pub(crate) stale: bool,
}

impl Reply {
    pub(crate) fn new(stored: Arc<Stored>) -> Self {
        Reply { stored, age: 0, stale: false }
    }

    /// The response code: 0 or 3 (NXDOMAIN), mostly.
    pub fn rcode(&self) -> u8 {
        self.stored.rcode() as u8
    }

    /// Whether a server that is trusted says that the data is authentic (AD, RFC 4035 §3.2.3). Only
    /// those who have set AD or DO in their question should be told (RFC 6840 §5.8).
    pub fn is_authentic(&self) -> bool {
        self.stored.wire[3] & flag::AD as u8 != 0
    }

    /// Whether it was to be thrown away, and is told since nobody gives a newer one (RFC 8767): a DNS
    /// server may add "Stale Answer" (RFC 8914 §4.4).
    pub fn is_stale(&self) -> bool {
        self.stale
    }

    /// The length of its message, in octets.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.stored.wire.len()
    }

    /// Where in its message the answer section begins: what stands before is the header and the question,
    /// all that a truncated answer holds.
    pub fn question_end(&self) -> usize {
        // Written by us: a name that is uncompressed.
        let wire = &self.stored.wire;
        let labels = wire::labels(&wire[HEADER..]).map(|label| 1 + label.len());
        HEADER + labels.sum::<usize>() + 1 + 4
    }

    /// Appends the message to `out`: `name`, which is the question's in wire form, in its asker's case;
    /// answer and authority sections, with the times to live counted down; no additional section. QR, RD,
    /// RA and the response code are set, AD if it [is authentic](Self::is_authentic); AA and CD aren't.
    /// An OPT record goes behind it, and is to be counted in octets 10 and 11 (RFC 6891 §6.1.1).
    pub fn write(&self, id: u16, name: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.stored.wire);
        let message = &mut out[start..];
        message[..2].copy_from_slice(&id.to_be_bytes());
        if let Some(place) = message.get_mut(HEADER..HEADER + name.len())
            && place.eq_ignore_ascii_case(name)
        {
            place.copy_from_slice(name);
        }
        if self.age == 0 && !self.stale {
            return;
        }
        for at in self.stored.times.iter().copied().map(usize::from) {
            let Ok(ttl) = wire::u32_at(message, at) else { continue };
            let left = if self.stale { STALE_SECONDS } else { ttl.saturating_sub(self.age) };
            message[at..at + 4].copy_from_slice(&left.to_be_bytes());
        }
    }

    /// Appends the records of its answer and authority sections to a message in which an alias leads to its
    /// question, and says how many of each there are. Times are counted down; names aren't compressed.
    pub fn append(&self, out: &mut Vec<u8>) -> [u16; 2] {
        let name = &self.stored.wire[HEADER..self.question_end() - 4];
        let Ok(message) = wire::read(&self.stored.wire, name) else { return [0; 2] };
        let left = |ttl: u32| if self.stale { STALE_SECONDS } else { ttl.saturating_sub(self.age) };
        for record in message.answers.iter().chain(&message.authority) {
            out.extend_from_slice(&record.owner);
            out.extend_from_slice(&record.kind.to_be_bytes());
            out.extend_from_slice(&wire::IN.to_be_bytes());
            out.extend_from_slice(&left(record.ttl).to_be_bytes());
            out.extend_from_slice(&(record.rdata.len() as u16).to_be_bytes());
            out.extend_from_slice(&record.rdata);
        }
        [message.answers.len() as u16, message.authority.len() as u16]
    }

    /// What it says of a question.
    pub(crate) fn records(&self, question: &Question) -> Result<Records, LookupError> {
        let damaged = || LookupError::temporary("the answer makes no sense");
        match self.stored.rcode() {
            rcode::NOERROR => {}
            rcode::NXDOMAIN => return Err(LookupError::NoSuchName),
            _ => return Err(LookupError::temporary("no server could answer")),
        }
        let name = wire::wire_of(question.name());
        let message = wire::read(&self.stored.wire, &name).map_err(|_| damaged())?;
        // The chain was checked and put in order before it was kept.
        let mut owner = name.clone();
        for record in &message.answers {
            if record.kind == kind::CNAME && record.owner.eq_ignore_ascii_case(&owner) {
                owner.clone_from(&record.rdata);
            }
        }
        let list = message.answers.iter().filter(|record| {
            record.kind == question.kind().code() && record.owner.eq_ignore_ascii_case(&owner)
        });
        let left = |ttl: u32| if self.stale { STALE_SECONDS } else { ttl.saturating_sub(self.age) };
        let list: Vec<Record> = list
            .filter_map(|record| {
                let ttl = Duration::from_secs(left(record.ttl).into());
                Some(Record::new(data_of(question.kind(), &record.rdata)?, ttl))
            })
            .collect();
        if list.is_empty() {
            return Err(LookupError::NoData);
        }
        let canonical = wire::name_of(&owner).unwrap_or_else(|| question.name().clone());
        let mut records = Records::new(canonical, list);
        records.stale = self.stale;
        if self.is_authentic() {
            records.validation = Validation::Validated;
        }
        Ok(records)
    }
}

/// What a record says; nothing where it names what is no host, which is of no use to anybody.
fn data_of(kind: RecordKind, rdata: &[u8]) -> Option<Data> {
    let number = |at| wire::u16_at(rdata, at).ok();
    Some(match kind {
        RecordKind::A => Data::A(<[u8; 4]>::try_from(rdata).ok()?.into()),
        RecordKind::Aaaa => Data::Aaaa(<[u8; 16]>::try_from(rdata).ok()?.into()),
        RecordKind::Mx => {
            Data::Mx { preference: number(0)?, exchange: wire::name_of(rdata.get(2..)?)? }
        }
        RecordKind::Txt => Data::Txt(text_of(rdata)?),
        RecordKind::Ptr => Data::Ptr(wire::name_of(rdata)?),
        RecordKind::Ns => Data::Ns(wire::name_of(rdata)?),
        RecordKind::Srv => Data::Srv {
            priority: number(0)?,
            weight: number(2)?,
            port: number(4)?,
            target: wire::name_of(rdata.get(6..)?)?,
        },
        RecordKind::Tlsa => {
            let (&[usage, selector, matching], association) = rdata.split_first_chunk()?;
            Data::Tlsa { usage, selector, matching, association: association.into() }
        }
    })
}

/// The strings of a TXT record, joined.
fn text_of(mut rdata: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::with_capacity(rdata.len());
    while let Some((&length, rest)) = rdata.split_first() {
        let (string, rest) = rest.split_at_checked(length.into())?;
        text.extend_from_slice(string);
        rdata = rest;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(owner: &[u8], kind: u16, ttl: u32, rdata: &[u8]) -> RawRecord {
        RawRecord { owner: owner.into(), kind, ttl, rdata: rdata.into() }
    }

    fn reply(kind: u16, rdata: &[u8]) -> Reply {
        let query = Query::new(b"\x01a\0", kind, false, false).expect("a query");
        let answers = [
            record(b"\x01a\0", kind::CNAME, 500, b"\x01b\0"),
            record(b"\x01b\0", kind, 100, rdata),
        ];
        let stored = Stored::new(&query, 0, false, &answers, &[], 100).expect("short");
        Reply::new(Arc::new(stored))
    }

    #[test]
    fn data_is_understood() {
        let name = |text| crate::Name::new(text).expect("a name");
        for (kind, rdata, data) in [
            (RecordKind::A, &b"\x7f\0\0\x01"[..], Some(Data::A([127, 0, 0, 1].into()))),
            (
                RecordKind::Mx,
                b"\0\x0a\x01m\0",
                Some(Data::Mx { preference: 10, exchange: name("m") }),
            ),
            (RecordKind::Mx, b"\0\0\0", Some(Data::Mx { preference: 0, exchange: name(".") })),
            (RecordKind::Mx, b"\0\0\x03a b\0", None),
            (RecordKind::Txt, b"\x01a\x02bc\0", Some(Data::Txt(b"abc".into()))),
            (RecordKind::Txt, b"\x01a\x05bc", None),
            (RecordKind::Ptr, b"\x01p\0", Some(Data::Ptr(name("p")))),
            (
                RecordKind::Srv,
                b"\0\x01\0\x02\0\x03\x01s\0",
                Some(Data::Srv { priority: 1, weight: 2, port: 3, target: name("s") }),
            ),
            (
                RecordKind::Tlsa,
                b"\x03\x01\x01\xff",
                Some(Data::Tlsa { usage: 3, selector: 1, matching: 1, association: vec![0xff] }),
            ),
        ] {
            let question = Question::new("a", kind).expect("a name");
            let found = reply(kind.code(), rdata).records(&question);
            match data {
                Some(data) => {
                    let records = found.expect("records");
                    assert_eq!((records.canonical.as_str(), &records.list[0].data), ("b", &data));
                    assert_eq!(data.kind(), kind);
                }
                None => assert_eq!(found, Err(LookupError::NoData)),
            }
        }
    }

    #[test]
    fn times_are_counted_down_and_the_askers_case_kept() {
        let mut reply = reply(1, &[127, 0, 0, 1]);
        let times = |reply: &Reply| {
            let mut out = b"before".to_vec();
            reply.write(0xabcd, b"\x01A\0", &mut out);
            let out = &out[6..];
            assert_eq!((&out[..2], &out[12..15]), (&b"\xab\xcd"[..], &b"\x01A\0"[..]));
            assert_eq!((out.len(), reply.question_end()), (reply.len(), 19));
            let message = wire::read(out, b"\x01a\0").expect("sound");
            message.answers.iter().map(|record| record.ttl).collect::<Vec<_>>()
        };
        assert_eq!(times(&reply), [500, 100]);
        reply.age = 30;
        assert_eq!(times(&reply), [470, 70]);
        reply.stale = true;
        assert_eq!(times(&reply), [30, 30]);
        let mut out = Vec::new();
        assert_eq!(reply.append(&mut out), [2, 0]);
        assert!(out.starts_with(b"\x01a\0\0\x05\0\x01\0\0\0\x1e\0\x03\x01b\0\x01b\0"), "{out:?}");
        let records = reply.records(&Question::new("a", RecordKind::A).expect("a name"));
        let records = records.expect("records");
        assert_eq!((records.ttl(), records.stale), (Duration::from_secs(30), true));
    }
}
