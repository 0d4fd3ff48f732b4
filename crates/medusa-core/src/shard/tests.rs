//! Turns of a shard, one by one: notes, ends, private listeners.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroUsize;
use std::rc::Rc;

use super::*;
use crate::limits::{Census, Limits};
use crate::service::{Acceptor, Peer};
use crate::session::{Cx, Session};
use crate::{Frame, Framing};

/// Writes itself a note when it is opened, and another for each that comes.
struct Correspondent(Rc<Cell<usize>>);

impl Session for Correspondent {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::stream());
        cx.notify(cx.address(), ());
    }

    fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}

    fn notified(&mut self, cx: &mut Cx<'_>, _: Note) {
        self.0.set(self.0.get() + 1);
        cx.notify(cx.address(), ());
    }
}

fn shard(acceptor: Box<dyn Acceptor>) -> (Shard, SocketAddr) {
    let poll = Poll::new().unwrap();
    let mailboxes: Arc<[Arc<Mailbox>]> = Arc::new([Arc::new(Mailbox::new(|| {}))]);
    let pool = Arc::new(Pool::new(NonZeroUsize::MIN, 1).unwrap());
    let mut shard = Shard::new(0, poll, mailboxes, pool);
    let gate = Gate {
        name: "lab".into(),
        acceptor,
        limits: Arc::new(Limits::default()),
        census: Arc::new(Census::default()),
        tls: None,
        proxies: Vec::new(),
    };
    shard.gates.insert(1, gate);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let socket = Socket::Tcp(mio::net::TcpListener::from_std(listener));
    shard.listen(socket, 2, 1, false).unwrap();
    (shard, address)
}

#[test]
fn notes_to_oneself_come_at_the_end_of_the_turn_and_hold_nobody_up() {
    let notes = Rc::new(Cell::new(0));
    let told = Rc::clone(&notes);
    let (mut shard, address) = shard(Box::new(move |_: &Peer| {
        Box::new(Correspondent(Rc::clone(&told))) as Box<dyn Session>
    }));
    let _stream = TcpStream::connect(address).unwrap();
    let mut events = Events::with_capacity(16);
    for turn in 1..100 {
        // None waits for an event: what is in hand is handed on at once.
        shard.turn(&mut events).unwrap();
        assert_eq!(notes.get(), turn * ROUNDS_OF_NOTES);
    }
}

/// Says something long and closes.
struct Sender;

impl Session for Sender {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.write(&[b'x'; 50_000]);
        cx.close_unheard();
    }

    fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
}

#[test]
fn a_peer_that_has_nothing_to_say_is_not_waited_for() {
    for (said, waits) in [("", 0), ("out of turn", 1)] {
        let (mut shard, address) = shard(Box::new(|_: &Peer| Box::new(Sender) as Box<dyn Session>));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(said.as_bytes()).unwrap();
        let mut events = Events::with_capacity(16);
        shard.turn(&mut events).unwrap();
        assert_eq!(shard.table.connections(), waits);
        let mut heard = Vec::new();
        // A reset would be an error here, and take what isn't read yet.
        stream.read_to_end(&mut heard).unwrap();
        assert_eq!(heard.len(), 50_000);
    }
}

/// Listens privately, and closes that listener for the first that comes if it is `modest`.
struct Host {
    modest: bool,
    inlet: Option<Address>,
    bound: Rc<Cell<Option<SocketAddr>>>,
    accepted: Rc<Cell<usize>>,
}

struct Guest(Address);

impl Session for Guest {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.notify(self.0, ());
    }

    fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
}

impl Session for Host {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        let (me, accepted) = (cx.address(), Rc::clone(&self.accepted));
        let acceptor = move |_: &Peer| {
            accepted.set(accepted.get() + 1);
            Box::new(Guest(me)) as Box<dyn Session>
        };
        let bind = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        self.inlet = Some(cx.listen_private(bind, Box::new(acceptor), false));
    }

    fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        match note.downcast::<Listening>() {
            Ok(listening) => self.bound.set(listening.bound.ok()),
            Err(_) if self.modest => cx.unlisten(self.inlet.unwrap()),
            Err(_) => {}
        }
    }
}

#[test]
fn a_private_listener_that_its_first_connection_closes_takes_no_other() {
    for (modest, turns, expected) in [(true, 2, 1), (false, 3, 3)] {
        let (bound, accepted) = (Rc::new(Cell::new(None)), Rc::new(Cell::new(0)));
        let shown = (Rc::clone(&bound), Rc::clone(&accepted));
        let (mut shard, address) = shard(Box::new(move |_: &Peer| {
            let (bound, accepted) = (Rc::clone(&shown.0), Rc::clone(&shown.1));
            Box::new(Host { modest, inlet: None, bound, accepted }) as Box<dyn Session>
        }));
        let _control = TcpStream::connect(address).unwrap();
        let mut events = Events::with_capacity(16);
        shard.turn(&mut events).unwrap();
        let private = bound.get().unwrap();
        // All of them stand before the first is accepted.
        let _guests = [(); 3].map(|()| TcpStream::connect(private).unwrap());
        for _ in 0..turns {
            shard.turn(&mut events).unwrap();
        }
        assert_eq!(accepted.get(), expected);
        assert_eq!(TcpStream::connect(private).is_err(), modest);
    }
}
