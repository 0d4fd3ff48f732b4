//! Who may ask for what, and how it is answered.

use super::request::DATAGRAM;
use super::*;
use crate::answer::Answered;
use crate::transfer::message::{LONGEST, Packer, Question};
use crate::transfer::testing::{apex, record, zone};
use crate::transfer::tsig::{Algorithm, Signer, Verifier};
use crate::zone::name_from_text;

const NOW: u64 = 1_700_000_000;
const NEAR: &str = "192.0.2.1";
const FAR: &str = "198.51.100.1";

fn key(name: &str) -> Key {
    let algorithm = Algorithm::named("hmac-sha256").unwrap();
    Key::new(name_from_text(name).unwrap(), algorithm, name.into())
}

fn networks(text: &str) -> Vec<Network> {
    vec![text.parse().unwrap()]
}

/// A desk with `example.test`, which may go to 192.0.2.0/24 unless `kept` says otherwise.
fn desk(serial: u32, kept: Option<Kept>) -> Desk {
    let zones = Zones::new([Arc::new(zone(serial, &["a TXT x"]))]);
    let keys = Keys::new([key("one"), key("two")]);
    let desk = Desk::new(zones, keys, networks("192.0.2.0/24"), || NOW);
    if let Some(kept) = kept {
        desk.keep(apex(), kept);
    }
    desk
}

fn own_key(desk: &Desk, name: &str) -> Option<Arc<Key>> {
    desk.0.keys.named(&name_from_text(name).unwrap()).cloned()
}

/// A request, signed if there is a key.
fn request(
    op: u8,
    name: &str,
    rtype: RecordType,
    held: Option<u32>,
    by: Option<&str>,
) -> (Vec<u8>, Option<Verifier>) {
    let mut packer = Packer::default();
    packer.begin(7, [op << 3, 0]);
    packer.question(&Question { name: name_from_text(name).unwrap(), rtype, class: class::IN });
    if let Some(serial) = held {
        let soa = soa_record(&zone(serial, &[])).unwrap();
        let section = usize::from(op == opcode::QUERY);
        packer.record(section, &soa, class::IN, LONGEST).unwrap();
    }
    let message = packer.finish();
    let verifier = by.map(|name| Signer::sign_request(&Arc::new(key(name)), message, NOW));
    (message.clone(), verifier)
}

fn handle(desk: &Desk, from: &str, transport: Transport, message: &[u8]) -> Handled {
    let address = Some(from.parse().unwrap());
    let asked = Asked { message, address, transport, now: NOW };
    desk.handle(&asked, |asked, out| {
        out.extend_from_slice(&asked[..2]);
        out.extend_from_slice(&[0x84, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        Outcome::Answered(Answered::failed(Rcode::NOERROR))
    })
}

/// The response code and the count of answers, over all messages.
fn heard(handled: Handled, mut verifier: Option<Verifier>) -> (u8, usize) {
    let mut check = |message: &[u8]| {
        if let Some(verifier) = &mut verifier {
            verifier.check(message, NOW).unwrap();
        }
        (message[3] & 0xF, usize::from(u16::from_be_bytes([message[6], message[7]])))
    };
    match handled {
        Handled::Reply(message) => check(&message),
        Handled::Answered(said) => check(&said.message()),
        Handled::Stream(mut outgoing) => {
            let mut all = (0, 0);
            while let Some(message) = outgoing.message().unwrap() {
                let (rcode, count) = check(message);
                all = (rcode, all.1 + count);
            }
            all
        }
        Handled::Work(work) => check(&work()),
        Handled::Ignored => panic!("nothing is said"),
    }
}

fn asked(
    desk: &Desk,
    from: &str,
    rtype: RecordType,
    held: Option<u32>,
    by: Option<&str>,
) -> (u8, usize) {
    let (message, verifier) = request(opcode::QUERY, "example.test", rtype, held, by);
    assert!(concerns(&message));
    heard(handle(desk, from, Transport::Tcp, &message), verifier)
}

#[test]
fn zones_go_to_whom_they_may() {
    let axfr = RecordType::AXFR;
    let plain = desk(1, None);
    // Four records and the SOA record again.
    assert_eq!(asked(&plain, NEAR, axfr, None, None), (0, 5));
    assert_eq!(asked(&plain, NEAR, axfr, None, Some("one")), (0, 5));
    assert_eq!(asked(&plain, FAR, axfr, None, None), (5, 0));
    assert_eq!(asked(&plain, FAR, axfr, None, Some("one")), (5, 0));
    let keyed = |own: Option<Vec<Network>>| {
        let key = own_key(&plain, "one");
        desk(1, Some(Kept { key, transfer_to: own, ..Kept::default() }))
    };
    let near = keyed(None);
    assert_eq!(asked(&near, NEAR, axfr, None, Some("one")), (0, 5));
    for (from, by) in [(NEAR, None), (NEAR, Some("two")), (FAR, Some("one"))] {
        assert_eq!(asked(&near, from, axfr, None, by), (5, 0), "{from} {by:?}");
    }
    let anywhere = keyed(Some(Vec::new()));
    assert_eq!(asked(&anywhere, FAR, axfr, None, Some("one")), (0, 5));
    assert_eq!(asked(&anywhere, FAR, axfr, None, None), (5, 0));
    // Of a zone that isn't here, who may have zones hears so, and others don't.
    let (message, _) = request(opcode::QUERY, "example.org", axfr, None, None);
    assert_eq!(heard(handle(&plain, NEAR, Transport::Tcp, &message), None), (9, 0));
    assert_eq!(heard(handle(&plain, FAR, Transport::Tcp, &message), None), (5, 0));
    let stale = desk(1, None);
    stale.zones().named(&apex()).unwrap().set_stale(true);
    assert_eq!(asked(&stale, NEAR, axfr, None, None), (2, 0));
}

#[test]
fn changes_are_told_where_they_are_known() {
    let ixfr = RecordType::IXFR;
    let desk = desk(1, Some(Kept::default()));
    let kept = desk.kept(&apex()).unwrap();
    let long = format!("a TXT {}", vec!["x".repeat(250); 8].join(" "));
    let many: Vec<_> = (0..2000).map(|at| format!("n{at} TXT x")).collect();
    for (serial, text) in [(2, "a TXT y"), (3, &*long)] {
        let lines: Vec<_> = many.iter().map(String::as_str).chain([text]).collect();
        let new = zone(serial, &lines);
        let delta = Delta::between(&desk.zones().named(&apex()).unwrap(), &new);
        desk.install(&kept, new, delta.into_iter().collect());
    }
    // The newest, what went and came, and the newest again.
    assert_eq!(asked(&desk, NEAR, ixfr, Some(2), None), (0, 6));
    assert_eq!(asked(&desk, NEAR, ixfr, Some(2), Some("one")), (0, 6));
    for current in [3, 4] {
        assert_eq!(asked(&desk, NEAR, ixfr, Some(current), None), (0, 1));
    }
    // Of the version before that more has changed than there is; of others nothing is known.
    let whole = 2000 + 5;
    assert_eq!(asked(&desk, NEAR, ixfr, Some(0), None), (0, whole));
    assert_eq!(asked(&desk, NEAR, ixfr, None, None), (1, 0));
    let udp = |held: u32| {
        let (message, _) = request(opcode::QUERY, "example.test", ixfr, Some(held), None);
        heard(handle(&desk, NEAR, Transport::Udp, &message), None)
    };
    // It is too long for a datagram.
    assert_eq!((udp(2), udp(0), udp(3)), ((0, 1), (0, 1), (0, 1)));
    let old = desk.zones().named(&apex()).unwrap();
    let gone = old.records().filter(|one| one.owner.wire()[1] == b'a' && one.owner.wire()[0] == 1);
    let gone: Vec<_> = std::iter::once(soa_record(&old).unwrap()).chain(gone).collect();
    assert!(gone.len() == 2);
    let small = old
        .edited(&[gone[0].clone()], &[soa_record(&zone(4, &[])).unwrap(), record("b A 192.0.2.1")]);
    let small = small.unwrap();
    let delta = Delta::between(&old, &small);
    desk.install(&kept, small, delta.into_iter().collect());
    assert_eq!(udp(3), (0, 5));
}

#[test]
fn notices_count_from_primaries() {
    let primaries = vec![format!("{NEAR}:53").parse().unwrap()];
    let key = own_key(&desk(1, None), "one");
    let secondary = desk(1, Some(Kept { primaries, key, ..Kept::default() }));
    let notice = |desk: &Desk, from: &str, rtype, by: Option<&str>| {
        let (message, verifier) = request(opcode::NOTIFY, "example.test", rtype, Some(9), by);
        assert!(concerns(&message));
        heard(handle(desk, from, Transport::Udp, &message), verifier).0
    };
    let soa = RecordType::SOA;
    assert_eq!(notice(&secondary, NEAR, soa, None), 0);
    assert_eq!(notice(&secondary, FAR, soa, None), 5);
    assert_eq!(notice(&secondary, FAR, soa, Some("one")), 0);
    assert_eq!(notice(&secondary, FAR, soa, Some("two")), 5);
    assert_eq!(notice(&secondary, NEAR, RecordType::A, None), 1);
    assert_eq!(notice(&desk(1, None), NEAR, soa, None), 9);
}

#[test]
fn updates_need_the_key_and_a_journal() {
    let folder = tempfile::tempdir().unwrap();
    let with = |from: &str, by: &str| {
        let file = folder.path().join("zone");
        let (journal, _) = JournalFile::find(&file, &apex(), 1).unwrap();
        let update_key = own_key(&desk(1, None), by);
        let kept = Kept { update_key, update_from: networks(from), ..Kept::default() };
        *lock(&kept.journal) = Some(journal);
        desk(1, Some(kept))
    };
    let update = |desk: &Desk, from: &str, by: Option<&str>| {
        let mut packer = Packer::default();
        packer.begin(7, [opcode::UPDATE << 3, 0]);
        let question = Question { name: apex(), rtype: RecordType::SOA, class: class::IN };
        packer.question(&question);
        packer.record(1, &record("new A 192.0.2.9"), class::IN, LONGEST).unwrap();
        let message = packer.finish();
        let verifier = by.map(|name| Signer::sign_request(&Arc::new(key(name)), message, NOW));
        heard(handle(desk, from, Transport::Udp, message), verifier).0
    };
    let ours = with("192.0.2.0/24", "one");
    for (from, by) in [(NEAR, None), (NEAR, Some("two")), (FAR, Some("one"))] {
        assert_eq!(update(&ours, from, by), 5, "{from} {by:?}");
    }
    assert_eq!(ours.zones().named(&apex()).unwrap().soa().serial, 1);
    assert_eq!(update(&ours, NEAR, Some("one")), 0);
    assert_eq!(ours.zones().named(&apex()).unwrap().soa().serial, 2);
    let file = folder.path().join("zone");
    let (_, found) = JournalFile::find(&file, &apex(), 1).unwrap();
    assert_eq!(found.unwrap().zone.soa().serial, 2);
    // A disk that takes nothing: nothing is changed.
    let other = with("192.0.2.0/24", "one");
    *lock(&other.kept(&apex()).unwrap().journal) =
        Some(JournalFile::find(&folder.path().join("none/zone"), &apex(), 1).unwrap().0);
    assert_eq!(update(&other, NEAR, Some("one")), 2);
    assert_eq!(other.zones().named(&apex()).unwrap().soa().serial, 1);
    assert_eq!(update(&desk(1, None), NEAR, Some("one")), 5);
}

#[test]
fn a_signed_question_gets_a_signed_answer() {
    let desk = desk(1, None);
    let (message, verifier) =
        request(opcode::QUERY, "example.test", RecordType::A, None, Some("one"));
    assert!(concerns(&message));
    assert_eq!(heard(handle(&desk, FAR, Transport::Udp, &message), verifier), (0, 0));
    // What was short enough for a datagram before it was signed is cut.
    let (message, verifier) =
        request(opcode::QUERY, "example.test", RecordType::A, None, Some("one"));
    let address = Some(FAR.parse().unwrap());
    let asked = Asked { message: &message, address, transport: Transport::Udp, now: NOW };
    let long = |_: &[u8], out: &mut Vec<u8>| {
        out.extend_from_slice(&[0, 7, 0x84, 0]);
        out.resize(510, 0);
        Outcome::Answered(Answered::failed(Rcode::NOERROR))
    };
    let Handled::Answered(said) = desk.handle(&asked, long) else { panic!("no answer") };
    let answer = said.message();
    assert!(answer.len() <= 512 && answer[2] & 2 != 0);
    verifier.unwrap().check(&answer, NOW).unwrap();
    let (message, _) = request(opcode::QUERY, "example.test", RecordType::A, None, None);
    assert!(!concerns(&message));
    assert!((0..12).all(|length| !concerns(&message[..length])));
}

#[test]
fn what_no_stream_can_carry_is_cut() {
    let desk = desk(1, None);
    for (length, is_cut) in [(LONGEST - 200, false), (LONGEST - 20, true)] {
        let (message, verifier) =
            request(opcode::QUERY, "example.test", RecordType::A, None, Some("one"));
        let address = Some(FAR.parse().unwrap());
        let asked = Asked { message: &message, address, transport: Transport::Tcp, now: NOW };
        let long = |_: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(&[0, 7, 0x84, 0]);
            out.resize(length, 0);
            Outcome::Answered(Answered::failed(Rcode::NOERROR))
        };
        let Handled::Answered(said) = desk.handle(&asked, long) else { panic!("no answer") };
        let answer = said.message();
        assert!(answer.len() <= LONGEST);
        assert_eq!(answer[2] & flag::TRUNCATED != 0, is_cut, "{length}");
        if is_cut {
            verifier.unwrap().check(&answer, NOW).unwrap();
        }
    }
}

#[test]
fn pointers_to_pointers_cost_little() {
    let mut message = vec![0, 7, opcode::NOTIFY << 3, 0, 0, 1, 0x10, 0, 0, 0, 0, 0];
    message.extend_from_slice(&[0, 0, 6, 0, 1]);
    // One record whose data is a chain of pointers, and thousands whose owner is its last link.
    message.extend_from_slice(&[0, 0, 16, 0, 1, 0, 0, 0, 0]);
    let start = message.len() + 2;
    message.extend_from_slice(&((0x3FFE - start) as u16).to_be_bytes());
    message.extend_from_slice(&[0xC0, 12]);
    while message.len() < 0x3FFE {
        let before = (message.len() - 2) as u16;
        message.extend_from_slice(&(0xC000 | before).to_be_bytes());
    }
    let last = 0x3FFC_u16;
    for _ in 1..4096 {
        message.extend_from_slice(&(0xC000 | last).to_be_bytes());
        message.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    assert!(message.len() <= LONGEST);
    let primaries = vec![format!("{NEAR}:53").parse().unwrap()];
    let secondary = desk(1, Some(Kept { primaries, ..Kept::default() }));
    let mut questions = vec![0, 7, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 0, 1];
    questions.extend_from_slice(&message[questions.len()..0x3FFE]);
    for _ in 1..4096 {
        questions.extend_from_slice(&[0xFF, 0xFC, 0, 1, 0, 1]);
    }
    crate::name::EXPANDED.set(0);
    for transport in [Transport::Udp, Transport::Tcp] {
        assert_eq!(heard(handle(&secondary, NEAR, transport, &message), None).0, 9);
        assert!(concerns(&questions) && locate(&questions).is_err());
    }
    // Each follows 127 pointers at most.
    let expanded = crate::name::EXPANDED.get();
    assert!(expanded < 20, "{expanded}");
}

#[test]
fn no_message_is_too_strange() {
    let folder = tempfile::tempdir().unwrap();
    let primaries = vec![format!("{NEAR}:53").parse().unwrap()];
    let secondary = desk(1, Some(Kept { primaries, ..Kept::default() }));
    let update_key = own_key(&secondary, "one");
    let primary = desk(1, Some(Kept { update_key, ..Kept::default() }));
    let (journal, _) = JournalFile::find(&folder.path().join("zone"), &apex(), 1).unwrap();
    *lock(&primary.kept(&apex()).unwrap().journal) = Some(journal);
    let messages = [
        request(opcode::QUERY, "example.test", RecordType::IXFR, Some(0), Some("one")).0,
        request(opcode::QUERY, "example.test", RecordType::IXFR, Some(0), None).0,
        request(opcode::QUERY, "example.test", RecordType::AXFR, None, None).0,
        request(opcode::NOTIFY, "example.test", RecordType::SOA, Some(9), None).0,
        request(opcode::UPDATE, "example.test", RecordType::SOA, Some(9), Some("one")).0,
    ];
    let try_out = |message: &[u8]| {
        if !concerns(message) {
            return;
        }
        for desk in [&primary, &secondary] {
            for transport in [Transport::Udp, Transport::Tcp] {
                match handle(desk, NEAR, transport, message) {
                    Handled::Work(work) => assert!(work().len() >= HEADER),
                    Handled::Reply(reply) => {
                        assert!(reply.len() >= HEADER && reply.len() <= DATAGRAM);
                        assert_eq!(reply[..2], message[..2]);
                    }
                    Handled::Answered(said) => assert!(said.message().len() <= LONGEST),
                    Handled::Stream(mut outgoing) => assert!(outgoing.message().is_ok()),
                    Handled::Ignored => {}
                }
            }
        }
    };
    for message in &messages {
        for length in 0..message.len() {
            try_out(&message[..length]);
        }
        for bit in 0..message.len() * 8 {
            let mut changed = message.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            try_out(&changed);
        }
    }
    // No changed message was done.
    assert_eq!(primary.zones().named(&apex()).unwrap().soa().serial, 1);
}

#[test]
fn a_signature_is_seen_wherever_the_opt_record_stands() {
    let opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0];
    for (section, signed) in [(6, true), (8, true), (10, false)] {
        let by = signed.then_some("one");
        let (mut message, _) = request(opcode::QUERY, "example.test", RecordType::SOA, None, by);
        let question_end = HEADER + apex().wire().len() + 4;
        message.splice(question_end..question_end, opt);
        message[section + 1] += 1;
        assert_eq!(concerns(&message), signed, "{section}");
    }
}
