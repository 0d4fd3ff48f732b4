//! SMTP as a service of the core: what a program that embeds this crate mounts, and what the plug-in makes
//! from a configuration.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use medusa_accounts::{Accounts, Logins, PlaintextLogin, Recipient};
use medusa_core::{
    Acceptor, DatagramService, Limits, Peer, Refusal, Service, ServiceParts, Session,
};
use medusa_mail::MailStore;

use crate::address::same_domain;
use crate::inspect::Smuggling;
use crate::policy::Policy;
use crate::replies::Reply;
use crate::sending::Sending;
use crate::session::{Shard, Shared, SmtpSession};

/// What a server is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Takes mail for its domains from everybody.
    #[default]
    Mx,
    /// Takes mail from those who log in (RFC 6409).
    Submission,
}

/// Knows whose an address is. Asked on an event loop: it must not block.
pub trait Directory: Send + Sync {
    /// Whom mail for `local@domain` belongs to. The local part comes without its quotes.
    fn recipient(&self, local: &str, domain: &str) -> Recipient;
}

/// Where the postmaster's mail goes if no account has that address: it must go somewhere (RFC 5321 §4.5.1).
const POSTMASTER: &str = "postmaster";
/// Whom reports come from. Who writes back writes to the postmaster.
const DAEMON: &str = "MAILER-DAEMON";

/// Whether that is the postmaster, whoever else has the address.
pub(crate) fn is_postmaster(local: &str) -> bool {
    [POSTMASTER, DAEMON].iter().any(|name| local.eq_ignore_ascii_case(name))
}

/// Which of `domains` an address belongs to: one of a domain that is among them, or the postmaster's at
/// `hostname`, whom reports come from and who belongs to the first.
pub(crate) fn home<'d>(
    domains: &'d [String],
    hostname: &str,
    local: &str,
    domain: &str,
) -> Option<&'d str> {
    let listed = domains.iter().find(|ours| same_domain(ours, domain));
    let is_host = || is_postmaster(local) && same_domain(hostname, domain);
    listed.or_else(|| domains.first().filter(|_| is_host())).map(String::as_str)
}

/// The account that mail for `local@domain`, which is ours, goes to; what is said of it if there is none.
pub(crate) fn account(
    directory: &dyn Directory,
    local: &str,
    domain: &str,
) -> Result<String, Recipient> {
    match directory.recipient(local, domain) {
        Recipient::Account { identity, .. } => Ok(identity.name().to_owned()),
        Recipient::Unknown if local.eq_ignore_ascii_case(POSTMASTER) => Ok(POSTMASTER.into()),
        Recipient::Unknown if is_postmaster(local) => account(directory, POSTMASTER, domain),
        other => Err(other),
    }
}

impl Directory for Accounts {
    fn recipient(&self, local: &str, domain: &str) -> Recipient {
        Accounts::recipient(self, local, domain)
    }
}

/// A function that is given the local part and the domain.
impl<F: Fn(&str, &str) -> Recipient + Send + Sync> Directory for F {
    fn recipient(&self, local: &str, domain: &str) -> Recipient {
        self(local, domain)
    }
}

impl<D: Directory + ?Sized> Directory for Arc<D> {
    fn recipient(&self, local: &str, domain: &str) -> Recipient {
        (**self).recipient(local, domain)
    }
}

/// How large messages and conversations may be. `None` means unlimited.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SmtpLimits {
    /// Octets of a message. Default 25 MiB.
    pub message: Option<u64>,
    /// Recipients of a message. Default 1000 (Postfix's `smtpd_recipient_limit`).
    pub recipients: Option<usize>,
    /// Octets of a line of a message. Default 64 KiB: far more than the 1,000 that RFC 5321 §4.5.3.1.6
    /// lets a client count on, as many programs don't count.
    pub line: Option<usize>,
    /// Servers that a message may have been through. Default 100 (RFC 5321 §6.3).
    pub hops: Option<usize>,
    /// Commands that may be refused on a connection between two messages that are taken; recipients that may be
    /// refused in a transaction, and five times as many between two messages. Default 20 (Postfix's
    /// `smtpd_hard_error_limit`).
    pub errors: Option<u32>,
    /// How long the greeting is held back, to catch those who don't wait for it. Default none.
    pub greeting_wait: Option<Duration>,
}

impl Default for SmtpLimits {
    fn default() -> Self {
        SmtpLimits {
            message: Some(25 << 20),
            recipients: Some(1000),
            line: Some(64 << 10),
            hops: Some(100),
            errors: Some(20),
            greeting_wait: None,
        }
    }
}

/// The core's limits as SMTP has them: 5 minutes of silence (RFC 5321 §4.5.3.2.7).
pub fn default_limits() -> Limits {
    let mut limits = Limits::default();
    limits.idle = Some(Duration::from_secs(5 * 60));
    limits
}

/// An SMTP server, to be mounted.
pub struct SmtpService {
    parts: ServiceParts,
    shared: Shared,
}

impl std::fmt::Debug for SmtpService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SmtpService").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl SmtpService {
    /// A server that takes mail from everybody for `domains`: to the accounts of `directory`, into `store`. It
    /// is of a name, or has more that services have in common: with certificates it offers STARTTLS, and the
    /// access log has a line for each message.
    pub fn new(
        parts: impl Into<ServiceParts>,
        hostname: impl Into<String>,
        domains: impl IntoIterator<Item = impl Into<String>>,
        directory: impl Directory + 'static,
        store: impl MailStore + 'static,
    ) -> SmtpService {
        let parts = parts.into().or_limits(default_limits);
        let shared = Shared {
            service: Arc::clone(parts.name()),
            hostname: hostname.into(),
            role: Role::Mx,
            domains: domains.into_iter().map(Into::into).collect(),
            store: Arc::new(store),
            directory: Arc::new(directory),
            logins: None,
            policy: None,
            limits: SmtpLimits::default(),
            smuggling: Smuggling::default(),
            plaintext_login: PlaintextLogin::default(),
            offers_tls: parts.tls().is_some(),
            access: parts.access(),
            sending: None,
        };
        SmtpService { parts, shared }
    }

    /// Takes mail from those alone who log in.
    #[must_use]
    pub fn with_submission(mut self, logins: Logins, plaintext: PlaintextLogin) -> SmtpService {
        self.shared.role = Role::Submission;
        self.shared.logins = Some(logins);
        self.shared.plaintext_login = plaintext;
        self
    }

    /// Takes mail for elsewhere from those who log in, and sends it on from this service's event loops.
    #[must_use]
    pub fn with_sending(mut self, sending: Option<Sending>) -> SmtpService {
        self.shared.sending = sending;
        self
    }

    /// Asks a policy at each step.
    #[must_use]
    pub fn with_policy(mut self, policy: Arc<dyn Policy>) -> SmtpService {
        self.shared.policy = Some(policy);
        self
    }

    /// Sets how large messages may be.
    #[must_use]
    pub fn with_smtp_limits(mut self, limits: SmtpLimits) -> SmtpService {
        self.shared.limits = limits;
        self
    }

    /// Sets what is done about line ends that aren't CRLF.
    #[must_use]
    pub fn with_smuggling(mut self, smuggling: Smuggling) -> SmtpService {
        self.shared.smuggling = smuggling;
        self
    }

    /// The service, to be mounted.
    pub fn build(self) -> Box<dyn Service> {
        let domains = self.shared.domains.join(", ");
        let parts = self.parts.with_summary(match self.shared.role {
            Role::Mx => format!("mail for {domains}"),
            Role::Submission => format!("submission to {domains}"),
        });
        Box::new(Built { parts, shared: Arc::new(self.shared) })
    }
}

struct Built {
    parts: ServiceParts,
    shared: Arc<Shared>,
}

impl Service for Built {
    fn parts(&self) -> ServiceParts {
        self.parts.clone()
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        // Now and not before: by now the program has taken the user that it is to be.
        if let Err(error) = self.shared.store.prepare() {
            tracing::error!(service = &*self.shared.service, %error, "mail can't be kept");
        }
        let shard = Shard { shared: Arc::clone(&self.shared), count: Cell::new(0) };
        Box::new(SmtpAcceptor { shard: Rc::new(shard) })
    }

    fn keeps_state(&self) -> bool {
        // Two that send from one queue would send everything twice.
        self.shared.sending.is_some()
    }

    fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
        self.shared.sending.as_ref().map(Sending::worker)
    }
}

struct SmtpAcceptor {
    shard: Rc<Shard>,
}

impl Acceptor for SmtpAcceptor {
    fn accepted(&mut self, _: &Peer) -> Box<dyn Session> {
        Box::new(SmtpSession::new(Rc::clone(&self.shard)))
    }

    fn refused(&mut self, refusal: Refusal) -> Bytes {
        let reply = match refusal {
            Refusal::Draining => Reply::Draining,
            _ => Reply::TooManyConnections,
        };
        let mut out = Vec::new();
        reply.write(&mut out);
        out.into()
    }
}
