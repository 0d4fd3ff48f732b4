//! `[http.NAME]` as it is written. What the keys mean together, and what is wrong with their values, is
//! `site.rs`'s to say.

use std::fmt;
use std::path::PathBuf;

use medusa_core::Network;
use medusa_core::config::{Listen, Period, Size};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// One HTTP site.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteConfig {
    /// Where it listens.
    pub(crate) listen: Option<Vec<Listen>>,
    /// The folder that what no route takes is served from.
    pub(crate) root: Option<PathBuf>,
    /// The names that stand for a folder. This and the next keys are for `root`, and for the routes
    /// that don't say otherwise.
    pub(crate) index: Option<Vec<String>>,
    /// Whether a folder without any of them is shown as a list.
    pub(crate) listing: Option<bool>,
    /// Whether names that begin with a dot are served.
    pub(crate) hidden: Option<bool>,
    /// Whether what compresses well is compressed.
    pub(crate) gzip: Option<bool>,
    /// The Cache-Control field.
    pub(crate) cache_control: Option<String>,
    /// Where it listens with TLS, from the first octet.
    pub(crate) tls_listen: Option<Vec<Listen>>,
    /// Whether those who come without TLS are sent to `tls_listen`.
    pub(crate) redirect_to_tls: Option<bool>,
    /// For how long clients shall use nothing but TLS.
    pub(crate) hsts: Option<Period>,
    /// The proxies that are believed.
    pub(crate) trusted_proxies: Option<Vec<Network>>,
    /// Whether they speak by a PROXY header rather than by header fields.
    pub(crate) proxy_protocol: Option<bool>,
    /// The authorities that sign clients' certificates.
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) client_certificate: Option<ClientCertificate>,
    /// The first that matches is taken.
    #[serde(default)]
    pub(crate) route: Vec<RouteConfig>,
}

/// Whether a client needs a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientCertificate {
    /// It is asked for one.
    #[default]
    Ask,
    /// No handshake without one.
    Require,
}

/// One `[[http.NAME.route]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteConfig {
    pub(crate) path: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) files: Option<PathBuf>,
    pub(crate) index: Option<Vec<String>>,
    pub(crate) listing: Option<bool>,
    pub(crate) hidden: Option<bool>,
    pub(crate) gzip: Option<bool>,
    pub(crate) cache_control: Option<String>,
    /// PUT and DELETE.
    pub(crate) writable: Option<bool>,
    /// How long a file may be that is PUT.
    pub(crate) max_upload: Option<Size>,
    /// How much the files of its folder may have together.
    pub(crate) quota: Option<Size>,
    pub(crate) redirect: Option<String>,
    pub(crate) status: Option<StatusKey>,
    /// Who may have it.
    pub(crate) accounts: Option<Vec<String>>,
    /// What Prometheus collects.
    pub(crate) metrics: Option<bool>,
    /// A DNS service that messages are carried to.
    pub(crate) dns: Option<String>,
}

/// `status = true` is the server's own page; `status = 308` is a redirection's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StatusKey {
    Page(bool),
    Code(u16),
}

impl<'de> Deserialize<'de> for StatusKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = StatusKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a redirection's status, such as 308, or `true` for the status page")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<StatusKey, E> {
                Ok(StatusKey::Page(value))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<StatusKey, E> {
                let code = u16::try_from(value).map_err(|_| {
                    E::custom(format!("`{value}` is no status: they have three digits"))
                })?;
                Ok(StatusKey::Code(code))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<StatusKey, E> {
                self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
