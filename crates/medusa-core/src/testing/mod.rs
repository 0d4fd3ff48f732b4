//! Sessions tested without a socket: a scripted [`Client`], a linked [`Pair`], [`Faults`] and a clock
//! that moves only when it is told to; and [`Datagrams`] for datagram services.
//!
//! Everything here is deterministic and runs in one thread. Offloaded work waits until
//! [`Client::run_jobs`], time stands still until [`Client::advance`].

mod datagrams;
mod faults;
mod pair;
mod secured;

use std::any::Any;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use datagrams::{Datagrams, Sent};
pub use faults::Faults;
pub use pair::Pair;
pub use secured::SecuredStream;

use crate::channel::{Channel, Lapse};
use crate::env::Env;
use crate::limits::Limits;
use crate::mailbox::{Address, Mailbox, Message, Note, Remote};
use crate::offload::Pool;
use crate::outbox::Outbox;
use crate::service::{Endpoint, Peer};
use crate::session::{Command, Goodbye, Reason, Session};
use crate::tls::Facts;

/// Steps a client may take on one call: more means that a session spins.
const STEPS: usize = 1_000_000;

/// A peer of one session, and the loop that would drive it.
pub struct Client {
    channel: Option<Channel>,
    env: Env,
    limits: Arc<Limits>,
    faults: Faults,
    /// Bytes that the peer has sent and the channel has not read.
    wire: Vec<u8>,
    ended: bool,
    truncated: bool,
    /// The peer takes nothing.
    stalled: bool,
    output: Vec<u8>,
    goodbye: Option<Reason>,
    messages: Vec<Message>,
    commands: Vec<Asked>,
}

/// What a session asked of its shard; a test plays the shard.
#[non_exhaustive]
pub enum Asked {
    /// A note to another session.
    Notify(Address, Note),
    /// An outbound connection.
    Connect(Address, SocketAddr, Box<dyn Session>),
    /// An outbound connection that has TLS from the first octet, with the session's end as the server.
    ConnectAsTlsServer(Address, SocketAddr, Box<dyn Session>),
    /// A private listener, and whether it speaks TLS from the first octet.
    Listen(Address, Vec<SocketAddr>, Box<dyn crate::Acceptor>, bool),
    /// The end of a private listener.
    Unlisten(Address),
    /// A datagram service of the session's own.
    OpenDatagrams(Address, Box<dyn crate::DatagramService>),
}

impl Asked {
    fn of(command: Command) -> Option<Self> {
        Some(match command {
            Command::Notify { to, note } => Asked::Notify(to, note),
            Command::Connect { id, target, session, secure: Some(None), .. } => {
                Asked::ConnectAsTlsServer(id, target, session)
            }
            Command::Connect { id, target, session, .. } => Asked::Connect(id, target, session),
            Command::Listen { id, bind, acceptor, secured, .. } => {
                Asked::Listen(id, bind, acceptor, secured)
            }
            Command::Unlisten(id) => Asked::Unlisten(id),
            Command::OpenDatagrams { id, service, .. } => Asked::OpenDatagrams(id, service),
            // Sockets are a datagram service's own.
            Command::OpenSocket { .. } | Command::CloseSocket(_) => return None,
        })
    }
}

impl Client {
    /// Connects to `session` with default limits.
    pub fn new(session: impl Session) -> Self {
        Self::with(Box::new(session), Limits::default(), Faults::none())
    }

    /// Connects to `session` with limits and faults.
    pub fn with(session: Box<dyn Session>, limits: Limits, faults: Faults) -> Self {
        let loopback = |port| Endpoint::Inet(SocketAddr::from(([127, 0, 0, 1], port)));
        Self::from_peer(session, Peer::new(loopback(40_000), loopback(80)), limits, faults)
    }

    /// Connects to `session` as `peer`.
    pub fn from_peer(
        session: Box<dyn Session>,
        peer: Peer,
        limits: Limits,
        faults: Faults,
    ) -> Self {
        let pool = Arc::new(Pool::manual(1024));
        // 2001-09-09T01:46:40Z: a wall clock that is the same in every run.
        let wall_clock = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let mailbox = Arc::new(Mailbox::new(|| {}));
        let mut env = Env::new(0, Instant::now(), wall_clock, mailbox, pool);
        let limits = Arc::new(limits);
        let token = env.allocate().token;
        let channel = Channel::new(session, peer, token, Arc::clone(&limits), 0);
        let mut client = Client {
            channel: Some(channel),
            env,
            limits,
            faults,
            wire: Vec::new(),
            ended: false,
            truncated: false,
            stalled: false,
            output: Vec::new(),
            goodbye: None,
            messages: Vec::new(),
            commands: Vec::new(),
        };
        if let Some(channel) = &mut client.channel {
            channel.open(&mut client.env);
        }
        client.run();
        client
    }

    // ---- what the peer does ------------------------------------------------------------------

    /// Sends bytes.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.wire.extend_from_slice(bytes.as_ref());
        self.run();
        self
    }

    /// Sends no more (a TCP half-close).
    pub fn end(&mut self) -> &mut Self {
        self.ended = true;
        self.run();
        self
    }

    /// Sends no more over TLS, without saying so (a truncation).
    pub fn truncate(&mut self) -> &mut Self {
        self.truncated = true;
        self.end()
    }

    /// Whether the session has asked for TLS and awaits the handshake.
    pub fn awaits_tls(&self) -> bool {
        self.channel.as_ref().is_some_and(|channel| channel.is_securing() && channel.is_drained())
    }

    /// Plays a handshake that ends well. What the peer had sent in plaintext behind the session's wish
    /// is thrown away, as on a shard.
    pub fn secure(&mut self, facts: Facts) -> &mut Self {
        assert!(self.awaits_tls(), "the session has not asked for TLS");
        if let Some(channel) = &mut self.channel {
            channel.begin_handshake(&mut self.env);
            channel.secured(&mut self.env, facts);
        }
        self.run();
        self
    }

    /// Takes no more output until [`unstall`](Self::unstall).
    pub fn stall(&mut self) -> &mut Self {
        self.stalled = true;
        self
    }

    /// Takes output again.
    pub fn unstall(&mut self) -> &mut Self {
        self.stalled = false;
        self.run();
        self
    }

    /// Resets the connection.
    pub fn reset(&mut self) -> &mut Self {
        self.part(Reason::Lost(std::io::ErrorKind::ConnectionReset.into()));
        self
    }

    // ---- what else happens -------------------------------------------------------------------

    /// Lets time pass, and all that falls due in it happen in order.
    pub fn advance(&mut self, by: Duration) -> &mut Self {
        let end = self.env.now + by;
        while let Some(channel) = &mut self.channel
            && let Some(at) = channel.deadline()
            && self.env.epoch + Duration::from_millis(at) <= end
        {
            let due = self.env.epoch + Duration::from_millis(at);
            self.set_time(due.max(self.env.now));
            let Some(channel) = &mut self.channel else { break };
            match channel.lapse(&mut self.env, || 0) {
                Lapse::Step => self.run(),
                Lapse::Cut(deadline) => self.part(Reason::TimedOut(deadline)),
                Lapse::Lingered => self.part(Reason::Closed),
            }
        }
        self.set_time(end);
        self
    }

    /// Runs all offloaded work, and what follows from it.
    pub fn run_jobs(&mut self) -> &mut Self {
        while self.env.pool.run_one() {
            self.run();
        }
        self
    }

    /// Sends the session a note.
    pub fn notify(&mut self, message: impl Any + Send) -> &mut Self {
        if let Some(channel) = &mut self.channel {
            channel.notify(&mut self.env, Note::new(message));
        }
        self.run();
        self
    }

    /// The server begins to shut down.
    pub fn drain(&mut self) -> &mut Self {
        self.env.draining = true;
        if let Some(channel) = &mut self.channel {
            channel.drain(&mut self.env);
        }
        self.run();
        self
    }

    /// Delivers what has come through [`Remote`] handles.
    pub fn deliver(&mut self) -> &mut Self {
        self.run();
        self
    }

    // ---- what is seen ------------------------------------------------------------------------

    /// Takes what has come out so far.
    pub fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }

    /// Takes what has come out so far, as text.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.output()).into_owned()
    }

    /// Bytes made for the peer that it hasn't taken.
    pub fn unsent_bytes(&mut self) -> u64 {
        match &mut self.channel {
            Some(channel) => channel.outbox(&mut self.env).len(),
            None => 0,
        }
    }

    /// Bytes sent to the session that it hasn't read.
    pub fn unread_bytes(&self) -> usize {
        self.wire.len()
    }

    /// Whether the server has closed its side.
    pub fn is_closed(&self) -> bool {
        self.channel.as_ref().is_none_or(Channel::is_lingering)
    }

    /// Why the connection ended, once it has.
    pub fn ended_by(&self) -> Option<&Reason> {
        self.goodbye.as_ref()
    }

    /// What the session has asked of its shard.
    pub fn asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.commands)
    }

    /// The connection's handle.
    pub fn remote(&self) -> Option<Remote> {
        let token = self.channel.as_ref()?.token();
        let address = Address { shard: 0, token };
        Some(Remote { address, mailbox: Arc::clone(&self.env.mailbox) })
    }

    /// The limits that hold.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    // ---- the loop ----------------------------------------------------------------------------

    fn set_time(&mut self, now: Instant) {
        self.env.wall_clock += now - self.env.now;
        self.env.now = now;
    }

    pub(super) fn run(&mut self) {
        for _ in 0..STEPS {
            if !(self.deliver_messages() | self.step()) {
                return;
            }
        }
        panic!("the session made {STEPS} steps without coming to rest");
    }

    fn deliver_messages(&mut self) -> bool {
        self.env.mailbox.take(&mut self.messages);
        let any = !self.messages.is_empty();
        for message in std::mem::take(&mut self.messages) {
            let Some(channel) = &mut self.channel else { continue };
            match message {
                Message::Wake(_) => channel.wake(),
                Message::Note(_, note) => channel.notify(&mut self.env, note),
                Message::Resume(_, then) => channel.resume(&mut self.env, then),
                Message::Abort(_) => self.part(Reason::Panicked),
                Message::ResumeDatagrams(..) | Message::Control(_) => {}
            }
        }
        any
    }

    /// One step, as a shard would take it. Says whether anything happened.
    fn step(&mut self) -> bool {
        let Some(channel) = &mut self.channel else { return false };
        let mut progress = false;
        if channel.is_lingering() {
            self.wire.clear();
            if self.ended {
                self.part(Reason::Closed);
            }
            return false;
        }
        if channel.has_frames() {
            channel.cut_buffered(&mut self.env);
            progress = true;
        }
        if channel.wants_input() && !self.wire.is_empty() {
            let count = self.faults.read_size(self.wire.len());
            let mut bytes: Vec<u8> = self.wire.drain(..count).collect();
            channel.receive(&mut self.env, &mut bytes);
            progress = true;
        } else if channel.wants_input() && self.ended {
            channel.end(&mut self.env, self.truncated);
            progress = true;
        }
        let more = match channel.pump() {
            Ok(more) => more,
            Err(error) => {
                self.part(Reason::Failed(error));
                return true;
            }
        };
        if let Some(job) = channel.take_deferred() {
            // As on a shard, a wake follows the work.
            let (token, mailbox) = (channel.token(), Arc::clone(&self.env.mailbox));
            let woken = Box::new(move || {
                job();
                mailbox.post(Message::Wake(token));
            });
            if let Err((_, job)) = self.env.pool.submit(woken) {
                channel.put_back(job);
            }
        }
        let before = self.output.len();
        if !self.stalled && channel.has_output() {
            let outbox = channel.outbox(&mut self.env);
            let count = self.faults.write_size(outbox.len());
            take(outbox, count, &mut self.output);
            progress = true;
            let taken = (self.output.len() - before) as u64;
            let empty = outbox.is_empty();
            channel.wrote(&self.env, taken);
            progress |= empty;
        }
        if !self.stalled && !more {
            progress |= channel.drained(&mut self.env);
        }
        channel.settle(&mut self.env);
        channel.mind_the_time(&self.env, false);
        progress |= more && !self.stalled;
        if channel.is_aborted() {
            self.part(Reason::Aborted);
        } else if self.faults.resets(self.output.len()) {
            self.part(Reason::Lost(std::io::ErrorKind::ConnectionReset.into()));
        } else if channel.is_finished() {
            if self.ended {
                self.part(Reason::Closed);
            } else {
                channel.linger(&self.env);
                self.wire.clear();
            }
        }
        self.record();
        progress
    }

    fn record(&mut self) {
        self.commands.extend(self.env.commands.drain(..).filter_map(Asked::of));
    }

    fn part(&mut self, reason: Reason) {
        if let Some(channel) = self.channel.take() {
            let goodbye = Goodbye { reason, received: channel.received, sent: channel.sent };
            channel.into_session().closed(&goodbye);
            self.goodbye = Some(goodbye.reason);
        }
    }
}

/// Takes `count` bytes out of an outbox, those of files too.
fn take(outbox: &mut Outbox, count: u64, into: &mut Vec<u8>) {
    let mut left = count;
    loop {
        if let Some((file, offset, length)) = outbox.front_file() {
            let mut bytes = vec![0; length.min(left) as usize];
            file.read_exact_at(&mut bytes, offset).expect("a file segment can be read");
            into.extend_from_slice(&bytes);
            left -= bytes.len() as u64;
            outbox.advance(bytes.len() as u64);
        } else {
            let front = outbox.front();
            let step = (front.len() as u64).min(left) as usize;
            into.extend_from_slice(&front[..step]);
            left -= step as u64;
            outbox.advance(step as u64);
            if step == 0 {
                return;
            }
        }
        if left == 0 {
            return;
        }
    }
}
