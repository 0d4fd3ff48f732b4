//! The resolver over real sockets: against scripted servers that misbehave, and against NSD.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use medusa_core::{
    Acceptor, Cx, Datagram, DatagramCx, DatagramService, Frame, Note, Peer, Remote, Server,
    Service, ServiceParts, Session,
};
use medusa_resolver::{
    Answer, Asker, Data, Forwarded, Forwarding, LookupError, Passed, Question, RawQuestion,
    RecordKind, Records, Resolver, Settings, Upstream,
};
use medusa_tests::{Authority, PATIENCE, Site, require, until};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

// ---- a program that asks ---------------------------------------------------------------------------

/// What a question that was passed on came to: whether at once, and the message.
type PassedOn = (bool, Result<Vec<u8>, LookupError>);

/// Passes answers on to the test, and questions to the resolver on its own shard.
struct Ears {
    remotes: Sender<Remote>,
    answers: Sender<Answer>,
    passed: Sender<PassedOn>,
    forwarding: Forwarding,
}

/// A wish to have a question passed on.
struct PassOn(Vec<u8>, u16);

struct Office {
    ears: Mutex<Option<Ears>>,
}

struct Nobody;

impl Session for Nobody {
    fn opened(&mut self, _: &mut Cx<'_>) {}
    fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
}

impl Service for Office {
    fn parts(&self) -> ServiceParts {
        ServiceParts::new("office")
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(|_: &Peer| Box::new(Nobody) as Box<dyn Session>)
    }

    fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
        // One shard is enough to hear.
        self.ears.lock().ok()?.take().map(|ears| Box::new(ears) as Box<dyn DatagramService>)
    }
}

impl Ears {
    fn pass(&self, forwarded: &medusa_resolver::Reply, name: &[u8], now: bool) {
        let mut message = Vec::new();
        forwarded.write(7, name, &mut message);
        let _ = self.passed.send((now, Ok(message)));
    }
}

impl DatagramService for Ears {
    fn opened(&mut self, cx: &mut DatagramCx<'_>) {
        let _ = self.remotes.send(cx.remote());
    }

    fn received(&mut self, _: &mut DatagramCx<'_>, _: Datagram<'_>) {}

    fn notified(&mut self, cx: &mut DatagramCx<'_>, note: Note) {
        let note = match note.downcast::<Answer>() {
            Ok(answer) => return self.answers.send(answer).unwrap_or(()),
            Err(note) => note,
        };
        match note.downcast::<PassOn>() {
            Ok(PassOn(name, kind)) => {
                let local = self.forwarding.local().expect("on this shard");
                let question = RawQuestion::new(&name, kind);
                match local.forward(question, cx.now(), &cx.remote(), 1) {
                    Passed::Now(Ok(reply)) => self.pass(&reply, &name, true),
                    Passed::Now(Err(error)) => drop(self.passed.send((true, Err(error)))),
                    Passed::Later => {}
                }
            }
            Err(note) => match note.downcast::<Forwarded>() {
                Ok(Forwarded { result: Ok(reply), .. }) => self.pass(&reply, &[], false),
                Ok(Forwarded { result: Err(error), .. }) => {
                    drop(self.passed.send((false, Err(error))));
                }
                Err(_) => {}
            },
        }
    }
}

/// A server whose resolver is asked by a test.
struct Program {
    forwarding: Forwarding,
    remote: Remote,
    answers: Receiver<Answer>,
    passed: Receiver<PassedOn>,
    server: Option<medusa_core::server::Running>,
}

impl Program {
    fn new(upstreams: &[SocketAddr]) -> Self {
        let upstreams = upstreams.iter().copied().map(Upstream::new).collect();
        Self::with(Forwarding::new(upstreams).expect("no TLS"))
    }

    fn with(forwarding: Forwarding) -> Self {
        let (remotes, remote) = channel();
        let (answer, answers) = channel();
        let (pass, passed) = channel();
        let ears = Ears { remotes, answers: answer, passed: pass, forwarding: forwarding.clone() };
        let office = Office { ears: Mutex::new(Some(ears)) };
        let server = Server::builder().shards(2);
        let server = server.mount(forwarding.service()).mount(Box::new(office)).bind();
        let server = server.expect("nothing is bound").start().expect("it starts");
        let remote = remote.recv_timeout(PATIENCE).expect("it has begun");
        Program { forwarding, remote, answers, passed, server: Some(server) }
    }

    fn ask(&self, name: &str, kind: RecordKind) -> Result<Records, LookupError> {
        let question = Question::new(name, kind).expect("a name");
        let resolver: Arc<dyn Resolver> = Arc::new(self.forwarding.clone());
        resolver.resolve(question.clone(), Asker::new(self.remote.clone(), 5));
        let answer = self.answers.recv_timeout(PATIENCE).expect("an answer");
        assert_eq!((answer.ticket, answer.question), (5, question));
        answer.result
    }

    fn addresses(&self, name: &str) -> Vec<String> {
        let records =
            self.ask(name, RecordKind::A).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut addresses: Vec<_> = records.addresses().map(|ip| ip.to_string()).collect();
        addresses.sort();
        addresses
    }

    fn pass_on(&self, name: &[u8], kind: u16) -> PassedOn {
        self.remote.notify(PassOn(name.into(), kind)).expect("not busy");
        self.passed.recv_timeout(PATIENCE).expect("an answer")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.handle().stop();
            server.join().expect("it ends");
        }
    }
}

// ---- servers that are scripted ---------------------------------------------------------------------

/// Answers datagrams until the test is over.
struct Script {
    address: SocketAddr,
    thread: Option<JoinHandle<()>>,
    socket: UdpSocket,
}

impl Script {
    /// For each question, what `answer` has sent to its asker.
    fn new(answer: impl FnMut(&UdpSocket, &[u8], SocketAddr) + Send + 'static) -> Self {
        Self::on(UdpSocket::bind("127.0.0.1:0").expect("a port"), answer)
    }

    fn on(
        socket: UdpSocket,
        mut answer: impl FnMut(&UdpSocket, &[u8], SocketAddr) + Send + 'static,
    ) -> Self {
        let address = socket.local_addr().expect("an address");
        let own = socket.try_clone().expect("a descriptor");
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = own.recv_from(&mut buffer) {
                // Its own word to itself: the end.
                if length == 0 {
                    return;
                }
                answer(&own, &buffer[..length], from);
            }
        });
        Script { address, thread: Some(thread), socket }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.socket.send_to(&[], self.address).expect("sent");
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it ends");
        }
    }
}

/// An answer with these addresses, its records owned by the question's name.
fn answer(question: &[u8], addresses: &[[u8; 4]]) -> Vec<u8> {
    let name_end = 12 + question[12..].iter().position(|octet| *octet == 0).expect("a name");
    let mut out = question[..name_end + 5].to_vec();
    out[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
    for address in addresses {
        out.extend_from_slice(b"\xc0\x0c\0\x01\0\x01\0\0\x01\x2c\0\x04");
        out.extend_from_slice(address);
    }
    out
}

#[test]
fn forgers_are_not_believed_and_ports_are_new_each_time() {
    let (ports, asked_from) = channel();
    let forger = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let script = Script::new(move |socket, question, from| {
        ports.send(from.port()).expect("heard");
        let wrong = [6, 6, 6, 6];
        let mut id = answer(question, &[wrong]);
        id[1] ^= 1;
        let mut case = answer(question, &[wrong]);
        let letter = case[13..].iter().position(u8::is_ascii_alphabetic).expect("a letter");
        case[13 + letter] ^= 2;
        let kind = question[12..].iter().position(|octet| *octet == 0).expect("a name") + 14;
        let mut other = answer(question, &[wrong]);
        other[kind] ^= 3;
        for forged in [id, case, other, Vec::new(), b"nonsense".to_vec()] {
            socket.send_to(&forged, from).expect("sent");
        }
        forger.send_to(&answer(question, &[wrong]), from).expect("sent");
        socket.send_to(&answer(question, &[[192, 0, 2, 1]]), from).expect("sent");
    });
    let program = Program::new(&[script.address]);
    for round in 0..20 {
        assert_eq!(program.addresses(&format!("host-{round}.test")), ["192.0.2.1"]);
    }
    let mut ports: Vec<u16> = asked_from.try_iter().collect();
    assert_eq!(ports.len(), 20);
    ports.sort_unstable();
    ports.dedup();
    // The kernel may give one out again by chance.
    assert!(ports.len() >= 18, "{ports:?}");
    // The forger's own is not even received.
    assert_eq!(program.forwarding.counts().mismatches.value(), 5 * 20);
    assert_eq!(program.addresses("host-3.test"), ["192.0.2.1"]);
    assert_eq!(asked_from.try_iter().count(), 0, "it was known");
}

#[test]
fn a_server_that_is_gone_or_silent_is_left_for_another() {
    let gone = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let good = Script::new(|socket, question, from| {
        socket.send_to(&answer(question, &[[192, 0, 2, 2]]), from).expect("sent");
    });
    let program = Program::new(&[gone, good.address]);
    let start = Instant::now();
    for round in 0..10 {
        assert_eq!(program.addresses(&format!("host-{round}.test")), ["192.0.2.2"]);
    }
    assert!(start.elapsed() < Duration::from_secs(1), "ICMP says so at once");
    let program = Program::new(&[gone]);
    let error = program.ask("a.test", RecordKind::Mx).expect_err("nobody is there");
    assert!(!error.is_permanent(), "{error}");
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let program = Program::new(&[silent.local_addr().expect("an address"), good.address]);
    assert_eq!(program.addresses("a.test"), ["192.0.2.2"]);
}

#[test]
fn truncated_answers_are_asked_for_over_tcp_by_one_connection() {
    let (listener, socket) = port();
    let script = Script::on(socket, |socket, question, from| {
        let mut truncated = answer(question, &[]);
        truncated[2] |= 2;
        socket.send_to(&truncated, from).expect("sent");
    });
    let many: Vec<[u8; 4]> = (0..200).map(|i| [10, 0, 0, i]).collect();
    let tcp = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut served = 0;
        loop {
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_err() {
                return served;
            }
            let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut question).expect("a question");
            let message = answer(&question, &many);
            let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
            // In pieces, as a network may.
            for piece in framed.chunks(1000) {
                stream.write_all(piece).expect("sent");
            }
            served += 1;
        }
    });
    let program = Program::new(&[script.address]);
    for name in ["a.test", "b.test", "c.test"] {
        // All of them are put by one shard, or the connection would be another.
        let local = program.pass_on(format!("\x01{}\x04test\0", &name[..1]).as_bytes(), 1);
        assert_eq!(local.1.expect("an answer").len(), 24 + 200 * 16, "{name}");
    }
    drop(program);
    assert_eq!(tcp.join().expect("it ends"), 3);
}

#[test]
fn what_is_passed_on_is_answered_later_and_then_at_once() {
    let script = Script::new(|socket, question, from| {
        socket.send_to(&answer(question, &[[192, 0, 2, 3]]), from).expect("sent");
    });
    let program = Program::new(&[script.address]);
    let (now, message) = program.pass_on(b"\x01A\x04Test\0", 1);
    assert!(!now && message.expect("an answer").ends_with(&[192, 0, 2, 3]));
    let (now, message) = program.pass_on(b"\x01a\x04tEST\0", 1);
    let message = message.expect("an answer");
    assert!(now && message[12..].starts_with(b"\x01a\x04tEST\0"));
    // What one shard has learnt, all know.
    for _ in 0..4 {
        assert_eq!(program.addresses("a.test"), ["192.0.2.3"]);
    }
    assert_eq!(program.forwarding.counts().sent.value(), 1);
    let (bytes, entries) = program.forwarding.cache_size();
    assert!(entries == 1 && bytes > 100, "{entries} {bytes}");
}

#[test]
fn loss_and_doubles_are_survived_by_many_questions_at_once() {
    let mut count = 0_u32;
    let script = Script::new(move |socket, question, from| {
        count += 1;
        let mut right = answer(question, &[[192, 0, 2, 9]]);
        match count % 5 {
            // Lost, damaged, doubled, and in order.
            0 => return,
            1 => right.truncate(20),
            2 => drop(socket.send_to(&right, from)),
            _ => {}
        }
        drop(socket.send_to(&right, from));
    });
    let mut settings = Settings::asking(vec![Upstream::new(script.address)]);
    (settings.timeout, settings.attempts) = (Some(Duration::from_millis(200)), Some(50));
    let program = Program::with(Forwarding::with(settings).expect("no TLS"));
    for ticket in 0..500 {
        let question =
            Question::new(&format!("host-{ticket}.test"), RecordKind::A).expect("a name");
        program.forwarding.resolve(question, Asker::new(program.remote.clone(), ticket));
    }
    let mut tickets: Vec<u64> = (0..500)
        .map(|_| {
            let answer = program.answers.recv_timeout(PATIENCE).expect("an answer");
            let records = answer.result.expect("records");
            assert_eq!(records.addresses().next(), Some([192, 0, 2, 9].into()));
            answer.ticket
        })
        .collect();
    tickets.sort_unstable();
    assert!(tickets.into_iter().eq(0..500), "each of them once");
}

#[test]
fn more_questions_than_may_be_under_way_are_all_answered() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let upstream = Upstream::new(silent.local_addr().expect("an address"));
    let mut settings = Settings::asking(vec![upstream]);
    (settings.timeout, settings.attempts) = (Some(Duration::from_millis(300)), Some(1));
    let program = Program::with(Forwarding::with(settings).expect("no TLS"));
    const MANY: u64 = 5_000;
    for ticket in 0..MANY {
        let question =
            Question::new(&format!("host-{ticket}.test"), RecordKind::A).expect("a name");
        program.forwarding.resolve(question, Asker::new(program.remote.clone(), ticket));
    }
    let mut tickets: Vec<u64> = (0..MANY)
        .map(|_| {
            let answer = program.answers.recv_timeout(PATIENCE).expect("an answer");
            assert!(answer.result.is_err_and(|error| !error.is_permanent()));
            answer.ticket
        })
        .collect();
    tickets.sort_unstable();
    assert!(tickets.into_iter().eq(0..MANY), "each of them once");
}

#[test]
fn a_server_that_stops_tells_those_who_wait() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let upstream = Upstream::new(silent.local_addr().expect("an address"));
    let forwarding = Forwarding::new(vec![upstream]).expect("no TLS");
    let mut program = Program::with(forwarding);
    for _ in 0..100 {
        let question = Question::new("a.test", RecordKind::A).expect("a name");
        program.forwarding.resolve(question, Asker::new(program.remote.clone(), 5));
    }
    let mut buffer = [0; 512];
    silent.recv_from(&mut buffer).expect("a question");
    let server = program.server.take().expect("it runs");
    let start = Instant::now();
    server.handle().drain(Some(Duration::from_secs(5)));
    server.join().expect("it ends");
    // Whoever waits keeps a server by a session of its own, not by its questions.
    assert!(start.elapsed() < Duration::from_secs(4));
}

#[test]
fn mail_for_a_domain_that_does_not_exist_comes_back() {
    let (asked, questions) = channel();
    let script = Script::new(move |socket, question, from| {
        let mut missing = answer(question, &[]);
        missing[3] |= 3;
        let end = missing.len() - 4;
        asked.send((missing[12..end].to_ascii_lowercase(), missing[end + 1])).expect("heard");
        socket.send_to(&missing, from).expect("sent");
    });
    let site = Site::new(&format!(
        "[accounts]\nfile = \"users.toml\"\n[resolver]\nservers = [\"{}\"]\n\
         [smtp.submission]\nlisten = [\"127.0.0.1:0\"]\nhostname = \"mx.example.test\"\n\
         role = \"submission\"\ndomains = [\"example.test\"]\nmailboxes = \"mail\"\nqueue = \"queue\"\n",
        script.address
    ));
    let mut command = site.command(MEDUSA, &["passwd", "alice"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(b"secret\n").expect("it reads");
    assert!(child.wait().expect("it ends").success());
    let users = site.read("users.toml");
    site.write_private("users.toml", format!("{users}mail = [\"alice@example.test\"]\n"));
    let server = site.serve(MEDUSA);
    let mut stream = std::io::BufReader::new(server.connect("smtp.submission"));
    for line in [
        "",
        "EHLO c.test",
        // `\0alice\0secret`
        "AUTH PLAIN AGFsaWNlAHNlY3JldA==",
        "MAIL FROM:<alice@example.test>",
        "RCPT TO:<bob@far.test>",
        "DATA",
        "Subject: hello\r\n\r\nHello\r\n.",
    ] {
        if !line.is_empty() {
            stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("it reads");
        }
        let mut reply = String::new();
        while reply.get(3..4) == Some("-") || reply.is_empty() {
            reply.clear();
            stream.read_line(&mut reply).expect("text");
        }
        assert!(matches!(&reply[..1], "2" | "3"), "{line:?} {reply:?}");
    }
    until("the mail comes back", || {
        let mail = std::fs::read_dir(site.path("mail/alice/new"));
        mail.is_ok_and(|mut entries| entries.next().is_some())
    });
    assert_eq!(questions.try_iter().next(), Some((b"\x03far\x04test\0".to_vec(), 15)));
    server.end();
}

// ---- NSD -------------------------------------------------------------------------------------------

/// A port that is free for TCP and for UDP.
fn port() -> (TcpListener, UdpSocket) {
    for _ in 0..100 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        if let Ok(socket) = UdpSocket::bind(address) {
            return (listener, socket);
        }
    }
    panic!("no port is free for both");
}

const ZONE: &str = "\
$TTL 300
@       IN SOA ns hostmaster 1 3600 600 86400 60
        IN NS ns
        IN MX 20 backup.example.test.
        IN MX 10 mail.example.test.
        IN TXT \"v=spf1 mx \" \"-all\"
ns      IN A 127.0.0.1
mail    IN A 192.0.2.25
        IN AAAA 2001:db8::25
www     IN CNAME web
web     IN CNAME site.other.test.
loop    IN CNAME loop2
loop2   IN CNAME loop
*.wild  IN A 192.0.2.77
a.b.c   IN A 192.0.2.1
_smtps._tcp IN SRV 5 10 465 mail
none    IN MX 0 .
";

const OTHER: &str = "\
$TTL 300
@       IN SOA ns.example.test. hostmaster 1 3600 600 86400 60
        IN NS ns.example.test.
site    IN A 192.0.2.80
";

/// NSD with two zones, over UDP, TCP and TLS.
struct Nsd {
    child: Child,
    plain: SocketAddr,
    secured: SocketAddr,
    site: Site,
}

impl Nsd {
    fn start() -> Option<Self> {
        if !require("nsd") {
            return None;
        }
        let site = Site::new("");
        let authority = Authority::new(&site, "authority");
        authority.sign(&site, "nsd", &["dns.example.test"]);
        let large: String =
            (0..1000).map(|i| format!("large IN A 10.0.{}.{}\n", i / 250, i % 250)).collect();
        site.write("example.test.zone", format!("{ZONE}{large}"));
        site.write("other.test.zone", OTHER);
        let [(plain, _first), (secured, _second)] =
            [port(), port()].map(|(tcp, udp)| (tcp.local_addr().expect("an address"), (tcp, udp)));
        let folder = site.path("");
        let folder = folder.display();
        site.write(
            "nsd.conf",
            format!(
                "server:\n ip-address: 127.0.0.1@{0}\n ip-address: 127.0.0.1@{1}\n tls-port: {1}\n \
                 tls-service-key: \"{folder}/nsd.key\"\n tls-service-pem: \"{folder}/nsd.pem\"\n \
                 port: {0}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{folder}\"\n database: \"\"\n \
                 pidfile: \"{folder}/nsd.pid\"\n xfrdfile: \"{folder}/xfrd\"\n zonelistfile: \"{folder}/list\"\n \
                 xfrdir: \"{folder}\"\n server-count: 1\n hide-version: yes\n\
                 remote-control:\n control-enable: no\n\
                 zone:\n name: example.test\n zonefile: example.test.zone\n\
                 zone:\n name: other.test\n zonefile: other.test.zone\n",
                plain.port(),
                secured.port(),
            ),
        );
        drop((_first, _second));
        let child = Command::new("nsd")
            .args(["-d", "-c", &format!("{folder}/nsd.conf")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nsd runs");
        let nsd = Nsd { child, plain, secured, site };
        until("nsd answers", || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
            socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket");
            socket.connect(plain).expect("loopback");
            let question = b"\0\x01\0\0\0\x01\0\0\0\0\0\0\x07example\x04test\0\0\x06\0\x01";
            let mut answer = [0; 512];
            socket.send(question).is_ok()
                && socket.recv(&mut answer).is_ok_and(|length| length > 40)
                && std::net::TcpStream::connect(secured).is_ok()
        });
        Some(nsd)
    }
}

impl Drop for Nsd {
    fn drop(&mut self) {
        // Its parts end when the first of them is told to.
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, medusa_tests::Signal::TERM).expect("it runs");
        self.child.wait().expect("it ends");
    }
}

/// What every way to NSD must give.
fn check(program: &Program) {
    let mail = program.ask("Example.Test.", RecordKind::Mx).expect("records");
    let exchanges: Vec<_> = mail.exchanges().iter().map(|(_, name)| name.to_string()).collect();
    assert_eq!(exchanges, ["mail.example.test", "backup.example.test"]);
    assert!(mail.ttl() <= Duration::from_secs(300) && mail.ttl() > Duration::from_secs(280));
    assert_eq!(program.addresses("mail.example.test"), ["192.0.2.25"]);
    // Aliases into another zone of the same server, and such as lead nowhere.
    let web = program.ask("www.example.test", RecordKind::A).expect("records");
    assert_eq!(web.canonical.as_str(), "site.other.test");
    assert_eq!(web.addresses().next(), Some([192, 0, 2, 80].into()));
    let error = program.ask("loop.example.test", RecordKind::A).expect_err("a circle");
    assert!(!error.is_permanent(), "{error}");
    assert_eq!(program.addresses("any.wild.example.test"), ["192.0.2.77"]);
    let nothing = |name, kind| program.ask(name, kind).expect_err(name);
    assert_eq!(nothing("no.example.test", RecordKind::A), LookupError::NoSuchName);
    assert_eq!(nothing("mail.example.test", RecordKind::Mx), LookupError::NoData);
    assert_eq!(nothing("b.c.example.test", RecordKind::A), LookupError::NoData);
    // REFUSED: it isn't theirs.
    assert!(!nothing("example.org", RecordKind::A).is_permanent());
    let text = program.ask("example.test", RecordKind::Txt).expect("records");
    assert_eq!(text.list[0].data, Data::Txt(b"v=spf1 mx -all".to_vec()));
    let service = program.ask("_smtps._tcp.example.test", RecordKind::Srv).expect("records");
    assert!(matches!(&service.list[0].data, Data::Srv { priority: 5, weight: 10, port: 465, .. }));
    assert!(program.ask("none.example.test", RecordKind::Mx).expect("records").is_null_mx());
    // More than a datagram takes, and than one segment.
    assert_eq!(program.addresses("large.example.test").len(), 1000);
}

#[test]
fn nsd_is_understood_over_udp_tcp_and_tls() {
    let Some(nsd) = Nsd::start() else { return };
    let program = Program::new(&[nsd.plain]);
    check(&program);
    assert_eq!(program.forwarding.counts().mismatches.value(), 0, "NSD keeps the case");
    assert!(program.forwarding.counts().streamed.value() >= 1);
    let secured = |name| {
        let mut settings = Settings::asking(vec![Upstream::over_tls(nsd.secured, name)]);
        settings.authorities = Some(nsd.site.path("authority.pem"));
        Program::with(Forwarding::with(settings).expect("an authority"))
    };
    let program = secured("dns.example.test");
    check(&program);
    assert_eq!(program.forwarding.counts().sent.value(), 0, "all of it is encrypted");
    // A certificate of another name is no good.
    let error =
        secured("dns.example.org").ask("example.test", RecordKind::Mx).expect_err("refused");
    assert!(!error.is_permanent(), "{error}");
}
