//! How patient the throttle is, and whom its numbers were taken from.

use std::time::Duration;

/// What failed logins earn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottleLimits {
    /// What a peer waits after its first failure; it doubles with each.
    pub peer_delay_first: Duration,
    /// What a peer waits at most between two attempts.
    pub peer_delay_cap: Duration,
    /// An attempt that would have to wait for longer than this, because others of the same peer
    /// are waiting before it, is refused.
    pub longest_wait: Duration,
    /// A peer with this many failures is banned. `None` bans nobody.
    pub ban_failures: Option<u32>,
    /// For how long.
    pub ban: Duration,
    /// Failures of an account that make nobody wait.
    pub account_failures_free: u32,
    /// What a login to an account waits after the failure behind the free ones; it doubles.
    pub account_delay_first: Duration,
    /// What a login to an account waits at most on its account's behalf.
    pub account_delay_cap: Duration,
    /// After this time one failure is forgiven.
    pub forgive_one: Duration,
    /// An account that logged in from a peer is known there for so long.
    pub known: Duration,
    /// Failures of a known pair that make it like any other.
    pub known_failures: u32,
    /// Attempts of one peer that may be under way at once before they are spaced.
    pub burst: u32,
    /// By this much.
    pub burst_spacing: Duration,
    /// The most peers that are kept, and as many pairs.
    pub peers: usize,
    /// The most accounts that are kept.
    pub accounts: usize,
}

impl Default for ThrottleLimits {
    /// Dovecot's authentication penalty doubles to 15 s, starting at 2; starting at 1 s costs less
    /// for a slip of the finger. fail2ban bans for 10 minutes at 5 failures in 10 minutes; twice
    /// as many here, because forgiving one failure a minute makes it the same rate, and mail
    /// programs try again by themselves. An account's delay stops at 5 s, which nobody takes for
    /// an outage. Known pairs are OWASP's device cookies without the cookie. The burst is a
    /// browser's six connections, twice and a bit; the spacing is about what one hash takes.
    fn default() -> Self {
        Self {
            peer_delay_first: Duration::from_secs(1),
            peer_delay_cap: Duration::from_secs(15),
            longest_wait: Duration::from_secs(30),
            ban_failures: Some(10),
            ban: Duration::from_secs(600),
            account_failures_free: 5,
            account_delay_first: Duration::from_secs(1),
            account_delay_cap: Duration::from_secs(5),
            forgive_one: Duration::from_secs(60),
            known: Duration::from_secs(24 * 3600),
            known_failures: 3,
            burst: 16,
            burst_spacing: Duration::from_millis(20),
            peers: 8_192,
            accounts: 4_096,
        }
    }
}
