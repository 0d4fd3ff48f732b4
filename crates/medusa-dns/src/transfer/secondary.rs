//! When a secondary asks its primary, and when it gives up what it has (RFC 1034 §4.3.5).
//!
//! Pure: the time is handed in, and so is chance. What is asked, and how, is the keeper's.

use std::time::{Duration, Instant};

use super::message::is_newer;
use crate::zone::Soa;

/// How often a primary is asked at most and at least, whatever its SOA record says (BIND's
/// `max-refresh-time` and `max-retry-time`; its least are minutes, which is long for a laboratory).
const LEAST: Duration = Duration::from_secs(10);
const MOST_REFRESH: Duration = Duration::from_secs(28 * 86_400);
const MOST_RETRY: Duration = Duration::from_secs(14 * 86_400);
/// A notice is easily forged: those that make it ask at once come no closer than this.
const BETWEEN_NOTICES: Duration = Duration::from_millis(250);
/// Waits without a SOA record: doubled each time.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const SLOWEST_RETRY: Duration = Duration::from_secs(3600);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// A primary is to be asked.
    Ask,
    /// What there is isn't to be told any more.
    Expire,
}

/// The timers of one zone.
#[derive(Debug)]
pub(crate) struct Schedule {
    soa: Option<Soa>,
    /// When a primary is asked next; none while one is.
    next: Option<Instant>,
    /// When the zone expires, unless it has.
    expires: Option<Instant>,
    /// A primary has told of a change while one was being asked: of which serial, if it said.
    told: Option<Option<u32>>,
    failures: u32,
    /// When a primary was asked last.
    asked: Option<Instant>,
}

impl Schedule {
    /// Begins, with a zone that was confirmed so long ago, if there is one. The primary is asked at once:
    /// nobody knows what has changed meanwhile.
    pub(crate) fn new(now: Instant, held: Option<(Soa, Duration)>) -> Schedule {
        let expires = held.and_then(|(soa, age)| {
            let left = expiry(&soa).checked_sub(age);
            left.map(|left| now + left)
        });
        Schedule {
            soa: held.map(|(soa, _)| soa),
            next: Some(now),
            expires,
            told: None,
            failures: 0,
            asked: None,
        }
    }

    /// When there is something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next.into_iter().chain(self.expires).min()
    }

    /// What is to be done now, once.
    pub(crate) fn poll(&mut self, now: Instant, may_ask: bool) -> Option<Due> {
        if self.expires.is_some_and(|at| at <= now) {
            self.expires = None;
            return Some(Due::Expire);
        }
        if may_ask && self.next.is_some_and(|at| at <= now) {
            self.next = None;
            self.asked = Some(now);
            return Some(Due::Ask);
        }
        None
    }

    /// A primary says that the zone has changed. Says whether that is news.
    pub(crate) fn notified(&mut self, now: Instant, serial: Option<u32>) -> bool {
        if !self.is_news(serial) {
            return false;
        }
        let soonest = self.soonest(now);
        match &mut self.next {
            Some(next) => *next = (*next).min(soonest),
            None => self.told = Some(serial),
        }
        true
    }

    fn soonest(&self, now: Instant) -> Instant {
        self.asked.map_or(now, |asked| now.max(asked + BETWEEN_NOTICES))
    }

    fn is_news(&self, serial: Option<u32>) -> bool {
        match (self.soa, serial) {
            (Some(soa), Some(serial)) => is_newer(serial, soa.serial),
            _ => true,
        }
    }

    /// The primary has confirmed this version, or sent it. `chance` is between 0 and 1.
    pub(crate) fn succeeded(&mut self, now: Instant, soa: Soa, chance: f32) {
        self.soa = Some(soa);
        self.failures = 0;
        self.expires = Some(now + expiry(&soa));
        let told = self.told.take().is_some_and(|serial| self.is_news(serial));
        let refresh = seconds(soa.refresh).clamp(LEAST, MOST_REFRESH);
        self.next = Some(if told { self.soonest(now) } else { now + jittered(refresh, chance) });
    }

    /// No primary has answered as it should.
    pub(crate) fn failed(&mut self, now: Instant, chance: f32) {
        self.failures += 1;
        // Whoever has told of a change meanwhile may be able to send it.
        if self.told.take().is_some() {
            self.next = Some(self.soonest(now));
            return;
        }
        let wait = match self.soa {
            Some(soa) => seconds(soa.retry).clamp(LEAST, MOST_RETRY),
            None => {
                let doubled = FIRST_RETRY * (1 << (self.failures - 1).min(16));
                doubled.min(SLOWEST_RETRY)
            }
        };
        self.next = Some(now + jittered(wait, chance));
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

/// No zone expires before its primary was asked a second time (RFC 1912 §2.2).
pub(crate) fn expiry(soa: &Soa) -> Duration {
    let asked = seconds(soa.refresh).clamp(LEAST, MOST_REFRESH)
        + seconds(soa.retry).clamp(LEAST, MOST_RETRY);
    seconds(soa.expire).max(asked)
}

/// Up to a tenth less, so that zones that were loaded together aren't asked for together.
fn jittered(wait: Duration, chance: f32) -> Duration {
    wait.mul_f32(1.0 - chance.clamp(0.0, 1.0) / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOA: Soa = Soa { serial: 5, refresh: 3600, retry: 600, expire: 86_400, minimum: 60 };

    fn after(from: Instant, count: u64) -> Instant {
        from + Duration::from_secs(count)
    }

    #[test]
    fn it_asks_refreshes_retries_and_expires() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, None);
        assert_eq!(schedule.poll(start, false), None);
        assert_eq!(schedule.poll(start, true), Some(Due::Ask));
        assert_eq!((schedule.poll(start, true), schedule.deadline()), (None, None));
        for wait in [2, 4, 8, 16] {
            schedule.failed(start, 0.0);
            assert_eq!(schedule.deadline(), Some(after(start, wait)));
        }
        schedule.succeeded(start, SOA, 0.0);
        assert_eq!(schedule.deadline(), Some(after(start, 3600)));
        schedule.succeeded(start, SOA, 1.0);
        assert_eq!(schedule.deadline(), Some(after(start, 3240)));
        assert_eq!(schedule.poll(after(start, 3240), true), Some(Due::Ask));
        schedule.failed(after(start, 3240), 0.0);
        assert_eq!(schedule.deadline(), Some(after(start, 3840)));
        assert_eq!(schedule.poll(after(start, 86_400), true), Some(Due::Expire));
        assert_eq!(schedule.poll(after(start, 86_400), true), Some(Due::Ask));
        schedule.succeeded(after(start, 86_400), SOA, 0.0);
        assert_eq!(schedule.poll(after(start, 86_401), true), None);
    }

    #[test]
    fn what_was_on_disk_expires_as_if_there_had_been_no_restart() {
        let start = Instant::now();
        let schedule = |age: u64| Schedule::new(start, Some((SOA, Duration::from_secs(age))));
        let mut fresh = schedule(80_000);
        assert_eq!(fresh.poll(start, true), Some(Due::Ask));
        assert_eq!(fresh.deadline(), Some(after(start, 6_400)));
        let mut old = schedule(90_000);
        assert_eq!(old.poll(start, true), Some(Due::Ask));
        assert_eq!(old.deadline(), None);
    }

    #[test]
    fn a_notice_is_heeded_if_it_tells_news() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, Some((SOA, Duration::ZERO)));
        schedule.succeeded(start, SOA, 0.0);
        assert!(!schedule.notified(start, Some(5)) && !schedule.notified(start, Some(4)));
        assert_eq!(schedule.poll(start, true), None);
        assert!(schedule.notified(start, Some(6)));
        assert_eq!(schedule.poll(start, true), Some(Due::Ask));
        let soon = start + BETWEEN_NOTICES;
        // While it is being asked for: again behind it, unless it brings that already.
        assert!(schedule.notified(start, Some(7)));
        schedule.succeeded(start, Soa { serial: 6, ..SOA }, 0.0);
        assert_eq!(schedule.poll(start, true), None);
        assert_eq!(schedule.deadline(), Some(soon));
        assert_eq!(schedule.poll(soon, true), Some(Due::Ask));
        assert!(schedule.notified(start, Some(7)));
        schedule.succeeded(soon, Soa { serial: 7, ..SOA }, 0.0);
        assert_eq!(schedule.poll(soon, true), None);
        assert!(schedule.notified(soon, None));
        assert_eq!(schedule.poll(soon, true), None);
        let later = soon + BETWEEN_NOTICES;
        assert_eq!(schedule.poll(later, true), Some(Due::Ask));
        assert!(schedule.notified(later, None));
        schedule.failed(later, 0.0);
        assert_eq!(schedule.deadline(), Some(later + BETWEEN_NOTICES));
        schedule.failed(later, 0.0);
        assert_eq!(schedule.deadline(), Some(after(later, 600)));
    }

    #[test]
    fn a_soa_record_asks_for_nothing_unreasonable() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start, None);
        let hasty = Soa { refresh: 0, retry: 0, expire: 0, ..SOA };
        schedule.succeeded(start, hasty, 0.0);
        assert_eq!(schedule.deadline(), Some(after(start, 10)));
        assert_eq!(schedule.poll(after(start, 20), false), Some(Due::Expire));
        let patient = Soa { refresh: u32::MAX, retry: u32::MAX, expire: u32::MAX, ..SOA };
        schedule.succeeded(start, patient, 0.0);
        assert_eq!(schedule.deadline(), Some(start + MOST_REFRESH));
    }
}
