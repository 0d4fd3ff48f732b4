//! What tests share: upstream servers' answers, made by hand.

use crate::wire::{self, HEADER, RawRecord};

/// A record.
pub(crate) fn record(owner: &str, kind: u16, ttl: u32, rdata: impl AsRef<[u8]>) -> RawRecord {
    RawRecord { owner: name(owner), kind, ttl, rdata: rdata.as_ref().into() }
}

/// A name in wire form.
pub(crate) fn name(text: &str) -> Vec<u8> {
    wire::wire_of(&crate::Name::new(text).expect("a name"))
}

/// An SOA record that has nothing be nothing for `seconds`.
pub(crate) fn soa(owner: &str, seconds: u8) -> RawRecord {
    record(owner, 6, 3600, [&b"\0\0"[..], &[0; 16], &[0, 0, 0, seconds]].concat())
}

/// An answer to a question, with its id and its question in its case.
pub(crate) fn reply(
    asked: &[u8],
    flags: u16,
    answers: &[RawRecord],
    authority: &[RawRecord],
) -> Vec<u8> {
    let mut out = asked[..question_end(asked)].to_vec();
    let numbers = [0x8080 | flags, 1, answers.len() as u16, authority.len() as u16, 0];
    for (place, number) in out[2..HEADER].chunks_mut(2).zip(numbers) {
        place.copy_from_slice(&number.to_be_bytes());
    }
    for record in answers.iter().chain(authority) {
        out.extend_from_slice(&record.owner);
        for number in [record.kind, wire::IN] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out.extend_from_slice(&record.ttl.to_be_bytes());
        out.extend_from_slice(&(record.rdata.len() as u16).to_be_bytes());
        out.extend_from_slice(&record.rdata);
    }
    out
}

/// Where the question of a message ends.
pub(crate) fn question_end(message: &[u8]) -> usize {
    let labels = wire::labels(&message[HEADER..]).map(|label| 1 + label.len());
    HEADER + labels.sum::<usize>() + 5
}

/// The question of a message: its name as text, in its case, and its type.
pub(crate) fn question(message: &[u8]) -> (String, u16) {
    let labels = wire::labels(&message[HEADER..]);
    let labels: Vec<_> = labels.map(|label| String::from_utf8_lossy(label).into_owned()).collect();
    let kind = wire::u16_at(message, question_end(message) - 4).expect("a question");
    (labels.join("."), kind)
}

/// Octets that look random and are the same in every run (xorshift).
pub(crate) fn numbers() -> impl FnMut(&mut [u8]) + 'static {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |octets| {
        for octet in octets {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *octet = (state >> 32) as u8;
        }
    }
}
