//! `[dns.NAME]` as it is written: its keys and what they may hold.
//!
//! What they mean together is for `plugin` to say.

use std::path::PathBuf;

use medusa_core::Network;
use medusa_core::config::Listen;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// One DNS service as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsConfig {
    /// Where it listens, over UDP and TCP.
    #[serde(default)]
    pub(crate) listen: Vec<Listen>,
    /// Where it listens with TLS from the first octet.
    #[serde(default)]
    pub(crate) tls_listen: Vec<Listen>,
    /// Zone files.
    #[serde(default)]
    pub(crate) zones: Vec<PathBuf>,
    /// Zones with more to say than a file.
    #[serde(default)]
    pub(crate) zone: Vec<ZoneConfig>,
    /// Who may have zones as a whole.
    #[serde(default)]
    pub(crate) transfer_to: Vec<Network>,
    /// Who is asked for names of others.
    #[serde(default)]
    pub(crate) forward: Vec<Listen>,
    /// For whom others are asked.
    #[serde(default)]
    pub(crate) recursion_for: Vec<Network>,
    /// How often somebody is answered.
    pub(crate) rate_limit: Option<IgnoredAny>,
    /// Secrets that are shared with others.
    #[serde(default)]
    pub(crate) key: Vec<IgnoredAny>,
    /// Who it is among several with one address.
    pub(crate) nsid: Option<String>,
    /// What it answers to `version.bind`.
    pub(crate) version: Option<String>,
}

/// A zone with more to say than a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ZoneConfig {
    /// How it is called.
    pub(crate) name: String,
    /// Its file.
    pub(crate) file: Option<PathBuf>,
    /// From where it is transferred.
    pub(crate) primary: Option<IgnoredAny>,
    /// The key of its transfers.
    pub(crate) key: Option<IgnoredAny>,
    /// Who is told when it has changed.
    pub(crate) notify: Option<IgnoredAny>,
    /// Who may change it.
    pub(crate) update_from: Option<IgnoredAny>,
    /// The key of who may change it.
    pub(crate) update_key: Option<IgnoredAny>,
}
