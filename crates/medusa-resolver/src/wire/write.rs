//! Writing answers down, to be kept and told again.

use std::collections::HashMap;

use super::{HEADER, IN, Malformed, RawRecord, kind, parent};

/// The longest message there can be.
const LONGEST: usize = 65_535;

/// Writes a message and says where in it the times to live stand. The id is 0, and whoever tells the
/// answer sets it.
pub(crate) fn write(
    flags: u16,
    (name, asked): (&[u8], u16),
    answers: &[RawRecord],
    authority: &[RawRecord],
) -> Result<(Vec<u8>, Vec<u16>), Malformed> {
    let mut writer = Writer { out: Vec::with_capacity(512), places: HashMap::new() };
    let counts = [1, answers.len() as u16, authority.len() as u16, 0];
    for number in [0, flags].into_iter().chain(counts) {
        writer.number(number);
    }
    writer.name(name);
    writer.number(asked);
    writer.number(IN);
    let mut times = Vec::with_capacity(answers.len() + authority.len());
    for record in answers.iter().chain(authority) {
        writer.name(&record.owner);
        writer.number(record.kind);
        writer.number(IN);
        times.push(u16::try_from(writer.out.len()).map_err(|_| Malformed)?);
        writer.out.extend_from_slice(&record.ttl.to_be_bytes());
        let length_at = writer.out.len();
        writer.number(0);
        match record.kind {
            // Of the types whose names may be compressed by whoever writes (RFC 1035 §3.3), those whose
            // data is a name, or ends in one.
            kind::NS | kind::CNAME | 12 => writer.name(&record.rdata),
            15 => {
                writer.out.extend_from_slice(&record.rdata[..2]);
                writer.name(&record.rdata[2..]);
            }
            _ => writer.out.extend_from_slice(&record.rdata),
        }
        let length = (writer.out.len() - length_at - 2) as u16;
        writer.out[length_at..length_at + 2].copy_from_slice(&length.to_be_bytes());
        if writer.out.len() > LONGEST {
            return Err(Malformed);
        }
    }
    Ok((writer.out, times))
}

struct Writer {
    out: Vec<u8>,
    /// Where names stand already.
    places: HashMap<Box<[u8]>, u16>,
}

impl Writer {
    fn number(&mut self, number: u16) {
        self.out.extend_from_slice(&number.to_be_bytes());
    }

    /// Writes a name, with a pointer for as much of its end as stands somewhere already.
    fn name(&mut self, name: &[u8]) {
        let mut rest = name;
        while let Some(above) = parent(rest) {
            if let Some(place) = self.places.get(rest) {
                let pointer = 0xc000 | place;
                return self.number(pointer);
            }
            let at = self.out.len();
            if (HEADER..0x4000).contains(&at) {
                self.places.insert(rest.into(), at as u16);
            }
            self.out.extend_from_slice(&rest[..rest.len() - above.len()]);
            rest = above;
        }
        self.out.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{flag, read};
    use super::*;

    fn record(owner: &[u8], kind: u16, rdata: &[u8]) -> RawRecord {
        RawRecord { owner: owner.into(), kind, ttl: 300, rdata: rdata.into() }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let name = b"\x01a\x07example\0";
        let answers = [
            record(name, kind::CNAME, b"\x01b\x07example\0"),
            record(b"\x01b\x07example\0", 15, b"\0\x0a\x02mx\x07example\0"),
            record(b"\x01b\x07example\0", 16, b"\x03abc"),
        ];
        let soa = [&b"\x01a\x07example\0\x01a\x07example\0"[..], &[1; 20]].concat();
        let authority = [record(b"\x07example\0", kind::SOA, &soa)];
        let (wire, times) = write(flag::QR, (name, 15), &answers, &authority).expect("short");
        for at in &times {
            assert_eq!(super::super::u32_at(&wire, usize::from(*at)), Ok(300));
        }
        assert_eq!(times.len(), 4);
        let message = read(&wire, name).expect("sound");
        assert_eq!((&message.answers[..], &message.authority[..]), (&answers[..], &authority[..]));
        // Two octets for each name that stands there already, or all of it but its first label.
        assert_eq!(wire.iter().filter(|octet| **octet == 0xc0).count(), 6);
    }

    #[test]
    fn what_is_too_long_is_refused() {
        let answers = vec![record(b"\x01a\0", 16, &[b'a'; 60_000]); 2];
        assert_eq!(write(0, (b"\x01a\0", 16), &answers, &[]), Err(Malformed));
    }
}
