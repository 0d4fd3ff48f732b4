//! The service without a network: who asks, by whichever door, is told.

use std::net::SocketAddr;

use medusa_core::testing::{Asked as OfShard, Client, Datagrams, Sent};

use super::*;
use crate::testing::{name, question, record, reply};
use crate::{Answer, Forwarding, RecordKind, Resolver, Upstream};

/// Hears answers, and says them.
struct Asking;

impl Session for Asking {
    fn opened(&mut self, _: &mut Cx<'_>) {}

    fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        let (ticket, text) = match note.downcast::<Answer>() {
            Ok(Answer { ticket, result: Ok(records), .. }) => {
                (ticket, records.addresses().map(|address| address.to_string()).collect())
            }
            Ok(Answer { ticket, result: Err(error), .. }) => (ticket, error.to_string()),
            Err(note) => match note.downcast::<Forwarded>() {
                Ok(Forwarded { ticket, result: Ok(reply) }) => {
                    (ticket, format!("rcode {}, {} octets", reply.rcode(), reply.len()))
                }
                Ok(Forwarded { ticket, result: Err(error) }) => (ticket, error.to_string()),
                Err(_) => return,
            },
        };
        cx.write(format!("{ticket}: {text}; ").as_bytes());
    }
}

struct Shop {
    forwarding: Forwarding,
    shard: Datagrams,
    asking: Client,
}

fn upstream() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 53], 53))
}

impl Shop {
    fn new() -> Self {
        let forwarding = Forwarding::new(vec![Upstream::new(upstream())]).expect("no TLS");
        let shard = Datagrams::at(Self::service(&forwarding), &[]);
        Shop { forwarding, shard, asking: Client::new(Asking) }
    }

    fn service(forwarding: &Forwarding) -> Box<dyn DatagramService> {
        forwarding.service().datagram_service().expect("a datagram service")
    }

    fn asker(&self, ticket: u64) -> Asker {
        Asker::new(self.asking.remote().expect("a session"), ticket)
    }

    fn ask(&mut self, ticket: u64, name: &str) {
        let question = Question::new(name, RecordKind::A).expect("a name");
        self.forwarding.resolve(question, self.asker(ticket));
        self.shard.deliver();
    }

    fn sent_one(&mut self) -> Sent {
        let mut sent = self.shard.sent();
        assert_eq!(sent.len(), 1, "one datagram");
        sent.remove(0)
    }

    fn answer(&mut self, sent: &Sent, address: [u8; 4]) {
        let owner = question(&sent.bytes).0;
        let answer = reply(&sent.bytes, 0, &[record(&owner, 1, 60, address)], &[]);
        self.shard.answer(sent.socket, upstream(), answer);
    }

    fn told(&mut self) -> String {
        self.asking.deliver().text()
    }
}

#[test]
fn who_asks_on_the_shard_is_answered() {
    let mut shop = Shop::new();
    shop.ask(7, "a.test");
    let asked = shop.sent_one();
    assert_eq!((asked.to, shop.shard.clients().len()), (upstream(), 1));
    shop.answer(&asked, [192, 0, 2, 1]);
    assert_eq!(shop.told(), "7: 192.0.2.1; ");
    assert_eq!(shop.shard.clients().len(), 0, "the socket is closed");
    // Known now, and answered without anything that is sent.
    shop.ask(8, "a.test");
    for (ticket, name) in [(9, "localhost"), (10, "192.0.2.7"), (11, "a.invalid")] {
        shop.ask(ticket, name);
    }
    assert_eq!(shop.shard.sent(), []);
    assert_eq!(
        shop.told(),
        "8: 192.0.2.1; 9: 127.0.0.1; 10: 192.0.2.7; 11: there is no such name; "
    );
}

#[test]
fn every_question_has_a_socket_of_its_own() {
    let mut shop = Shop::new();
    for ticket in 0..10 {
        shop.ask(ticket, &format!("a{ticket}.test"));
    }
    let sent = shop.shard.sent();
    let sockets: std::collections::HashSet<_> = sent.iter().map(|sent| sent.socket).collect();
    assert_eq!((sent.len(), sockets.len()), (10, 10));
}

#[test]
fn who_asks_on_another_thread_is_answered() {
    let mut shop = Shop::new();
    let (forwarding, asker) = (shop.forwarding.clone(), shop.asker(1));
    let thread = std::thread::spawn(move || {
        assert!(forwarding.local().is_none());
        forwarding.resolve(Question::new("a.test", RecordKind::A).expect("a name"), asker);
    });
    thread.join().expect("asked");
    shop.shard.deliver();
    let asked = shop.sent_one();
    shop.answer(&asked, [192, 0, 2, 1]);
    assert_eq!(shop.told(), "1: 192.0.2.1; ");
}

#[test]
fn who_asks_before_the_service_has_begun_is_answered() {
    let forwarding = Forwarding::new(vec![Upstream::new(upstream())]).expect("no TLS");
    let asking = Client::new(Asking);
    let asker = Asker::new(asking.remote().expect("a session"), 1);
    forwarding.resolve(Question::new("a.test", RecordKind::A).expect("a name"), asker);
    let shard = Datagrams::at(Shop::service(&forwarding), &[]);
    let mut shop = Shop { forwarding, shard, asking };
    let asked = shop.sent_one();
    shop.answer(&asked, [192, 0, 2, 1]);
    assert_eq!(shop.told(), "1: 192.0.2.1; ");
}

#[test]
fn who_waits_when_the_service_ends_is_told() {
    let mut shop = Shop::new();
    shop.ask(1, "a.test");
    drop(shop.shard);
    assert_eq!(shop.asking.deliver().text(), "1: the resolver takes no questions; ");
    // The resolver goes on to be asked, by nobody for now.
    assert!(shop.forwarding.local().is_none());
}

#[test]
fn nobody_there_is_told_at_once() {
    let mut shop = Shop::new();
    shop.ask(1, "a.test");
    let asked = shop.sent_one();
    let refused = std::io::ErrorKind::ConnectionRefused.into();
    shop.shard.fail(asked.socket, Failure::Unreachable(refused));
    assert_eq!(shop.told(), "1: a name server can't be reached; ");
    shop.ask(2, "b.test");
    let asked = shop.sent_one();
    let full = std::io::ErrorKind::OutOfMemory.into();
    shop.shard.fail(asked.socket, Failure::Unopened(full));
    assert_eq!(shop.told(), "2: there are no sockets left; ");
    assert_eq!(shop.shard.clients().len(), 0);
}

#[test]
fn another_server_is_asked_when_one_is_not_there() {
    let servers = [1, 2].map(|host| Upstream::new(([192, 0, 2, host], 53).into()));
    let forwarding = Forwarding::new(servers.to_vec()).expect("no TLS");
    let shard = Datagrams::at(Shop::service(&forwarding), &[]);
    let mut shop = Shop { forwarding, shard, asking: Client::new(Asking) };
    shop.ask(1, "a.test");
    let first = shop.sent_one();
    let refused = std::io::ErrorKind::ConnectionRefused.into();
    shop.shard.fail(first.socket, Failure::Unreachable(refused));
    let second = shop.sent_one();
    assert_ne!(first.to, second.to);
    assert_eq!(shop.shard.clients().len(), 1);
}

#[test]
fn silence_is_waited_out() {
    let mut shop = Shop::new();
    shop.ask(1, "a.test");
    shop.shard.advance(Duration::from_secs(10));
    assert_eq!(shop.shard.sent().len(), 3);
    assert_eq!(shop.told(), "1: no name server has answered; ");
    assert_eq!(shop.shard.clients().len(), 0);
}

#[test]
fn questions_are_passed_on_for_others() {
    let mut shop = Shop::new();
    let local = shop.forwarding.local().expect("on this thread");
    let remote = shop.asking.remote().expect("a session");
    let wire = b"\x01A\x04tEsT\0";
    let ask = |question| local.forward(question, Instant::now(), &remote, 5);
    assert_eq!(ask(RawQuestion::new(wire, 257)), Passed::Later);
    shop.shard.deliver();
    let asked = shop.sent_one();
    assert_eq!(question(&asked.bytes).1, 257);
    let caa = record("a.test", 257, 60, b"\0\x05issueca");
    shop.shard.answer(asked.socket, upstream(), reply(&asked.bytes, 0, &[caa], &[]));
    let told = shop.told();
    assert!(told.starts_with("5: rcode 0, "), "{told}");
    let Passed::Now(Ok(answer)) = ask(RawQuestion::new(wire, 257)) else { panic!("it is known") };
    let mut out = vec![0xff];
    answer.write(0x1234, wire, &mut out);
    assert_eq!(
        &out[1..][..answer.question_end()],
        b"\x12\x34\x81\x80\0\x01\0\x01\0\0\0\0\x01A\x04tEsT\0\x01\x01\0\x01"
    );
    assert!(out.ends_with(b"\0\x05issueca") && out.len() == 1 + answer.len());
    // Signatures make another question of it.
    let signed = RawQuestion { dnssec_ok: true, ..RawQuestion::new(wire, 257) };
    assert_eq!(ask(signed), Passed::Later);
    for (name, kind) in [(&wire[..4], 1), (&b"\xc0\x0c"[..], 1), (wire, 252), (wire, 41)] {
        assert!(matches!(
            ask(RawQuestion::new(name, kind)),
            Passed::Now(Err(LookupError::Invalid { .. }))
        ));
    }
}

#[test]
fn the_systems_files_are_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| {
        std::fs::write(folder.path().join(name), text).expect("a file");
    };
    write("resolv.conf", "nameserver 192.0.2.1\n");
    write("hosts", "192.0.2.9 printer\n");
    let forwarding = Forwarding::by(crate::system::Files::of(folder.path()));
    let shard = Datagrams::at(Shop::service(&forwarding), &[]);
    let mut shop = Shop { forwarding, shard, asking: Client::new(Asking) };
    shop.ask(1, "printer");
    shop.ask(2, "a.test");
    let sent = shop.sent_one();
    assert_eq!(sent.to.to_string(), "192.0.2.1:53");
    let answer = reply(&sent.bytes, 0, &[record("a.test", 1, 600, [192, 0, 2, 7])], &[]);
    shop.shard.answer(sent.socket, sent.to, answer);
    assert_eq!(shop.told(), "1: 192.0.2.9; 2: 192.0.2.7; ");
    write("resolv.conf", "nameserver 192.0.2.22\n");
    write("hosts", "");
    shop.shard.advance(Duration::from_secs(6));
    // This one has the files looked at, and the next is asked of whom they name.
    for name in ["b.test", "c.test"] {
        shop.ask(3, name);
        shop.shard.run_jobs();
    }
    let asked: Vec<_> = shop.shard.sent().iter().map(|sent| sent.to.to_string()).collect();
    assert!(asked.ends_with(&["192.0.2.22:53".into(), "192.0.2.22:53".into()]), "{asked:?}");
    assert_eq!(shop.forwarding.servers()[0].to_string(), "192.0.2.22:53");
    // What others have said is forgotten.
    for name in ["a.test", "printer"] {
        shop.ask(4, name);
    }
    assert_eq!(shop.shard.sent().len(), 2);
}

#[test]
fn what_is_longer_than_was_asked_for_is_fetched_too() {
    let mut shop = Shop::new();
    shop.ask(1, "a.test");
    let asked = shop.sent_one();
    let many: Vec<_> = (0..200).map(|i| record("a.test", 1, 60, [10, 0, 0, i])).collect();
    let long = reply(&asked.bytes, 0, &many, &[]);
    assert!(long.len() > 4096);
    shop.shard.answer(asked.socket, upstream(), long);
    assert!(matches!(shop.shard.asked().first(), Some(OfShard::Connect(..))));
}

#[test]
fn truncated_answers_are_fetched_by_a_connection() {
    let mut shop = Shop::new();
    shop.ask(1, "a.test");
    let asked = shop.sent_one();
    let alias = record("a.test", 5, 60, name("b.test"));
    shop.shard.answer(asked.socket, upstream(), reply(&asked.bytes, 0x200, &[alias], &[]));
    let mut asked = shop.shard.asked().into_iter();
    let Some(OfShard::Connect(address, target, session)) = asked.next() else { panic!("connects") };
    let Some(OfShard::Notify(to, note)) = asked.next() else { panic!("sends") };
    assert_eq!((target, to), (upstream(), address));
    // The shard hands the note to the session, and the session's to the service.
    let mut connection =
        Client::with(session, Limits::default(), medusa_core::testing::Faults::none());
    connection.notify(note.downcast::<Message>().unwrap_or_else(|_| panic!("a message")));
    let output = connection.output();
    assert_eq!(usize::from(output[1]), output.len() - 2);
    let answer = reply(&output[2..], 0, &[record("a.test", 1, 60, [192, 0, 2, 1])], &[]);
    connection.send([&(answer.len() as u16).to_be_bytes()[..], &answer].concat());
    let Some(OfShard::Notify(_, note)) = connection.asked().into_iter().next() else {
        panic!("tells the service");
    };
    shop.shard.notify(note.downcast::<Said>().unwrap_or_else(|_| panic!("a message")));
    assert_eq!(shop.told(), "1: 192.0.2.1; ");
}
