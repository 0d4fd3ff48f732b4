//! Bugs that were found in shards, an entry each, over real sockets. Nothing sleeps.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use medusa_core::config::Listen;
use medusa_core::producer::{bytes, generated};
use medusa_core::server::Running;
use medusa_core::{
    Acceptor, Address, ClientSocket, Cx, Datagram, DatagramCx, DatagramService, Frame, Framing,
    Listener, Listening, Note, Outbox, Peer, ProduceError, Produced, ReplySlot, Server, Service,
    Session, SocketId,
};

type Make = fn() -> Box<dyn Session>;

struct Lab(Make);

impl Service for Lab {
    fn name(&self) -> &str {
        "lab.regressions"
    }

    fn listeners(&self) -> Vec<Listener> {
        vec![Listener::new("127.0.0.1:0".parse().unwrap())]
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
        fn name(&self) -> &str {
            "lab.moving"
        }
        fn listeners(&self) -> Vec<Listener> {
            Vec::new()
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
