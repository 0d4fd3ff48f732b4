//! A configuration made into a service: what the keys mean, and everything that can be wrong with them,
//! found before anything is served.

use std::sync::Arc;

use medusa_accounts::{Accounts, Logins};
use medusa_core::{BuildContext, BuildError, Plugin, Service, ServiceParts};
use medusa_mail::MaildirStore;

use crate::address::is_host;
use crate::config::SmtpConfig;
use crate::outbound;
use crate::service::{Directory, Role, SmtpLimits, SmtpService, default_limits};

/// The plug-in: `[smtp.NAME]`.
///
/// It looks for these among what services share: [`Accounts`] or a handle to them, [`Logins`], for TLS
/// [`ServerTls`](medusa_core::tls::ServerTls), and for sending a [`Resolver`](medusa_resolver::Resolver),
/// [`Metrics`](medusa_core::metrics::Metrics) and [`QueueOwners`](medusa_mail::QueueOwners).
#[derive(Debug)]
pub struct Smtp;

impl Plugin for Smtp {
    const KIND: &'static str = "smtp";
    type Config = SmtpConfig;

    fn build(config: SmtpConfig, cx: &BuildContext) -> Result<Box<dyn Service>, BuildError> {
        let parts = parts(&config, cx)?;
        let hostname = hostname(&config)?;
        let domains = domains(&config)?;
        let Some(accounts) = accounts(cx) else {
            return Err(BuildError::new(
                "there is nobody to deliver to: no accounts are configured",
            )
            .hint("add `[accounts]` with `file = \"users.toml\"`"));
        };
        let store = Arc::new(store(&config, &hostname, cx)?);
        let local = (domains.clone(), accounts.clone() as Arc<dyn Directory>, store.clone() as _);
        let sending = outbound::sending(&config, &hostname, local, cx)?;
        let accounts = accounts as Arc<dyn Directory>;
        let service = SmtpService::new(parts, hostname, domains, accounts, store)
            .with_sending(sending)
            .with_smtp_limits(smtp_limits(&config))
            .with_smuggling(config.smuggling);
        match (config.role, config.plaintext_login) {
            (Role::Mx, Some(_)) => Err(BuildError::at(
                "plaintext_login",
                "nobody logs in here: that is for `role = \"submission\"`",
            )),
            (Role::Mx, None) => Ok(service.build()),
            (Role::Submission, plaintext) => match cx.shared::<Logins>() {
                Some(logins) => Ok(service
                    .with_submission((*logins).clone(), plaintext.unwrap_or_default())
                    .build()),
                None => {
                    Err(BuildError::at("role", "nobody can log in: no accounts are configured")
                        .hint("add `[accounts]` with `file = \"users.toml\"`"))
                }
            },
        }
    }
}

/// The accounts, shared as they are or by a handle.
fn accounts(cx: &BuildContext) -> Option<Arc<Accounts>> {
    let handle = cx.shared::<Arc<Accounts>>().map(|accounts| (*accounts).clone());
    handle.or_else(|| cx.shared::<Accounts>())
}

fn parts(config: &SmtpConfig, cx: &BuildContext) -> Result<ServiceParts, BuildError> {
    let plain = config.listen.as_deref().unwrap_or_default();
    let secured = config.tls_listen.as_deref().unwrap_or_default();
    cx.parts(plain, secured, "127.0.0.1:2525", default_limits())
}

fn hostname(config: &SmtpConfig) -> Result<String, BuildError> {
    match &config.hostname {
        Some(name) if is_host(name) && name.is_ascii() => Ok(name.clone()),
        Some(_) => Err(BuildError::at("hostname", "that is not a host's name")
            .hint("write its full name, as in \"mx.example.test\"")),
        None => Err(BuildError::new("it has no name: others are told one in the greeting")
            .hint("add its full name: `hostname = \"mx.example.test\"`")),
    }
}

fn domains(config: &SmtpConfig) -> Result<Vec<String>, BuildError> {
    let domains = config.domains.clone().unwrap_or_default();
    if domains.is_empty() {
        return Err(BuildError::new("no domain's mail is for it")
            .hint("name what stands behind the `@`: `domains = [\"example.test\"]`"));
    }
    match domains.iter().position(|domain| !is_host(domain) || domain.contains(['[', ':'])) {
        Some(at) => Err(BuildError::at(format!("domains[{at}]"), "that is not a domain's name")),
        None => Ok(domains),
    }
}

fn store(
    config: &SmtpConfig,
    hostname: &str,
    cx: &BuildContext,
) -> Result<MaildirStore, BuildError> {
    let Some(folder) = &config.mailboxes else {
        return Err(BuildError::new("there is no place for mail")
            .hint("name a folder: `mailboxes = \"mail\"`"));
    };
    let folder = cx.path(folder);
    let store = MaildirStore::at(&folder, hostname).map_err(|error| {
        let message = format!("can't keep mail in `{}`: {error}", folder.display());
        BuildError::at("mailboxes", message)
    })?;
    Ok(store.with_quota(config.quota.and_then(|quota| quota.value()).map(|size| size.0)))
}

fn smtp_limits(config: &SmtpConfig) -> SmtpLimits {
    let mut limits = SmtpLimits::default();
    if let Some(message) = config.max_message {
        limits.message = message.value().map(|size| size.0);
    }
    if let Some(recipients) = config.max_recipients {
        limits.recipients = recipients.value();
    }
    limits.greeting_wait =
        config.greeting_wait.map(|period| period.0).filter(|wait| !wait.is_zero());
    limits
}
