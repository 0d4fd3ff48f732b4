//! The data of records: what the table makes of a text is held against what hickory-proto does, for the
//! types that its text parser knows, and against octets that were written by hand for the others.

use hickory_proto::rr::{RData, RecordType as Theirs};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use crate::types::RecordType;
use crate::zone::lexer::{Lexer, Place};
use crate::zone::rdata::{is_sound, parse};

/// The wire form of data that is written like this, below `example.test.`.
fn ours(rtype: &str, text: &str) -> Result<Vec<u8>, String> {
    let mut tokens = Vec::new();
    Lexer::new(text.as_bytes()).entry(&mut tokens).expect("tokens");
    let mut out = Vec::new();
    let rtype: RecordType = rtype.parse().expect("a type");
    let origin = b"\x07example\x04test\x00";
    let outcome = parse(rtype, &tokens, Place::default(), Some(origin), &mut out);
    outcome.map_err(|wrong| wrong.message)?;
    assert!(is_sound(rtype, &out), "{rtype} {text}");
    assert_eq!(crate::verify::verify(rtype, &out), Ok(()), "{rtype} {text}");
    for length in 0..out.len() {
        let _ = is_sound(rtype, &out[..length]);
    }
    Ok(out)
}

#[test]
fn both_parsers_agree() {
    for (rtype, text) in [
        ("A", "192.0.2.1"),
        ("AAAA", "2001:db8::1"),
        ("NS", "ns1.example.test."),
        ("CNAME", "a\\.b.example.test."),
        ("PTR", "."),
        ("MX", "10 mail.example.test."),
        ("SOA", "ns1.example.test. root.example.test. 2030010101 1h 15m 1w 300"),
        ("TXT", "\"one two\" three \"\" \"qu\\\"ote\""),
        ("SRV", "1 2 5060 sip.example.test."),
        ("NAPTR", "100 10 \"u\" \"E2U+sip\" \"!^.*$!sip:a@b!\" ."),
        ("CAA", "0 issue \"ca.example; account=1\""),
        ("TLSA", "3 1 1 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"),
        ("SSHFP", "1 1 0123456789abcdef0123456789abcdef01234567"),
        ("HINFO", "\"PC\" \"Linux\""),
        ("OPENPGPKEY", "mQINBFUIGbEBEACi"),
        ("DS", "60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"),
        ("CSYNC", "66 3 A NS AAAA"),
        ("SVCB", "1 svc.example.test. alpn=h2,h3 port=8443 ipv4hint=192.0.2.1,192.0.2.2"),
        ("HTTPS", "0 svc.example.test."),
    ] {
        let theirs: Theirs = rtype.parse().expect("a type");
        let theirs =
            RData::try_from_str(theirs, text).unwrap_or_else(|error| panic!("{rtype}: {error}"));
        let mut wire = Vec::new();
        let mut encoder = BinEncoder::new(&mut wire);
        encoder.set_name_encoding(NameEncoding::Uncompressed);
        theirs.emit(&mut encoder).expect("encoded");
        assert_eq!(ours(rtype, text).as_ref(), Ok(&wire), "{rtype} {text}");
    }
}

#[test]
fn what_others_cannot_read_is_read() {
    for (rtype, text, expected) in [
        ("DNAME", "new", &b"\x03new\x07example\x04test\x00"[..]),
        ("TYPE65280", "\\# 4 C000 0201", &[0xC0, 0, 2, 1]),
        ("TYPE65280", "\\# 0", &[]),
        ("A", "\\# 4 c0000201", &[192, 0, 2, 1]),
        ("NSEC", "host MX A TYPE1234", b"\x04host\x07example\x04test\x00\x00\x02\x40\x01\x04\x1B\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x20"),
        ("NSEC3", "1 1 12 aabbccdd CPNMUOJ1E8 A", b"\x01\x01\x00\x0C\x04\xAA\xBB\xCC\xDD\x06foobar\x00\x01\x40"),
        ("NSEC3PARAM", "1 0 0 -", &[1, 0, 0, 0, 0]),
        ("DNSKEY", "256 3 ED25519 AQID BA==", &[1, 0, 3, 15, 1, 2, 3, 4]),
        (
            "RRSIG",
            "A 8 3 3600 20300101000000 20040509183619 60485 example.test. AQID",
            b"\x00\x01\x08\x03\x00\x00\x0E\x10\x70\xDB\xD8\x80\x40\x9E\x7A\x23\xEC\x45\x07example\x04test\x00\x01\x02\x03",
        ),
        ("EUI48", "00-00-5e-00-53-2a", &[0, 0, 0x5E, 0, 0x53, 0x2A]),
        ("L64", "10 2001:0DB8:1140:1000", &[0, 10, 0x20, 1, 0x0D, 0xB8, 0x11, 0x40, 0x10, 0]),
        ("URI", "10 1 \"ftp://a/b\"", b"\x00\x0A\x00\x01ftp://a/b"),
        ("RP", "root .", b"\x04root\x07example\x04test\x00\x00"),
        ("CERT", "PKIX 1 RSASHA256 AQID", &[0, 1, 0, 1, 8, 1, 2, 3]),
        ("HTTPS", "1 . mandatory=port port=53 key667=\"a b\"", b"\x00\x01\x00\x00\x00\x00\x02\x00\x03\x00\x03\x00\x02\x00\x35\x02\x9B\x00\x03a b"),
        ("SVCB", "1 . alpn=\"f\\\\\\\\oo\\\\,bar,h2\" no-default-alpn", b"\x00\x01\x00\x00\x01\x00\x0C\x08f\\oo,bar\x02h2\x00\x02\x00\x00"),
    ] {
        assert_eq!(ours(rtype, text).as_deref(), Ok(expected), "{rtype} {text}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    for (rtype, text, part) in [
        ("A", "192.0.2.256", "not an IPv4 address"),
        ("A", "", "an IPv4 address is missing"),
        ("A", "192.0.2.1 2", "more than what A holds"),
        ("AAAA", "192.0.2.1", "not an IPv6 address"),
        ("MX", "65536 a", "up to 65535"),
        ("MX", "mail", "up to 65535"),
        ("NS", "a..b", "empty label"),
        ("SOA", "a b 1 2 3 4", "missing"),
        ("TXT", &format!("\"{}\"", "x".repeat(256)), "255"),
        ("TXT", "", "missing"),
        ("DS", "1 8 2 0", "hexadecimal"),
        ("DNSKEY", "256 3 NOSUCH AQID", "algorithm"),
        ("DNSKEY", "256 3 8 A?", "base 64"),
        ("NSEC", "a NOSUCH", "not a record type"),
        ("NSEC3", "1 0 0 - !", "base 32"),
        ("RRSIG", "A 8 3 60 20301301000000 1 1 a AQID", "a time like"),
        ("CAA", "0 is-sue \"x\"", "letters and digits"),
        ("WKS", "192.0.2.1 TCP 25", "\\# LENGTH HEX"),
        ("TYPE1", "\\# 5 c0000201", "4 octets of data where 5"),
        ("A", "\\# 5 c000020101", "no data of A"),
        ("MX", "\\# 3 000a40", "no data of MX"),
        ("EUI48", "00-00-5e-00-53", "6 hexadecimal pairs"),
        ("SVCB", "1 . port=1 port=2", "twice"),
        ("SVCB", "1 . port", "needs a value"),
        ("SVCB", "1 . mandatory=alpn port=1", "isn't there"),
        ("SVCB", "1 . no-default-alpn", "needs `alpn`"),
        ("SVCB", "1 . colour=red", "key"),
        ("SVCB", "1 . alpn=h2,", "empty protocol"),
    ] {
        let told = ours(rtype, text).expect_err(text);
        assert!(told.contains(part), "{rtype} {text}: {told}");
    }
}
