//! Replies in order: each takes its place when its request is read, whenever it is ready.
//!
//! Pure. Only the head of the queue drains into the [`Outbox`]; a [`ReplySlot`] that is not filled yet
//! holds back what is behind it, and loses none of it.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::outbox::Outbox;
use crate::producer::{ProduceError, Produced, Producer};

/// How often producers are asked before others have their turn: one that makes little of much (a
/// compressor of zeros) never fills the outbox.
const CALLS: usize = 16;

/// A place in the order of replies, to be filled later with [`Cx::fulfil`](crate::Cx::fulfil).
///
/// Every slot must be fulfilled: what is behind it waits for it.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the replies behind a slot wait until it is fulfilled"]
pub struct ReplySlot {
    place: u64,
}

enum Entry {
    Bytes(Bytes),
    Producer(Box<dyn Producer>),
    Reserved,
}

/// What [`ReplyQueue::pump`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Pumped {
    /// Every reply has gone into the outbox.
    Empty,
    /// The outbox has no room, or enough was done for one step; ask again.
    Full,
    /// The head isn't ready: a slot to be fulfilled, or a producer that is pending.
    Waiting,
}

/// The replies of one connection that are not in its outbox yet.
#[derive(Default)]
pub struct ReplyQueue {
    entries: VecDeque<Entry>,
    /// The place of the first entry.
    first: u64,
    /// Bytes held by `Entry::Bytes`.
    held: usize,
}

impl std::fmt::Debug for ReplyQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplyQueue")
            .field("first", &self.first)
            .field("entries", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl ReplyQueue {
    /// Whether every reply has gone into the outbox.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many replies wait.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many bytes of ready replies wait behind one that is not.
    pub fn held_bytes(&self) -> usize {
        self.held
    }

    /// Adds a copy of `bytes`: straight to the outbox when nothing is before it.
    #[inline]
    pub fn write(&mut self, out: &mut Outbox, bytes: &[u8]) {
        if self.entries.is_empty() {
            out.push_slice(bytes);
        } else {
            self.hold(Bytes::copy_from_slice(bytes));
        }
    }

    /// Adds shared bytes: straight to the outbox when nothing is before them.
    pub fn push_bytes(&mut self, out: &mut Outbox, bytes: Bytes) {
        if self.entries.is_empty() {
            out.push(bytes);
        } else {
            self.hold(bytes);
        }
    }

    /// Adds what `compose` appends to the buffer it is lent.
    #[inline]
    pub fn compose<R>(&mut self, out: &mut Outbox, compose: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        if self.entries.is_empty() {
            return out.compose(compose);
        }
        let mut buffer = Vec::new();
        let result = compose(&mut buffer);
        self.hold(Bytes::from(buffer));
        result
    }

    /// Adds a producer.
    pub fn push_producer(&mut self, producer: Box<dyn Producer>) {
        self.entries.push_back(Entry::Producer(producer));
    }

    /// Takes the next place in the order.
    pub fn reserve(&mut self) -> ReplySlot {
        let place = self.first + self.entries.len() as u64;
        self.entries.push_back(Entry::Reserved);
        ReplySlot { place }
    }

    /// Fills a reserved place with a producer.
    pub fn fulfil(&mut self, slot: ReplySlot, producer: Box<dyn Producer>) {
        self.fill(slot, Entry::Producer(producer));
    }

    /// Fills a reserved place with bytes.
    pub fn fulfil_bytes(&mut self, slot: ReplySlot, bytes: Bytes) {
        self.held += bytes.len();
        self.fill(slot, Entry::Bytes(bytes));
    }

    /// Moves what is ready into `out`, as far as there is room.
    ///
    /// # Errors
    ///
    /// The producer at the head failed; the connection is to be aborted.
    pub fn pump(&mut self, out: &mut Outbox) -> Result<Pumped, ProduceError> {
        let mut calls = 0;
        while let Some(head) = self.entries.front_mut() {
            calls += 1;
            match head {
                Entry::Reserved => return Ok(Pumped::Waiting),
                _ if out.room() == 0 || calls > CALLS => return Ok(Pumped::Full),
                Entry::Bytes(bytes) => {
                    self.held -= bytes.len();
                    out.push(std::mem::take(bytes));
                }
                Entry::Producer(producer) => match producer.produce(out)? {
                    Produced::More => continue,
                    Produced::Pending => return Ok(Pumped::Waiting),
                    Produced::Done => {}
                },
            }
            self.entries.pop_front();
            self.first += 1;
        }
        Ok(Pumped::Empty)
    }

    /// Drops all replies, so that the queue may serve another connection.
    pub fn reset(&mut self) {
        self.entries.clear();
        if self.entries.capacity() > 1024 {
            self.entries = VecDeque::new();
        }
        self.first = 0;
        self.held = 0;
    }

    fn hold(&mut self, bytes: Bytes) {
        self.held += bytes.len();
        self.entries.push_back(Entry::Bytes(bytes));
    }

    fn fill(&mut self, slot: ReplySlot, entry: Entry) {
        let index = slot.place.wrapping_sub(self.first) as usize;
        match self.entries.get_mut(index) {
            Some(place @ Entry::Reserved) => *place = entry,
            _ => debug_assert!(false, "a slot of another connection was fulfilled"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(out: &mut Outbox) -> Vec<u8> {
        let mut all = Vec::new();
        while !out.is_empty() {
            let front = out.front().to_vec();
            out.advance(front.len() as u64);
            all.extend(front);
        }
        all
    }

    struct Countdown(u8);

    impl Producer for Countdown {
        fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
            out.push_slice(&[b'0' + self.0]);
            self.0 -= 1;
            Ok(if self.0 == 0 { Produced::Done } else { Produced::More })
        }
    }

    #[test]
    fn a_late_answer_holds_back_and_loses_nothing() {
        let (mut queue, mut out) = (ReplyQueue::default(), Outbox::new());
        queue.write(&mut out, b"a");
        let slot = queue.reserve();
        queue.write(&mut out, b"c");
        queue.push_producer(Box::new(Countdown(3)));
        let late = queue.reserve();
        queue.push_bytes(&mut out, Bytes::from_static(b"e"));
        assert_eq!(queue.pump(&mut out).unwrap(), Pumped::Waiting);
        assert_eq!(drain(&mut out), b"a");
        queue.fulfil_bytes(late, Bytes::from_static(b"d"));
        assert_eq!(queue.pump(&mut out).unwrap(), Pumped::Waiting);
        queue.fulfil(slot, Box::new(Countdown(1)));
        assert_eq!(queue.pump(&mut out).unwrap(), Pumped::Empty);
        assert_eq!(drain(&mut out), b"1c321de");
        assert_eq!(queue.held_bytes(), 0);
        queue.write(&mut out, b"direct");
        assert!(queue.is_empty());
        assert_eq!(drain(&mut out), b"direct");
    }

    #[test]
    fn only_what_there_is_room_for_is_produced() {
        let (mut queue, mut out) = (ReplyQueue::default(), Outbox::new());
        out.set_target(2);
        queue.push_producer(Box::new(Countdown(5)));
        assert_eq!(queue.pump(&mut out).unwrap(), Pumped::Full);
        assert_eq!(drain(&mut out), b"54");
        assert_eq!(queue.pump(&mut out).unwrap(), Pumped::Full);
        assert_eq!(drain(&mut out), b"32");
        assert_eq!(queue.pump(&mut out).unwrap(), Pumped::Empty);
        assert_eq!(drain(&mut out), b"1");
    }
}
