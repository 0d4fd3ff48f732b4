//! How fast files go: meters that several transfers share, an account's or a service's, and a producer
//! that makes no more than it was granted.
//!
//! Pure: a meter is told the time and tells how long to wait; whoever asks has a timer.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use medusa_core::{Outbox, ProduceError, Produced, Producer, Remote};

/// So much time's octets may go at once, after a rest or in one grant.
const BURST: Duration = Duration::from_millis(125);
/// A grant is no smaller, and no larger.
const GRANT: (u64, u64) = (4 * 1024, 256 * 1024);

/// A rate that transfers share. Clones are the same meter.
#[derive(Debug, Clone)]
pub struct Meter {
    rate: u64,
    /// When all that was taken so far has been paid for.
    due: Arc<Mutex<Option<Instant>>>,
}

impl Meter {
    /// A meter of so many octets a second, one at least.
    pub fn new(octets_per_second: u64) -> Meter {
        Meter { rate: octets_per_second.max(1), due: Arc::default() }
    }

    /// Whether somebody else holds it.
    pub(crate) fn is_shared(&self) -> bool {
        Arc::strong_count(&self.due) > 1
    }

    /// Takes octets, and says for how long they, or those behind them, have to wait. Transfers that
    /// wait as they are told have equal shares.
    fn take(&self, octets: u64, now: Instant) -> Duration {
        let mut due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let rested = now.checked_sub(BURST).unwrap_or(now);
        let begin = due.map_or(rested, |due| due.max(rested));
        *due = Some(begin + Duration::from_secs_f64(octets as f64 / self.rate as f64));
        begin.saturating_duration_since(now)
    }
}

/// The meters of one transfer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace(pub(crate) Vec<Meter>);

impl Pace {
    /// Takes octets of every meter; the longest wait of all.
    pub(crate) fn take(&self, octets: u64, now: Instant) -> Duration {
        self.0.iter().map(|meter| meter.take(octets, now)).max().unwrap_or_default()
    }

    /// How much is granted at once; `None` where there is no limit.
    pub(crate) fn grant(&self) -> Option<u64> {
        let slowest = self.0.iter().map(|meter| meter.rate).min()?;
        let share = (slowest as f64 * BURST.as_secs_f64()) as u64;
        Some(share.clamp(GRANT.0, GRANT.1))
    }
}

/// Said to the session whose producer has used its grant up.
pub(crate) struct Exhausted;

/// Produces what `inner` does, as far as it was granted. It reads files, because a grant is smaller than
/// what is worth a segment.
pub(crate) struct Paced {
    pub(crate) inner: Box<dyn Producer>,
    /// Octets that may still be made; below zero, those that were made too early.
    pub(crate) granted: Arc<AtomicI64>,
    /// Whom to ask for more.
    pub(crate) session: Remote,
    pub(crate) has_asked: bool,
}

impl Producer for Paced {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let granted = self.granted.load(Ordering::Relaxed);
        if granted <= 0 {
            if !self.has_asked {
                self.has_asked = self.session.notify(Exhausted).is_ok();
                // A full mailbox takes no note, but it takes wakes: it will have been emptied by then.
                if !self.has_asked {
                    self.session.wake();
                }
            }
            return Ok(Produced::Pending);
        }
        self.has_asked = false;
        let (files, target) = (out.accepts_files(), out.len() + out.room() as u64);
        out.set_accepts_files(false);
        out.set_target(target.min(out.len() + granted.unsigned_abs()));
        let before = out.pushed();
        let produced = self.inner.produce(out);
        out.set_accepts_files(files);
        out.set_target(target);
        let made = out.pushed() - before;
        self.granted.fetch_sub(made as i64, Ordering::Relaxed);
        produced
    }

    fn remaining(&self) -> Option<u64> {
        self.inner.remaining()
    }
}

#[cfg(test)]
mod tests {
    use medusa_core::producer::bytes;
    use medusa_core::testing::Client;
    use medusa_core::{Cx, Frame, Framing, Note, Session};

    use super::*;

    /// Sends a text as fast as may be, when it hears anything, and counts how often it was asked to let more go.
    #[derive(Default)]
    struct Sender {
        asked: usize,
        handle: Arc<Mutex<Option<Remote>>>,
        granted: Arc<AtomicI64>,
    }

    impl Session for Sender {
        fn opened(&mut self, cx: &mut Cx<'_>) {
            cx.expect(Framing::stream());
            *self.handle.lock().unwrap() = Some(cx.remote());
        }

        fn received(&mut self, cx: &mut Cx<'_>, _: Frame<'_>) {
            let inner = Box::new(bytes("as fast as may be"));
            let (granted, session) = (Arc::clone(&self.granted), cx.remote());
            cx.send(Paced { inner, granted, session, has_asked: false });
        }

        fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
            if note.is::<Exhausted>() {
                self.asked += 1;
                self.granted.store(100, Ordering::Relaxed);
                cx.remote().wake();
            }
        }
    }

    #[test]
    fn who_finds_a_full_mailbox_asks_again() {
        for is_full in [false, true] {
            let handle = Arc::default();
            let mut client =
                Client::new(Sender { handle: Arc::clone(&handle), ..Sender::default() });
            let session = handle.lock().unwrap().clone().unwrap();
            let filled = is_full && (0..1_000_000).any(|_| session.notify(()).is_err());
            assert_eq!(filled, is_full);
            client.send("now");
            // What is posted while mail is delivered is delivered with the next.
            client.deliver().deliver().deliver();
            assert_eq!(client.text(), "as fast as may be", "{is_full}");
        }
    }

    #[test]
    fn a_meter_is_kept_to_whoever_takes() {
        let start = Instant::now() + Duration::from_secs(1000);
        for transfers in [1usize, 3] {
            let meter = Meter::new(1000);
            // Each takes its hundred octets, and waits as it is told before it takes again.
            let mut turns = vec![start; transfers];
            let mut taken = vec![0; transfers];
            loop {
                let next = (0..transfers).min_by_key(|at| turns[*at]).unwrap();
                let now = turns[next];
                if now >= start + Duration::from_secs(10) {
                    break;
                }
                taken[next] += 100;
                turns[next] = now + meter.take(100, now).max(Duration::from_millis(1));
            }
            let sum: i32 = taken.iter().sum();
            assert!((10_000..=10_700).contains(&sum), "{transfers}: {taken:?}");
            let (least, most) = (taken.iter().min().unwrap(), taken.iter().max().unwrap());
            assert!(most - least <= 200, "{taken:?}");
        }
    }

    #[test]
    fn the_slowest_meter_decides() {
        let now = Instant::now() + Duration::from_secs(1000);
        let pace = Pace(vec![Meter::new(1_000_000), Meter::new(1000)]);
        assert_eq!(pace.grant(), Some(4096));
        assert_eq!(pace.take(1000, now), Duration::ZERO);
        assert_eq!(pace.take(1000, now), Duration::from_millis(875));
        assert_eq!(Pace::default().grant(), None);
        assert_eq!(Pace::default().take(1 << 40, now), Duration::ZERO);
        assert_eq!(Pace(vec![Meter::new(u64::MAX)]).grant(), Some(256 * 1024));
        assert_eq!(Meter::new(0).take(1, now), Duration::ZERO);
    }
}
