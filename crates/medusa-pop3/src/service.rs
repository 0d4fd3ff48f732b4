//! POP3 as a service of the core: what a program that embeds this crate mounts, and what the plug-in
//! makes from a configuration.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use medusa_accounts::{Logins, PlaintextLogin};
use medusa_core::{Acceptor, Limits, Peer, Refusal, Service, ServiceParts, Session};
use medusa_mail::{Error, MailStore, Maildrop};
use medusa_text::status::err_with;

use crate::exclusive::Open;
use crate::login_delay::LoginDelay;
use crate::replies::TEMPORARY;
use crate::session::{Pop3Session, Shard};

/// Where maildrops are. Every [`MailStore`] is one; a program that only shows mail implements this
/// alone.
pub trait Maildrops: Send + Sync {
    /// Opens an account's maildrop. Blocks; called in the offload pool. A service asks for one maildrop once
    /// at a time, so that only what others use too has to be locked.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] where somebody else has it.
    fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error>;
}

impl<S: MailStore> Maildrops for S {
    fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        MailStore::open(self, account)
    }
}

/// A POP3 server, to be mounted.
pub struct Pop3Service {
    parts: ServiceParts,
    plaintext: PlaintextLogin,
    login_delay: Option<Arc<LoginDelay>>,
    maildrops: Arc<dyn Maildrops>,
    open: Open,
    logins: Logins,
}

impl std::fmt::Debug for Pop3Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pop3Service").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl Pop3Service {
    /// A server of this name, or with more that services have in common: with certificates it offers STLS, and
    /// the access log has a line for each message that was sent. Accounts log in by `logins`, and each finds
    /// the maildrop of its name.
    pub fn new(
        parts: impl Into<ServiceParts>,
        maildrops: impl Maildrops + 'static,
        logins: Logins,
    ) -> Pop3Service {
        Pop3Service {
            parts: parts.into().or_limits(Self::default_limits),
            plaintext: PlaintextLogin::default(),
            login_delay: None,
            maildrops: Arc::new(maildrops),
            open: Open::default(),
            logins,
        }
    }

    /// The limits where nothing else is said: a session may be idle for 10 minutes, which is the least
    /// that RFC 1939 §3 allows.
    pub fn default_limits() -> Limits {
        let mut limits = Limits::default();
        limits.idle = Some(Duration::from_secs(10 * 60));
        limits
    }

    /// Sets where passwords may be sent without TLS.
    #[must_use]
    pub fn with_plaintext_login(mut self, plaintext: PlaintextLogin) -> Pop3Service {
        self.plaintext = plaintext;
        self
    }

    /// Has an account that has logged in wait so long before it is let in again (RFC 2449 §6.5), whatever
    /// shard it comes to. Nobody waits where nothing else is said.
    #[must_use]
    pub fn with_login_delay(mut self, delay: Option<Duration>) -> Pop3Service {
        let delay = delay.filter(|delay| !delay.is_zero());
        self.login_delay = delay.map(|delay| Arc::new(LoginDelay::new(delay)));
        self
    }
}

impl Service for Pop3Service {
    fn parts(&self) -> ServiceParts {
        self.parts.clone()
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(Pop3Acceptor {
            shard: Rc::new(Shard {
                maildrops: Arc::clone(&self.maildrops),
                open: self.open.clone(),
                logins: self.logins.clone(),
                service: Arc::clone(self.parts.name()),
                plaintext: self.plaintext,
                login_delay: self.login_delay.clone(),
                has_tls: self.parts.tls().is_some(),
                access: self.parts.access(),
            }),
        })
    }
}

struct Pop3Acceptor {
    shard: Rc<Shard>,
}

impl Acceptor for Pop3Acceptor {
    fn accepted(&mut self, _: &Peer) -> Box<dyn Session> {
        Box::new(Pop3Session::new(Rc::clone(&self.shard)))
    }

    fn refused(&mut self, refusal: Refusal) -> Bytes {
        let text = match refusal {
            Refusal::ConnectionsPerPeer => "too many connections from your address",
            Refusal::ConnectionRate => "too many connections in a short time",
            Refusal::Draining => "the server is shutting down",
            _ => "too many connections, try again later",
        };
        let mut out = Vec::new();
        err_with(&mut out, TEMPORARY, text);
        out.into()
    }
}
