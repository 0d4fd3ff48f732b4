//! Bugs that were found in shards, an entry each, over real sockets. Nothing sleeps.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use medusa_core::config::Listen;
use medusa_core::metrics::Metrics;
use medusa_core::producer::{bytes, generated};
use medusa_core::server::Running;
use medusa_core::testing::Client;
use medusa_core::{
    Acceptor, Address, ClientSocket, Cx, Datagram, DatagramCx, DatagramService, Frame, Framing,
    Goodbye, Limits, Listening, Note, Outbox, Peer, ProduceError, Produced, Reason, Refusal,
    Remote, ReplySlot, Server, Service, ServiceParts, Session, SocketId, Target, TimerKey,
};

type Make = fn() -> Box<dyn Session>;

struct Lab(Make);

impl Service for Lab {
    fn parts(&self) -> ServiceParts {
        ServiceParts::new("lab.regressions").listen("127.0.0.1:0".parse().unwrap())
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        let make = self.0;
        Box::new(move |_: &Peer| make())
    }
}

struct Fixture {
    running: Option<Running>,
    stream: TcpStream,
}

impl Fixture {
    /// A server of one shard, and a connection to it.
    fn new(make: Make) -> Self {
        let server = Server::builder().mount(Box::new(Lab(make))).bind().unwrap();
        let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
        let running = Some(server.start().unwrap());
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Fixture { running, stream }
    }

    fn say(&mut self, text: &str) -> &mut Self {
        self.stream.write_all(text.as_bytes()).unwrap();
        self
    }

    fn hear(&mut self, length: usize) -> String {
        let mut heard = vec![0; length];
        self.stream.read_exact(&mut heard).unwrap();
        String::from_utf8(heard).unwrap()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let running = self.running.take().unwrap();
        running.handle().stop();
        running.join().unwrap();
    }
}

/// A listener that neither takes connections nor refuses them: one fills its queue, and the next one's SYN is
/// dropped.
fn silent() -> (socket2::Socket, TcpStream) {
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let filler = TcpStream::connect(silent.local_addr().unwrap().as_socket().unwrap()).unwrap();
    (silent, filler)
}

/// A producer that was sent by `drained` was never asked.
#[test]
fn what_is_sent_when_drained_is_made() {
    struct Twice(bool);
    impl Session for Twice {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.expect(Framing::line(99));
        }
        fn received(&mut self, cx: &mut Cx<'_>, _: Frame<'_>) {
            cx.write(b"one\n");
        }
        fn drained(&mut self, cx: &mut Cx<'_>) {
            if !std::mem::replace(&mut self.0, true) {
                cx.send(bytes(Bytes::from_static(b"two\n")));
            }
        }
    }
    let mut fixture = Fixture::new(|| Box::new(Twice(false)));
    assert_eq!(fixture.say("x\r\n").hear(8), "one\ntwo\n");
}

/// The end of a private listener that was asked for while it accepted was lost.
#[test]
fn a_listener_can_be_closed_by_what_it_accepted() {
    struct Control(Option<Address>);
    struct Data(Address);
    impl Session for Data {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.notify(self.0, ());
        }
        fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
    }
    impl Session for Control {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            let me = cx.address();
            let acceptor = move |_: &Peer| Box::new(Data(me)) as Box<dyn Session>;
            let bind = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
            self.0 = Some(cx.listen_private(bind, Box::new(acceptor), false));
        }
        fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
        fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
            match note.downcast::<Listening>() {
                Ok(listening) => cx.write(format!("{}\n", listening.bound.unwrap()).as_bytes()),
                Err(_) => {
                    cx.unlisten(self.0.unwrap());
                    cx.write(b"closed\n");
                }
            }
        }
    }
    let fixture = Fixture::new(|| Box::new(Control(None)));
    let mut reader = BufReader::new(fixture.stream.try_clone().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let address: SocketAddr = line.trim().parse().unwrap();
    let _data = TcpStream::connect(address).unwrap();
    reader.read_line(&mut line).unwrap();
    assert!(line.ends_with("closed\n"));
    // The listener is gone by the next turn, which another connection sees.
    assert!((0..1000).any(|_| TcpStream::connect(address).is_err()), "it still takes connections");
}

/// Notes that led to notes were handed on within each other until the stack was full.
#[test]
fn a_long_chain_of_notes_needs_no_stack() {
    struct Chain;
    impl Session for Chain {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.expect(Framing::line(99));
        }
        fn received(&mut self, cx: &mut Cx<'_>, _: Frame<'_>) {
            cx.notify(cx.address(), 10_000_u32);
        }
        fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
            match note.downcast::<u32>().unwrap() {
                0 => cx.write(b"done\n"),
                left => cx.notify(cx.address(), left - 1),
            }
        }
    }
    let mut fixture = Fixture::new(|| Box::new(Chain));
    assert_eq!(fixture.say("x\r\n").hear(5), "done\n");
}

/// A reply that failed half-way ended like a whole one.
#[test]
fn a_failed_reply_looks_truncated() {
    struct Fail;
    impl Session for Fail {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.expect(Framing::line(99));
        }
        fn received(&mut self, cx: &mut Cx<'_>, _: Frame<'_>) {
            let mut calls = 0;
            cx.send(generated(move |out: &mut Outbox| {
                calls += 1;
                if calls == 3 {
                    return Err(ProduceError::from(std::io::Error::other("broken")));
                }
                out.push(Bytes::from(vec![b'x'; 100_000]));
                Ok(Produced::More)
            }));
            cx.close();
        }
    }
    let mut fixture = Fixture::new(|| Box::new(Fail));
    fixture.say("x\r\n");
    assert!(fixture.stream.read_to_end(&mut Vec::new()).is_err(), "a clean end");
}

/// What a session had sent before it panicked was lost, and the connection ended like a whole one.
#[test]
fn a_panic_looks_truncated() {
    struct Panicking;
    impl Session for Panicking {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.expect(Framing::line(99));
        }
        fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
            assert_eq!(frame.bytes, b"x", "a panic on purpose");
            cx.write(b"half of it");
        }
    }
    let mut fixture = Fixture::new(|| Box::new(Panicking));
    fixture.say("x\r\npanic\r\n");
    let error = fixture.stream.read_to_end(&mut Vec::new()).expect_err("a clean end");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// The end of an outbound connection that doesn't stand yet was heeded once it stood, or never did.
#[test]
fn a_connection_that_is_being_made_can_be_given_up() {
    struct Control(Option<Address>);
    struct Out(Remote);
    impl Session for Out {
        fn opened(&mut self, _: &mut Cx<'_>) {}
        fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
        fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
            match note.is::<bool>() {
                true => cx.abort(),
                false => cx.close(),
            }
        }
        fn closed(&mut self, goodbye: &Goodbye) {
            self.0.notify(format!("{:?}\n", goodbye.reason)).unwrap();
        }
    }
    impl Session for Control {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.expect(Framing::line(99));
        }
        fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
            match frame.bytes {
                b"abort" => cx.notify(self.0.unwrap(), true),
                b"close" => cx.notify(self.0.unwrap(), ()),
                target => {
                    let (target, limits) = target.split_at(target.len() - 2);
                    let target = std::str::from_utf8(target).unwrap();
                    let target = Target::new(target.parse().unwrap());
                    let mut brief = Limits::default();
                    brief.handshake = Some(Duration::from_millis(20));
                    let target = match limits {
                        b" 0" => target,
                        _ => target.with_limits(brief),
                    };
                    self.0 = Some(cx.connect(target, Box::new(Out(cx.remote()))));
                }
            }
        }
        fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
            cx.write(note.downcast::<String>().unwrap().as_bytes());
        }
    }
    let (silent, _filler) = silent();
    let target = silent.local_addr().unwrap().as_socket().unwrap();
    let mut fixture = Fixture::new(|| Box::new(Control(None)));
    fixture.say(&format!("{target} 0\r\nabort\r\n"));
    assert_eq!(fixture.hear(8), "Aborted\n");
    fixture.say(&format!("{target} 0\r\nclose\r\n"));
    assert_eq!(fixture.hear(7), "Closed\n");
    // Or it gives up by itself, when limits of its own say so.
    fixture.say(&format!("{target} 1\r\n"));
    assert_eq!(fixture.hear(28), "Unreachable(Kind(TimedOut))\n");
}

/// A connection that a session was making when the server began to shut down was closed without a word to
/// anybody, whatever was to be done with it.
#[test]
fn a_connection_that_is_being_made_hears_of_the_drain() {
    struct Control;
    struct Out(Remote);
    impl Session for Out {
        fn opened(&mut self, _: &mut Cx<'_>) {}
        fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
        fn draining(&mut self, _: &mut Cx<'_>) {
            self.0.notify("still needed\n").unwrap();
        }
        fn closed(&mut self, _: &Goodbye) {
            self.0.notify("closed\n").unwrap();
        }
    }
    impl Session for Control {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.expect(Framing::line(99));
        }
        fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
            let target: SocketAddr = std::str::from_utf8(frame.bytes).unwrap().parse().unwrap();
            cx.connect(target, Box::new(Out(cx.remote())));
            cx.write(b"calling\n");
        }
        fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
            cx.write(note.downcast::<&str>().unwrap().as_bytes());
        }
        fn draining(&mut self, _: &mut Cx<'_>) {}
    }
    let (silent, _filler) = silent();
    let mut fixture = Fixture::new(|| Box::new(Control));
    let target = silent.local_addr().unwrap().as_socket().unwrap();
    assert_eq!(fixture.say(&format!("{target}\r\n")).hear(8), "calling\n");
    fixture.running.as_ref().unwrap().handle().drain(None);
    assert_eq!(fixture.hear(13), "still needed\n");
}

/// Each step of a connection whose work waited for room in the pool wrapped that work once more, until
/// nothing could run it, or drop it, within a thread's stack.
#[test]
fn work_that_waits_for_room_stays_as_it_is() {
    struct Cold;
    impl Session for Cold {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.expect(Framing::stream());
        }
        fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
            if frame.bytes != b"read" {
                return;
            }
            let mut is_asked = false;
            cx.send(generated(move |out: &mut Outbox| {
                if !std::mem::replace(&mut is_asked, true) {
                    out.defer(Box::new(|| {}));
                    return Ok(Produced::Pending);
                }
                out.push_slice(b"done");
                Ok(Produced::Done)
            }));
        }
    }
    let mut client = Client::new(Cold);
    client.fill_pool().send("read");
    for _ in 0..200_000 {
        client.send("and a step");
    }
    assert_eq!(client.run_jobs().text(), "done");
}

/// A timer that was armed anew, for no time at all, whenever it ran out kept its shard for itself.
#[test]
fn a_timer_for_no_time_at_all_keeps_nobody_waiting() {
    struct Hasty(u32);
    impl Session for Hasty {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.arm(TimerKey(0), Duration::ZERO);
        }
        fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
        fn expired(&mut self, cx: &mut Cx<'_>, key: TimerKey) {
            self.0 += 1;
            assert!(self.0 <= 10, "it runs again and again in the same moment");
            cx.write(b".");
            cx.arm(key, Duration::ZERO);
        }
    }
    let mut client = Client::new(Hasty(0));
    assert_eq!(client.advance(Duration::from_millis(10)).text(), "..........");
}

/// A panic in the words of refusal ended the shard, and with it the server.
#[test]
fn a_panic_in_words_of_refusal_harms_nobody() {
    struct Words;
    impl Acceptor for Words {
        fn accepted(&mut self, _: &Peer) -> Box<dyn Session> {
            struct Echo;
            impl Session for Echo {
                fn opened(&mut self, cx: &mut Cx<'_>) {
                    cx.write(b"hello");
                }
                fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
                    cx.write(frame.bytes);
                }
            }
            Box::new(Echo)
        }
        fn refused(&mut self, refusal: Refusal) -> Bytes {
            panic!("on purpose: {refusal:?}");
        }
    }
    let mut limits = Limits::default();
    limits.connections = Some(1);
    let parts = ServiceParts::new("lab.crowded").listen("127.0.0.1:0".parse().unwrap());
    let crowded = parts.with_limits(limits).serve(|| Words);
    let server = Server::builder().mount(crowded).bind().unwrap();
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
    let running = Some(server.start().unwrap());
    let stream = TcpStream::connect(address).unwrap();
    let mut fixture = Fixture { running, stream };
    assert_eq!(fixture.hear(5), "hello");
    let mut refused = TcpStream::connect(address).unwrap();
    assert_eq!(refused.read(&mut [0; 9]).unwrap(), 0);
    assert_eq!(fixture.say("still here").hear(10), "still here");
}

/// A slot that was fulfilled by `unfinished` waited for something else to happen.
#[test]
fn a_slot_fulfilled_by_an_unfinished_frame_goes_out() {
    struct Late(Option<ReplySlot>);
    impl Session for Late {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.expect(Framing::line(99));
        }
        fn received(&mut self, cx: &mut Cx<'_>, _: Frame<'_>) {
            cx.write(b"first\n");
            self.0 = Some(cx.reserve());
        }
        fn unfinished(&mut self, cx: &mut Cx<'_>, _: &[u8], _: usize) {
            if let Some(slot) = self.0.take() {
                cx.fulfil_bytes(slot, Bytes::from_static(b"ok\n"));
            }
        }
    }
    let mut fixture = Fixture::new(|| Box::new(Late(None)));
    assert_eq!(fixture.say("x\r\n").hear(6), "first\n");
    assert_eq!(fixture.say("y").hear(3), "ok\n");
}

/// A file that became shorter after its segment was queued left the peer waiting.
#[test]
fn a_file_cut_short_ends_the_connection_at_once() {
    struct Short;
    impl Session for Short {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.expect(Framing::line(99));
        }
        fn received(&mut self, cx: &mut Cx<'_>, _: Frame<'_>) {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&[b'x'; 100_000]).unwrap();
            let file = Arc::new(file);
            cx.send(generated(move |out: &mut Outbox| {
                out.push_file(Arc::clone(&file), 0, 1 << 20);
                Ok(Produced::Done)
            }));
        }
    }
    let mut fixture = Fixture::new(|| Box::new(Short));
    fixture.say("x\r\n");
    let ended = fixture.stream.read_to_end(&mut Vec::new());
    let error = ended.expect_err("a clean end");
    assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "silence");
}

/// A datagram was lost when its socket was opened behind another one's end.
#[test]
fn a_socket_that_is_opened_when_another_is_closed_sends() {
    struct Moving {
        peer: SocketAddr,
        first: Option<SocketId>,
    }
    impl DatagramService for Moving {
        fn opened(&mut self, cx: &mut DatagramCx<'_>) {
            let first = cx.open_socket(ClientSocket::connected(self.peer)).unwrap();
            cx.send(first, |out| out.extend_from_slice(b"first"));
            self.first = Some(first);
        }
        fn received(&mut self, cx: &mut DatagramCx<'_>, _: Datagram<'_>) {
            let Some(first) = self.first.take() else { return };
            cx.send(first, |out| out.extend_from_slice(b"last words"));
            cx.close_socket(first);
            let second = cx.open_socket(ClientSocket::connected(self.peer)).unwrap();
            cx.send(second, |out| out.extend_from_slice(b"second"));
        }
    }
    struct Mounted(SocketAddr);
    impl Service for Mounted {
        fn parts(&self) -> ServiceParts {
            ServiceParts::new("lab.moving")
        }
        fn acceptor(&self) -> Box<dyn Acceptor> {
            Box::new(|_: &Peer| -> Box<dyn Session> { unreachable!("nobody can connect") })
        }
        fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
            Some(Box::new(Moving { peer: self.0, first: None }))
        }
    }
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mounted = Mounted(peer.local_addr().unwrap());
    let running = Server::builder().mount(Box::new(mounted)).bind().unwrap().start().unwrap();
    let hear = || {
        let mut heard = [0; 32];
        let (length, from) = peer.recv_from(&mut heard).unwrap();
        (String::from_utf8(heard[..length].to_vec()).unwrap(), from)
    };
    let (heard, first) = hear();
    assert_eq!(heard, "first");
    peer.send_to(b"go on", first).unwrap();
    assert_eq!(hear(), ("last words".to_owned(), first));
    let (heard, second) = hear();
    assert_eq!(heard, "second");
    assert_ne!(first, second);
    running.handle().stop();
    running.join().unwrap();
}

/// Connections that sessions made were counted nowhere, and held to no limit.
#[test]
fn connections_that_sessions_make_count() {
    struct Caller;
    struct Called(Remote);
    impl Session for Called {
        fn opened(&mut self, _: &mut Cx<'_>) {
            self.0.notify("stands".to_owned()).unwrap();
        }
        fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
        fn closed(&mut self, goodbye: &Goodbye) {
            let text = match &goodbye.reason {
                Reason::Unreachable(error) => format!("{:?}", error.kind()),
                other => format!("{other:?}"),
            };
            self.0.notify(text).unwrap();
        }
    }
    impl Session for Caller {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.expect(Framing::line(99));
        }
        fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
            let target: SocketAddr = std::str::from_utf8(frame.bytes).unwrap().parse().unwrap();
            cx.connect(target, Box::new(Called(cx.remote())));
        }
        fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
            cx.write(note.downcast::<String>().unwrap().as_bytes());
            cx.write(b"\n");
        }
    }
    let mut limits = Limits::default();
    limits.connections_per_peer = Some(1);
    let parts = ServiceParts::new("lab.callers").listen("127.0.0.1:0".parse().unwrap());
    let callers =
        parts.with_limits(limits).serve(|| |_: &Peer| Box::new(Caller) as Box<dyn Session>);
    let metrics = Metrics::default();
    let server = Server::builder().metrics(&metrics).mount(callers).bind().unwrap();
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
    let running = Some(server.start().unwrap());
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut fixture = Fixture { running, stream };
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let line = format!("{}\r\n", target.local_addr().unwrap());
    assert_eq!(fixture.say(&line).hear(7), "stands\n");
    assert_eq!(fixture.say(&line).hear(14), "QuotaExceeded\n");
    let counted = metrics.service("lab.callers");
    assert_eq!((counted.own_open(), counted.own_opened.value(), counted.open()), (1, 1, 1));
    drop(target.accept().unwrap());
    assert_eq!(fixture.hear(7), "Closed\n");
    // Its place is free again.
    assert_eq!(fixture.say(&line).hear(7), "stands\n");
}
