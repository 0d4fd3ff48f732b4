//! How often each peer may send: a rate for every peer in a table of a fixed size, which all shards share
//! without a lock.
//!
//! Pure: the time is handed in. A datagram costs one keyed hash and one cache line. The table never grows:
//! where it is full, the peer of that place which has been quiet for longest is forgotten. Sources that are
//! forged anew for each datagram have no rate to be held to; that is for a limit on answers, not on peers.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::limits::network_of;

/// Peers that share a place of the table: a cache line of them.
const WAYS: usize = 8;

/// Places. With all of their ways, 64 Ki peers are known at one time, in 512 KiB.
const PLACES: usize = 8192;

/// Bits of an entry that hold a time. The others tell the peers of a place apart.
const TIME_BITS: u32 = 40;
const TIME: u64 = (1 << TIME_BITS) - 1;

/// A tick is 64 ns; the clock goes round in 19 hours.
const TICK_BITS: u32 = 6;
const TICKS_PER_SECOND: u64 = 1_000_000_000 >> TICK_BITS;

/// How far ahead of the clock a peer may be, in ticks: with two seconds, its rate and as many again at once.
const BURST: u64 = 2 * TICKS_PER_SECOND;

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Place([AtomicU64; WAYS]);

/// The rates of all peers of a service.
#[derive(Debug)]
pub(crate) struct PeerRates {
    places: Box<[Place]>,
    keys: RandomState,
    began: Instant,
    /// Ticks that one datagram takes of its peer's time.
    interval: u64,
}

impl PeerRates {
    /// So many a second of one peer.
    pub(crate) fn new(rate: usize, began: Instant) -> Self {
        PeerRates {
            places: (0..PLACES).map(|_| Place::default()).collect(),
            keys: RandomState::new(),
            began,
            interval: TICKS_PER_SECOND.checked_div(rate as u64).unwrap_or(BURST).min(BURST),
        }
    }

    /// Counts one of `peer`'s, unless it has sent too many. Two shards that count the same peer in the same
    /// moment may count one of theirs alone.
    ///
    /// What is kept of a peer is the time up to which it has used its rate (the generic cell rate algorithm,
    /// ITU-T I.371): one number, where a token bucket has two.
    pub(crate) fn admits(&self, peer: IpAddr, now: Instant) -> bool {
        let hash = self.keys.hash_one(network_of(peer));
        let place = &self.places[hash as usize % PLACES];
        // An entry that was never used is 0: no peer has that mark.
        let mark = (hash | 1 << 63) & !TIME;
        let now = (now.saturating_duration_since(self.began).as_nanos() >> TICK_BITS) as u64 & TIME;
        let entries = place.0.each_ref().map(|entry| entry.load(Ordering::Relaxed));
        let known = entries.iter().position(|entry| entry & !TIME == mark);
        let (way, before) = match known {
            Some(way) => (way, ahead(entries[way], now)),
            // Nobody's, or taken from who has been quiet for longest.
            None => {
                let quietest = (0..WAYS).min_by_key(|way| ahead(entries[*way], now));
                (quietest.unwrap_or(0), 0)
            }
        };
        let used = before + self.interval;
        if used > BURST {
            return false;
        }
        place.0[way].store(mark | (now + used) & TIME, Ordering::Relaxed);
        true
    }
}

/// By how many ticks an entry's time is ahead. None is further ahead than the burst allows: what seems to
/// be has been passed long since.
fn ahead(entry: u64, now: u64) -> u64 {
    match (entry & TIME).wrapping_sub(now) & TIME {
        ahead @ 0..=BURST => ahead,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_peer_has_its_rate_and_as_many_again_at_once() {
        let start = Instant::now();
        let rates = PeerRates::new(10, start);
        let taken = |millis: u64, peer: &str| {
            let now = start + Duration::from_millis(millis);
            (0..100).filter(|_| rates.admits(ip(peer), now)).count()
        };
        assert_eq!(taken(0, "192.0.2.1"), 20);
        assert_eq!(taken(0, "::ffff:192.0.2.1"), 0, "the same peer");
        assert_eq!(taken(0, "192.0.2.2"), 20);
        assert_eq!(taken(99, "192.0.2.1"), 0);
        assert_eq!(taken(101, "192.0.2.1"), 1);
        assert_eq!(taken(1101, "192.0.2.1"), 10);
        assert_eq!(taken(60_000, "192.0.2.1"), 20);
        assert_eq!(taken(60_000, "2001:db8::1"), 20);
        assert_eq!(taken(60_000, "2001:db8::ffff:1"), 0, "one /64 is one peer");
        assert_eq!(taken(60_000, "2001:db8:0:1::1"), 20);
    }

    #[test]
    fn the_clock_may_go_round() {
        let start = Instant::now();
        let rates = PeerRates::new(10, start);
        let round = Duration::from_nanos((TIME + 1) << TICK_BITS);
        for at in [round - Duration::from_secs(1), round * 3 + Duration::from_secs(9), round * 7] {
            let taken = (0..100).filter(|_| rates.admits(ip("192.0.2.1"), start + at)).count();
            assert_eq!(taken, 20, "{at:?}");
            let later = start + at + Duration::from_secs(1);
            let taken = (0..100).filter(|_| rates.admits(ip("192.0.2.1"), later)).count();
            assert_eq!(taken, 10, "{at:?}");
        }
    }

    #[test]
    fn who_sends_most_is_remembered_in_a_crowd() {
        let start = Instant::now();
        let rates = PeerRates::new(10, start);
        while rates.admits(ip("192.0.2.1"), start) {}
        for n in 0..4 * (PLACES * WAYS) as u32 {
            rates.admits(IpAddr::from((0x0a00_0000 + n).to_be_bytes()), start);
        }
        assert!(!rates.admits(ip("192.0.2.1"), start));
    }

    #[test]
    fn any_rate_is_a_rate() {
        let now = Instant::now();
        for (rate, at_least) in [(1, 2), (1_000_000, 100_000), (usize::MAX, 100_000)] {
            let rates = PeerRates::new(rate, now);
            let taken = (0..100_000).filter(|_| rates.admits(ip("192.0.2.1"), now)).count();
            assert_eq!(taken, at_least, "{rate}");
        }
    }
}
