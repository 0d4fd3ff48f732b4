//! HTTP as a service of the core: what a program that embeds this crate mounts, and what the plug-in
//! makes from a configuration.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use medusa_core::metrics::{Metrics, ServiceMetrics};
use medusa_core::tls::ServerTls;
use medusa_core::{
    Acceptor, AccessSink, Limits, Listener, Network, Peer, Refusal, Service, Session,
};

use crate::date::DateCache;
use crate::error::Fault;
use crate::handler::Handler;
use crate::response::{Body, Response};
use crate::session::{HttpLimits, HttpSession, Shard};
use crate::tally::Tally;

type MakeHandler = Arc<dyn Fn() -> Box<dyn Handler> + Send + Sync>;

/// An HTTP server, to be mounted.
pub struct HttpService {
    name: String,
    listeners: Vec<Listener>,
    limits: Limits,
    http_limits: HttpLimits,
    access: Option<Arc<dyn AccessSink>>,
    summary: String,
    metrics: Option<Arc<ServiceMetrics>>,
    tls: Option<Arc<ServerTls>>,
    hsts: Vec<u8>,
    trusted: Vec<Network>,
    proxies: Vec<Network>,
    handler: MakeHandler,
}

impl std::fmt::Debug for HttpService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpService")
            .field("name", &self.name)
            .field("listeners", &self.listeners)
            .finish_non_exhaustive()
    }
}

impl HttpService {
    /// A server of this name. `handler` is called once on each shard, and what it makes answers that
    /// shard's requests.
    pub fn new<H: Handler + 'static>(
        name: impl Into<String>,
        listeners: Vec<Listener>,
        handler: impl Fn() -> H + Send + Sync + 'static,
    ) -> HttpService {
        HttpService {
            name: name.into(),
            listeners,
            limits: Limits::default(),
            http_limits: HttpLimits::default(),
            access: None,
            summary: String::new(),
            metrics: None,
            tls: None,
            hsts: Vec::new(),
            trusted: Vec::new(),
            proxies: Vec::new(),
            handler: Arc::new(move || Box::new(handler())),
        }
    }

    /// Sets what connections may use.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> HttpService {
        self.limits = limits;
        self
    }

    /// Sets how large requests may be.
    #[must_use]
    pub fn with_http_limits(mut self, limits: HttpLimits) -> HttpService {
        self.http_limits = limits;
        self
    }

    /// Sets where a line goes for each finished request.
    #[must_use]
    pub fn with_access(mut self, sink: Option<Arc<dyn AccessSink>>) -> HttpService {
        self.access = sink;
        self
    }

    /// Counts requests there, by the class of their status.
    #[must_use]
    pub fn with_metrics(mut self, metrics: &Metrics) -> HttpService {
        self.metrics = Some(metrics.service(&self.name));
        self
    }

    /// Sets what its secured listeners show to clients.
    #[must_use]
    pub fn with_tls(mut self, tls: Arc<ServerTls>) -> HttpService {
        self.tls = Some(tls);
        self
    }

    /// Has every response over TLS say for how long clients shall use nothing else (RFC 6797).
    #[must_use]
    pub fn with_hsts(mut self, max_age: Duration) -> HttpService {
        let line = format!("Strict-Transport-Security: max-age={}\r\n", max_age.as_secs());
        self.hsts = line.into_bytes();
        self
    }

    /// Sets the proxies that are believed when they say in X-Forwarded-For or Forwarded for whom they
    /// speak, and in X-Forwarded-Proto over what.
    #[must_use]
    pub fn with_trusted_proxies(mut self, trusted: Vec<Network>) -> HttpService {
        self.trusted = trusted;
        self
    }

    /// Sets the proxies that begin each connection with a PROXY header.
    #[must_use]
    pub fn with_proxy_protocol(mut self, proxies: Vec<Network>) -> HttpService {
        self.proxies = proxies;
        self
    }

    /// Sets what is said of it in a table.
    #[must_use]
    pub fn with_summary(mut self, summary: impl Into<String>) -> HttpService {
        self.summary = summary.into();
        self
    }
}

impl Service for HttpService {
    fn name(&self) -> &str {
        &self.name
    }

    fn listeners(&self) -> Vec<Listener> {
        self.listeners.clone()
    }

    fn limits(&self) -> Limits {
        self.limits.clone()
    }

    fn tls(&self) -> Option<Arc<ServerTls>> {
        self.tls.clone()
    }

    fn proxies(&self) -> Vec<Network> {
        self.proxies.clone()
    }

    fn summary(&self) -> String {
        self.summary.clone()
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(HttpAcceptor {
            shard: Rc::new(Shard {
                handler: (self.handler)(),
                limits: self.http_limits,
                access: self.access.clone(),
                dates: DateCache::default(),
                tally: self.metrics.as_deref().map(Tally::new),
                trusted: self.trusted.clone(),
                hsts: self.hsts.clone(),
                spare: Cell::default(),
            }),
        })
    }
}

struct HttpAcceptor {
    shard: Rc<Shard>,
}

impl Acceptor for HttpAcceptor {
    fn accepted(&mut self, _: &Peer) -> Box<dyn Session> {
        Box::new(HttpSession::new(Rc::clone(&self.shard)))
    }

    fn refused(&mut self, _: Refusal) -> Bytes {
        too_busy()
    }
}

/// What a peer is told for which there is no session, and so no clock: RFC 9110 §6.6.1 lets a 5xx go
/// without a date.
fn too_busy() -> Bytes {
    let response = Response::fault(Fault::Busy);
    let mut out = b"HTTP/1.1 503 Service Unavailable\r\n".to_vec();
    out.extend_from_slice(&response.parts.fields);
    if let Body::Bytes(page) = response.content() {
        out.extend_from_slice(b"Content-Length: ");
        out.extend_from_slice(page.len().to_string().as_bytes());
        out.extend_from_slice(b"\r\nConnection: close\r\n\r\n");
        out.extend_from_slice(page);
    }
    out.into()
}
