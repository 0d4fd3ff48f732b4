//! POP3 as a service of the core: what a program that embeds this crate mounts, and what the plug-in
//! makes from a configuration.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use medusa_accounts::{Logins, PlaintextLogin};
use medusa_core::tls::ServerTls;
use medusa_core::{Acceptor, AccessSink, Limits, Listener, Peer, Refusal, Service, Session};
use medusa_mail::{Error, MailStore, Maildrop};
use medusa_text::status::err_with;

use crate::login_delay::LoginDelay;
use crate::replies::TEMPORARY;
use crate::session::{Pop3Session, Shard};

/// Where maildrops are. Every [`MailStore`] is one; a program that only shows mail implements this
/// alone.
pub trait Maildrops: Send + Sync {
    /// Opens an account's maildrop for one session alone, until it is dropped. Blocks; called in the
    /// offload pool.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] where another session has it.
    fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error>;
}

impl<S: MailStore> Maildrops for S {
    fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        MailStore::open(self, account)
    }
}

/// A POP3 server, to be mounted.
pub struct Pop3Service {
    name: Arc<str>,
    listeners: Vec<Listener>,
    limits: Limits,
    tls: Option<Arc<ServerTls>>,
    plaintext: PlaintextLogin,
    login_delay: Option<Arc<LoginDelay>>,
    access: Option<Arc<dyn AccessSink>>,
    summary: String,
    maildrops: Arc<dyn Maildrops>,
    logins: Logins,
}

impl std::fmt::Debug for Pop3Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pop3Service")
            .field("name", &self.name)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

impl Pop3Service {
    /// A server of this name. Accounts log in by `logins`, and each finds the maildrop of its name.
    pub fn new(
        name: impl Into<Arc<str>>,
        listeners: Vec<Listener>,
        maildrops: impl Maildrops + 'static,
        logins: Logins,
    ) -> Pop3Service {
        Pop3Service {
            name: name.into(),
            listeners,
            limits: Self::default_limits(),
            tls: None,
            plaintext: PlaintextLogin::default(),
            login_delay: None,
            access: None,
            summary: String::new(),
            maildrops: Arc::new(maildrops),
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

    /// Sets what connections may use.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Pop3Service {
        self.limits = limits;
        self
    }

    /// Offers STLS, and TLS on listeners that are secured.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Arc<ServerTls>>) -> Pop3Service {
        self.tls = tls;
        self
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

    /// Sets where a line goes for each message that was sent.
    #[must_use]
    pub fn with_access(mut self, sink: Option<Arc<dyn AccessSink>>) -> Pop3Service {
        self.access = sink;
        self
    }

    /// Sets what is said of it in a table.
    #[must_use]
    pub fn with_summary(mut self, summary: impl Into<String>) -> Pop3Service {
        self.summary = summary.into();
        self
    }
}

impl Service for Pop3Service {
    fn name(&self) -> &str {
        &self.name
    }

    fn listeners(&self) -> Vec<Listener> {
        self.listeners.clone()
    }

    fn limits(&self) -> Limits {
        self.limits.clone()
    }

    fn tls(&self) -> Option<Arc<ServerTls>> {
        self.tls.clone()
    }

    fn summary(&self) -> String {
        self.summary.clone()
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(Pop3Acceptor {
            shard: Rc::new(Shard {
                maildrops: Arc::clone(&self.maildrops),
                logins: self.logins.clone(),
                service: Arc::clone(&self.name),
                plaintext: self.plaintext,
                login_delay: self.login_delay.clone(),
                has_tls: self.tls.is_some(),
                access: self.access.clone(),
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
