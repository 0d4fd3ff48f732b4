//! Datagrams over real sockets on loopback: batches, addresses, errors, client sockets, drains. Nothing
//! sleeps: every wait is for a datagram.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use medusa_core::config::Listen;
use medusa_core::metrics::Metrics;
use medusa_core::server::{BindErrors, Handle, Running};
use medusa_core::{
    Acceptor, Address, ClientSocket, Cx, Datagram, DatagramCx, DatagramLimits, DatagramService,
    Failure, Frame, Framing, Limits, Listener, Note, Peer, Sender, Server, Service, ServiceParts,
    Session, SocketId, TimerKey,
};

/// A protocol with a command for everything that is tested here.
struct Lab {
    listen: Vec<Listen>,
    limits: DatagramLimits,
}

#[derive(Default)]
struct LabDatagrams {
    limits: DatagramLimits,
    /// Who is answered by the timer.
    later: Vec<Sender>,
    /// Who waits for the answer from a client socket.
    asked: HashMap<SocketId, Sender>,
    /// Who is answered when the server is shutting down.
    last: Option<Sender>,
}

/// An answer from another thread.
struct Answer(Sender, &'static str);

impl DatagramService for LabDatagrams {
    fn limits(&self) -> DatagramLimits {
        self.limits
    }

    fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
        let Datagram { bytes, sender, .. } = datagram;
        if let Some(waiting) = self.asked.remove(&sender.socket()) {
            cx.close_socket(sender.socket());
            return cx.reply(waiting, |out| out.extend_from_slice(bytes));
        }
        let text = String::from_utf8_lossy(bytes).into_owned();
        match text.split_once(' ').unwrap_or((&text, "")) {
            ("panic", _) => {
                cx.reply(sender, |out| out.extend_from_slice(b"never sent"));
                cx.reply(sender, |_| panic!("on purpose"));
            }
            ("nothing", _) => cx.reply_if(sender, |out| {
                out.extend_from_slice(b"never sent");
                false
            }),
            ("twice", text) => {
                cx.reply(sender, |out| out.extend_from_slice(text.as_bytes()));
                cx.reply(sender, |out| out.extend_from_slice(text.as_bytes()));
            }
            ("later", _) => {
                self.later.push(sender);
                cx.arm(TimerKey(1), Duration::from_millis(1));
            }
            ("work", _) => {
                let answer = move |_: &mut Self, cx: &mut DatagramCx<'_>, text: &'static str| {
                    cx.reply(sender, |out| out.extend_from_slice(text.as_bytes()));
                };
                cx.offload(|| "worked", answer).unwrap();
            }
            ("fail", _) => {
                let never = |_: &mut Self, _: &mut DatagramCx<'_>, ()| unreachable!();
                cx.offload(|| panic!("on purpose, in the pool"), never).unwrap();
            }
            ("thread", _) => {
                let remote = cx.remote();
                let answer = Answer(sender, "from a thread");
                std::thread::spawn(move || remote.notify(answer).unwrap());
            }
            ("ask", address) => {
                let socket = ClientSocket::connected(address.parse().unwrap());
                match cx.open_socket(socket) {
                    Ok(socket) => {
                        self.asked.insert(socket, sender);
                        cx.send(socket, |out| out.extend_from_slice(b"question"));
                    }
                    Err(busy) => cx.reply(sender, |out| write!(out, "{busy}").unwrap()),
                }
            }
            ("ask-from", addresses) => {
                let (local, remote) = addresses.split_once(' ').unwrap();
                let socket = ClientSocket::unconnected(local.parse().unwrap());
                let socket = cx.open_socket(socket).unwrap();
                self.asked.insert(socket, sender);
                cx.send_to(socket, remote.parse().unwrap(), |out| out.extend_from_slice(b"to you"));
            }
            ("large", size) => {
                let size = size.parse().unwrap();
                cx.reply(sender, |out| out.resize(size, b'x'));
            }
            ("wait", _) => self.last = Some(sender),
            ("counts", _) => {
                let (received, truncated) =
                    (cx.counts().received.value(), cx.counts().truncated.value());
                let (sent, dropped) = (cx.counts().sent.value(), cx.counts().dropped.value());
                cx.reply(sender, |out| {
                    write!(out, "{received} {truncated} {sent} {dropped}").unwrap();
                });
            }
            ("local", _) => cx.reply(sender, |out| write!(out, "{}", sender.local()).unwrap()),
            _ if datagram.truncated => {
                cx.reply(sender, |out| write!(out, "truncated to {}", bytes.len()).unwrap());
            }
            _ => cx.reply(sender, |out| out.extend_from_slice(bytes)),
        }
    }

    fn failed(&mut self, cx: &mut DatagramCx<'_>, socket: SocketId, failure: Failure) {
        let Some(waiting) = self.asked.remove(&socket) else { return };
        cx.close_socket(socket);
        let text = match failure {
            Failure::Unreachable(error) => format!("unreachable: {:?}", error.kind()),
            Failure::Unopened(error) => format!("unopened: {:?}", error.kind()),
            Failure::Unsent { error, to } => format!("unsent to {to:?}: {error}"),
            _ => "something else".to_owned(),
        };
        cx.reply(waiting, |out| out.extend_from_slice(text.as_bytes()));
    }

    fn expired(&mut self, cx: &mut DatagramCx<'_>, key: TimerKey) {
        assert_eq!(key, TimerKey(1));
        for sender in self.later.drain(..) {
            cx.reply(sender, |out| out.extend_from_slice(b"at last"));
        }
    }

    fn notified(&mut self, cx: &mut DatagramCx<'_>, note: Note) {
        let Answer(sender, text) = note.downcast().unwrap();
        cx.reply(sender, |out| out.extend_from_slice(text.as_bytes()));
    }

    fn draining(&mut self, cx: &mut DatagramCx<'_>) {
        if let Some(last) = self.last {
            cx.reply(last, |out| out.extend_from_slice(b"draining"));
        }
    }

    fn is_idle(&self) -> bool {
        self.last.is_none()
    }
}

/// Asks over a datagram socket of its own what it is told to ask, line by line.
struct LabSession {
    resolver: Option<Address>,
}

struct Resolver {
    session: Address,
}

impl Session for LabSession {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(1000));
        let session = cx.address();
        self.resolver = Some(cx.open_datagrams(Box::new(Resolver { session })));
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        let address: SocketAddr = std::str::from_utf8(frame.bytes).unwrap().parse().unwrap();
        cx.notify(self.resolver.unwrap(), address);
    }

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        cx.write(&note.downcast::<Vec<u8>>().unwrap());
        cx.write(b"\n");
    }
}

impl DatagramService for Resolver {
    fn notified(&mut self, cx: &mut DatagramCx<'_>, note: Note) {
        let to: SocketAddr = note.downcast().unwrap();
        let socket = cx.open_socket(ClientSocket::connected(to)).unwrap();
        cx.send(socket, |out| out.extend_from_slice(b"question"));
    }

    fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
        cx.notify(self.session, datagram.bytes.to_vec());
    }
}

impl Service for Lab {
    fn parts(&self) -> ServiceParts {
        self.listen.iter().cloned().fold("lab.test".into(), ServiceParts::listen)
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(|_: &Peer| Box::new(LabSession { resolver: None }) as Box<dyn Session>)
    }

    fn datagram_listeners(&self) -> Vec<Listener> {
        self.parts().listeners().to_vec()
    }

    fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
        Some(Box::new(LabDatagrams { limits: self.limits, ..LabDatagrams::default() }))
    }
}

struct Fixture {
    running: Option<Running>,
    handle: Handle,
    stream: SocketAddr,
    address: SocketAddr,
}

impl Fixture {
    fn new(shards: usize) -> Self {
        Self::at("127.0.0.1:0", shards, DatagramLimits::default())
    }

    fn at(listen: &str, shards: usize, limits: DatagramLimits) -> Self {
        Self::try_at(listen.parse().unwrap(), shards, limits).unwrap()
    }

    fn try_at(listen: Listen, shards: usize, limits: DatagramLimits) -> Result<Self, BindErrors> {
        let lab = Lab { listen: vec![listen], limits };
        let server = Server::builder().shards(shards).mount(Box::new(lab)).bind()?;
        let address = |datagrams| {
            let bound = server.bound().iter().find(|bound| bound.datagrams == datagrams).unwrap();
            let Listen::Inet(address) = bound.address else { panic!("not an IP address") };
            address
        };
        let (stream, address) = (address(false), address(true));
        let running = server.start().unwrap();
        Ok(Fixture { handle: running.handle(), running: Some(running), stream, address })
    }

    fn client(&self) -> Client {
        Client::new(self.address)
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

/// A socket that hears nobody but the server: an answer from another address would not arrive.
struct Client(UdpSocket);

impl Client {
    fn new(server: SocketAddr) -> Self {
        let any = if server.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(any).unwrap();
        // A test that hangs should fail, not wait for ever.
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.connect(server).unwrap();
        Client(socket)
    }

    fn say(&self, text: &str) -> &Self {
        self.0.send(text.as_bytes()).unwrap();
        self
    }

    fn hear_bytes(&self) -> Vec<u8> {
        let mut buffer = vec![0; 65_536];
        let count = self.0.recv(&mut buffer).unwrap();
        buffer.truncate(count);
        buffer
    }

    fn hear(&self) -> String {
        String::from_utf8(self.hear_bytes()).unwrap()
    }

    fn ask(&self, text: &str) -> String {
        self.say(text).hear()
    }
}

/// Somebody to ask: answers one question, in a thread.
fn answering(text: &'static str) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut question = [0; 100];
        let (count, from) = socket.recv_from(&mut question).unwrap();
        let answer = [text.as_bytes(), &question[..count]].concat();
        socket.send_to(&answer, from).unwrap();
    });
    address
}

/// A port where nobody is.
fn nobody() -> SocketAddr {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn datagrams_come_back_on_every_shard() {
    let fixture = Fixture::new(3);
    let clients: Vec<Client> = (0..30).map(|_| fixture.client()).collect();
    for round in 0..20 {
        for (index, client) in clients.iter().enumerate() {
            client.say(&format!("hello {index}.{round}"));
        }
        for (index, client) in clients.iter().enumerate() {
            assert_eq!(client.hear(), format!("hello {index}.{round}"));
        }
    }
}

#[test]
fn many_at_once_come_back_in_order() {
    let fixture = Fixture::new(1);
    let client = fixture.client();
    // More than one batch, and less than a receive buffer of the usual 208 KiB holds.
    for _ in 0..50 {
        for index in 0..150 {
            client.say(&format!("{index}"));
        }
        for index in 0..150 {
            assert_eq!(client.hear(), format!("{index}"));
        }
    }
    assert_eq!(client.ask("counts"), "7501 0 7500 0");
}

#[test]
fn a_wildcard_answers_from_the_address_that_was_asked() {
    let fixture = Fixture::at("0.0.0.0:0", 2, DatagramLimits::default());
    for ip in ["127.0.0.1", "127.0.0.2", "127.1.2.3"] {
        let mut address = fixture.address;
        address.set_ip(ip.parse().unwrap());
        let client = Client::new(address);
        assert_eq!(client.ask("local"), address.to_string());
        // Not only at once: the address is kept with the sender.
        assert_eq!(client.ask("later"), "at last");
    }
}

#[test]
fn ipv6_is_served_too() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("this machine has no IPv6");
        return;
    }
    for listen in ["[::1]:0", "[::]:0"] {
        let fixture = Fixture::at(listen, 2, DatagramLimits::default());
        let mut address = fixture.address;
        address.set_ip("::1".parse().unwrap());
        assert_eq!(Client::new(address).ask("local"), address.to_string());
    }
}

#[test]
fn datagrams_have_all_sizes() {
    let mut limits = DatagramLimits::default();
    limits.datagram_bytes = 65_536;
    let fixture = Fixture::at("127.0.0.1:0", 1, limits);
    let client = fixture.client();
    // 65,507 octets are the most that UDP over IPv4 takes.
    for size in [0, 1, 4096, 4097, 65_507] {
        let bytes = vec![b'x'; size];
        client.0.send(&bytes).unwrap();
        assert_eq!(client.hear_bytes(), bytes);
    }
    // More can't be sent; the loop goes on.
    client.say("large 65508").say("twice ");
    assert_eq!((client.hear(), client.hear()), (String::new(), String::new()));
    assert_eq!(client.ask("counts"), "8 0 7 1");
}

#[test]
fn what_is_too_long_is_cut_and_said_to_be() {
    let fixture = Fixture::new(1);
    let client = fixture.client();
    client.0.send(&[b'x'; 4096]).unwrap();
    assert_eq!(client.hear().len(), 4096);
    client.0.send(&[b'x'; 4097]).unwrap();
    assert_eq!(client.hear(), "truncated to 4096");
    assert_eq!(client.ask("counts"), "3 1 2 0");
}

#[test]
fn a_panic_loses_one_datagram() {
    let fixture = Fixture::new(1);
    let client = fixture.client();
    client.say("before").say("panic").say("nothing").say("after");
    assert_eq!((client.hear(), client.hear()), ("before".into(), "after".into()));
    client.say("fail");
    assert_eq!(client.ask("still here"), "still here");
}

#[test]
fn answers_come_later_from_timers_jobs_and_threads() {
    let fixture = Fixture::new(2);
    let client = fixture.client();
    assert_eq!(client.ask("later"), "at last");
    assert_eq!(client.ask("work"), "worked");
    assert_eq!(client.ask("thread"), "from a thread");
    assert_eq!(client.ask("twice a"), "a");
    assert_eq!(client.hear(), "a");
}

#[test]
fn others_are_asked_by_client_sockets() {
    let fixture = Fixture::new(1);
    let client = fixture.client();
    for _ in 0..100 {
        assert_eq!(client.ask(&format!("ask {}", answering("answer to "))), "answer to question");
    }
    let ask = format!("ask-from 127.0.0.2:0 {}", answering("heard: "));
    assert_eq!(client.ask(&ask), "heard: to you");
}

#[test]
fn who_is_not_there_is_told() {
    let fixture = Fixture::new(1);
    let client = fixture.client();
    assert_eq!(client.ask(&format!("ask {}", nobody())), "unreachable: ConnectionRefused");
    // An address that is not ours can't be bound.
    let ask = format!("ask-from 192.0.2.1:0 {}", nobody());
    assert_eq!(client.ask(&ask), "unopened: AddrNotAvailable");
    // 240.0.0.0/4 has no route.
    let unsent = client.ask("ask-from 0.0.0.0:0 255.255.255.255:9");
    assert!(unsent.starts_with("unsent to Some(255.255.255.255:9): "), "{unsent}");
    assert_eq!(client.ask("still here"), "still here");
}

#[test]
fn client_sockets_are_bounded() {
    let mut limits = DatagramLimits::default();
    limits.client_sockets = 2;
    let fixture = Fixture::at("127.0.0.1:0", 1, limits);
    let client = fixture.client();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let ask = format!("ask {}", silent.local_addr().unwrap());
    assert_eq!(client.say(&ask).say(&ask).ask(&ask), "too much work is waiting already");
    // An answer closes one of them.
    let (_, from) = silent.recv_from(&mut [0; 100]).unwrap();
    silent.send_to(b"at last", from).unwrap();
    assert_eq!(client.hear(), "at last");
    assert_eq!(client.ask(&format!("ask {}", answering("yes, "))), "yes, question");
}

#[test]
fn sessions_have_datagram_services_of_their_own() {
    let fixture = Fixture::new(2);
    let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
    upstream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut stream = TcpStream::connect(fixture.stream).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "{}\r\n", upstream.local_addr().unwrap()).unwrap();
    let (_, from) = upstream.recv_from(&mut [0; 100]).unwrap();
    upstream.send_to(b"answer", from).unwrap();
    let mut line = [0; 7];
    stream.read_exact(&mut line).unwrap();
    assert_eq!(&line, b"answer\n");
    // It ends with its session: its port is closed then.
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut line).unwrap(), 0);
    upstream.connect(from).unwrap();
    let closed = (0..100_000).any(|_| {
        upstream.send(b"anybody?").is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
    assert!(closed, "the socket of a session that has ended is still open");
}

#[test]
fn a_flood_keeps_nobody_waiting() {
    let fixture = Fixture::new(1);
    let over = Arc::new(AtomicBool::new(false));
    let flood = std::thread::spawn({
        let (client, over) = (fixture.client(), Arc::clone(&over));
        move || {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                sent += u64::from(client.0.send(b"a").is_ok());
            }
            sent
        }
    });
    let upstream = UdpSocket::bind("127.0.0.1:0").unwrap();
    upstream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut stream = TcpStream::connect(fixture.stream).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    for _ in 0..20 {
        write!(stream, "{}\r\n", upstream.local_addr().unwrap()).unwrap();
        let (_, from) = upstream.recv_from(&mut [0; 100]).unwrap();
        upstream.send_to(b"answer", from).unwrap();
        let mut line = [0; 7];
        stream.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"answer\n");
    }
    over.store(true, Ordering::Relaxed);
    assert!(flood.join().unwrap() > 0);
}

#[test]
fn a_drain_waits_for_what_is_owed() {
    let mut fixture = Fixture::new(1);
    let client = fixture.client();
    client.say("wait");
    assert_eq!(client.ask("a"), "a");
    fixture.handle.drain(Some(Duration::from_millis(100)));
    assert_eq!(client.hear(), "draining");
    // It goes on answering until its time is over.
    assert_eq!(client.ask("b"), "b");
    fixture.running.take().unwrap().join().unwrap();
}

#[test]
fn a_drain_ends_at_once_when_nothing_is_owed() {
    let mut fixture = Fixture::new(2);
    let client = fixture.client();
    assert_eq!(client.ask("a"), "a");
    fixture.handle.drain(None);
    fixture.running.take().unwrap().join().unwrap();
    client.say("anybody?");
    let error = client.0.recv(&mut [0; 10]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_port_in_use_is_told() {
    let fixture = Fixture::new(2);
    let lab =
        Lab { listen: vec![Listen::Inet(fixture.address)], limits: DatagramLimits::default() };
    let Err(errors) = Server::builder().shards(2).mount(Box::new(lab)).bind() else {
        panic!("bound twice")
    };
    let text = errors.to_string();
    assert!(
        text.contains(&format!("lab.test can't listen on {} (UDP): ", fixture.address)),
        "{text}"
    );
}

#[test]
fn one_address_serves_streams_and_datagrams() {
    // A port that is free for one may be taken for the other: another is tried then.
    let fixture = (0..100)
        .find_map(|_| Fixture::try_at(Listen::Inet(nobody()), 2, DatagramLimits::default()).ok());
    let fixture = fixture.expect("a port is free for both");
    assert_eq!(fixture.stream, fixture.address);
    assert_eq!(fixture.client().ask("a"), "a");
    TcpStream::connect(fixture.stream).unwrap();
}

#[test]
fn a_peer_over_its_rate_is_not_answered() {
    struct Limited;
    struct Echo;
    impl DatagramService for Echo {
        fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
            cx.reply(datagram.sender, |out| out.extend_from_slice(datagram.bytes));
        }
    }
    impl Service for Limited {
        fn parts(&self) -> ServiceParts {
            let mut limits = Limits::default();
            limits.datagram_rate = Some(1);
            ServiceParts::new("lab.limited").with_limits(limits)
        }
        fn acceptor(&self) -> Box<dyn Acceptor> {
            Box::new(|_: &Peer| Box::new(LabSession { resolver: None }) as Box<dyn Session>)
        }
        fn datagram_listeners(&self) -> Vec<Listener> {
            vec![Listener::new("127.0.0.1:0".parse().unwrap())]
        }
        fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
            Some(Box::new(Echo))
        }
    }
    let metrics = Metrics::default();
    let server = Server::builder().metrics(&metrics).mount(Box::new(Limited)).bind().unwrap();
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not an IP address") };
    let running = server.start().unwrap();
    let often = Client::new(address);
    for _ in 0..50 {
        often.say("often");
    }
    // One peer, whichever port it sends from; and somebody else.
    Client::new(address).say("another port");
    let other = UdpSocket::bind("127.0.0.2:0").unwrap();
    other.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    other.send_to(b"once", address).unwrap();
    let mut buffer = [0; 100];
    assert_eq!(other.recv(&mut buffer).unwrap(), 4);
    assert_eq!(often.hear(), "often");
    running.handle().stop();
    running.join().unwrap();
    let counts = &metrics.service("lab.limited").datagrams;
    assert_eq!(counts.received.value(), 52);
    // Two at once, and one more for each second that the test may have lasted.
    assert!((30..=49).contains(&counts.refused.value()), "{}", counts.refused.value());
}
