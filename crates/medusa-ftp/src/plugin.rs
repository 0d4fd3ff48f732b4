//! `[ftp.NAME]`: what its keys mean, and everything that can be wrong with them, found before anything is
//! served.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

use medusa_accounts::{FileRight, Logins};
use medusa_core::config::{Listen, Rate};
use medusa_core::metrics::Metrics;
use medusa_core::tls::ClientCertificates;
use medusa_core::{BuildContext, BuildError, Plugin, Service, ServiceParts};
use serde::Deserialize;

use crate::home::Visitor;
use crate::homes::Homes;
use crate::passive::PortRange;
use crate::service::FtpService;
use crate::storage::Uploads;

/// The plug-in: `[ftp.NAME]`.
#[derive(Debug)]
pub struct Ftp;

/// One FTP server as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FtpConfig {
    /// Where it listens; with TLS where AUTH TLS asks for it.
    listen: Option<Vec<Listen>>,
    /// Where it listens with TLS from the first octet.
    tls_listen: Option<Vec<Listen>>,
    /// What anonymous visitors read, and accounts without a folder of their own.
    pub(crate) root: Option<PathBuf>,
    passive_ports: Option<PortRange>,
    passive_address: Option<Ipv4Addr>,
    #[serde(default)]
    anonymous: Anonymous,
    #[serde(default)]
    pub(crate) uploads: Uploads,
    data_tls_binding: Option<Binding>,
    /// Said to whoever connects.
    banner: Option<String>,
    /// Said to whoever has logged in.
    pub(crate) greeting: Option<String>,
    /// The name of a file that is shown to whoever goes to its folder.
    pub(crate) message_file: Option<String>,
    /// Of all transfers together.
    pub(crate) upload_rate: Option<Rate>,
    pub(crate) download_rate: Option<Rate>,
    pub(crate) folder: Option<Vec<FolderConfig>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Anonymous {
    #[default]
    No,
    Read,
}

/// A folder of `root` that differs from the rest.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FolderConfig {
    pub(crate) path: String,
    /// What may be done there, by anonymous visitors and by accounts without a folder of their own.
    pub(crate) rights: Option<Vec<FileRight>>,
    pub(crate) message: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Binding {
    Require,
    Off,
}

impl Plugin for Ftp {
    const KIND: &'static str = "ftp";
    type Config = FtpConfig;

    fn build(config: FtpConfig, cx: &BuildContext) -> Result<Box<dyn Service>, BuildError> {
        Ok(Box::new(service(config, cx)?))
    }
}

fn service(config: FtpConfig, cx: &BuildContext) -> Result<FtpService, BuildError> {
    let logins = cx.shared::<Logins>().map(|logins| (*logins).clone());
    let parts = parts(&config, cx)?;
    if config.data_tls_binding.is_some() && parts.tls().is_none() {
        return Err(BuildError::at("data_tls_binding", "there is no TLS to bind")
            .hint("add `[tls]` with a certificate and its key"));
    }
    if config.anonymous == Anonymous::No && logins.is_none() {
        return Err(BuildError::new("nobody could log in: there are no accounts")
            .hint("let everybody read: `anonymous = \"read\"`"));
    }
    if config.anonymous == Anonymous::Read && config.root.is_none() {
        return Err(BuildError::at("anonymous", "there is no folder for anonymous visitors")
            .hint("name one: `root = \"files\"`"));
    }
    let homes = Homes::new(&config, cx)?;
    let known = match config.anonymous {
        Anonymous::Read => homes.visit(Visitor::Anonymous).ok(),
        Anonymous::No => None,
    };
    let home = move |visitor: Visitor<'_>| homes.visit(visitor);
    let summary = config.root.as_ref().map(|path| path.display().to_string());
    let parts = parts.with_summary(summary.unwrap_or_else(|| "accounts".to_owned()));
    let mut builder = FtpService::builder(parts, home);
    if let Some(metrics) = cx.shared::<Metrics>() {
        builder = builder.metrics(&metrics);
    }
    if let Some(visit) = known {
        builder = builder.anonymous_visit(visit);
    }
    if let Some(banner) = config.banner {
        builder = builder.banner(banner);
    }
    Ok(builder
        .anonymous(config.anonymous == Anonymous::Read)
        .logins(logins)
        .passive_ports(config.passive_ports)
        .passive_address(config.passive_address)
        .data_tls_binding(config.data_tls_binding != Some(Binding::Off))
        .build())
}

fn parts(config: &FtpConfig, cx: &BuildContext) -> Result<ServiceParts, BuildError> {
    let plain = config.listen.as_deref().unwrap_or_default();
    let secured = config.tls_listen.as_deref().unwrap_or_default();
    let parts = cx.parts(plain, secured, "127.0.0.1:2121", FtpService::default_limits())?;
    for listener in parts.listeners() {
        if let Listen::Unix(_) = listener.address {
            let message = "FTP needs IP addresses: its data has ports";
            return Err(BuildError::at(listener.key.clone(), message));
        }
    }
    let Some(shared) = parts.tls() else { return Ok(parts) };
    // Tickets of another service are none of this one's.
    let own = shared.for_service(&[], ClientCertificates::NotAsked);
    let own = own.map_err(|error| BuildError::new(error.to_string()))?;
    Ok(parts.with_tls(Arc::new(own)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use medusa_accounts::{Attempt, Authenticate, Denial, Identity, Password, ThrottleLimits};
    use medusa_core::tls::{Certificate, ServerTls};

    use super::*;

    struct Nobody;

    impl Authenticate for Nobody {
        fn authenticate(&self, _: &Attempt, _: &Password) -> Result<Identity, Denial> {
            Err(Denial::Credentials)
        }
    }

    fn logins() -> Logins {
        Logins::new(Arc::new(Nobody), ThrottleLimits::default())
    }

    fn tls(folder: &Path) -> ServerTls {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        ServerTls::new(vec![Certificate { hosts: Vec::new(), chain, key }]).unwrap()
    }

    fn config(change: impl FnOnce(&mut FtpConfig)) -> FtpConfig {
        let mut config = FtpConfig {
            listen: Some(vec!["127.0.0.1:0".parse().unwrap()]),
            root: Some(".".into()),
            anonymous: Anonymous::Read,
            ..FtpConfig::default()
        };
        change(&mut config);
        config
    }

    #[test]
    fn what_is_wrong_is_told_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let cx = BuildContext::new("ftp", "files", folder.path());
        let check = |change: &dyn Fn(&mut FtpConfig), key: Option<&str>, part: &str| {
            let error = service(config(|config| change(config)), &cx).expect_err(part);
            assert_eq!(error.key.as_deref(), key, "{error}");
            assert!(error.message.contains(part), "{error}");
        };
        check(&|config| config.listen = None, Some("listen"), "listens nowhere");
        check(
            &|config| config.tls_listen.clone_from(&config.listen),
            Some("tls_listen"),
            "no certificate",
        );
        check(
            &|config| config.data_tls_binding = Some(Binding::Off),
            Some("data_tls_binding"),
            "no TLS",
        );
        check(&|config| config.anonymous = Anonymous::No, None, "nobody could log in");
        check(&|config| config.root = Some("none".into()), Some("root"), "can't serve the folder");
        check(&|config| config.root = None, Some("anonymous"), "no folder");
        check(&|config| config.upload_rate = Some(Rate(0)), Some("upload_rate"), "nothing");
        check(&|config| config.message_file = Some("a/b".into()), Some("message_file"), "name of");
        let folder = |path: &str| {
            let (rights, message) = (Some(vec![FileRight::Write]), None);
            Some(vec![FolderConfig { path: path.to_owned(), rights, message }])
        };
        let missing = |config: &mut FtpConfig| config.folder = folder("/incoming");
        check(&missing, Some("folder[0].path"), "no such folder");
        let above = |config: &mut FtpConfig| config.folder = folder("../incoming");
        check(&above, Some("folder[0].path"), "leads out");
        let unix = |config: &mut FtpConfig| config.listen = Some(vec!["unix:a".parse().unwrap()]);
        check(&unix, Some("listen[0]"), "IP addresses");
    }

    #[test]
    fn accounts_and_tls_are_taken_from_what_is_shared() {
        let folder = tempfile::tempdir().unwrap();
        let cx = BuildContext::new("ftp", "files", folder.path())
            .with_shared(logins())
            .with_shared(tls(folder.path()));
        let service = service(
            config(|config| {
                config.tls_listen.clone_from(&config.listen);
                config.anonymous = Anonymous::No;
                config.root = None;
                config.data_tls_binding = Some(Binding::Require);
            }),
            &cx,
        )
        .unwrap();
        let parts = service.parts();
        assert_eq!((&**parts.name(), parts.summary()), ("ftp.files", "accounts"));
        let secured: Vec<bool> = parts.listeners().iter().map(|one| one.secured).collect();
        assert_eq!(secured, [false, true]);
        assert!(parts.tls().is_some());
        assert_eq!(parts.limits().idle, Some(std::time::Duration::from_secs(300)));
    }
}
