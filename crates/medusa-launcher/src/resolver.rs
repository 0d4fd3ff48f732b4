//! `[resolver]`: whom services ask for names that aren't theirs. Without the table, those whom the system
//! asks.
//!
//! It becomes a service of its own where another one wants it, mounted before all others, and is in no
//! list of what is served: it listens nowhere.

use std::path::Path;

use medusa_core::{BuildContext, Service};
use medusa_resolver::{Resolvers, Settings, Upstream};

use crate::config::diagnostic::Diagnostic;
use crate::config::document::Table;
use crate::config::own;
use crate::config::tables::ResolverTable;
use crate::files::in_folder;

/// The name of the table.
pub(crate) const TABLE: &str = "resolver";

/// Adds the resolvers to what services share, if nothing is wrong with the table.
pub(crate) fn share(
    root: &Table<'_, '_>,
    folder: &Path,
    cx: BuildContext,
    errors: &mut Vec<Diagnostic>,
) -> BuildContext {
    let Some(settings) = settings(root, folder, errors) else { return cx };
    Resolvers::share(settings, cx.clone()).unwrap_or_else(|error| {
        let place = root.find(&format!("{TABLE}.authorities"));
        errors.push(Diagnostic::new(error.to_string()).at(place));
        cx
    })
}

/// What does the work of the resolvers that services want, once they are built in `cx`.
pub(crate) fn services(cx: &BuildContext) -> Vec<Box<dyn Service>> {
    cx.shared::<Resolvers>().map(|resolvers| resolvers.services(cx)).unwrap_or_default()
}

fn settings(root: &Table<'_, '_>, folder: &Path, errors: &mut Vec<Diagnostic>) -> Option<Settings> {
    let table: ResolverTable = own::or_default(root, TABLE, errors)?;
    let before = errors.len();
    let mut settings = Settings::default();
    if let Some(servers) = &table.servers {
        let mut refuse = |key: &str, message: String| {
            errors.push(Diagnostic::new(message).at(root.find(&format!("{TABLE}.{key}"))));
        };
        if servers.is_empty() {
            refuse("servers", "there is no name server to be asked".to_owned());
        }
        let mut upstreams = Vec::new();
        for (index, server) in servers.iter().enumerate() {
            match server.parse::<Upstream>() {
                Ok(upstream) => upstreams.push(upstream),
                Err(bad) => refuse(&format!("servers[{index}]"), bad.to_string()),
            }
        }
        settings.servers = Some(upstreams);
    }
    settings.timeout = table.timeout.map(|period| period.0);
    settings.attempts = table.attempts.map(u32::from);
    settings.trust_ad = table.trust_ad;
    if let Some(size) = table.cache {
        settings.cache_bytes = usize::try_from(size.0).unwrap_or(usize::MAX);
    }
    settings.authorities = table.authorities.map(|path| in_folder(folder, &path));
    (errors.len() == before).then_some(settings)
}
