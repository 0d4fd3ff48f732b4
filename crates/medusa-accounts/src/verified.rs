//! Remembers for a short while which logins were found good, so that a browser that sends its
//! password with every request costs one hash a minute.
//!
//! It never holds a password: entries are a keyed hash of name, password and stored hash, under a
//! key that lives as long as the process. A changed password has another stored hash, so it can't
//! be met by an old entry. What was refused isn't remembered.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use crate::{
    Error, Password,
    keys::{Key, hmac},
    secret::random,
};

/// How long a login is remembered. Dovecot's `auth_cache_ttl` and Apache's `AuthnCacheTimeout` are
/// longer; a minute is enough for a page with its pictures.
pub const REMEMBERED: Duration = Duration::from_secs(60);
/// How many logins are remembered: 32 octets each, and more people than one minute sees.
pub(crate) const REMEMBERED_LOGINS: usize = 8_192;

/// Logins found good.
pub(crate) struct Verified {
    secret: Zeroizing<Key>,
    lifetime: Duration,
    capacity: usize,
    entries: HashSet<Key>,
    /// The same entries, with their ends, soonest first.
    ends: VecDeque<(Instant, Key)>,
}

impl Verified {
    /// Under a new key.
    pub(crate) fn new(lifetime: Duration, capacity: usize) -> Result<Self, Error> {
        Ok(Self {
            secret: Zeroizing::new(random()?),
            lifetime,
            capacity,
            entries: HashSet::new(),
            ends: VecDeque::new(),
        })
    }

    /// The entry for a login.
    pub(crate) fn key(&self, name: &str, password: &Password, stored: &str) -> Key {
        let password = password.prepared();
        let mut length = [0; 16];
        // Without the lengths, `ab`+`c` would be `a`+`bc`.
        length[..8].copy_from_slice(&(name.len() as u64).to_le_bytes());
        length[8..].copy_from_slice(&(password.len() as u64).to_le_bytes());
        let parts = [&length, name.as_bytes(), password.as_bytes(), stored.as_bytes()];
        hmac(&*self.secret, &parts)
    }

    /// Whether it was found good within the lifetime.
    pub(crate) fn contains(&mut self, key: &Key, now: Instant) -> bool {
        self.expire(now);
        self.entries.contains(key)
    }

    /// Remembers it from now on. A login that is known already isn't prolonged.
    pub(crate) fn insert(&mut self, key: Key, now: Instant) {
        self.expire(now);
        if self.entries.len() >= self.capacity
            && let Some((_, oldest)) = self.ends.pop_front()
        {
            self.entries.remove(&oldest);
        }
        if self.entries.insert(key) {
            self.ends.push_back((now + self.lifetime, key));
        }
    }

    fn expire(&mut self, now: Instant) {
        while let Some(&(end, key)) = self.ends.front()
            && end <= now
        {
            self.ends.pop_front();
            self.entries.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_remembered_for_its_lifetime_and_not_prolonged() {
        let mut verified = Verified::new(REMEMBERED, 8).unwrap();
        let start = Instant::now();
        let key = verified.key("alice", &Password::new("secret"), "$hash");
        assert!(!verified.contains(&key, start));
        verified.insert(key, start);
        assert!(verified.contains(&key, start + Duration::from_secs(59)));
        verified.insert(key, start + Duration::from_secs(59));
        assert!(!verified.contains(&key, start + Duration::from_secs(60)));
        assert!(verified.ends.is_empty());
    }

    #[test]
    fn whatever_differs_is_another_login() {
        let verified = Verified::new(REMEMBERED, 8).unwrap();
        let key = |name: &str, password: &str, stored: &str| {
            verified.key(name, &Password::new(password), stored)
        };
        let all = [
            key("alice", "secret", "$hash"),
            key("alices", "ecret", "$hash"),
            key("alice", "secret$", "hash"),
            key("alice", "secre", "t$hash"),
            key("alice", "secret", "$other"),
            key("bob", "secret", "$hash"),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
        let other = Verified::new(REMEMBERED, 8).unwrap();
        assert_ne!(other.key("alice", &Password::new("secret"), "$hash"), all[0]);
    }

    #[test]
    fn it_never_grows_beyond_its_bound() {
        let mut verified = Verified::new(REMEMBERED, 8).unwrap();
        let now = Instant::now();
        for n in 0..100_u8 {
            verified.insert([n; 32], now);
            assert!(verified.entries.len() <= 8 && verified.entries.len() == verified.ends.len());
        }
        assert!(verified.contains(&[99; 32], now) && !verified.contains(&[91; 32], now));
    }
}
