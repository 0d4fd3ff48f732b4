//! Certificates and keys: read from files, found by name, and what they say of themselves.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::provider;
use crate::tls::{Certificate, CertificateFacts, TlsError};

/// Certificates by name, shared by the services and replaced as a whole.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) names: RwLock<Arc<Names>>,
    pub(super) stamps: RwLock<Vec<Stamp>>,
    pub(super) sources: Vec<Certificate>,
}

/// What tells that a file has changed: which one it is, its length, and when it and what is known of it
/// were changed; or that it can't be read. A file that was renamed into place may be as long and as old as
/// the one before.
pub(super) type Stamp = Option<(u64, u64, u64, [i64; 4])>;

#[derive(Debug)]
pub(super) struct Names {
    default: Arc<CertifiedKey>,
    /// In lower case; a wildcard without its star: `.example.org`.
    by_host: HashMap<String, Arc<CertifiedKey>>,
    /// Of each certificate.
    pub(super) facts: Vec<CertificateFacts>,
}

impl Names {
    pub(super) fn read(certificates: &[Certificate]) -> Result<Self, Vec<TlsError>> {
        let (mut keys, mut errors) = (Vec::new(), Vec::new());
        for source in certificates {
            match read_certificate(source) {
                Ok(key) => keys.push((source, Arc::new(key))),
                Err(error) => errors.push(error),
            }
        }
        let Some((_, default)) = keys.first().filter(|_| errors.is_empty()) else {
            return Err(errors);
        };
        let default = Arc::clone(default);
        let mut names = Names { default, by_host: HashMap::new(), facts: Vec::new() };
        for (source, key) in &keys {
            let facts = key.cert.first().and_then(|leaf| facts_of(&source.chain, leaf));
            let own = match &facts {
                Some(facts) if source.hosts.is_empty() => facts.names.clone(),
                _ => source.hosts.clone(),
            };
            names.facts.extend(facts);
            for host in own {
                let host = host.to_ascii_lowercase();
                let host = host.strip_prefix('*').unwrap_or(&host).to_owned();
                names.by_host.entry(host).or_insert_with(|| Arc::clone(key));
            }
        }
        Ok(names)
    }

    fn find(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        let host = host.to_ascii_lowercase();
        let wildcard = || host.find('.').and_then(|dot| self.by_host.get(&host[dot..]));
        self.by_host.get(&host).or_else(wildcard)
    }
}

impl ResolvesServerCert for Store {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let names = Arc::clone(&self.names.read().unwrap_or_else(PoisonError::into_inner));
        let named = hello.server_name().and_then(|host| names.find(host));
        Some(Arc::clone(named.unwrap_or(&names.default)))
    }
}

fn read_certificate(source: &Certificate) -> Result<CertifiedKey, TlsError> {
    let chain = read_chain(&source.chain)?;
    let pem = read_file(&source.key)?;
    let key = PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|_| TlsError::Missing { path: source.key.clone(), wanted: "private key" })?;
    let unusable = |reason: String| TlsError::Unusable { path: source.key.clone(), reason };
    let key = provider().key_provider.load_private_key(key).map_err(|e| unusable(e.to_string()))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
            Ok(certified)
        }
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { chain: source.chain.clone(), key: source.key.clone() })
        }
        Err(error) => {
            Err(TlsError::Unusable { path: source.chain.clone(), reason: error.to_string() })
        }
    }
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = read_file(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        _ => Err(TlsError::Missing { path: path.to_owned(), wanted: "certificate" }),
    }
}

pub(super) fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in read_chain(path)? {
        store.add(certificate).map_err(|error| TlsError::Unusable {
            path: path.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(store)
}

fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path)
        .map_err(|error| TlsError::Unreadable { path: path.to_owned(), reason: error.to_string() })
}

pub(super) fn stamps(certificates: &[Certificate]) -> Vec<Stamp> {
    let files = certificates.iter().flat_map(|source| [&source.chain, &source.key]);
    let stamp = |path| {
        let metadata = fs::metadata(path).ok()?;
        let modified = [metadata.mtime(), metadata.mtime_nsec()];
        let changed = [metadata.ctime(), metadata.ctime_nsec()];
        let times = [modified[0], modified[1], changed[0], changed[1]];
        Some((metadata.dev(), metadata.ino(), metadata.len(), times))
    };
    files.map(stamp).collect()
}

fn facts_of(path: &Path, leaf: &CertificateDer<'_>) -> Option<CertificateFacts> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    let names = leaf.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(host) => Some((*host).to_owned()),
        _ => None,
    });
    let (from, until) = (leaf.validity().not_before, leaf.validity().not_after);
    // Not even RFC 5280 §4.1.2.5 dates back to before 1970.
    let time = |time: ASN1Time| {
        let seconds = u64::try_from(time.timestamp()).unwrap_or(0);
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    };
    let day = |time: ASN1Time| time.to_datetime().date().to_string();
    Some(CertificateFacts {
        path: path.to_owned(),
        names: names.collect(),
        not_before: time(from),
        not_after: time(until),
        first_day: day(from),
        last_day: day(until),
    })
}

pub(super) fn subject_of(leaf: &CertificateDer<'_>) -> Option<Box<str>> {
    let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
    Some(leaf.subject().to_string().into())
}
