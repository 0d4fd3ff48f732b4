//! TLS as the rest of the house sees it: configurations, facts about a secured connection, errors.
//!
//! Which library does the work stands in `transport/tls.rs` alone, behind a trait of our own. Sessions ask for
//! TLS with [`Cx::start_tls`](crate::Cx::start_tls) or listen with it from the first octet; they never
//! see a key.

use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

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
            | TlsError::NotNow { path, .. } => Some(path),
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
