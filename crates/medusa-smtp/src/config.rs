//! `[smtp.NAME]` as it is written. What the keys mean together is `plugin.rs`'s to say.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use medusa_accounts::PlaintextLogin;
use medusa_core::config::{Listen, Period, Size};
use medusa_core::limits::Limit;
use serde::Deserialize;

use crate::inspect::Smuggling;
use crate::sending::Security;
use crate::service::Role;

/// One SMTP service.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SmtpConfig {
    /// Where it listens.
    pub(crate) listen: Option<Vec<Listen>>,
    /// Where it listens with TLS from the first octet (RFC 8314 §3.3).
    pub(crate) tls_listen: Option<Vec<Listen>>,
    /// What it is called.
    pub(crate) hostname: Option<String>,
    /// What it is for.
    #[serde(default)]
    pub(crate) role: Role,
    /// The domains whose mail is for accounts.
    pub(crate) domains: Option<Vec<String>>,
    /// The folder with a Maildir for each account.
    pub(crate) mailboxes: Option<PathBuf>,
    /// The most octets of a message.
    pub(crate) max_message: Option<Limit<Size>>,
    /// The most recipients of a message.
    pub(crate) max_recipients: Option<Limit<usize>>,
    /// The most octets of an account's mail.
    pub(crate) quota: Option<Limit<Size>>,
    /// What is done about line ends that aren't CRLF.
    #[serde(default)]
    pub(crate) smuggling: Smuggling,
    /// How long the greeting is held back.
    pub(crate) greeting_wait: Option<Period>,
    /// Whether passwords may be sent without TLS.
    pub(crate) plaintext_login: Option<PlaintextLogin>,

    /// The folder of the queue: mail for elsewhere is taken, and sent on.
    pub(crate) queue: Option<PathBuf>,
    /// The server that it is sent to, instead of those that domains name.
    pub(crate) relay: Option<String>,
    /// The waits between attempts.
    pub(crate) retry: Option<Vec<Period>>,
    /// How old a message may become.
    pub(crate) expire: Option<Period>,
    /// After how long a sender is told that a message waits.
    pub(crate) warn: Option<Period>,
    /// Domains that are sent to otherwise.
    pub(crate) destination: Option<Vec<DestinationConfig>>,
}

/// `[[smtp.NAME.destination]]`: how mail for some domains goes out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DestinationConfig {
    /// `example.org`, `*.example.org` or `*`.
    pub(crate) domain: String,
    /// The server that it is sent to.
    pub(crate) relay: Option<String>,
    /// Whether connections are secured.
    pub(crate) tls: Option<Security>,
    /// The authorities that may vouch for the server.
    pub(crate) ca: Option<PathBuf>,
    /// Who we are there.
    pub(crate) user: Option<String>,
    /// The file with the password for that.
    pub(crate) password_file: Option<PathBuf>,
    /// Messages under way at one time.
    pub(crate) connections: Option<NonZeroUsize>,
    /// The least time between two messages.
    pub(crate) pause: Option<Period>,
}
