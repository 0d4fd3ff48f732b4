//! `[dns.NAME]`: what the keys mean together, and everything that can be wrong with them, found before
//! anything is served.

use std::path::Path;
use std::sync::Arc;

use medusa_core::config::Listen;
use medusa_core::metrics::Metrics;
use medusa_core::{BuildContext, BuildError, Network, Plugin, Reloads, Service};
use medusa_resolver::{BadUpstream, Doors, Forwarding, Resolvers, Upstream};

use crate::answer::Settings;
use crate::config::DnsConfig;
use crate::name::Name;
use crate::recursion::Counters;
use crate::service::{DnsService, whole_seconds};
use crate::store::{ZoneFiles, load_with_files};
use crate::transfer::{Desk, Kept, Keys, kept, keys};
use crate::zone::{Zone, Zones, name_from_text};

/// The plug-in: `[dns.NAME]`.
#[derive(Debug)]
pub struct Dns;

impl Plugin for Dns {
    const KIND: &'static str = "dns";
    type Config = DnsConfig;

    fn build(config: DnsConfig, cx: &BuildContext) -> Result<Box<dyn Service>, BuildError> {
        let forward = forward(&config, cx)?;
        if config.access && cx.access().is_none() {
            return Err(BuildError::at("access", "there is no access log")
                .hint("name a file: `[log]` with `access = \"access.log\"`"));
        }
        let defaults = DnsService::default_limits();
        let parts = cx.parts(&config.listen, &config.tls_listen, "127.0.0.1:5353", defaults)?;
        let keys = keys(&config.key)?;
        let (zones, files) = zones(&config, cx, &keys)?;
        let mut settings = Settings {
            nsid: config.nsid.map(|nsid| nsid.into_bytes().into()),
            version: config.version.map(Into::into),
            ..Settings::default()
        };
        if let Some(idle) = parts.limits().idle {
            settings.keepalive = u16::try_from(idle.as_millis() / 100).unwrap_or(u16::MAX);
        }
        let mut summary = match &zones[..] {
            [] => "no zones".to_owned(),
            [(one, _)] => one.apex().to_string(),
            [(first, _), rest @ ..] => format!("{} and {} more", first.apex(), rest.len()),
        };
        if let Some((resolver, _)) = &forward {
            let servers: Vec<_> = resolver.servers().iter().map(ToString::to_string).collect();
            summary = format!("{summary}, others from {}", servers.join(", "));
        }
        let set = Zones::new(zones.iter().map(|(zone, _)| Arc::clone(zone)));
        let desk = Desk::new(set.clone(), keys, config.transfer_to, whole_seconds);
        for (zone, kept) in zones {
            desk.keep(zone.apex().clone(), kept.unwrap_or_default());
        }
        let access = cx.access().filter(|_| config.access);
        let parts = parts.with_access(access).with_summary(summary);
        let mut service = DnsService::new(parts, set)
            .with_settings(settings)
            .with_desk(desk)
            .with_rate_limit(config.rate_limit.0)
            .with_files(files)
            .with_metrics(cx.shared::<Metrics>().map(|all| all.service(&cx.service_name())));
        if let Some((resolver, networks)) = forward {
            service = service.with_counted_forwarding(resolver, networks, counters(cx));
        }
        if let (Some(reloads), Some(reload)) = (cx.shared::<Reloads>(), service.reload()) {
            reloads.register(reload);
        }
        if let Some(doors) = cx.shared::<Doors>() {
            doors.open(cx.service_name(), service.door());
        }
        Ok(Box::new(service))
    }
}

/// What is asked for names of others, and for whom.
type Forward = (Forwarding, Vec<Network>);

/// Who is asked for names of others, if anybody is.
fn forward(config: &DnsConfig, cx: &BuildContext) -> Result<Option<Forward>, BuildError> {
    if config.forward.is_empty() {
        if config.recursion_for.is_some() {
            tracing::warn!(
                "[{}] recursion_for is of no use without servers in `forward`",
                cx.service_name()
            );
        }
        return Ok(None);
    }
    let mut servers = Vec::new();
    for (index, server) in config.forward.iter().enumerate() {
        let key = format!("forward[{index}]");
        let upstream: Upstream =
            server.parse().map_err(|bad: BadUpstream| BuildError::at(&key, bad.to_string()))?;
        let own =
            |listen: &Listen| matches!(listen, Listen::Inet(own) if *own == upstream.address());
        if config.listen.iter().chain(&config.tls_listen).any(own) {
            return Err(BuildError::at(key, format!("`{server}` is this server itself")));
        }
        servers.push(upstream);
    }
    let resolvers = cx.shared::<Resolvers>().ok_or_else(|| {
        BuildError::at("forward", "this program has no resolver that could ask other servers")
    })?;
    let resolver =
        resolvers.asking(&servers).map_err(|error| BuildError::at("forward", error.to_string()))?;
    // Whoever serves more than that says so: a server that resolves for all is misused (RFC 5358).
    let networks = config.recursion_for.clone().unwrap_or_else(|| {
        let loopback = ["127.0.0.0/8", "::1"].iter();
        loopback.filter_map(|network| network.parse().ok()).collect()
    });
    Ok(Some((resolver, networks)))
}

fn counters(cx: &BuildContext) -> Counters {
    let Some(metrics) = cx.shared::<Metrics>() else { return Counters::default() };
    let metrics = metrics.service(&cx.service_name());
    Counters {
        questions: metrics.counter("forwarded_questions"),
        known: metrics.counter("forwarded_from_cache"),
        failures: metrics.counter("forwarded_failures"),
    }
}

/// A zone, and how it is kept where there is anything to say.
type Served = (Arc<Zone>, Option<Kept>);

/// Reads all zones. Two of one name are a mistake.
fn zones(
    config: &DnsConfig,
    cx: &BuildContext,
    keys: &Keys,
) -> Result<(Vec<Served>, ZoneFiles), BuildError> {
    let mut zones: Vec<Served> = Vec::new();
    let mut files = ZoneFiles::default();
    let mut add = |key: String, zone: Zone, kept: Option<Kept>| {
        if zones.iter().any(|(other, _)| other.apex() == zone.apex()) {
            let message = format!("the zone {} is there already", zone.apex());
            return Err(BuildError::at(key, message));
        }
        zones.push((Arc::new(zone), kept));
        Ok(())
    };
    for (index, path) in config.zones.iter().enumerate() {
        let key = format!("zones[{index}]");
        let zone = read(cx, &key, path, None, &mut files)?;
        add(key, zone, None)?;
    }
    for (index, entry) in config.zone.iter().enumerate() {
        let name = &entry.name;
        let key = format!("zone[{index}].name");
        let apex = name_from_text(name)
            .map_err(|message| BuildError::at(&key, format!("`{name}` is no name: {message}")))?;
        let mut kept = kept(entry, index, cx, keys)?;
        let zone = if kept.is_secondary() {
            kept.last_copy(&apex)
        } else {
            let file = entry.file.as_ref().ok_or_else(|| {
                BuildError::at(format!("zone[{index}]"), "it doesn't say where the zone is").hint(
                    "name a file: `file = \"zones/example.org.zone\"`, \
                     or where it comes from: `primary = [\"192.0.2.1:53\"]`",
                )
            })?;
            let file_key = format!("zone[{index}].file");
            let zone = read(cx, &file_key, file, Some(&apex), &mut files)?;
            kept.with_journal(zone).map_err(|message| BuildError::at(file_key, message))?
        };
        add(key, zone, Some(kept))?;
    }
    Ok((zones, files))
}

fn read(
    cx: &BuildContext,
    key: &str,
    path: &Path,
    apex: Option<&Name>,
    files: &mut ZoneFiles,
) -> Result<Zone, BuildError> {
    let path = cx.path(path);
    let (reading, paths) = load_with_files(&path, apex);
    for warning in &reading.warnings {
        tracing::warn!("{warning}");
    }
    if let Ok(zone) = &reading.zone {
        files.add(path.clone(), zone.apex().clone(), paths);
    }
    reading.zone.map_err(|faults| {
        let first = faults.first().map_or_else(String::new, ToString::to_string);
        let error = BuildError::at(key, format!("the zone can't be served: {first}"));
        match faults.len() {
            0 | 1 => error,
            count => error.hint(format!(
                "there are {count} errors: `medusa zone check {}` shows them all",
                path.display()
            )),
        }
    })
}
