//! Messages that are nearly right, over everything that carries them: what holds for any octets.

use medusa_core::testing::mutated;
use medusa_resolver::{DoorReply, Visitor};

use super::*;
use crate::transfer::message::Reader;
use crate::transfer::tsig::{Algorithm, Key, Signer};
use crate::transfer::{Desk, Kept, Keys};
use crate::types::RecordType;
use crate::zone::name_from_text;

const NOW: u64 = 1_000_000_000;

const SIGNED: &str = "\
$TTL 60
@ SOA ns root 1 2 3 4 5
@ NS ns
@ NSEC deleg NS SOA RRSIG NSEC
ns A 192.0.2.2
ns NSEC star A RRSIG NSEC
alias CNAME www.other.test.
old DNAME other.test.
*.star TXT \"x\"
deleg NS ns.deleg
deleg NSEC ns NS RRSIG NSEC
ns.deleg A 192.0.2.9
";
const OTHER: &str = "$TTL 60\n@ SOA ns root 7 2 3 4 5\n@ NS ns\nns A 192.0.2.3\nwww MX 10 ns\n";

fn key() -> Key {
    let algorithm = Algorithm::named("hmac-sha256-128").unwrap();
    Key::new(name_from_text("one").unwrap(), algorithm, b"secret".to_vec())
}

/// Two zones, of which one may be changed by a key, and gives itself to anybody.
fn service() -> (DnsService, Zones) {
    let zones = Zones::new([
        crate::answer::tests::zone(SIGNED),
        crate::answer::tests::zone_named(OTHER, "other.test"),
    ]);
    let keys = Keys::new([key()]);
    let networks = vec!["0.0.0.0/0".parse().unwrap()];
    let desk = Desk::new(zones.clone(), keys.clone(), networks, || NOW);
    let name = name_from_text("example.test").unwrap();
    let update_key = keys.named(&name_from_text("one").unwrap()).cloned();
    desk.keep(name, Kept { update_key, ..Kept::default() });
    let primaries = vec!["192.0.2.1:53".parse().unwrap()];
    desk.keep(name_from_text("other.test").unwrap(), Kept { primaries, ..Kept::default() });
    (super::service().with_desk(desk), zones)
}

/// What holds of an answer to a message. Says its response code.
fn check(message: &[u8], answer: &[u8], longest: usize) -> u8 {
    let shown = || format!("{answer:?} to {message:?}");
    assert!(answer.len() >= 12 && answer.len() <= longest, "{}", shown());
    assert!(answer[..2] == message[..2] && answer[2] & 0x80 != 0, "{}", shown());
    assert_eq!(answer[2] & 0x79, message[2] & 0x79, "opcode and RD: {}", shown());
    assert_eq!(message[2] & 0x80, 0, "an answer to an answer: {}", shown());
    let (mut reader, _) = Reader::open(answer).unwrap_or_else(|| panic!("{}", shown()));
    let mut sections = Vec::new();
    while let Some(entry) = reader.next().unwrap_or_else(|()| panic!("{}", shown())) {
        sections.push(entry.section);
        let is_data = entry.rtype != RecordType::OPT && entry.rtype != RecordType::TSIG;
        assert!(!is_data || reader.data(&entry).is_some(), "{}", shown());
    }
    assert!(sections.is_sorted());
    answer[3] & 15
}

/// The response codes over UDP, TCP and HTTPS; none where nothing is said.
fn fuzz(service: &DnsService, zones: &Zones, octets: &[u8]) -> [Option<u8>; 3] {
    let mut datagrams = datagrams(service);
    let sent =
        datagrams.receive(SocketAddr::from(([192, 0, 2, 1], 4000)), octets).run_jobs().sent();
    assert!(sent.len() <= 1);
    let udp = sent.first().map(|sent| check(octets, &sent.bytes, 1232));
    let mut client = client(service);
    client.send(stream(&[octets.to_vec()])).run_jobs();
    let answers = messages(&client.output());
    let tcp = answers.iter().map(|answer| check(octets, answer, 65_535)).next_back();
    let visitor = Visitor {
        address: None,
        is_secure: true,
        now: std::time::UNIX_EPOCH + std::time::Duration::from_secs(NOW),
    };
    let https = match service.door().answer(octets, visitor) {
        DoorReply::Now(answer) => Some(check(octets, &answer.message, 65_535)),
        _ => None,
    };
    let is_plain = octets.get(2).is_some_and(|flags| flags & 0x78 == 0) && answers.len() == 1;
    if let (Some(udp), Some(tcp), Some(https), true) = (udp, tcp, https, is_plain) {
        // A transfer is refused differently, and a cut answer to a signed question says nothing.
        let cut = sent[0].bytes[2] & 2 != 0;
        assert!(cut || udp == tcp || [udp, https].contains(&4), "{udp} {tcp}: {octets:?}");
        assert!(tcp == https || https == 4, "{tcp} {https}: {octets:?}");
    }
    // There is no journal, so nothing is changed whoever signs.
    assert!(zones.current().zones().iter().all(|zone| [1, 7].contains(&zone.soa().serial)));
    [udp, tcp, https]
}

/// `message` as an update or a notice: its question is what it is about.
fn with_opcode(mut message: Vec<u8>, opcode: u8) -> Vec<u8> {
    message[2] = opcode << 3;
    message
}

#[test]
fn messages_that_are_nearly_right() {
    let signed = |mut message: Vec<u8>| {
        Signer::sign_request(&Arc::new(key()), &mut message, NOW);
        message
    };
    // One record, added or removed, behind the zone's name.
    let mut update = with_opcode(query("example.test SOA"), 5);
    update[9] = 1;
    update.extend_from_slice(b"\x01n\xC0\x0C\0\x01\0\x01\0\0\0\x3c\0\x04\xC0\0\x02\x09");
    let mut ixfr = query("example.test IXFR");
    ixfr[9] = 1;
    ixfr.extend_from_slice(
        b"\xC0\x0C\0\x06\0\x01\0\0\0\0\0\x16\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    );
    let mut cookie = query("ns.example.test A +edns");
    let at = cookie.len() - 1;
    cookie[at] = 12;
    cookie.extend_from_slice(b"\0\x0a\0\x0801234567");
    let mut corpus: Vec<_> = [
        "ns.example.test A",
        "alias.example.test MX +do",
        "www.old.example.test MX +edns",
        "a.b.star.example.test TXT +do",
        "gap.example.test AAAA +do",
        "www.deleg.example.test A +size=512",
        "example.test ANY +do +option=3 +option=11 +option=12",
        "version.bind TXT CH",
        "example.org A +rd",
        "example.test AXFR",
    ]
    .into_iter()
    .map(query)
    .collect();
    corpus.extend([update.clone(), signed(update), ixfr.clone(), signed(ixfr), cookie]);
    corpus.push(with_opcode(query("other.test SOA"), 4));
    corpus.extend([signed(query("ns.example.test A +do")), signed(query("example.test AXFR"))]);
    let corpus: Vec<_> = corpus.iter().map(Vec::as_slice).collect();
    let (service, zones) = service();
    let service = service.with_rate_limit(None);
    let mut found = [0; 16];
    for octets in corpus.iter().map(|octets| octets.to_vec()).chain(mutated(&corpus, 8, 4_000)) {
        for rcode in fuzz(&service, &zones, &octets).into_iter().flatten() {
            found[usize::from(rcode)] += 1;
        }
    }
    // NOERROR, FORMERR, NXDOMAIN, NOTIMP, REFUSED and NOTAUTH: they have come to all parts.
    assert!([0, 1, 3, 4, 5, 9].iter().all(|rcode| found[*rcode] > 20), "{found:?}");
}
