//! The data of records as another implementation reads it: a second opinion on what `zone::rdata` has made,
//! for whoever checks a zone.
//!
//! It stands neither in the way of questions nor of a zone that is loaded to be served: there the table of
//! `zone::rdata` has the word. Types that hickory-proto doesn't know are passed over.

use hickory_proto::rr::{RData, Record};
use hickory_proto::serialize::binary::{BinDecodable, BinEncodable, BinEncoder, NameEncoding};

use crate::types::{RecordType, class};

/// Has hickory-proto read data in wire form, and write it again: that must be the same.
///
/// # Errors
///
/// What it has to say, in words.
pub(crate) fn verify(rtype: RecordType, rdata: &[u8]) -> Result<(), String> {
    let length = u16::try_from(rdata.len()).map_err(|_| "the data is too long".to_owned())?;
    // The root's, for no time.
    let mut wire = vec![0];
    wire.extend_from_slice(&rtype.0.to_be_bytes());
    wire.extend_from_slice(&class::IN.to_be_bytes());
    wire.extend_from_slice(&[0; 4]);
    wire.extend_from_slice(&length.to_be_bytes());
    wire.extend_from_slice(rdata);
    let record: Record = Record::from_bytes(&wire)
        .map_err(|error| format!("hickory-proto can't read this {rtype} record: {error}"))?;
    if matches!(record.data, RData::Unknown { .. } | RData::NULL(_)) {
        return Ok(());
    }
    let mut again = Vec::new();
    let mut encoder = BinEncoder::new(&mut again);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    record
        .data
        .emit(&mut encoder)
        .map_err(|error| format!("hickory-proto can't write this {rtype} record: {error}"))?;
    if again == rdata {
        return Ok(());
    }
    Err(format!("hickory-proto takes this {rtype} record for `{}`", record.data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_read_otherwise_is_told() {
        assert_eq!(verify(RecordType::A, &[192, 0, 2, 1]), Ok(()));
        assert_eq!(verify(RecordType(65280), &[1, 2, 3]), Ok(()));
        assert_eq!(verify(RecordType::MX, b"\x00\x0A\x04Mail\x07example\x00"), Ok(()));
        for rdata in [&b"\x00\x0A"[..], b"\x00\x0A\x04mail", b"\x00\x0A\x00rest", &[0; 65536]] {
            verify(RecordType::MX, rdata).expect_err("wrong");
        }
        let told = verify(RecordType::AAAA, &[1; 15]).unwrap_err();
        assert!(told.starts_with("hickory-proto can't read this AAAA record: "), "{told}");
        // A pointer has no place in a zone: to the owner, which is the root here.
        let told = verify(RecordType::NS, &[0xC0, 0]).unwrap_err();
        assert_eq!(told, "hickory-proto takes this NS record for `.`");
    }
}
