//! A server's life: bind, give up rights, serve, drain at a signal, end.
//!
//! Everything that may be wrong with the configuration is told before a shard runs, an address that is
//! taken included.

use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use medusa_core::config::Listen;
use medusa_core::server::{BindError, BindErrors, Bound, Handle};
use medusa_core::{AccessSink, Server};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::access::AccessLog;
use crate::cli::Arguments;
use crate::config::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::config::document::{self as config, Document};
use crate::kinds::Kinds;
use crate::live::{Drain, Live, Mounted};
use crate::plan::Plan;
use crate::reload::Watched;
use crate::shared::Shared;
use crate::table::{Table, serves};
use crate::user::{Identity, raise_file_limit};
use crate::{Failure, logs, print_out};

/// Serves what `source` says until a signal ends it. It is read again from `path`, if it comes from there.
pub(crate) fn serve(
    source: &Source,
    path: Option<&Path>,
    kinds: &Kinds,
    folder: &Path,
    arguments: &Arguments,
) -> Result<(), Failure> {
    let document = Document::parse(source)?;
    let mut access = None;
    let mut plan = Plan::make(&document, kinds, folder, |path| {
        let log = AccessLog::new(path);
        access = Some(Arc::clone(&log));
        log
    })?;
    logs::start(arguments.log, plan.log.level, plan.log.format.unwrap_or_default())
        .map_err(Failure::Usage)?;
    let identity = identity(&plan)?;
    raise_file_limit();

    // Registered before anything is bound, so that an early signal finds nothing half done.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signals")?;
    let shards = arguments.shards.or(plan.server.shards).unwrap_or_else(one_per_core);
    let mounted: Vec<_> = plan.mounts.iter().map(Mounted::of).collect();
    let server = bind(&mut plan, shards)?;
    if let Some(identity) = identity {
        identity.assume().context("the user can't be changed")?;
    }
    let writer = match &access {
        Some(log) => Some(log.start().map_err(|error| {
            plan.fault_at("log.access", format!("the access log can't be opened: {error}"), None)
        })?),
        None => None,
    };

    for warning in &plan.warnings {
        tracing::warn!(at = warning.place(source), "{}", warning.message);
    }
    let bound = server.bound().to_vec();
    let running = server.start().context("the shards can't be started")?;
    let sink = access.clone().map(|access| access as Arc<dyn AccessSink>);
    let context = plan.shared.take_context(sink);
    let path = path.map(Path::to_owned);
    let drain = Drain::new(Mutex::new(plan.server.drain()));
    let live =
        Live::new(source, path, kinds, context, running.handle(), mounted, Arc::clone(&drain));
    let Shared { tls, accounts, .. } = &mut plan.shared;
    let watch = Watched::new(tls.clone(), accounts.take(), live).start();
    let watch =
        watch.context("the thread that reloads").inspect_err(|_| running.handle().stop())?;
    // One write, and its last line tells whoever waits for it that connections are taken now.
    let table = table_of(&bound);
    print_out(&format!(
        "{table}ready: {} on {}, TERM or INT ends it\n",
        count(bound.len(), "listener"),
        count(shards.get(), "shard")
    ));
    tracing::info!(shards, listeners = bound.len(), "serving");

    let handle = running.handle();
    let closer = signals.handle();
    let reload = watch.asker();
    let listening = std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            let mut draining = false;
            for signal in signals.forever() {
                let within = *drain.lock().unwrap_or_else(PoisonError::into_inner);
                draining = heed(signal, draining, &handle, within, || {
                    if let Some(access) = &access {
                        access.reopen();
                    }
                    // It is there as long as the shards are.
                    let _ = reload.as_ref().map(|reload| reload.send(()));
                });
            }
        })
        .context("the thread for signals")?;
    let ended = running.join();
    closer.close();
    if listening.join().is_err() {
        tracing::error!("the thread for signals panicked");
    }
    drop(watch);
    // What is still in its buffer is written now.
    drop(writer);
    ended.context("a shard failed")?;
    tracing::info!("ended");
    Ok(())
}

/// Does what a signal asks for; whether the server is draining then.
fn heed(
    signal: i32,
    draining: bool,
    handle: &Handle,
    drain: std::time::Duration,
    look_again: impl FnOnce(),
) -> bool {
    match signal {
        SIGHUP => {
            look_again();
            return draining;
        }
        _ if draining => {
            tracing::info!("stopping at once");
            handle.stop();
        }
        _ => {
            tracing::info!(within_seconds = drain.as_secs_f64(), "draining");
            handle.drain(Some(drain));
        }
    }
    true
}

/// The user that `[server]` asks for, if this process may become it.
pub(crate) fn identity(plan: &Plan<'_>) -> Result<Option<Identity>, Diagnostics> {
    let Some(name) = &plan.server.user else { return Ok(None) };
    Identity::named(name)
        .map(Some)
        .map_err(|refused| plan.fault_at("server.user", refused.message, refused.hint))
}

/// A sink for a plan that is checked and not served.
pub(crate) fn no_access(_: &Path) -> Arc<dyn AccessSink> {
    struct Nowhere;
    impl AccessSink for Nowhere {
        fn line(&self, _: &[u8]) {}
    }
    Arc::new(Nowhere)
}

fn bind(plan: &mut Plan<'_>, shards: NonZeroUsize) -> Result<Server, Failure> {
    let mut builder = Server::builder().shards(shards.get()).metrics(&plan.shared.metrics);
    for service in plan.shared.services() {
        builder = builder.mount(service);
    }
    let mut tables = Vec::new();
    for mount in plan.mounts.drain(..) {
        tables.push((mount.service.parts().name().to_string(), mount.table));
        builder = builder.mount(mount.service);
    }
    builder.bind().map_err(|errors| {
        Diagnostics::new(plan.document.source.clone(), not_bound(&errors, &tables)).into()
    })
}

/// The complaints about addresses, each where it is written in its service's table.
pub(crate) fn not_bound(
    errors: &BindErrors,
    tables: &[(String, config::Table<'_, '_>)],
) -> Vec<Diagnostic> {
    let complaint = |error: &BindError| {
        let (message, hint) = why_not_bound(error);
        let table = tables.iter().find(|(name, _)| *name == error.service);
        let diagnostic = Diagnostic::new(message).hint(hint);
        match table {
            Some((_, table)) => diagnostic.at(table.find(&error.key)),
            None => diagnostic,
        }
    };
    errors.0.iter().map(complaint).collect()
}

fn why_not_bound(error: &BindError) -> (String, Option<String>) {
    let address = &error.address;
    let port = match address {
        Listen::Inet(address) => address.port(),
        Listen::Unix(_) => 0,
    };
    let (why, hint) = match error.source.kind() {
        io::ErrorKind::AddrInUse if port != 0 => (
            "somebody listens there already".to_owned(),
            Some(format!("`ss -ltnp 'sport = :{port}'` tells who; or choose another port")),
        ),
        io::ErrorKind::PermissionDenied if port != 0 => (
            "this needs rights that the process lacks".to_owned(),
            Some(
                "ports below 1024 need root (see `user` in `[server]`) or CAP_NET_BIND_SERVICE"
                    .to_owned(),
            ),
        ),
        io::ErrorKind::AddrNotAvailable => ("this machine has no such address".to_owned(), None),
        _ => (error.source.to_string(), None),
    };
    (format!("can't listen on `{address}`: {why}"), hint)
}

fn table_of(bound: &[Bound]) -> Table {
    let mut table = Table::of_services();
    for bound in bound {
        let serves = serves(&bound.summary, bound.secured, bound.datagrams);
        table.push(&bound.service, &bound.address, &serves);
    }
    table
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn one_per_core() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}
