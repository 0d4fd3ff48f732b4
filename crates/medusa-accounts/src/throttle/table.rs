//! A bounded table of how many failures somebody has to their name, and how they are forgiven.
//!
//! It knows neither peers nor accounts, and decides nothing.

use std::{
    collections::HashMap,
    hash::Hash,
    time::{Duration, Instant},
};

/// What is known about one peer, one account, or one account at one peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    /// Failures that aren't forgiven yet.
    pub(super) failures: u32,
    /// From when on the next one is forgiven.
    since: Instant,
    /// When it was last looked at.
    seen: Instant,
    /// Attempts whose outcome isn't known yet.
    pub(super) pending: u32,
    /// Before this, no attempt.
    pub(super) next: Option<Instant>,
    pub(super) banned: Option<Instant>,
    pub(super) trusted: Option<Instant>,
}

impl Record {
    fn new(now: Instant) -> Self {
        Self {
            failures: 0,
            since: now,
            seen: now,
            pending: 0,
            next: None,
            banned: None,
            trusted: None,
        }
    }

    /// Forgives what is due: one failure for each `forgive` that passed.
    fn settle(&mut self, now: Instant, forgive: Duration) {
        let passed = now.saturating_duration_since(self.since);
        let due = passed.as_nanos() / forgive.as_nanos().max(1);
        if due >= u128::from(self.failures) {
            (self.failures, self.since) = (0, now.max(self.since));
        } else {
            // Smaller than the failures, so it fits.
            let due = due as u32;
            self.failures -= due;
            self.since += forgive * due;
        }
        let over = |end: &Option<Instant>| end.is_some_and(|end| end <= now);
        for end in [&mut self.next, &mut self.banned, &mut self.trusted] {
            if over(end) {
                *end = None;
            }
        }
        self.seen = now.max(self.seen);
    }

    /// Forgives what was counted for one of several reasons.
    pub(super) fn forgive(&mut self, failures: u32) {
        self.failures = self.failures.saturating_sub(failures);
        if self.failures == 0 {
            self.next = None;
        }
    }

    fn is_blank(&self) -> bool {
        self.failures == 0
            && self.pending == 0
            && self.next.or(self.banned).or(self.trusted).is_none()
    }

    /// What is thrown away first when there is no room: a flood of new names or addresses, each
    /// seen once, must not push out those that are held back.
    fn worth(&self) -> (bool, u32, bool, Instant) {
        (self.banned.is_some(), self.failures, self.trusted.is_some(), self.seen)
    }
}

/// Records by whom they are about.
#[derive(Debug)]
pub(super) struct Table<K> {
    records: HashMap<K, Record>,
    capacity: usize,
    forgive: Duration,
}

impl<K: Hash + Eq + Copy> Table<K> {
    pub(super) fn new(capacity: usize, forgive: Duration) -> Self {
        Self { records: HashMap::new(), capacity: capacity.max(1), forgive }
    }

    /// The record as it is now, if there is any.
    pub(super) fn find(&mut self, key: K, now: Instant) -> Option<&mut Record> {
        let record = self.records.get_mut(&key)?;
        record.settle(now, self.forgive);
        Some(record)
    }

    /// The record as it is now, a new one if need be.
    pub(super) fn record(&mut self, key: K, now: Instant) -> &mut Record {
        if !self.records.contains_key(&key) && self.records.len() >= self.capacity {
            self.make_room(now);
        }
        let record = self.records.entry(key).or_insert_with(|| Record::new(now));
        record.settle(now, self.forgive);
        record
    }

    /// Drops a record that says nothing any more.
    pub(super) fn tidy(&mut self, key: K) {
        if self.records.get(&key).is_some_and(Record::is_blank) {
            self.records.remove(&key);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    /// Blank records go; if they were few, the least worthy eighth goes. So a full table is gone
    /// through once in an eighth of its capacity.
    fn make_room(&mut self, now: Instant) {
        let forgive = self.forgive;
        self.records.retain(|_, record| {
            // Only `seen` would change for those that stay, and it is what they are judged by.
            let seen = record.seen;
            record.settle(now, forgive);
            record.seen = seen;
            !record.is_blank()
        });
        let room = (self.capacity / 8).max(1);
        let excess = (self.records.len() + room).saturating_sub(self.capacity);
        if excess == 0 {
            return;
        }
        let mut worth: Vec<_> = self.records.iter().map(|(key, r)| (r.worth(), *key)).collect();
        worth.select_nth_unstable_by(excess - 1, |(a, _), (b, _)| a.cmp(b));
        for (_, key) in &worth[..excess] {
            self.records.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn failures_are_forgiven_one_by_one() {
        let start = Instant::now();
        let mut table = Table::new(8, MINUTE);
        table.record(1, start).failures = 3;
        for (seconds, left) in [(0, 3), (59, 3), (60, 2), (90, 2), (119, 2), (120, 1), (500, 0)] {
            let now = start + Duration::from_secs(seconds);
            assert_eq!(table.find(1, now).unwrap().failures, left, "{seconds}");
        }
        table.tidy(1);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_new_failure_waits_its_full_time() {
        let start = Instant::now();
        let mut table = Table::new(8, MINUTE);
        table.record(1, start);
        let later = start + MINUTE * 10;
        table.record(1, later).failures += 1;
        assert_eq!(table.find(1, later + Duration::from_secs(59)).unwrap().failures, 1);
        assert_eq!(table.find(1, later + MINUTE).unwrap().failures, 0);
    }

    #[test]
    fn a_clock_that_seems_to_go_back_harms_nothing() {
        let start = Instant::now() + MINUTE;
        let mut table = Table::new(8, MINUTE);
        table.record(1, start).failures = 2;
        assert_eq!(table.find(1, start - MINUTE).unwrap().failures, 2);
        assert_eq!(table.find(1, start + MINUTE).unwrap().failures, 1);
    }

    #[test]
    fn a_flood_of_newcomers_leaves_the_held_back() {
        let start = Instant::now();
        let mut table = Table::new(64, MINUTE);
        table.record(0_u32, start).failures = 5;
        table.record(1, start).banned = Some(start + MINUTE * 10);
        for n in 2..10_000 {
            table.record(n, start + Duration::from_millis(n.into())).failures = 1;
            assert!(table.len() <= 64);
        }
        let now = start + Duration::from_secs(10);
        assert_eq!(table.find(0, now).unwrap().failures, 5);
        assert!(table.find(1, now).unwrap().banned.is_some());
        assert!(table.find(9_999, now).is_some(), "the newest stays");
    }
}
