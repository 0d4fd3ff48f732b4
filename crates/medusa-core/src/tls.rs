//! TLS as the rest of the house sees it: configurations, facts about a secured connection, errors.
//!
//! Which library does the work stands in `transport/tls` alone, behind a trait of our own. Sessions ask for
//! TLS with [`Cx::start_tls`](crate::Cx::start_tls) or listen with it from the first octet; they never
//! see a key.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use crate::transport::tls::{ClientTls, Roots, ServerTls};

/// A certificate chain and its key, for some host names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The names that it is chosen for by SNI (RFC 6066 §3): `www.example.org`, or `*.example.org` for
    /// one more label. None: those that the certificate itself names, and every other name too if it is
    /// the first of its server.
    pub hosts: Vec<String>,
    /// The chain, leaf first, in PEM.
    pub chain: PathBuf,
    /// The leaf's private key, in PEM (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// What a certificate that is shown says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// The file that it was read from.
    pub path: PathBuf,
    /// The DNS names that it is for (subjectAltName, RFC 5280 §4.2.1.6).
    pub names: Vec<String>,
    /// Since when it is good.
    pub not_before: SystemTime,
    /// Until when it is good.
    pub not_after: SystemTime,
    /// The first day on which it is good, as `2027-03-01` (UTC).
    pub first_day: String,
    /// The last day on which it is good.
    pub last_day: String,
}

impl CertificateFacts {
    /// What is wrong with it at `now`: it has expired, or isn't good yet.
    pub fn fault(&self, now: SystemTime) -> Option<TlsError> {
        let reason = if self.not_after < now {
            format!("has expired on {}", self.last_day)
        } else if self.not_before > now {
            format!("is not valid before {}", self.first_day)
        } else {
            return None;
        };
        Some(TlsError::NotNow { path: self.path.clone(), reason })
    }
}

/// Tells when certificates are about to expire, each once: 30, 7 and 1 days before; each day once they have;
/// and once if they aren't good yet. It has no clock: it is asked every now and then.
///
/// Of the end, nothing is told during the first two thirds of a certificate's life: ACME clients renew in the
/// last third, and one that lives for a week would never be silent.
#[derive(Debug, Default)]
pub struct ExpiryWatch {
    /// By certificate, how far it had come when it was last told of.
    told: Vec<(CertificateFacts, u64)>,
}

impl ExpiryWatch {
    const DAY: Duration = Duration::from_secs(86_400);
    /// Days before the end, falling.
    const DAYS: &[u32] = &[30, 7, 1];

    /// What is to be said of the certificates that are shown now: [`TlsError::NotNow`] or
    /// [`TlsError::Expiring`].
    pub fn look(&mut self, shown: &[CertificateFacts], now: SystemTime) -> Vec<TlsError> {
        let mut said = Vec::new();
        let before = std::mem::take(&mut self.told);
        for facts in shown {
            let told = before.iter().find(|(known, _)| known == facts).map_or(0, |(_, told)| *told);
            let stage = Self::stage(facts, now);
            if stage > told {
                said.push(facts.fault(now).unwrap_or_else(|| Self::soon(facts, now)));
            }
            self.told.push((facts.clone(), stage.max(told)));
        }
        said
    }

    /// 0 while there is nothing to say, 1 while it isn't good yet; then it grows with each day that is named
    /// above, and daily after the end.
    fn stage(facts: &CertificateFacts, now: SystemTime) -> u64 {
        if facts.not_before > now {
            return 1;
        }
        let days = Self::DAYS.len() as u64;
        let Ok(left) = facts.not_after.duration_since(now) else {
            let since = now.duration_since(facts.not_after).unwrap_or_default();
            return days + 2 + since.as_secs() / Self::DAY.as_secs();
        };
        let life = facts.not_after.duration_since(facts.not_before).unwrap_or_default();
        let passed = |day: &&u32| left <= Self::DAY * **day && Self::DAY * **day < life / 3;
        match Self::DAYS.iter().filter(passed).count() as u64 {
            0 => 0,
            passed => passed + 1,
        }
    }

    fn soon(facts: &CertificateFacts, now: SystemTime) -> TlsError {
        let left = facts.not_after.duration_since(now).unwrap_or_default();
        let days = left.as_secs() / Self::DAY.as_secs();
        let left = match days {
            0 => "in less than a day".to_owned(),
            1 => "in a day".to_owned(),
            _ => format!("in {days} days"),
        };
        let reason = format!("expires on {}, {left}", facts.last_day);
        TlsError::Expiring { path: facts.path.clone(), reason }
    }
}

/// Whether clients are asked for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// No.
    #[default]
    NotAsked,
    /// Asked for; those who have none are served too. One that is shown must be good.
    Asked {
        /// The authorities that are trusted to sign them, in PEM.
        authorities: PathBuf,
    },
    /// No handshake without one.
    Required {
        /// The authorities that are trusted to sign them, in PEM.
        authorities: PathBuf,
    },
}

/// What is known of a connection once its handshake is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Facts {
    /// The protocol's version as it is commonly written: `TLSv1.3`.
    pub version: &'static str,
    /// The cipher suite by its IANA name: `TLS_AES_128_GCM_SHA256`.
    pub cipher: &'static str,
    /// The name that the client asked for.
    pub server_name: Option<Box<str>>,
    /// The application protocol agreed upon (RFC 7301).
    pub alpn: Option<Box<[u8]>>,
    /// The subject of the client's certificate, in RFC 4514 form, where a good one was shown.
    pub client: Option<Box<str>>,
    /// What names this connection's session.
    pub session: [u8; 16],
    /// The session that this connection resumes: [`Facts::session`] of the connection that began it.
    pub resumes: Option<[u8; 16]>,
}

/// What is wrong with TLS: with our configuration, or with a peer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file can't be read.
    #[error("{path} can't be read: {reason}", path = .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A file holds something else.
    #[error("{path} holds no {wanted} in PEM", path = .path.display())]
    Missing {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
    },
    /// A key is not that of its certificate.
    #[error("{key} is not the key of the certificate in {chain}", key = .key.display(), chain = .chain.display())]
    Mismatch {
        /// The certificate's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A certificate or key is of no use.
    #[error("{path} can't be used: {reason}", path = .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A certificate is not valid now. It is served all the same: a warning.
    #[error("the certificate in {path} {reason}", path = .path.display())]
    NotNow {
        /// The file.
        path: PathBuf,
        /// `has expired on …` or `is not valid before …`.
        reason: String,
    },
    /// A certificate won't be valid for much longer: a warning.
    #[error("the certificate in {path} {reason}", path = .path.display())]
    Expiring {
        /// The file.
        path: PathBuf,
        /// `expires on …`.
        reason: String,
    },
    /// The settings contradict each other.
    #[error("TLS can't be set up: {0}")]
    Settings(String),
    /// The peer broke the protocol, or nothing could be agreed upon.
    #[error("TLS failed: {0}")]
    Protocol(String),
}

impl TlsError {
    /// The file at fault.
    pub fn path(&self) -> Option<&Path> {
        match self {
            TlsError::Unreadable { path, .. }
            | TlsError::Missing { path, .. }
            | TlsError::Unusable { path, .. }
            | TlsError::NotNow { path, .. }
            | TlsError::Expiring { path, .. } => Some(path),
            TlsError::Mismatch { key, .. } => Some(key),
            _ => None,
        }
    }
}

/// How a connection begins to be secured.
#[derive(Clone)]
pub(crate) enum Secure {
    Server(Arc<ServerTls>),
    Client(Arc<ClientTls>, Box<str>),
}

impl fmt::Debug for Secure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Secure::Server(_) => "Server",
            Secure::Client(..) => "Client",
        })
    }
}

impl Secure {
    pub(crate) fn engine(&self) -> Result<Box<dyn Engine>, TlsError> {
        match self {
            Secure::Server(server) => server.engine(),
            Secure::Client(client, name) => client.engine(name),
        }
    }
}

/// One connection's TLS, between plaintext and ciphertext. It reads and writes memory, never a socket.
pub(crate) trait Engine {
    /// Takes ciphertext off the front of `input`, at least some of it.
    fn feed(&mut self, input: &mut &[u8]) -> Result<(), TlsError>;

    /// Moves plaintext into `into` and says how much.
    fn take_plaintext(&mut self, into: &mut [u8]) -> usize;

    /// Takes plaintext to be sent, as much as it will.
    fn put_plaintext(&mut self, slices: &[IoSlice<'_>]) -> usize;

    /// Whether ciphertext waits to be written.
    fn has_ciphertext(&self) -> bool;

    /// Writes waiting ciphertext once.
    fn write_ciphertext(&mut self, socket: &mut dyn io::Write) -> io::Result<usize>;

    fn is_handshaking(&self) -> bool;

    /// Whether the peer has said that it will send no more (close_notify, RFC 8446 §6.1).
    fn peer_has_closed(&self) -> bool;

    /// Says that we will send no more.
    fn close(&mut self);

    /// What is known once the handshake is done.
    fn facts(&self) -> Facts;
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = ExpiryWatch::DAY;

    fn certificate(path: &str, days: u32) -> CertificateFacts {
        let not_before = SystemTime::UNIX_EPOCH + DAY * 10_000;
        CertificateFacts {
            path: path.into(),
            names: Vec::new(),
            not_before,
            not_after: not_before + DAY * days,
            first_day: "1997-05-19".into(),
            last_day: "the last day".into(),
        }
    }

    /// What is said when it is looked at every hour, until two days after the end: hours before it and
    /// the words.
    fn said(certificate: &CertificateFacts) -> Vec<(i64, String)> {
        let mut watch = ExpiryWatch::default();
        let hour = Duration::from_secs(3600);
        let mut now = certificate.not_before;
        let mut all = Vec::new();
        while now < certificate.not_after + DAY * 2 {
            for error in watch.look(std::slice::from_ref(certificate), now) {
                let left = match certificate.not_after.duration_since(now) {
                    Ok(left) => left.as_secs() as i64 / 3600,
                    Err(late) => -(late.duration().as_secs() as i64 / 3600),
                };
                all.push((left, error.to_string()));
            }
            now += hour;
        }
        all
    }

    #[test]
    fn what_expires_is_told_in_time_and_then_daily() {
        let said_of = |days| said(&certificate("c.pem", days));
        let expect = |hours: i64, words: &str| (hours, format!("the certificate in c.pem {words}"));
        let year = said_of(365);
        assert_eq!(
            year,
            [
                expect(720, "expires on the last day, in 30 days"),
                expect(168, "expires on the last day, in 7 days"),
                expect(24, "expires on the last day, in a day"),
                expect(-1, "has expired on the last day"),
                expect(-24, "has expired on the last day"),
            ]
        );
        // Renewed 30 days before, as usual: nothing to say by then.
        assert_eq!(said_of(90), year[1..]);
        assert_eq!(said_of(6), year[2..]);
        assert_eq!(said_of(1), year[3..]);
    }

    #[test]
    fn a_new_certificate_is_told_of_anew() {
        let mut watch = ExpiryWatch::default();
        let (old, other) = (certificate("c.pem", 365), certificate("d.pem", 3000));
        let now = old.not_after - DAY * 5;
        assert_eq!(watch.look(&[old.clone(), other.clone()], now).len(), 1);
        assert!(watch.look(&[other.clone(), old.clone()], now).is_empty());
        let new = CertificateFacts { not_after: now + DAY * 20, ..old };
        assert_eq!(watch.look(&[new.clone(), other.clone()], now).len(), 1);
        assert!(watch.look(&[new, other], now + DAY).is_empty());
        // One that is too new is told of too, and of its end as ever.
        let early = certificate("e.pem", 60);
        let said = watch.look(std::slice::from_ref(&early), early.not_before - DAY);
        assert!(said[0].to_string().ends_with("is not valid before 1997-05-19"), "{said:?}");
        let soon = watch.look(std::slice::from_ref(&early), early.not_after - DAY * 2);
        assert!(soon[0].to_string().ends_with("in 2 days"), "{soon:?}");
    }
}
