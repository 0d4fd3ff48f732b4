//! The engine on a wire that tests hold in their hands.

mod events;
mod fuzz;

use proptest::prelude::*;

use super::*;
use crate::testing::{name, numbers, question, question_end, record, reply, soa};
use crate::wire::HEADER;
use crate::{Data, LookupError, Question, RecordKind};

const IP: [u8; 4] = [192, 0, 2, 80];
const TC: u16 = flag::TC;

/// An engine, its clock, and what it has sent.
struct Net {
    engine: Engine<u32>,
    now: Instant,
    next: u32,
}

impl Net {
    fn new(upstreams: &[&str]) -> Self {
        Self::with(upstreams, Pace::default())
    }

    fn with(upstreams: &[&str], pace: Pace) -> Self {
        let cache = Arc::new(Cache::new(1 << 20, Duration::from_secs(86_400)));
        let now = Instant::now();
        let mut engine = Engine::new(cache, Arc::default(), numbers());
        let upstreams: Vec<_> = upstreams.iter().map(|text| text.parse().expect("one")).collect();
        engine.set_servers(&upstreams, pace, now);
        Net { engine, now, next: 0 }
    }

    /// Asks for records of kind A, and says what is answered at once.
    fn ask(&mut self, name: &str) -> Option<String> {
        self.ask_for(name, RecordKind::A)
    }

    fn ask_for(&mut self, name: &str, kind: RecordKind) -> Option<String> {
        let question = Question::new(name, kind).expect("a name");
        let number = self.next;
        self.next += 1;
        match self.engine.ask(&Query::of(&question), self.now, || number) {
            Asked::Now(answer) => Some(told(name, answer)),
            Asked::Later => None,
            Asked::Busy => Some("busy".into()),
        }
    }

    /// The datagrams that were sent: path, to whom, what.
    fn sent(&mut self) -> Vec<(u64, SocketAddr, Vec<u8>)> {
        let all = std::iter::from_fn(|| self.engine.poll_transmit());
        let datagrams = all.filter_map(|transmit| match transmit {
            Transmit::Datagram { path, to, bytes } => Some((path, to, bytes)),
            _ => None,
        });
        datagrams.collect()
    }

    fn sent_one(&mut self) -> (u64, SocketAddr, Vec<u8>) {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "one datagram");
        sent.remove(0)
    }

    /// The messages that were sent on connections: to which server, what.
    fn streamed(&mut self) -> Vec<(u32, Vec<u8>)> {
        let all = std::iter::from_fn(|| self.engine.poll_transmit());
        let messages = all.filter_map(|transmit| match transmit {
            Transmit::Stream { server, bytes } => Some((server, bytes)),
            _ => None,
        });
        messages.collect()
    }

    fn receive(&mut self, path: u64, from: SocketAddr, bytes: &[u8]) -> &mut Self {
        self.engine.handle_datagram(path, from, bytes, self.now);
        self
    }

    /// What was told since: `number: what`.
    fn told(&mut self) -> Vec<String> {
        let all = std::iter::from_fn(|| self.engine.poll_answer());
        all.map(|(number, answer)| format!("{number}: {}", told("a.test", answer))).collect()
    }

    fn advance(&mut self, by: Duration) -> &mut Self {
        let end = self.now + by;
        for _ in 0..10_000 {
            let Some(at) = self.engine.poll_timeout().filter(|at| *at <= end) else { break };
            self.now = at;
            self.engine.handle_timeout(at);
        }
        self.now = end;
        self
    }

    /// Nothing is left of what was asked.
    fn is_clean(&self) -> bool {
        let engine = &self.engine;
        engine.running.is_empty()
            && engine.by_key.is_empty()
            && engine.paths.is_empty()
            && engine.ids.is_empty()
            && engine.deadlines.is_empty()
            && engine.waiting == 0
    }
}

/// An answer in a few words: the addresses, or why there are none.
fn told(name: &str, answer: Result<Reply, &'static str>) -> String {
    let question = Question::new(name, RecordKind::A).expect("a name");
    match answer.map_err(LookupError::temporary).and_then(|reply| reply.records(&question)) {
        Ok(records) => {
            let stale = if records.stale { "stale " } else { "" };
            let list = records.list.iter().map(|record| match record.data {
                Data::A(address) => format!("{address} {}s", record.ttl.as_secs()),
                ref other => format!("{other:?}"),
            });
            format!("{stale}{}", list.collect::<Vec<_>>().join(", "))
        }
        Err(error) => error.to_string(),
    }
}

fn a(owner: &str, ttl: u32) -> RawRecord {
    record(owner, 1, ttl, IP)
}

use crate::wire::RawRecord;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[test]
fn a_question_is_put_and_its_answer_kept() {
    let mut net = Net::new(&["192.0.2.53"]);
    assert_eq!(net.ask("A.test."), None);
    let (path, to, asked) = net.sent_one();
    assert_eq!(to, "192.0.2.53:53".parse().expect("an address"));
    assert_eq!(question(&asked).0.to_lowercase(), "a.test");
    // Recursion is desired, and there is an OPT record with 1,232 octets.
    assert_eq!((asked[2] & 1, &asked[asked.len() - 11..][..5]), (1, &[0, 0, 41, 4, 208][..]));
    net.now += ms(20);
    net.receive(path, to, &reply(&asked, 0, &[a("a.test", 300)], &[]));
    assert_eq!(net.told(), ["0: 192.0.2.80 300s"]);
    assert!(net.is_clean());
    net.advance(ms(100_000));
    assert_eq!(net.ask("a.test"), Some("192.0.2.80 200s".into()));
    assert_eq!(net.ask_for("a.test", RecordKind::Mx), None);
    assert_eq!(net.ask("localhost"), Some("127.0.0.1 86400s".into()));
}

#[test]
fn ids_ports_and_case_differ_each_time() {
    let mut net = Net::new(&["192.0.2.53"]);
    let (mut ids, mut names, mut paths) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..50 {
        net.ask(&format!("a-name-of-many-letters-{}.test", i % 25));
        net.advance(ms(if i == 24 { 60_000 } else { 0 }));
        for (path, _, asked) in net.sent() {
            ids.push([asked[0], asked[1]]);
            names.push(question(&asked).0);
            paths.push(path);
        }
    }
    let count = ids.len();
    for list in [
        names,
        ids.iter().map(|id| format!("{id:?}")).collect(),
        paths.iter().map(u64::to_string).collect(),
    ] {
        let distinct: BTreeSet<_> = list.iter().collect();
        assert!(distinct.len() + 1 >= count, "{} of {count}", distinct.len());
    }
}

/// Everything that a forger may get wrong, alone.
fn forgeries(asked: &[u8], to: SocketAddr) -> Vec<(&'static str, SocketAddr, Vec<u8>)> {
    let good = reply(asked, 0, &[record("a.test", 1, 300, [6; 4])], &[]);
    let changed = |at: usize, octet: u8| {
        let mut bytes = good.clone();
        bytes[at] ^= octet;
        bytes
    };
    let mut elsewhere = to;
    elsewhere.set_ip([192, 0, 2, 66].into());
    let mut port = to;
    port.set_port(5353);
    vec![
        ("id", to, changed(1, 1)),
        ("no answer", to, changed(2, 0x80)),
        ("opcode", to, changed(2, 0x10)),
        ("questions", to, changed(5, 3)),
        ("no question", to, changed(5, 1)),
        ("name", to, changed(13, 3)),
        ("type", to, changed(question_end(asked) - 3, 2)),
        ("class", to, changed(question_end(asked) - 1, 2)),
        ("sender", elsewhere, good.clone()),
        ("sender's port", port, good.clone()),
        ("cut", to, good[..11].to_vec()),
        ("nothing", to, Vec::new()),
        ("the question itself", to, asked.to_vec()),
    ]
}

#[test]
fn forged_answers_are_ignored_and_the_right_one_is_taken() {
    for index in 0..13 {
        let mut net = Net::new(&["192.0.2.53"]);
        net.ask("a.test");
        let (path, to, asked) = net.sent_one();
        let (what, from, bytes) = forgeries(&asked, to).remove(index);
        net.receive(path, from, &bytes);
        assert_eq!((net.told(), net.sent().len()), (vec![], 0), "{what}");
        assert_eq!(net.engine.counts.mismatches.value(), 1, "{what}");
        // By another socket of ours.
        net.receive(path + 1, to, &reply(&asked, 0, &[record("a.test", 1, 9, [6; 4])], &[]));
        net.receive(path, to, &reply(&asked, 0, &[a("a.test", 300)], &[]));
        assert_eq!(net.told(), ["0: 192.0.2.80 300s"], "{what}");
        assert!(net.is_clean());
    }
}

#[test]
fn many_forgeries_move_the_question_to_tcp() {
    let mut net = Net::new(&["192.0.2.53"]);
    net.ask("a.test");
    let (path, to, asked) = net.sent_one();
    let forged = forgeries(&asked, to).remove(0).2;
    for _ in 0..MISMATCHES - 1 {
        net.receive(path, to, &forged);
    }
    assert_eq!(net.streamed(), []);
    net.receive(path, to, &forged).receive(path, to, &forged);
    let streamed = net.streamed();
    assert_eq!(streamed.len(), 1);
    let (server, message) = &streamed[0];
    // The id of the datagram is of no use there.
    assert_ne!(message[..2], asked[..2]);
    let answer = reply(message, 0, &[a("a.test", 300)], &[]);
    assert!(net.engine.handle_message(*server, &answer, net.now));
    assert_eq!(net.told(), ["0: 192.0.2.80 300s"]);
    assert!(net.is_clean());
    assert!(!net.engine.handle_message(*server, &answer, net.now), "told already");
}

#[test]
fn no_datagram_is_taken_once_a_question_went_to_tcp() {
    let mut net = Net::new(&["192.0.2.53"]);
    net.ask("a.test");
    let (path, to, asked) = net.sent_one();
    let forged = forgeries(&asked, to).remove(0).2;
    for _ in 0..MISMATCHES {
        net.receive(path, to, &forged);
    }
    assert_eq!(net.streamed().len(), 1);
    // Right in everything, and too late: it may have been guessed.
    net.receive(path, to, &reply(&asked, 0, &[a("a.test", 300)], &[]));
    assert_eq!(net.told().len(), 0);
    // Nor does it go back to UDP when nothing comes, or when an alias leads on.
    let mut messages = Vec::new();
    while net.engine.outstanding() > 0 && messages.is_empty() {
        let next = net.engine.poll_timeout().expect("a deadline");
        net.advance(next - net.now);
        for transmit in std::iter::from_fn(|| net.engine.poll_transmit()).collect::<Vec<_>>() {
            match transmit {
                Transmit::Stream { server, bytes } => messages.push((server, bytes)),
                Transmit::Leave { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }
    let (server, message) = messages.remove(0);
    let alias = record("a.test", 5, 100, name("b.other"));
    net.engine.handle_message(server, &reply(&message, 0, &[alias], &[]), net.now);
    let (server, message) = net.streamed().remove(0);
    net.engine.handle_message(server, &reply(&message, 0, &[a("b.other", 300)], &[]), net.now);
    assert_eq!(net.told(), ["0: 192.0.2.80 300s"]);
    assert!(net.is_clean());
}

#[test]
fn an_answer_in_another_case_is_confirmed_over_tcp_until_the_server_is_known() {
    let mut net = Net::new(&["192.0.2.53"]);
    for round in 0..4 {
        let name = format!("a-name-of-many-letters-{round}.test");
        net.ask(&name);
        let (path, to, mut asked) = net.sent_one();
        asked[12..].make_ascii_lowercase();
        net.receive(path, to, &reply(&asked, 0, &[a(&name, 300)], &[]));
        let streamed = net.streamed();
        assert_eq!((net.told().len(), streamed.len()), if round < 3 { (0, 1) } else { (1, 0) });
        for (server, message) in streamed {
            let answer = reply(&message, 0, &[a(&name, 300)], &[]);
            net.engine.handle_message(server, &answer, net.now);
            assert_eq!(net.told().len(), 1);
        }
        assert!(net.is_clean());
    }
}

#[test]
fn truncated_answers_are_asked_for_over_tcp() {
    let mut net = Net::new(&["192.0.2.53"]);
    net.ask("a.test");
    let (path, to, asked) = net.sent_one();
    net.receive(path, to, &reply(&asked, TC, &[a("a.test", 300)], &[]));
    let (server, message) = net.streamed().remove(0);
    assert_eq!(question(&message), ("a.test".into(), 1));
    let many: Vec<_> = (0..100).map(|i| record("a.test", 1, 300, [10, 0, 0, i])).collect();
    net.engine.handle_message(server, &reply(&message, 0, &many, &[]), net.now);
    assert_eq!(net.told()[0].matches("10.0.0.").count(), 100);
    assert!(net.is_clean());
}

#[test]
fn an_answer_that_is_truncated_on_a_connection_is_none() {
    let mut net = Net::new(&["tls://192.0.2.1", "tls://192.0.2.2"]);
    net.ask("a.test");
    let (server, message) = net.streamed().remove(0);
    let answer = reply(&message, TC, &[a("a.test", 300)], &[]);
    assert!(net.engine.handle_message(server, &answer, net.now));
    assert_eq!(net.told().len(), 0);
    let (other, message) = net.streamed().remove(0);
    assert_ne!(other, server);
    net.engine.handle_message(other, &reply(&message, 0, &[a("a.test", 60)], &[]), net.now);
    assert_eq!(net.told(), ["0: 192.0.2.80 60s"]);
    assert!(net.is_clean());
}

#[test]
fn a_connection_that_ends_is_made_once_more() {
    let mut net = Net::new(&["tls://192.0.2.53#dns.test"]);
    net.ask("a.test");
    net.ask("b.test");
    let streamed = net.streamed();
    assert_eq!(streamed.len(), 2, "pipelined");
    assert_eq!(streamed[0].1.len() % 128, 0, "padded");
    let server = streamed[0].0;
    net.engine.handle_message(server, &reply(&streamed[1].1, 0, &[a("b.test", 60)], &[]), net.now);
    assert_eq!(net.told().len(), 1);
    net.engine.handle_hangup(server, false, net.now);
    let again = net.streamed();
    assert_eq!((again.len(), question(&again[0].1).0), (1, "a.test".into()));
    net.engine.handle_hangup(server, false, net.now);
    assert_eq!(net.told(), ["0: a name server hung up"]);
    assert!(net.is_clean());
}

#[test]
fn a_connection_that_is_dead_is_left_for_another() {
    let mut net = Net::new(&["tls://192.0.2.53"]);
    net.ask("a.test");
    assert_eq!(net.streamed().len(), 1);
    net.advance(ms(3200));
    let all: Vec<_> = std::iter::from_fn(|| net.engine.poll_transmit()).collect();
    assert!(matches!(all[..], [Transmit::Leave { .. }, Transmit::Stream { .. }]), "{all:?}");
    // What others are answered by is alive.
    net.ask("b.test");
    let (server, message) = net.streamed().remove(0);
    net.now += ms(1);
    net.engine.handle_message(server, &reply(&message, 0, &[a("b.test", 60)], &[]), net.now);
    net.ask("c.test");
    net.now += ms(1);
    net.engine.handle_message(server, &message, net.now);
    net.advance(ms(30_000));
    assert!(net.is_clean());
}

#[test]
fn silence_is_waited_out_with_longer_and_longer_waits() {
    let mut net = Net::new(&["192.0.2.53"]);
    net.ask("a.test");
    let (start, mut at) = (net.now, Vec::new());
    while net.engine.outstanding() > 0 {
        if !net.sent().is_empty() {
            at.push((net.now - start).as_millis());
        }
        let next = net.engine.poll_timeout().expect("a deadline");
        net.advance(next - net.now);
    }
    assert_eq!(at, [0, 800, 2400]);
    assert_eq!(net.now - start, ms(7400));
    assert_eq!(net.told(), ["0: no name server has answered"]);
    assert!(net.is_clean());
    // It is remembered for a while.
    assert_eq!(net.ask("a.test"), Some("no name server has answered".into()));
    net.advance(ms(5000));
    assert_eq!(net.ask("a.test"), None);
    assert_eq!(net.engine.counts.timeouts.value(), 3);
}

#[test]
fn a_late_answer_to_the_first_packet_counts() {
    let mut net = Net::new(&["192.0.2.53"]);
    net.ask("a.test");
    let (path, to, asked) = net.sent_one();
    net.advance(ms(900));
    let (second, ..) = net.sent_one();
    assert_ne!(second, path);
    net.receive(path, to, &reply(&asked, 0, &[a("a.test", 300)], &[]));
    assert_eq!(net.told(), ["0: 192.0.2.80 300s"]);
    assert!(net.is_clean());
}

#[test]
fn the_next_server_is_asked_when_one_cannot_answer() {
    let refusals: [(&str, u16, Vec<RawRecord>); 5] = [
        ("SERVFAIL", 2, vec![]),
        ("REFUSED", 5, vec![]),
        ("a referral", 0, vec![record("test", 2, 60, name("ns.test"))]),
        ("nonsense", 0, vec![record("test", 6, 60, b"\x05")]),
        ("unknown", 11, vec![]),
    ];
    for (what, flags, authority) in refusals {
        let mut net = Net::new(&["192.0.2.1", "192.0.2.2"]);
        net.ask("a.test");
        let (path, first, asked) = net.sent_one();
        net.receive(path, first, &reply(&asked, flags, &[], &authority));
        let (path, second, asked) = net.sent_one();
        assert_ne!(first, second, "{what}");
        assert_eq!(net.told().len(), 0);
        net.receive(path, second, &reply(&asked, flags, &[], &authority));
        let told = net.told();
        assert!(told[0].contains("a") && told.len() == 1 && net.is_clean(), "{what}: {told:?}");
    }
}

#[test]
fn a_server_that_is_down_is_not_asked_first() {
    let mut net = Net::new(&["192.0.2.1", "192.0.2.2"]);
    for round in 0..40 {
        net.ask(&format!("a{round}.test"));
        for _ in 0..10 {
            for (path, to, asked) in net.sent() {
                if to.ip() == std::net::IpAddr::from([192, 0, 2, 2]) {
                    let owner = question(&asked).0;
                    net.receive(path, to, &reply(&asked, 0, &[a(&owner, 300)], &[]));
                }
            }
            if net.engine.outstanding() > 0 {
                net.advance(ms(1000));
            }
        }
        assert_eq!(net.engine.outstanding(), 0, "round {round}");
    }
    let timeouts = net.engine.counts.timeouts.value();
    assert!((1..=4).contains(&timeouts), "{timeouts}");
}

#[test]
fn a_server_that_is_not_there_is_left_at_once() {
    let mut net = Net::new(&["192.0.2.1", "192.0.2.2"]);
    net.ask("a.test");
    let (path, first, _) = net.sent_one();
    net.engine.handle_unreachable(path, false, net.now);
    let (path, second, _) = net.sent_one();
    assert_ne!(first, second);
    net.engine.handle_unreachable(path, false, net.now);
    assert_eq!(net.told(), ["0: a name server can't be reached"]);
    assert!(net.is_clean());
}

#[test]
fn a_server_without_edns_is_asked_without() {
    for (flags, questions) in [(1, 1), (4, 1), (1, 0)] {
        let mut net = Net::new(&["192.0.2.53"]);
        net.ask("a.test");
        let (path, to, asked) = net.sent_one();
        let mut answer = reply(&asked, flags, &[], &[]);
        if questions == 0 {
            answer.truncate(12);
            answer[5] = 0;
        }
        net.receive(path, to, &answer);
        let (path, to, asked) = net.sent_one();
        assert_eq!(asked[11], 0, "no OPT record");
        net.receive(path, to, &reply(&asked, 0, &[a("a.test", 300)], &[]));
        assert_eq!(net.told(), ["0: 192.0.2.80 300s"]);
        net.ask("b.test");
        assert_eq!(net.sent_one().2[11], 0, "it is remembered");
    }
}

#[test]
fn identical_questions_are_put_once() {
    let mut net = Net::new(&["192.0.2.53"]);
    for _ in 0..100 {
        assert_eq!(net.ask("a.test"), None);
    }
    let (path, to, asked) = net.sent_one();
    net.receive(path, to, &reply(&asked, 0, &[a("a.test", 0)], &[]));
    assert_eq!(net.told().len(), 100);
    // With a time to live of 0 it holds for those who have waited, and nobody else.
    assert_eq!(net.ask("a.test"), None);
}

#[test]
fn what_is_under_way_is_bounded() {
    let pace = Pace { outstanding: 2, waiting: 4, ..Pace::default() };
    let mut net = Net::with(&["192.0.2.53"], pace);
    for (name, told) in [
        ("a.test", None),
        ("b.test", None),
        ("c.test", Some("busy")),
        ("a.test", None),
        ("a.test", None),
        ("a.test", Some("busy")),
    ] {
        assert_eq!(net.ask(name).as_deref(), told, "{name}");
    }
    net.advance(ms(60_000));
    assert_eq!(net.told().len(), 4);
    assert!(net.is_clean());
    assert_eq!(net.ask("c.test"), None);
}

#[test]
fn aliases_are_followed_where_the_server_does_not() {
    let mut net = Net::new(&["192.0.2.53"]);
    net.ask("a.test");
    let (path, to, asked) = net.sent_one();
    let alias = record("a.test", 5, 100, name("b.other"));
    net.receive(path, to, &reply(&asked, 0, &[alias], &[]));
    let (path, to, asked) = net.sent_one();
    assert_eq!(question(&asked).0.to_lowercase(), "b.other");
    net.receive(path, to, &reply(&asked, 0, &[a("b.other", 300)], &[]));
    assert_eq!(net.told(), ["0: 192.0.2.80 300s"]);
    assert_eq!(net.ask("a.test"), Some("192.0.2.80 300s".into()));
    net.advance(ms(100_000));
    assert_eq!(net.ask("a.test"), None, "the alias held for 100 s");
}

#[test]
fn a_stale_answer_is_better_than_none() {
    let mut net = Net::new(&["192.0.2.53"]);
    net.ask("a.test");
    let (path, to, asked) = net.sent_one();
    net.receive(path, to, &reply(&asked, 0, &[a("a.test", 60)], &[]));
    net.told();
    net.advance(ms(61_000));
    assert_eq!(net.ask("a.test"), None);
    // Nobody answers: after 1.8 s there is the old one, also for those who join.
    net.advance(ms(1799));
    assert_eq!(net.told().len(), 0);
    net.advance(ms(1));
    assert_eq!(net.told(), ["1: stale 192.0.2.80 30s"]);
    assert_eq!(net.ask("a.test"), Some("stale 192.0.2.80 30s".into()));
    net.advance(ms(10_000));
    assert!(net.is_clean());
    net.sent();
    // Nobody is asked for a while.
    assert_eq!(net.ask("a.test"), Some("stale 192.0.2.80 30s".into()));
    assert_eq!(net.sent().len(), 0);
    net.advance(ms(30_000));
    assert_eq!(net.ask("a.test"), None);
    let (path, to, asked) = net.sent_one();
    net.receive(path, to, &reply(&asked, 0, &[a("a.test", 60)], &[]));
    assert_eq!(net.told(), ["4: 192.0.2.80 60s"]);
}

#[test]
fn nothing_is_kept_as_long_as_it_is_said_to_be_nothing() {
    let mut net = Net::new(&["192.0.2.53"]);
    net.ask("a.test");
    let (path, to, asked) = net.sent_one();
    net.receive(path, to, &reply(&asked, 3, &[], &[soa("test", 40)]));
    assert_eq!(net.told(), ["0: there is no such name"]);
    net.advance(ms(39_000));
    assert_eq!(net.ask("a.test"), Some("there is no such name".into()));
    net.advance(ms(1000));
    assert_eq!(net.ask("a.test"), None);
    // Never stale.
    net.advance(ms(60_000));
    assert_eq!(net.told(), ["2: no name server has answered"]);
}

#[test]
fn nothing_behind_an_alias_is_never_stale() {
    let mut net = Net::new(&["192.0.2.53"]);
    net.ask("a.test");
    let (path, to, asked) = net.sent_one();
    let alias = record("a.test", 5, 100, name("b.test"));
    net.receive(path, to, &reply(&asked, 0, &[alias], &[soa("test", 40)]));
    assert_eq!(net.told(), ["0: the name has no record of this kind"]);
    net.advance(ms(41_000));
    assert_eq!(net.ask("a.test"), None);
    net.advance(ms(60_000));
    assert_eq!(net.told(), ["1: no name server has answered"]);
}

#[test]
fn popular_answers_are_asked_for_before_they_run_out() {
    let mut net = Net::new(&["192.0.2.53"]);
    net.ask("a.test");
    let (path, to, asked) = net.sent_one();
    net.receive(path, to, &reply(&asked, 0, &[a("a.test", 100)], &[]));
    net.advance(ms(95_000));
    for _ in 0..5 {
        assert!(net.ask("a.test").is_some());
    }
    let (path, to, asked) = net.sent_one();
    net.receive(path, to, &reply(&asked, 0, &[a("a.test", 100)], &[]));
    net.advance(ms(20_000));
    assert_eq!(net.ask("a.test"), Some("192.0.2.80 80s".into()));
    assert!(net.is_clean());
}

#[test]
fn other_servers_begin_anew() {
    let mut net = Net::new(&["192.0.2.1"]);
    net.ask("a.test");
    net.sent_one();
    let upstreams = ["192.0.2.2".parse().expect("an upstream")];
    net.engine.set_servers(&upstreams, Pace::default(), net.now);
    let (path, to, asked) = net.sent_one();
    assert_eq!(to.ip(), std::net::IpAddr::from([192, 0, 2, 2]));
    net.receive(path, to, &reply(&asked, 0, &[a("a.test", 300)], &[]));
    assert_eq!(net.told(), ["0: 192.0.2.80 300s"]);
    net.ask("b.test");
    net.engine.set_servers(&[], Pace::default(), net.now);
    assert_eq!(net.told().len(), 1);
    assert!(net.is_clean());
    assert_eq!(net.ask("c.test"), Some("no name server is known".into()));
}

#[test]
fn authenticity_is_believed_of_those_who_are_trusted() {
    for trust_ad in [true, false] {
        let mut net = Net::with(&["192.0.2.53"], Pace { trust_ad, ..Pace::default() });
        net.ask("a.test");
        let (path, to, asked) = net.sent_one();
        net.receive(path, to, &reply(&asked, flag::AD, &[a("a.test", 300)], &[]));
        let (_, answer) = net.engine.poll_answer().expect("an answer");
        assert_eq!(answer.expect("a reply").is_authentic(), trust_ad);
    }
}

/// A sound answer with all that may be in one.
fn rich(asked: &[u8]) -> Vec<u8> {
    let answers = [
        record("a.test", 5, 60, name("b.test")),
        record("b.test", 1, 60, IP),
        record("b.test", 46, 60, [0, 1, 8, 2, 0, 0, 0, 60, 1, 2, 3, 4, 1, 2, 3, 4, 0, 1, 0, 9]),
    ];
    let mut bytes = reply(asked, 0, &answers, &[soa("test", 60)]);
    // An owner that is a pointer to the question, with an MX record whose exchange is one too; and OPT.
    bytes[11] = 2;
    bytes.extend_from_slice(b"\xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x07\0\x0a\x02mx\xc0\x0e");
    bytes.extend_from_slice(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
    bytes
}

#[test]
fn every_truncation_and_every_flipped_bit_is_survived() {
    let mut net = Net::new(&["192.0.2.53"]);
    net.ask("a.test");
    let length = rich(&net.sent_one().2).len();
    let mut accepted = 0;
    let cut = (0..length).map(|at| (at, None));
    let flipped = (0..length * 8).map(|bit| (length, Some(bit)));
    for (end, bit) in cut.chain(flipped) {
        let mut net = Net::new(&["192.0.2.53"]);
        net.ask("a.test");
        let (path, to, asked) = net.sent_one();
        let mut bytes = rich(&asked);
        bytes.truncate(end);
        if let Some(bit) = bit {
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        net.receive(path, to, &bytes);
        // Whatever became of it, the next one is answered.
        for (path, to, asked) in net.sent() {
            net.receive(path, to, &rich(&asked));
        }
        accepted += net.told().len();
        net.advance(ms(60_000));
        assert!(net.is_clean(), "{end} {bit:?}");
    }
    assert!(accepted > length, "most flipped bits don't matter: {accepted}");
}

proptest! {
    /// Answers of whatever octets: never a panic, and nothing is left behind.
    #[test]
    fn nonsense_is_survived(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        counts in proptest::array::uniform6(0_u8..3),
        streamed in any::<bool>(),
    ) {
        let mut net = Net::new(&[if streamed { "tls://192.0.2.53" } else { "192.0.2.53" }]);
        net.ask("a.test");
        let sent: Vec<_> = std::iter::from_fn(|| net.engine.poll_transmit()).collect();
        for transmit in sent {
            let mangle = |asked: &[u8]| {
                let mut bytes = reply(asked, 0, &[], &[]);
                bytes[6..12].copy_from_slice(&counts);
                // Counts of a few, and lengths that fit by chance.
                for at in [6, 8, 10] {
                    bytes[at] = 0;
                }
                bytes.extend_from_slice(&body);
                bytes
            };
            match transmit {
                Transmit::Datagram { path, to, bytes } => { net.receive(path, to, &mangle(&bytes)); }
                Transmit::Stream { server, bytes } => {
                    net.engine.handle_message(server, &mangle(&bytes), net.now);
                }
                _ => {}
            }
        }
        net.advance(ms(60_000));
        prop_assert!(net.is_clean());
    }
}
