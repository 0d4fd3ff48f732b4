//! The question that every login comes down to, and the trait that answers it. An embedding
//! program brings its own answer: a directory service, a database.
//!
//! Delays and counts are not here, they hold for every answer alike: see
//! [`Logins`](crate::Logins).

use std::{
    fmt,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{FileAccess, MailAddress, Password, ScramKeys};

/// Who somebody is found to be. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(Arc<Person>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Person {
    name: String,
    files: Option<PathBuf>,
    access: FileAccess,
    addresses: Vec<MailAddress>,
}

impl Identity {
    /// An account with nothing but a name.
    pub fn new(name: impl Into<String>) -> Self {
        let (files, access, addresses) = (None, FileAccess::default(), Vec::new());
        Self(Arc::new(Person { name: name.into(), files, access, addresses }))
    }

    /// The same with a folder of its own.
    #[must_use]
    pub fn with_files(mut self, files: impl Into<PathBuf>) -> Self {
        Arc::make_mut(&mut self.0).files = Some(files.into());
        self
    }

    /// The same with bounds to what it may do with files.
    #[must_use]
    pub fn with_file_access(mut self, access: FileAccess) -> Self {
        Arc::make_mut(&mut self.0).access = access;
        self
    }

    /// The same with mail addresses.
    #[must_use]
    pub fn with_addresses(mut self, addresses: Vec<MailAddress>) -> Self {
        Arc::make_mut(&mut self.0).addresses = addresses;
        self
    }

    /// The account's name, as the users file spells it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its folder for file transfers.
    pub fn files(&self) -> Option<&Path> {
        self.0.files.as_deref()
    }

    /// What it may do with files.
    pub fn file_access(&self) -> &FileAccess {
        &self.0.access
    }

    /// Its mail addresses.
    pub fn addresses(&self) -> &[MailAddress] {
        &self.0.addresses
    }
}

/// One login, but for its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The service that is asked, `smtp.submission`: its kind and its name in the configuration.
    pub service: Arc<str>,
    /// Where the login comes from.
    pub peer: IpAddr,
    /// The name that was given (RFC 4616's *authcid*), as SASLprep prepares it; so is the password.
    pub name: String,
    /// Whom to act for, if that was said (RFC 4422 §3.4.1's *authzid*). Never empty.
    pub authzid: Option<String>,
    /// When.
    pub at: Instant,
}

/// What a client sent to prove who it is.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The name that was given.
    pub name: String,
    /// Whom to act for, if that was said. Never empty.
    pub authzid: Option<String>,
    /// The password.
    pub password: Password,
}

/// The salted keys of a name, and what will be said to whoever proves to have the password.
#[derive(Debug, Clone)]
pub struct ScramRecord {
    /// The keys; invented ones where the name has none.
    pub keys: ScramKeys,
    /// The verdict for a proof that fits these keys.
    pub verdict: Result<Identity, Denial>,
}

/// Knows who may log in. Its methods are called in the offload pool and may block, but for the
/// two that say otherwise.
pub trait Authenticate: Send + Sync {
    /// Whether this name and password may use the service.
    ///
    /// # Errors
    ///
    /// The denial. An unknown name must take as long as a known one and be refused with
    /// [`Denial::Credentials`] like a wrong password.
    fn authenticate(&self, attempt: &Attempt, password: &Password) -> Result<Identity, Denial>;

    /// The answer of [`Authenticate::authenticate`] if it is known without blocking. `None` if
    /// not, and for everything that would be refused.
    fn remembered(&self, attempt: &Attempt, password: &Password) -> Option<Identity> {
        let _ = (attempt, password);
        None
    }

    /// Whether SCRAM-SHA-256 should be offered by this service. Must not block.
    fn offers_scram(&self, service: &str) -> bool {
        let _ = service;
        false
    }

    /// The keys of a name. For an unknown name they must be invented, always the same ones
    /// ([`InventedKeys`](crate::InventedKeys)), with a verdict of [`Denial::Credentials`].
    ///
    /// # Errors
    ///
    /// [`Denial::Mechanism`] where SCRAM isn't offered, [`Denial::Unavailable`].
    fn scram_keys(&self, attempt: &Attempt) -> Result<ScramRecord, Denial> {
        let _ = attempt;
        Err(Denial::Mechanism)
    }
}

/// Why a login fails. For logs, it is exact; what may be said to the client is
/// [`Denial::told`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Denial {
    /// Unknown name or wrong password: never told apart.
    #[error("wrong name or password")]
    Credentials,
    /// Right password, disabled account.
    #[error("the account is disabled")]
    Disabled,
    /// Right password, but the account's `services` leave this one out.
    #[error("the account may not use this service")]
    Service,
    /// Right password, but it may not act for the other identity it asked for.
    #[error("the account may not act for another")]
    Authzid,
    /// The peer sent something that isn't part of a login.
    #[error("malformed login: {0}")]
    Malformed(&'static str),
    /// The peer sent more than a login can need.
    #[error("the login is too long")]
    TooLong,
    /// The peer broke the exchange off (RFC 4954 §4, RFC 5034 §4).
    #[error("the client cancelled the login")]
    Cancelled,
    /// A mechanism that isn't offered.
    #[error("no such mechanism")]
    Mechanism,
    /// The peer has to wait after failed logins.
    #[error("too many failed logins, to be tried again after {} s", retry_after.as_secs())]
    Throttled {
        /// How long.
        retry_after: Duration,
    },
    /// The pool that computes hashes is full.
    #[error("too many logins at once")]
    Busy,
    /// Whatever knows the accounts can't be asked now.
    #[error("accounts can't be looked up: {0}")]
    Unavailable(String),
}

/// What a client may learn from a denial; each protocol has a reply for each of these.
///
/// | | SMTP (RFC 4954 §6) | POP3 (RFC 3206) | FTP | HTTP |
/// |---|---|---|---|---|
/// | `WrongCredentials` | 535 5.7.8 | `-ERR [AUTH]` | 530 | 401 |
/// | `Malformed` | 501 5.5.2 | `-ERR` | 501 | 401 |
/// | `TooLong` | 500 5.5.6 | `-ERR` | 501 | 401 |
/// | `Cancelled` | 501 5.7.0 | `-ERR` | | |
/// | `NoSuchMechanism` | 504 5.5.4 | `-ERR` | | |
/// | `TryLater` | 454 4.7.0 | `-ERR [SYS/TEMP]` | 421 | 503 with `Retry-After` |
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The login is refused; it doesn't say why.
    WrongCredentials,
    /// The client's syntax is wrong.
    Malformed,
    /// The client sent too much.
    TooLong,
    /// As the client wished.
    Cancelled,
    /// The mechanism isn't offered.
    NoSuchMechanism,
    /// Not now.
    TryLater {
        /// When, if that is known.
        after: Option<Duration>,
    },
}

impl Denial {
    /// What the client may learn. A disabled account or a service that is closed to it look like
    /// a wrong password: the attacker who guessed it shall not know.
    pub fn told(&self) -> Told {
        match self {
            Self::Credentials | Self::Disabled | Self::Service | Self::Authzid => {
                Told::WrongCredentials
            }
            Self::Malformed(_) => Told::Malformed,
            Self::TooLong => Told::TooLong,
            Self::Cancelled => Told::Cancelled,
            Self::Mechanism => Told::NoSuchMechanism,
            Self::Throttled { retry_after } => Told::TryLater { after: Some(*retry_after) },
            Self::Busy | Self::Unavailable(_) => Told::TryLater { after: None },
        }
    }

    /// Whether a password was tried and refused, so that it counts against the peer.
    pub fn counts_as_failed(&self) -> bool {
        self.told() == Told::WrongCredentials
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guessed_password_of_a_closed_account_looks_like_a_wrong_one() {
        for denial in [Denial::Credentials, Denial::Disabled, Denial::Service, Denial::Authzid] {
            assert_eq!(denial.told(), Told::WrongCredentials);
            assert!(denial.counts_as_failed());
        }
        for denial in [
            Denial::Malformed(""),
            Denial::TooLong,
            Denial::Cancelled,
            Denial::Mechanism,
            Denial::Busy,
            Denial::Unavailable(String::new()),
            Denial::Throttled { retry_after: Duration::from_secs(1) },
        ] {
            assert!(!denial.counts_as_failed(), "{denial}");
        }
    }
}
