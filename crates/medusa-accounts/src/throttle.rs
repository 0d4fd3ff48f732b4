//! How long a login has to wait, and who is locked out, after failed ones: counted per peer and
//! per account over all protocols together.
//!
//! - A **peer** (an IPv4 address, an IPv6 /64) waits longer with each failure, and is banned for a
//!   while at the tenth. Its waits are handed out one after the other, so that many connections
//!   guess no faster than one.
//! - An **account** that many peers fail at makes every login to it wait, but never for longer
//!   than a few seconds: nobody can lock its owner out by failing in their name.
//! - A **known pair**, an account that has logged in from this peer before, is held up only by its
//!   own failures there. So one phone with an old password doesn't lock out the office behind the
//!   same address, and an owner isn't slowed by an attack from elsewhere.
//!
//! Failures are forgiven one by one as time passes, and at once where the account then logs in
//! from the same peer; not those at other accounts, so that nobody wipes out their guesses by
//! logging in to an account of their own.
//!
//! All of it is arithmetic on times that are handed in. It takes no locks, keeps no names (only
//! keyed hashes of them), and its tables are bounded.

use std::{
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

mod limits;
mod table;

pub use limits::ThrottleLimits;
use table::Table;

use crate::users::folded_name;

/// Whether a login may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// After this time, which may be none.
    After(Duration),
    /// The peer has too many attempts waiting already.
    Refused {
        /// When it may ask again.
        retry_after: Duration,
    },
    /// The peer is banned.
    Banned {
        /// For how much longer.
        retry_after: Duration,
    },
}

/// What became of an admitted attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The login is good.
    Succeeded,
    /// The login was refused.
    Failed,
    /// It wasn't decided: the client left, the pool was full, the accounts couldn't be asked.
    Abandoned,
}

/// A ban that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ban {
    /// Who: the address, with an IPv6 one cut to its /64.
    pub peer: IpAddr,
    /// After how many failures.
    pub failures: u32,
    /// For how long.
    pub lasts: Duration,
}

/// Counts failed logins.
#[derive(Debug)]
pub struct Throttle {
    limits: ThrottleLimits,
    hasher: RandomState,
    peers: Table<IpAddr>,
    accounts: Table<u64>,
    pairs: Table<(IpAddr, u64)>,
}

impl Throttle {
    /// Nobody has failed yet.
    pub fn new(limits: ThrottleLimits) -> Self {
        let forgive = limits.forgive_one;
        Self {
            hasher: RandomState::new(),
            peers: Table::new(limits.peers, forgive),
            accounts: Table::new(limits.accounts, forgive),
            pairs: Table::new(limits.peers, forgive),
            limits,
        }
    }

    /// Whether `peer` may try to log in as `name` now. Each `After` has to be followed by one
    /// [`Throttle::settled`].
    pub fn admit(&mut self, peer: IpAddr, name: &str, now: Instant) -> Admission {
        let (peer, account) = self.keys(peer, name);
        let known = self.is_known(peer, account, now);
        let turn = if known {
            self.known_turn(peer, account, now)
        } else {
            self.stranger_turn(peer, account, now)
        };
        let wait = match turn {
            Ok(wait) => wait,
            Err(refused) => return refused,
        };
        self.peers.record(peer, now).pending += 1;
        Admission::After(wait)
    }

    /// Whether `peer` was banned while an attempt waited, and for how much longer.
    pub fn banned(&mut self, peer: IpAddr, name: &str, now: Instant) -> Option<Duration> {
        let (peer, account) = self.keys(peer, name);
        if self.is_known(peer, account, now) {
            return None;
        }
        let end = self.peers.find(peer, now)?.banned?;
        Some(end.saturating_duration_since(now))
    }

    /// Takes note of what became of an attempt. Says whether the peer is banned from now on.
    pub fn settled(
        &mut self,
        peer: IpAddr,
        name: &str,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Ban> {
        let (peer, account) = self.keys(peer, name);
        if let Some(record) = self.peers.find(peer, now) {
            record.pending = record.pending.saturating_sub(1);
        }
        let ban = match outcome {
            Outcome::Abandoned => None,
            Outcome::Succeeded => {
                self.succeeded(peer, account, now);
                None
            }
            Outcome::Failed => self.failed(peer, account, now),
        };
        self.peers.tidy(peer);
        ban
    }

    /// The wait of an account that has logged in from this peer before.
    fn known_turn(
        &mut self,
        peer: IpAddr,
        account: u64,
        now: Instant,
    ) -> Result<Duration, Admission> {
        let pending = self.peers.find(peer, now).map_or(0, |record| record.pending);
        let pair = self.pairs.record((peer, account), now);
        let spacing = spacing(&self.limits, pair.failures, pending);
        next_turn(&mut pair.next, spacing, self.limits.longest_wait, now)
    }

    /// The wait of anybody else.
    fn stranger_turn(
        &mut self,
        peer: IpAddr,
        account: u64,
        now: Instant,
    ) -> Result<Duration, Admission> {
        let limits = &self.limits;
        let record = self.peers.record(peer, now);
        if let Some(end) = record.banned {
            return Err(Admission::Banned { retry_after: end.saturating_duration_since(now) });
        }
        let spacing = spacing(limits, record.failures, record.pending);
        let wait = next_turn(&mut record.next, spacing, limits.longest_wait, now)?;
        let held = self.accounts.find(account, now).map_or(Duration::ZERO, |record| {
            let counted = record.failures.saturating_sub(limits.account_failures_free);
            doubled(limits.account_delay_first, limits.account_delay_cap, counted)
        });
        Ok(wait.max(held))
    }

    fn is_known(&mut self, peer: IpAddr, account: u64, now: Instant) -> bool {
        let most = self.limits.known_failures;
        self.pairs
            .find((peer, account), now)
            .is_some_and(|pair| pair.trusted.is_some() && pair.failures < most)
    }

    fn succeeded(&mut self, peer: IpAddr, account: u64, now: Instant) {
        let pair = self.pairs.record((peer, account), now);
        let own = std::mem::take(&mut pair.failures);
        pair.next = None;
        pair.trusted = Some(now + self.limits.known);
        if let Some(record) = self.peers.find(peer, now) {
            record.forgive(own);
        }
        if let Some(record) = self.accounts.find(account, now) {
            record.forgive(own);
        }
        self.accounts.tidy(account);
    }

    fn failed(&mut self, peer: IpAddr, account: u64, now: Instant) -> Option<Ban> {
        let limits = &self.limits;
        let record = self.accounts.record(account, now);
        record.failures = record.failures.saturating_add(1);
        let pair = self.pairs.record((peer, account), now);
        pair.failures = pair.failures.saturating_add(1);
        delay_next(&mut pair.next, peer_delay(limits, pair.failures), now);
        let record = self.peers.record(peer, now);
        record.failures = record.failures.saturating_add(1);
        delay_next(&mut record.next, peer_delay(limits, record.failures), now);
        let failures = record.failures;
        if record.banned.is_some() || limits.ban_failures.is_none_or(|most| failures < most) {
            return None;
        }
        record.banned = Some(now + limits.ban);
        Some(Ban { peer, failures, lasts: limits.ban })
    }

    fn keys(&self, peer: IpAddr, name: &str) -> (IpAddr, u64) {
        (network(peer), self.hasher.hash_one(folded_name(name)))
    }
}

/// Whom an address is counted as: an IPv4 address itself, also where it is written as an IPv6 one
/// (RFC 4291 §2.5.5.2); an IPv6 address's /64, because that is what one customer gets at least
/// (RFC 6177) and can pick any address of.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

/// The delay after so many failures: `first`, doubled with each, up to `cap`.
fn doubled(first: Duration, cap: Duration, failures: u32) -> Duration {
    match failures.checked_sub(1) {
        None => Duration::ZERO,
        Some(doublings) => first.saturating_mul(1 << doublings.min(30)).min(cap),
    }
}

fn peer_delay(limits: &ThrottleLimits, failures: u32) -> Duration {
    doubled(limits.peer_delay_first, limits.peer_delay_cap, failures)
}

/// How far apart a peer's attempts are.
fn spacing(limits: &ThrottleLimits, failures: u32, pending: u32) -> Duration {
    match failures {
        0 if pending < limits.burst => Duration::ZERO,
        0 => limits.burst_spacing,
        failures => peer_delay(limits, failures),
    }
}

/// Takes the next turn of a queue in which turns are `spacing` apart, unless it is too far away.
fn next_turn(
    next: &mut Option<Instant>,
    spacing: Duration,
    longest: Duration,
    now: Instant,
) -> Result<Duration, Admission> {
    let turn = next.map_or(now, |next| next.max(now));
    let wait = turn.saturating_duration_since(now);
    if wait > longest {
        return Err(Admission::Refused { retry_after: wait });
    }
    *next = Some(turn + spacing);
    Ok(wait)
}

/// No turn before the delay is over.
fn delay_next(next: &mut Option<Instant>, delay: Duration, now: Instant) {
    let earliest = now + delay;
    *next = Some(next.map_or(earliest, |next| next.max(earliest)));
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn throttle() -> (Throttle, Instant) {
        (Throttle::new(ThrottleLimits::default()), Instant::now())
    }

    /// A peer of a botnet.
    fn bot(n: u32) -> IpAddr {
        IpAddr::V4((0x0a00_0000 + n).into())
    }

    fn wait(throttle: &mut Throttle, peer: IpAddr, name: &str, now: Instant) -> Duration {
        match throttle.admit(peer, name, now) {
            Admission::After(wait) => wait,
            refused => panic!("{refused:?}"),
        }
    }

    /// Waits as it is told, and fails.
    fn fail(throttle: &mut Throttle, peer: IpAddr, name: &str, now: &mut Instant) -> Option<Ban> {
        *now += wait(throttle, peer, name, *now);
        throttle.settled(peer, name, Outcome::Failed, *now)
    }

    fn succeed(throttle: &mut Throttle, peer: IpAddr, name: &str, now: &mut Instant) {
        *now += wait(throttle, peer, name, *now);
        assert_eq!(throttle.settled(peer, name, Outcome::Succeeded, *now), None);
    }

    #[test]
    fn a_peer_waits_longer_with_each_failure_and_is_banned_in_the_end() {
        let (mut throttle, mut now) = throttle();
        let mut waits = Vec::new();
        let ban = (0..20).find_map(|n| {
            // Another name each time: it is the peer that is counted.
            let before = now;
            let ban = fail(&mut throttle, HOME, &format!("user{n}"), &mut now);
            waits.push((now - before).as_secs());
            ban
        });
        // The eleventh, because one was forgiven in that time.
        assert_eq!(waits, [0, 1, 2, 4, 8, 15, 15, 15, 15, 15, 15]);
        let lasts = Duration::from_secs(600);
        assert_eq!(ban, Some(Ban { peer: HOME, failures: 10, lasts }));
        let banned = |left| Admission::Banned { retry_after: left };
        assert_eq!(throttle.admit(HOME, "alice", now), banned(lasts));
        assert_eq!(throttle.banned(HOME, "alice", now), Some(lasts));
        assert_eq!(throttle.admit(bot(1), "alice", now), Admission::After(Duration::ZERO));
        assert_eq!(throttle.admit(HOME, "alice", now + lasts - SECOND), banned(SECOND));
        assert_eq!(throttle.admit(HOME, "alice", now + lasts), Admission::After(Duration::ZERO));
    }

    #[test]
    fn many_connections_guess_no_faster_than_one() {
        let (mut throttle, mut now) = throttle();
        // All at once: a burst, then spaced by what a hash takes.
        let cold: Vec<Duration> =
            (0..200).map(|n| wait(&mut throttle, HOME, &format!("user{n}"), now)).collect();
        assert_eq!(cold.iter().filter(|wait| wait.is_zero()).count(), 17);
        assert_eq!(cold[199], Duration::from_millis(20) * 183);
        // The first verdicts ban the peer, and those still waiting find it out.
        let bans: Vec<Ban> = (0..17)
            .filter_map(|n| throttle.settled(HOME, &format!("user{n}"), Outcome::Failed, now))
            .collect();
        assert_eq!(bans.len(), 1);
        assert!(throttle.banned(HOME, "user100", now + SECOND).is_some());

        // With one failure behind it, a peer's attempts come one after the other.
        fail(&mut throttle, bot(1), "alice", &mut now);
        let waits: Vec<u64> =
            (0..4).map(|_| wait(&mut throttle, bot(1), "alice", now).as_secs()).collect();
        assert_eq!(waits, [1, 2, 3, 4]);
        let refused = (0..100).find_map(|_| match throttle.admit(bot(1), "alice", now) {
            Admission::After(_) => None,
            refused => Some(refused),
        });
        assert_eq!(refused, Some(Admission::Refused { retry_after: SECOND * 31 }));
    }

    #[test]
    fn failures_are_forgiven_with_time_and_by_a_success_of_the_same_account() {
        let (mut throttle, mut now) = throttle();
        for _ in 0..3 {
            fail(&mut throttle, HOME, "alice", &mut now);
        }
        succeed(&mut throttle, HOME, "alice", &mut now);
        for name in ["alice", "bob"] {
            assert_eq!(wait(&mut throttle, HOME, name, now), Duration::ZERO);
        }

        // A phone that tries its old password every five minutes is never banned.
        for _ in 0..100 {
            now += SECOND * 300;
            assert_eq!(fail(&mut throttle, bot(1), "alice", &mut now), None);
            assert_eq!(throttle.peers.find(bot(1), now).unwrap().failures, 1);
        }
    }

    #[test]
    fn an_own_account_does_not_wipe_out_guesses_at_another() {
        let (mut throttle, mut now) = throttle();
        let ban = (0..20).find_map(|_| {
            let ban = fail(&mut throttle, HOME, "victim", &mut now);
            if ban.is_none() {
                succeed(&mut throttle, HOME, "mallory", &mut now);
            }
            ban
        });
        assert!(ban.is_some());
    }

    #[test]
    fn an_attack_from_everywhere_delays_an_account_by_seconds_at_most() {
        let (mut throttle, mut now) = throttle();
        let mut waits = Vec::new();
        for n in 0..5_000 {
            let wait = wait(&mut throttle, bot(n), "Alice", now);
            throttle.settled(bot(n), "alice", Outcome::Failed, now);
            waits.push(wait.as_secs());
        }
        assert_eq!(waits[..10], [0, 0, 0, 0, 0, 0, 1, 2, 4, 5]);
        assert_eq!(waits.iter().max(), Some(&5));
        assert_eq!(wait(&mut throttle, HOME, "bob", now), Duration::ZERO);
        // Her first login from a new place waits, the next ones don't.
        assert_eq!(wait(&mut throttle, HOME, "alice", now), SECOND * 5);
        throttle.settled(HOME, "alice", Outcome::Succeeded, now);
        assert_eq!(wait(&mut throttle, HOME, "alice", now), Duration::ZERO);
        // And the attacker's count is still there.
        now += SECOND;
        assert_eq!(wait(&mut throttle, bot(9_000), "alice", now), SECOND * 5);
    }

    #[test]
    fn who_is_known_at_a_banned_peer_still_gets_in() {
        let (mut throttle, mut now) = throttle();
        succeed(&mut throttle, HOME, "alice", &mut now);
        while fail(&mut throttle, HOME, "bob", &mut now).is_none() {}
        assert!(matches!(throttle.admit(HOME, "carol", now), Admission::Banned { .. }));
        assert_eq!(wait(&mut throttle, HOME, "alice", now), Duration::ZERO);
        assert_eq!(throttle.banned(HOME, "alice", now), None);
        // Being known is no licence to guess, not even all at once.
        let waits: Vec<Duration> =
            (0..30).map(|_| wait(&mut throttle, HOME, "alice", now)).collect();
        assert!(waits[29] > Duration::ZERO);
        for _ in 0..3 {
            throttle.settled(HOME, "alice", Outcome::Failed, now);
        }
        assert!(matches!(throttle.admit(HOME, "alice", now), Admission::Banned { .. }));
        // A day later nobody is known.
        let (mut throttle, mut now) = self::throttle();
        succeed(&mut throttle, HOME, "alice", &mut now);
        now += SECOND * 24 * 3600;
        while fail(&mut throttle, HOME, "bob", &mut now).is_none() {}
        assert!(matches!(throttle.admit(HOME, "alice", now), Admission::Banned { .. }));
    }

    #[test]
    fn abandoned_attempts_count_for_nothing_and_leave_nothing() {
        let (mut throttle, now) = throttle();
        for n in 0..1_000 {
            assert_eq!(wait(&mut throttle, HOME, &format!("user{n}"), now), Duration::ZERO);
            throttle.settled(HOME, &format!("user{n}"), Outcome::Abandoned, now);
        }
        assert_eq!(
            (throttle.peers.len(), throttle.accounts.len(), throttle.pairs.len()),
            (0, 0, 0)
        );
    }

    #[test]
    fn nobody_is_banned_if_the_limits_say_so() {
        let limits = ThrottleLimits { ban_failures: None, ..ThrottleLimits::default() };
        let (mut throttle, mut now) = (Throttle::new(limits), Instant::now());
        for _ in 0..100 {
            assert_eq!(fail(&mut throttle, HOME, "alice", &mut now), None);
        }
    }

    #[test]
    fn a_peer_is_an_address_or_a_64() {
        for (address, counted_as) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("2001:db8:1:2::", "2001:db8:1:2::"),
            ("::1", "::"),
        ] {
            let [address, counted_as]: [IpAddr; 2] =
                [address, counted_as].map(|a| a.parse().unwrap());
            assert_eq!(network(address), counted_as);
        }
    }

    #[test]
    fn the_tables_are_bounded_whoever_comes() {
        let limits = ThrottleLimits { peers: 100, accounts: 50, ..ThrottleLimits::default() };
        let (mut throttle, mut now) = (Throttle::new(limits), Instant::now());
        for n in 0..5_000 {
            fail(&mut throttle, bot(n), &format!("user{n}"), &mut now);
            assert!(throttle.peers.len() <= 100 && throttle.pairs.len() <= 100);
            assert!(throttle.accounts.len() <= 50);
        }
    }

    proptest::proptest! {
        /// Whatever happens in whatever order, no wait is longer than it may be, and time heals.
        #[test]
        fn waits_are_bounded_and_everything_is_forgiven(
            events in proptest::collection::vec((0..3_u32, 0..3_u32, 0..4_u8, 0..20_u64), 0..200),
        ) {
            let (mut throttle, mut now) = throttle();
            for (peer, name, event, seconds) in events {
                now += SECOND * u32::try_from(seconds).unwrap();
                let name = format!("user{name}");
                if let Admission::After(wait) = throttle.admit(bot(peer), &name, now) {
                    proptest::prop_assert!(wait <= SECOND * 30, "{wait:?}");
                    let outcome = [Outcome::Failed, Outcome::Failed, Outcome::Succeeded, Outcome::Abandoned];
                    throttle.settled(bot(peer), &name, outcome[usize::from(event)], now);
                }
            }
            now += SECOND * 24 * 3600;
            for peer in 0..3 {
                let wait = throttle.admit(bot(peer), "user0", now);
                proptest::prop_assert_eq!(wait, Admission::After(Duration::ZERO));
            }
        }
    }
}
