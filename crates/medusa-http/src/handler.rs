//! What a program that embeds this crate writes: a [`Handler`], which answers requests at once, later,
//! or when it has read the body; and the [`Exchange`] through which it reaches the rest of the server.
//!
//! A handler belongs to one shard and is called by all of that shard's connections, one at a time, so
//! it may keep state in a `Cell` or `RefCell`. It must not block: what blocks goes through
//! [`Exchange::offload`].

use std::any::Any;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::{Method, StatusCode};
use medusa_core::{Busy, Cx, Peer, Remote};

use crate::error::Fault;
use crate::request::Request;
use crate::response::Response;
use crate::session::{Continuation, Continuations, HttpSession, Shard, waiting_key};

/// Answers requests.
pub trait Handler {
    /// A request's head has come.
    fn requested(&self, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer;

    /// The methods that are implemented anywhere in it: what `OPTIONS *` is told.
    fn methods(&self) -> Vec<Method> {
        vec![Method::GET, Method::HEAD, Method::OPTIONS]
    }
}

impl<H: Handler + ?Sized> Handler for Box<H> {
    fn requested(&self, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
        (**self).requested(request, exchange)
    }

    fn methods(&self) -> Vec<Method> {
        (**self).methods()
    }
}

impl<H: Handler + ?Sized> Handler for Rc<H> {
    fn requested(&self, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
        (**self).requested(request, exchange)
    }

    fn methods(&self) -> Vec<Method> {
        (**self).methods()
    }
}

impl<H: Handler + ?Sized> Handler for Arc<H> {
    fn requested(&self, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
        (**self).requested(request, exchange)
    }

    fn methods(&self) -> Vec<Method> {
        (**self).methods()
    }
}

/// A handler that is a function.
pub struct FnHandler<F>(F);

/// Makes a handler of a function.
pub fn handler_fn<F, A>(function: F) -> FnHandler<F>
where
    F: Fn(&Request<'_>, &mut Exchange<'_, '_>) -> A,
    A: Into<Answer>,
{
    FnHandler(function)
}

impl<F, A> Handler for FnHandler<F>
where
    F: Fn(&Request<'_>, &mut Exchange<'_, '_>) -> A,
    A: Into<Answer>,
{
    fn requested(&self, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
        (self.0)(request, exchange).into()
    }
}

impl<F> std::fmt::Debug for FnHandler<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FnHandler")
    }
}

/// What a handler does with a request.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Answer {
    /// The response.
    Now(Response),
    /// The response comes later; made by [`Exchange::defer`], [`Exchange::offload`] or
    /// [`Exchange::after`]. Requests behind this one go on being answered, and their responses wait
    /// for it. Where this one has a body, it is left unread until the answer comes.
    Later(Ticket),
    /// The body is read first.
    Read(Read),
}

impl Answer {
    /// Reads the body with `reader`, of any length.
    pub fn read(reader: impl BodyReader + 'static) -> Answer {
        Answer::Read(Read { reader: Box::new(reader), limit: None })
    }

    /// Reads the body with `reader`; a body of more than `limit` octets is answered by 413.
    pub fn read_at_most(limit: u64, reader: impl BodyReader + 'static) -> Answer {
        Answer::Read(Read { reader: Box::new(reader), limit: Some(limit) })
    }

    /// Reads the whole body, of at most `limit` octets, into memory and hands it over.
    pub fn collect(
        limit: u64,
        then: impl FnOnce(Vec<u8>, &mut Exchange<'_, '_>) -> Answer + 'static,
    ) -> Answer {
        Answer::read_at_most(limit, Collecting { body: Vec::new(), then })
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Answer {
        Answer::Now(response)
    }
}

/// Proof that somebody is going to answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket {
    pub(crate) id: u32,
}

/// A body to be read; see [`Answer::read`].
pub struct Read {
    pub(crate) reader: Box<dyn BodyReader>,
    pub(crate) limit: Option<u64>,
}

impl std::fmt::Debug for Read {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Read").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// Takes a request's body as it comes.
///
/// It is dropped without [`ended`](BodyReader::ended) when the client leaves, or breaks the framing,
/// before the body is whole.
pub trait BodyReader {
    /// A piece of the body has come.
    fn received(&mut self, piece: &[u8], exchange: &mut Exchange<'_, '_>) -> Reading;

    /// The body is whole. Trailer fields, if there were any, are dropped.
    fn ended(self: Box<Self>, exchange: &mut Exchange<'_, '_>) -> Answer;
}

/// How a [`BodyReader`] wants to go on.
#[derive(Debug)]
#[must_use]
#[non_exhaustive]
pub enum Reading {
    /// With the next piece.
    More,
    /// Not yet: nothing more is read from the client until the [`Resumer`], or the work that was
    /// offloaded, says so. Made by [`Exchange::pause`] and [`Exchange::offload_reading`].
    Paused(Ticket),
    /// Not at all: this is the answer. What is left of the body is passed over, or the connection
    /// closed behind the answer.
    Enough(Answer),
}

struct Collecting<F> {
    body: Vec<u8>,
    then: F,
}

impl<F: FnOnce(Vec<u8>, &mut Exchange<'_, '_>) -> Answer> BodyReader for Collecting<F> {
    fn received(&mut self, piece: &[u8], _: &mut Exchange<'_, '_>) -> Reading {
        self.body.extend_from_slice(piece);
        Reading::More
    }

    fn ended(self: Box<Self>, exchange: &mut Exchange<'_, '_>) -> Answer {
        (self.then)(self.body, exchange)
    }
}

/// What offloaded work does with its thread.
enum Work {
    Waits,
    Computes,
}

/// What a handler may do beside answering. Valid during one call.
pub struct Exchange<'a, 'c> {
    cx: &'a mut Cx<'c>,
    shard: &'a Shard,
    continuations: &'a mut Continuations,
}

impl std::fmt::Debug for Exchange<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exchange").field("cx", &self.cx).finish_non_exhaustive()
    }
}

impl<'a, 'c> Exchange<'a, 'c> {
    #[inline]
    pub(crate) fn new(
        cx: &'a mut Cx<'c>,
        shard: &'a Shard,
        continuations: &'a mut Continuations,
    ) -> Exchange<'a, 'c> {
        Exchange { cx, shard, continuations }
    }

    /// The time of this turn; it never goes back.
    pub fn now(&self) -> Instant {
        self.cx.now()
    }

    /// The wall clock of this turn, for dates that people read.
    pub fn wall_clock(&self) -> SystemTime {
        self.cx.wall_clock()
    }

    /// Who is at the other end, and where it came in.
    pub fn peer(&self) -> &Peer {
        self.cx.peer()
    }

    /// Has the shared counters know of all requests of this shard.
    pub(crate) fn flush_counts(&self) {
        if let Some(tally) = &self.shard.tally {
            tally.flush();
        }
    }

    /// Has the requests behind this one wait unread while its answer is put off: for a handler that
    /// keeps much of a request meanwhile.
    pub(crate) fn hold(&mut self) {
        self.continuations.stand_alone();
    }

    /// Says who asks, for the access log.
    pub fn set_user(&mut self, name: &str) {
        self.continuations.set_user(name);
    }

    /// A response whose buffers go round: unlike [`Response::new`] it allocates nothing.
    #[inline]
    pub fn response(&self, status: StatusCode) -> Response {
        match self.shard.spare.take() {
            Some(parts) => Response::again(parts, status),
            None => Response::new(status),
        }
    }

    /// Puts the answer off: what is returned first is for the handler to return, and the other
    /// answers from wherever it is taken.
    pub fn defer(&mut self) -> (Answer, Later) {
        let ticket = self.continuations.ticket();
        let later = Later { id: ticket.id, remote: Some(self.cx.remote()) };
        (Answer::Later(ticket), later)
    }

    /// Runs blocking `work` in the server's pool and answers with what `then` makes of its result,
    /// back on this shard. When the pool is full, the answer is 503.
    pub fn offload<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(T, &mut Exchange<'_, '_>) -> Answer + 'static,
    ) -> Answer {
        let submitted = self.submit(Work::Waits, work, Continuation::answer(then));
        submitted.map_or_else(|Busy| Response::fault(Fault::Busy).into(), Answer::Later)
    }

    /// As [`offload`](Self::offload), for work that keeps a processor busy for milliseconds, such as a password
    /// hash: see [`Cx::compute`].
    pub fn compute<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(T, &mut Exchange<'_, '_>) -> Answer + 'static,
    ) -> Answer {
        let submitted = self.submit(Work::Computes, work, Continuation::answer(then));
        submitted.map_or_else(|Busy| Response::fault(Fault::Busy).into(), Answer::Later)
    }

    /// Answers with what `then` makes, after a time.
    pub fn after(
        &mut self,
        wait: Duration,
        then: impl FnOnce(&mut Exchange<'_, '_>) -> Answer + 'static,
    ) -> Answer {
        let ticket = self.continuations.ticket();
        self.cx.arm(waiting_key(ticket.id), wait);
        let then = Box::new(move |_: Box<dyn Any>, exchange: &mut Exchange<'_, '_>| then(exchange));
        self.continuations.wait(ticket.id, Continuation::Answer(then));
        Answer::Later(ticket)
    }

    /// For a [`BodyReader`]: stops reading until the handle says so.
    pub fn pause(&mut self) -> (Reading, Resumer) {
        let ticket = self.continuations.ticket();
        let resumer = Resumer { id: ticket.id, remote: self.cx.remote() };
        (Reading::Paused(ticket), resumer)
    }

    /// For a [`BodyReader`]: stops reading, runs blocking `work` in the server's pool, and goes on as
    /// `then` says. When the pool is full, the request is answered by 503.
    pub fn offload_reading<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(T, &mut Exchange<'_, '_>) -> Reading + 'static,
    ) -> Reading {
        let then =
            Box::new(move |value: Box<dyn Any>, exchange: &mut Exchange<'_, '_>| {
                match value.downcast() {
                    Ok(value) => then(*value, exchange),
                    Err(_) => {
                        Reading::Enough(Response::error(StatusCode::INTERNAL_SERVER_ERROR).into())
                    }
                }
            });
        match self.submit(Work::Waits, work, Continuation::Reading(then)) {
            Ok(ticket) => Reading::Paused(ticket),
            Err(Busy) => Reading::Enough(Response::fault(Fault::Busy).into()),
        }
    }

    fn submit<T: Send + 'static>(
        &mut self,
        kind: Work,
        work: impl FnOnce() -> T + Send + 'static,
        then: Continuation,
    ) -> Result<Ticket, Busy> {
        let ticket = self.continuations.ticket();
        let id = ticket.id;
        let resumed = move |session: &mut HttpSession, cx: &mut Cx<'_>, value: T| {
            session.resumed(cx, id, Box::new(value));
        };
        match kind {
            Work::Waits => self.cx.offload(work, resumed)?,
            Work::Computes => self.cx.compute(work, resumed)?,
        }
        self.continuations.wait(id, then);
        Ok(ticket)
    }
}

/// Answers a request that was put off, from any thread. Dropped without an answer, it answers 500.
#[derive(Debug)]
#[must_use = "dropped without an answer, it answers 500"]
pub struct Later {
    id: u32,
    remote: Option<Remote>,
}

/// A note to the session: its ticket is answered. `None` is no answer.
pub(crate) struct Answered {
    pub(crate) id: u32,
    pub(crate) response: Option<Box<dyn FnOnce() -> Response + Send>>,
}

impl Later {
    /// Answers. `response` is called on the connection's shard, so that it may hold what can't be
    /// sent between threads. If the client has gone it isn't called.
    ///
    /// # Errors
    ///
    /// The handle itself, when too many messages wait for the shard: to be tried again.
    pub fn answer(
        mut self,
        response: impl FnOnce() -> Response + Send + 'static,
    ) -> Result<(), Later> {
        let Some(remote) = self.remote.take() else { return Ok(()) };
        match remote.notify(Answered { id: self.id, response: Some(Box::new(response)) }) {
            Ok(()) => Ok(()),
            Err(_) => Err(Later { id: self.id, remote: Some(remote) }),
        }
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        if let Some(remote) = self.remote.take() {
            // When the shard is that busy the connection's own end has to do.
            let _ = remote.notify(Answered { id: self.id, response: None });
        }
    }
}

/// Has a paused [`BodyReader`] go on, from any thread.
#[derive(Debug, Clone)]
pub struct Resumer {
    id: u32,
    remote: Remote,
}

/// A note to the session: its reader may go on.
pub(crate) struct Resumed {
    pub(crate) id: u32,
}

impl Resumer {
    /// Goes on. Calls after the first do nothing.
    ///
    /// # Errors
    ///
    /// [`Busy`] when too many messages wait for the shard.
    pub fn resume(&self) -> Result<(), Busy> {
        Ok(self.remote.notify(Resumed { id: self.id })?)
    }
}
