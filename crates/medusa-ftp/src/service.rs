//! FTP as a service of the core: what a program that embeds this crate mounts, and what the plug-in makes
//! from a configuration.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use medusa_accounts::Logins;
use medusa_core::metrics::Metrics;
use medusa_core::{Acceptor, Limits, Peer, Refusal, Service, ServiceParts, Session};

use crate::Error;
use crate::access::Counts;
use crate::home::{Visit, Visitor};
use crate::passive::{PortRange, Ports};
use crate::session::{FtpSession, Shared};

/// An FTP server, to be mounted.
pub struct FtpService {
    parts: ServiceParts,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for FtpService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FtpService").field("parts", &self.parts).finish_non_exhaustive()
    }
}

/// An FTP server that is being put together.
pub struct FtpBuilder {
    parts: ServiceParts,
    shared: Shared,
}

impl std::fmt::Debug for FtpBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FtpBuilder").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl FtpService {
    /// A server of this name, or with more that services have in common: with certificates it offers AUTH TLS,
    /// and the access log has a line for each transfer that has ended. `home` says what somebody who has logged in finds; it is called in the
    /// offload pool and may block. Nobody gets in before [`FtpBuilder::anonymous`] or
    /// [`FtpBuilder::logins`] is said.
    pub fn builder(
        parts: impl Into<ServiceParts>,
        home: impl Fn(Visitor<'_>) -> Result<Visit, Error> + Send + Sync + 'static,
    ) -> FtpBuilder {
        let parts = parts.into().or_limits(FtpService::default_limits);
        FtpBuilder {
            shared: Shared {
                name: Arc::clone(parts.name()),
                home: Box::new(home),
                logins: None,
                anonymous: false,
                anonymous_visit: None,
                ports: Ports::new(None),
                promised: Arc::default(),
                passive_address: None,
                has_tls: parts.tls().is_some(),
                data_tls_binding: true,
                access: parts.access(),
                counts: None,
                banner: "FTP server ready".to_owned(),
            },
            parts,
        }
    }

    /// What its sessions share, for tests without a shard.
    #[cfg(test)]
    pub(crate) fn into_shared(self) -> Arc<Shared> {
        self.shared
    }

    /// The limits of FTP where nothing else is said: five minutes of silence (vsftpd's
    /// idle_session_timeout).
    pub fn default_limits() -> Limits {
        let mut limits = Limits::default();
        limits.idle = Some(Duration::from_secs(300));
        limits
    }
}

impl FtpBuilder {
    /// Lets `anonymous` and `ftp` in with any password.
    #[must_use]
    pub fn anonymous(mut self, anonymous: bool) -> FtpBuilder {
        self.shared.anonymous = anonymous;
        self
    }

    /// The same, and all of them find this: `home` isn't asked for each.
    #[must_use]
    pub fn anonymous_visit(mut self, visit: Visit) -> FtpBuilder {
        self.shared.anonymous = true;
        // What has to be read for each that comes isn't known.
        self.shared.anonymous_visit = (!visit.reads_messages()).then(|| Arc::new(visit));
        self
    }

    /// Lets accounts in.
    #[must_use]
    pub fn logins(mut self, logins: Option<Logins>) -> FtpBuilder {
        self.shared.logins = logins;
        self
    }

    /// Sets the ports for passive data connections; otherwise the system chooses.
    #[must_use]
    pub fn passive_ports(mut self, ports: Option<PortRange>) -> FtpBuilder {
        self.shared.ports = Ports::new(ports);
        self
    }

    /// Sets the address that PASV tells, where clients see another than the server does.
    #[must_use]
    pub fn passive_address(mut self, address: Option<Ipv4Addr>) -> FtpBuilder {
        self.shared.passive_address = address;
        self
    }

    /// Whether a protected data connection must resume a TLS session of its control connection, which
    /// proves that both are of one client. It must unless this says otherwise.
    #[must_use]
    pub fn data_tls_binding(mut self, required: bool) -> FtpBuilder {
        self.shared.data_tls_binding = required;
        self
    }

    /// Counts transfers and their octets, beside what the core counts.
    #[must_use]
    pub fn metrics(mut self, metrics: &Metrics) -> FtpBuilder {
        let counts = Counts::of(&metrics.service(&self.shared.name));
        self.shared.counts = Some(Arc::new(counts));
        self
    }

    /// Sets what is said to whoever connects; lines are parted by LF.
    #[must_use]
    pub fn banner(mut self, banner: impl Into<String>) -> FtpBuilder {
        self.shared.banner = banner.into();
        self
    }

    /// As if there were certificates, for tests without a handshake.
    #[cfg(test)]
    pub(crate) fn offering_tls(mut self) -> FtpBuilder {
        self.shared.has_tls = true;
        self
    }

    /// The server.
    pub fn build(self) -> FtpService {
        FtpService { parts: self.parts, shared: Arc::new(self.shared) }
    }
}

impl Service for FtpService {
    fn parts(&self) -> ServiceParts {
        self.parts.clone()
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(FtpAcceptor { shared: Arc::clone(&self.shared) })
    }
}

struct FtpAcceptor {
    shared: Arc<Shared>,
}

impl Acceptor for FtpAcceptor {
    fn accepted(&mut self, _: &Peer) -> Box<dyn Session> {
        Box::new(FtpSession::new(Arc::clone(&self.shared)))
    }

    fn refused(&mut self, refusal: Refusal) -> Bytes {
        Bytes::from_static(match refusal {
            Refusal::Draining => b"421 The server is shutting down\r\n",
            _ => b"421 Too many connections, try again later\r\n",
        })
    }
}
