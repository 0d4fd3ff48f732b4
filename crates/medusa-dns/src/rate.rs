//! Response rate limiting: how many answers a network is given over UDP, where its address may be forged.
//!
//! Pure: the time is handed in. All shards share one table, without a lock; a race costs an answer more or
//! less. Who has a valid cookie isn't limited, and neither is TCP; that is the caller's to know.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use medusa_core::Network;
use siphasher::sip::SipHasher13;

use crate::answer::Kind;

/// How much is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RateLimit {
    /// Answers of one kind a second to one network: an IPv4 /24 or an IPv6 /56, as BIND and Knot count.
    pub answers_per_second: u32,
    /// Every so many of the answers that are too many is sent after all, truncated, so that whoever is
    /// real can come by TCP; 0 is none.
    pub slip: u32,
    /// Who isn't limited.
    pub except: Vec<Network>,
}

impl Default for RateLimit {
    /// 200 answers a second, every second one of the others truncated; loopback, which nobody can forge
    /// from outside, isn't limited.
    fn default() -> Self {
        let loopback = ["127.0.0.0/8", "::1"].iter().filter_map(|network| network.parse().ok());
        RateLimit { answers_per_second: 200, slip: 2, except: loopback.collect() }
    }
}

/// What is to be done with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is sent.
    Sent,
    /// It is sent truncated.
    Slipped,
    /// It isn't sent.
    Dropped,
}

/// The accounts of networks.
pub(crate) struct Accounts {
    limit: RateLimit,
    secret: [u8; 16],
    /// A tag in the upper 16 bits; below it when the account is even again, in microseconds.
    slots: Box<[AtomicU64]>,
    excess: AtomicU64,
}

/// 512 KiB: as many networks may be limited at one time.
const SLOTS: usize = 1 << 16;
/// How many slots a network may stand in.
const WAYS: usize = 4;
const TIME: u64 = (1 << 48) - 1;
const SECOND: u64 = 1_000_000;

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("limit", &self.limit).finish_non_exhaustive()
    }
}

impl Accounts {
    pub(crate) fn new(limit: RateLimit, secret: [u8; 16]) -> Accounts {
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Accounts { limit, secret, slots, excess: AtomicU64::new(0) }
    }

    /// Counts an answer to `address` at `now`, in microseconds.
    #[inline]
    pub(crate) fn count(&self, address: IpAddr, kind: Kind, now: u64) -> Verdict {
        if self.limit.except.iter().any(|network| network.contains(address)) {
            return Verdict::Sent;
        }
        let now = now & TIME;
        let hash = self.hash(address, kind);
        let tag = hash & !TIME;
        let interval = SECOND / u64::from(self.limit.answers_per_second.max(1));
        let place = hash as usize % SLOTS;
        let ways = (0..WAYS).map(|way| &self.slots[(place + way) % SLOTS]);
        let mut free = None;
        for slot in ways {
            let entry = slot.load(Ordering::Relaxed);
            let even_at = entry & TIME;
            // An account is never more than two seconds behind; if it is, the clock was set back.
            let is_even = even_at <= now || even_at > now + 2 * SECOND;
            if entry & !TIME != tag || entry == 0 {
                free = free.or(is_even.then_some(slot));
                continue;
            }
            let even_at = if is_even { now } else { even_at };
            if even_at + interval > now + SECOND {
                return self.too_many();
            }
            slot.store(tag | (even_at + interval) & TIME, Ordering::Relaxed);
            return Verdict::Sent;
        }
        // With every place taken by others it goes uncounted.
        if let Some(slot) = free {
            slot.store(tag | (now + interval) & TIME, Ordering::Relaxed);
        }
        Verdict::Sent
    }

    fn too_many(&self) -> Verdict {
        let number = self.excess.fetch_add(1, Ordering::Relaxed);
        match self.limit.slip {
            0 => Verdict::Dropped,
            slip if number.is_multiple_of(slip.into()) => Verdict::Slipped,
            _ => Verdict::Dropped,
        }
    }

    fn hash(&self, address: IpAddr, kind: Kind) -> u64 {
        let mut input = [0; 9];
        input[8] = kind as u8;
        match address.to_canonical() {
            IpAddr::V4(address) => input[..3].copy_from_slice(&address.octets()[..3]),
            IpAddr::V6(address) => {
                input[..7].copy_from_slice(&address.octets()[..7]);
                input[7] = 6;
            }
        }
        SipHasher13::new_with_key(&self.secret).hash(&input)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(answers_per_second: u32, slip: u32) -> Accounts {
        let except = vec!["198.51.100.0/24".parse().unwrap()];
        Accounts::new(RateLimit { answers_per_second, slip, except }, [7; 16])
    }

    fn sent(accounts: &Accounts, address: &str, count: usize, now: u64) -> usize {
        let address = address.parse().unwrap();
        let verdicts = (0..count).map(|_| accounts.count(address, Kind::Positive, now));
        verdicts.filter(|verdict| *verdict == Verdict::Sent).count()
    }

    #[test]
    fn a_network_is_given_so_much_a_second() {
        let accounts = accounts(100, 2);
        let start = 1_000 * SECOND;
        assert_eq!(sent(&accounts, "192.0.2.1", 300, start), 100);
        // Its neighbours are the same network, others are not.
        assert_eq!(sent(&accounts, "192.0.2.200", 10, start), 0);
        assert_eq!(sent(&accounts, "192.0.3.1", 300, start), 100);
        assert_eq!(sent(&accounts, "2001:db8::1", 300, start), 100);
        assert_eq!(sent(&accounts, "2001:db8:0:ff::1", 300, start), 0);
        assert_eq!(sent(&accounts, "2001:db8:0:100::1", 300, start), 100);
        // Other kinds of answer are counted on their own.
        assert_eq!(accounts.count([192, 0, 2, 1].into(), Kind::NameError, start), Verdict::Sent);
        assert_eq!(sent(&accounts, "192.0.2.1", 300, start + SECOND / 2), 50);
        assert_eq!(sent(&accounts, "192.0.2.1", 300, start + 10 * SECOND), 100);
        assert_eq!(sent(&accounts, "198.51.100.9", 1000, start), 1000);
        // A clock that is set back limits nobody for longer.
        assert_eq!(sent(&accounts, "192.0.2.1", 300, 5 * SECOND), 100);
    }

    #[test]
    fn some_of_what_is_too_much_is_truncated() {
        for (slip, expected) in [(0, 0), (1, 60), (2, 30), (3, 20)] {
            let accounts = accounts(40, slip);
            let count = |_| accounts.count([192, 0, 2, 1].into(), Kind::Positive, SECOND);
            let verdicts: Vec<_> = (0..100).map(count).collect();
            let slipped = verdicts.iter().filter(|verdict| **verdict == Verdict::Slipped).count();
            assert_eq!(slipped, expected, "{slip}");
        }
    }
}
