//! LOGIN-DELAY (RFC 2449 §6.5): an account that has logged in isn't let in again before some time has
//! passed. One table for all shards of a service, bounded. Pure: the time is handed in.
//!
//! Only logins that opened their maildrop count, and time is counted from the last of them: neither a refusal
//! nor a maildrop in use makes anybody wait longer. Nothing is kept over a restart, or told to another process.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Accounts that are remembered. Where more log in within the delay, the first of them are forgotten and may
/// come back early: nobody is kept out for want of room.
const MOST: usize = 65_536;

/// When accounts logged in last.
#[derive(Debug)]
pub(crate) struct LoginDelay {
    delay: Duration,
    recent: Mutex<Recent>,
}

/// The delay is the same for all, so that those who came first are also the first to be let in again.
#[derive(Debug, Default)]
struct Recent {
    at: HashMap<Arc<str>, Instant>,
    order: VecDeque<(Instant, Arc<str>)>,
}

/// A login on its way. Dropped, it never was.
#[derive(Debug)]
pub(crate) struct Turn {
    of: Arc<LoginDelay>,
    /// `None` once it is kept.
    account: Option<Arc<str>>,
}

impl LoginDelay {
    pub(crate) fn new(delay: Duration) -> LoginDelay {
        LoginDelay { delay, recent: Mutex::default() }
    }

    /// What CAPA says of it: whole seconds, and no fewer than there are.
    pub(crate) fn seconds(&self) -> u64 {
        whole_seconds(self.delay)
    }

    /// Lets an account in, or says how long it has to wait. Of two that ask at once, one is let in.
    pub(crate) fn admit(self: &Arc<Self>, account: &str, now: Instant) -> Result<Turn, Duration> {
        let mut recent = self.recent();
        let over = |at: &Instant| now.saturating_duration_since(*at) >= self.delay;
        while let Some((at, _)) = recent.order.front()
            && (over(at) || recent.order.len() >= MOST)
        {
            if let Some((_, account)) = recent.order.pop_front() {
                recent.at.remove(&account);
            }
        }
        if let Some(at) = recent.at.get(account) {
            let left = self.delay.saturating_sub(now.saturating_duration_since(*at));
            return Err(left);
        }
        let account: Arc<str> = account.into();
        recent.at.insert(Arc::clone(&account), now);
        recent.order.push_back((now, Arc::clone(&account)));
        drop(recent);
        Ok(Turn { of: Arc::clone(self), account: Some(account) })
    }

    /// No code that holds it can leave it half changed.
    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The login counts.
    pub(crate) fn keep(mut self) {
        self.account = None;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(account) = self.account.take() else { return };
        let mut recent = self.of.recent();
        // It is near the end, since it was just put there.
        if let Some(at) = recent.order.iter().rposition(|(_, one)| Arc::ptr_eq(one, &account)) {
            recent.order.remove(at);
            recent.at.remove(&account);
        }
    }
}

/// Rounded up, and never none.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thirty() -> (Arc<LoginDelay>, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let delay = Arc::new(LoginDelay::new(Duration::from_secs(30)));
        (delay, move |second| start + Duration::from_secs(second))
    }

    #[test]
    fn each_account_waits_for_itself_and_from_its_last_login() {
        let (delay, at) = thirty();
        delay.admit("alice", at(0)).unwrap().keep();
        assert_eq!(delay.admit("alice", at(10)).unwrap_err(), Duration::from_secs(20));
        delay.admit("bob", at(10)).unwrap().keep();
        // A refusal doesn't begin it anew.
        assert_eq!(delay.admit("alice", at(29)).unwrap_err(), Duration::from_secs(1));
        delay.admit("alice", at(30)).unwrap().keep();
        assert_eq!(delay.admit("alice", at(31)).unwrap_err(), Duration::from_secs(29));
        assert_eq!(delay.admit("bob", at(31)).unwrap_err(), Duration::from_secs(9));
    }

    #[test]
    fn who_did_not_get_in_does_not_wait() {
        let (delay, at) = thirty();
        let turn = delay.admit("alice", at(0)).unwrap();
        assert!(delay.admit("alice", at(0)).is_err(), "two at once");
        drop(turn);
        let late = delay.admit("alice", at(1)).unwrap();
        // One that was let in after all this time isn't undone by an older one that fails.
        delay.admit("alice", at(40)).unwrap().keep();
        drop(late);
        assert!(delay.admit("alice", at(41)).is_err());
    }

    #[test]
    fn the_table_is_bounded_and_the_first_are_forgotten() {
        let (delay, at) = thirty();
        for number in 0..MOST + 10 {
            delay.admit(&number.to_string(), at(0)).unwrap().keep();
        }
        let count = |delay: &LoginDelay| {
            let recent = delay.recent();
            (recent.at.len(), recent.order.len())
        };
        assert_eq!(count(&delay), (MOST, MOST));
        assert!(delay.admit(&(MOST + 9).to_string(), at(1)).is_err());
        delay.admit("0", at(1)).unwrap().keep();
        delay.admit("alice", at(60)).unwrap().keep();
        assert_eq!(count(&delay), (1, 1));
    }

    #[test]
    fn seconds_are_whole() {
        for (millis, seconds) in [(1, 1), (1000, 1), (1001, 2), (30_000, 30)] {
            assert_eq!(LoginDelay::new(Duration::from_millis(millis)).seconds(), seconds);
        }
    }
}
