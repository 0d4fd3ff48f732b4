//! Deadlines. Pure: `now` is handed in, in milliseconds since the shard began, so that a wall clock set
//! back hangs nothing.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Milliseconds since the shard began.
pub(crate) type Millis = u64;

/// A session's own name for one of its timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerKey(pub u16);

/// The timers of one session. A handful at most, so a list beats a map; none at all mostly, so that it
/// is a list behind a pointer.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    #[expect(clippy::box_collection, reason = "most connections have no timer and pay 8 octets")]
    armed: Option<Box<Vec<(TimerKey, Millis)>>>,
}

impl Deadlines {
    pub(crate) fn arm(&mut self, key: TimerKey, at: Millis) {
        let armed = self.armed.get_or_insert_default();
        match armed.iter_mut().find(|(armed, _)| *armed == key) {
            Some((_, deadline)) => *deadline = at,
            None => armed.push((key, at)),
        }
    }

    pub(crate) fn disarm(&mut self, key: TimerKey) {
        if let Some(armed) = &mut self.armed {
            armed.retain(|(armed, _)| *armed != key);
            if armed.is_empty() {
                self.armed = None;
            }
        }
    }

    pub(crate) fn earliest(&self) -> Option<Millis> {
        self.armed.as_ref()?.iter().map(|(_, at)| *at).min()
    }

    /// Takes out one timer that is due, the earliest first.
    pub(crate) fn take_due(&mut self, now: Millis) -> Option<TimerKey> {
        let armed = self.armed.as_ref()?.iter();
        let (key, _) = armed.filter(|(_, at)| *at <= now).min_by_key(|(_, at)| *at)?;
        let key = *key;
        self.disarm(key);
        Some(key)
    }
}

/// Room for so many timers, 256 KiB, at first.
const FIRST_CAPACITY: usize = 16 * 1024;

/// When which connection wants to be looked at.
///
/// Deadlines move lazily: each owner has one valid entry, the earliest it has asked for. Moving a
/// deadline further away costs nothing; when the entry comes due, its owner says when it really wants
/// to be woken. A stale entry (an owner that has gone, or asked for an earlier time since) is the
/// caller's to recognise.
#[derive(Debug, Default)]
pub(crate) struct TimerQueue {
    heap: BinaryHeap<Reverse<(Millis, u64)>>,
}

impl TimerQueue {
    pub(crate) fn push(&mut self, at: Millis, owner: u64) {
        if self.heap.capacity() == 0 {
            // Grown bit by bit it would leave as much again between what connections have. What isn't used of
            // it takes no memory: so large a piece comes from the system page by page.
            self.heap.reserve(FIRST_CAPACITY);
        }
        self.heap.push(Reverse((at, owner)));
    }

    pub(crate) fn next(&self) -> Option<Millis> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes all that is due, so that timers armed while these run wait for the next turn.
    pub(crate) fn take_due(&mut self, now: Millis, due: &mut Vec<(Millis, u64)>) {
        while let Some(Reverse((at, _))) = self.heap.peek()
            && *at <= now
        {
            due.extend(self.heap.pop().map(|Reverse(entry)| entry));
        }
        if self.heap.is_empty() && self.heap.capacity() > FIRST_CAPACITY {
            self.heap = BinaryHeap::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_timers_come_earliest_first_and_once() {
        let mut deadlines = Deadlines::default();
        deadlines.arm(TimerKey(1), 30);
        deadlines.arm(TimerKey(2), 10);
        deadlines.arm(TimerKey(3), 20);
        deadlines.arm(TimerKey(3), 5);
        deadlines.disarm(TimerKey(9));
        assert_eq!(deadlines.earliest(), Some(5));
        assert_eq!(deadlines.take_due(10), Some(TimerKey(3)));
        assert_eq!(deadlines.take_due(10), Some(TimerKey(2)));
        assert_eq!(deadlines.take_due(10), None);
        deadlines.disarm(TimerKey(1));
        assert_eq!(deadlines.earliest(), None);
    }

    #[test]
    fn the_queue_hands_out_what_is_due() {
        let mut queue = TimerQueue::default();
        let mut due = Vec::new();
        for (at, owner) in [(5, 1), (3, 2), (9, 3)] {
            queue.push(at, owner);
        }
        queue.take_due(5, &mut due);
        assert_eq!(due, [(3, 2), (5, 1)]);
        assert_eq!(queue.next(), Some(9));
    }
}
