//! How a protocol is mounted: services, their acceptors, and the door through which plug-ins come in.
//!
//! A [`Service`] is shared by all shards; its [`Acceptor`] belongs to one shard and may hold `Rc`. A
//! [`Plugin`] makes a service from a table of the configuration. Built-in protocols and foreign ones
//! use the same door.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::config::Listen;
use crate::datagram::DatagramService;
use crate::limits::{Limits, LimitsConfig, Refusal};
use crate::parts::ServiceParts;
use crate::session::Session;
use crate::tls::{Facts, ServerTls};

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// TCP over IPv4 or IPv6.
    Inet(SocketAddr),
    /// A Unix-domain socket.
    Unix,
}

impl Endpoint {
    /// The IP address, if there is one; an IPv4 address mapped into IPv6 is given as IPv4.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Endpoint::Inet(address) => Some(address.ip().to_canonical()),
            Endpoint::Unix => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Inet(address) => address.fmt(f),
            Endpoint::Unix => f.write_str("unix"),
        }
    }
}

/// Who is connected to whom.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Peer {
    /// The other end.
    pub remote: Endpoint,
    /// This end.
    pub local: Endpoint,
    /// What TLS has agreed upon, once it has.
    pub tls: Option<Arc<Facts>>,
}

impl Peer {
    /// A peer at `remote`, connected to `local`.
    pub fn new(remote: Endpoint, local: Endpoint) -> Self {
        Peer { remote, local, tls: None }
    }
}

/// Where a service listens, and which key of its configuration says so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listener {
    /// The address.
    pub address: Listen,
    /// The key, for errors: `listen[0]`.
    pub key: String,
    /// Whether it speaks TLS from the first octet, with the service's [certificates](ServiceParts::with_tls).
    pub secured: bool,
}

impl Listener {
    /// The same, with TLS from the first octet.
    #[must_use]
    pub fn secured(mut self) -> Self {
        self.secured = true;
        self
    }

    /// A plain listener.
    pub fn new(address: Listen) -> Self {
        Listener { address, key: "listen".into(), secured: false }
    }
}

/// A protocol, configured: shared by all shards.
pub trait Service: Send + Sync {
    /// What it has in common with all services: its name, where it listens, its limits and certificates.
    /// Asked a few times before the shards begin.
    fn parts(&self) -> ServiceParts;

    /// Makes the acceptor of one shard, in that shard's thread.
    fn acceptor(&self) -> Box<dyn Acceptor>;

    /// Whether it keeps something that no other may keep beside it: a queue, the journal of a zone. Then
    /// another can't take its place while the server runs, as the two would overlap until the last session
    /// of the first has ended.
    fn keeps_state(&self) -> bool {
        false
    }

    /// Where it receives datagrams, over UDP: nowhere by default. An address may be among the
    /// [listeners](ServiceParts::listeners) too, over TCP; port 0 then becomes a port for each of them.
    fn datagram_listeners(&self) -> Vec<Listener> {
        Vec::new()
    }

    /// Makes the datagram side of one shard, in that shard's thread: none by default. It may be there
    /// without a listener, to ask others.
    fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
        None
    }
}

/// Makes sessions, on one shard.
pub trait Acceptor {
    /// A peer has connected.
    fn accepted(&mut self, peer: &Peer) -> Box<dyn Session>;

    /// The protocol's words to a peer that can't be served: sent, and the connection closed. None by
    /// default.
    fn refused(&mut self, refusal: Refusal) -> Bytes {
        let _ = refusal;
        Bytes::new()
    }
}

impl<F: FnMut(&Peer) -> Box<dyn Session>> Acceptor for F {
    fn accepted(&mut self, peer: &Peer) -> Box<dyn Session> {
        self(peer)
    }
}

/// A protocol that the launcher can mount from a table of its configuration.
pub trait Plugin {
    /// The table's name: `[finger.main]` for `finger`.
    const KIND: &'static str;

    /// What the table may hold. Unknown keys should be denied (`#[serde(deny_unknown_fields)]`), so that
    /// the launcher can suggest the right one.
    type Config: DeserializeOwned;

    /// Makes the service.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the key at fault.
    fn build(config: Self::Config, cx: &BuildContext) -> Result<Box<dyn Service>, BuildError>;
}

/// What is wrong with a configuration, found when a service was built from it: one complaint, and behind it
/// perhaps others, so that an operator sees all at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildError {
    /// The key at fault, from the service's table on: `root`, `route[1].files`.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What could be done about it.
    pub hint: Option<String>,
    others: Vec<BuildError>,
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        self.others.iter().try_for_each(|other| write!(f, "; {other}"))
    }
}

impl std::error::Error for BuildError {}

impl BuildError {
    /// An error about `key`.
    pub fn at(key: impl Into<String>, message: impl Into<String>) -> Self {
        BuildError { key: Some(key.into()), ..BuildError::new(message) }
    }

    /// An error about the table as a whole.
    pub fn new(message: impl Into<String>) -> Self {
        BuildError { key: None, message: message.into(), hint: None, others: Vec::new() }
    }

    /// Adds what could be done about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a complaint about something else.
    #[must_use]
    pub fn and(mut self, other: BuildError) -> Self {
        self.others.extend(other.into_all());
        self
    }

    /// All complaints, each by itself.
    pub fn into_all(mut self) -> Vec<BuildError> {
        let others = std::mem::take(&mut self.others);
        std::iter::once(self).chain(others).collect()
    }
}

/// Gathers what is wrong while a service is built, so that the first complaint doesn't hide the others.
#[derive(Debug, Default)]
pub struct Complaints(Option<BuildError>);

impl Complaints {
    /// Adds one.
    pub fn push(&mut self, error: BuildError) {
        self.0 = Some(match self.0.take() {
            Some(first) => first.and(error),
            None => error,
        });
    }

    /// The value, or none and a complaint more.
    pub fn take<T>(&mut self, result: Result<T, BuildError>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Fine, if there was nothing to complain about.
    ///
    /// # Errors
    ///
    /// All complaints, in the order in which they came.
    pub fn into_result(self) -> Result<(), BuildError> {
        self.0.map_or(Ok(()), Err)
    }
}

/// Takes one line for each finished request, message or transfer. Called on a shard: it must not
/// block.
pub trait AccessSink: Send + Sync {
    /// Takes one line, without its line end.
    fn line(&self, line: &[u8]);
}

/// The full names of all services of a configuration, `dns.zones` for instance, also of those that are
/// built later: for keys that name one.
#[derive(Debug, Clone, Default)]
pub struct ServiceNames(Vec<String>);

impl ServiceNames {
    /// These.
    pub fn new(names: Vec<String>) -> Self {
        ServiceNames(names)
    }

    /// Those of one kind, without it: `zones`.
    pub fn of_kind<'n>(&'n self, kind: &'n str) -> impl Iterator<Item = &'n str> {
        self.0.iter().filter_map(move |name| name.strip_prefix(kind)?.strip_prefix('.'))
    }

    /// Fine, if there is a `[kind.name]`.
    ///
    /// # Errors
    ///
    /// A complaint about `key`, which names it, with the names that there are.
    pub fn check(&self, kind: &str, name: &str, key: &str) -> Result<(), BuildError> {
        let known: Vec<_> = self.of_kind(kind).collect();
        if known.contains(&name) {
            return Ok(());
        }
        let hint = match &known[..] {
            [] => format!("add a table `[{kind}.{name}]`"),
            [one] => format!("did you mean `{one}`?"),
            all => format!("there are `{}`", all.join("`, `")),
        };
        Err(BuildError::at(key, format!("there is no `[{kind}.{name}]`")).hint(hint))
    }
}

/// What a service is built with: its name, the folder for relative paths, limits, and what services
/// share.
#[derive(Clone)]
pub struct BuildContext {
    kind: String,
    name: String,
    folder: PathBuf,
    limits: LimitsConfig,
    access: Option<Arc<dyn AccessSink>>,
    shared: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for BuildContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuildContext")
            .field("service", &self.service_name())
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl BuildContext {
    /// A context for the service `kind.name` whose relative paths begin at `folder`.
    pub fn new(
        kind: impl Into<String>,
        name: impl Into<String>,
        folder: impl Into<PathBuf>,
    ) -> Self {
        BuildContext {
            kind: kind.into(),
            name: name.into(),
            folder: folder.into(),
            limits: LimitsConfig::default(),
            access: None,
            shared: HashMap::new(),
        }
    }

    /// The same surroundings for another service.
    #[must_use]
    pub fn for_service(&self, kind: impl Into<String>, name: impl Into<String>) -> Self {
        BuildContext { kind: kind.into(), name: name.into(), ..self.clone() }
    }

    /// Sets what the configuration says of limits: `[limits]` with the service's own on top.
    #[must_use]
    pub fn with_limits(mut self, limits: LimitsConfig) -> Self {
        self.limits = limits;
        self
    }

    /// Sets where access lines go.
    #[must_use]
    pub fn with_access(mut self, access: Arc<dyn AccessSink>) -> Self {
        self.access = Some(access);
        self
    }

    /// Adds something that services share, to be found again by its type.
    #[must_use]
    pub fn with_shared<T: Any + Send + Sync>(mut self, value: T) -> Self {
        self.shared.insert(TypeId::of::<T>(), Arc::new(value));
        self
    }

    /// The service's full name: `http.site`.
    pub fn service_name(&self) -> String {
        format!("{}.{}", self.kind, self.name)
    }

    /// Resolves a path of the configuration.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.join(path)
    }

    /// The parts of a service that listens where the keys `listen` and `tls_listen` say: with its name, its
    /// limits over `defaults`, and the certificates and the access log that services share. `example` is an
    /// address to suggest.
    ///
    /// # Errors
    ///
    /// It listens nowhere, or with TLS and without a certificate.
    pub fn parts(
        &self,
        listen: &[Listen],
        tls_listen: &[Listen],
        example: &str,
        defaults: Limits,
    ) -> Result<ServiceParts, BuildError> {
        if listen.is_empty() && tls_listen.is_empty() {
            return Err(BuildError::at("listen", "it listens nowhere")
                .hint(format!("name an address: `listen = [\"{example}\"]`")));
        }
        let tls = self.shared::<ServerTls>();
        if !tls_listen.is_empty() && tls.is_none() {
            return Err(BuildError::at("tls_listen", "there is no certificate for TLS").hint(
                "name one: `[tls]` with `certificate = \"cert.pem\"` and `key = \"key.pem\"`",
            ));
        }
        let parts = ServiceParts::new(self.service_name())
            .with_limits(self.limits(defaults))
            .with_tls(tls)
            .with_access(self.access());
        let secured = self.listeners("tls_listen", tls_listen).into_iter().map(Listener::secured);
        let listeners = self.listeners("listen", listen).into_iter().chain(secured);
        Ok(listeners.fold(parts, ServiceParts::listener))
    }

    /// The listeners of a `listen = [...]` key; the paths of Unix sockets are resolved.
    pub fn listeners(&self, key: &str, addresses: &[Listen]) -> Vec<Listener> {
        let resolve = |address: &Listen| match address {
            Listen::Unix(path) => Listen::Unix(self.path(path)),
            inet => inet.clone(),
        };
        let numbered = addresses.iter().enumerate();
        numbered
            .map(|(index, address)| Listener {
                address: resolve(address),
                key: format!("{key}[{index}]"),
                secured: false,
            })
            .collect()
    }

    /// The service's limits: the configuration's over the protocol's own defaults.
    pub fn limits(&self, defaults: Limits) -> Limits {
        self.limits.over(defaults)
    }

    /// Where access lines go, if anywhere.
    pub fn access(&self) -> Option<Arc<dyn AccessSink>> {
        self.access.clone()
    }

    /// Something that services share, by its type.
    pub fn shared<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let value = self.shared.get(&TypeId::of::<T>())?;
        Arc::clone(value).downcast().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_is_named_is_there_or_others_are_suggested() {
        let check = |names: &[&str]| {
            let names = names.iter().map(|&name| name.to_owned()).collect();
            ServiceNames::new(names).check("dns", "zones", "route[0].dns")
        };
        assert_eq!(check(&["http.a", "dns.zones"]), Ok(()));
        for (names, hint) in [
            (&["http.zones", "dnsx.zones"][..], "add a table `[dns.zones]`"),
            (&["http.zones", "dns.zone"], "did you mean `zone`?"),
            (&["dns.zone", "dns.b"], "there are `zone`, `b`"),
        ] {
            let error = BuildError::at("route[0].dns", "there is no `[dns.zones]`").hint(hint);
            assert_eq!(check(names), Err(error));
        }
    }

    #[test]
    fn complaints_are_told_all_at_once() {
        let mut complaints = Complaints::default();
        assert_eq!(complaints.take(Ok(7)), Some(7));
        assert_eq!(complaints.take::<u8>(Err(BuildError::at("a", "one").hint("better"))), None);
        complaints.push(BuildError::at("b", "two").and(BuildError::new("three")));
        let error = complaints.into_result().unwrap_err();
        assert_eq!(error.to_string(), "one; two; three");
        let all = error.into_all();
        let keys: Vec<_> = all.iter().map(|one| one.key.as_deref()).collect();
        assert_eq!(keys, [Some("a"), Some("b"), None]);
        assert_eq!(all[0], BuildError::at("a", "one").hint("better"));
        assert_eq!(Complaints::default().into_result(), Ok(()));
    }
}
