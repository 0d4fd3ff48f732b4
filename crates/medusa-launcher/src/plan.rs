//! From a configuration to the services it asks for: what is known is read and built, everything else
//! refused.
//!
//! Nothing is bound or served here, so `medusa check` stops after it. Errors are gathered over the
//! whole file, those that plug-ins raise when they are built included.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use medusa_core::{AccessSink, BuildContext, BuildError, LimitsConfig, Reloads, Service};

use crate::accounts::{self, Services};
use crate::config::diagnostic::{Diagnostic, Diagnostics, Gravity, Source, nearest, quoted_list};
use crate::config::document::{Document, Entry, Table};
use crate::config::own::{self, not_a_table};
use crate::config::tables::{LogTable, ServerTable};
use crate::kinds::{Configured, Kinds};
use crate::shared::Shared;
use crate::table::{Table as Rows, serves};
use crate::{addresses, resolver, tls};

/// Tables that are not services.
pub(crate) const SERVER_TABLES: &[&str] =
    &["server", "log", "limits", accounts::TABLE, tls::TABLE, resolver::TABLE];

/// The most event loops: each has its own sockets, buffers and thread.
const MOST_SHARDS: usize = 1024;

/// The key of a service's own limits, which belong to the launcher and not to the plug-in.
pub(crate) const LIMITS: &str = "limits";

/// What a configuration asks for, with nothing wrong in it so far.
pub(crate) struct Plan<'s> {
    /// The text and where everything stands in it, for what turns out wrong later.
    pub document: &'s Document<'s>,
    /// `[server]`.
    pub server: ServerTable,
    /// `[log]`, its path made absolute.
    pub log: LogTable,
    /// The services in the order in which they are written.
    pub mounts: Vec<Mount<'s>>,
    /// What they share.
    pub shared: Shared,
    /// What is wrong and needn't keep anybody from serving.
    pub warnings: Vec<Diagnostic>,
}

/// One service and the table that asked for it.
pub(crate) struct Mount<'s> {
    /// Its table.
    pub table: Table<'s, 's>,
    /// The service.
    pub service: Box<dyn Service>,
    /// What it reads again at HUP.
    pub reloads: Reloads,
}

/// What is read before anything is built: the access log must stand before the services.
struct Draft<'s> {
    services: Vec<DraftService<'s>>,
    /// Of all services, those that can't be read included.
    names: Vec<String>,
}

struct DraftService<'s> {
    kind: &'s str,
    name: &'s str,
    table: Table<'s, 's>,
    limits: LimitsConfig,
    config: Box<dyn Configured>,
}

impl<'s> Plan<'s> {
    /// Reads `document` and builds its services. Relative paths begin at `folder`; `access` makes the
    /// sink for the access log that `[log]` asks for.
    pub(crate) fn make(
        document: &'s Document<'s>,
        kinds: &Kinds,
        folder: &Path,
        access: impl FnOnce(&Path) -> Arc<dyn AccessSink>,
    ) -> Result<Self, Diagnostics> {
        let mut errors = Vec::new();
        let root = document.root();
        let server: Option<ServerTable> = own::or_default(&root, "server", &mut errors);
        if server
            .as_ref()
            .and_then(|server| server.shards)
            .is_some_and(|all| all.get() > MOST_SHARDS)
        {
            let message = format!("`shards` is from 1 to {MOST_SHARDS}");
            let hint = "leave it out for one per core: more of them only wait for one another";
            errors.push(
                Diagnostic::new(message).at(root.find("server.shards")).hint(hint.to_owned()),
            );
        }
        let mut log: Option<LogTable> = own::or_default(&root, "log", &mut errors);
        if let Some(path) = log.as_mut().and_then(|log| log.access.as_mut()) {
            *path = folder.join(&path);
            check_log_path(path, || root.find("log.access"), &mut errors);
        }
        let draft = Draft::read(&root, kinds, &mut errors);
        let sink = log.as_ref().and_then(|log| log.access.as_deref()).map(access);
        let shared = Shared::read(&root, folder, draft.services_beside(kinds), &mut errors);
        let explained = |error: &BuildError| shared.explains(error);
        let mounts =
            draft.build(&document.source.text, &shared.context(sink), explained, &mut errors);
        addresses::refuse_shared(&mounts, &mut errors);
        let fatal = errors.iter().any(|one| one.gravity == Gravity::Fatal);
        match (server, log) {
            (Some(server), Some(log)) if !fatal => {
                Ok(Self { document, server, log, mounts, shared, warnings: errors })
            }
            _ => Err(Diagnostics::new(document.source.clone(), errors)),
        }
    }

    /// What would be served, as tables: services, certificates, and how many accounts there are.
    pub(crate) fn told(&self) -> String {
        let mut services = Rows::of_services();
        for Mount { service, .. } in &self.mounts {
            let parts = service.parts();
            let listeners = parts.listeners().iter().cloned().map(|listener| (listener, false));
            let datagrams = service.datagram_listeners().into_iter().map(|one| (one, true));
            for (listener, datagrams) in listeners.chain(datagrams) {
                let serves = serves(parts.summary(), listener.secured, datagrams);
                services.push(parts.name(), &listener.address, &serves);
            }
        }
        format!("{services}{}", self.shared.told())
    }

    /// The complaint about a key of the file, `server.user` for instance.
    pub(crate) fn fault_at(
        &self,
        key: &str,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Diagnostics {
        let place = self.document.root().find(key);
        Diagnostics::new(
            self.document.source.clone(),
            vec![Diagnostic::new(message).at(place).hint(hint)],
        )
    }
}

impl<'s> Draft<'s> {
    fn read(root: &Table<'s, 's>, kinds: &Kinds, errors: &mut Vec<Diagnostic>) -> Self {
        let limits = limits_of(root, errors);
        let (mut drafts, mut names) = (Vec::new(), Vec::new());
        let mut seen = false;
        for entry in root.in_order() {
            if SERVER_TABLES.contains(&entry.key) {
                continue;
            }
            seen = true;
            let Some(kind) = kinds.named(entry.key) else {
                errors.push(unknown_kind(&entry, kinds));
                continue;
            };
            let Some(services) = root.below(&entry) else {
                errors.push(not_a_table(&entry, &format!("[{}.NAME]", entry.key)));
                continue;
            };
            for service in services.in_order() {
                let Some(table) = services.below(&service) else {
                    errors.push(unnamed(entry.key, &service));
                    continue;
                };
                names.push(table.name.clone());
                let limits = limits_of(&table, errors).or(&limits);
                if let Some(config) = kind.read(&table, &[LIMITS], errors) {
                    let (kind, name) = (entry.key, service.key);
                    drafts.push(DraftService { kind, name, table, limits, config });
                }
            }
        }
        if !seen {
            let example = kinds.names().next().unwrap_or("http");
            errors.push(
                Diagnostic::new("nothing to serve: no service is configured")
                    .hint(format!("add a table such as `[{example}.main]`")),
            );
        }
        Self { services: drafts, names }
    }

    /// The services that accounts may name. Those whose own tables can't be read are named too.
    fn services_beside(&self, kinds: &Kinds) -> Services {
        Services { kinds: kinds.names().map(str::to_owned).collect(), names: self.names.clone() }
    }

    /// Builds them; complaints that are `explained` by others are left out. `text` is that of the document.
    fn build(
        self,
        text: &str,
        context: &BuildContext,
        explained: impl Fn(&BuildError) -> bool,
        errors: &mut Vec<Diagnostic>,
    ) -> Vec<Mount<'s>> {
        let mut mounts = Vec::new();
        for DraftService { kind, name, table, limits, config } in self.services {
            let reloads = Reloads::default();
            let context = context.for_service(kind, name).with_limits(limits);
            let context = context.with_shared(reloads.clone());
            match config.build(&context) {
                Ok(service) => {
                    errors.extend(without_certificate(&*service, &table));
                    mounts.push(Mount { table, service, reloads });
                }
                Err(error) => {
                    let new = error.into_all().into_iter().filter(|one| !explained(one));
                    errors.extend(new.map(|one| {
                        let key = one.key.as_deref();
                        let place = key.map_or(table.span.clone(), |key| table.find(key));
                        let hint = one.hint.or_else(|| where_it_is(&text[place.clone()], &context));
                        Diagnostic::new(one.message).at(place).hint(hint)
                    }));
                }
            }
        }
        mounts
    }
}

/// Builds the services of these names in surroundings that are there already.
pub(crate) fn build<'s>(
    document: &'s Document<'s>,
    kinds: &Kinds,
    context: BuildContext,
    names: &BTreeSet<String>,
) -> Result<Vec<Mount<'s>>, Diagnostics> {
    let mut errors = Vec::new();
    let mut draft = Draft::read(&document.root(), kinds, &mut errors);
    draft.services.retain(|service| names.contains(&service.table.name));
    let mounts = draft.build(&document.source.text, &context, |_| false, &mut errors);
    addresses::refuse_shared(&mounts, &mut errors);
    if errors.iter().any(|one| one.gravity == Gravity::Fatal) {
        return Err(Diagnostics::new(document.source.clone(), errors));
    }
    Ok(mounts)
}

/// A service that listens with TLS and has no certificate would refuse everybody.
fn without_certificate(service: &dyn Service, table: &Table<'_, '_>) -> Option<Diagnostic> {
    let parts = service.parts();
    let secured = parts.listeners().iter().find(|listener| listener.secured)?;
    parts.tls().is_none().then(|| {
        Diagnostic::new(format!("`{}` has no certificate to speak TLS with", parts.name()))
            .at(table.find(&secured.key))
            .hint("add a table `[tls]` with `certificate` and `key`".to_owned())
    })
}

/// The folder that relative paths of the configuration at `path` begin at.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Reads the configuration at `path`, or says why it can't be read.
pub(crate) fn source_at(path: &Path) -> Result<Source, Diagnostics> {
    let name = path.display().to_string();
    let refuse = |message: String, hint: Option<String>| {
        let source = Source { name: name.clone(), text: String::new() };
        Diagnostics::new(source, vec![Diagnostic::new(message).hint(hint)])
    };
    let octets = std::fs::read(path).map_err(|error| {
        refuse(format!("can't read the configuration: {error}"), similar_file(path))
    })?;
    match String::from_utf8(octets) {
        Ok(text) => Ok(Source { name, text }),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let line = error.as_bytes()[..valid].split(|octet| *octet == b'\n').count();
            Err(refuse(format!("line {line} is not UTF-8"), None))
        }
    }
}

fn similar_file(path: &Path) -> Option<String> {
    let near = similar(path, |name| name.ends_with(".toml"))?;
    Some(format!("did you mean `{}`?", path.with_file_name(near).display()))
}

/// What a value may have meant that is the path of something which isn't there.
fn where_it_is(value: &str, context: &BuildContext) -> Option<String> {
    let written = value.strip_prefix(['"', '\''])?.strip_suffix(['"', '\''])?;
    let path = context.path(written);
    let is_path = !written.is_empty() && !written.contains(['\\', '\n', ':', '{']);
    if !is_path || path.exists() || !folder_of(&path).is_dir() {
        return None;
    }
    let near = similar(&path, |_| true)?;
    Some(format!("did you mean `{}`?", Path::new(written).with_file_name(near).display()))
}

/// The name beside `path` that is most like its own, among those that are wanted.
fn similar(path: &Path, wanted: impl Fn(&str) -> bool) -> Option<String> {
    let written = path.file_name()?.to_str()?;
    let entries = std::fs::read_dir(folder_of(path)).ok()?;
    let names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| wanted(name))
        .collect();
    nearest(written, names.iter().map(String::as_str)).map(str::to_owned)
}

fn limits_of(table: &Table<'_, '_>, errors: &mut Vec<Diagnostic>) -> LimitsConfig {
    own::or_default(table, LIMITS, errors).unwrap_or_default()
}

fn check_log_path(
    path: &Path,
    place: impl FnOnce() -> std::ops::Range<usize>,
    errors: &mut Vec<Diagnostic>,
) {
    let folder = folder_of(path);
    let message = if path.is_dir() {
        format!("`{}` is a folder, not a file", path.display())
    } else if !folder.is_dir() {
        format!("there is no folder `{}` for the access log", folder.display())
    } else {
        return;
    };
    errors.push(Diagnostic::new(message).at(place()));
}

fn unknown_kind(entry: &Entry<'_, '_>, kinds: &Kinds) -> Diagnostic {
    let known = SERVER_TABLES.iter().copied().chain(kinds.names());
    let hint = match nearest(entry.key, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the kinds of service that there are: {}", quoted_list(kinds.names())),
    };
    let message = match entry.value.get_ref().is_table() {
        true => format!("this build has no plug-in for `{}`", entry.key),
        false => format!("unknown key `{}`", entry.key),
    };
    Diagnostic::new(message).at(entry.key_span.clone()).hint(hint)
}

/// `[http] listen = …`: the service's name was forgotten.
fn unnamed(kind: &str, entry: &Entry<'_, '_>) -> Diagnostic {
    Diagnostic::new(format!("`{}` belongs to a service, and this one has no name", entry.key))
        .at(entry.key_span.clone())
        .hint(format!("write `[{kind}.main]` instead of `[{kind}]`; any name will do"))
}

#[cfg(test)]
mod tests;
