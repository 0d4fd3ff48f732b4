//! Reading answers.

use super::{HEADER, IN, Malformed, kind, u16_at, u32_at};
use crate::wire_name::expand;

/// The most records that are read of one message: 64 KiB hold less than 6,000 of the shortest.
const MOST_RECORDS: usize = 6_000;

/// A record, its names uncompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RawRecord {
    pub(crate) owner: Vec<u8>,
    pub(crate) kind: u16,
    pub(crate) ttl: u32,
    pub(crate) rdata: Vec<u8>,
}

/// An answer. The additional section is read for the OPT record alone: nothing else in it answers
/// anything, and who forges answers likes it best.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) id: u16,
    pub(crate) flags: u16,
    /// With the upper bits from the OPT record (RFC 6891 §6.1.3).
    pub(crate) rcode: u16,
    pub(crate) answers: Vec<RawRecord>,
    pub(crate) authority: Vec<RawRecord>,
    pub(crate) edns: bool,
}

/// What may stand in a record's data.
#[derive(Debug, Clone, Copy)]
enum Field {
    /// So many octets.
    Octets(usize),
    /// A character string with its length in front.
    Text,
    /// A name that may be compressed.
    Name,
    /// Whatever is left.
    Rest,
}

use Field::{Name, Octets, Rest, Text};

/// The types in whose data names may be compressed (RFC 3597 §4), and two whose length is known.
const LAYOUTS: &[(u16, &[Field])] = &[
    (kind::A, &[Octets(4)]),
    (kind::NS, &[Name]),
    (3, &[Name]),
    (4, &[Name]),
    (kind::CNAME, &[Name]),
    (kind::SOA, &[Name, Name, Octets(20)]),
    (7, &[Name]),
    (8, &[Name]),
    (9, &[Name]),
    (12, &[Name]),
    (14, &[Name, Name]),
    (15, &[Octets(2), Name]),
    (17, &[Name, Name]),
    (18, &[Octets(2), Name]),
    (21, &[Octets(2), Name]),
    (24, &[Octets(18), Name, Rest]),
    (26, &[Octets(2), Name, Name]),
    (kind::AAAA, &[Octets(16)]),
    (30, &[Name, Rest]),
    (33, &[Octets(6), Name]),
    (35, &[Octets(4), Text, Text, Text, Name]),
    (36, &[Octets(2), Name]),
    (kind::DNAME, &[Name]),
];

/// Reads an answer to a question for `name`. Pointers into the question find it in the case that it has
/// here. What follows the last record doesn't count.
pub(crate) fn read(bytes: &[u8], name: &[u8]) -> Result<Message, Malformed> {
    let mut bytes = bytes.to_vec();
    let mut at = HEADER;
    match u16_at(&bytes, 4)? {
        0 => {}
        1 => {
            // What we asked in odd case is put back, so that it doesn't live on in others' names.
            let place = bytes.get_mut(HEADER..HEADER + name.len()).ok_or(Malformed)?;
            if place.eq_ignore_ascii_case(name) {
                place.copy_from_slice(name);
            }
            at = expand(&bytes, at, &mut Vec::new())? + 4;
        }
        _ => return Err(Malformed),
    }
    let flags = u16_at(&bytes, 2)?;
    let mut message = Message {
        id: u16_at(&bytes, 0)?,
        flags,
        rcode: flags & 15,
        answers: Vec::new(),
        authority: Vec::new(),
        edns: false,
    };
    let counts = [u16_at(&bytes, 6)?, u16_at(&bytes, 8)?, u16_at(&bytes, 10)?].map(usize::from);
    if counts.iter().sum::<usize>() > MOST_RECORDS {
        return Err(Malformed);
    }
    for (section, count) in counts.into_iter().enumerate() {
        for _ in 0..count {
            let (record, class, next) = read_record(&bytes, at)?;
            at = next;
            match section {
                2 if record.kind == kind::OPT && record.owner == [0] => {
                    message.edns = true;
                    message.rcode |= (record.ttl >> 24 << 4) as u16;
                }
                _ if class != IN => {}
                0 => message.answers.push(record),
                1 => message.authority.push(record),
                _ => {}
            }
        }
    }
    Ok(message)
}

/// Reads a record and says where the next one begins.
fn read_record(bytes: &[u8], at: usize) -> Result<(RawRecord, u16, usize), Malformed> {
    let mut owner = Vec::new();
    let at = expand(bytes, at, &mut owner)?;
    let (kind, class) = (u16_at(bytes, at)?, u16_at(bytes, at + 2)?);
    let (ttl, length) = (u32_at(bytes, at + 4)?, usize::from(u16_at(bytes, at + 8)?));
    let (start, end) = (at + 10, at + 10 + length);
    if end > bytes.len() {
        return Err(Malformed);
    }
    let layout = LAYOUTS.iter().find(|(known, _)| *known == kind).map(|(_, layout)| *layout);
    let rdata = match layout {
        Some(layout) => read_fields(&bytes[..end], start, layout)?,
        None => bytes[start..end].to_vec(),
    };
    // A time with the highest bit set is none at all (RFC 2181 §8); the OPT record's is no time.
    let ttl = if kind != kind::OPT && ttl > i32::MAX as u32 { 0 } else { ttl };
    Ok((RawRecord { owner, kind, ttl, rdata }, class, end))
}

/// Reads what ends where `bytes` end, and uncompresses its names.
fn read_fields(bytes: &[u8], start: usize, layout: &[Field]) -> Result<Vec<u8>, Malformed> {
    let mut rdata = Vec::new();
    let mut at = start;
    for field in layout {
        let length = match field {
            Octets(count) => *count,
            Text => 1 + usize::from(*bytes.get(at).ok_or(Malformed)?),
            Rest => bytes.len() - at,
            Name => {
                at = expand(bytes, at, &mut rdata)?;
                continue;
            }
        };
        rdata.extend_from_slice(bytes.get(at..at + length).ok_or(Malformed)?);
        at += length;
    }
    if at == bytes.len() { Ok(rdata) } else { Err(Malformed) }
}
