//! HTTP as a service of the core: what a program that embeds this crate mounts, and what the plug-in
//! makes from a configuration.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use medusa_core::metrics::{Metrics, ServiceMetrics};
use medusa_core::{Acceptor, Network, Peer, Refusal, Service, ServiceParts, Session};

use crate::date::DateCache;
use crate::error::Fault;
use crate::handler::Handler;
use crate::response::{Body, Response};
use crate::session::{HttpLimits, HttpSession, Shard};
use crate::tally::Tally;

type MakeHandler = Arc<dyn Fn() -> Box<dyn Handler> + Send + Sync>;

/// An HTTP server, to be mounted.
pub struct HttpService {
    parts: ServiceParts,
    http_limits: HttpLimits,
    metrics: Option<Arc<ServiceMetrics>>,
    hsts: Vec<u8>,
    trusted: Vec<Network>,
    handler: MakeHandler,
}

impl std::fmt::Debug for HttpService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpService").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl HttpService {
    /// A server of this name, or with more that services have in common: the access log has a line for each
    /// finished request. `handler` is called once on each shard, and what it makes answers that
    /// shard's requests.
    pub fn new<H: Handler + 'static>(
        parts: impl Into<ServiceParts>,
        handler: impl Fn() -> H + Send + Sync + 'static,
    ) -> HttpService {
        HttpService {
            parts: parts.into(),
            http_limits: HttpLimits::default(),
            metrics: None,
            hsts: Vec::new(),
            trusted: Vec::new(),
            handler: Arc::new(move || Box::new(handler())),
        }
    }

    /// Sets how large requests may be.
    #[must_use]
    pub fn with_http_limits(mut self, limits: HttpLimits) -> HttpService {
        self.http_limits = limits;
        self
    }

    /// Counts requests there, by the class of their status.
    #[must_use]
    pub fn with_metrics(mut self, metrics: &Metrics) -> HttpService {
        self.metrics = Some(metrics.service(self.parts.name()));
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
}

impl Service for HttpService {
    fn parts(&self) -> ServiceParts {
        self.parts.clone()
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(HttpAcceptor {
            shard: Rc::new(Shard {
                handler: (self.handler)(),
                limits: self.http_limits,
                access: self.parts.access(),
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
