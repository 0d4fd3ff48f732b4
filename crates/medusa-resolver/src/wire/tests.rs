//! What is read and written here, held against another implementation (hickory-proto), and against whatever
//! octets may come.

use hickory_proto::op::{Message as Other, MessageType, OpCode, Query as OtherQuery};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, NULL, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name as OtherName, RData, Record as OtherRecord, RecordType};
use proptest::prelude::*;

use super::*;

/// Names that share their ends, so that there is something to compress.
fn names() -> impl Strategy<Value = OtherName> {
    let label =
        prop_oneof![Just("a"), Just("B"), Just("mail"), Just("Example"), Just("xn--bcher-kva")];
    proptest::collection::vec(label, 1..6)
        .prop_map(|labels| OtherName::from_ascii(labels.join(".") + ".").expect("a name"))
}

fn data() -> impl Strategy<Value = RData> {
    let octets = proptest::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        any::<[u8; 4]>().prop_map(|ip| RData::A(A(ip.into()))),
        any::<[u8; 16]>().prop_map(|ip| RData::AAAA(AAAA(ip.into()))),
        names().prop_map(|name| RData::NS(NS(name))),
        names().prop_map(|name| RData::CNAME(CNAME(name))),
        names().prop_map(|name| RData::PTR(PTR(name))),
        (any::<u16>(), names()).prop_map(|(number, name)| RData::MX(MX::new(number, name))),
        (any::<u16>(), any::<u16>(), names()).prop_map(|(a, b, name)| RData::SRV(SRV::new(
            a,
            b,
            a ^ b,
            name
        ))),
        (names(), names(), any::<u32>(), any::<u32>())
            .prop_map(|(a, b, n, m)| RData::SOA(SOA::new(a, b, n, 2, 3, 4, m))),
        octets.clone().prop_map(|octets| RData::TXT(TXT::from_bytes(vec![&octets]))),
        octets.prop_map(|octets| RData::Unknown {
            code: RecordType::Unknown(65_280),
            rdata: NULL::with(octets),
        }),
    ]
}

fn records() -> impl Strategy<Value = Vec<OtherRecord>> {
    let record = (names(), 0..=i32::MAX as u32, data())
        .prop_map(|(name, ttl, data)| OtherRecord::from_rdata(name, ttl, data));
    proptest::collection::vec(record, 0..12)
}

proptest! {
    /// What the other writes we read, and what we write of it the other reads: the same.
    #[test]
    fn messages_are_understood_by_others(
        name in names(),
        answers in records(),
        authorities in records(),
    ) {
        let mut other = Other::new(7, MessageType::Response, OpCode::Query);
        other.add_query(OtherQuery::query(name, RecordType::A));
        other.add_answers(answers);
        other.add_authorities(authorities);
        let wire = other.to_vec().expect("short");
        let mut asked = Vec::new();
        read_name_at_start(&wire, &mut asked);
        let message = read(&wire, &asked).expect("sound");
        let (again, times) = write(flag::QR, (&asked, 1), &message.answers, &message.authority)
            .expect("short");
        let read_again = Other::from_vec(&again).expect("sound");
        prop_assert_eq!(&read_again.answers, &other.answers);
        prop_assert_eq!(&read_again.authorities, &other.authorities);
        prop_assert_eq!(&read_again.queries, &other.queries);
        prop_assert_eq!(times.len(), other.answers.len() + other.authorities.len());
        // In its own words it is the same message once more.
        let once_more = read(&again, &asked).expect("sound");
        prop_assert_eq!(once_more.answers, message.answers);
    }

    /// Whatever octets come: no panic, and what is read can be written.
    #[test]
    fn nonsense_is_read_without_a_panic(
        header in proptest::collection::vec(any::<u8>(), 6),
        counts in proptest::array::uniform3(0_u8..4),
        body in proptest::collection::vec(prop_oneof![
            4 => any::<u8>(),
            // What makes names, pointers and short records likely.
            4 => prop_oneof![Just(0_u8), Just(0xc0), Just(0x0c), Just(1), Just(3), Just(5), Just(15)],
        ], 0..120),
        name in names(),
    ) {
        let name = name.to_ascii().trim_end_matches('.').to_owned();
        let asked = wire_of(&crate::Name::new(&name).expect("a name"));
        let mut bytes = header;
        bytes[4..6].copy_from_slice(&[0, 1]);
        for count in counts {
            bytes.extend_from_slice(&[0, count]);
        }
        bytes.extend_from_slice(&asked);
        bytes.extend_from_slice(&[0, 1, 0, 1]);
        bytes.extend_from_slice(&body);
        if let Ok(message) = read(&bytes, &asked) {
            let written = write(0, (&asked, 1), &message.answers, &message.authority);
            let again = read(&written.expect("short").0, &asked).expect("sound");
            prop_assert_eq!(again.answers, message.answers);
        }
    }

    #[test]
    fn questions_are_understood_by_others(
        name in names(),
        kind in any::<u16>(),
        dnssec in any::<bool>(),
        disabled in any::<bool>(),
        padded in any::<bool>(),
    ) {
        prop_assume!(!matches!(kind, 0 | 41 | 249..=255));
        let text = name.to_ascii();
        let wire = wire_of(&crate::Name::new(&text).expect("a name"));
        let query = Query::new(&wire, kind, dnssec, disabled).expect("a query");
        let other = Other::from_vec(&compose(&query, &wire, 9, true, padded)).expect("sound");
        let edns = other.edns.as_ref().expect("EDNS");
        prop_assert_eq!((edns.max_payload(), edns.flags().dnssec_ok), (1232, dnssec));
        prop_assert_eq!(u16::from(other.queries[0].query_type()), kind);
        prop_assert_eq!(other.queries[0].name(), &name);
        prop_assert_eq!(other.metadata.checking_disabled, disabled);
        prop_assert!(other.metadata.recursion_desired && other.metadata.id == 9);
    }
}

/// The question's name as it stands, which is never compressed.
fn read_name_at_start(wire: &[u8], into: &mut Vec<u8>) {
    let end = wire[HEADER..].iter().position(|octet| *octet == 0).expect("a name");
    into.extend_from_slice(&wire[HEADER..=HEADER + end]);
}

#[test]
fn names_that_lead_astray_are_refused() {
    let message = |tail: &[u8]| {
        let mut bytes = b"\0\x01\x80\0\0\x01\0\x01\0\0\0\0\x01a\0\0\x01\0\x01".to_vec();
        bytes.extend_from_slice(tail);
        bytes
    };
    let long = [[&[63][..], &[b'x'; 63]].concat().repeat(4), vec![0]].concat();
    let rest = b"\0\x01\0\x01\0\0\0\x3c\0\x04\x01\x02\x03\x04";
    for (what, owner) in [
        ("a pointer to itself", &b"\xc0\x13"[..]),
        ("a pointer forward", b"\xc0\x20"),
        ("a pointer into the header", b"\xc0\x02"),
        ("a pointer beyond the end", b"\xff\xff"),
        ("two that lead to each other", b"\x01b\xc0\x13"),
        ("a label of 64", b"\x40"),
        ("an extended label", b"\x80\0"),
        ("256 octets", &long),
        ("no end", b"\x3fa"),
    ] {
        assert_eq!(read(&message(&[owner, rest].concat()), b"\x01a\0"), Err(Malformed), "{what}");
    }
    assert!(read(&message(&[b"\xc0\x0c", &rest[..]].concat()), b"\x01a\0").is_ok());
    // An address of three octets, an exchange with something behind it.
    for record in [
        &b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x03\x01\x02\x03"[..],
        b"\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x06\0\x01\x01a\0\0",
        b"\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x01\0",
    ] {
        assert_eq!(read(&message(record), b"\x01a\0"), Err(Malformed));
    }
}
