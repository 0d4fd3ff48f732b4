//! Signed questions are counted, told of and limited as others are, and their answers are signed whatever
//! carries them (RFC 8945 §5.3).

use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use medusa_core::AccessSink;
use medusa_core::metrics::ServiceMetrics;
use medusa_resolver::{DoorReply, Visitor};

use super::*;
use crate::transfer::tsig::{Algorithm, Key, Signer, Verifier};
use crate::transfer::{Desk, Keys};
use crate::zone::name_from_text;

fn key(secret: &str) -> Arc<Key> {
    let algorithm = Algorithm::named("hmac-sha256").unwrap();
    Arc::new(Key::new(name_from_text("one").unwrap(), algorithm, secret.into()))
}

/// A server that knows the key `one`, whose secret is `right`.
fn service() -> DnsService {
    service_of("dns.test".into())
}

fn service_of(parts: ServiceParts) -> DnsService {
    let keys = Keys::new([Arc::into_inner(key("right")).unwrap()]);
    let zones = Zones::new([zone(ZONE)]);
    let desk = Desk::new(zones.clone(), keys, Vec::new(), || NOW);
    DnsService::new(parts, zones).with_desk(desk)
}

fn signed(asked: &str, secret: &str, now: u64) -> (Vec<u8>, Verifier) {
    let mut message = query(asked);
    let verifier = Signer::sign_request(&key(secret), &mut message, now);
    (message, verifier)
}

#[derive(Default)]
struct Lines(Mutex<Vec<String>>);

impl AccessSink for Lines {
    fn line(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let (_, line) = line.split_once('"').expect("a question");
        self.0.lock().unwrap().push(line.to_owned());
    }
}

/// The time of the core's tests.
const NOW: u64 = 1_000_000_000;

fn visitor() -> Visitor {
    let now = UNIX_EPOCH + Duration::from_secs(NOW);
    Visitor { address: Some([192, 0, 2, 1].into()), is_secure: true, now }
}

/// What comes back through the door, its length in seconds first.
fn through(service: &DnsService, message: &[u8]) -> (u32, Vec<u8>) {
    let DoorReply::Now(answer) = service.door().answer(message, visitor()) else {
        panic!("no answer")
    };
    (answer.seconds, answer.message)
}

#[test]
fn they_are_counted_and_told_of() {
    let (metrics, lines) = (Arc::<ServiceMetrics>::default(), Arc::<Lines>::default());
    let parts = ServiceParts::new("dns.test").with_access(Some(Arc::clone(&lines) as _));
    let service = service_of(parts).with_metrics(Some(Arc::clone(&metrics)));
    let value = |name: &str| {
        let counters = metrics.counters();
        counters.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value)
    };
    let mut datagrams = datagrams(&service);
    let from = SocketAddr::from(([192, 0, 2, 1], 4000));
    let (message, mut verifier) = signed("ns.example.test A", "right", NOW);
    let sent = datagrams.receive(from, &message).sent();
    verifier.check(&sent[0].bytes, NOW).unwrap();
    assert_eq!(value("answers_noerror"), 1);
    let mut client = client(&service);
    let (message, mut verifier) = signed("none.example.test A", "right", NOW);
    let output = client.send(stream(&[message])).output();
    verifier.check(&messages(&output)[0], NOW).unwrap();
    assert_eq!(value("answers_nxdomain"), 1);
    // A signature that doesn't hold is told too.
    let (message, _) = signed("ns.example.test A", "wrong", NOW);
    datagrams.receive(from, &message).sent();
    assert_eq!(value("answers_other"), 1);
    // What is no question isn't.
    let mut notice = query("other.test SOA");
    notice[2] = 4 << 3;
    Signer::sign_request(&key("right"), &mut notice, NOW);
    assert_eq!(datagrams.receive(from, &notice).sent().len(), 1);
    let lines = lines.0.lock().unwrap();
    let told: Vec<_> = lines.iter().filter_map(|line| line.rsplit_once(' ')).collect();
    let told: Vec<_> = told.iter().map(|(line, _)| *line).collect();
    let expected = [
        "DNS ns.example.test. A\" NOERROR",
        "DNS none.example.test. A\" NXDOMAIN",
        "DNS ns.example.test. A\" NOTAUTH",
    ];
    assert_eq!(told, expected);
}

#[test]
fn they_are_limited_by_what_is_answered() {
    let limit = RateLimit { answers_per_second: 10, slip: 2, ..RateLimit::default() };
    let service = service().with_rate_limit(Some(limit));
    let mut datagrams = datagrams(&service);
    let from = SocketAddr::from(([192, 0, 2, 1], 4000));
    let (message, _) = signed("ns.example.test A", "right", NOW);
    let sent: Vec<_> = (0..30).flat_map(|_| datagrams.receive(from, &message).sent()).collect();
    let (cut, whole): (Vec<_>, Vec<_>) = sent.iter().partition(|sent| sent.bytes[2] & 2 != 0);
    assert_eq!((whole.len(), cut.len()), (10, 10));
    // Who is told to come by TCP believes that only if it is signed.
    for sent in &sent {
        let (_, mut verifier) = signed("ns.example.test A", "right", NOW);
        verifier.check(&sent.bytes, NOW).unwrap();
    }
    assert_eq!(shown(&cut[0].bytes).lines().next(), Some("NOERROR AA TC"));
    // Errors are another account, which is still full.
    let (message, _) = signed("ns.example.test A", "wrong", NOW);
    let refused: Vec<_> = (0..10).flat_map(|_| datagrams.receive(from, &message).sent()).collect();
    assert!(refused.iter().all(|sent| sent.bytes[2] & 2 == 0) && refused.len() == 10);
}

#[test]
fn over_https_they_are_answered_with_a_signature() {
    let service = service();
    for (asked, rcode, seconds) in [
        ("ns.example.test A", 0, 60),
        ("none.example.test A +edns", 3, 5),
        ("example.org A", 5, 0),
        // There is one message each way.
        ("example.test AXFR", 4, 0),
    ] {
        let (message, mut verifier) = signed(asked, "right", NOW);
        let (lifetime, answer) = through(&service, &message);
        verifier.check(&answer, NOW).unwrap_or_else(|error| panic!("{asked}: {error}"));
        assert_eq!((answer[3] & 15, lifetime), (rcode, seconds), "{asked}");
    }
    for (secret, now) in [("wrong", NOW), ("right", NOW - 1000)] {
        let (message, _) = signed("ns.example.test A", secret, now);
        let (_, answer) = through(&service, &message);
        assert_eq!((answer[3] & 15, answer[7]), (9, 0), "NOTAUTH, and nothing else: {secret}");
    }
    let mut update = query("example.test SOA");
    update[2] = 5 << 3;
    let mut verifier = Signer::sign_request(&key("right"), &mut update, NOW);
    let (_, answer) = through(&service, &update);
    verifier.check(&answer, NOW).unwrap();
    assert_eq!(answer[3] & 15, 4);
}

#[test]
fn a_program_says_who_may_have_its_zones() {
    for (networks, rcode) in [("127.0.0.0/8", 0), ("192.0.2.0/24", 5)] {
        let service = super::service().with_transfer_to(vec![networks.parse().unwrap()]);
        let output = client(&service).send(stream(&[query("example.test AXFR")])).output();
        let answer = &messages(&output)[0];
        // The SOA record comes twice.
        let records = if rcode == 0 { 205 } else { 0 };
        assert_eq!((answer[3] & 15, answer[7]), (rcode, records));
    }
}
