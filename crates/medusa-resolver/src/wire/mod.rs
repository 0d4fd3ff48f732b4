//! Messages as they travel (RFC 1035 §4): what is read of answers, and what is written of questions.
//!
//! Every length and pointer is checked, and nothing is believed of a count. Records of whatever type go
//! through untouched (RFC 3597); only names that may be compressed are looked into. What the answers mean
//! is the engine's to say.

mod name;
mod query;
mod read;
mod write;

pub(crate) use name::{canonical, labels, name_of, parent, wire_of};
pub(crate) use query::{Query, compose};
pub(crate) use read::{Message, RawRecord, read};
pub(crate) use write::write;

use crate::wire_name::NameError;

/// A message that breaks the rules; it counts as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl From<NameError> for Malformed {
    fn from(_: NameError) -> Self {
        Malformed
    }
}

/// A message's first twelve octets.
pub(crate) const HEADER: usize = 12;

/// The only class there is here (RFC 1035 §3.2.4).
pub(crate) const IN: u16 = 1;

/// Numbers of record types that mean something here (RFC 1035 §3.2.2, RFC 4034, RFC 5155, RFC 6672, RFC
/// 6891).
pub(crate) mod kind {
    pub(crate) const A: u16 = 1;
    pub(crate) const NS: u16 = 2;
    pub(crate) const CNAME: u16 = 5;
    pub(crate) const SOA: u16 = 6;
    pub(crate) const AAAA: u16 = 28;
    pub(crate) const DNAME: u16 = 39;
    pub(crate) const OPT: u16 = 41;
    pub(crate) const DS: u16 = 43;
    pub(crate) const RRSIG: u16 = 46;
    pub(crate) const NSEC: u16 = 47;
    pub(crate) const NSEC3: u16 = 50;
    pub(crate) const ANY: u16 = 255;
}

/// The flags of a header (RFC 1035 §4.1.1, RFC 4035 §3).
pub(crate) mod flag {
    pub(crate) const QR: u16 = 0x8000;
    pub(crate) const OPCODE: u16 = 0x7800;
    pub(crate) const TC: u16 = 0x0200;
    pub(crate) const RD: u16 = 0x0100;
    pub(crate) const RA: u16 = 0x0080;
    pub(crate) const AD: u16 = 0x0020;
    pub(crate) const CD: u16 = 0x0010;
}

/// Response codes (RFC 1035 §4.1.1, RFC 6891 §9).
pub(crate) mod rcode {
    pub(crate) const NOERROR: u16 = 0;
    pub(crate) const FORMERR: u16 = 1;
    pub(crate) const NXDOMAIN: u16 = 3;
    pub(crate) const NOTIMP: u16 = 4;
    pub(crate) const BADVERS: u16 = 16;
}

/// The 16-bit number at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Result<u16, Malformed> {
    let octets = bytes.get(at..at + 2).and_then(|octets| octets.try_into().ok());
    octets.map(u16::from_be_bytes).ok_or(Malformed)
}

/// The 32-bit number at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Result<u32, Malformed> {
    let octets = bytes.get(at..at + 4).and_then(|octets| octets.try_into().ok());
    octets.map(u32::from_be_bytes).ok_or(Malformed)
}

#[cfg(test)]
mod tests;
