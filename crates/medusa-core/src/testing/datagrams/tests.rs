//! A service that forwards, and all that a test can do to it.

use super::*;
use crate::timer::TimerKey;

/// Forwards what comes to another server; answers for it when that is silent.
struct Forwarder {
    upstream: SocketAddr,
    waiting: Vec<(SocketId, Sender)>,
}

impl DatagramService for Forwarder {
    fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
        let sender = datagram.sender;
        let asked = self.waiting.iter().position(|(socket, _)| *socket == sender.socket());
        if let Some(index) = asked {
            let (socket, client) = self.waiting.swap_remove(index);
            cx.close_socket(socket);
            return cx.reply(client, |out| out.extend_from_slice(datagram.bytes));
        }
        match cx.open_socket(ClientSocket::connected(self.upstream)) {
            Ok(socket) => {
                cx.send(socket, |out| out.extend_from_slice(datagram.bytes));
                self.waiting.push((socket, sender));
                cx.arm(TimerKey(0), Duration::from_secs(2));
            }
            Err(busy) => cx.reply(sender, |out| out.extend(busy.to_string().bytes())),
        }
    }

    fn failed(&mut self, cx: &mut DatagramCx<'_>, socket: SocketId, _: Failure) {
        self.give_up(cx, |waiting| waiting == socket);
    }

    fn expired(&mut self, cx: &mut DatagramCx<'_>, _: TimerKey) {
        self.give_up(cx, |_| true);
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }
}

impl Forwarder {
    fn give_up(&mut self, cx: &mut DatagramCx<'_>, which: impl Fn(SocketId) -> bool) {
        self.waiting.retain(|(socket, client)| {
            let given_up = which(*socket);
            if given_up {
                cx.close_socket(*socket);
                cx.reply(*client, |out| out.extend_from_slice(b"nobody answers"));
            }
            !given_up
        });
    }
}

fn peer(host: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, host], 4000))
}

fn forwarder() -> Datagrams {
    Datagrams::new(Forwarder { upstream: peer(53), waiting: Vec::new() })
}

#[test]
fn a_question_goes_on_and_its_answer_comes_back() {
    let mut datagrams = forwarder();
    let question = datagrams.receive(peer(1), "question").sent().remove(0);
    let &[(socket, _)] = datagrams.clients() else { panic!("one socket is open") };
    assert_eq!(
        (question.socket, question.to, question.text()),
        (socket, peer(53), "question".into())
    );
    assert!(!datagrams.is_idle());
    // Nobody else is heard.
    assert_eq!(datagrams.answer(socket, peer(66), "forged").sent(), []);
    let answer = datagrams.answer(socket, peer(53), "answer").sent().remove(0);
    let local = Some(SocketAddr::from(([127, 0, 0, 1], 53)));
    assert_eq!((answer.from, answer.to, answer.text()), (local, peer(1), "answer".into()));
    assert!(datagrams.is_idle() && datagrams.clients().is_empty());
    assert_eq!(datagrams.answer(socket, peer(53), "too late").sent(), []);
    assert_eq!((datagrams.counts().received.value(), datagrams.counts().sent.value()), (2, 2));
}

#[test]
fn a_peer_over_its_rate_is_not_heard() {
    struct Echo;
    impl DatagramService for Echo {
        fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
            cx.reply(datagram.sender, |out| out.extend_from_slice(datagram.bytes));
        }
    }
    let limits = Limits { datagram_rate: Some(2), ..Limits::default() };
    let mut datagrams = Datagrams::with(Box::new(Echo), &[peer(53)], limits);
    for _ in 0..10 {
        datagrams.receive(peer(1), "often");
    }
    datagrams.receive(peer(2), "once");
    assert_eq!(datagrams.sent().len(), 5);
    datagrams.advance(Duration::from_secs(1)).receive(peer(1), "again");
    assert_eq!(datagrams.sent().len(), 1);
    assert_eq!((datagrams.counts().received.value(), datagrams.counts().refused.value()), (12, 6));
}

#[test]
fn silence_and_refusal_are_told() {
    let mut datagrams = forwarder();
    datagrams.receive(peer(1), "a").sent();
    assert_eq!(datagrams.advance(Duration::from_millis(1999)).sent(), []);
    let answer = datagrams.advance(Duration::from_millis(1)).sent().remove(0);
    assert_eq!((answer.to, answer.text()), (peer(1), "nobody answers".into()));
    datagrams.receive(peer(2), "b").sent();
    let (socket, _) = datagrams.clients()[0];
    let refused = Failure::Unreachable(std::io::ErrorKind::ConnectionRefused.into());
    assert_eq!(datagrams.fail(socket, refused).sent()[0].to, peer(2));
    assert!(datagrams.clients().is_empty());
}

#[test]
fn client_sockets_are_bounded() {
    let mut datagrams = forwarder();
    for _ in 0..1024 {
        datagrams.receive(peer(1), "a");
    }
    assert_eq!((datagrams.sent().len(), datagrams.clients().len()), (1024, 1024));
    let busy = datagrams.receive(peer(1), "one too many").sent().remove(0);
    assert_eq!((busy.to, busy.text()), (peer(1), "too much work is waiting already".into()));
}

#[test]
fn a_socket_may_be_opened_when_another_is_closed() {
    struct Moving(Option<SocketId>);
    impl DatagramService for Moving {
        fn received(&mut self, cx: &mut DatagramCx<'_>, _: Datagram<'_>) {
            if let Some(old) = self.0.take() {
                cx.send(old, |out| out.push(b'a'));
                cx.close_socket(old);
            }
            let new = cx.open_socket(ClientSocket::connected(peer(53))).expect("few are open");
            cx.send(new, |out| out.push(b'b'));
            self.0 = Some(new);
        }
    }
    let mut datagrams = Datagrams::new(Moving(None));
    let text = |sent: Vec<Sent>| sent.iter().map(Sent::text).collect::<String>();
    assert_eq!(text(datagrams.receive(peer(1), "").sent()), "b");
    assert_eq!(text(datagrams.receive(peer(1), "").sent()), "ab");
    assert_eq!(datagrams.clients().len(), 1);
}

/// Sends as often as it is told in one callback.
struct Burst;

impl DatagramService for Burst {
    fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
        for _ in 0..datagram.bytes.len() {
            cx.reply(datagram.sender, |out| out.resize(60_000, 0));
        }
    }
}

#[test]
fn what_one_callback_sends_is_bounded() {
    let mut datagrams = Datagrams::new(Burst);
    let sent = datagrams.receive(peer(1), [0; 1000]).sent();
    let octets: usize = sent.iter().map(|sent| sent.bytes.len()).sum();
    assert!((1 << 20..2 << 20).contains(&octets), "{octets}");
    assert_eq!(datagrams.counts().dropped.value() as usize, 1000 - sent.len());
}

/// Answers whoever it is told of.
struct Elsewhere;

impl DatagramService for Elsewhere {
    fn received(&mut self, _: &mut DatagramCx<'_>, _: Datagram<'_>) {}

    fn notified(&mut self, cx: &mut DatagramCx<'_>, note: Note) {
        let sender = note.downcast::<Sender>().expect("a sender");
        cx.reply(sender, |out| out.push(b'a'));
    }
}

#[test]
fn a_sender_of_another_shard_reaches_nobody() {
    let mut datagrams = Datagrams::new(Elsewhere);
    let (mut socket, local) = datagrams.listeners()[0];
    let sender = Sender { socket, remote: peer(1), local };
    assert_eq!(datagrams.notify(sender).sent().len(), 1);
    socket.0.shard = 1;
    assert_eq!(datagrams.notify(Sender { socket, ..sender }).sent(), []);
    assert_eq!(datagrams.counts().dropped.value(), 1);
}
