//! Sessions tested without a socket: a scripted [`Client`], a linked [`Pair`], [`Faults`] and a clock
//! that moves only when it is told to; and [`Datagrams`] for datagram services.
//!
//! Everything here is deterministic and runs in one thread. Offloaded work waits until
//! [`Client::run_jobs`], time stands still until [`Client::advance`].

mod datagrams;
mod faults;
mod line;
mod mutate;
mod pair;
mod secured;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub use datagrams::{Datagrams, Sent};
pub use faults::Faults;
pub use mutate::mutated;
pub use pair::Pair;
pub use secured::SecuredStream;

use self::line::Line;
use crate::channel::Channel;
use crate::env::Env;
use crate::limits::Limits;
use crate::mailbox::{Address, Mailbox, Message, Note, Remote};
use crate::offload::Pool;
use crate::service::{Endpoint, Peer};
use crate::session::{Command, Reason, Session};
use crate::shard::connection::{Connection, Step};
use crate::target::Securing;
use crate::tls::Facts;
use crate::transport::{Carrier, SCRATCH};

/// Steps a client may take on one call: more means that a session spins.
const STEPS: usize = 1_000_000;

/// A peer of one session, and what a shard would do for it: the same connection takes the same steps, over
/// a network of the test's own.
pub struct Client {
    connection: Option<Box<Connection<Line>>>,
    line: Line,
    env: Env,
    scratch: Vec<u8>,
    limits: Arc<Limits>,
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
            Command::Connect { id, target, session, .. } => match target.secure {
                Securing::AsServer => Asked::ConnectAsTlsServer(id, target.address, session),
                _ => Asked::Connect(id, target.address, session),
            },
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
        let line = Line::new(faults);
        let mut connection = Box::new(Connection::new(line.clone(), channel, None));
        let opened = connection.accepted(&mut env, false);
        debug_assert!(opened.is_ok(), "without TLS nothing can go wrong");
        let mut client = Client {
            connection: Some(connection),
            line,
            env,
            scratch: vec![0; SCRATCH],
            limits,
            goodbye: None,
            messages: Vec::new(),
            commands: Vec::new(),
        };
        client.run();
        client
    }

    // ---- what the peer does ------------------------------------------------------------------

    /// Sends bytes. They are lost where the connection has ended.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        if self.connection.is_some() {
            self.line.send(bytes.as_ref());
        }
        self.woken(true, false)
    }

    /// Sends no more (a TCP half-close).
    pub fn end(&mut self) -> &mut Self {
        self.line.end(false);
        self.woken(true, false)
    }

    /// Sends no more over TLS, without saying so (a truncation).
    pub fn truncate(&mut self) -> &mut Self {
        self.line.end(true);
        self.woken(true, false)
    }

    /// Whether the session has asked for TLS and awaits the handshake.
    pub fn awaits_tls(&self) -> bool {
        self.line.is_handshaking()
    }

    /// Plays a handshake that ends well. What the peer had sent in plaintext behind the session's wish
    /// is thrown away, as on a shard.
    pub fn secure(&mut self, facts: Facts) -> &mut Self {
        assert!(self.awaits_tls(), "the session has not asked for TLS");
        self.line.agree(facts);
        self.woken(true, false)
    }

    /// Takes no more output until [`unstall`](Self::unstall).
    pub fn stall(&mut self) -> &mut Self {
        self.line.stall(true);
        self
    }

    /// Takes output again.
    pub fn unstall(&mut self) -> &mut Self {
        self.line.stall(false);
        self.woken(false, true)
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
        while let Some(connection) = &mut self.connection
            && let Some(at) = connection.channel.deadline()
            && self.env.epoch + Duration::from_millis(at) <= end
        {
            let due = self.env.epoch + Duration::from_millis(at);
            self.set_time(due.max(self.env.now));
            let Some(connection) = &mut self.connection else { break };
            let step = connection.lapse(&mut self.env, &mut self.scratch);
            self.settle(step);
            self.run();
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

    /// Leaves no room in the offload pool until [`run_jobs`](Self::run_jobs), which makes it anew.
    pub fn fill_pool(&mut self) -> &mut Self {
        self.env.pool.fill();
        self
    }

    /// Sends the session a note.
    pub fn notify(&mut self, message: impl Any + Send) -> &mut Self {
        self.with_channel(|channel, env| channel.notify(env, Note::new(message)));
        self.run();
        self
    }

    /// The server begins to shut down.
    pub fn drain(&mut self) -> &mut Self {
        self.env.draining = true;
        self.with_channel(Channel::drain);
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
        self.line.take_output()
    }

    /// Takes what has come out so far, as text.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(&self.output()).into_owned()
    }

    /// Bytes made for the peer that it hasn't taken.
    pub fn unsent_bytes(&mut self) -> u64 {
        match &mut self.connection {
            Some(connection) => connection.channel.outbox(&mut self.env).len(),
            None => 0,
        }
    }

    /// Bytes sent to the session that it hasn't read.
    pub fn unread_bytes(&self) -> usize {
        self.line.unread()
    }

    /// Whether the server has closed its side.
    pub fn is_closed(&self) -> bool {
        self.connection.as_ref().is_none_or(|connection| connection.channel.is_lingering())
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
        let token = self.connection.as_ref()?.channel.token();
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
        self.env.set_now(now);
    }

    fn woken(&mut self, readable: bool, writable: bool) -> &mut Self {
        if let Some(connection) = &mut self.connection {
            connection.wake(readable, writable);
        }
        self.run();
        self
    }

    fn with_channel(&mut self, callback: impl FnOnce(&mut Channel, &mut Env)) {
        if let Some(connection) = &mut self.connection {
            callback(&mut connection.channel, &mut self.env);
        }
    }

    /// Steps until there is nothing more to do.
    fn run(&mut self) {
        for _ in 0..STEPS {
            self.deliver_messages();
            let Some(connection) = &mut self.connection else { return };
            let step = connection.step(&mut self.env, &mut self.scratch);
            if !(self.settle(step) | self.env.mailbox.is_filled()) {
                return;
            }
        }
        panic!("the session made {STEPS} steps without coming to rest");
    }

    fn deliver_messages(&mut self) {
        self.env.mailbox.take(&mut self.messages);
        for message in std::mem::take(&mut self.messages) {
            match message {
                Message::Wake(_) => self.with_channel(|channel, _| channel.wake()),
                Message::Note(_, note) => {
                    self.with_channel(|channel, env| channel.notify(env, note));
                }
                Message::Resume(_, then) => {
                    self.with_channel(|channel, env| channel.resume(env, then));
                }
                Message::Abort(_) => self.part(Reason::Panicked),
                Message::ResumeDatagrams(..)
                | Message::Control(_)
                | Message::Change(..)
                | Message::Settle { .. } => {}
            }
        }
    }

    /// What follows from a step. Says whether another is owed.
    fn settle(&mut self, step: Step) -> bool {
        self.commands.extend(self.env.commands.drain(..).filter_map(Asked::of));
        let reset = || std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        match step {
            Step::Ended(reason) => self.part(reason),
            _ if self.line.is_reset() => self.part(Reason::Lost(reset())),
            Step::Again => return true,
            Step::Idle => {}
        }
        false
    }

    fn part(&mut self, reason: Reason) {
        if let Some(connection) = self.connection.take() {
            self.line.drop_unread();
            let mut goodbye = connection.part(reason);
            let reason = std::mem::replace(&mut goodbye.reason, Reason::Closed);
            self.goodbye = Some(reason);
            let notes = goodbye.into_notes().into_iter();
            self.commands.extend(notes.map(|(to, note)| Asked::Notify(to, note)));
        }
    }
}
