//! What is asked of an upstream server, as a key and as a message.

use super::{IN, Malformed, canonical, flag, kind};
use crate::question::Question;

/// The UDP answer that is taken (DNS flag day 2020; RFC 9715 §3.1).
const PAYLOAD: u16 = 1232;
/// Questions over TLS are padded to a multiple of this (RFC 8467 §4.1).
const BLOCK: usize = 128;
/// The padding option (RFC 7830 §3).
const PADDING: u16 = 12;
/// The DO bit in the OPT record's TTL (RFC 3225 §3).
const DNSSEC_OK: u32 = 0x8000;

/// What is wanted: a name in lower case, a type, and what is to be known of signatures. One key in the
/// cache for each that differs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Query {
    /// Type (two octets), flags (one), name.
    key: Vec<u8>,
}

const DO: u8 = 1;
const CD: u8 = 2;

impl Query {
    pub(crate) fn new(
        name: &[u8],
        kind: u16,
        dnssec_ok: bool,
        checking_disabled: bool,
    ) -> Result<Self, Malformed> {
        let mut key = Vec::with_capacity(3 + name.len());
        key.extend_from_slice(&kind.to_be_bytes());
        key.push(u8::from(dnssec_ok) * DO + u8::from(checking_disabled) * CD);
        canonical(name, &mut key)?;
        Ok(Query { key })
    }

    pub(crate) fn of(question: &Question) -> Self {
        let mut key = question.kind().code().to_be_bytes().to_vec();
        key.push(0);
        key.extend(super::wire_of(question.name()));
        Query { key }
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    pub(crate) fn name(&self) -> &[u8] {
        &self.key[3..]
    }

    pub(crate) fn kind(&self) -> u16 {
        u16::from_be_bytes([self.key[0], self.key[1]])
    }

    pub(crate) fn dnssec_ok(&self) -> bool {
        self.key[2] & DO != 0
    }

    pub(crate) fn checking_disabled(&self) -> bool {
        self.key[2] & CD != 0
    }
}

/// Writes a question for `name`, in the case that it has, otherwise as `query` wants it.
pub(crate) fn compose(query: &Query, name: &[u8], id: u16, edns: bool, padded: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(BLOCK);
    // AD asks to be told whether the answer is authentic (RFC 6840 §5.7).
    let checking = if query.checking_disabled() { flag::CD } else { 0 };
    for number in [id, flag::RD | flag::AD | checking, 1, 0, 0, u16::from(edns)] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(name);
    out.extend_from_slice(&query.kind().to_be_bytes());
    out.extend_from_slice(&IN.to_be_bytes());
    if !edns {
        return out;
    }
    let dnssec = if query.dnssec_ok() { DNSSEC_OK } else { 0 };
    out.push(0);
    out.extend_from_slice(&kind::OPT.to_be_bytes());
    out.extend_from_slice(&PAYLOAD.to_be_bytes());
    out.extend_from_slice(&dnssec.to_be_bytes());
    if padded {
        // Behind the length of the options there are the option's own type and length.
        let padding = (out.len() + 6).next_multiple_of(BLOCK) - (out.len() + 6);
        for number in [4 + padding as u16, PADDING, padding as u16] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.resize(out.len() + padding, 0);
    } else {
        out.extend_from_slice(&[0, 0]);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_what_they_are() {
        let query = Query::new(b"\x01A\0", 15, true, false).expect("a name");
        assert_eq!((query.name(), query.kind(), query.dnssec_ok()), (&b"\x01a\0"[..], 15, true));
        let asked = compose(&query, b"\x01A\0", 0x1234, true, false);
        assert_eq!(
            asked,
            b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x01A\0\0\x0f\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0"
        );
        let plain = compose(&query, b"\x01A\0", 0x1234, false, true);
        assert_eq!(plain, b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\0\x01A\0\0\x0f\0\x01");
    }

    #[test]
    fn padded_questions_have_whole_blocks() {
        for length in 1..60 {
            let name = [&[length as u8][..], &vec![b'a'; length], &[0]].concat();
            let query = Query::new(&name, 1, false, false).expect("a name");
            assert_eq!(compose(&query, &name, 1, true, true).len() % BLOCK, 0);
        }
    }
}
