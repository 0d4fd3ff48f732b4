//! What the services of a configuration share: certificates, accounts, metrics, resolvers.
//!
//! A plug-in finds each by its type in its `BuildContext`: `ServerTls`, `Logins`, `Arc<Accounts>`,
//! `Metrics`, `ServiceNames`, `Arc<dyn Resolver>`, `Resolvers`, `Doors`, `QueueOwners`; and its own `Reloads`.
//! What is in them is read elsewhere.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use medusa_accounts::{Accounts, Logins, ThrottleLimits};
use medusa_core::metrics::Metrics;
use medusa_core::tls::ServerTls;
use medusa_core::{AccessSink, BuildContext, BuildError, Service, ServiceNames};
use medusa_mail::QueueOwners;
use medusa_resolver::Doors;

use crate::accounts::{self, Services, UsersFile};
use crate::config::diagnostic::Diagnostic;
use crate::config::document::Table;
use crate::table::Table as Rows;
use crate::{resolver, tls};

/// What services share.
pub(crate) struct Shared {
    /// Counts for all of them.
    pub metrics: Metrics,
    /// The certificates, where there are any.
    pub tls: Option<Arc<ServerTls>>,
    /// A row for each certificate: file, last day, names.
    pub certificates: Vec<[String; 3]>,
    /// The accounts and their file, where there is one.
    pub accounts: Option<(UsersFile, Arc<Accounts>)>,
    context: BuildContext,
    /// The tables that are there and can't be used.
    broken: Vec<&'static str>,
}

impl Shared {
    /// Reads `[tls]`, `[accounts]` and `[resolver]`. Relative paths begin at `folder`.
    pub(crate) fn read(
        root: &Table<'_, '_>,
        folder: &Path,
        services: Services,
        errors: &mut Vec<Diagnostic>,
    ) -> Self {
        let metrics = Metrics::default();
        let mut context = BuildContext::new("", "", folder)
            .with_shared(metrics.clone())
            .with_shared(ServiceNames::new(services.names.clone()))
            .with_shared(Doors::default())
            .with_shared(QueueOwners::default());
        let (mut certificates, mut broken) = (Vec::new(), Vec::new());
        match tls::read(root, folder, SystemTime::now(), errors) {
            Some(tls) => {
                certificates = tls.rows;
                context = context.with_shared(tls.server);
            }
            None => broken.extend(root.entry(tls::TABLE).map(|_| tls::TABLE)),
        }
        let accounts = accounts::read(root, folder, services, errors);
        let accounts = accounts.map(|(file, accounts)| (file, Arc::new(accounts)));
        match &accounts {
            Some((_, accounts)) => {
                // One for all services: failures are counted across protocols.
                let logins = Logins::new(Arc::clone(accounts) as _, ThrottleLimits::default());
                context = context.with_shared(Arc::clone(accounts)).with_shared(logins);
            }
            None => broken.extend(root.entry(accounts::TABLE).map(|_| accounts::TABLE)),
        }
        context = resolver::share(root, folder, context, errors);
        let tls = context.shared::<ServerTls>();
        Self { metrics, tls, certificates, accounts, context, broken }
    }

    /// The surroundings that every service is built in.
    pub(crate) fn context(&self, access: Option<Arc<dyn AccessSink>>) -> BuildContext {
        let context = self.context.clone();
        match access {
            Some(access) => context.with_access(access),
            None => context,
        }
    }

    /// The same, for services that are built later. There is no other afterwards.
    pub(crate) fn take_context(&mut self, access: Option<Arc<dyn AccessSink>>) -> BuildContext {
        let context = self.context(access);
        self.context = BuildContext::new("", "", "");
        context
    }

    /// What services that were built want to be mounted before them.
    pub(crate) fn services(&self) -> Vec<Box<dyn Service>> {
        resolver::services(&self.context)
    }

    /// The certificates as a table, and how many accounts there are.
    pub(crate) fn told(&self) -> String {
        let mut told = String::new();
        if !self.certificates.is_empty() {
            told = format!("\n{}", Rows::of_certificates(&self.certificates));
        }
        if let Some((file, accounts)) = &self.accounts {
            let count = accounts.directory().len();
            let noun = if count == 1 { "account" } else { "accounts" };
            told.push_str(&format!("\n{count} {noun} in {}\n", file.name()));
        }
        told
    }

    /// Whether a plug-in asks for nothing but a table that is there, and broken: what is wrong with the
    /// table is told already.
    pub(crate) fn explains(&self, error: &BuildError) -> bool {
        let hint = error.hint.as_deref().unwrap_or_default();
        let key = error.key.as_deref().unwrap_or_default();
        self.broken.iter().any(|table| {
            let named = format!("[{table}]");
            error.message.contains(&named) || hint.contains(&named) || key.contains(table)
        })
    }
}
