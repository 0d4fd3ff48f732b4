//! The keys of sending made into a [`Sending`]: `queue`, `relay`, `retry`, `expire`, `warn` and
//! `[[smtp.NAME.destination]]`, and everything that can be wrong with them.

use std::num::NonZeroUsize;
use std::sync::Arc;

use medusa_accounts::{Credentials, Password};
use medusa_core::metrics::Metrics;
use medusa_core::{BuildContext, BuildError};
use medusa_mail::{Commits, DiskQueue, MailStore, QueueOwners, RealDisk, same_folder};
use medusa_resolver::Resolver;

use crate::config::{DestinationConfig, SmtpConfig};
use crate::sending::{Authorities, Outbound, Relay, Schedule, Security, Sending, Way};
use crate::service::{Directory, Role};

/// Who has accounts here.
type Local = (Vec<String>, Arc<dyn Directory>, Arc<dyn MailStore>);

/// The longest password of a file, with its line end.
const PASSWORD_OCTETS: usize = 1024;

/// Sending as the configuration has it, or none.
pub(crate) fn sending(
    config: &SmtpConfig,
    hostname: &str,
    local: Local,
    cx: &BuildContext,
) -> Result<Option<Sending>, BuildError> {
    let Some(queue) = &config.queue else {
        return without_queue(config).map(|()| None);
    };
    if config.role != Role::Submission {
        return Err(BuildError::at(
            "queue",
            "nothing is sent on from here: mail for other domains isn't taken",
        )
        .hint("a queue belongs to a service with `role = \"submission\"`"));
    }
    let folder = cx.path(queue);
    if let Some(owners) = cx.shared::<QueueOwners>() {
        owners.claim(&folder, &cx.service_name()).map_err(|owner| {
            let message = format!("`{}` is the queue of `[{owner}]` already", queue.display());
            BuildError::at("queue", message)
                .hint("a queue is one service's alone: name another folder")
        })?;
    }
    DiskQueue::check(&folder).map_err(|error| {
        let message = format!("there can't be a queue in `{}`: {error}", queue.display());
        BuildError::at("queue", message)
    })?;
    let mailboxes = config.mailboxes.as_ref().map(|mailboxes| cx.path(mailboxes));
    if mailboxes.is_some_and(|mailboxes| same_folder(&mailboxes, &folder)) {
        return Err(BuildError::at("queue", "the accounts' mail is in that folder")
            .hint("name another one for what is to be sent"));
    }
    let queue = DiskQueue::at(&folder, Arc::new(RealDisk), Commits::InThread);
    let relay = config.relay.as_deref().map(|text| relay("relay", text)).transpose()?;
    let mut ways = Vec::new();
    for (number, destination) in config.destination.iter().flatten().enumerate() {
        ways.push(way(number, destination, cx)?);
    }
    let (domains, directory, store) = local;
    let mut outbound = Outbound::new(Arc::new(queue), hostname)
        .with_relay(relay)
        .with_ways(ways)
        .with_schedule(schedule(config)?)
        .with_local(domains, directory, store)
        .with_access(cx.access());
    if let Some(resolver) = cx.shared::<Arc<dyn Resolver>>() {
        outbound = outbound.with_resolver((*resolver).clone());
    }
    if let Some(metrics) = cx.shared::<Metrics>() {
        outbound = outbound.with_metrics(metrics.service(&cx.service_name()));
    }
    let sending = outbound.build();
    sending.map(Some).map_err(|error| BuildError::at("destination", error.to_string()))
}

fn without_queue(config: &SmtpConfig) -> Result<(), BuildError> {
    let keys = [
        ("relay", config.relay.is_some()),
        ("retry", config.retry.is_some()),
        ("expire", config.expire.is_some()),
        ("warn", config.warn.is_some()),
        ("destination", config.destination.is_some()),
    ];
    match keys.into_iter().find(|(_, is_set)| *is_set) {
        None => Ok(()),
        Some((key, _)) => {
            let message =
                format!("`{key}` is about mail that is sent on, and there is no queue for it");
            Err(BuildError::at(key, message).hint("name a folder: `queue = \"queue\"`"))
        }
    }
}

fn schedule(config: &SmtpConfig) -> Result<Schedule, BuildError> {
    let mut schedule = Schedule::default();
    if let Some(retry) = &config.retry {
        if retry.is_empty() || retry.iter().any(|wait| wait.0.is_zero()) {
            return Err(BuildError::at("retry", "there must be a wait between attempts")
                .hint("as in `retry = [\"1m\", \"5m\", \"15m\", \"1h\"]`"));
        }
        schedule.retry = retry.iter().map(|wait| wait.0).collect();
    }
    if let Some(expire) = config.expire {
        schedule.expire = expire.0;
    }
    schedule.warn = config.warn.map(|warn| warn.0);
    Ok(schedule)
}

fn relay(key: &str, text: &str) -> Result<Relay, BuildError> {
    Relay::parse(text).ok_or_else(|| {
        BuildError::at(key, format!("`{text}` is no server"))
            .hint("write a host and, unless it is 25, a port, as in \"mail.example.org:587\"")
    })
}

fn way(number: usize, config: &DestinationConfig, cx: &BuildContext) -> Result<Way, BuildError> {
    let key = |name: &str| format!("destination[{number}].{name}");
    let mut way = Way::new(&config.domain);
    let plain = config.domain.strip_prefix("*.").unwrap_or(&config.domain);
    if config.domain != "*" && (plain.contains('*') || !crate::address::is_host(plain)) {
        return Err(BuildError::at(key("domain"), "that is not a domain's name")
            .hint("write `example.org`, `*.example.org` or `*`"));
    }
    way.relay = match &config.relay {
        Some(text) => Some(relay(&key("relay"), text)?),
        None => None,
    };
    // A password isn't shown to whoever happens to answer.
    let unsaid = if config.user.is_some() { Security::Require } else { Security::default() };
    way.security = config.tls.unwrap_or(unsaid);
    way.connections = config.connections.map(NonZeroUsize::get);
    way.pause = config.pause.map(|pause| pause.0);
    match (&config.ca, way.security) {
        (None, _) => {}
        (Some(path), Security::Require) => way.authorities = Authorities::File(cx.path(path)),
        (Some(_), _) => {
            return Err(BuildError::at(
                key("ca"),
                "certificates are looked at with `tls = \"require\"` alone",
            ));
        }
    }
    way.login = match (&config.user, &config.password_file) {
        (None, None) => None,
        (Some(_), _) if config.relay.is_none() => {
            return Err(BuildError::at(key("user"), "one logs in to a relay alone"));
        }
        (Some(name), Some(file)) => {
            let path = cx.path(file);
            let read = std::fs::read_to_string(&path);
            let text = read.map_err(|error| {
                let message = format!("`{}` can't be read: {error}", path.display());
                BuildError::at(key("password_file"), message)
            })?;
            let password = text.lines().next().unwrap_or_default();
            if password.is_empty() || text.len() > PASSWORD_OCTETS {
                return Err(BuildError::at(
                    key("password_file"),
                    "its first line must hold the password",
                ));
            }
            Some(Credentials {
                name: name.clone(),
                authzid: None,
                password: Password::new(password),
            })
        }
        (Some(_), None) => {
            return Err(BuildError::at(key("user"), "there is no password for that")
                .hint("name a file that holds it: `password_file = \"relay.password\"`"));
        }
        (None, Some(_)) => {
            return Err(
                BuildError::at(key("password_file"), "whose password is that?").hint("add `user`")
            );
        }
    };
    Ok(way)
}
