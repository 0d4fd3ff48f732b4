//! What no sane client sends: no panic, no answer that is longer than it may be, an error where one is due.

use proptest::prelude::*;

use super::*;

const ZONE: &str = "\
$ORIGIN example.test.
$TTL 3600
@       SOA ns1 hostmaster 7 3600 900 604800 300
        NS  ns1
        MX  10 mail
        TXT \"v=spf1 -all\"
ns1     A   192.0.2.1
mail    A   192.0.2.2
www     CNAME mail
*.wild  A   192.0.2.7
sub     NS  ns.sub
ns.sub  A   192.0.2.5
old     DNAME sub
$GENERATE 1-200 many A 192.0.2.$
$GENERATE 1-90 many TXT \"number $\"
";

fn zones() -> Zones {
    Zones::new([zone(&ZONE.replace("1-200 many A 192.0.2.$", "1-200 many AAAA 2001:db8::$"))])
}

/// Answers a message over all transports; whatever it is, what is said is bounded, is an answer, and can
/// be read by others.
fn survive(zones: &Zones, message: &[u8]) {
    let payload = Query::read(message, &mut Default::default())
        .ok()
        .and_then(|query| query.edns)
        .map_or(512, |edns| edns.payload.clamp(512, 1232));
    for transport in [Transport::Udp, Transport::Tcp, Transport::Secured] {
        let Some(answer) = ask_over(zones, &Settings::default(), transport, message) else {
            continue;
        };
        let limit = if transport == Transport::Udp { payload.into() } else { LONGEST };
        assert!(answer.len() <= limit, "{} octets for {message:?}", answer.len());
        assert!(answer.len() >= 12 && answer[2] & 0x80 != 0);
        assert_eq!(answer[..2], message[..2]);
        Message::from_vec(&answer).unwrap_or_else(|error| panic!("{error}: {message:?}"));
    }
}

/// 200 good queries.
fn good() -> impl Iterator<Item = Vec<u8>> {
    const NAMES: [&str; 10] = [
        "example.test",
        "www.example.test",
        "many.example.test",
        "x.wild.example.test",
        "y.sub.example.test",
        "z.old.example.test",
        "nowhere.example.test",
        "mail.example.test",
        "example.org",
        ".",
    ];
    const TYPES: [&str; 5] = ["A", "AAAA", "MX", "ANY", "TXT"];
    const REST: [&str; 4] = ["", "+do", "+size=4096 +option=3", "+rd +option=11 +option=12"];
    NAMES.iter().flat_map(|name| {
        TYPES.iter().flat_map(move |rtype| {
            REST.iter().map(move |rest| query(&format!("{name} {rtype} {rest}")))
        })
    })
}

#[test]
fn every_truncation_and_every_flipped_bit_is_survived() {
    let zones = zones();
    assert_eq!(good().count(), 200);
    for message in good() {
        for length in 0..=message.len() {
            survive(&zones, &message[..length]);
        }
        let mut flipped = message.clone();
        for bit in 0..message.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            survive(&zones, &flipped);
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

#[test]
fn what_is_malformed_is_told_and_answers_are_not_answered() {
    let zones = zones();
    let ask = |message: &[u8]| {
        let answer = ask_over(&zones, &Settings::default(), Transport::Udp, message);
        answer.map(|answer| answer[3] & 15)
    };
    const FORMERR: Option<u8> = Some(1);
    const NOTIMP: Option<u8> = Some(4);
    let sound = query("www.example.test A");
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut message = sound.clone();
        change(&mut message);
        ask(&message)
    };
    assert_eq!(ask(&sound), Some(0));
    for length in 0..12 {
        assert_eq!(ask(&sound[..length]), None, "{length}");
    }
    assert_eq!(ask(&sound[..12]), FORMERR);
    assert_eq!(with(&|message| message[2] |= 0x80), None);
    assert_eq!(with(&|message| message[2] |= 0x28), NOTIMP);
    assert_eq!(with(&|message| message[2] |= 0x20), NOTIMP);
    // Counts that lie.
    for (place, count) in [(5, 0), (5, 2), (7, 1), (9, 1), (11, 1), (10, 255)] {
        assert_eq!(with(&|message| message[place] = count), FORMERR, "{place} {count}");
    }
    // A pointer to itself, forward, into the header; a label of a kind that there isn't.
    for octets in [[0xC0, 0x0C], [0xC0, 0xFF], [0xC0, 0x00], [0x40, 0x01], [0x80, 0x01]] {
        assert_eq!(with(&|message| message[12..14].copy_from_slice(&octets)), FORMERR);
    }
    let name = |name: &[u8]| {
        let mut message = sound[..12].to_vec();
        message.extend_from_slice(name);
        message.extend_from_slice(&[0, 1, 0, 1]);
        ask(&message)
    };
    let label = |length: u8| [&[length][..], &vec![b'a'; length.into()]].concat();
    assert_eq!(name(&[label(64), vec![0]].concat()), FORMERR);
    let full = [label(63), label(63), label(63)].concat();
    assert_eq!(name(&[&full[..], &label(61), &[0]].concat()), Some(5));
    assert_eq!(name(&[&full[..], &label(62), &[0]].concat()), FORMERR);
}

proptest! {
    #[test]
    fn noise_is_survived(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        survive(&zones(), &noise);
    }

    #[test]
    fn noise_behind_a_sound_header_is_survived(
        noise in proptest::collection::vec(any::<u8>(), 0..200),
        counts in proptest::array::uniform4(0u8..3),
    ) {
        let mut message = vec![0, 7, 0, 0];
        message.extend(counts.iter().flat_map(|count| [0, *count]));
        message.extend_from_slice(&noise);
        survive(&zones(), &message);
    }
}
