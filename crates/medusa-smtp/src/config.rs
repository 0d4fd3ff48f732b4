//! `[smtp.NAME]` as it is written. What the keys mean together is `plugin.rs`'s to say.

use std::path::PathBuf;

use medusa_core::config::{Listen, Period, Size};
use medusa_core::limits::Limit;
use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::inspect::Smuggling;
use crate::service::{PlaintextLogin, Role};

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

    // What belongs to the design and not to this build.
    pub(crate) queue: Option<IgnoredAny>,
    pub(crate) relay: Option<IgnoredAny>,
    pub(crate) retry: Option<IgnoredAny>,
    pub(crate) expire: Option<IgnoredAny>,
}
