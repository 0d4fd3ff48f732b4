//! How connections come in: listeners, limits, and what happens when the process has no descriptor left.
//!
//! A failing `accept` never ends the loop: what can't be served is shed, logged once, and the loop goes
//! on.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mio::event::{Event, Source};
use mio::net::{TcpListener, UnixListener};
use mio::{Registry, Token};
use rustix::io::Errno;

use super::Shard;
use super::connection::{Connection, Step};
use super::own::Surroundings;
use super::table::Entry;
use crate::channel::Channel;
use crate::limits::{By, Census, Limits, Refusal};
use crate::network::Network;
use crate::server::roster::Number;
use crate::service::{Acceptor, Endpoint, Peer};
use crate::session::Reason;
use crate::tls::{Secure, ServerTls};
use crate::transport::Transport;

/// Connections taken from one listener in one step.
const ACCEPTS_PER_STEP: usize = 64;

/// After how long a listener that could not accept, for want of memory, tries again.
const RETRY: Duration = Duration::from_millis(100);

/// A listening socket.
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What stands behind the public listeners of one service on one shard.
pub(crate) struct Gate {
    pub(crate) name: Arc<str>,
    pub(crate) acceptor: Box<dyn Acceptor>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) census: Arc<Census>,
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// Peers that say in a PROXY header for whom they speak.
    pub(crate) proxies: Vec<Network>,
}

/// Who makes an inlet's sessions.
pub(super) enum Door {
    /// The gate of the service of this number; whether it speaks TLS from the first octet.
    Public { gate: Number, secured: bool },
    /// One session's own acceptor.
    Private { owner: u64, acceptor: Box<dyn Acceptor>, surroundings: Surroundings, secured: bool },
}

/// A listener on a shard.
pub(crate) struct Inlet {
    socket: Socket,
    door: Option<Door>,
    owner: Option<u64>,
    /// Its number among the server's listeners, if it is public.
    number: Option<Number>,
    /// Its own address, where every connection has it: not a wildcard.
    local: Option<SocketAddr>,
    pub(super) queued: bool,
    readable: bool,
    failing: bool,
    /// Waits for its retry.
    resting: bool,
}

impl Inlet {
    pub(super) fn new(socket: Socket, door: Door, local: Option<SocketAddr>) -> Self {
        let owner = match &door {
            Door::Private { owner, .. } => Some(*owner),
            Door::Public { .. } => None,
        };
        if let Socket::Tcp(listener) = &socket {
            // Replies are whole when they are written: waiting for more only delays them. On Linux what
            // is accepted has it from its listener.
            let _ = rustix::net::sockopt::set_tcp_nodelay(listener, true);
        }
        Inlet {
            socket,
            door: Some(door),
            owner,
            number: None,
            local: local.filter(|address| !address.ip().is_unspecified()),
            queued: false,
            readable: false,
            failing: false,
            resting: false,
        }
    }

    fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = mio::Interest::READABLE;
        match &mut self.socket {
            Socket::Tcp(listener) => listener.register(registry, token, interest),
            Socket::Unix(listener) => listener.register(registry, token, interest),
        }
    }

    /// The token of the connection whose private listener this is.
    pub(super) fn owner(&self) -> Option<u64> {
        self.owner
    }

    /// Whether it is a listener of this service.
    pub(super) fn leads_to(&self, service: Number) -> bool {
        matches!(self.door, Some(Door::Public { gate, .. }) if gate == service)
    }

    /// Its number, if it is public.
    pub(super) fn number(&self) -> Option<Number> {
        self.number
    }

    /// Folds an event into the flags. Says whether the listener must be queued.
    pub(super) fn fold(&mut self, event: &Event) -> bool {
        self.readable |= event.is_readable();
        !std::mem::replace(&mut self.queued, true)
    }

    /// Its rest is over. Says whether the listener must be queued.
    pub(super) fn rested(&mut self) -> bool {
        self.resting = false;
        self.readable = true;
        !std::mem::replace(&mut self.queued, true)
    }

    fn accept(&self) -> io::Result<(Transport, Endpoint, Endpoint)> {
        match &self.socket {
            Socket::Tcp(listener) => {
                let (stream, remote) = listener.accept()?;
                let local = match self.local {
                    Some(local) => local,
                    None => stream.local_addr()?,
                };
                Ok((stream.into(), Endpoint::Inet(remote), Endpoint::Inet(local)))
            }
            Socket::Unix(listener) => {
                let (stream, _) = listener.accept()?;
                Ok((stream.into(), Endpoint::Unix, Endpoint::Unix))
            }
        }
    }

    /// Takes a waiting peer's connection and closes it, with the descriptor kept for that.
    fn shed(&self, spare: &mut Spare) -> bool {
        if spare.0.take().is_none() {
            return false;
        }
        let shed = self.accept().is_ok();
        *spare = Spare::default();
        shed
    }
}

/// A descriptor of a shard that is given up for a moment when no other is left, so that a waiting peer can be
/// shed.
pub(super) struct Spare(Option<File>);

impl Default for Spare {
    fn default() -> Self {
        Spare(File::open("/dev/null").ok())
    }
}

impl Shard {
    /// Adds a public listener with its number.
    pub(super) fn listen(
        &mut self,
        socket: Socket,
        number: Number,
        gate: Number,
        secured: bool,
    ) -> io::Result<()> {
        let token = self.env.allocate().token;
        let local = match &socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        };
        let mut inlet = Inlet::new(socket, Door::Public { gate, secured }, local);
        inlet.number = Some(number);
        self.insert_inlet(token, inlet)
    }

    pub(super) fn insert_inlet(&mut self, token: u64, mut inlet: Inlet) -> io::Result<()> {
        inlet.register(self.poll.registry(), Token(token as usize))?;
        self.table.insert(token, Entry::Inlet(Box::new(inlet)));
        Ok(())
    }

    /// Has what comes in by a listener go to another gate from now on.
    pub(super) fn reopen(&mut self, number: Number, gate: Number, secured: bool) {
        let inlet = self.table.inlet(number).and_then(|token| self.table.get_mut(token));
        if let Some(Entry::Inlet(inlet)) = inlet {
            inlet.door = Some(Door::Public { gate, secured });
        }
    }

    fn is_proxy(&self, gate: Number, peer: &Peer) -> bool {
        let Some(Gate { proxies, .. }) = self.gates.get(&gate) else { return false };
        peer.remote.ip().is_some_and(|ip| Network::any_contains(proxies, ip))
    }

    pub(super) fn remove_inlet(&mut self, token: u64) {
        // One whose turn it is has been taken out: then there is no place for it to be put back.
        if matches!(self.table.get_mut(token), Some(Entry::Inlet(_)) | None)
            && self.table.has(token)
        {
            self.table.take(token);
            self.table.remove(token);
            self.env.release(token);
        }
    }

    /// One step of a listener: so many connections and no more. Of a private one it is one: most are
    /// closed as soon as that stands, and needn't be asked for another.
    pub(super) fn accept(&mut self, token: u64, inlet: &mut Inlet) {
        let Some(mut door) = inlet.door.take() else { return };
        let mut budget = if inlet.owner.is_some() { 1 } else { ACCEPTS_PER_STEP };
        while inlet.readable && !inlet.resting && budget > 0 && self.table.has(token) {
            budget -= 1;
            match inlet.accept() {
                Ok((transport, remote, local)) => {
                    inlet.failing = false;
                    let peer = Peer::new(remote, local);
                    match door {
                        Door::Public { gate, secured } if self.is_proxy(gate, &peer) => {
                            self.await_prologue(gate, secured, transport, peer);
                        }
                        _ => self.admit(&mut door, transport, peer, None),
                    }
                }
                Err(error) => self.accept_failed(token, inlet, error),
            }
        }
        inlet.door = Some(door);
        if inlet.owner.is_some_and(|owner| !self.table.has(owner)) {
            self.remove_inlet(token);
        }
        if inlet.readable && !inlet.resting {
            inlet.queued = true;
            match inlet.owner {
                Some(_) => self.owed.push(token),
                None => self.queue.push_back(token),
            }
        }
    }

    fn accept_failed(&mut self, token: u64, inlet: &mut Inlet, error: io::Error) {
        match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::WOULDBLOCK) => return inlet.readable = false,
            // A peer that was gone before it was accepted, and pending network errors that Linux
            // hands to accept (accept(2), "Error handling").
            Some(
                Errno::INTR
                | Errno::CONNABORTED
                | Errno::NETDOWN
                | Errno::PROTO
                | Errno::NOPROTOOPT
                | Errno::HOSTDOWN
                | Errno::NONET
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NETUNREACH
                | Errno::PERM,
            ) => return,
            _ => {}
        }
        let out_of_descriptors = matches!(
            error.raw_os_error().map(Errno::from_raw_os_error),
            Some(Errno::MFILE | Errno::NFILE)
        );
        if !std::mem::replace(&mut inlet.failing, true) {
            tracing::error!(%error, "a connection can't be accepted; until that changes, peers are turned away");
        }
        if !(out_of_descriptors && inlet.shed(&mut self.spare)) {
            inlet.resting = true;
            let at = self.env.millis_after(RETRY);
            self.timers.push(at, token);
        }
    }

    /// Makes a session for a connection, or refuses it. `token` is that under which its socket is
    /// registered already.
    pub(super) fn admit(
        &mut self,
        door: &mut Door,
        mut transport: Transport,
        peer: Peer,
        token: Option<u64>,
    ) {
        let (now, draining) = (self.env.now, self.env.draining);
        let ip = peer.remote.ip();
        let (acceptor, service, surroundings, secured): (&mut dyn Acceptor, _, _, _) = match door {
            Door::Private { acceptor, surroundings, secured, .. } => {
                (&mut **acceptor, None, surroundings.clone(), *secured)
            }
            Door::Public { gate, secured } => {
                // A gate stands as long as a listener leads to it.
                let Some(gate) = self.gates.get_mut(gate) else {
                    return token.into_iter().for_each(|token| self.env.release(token));
                };
                let surroundings = Surroundings {
                    limits: Arc::clone(&gate.limits),
                    tls: gate.tls.clone(),
                    census: Some(Arc::clone(&gate.census)),
                };
                (&mut *gate.acceptor, Some(&*gate.name), surroundings, *secured)
            }
        };
        let Surroundings { limits, tls, census } = surroundings;
        let by = if service.is_some() { By::Public } else { By::Private };
        let census = census.map(|census| (by, census));
        let counted = match &census {
            Some((By::Public, _)) if draining => Err(Refusal::Draining),
            Some((by, census)) => census.entered(*by, ip, &limits, now),
            None => Ok(()),
        };
        if let Err(refusal) = counted {
            if let Some(token) = token {
                self.env.release(token);
            }
            tracing::debug!(service, peer = %peer.remote, ?refusal, "refused");
            // To a peer that awaits TLS, words would be garbage.
            let words = match secured {
                true => Bytes::new(),
                false => catch_unwind(AssertUnwindSafe(|| acceptor.refused(refusal)))
                    .inspect_err(|_| tracing::error!("an acceptor panicked while it refused"))
                    .unwrap_or_default(),
            };
            return transport.refuse(&words);
        }
        let session = catch_unwind(AssertUnwindSafe(|| acceptor.accepted(&peer)));
        let registered_before = token.is_some();
        let token = token.unwrap_or_else(|| self.env.allocate().token);
        let place = Token(token as usize);
        let registered = match registered_before {
            true => transport.reregister(self.poll.registry(), place),
            false => transport.register(self.poll.registry(), place),
        };
        let session = match (session, registered) {
            (Ok(session), Ok(())) => session,
            (session, registered) => {
                tracing::error!(peer = %peer.remote, "a connection could not be taken");
                self.env.release(token);
                if let Some((by, census)) = census {
                    census.left(by, ip, &limits, (0, 0));
                }
                if let (Ok(session), Err(error)) = (session, registered) {
                    self.never_stood(session, Reason::Lost(error));
                }
                return;
            }
        };
        let channel = Channel::new(session, peer, token, limits, self.env.millis());
        let tls = tls.map(Secure::Server);
        let mut connection = Box::new(Connection::new(transport, channel, tls).counted(census));
        self.table.insert_connection(token);
        let step = self.guarded(&mut connection, |connection, env, scratch| {
            match connection.accepted(env, secured) {
                Ok(()) => connection.step(env, scratch),
                Err(reason) => Step::Ended(reason),
            }
        });
        self.settle(token, connection, step);
        self.carry_out();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted_sends_at_once() {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let inlet =
            Inlet::new(Socket::Tcp(listener), Door::Public { gate: 0, secured: false }, None);
        let _peer = std::net::TcpStream::connect(address).unwrap();
        let Socket::Tcp(listener) = &inlet.socket else { panic!("another socket") };
        let (accepted, _) = listener.accept().unwrap();
        assert!(accepted.nodelay().unwrap());
    }
}
