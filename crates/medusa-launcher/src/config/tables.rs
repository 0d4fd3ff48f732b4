//! The tables of a configuration that belong to the launcher: `[server]`, `[log]`, `[accounts]`, `[tls]`
//! and `[resolver]`. `[limits]` is the core's, the tables of the services belong to their plug-ins.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use medusa_core::config::{Period, Size};
use serde::Deserialize;

/// `[server]`.
#[derive(Deserialize, Debug, Default)]
pub(crate) struct ServerTable {
    /// Event loops; one per core where it is left out, as nginx's `worker_processes auto`.
    pub shards: Option<NonZeroUsize>,
    /// How long open sessions may finish before they are cut off; see [`ServerTable::DRAIN`].
    pub drain: Option<Period>,
    /// Whom to become once every address is bound.
    pub user: Option<String>,
}

/// `[log]`.
#[derive(Deserialize, Debug, Default)]
pub(crate) struct LogTable {
    /// The least level that is written.
    pub level: Option<Level>,
    /// How a line looks.
    pub format: Option<LogFormat>,
    /// The access log's path; none where it is left out.
    pub access: Option<PathBuf>,
}

/// `[accounts]`.
#[derive(Deserialize, Debug)]
pub(crate) struct AccountsTable {
    /// The users file.
    pub file: PathBuf,
}

/// `[tls]`.
#[derive(Deserialize, Debug)]
pub(crate) struct TlsTable {
    /// The chain that is shown where no name says otherwise.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Others, by name.
    #[serde(default)]
    pub name: Vec<TlsName>,
}

/// `[[tls.name]]`.
#[derive(Deserialize, Debug)]
pub(crate) struct TlsName {
    /// The name that clients ask for: `www.example.org`, or `*.example.org`.
    pub host: String,
    /// The chain that is shown to them.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// `[resolver]`.
#[derive(Deserialize, Debug, Default)]
pub(crate) struct ResolverTable {
    /// Who is asked; the system says where it is left out.
    pub servers: Option<Vec<String>>,
    /// The longest that a packet waits for its answer.
    pub timeout: Option<Period>,
    /// How often each server is asked.
    pub attempts: Option<NonZeroU32>,
    /// Whether servers are believed that an answer is authentic.
    #[serde(default)]
    pub trust_ad: bool,
    /// What answers may take in memory.
    pub cache: Option<Size>,
    /// The authorities that sign the certificates of servers over TLS.
    pub authorities: Option<PathBuf>,
}

/// How much is logged.
#[derive(Deserialize, clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// What broke.
    Error,
    /// What might.
    Warn,
    /// What an operator wants to know.
    #[default]
    Info,
    /// What explains it.
    Debug,
    /// Everything.
    Trace,
}

/// How a log line looks.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For eyes.
    #[default]
    Text,
    /// An object a line, for programs.
    Json,
}

impl ServerTable {
    /// How long a drain takes at most unless the file says otherwise (Kubernetes'
    /// `terminationGracePeriodSeconds`).
    pub(crate) const DRAIN: Duration = Duration::from_secs(30);

    /// How long a drain takes at most.
    pub(crate) fn drain(&self) -> Duration {
        self.drain.map_or(Self::DRAIN, Duration::from)
    }
}

impl Level {
    /// The level as `tracing` and the command line write it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;

    use super::super::diagnostic::{Diagnostics, Source};
    use super::super::document::Document;
    use super::super::read::read;
    use super::*;

    fn outcome<T: DeserializeOwned>(text: &str) -> Result<T, String> {
        let source = Source { name: "m.toml".into(), text: text.into() };
        let document = Document::parse(&source).expect("valid TOML");
        let mut errors = Vec::new();
        read(&document.root(), &[], &mut errors)
            .ok_or_else(|| Diagnostics::new(source.clone(), errors).to_string())
    }

    #[test]
    fn the_server_and_its_log_are_read() {
        let server: ServerTable = outcome("shards = 2\ndrain = \"5s\"\n").expect("valid");
        assert_eq!(server.shards.map(NonZeroUsize::get), Some(2));
        assert_eq!(server.drain(), Duration::from_secs(5));
        assert_eq!(ServerTable::default().drain(), Duration::from_secs(30));
        let log: LogTable = outcome("level = \"debug\"\nformat = \"json\"\n").expect("valid");
        assert_eq!((log.level, log.format), (Some(Level::Debug), Some(LogFormat::Json)));
        assert!(outcome::<ServerTable>("shards = 0").expect_err("zero").contains("from 1"));
        assert!(
            outcome::<LogTable>("level = \"loud\"")
                .expect_err("loud")
                .contains("the choices are `error`")
        );
    }
}
