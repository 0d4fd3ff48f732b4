//! Messages of many records: read record by record, and packed with their names compressed.
//!
//! Answers to questions have a writer of their own that knows where their names stand; here names come in
//! any order, so those that a message has are looked up.

use std::collections::HashMap;
use std::ops::Range;

use crate::name::{Name, expand, hash_of, wire_length};
use crate::types::RecordType;
use crate::wire::{HEADER, Header, RawRecord};
use crate::zone::{Record, rdata};

/// The most octets of a message over a connection (RFC 1035 §4.2.2).
pub(crate) const LONGEST: usize = u16::MAX as usize;
/// The farthest that a compression pointer reaches.
const FARTHEST: usize = 0x3FFF;

/// What a message asks, or the zone that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    pub(crate) name: Name,
    pub(crate) rtype: RecordType,
    pub(crate) class: u16,
}

/// A record as a message has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// 0 for answers, 1 for authority, 2 for what is additional.
    pub(crate) section: usize,
    pub(crate) owner: Name,
    pub(crate) rtype: RecordType,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    /// Where its data stands.
    pub(crate) data: Range<usize>,
}

/// Reads a message from its front to its end.
#[derive(Debug)]
pub(crate) struct Reader<'m> {
    message: &'m [u8],
    header: Header,
    at: usize,
    left: [u16; 3],
    /// The owner of the record before, which the next one mostly has too.
    owner: Vec<u8>,
}

impl<'m> Reader<'m> {
    /// Begins a message with at most one question.
    pub(crate) fn open(message: &'m [u8]) -> Option<(Reader<'m>, Option<Question>)> {
        let header = Header::read(message)?;
        let [questions, left @ ..] = header.counts;
        let mut reader = Reader { message, header, at: HEADER, left, owner: Vec::new() };
        let question = match questions {
            0 => None,
            1 => {
                let mut name = Vec::new();
                let at = expand(message, HEADER, &mut name).ok()?;
                let rest = message.get(at..at + 4)?;
                reader.at = at + 4;
                Some(Question {
                    name: Name::from_wire(&name).ok()?,
                    rtype: RecordType(u16::from_be_bytes([rest[0], rest[1]])),
                    class: u16::from_be_bytes([rest[2], rest[3]]),
                })
            }
            _ => return None,
        };
        Some((reader, question))
    }

    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// The next record, unless there is none left.
    ///
    /// # Errors
    ///
    /// The message is not in order.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, ()> {
        let Some(section) = self.left.iter().position(|left| *left > 0) else { return Ok(None) };
        self.left[section] -= 1;
        self.owner.clear();
        expand(self.message, self.at, &mut self.owner).map_err(|_| ())?;
        let raw = RawRecord::read(self.message, self.at).ok_or(())?;
        self.at = raw.end;
        Ok(Some(Entry {
            section,
            owner: Name::from_wire(&self.owner).map_err(|_| ())?,
            rtype: raw.rtype,
            class: raw.class,
            ttl: raw.ttl,
            data: raw.end - raw.rdata.len()..raw.end,
        }))
    }

    /// The data of a record of this message, its names expanded, if it is sound.
    pub(crate) fn data(&self, entry: &Entry) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(entry.data.len() + 32);
        rdata::from_message(entry.rtype, self.message, entry.data.clone(), &mut out)?;
        Some(out)
    }
}

/// It doesn't fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// Packs one message.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    out: Vec<u8>,
    counts: [u16; 4],
    /// Where a name with this hash may stand. It is compared before it is believed.
    names: HashMap<u64, u16>,
}

impl Packer {
    /// Begins anew, with a header whose counts come [last](Self::finish).
    pub(crate) fn begin(&mut self, id: u16, flags: [u8; 2]) {
        self.out.clear();
        self.names.clear();
        self.counts = [0; 4];
        self.out.extend_from_slice(&id.to_be_bytes());
        self.out.extend_from_slice(&flags);
        self.out.extend_from_slice(&[0; 8]);
    }

    /// Whether it has no record yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.counts[1..] == [0; 3]
    }

    pub(crate) fn question(&mut self, question: &Question) {
        self.name(question.name.wire());
        self.out.extend_from_slice(&question.rtype.0.to_be_bytes());
        self.out.extend_from_slice(&question.class.to_be_bytes());
        self.counts[0] += 1;
    }

    /// Appends a record, unless the message would have more than `limit` octets.
    pub(crate) fn record(
        &mut self,
        section: usize,
        record: &Record,
        class: u16,
        limit: usize,
    ) -> Result<(), Full> {
        let start = self.out.len();
        self.name(record.owner.wire());
        self.out.extend_from_slice(&record.rtype.0.to_be_bytes());
        self.out.extend_from_slice(&class.to_be_bytes());
        self.out.extend_from_slice(&record.ttl.to_be_bytes());
        let length_at = self.out.len();
        self.out.extend_from_slice(&[0, 0]);
        let mut copied = 0;
        for (at, length, compressed) in rdata::names_in(record.rtype, &record.rdata) {
            if compressed {
                self.out.extend_from_slice(&record.rdata[copied..at]);
                self.name(&record.rdata[at..at + length]);
                copied = at + length;
            }
        }
        self.out.extend_from_slice(&record.rdata[copied..]);
        let length = self.out.len() - length_at - 2;
        let fits = self.out.len() <= limit && self.counts[section + 1] < u16::MAX;
        match u16::try_from(length) {
            Ok(length) if fits => {
                self.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
                self.counts[section + 1] += 1;
                Ok(())
            }
            _ => {
                self.out.truncate(start);
                Err(Full)
            }
        }
    }

    /// The message.
    pub(crate) fn finish(&mut self) -> &mut Vec<u8> {
        for (index, count) in self.counts.iter().enumerate() {
            let at = 4 + 2 * index;
            self.out[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        &mut self.out
    }

    fn name(&mut self, wire: &[u8]) {
        let mut at = 0;
        while wire[at] != 0 {
            let suffix = &wire[at..];
            let hash = hash_of(suffix);
            if let Some(place) = self.names.get(&hash).copied()
                && self.stands_at(place.into(), suffix)
            {
                self.out.extend_from_slice(&(place | 0xC000).to_be_bytes());
                return;
            }
            let place = self.out.len();
            if place <= FARTHEST {
                self.names.insert(hash, place as u16);
            }
            let end = at + 1 + usize::from(wire[at]);
            self.out.extend_from_slice(&wire[at..end]);
            at = end;
        }
        self.out.push(0);
    }

    /// Whether this very name stands there.
    fn stands_at(&self, mut place: usize, mut name: &[u8]) -> bool {
        loop {
            match self.out.get(place) {
                Some(0) => return name[0] == 0,
                Some(length @ 1..=63) => {
                    let label = 1 + usize::from(*length);
                    let here = self.out.get(place..place + label);
                    if here.is_none() || here != name.get(..label) {
                        return false;
                    }
                    place += label;
                    name = &name[label..];
                }
                Some(high @ 0xC0..) => {
                    let Some(low) = self.out.get(place + 1) else { return false };
                    let target = usize::from(high & 0x3F) << 8 | usize::from(*low);
                    if target >= place {
                        return false;
                    }
                    place = target;
                }
                _ => return false,
            }
        }
    }
}

/// A TTL as it counts: one with the highest bit set is 0 (RFC 2181 §8).
pub(crate) fn sound_ttl(ttl: u32) -> u32 {
    if ttl > i32::MAX as u32 { 0 } else { ttl }
}

/// Compares serials (RFC 1982 §3.2): whether `one` comes after `other`.
pub(crate) fn is_newer(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) > 0
}

/// The serial in the data of a SOA record.
pub(crate) fn serial_of(rdata: &[u8]) -> Option<u32> {
    let first = wire_length(rdata).ok()?;
    let second = wire_length(&rdata[first..]).ok()?;
    let bytes = rdata.get(first + second..)?.first_chunk::<4>()?;
    Some(u32::from_be_bytes(*bytes))
}

/// Puts another serial into the data of a SOA record.
pub(crate) fn with_serial(rdata: &[u8], serial: u32) -> Vec<u8> {
    let mut rdata = rdata.to_vec();
    if let Some(at) = rdata.len().checked_sub(20) {
        rdata[at..at + 4].copy_from_slice(&serial.to_be_bytes());
    }
    rdata
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::class;

    fn name(text: &str) -> Name {
        crate::zone::name_from_text(text).unwrap()
    }

    #[test]
    fn what_is_packed_is_read_again() {
        let question =
            Question { name: name("example.test"), rtype: RecordType::AXFR, class: class::IN };
        let mut mx = vec![0, 10];
        mx.extend_from_slice(name("mail.example.test").wire());
        let records = [
            ("example.test", RecordType::MX, mx),
            ("mail.example.test", RecordType::A, vec![192, 0, 2, 1]),
            ("example.test", RecordType::DNAME, name("mail.example.test").wire().to_vec()),
            (".", RecordType::NS, name("mail.example.test").wire().to_vec()),
        ];
        let records = records.map(|(owner, rtype, rdata)| Record {
            owner: name(owner),
            rtype,
            ttl: 300,
            rdata,
        });
        let mut packer = Packer::default();
        for _ in 0..2 {
            packer.begin(7, [0x84, 0]);
            packer.question(&question);
            for record in &records {
                packer.record(0, record, class::IN, LONGEST).unwrap();
            }
            let too_long = Record { rdata: vec![0; 600], ..records[1].clone() };
            assert_eq!(packer.record(0, &too_long, class::IN, 512), Err(Full));
            let message = packer.finish().clone();
            assert_eq!(message.len(), 12 + 18 + (12 + 9) + (12 + 4) + (12 + 19) + (11 + 2));
            let (mut reader, asked) = Reader::open(&message).unwrap();
            assert_eq!(asked.as_ref(), Some(&question));
            for record in &records {
                let entry = reader.next().unwrap().unwrap();
                assert_eq!((&entry.owner, entry.rtype), (&record.owner, record.rtype));
                assert_eq!(reader.data(&entry).unwrap(), record.rdata);
            }
            assert_eq!(reader.next(), Ok(None));
            for length in 0..message.len() {
                let Some((mut reader, _)) = Reader::open(&message[..length]) else { continue };
                assert!((0..5).any(|_| reader.next().is_err()), "{length}");
            }
        }
    }

    #[test]
    fn serials_go_round() {
        for (one, other, newer) in [
            (1, 0, true),
            (0, 1, false),
            (5, 5, false),
            (0, u32::MAX, true),
            (u32::MAX, 0, false),
            (0x7FFF_FFFF, 0, true),
            (0x8000_0000, 0, false),
        ] {
            assert_eq!(is_newer(one, other), newer, "{one} {other}");
        }
    }
}
