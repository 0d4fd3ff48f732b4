//! One connection's HTTP: heads in, answers out, bodies between them. It is the only place that
//! knows both the core's callbacks and the pure machines of this crate; which phase follows which
//! stands in `states.rs`.
//!
//! Responses go out in the order of their requests, whenever they are ready. Nothing is read past a
//! request whose framing is in doubt, and no octet of a body is ever taken for a request.

mod answers;
mod bodies;
mod continuations;
mod respond;
mod states;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use medusa_core::{
    AccessSink, Cx, Deadline, Frame, Framing, Goodbye, Network, Note, ReplySlot, Session, TimerKey,
};

use crate::access::Record;
use crate::body::BodyLength;
use crate::chunked::ChunkLimits;
use crate::compose::Asked;
use crate::date::DateCache;
use crate::error::Fault;
use crate::handler::{Answer, Answered, Exchange, Handler, Reading, Resumed};
use crate::head::{Head, HeadLimits, Known, Target};
use crate::origin::Origin;
use crate::request::Request;
use crate::response::{Parts, Response};
use crate::tally::Tally;
use bodies::{BodyFraming, OpenBody};
pub(crate) use continuations::{Continuation, Continuations, waiting_key};
use continuations::{News, deadline_key};
use states::{Event, Phase};

/// How large requests may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HttpLimits {
    /// Heads.
    pub head: HeadLimits,
    /// What a chunked body may hold beside its data.
    pub chunks: ChunkLimits,
    /// Octets of a body; `None`, as handlers set their own. A handler that reads without a limit is
    /// bounded by this one.
    pub body: Option<u64>,
    /// Octets of a body that are read and dropped behind an answer that didn't wait for them, so that
    /// the connection can be kept. Beyond, it is closed. 64 KiB.
    pub unread: u64,
    /// How long a handler may put an answer off, in all; then it is 503. `None`: an embedding program
    /// knows best what it waits for.
    pub answer: Option<Duration>,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            head: HeadLimits::default(),
            chunks: ChunkLimits::default(),
            body: None,
            unread: 64 * 1024,
            answer: None,
        }
    }
}

/// What the connections of one shard share.
pub(crate) struct Shard {
    pub(crate) handler: Box<dyn Handler>,
    pub(crate) limits: HttpLimits,
    pub(crate) access: Option<Arc<dyn AccessSink>>,
    pub(crate) dates: DateCache,
    pub(crate) tally: Option<Tally>,
    /// The proxies that are believed.
    pub(crate) trusted: Vec<Network>,
    /// Strict-Transport-Security, as a whole line: for responses over TLS.
    pub(crate) hsts: Vec<u8>,
    /// What the last response was made of, for the next.
    pub(crate) spare: Cell<Option<Box<Parts>>>,
}

/// One HTTP connection.
pub struct HttpSession {
    shard: Rc<Shard>,
    phase: Phase,
    /// Part of a head has come.
    in_head: bool,
    /// The first line of that part is complete, and was looked at.
    line_seen: bool,
    /// The next response that can be the last one is.
    ending: bool,
    /// How many requests have been answered or put off; it may wrap.
    requests: u32,
    body: Option<Box<OpenBody>>,
    continuations: Continuations,
}

/// Most connections do nothing most of the time; beyond 40 octets the allocator would give it 64.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<HttpSession>() <= 40);

impl std::fmt::Debug for HttpSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpSession").field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// What is needed to answer a request: by whom it was asked, and how.
pub(crate) struct Asker {
    asked: Asked,
    record: Option<Box<Record>>,
}

/// An answer that was put off.
pub(crate) struct Owed {
    id: u32,
    asker: Asker,
    /// Its place. None where input is held, since then nothing follows.
    slot: Option<ReplySlot>,
    /// Which request it was.
    number: u32,
    /// It has no body, and none was read: a reader would have an empty one.
    may_read: bool,
}

impl Asker {
    /// Takes over what a handler says of the request: who asks, and whether others wait for it.
    #[inline]
    fn told(&mut self, news: News) {
        self.asked = self.asked.alone_if(news.alone);
        if let (Some(user), Some(record)) = (news.user, &mut self.record) {
            record.set_user(&user);
        }
    }
}

/// Heads, whose limit is looked at here: the core's would not tell a target from a field.
const HEAD: Framing = Framing::delimited(b"\r\n\r\n", usize::MAX);

impl Session for HttpSession {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(HEAD);
    }

    #[inline]
    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        match self.phase {
            Phase::Head => self.requested(cx, frame.bytes),
            Phase::Reading | Phase::PassingOver => self.body_received(cx, frame),
            Phase::Held | Phase::Over => {}
        }
    }

    fn unfinished(&mut self, cx: &mut Cx<'_>, so_far: &[u8], fresh: usize) {
        match self.phase {
            Phase::Head => self.head_unfinished(cx, so_far, fresh),
            // A chunk's size or a trailer: a bare LF will not become right (RFC 9112 §7.1).
            Phase::Reading if memchr::memchr(b'\n', &so_far[fresh..]).is_some() => {
                self.body_received(cx, Frame { bytes: so_far, end: true });
            }
            _ => {}
        }
    }

    fn overlong(&mut self, cx: &mut Cx<'_>) {
        let fault = match &self.body {
            Some(body) => match &body.framing {
                BodyFraming::Chunked(decoder) => decoder.overlong(),
                BodyFraming::Length(_) => Fault::BodyTooLong,
            },
            None => Fault::HeadTooLong,
        };
        self.break_off(cx, fault);
    }

    fn timed_out(&mut self, cx: &mut Cx<'_>, deadline: Deadline) {
        match (deadline, self.phase) {
            // It doesn't take what waits for it.
            _ if cx.unsent_bytes() > 0 => cx.abort(),
            (Deadline::Head, Phase::Head) if self.in_head => {
                self.refuse(cx, Fault::HeadTimeout, b"")
            }
            (_, Phase::Reading) => self.break_off(cx, Fault::BodyTimeout),
            _ => cx.close(),
        }
    }

    fn expired(&mut self, cx: &mut Cx<'_>, key: TimerKey) {
        let overdue =
            self.continuations.owed().iter().find(|owed| deadline_key(owed.number) == key);
        if let Some(id) = overdue.map(|owed| owed.id) {
            // What it waits for may still come, and then finds nobody.
            self.continuations.take(id);
            return self.answered(cx, id, Response::fault(Fault::AnswerTimeout).into());
        }
        let waiting = self.continuations.owed().iter().find(|owed| waiting_key(owed.id) == key);
        if let Some(id) = waiting.map(|owed| owed.id) {
            self.resumed(cx, id, Box::new(()));
        }
    }

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        let note = match note.downcast::<Answered>() {
            Ok(Answered { id, response }) => {
                let response = match response {
                    Some(make) => make(),
                    None => Response::error(StatusCode::INTERNAL_SERVER_ERROR),
                };
                return self.answered(cx, id, response.into());
            }
            Err(note) => note,
        };
        if let Ok(Resumed { id }) = note.downcast::<Resumed>() {
            self.read_on(cx, id, Reading::More);
        }
    }

    fn drained(&mut self, cx: &mut Cx<'_>) {
        if let Some(tally) = &self.shard.tally {
            tally.flush();
        }
        if let Some(head) = self.continuations.take_held()
            && self.phase == Phase::Held
        {
            self.enter(cx, Event::Whole);
            self.requested(cx, &head);
        }
    }

    fn closed(&mut self, _: &Goodbye) {
        if let Some(tally) = &self.shard.tally {
            tally.flush();
        }
    }

    fn draining(&mut self, cx: &mut Cx<'_>) {
        self.ending = true;
        self.close_if_idle(cx);
    }
}

impl HttpSession {
    pub(crate) fn new(shard: Rc<Shard>) -> HttpSession {
        HttpSession {
            shard,
            phase: Phase::Head,
            in_head: false,
            line_seen: false,
            ending: false,
            requests: 0,
            body: None,
            continuations: Continuations::default(),
        }
    }

    // ---- heads -------------------------------------------------------------------------------

    #[inline]
    fn requested(&mut self, cx: &mut Cx<'_>, octets: &[u8]) {
        self.in_head = false;
        self.line_seen = false;
        let mut head = Head::unread(octets);
        if let Err(fault) = head.read(&self.shard.limits.head) {
            return self.refuse(cx, fault, octets);
        }
        let length = match BodyLength::of(&head) {
            Ok(length) => length,
            Err(fault) => return self.refuse(cx, fault, octets),
        };
        let method = head.method();
        if !method.is_safe() && cx.in_flight() > 0 {
            // What it changes may be what those before it still ask for (RFC 9112 §9.3.2). `drained` tells
            // when they have been answered.
            self.continuations.hold(octets);
            return self.enter(cx, Event::PutOff);
        }
        let origin = Origin::of(cx.peer(), &head, &self.shard.trusted);
        let goes_on = !self.ending && !cx.is_draining();
        let asked = Asked::by(&head, &method).persistent_if(goes_on).secured(origin.is_secure());
        let record = match &self.shard.access {
            Some(sink) => {
                let stamp = self.shard.dates.at(cx.wall_clock());
                Some(Record::of(sink, &origin, &stamp, &head))
            }
            None => None,
        };
        let mut asker = Asker { asked, record };

        let mut body = None;
        if !length.is_empty() || head.known(Known::Expect).is_some() {
            body = match self.open_body(&head, length) {
                Ok(body) => body,
                Err(fault) => {
                    let last = Asker { asked: asked.persistent_if(false), ..asker };
                    return self.respond(cx, last, None, Response::fault(fault));
                }
            };
        }
        let answer = self.ask(cx, &head, &method, &origin, body.is_some());
        asker.told(self.continuations.news());
        match (answer, body) {
            (Answer::Now(response), None) => self.respond(cx, asker, None, response),
            (answer, body) => self.settle(cx, asker, answer, body, true),
        }
    }

    /// What is answered: by the handler, but for what concerns the whole server.
    #[inline]
    fn ask(
        &mut self,
        cx: &mut Cx<'_>,
        head: &Head<'_>,
        method: &Method,
        origin: &Origin,
        has_body: bool,
    ) -> Answer {
        let target = head.target();
        let path = match target {
            Target::Origin { path, .. } | Target::Absolute { path, .. } => path,
            Target::Asterisk => {
                // RFC 9110 §9.3.7: the server as a whole.
                let methods = self.shard.handler.methods();
                return Response::new(StatusCode::NO_CONTENT).allow(&methods).into();
            }
            Target::Authority(_) => return Response::fault(Fault::UnknownMethod).closing().into(),
        };
        if *method == Method::TRACE {
            // It would show a script the fields that it may not see (cross-site tracing).
            return Response::method_not_allowed(&self.shard.handler.methods()).into();
        }
        let path = match head.canonical_path(path) {
            Ok(path) => path,
            Err(fault) => return Response::fault(fault).into(),
        };
        let request = Request::new(head, method, &path, origin, has_body);
        let mut exchange = Exchange::new(cx, &self.shard, &mut self.continuations);
        self.shard.handler.requested(&request, &mut exchange)
    }

    fn head_unfinished(&mut self, cx: &mut Cx<'_>, so_far: &[u8], fresh: usize) {
        // RFC 9112 §2.2: an empty line alone is no request yet, only the end of an odd body.
        self.in_head = !b"\r\n".starts_with(so_far);
        let limits = &self.shard.limits.head;
        // Looked at once a line has ended that can be wrong by itself: the first one, and one that
        // ends in a bare LF. Each time as far as that line's end, so that the answer doesn't depend
        // on how the octets arrived.
        for at in memchr::memchr_iter(b'\n', &so_far[fresh..]) {
            let at = fresh + at;
            let bare = at == 0 || so_far[at - 1] != b'\r';
            if (bare || !self.line_seen)
                && let Some(fault) = Head::fault_in_part(&so_far[..=at], limits)
            {
                return self.refuse(cx, fault, so_far);
            }
            self.line_seen = true;
        }
        // Three octets may be the empty line's beginning.
        if so_far.len() > limits.head + 3
            && let Some(fault) = Head::fault_in_part(so_far, limits)
        {
            self.refuse(cx, fault, so_far);
        }
    }

    // ---- phases ------------------------------------------------------------------------------

    fn enter(&mut self, cx: &mut Cx<'_>, event: Event) {
        self.phase = self.phase.after(event);
        match self.phase {
            Phase::Head => {
                self.continuations.shrink();
                cx.resume();
                cx.expect(HEAD);
            }
            Phase::Reading | Phase::PassingOver => {
                cx.resume();
                if let Some(body) = self.body.as_mut().filter(|body| !body.begun) {
                    body.begun = true;
                    body.expect(cx);
                }
            }
            Phase::Held => cx.pause(),
            Phase::Over => cx.close(),
        }
    }

    fn close_if_idle(&mut self, cx: &mut Cx<'_>) {
        if self.ending
            && self.phase == Phase::Head
            && !self.in_head
            && self.continuations.owed().is_empty()
        {
            self.enter(cx, Event::Last);
        }
    }
}
