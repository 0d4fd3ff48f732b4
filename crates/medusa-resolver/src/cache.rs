//! Answers that are known already, bounded in bytes. Pure: time is an argument.
//!
//! All shards share it, in stripes with a lock each: a name that one of them has asked for is known to
//! all, it takes the memory once, and a hit holds an uncontended lock for as long as it takes to find an
//! entry. Entries that nobody has asked for since they came are the first to go (a clock with a second
//! chance), so that a flood of random names pushes out little but itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::stored::{Reply, Stored};
use crate::wire::Query;

/// Locks. Few shards meet at one of so many.
const STRIPES: usize = 16;
/// What an entry takes beside its key and its message: its place, the map's, and what the allocator
/// adds.
const OVERHEAD: usize = 200;
/// Answers are asked for anew before they run out, if they are wanted this often ...
const POPULAR: u32 = 3;
/// ... in the last tenth of their time (as unbound does), ...
const LAST_SHARE: u32 = 10;
/// ... if that is worth while.
const SHORTEST_PREFETCHED: u32 = 20;
/// Nobody is asked again for this long when a stale answer was all that there is (RFC 8767 §5).
const RECHECK: Duration = Duration::from_secs(30);
/// For how long a failure is remembered (RFC 9520 §3.2: at least a second, and never over five minutes).
const FAILURE: Duration = Duration::from_secs(5);

/// The cache.
#[derive(Debug)]
pub(crate) struct Cache {
    stripes: Box<[Mutex<Stripe>]>,
    hasher: std::hash::RandomState,
    /// How long an answer is kept beyond its time.
    stale: Duration,
}

/// What is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// An answer that holds; if `prefetch`, it should be asked for anew, and the next caller isn't told.
    Fresh { reply: Reply, prefetch: bool },
    /// One whose time is over. If `only`, nobody could give a better one a moment ago.
    Stale { reply: Reply, only: bool },
    /// Nobody could answer a moment ago.
    Failed(&'static str),
    /// Nothing.
    Nothing,
}

#[derive(Debug)]
enum Kept {
    Answer(Arc<Stored>),
    Failure(&'static str),
}

#[derive(Debug)]
struct Entry {
    key: Box<[u8]>,
    kept: Kept,
    came: Instant,
    expires: Instant,
    /// Nobody is asked before, where a stale answer is there.
    recheck: Option<Instant>,
    hits: u32,
    prefetched: bool,
    /// Asked for since the hand has passed.
    wanted: bool,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Stripe {
    places: HashMap<Box<[u8]>, usize>,
    /// In the order of coming, as the hand goes round: who comes takes the place of who went just before.
    entries: Vec<Option<Entry>>,
    free: Vec<usize>,
    hand: usize,
    bytes: usize,
    limit: usize,
}

impl Cache {
    /// A cache of so many bytes at most, that keeps answers for `stale` beyond their time.
    pub(crate) fn new(bytes: usize, stale: Duration) -> Self {
        let stripe = || Mutex::new(Stripe { limit: bytes / STRIPES, ..Stripe::default() });
        Cache {
            stripes: (0..STRIPES).map(|_| stripe()).collect(),
            hasher: std::hash::RandomState::new(),
            stale,
        }
    }

    /// Looks an answer up.
    pub(crate) fn find(&self, query: &Query, now: Instant) -> Found {
        let mut stripe = self.stripe(query.key());
        let Some(&place) = stripe.places.get(query.key()) else { return Found::Nothing };
        let Some(entry) = &mut stripe.entries[place] else { return Found::Nothing };
        let stored = match &entry.kept {
            Kept::Failure(reason) if now < entry.expires => return Found::Failed(reason),
            Kept::Failure(_) => return Found::Nothing,
            Kept::Answer(stored) => Arc::clone(stored),
        };
        let age = now.saturating_duration_since(entry.came).as_secs();
        let age = u32::try_from(age).unwrap_or(u32::MAX);
        if now < entry.expires {
            entry.wanted = true;
            entry.hits = entry.hits.saturating_add(1);
            let ttl = stored.ttl;
            let prefetch = !entry.prefetched
                && entry.hits >= POPULAR
                && ttl >= SHORTEST_PREFETCHED
                && ttl.saturating_sub(age) <= ttl / LAST_SHARE;
            entry.prefetched |= prefetch;
            return Found::Fresh { reply: Reply { stored, age, stale: false }, prefetch };
        }
        if stored.is_positive() && now < entry.expires + self.stale {
            entry.wanted = true;
            let only = entry.recheck.is_some_and(|recheck| now < recheck);
            return Found::Stale { reply: Reply { stored, age, stale: true }, only };
        }
        Found::Nothing
    }

    /// Keeps an answer, in place of one that is there. One without any time to live is dropped.
    pub(crate) fn keep(&self, query: &Query, stored: Arc<Stored>, now: Instant) {
        let mut stripe = self.stripe(query.key());
        if stored.ttl == 0 {
            return stripe.remove(query.key());
        }
        let expires = now + Duration::from_secs(stored.ttl.into());
        let bytes = stored.bytes();
        stripe.insert(query.key(), Kept::Answer(stored), bytes, now, expires, self.stale);
    }

    /// Remembers that nobody could answer. An answer that is there stays, to be told when it is stale.
    pub(crate) fn keep_failure(&self, query: &Query, reason: &'static str, now: Instant) {
        let mut stripe = self.stripe(query.key());
        if let Some(&place) = stripe.places.get(query.key())
            && let Some(entry) = &mut stripe.entries[place]
            && let Kept::Answer(stored) = &entry.kept
            && stored.is_positive()
            && now < entry.expires + self.stale
        {
            entry.recheck = Some(now + RECHECK);
            return;
        }
        let kept = Kept::Failure(reason);
        stripe.insert(query.key(), kept, 0, now, now + FAILURE, self.stale);
    }

    /// Forgets everything: the servers have changed.
    pub(crate) fn clear(&self) {
        for stripe in &self.stripes {
            let mut stripe = lock(stripe);
            *stripe = Stripe { limit: stripe.limit, ..Stripe::default() };
        }
    }

    /// How much it takes, in bytes, and how many entries there are.
    pub(crate) fn size(&self) -> (usize, usize) {
        let sizes = self.stripes.iter().map(|stripe| {
            let stripe = lock(stripe);
            (stripe.bytes, stripe.places.len())
        });
        sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1))
    }

    fn stripe(&self, key: &[u8]) -> MutexGuard<'_, Stripe> {
        use std::hash::BuildHasher;
        let hash = self.hasher.hash_one(key);
        lock(&self.stripes[hash as usize % STRIPES])
    }
}

fn lock(stripe: &Mutex<Stripe>) -> MutexGuard<'_, Stripe> {
    stripe.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stripe {
    fn insert(
        &mut self,
        key: &[u8],
        kept: Kept,
        bytes: usize,
        now: Instant,
        expires: Instant,
        stale: Duration,
    ) {
        self.remove(key);
        let bytes = bytes + 2 * key.len() + OVERHEAD;
        if bytes > self.limit {
            return;
        }
        while self.bytes + bytes > self.limit {
            self.evict(now, stale);
        }
        self.bytes += bytes;
        let place = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            self.entries.len() - 1
        });
        self.places.insert(key.into(), place);
        self.entries[place] = Some(Entry {
            key: key.into(),
            kept,
            came: now,
            expires,
            recheck: None,
            hits: 0,
            prefetched: false,
            wanted: false,
            bytes,
        });
    }

    /// Removes the next entry that nobody has wanted lately, or that is of no use any more.
    fn evict(&mut self, now: Instant, stale: Duration) {
        // Twice round at most: the first time takes back everybody's second chance.
        for _ in 0..2 * self.entries.len() {
            let place = self.hand % self.entries.len();
            self.hand = place + 1;
            let Some(entry) = &mut self.entries[place] else { continue };
            let useless = now >= entry.expires + stale;
            if !std::mem::take(&mut entry.wanted) || useless {
                return self.remove_at(place);
            }
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(&place) = self.places.get(key) {
            self.remove_at(place);
        }
    }

    fn remove_at(&mut self, place: usize) {
        if let Some(entry) = self.entries[place].take() {
            self.places.remove(&entry.key);
            self.bytes -= entry.bytes;
            self.free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::RawRecord;

    const HOUR: Duration = Duration::from_secs(3600);

    fn query(name: &str) -> Query {
        let wire = crate::wire::wire_of(&crate::Name::new(name).expect("a name"));
        Query::new(&wire, 1, false, false).expect("a query")
    }

    fn answer(query: &Query, rcode: u16, ttl: u32) -> Arc<Stored> {
        let record = |rdata: &[u8]| RawRecord {
            owner: query.name().into(),
            kind: 1,
            ttl,
            rdata: rdata.into(),
        };
        let answers = if rcode == 0 { vec![record(&[127, 0, 0, 1])] } else { Vec::new() };
        Arc::new(Stored::new(query, rcode, false, &answers, &[], ttl).expect("short"))
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn answers_hold_for_their_time_and_then_are_stale() {
        let (cache, now, query) = (Cache::new(1 << 20, HOUR), Instant::now(), query("a.test"));
        let stored = answer(&query, 0, 60);
        assert_eq!(cache.find(&query, now), Found::Nothing);
        cache.keep(&query, Arc::clone(&stored), now);
        let reply = |age, stale| Reply { stored: Arc::clone(&stored), age, stale };
        let fresh = Found::Fresh { reply: reply(59, false), prefetch: false };
        assert_eq!(cache.find(&query, now + seconds(59)), fresh);
        let stale = |age, only| Found::Stale { reply: reply(age, true), only };
        assert_eq!(cache.find(&query, now + seconds(60)), stale(60, false));
        cache.keep_failure(&query, "nobody", now + seconds(61));
        assert_eq!(cache.find(&query, now + seconds(62)), stale(62, true));
        assert_eq!(cache.find(&query, now + seconds(91)), stale(91, false));
        assert_eq!(cache.find(&query, now + seconds(60) + HOUR), Found::Nothing);
        // A clock of another shard that is behind.
        cache.keep(&query, Arc::clone(&stored), now + seconds(5));
        let fresh = Found::Fresh { reply: reply(0, false), prefetch: false };
        assert_eq!(cache.find(&query, now), fresh);
    }

    #[test]
    fn negative_answers_are_never_stale_and_failures_are_short() {
        let (cache, now, query) = (Cache::new(1 << 20, HOUR), Instant::now(), query("a.test"));
        cache.keep(&query, answer(&query, 3, 60), now);
        assert!(matches!(cache.find(&query, now + seconds(59)), Found::Fresh { .. }));
        assert_eq!(cache.find(&query, now + seconds(60)), Found::Nothing);
        cache.keep_failure(&query, "nobody", now + seconds(60));
        assert_eq!(cache.find(&query, now + seconds(64)), Found::Failed("nobody"));
        assert_eq!(cache.find(&query, now + seconds(65)), Found::Nothing);
        cache.keep(&query, answer(&query, 0, 0), now + seconds(66));
        assert_eq!((cache.find(&query, now + seconds(66)), cache.size()), (Found::Nothing, (0, 0)));
    }

    #[test]
    fn what_is_popular_is_asked_for_before_it_runs_out() {
        let (cache, now, query) = (Cache::new(1 << 20, HOUR), Instant::now(), query("a.test"));
        cache.keep(&query, answer(&query, 0, 100), now);
        let mut prefetched = Vec::new();
        for second in [1, 88, 89, 90, 91, 99] {
            if let Found::Fresh { prefetch: true, .. } = cache.find(&query, now + seconds(second)) {
                prefetched.push(second);
            }
        }
        assert_eq!(prefetched, [90]);
    }

    #[test]
    fn a_flood_of_names_pushes_out_itself() {
        let (cache, now) = (Cache::new(1 << 20, HOUR), Instant::now());
        let popular: Vec<_> = (0..100).map(|i| query(&format!("popular-{i}.test"))).collect();
        for query in &popular {
            cache.keep(query, answer(query, 0, 3600), now);
        }
        for i in 0..100_000_u32 {
            let random = query(&format!("{:08x}.test", i.wrapping_mul(0x9e37_79b9)));
            cache.keep(&random, answer(&random, 3, 60), now);
            // Somebody wants a popular name now and then.
            let wanted = &popular[(i as usize / 4 * 7) % popular.len()];
            if i % 4 == 0 {
                cache.find(wanted, now);
            }
        }
        let (bytes, entries) = cache.size();
        assert!(bytes <= 1 << 20 && bytes > 9 << 16 && entries > 2000, "{bytes} {entries}");
        let kept = popular.iter().filter(|query| cache.find(query, now) != Found::Nothing).count();
        assert!(kept >= 95, "{kept} of 100 popular names");
        cache.clear();
        assert_eq!(cache.size(), (0, 0));
    }

    #[test]
    fn what_is_larger_than_the_cache_is_not_kept() {
        let (cache, query) = (Cache::new(1024, HOUR), query("a.test"));
        cache.keep(&query, answer(&query, 0, 100), Instant::now());
        assert_eq!(cache.size(), (0, 0));
    }
}
