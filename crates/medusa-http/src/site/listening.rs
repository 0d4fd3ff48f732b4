//! Where a site listens, and what it makes of those who connect: TLS, client certificates, the way
//! from plaintext to TLS, and the proxies that are believed.

use std::sync::Arc;
use std::time::Duration;

use medusa_core::config::Listen;
use medusa_core::tls::{ClientCertificates, ServerTls};
use medusa_core::{BuildContext, BuildError, Limits, Network, ServiceParts};

use crate::config::{ClientCertificate, SiteConfig};
use crate::service::HttpService;

pub(super) struct Listening {
    pub(super) parts: ServiceParts,
    /// The port that those without TLS are sent to.
    pub(super) redirect: Option<u16>,
    hsts: Option<Duration>,
    /// Believed by header fields.
    trusted: Vec<Network>,
}

impl Listening {
    pub(super) fn new(config: &SiteConfig, cx: &BuildContext) -> Result<Listening, BuildError> {
        let plain = config.listen.as_deref().unwrap_or_default();
        let secured = config.tls_listen.as_deref().unwrap_or_default();
        let parts = cx.parts(plain, secured, "127.0.0.1:8080", Limits::default())?;
        let (trusted, proxies) = proxies(config)?;
        Ok(Listening {
            redirect: redirect(config, secured, &trusted)?,
            parts: parts.with_tls(tls(config, secured, cx)?).with_proxies(proxies),
            hsts: hsts(config, secured, &trusted)?,
            trusted,
        })
    }

    /// The same service, with what was found here and isn't among its parts.
    pub(super) fn applied(self, mut service: HttpService) -> HttpService {
        if let Some(max_age) = self.hsts {
            service = service.with_hsts(max_age);
        }
        service.with_trusted_proxies(self.trusted)
    }
}

fn tls(
    config: &SiteConfig,
    secured: &[Listen],
    cx: &BuildContext,
) -> Result<Option<Arc<ServerTls>>, BuildError> {
    if secured.is_empty() {
        if config.client_ca.is_some() {
            return Err(without_tls("client_ca", "certificates are shown in TLS"));
        }
        if config.client_certificate.is_some() {
            return Err(without_tls("client_certificate", "certificates are shown in TLS"));
        }
        return Ok(None);
    }
    // Otherwise it was refused before.
    let Some(base) = cx.shared::<ServerTls>() else { return Ok(None) };
    let clients = match (&config.client_ca, config.client_certificate) {
        (None, None) => ClientCertificates::NotAsked,
        (None, Some(_)) => {
            let message = "nobody is named who signs clients' certificates";
            return Err(BuildError::at("client_certificate", message)
                .hint("name a file: `client_ca = \"ca.pem\"`"));
        }
        (Some(authorities), wanted) => {
            let authorities = cx.path(authorities);
            match wanted.unwrap_or_default() {
                ClientCertificate::Ask => ClientCertificates::Asked { authorities },
                ClientCertificate::Require => ClientCertificates::Required { authorities },
            }
        }
    };
    match base.for_service(&[b"http/1.1"], clients) {
        Ok(tls) => Ok(Some(Arc::new(tls))),
        Err(error) => Err(BuildError::at("client_ca", error.to_string())),
    }
}

/// The port that those without TLS are sent to.
fn redirect(
    config: &SiteConfig,
    secured: &[Listen],
    trusted: &[Network],
) -> Result<Option<u16>, BuildError> {
    const KEY: &str = "redirect_to_tls";
    if config.redirect_to_tls != Some(true) {
        return Ok(None);
    }
    let port = secured.iter().find_map(|address| match address {
        Listen::Inet(address) => Some(address.port()),
        Listen::Unix(_) => None,
    });
    match port {
        Some(0) => {
            Err(BuildError::at(KEY, "the port to be sent to isn't known before it is bound")
                .hint("name a port in `tls_listen`"))
        }
        Some(port) => Ok(Some(port)),
        // Behind a proxy that does TLS, it is the proxy's.
        None if secured.is_empty() && !trusted.is_empty() => Ok(Some(443)),
        None => Err(without_tls(KEY, "there is nowhere to be sent to")),
    }
}

fn hsts(
    config: &SiteConfig,
    secured: &[Listen],
    trusted: &[Network],
) -> Result<Option<Duration>, BuildError> {
    match config.hsts {
        Some(_) if secured.is_empty() && trusted.is_empty() => {
            Err(without_tls("hsts", "it is said over TLS only"))
        }
        max_age => Ok(max_age.map(Duration::from)),
    }
}

fn without_tls(key: &str, why: &str) -> BuildError {
    BuildError::at(key, format!("{why}, and this site doesn't listen with it"))
        .hint("add `tls_listen = [\"127.0.0.1:8443\"]`")
}

/// The proxies that are believed by header fields, and those by a PROXY header. With the latter the
/// fields come from clients.
fn proxies(config: &SiteConfig) -> Result<(Vec<Network>, Vec<Network>), BuildError> {
    let trusted = config.trusted_proxies.clone().unwrap_or_default();
    match config.proxy_protocol {
        Some(true) if trusted.is_empty() => {
            Err(BuildError::at("proxy_protocol", "no proxy is trusted to speak it")
                .hint("name them: `trusted_proxies = [\"127.0.0.0/8\"]`"))
        }
        Some(true) => Ok((Vec::new(), trusted)),
        _ => Ok((trusted, Vec::new())),
    }
}
