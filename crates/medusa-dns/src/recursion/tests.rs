//! Questions that are passed on, with a resolver on the same thread and no sockets: an upstream server's
//! answers are made up here.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::SystemTime;

use medusa_core::testing::{Client, Datagrams, Faults, Sent};
use medusa_core::{Endpoint, Peer, Service};
use medusa_resolver::{DoorReply, Visitor};

use super::*;
use crate::answer::tests::{query, shown, zone, zone_named};
use crate::wire::HEADER;
use crate::zone::Zones;
use crate::{DnsService, RateLimit};

const NEAR: &str = "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nx A 192.0.2.3\n";
const ZONE: &str = "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.2\n\
    first CNAME away\naway CNAME www.Example.org.\nnear CNAME x.example.net.\nall DNAME example.org.\n";

fn address(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 4000))
}

/// One of those for whom others are asked, and one of the others.
fn inside() -> SocketAddr {
    address(1)
}

fn outside() -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 1], 4000))
}

fn upstream() -> SocketAddr {
    address(53)
}

/// A server and the resolver that it asks.
struct Lab {
    service: DnsService,
    server: Datagrams,
    resolver: Datagrams,
}

impl Lab {
    fn new() -> Lab {
        Lab::limited(None)
    }

    fn limited(limit: Option<RateLimit>) -> Lab {
        let forwarding = Forwarding::new(vec![upstream().to_string().parse().expect("one")]);
        let forwarding = forwarding.expect("no TLS");
        let datagrams = forwarding.service().datagram_service().expect("it asks");
        let resolver = Datagrams::at(datagrams, &[]);
        let networks = vec!["192.0.2.0/24".parse().expect("a network")];
        let service =
            DnsService::new("x", Zones::new([zone(ZONE), zone_named(NEAR, "example.net")]))
                .with_forwarding(forwarding, networks)
                .with_rate_limit(limit);
        let listener = [SocketAddr::from(([192, 0, 2, 53], 53))];
        let server = Datagrams::at(service.datagram_service().expect("it answers"), &listener);
        Lab { service, server, resolver }
    }

    /// What is answered at once.
    fn ask(&mut self, from: SocketAddr, asked: &[u8]) -> Vec<Vec<u8>> {
        let sent = self.server.receive(from, asked).sent();
        sent.into_iter().map(|sent| sent.bytes).collect()
    }

    /// What the upstream server is asked now.
    fn asked(&mut self) -> Vec<Sent> {
        self.resolver.deliver().sent()
    }

    /// The upstream server answers what it is asked now.
    fn answer(&mut self, rcode: u8, answers: &[&[u8]]) {
        let asked = self.asked();
        assert!(!asked.is_empty(), "nothing is asked");
        asked.iter().for_each(|asked| self.answer_one(asked, rcode, answers));
    }

    fn answer_one(&mut self, asked: &Sent, rcode: u8, answers: &[&[u8]]) {
        assert_eq!(asked.to, upstream());
        self.resolver.answer(asked.socket, upstream(), answer_to(&asked.bytes, rcode, answers));
    }

    /// What is answered later.
    fn heard(&mut self) -> Vec<Vec<u8>> {
        self.server.deliver().sent().into_iter().map(|sent| sent.bytes).collect()
    }

    /// A connection from somebody.
    fn connect(&self, from: SocketAddr) -> Client {
        let peer = Peer::new(Endpoint::Inet(from), Endpoint::Unix);
        let session = self.service.acceptor().accepted(&peer);
        Client::from_peer(session, peer, self.service.parts().limits(), Faults::none())
    }
}

/// A message that answers another with records whose owner is the question's name.
fn answer_to(asked: &[u8], rcode: u8, answers: &[&[u8]]) -> Vec<u8> {
    let name = crate::name::wire_length(&asked[HEADER..]).expect("a name");
    let mut message = asked[..HEADER + name + 4].to_vec();
    (message[2], message[3]) = (0x81, 0x80 | rcode);
    message[7] = answers.len() as u8;
    message[11] = 0;
    let rtype = [message[HEADER + name], message[HEADER + name + 1]];
    for data in answers {
        message.extend_from_slice(&[0xC0, 0x0C, rtype[0], rtype[1], 0, 1, 0, 0, 1, 0]);
        message.extend_from_slice(&(data.len() as u16).to_be_bytes());
        message.extend_from_slice(data);
    }
    message
}

/// The flags of a message, and how many answers and additional records it has.
fn seen(message: &[u8]) -> (u8, u8, u8, u8) {
    (message[2], message[3], message[7], message[11])
}

/// What a message says beyond its response code.
fn extended(message: &[u8]) -> Option<u16> {
    let at = message.windows(4).position(|bytes| bytes == [0, 15, 0, 2])?;
    Some(u16::from_be_bytes([message[at + 4], message[at + 5]]))
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

#[test]
fn names_of_others_are_asked_for() {
    let mut lab = Lab::new();
    assert!(lab.ask(inside(), &query("WwW.eXample.org A +rd")).is_empty());
    assert!(!lab.server.is_idle());
    lab.answer(0, &[&[192, 0, 2, 9]]);
    let heard = lab.heard().remove(0);
    assert!(lab.server.is_idle());
    assert_eq!(seen(&heard), (0x81, 0x80, 1, 0));
    assert_eq!(heard[..2], [0x12, 0x34]);
    assert!(heard[HEADER..].starts_with(b"\x03WwW\x07eXample\x03org\0"), "in its own case");
    assert!(heard.ends_with(&[0, 0, 1, 0, 0, 4, 192, 0, 2, 9]));
    // It is known then, and gets older.
    lab.server.advance(Duration::from_secs(6));
    let heard = lab.ask(inside(), &query("www.example.org A +rd +edns")).remove(0);
    assert_eq!(seen(&heard), (0x81, 0x80, 1, 1));
    assert!(heard.windows(10).any(|bytes| bytes == [0, 0, 0, 250, 0, 4, 192, 0, 2, 9]));
    // Signatures are another question.
    assert!(lab.ask(inside(), &query("www.example.org A +rd +do")).is_empty());
    let asked = lab.asked().remove(0);
    assert_eq!(asked.bytes[asked.bytes.len() - 4], 0x80, "DO goes with it");
    lab.answer_one(&asked, 3, &[]);
    assert_eq!(seen(&lab.heard()[0]), (0x81, 0x83, 0, 1));
}

#[test]
fn others_are_asked_for_some_alone() {
    let mut lab = Lab::new();
    let mut rcode = |from, asked: &str| {
        let heard = lab.ask(from, &query(asked)).remove(0);
        (heard[2], heard[3], extended(&heard))
    };
    assert_eq!(rcode(outside(), "example.org A +rd +edns"), (0x81, 5, Some(20)));
    // Nobody has to know what others have asked for.
    assert_eq!(rcode(inside(), "example.org A +edns"), (0x80, 0x85, Some(20)));
    // Our own names are our own.
    assert_eq!(rcode(inside(), "ns.example.test A +rd"), (0x85, 0x80, None));
    assert_eq!(rcode(outside(), "ns.example.test A +rd"), (0x85, 0, None));
    assert_eq!(rcode(inside(), "none.example.test A +rd"), (0x85, 0x83, None));
    assert_eq!(rcode(inside(), "example.org NULL CH +rd"), (0x81, 0x85, None));
    assert_eq!(rcode(inside(), "example.org MAILB +rd"), (0x81, 0x84, None));
    assert!(lab.asked().is_empty() && lab.server.is_idle());
}

#[test]
fn aliases_that_lead_to_others_are_followed() {
    let mut lab = Lab::new();
    let asked = query("First.example.test A +rd +edns");
    assert!(lab.ask(inside(), &asked).is_empty());
    lab.answer(0, &[&[192, 0, 2, 9], &[192, 0, 2, 10]]);
    let heard = lab.heard().remove(0);
    assert_eq!(seen(&heard), (0x85, 0x80, 4, 1), "{}", shown(&heard));
    assert_eq!(
        shown(&heard).lines().skip(1).collect::<Vec<_>>(),
        [
            "answer: First.example.test. 60 CNAME away.example.test.",
            "answer: away.example.test. 60 CNAME www.Example.org.",
            "answer: www.example.org. 256 A 192.0.2.9",
            "answer: www.example.org. 256 A 192.0.2.10",
        ]
    );
    let heard = lab.ask(inside(), &query("www.all.example.test A +rd")).remove(0);
    assert_eq!(seen(&heard), (0x85, 0x80, 4, 0), "known, by another alias: {}", shown(&heard));
    // What others say last is what there is.
    lab.ask(inside(), &query("none.all.example.test A +rd"));
    lab.answer(3, &[]);
    assert_eq!(seen(&lab.heard()[0]), (0x85, 0x83, 2, 0));
    lab.ask(inside(), &query("lost.all.example.test A +rd"));
    lab.answer(2, &[]);
    lab.resolver.advance(Duration::from_secs(30));
    assert_eq!(seen(&lab.heard()[0]), (0x81, 0x82, 0, 0));
    // These aren't.
    for (from, asked, answers) in [
        (outside(), "away.example.test A +rd", 1),
        (inside(), "away.example.test A", 1),
        (inside(), "away.example.test CNAME +rd", 1),
        (inside(), "all.example.test DNAME +rd", 1),
        // Another zone of ours has its end.
        (inside(), "near.example.test A +rd", 2),
    ] {
        let heard = lab.ask(from, &query(asked)).remove(0);
        assert_eq!((heard[7], heard[3] & 15), (answers, 0), "{asked}");
    }
    assert!(lab.server.is_idle());
}

#[test]
fn what_is_too_long_is_truncated() {
    let long = [&[200_u8][..], &[b'x'; 200]].concat();
    let mut lab = Lab::new();
    lab.ask(inside(), &query("example.org TXT +rd"));
    lab.answer(0, &[&long, &long, &long]);
    let heard = lab.heard().remove(0);
    assert_eq!(seen(&heard), (0x83, 0x80, 0, 0));
    assert_eq!(heard.len(), query("example.org TXT +rd").len());
    for (asked, expected) in [
        ("example.org TXT +rd +size=600", (0x83, 0x80, 0, 1)),
        ("example.org TXT +rd +size=1232", (0x81, 0x80, 3, 1)),
    ] {
        assert_eq!(seen(&lab.ask(inside(), &query(asked))[0]), expected);
    }
    lab.ask(inside(), &query("more.example.org TXT +rd +size=4096"));
    lab.answer(0, &[&long[..]; 6]);
    assert_eq!(seen(&lab.heard()[0]), (0x83, 0x80, 0, 1), "no longer than we send");
    let mut client = lab.connect(inside());
    client.send(framed(&query("more.example.org TXT +rd +size=4096")));
    assert_eq!(seen(&client.output()[2..]), (0x81, 0x80, 6, 1));
}

#[test]
fn silence_is_a_failure_in_the_end() {
    let mut lab = Lab::new();
    lab.ask(inside(), &query("example.org A +rd +edns"));
    lab.asked();
    lab.resolver.advance(Duration::from_secs(30));
    let heard = lab.heard().remove(0);
    assert_eq!((seen(&heard), extended(&heard)), ((0x81, 0x82, 0, 1), Some(22)));
    // The server's own clock stood still; those who hear nothing at all don't wait for ever either.
    lab.ask(inside(), &query("a.example.org A +rd"));
    lab.server.advance(Duration::from_secs(5));
    lab.ask(inside(), &query("b.example.org A +rd"));
    assert_eq!(lab.server.advance(Duration::from_secs(29)).sent(), []);
    let told = lab.server.advance(Duration::from_secs(1)).sent();
    assert_eq!(told.len(), 1);
    assert_eq!(seen(&told[0].bytes), (0x81, 0x82, 0, 0));
    assert_eq!(lab.server.advance(Duration::from_secs(5)).sent().len(), 1);
    assert!(lab.server.is_idle());
}

#[test]
fn without_a_resolver_nothing_is_waited_for() {
    let mut lab = Lab::new();
    lab.resolver = Datagrams::at(Lab::new().service.datagram_service().expect("another"), &[]);
    let heard = lab.ask(inside(), &query("example.org A +rd")).remove(0);
    assert_eq!(seen(&heard), (0x81, 0x82, 0, 0));
}

#[test]
fn answers_on_a_connection_leave_as_they_come() {
    let mut lab = Lab::new();
    let mut client = lab.connect(inside());
    let ids = |client: &mut Client| {
        let mut output = &client.output()[..];
        let mut ids = Vec::new();
        while let Some((length, rest)) = output.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            ids.push(rest[1]);
            output = &rest[length..];
        }
        ids
    };
    let asked = ["a.example.org A +rd", "ns.example.test A +rd", "b.example.org A +rd", "c.org A"];
    for (id, asked) in asked.iter().enumerate() {
        let mut message = query(asked);
        message[1] = id as u8;
        client.send(framed(&message));
    }
    assert_eq!(ids(&mut client), [1, 3]);
    let upward = lab.asked();
    lab.answer_one(&upward[1], 0, &[&[192, 0, 2, 9]]);
    assert_eq!(ids(client.deliver()), [2]);
    lab.answer_one(&upward[0], 3, &[]);
    assert_eq!(ids(client.deliver()), [0]);
    // Half closed, what is owed is still sent.
    client.send(framed(&query("d.example.org A +rd"))).end();
    assert!(!client.is_closed());
    lab.answer(0, &[&[192, 0, 2, 9]]);
    assert_eq!(ids(client.deliver()), [0x34]);
    assert!(client.is_closed());
    let mut client = lab.connect(inside());
    client.send(framed(&query("e.example.org A +rd")));
    client.advance(LONGEST_WAIT);
    assert_eq!(seen(&client.output()[2..]), (0x81, 0x82, 0, 0));
}

#[test]
fn a_connection_asks_for_no_more_than_it_may() {
    let lab = Lab::new();
    let mut client = lab.connect(inside());
    let most = lab.service.parts().limits().in_flight;
    for index in 0..2 * most {
        client.send(framed(&query(&format!("n{index}.example.org A +rd"))));
    }
    assert!(client.unread_bytes() > 0, "it is read no further");
}

#[test]
fn answers_of_others_are_limited_too() {
    let limit = RateLimit { answers_per_second: 10, slip: 2, except: Vec::new() };
    let mut lab = Lab::limited(Some(limit));
    lab.ask(inside(), &query("example.org A +rd"));
    lab.answer(0, &[&[192, 0, 2, 9]]);
    let mut heard = lab.heard();
    for _ in 0..29 {
        heard.extend(lab.ask(inside(), &query("example.org A +rd")));
    }
    let truncated = heard.iter().filter(|message| message[2] & flag::TRUNCATED != 0).count();
    assert_eq!((heard.len() - truncated, truncated), (10, 10));
}

#[test]
fn questions_with_any_bit_wrong_are_survived() {
    for asked in ["away.example.test A +rd +do", "example.org TXT +rd +option=10"] {
        let asked = query(asked);
        let mut lab = Lab::new();
        let mut client = lab.connect(inside());
        for bit in 0..8 * asked.len() {
            let mut wrong = asked.clone();
            wrong[bit / 8] ^= 1 << (bit % 8);
            let mut told = lab.ask(inside(), &wrong).len();
            if !client.is_closed() {
                client.send(framed(&wrong));
            }
            for asked in lab.asked() {
                lab.answer_one(&asked, 3, &[]);
            }
            lab.resolver.deliver();
            told += lab.heard().len();
            assert!(told <= 1, "{wrong:?}");
            client.deliver().output();
        }
        lab.resolver.advance(Duration::from_secs(60));
        lab.heard();
        assert!(lab.server.is_idle());
    }
}

#[test]
fn questions_come_through_the_door_as_well() {
    let mut lab = Lab::new();
    let door = lab.service.door();
    let visitor = |from: SocketAddr| Visitor {
        address: Some(from.ip()),
        is_secure: true,
        now: SystemTime::UNIX_EPOCH,
    };
    let asked = query("example.org A +rd");
    assert!(matches!(door.answer(&asked, visitor(outside())), DoorReply::Now(_)));
    let DoorReply::Later(pending) = door.answer(&asked, visitor(inside())) else {
        panic!("it isn't known")
    };
    let (sender, receiver) = mpsc::channel();
    pending.begin(move |answer| sender.send(answer).unwrap_or_default());
    lab.server.deliver();
    lab.answer(0, &[&[192, 0, 2, 9]]);
    lab.server.deliver();
    let answer = receiver.try_recv().expect("answered");
    assert_eq!((seen(&answer.message), answer.seconds), ((0x81, 0x80, 1, 0), 256));
    assert!(lab.server.sent().is_empty());
}
