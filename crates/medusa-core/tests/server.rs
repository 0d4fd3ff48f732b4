//! Shards over real sockets on loopback: accepting, fairness, panics, stale tokens, drains, data
//! connections. Nothing sleeps: every wait is for a byte or an end of file.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use medusa_core::config::Listen;
use medusa_core::server::{Handle, Running};
use medusa_core::{
    Acceptor, Address, Cx, Frame, Framing, Goodbye, Limits, Listening, Network, Note, Peer,
    Refusal, ReplySlot, Server, Service, ServiceParts, Session,
};

/// A protocol with a command for everything that is tested here.
#[derive(Default)]
struct Lab {
    listen: Vec<Listen>,
    limits: Limits,
    proxies: Vec<Network>,
}

#[derive(Default)]
struct LabSession {
    slot: Option<ReplySlot>,
    inlet: Option<Address>,
}

/// Sent to a control session when its data connection has ended.
struct DataDone(Vec<u8>);

struct DataSession {
    control: Address,
    text: Vec<u8>,
}

static ADDRESS: Mutex<Option<Address>> = Mutex::new(None);

impl Session for LabSession {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(100_000));
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        let line = String::from_utf8_lossy(frame.bytes).into_owned();
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("panic", _) => panic!("on purpose"),
            ("quit", _) => cx.close(),
            ("peer", _) => cx.write(format!("{}\n", cx.peer().remote).as_bytes()),
            ("remember", _) => {
                *ADDRESS.lock().unwrap() = Some(cx.address());
                cx.write(b"remembered\n");
            }
            ("tell", text) => {
                let address = ADDRESS.lock().unwrap().expect("an address is remembered");
                cx.notify(address, text.to_owned());
                cx.write(b"told\n");
            }
            ("passive", _) => {
                self.slot = Some(cx.reserve());
                let control = cx.address();
                let bind = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
                let acceptor = move |_: &Peer| -> Box<dyn Session> {
                    Box::new(DataSession { control, text: Vec::new() })
                };
                self.inlet = Some(cx.listen_private(bind, Box::new(acceptor), false));
            }
            ("wait", _) => self.slot = Some(cx.reserve()),
            ("forward", address) => {
                self.slot = Some(cx.reserve());
                let control = cx.address();
                let session = DataSession { control, text: Vec::new() };
                let address: SocketAddr = address.parse().expect("an address");
                cx.connect(address, Box::new(session));
            }
            ("size", size) => cx.send_bytes(vec![b'x'; size.parse().expect("a size")].into()),
            ("work", _) => {
                let slot = cx.reserve();
                let done = |_: &mut Self, cx: &mut Cx<'_>, text: &'static str| {
                    cx.fulfil_bytes(slot, Bytes::from_static(text.as_bytes()));
                };
                cx.offload(|| "worked\n", done).expect("the pool has room");
            }
            ("fail", _) => {
                let slot = cx.reserve();
                let done = |_: &mut Self, cx: &mut Cx<'_>, ()| cx.fulfil_bytes(slot, Bytes::new());
                cx.offload(|| panic!("on purpose, in the pool"), done).expect("room");
            }
            _ => cx.write(format!("{line}\n").as_bytes()),
        }
    }

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        let note = match note.downcast::<Listening>() {
            Ok(listening) => {
                let slot = self.slot.take().expect("a slot");
                let bound = listening.bound.expect("a port is free");
                return cx.fulfil_bytes(slot, format!("{bound}\n").into());
            }
            Err(note) => note,
        };
        let note = match note.downcast::<DataDone>() {
            Ok(DataDone(text)) => {
                if let Some(inlet) = self.inlet.take() {
                    cx.unlisten(inlet);
                }
                if let Some(slot) = self.slot.take() {
                    cx.fulfil_bytes(slot, text.into());
                }
                return;
            }
            Err(note) => note,
        };
        let text = note.downcast::<String>().expect("a text");
        cx.write(format!("note: {text}\n").as_bytes());
    }
}

impl Session for DataSession {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.write(b"hello\n");
    }

    fn received(&mut self, _: &mut Cx<'_>, frame: Frame<'_>) {
        self.text.extend_from_slice(frame.bytes);
    }

    fn half_closed(&mut self, cx: &mut Cx<'_>) {
        let text = format!("data: {}\n", String::from_utf8_lossy(&self.text));
        cx.notify(self.control, DataDone(text.into()));
        cx.close();
    }

    /// A transfer under way may finish.
    fn draining(&mut self, _: &mut Cx<'_>) {}

    fn closed(&mut self, goodbye: &Goodbye) {
        assert!(goodbye.sent == 6 || self.text.is_empty());
    }
}

impl Service for Lab {
    fn parts(&self) -> ServiceParts {
        let parts = self.listen.iter().cloned().fold("lab.test".into(), ServiceParts::listen);
        parts.with_limits(self.limits.clone()).with_proxies(self.proxies.clone())
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        struct Accept;
        impl Acceptor for Accept {
            fn accepted(&mut self, _: &Peer) -> Box<dyn Session> {
                Box::<LabSession>::default()
            }
            fn refused(&mut self, refusal: Refusal) -> Bytes {
                Bytes::from(format!("no: {refusal:?}\n"))
            }
        }
        Box::new(Accept)
    }
}

struct Fixture {
    running: Option<Running>,
    handle: Handle,
    address: SocketAddr,
}

impl Fixture {
    fn new(shards: usize) -> Self {
        Self::with(shards, Limits::default())
    }

    fn with(shards: usize, limits: Limits) -> Self {
        Self::serving(shards, Lab { limits, ..Lab::default() })
    }

    fn serving(shards: usize, mut lab: Lab) -> Self {
        lab.listen = vec!["127.0.0.1:0".parse().unwrap()];
        let server = Server::builder().shards(shards).mount(Box::new(lab)).bind().unwrap();
        let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
        let running = server.start().unwrap();
        Fixture { handle: running.handle(), running: Some(running), address }
    }

    fn connect(&self) -> Line {
        Line::new(TcpStream::connect(self.address).unwrap())
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(running) = self.running.take() {
            running.join().unwrap();
        }
    }
}

struct Line {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Line {
    fn new(stream: TcpStream) -> Self {
        // A test that hangs should fail, not wait for ever.
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Line { reader: BufReader::new(stream.try_clone().unwrap()), stream }
    }

    fn say(&mut self, line: &str) -> &mut Self {
        self.stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
        self
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            // What was cut off ends in a reset.
            Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => panic!("{error}"),
            _ => line.trim_end().to_owned(),
        }
    }

    fn ask(&mut self, line: &str) -> String {
        self.say(line).hear()
    }

    fn rest(mut self) -> String {
        let mut text = String::new();
        // A connection that was aborted with input unread is reset.
        let _ = self.reader.read_to_string(&mut text);
        text
    }
}

#[test]
fn lines_come_back_on_every_shard() {
    let fixture = Fixture::new(3);
    let mut lines: Vec<Line> = (0..30).map(|_| fixture.connect()).collect();
    for (index, line) in lines.iter_mut().enumerate() {
        line.say(&format!("hello {index}"));
    }
    for (index, line) in lines.iter_mut().enumerate() {
        assert_eq!(line.hear(), format!("hello {index}"));
    }
}

#[test]
fn a_panic_closes_one_connection() {
    let fixture = Fixture::new(1);
    let (mut one, mut other) = (fixture.connect(), fixture.connect());
    assert_eq!(one.ask("a"), "a");
    assert_eq!(one.say("panic").hear(), "");
    assert_eq!(other.ask("b"), "b");
    assert_eq!(other.say("fail").hear(), "");
    assert_eq!(fixture.connect().ask("c"), "c");
}

#[test]
fn offloaded_work_comes_back_in_order() {
    let fixture = Fixture::new(2);
    let mut line = fixture.connect();
    line.say("work\r\nnext");
    assert_eq!((line.hear(), line.hear()), ("worked".into(), "next".into()));
}

#[test]
fn a_stale_address_reaches_nobody() {
    let fixture = Fixture::new(1);
    let (mut one, mut other) = (fixture.connect(), fixture.connect());
    assert_eq!(one.ask("remember"), "remembered");
    assert_eq!(other.ask("tell hello"), "told");
    assert_eq!(one.hear(), "note: hello");
    one.say("quit");
    assert_eq!(one.rest(), "");
    // This connection takes the place of the one that has gone, under another name.
    let mut successor = fixture.connect();
    assert_eq!(successor.ask("a"), "a");
    assert_eq!(other.ask("tell ghost"), "told");
    assert_eq!(successor.ask("b"), "b");
}

#[test]
fn many_pipelined_lines_and_large_replies_keep_nobody_waiting() {
    let fixture = Fixture::new(1);
    let mut greedy = fixture.connect();
    greedy.say("size 300000000");
    let mut line = fixture.connect();
    assert_eq!(line.ask("still here"), "still here");
    // Without reading first: both directions back up and come out right.
    let mut pipelined = fixture.connect();
    let count = 50_000;
    let mut writer = pipelined.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for index in 0..count {
            writer.write_all(format!("{index}\r\n").as_bytes()).unwrap();
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    for index in 0..count {
        assert_eq!(pipelined.hear(), index.to_string());
    }
    assert_eq!(pipelined.hear(), "");
    sender.join().unwrap();
}

#[test]
fn a_large_reply_is_whole() {
    let fixture = Fixture::new(1);
    let mut line = fixture.connect();
    line.say("size 20000000\r\nquit");
    assert_eq!(line.rest().len(), 20_000_000);
}

#[test]
fn limits_are_told_in_the_protocols_words() {
    let mut limits = Limits::default();
    limits.connections_per_peer = Some(2);
    let fixture = Fixture::with(2, limits);
    let (mut one, mut two) = (fixture.connect(), fixture.connect());
    assert_eq!(one.ask("a"), "a");
    assert_eq!(two.ask("b"), "b");
    assert_eq!(fixture.connect().hear(), "no: ConnectionsPerPeer");
    two.say("quit");
    assert_eq!(two.rest(), "");
    // The place is free as soon as the server has seen our end, which a refusal may still precede.
    let again = (0..1000).any(|_| {
        let mut line = fixture.connect();
        line.stream.write_all(b"c\r\n").is_ok() && line.hear() == "c"
    });
    assert!(again, "the place of a closed connection is not given to another");
}

#[test]
fn a_drain_lets_sessions_finish() {
    let mut fixture = Fixture::new(2);
    let mut waiting = fixture.connect();
    assert_eq!(waiting.ask("remember"), "remembered");
    let mut data = Line::new(TcpStream::connect(waiting.ask("passive")).unwrap());
    assert_eq!(data.hear(), "hello");
    // Both lines come in one segment: when the first is answered, the second has been read.
    assert_eq!(waiting.ask("a\r\nwait"), "a");
    let mut idle = fixture.connect();
    assert_eq!(idle.ask("a"), "a");
    fixture.handle.drain(Some(Duration::from_secs(20)));
    assert_eq!(idle.rest(), "");
    data.stream.write_all(b"done").unwrap();
    data.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(waiting.rest(), "data: done\n");
    fixture.running.take().unwrap().join().unwrap();
    assert!(TcpStream::connect(fixture.address).is_err());
}

#[test]
fn a_drain_ends_when_its_time_is_over() {
    let mut fixture = Fixture::new(1);
    let mut waiting = fixture.connect();
    // Both lines come in one segment: when the first is answered, the second has been read.
    assert_eq!(waiting.ask("a\r\nwait"), "a");
    fixture.handle.drain(Some(Duration::from_millis(1)));
    fixture.running.take().unwrap().join().unwrap();
    assert_eq!(waiting.rest(), "");
}

#[test]
fn data_connections_come_and_go_both_ways() {
    let fixture = Fixture::new(2);
    let mut control = fixture.connect();
    for round in 0..50 {
        let address = control.ask("passive");
        let mut data = Line::new(TcpStream::connect(&address).unwrap());
        assert_eq!(data.hear(), "hello");
        control.say("wait");
        data.stream.write_all(format!("round {round}").as_bytes()).unwrap();
        data.stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(control.hear(), format!("data: round {round}"));
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    control.say(&format!("forward {}", listener.local_addr().unwrap()));
    let mut accepted = Line::new(listener.accept().unwrap().0);
    assert_eq!(accepted.hear(), "hello");
    accepted.stream.write_all(b"back").unwrap();
    accepted.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(control.hear(), "data: back");
}

#[test]
fn private_listeners_end_with_their_owner() {
    let fixture = Fixture::new(1);
    let mut addresses = Vec::new();
    for _ in 0..100 {
        let mut control = fixture.connect();
        addresses.push(control.ask("passive"));
        control.say("quit");
        assert_eq!(control.rest(), "");
    }
    // The last owner's goodbye has been worked off when a later connection is answered.
    assert_eq!(fixture.connect().ask("a"), "a");
    let open = addresses.iter().filter(|address| TcpStream::connect(address).is_ok()).count();
    assert_eq!(open, 0);
}

#[test]
fn unix_sockets_serve_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lab.sock");
    for _ in 0..2 {
        // The second round finds the first one's socket file.
        let lab = Lab { listen: vec![Listen::Unix(path.clone())], ..Lab::default() };
        let running =
            Server::builder().shards(2).mount(Box::new(lab)).bind().unwrap().start().unwrap();
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.write_all(b"over unix\r\nquit\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert_eq!(text, "over unix\n");
        running.handle().stop();
        running.join().unwrap();
    }
}

#[test]
fn a_port_in_use_is_told() {
    let fixture = Fixture::new(2);
    let lab = Lab { listen: vec![Listen::Inet(fixture.address)], ..Lab::default() };
    let Err(errors) = Server::builder().shards(2).mount(Box::new(lab)).bind() else {
        panic!("bound twice")
    };
    assert!(errors.to_string().contains("lab.test can't listen on 127.0.0.1:"), "{errors}");
}

#[test]
fn a_trusted_proxy_says_for_whom_it_speaks() {
    let mut limits = Limits::default();
    limits.connections_per_peer = Some(1);
    limits.handshake = Some(Duration::from_millis(200));
    let proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let fixture = Fixture::serving(2, Lab { limits, proxies, ..Lab::default() });
    let mut first = fixture.connect();
    // The header, its end and the first request in three segments at most, in one at least.
    first.stream.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.").unwrap();
    first.stream.write_all(b"9 1000 80\r").unwrap();
    assert_eq!(first.ask("\npeer"), "192.0.2.1:1000");
    // Limits count the client, not the proxy.
    let line = "PROXY TCP4 192.0.2.2 192.0.2.9 1001 80\r\npeer";
    let mut second = fixture.connect();
    assert_eq!(second.ask(line), "192.0.2.2:1001");
    assert_eq!(fixture.connect().ask(line), "no: ConnectionsPerPeer");
    let mut without = fixture.connect();
    without.say("no header");
    assert_eq!(without.rest(), "");
    assert_eq!(fixture.connect().hear(), "", "a proxy that says nothing is cut off");
    let mut itself = fixture.connect();
    assert!(itself.ask("PROXY UNKNOWN\r\npeer").starts_with("127.0.0.1:"));
}

#[test]
fn an_untrusted_peer_has_no_header() {
    let proxies = vec!["192.0.2.0/24".parse().unwrap()];
    let fixture = Fixture::serving(1, Lab { proxies, ..Lab::default() });
    let header = "PROXY TCP4 192.0.2.1 192.0.2.9 1000 80";
    assert_eq!(fixture.connect().ask(header), header);
}

#[test]
fn a_proxy_with_a_bad_header_is_not_served() {
    const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
    let proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let fixture = Fixture::serving(2, Lab { proxies, ..Lab::default() });
    let v2 = |command: u8, family: u8, length: u16, body: &[u8]| {
        [SIGNATURE, &[command, family], &length.to_be_bytes(), body].concat()
    };
    let addresses = [192, 0, 2, 1, 192, 0, 2, 9, 0x03, 0xe8, 0, 80];
    let endless = [&b"PROXY TCP4 "[..], &[b'1'; 5000]].concat();
    for bad in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1000 65536\r\npeer\r\n",
        b"PROXY TCP4 2001:db8::1 192.0.2.9 1000 80\r\npeer\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 1000 80\npeer\r\n",
        b"PROXY TCP5 192.0.2.1 192.0.2.9 1000 80\r\npeer\r\n",
        &endless,
        &v2(0x31, 0x11, 12, &addresses),
        &v2(0x21, 0x11, 11, &addresses),
        &v2(0x21, 0x11, 65_535, &addresses),
    ] {
        let mut line = fixture.connect();
        line.stream.write_all(bad).unwrap();
        let _ = line.stream.shutdown(std::net::Shutdown::Write);
        let mut rest = Vec::new();
        // An end or a reset, and not a word before it.
        let _ = line.stream.read_to_end(&mut rest);
        assert_eq!(String::from_utf8_lossy(&rest), "", "{bad:?}");
    }
    let mut good = fixture.connect();
    good.stream.write_all(&v2(0x21, 0x11, 12, &addresses)).unwrap();
    assert_eq!(good.ask("peer"), "192.0.2.1:1000");
}
