//! What sessions ask for themselves: connections that they make, and listeners of their own.
//!
//! Both go under the limits of the service whose session asks, and are counted apart from those who come to it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mio::Token;
use mio::net::{TcpListener, TcpStream};
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Type};

use super::accept::{Door, Inlet, Socket};
use super::connection::{Connection, Step};
use super::table::Entry;
use super::{Address, Shard};
use crate::channel::Channel;
use crate::limits::{By, Census, Limits, Refusal};
use crate::service::{Acceptor, Endpoint, Peer};
use crate::session::{Goodbye, Reason, Session};
use crate::target::{Securing, Target};
use crate::tls::{Secure, ServerTls, TlsError};
use crate::transport::Transport;

/// What a connection or a datagram service hands on to the connections that it makes.
#[derive(Clone, Default)]
pub(super) struct Surroundings {
    pub(super) limits: Arc<Limits>,
    pub(super) tls: Option<Arc<ServerTls>>,
    pub(super) census: Option<Arc<Census>>,
}

impl Shard {
    pub(super) fn listen_private(
        &mut self,
        id: Address,
        owner: Address,
        bind: &[SocketAddr],
        acceptor: Box<dyn Acceptor>,
        secured: bool,
    ) -> io::Result<SocketAddr> {
        let Some(surroundings) = self.surroundings_of(owner) else {
            self.env.release(id.token);
            return Err(io::ErrorKind::NotConnected.into());
        };
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for &address in bind {
            let bound = TcpListener::bind(address).and_then(|listener| {
                let local = if address.port() == 0 { listener.local_addr()? } else { address };
                Ok((local, listener))
            });
            match bound {
                Ok((local, listener)) => {
                    let owner = owner.token;
                    let door = Door::Private { owner, acceptor, surroundings, secured };
                    let inlet = Inlet::new(Socket::Tcp(listener), door, Some(local));
                    let inserted = self.insert_inlet(id.token, inlet);
                    if inserted.is_err() {
                        self.env.release(id.token);
                    }
                    return inserted.map(|()| local);
                }
                Err(error) => last = error,
            }
        }
        self.env.release(id.token);
        Err(last)
    }

    /// What is handed on to the connections that `owner` makes.
    pub(super) fn surroundings_of(&mut self, owner: Address) -> Option<Surroundings> {
        match self.table.get_mut(owner.token) {
            Some(Entry::Connection(connection)) => {
                let (limits, tls) = (connection.channel.limits(), connection.tls());
                Some(Surroundings { limits, tls, census: connection.census() })
            }
            Some(Entry::Desk(desk)) => {
                let limits = Arc::clone(&desk.limits);
                Some(Surroundings { limits, ..Surroundings::default() })
            }
            _ => None,
        }
    }

    pub(super) fn connect(
        &mut self,
        id: Address,
        from: Address,
        target: Target,
        session: Box<dyn Session>,
    ) {
        let Surroundings { limits, tls, census } = self.surroundings_of(from).unwrap_or_default();
        let Target { address, secure, limits: own, from: source } = target;
        let limits = match own {
            // Which count holds is what it is counted by.
            Some(own) => Arc::new(Limits {
                connections: limits.connections,
                connections_per_peer: limits.connections_per_peer,
                ..(*own).clone()
            }),
            None => limits,
        };
        let secure = match secure {
            Securing::Plain => Ok(None),
            Securing::As(secure) => Ok(Some(secure)),
            Securing::AsServer => tls
                .map(|tls| Some(Secure::Server(tls)))
                .ok_or_else(|| Reason::Insecure(TlsError::Settings("no certificate".into()))),
        };
        let (peer, now) = (Endpoint::Inet(address), self.env.now);
        let connected = secure.and_then(|secure| {
            if let Some(census) = &census {
                let entered = census.entered(By::Private, peer.ip(), &limits, now);
                entered.map_err(|refusal| Reason::Unreachable(too_many(refusal)))?;
            }
            match self.begin_to_connect(id, address, source) {
                Ok((transport, local)) => Ok((transport, local, secure)),
                Err(error) => {
                    if let Some(census) = &census {
                        census.left(By::Private, peer.ip(), &limits, (0, 0));
                    }
                    Err(Reason::Unreachable(error))
                }
            }
        });
        match connected {
            Ok((transport, local, secure)) => {
                let peer = Peer::new(peer, Endpoint::Inet(local));
                let until = limits.handshake.map(|limit| self.env.millis_after(limit));
                let now = self.env.millis();
                let channel = Channel::new(session, peer, id.token, limits, now);
                let connection = Connection::new(transport, channel, secure).connecting(until);
                let connection = connection.counted(census.map(|census| (By::Private, census)));
                self.table.insert_connection(id.token);
                self.settle(id.token, Box::new(connection), Step::Idle);
            }
            Err(reason) => {
                self.env.release(id.token);
                self.never_stood(session, reason);
            }
        }
    }

    /// Tells a session that there is no connection for it.
    pub(super) fn never_stood(&mut self, mut session: Box<dyn Session>, reason: Reason) {
        self.last_words(|| {
            let goodbye = Goodbye::new(reason, 0, 0);
            session.closed(&goodbye);
            goodbye
        });
    }

    fn begin_to_connect(
        &self,
        id: Address,
        target: SocketAddr,
        source: Option<IpAddr>,
    ) -> io::Result<(Transport, SocketAddr)> {
        let stream = match source {
            Some(source) => connect_from(source, target)?,
            None => TcpStream::connect(target)?,
        };
        let _ = stream.set_nodelay(true);
        let local = stream.local_addr()?;
        let mut transport = Transport::from(stream);
        transport.register(self.poll.registry(), Token(id.token as usize))?;
        Ok((transport, local))
    }
}

/// Why a connection of a session's own wasn't made.
fn too_many(refusal: Refusal) -> io::Error {
    io::Error::new(io::ErrorKind::QuotaExceeded, format!("a limit of the service: {refusal:?}"))
}

/// Begins to connect from one of our addresses.
fn connect_from(source: IpAddr, target: SocketAddr) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(Domain::for_address(target), kind, Some(Protocol::TCP))?;
    // It isn't known yet which ports lead to another peer only, and would do.
    crate::sys::choose_port_late(&socket)?;
    socket.bind(&SockAddr::from(SocketAddr::new(source, 0)))?;
    match socket.connect(&SockAddr::from(target)) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
