//! What every service has, whatever it speaks: a name, listeners, limits, certificates, trusted proxies, an
//! access log and a few words about it.
//!
//! A protocol's service is made of these and of what is its own; it has no settings of this kind itself. The
//! keys of a configuration that say them are read [here](crate::BuildContext::parts) too.

use std::fmt;
use std::sync::Arc;

use crate::config::Listen;
use crate::limits::Limits;
use crate::network::Network;
use crate::service::{Acceptor, AccessSink, Listener, Service};
use crate::tls::ServerTls;

/// What services have in common. A name alone will do where nobody is to connect:
///
/// ```
/// use medusa_core::ServiceParts;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let parts = ServiceParts::new("finger.main").listen("127.0.0.1:7979".parse()?);
/// assert_eq!((&**parts.name(), parts.listeners().len()), ("finger.main", 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ServiceParts {
    name: Arc<str>,
    listeners: Vec<Listener>,
    limits: Option<Limits>,
    tls: Option<Arc<ServerTls>>,
    proxies: Vec<Network>,
    access: Option<Arc<dyn AccessSink>>,
    summary: String,
}

impl fmt::Debug for ServiceParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServiceParts")
            .field("name", &self.name)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

impl<N: Into<Arc<str>>> From<N> for ServiceParts {
    fn from(name: N) -> Self {
        ServiceParts::new(name)
    }
}

impl ServiceParts {
    /// A service of this name (in logs, tables and metrics: `http.site`, say) that listens nowhere.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        ServiceParts {
            name: name.into(),
            listeners: Vec::new(),
            limits: None,
            tls: None,
            proxies: Vec::new(),
            access: None,
            summary: String::new(),
        }
    }

    /// Listens here too.
    #[must_use]
    pub fn listen(self, address: Listen) -> Self {
        self.listener(Listener::new(address))
    }

    /// Listens here too, with TLS from the first octet.
    #[must_use]
    pub fn tls_listen(self, address: Listen) -> Self {
        self.listener(Listener::new(address).secured())
    }

    /// Has one listener more.
    #[must_use]
    pub fn listener(mut self, listener: Listener) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Sets what connections may use. Without it, a protocol has defaults of its own.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Sets the limits, unless that was done: for a protocol's defaults.
    #[must_use]
    pub fn or_limits(mut self, defaults: impl FnOnce() -> Limits) -> Self {
        self.limits.get_or_insert_with(defaults);
        self
    }

    /// Sets what is shown to clients: on listeners that are secured, and where a session asks for TLS with
    /// [`Cx::start_tls`](crate::Cx::start_tls).
    #[must_use]
    pub fn with_tls(mut self, tls: impl Into<Option<Arc<ServerTls>>>) -> Self {
        self.tls = tls.into();
        self
    }

    /// Sets the proxies that say, in a PROXY header before anything else, for whom they speak. Only
    /// connections from these have one; others are served as they are.
    #[must_use]
    pub fn with_proxies(mut self, proxies: Vec<Network>) -> Self {
        self.proxies = proxies;
        self
    }

    /// Sets where a line goes for each request, message or transfer.
    #[must_use]
    pub fn with_access(mut self, sink: Option<Arc<dyn AccessSink>>) -> Self {
        self.access = sink;
        self
    }

    /// Sets what is said of it, in a few words, in a table: a folder, a domain.
    #[must_use]
    pub fn with_summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// A service that is no more than this and its sessions: `acceptor` is called once on each shard.
    ///
    /// ```
    /// # use medusa_core::{Cx, Frame, Framing, Peer, Server, ServiceParts, Session};
    /// struct Echo;
    ///
    /// impl Session for Echo {
    ///     fn opened(&mut self, cx: &mut Cx<'_>) {
    ///         cx.expect(Framing::stream());
    ///     }
    ///
    ///     fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
    ///         cx.write(frame.bytes);
    ///     }
    /// }
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let echo = ServiceParts::new("echo").listen("127.0.0.1:0".parse()?);
    /// let echo = echo.serve(|| |_: &Peer| Box::new(Echo) as Box<dyn Session>);
    /// let server = Server::builder().mount(echo).bind()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn serve<A: Acceptor + 'static>(
        self,
        acceptor: impl Fn() -> A + Send + Sync + 'static,
    ) -> Box<dyn Service> {
        struct Served<F>(ServiceParts, F);
        impl<A: Acceptor + 'static, F: Fn() -> A + Send + Sync> Service for Served<F> {
            fn parts(&self) -> ServiceParts {
                self.0.clone()
            }

            fn acceptor(&self) -> Box<dyn Acceptor> {
                Box::new((self.1)())
            }
        }
        Box::new(Served(self, acceptor))
    }

    // ---- what was set ------------------------------------------------------------------------

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Where it listens.
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// What connections may use.
    pub fn limits(&self) -> Limits {
        self.limits.clone().unwrap_or_default()
    }

    /// What is shown to clients.
    pub fn tls(&self) -> Option<&Arc<ServerTls>> {
        self.tls.as_ref()
    }

    /// The proxies that speak for others.
    pub fn proxies(&self) -> &[Network] {
        &self.proxies
    }

    /// Where access lines go, if anywhere.
    pub fn access(&self) -> Option<Arc<dyn AccessSink>> {
        self.access.clone()
    }

    /// What is said of it.
    pub fn summary(&self) -> &str {
        &self.summary
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::service::{BuildContext, BuildError};

    #[test]
    fn limits_are_the_protocols_unless_they_are_said() {
        let own = || Limits { idle: Some(Duration::from_secs(7)), ..Limits::default() };
        assert_eq!(ServiceParts::new("a").or_limits(own).limits(), own());
        let said = ServiceParts::from("a").with_limits(Limits::default()).or_limits(own);
        assert_eq!(said.limits(), Limits::default());
    }

    #[test]
    fn listeners_are_read_with_all_that_can_be_wrong() {
        let cx = BuildContext::new("lab", "a", "/srv");
        let listen: Vec<Listen> = vec!["127.0.0.1:1".parse().unwrap(), "unix:a".parse().unwrap()];
        let parts = cx.parts(&listen, &[], "127.0.0.1:1", Limits::default()).unwrap();
        let said: Vec<_> = parts.listeners().iter().map(|one| one.address.to_string()).collect();
        assert_eq!(
            (&**parts.name(), &said[..]),
            ("lab.a", &["127.0.0.1:1".into(), "unix:/srv/a".into()][..])
        );
        let fails = |listen: &[Listen], tls_listen: &[Listen]| -> BuildError {
            cx.parts(listen, tls_listen, "127.0.0.1:1", Limits::default()).unwrap_err()
        };
        let error = fails(&[], &[]);
        let hint = "name an address: `listen = [\"127.0.0.1:1\"]`";
        assert_eq!((error.key.as_deref(), error.hint.as_deref()), (Some("listen"), Some(hint)));
        let error = fails(&listen, &listen);
        assert_eq!(error.key.as_deref(), Some("tls_listen"));
        assert!(error.message.contains("no certificate"), "{error}");
    }
}
