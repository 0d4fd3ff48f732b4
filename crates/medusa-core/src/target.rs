//! Where a connection is to be made to, with what, and under which limits.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::limits::Limits;
use crate::tls::{ClientTls, Secure};

/// Where [`Cx::connect`](crate::Cx::connect) connects to. An address alone is one: a plain connection under the
/// limits of the service that connects.
#[derive(Debug, Clone)]
pub struct Target {
    pub(crate) address: SocketAddr,
    pub(crate) secure: Securing,
    pub(crate) limits: Option<Arc<Limits>>,
    /// The address of ours that it comes from.
    pub(crate) from: Option<IpAddr>,
}

/// Whether there is TLS from the first octet.
#[derive(Debug, Clone)]
pub(crate) enum Securing {
    Plain,
    As(Secure),
    /// As a server, with what the one who connects shows itself.
    AsServer,
}

impl From<SocketAddr> for Target {
    fn from(address: SocketAddr) -> Self {
        Target::new(address)
    }
}

impl Target {
    /// A plain connection to `address`.
    pub fn new(address: SocketAddr) -> Self {
        Target { address, secure: Securing::Plain, limits: None, from: None }
    }

    /// TLS from the first octet, with a server that is known as `name`. The session is opened when the
    /// handshake is done.
    #[must_use]
    pub fn with_tls(mut self, client: &Arc<ClientTls>, name: &str) -> Self {
        self.secure = Securing::As(Secure::Client(Arc::clone(client), name.into()));
        self
    }

    /// TLS from the first octet in which this end is the *server*, whoever has connected: with the
    /// certificates of the service that connects, and such that the peer may resume a session of that service,
    /// as [`Facts::resumes`](crate::tls::Facts::resumes) then says. FTP's active mode needs it (RFC 4217 §7).
    /// Without certificates the session hears of [`Reason::Insecure`](crate::Reason::Insecure).
    #[must_use]
    pub fn as_tls_server(mut self) -> Self {
        self.secure = Securing::AsServer;
        self
    }

    /// Comes from this address of ours, rather than from the one that the system chooses: the one that the peer
    /// talks to already, say.
    #[must_use]
    pub fn from_address(mut self, ip: IpAddr) -> Self {
        self.from = Some(ip);
        self
    }

    /// Limits of its own, rather than those of the service that connects: how long it may take until it stands
    /// ([`handshake`](Limits::handshake), for TLS again), how slow the peer may be. How many there may be is
    /// still that service's to say.
    #[must_use]
    pub fn with_limits(mut self, limits: impl Into<Arc<Limits>>) -> Self {
        self.limits = Some(limits.into());
        self
    }
}
