//! What is known of an upstream server: how fast it answers, whether it does at all, and what it can't do.

use std::time::{Duration, Instant};

use crate::upstream::Upstream;

/// How long the first question waits for its answer (BIND: 800 ms).
const FIRST_WAIT: Duration = Duration::from_millis(800);
/// The shortest wait: what answers fast may still have to ask others.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);
/// So many silences in a row, and a server is down ...
const MISSES: u32 = 3;
/// ... for this long, twice as long after each further one, ...
const DOWN: Duration = Duration::from_secs(5);
/// ... up to this.
const LONGEST_DOWN: Duration = Duration::from_secs(60);
/// How long a server that didn't understand EDNS is asked without it.
const PLAIN: Duration = Duration::from_secs(15 * 60);
/// So many answers in another case than the question's, and none in the same, and a server is taken for
/// one that doesn't keep it.
const FOLDED: u8 = 3;

#[derive(Debug)]
pub(super) struct Health {
    pub(super) id: u32,
    pub(super) upstream: Upstream,
    /// Smoothed time to an answer, and its variation (RFC 6298 §2).
    smoothed: Option<(Duration, Duration)>,
    misses: u32,
    down_until: Option<Instant>,
    plain_until: Option<Instant>,
    folded: u8,
    heard_at: Option<Instant>,
    streamed_at: Option<Instant>,
    missed_at: Option<Instant>,
}

impl Health {
    pub(super) fn new(id: u32, upstream: Upstream) -> Self {
        Health {
            id,
            upstream,
            smoothed: None,
            misses: 0,
            down_until: None,
            plain_until: None,
            folded: 0,
            heard_at: None,
            streamed_at: None,
            missed_at: None,
        }
    }

    /// How it ranks among others: those that are up first, the fastest of them first, and one that is
    /// unknown before all.
    pub(super) fn rank(&self, now: Instant) -> (Option<Instant>, Duration) {
        let down = self.down_until.filter(|until| now < *until);
        let smoothed = self.smoothed.map(|(smoothed, _)| smoothed).unwrap_or_default();
        // Others are tried before one that was silent lately.
        (down, (smoothed + SHORTEST_WAIT * self.misses.min(8)).min(LONGEST_DOWN))
    }

    pub(super) fn is_down(&self, now: Instant) -> bool {
        self.down_until.is_some_and(|until| now < until)
    }

    /// How long an answer may take (RFC 6298 §2.3).
    pub(super) fn wait(&self) -> Duration {
        let expected = self.smoothed.map(|(smoothed, variation)| smoothed + 4 * variation);
        expected.unwrap_or(FIRST_WAIT).max(SHORTEST_WAIT)
    }

    pub(super) fn answered(&mut self, after: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => (after, after / 2),
            Some((smoothed, variation)) => {
                let off = smoothed.abs_diff(after);
                ((smoothed * 7 + after) / 8, (variation * 3 + off) / 4)
            }
        });
        self.misses = 0;
        self.down_until = None;
    }

    /// It was silent about what it was asked at `sent_at`, or isn't there. If it has said anything since, a
    /// packet was lost and no more; and many that are silent together count once.
    pub(super) fn missed(&mut self, sent_at: Instant, now: Instant) {
        let since = |at: Option<Instant>| at.is_some_and(|at| at > sent_at);
        if since(self.heard_at) || since(self.missed_at) {
            return;
        }
        self.missed_at = Some(now);
        self.misses = self.misses.saturating_add(1);
        if self.misses >= MISSES {
            let down = DOWN * 2_u32.saturating_pow((self.misses - MISSES).min(8));
            self.down_until = Some(now + down.min(LONGEST_DOWN));
        }
    }

    /// Something has come from it: by a datagram, or by the connection.
    pub(super) fn heard(&mut self, streamed: bool, now: Instant) {
        self.heard_at = Some(now);
        if streamed {
            self.streamed_at = Some(now);
        }
    }

    /// Whether nothing has come by the connection to it since.
    pub(super) fn is_dead_since(&self, at: Instant) -> bool {
        self.streamed_at.is_none_or(|streamed_at| streamed_at < at)
    }

    pub(super) fn takes_edns(&self, now: Instant) -> bool {
        self.plain_until.is_none_or(|until| now >= until)
    }

    pub(super) fn refused_edns(&mut self, now: Instant) {
        self.plain_until = Some(now + PLAIN);
    }

    pub(super) fn keeps_case(&self) -> bool {
        self.folded < FOLDED
    }

    pub(super) fn kept_case(&mut self, kept: bool) {
        // One that is taken for folding is never asked in odd case again, so that nothing is learnt then.
        if self.keeps_case() {
            self.folded = if kept { 0 } else { self.folded + 1 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_server_is_down_for_a_while() {
        let now = Instant::now();
        let mut health = Health::new(0, "192.0.2.1".parse().expect("an address"));
        assert_eq!(health.wait(), FIRST_WAIT);
        health.answered(Duration::from_millis(100));
        assert_eq!(health.wait(), Duration::from_millis(300));
        // Many at a time are one.
        for number in 0..MISSES {
            let sent_at = now + Duration::from_millis(number.into());
            assert!(!health.is_down(now));
            let missed_at = sent_at + Duration::from_micros(500);
            health.missed(sent_at, missed_at);
            health.missed(sent_at, missed_at);
        }
        let now = now + Duration::from_micros(u64::from(MISSES) * 1000 - 500);
        assert!(health.is_down(now + DOWN - Duration::from_millis(1)));
        assert!(!health.is_down(now + DOWN));
        health.missed(now + DOWN, now + DOWN);
        assert!(health.is_down(now + 3 * DOWN - Duration::from_millis(1)));
        let mut late = now + DOWN;
        for _ in 0..100 {
            late += DOWN;
            health.missed(late, late);
        }
        assert!(!health.is_down(late + LONGEST_DOWN));
        assert_eq!(health.wait(), Duration::from_millis(300));
        // What it has said since tells that it is there.
        health.heard(false, late + DOWN);
        health.answered(Duration::from_millis(1));
        for _ in 0..100 {
            health.missed(late + DOWN - Duration::from_millis(1), late + 2 * DOWN);
        }
        assert!(!health.is_down(late + 2 * DOWN));
    }
}
