//! The deadlines that the core keeps for every connection. Pure: it is told for whom the connection
//! waits and what has moved, and says when which deadline passes.

use std::time::Duration;

use crate::limits::Limits;
use crate::session::Deadline;
use crate::timer::Millis;

/// How long a closed connection may go on sending before it is cut off: its last reply must not be
/// destroyed by a reset (RFC 9112 §9.6). nginx's lingering_timeout is 5 s.
const LINGER_MILLIS: Millis = 5_000;

/// The same while the server is shutting down, which idle clients shouldn't hold up.
const LINGER_DRAINING_MILLIS: Millis = 500;

/// Octets that a closed connection may still send us before it is cut off.
const LINGER_BYTES: u64 = 1 << 20;

/// How long a session may take to end after it was told of a deadline.
const GRACE_MILLIS: Millis = 5_000;

/// Whom the connection waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// The peer's next request.
    Idle,
    /// The rest of a request head or command.
    Head,
    /// The rest of a body.
    Giving,
    /// The peer's taking what waits for it.
    Taking,
    /// Ourselves: a slot, a pending producer, a paused session.
    Own,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// A deadline has passed: the session is to be told, and has a while to end.
    TimedOut(Deadline),
    /// That while is over.
    Cut(Deadline),
    /// The connection has lingered long enough.
    Lingered,
}

/// What the deadlines are measured from.
#[derive(Debug)]
pub(super) struct Clock {
    active: Millis,
    since: Since,
    /// Rare, so behind a pointer.
    ending: Option<Box<Ending>>,
}

/// What is being measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Nothing,
    /// The unfinished frame at hand began then.
    Head(Millis),
    /// The rate is measured since then; how much had moved isn't known yet.
    Unmeasured(Millis),
    /// The rate is measured since then, when so much had moved.
    Rate(Millis, u64),
}

/// A connection that has not long to live.
#[derive(Debug, Clone, Copy)]
enum Ending {
    /// A deadline has passed; the session may end until then.
    Grace(Deadline, Millis),
    /// Our side is closed; the peer may end until then, and has sent so much since.
    Linger { until: Millis, discarded: u64 },
}

impl Clock {
    pub(super) fn new(now: Millis) -> Self {
        Clock { active: now, since: Since::Nothing, ending: None }
    }

    /// Something was received or sent.
    pub(super) fn touched(&mut self, now: Millis) {
        self.active = now;
    }

    /// A frame is complete: the next one has a deadline of its own.
    pub(super) fn framed(&mut self) {
        if matches!(self.since, Since::Head(_)) {
            self.since = Since::Nothing;
        }
    }

    /// The transport has until `until` to stand.
    pub(super) fn stand_by(&mut self, until: Millis) {
        self.ending = Some(Box::new(Ending::Grace(Deadline::Handshake, until)));
    }

    /// The transport stands.
    pub(super) fn stands(&mut self) {
        self.ending = None;
    }

    /// Our side is closed: the peer has a while to end its own.
    pub(super) fn linger(&mut self, now: Millis, draining: bool) {
        let until = now + if draining { LINGER_DRAINING_MILLIS } else { LINGER_MILLIS };
        self.ending = Some(Box::new(Ending::Linger { until, discarded: 0 }));
    }

    pub(super) fn is_lingering(&self) -> bool {
        matches!(self.ending.as_deref(), Some(Ending::Linger { .. }))
    }

    /// Counts octets that came after our side was closed. Says whether that was too much.
    pub(super) fn discard(&mut self, octets: usize) -> bool {
        match self.ending.as_deref_mut() {
            Some(Ending::Linger { discarded, .. }) => {
                *discarded += octets as u64;
                *discarded > LINGER_BYTES
            }
            _ => false,
        }
    }

    /// Keeps in step with what the connection waits for; `received` counts its octets.
    pub(super) fn follow(&mut self, phase: Phase, limits: &Limits, now: Millis, received: u64) {
        let rated = limits.minimum_rate.is_some();
        self.since = match (phase, self.since) {
            (Phase::Head, since @ Since::Head(_)) => since,
            (Phase::Head, _) => Since::Head(now),
            (Phase::Giving | Phase::Taking, since @ (Since::Rate(..) | Since::Unmeasured(_))) => {
                since
            }
            (Phase::Giving, _) if rated => Since::Rate(now, received),
            // What the kernel still holds of the output is asked when the first window ends: it costs
            // a system call, and most replies are taken before.
            (Phase::Taking, _) if rated => Since::Unmeasured(now),
            _ => Since::Nothing,
        };
    }

    /// When something may be due.
    pub(super) fn next(&self, phase: Phase, limits: &Limits) -> Option<Millis> {
        match self.ending.as_deref() {
            Some(Ending::Linger { until, .. } | Ending::Grace(_, until)) => Some(*until),
            None => self.deadline(phase, limits).map(|(_, at)| at),
        }
    }

    /// What is due at `now`. `moved` counts the octets that went in and out; it is asked only when the
    /// rate is to be judged.
    pub(super) fn due(
        &mut self,
        phase: Phase,
        limits: &Limits,
        now: Millis,
        moved: impl FnOnce() -> u64,
    ) -> Due {
        match self.ending.as_deref() {
            Some(Ending::Linger { until, .. }) if *until <= now => return Due::Lingered,
            Some(Ending::Grace(deadline, until)) if *until <= now => return Due::Cut(*deadline),
            Some(_) => return Due::Nothing,
            None => {}
        }
        let Some((deadline, _)) = self.deadline(phase, limits).filter(|(_, at)| *at <= now) else {
            return Due::Nothing;
        };
        if let Since::Rate(since, _) | Since::Unmeasured(since) = self.since {
            let moved = moved();
            let least = limits.minimum_rate.unwrap_or(0).saturating_mul((now - since) / 1000);
            let slow = match self.since {
                Since::Rate(_, before) => moved.saturating_sub(before) < least,
                _ => false,
            };
            if !slow {
                self.since = Since::Rate(now, moved);
                return Due::Nothing;
            }
        }
        self.ending = Some(Box::new(Ending::Grace(deadline, now + GRACE_MILLIS)));
        Due::TimedOut(deadline)
    }

    fn deadline(&self, phase: Phase, limits: &Limits) -> Option<(Deadline, Millis)> {
        let (deadline, since, limit) = match (phase, self.since) {
            (Phase::Own, _) => return None,
            (Phase::Head, Since::Head(since)) => (Deadline::Head, since, limits.head),
            (Phase::Giving | Phase::Taking, Since::Rate(since, _) | Since::Unmeasured(since)) => {
                (Deadline::Rate, since, Some(Limits::RATE_WINDOW))
            }
            _ => (Deadline::Idle, self.active, limits.idle),
        };
        limit.map(|limit: Duration| (deadline, since.saturating_add(limit.as_millis() as Millis)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_taker_is_judged_by_the_second_window() {
        let (limits, mut clock) = (Limits::default(), Clock::new(0));
        clock.follow(Phase::Taking, &limits, 0, 0);
        assert_eq!(clock.next(Phase::Taking, &limits), Some(10_000));
        assert_eq!(
            clock.due(Phase::Taking, &limits, 9_999, || panic!("asked early")),
            Due::Nothing
        );
        assert_eq!(clock.due(Phase::Taking, &limits, 10_000, || 5_000), Due::Nothing);
        assert_eq!(clock.due(Phase::Taking, &limits, 20_000, || 6_000), Due::Nothing);
        let due = clock.due(Phase::Taking, &limits, 30_000, || 6_999);
        assert_eq!(due, Due::TimedOut(Deadline::Rate));
        assert_eq!(clock.due(Phase::Taking, &limits, 34_999, || 0), Due::Nothing);
        assert_eq!(clock.due(Phase::Taking, &limits, 35_000, || 0), Due::Cut(Deadline::Rate));
    }

    #[test]
    fn no_limit_is_no_deadline() {
        let limits = Limits { idle: None, head: None, minimum_rate: None, ..Limits::default() };
        for phase in [Phase::Idle, Phase::Head, Phase::Giving, Phase::Taking, Phase::Own] {
            let mut clock = Clock::new(0);
            clock.follow(phase, &limits, 0, 0);
            assert_eq!(clock.next(phase, &limits), None, "{phase:?}");
        }
    }

    #[test]
    fn lingering_is_bounded_in_time_and_octets() {
        let (limits, mut clock) = (Limits::default(), Clock::new(0));
        clock.linger(0, false);
        assert!(!clock.discard(1 << 20));
        assert!(clock.discard(1));
        assert_eq!(clock.next(Phase::Idle, &limits), Some(5_000));
        assert_eq!(clock.due(Phase::Idle, &limits, 5_000, || 0), Due::Lingered);
        clock.linger(0, true);
        assert_eq!(clock.due(Phase::Idle, &limits, 500, || 0), Due::Lingered);
    }
}
