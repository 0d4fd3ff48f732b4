//! Services that come, go and take one another's place while a server runs. Nothing sleeps: every wait is for
//! a byte, a datagram or an end of file.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use medusa_core::config::Listen;
use medusa_core::metrics::Metrics;
use medusa_core::server::{Bound, ChangeError, Handle, Running};
use medusa_core::{
    Acceptor, Cx, Datagram, DatagramCx, DatagramService, Frame, Framing, Listener, Peer, Server,
    Service, ServiceParts, Session,
};

/// Says its word to everybody: at the beginning, for every line, and in answer to a datagram.
struct Word {
    name: &'static str,
    word: &'static str,
    listen: Vec<SocketAddr>,
    datagrams: Vec<SocketAddr>,
    /// Whether its sessions end when they are asked to finish.
    is_obedient: bool,
}

fn word(word: &'static str) -> Word {
    let any = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
    Word { name: "word", word, listen: any.clone(), datagrams: any, is_obedient: true }
}

struct Speaker {
    word: &'static str,
    is_obedient: bool,
}

impl Session for Speaker {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(1000));
        cx.write(format!("{}\n", self.word).as_bytes());
    }

    fn received(&mut self, cx: &mut Cx<'_>, _: Frame<'_>) {
        let draining = if cx.is_draining() { ", draining" } else { "" };
        cx.write(format!("{}{draining}\n", self.word).as_bytes());
    }

    fn draining(&mut self, cx: &mut Cx<'_>) {
        if self.is_obedient {
            cx.write(b"bye\n");
            cx.close();
        }
    }
}

struct Answerer(&'static str);

impl DatagramService for Answerer {
    fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
        let word = self.0;
        cx.reply(datagram.sender, |out| out.extend_from_slice(word.as_bytes()));
    }
}

impl Service for Word {
    fn parts(&self) -> ServiceParts {
        self.listen.iter().copied().map(Listen::Inet).fold(self.name.into(), ServiceParts::listen)
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        let (word, is_obedient) = (self.word, self.is_obedient);
        Box::new(move |_: &Peer| Box::new(Speaker { word, is_obedient }) as Box<dyn Session>)
    }

    fn datagram_listeners(&self) -> Vec<Listener> {
        self.datagrams.iter().map(|address| Listener::new(Listen::Inet(*address))).collect()
    }

    fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
        Some(Box::new(Answerer(self.word)))
    }
}

/// A server that is stopped when it is dropped.
struct Lab {
    running: Option<Running>,
    handle: Handle,
    bound: Vec<Bound>,
}

impl Lab {
    fn with(shards: usize, metrics: &Metrics, service: Word) -> Lab {
        let builder = Server::builder().shards(shards).metrics(metrics).mount(Box::new(service));
        let server = builder.bind().unwrap();
        let bound = server.bound().to_vec();
        let running = server.start().unwrap();
        Lab { handle: running.handle(), running: Some(running), bound }
    }

    fn change(&mut self, without: &[&str], services: Vec<Word>, within: Option<Duration>) {
        let services = services.into_iter().map(|one| Box::new(one) as Box<dyn Service>).collect();
        self.bound = self.handle.change(without, services, within).unwrap();
    }

    fn address(&self, name: &str, datagrams: bool) -> SocketAddr {
        let wanted = |bound: &&Bound| bound.service == name && bound.datagrams == datagrams;
        match &self.bound.iter().find(wanted).unwrap().address {
            Listen::Inet(address) => *address,
            Listen::Unix(_) => panic!("not over TCP"),
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.handle.stop();
        let ended = self.running.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

struct Caller(BufReader<TcpStream>);

impl Caller {
    fn to(address: SocketAddr) -> Caller {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Caller(BufReader::new(stream))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self) -> String {
        self.0.get_mut().write_all(b"?\r\n").unwrap();
        self.line()
    }
}

fn answer(to: SocketAddr) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.send_to(b"?", to).unwrap();
    let mut buffer = [0; 100];
    let (length, _) = socket.recv_from(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// What everybody hears once both shards have changed.
fn awaited(wanted: &str, mut heard: impl FnMut() -> String) {
    let end = Instant::now() + Duration::from_secs(20);
    let mut last = 0;
    // Sockets of both shards are met in this many tries but for once in a million runs.
    while last < 20 {
        last = if heard() == wanted { last + 1 } else { 0 };
        assert!(Instant::now() < end, "never {wanted}");
    }
}

#[test]
fn one_takes_the_place_of_another_at_the_same_address() {
    for shards in [1, 2] {
        let metrics = Metrics::default();
        let mut lab = Lab::with(shards, &metrics, word("old"));
        let (stream, datagram) = (lab.address("word", false), lab.address("word", true));
        let mut early = Caller::to(stream);
        assert_eq!((early.line(), answer(datagram)), ("old".into(), "old".into()));
        for new in ["new", "newer"] {
            lab.change(&["word"], vec![word(new)], None);
            assert_eq!((lab.address("word", false), lab.address("word", true)), (stream, datagram));
            awaited(new, || Caller::to(stream).line());
            awaited(new, || answer(datagram));
            if new == "new" {
                assert_eq!((early.line(), early.line()), ("bye".into(), String::new()));
            }
        }
        let all: Vec<_> = metrics.all().iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(all, ["word"]);
    }
}

#[test]
fn what_waits_to_be_accepted_is_served_by_the_new_one() {
    let mut lab = Lab::with(1, &Metrics::default(), word("old"));
    let address = lab.address("word", false);
    // Sessions keep the shard from accepting for as long as it carries out the change.
    for round in 0..50 {
        let before: Vec<_> = (0..20).map(|_| Caller::to(address)).collect();
        lab.change(&["word"], vec![word(if round % 2 == 0 { "even" } else { "odd" })], None);
        for mut caller in before {
            // It was taken in before or after: it hears a word either way.
            assert!(["old", "even", "odd"].contains(&caller.line().as_str()));
        }
    }
}

#[test]
fn one_that_leaves_gives_its_address_up() {
    let mut lab = Lab::with(2, &Metrics::default(), word("first"));
    lab.change(&[], vec![Word { name: "other", ..word("second") }], None);
    let (first, second) = (lab.address("word", false), lab.address("other", false));
    let mut stays = Caller::to(second);
    assert_eq!((Caller::to(first).line(), stays.line()), ("first".into(), "second".into()));
    lab.change(&["word"], Vec::new(), None);
    assert_eq!(lab.bound.len(), 2);
    let end = Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(first).is_ok() {
        assert!(Instant::now() < end, "it listens still");
    }
    assert_eq!(stays.ask(), "second");
    // Another one may have it.
    lab.change(&[], vec![Word { name: "third", listen: vec![first], ..word("third") }], None);
    awaited("third", || Caller::to(first).line());
}

#[test]
fn an_address_may_go_from_one_name_to_another() {
    let fixed = || {
        let (stream, datagram) = (TcpListener::bind("127.0.0.1:0"), UdpSocket::bind("127.0.0.1:0"));
        (stream.unwrap().local_addr().unwrap(), datagram.unwrap().local_addr().unwrap())
    };
    let (stream, datagram) = fixed();
    let at = |name, word| Word {
        listen: vec![stream],
        datagrams: vec![datagram],
        name,
        ..self::word(word)
    };
    let metrics = Metrics::default();
    let mut lab = Lab::with(2, &metrics, at("a", "one"));
    lab.change(&["a"], vec![at("b", "two")], None);
    awaited("two", || Caller::to(stream).line());
    awaited("two", || answer(datagram));
    assert!(metrics.service("b").datagrams.sent.value() > 0);
}

#[test]
fn sessions_have_their_time_and_no_more() {
    let mut lab = Lab::with(1, &Metrics::default(), Word { is_obedient: false, ..word("old") });
    let mut caller = Caller::to(lab.address("word", false));
    assert_eq!(caller.line(), "old");
    lab.change(&["word"], vec![word("new")], None);
    awaited("old, draining", || caller.ask());
    // Told again to leave, and at once.
    let mut lab = Lab::with(1, &Metrics::default(), Word { is_obedient: false, ..word("old") });
    let mut caller = Caller::to(lab.address("word", false));
    assert_eq!(caller.line(), "old");
    lab.change(&["word"], Vec::new(), Some(Duration::ZERO));
    let mut rest = Vec::new();
    let ended = caller.0.read_to_end(&mut rest);
    assert!(ended.is_ok() || ended.unwrap_err().kind() == ErrorKind::ConnectionReset);
}

#[test]
fn a_change_that_fails_changes_nothing() {
    let mut lab = Lab::with(2, &Metrics::default(), word("old"));
    let address = lab.address("word", false);
    let mut early = Caller::to(address);
    assert_eq!(early.line(), "old");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let other = Word { name: "other", listen: vec![taken.local_addr().unwrap()], ..word("x") };
    let services: Vec<Box<dyn Service>> = vec![Box::new(word("new")), Box::new(other)];
    let ChangeError::Bind(errors) = lab.handle.change(&["word"], services, None).unwrap_err()
    else {
        panic!("refused")
    };
    assert_eq!((errors.0.len(), &*errors.0[0].service), (1, "other"));
    assert_eq!(early.ask(), "old");
    assert_eq!(Caller::to(address).line(), "old");
    lab.change(&[], Vec::new(), None);
    assert_eq!(lab.address("word", false), address);
}

/// One that can't be taken in.
struct Broken(Word);

impl Service for Broken {
    fn parts(&self) -> ServiceParts {
        self.0.parts()
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        panic!("on purpose")
    }
}

#[test]
fn one_that_panics_when_it_comes_ends_nothing_and_changes_nothing() {
    let mut lab = Lab::with(2, &Metrics::default(), word("old"));
    let (stream, datagram) = (lab.address("word", false), lab.address("word", true));
    let mut early = Caller::to(stream);
    assert_eq!(early.line(), "old");
    for _ in 0..3 {
        let broken = Broken(Word { name: "broken", ..word("x") });
        let services: Vec<Box<dyn Service>> = vec![Box::new(word("new")), Box::new(broken)];
        let refused = lab.handle.change(&["word"], services, None);
        assert!(matches!(refused, Err(ChangeError::Refused(why)) if why.contains("broken")));
    }
    assert_eq!((early.ask(), answer(datagram)), ("old".into(), "old".into()));
    assert_eq!(Caller::to(stream).line(), "old");
    lab.change(&["word"], vec![word("new")], None);
    assert_eq!((Caller::to(stream).line(), answer(datagram)), ("new".into(), "new".into()));
}

#[test]
fn who_leaves_is_known_until_the_last_session_has_ended() {
    let mut lab = Lab::with(2, &Metrics::default(), Word { is_obedient: false, ..word("old") });
    let mut caller = Caller::to(lab.address("word", false));
    assert_eq!(caller.line(), "old");
    lab.change(&["word"], vec![word("new")], None);
    assert_eq!(lab.handle.leaving(), ["word"]);
    assert_eq!(caller.ask(), "old, draining");
    drop(caller);
    let end = Instant::now() + Duration::from_secs(20);
    while !lab.handle.leaving().is_empty() {
        assert!(Instant::now() < end, "it never leaves");
    }
}

#[test]
fn nothing_comes_to_a_server_that_ends() {
    let lab = Lab::with(2, &Metrics::default(), Word { is_obedient: false, ..word("old") });
    let mut stays = Caller::to(lab.address("word", false));
    assert_eq!(stays.line(), "old");
    lab.handle.drain(None);
    let services: Vec<Box<dyn Service>> = vec![Box::new(Word { name: "late", ..word("x") })];
    let refused = lab.handle.change(&[], services, None);
    // A shard without a session may have ended already.
    assert!(matches!(refused, Err(ChangeError::Refused(_))));
    assert_eq!(stays.ask(), "old, draining");
}
