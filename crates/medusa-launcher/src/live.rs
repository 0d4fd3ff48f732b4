//! The services of a running server: how they follow a configuration that was changed.
//!
//! One that is written as before isn't touched. What services share (`[tls]` for instance) stays as it was read
//! at the start, and so does a service that keeps something which no other may keep beside it; both are said.
//! A configuration that can't be served whole changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use medusa_core::metrics::Metrics;
use medusa_core::server::{ChangeError, Handle};
use medusa_core::{BuildContext, Reloads, Service, ServiceNames};
use medusa_mail::QueueOwners;
use medusa_resolver::{Door, Doors};
use toml::{Table, Value};

use crate::config::diagnostic::{Diagnostic, Diagnostics, Source};
use crate::config::document::Document;
use crate::kinds::Kinds;
use crate::plan::{self, LIMITS, Mount, Plan, SERVER_TABLES};
use crate::{resolver, serving};

/// The services that run, and what it takes to make others.
pub(crate) struct Live {
    /// The file of the configuration; none of what is built in.
    path: Option<PathBuf>,
    kinds: Kinds,
    context: BuildContext,
    handle: Handle,
    /// The tables that aren't services, as they are in use.
    shared: Table,
    services: BTreeMap<String, Running>,
    /// Those that kept state and were taken out.
    parting: BTreeSet<String>,
    /// How long sessions may take to end.
    drain: Drain,
}

/// How long sessions may take to end, as it is written now.
pub(crate) type Drain = Arc<Mutex<Duration>>;

/// A service that runs.
struct Running {
    written: Wording,
    reloads: Reloads,
    keeps_state: bool,
}

/// What is written of a service: its table, and `[limits]`.
type Wording = (Value, Option<Value>);

/// A service before it runs.
pub(crate) struct Mounted {
    name: String,
    reloads: Reloads,
    keeps_state: bool,
}

/// Which services are to come and to go, by their names. One that is in both is replaced.
#[derive(Debug, PartialEq, Eq)]
struct Changes {
    coming: BTreeSet<String>,
    leaving: BTreeSet<String>,
}

impl Mounted {
    pub(crate) fn of(mount: &Mount<'_>) -> Mounted {
        let service = &mount.service;
        let (name, keeps_state) = (service.parts().name().to_string(), service.keeps_state());
        Mounted { name, reloads: mount.reloads.clone(), keeps_state }
    }
}

impl Live {
    /// What `handle` runs, made from `source` in `context`.
    pub(crate) fn new(
        source: &Source,
        path: Option<PathBuf>,
        kinds: &Kinds,
        context: BuildContext,
        handle: Handle,
        mounted: Vec<Mounted>,
        drain: Drain,
    ) -> Live {
        let shared = parsed(source);
        let mut written = wordings(&shared, kinds);
        let running = mounted.into_iter().filter_map(|Mounted { name, reloads, keeps_state }| {
            let written = written.remove(&name)?;
            Some((name, Running { written, reloads, keeps_state }))
        });
        let services = running.collect();
        let parting = BTreeSet::new();
        Live { path, kinds: kinds.clone(), context, handle, shared, services, parting, drain }
    }

    /// Reads everything again that an operator may have changed, and says in the log what has come of it.
    pub(crate) fn read_again(&mut self) {
        let before: BTreeSet<String> = self.services.keys().cloned().collect();
        match self.follow() {
            Ok(()) => {}
            Err(errors) => {
                for (place, message) in errors.lines() {
                    tracing::error!(at = place, "the configuration in use stays: {message}");
                }
            }
        }
        // Those that have just come have read their files.
        for (_, running) in self.services.iter().filter(|(name, _)| before.contains(*name)) {
            running.reloads.run();
        }
    }

    fn follow(&mut self) -> Result<(), Diagnostics> {
        let Some(path) = &self.path else { return Ok(()) };
        let source = plan::source_at(path)?;
        let document = Document::parse(&source)?;
        // What `medusa check` refuses is refused, be it in a service that stays as it is.
        let sound = Plan::make(&document, &self.kinds, &plan::folder_of(path), serving::no_access)?;
        let drain = sound.server.drain();
        drop(sound);
        let table = parsed(&source);
        self.tell_of_shared(&table);
        let written = wordings(&table, &self.kinds);
        let changes = Changes::between(&self.services, &written);
        let names = ServiceNames::new(written.keys().cloned().collect());
        let queues = self.queues(|name| !changes.leaving.contains(name));
        let context = self.context.clone().with_shared(names).with_shared(queues.clone());
        let doors = self.context.shared::<Doors>();
        let shut = Shut::before(doors.as_deref(), &changes.coming);
        let outcome = plan::build(&document, &self.kinds, context, &changes.coming)
            .and_then(|mounts| self.carry_out(&document, changes, mounts, &written, drain));
        let came = outcome.as_ref().unwrap_or(const { &BTreeSet::new() });
        shut.but(came);
        let queues = queues.of(|name| came.contains(name));
        let queues = self.queues(|name| self.services.contains_key(name)).and(&queues);
        self.context = self.context.clone().with_shared(queues);
        self.forget_others();
        outcome.map(|_| ())
    }

    /// Has the server do it. Says which services came.
    fn carry_out(
        &mut self,
        document: &Document<'_>,
        mut changes: Changes,
        mut mounts: Vec<Mount<'_>>,
        written: &BTreeMap<String, Wording>,
        drain: Duration,
    ) -> Result<BTreeSet<String>, Diagnostics> {
        let states: Vec<_> = mounts.iter().map(Mounted::of).collect();
        let late = self.put_off(&mut changes, &states);
        mounts.retain(|mount| !late.contains(&**mount.service.parts().name()));
        for name in &late {
            tracing::warn!(
                "[{name}] keeps something on disk that isn't handed over while the server runs: it is changed at \
                 the next start, or at HUP once its predecessor has been taken out and has ended"
            );
        }
        // They listen nowhere, so nothing keeps them from being there first.
        let resolvers = resolver::services(&self.context);
        let names: Vec<&str> = changes.leaving.iter().map(String::as_str).collect();
        let (tables, services): (Vec<_>, Vec<Box<dyn Service>>) = mounts
            .into_iter()
            .map(|mount| ((mount.service.parts().name().to_string(), mount.table), mount.service))
            .unzip();
        let changed = self
            .handle
            .change(&[], resolvers, None)
            .and_then(|_| self.handle.change(&names, services, Some(drain)));
        let bound = changed.map_err(|error| {
            let complaints = match error {
                ChangeError::Bind(errors) => serving::not_bound(&errors, &tables),
                other => vec![Diagnostic::new(other.to_string())],
            };
            Diagnostics::new(document.source.clone(), complaints)
        })?;
        for name in changes.leaving.difference(&changes.coming) {
            let left = self.services.remove(name);
            if left.is_some_and(|left| left.keeps_state) {
                self.parting.insert(name.clone());
            }
            if let Some(doors) = self.context.shared::<Doors>() {
                doors.close(name);
            }
            tracing::info!(service = %name, "it is no longer served");
        }
        let came = states.into_iter().filter(|one| !late.contains(&one.name));
        for Mounted { name, reloads, keeps_state } in came {
            let Some(written) = written.get(&name).cloned() else { continue };
            let is_new = !changes.leaving.contains(&name);
            for bound in bound.iter().filter(|bound| bound.service == name) {
                let how =
                    if is_new { "it is served now" } else { "it is served as it is written now" };
                tracing::info!(service = %name, address = %bound.address, "{how}");
            }
            self.services.insert(name, Running { written, reloads, keeps_state });
        }
        if changes.coming.is_empty() && changes.leaving.is_empty() && late.is_empty() {
            tracing::info!("the services are unchanged");
        }
        *self.drain.lock().unwrap_or_else(PoisonError::into_inner) = drain;
        Ok(changes.coming)
    }

    /// Takes out of `changes` what must wait: one that keeps state, where another of its kind leaves that does.
    fn put_off(&mut self, changes: &mut Changes, coming: &[Mounted]) -> BTreeSet<String> {
        let parting = self.handle.leaving();
        self.parting.retain(|name| parting.contains(name));
        let leaving = changes.leaving.iter();
        let leaving =
            leaving.filter(|name| self.services.get(*name).is_some_and(|one| one.keeps_state));
        let coming = coming.iter().filter(|one| one.keeps_state).map(|one| &one.name);
        let (leaving, coming): (BTreeSet<_>, BTreeSet<_>) = (leaving.collect(), coming.collect());
        let kinds = |names: &BTreeSet<&String>| -> BTreeSet<String> {
            names.iter().map(|name| kind_of(name).to_owned()).collect()
        };
        let gone = self.parting.iter().collect();
        let both = &(&kinds(&leaving) | &kinds(&gone)) & &kinds(&coming);
        let late: BTreeSet<String> = (&leaving | &coming)
            .into_iter()
            .filter(|name| both.contains(kind_of(name)))
            .cloned()
            .collect();
        changes.leaving.retain(|name| !late.contains(name));
        changes.coming.retain(|name| !late.contains(name));
        late
    }

    /// Whose which queue is, of those that are kept.
    fn queues(&self, is_kept: impl Fn(&str) -> bool) -> QueueOwners {
        let queues = self.context.shared::<QueueOwners>();
        queues.map(|queues| queues.of(is_kept)).unwrap_or_default()
    }

    fn tell_of_shared(&self, table: &Table) {
        for name in SERVER_TABLES.iter().filter(|name| **name != LIMITS) {
            let (mut used, mut read) = (self.shared.get(*name).cloned(), table.get(*name).cloned());
            for one in [&mut used, &mut read] {
                // That holds from now on.
                let _ = one.as_mut().and_then(Value::as_table_mut).map(|one| one.remove("drain"));
            }
            if used != read && !(is_empty(used.as_ref()) && is_empty(read.as_ref())) {
                tracing::warn!("[{name}] has changed: that takes effect at the next start");
            }
        }
    }

    /// Takes those out of the metrics that aren't served, be it that they couldn't be.
    fn forget_others(&self) {
        let Some(metrics) = self.context.shared::<Metrics>() else { return };
        for (name, _) in metrics.all() {
            let is_service = self.kinds.named(kind_of(&name)).is_some();
            if is_service && !self.services.contains_key(&*name) {
                metrics.forget(&name);
            }
        }
    }
}

impl Changes {
    fn between(
        running: &BTreeMap<String, Running>,
        written: &BTreeMap<String, Wording>,
    ) -> Changes {
        let differs = |name: &String, wording: &Wording| {
            running.get(name).is_none_or(|running| running.written != *wording)
        };
        let coming = written.iter().filter(|(name, wording)| differs(name, wording));
        let coming: BTreeSet<String> = coming.map(|(name, _)| name.clone()).collect();
        let leaves = |name: &&String| !written.contains_key(*name) || coming.contains(*name);
        let leaving = running.keys().filter(leaves).cloned().collect();
        Changes { coming, leaving }
    }
}

/// The doors that stood under names which services to come have too: building one opens its door at once.
struct Shut<'d> {
    doors: Option<&'d Doors>,
    before: Vec<(String, Option<Arc<dyn Door>>)>,
}

impl<'d> Shut<'d> {
    fn before(doors: Option<&'d Doors>, names: &BTreeSet<String>) -> Shut<'d> {
        let named = |name: &String| (name.clone(), doors.and_then(|doors| doors.named(name)));
        Shut { doors, before: names.iter().map(named).collect() }
    }

    /// Puts them back, but for those of services that came.
    fn but(self, came: &BTreeSet<String>) {
        let Some(doors) = self.doors else { return };
        for (name, door) in self.before.into_iter().filter(|(name, _)| !came.contains(name)) {
            match door {
                Some(door) => doors.open(name, door),
                None => drop(doors.close(&name)),
            }
        }
    }
}

/// The text as values without their places. It was parsed before.
fn parsed(source: &Source) -> Table {
    source.text.parse().unwrap_or_default()
}

/// What is written of each service.
fn wordings(table: &Table, kinds: &Kinds) -> BTreeMap<String, Wording> {
    let limits = table.get(LIMITS);
    let mut all = BTreeMap::new();
    for kind in kinds.names() {
        let services = table.get(kind).and_then(Value::as_table).into_iter().flatten();
        for (name, value) in services {
            all.insert(format!("{kind}.{name}"), (value.clone(), limits.cloned()));
        }
    }
    all
}

fn kind_of(name: &str) -> &str {
    name.split_once('.').map_or(name, |(kind, _)| kind)
}

/// A table without a key is as good as none.
fn is_empty(value: Option<&Value>) -> bool {
    value.is_none_or(|value| value.as_table().is_some_and(Table::is_empty))
}
