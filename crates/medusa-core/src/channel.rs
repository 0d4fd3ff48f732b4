//! One connection without its socket: input to framer to session to reply queue to outbox.
//!
//! Pure. A transport hands bytes in with [`Channel::receive`], says when the peer has ended, and empties
//! the outbox; the channel decides what is read, cut, produced and when a deadline passes. The shard
//! and the `testing` module drive it alike.

mod clock;

use std::sync::Arc;

use self::clock::{Clock, Due, Phase};
use crate::env::Env;
use crate::framing::{Cut, Delivery, Frame, Framer, Framing, Terminator};
use crate::limits::Limits;
use crate::mailbox::{Note, Resume};
use crate::outbox::{Job, Outbox};
use crate::producer::ProduceError;
use crate::reply::{Pumped, ReplyQueue};
use crate::service::Peer;
use crate::session::{Cx, Deadline, Session};
use crate::timer::{Deadlines, Millis};
use crate::tls::{Facts, Secure};

/// Frames handed to a session in one step, so that one pipelining peer doesn't keep others waiting.
const FRAMES_PER_STEP: usize = 512;

/// What a connection holds while something is under way: bytes in, replies, bytes out. An idle
/// connection holds none; a shard has a few that go round.
#[derive(Default)]
pub(crate) struct Flow {
    /// Input that is not cut yet begins at `start`.
    input: Vec<u8>,
    start: usize,
    /// How much of an unfinished frame the session has been shown.
    shown: usize,
    pub(crate) replies: ReplyQueue,
    pub(crate) outbox: Outbox,
    /// Work of a pending producer that is to go to the offload pool.
    deferred: Option<Job>,
}

impl Flow {
    pub(crate) fn reset(&mut self) {
        self.input.clear();
        self.start = 0;
        if self.input.capacity() > 128 * 1024 {
            self.input = Vec::new();
        }
        self.shown = 0;
        self.deferred = None;
        self.replies.reset();
        self.outbox.reset();
    }

    fn is_idle(&self) -> bool {
        self.start == self.input.len() && self.replies.is_empty() && self.outbox.is_empty()
    }
}

/// What a session's callbacks may change of its connection.
pub(crate) struct State {
    pub(crate) token: u64,
    pub(crate) peer: Peer,
    pub(crate) limits: Arc<Limits>,
    pub(crate) framer: Framer,
    /// The session has called `expect` in this callback.
    pub(crate) reframed: bool,
    /// What is expected is a part of a body, whatever its framing.
    pub(crate) in_body: bool,
    pub(crate) timers: Deadlines,
    pub(crate) paused: bool,
    pub(crate) closing: Closing,
    /// The session has been told that its service is to end.
    pub(crate) draining: bool,
    pub(crate) owns_listeners: bool,
    /// The session wants TLS: as a server, or as told.
    pub(crate) securing: Option<Option<Secure>>,
    /// The peer's stream ended without TLS's word for it.
    pub(crate) truncated: bool,
}

/// How the session has asked for its end, the mildest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Closing {
    No,
    /// Once everything is sent and the peer has ended.
    Heard,
    /// Once everything is sent: the peer's end needn't be waited for.
    Unheard,
    /// At once.
    Aborted,
}

impl State {
    /// Has the connection end, unless it is to end less mildly already.
    pub(crate) fn close(&mut self, how: Closing) {
        self.closing = self.closing.max(how);
    }

    fn is_closing(&self) -> bool {
        matches!(self.closing, Closing::Heard | Closing::Unheard)
    }

    /// Whether no frame may be cut.
    fn is_stopped(&self) -> bool {
        self.paused || self.closing != Closing::No || self.securing.is_some()
    }
}

/// The connection's whole protocol side.
pub(crate) struct Channel {
    session: Box<dyn Session>,
    state: State,
    flow: Option<Box<Flow>>,
    clock: Clock,
    ended: Ended,
    /// Input that was cut as far as it goes: there is nothing to do until more arrives.
    starved: bool,
    /// The head of the replies waits for a wake.
    waiting: bool,
    opened: bool,
    /// It is a session's own, of which something may be expected before it stands.
    is_own: bool,
    /// TLS holds bytes that the socket has not taken.
    pending: bool,
    /// Something was sent since the session was last told that everything is.
    undrained: bool,
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// How far the peer's end of the stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Open,
    /// It has ended; buffered input may still be there.
    Peer,
    /// The session has been told.
    Told,
}

/// What a deadline's passing came to.
pub(crate) enum Lapse {
    /// Nothing, or a session's callback ran: take a step.
    Step,
    /// The connection is to be cut off.
    Cut(Deadline),
    /// It has lingered long enough.
    Lingered,
}

impl Channel {
    pub(crate) fn new(
        session: Box<dyn Session>,
        peer: Peer,
        token: u64,
        limits: Arc<Limits>,
        now: Millis,
    ) -> Self {
        Channel {
            session,
            state: State {
                token,
                peer,
                limits,
                framer: Framer::new(Framing::stream()),
                reframed: false,
                in_body: false,
                timers: Deadlines::default(),
                paused: false,
                closing: Closing::No,
                draining: false,
                owns_listeners: false,
                securing: None,
                truncated: false,
            },
            flow: None,
            clock: Clock::new(now),
            ended: Ended::Open,
            starved: true,
            waiting: false,
            opened: false,
            is_own: false,
            pending: false,
            undrained: false,
            received: 0,
            sent: 0,
        }
    }

    // ---- callbacks ---------------------------------------------------------------------------

    pub(crate) fn open(&mut self, env: &mut Env) {
        self.clock.touched(env.millis());
        self.opened = true;
        self.call(env, |session, cx| session.opened(cx));
    }

    /// A handshake begins, by which nothing counts that was said before.
    pub(crate) fn begin_handshake(&mut self, env: &mut Env) {
        if let Some(flow) = &mut self.flow {
            flow.input.clear();
            flow.start = 0;
            flow.shown = 0;
        }
        self.state.framer.restart();
        self.starved = true;
        if let Some(limit) = self.state.limits.handshake {
            let until = env.millis_after(limit);
            self.stand_by(until);
        }
    }

    /// The handshake is done: the session is opened, or told.
    pub(crate) fn secured(&mut self, env: &mut Env, facts: Facts) {
        self.stands();
        self.clock.touched(env.millis());
        self.state.peer.tls = Some(Arc::new(facts));
        self.state.securing = None;
        if let Some(flow) = &mut self.flow {
            // From now on TLS must see the bytes.
            flow.outbox.set_accepts_files(false);
        }
        if self.opened {
            self.call(env, |session, cx| session.secured(cx));
        } else {
            self.open(env);
        }
    }

    /// Whether the session has asked for TLS.
    pub(crate) fn is_securing(&self) -> bool {
        self.state.securing.is_some()
    }

    /// As what the session wants TLS, if not with its service's certificates.
    pub(crate) fn take_securing(&mut self) -> Option<Secure> {
        self.state.securing.as_mut()?.take()
    }

    pub(crate) fn notify(&mut self, env: &mut Env, note: Note) {
        self.call(env, |session, cx| session.notified(cx, note));
    }

    pub(crate) fn resume(&mut self, env: &mut Env, then: Resume) {
        self.call(env, |session, cx| then(session, cx));
    }

    pub(crate) fn drain(&mut self, env: &mut Env) {
        if !self.opened && !self.is_own {
            // Nothing has been said yet, so nothing is owed.
            self.state.close(Closing::Heard);
            return;
        }
        if !std::mem::replace(&mut self.state.draining, true) {
            self.call(env, |session, cx| session.draining(cx));
        }
    }

    /// A pending producer is to be asked again.
    pub(crate) fn wake(&mut self) {
        self.waiting = false;
    }

    /// Everything has been handed to the transport, if it is so since the session was told last. Says
    /// whether it was told.
    pub(crate) fn drained(&mut self, env: &mut Env) -> bool {
        let news = self.is_drained() && std::mem::take(&mut self.undrained);
        if news {
            self.call(env, |session, cx| session.drained(cx));
        }
        news
    }

    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.state.limits)
    }

    pub(crate) fn peer(&self) -> &Peer {
        &self.state.peer
    }

    pub(crate) fn token(&self) -> u64 {
        self.state.token
    }

    pub(crate) fn into_session(self) -> Box<dyn Session> {
        self.session
    }

    // ---- input -------------------------------------------------------------------------------

    /// Whether frames may be cut now: nobody has stopped it and there is room for replies.
    fn accepts_frames(&self) -> bool {
        !self.state.is_stopped()
            && self.flow.as_ref().is_none_or(|flow| {
                flow.replies.len() < self.state.limits.in_flight
                    && flow.outbox.len() + (flow.replies.held_bytes() as u64)
                        < self.state.limits.high_water as u64
            })
    }

    /// Whether bytes should be read from the transport.
    pub(crate) fn wants_input(&self) -> bool {
        self.starved && self.ended == Ended::Open && self.accepts_frames()
    }

    /// Whether buffered input can be cut without reading.
    pub(crate) fn has_frames(&self) -> bool {
        (!self.starved || self.ended == Ended::Peer) && self.accepts_frames()
    }

    /// Takes bytes that have arrived; frames are lent from them.
    pub(crate) fn receive(&mut self, env: &mut Env, bytes: &mut [u8]) {
        self.received += bytes.len() as u64;
        self.clock.touched(env.millis());
        let buffered = self.flow.as_ref().is_some_and(|flow| flow.start < flow.input.len());
        if buffered {
            if let Some(flow) = &mut self.flow {
                if flow.start > flow.input.len() / 2 {
                    flow.input.drain(..flow.start);
                    flow.start = 0;
                }
                flow.input.extend_from_slice(bytes);
            }
            self.starved = false;
            self.cut_buffered(env);
            return;
        }
        let (consumed, starved) = self.cut(env, bytes);
        self.starved = starved;
        if consumed < bytes.len() {
            let secured = self.state.peer.tls.is_some();
            let flow = self.flow.get_or_insert_with(|| env.take_flow(secured));
            flow.input.clear();
            flow.start = 0;
            flow.input.extend_from_slice(&bytes[consumed..]);
        }
        self.settle(env);
    }

    /// Where the session wants what comes next to be read, if that needn't be cut.
    pub(crate) fn room(&mut self) -> Option<&mut Vec<u8>> {
        let is_buffered = self.flow.as_ref().is_some_and(|flow| flow.start < flow.input.len());
        if is_buffered || self.state.framer.framing().terminator != Terminator::None {
            return None;
        }
        self.session.room().filter(|room| room.len() < room.capacity())
    }

    /// So many bytes have been read there.
    pub(crate) fn filled(&mut self, env: &mut Env, count: usize) {
        self.received += count as u64;
        self.clock.touched(env.millis());
        self.clock.framed();
        self.call(env, |session, cx| session.filled(cx, count));
    }

    /// Goes on with input that is buffered already, and tells the session when the peer has ended and
    /// nothing more is buffered.
    pub(crate) fn cut_buffered(&mut self, env: &mut Env) {
        if !self.starved {
            let (mut input, start) = match &mut self.flow {
                Some(flow) => (std::mem::take(&mut flow.input), flow.start),
                None => (Vec::new(), 0),
            };
            let (consumed, starved) = self.cut(env, &mut input[start..]);
            self.starved = starved;
            if let Some(flow) = &mut self.flow {
                flow.input = input;
                flow.start = start + consumed;
                if flow.start == flow.input.len() {
                    flow.input.clear();
                    flow.start = 0;
                }
            }
        }
        if self.starved && self.ended == Ended::Peer {
            self.ended = Ended::Told;
            self.call(env, |session, cx| session.half_closed(cx));
        }
        self.settle(env);
    }

    /// The peer will send no more.
    pub(crate) fn end(&mut self, env: &mut Env, truncated: bool) {
        if self.ended == Ended::Open {
            self.ended = Ended::Peer;
            self.state.truncated = truncated;
            if self.has_frames() {
                self.cut_buffered(env);
            }
        }
    }

    pub(crate) fn peer_has_ended(&self) -> bool {
        self.ended != Ended::Open
    }

    /// Cuts frames from `input`. Says how much is done with, and whether the rest waits for more
    /// bytes rather than for room.
    fn cut(&mut self, env: &mut Env, input: &mut [u8]) -> (usize, bool) {
        let mut at = 0;
        let mut budget = FRAMES_PER_STEP;
        let mut flow =
            self.flow.take().unwrap_or_else(|| env.take_flow(self.state.peer.tls.is_some()));
        let starved = loop {
            if self.state.securing.is_some() {
                // Whatever came after the session's wish for TLS is thrown away.
                at = input.len();
                break true;
            }
            if self.state.is_stopped() || budget == 0 {
                break false;
            }
            if flow.replies.len() >= self.state.limits.in_flight
                || flow.outbox.len() + flow.replies.held_bytes() as u64
                    >= self.state.limits.high_water as u64
            {
                break false;
            }
            match self.state.framer.cut(&mut input[at..]) {
                Cut::Frame { start, length, end, consumed } => {
                    let frame = Frame { bytes: &input[at + start..][..length], end };
                    at += consumed;
                    budget -= 1;
                    flow.shown = 0;
                    self.clock.framed();
                    // The session may fulfil a slot that the replies wait for.
                    self.waiting = false;
                    let mut cx = Cx { state: &mut self.state, flow: &mut flow, env };
                    self.session.received(&mut cx, frame);
                }
                Cut::Overlong { consumed } => {
                    at += consumed;
                    budget -= 1;
                    flow.shown = 0;
                    self.waiting = false;
                    let mut cx = Cx { state: &mut self.state, flow: &mut flow, env };
                    self.session.overlong(&mut cx);
                }
                Cut::Partial { consumed: 0 } => {
                    let rest = &input[at..];
                    let whole =
                        matches!(self.state.framer.framing().delivery, Delivery::Whole { .. });
                    if whole && rest.len() > flow.shown {
                        let fresh = std::mem::replace(&mut flow.shown, rest.len());
                        self.state.reframed = false;
                        self.waiting = false;
                        let mut cx = Cx { state: &mut self.state, flow: &mut flow, env };
                        self.session.unfinished(&mut cx, rest, fresh);
                        if self.state.reframed {
                            continue;
                        }
                    }
                    break true;
                }
                Cut::Partial { consumed } => {
                    at += consumed;
                    flow.shown = 0;
                }
            }
        };
        self.flow = Some(flow);
        (at, starved)
    }

    // ---- output ------------------------------------------------------------------------------

    /// Moves ready replies into the outbox and says whether more could be made once there is room.
    pub(crate) fn pump(&mut self) -> Result<bool, ProduceError> {
        let Some(flow) = &mut self.flow else { return Ok(false) };
        self.undrained |= !(flow.replies.is_empty() && flow.outbox.is_empty());
        if self.waiting || flow.replies.is_empty() || flow.deferred.is_some() {
            return Ok(false);
        }
        let pumped = flow.replies.pump(&mut flow.outbox)?;
        flow.deferred = flow.outbox.take_job();
        self.waiting = pumped == Pumped::Waiting;
        Ok(pumped == Pumped::Full)
    }

    /// Work that a producer wants done in the offload pool; a wake follows it.
    pub(crate) fn take_deferred(&mut self) -> Option<Job> {
        self.flow.as_mut()?.deferred.take()
    }

    /// Gives work back that the pool had no room for.
    pub(crate) fn put_back(&mut self, job: Job) {
        if let Some(flow) = &mut self.flow {
            flow.deferred = Some(job);
        }
    }

    pub(crate) fn has_deferred(&self) -> bool {
        self.flow.as_ref().is_some_and(|flow| flow.deferred.is_some())
    }

    pub(crate) fn outbox(&mut self, env: &mut Env) -> &mut Outbox {
        let secured = self.state.peer.tls.is_some();
        &mut self.flow.get_or_insert_with(|| env.take_flow(secured)).outbox
    }

    pub(crate) fn has_output(&self) -> bool {
        self.flow.as_ref().is_some_and(|flow| !flow.outbox.is_empty())
    }

    /// Tells how much the transport took; the outbox has been advanced already.
    pub(crate) fn wrote(&mut self, env: &Env, bytes: u64) {
        self.sent += bytes;
        self.clock.touched(env.millis());
    }

    /// Whether every reply has been handed to the transport.
    pub(crate) fn is_drained(&self) -> bool {
        self.flow.as_ref().is_none_or(|flow| flow.replies.is_empty() && flow.outbox.is_empty())
    }

    // ---- the end -----------------------------------------------------------------------------

    /// Everything owed has been sent and the session wants to close.
    pub(crate) fn is_finished(&self) -> bool {
        self.state.is_closing() && self.is_drained()
    }

    /// Whether the session wants to close and all that it owes is in the outbox.
    pub(crate) fn is_ending(&self) -> bool {
        self.state.is_closing() && self.flow.as_ref().is_none_or(|flow| flow.replies.is_empty())
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.state.closing == Closing::Aborted
    }

    /// Whether the session has asked for no more input for now.
    pub(crate) fn is_paused(&self) -> bool {
        self.state.paused
    }

    pub(crate) fn owns_listeners(&self) -> bool {
        self.state.owns_listeners
    }

    /// Whether the session awaits nothing of the peer, its end included.
    pub(crate) fn is_unheard(&self) -> bool {
        self.state.closing == Closing::Unheard
    }

    /// Begins to wait for the peer's end of a connection that is closed on our side.
    pub(crate) fn linger(&mut self, env: &Env) {
        self.clock.linger(env.millis(), env.draining);
    }

    pub(crate) fn is_lingering(&self) -> bool {
        self.clock.is_lingering()
    }

    /// Counts octets that came after our side was closed. Says whether that was too much.
    pub(crate) fn discard(&mut self, octets: usize) -> bool {
        self.clock.discard(octets)
    }

    // ---- deadlines ---------------------------------------------------------------------------

    /// Gives the transport until `until` to stand; the session is opened then.
    pub(crate) fn stand_by(&mut self, until: Millis) {
        self.clock.stand_by(until);
    }

    /// It was made, or listened for, by a session.
    pub(crate) fn becomes_own(&mut self) {
        self.is_own = true;
    }

    /// The transport stands.
    pub(crate) fn stands(&mut self) {
        self.clock.stands();
    }

    fn phase(&self) -> Phase {
        let buffered = self.flow.as_ref().is_some_and(|flow| flow.start < flow.input.len());
        if self.has_output() || self.pending {
            Phase::Taking
        } else if self.state.paused || self.state.is_closing() || !self.is_drained() {
            Phase::Own
        } else if self.state.in_body || self.state.framer.inside_body() {
            Phase::Giving
        } else if buffered && self.starved {
            Phase::Head
        } else {
            Phase::Idle
        }
    }

    /// Keeps the clock in step with what the connection waits for. Called at the end of a step.
    pub(crate) fn mind_the_time(&mut self, env: &Env, pending: bool) {
        self.pending = pending;
        self.clock.follow(self.phase(), &self.state.limits, env.millis(), self.received);
    }

    /// When this connection wants to be looked at next.
    pub(crate) fn deadline(&self) -> Option<Millis> {
        let kept = self.clock.next(self.phase(), &self.state.limits);
        let own = self.state.timers.earliest().filter(|_| !self.is_lingering());
        [kept, own].into_iter().flatten().min()
    }

    /// Runs what is due at `now`. `unsent` tells how many octets the kernel still holds; it is asked
    /// only when the rate is to be judged.
    pub(crate) fn lapse(&mut self, env: &mut Env, unsent: impl FnOnce() -> u64) -> Lapse {
        let now = env.millis();
        if !self.is_lingering() {
            while let Some(key) = self.state.timers.take_due(now) {
                self.call(env, |session, cx| session.expired(cx, key));
            }
        }
        let phase = self.phase();
        let (received, sent) = (self.received, self.sent);
        let moved = || match phase {
            Phase::Taking => received + sent.saturating_sub(unsent()),
            _ => received,
        };
        match self.clock.due(phase, &self.state.limits, now, moved) {
            Due::Nothing => Lapse::Step,
            Due::Lingered => Lapse::Lingered,
            Due::Cut(deadline) => Lapse::Cut(deadline),
            Due::TimedOut(deadline) => {
                self.call(env, |session, cx| session.timed_out(cx, deadline));
                Lapse::Step
            }
        }
    }

    // ---- helpers -----------------------------------------------------------------------------

    fn call(&mut self, env: &mut Env, callback: impl FnOnce(&mut dyn Session, &mut Cx<'_>)) {
        let mut flow =
            self.flow.take().unwrap_or_else(|| env.take_flow(self.state.peer.tls.is_some()));
        self.state.reframed = false;
        let mut cx = Cx { state: &mut self.state, flow: &mut flow, env };
        callback(&mut *self.session, &mut cx);
        self.flow = Some(flow);
        if self.state.reframed {
            // What is buffered may be complete under the new framing.
            self.starved = false;
        }
        // A slot may have been fulfilled.
        self.waiting = false;
        self.settle(env);
    }

    /// Gives the flow back when nothing is under way.
    pub(crate) fn settle(&mut self, env: &mut Env) {
        if self.flow.as_ref().is_some_and(|flow| flow.is_idle())
            && let Some(flow) = self.flow.take()
        {
            env.recycle(flow);
        }
    }
}
