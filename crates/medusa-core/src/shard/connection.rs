//! A connection on a shard: its transport and its channel, and what one step of it is.
//!
//! A step is bounded: one read, so many frames, so many bytes written. It says whether another is owed.

use std::io;
use std::sync::Arc;

use mio::event::Event;

use crate::channel::{Channel, Lapse};
use crate::env::Env;
use crate::limits::{By, Census};
use crate::offload::{Lane, Returned};
use crate::service::Endpoint;
use crate::session::{Deadline, Goodbye, Reason};
use crate::timer::Millis;
use crate::tls::{Secure, ServerTls};
use crate::transport::{Carrier, Intake, Transport, TransportError};

/// Bytes written in one step, so that a fast reader of a large file doesn't keep others waiting.
/// nginx's sendfile_max_chunk is 2 MiB.
const WRITTEN_PER_STEP: u64 = 2 << 20;

/// What asking a producer counts for at least, so that one that makes little of much (a compressor of
/// zeros) doesn't keep others waiting either.
const PRODUCE_COST: u64 = 64 << 10;

/// What a step came to.
pub(crate) enum Step {
    /// Progress was made, and more can be made now.
    Again,
    /// Nothing more can be done until an event, a wake or a timer.
    Idle,
    Ended(Reason),
}

pub(crate) struct Connection<T = Transport> {
    transport: T,
    pub(crate) channel: Channel,
    /// Whether it is in the shard's queue.
    pub(crate) queued: bool,
    /// Whether it is among those whose work waits for room in the offload pool.
    pub(crate) awaits_pool: bool,
    readable: bool,
    writable: bool,
    /// The peer has ended: a short read is not the last one.
    hung_up: bool,
    /// Both directions have ended or the peer has reset it.
    broken: bool,
    /// An outbound connection that doesn't stand yet.
    connecting: bool,
    handshaking: bool,
    /// What TLS begins with when its time has come: at once, or when the session asks for it.
    secure: Option<Secure>,
    /// The earliest entry of this connection in the shard's timers.
    pub(crate) wakes_at: Option<Millis>,
    census: Option<(By, Arc<Census>)>,
}

/// There is one for each idle peer; beyond 408 octets the allocator would give it 16 more.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Connection>() <= 408);

impl Connection {
    /// Folds an event into the sticky flags. Says whether the connection must be queued.
    pub(crate) fn fold(&mut self, event: &Event) -> bool {
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
        self.hung_up |= event.is_read_closed() || event.is_error();
        self.broken |= event.is_write_closed() || event.is_error();
        !std::mem::replace(&mut self.queued, true)
    }
}

impl<T: Carrier> Connection<T> {
    pub(crate) fn new(transport: T, channel: Channel, secure: Option<Secure>) -> Self {
        Connection {
            transport,
            channel,
            queued: false,
            awaits_pool: false,
            readable: false,
            // A fresh socket takes bytes; trying costs nothing that an event wouldn't.
            writable: true,
            hung_up: false,
            broken: false,
            connecting: false,
            handshaking: false,
            secure,
            wakes_at: None,
            census: None,
        }
    }

    /// Has the connection uncounted when it ends.
    pub(crate) fn counted(mut self, census: Option<(By, Arc<Census>)>) -> Self {
        if let Some((By::Private, _)) = census {
            self.channel.becomes_own();
        }
        self.census = census;
        self
    }

    /// Makes it an outbound connection that is to stand by `until`.
    pub(crate) fn connecting(mut self, until: Option<Millis>) -> Self {
        self.connecting = true;
        self.channel.becomes_own();
        self.writable = false;
        if let Some(until) = until {
            self.channel.stand_by(until);
        }
        self
    }

    /// Opens an accepted connection, or begins its handshake.
    pub(crate) fn accepted(&mut self, env: &mut Env, secured: bool) -> Result<(), Reason> {
        match secured {
            true => self.begin_tls(env),
            false => {
                self.channel.open(env);
                Ok(())
            }
        }
    }

    /// What private listeners of this connection secure themselves with.
    pub(crate) fn tls(&self) -> Option<Arc<ServerTls>> {
        match &self.secure {
            Some(Secure::Server(server)) => Some(Arc::clone(server)),
            _ => None,
        }
    }

    /// Where what this connection's listeners take is counted.
    pub(crate) fn census(&self) -> Option<Arc<Census>> {
        self.census.as_ref().map(|(_, census)| Arc::clone(census))
    }

    pub(crate) fn remote(&self) -> Endpoint {
        self.channel.peer().remote
    }

    pub(crate) fn step(&mut self, env: &mut Env, scratch: &mut [u8]) -> Step {
        match self.try_step(env, scratch) {
            Ok(step) => step,
            Err(reason) => Step::Ended(reason),
        }
    }

    fn try_step(&mut self, env: &mut Env, scratch: &mut [u8]) -> Result<Step, Reason> {
        if self.connecting {
            // It may be given up before it stands.
            if self.channel.is_aborted() {
                return Err(Reason::Aborted);
            }
            if self.channel.is_finished() {
                return Err(Reason::Closed);
            }
            if !self.writable {
                return Ok(Step::Idle);
            }
            self.transport.take_error().map_err(Reason::Unreachable)?;
            self.connecting = false;
            self.channel.stands();
            match self.secure {
                Some(_) => self.begin_tls(env)?,
                None => self.channel.open(env),
            }
        }
        if self.channel.is_lingering() {
            return self.discard(scratch);
        }
        if self.broken && !self.wants_input() && !self.channel.is_paused() {
            // Nobody is left to answer, and nothing would be read that says so. A session that is paused
            // may still have input of such a peer in the kernel.
            let error = self.transport.take_error().err();
            return Err(Reason::Lost(error.unwrap_or(io::ErrorKind::ConnectionReset.into())));
        }
        if self.channel.has_frames() {
            self.channel.cut_buffered(env);
        }
        if self.readable && self.wants_input() {
            self.read(env, scratch)?;
        }
        let unfinished = self.write(env)?;
        if self.channel.is_securing() && self.is_drained() && !self.handshaking {
            if let Some(secure) = self.channel.take_securing() {
                self.secure = Some(secure);
            }
            self.begin_tls(env)?;
            self.write(env)?;
        }
        self.channel.mind_the_time(env, self.transport.has_pending());
        if self.channel.is_aborted() {
            return Err(Reason::Aborted);
        }
        if self.channel.is_finished() && !self.transport.has_pending() {
            return self.close(env, scratch);
        }
        let readable = self.readable && self.wants_input();
        let again = unfinished || readable || self.channel.has_frames();
        Ok(if again { Step::Again } else { Step::Idle })
    }

    fn wants_input(&self) -> bool {
        self.handshaking || self.channel.wants_input()
    }

    fn is_drained(&self) -> bool {
        self.channel.is_drained() && !self.transport.has_pending()
    }

    fn begin_tls(&mut self, env: &mut Env) -> Result<(), Reason> {
        self.transport.secure(self.secure.as_ref()).map_err(Reason::Insecure)?;
        self.handshaking = true;
        self.channel.begin_handshake(env);
        Ok(())
    }

    fn read(&mut self, env: &mut Env, scratch: &mut [u8]) -> Result<(), Reason> {
        let room = if self.handshaking { None } else { self.channel.room() };
        let filled = room.and_then(|room| self.transport.read_into(room));
        let in_room = filled.is_some();
        let read = match filled {
            Some(filled) => filled.map_err(TransportError::Io),
            None => self.transport.read(scratch),
        };
        let intake = match read {
            Ok(intake) => intake,
            Err(TransportError::Tls(error)) => return Err(Reason::Insecure(error)),
            Err(TransportError::Io(error)) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    return Ok(());
                }
                io::ErrorKind::Interrupted => return Ok(()),
                _ => return Err(Reason::Lost(error)),
            },
        };
        if self.handshaking {
            if let Intake::Ended { .. } = intake {
                return Err(Reason::Lost(io::ErrorKind::UnexpectedEof.into()));
            }
            if !self.transport.is_handshaking() {
                self.handshaking = false;
                self.channel.secured(env, self.transport.facts().unwrap_or_default());
            }
        }
        match intake {
            Intake::Ended { truncated } => {
                self.readable = false;
                self.channel.end(env, truncated);
            }
            Intake::Bytes { count, drained } => {
                // A short read means that the socket is drained: no second one to hear EAGAIN. Only
                // the peer's end is still to be read.
                self.readable = !drained || self.hung_up;
                match count {
                    0 => {}
                    _ if in_room => self.channel.filled(env, count),
                    _ => self.channel.receive(env, &mut scratch[..count]),
                }
            }
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
            if !self.writable {
                return Ok(false);
            }
            if !(self.channel.has_output() || self.transport.has_pending()) {
                // A producer that has made nothing so far goes on in the next step; what has ended without
                // an octet is told of.
                budget = budget.saturating_sub(PRODUCE_COST);
                if more || budget == 0 || !self.channel.drained(env) {
                    return Ok(more || budget == 0);
                }
                continue;
            }
            let last = self.channel.is_ending();
            let outbox = self.channel.outbox(env);
            let wrote = self.transport.write(outbox, budget, last).map_err(Reason::Lost)?;
            let empty = outbox.is_empty();
            self.channel.wrote(env, wrote.bytes);
            self.writable = !wrote.blocked;
            budget = budget.saturating_sub(wrote.bytes.max(PRODUCE_COST));
            if !empty || wrote.blocked {
                return Ok(!wrote.blocked && !self.handshaking);
            }
            if !more {
                let drained = !self.transport.has_pending() && self.channel.drained(env);
                self.channel.settle(env);
                // What the session has sent since is made and written in the same step.
                if self.channel.is_drained() || !drained {
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
        let submitted = env.pool.submit_made(Lane::Waiting, job, |job| {
            Box::new(move || {
                // The wake must come even if the job panics: its producer then fails.
                struct Wake(u64, Arc<crate::mailbox::Mailbox>);
                impl Drop for Wake {
                    fn drop(&mut self) {
                        self.1.post(crate::mailbox::Message::Wake(self.0));
                    }
                }
                let _wake = Wake(token, mailbox);
                job();
            })
        });
        if let Err(Returned(job)) = submitted {
            self.channel.put_back(job);
        }
    }

    /// Everything owed is sent: ends our side, and waits a while for the peer's so that no reset
    /// destroys our last reply (RFC 9112 §9.6).
    fn close(&mut self, env: &mut Env, scratch: &mut [u8]) -> Result<Step, Reason> {
        // Where nothing is unread, close(2) itself ends our side in order: a reset would destroy what the peer
        // hasn't taken yet (RFC 2525 §2.17).
        let is_plain = !self.handshaking && self.channel.peer().tls.is_none();
        let nothing_is_unread = self.channel.peer_has_ended()
            || self.channel.is_unheard()
                && is_plain
                && !matches!(self.transport.read(scratch), Ok(Intake::Bytes { .. }));
        if is_plain && nothing_is_unread {
            return Err(Reason::Closed);
        }
        // Also to a peer that has ended: over TLS it waits for our close_notify (RFC 8446 §6.1).
        let shut_down = self.transport.shut_down();
        if self.channel.peer_has_ended() || shut_down.is_err() {
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
            Ok(Intake::Bytes { count, drained }) => {
                // Even what decrypts to nothing counts.
                if self.channel.discard(count.max(1)) {
                    return Err(Reason::Closed);
                }
                self.readable = !drained || self.hung_up;
                Ok(if self.readable { Step::Again } else { Step::Idle })
            }
            Err(TransportError::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(Step::Idle)
            }
            _ => Err(Reason::Closed),
        }
    }

    /// Runs what is due.
    pub(crate) fn lapse(&mut self, env: &mut Env, scratch: &mut [u8]) -> Step {
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

    /// Something can be read, or written again.
    #[cfg(feature = "testing")]
    pub(crate) fn wake(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    /// Closes the socket, uncounts the connection and says goodbye to the session.
    pub(crate) fn part(self, reason: Reason) -> Goodbye {
        let Connection { transport, channel, census, .. } = self;
        // What isn't whole must not look whole: a reset, and no clean end. What a session that panicked had
        // sent is lost with it.
        let whole =
            channel.is_drained() && !transport.has_pending() && !matches!(reason, Reason::Panicked);
        if !(whole || matches!(reason, Reason::Closed)) {
            transport.reset();
        }
        drop(transport);
        if let Some((by, census)) = census {
            let octets = (channel.received, channel.sent);
            census.left(by, channel.peer().remote.ip(), &channel.limits(), octets);
        }
        let goodbye = Goodbye::new(reason, channel.received, channel.sent);
        channel.into_session().closed(&goodbye);
        goodbye
    }
}
