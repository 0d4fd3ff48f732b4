//! TLS by rustls: with `certificates`, the one place that knows of it. TLS 1.2 and 1.3, no renegotiation, no compression.
//!
//! Certificates are chosen by name through a store that can be [refreshed](ServerTls::refresh) while
//! connections go on; tickets and everything else stay as they are.

mod certificates;

use std::cell::Cell;
use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{
    ProducesTickets, ResolvesServerCert, ServerSessionMemoryCache, StoresServerSessions,
    WebPkiClientVerifier,
};
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, HandshakeKind,
    RootCertStore, ServerConfig, ServerConnection, SignatureScheme,
};

use self::certificates::{Names, Store, read_roots, stamps, subject_of};
use crate::tls::{Certificate, CertificateFacts, ClientCertificates, Engine, Facts, TlsError};

/// Sessions that are kept for clients of TLS 1.2 that take no tickets: rustls's own number.
const SESSIONS: usize = 256;

/// Plaintext that may wait inside of TLS for the socket: a few records of 16 KiB.
const BUFFERED: usize = 64 * 1024;

/// What a server shows and asks for.
pub struct ServerTls {
    config: Arc<ServerConfig>,
    store: Arc<Store>,
    clients: ClientCertificates,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("certificates", &self.store.sources)
            .finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads certificates and keys. The first is the default: for clients that name no host or an
    /// unknown one.
    ///
    /// # Errors
    ///
    /// Everything that is missing, unreadable or doesn't belong together.
    pub fn new(certificates: Vec<Certificate>) -> Result<Self, Vec<TlsError>> {
        if certificates.is_empty() {
            return Err(vec![TlsError::Settings("there is no certificate".into())]);
        }
        let names = Names::read(&certificates)?;
        let store = Arc::new(Store {
            names: RwLock::new(Arc::new(names)),
            stamps: RwLock::new(stamps(&certificates)),
            sources: certificates,
        });
        let clients = ClientCertificates::NotAsked;
        let config = server_config(&store, &clients, &[]).map_err(|error| vec![error])?;
        Ok(ServerTls { config: Arc::new(config), store, clients })
    }

    /// The same certificates for a service that speaks `protocols` (ALPN, RFC 7301) and asks for client
    /// certificates as told.
    ///
    /// # Errors
    ///
    /// The authorities' file can't be used.
    pub fn for_service(
        &self,
        protocols: &[&[u8]],
        clients: ClientCertificates,
    ) -> Result<Self, TlsError> {
        let config = server_config(&self.store, &clients, protocols)?;
        Ok(ServerTls { config: Arc::new(config), store: Arc::clone(&self.store), clients })
    }

    /// Whether clients are asked for certificates.
    pub fn clients(&self) -> &ClientCertificates {
        &self.clients
    }

    /// Reads the certificates again where a file has changed since. All services that share them show
    /// the new ones in their next handshake; connections go on. Says whether anything was read.
    ///
    /// # Errors
    ///
    /// What is wrong with the new files; the old certificates stay in use then.
    pub fn refresh(&self) -> Result<bool, Vec<TlsError>> {
        let now = stamps(&self.store.sources);
        if *self.store.stamps.read().unwrap_or_else(PoisonError::into_inner) == now {
            return Ok(false);
        }
        let names = Names::read(&self.store.sources);
        // Also after an error: it is told once for each change.
        *self.store.stamps.write().unwrap_or_else(PoisonError::into_inner) = now;
        *self.store.names.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(names?);
        Ok(true)
    }

    /// What the certificates that are shown now say of themselves, in the order in which they were given.
    pub fn certificates(&self) -> Vec<CertificateFacts> {
        self.store.names.read().unwrap_or_else(PoisonError::into_inner).facts.clone()
    }

    /// Certificates that are not valid at `now`, as warnings.
    pub fn warnings(&self, now: SystemTime) -> Vec<TlsError> {
        self.certificates().iter().filter_map(|facts| facts.fault(now)).collect()
    }

    pub(crate) fn engine(&self) -> Result<Box<dyn Engine>, TlsError> {
        let mut connection =
            ServerConnection::new(Arc::clone(&self.config)).map_err(|e| protocol(&e))?;
        let session = random_session(self.config.crypto_provider())?;
        // Travels in the tickets, so that a resuming connection says whose session it resumes.
        connection.set_resumption_data(&session);
        Ok(Box::new(Rustls::new(Connection::Server(connection), session)))
    }
}

/// Whom a client trusts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Roots {
    /// The authorities that the system trusts.
    System,
    /// The authorities in a PEM file, and no others.
    File(std::path::PathBuf),
    /// Anyone: encryption against those who only listen (opportunistic TLS, RFC 7435).
    Anyone,
}

/// What a client checks.
pub struct ClientTls {
    config: Arc<ClientConfig>,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

impl ClientTls {
    /// A client that trusts `roots` and offers `protocols` (ALPN).
    ///
    /// # Errors
    ///
    /// No authority could be read.
    pub fn new(roots: &Roots, protocols: &[&[u8]]) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| settings(&error))?;
        let mut config = match roots {
            Roots::Anyone => {
                let algorithms = provider().signature_verification_algorithms;
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(AnyServer(algorithms)))
                    .with_no_client_auth()
            }
            Roots::System => {
                let mut store = RootCertStore::empty();
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                builder.with_root_certificates(store).with_no_client_auth()
            }
            Roots::File(path) => {
                builder.with_root_certificates(read_roots(path)?).with_no_client_auth()
            }
        };
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(ClientTls { config: Arc::new(config) })
    }

    pub(crate) fn engine(&self, name: &str) -> Result<Box<dyn Engine>, TlsError> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| TlsError::Settings(format!("`{name}` is no host name")))?;
        let connection = ClientConnection::new(Arc::clone(&self.config), name);
        let connection = connection.map_err(|error| protocol(&error))?;
        let session = random_session(self.config.crypto_provider())?;
        Ok(Box::new(Rustls::new(Connection::Client(connection), session)))
    }

    /// A client of TLS 1.2 that takes any certificate, for tests of servers.
    ///
    /// # Errors
    ///
    /// TLS 1.2 isn't supported.
    #[cfg(feature = "testing")]
    pub fn of_1_2() -> Result<Self, TlsError> {
        let algorithms = provider().signature_verification_algorithms;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS12])
            .map_err(|error| settings(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(algorithms)))
            .with_no_client_auth();
        Ok(ClientTls { config: Arc::new(config) })
    }
}

// ---- one connection ----------------------------------------------------------------------------

struct Rustls {
    connection: Connection,
    session: [u8; 16],
    /// Whose session the peer has shown a ticket of.
    shown: Option<[u8; 16]>,
    peer_has_closed: bool,
}

impl Rustls {
    fn new(mut connection: Connection, session: [u8; 16]) -> Self {
        connection.set_buffer_limit(Some(BUFFERED));
        Rustls { connection, session, shown: None, peer_has_closed: false }
    }

    /// Of TLS 1.2 rustls doesn't tell what a session was resumed with; its tickets were looked at.
    fn resumed(&self, server: &ServerConnection) -> Option<[u8; 16]> {
        let told = server.received_resumption_data().and_then(|data| data.try_into().ok());
        let is_resumed = server.handshake_kind() == Some(HandshakeKind::Resumed);
        told.or(self.shown.filter(|_| is_resumed))
    }
}

impl Engine for Rustls {
    fn feed(&mut self, input: &mut &[u8]) -> Result<(), TlsError> {
        if self.connection.read_tls(input).is_err() {
            return Err(TlsError::Protocol("a record is larger than is allowed".into()));
        }
        let state = match self.connection.is_handshaking() {
            true => {
                let (state, shown) =
                    Marked::within(self.session, || self.connection.process_new_packets());
                self.shown = self.shown.or(shown);
                state
            }
            false => self.connection.process_new_packets(),
        };
        let state = state.map_err(|error| protocol(&error))?;
        if state.peer_has_closed() {
            self.peer_has_closed = true;
            // Nothing that follows a close_notify counts (RFC 8446 §6.1).
            *input = &[];
        }
        Ok(())
    }

    fn take_plaintext(&mut self, into: &mut [u8]) -> usize {
        let mut filled = 0;
        while let Ok(count @ 1..) = self.connection.reader().read(&mut into[filled..]) {
            filled += count;
        }
        filled
    }

    fn put_plaintext(&mut self, slices: &[IoSlice<'_>]) -> usize {
        self.connection.writer().write_vectored(slices).unwrap_or(0)
    }

    fn has_ciphertext(&self) -> bool {
        self.connection.wants_write()
    }

    fn write_ciphertext(&mut self, mut socket: &mut dyn Write) -> io::Result<usize> {
        self.connection.write_tls(&mut socket)
    }

    fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    fn peer_has_closed(&self) -> bool {
        self.peer_has_closed
    }

    fn close(&mut self) {
        self.connection.send_close_notify();
    }

    fn facts(&self) -> Facts {
        let version = match self.connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "TLSv1.2",
        };
        let cipher = self.connection.negotiated_cipher_suite();
        let client = self.connection.peer_certificates().and_then(|chain| chain.first());
        let (server_name, resumes, client) = match &self.connection {
            Connection::Server(server) => (
                server.server_name().map(Into::into),
                self.resumed(server),
                client.and_then(|leaf| subject_of(leaf)),
            ),
            Connection::Client(_) => (None, None, None),
        };
        Facts {
            version,
            cipher: cipher.and_then(|suite| suite.suite().as_str()).unwrap_or("unknown"),
            server_name,
            alpn: self.connection.alpn_protocol().map(Into::into),
            client,
            session: self.session,
            resumes,
        }
    }
}

// ---- configurations ----------------------------------------------------------------------------

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn server_config(
    store: &Arc<Store>,
    clients: &ClientCertificates,
    protocols: &[&[u8]],
) -> Result<ServerConfig, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| settings(&error))?;
    let builder = match clients {
        ClientCertificates::NotAsked => builder.with_no_client_auth(),
        ClientCertificates::Asked { authorities }
        | ClientCertificates::Required { authorities } => {
            let roots = Arc::new(read_roots(authorities)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider());
            let verifier = match clients {
                ClientCertificates::Required { .. } => verifier,
                _ => verifier.allow_unauthenticated(),
            };
            builder.with_client_cert_verifier(verifier.build().map_err(|error| {
                TlsError::Unusable { path: authorities.clone(), reason: error.to_string() }
            })?)
        }
    };
    let mut config = builder.with_cert_resolver(Arc::clone(store) as Arc<dyn ResolvesServerCert>);
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    config.ticketer = Arc::new(Marked(ring::Ticketer::new().map_err(|error| settings(&error))?));
    config.session_storage = Arc::new(Marked(ServerSessionMemoryCache::new(SESSIONS)));
    Ok(config)
}

/// Keeps sessions with the name of the connection that began them in front, and tells which was shown.
#[derive(Debug)]
struct Marked<K: ?Sized>(Arc<K>);

thread_local! {
    /// The name of the connection that is at its handshake, and the name that it has shown.
    static HANDSHAKE: Cell<([u8; 16], Option<[u8; 16]>)> = const { Cell::new(([0; 16], None)) };
}

impl Marked<()> {
    /// Does a part of a connection's handshake; which session it showed in it.
    fn within<R>(name: [u8; 16], part: impl FnOnce() -> R) -> (R, Option<[u8; 16]>) {
        HANDSHAKE.set((name, None));
        let result = part();
        (result, HANDSHAKE.take().1)
    }

    fn mark(session: &[u8]) -> Vec<u8> {
        [&HANDSHAKE.get().0, session].concat()
    }

    fn unmark(marked: &[u8]) -> Option<Vec<u8>> {
        let (name, session) = marked.split_first_chunk()?;
        HANDSHAKE.set((HANDSHAKE.get().0, Some(*name)));
        Some(session.to_vec())
    }
}

impl ProducesTickets for Marked<dyn ProducesTickets> {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(&Marked::mark(plain))
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        Marked::unmark(&self.0.decrypt(cipher)?)
    }
}

impl StoresServerSessions for Marked<ServerSessionMemoryCache> {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.0.put(key, Marked::mark(&value))
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        Marked::unmark(&self.0.get(key)?)
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        Marked::unmark(&self.0.take(key)?)
    }

    fn can_cache(&self) -> bool {
        self.0.can_cache()
    }
}

fn random_session(provider: &CryptoProvider) -> Result<[u8; 16], TlsError> {
    let mut session = [0; 16];
    let filled = provider.secure_random.fill(&mut session);
    filled.map_err(|_| TlsError::Settings("the system gives no random bytes".into()))?;
    Ok(session)
}

fn protocol(error: &rustls::Error) -> TlsError {
    TlsError::Protocol(error.to_string())
}

fn settings(error: &rustls::Error) -> TlsError {
    TlsError::Settings(error.to_string())
}

/// Takes any server's certificate, but makes sure that the server has its key.
#[derive(Debug)]
struct AnyServer(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
