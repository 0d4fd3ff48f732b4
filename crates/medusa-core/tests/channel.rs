//! The channel as sessions see it: order, back-pressure, deadlines, ends. Without a socket.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

use std::time::Duration;

use bytes::Bytes;
use medusa_core::testing::{Client, Faults, Pair};
use medusa_core::{
    Cx, Deadline, Frame, Framing, Goodbye, Limits, Note, Reason, ReplySlot, Returned, Session,
    TimerKey,
};

/// Echoes lines; `slow` is answered when a note comes, `later` after a second, `quit` closes.
#[derive(Default)]
struct Lines {
    slots: Vec<ReplySlot>,
}

impl Session for Lines {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(1000));
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        match frame.bytes {
            b"slow" => self.slots.push(cx.reserve()),
            b"later" => {
                self.slots.push(cx.reserve());
                cx.arm(TimerKey(1), Duration::from_secs(1));
            }
            b"work" => {
                let slot = cx.reserve();
                let done = |_: &mut Self, cx: &mut Cx<'_>, sum: u32| {
                    cx.fulfil_bytes(slot, Bytes::from(format!("{sum}\n")));
                };
                cx.offload(|| (1..=100).sum(), done).expect("the pool has room");
            }
            b"quit" => {
                cx.write(b"bye\n");
                cx.close();
            }
            line => {
                cx.write(line);
                cx.write(b"\n");
            }
        }
    }

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        let text = note.downcast::<&'static str>().expect("a text");
        for slot in self.slots.drain(..) {
            cx.fulfil_bytes(slot, Bytes::from_static(text.as_bytes()));
        }
    }

    fn expired(&mut self, cx: &mut Cx<'_>, _: TimerKey) {
        self.notified(cx, Note::new("in time\n"));
    }

    fn timed_out(&mut self, cx: &mut Cx<'_>, deadline: Deadline) {
        cx.write(format!("{deadline:?}\n").as_bytes());
        cx.close();
    }
}

#[test]
fn a_deferred_answer_comes_in_order() {
    let mut client = Client::new(Lines::default());
    assert_eq!(client.send("a\r\nslow\r\nb\r\n").text(), "a\n");
    assert_eq!(client.notify("slow at last\n").text(), "slow at last\nb\n");
    assert_eq!(client.send("later\r\nc\r\n").text(), "");
    assert_eq!(client.advance(Duration::from_millis(999)).text(), "");
    assert_eq!(client.advance(Duration::from_millis(1)).text(), "in time\nc\n");
    assert_eq!(client.send("work\r\nd\r\n").text(), "");
    assert_eq!(client.run_jobs().text(), "5050\nd\n");
}

#[test]
fn one_slow_reply_followed_by_20_000_lines() {
    let mut client = Client::new(Lines::default());
    let lines: Vec<String> = (0..20_000).map(|n| n.to_string()).collect();
    client.send(format!("slow\r\n{}\r\n", lines.join("\r\n")));
    assert_eq!(client.text(), "");
    let expected = format!("slow\n{}\n", lines.join("\n"));
    assert_eq!(client.notify("slow\n").text(), expected);
}

#[test]
fn every_split_and_short_write_gives_the_same() {
    let script = "a\r\nbb\r\n\r\nccc\r\nquit\r\nnot read\r\n";
    for reads in 1..script.len() {
        for writes in 1..6 {
            let faults = Faults::none().reads([reads]).writes([writes]);
            let mut client = Client::with(Box::<Lines>::default(), Limits::default(), faults);
            assert_eq!(client.send(script).text(), "a\nbb\n\nccc\nbye\n");
            assert!(client.is_closed());
        }
    }
}

#[test]
fn a_peer_that_never_reads_stops_being_read() {
    let mut client = Client::new(Lines::default());
    client.stall();
    let line = format!("{}\r\n", "x".repeat(98));
    client.send(line.repeat(200_000));
    let high_water = client.limits().high_water as u64;
    assert!(client.unsent_bytes() >= high_water);
    assert!(client.unsent_bytes() < high_water + 200);
    assert_eq!(client.unstall().output().len(), 200_000 * 99);
}

#[test]
fn replies_in_flight_are_bounded() {
    let limits = Limits::default();
    let mut client = Client::with(Box::<Lines>::default(), limits, Faults::none().reads([60]));
    client.send("slow\r\n".repeat(1000));
    assert!(client.unread_bytes() > 5000, "reading went on: {}", client.unread_bytes());
    let mut seen = 0;
    for _ in 0..1000 {
        seen += client.notify("x\n").text().len() / 2;
    }
    assert_eq!(seen, 1000);
}

#[test]
fn what_was_sent_before_a_half_close_is_answered() {
    let mut client = Client::new(Lines::default());
    client.send("slow\r\na\r\nunfinished").end();
    assert!(!client.is_closed());
    assert_eq!(client.notify("slow\n").text(), "slow\na\n");
    assert!(matches!(client.ended_by(), Some(Reason::Closed)));
}

#[test]
fn deadlines_tell_idle_from_a_slow_head() {
    let mut client = Client::new(Lines::default());
    client.advance(Duration::from_secs(59)).send("a\r\n");
    assert_eq!(client.advance(Duration::from_secs(59)).text(), "a\n");
    assert_eq!(client.advance(Duration::from_secs(1)).text(), "Idle\n");
    assert!(client.is_closed());

    let mut client = Client::new(Lines::default());
    for _ in 0..19 {
        client.send("x").advance(Duration::from_secs(1));
    }
    assert_eq!(client.text(), "");
    assert_eq!(client.advance(Duration::from_secs(1)).text(), "Head\n");
}

#[test]
fn our_own_slowness_times_nobody_out() {
    let mut client = Client::new(Lines::default());
    client.send("slow\r\n").advance(Duration::from_secs(3600));
    assert!(!client.is_closed());
    assert_eq!(client.notify("slow\n").text(), "slow\n");
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off() {
    let mut client = Client::new(Lines::default());
    client.stall().send("a\r\n");
    client.advance(Duration::from_secs(60));
    assert!(matches!(client.ended_by(), Some(Reason::TimedOut(Deadline::Rate))));
}

#[test]
fn a_closed_connection_lingers_for_the_peer_and_not_forever() {
    let mut client = Client::new(Lines::default());
    assert_eq!(client.send("quit\r\n").text(), "bye\n");
    assert!(client.ended_by().is_none());
    client.advance(Duration::from_secs(5));
    assert!(matches!(client.ended_by(), Some(Reason::Closed)));
}

/// Sends a body of known length and says what it saw of one.
struct Body {
    seen: usize,
}

impl Session for Body {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::length(100_000));
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        self.seen += frame.bytes.len();
        if frame.end {
            cx.write(self.seen.to_string().as_bytes());
        }
    }

    fn closed(&mut self, goodbye: &Goodbye) {
        assert_eq!(goodbye.received as usize, self.seen);
    }
}

#[test]
fn a_body_that_drips_too_slowly_is_cut_off() {
    let mut client = Client::new(Body { seen: 0 });
    for _ in 0..30 {
        client.send([b'x'; 100]).advance(Duration::from_secs(1));
    }
    assert!(!client.is_closed());
    for _ in 0..12 {
        client.send([b'x'; 99]).advance(Duration::from_secs(1));
    }
    assert!(client.is_closed());
}

/// Counts up to a limit with its peer.
struct Counter {
    first: bool,
}

impl Session for Counter {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(10));
        if self.first {
            cx.write(b"0\r\n");
        }
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        let count: u32 = std::str::from_utf8(frame.bytes).unwrap().parse().unwrap();
        if count == 1000 {
            cx.close();
        } else {
            cx.write(format!("{}\r\n", count + 1).as_bytes());
        }
    }
}

#[test]
fn two_sessions_talk_to_each_other_over_a_bad_network() {
    for seed in 0..20 {
        let mut pair = Pair::with(
            Box::new(Counter { first: true }),
            Box::new(Counter { first: false }),
            Limits::default(),
            Faults::random(seed, 3),
        );
        pair.run();
        assert!(pair.left.is_closed() && pair.right.is_closed());
        assert!(matches!(pair.left.ended_by(), Some(Reason::Closed)));
    }
}

/// Fills the pool, then offloads a job that holds what must not be lost.
struct Sheltering {
    slot: Option<ReplySlot>,
    kept: Option<Box<dyn FnOnce() -> String + Send>>,
}

impl Sheltering {
    fn submit(&mut self, cx: &mut Cx<'_>, work: Box<dyn FnOnce() -> String + Send>) {
        let slot = self.slot.take().unwrap();
        let then = move |_: &mut Sheltering, cx: &mut Cx<'_>, text: String| {
            cx.fulfil_bytes(slot, text.into());
        };
        if let Err(Returned((work, then))) = cx.offload(work, then) {
            // The reply is given at once, by what was to give it later; the work waits.
            then(self, cx, "not yet\r\n".into());
            (self.slot, self.kept) = (Some(cx.reserve()), Some(work));
            cx.arm(TimerKey(1), Duration::from_secs(1));
        }
    }
}

impl Session for Sheltering {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(100));
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        while cx.offload(|| (), |_: &mut Sheltering, _, ()| {}).is_ok() {}
        let upload = String::from_utf8_lossy(frame.bytes).into_owned();
        self.slot = Some(cx.reserve());
        self.submit(cx, Box::new(move || format!("kept {upload}\r\n")));
    }

    fn expired(&mut self, cx: &mut Cx<'_>, _: TimerKey) {
        let work = self.kept.take().unwrap();
        self.submit(cx, work);
    }
}

#[test]
fn a_full_pool_hands_back_what_must_not_be_lost() {
    let mut client = Client::new(Sheltering { slot: None, kept: None });
    assert_eq!(client.send("upload\r\n").text(), "not yet\r\n");
    assert_eq!(client.advance(Duration::from_secs(1)).text(), "not yet\r\n");
    client.run_jobs();
    client.advance(Duration::from_secs(1));
    assert_eq!(client.run_jobs().text(), "kept upload\r\n");
}

/// Gathers a stream in room of its own behind a line that says how much room there is.
#[derive(Default)]
struct Gatherer {
    gathered: Vec<u8>,
    /// What came by frames.
    lent: usize,
    counted: usize,
}

impl Session for Gatherer {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(1000));
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        if self.gathered.capacity() == 0 {
            let room = std::str::from_utf8(frame.bytes).unwrap().parse().unwrap();
            self.gathered.reserve_exact(room);
            return cx.expect(Framing::stream());
        }
        self.gathered.extend_from_slice(frame.bytes);
        self.lent += frame.bytes.len();
    }

    fn room(&mut self) -> Option<&mut Vec<u8>> {
        Some(&mut self.gathered)
    }

    fn filled(&mut self, _: &mut Cx<'_>, count: usize) {
        self.counted += count;
    }

    fn half_closed(&mut self, cx: &mut Cx<'_>) {
        let Gatherer { gathered, lent, counted } = self;
        assert_eq!(gathered.len(), *lent + *counted);
        cx.write(format!("{lent} {counted} ").as_bytes());
        cx.write(gathered);
        cx.close();
    }
}

#[test]
fn a_stream_is_read_into_the_room_that_a_session_has_for_it() {
    let text: String = ('a'..='z').cycle().take(5000).collect();
    let splits: [&[usize]; 4] = [&[1_000_000], &[1], &[6, 1000], &[3, 2, 7]];
    for (reads, lent) in splits.into_iter().zip([5000, 0, 0, 6]) {
        let faults = Faults::none().reads(reads);
        let mut client = Client::with(Box::<Gatherer>::default(), Limits::default(), faults);
        client.send(format!("8000\r\n{text}"));
        client.end();
        // What came behind the line in the same read was buffered already, and is lent.
        let said = client.text();
        assert!(said == format!("{lent} {} {text}", 5000 - lent), "{reads:?}: {}", &said[..20]);
        assert!(client.is_closed());
    }
    // Where there is no room left, nothing is lost.
    let mut client = Client::new(Gatherer::default());
    client.send("8\r\n").send(&text).end();
    let said = client.text();
    assert!(said.ends_with(&text) && !said.starts_with("0 "), "{}", &said[..20]);
}
