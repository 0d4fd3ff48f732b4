//! What connections say, and what is done about it: recipients that were told something are written down, the
//! rest goes to the same connection, to another one, or to another server.
//!
//! A connection reports to the worker's inbox, and the last word that it says is that it has gone, however it
//! ended. A report belongs to the attempt whose job it names, as long as that attempt still waits for this
//! connection. Connections that end before a job has begun say nothing of a server: a few of them put an attempt
//! off. What a resolver or a server doesn't answer at all is deferred, with nothing said of the destination.

use std::time::Duration;

use medusa_core::DatagramCx;

use super::Worker;
use crate::sending::client::{Addressee, Report};
use crate::sending::hosts::Step;
use crate::sending::outcome::{Kind, Outcome, Problem};
use crate::sending::reply::Status;
use crate::sending::route::Security;
use crate::sending::schedule::Health;

/// How long an answer may take. Resolvers give up far earlier; this is for one that was lost.
const ANSWER: Duration = Duration::from_secs(120);
/// Connections that may end before a job of ours has begun, before it is put off.
const MOST_ENDED: u32 = 3;

impl Worker {
    pub(super) fn reported(&mut self, cx: &mut DatagramCx<'_>, report: Report) {
        let Report { session, ticket, outcomes, problem, gone } = report;
        let mut lost = None;
        if gone {
            // One that left before it had heard of its next job.
            lost = self
                .links
                .remove(&session)
                .and_then(|link| link.ticket)
                .filter(|_| ticket.is_none());
        } else if let Some(link) = self.links.get_mut(&session) {
            link.ticket = None;
        }
        if let Some(ticket) = lost {
            return self.again(cx, ticket, session);
        }
        let Some(ticket) = ticket else { return };
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        if attempt.session != Some(session) {
            return;
        }
        let told = |one: &Addressee| outcomes.iter().any(|(index, _)| *index == one.index);
        attempt.batch.retain(|one| !told(one));
        if !outcomes.is_empty() {
            attempt.health = Health::Good;
            attempt.ended = 0;
            attempt.served = problem.is_none().then_some(session);
        }
        if !outcomes.is_empty() {
            self.write_down(cx, ticket, outcomes);
        }
        match problem {
            None => {
                if let Some(attempt) = self.attempts.get_mut(&ticket) {
                    // Those that the server didn't want in one transaction come in the next.
                    for one in attempt.batch.drain(..).rev() {
                        attempt.left.push_front(one);
                    }
                }
                self.dispatch(cx, ticket);
                self.reuse(cx, session);
            }
            Some(problem) => self.troubled(cx, ticket, session, &problem),
        }
    }

    /// A connection that is idle now takes a parcel for its destination.
    fn reuse(&mut self, cx: &mut DatagramCx<'_>, session: u64) {
        let Some(link) = self.links.get(&session).filter(|link| link.ticket.is_none()) else {
            return;
        };
        if self.leaving || self.attempts.len() >= self.shared.share() {
            return;
        }
        let parcel = self.shared.schedule().take_for(&link.place, cx.now());
        if let Some(parcel) = parcel {
            self.start(cx, parcel);
        }
    }

    /// The job at hand wasn't begun.
    fn again(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, session: u64) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        if attempt.session != Some(session) {
            return;
        }
        attempt.ended += 1;
        if attempt.ended > MOST_ENDED {
            let text = "connections end before a message is taken";
            // Of the destination that says nothing: connections were there.
            return self.give_up_softly(cx, ticket, &Outcome::deferred(Status(4, 4, 2), text));
        }
        self.dispatch(cx, ticket);
    }

    fn troubled(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, session: u64, problem: &Problem) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        if attempt.batch.is_empty() && attempt.left.is_empty() {
            attempt.over = true;
            return self.conclude(cx, ticket);
        }
        let (way, _) = self.shared.ways.way(&attempt.parcel.place);
        let may_be_plain = way.security == Security::Opportunistic && way.login.is_none();
        match problem.kind {
            Kind::Untried => self.again(cx, ticket, session),
            Kind::Unanswered => self.give_up_softly(cx, ticket, &problem.outcome),
            Kind::Insecure if may_be_plain => self.connect(cx, ticket, true),
            // A connection that stood already has broken: another one to the same place, first.
            _ if attempt.trail.is_none() || attempt.served == Some(session) => {
                self.again(cx, ticket, session)
            }
            _ => {
                attempt.target = None;
                let step = attempt.trail.as_mut().map(|trail| trail.failed(problem));
                self.step(cx, ticket, step.unwrap_or(Step::Done(problem.outcome.clone())));
            }
        }
    }

    /// Puts off what is left, without a word about the destination.
    fn give_up_softly(&mut self, cx: &mut DatagramCx<'_>, ticket: u64, outcome: &Outcome) {
        let Some(attempt) = self.attempts.get_mut(&ticket) else { return };
        let outcomes = attempt.end_with(outcome);
        // An answer that comes yet is for nobody.
        attempt.asked = None;
        attempt.trail = None;
        self.write_down(cx, ticket, outcomes);
    }

    /// Questions that nobody has answered count as such.
    pub(super) fn look_for_lost_answers(&mut self, cx: &mut DatagramCx<'_>) {
        let now = cx.now();
        let is_late = |asked| now.saturating_duration_since(asked) > ANSWER;
        let late = self.attempts.iter().filter(|(_, one)| one.asked.is_some_and(is_late));
        for ticket in late.map(|(ticket, _)| *ticket).collect::<Vec<u64>>() {
            let outcome = Outcome::deferred(Status(4, 4, 3), "the resolver doesn't answer");
            self.give_up_softly(cx, ticket, &outcome);
        }
    }
}
