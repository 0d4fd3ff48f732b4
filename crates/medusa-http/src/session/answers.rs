//! What becomes of a handler's answer: sent at once, put off, or given after the body was read. Responses
//! themselves are composed in `respond.rs`.

use std::any::Any;

use medusa_core::{Cx, ReplySlot};

use super::bodies::{BodyFraming, OpenBody};
use super::continuations::{Continuation, deadline_key};
use super::states::{Event, Phase};
use super::{Asker, HttpSession, Owed};
use crate::handler::{Answer, Exchange, Reading};
use crate::response::Response;

/// The answer is already there, or the client was told to send nothing more.
const MISUSED_READ: &str = "a body was to be read that isn't there, or has been read";

impl HttpSession {
    /// Does what an answer asks for, and with the request's body what then must be.
    pub(super) fn settle(
        &mut self,
        cx: &mut Cx<'_>,
        mut asker: Asker,
        answer: Answer,
        body: Option<Box<OpenBody>>,
        may_read: bool,
    ) {
        match (answer, body) {
            (Answer::Now(response), None) => self.respond(cx, asker, None, response),
            (Answer::Now(response), Some(body)) => {
                // Of a chunked body nobody knows how long it is; and a client that waits to be
                // asked may send it or not (RFC 9110 §10.1.1).
                let rest = match body.framing {
                    BodyFraming::Length(left) if !body.expects => Some(left),
                    _ => None,
                };
                let short = rest.is_some_and(|rest| rest <= self.shard.limits.unread);
                asker.asked = asker.asked.persistent_if(short);
                self.respond(cx, asker, None, response);
                if self.phase != Phase::Over {
                    self.body = Some(body);
                    self.enter(cx, Event::Pass);
                }
            }
            // The answer may turn out to end with the connection, which nothing can follow.
            (Answer::Later(ticket), None)
                if asker.asked.is_old_version() || asker.asked.is_alone() =>
            {
                self.owe(cx, ticket.id, asker, None, may_read);
                self.enter(cx, Event::PutOff);
            }
            (Answer::Later(ticket), None) => {
                let last = !asker.asked.is_persistent();
                let slot = cx.reserve();
                self.owe(cx, ticket.id, asker, Some(slot), may_read);
                if last {
                    // What is owed is still sent.
                    self.enter(cx, Event::Last);
                }
            }
            (Answer::Later(ticket), Some(body)) => {
                self.owe(cx, ticket.id, asker, None, may_read);
                self.body = Some(body);
                self.enter(cx, Event::PutOff);
            }
            (Answer::Read(read), Some(body)) if may_read && !body.begun => {
                self.begin_reading(cx, asker, read, body)
            }
            (Answer::Read(read), None) if may_read => {
                let mut exchange = Exchange::new(cx, &self.shard, &mut self.continuations);
                let answer = read.reader.ended(&mut exchange);
                asker.told(self.continuations.news());
                self.settle(cx, asker, answer, None, false);
            }
            (Answer::Read(_), body) => {
                let response = Response::misused(MISUSED_READ);
                self.settle(cx, asker, response.into(), body, false);
            }
        }
    }

    fn owe(
        &mut self,
        cx: &mut Cx<'_>,
        id: u32,
        asker: Asker,
        slot: Option<ReplySlot>,
        may_read: bool,
    ) {
        self.requests = self.requests.wrapping_add(1);
        if let Some(limit) = self.shard.limits.answer {
            cx.arm(deadline_key(self.requests), limit);
        }
        let owed = Owed { id, asker, slot, number: self.requests, may_read };
        self.continuations.owed_mut().push(owed);
    }

    /// Work that a handler had put off is done.
    pub(crate) fn resumed(&mut self, cx: &mut Cx<'_>, id: u32, value: Box<dyn Any>) {
        let Some(continuation) = self.continuations.take(id) else { return };
        let mut exchange = Exchange::new(cx, &self.shard, &mut self.continuations);
        match continuation {
            Continuation::Answer(then) => {
                let answer = then(value, &mut exchange);
                if let Some(at) = self.continuations.owed().iter().position(|owed| owed.id == id) {
                    self.told_of_owed(at);
                }
                self.answered(cx, id, answer);
            }
            Continuation::Reading(then) => {
                let reading = then(value, &mut exchange);
                self.reader_told();
                self.read_on(cx, id, reading);
            }
        }
    }

    pub(super) fn read_on(&mut self, cx: &mut Cx<'_>, id: u32, reading: Reading) {
        let open = self.body.as_ref().and_then(|body| body.reading.as_ref());
        if let Some(open) = open.filter(|open| open.paused == Some(id)) {
            let whole = open.whole;
            self.go_on(cx, reading, whole);
        }
    }

    pub(super) fn answered(&mut self, cx: &mut Cx<'_>, id: u32, answer: Answer) {
        let at = self.continuations.owed().iter().position(|owed| owed.id == id);
        let Some(at) = at else { return };
        let owed = self.continuations.owed_mut().remove(at);
        let goes_on =
            matches!((&owed.slot, &answer), (_, Answer::Later(_)) | (Some(_), Answer::Read(_)));
        if self.shard.limits.answer.is_some() && !goes_on {
            cx.disarm(deadline_key(owed.number));
        }
        match (owed.slot, answer) {
            // Put off again: nothing else has changed.
            (slot, Answer::Later(ticket)) => {
                let owed = Owed { id: ticket.id, slot, ..owed };
                return self.continuations.owed_mut().insert(at, owed);
            }
            (None, answer) => {
                let body = self.body.take();
                if body.is_none() {
                    self.enter(cx, Event::Whole);
                }
                self.settle(cx, owed.asker, answer, body, owed.may_read);
            }
            (slot, Answer::Now(mut response)) => {
                let mut asker = owed.asker;
                // It can't be the last response when requests behind it have been taken.
                let followed = owed.number != self.requests || self.continuations.holds();
                self.ending |= std::mem::take(&mut response.parts.close);
                asker.asked = asker.asked.persistent_if(followed || !self.ending);
                self.respond(cx, asker, slot, response);
            }
            (slot, Answer::Read(read)) if owed.may_read => {
                let owed = Owed { slot, may_read: false, ..owed };
                self.continuations.owed_mut().insert(at, owed);
                let mut exchange = Exchange::new(cx, &self.shard, &mut self.continuations);
                let answer = read.reader.ended(&mut exchange);
                self.told_of_owed(at);
                return self.answered(cx, id, answer);
            }
            (slot, Answer::Read(_)) => {
                self.respond(cx, owed.asker, slot, Response::misused(MISUSED_READ));
            }
        }
        self.continuations.shrink();
        self.close_if_idle(cx);
    }

    /// Takes over what a handler says of a request whose answer was put off.
    fn told_of_owed(&mut self, at: usize) {
        let news = self.continuations.news();
        self.continuations.owed_mut()[at].asker.told(news);
    }
}
