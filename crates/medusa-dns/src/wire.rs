//! A query as it comes in: its header, its one question and its EDNS options, read by hand within the
//! bounds of the message.
//!
//! Nothing is allocated, and nothing of it is believed that isn't there: counts are checked against what
//! follows. What is answered is in `answer`.

use medusa_resolver::wire_name::span;

use crate::name::{QueryName, wire_length};
use crate::types::{RecordType, opcode};

/// The length of a message's header.
pub const HEADER: usize = 12;

/// The flags of a header, in its third and fourth octet.
pub mod flag {
    /// A response, in the third octet.
    pub const RESPONSE: u8 = 0x80;
    /// Authoritative, in the third octet.
    pub const AUTHORITATIVE: u8 = 0x04;
    /// Truncated, in the third octet.
    pub const TRUNCATED: u8 = 0x02;
    /// Recursion is desired, in the third octet.
    pub const RECURSION_DESIRED: u8 = 0x01;
    /// Recursion is available, in the fourth octet.
    pub const RECURSION_AVAILABLE: u8 = 0x80;
    /// The data is authentic, in the fourth octet (RFC 4035 §3.1.6, RFC 6840 §5.7).
    pub const AUTHENTIC: u8 = 0x20;
    /// Checking is disabled, in the fourth octet (RFC 4035 §3.1.6).
    pub const CHECKING_DISABLED: u8 = 0x10;
}

/// What the header says of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Its number.
    pub id: u16,
    /// The third and fourth octet.
    pub flags: [u8; 2],
    /// How many entries each section claims to have.
    pub counts: [u16; 4],
}

impl Header {
    /// The header of `message`, if it has one.
    #[inline]
    pub fn read(message: &[u8]) -> Option<Header> {
        let bytes = message.first_chunk::<HEADER>()?;
        let word = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        Some(Header {
            id: word(0),
            flags: [bytes[2], bytes[3]],
            counts: [word(4), word(6), word(8), word(10)],
        })
    }

    /// Whether it is an answer.
    pub fn is_response(&self) -> bool {
        self.flags[0] & flag::RESPONSE != 0
    }

    /// What it asks for.
    pub fn opcode(&self) -> u8 {
        self.flags[0] >> 3 & 0xF
    }
}

/// EDNS as a query has it (RFC 6891). What is asked of a server by options is picked out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Edns<'a> {
    /// The longest datagram that can be taken.
    pub payload: u16,
    /// The version; only 0 is known.
    pub version: u8,
    /// Whether signatures are wanted (DO).
    pub dnssec: bool,
    /// Whether the server is asked who it is (NSID, RFC 5001).
    pub nsid: bool,
    /// Whether the connection is to be kept open (RFC 7828).
    pub keepalive: bool,
    /// Whether answers are to be padded (RFC 7830).
    pub padding: bool,
    /// The cookie (RFC 7873), whatever its length.
    pub cookie: Option<&'a [u8]>,
}

/// The numbers of EDNS options.
pub mod option {
    /// Who the server is (RFC 5001).
    pub const NSID: u16 = 3;
    /// Cookies (RFC 7873).
    pub const COOKIE: u16 = 10;
    /// How long a connection may be idle (RFC 7828).
    pub const KEEPALIVE: u16 = 11;
    /// Padding (RFC 7830).
    pub const PADDING: u16 = 12;
    /// Why it went so (RFC 8914).
    pub const EXTENDED_ERROR: u16 = 15;
}

/// A query that is in order so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// Its header.
    pub header: Header,
    /// The question as it was asked: name, type and class.
    pub question: &'a [u8],
    /// How many octets the name has.
    pub name_length: usize,
    /// The type that is asked for.
    pub rtype: RecordType,
    /// The class.
    pub class: u16,
    /// EDNS, where there is any.
    pub edns: Option<Edns<'a>>,
    /// Where the TSIG record begins, if the message ends in one (RFC 8945).
    pub tsig: Option<usize>,
}

/// Why a message can't be answered as a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Too short for a header, or an answer: nothing may be said to it.
    Ignored,
    /// It isn't in order. The header is, and the question where it could be read.
    Malformed,
    /// It asks for something that isn't done here.
    NotImplemented,
}

impl<'a> Query<'a> {
    /// Reads a query; `name` takes the name that it asks for.
    ///
    /// # Errors
    ///
    /// What to do with a message that is none.
    #[inline]
    pub fn read(message: &'a [u8], name: &mut QueryName) -> Result<Query<'a>, Unfit> {
        let header = Header::read(message).ok_or(Unfit::Ignored)?;
        if header.is_response() {
            return Err(Unfit::Ignored);
        }
        if header.opcode() != opcode::QUERY {
            return Err(Unfit::NotImplemented);
        }
        // What an IXFR has in its authority section is its own business (RFC 1995 §3).
        if header.counts[0] != 1 || header.counts[1] != 0 || header.counts[2] > 1 {
            return Err(Unfit::Malformed);
        }
        let body = &message[HEADER..];
        let name_length = name.read(body).map_err(|_| Unfit::Malformed)?;
        let rest = body.get(name_length..name_length + 4).ok_or(Unfit::Malformed)?;
        let mut query = Query {
            header,
            question: &body[..name_length + 4],
            name_length,
            rtype: RecordType(u16::from_be_bytes([rest[0], rest[1]])),
            class: u16::from_be_bytes([rest[2], rest[3]]),
            edns: None,
            tsig: None,
        };
        let records = header.counts[2] + header.counts[3].min(u16::MAX - 1);
        if records > 0 {
            query.read_records(message, HEADER + name_length + 4).ok_or(Unfit::Malformed)?;
        }
        Ok(query)
    }

    /// Looks through the records behind the question. What follows the last of them is ignored, as BIND
    /// and NSD do.
    fn read_records(&mut self, message: &'a [u8], mut at: usize) -> Option<()> {
        let [_, _, authority, additional] = self.header.counts;
        for index in 0..u32::from(authority) + u32::from(additional) {
            let record = RawRecord::read(message, at)?;
            if index >= u32::from(authority) {
                let is_last = index + 1 == u32::from(authority) + u32::from(additional);
                match record.rtype {
                    RecordType::OPT => {
                        // One, at the root (RFC 6891 §6.1.1).
                        if self.edns.is_some() || record.owner != [0] {
                            return None;
                        }
                        self.edns = Some(Edns::read(&record)?);
                    }
                    RecordType::TSIG if is_last => self.tsig = Some(at),
                    RecordType::TSIG => return None,
                    _ => {}
                }
            }
            at = record.end;
        }
        Some(())
    }
}

/// A record of a message whose owner isn't looked into.
pub(crate) struct RawRecord<'a> {
    /// The owner as it stands there, its pointer not followed.
    pub(crate) owner: &'a [u8],
    pub(crate) rtype: RecordType,
    pub(crate) class: u16,
    pub(crate) ttl: u32,
    pub(crate) rdata: &'a [u8],
    /// Where the next one begins.
    pub(crate) end: usize,
}

impl<'a> RawRecord<'a> {
    /// The record at `at`.
    pub(crate) fn read(message: &'a [u8], at: usize) -> Option<RawRecord<'a>> {
        let rest = message.get(at..)?;
        let owner_length = span(rest).ok()?;
        let fixed = rest.get(owner_length..)?.first_chunk::<10>()?;
        let length = usize::from(u16::from_be_bytes([fixed[8], fixed[9]]));
        let rdata = rest.get(owner_length + 10..owner_length + 10 + length)?;
        Some(RawRecord {
            owner: &rest[..owner_length],
            rtype: RecordType(u16::from_be_bytes([fixed[0], fixed[1]])),
            class: u16::from_be_bytes([fixed[2], fixed[3]]),
            ttl: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            rdata,
            end: at + owner_length + 10 + length,
        })
    }
}

impl<'a> Edns<'a> {
    fn read(record: &RawRecord<'a>) -> Option<Edns<'a>> {
        let [_, version, flags, _] = record.ttl.to_be_bytes();
        let mut edns =
            Edns { payload: record.class, version, dnssec: flags & 0x80 != 0, ..Edns::default() };
        let mut rest = record.rdata;
        while !rest.is_empty() {
            let head = rest.first_chunk::<4>()?;
            let code = u16::from_be_bytes([head[0], head[1]]);
            let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let value = rest.get(4..4 + length)?;
            match code {
                option::NSID => edns.nsid = true,
                option::KEEPALIVE => edns.keepalive = true,
                option::PADDING => edns.padding = true,
                // The first one counts (RFC 7873 §5.2).
                option::COOKIE => {
                    edns.cookie.get_or_insert(value);
                }
                // Unknown options are ignored (RFC 6891 §6.1.2).
                _ => {}
            }
            rest = &rest[4 + length..];
        }
        Some(edns)
    }
}

/// The question of a message that is otherwise not in order: its octets, if it has one that can be read.
pub(crate) fn question_of(message: &[u8]) -> Option<&[u8]> {
    let header = Header::read(message)?;
    let body = &message[HEADER..];
    let length = wire_length(body).ok()?;
    body.get(..length + 4).filter(|_| header.counts[0] == 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::class;

    fn query(counts: [u16; 4], rest: &[u8]) -> Vec<u8> {
        let mut message = vec![0x12, 0x34, 1, 0];
        message.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
        message.extend_from_slice(rest);
        message
    }

    fn read(message: &[u8]) -> Result<Query<'_>, Unfit> {
        Query::read(message, &mut QueryName::default())
    }

    const QUESTION: &[u8] = b"\x01a\x00\x00\x01\x00\x01";
    const OPT: &[u8] = b"\x00\x00\x29\x04\xD0\x00\x00\x80\x00\x00\x00";

    #[test]
    fn a_query_is_read() {
        let message = query([1, 0, 0, 0], QUESTION);
        let found = read(&message).unwrap();
        assert_eq!((found.header.id, found.rtype, found.class), (0x1234, RecordType::A, class::IN));
        assert_eq!((found.question, found.name_length, found.edns), (QUESTION, 3, None));
    }

    #[test]
    fn edns_is_read() {
        let message = query([1, 0, 0, 1], &[QUESTION, OPT].concat());
        let edns = read(&message).unwrap().edns.unwrap();
        assert_eq!((edns.payload, edns.version, edns.dnssec), (1232, 0, true));
        let options = b"\x00\x03\x00\x00\x00\x0A\x00\x02ab\xFF\xFF\x00\x01x";
        let mut opt = OPT.to_vec();
        opt[10] = options.len() as u8;
        let message = query([1, 0, 0, 1], &[QUESTION, &opt, options].concat());
        let edns = read(&message).unwrap().edns.unwrap();
        assert!(edns.nsid && !edns.keepalive);
        assert_eq!(edns.cookie, Some(&b"ab"[..]));
    }

    #[test]
    fn what_is_no_query_is_told_apart() {
        let cases: [(&[u8], _, _); 9] = [
            (QUESTION, [0, 0, 0, 0], Unfit::Malformed),
            (QUESTION, [2, 0, 0, 0], Unfit::Malformed),
            (QUESTION, [1, 1, 0, 0], Unfit::Malformed),
            (QUESTION, [1, 0, 0, 1], Unfit::Malformed),
            (QUESTION, [1, 0, 0, 65535], Unfit::Malformed),
            (&QUESTION[..6], [1, 0, 0, 0], Unfit::Malformed),
            (&[QUESTION, OPT, OPT].concat(), [1, 0, 0, 2], Unfit::Malformed),
            (&[QUESTION, b"\x01a", OPT].concat(), [1, 0, 0, 1], Unfit::Malformed),
            (b"\xC0\x0C\x00\x01\x00\x01", [1, 0, 0, 0], Unfit::Malformed),
        ];
        for (rest, counts, expected) in cases {
            assert_eq!(read(&query(counts, rest)), Err(expected), "{rest:?} {counts:?}");
        }
        let mut message = query([1, 0, 0, 0], QUESTION);
        message[2] = 0x81;
        assert_eq!(read(&message), Err(Unfit::Ignored));
        message[2] = 0x28;
        assert_eq!(read(&message), Err(Unfit::NotImplemented));
        for length in 0..HEADER {
            assert_eq!(read(&message[..length]), Err(Unfit::Ignored));
        }
    }
}
