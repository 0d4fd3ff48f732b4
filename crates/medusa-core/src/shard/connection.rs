//! A connection on a shard: its transport and its channel, and what one step of it is.
//!
//! A step is bounded: one read, so many frames, so many bytes written. It says whether another is owed.

use std::io;
use std::sync::Arc;

use mio::event::Event;

use crate::channel::{Channel, Lapse};
use crate::env::Env;
use crate::limits::Census;
use crate::service::Endpoint;
use crate::session::{Deadline, Goodbye, Reason};
use crate::timer::Millis;
use crate::transport::Transport;

/// Bytes written in one step, so that a fast reader of a large file doesn't keep others waiting.
/// nginx's sendfile_max_chunk is 2 MiB.
const WRITTEN_PER_STEP: u64 = 2 << 20;

/// What a step came to.
pub(super) enum Step {
    /// Progress was made, and more can be made now.
    Again,
    /// Nothing more can be done until an event, a wake or a timer.
    Idle,
    Ended(Reason),
}

pub(super) struct Connection {
    transport: Transport,
    pub(super) channel: Channel,
    /// Whether it is in the shard's queue.
    pub(super) queued: bool,
    readable: bool,
    writable: bool,
    /// The peer has ended: a short read is not the last one.
    hung_up: bool,
    /// Both directions have ended or the peer has reset it.
    broken: bool,
    /// An outbound connection that doesn't stand yet.
    connecting: bool,
    /// The earliest entry of this connection in the shard's timers.
    pub(super) wakes_at: Option<Millis>,
    census: Option<Arc<Census>>,
}

impl Connection {
    pub(super) fn new(transport: Transport, channel: Channel) -> Self {
        Connection {
            transport,
            channel,
            queued: false,
            readable: false,
            // A fresh socket takes bytes; trying costs nothing that an event wouldn't.
            writable: true,
            hung_up: false,
            broken: false,
            connecting: false,
            wakes_at: None,
            census: None,
        }
    }

    /// Has the connection uncounted when it ends.
    pub(super) fn counted(mut self, census: Option<Arc<Census>>) -> Self {
        self.census = census;
        self
    }

    /// Makes it an outbound connection that is to stand by `until`.
    pub(super) fn connecting(mut self, until: Option<Millis>) -> Self {
        self.connecting = true;
        self.writable = false;
        if let Some(until) = until {
            self.channel.stand_by(until);
        }
        self
    }

    pub(super) fn remote(&self) -> Endpoint {
        self.channel.peer().remote
    }

    /// Folds an event into the sticky flags. Says whether the connection must be queued.
    pub(super) fn fold(&mut self, event: &Event) -> bool {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.hung_up |= event.is_read_closed() || event.is_error();
        self.broken |= event.is_write_closed() || event.is_error();
        !std::mem::replace(&mut self.queued, true)
    }

    pub(super) fn step(&mut self, env: &mut Env, scratch: &mut [u8]) -> Step {
        match self.try_step(env, scratch) {
            Ok(step) => step,
            Err(reason) => Step::Ended(reason),
        }
    }

    fn try_step(&mut self, env: &mut Env, scratch: &mut [u8]) -> Result<Step, Reason> {
        if self.connecting {
            if !self.writable {
                return Ok(Step::Idle);
            }
            self.transport.take_error().map_err(Reason::Unreachable)?;
            self.connecting = false;
            self.channel.stands();
            self.channel.open(env);
        }
        if self.channel.is_lingering() {
            return self.discard(scratch);
        }
        if self.broken && !self.channel.wants_input() {
            // Nobody is left to answer, and nothing would be read that says so.
            let error = self.transport.take_error().err();
            return Err(Reason::Lost(error.unwrap_or(io::ErrorKind::ConnectionReset.into())));
        }
        if self.channel.has_frames() {
            self.channel.cut_buffered(env);
        }
        if self.readable && self.channel.wants_input() {
            self.read(env, scratch)?;
        }
        let unfinished = self.write(env)?;
        self.channel.mind_the_time(env);
        if self.channel.is_aborted() {
            return Err(Reason::Aborted);
        }
        if self.channel.is_finished() {
            return self.close(env, scratch);
        }
        let readable = self.readable && self.channel.wants_input();
        Ok(if unfinished || readable || self.channel.has_frames() {
            Step::Again
        } else {
            Step::Idle
        })
    }

    fn read(&mut self, env: &mut Env, scratch: &mut [u8]) -> Result<(), Reason> {
        match self.transport.read(scratch) {
            Ok(0) => {
                self.readable = false;
                self.channel.end(env);
            }
            Ok(count) => {
                // A short read means that the socket is drained: no second one to hear EAGAIN. Only
                // the peer's end is still to be read.
                self.readable = count == scratch.len() || self.hung_up;
                self.channel.receive(env, &mut scratch[..count]);
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => self.readable = false,
                io::ErrorKind::Interrupted => {}
                _ => return Err(Reason::Lost(error)),
            },
        }
        Ok(())
    }

    /// Produces and writes by turns. Says whether more could be written at once.
    fn write(&mut self, env: &mut Env) -> Result<bool, Reason> {
        let mut budget = WRITTEN_PER_STEP;
        loop {
            let more = match self.writable {
                true => self.channel.pump().map_err(Reason::Failed)?,
                false => false,
            };
            self.submit_deferred(env);
            if !self.channel.has_output() || !self.writable {
                return Ok(false);
            }
            let Some(outbox) = self.channel.outbox() else { return Ok(false) };
            let wrote = self.transport.write(outbox, budget).map_err(Reason::Lost)?;
            let empty = outbox.is_empty();
            self.channel.wrote(env, wrote.bytes);
            self.writable = !wrote.blocked;
            budget = budget.saturating_sub(wrote.bytes);
            if !empty {
                return Ok(!wrote.blocked);
            }
            if !more {
                let drained = self.channel.is_drained();
                self.channel.settle(env);
                if drained {
                    self.channel.drained(env);
                }
                // What the session has sent since is written in the same step.
                if !self.channel.has_output() {
                    return Ok(false);
                }
            }
            if budget == 0 {
                return Ok(true);
            }
        }
    }

    fn submit_deferred(&mut self, env: &mut Env) {
        let Some(job) = self.channel.take_deferred() else { return };
        let (token, mailbox) = (self.channel.token(), Arc::clone(&env.mailbox));
        let woken = Box::new(move || {
            // The wake must come even if the job panics: its producer then fails.
            struct Wake(u64, Arc<crate::mailbox::Mailbox>);
            impl Drop for Wake {
                fn drop(&mut self) {
                    self.1.post(crate::mailbox::Message::Wake(self.0));
                }
            }
            let _wake = Wake(token, mailbox);
            job();
        });
        if let Err((_, job)) = env.pool.submit(woken) {
            self.channel.put_back(job);
        }
    }

    /// Everything owed is sent: ends our side, and waits a while for the peer's so that no reset
    /// destroys our last reply (RFC 9112 §9.6).
    fn close(&mut self, env: &mut Env, scratch: &mut [u8]) -> Result<Step, Reason> {
        if self.channel.peer_has_ended() || self.transport.shut_down().is_err() {
            return Err(Reason::Closed);
        }
        self.channel.linger(env);
        self.discard(scratch)
    }

    fn discard(&mut self, scratch: &mut [u8]) -> Result<Step, Reason> {
        if !self.readable {
            return Ok(Step::Idle);
        }
        match self.transport.read(scratch) {
            Ok(0) => Err(Reason::Closed),
            Ok(count) => {
                if self.channel.discard(count) {
                    return Err(Reason::Closed);
                }
                self.readable = count == scratch.len() || self.hung_up;
                Ok(if self.readable { Step::Again } else { Step::Idle })
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    Ok(Step::Idle)
                }
                io::ErrorKind::Interrupted => Ok(Step::Again),
                _ => Err(Reason::Closed),
            },
        }
    }

    /// Runs what is due.
    pub(super) fn lapse(&mut self, env: &mut Env, scratch: &mut [u8]) -> Step {
        let transport = &self.transport;
        match self.channel.lapse(env, || transport.unsent()) {
            Lapse::Step => self.step(env, scratch),
            Lapse::Cut(Deadline::Handshake) => {
                Step::Ended(Reason::Unreachable(io::ErrorKind::TimedOut.into()))
            }
            Lapse::Cut(deadline) => Step::Ended(Reason::TimedOut(deadline)),
            Lapse::Lingered => Step::Ended(Reason::Closed),
        }
    }

    /// Closes the socket, uncounts the connection and says goodbye to the session.
    pub(super) fn part(self, reason: Reason) {
        let Connection { transport, channel, census, .. } = self;
        drop(transport);
        if let Some(census) = census {
            census.left(channel.peer().remote.ip(), &channel.limits());
        }
        let goodbye = Goodbye { reason, received: channel.received, sent: channel.sent };
        channel.into_session().closed(&goodbye);
    }
}
