//! The server's own log on the standard error stream: text or JSON, by `tracing`.
//!
//! The level is the command line's, else the environment's, else the configuration's. The access log is
//! another thing; see `access`.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::tables::{Level, LogFormat};

/// The environment variable that sets the level, part by part if need be
/// (`info,medusa_http=debug`), as `RUST_LOG` does elsewhere.
pub(crate) const VARIABLE: &str = "MEDUSA_LOG";

/// Starts logging. A second call in one process changes nothing.
pub(crate) fn start(
    flag: Option<Level>,
    configured: Option<Level>,
    format: LogFormat,
) -> Result<(), String> {
    let directives = match flag {
        Some(level) => level.as_str().to_owned(),
        None => std::env::var(VARIABLE)
            .ok()
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| configured.unwrap_or_default().as_str().to_owned()),
    };
    let filter = EnvFilter::try_new(&directives)
        .map_err(|error| format!("`{directives}` in {VARIABLE} is not a level: {error}"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    // An embedding program may log already; its choice stands.
    let _ = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}
