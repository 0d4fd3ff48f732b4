//! The service without sockets: connections however they are split, datagrams, and who is limited.

use std::net::SocketAddr;
use std::sync::Arc;

use medusa_core::testing::{Client, Datagrams};
use medusa_core::{Endpoint, Peer, Service, ServiceParts, Session};
use proptest::prelude::*;

use crate::answer::tests::{query, shown, zone};
use crate::zone::Zones;
use crate::{DnsService, RateLimit};

mod fuzz;
mod signed;

const ZONE: &str = "\
$TTL 60
@ SOA ns root 1 2 3 4 5
@ NS ns
ns A 192.0.2.2
www CNAME ns
$GENERATE 1-200 many A 192.0.2.$
";

fn service() -> DnsService {
    let zones = Zones::new([zone(ZONE)]);
    DnsService::new(ServiceParts::new("dns.test").listen("127.0.0.1:0".parse().unwrap()), zones)
}

fn session(service: &DnsService) -> Box<dyn Session> {
    let remote = Endpoint::Inet(SocketAddr::from(([192, 0, 2, 1], 4000)));
    let peer = Peer::new(remote, Endpoint::Unix);
    service.acceptor().accepted(&peer)
}

fn client(service: &DnsService) -> Client {
    Client::with(session(service), service.parts().limits(), medusa_core::testing::Faults::none())
}

/// Messages with their lengths in front.
fn stream(messages: &[Vec<u8>]) -> Vec<u8> {
    let framed = messages.iter().flat_map(|message| {
        let length = (message.len() as u16).to_be_bytes();
        length.into_iter().chain(message.iter().copied())
    });
    framed.collect()
}

/// The messages of a stream, which must be whole.
fn messages(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        found.push(rest[..length].to_vec());
        stream = &rest[length..];
    }
    assert_eq!(stream, []);
    found
}

fn questions() -> Vec<Vec<u8>> {
    let asked =
        ["www.example.test A", "none.example.test A +do", "many.example.test A", "example.org A"];
    asked
        .iter()
        .enumerate()
        .map(|(id, asked)| {
            let mut message = query(asked);
            message[1] = id as u8;
            message
        })
        .collect()
}

#[test]
fn pipelined_questions_are_answered_in_order_however_they_are_split() {
    let service = service();
    let input = stream(&questions());
    let mut expected = None;
    for first in 0..=input.len() {
        let mut client = client(&service);
        client.send(&input[..first]).send(&input[first..]);
        let output = client.output();
        let answers = messages(&output);
        assert_eq!(answers.iter().map(|answer| answer[1]).collect::<Vec<_>>(), [0, 1, 2, 3]);
        assert_eq!(*expected.get_or_insert(output.clone()), output, "split at {first}");
        assert!(!client.is_closed());
    }
    let mut client = client(&service);
    input.iter().for_each(|byte| {
        client.send([*byte]);
    });
    assert_eq!(Some(client.output()), expected);
    // More than fits a datagram.
    let answers = messages(&expected.unwrap());
    assert_eq!(shown(&answers[2]).lines().count(), 201);
}

#[test]
fn who_sends_no_question_is_left() {
    let service = service();
    let mut response = query("ns.example.test A");
    response[2] |= 0x80;
    for input in [vec![0, 0], stream(&[response]), stream(&[b"short".to_vec()])] {
        let mut client = client(&service);
        client.send(&input);
        assert!(client.is_closed());
        assert_eq!(client.output(), []);
    }
    let mut client = client(&service);
    client.send(stream(&[b"\0\x07\0\0\0\x01\0\0\0\0\0\0".to_vec()]));
    assert_eq!(messages(&client.output())[0][3], 1, "FORMERR");
    assert!(!client.is_closed());
}

#[test]
fn an_idle_connection_ends() {
    let service = service();
    let mut client = client(&service);
    client.send(stream(&questions()[..1]));
    assert_eq!(messages(&client.output()).len(), 1);
    client.advance(std::time::Duration::from_secs(9));
    assert!(!client.is_closed());
    client.advance(std::time::Duration::from_secs(2));
    assert!(client.is_closed());
}

fn datagrams(service: &DnsService) -> Datagrams {
    let own = service.datagram_service().expect("one");
    Datagrams::at(own, &[SocketAddr::from(([127, 0, 0, 1], 53))])
}

#[test]
fn datagrams_are_answered_unless_nobody_would_hear() {
    let service = service();
    let mut datagrams = datagrams(&service);
    let from = |port| SocketAddr::from(([192, 0, 2, 1], port));
    let message = query("www.example.test A");
    let sent = datagrams.receive(from(4000), &message).sent();
    assert_eq!(sent.len(), 1);
    assert!(shown(&sent[0].bytes).ends_with("answer: ns.example.test. 60 A 192.0.2.2\n"));
    assert_eq!(datagrams.receive(from(0), &message).sent(), []);
    assert_eq!(datagrams.receive(from(4000), "").sent(), []);
    assert_eq!(datagrams.receive(from(4000), &sent[0].bytes).sent(), [], "no answer to an answer");
}

#[test]
fn a_network_is_limited_unless_it_shows_that_it_is_there() {
    let limit = RateLimit { answers_per_second: 10, slip: 2, ..RateLimit::default() };
    let service = service().with_rate_limit(Some(limit));
    let mut datagrams = datagrams(&service);
    let plain = query("ns.example.test A");
    let mut ask = |address: [u8; 4], message: &[u8], count: usize| {
        let from = SocketAddr::from((address, 4000));
        (0..count).flat_map(|_| datagrams.receive(from, message).sent()).collect::<Vec<_>>()
    };
    let sent = ask([192, 0, 2, 1], &plain, 30);
    let (truncated, whole): (Vec<_>, Vec<_>) = sent.iter().partition(|sent| sent.bytes[2] & 2 != 0);
    assert_eq!((whole.len(), truncated.len()), (10, 10));
    assert_eq!(shown(&truncated[0].bytes), "NOERROR TC\n");
    // Loopback is nobody's forgery.
    assert_eq!(ask([127, 0, 0, 1], &plain, 30).len(), 30);
    // A cookie of ours shows that the address is right.
    let with_cookie = |cookie: &[u8]| {
        let mut message = query("ns.example.test A +edns");
        let at = message.len() - 1;
        message[at] = cookie.len() as u8 + 4;
        message.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
        message.extend_from_slice(cookie);
        message
    };
    let first = ask([198, 51, 100, 1], &with_cookie(b"01234567"), 1);
    let cookie = first[0].bytes[first[0].bytes.len() - 24..].to_vec();
    let known = with_cookie(&cookie);
    assert_eq!(ask([198, 51, 100, 1], &known, 100).len(), 100);
    assert!(ask([198, 51, 100, 2], &known, 100).len() < 100, "it is another's");
    assert_eq!(
        {
            let service = self::service().with_rate_limit(None);
            let mut datagrams = self::datagrams(&service);
            let from = SocketAddr::from(([192, 0, 2, 1], 4000));
            (0..300).map(|_| datagrams.receive(from, &plain).sent().len()).sum::<usize>()
        },
        300
    );
}

#[test]
fn a_network_is_limited_where_nothing_is_random() {
    let limit = RateLimit { answers_per_second: 10, slip: 0, ..RateLimit::default() };
    let service = service().with_rate_limit_by(Some(limit), || None);
    let mut datagrams = datagrams(&service);
    let from = SocketAddr::from(([192, 0, 2, 1], 4000));
    let message = query("ns.example.test A");
    let sent: usize = (0..30).map(|_| datagrams.receive(from, &message).sent().len()).sum();
    assert_eq!(sent, 10);
}

#[test]
fn what_the_desk_answers_is_limited_too() {
    let limit = RateLimit { answers_per_second: 10, slip: 2, ..RateLimit::default() };
    let service = service().with_rate_limit(Some(limit));
    let mut datagrams = datagrams(&service);
    let from = SocketAddr::from(([192, 0, 2, 1], 4000));
    let mut notice = query("other.test SOA");
    notice[2] = 4 << 3;
    let sent: Vec<_> = (0..30)
        .flat_map(|_| datagrams.receive(from, &notice).sent())
        .map(|sent| sent.bytes)
        .collect();
    let (truncated, whole): (Vec<_>, Vec<_>) = sent.iter().partition(|sent| sent[2] & 2 != 0);
    assert_eq!((whole.len(), truncated.len()), (10, 10));
    assert!(whole.iter().all(|answer| answer[3] & 15 == 9), "NOTAUTH");
}

#[test]
fn a_zone_is_replaced_under_way() {
    let zones = Zones::new([zone(ZONE)]);
    let replaced = DnsService::new("x", zones.clone());
    let mut datagrams = datagrams(&replaced);
    let from = SocketAddr::from(([192, 0, 2, 1], 4000));
    let mut rcode = |asked: &str| datagrams.receive(from, query(asked)).sent()[0].bytes[3] & 15;
    assert_eq!(rcode("new.example.test A"), 3);
    let new = zone(&format!("{ZONE}new A 192.0.2.3\n"));
    zones.replace(Arc::try_unwrap(new).expect("not shared"));
    assert_eq!(rcode("new.example.test A"), 0);
    assert!(zones.remove(&crate::zone::name_from_text("example.test").unwrap()));
    assert_eq!(rcode("new.example.test A"), 5);
}

proptest! {
    #[test]
    fn noise_on_a_connection_is_survived(noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let service = service();
        let mut client = client(&service);
        client.send(&noise);
        messages(&client.output());
    }
}
