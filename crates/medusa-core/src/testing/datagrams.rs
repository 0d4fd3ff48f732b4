//! A datagram service tested without a socket: [`Datagrams`] hands it what a test says has come, and keeps
//! what it sends.
//!
//! It does what the kernel would: datagrams are cut to what the service takes, connected sockets hear
//! nobody but their peer, and closed ones nothing. Nothing is lost on the way, unless the test loses it.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::Asked;
use crate::datagram::{
    ClientSocket, Datagram, DatagramCx, DatagramService, Failure, Letter, Outgoing, Sender,
    SocketId,
};
use crate::desk::Desk;
use crate::env::Env;
use crate::limits::Limits;
use crate::mailbox::{Mailbox, Message, Note, Remote};
use crate::metrics::DatagramCounts;
use crate::offload::Pool;
use crate::peer_rates::PeerRates;
use crate::session::Command;

/// A datagram service, and the shard that would drive it.
pub struct Datagrams {
    desk: Option<Desk>,
    env: Env,
    outgoing: Outgoing,
    messages: Vec<Message>,
    clients: Vec<(SocketId, ClientSocket)>,
    sent: Vec<Sent>,
    asked: Vec<Asked>,
    counts: Arc<DatagramCounts>,
}

/// A datagram that a service has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// By which socket.
    pub socket: SocketId,
    /// From which address, where the service has named one: an answer leaves from where the question came.
    pub from: Option<SocketAddr>,
    /// To whom; for a connected socket, to its peer.
    pub to: SocketAddr,
    /// What it holds.
    pub bytes: Vec<u8>,
}

impl Sent {
    /// What it holds, as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Datagrams {
    /// A service that listens at 127.0.0.1, port 53.
    pub fn new(service: impl DatagramService) -> Self {
        Self::at(Box::new(service), &[SocketAddr::from(([127, 0, 0, 1], 53))])
    }

    /// A service that listens at some addresses, or at none.
    pub fn at(service: Box<dyn DatagramService>, listeners: &[SocketAddr]) -> Self {
        Self::with(service, listeners, Limits::default())
    }

    /// A service with limits.
    pub fn with(
        service: Box<dyn DatagramService>,
        listeners: &[SocketAddr],
        limits: Limits,
    ) -> Self {
        let pool = Arc::new(Pool::manual(1024));
        // 2001-09-09T01:46:40Z: a wall clock that is the same in every run.
        let wall_clock = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let mailbox = Arc::new(Mailbox::new(|| {}));
        let mut env = Env::new(0, Instant::now(), wall_clock, mailbox, pool);
        let counts = Arc::<DatagramCounts>::default();
        let token = env.allocate().token;
        let rates = limits.datagram_rate.map(|rate| Arc::new(PeerRates::new(rate, env.now)));
        let mut desk = Desk::new(service, token, Arc::new(limits), None, Arc::clone(&counts));
        desk.limit_peers(rates);
        for local in listeners {
            desk.add_listener(SocketId(env.allocate()), *local);
        }
        let mut datagrams = Datagrams {
            desk: Some(desk),
            env,
            outgoing: Outgoing::default(),
            messages: Vec::new(),
            clients: Vec::new(),
            sent: Vec::new(),
            asked: Vec::new(),
            counts,
        };
        datagrams.call(Desk::open);
        datagrams
    }

    // ---- what others do ----------------------------------------------------------------------

    /// Somebody sends a datagram to the first listener.
    ///
    /// # Panics
    ///
    /// There is no listener.
    pub fn receive(&mut self, from: SocketAddr, bytes: impl AsRef<[u8]>) -> &mut Self {
        let listeners = self.desk.as_ref().map(|desk| &desk.state.listeners);
        let Some(&(socket, local)) = listeners.and_then(|listeners| listeners.first()) else {
            panic!("the service has no listener, or has ended");
        };
        self.receive_at(socket, local, from, bytes)
    }

    /// Somebody sends a datagram to an address of a listening socket: to one of many where it listens at a
    /// wildcard.
    pub fn receive_at(
        &mut self,
        socket: SocketId,
        local: SocketAddr,
        from: SocketAddr,
        bytes: impl AsRef<[u8]>,
    ) -> &mut Self {
        if self.desk.as_ref().is_some_and(|desk| !desk.admits(from, self.env.now)) {
            self.counts.received.add(1);
            return self;
        }
        self.hand_over(Sender { socket, remote: from, local }, bytes.as_ref())
    }

    /// Somebody sends a datagram to a client socket. It is lost if the socket is closed, or connected to
    /// somebody else.
    pub fn answer(
        &mut self,
        socket: SocketId,
        from: SocketAddr,
        bytes: impl AsRef<[u8]>,
    ) -> &mut Self {
        let client = self.clients.iter().find(|(open, _)| *open == socket);
        let heard = client.filter(|(_, client)| client.remote.is_none_or(|peer| peer == from));
        if let Some((_, client)) = heard {
            let sender = Sender { socket, remote: from, local: client.local };
            self.hand_over(sender, bytes.as_ref());
        }
        self
    }

    /// A socket is in trouble.
    pub fn fail(&mut self, socket: SocketId, failure: Failure) -> &mut Self {
        if let Failure::Unopened(_) = failure {
            self.clients.retain(|(open, _)| *open != socket);
        }
        self.call(|desk, env, outgoing| desk.fail(env, outgoing, socket, failure));
        self
    }

    // ---- what else happens -------------------------------------------------------------------

    /// Lets time pass, and all that falls due in it happen in order.
    pub fn advance(&mut self, by: Duration) -> &mut Self {
        let end = self.env.now + by;
        while let Some(desk) = &self.desk
            && let Some(at) = desk.deadline()
            && self.env.epoch + Duration::from_millis(at) <= end
        {
            let due = self.env.epoch + Duration::from_millis(at);
            self.set_time(due.max(self.env.now));
            self.call(|desk, env, outgoing| {
                desk.lapse(env, outgoing);
            });
        }
        self.set_time(end);
        self
    }

    /// Runs all offloaded work, and what follows from it.
    pub fn run_jobs(&mut self) -> &mut Self {
        while self.env.pool.run_one() {
            self.deliver();
        }
        self
    }

    /// Leaves no room in the offload pool until [`run_jobs`](Self::run_jobs), which makes it anew.
    pub fn fill_pool(&mut self) -> &mut Self {
        self.env.pool.fill();
        self
    }

    /// Sends the service a note.
    pub fn notify(&mut self, message: impl Any + Send) -> &mut Self {
        let note = Note::new(message);
        self.call(|desk, env, outgoing| desk.notify(env, outgoing, note));
        self
    }

    /// The server begins to shut down.
    pub fn drain(&mut self) -> &mut Self {
        self.env.draining = true;
        self.call(Desk::drain);
        self
    }

    /// Delivers what has come through [`Remote`] handles.
    pub fn deliver(&mut self) -> &mut Self {
        self.env.mailbox.take(&mut self.messages);
        for message in std::mem::take(&mut self.messages) {
            match message {
                Message::Note(_, note) => {
                    self.call(|desk, env, outgoing| desk.notify(env, outgoing, note));
                }
                Message::ResumeDatagrams(_, then) => {
                    self.call(|desk, env, outgoing| desk.resume(env, outgoing, then));
                }
                _ => {}
            }
        }
        self
    }

    // ---- what is seen ------------------------------------------------------------------------

    /// Takes what the service has sent so far.
    pub fn sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// The listening sockets and their addresses.
    pub fn listeners(&self) -> Vec<(SocketId, SocketAddr)> {
        self.desk.as_ref().map(|desk| desk.state.listeners.clone()).unwrap_or_default()
    }

    /// The client sockets that are open, in the order in which they were opened.
    pub fn clients(&self) -> &[(SocketId, ClientSocket)] {
        &self.clients
    }

    /// Notes and connections that the service has asked its shard for.
    pub fn asked(&mut self) -> Vec<Asked> {
        std::mem::take(&mut self.asked)
    }

    /// Whether the service says that it owes nothing.
    pub fn is_idle(&self) -> bool {
        self.desk.as_ref().is_none_or(Desk::is_idle)
    }

    /// Whether the service has ended itself.
    pub fn is_closed(&self) -> bool {
        self.desk.is_none()
    }

    /// The service's handle.
    pub fn remote(&mut self) -> Option<Remote> {
        let Datagrams { desk, env, outgoing, .. } = self;
        let state = &mut desk.as_mut()?.state;
        Some(DatagramCx { state, outgoing, env }.remote())
    }

    /// What went through it.
    pub fn counts(&self) -> &DatagramCounts {
        &self.counts
    }

    // ---- the loop ----------------------------------------------------------------------------

    fn hand_over(&mut self, sender: Sender, bytes: &[u8]) -> &mut Self {
        self.counts.received.add(1);
        self.call(|desk, env, outgoing| {
            let most = desk.state.limits.datagram_bytes;
            let truncated = bytes.len() > most;
            let bytes = &bytes[..bytes.len().min(most)];
            desk.receive(env, outgoing, Datagram { bytes, sender, truncated });
        });
        self
    }

    fn set_time(&mut self, now: Instant) {
        self.env.wall_clock += now - self.env.now;
        self.env.set_now(now);
    }

    fn call(&mut self, callback: impl FnOnce(&mut Desk, &mut Env, &mut Outgoing)) {
        let Some(desk) = &mut self.desk else { return };
        callback(desk, &mut self.env, &mut self.outgoing);
        let closing = desk.state.closing;
        for command in std::mem::take(&mut self.env.commands) {
            match command {
                Command::OpenSocket { id, socket, .. } => self.clients.push((id, socket)),
                Command::CloseSocket(socket) => {
                    let letters = self.outgoing.take_by(socket);
                    self.send(letters);
                    self.clients.retain(|(open, _)| *open != socket);
                }
                command => self.asked.extend(Asked::of(command)),
            }
        }
        self.flush();
        if closing && let Some(desk) = self.desk.take() {
            self.clients.clear();
            desk.into_service().closed();
        }
    }

    /// Takes what was sent by sockets that are open.
    fn flush(&mut self) {
        let letters = self.outgoing.take();
        self.send(letters);
    }

    fn send(&mut self, letters: Vec<Letter>) {
        for letter in letters {
            let client = self.clients.iter().find(|(open, _)| *open == letter.socket);
            let listener = self.desk.as_ref().and_then(|desk| {
                desk.state.listeners.iter().find(|(listener, _)| *listener == letter.socket)
            });
            let peer = client.and_then(|(_, client)| client.remote);
            let Some(to) = letter.to.or(peer).filter(|_| client.is_some() || listener.is_some())
            else {
                continue;
            };
            let port = listener.map(|(_, local)| local.port());
            let from = letter.from.zip(port).map(SocketAddr::from);
            self.counts.sent.add(1);
            self.sent.push(Sent { socket: letter.socket, from, to, bytes: letter.bytes });
        }
    }
}

#[cfg(test)]
mod tests;
