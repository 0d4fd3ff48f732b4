//! What the server says of itself: a page for people and programs ([`StatusPage`]) and the text that
//! Prometheus collects ([`MetricsPage`]).
//!
//! Both read the counters that all services share and hold nothing that a client has sent. They ask
//! for no login: [`Protected`](crate::Protected) does.

mod page;
mod prometheus;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use medusa_core::metrics::{DatagramCounts, Metrics};

use crate::handler::{Answer, Exchange, Handler};
use crate::head::{Known, tokens};
use crate::request::Request;
use crate::response::Response;
use crate::router::refuse_method;

/// Rates are told over at least so long, where there has been as much time.
const WINDOW: Duration = Duration::from_secs(10);

/// What had been counted at a time.
#[derive(Debug, Clone, Default)]
struct Snapshot {
    services: Vec<Counted>,
}

/// What one service had counted.
#[derive(Debug, Clone)]
struct Counted {
    name: Arc<str>,
    open: u64,
    accepted: u64,
    refused: u64,
    own_open: u64,
    own_opened: u64,
    received: u64,
    sent: u64,
    datagrams: Datagrams,
    /// The protocol's own.
    own: Vec<(&'static str, u64)>,
}

/// What one service had counted of datagrams.
#[derive(Debug, Clone, Copy, Default)]
struct Datagrams {
    received: u64,
    truncated: u64,
    refused: u64,
    sent: u64,
    dropped: u64,
}

impl From<&DatagramCounts> for Datagrams {
    fn from(counts: &DatagramCounts) -> Self {
        Datagrams {
            received: counts.received.value(),
            truncated: counts.truncated.value(),
            refused: counts.refused.value(),
            sent: counts.sent.value(),
            dropped: counts.dropped.value(),
        }
    }
}

impl Snapshot {
    fn of(metrics: &Metrics) -> Snapshot {
        let services = metrics.all().into_iter().map(|(name, service)| Counted {
            name,
            open: service.open(),
            accepted: service.accepted.value(),
            refused: service.refused.value(),
            own_open: service.own_open(),
            own_opened: service.own_opened.value(),
            received: service.received_octets.value(),
            sent: service.sent_octets.value(),
            datagrams: Datagrams::from(&*service.datagrams),
            own: service.counters(),
        });
        Snapshot { services: services.collect() }
    }

    fn service(&self, name: &str) -> Option<&Counted> {
        self.services.iter().find(|service| &*service.name == name)
    }
}

impl Counted {
    fn own(&self, name: &str) -> Option<u64> {
        self.own.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// A status page: uptime, and of each service its connections, octets and what its protocol counts.
/// HTML, or JSON where the client wants it (`?format=json`, or Accept).
#[derive(Debug, Clone)]
pub struct StatusPage {
    metrics: Metrics,
    since: Instant,
    seen: Arc<Mutex<Seen>>,
}

/// What was shown before, to tell rates from: all shards' views together.
#[derive(Debug)]
struct Seen {
    older: (Instant, Snapshot),
    newer: (Instant, Snapshot),
}

/// What a page shows: the state now, and one from before.
struct View {
    uptime: Duration,
    now: Snapshot,
    before: Snapshot,
    /// The time between them.
    window: Duration,
}

impl StatusPage {
    /// Shows what is counted in `metrics`, up `since` then.
    pub fn new(metrics: &Metrics, since: Instant) -> StatusPage {
        let first = || (since, Snapshot::default());
        let seen = Arc::new(Mutex::new(Seen { older: first(), newer: first() }));
        StatusPage { metrics: metrics.clone(), since, seen }
    }

    fn view(&self, now: Instant) -> View {
        let snapshot = Snapshot::of(&self.metrics);
        // No code that holds the lock can leave it half changed.
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(seen.newer.0) >= WINDOW {
            let newer = std::mem::replace(&mut seen.newer, (now, snapshot.clone()));
            seen.older = newer;
        }
        View {
            uptime: now.saturating_duration_since(self.since),
            now: snapshot,
            before: seen.older.1.clone(),
            window: now.saturating_duration_since(seen.older.0),
        }
    }
}

impl View {
    /// How much more a second.
    fn rate(&self, now: u64, before: u64) -> f64 {
        now.saturating_sub(before) as f64 / self.window.as_secs_f64().max(1.0)
    }
}

impl Handler for StatusPage {
    fn requested(&self, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
        if let Some(refusal) = refusal(request) {
            return refusal;
        }
        exchange.flush_counts();
        let view = self.view(exchange.now());
        let response = if wants_json(request) {
            Response::new(StatusCode::OK)
                .field(&header::CONTENT_TYPE, &HeaderValue::from_static("application/json"))
                .body(page::json(&view))
        } else {
            const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
            Response::html(page::html(&view))
                .field(&header::CONTENT_SECURITY_POLICY, &HeaderValue::from_static(POLICY))
        };
        response
            .field(&header::VARY, &HeaderValue::from_static("Accept"))
            .field(&header::X_CONTENT_TYPE_OPTIONS, &HeaderValue::from_static("nosniff"))
            .field(&header::CACHE_CONTROL, &HeaderValue::from_static("no-store"))
            .into()
    }
}

/// Metrics in Prometheus' text format, version 0.0.4.
#[derive(Debug, Clone)]
pub struct MetricsPage {
    metrics: Metrics,
    since: Instant,
}

impl MetricsPage {
    /// Shows what is counted in `metrics`, up `since` then.
    pub fn new(metrics: &Metrics, since: Instant) -> MetricsPage {
        MetricsPage { metrics: metrics.clone(), since }
    }
}

impl Handler for MetricsPage {
    fn requested(&self, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
        if let Some(refusal) = refusal(request) {
            return refusal;
        }
        exchange.flush_counts();
        let uptime = exchange.now().saturating_duration_since(self.since);
        let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        Response::new(StatusCode::OK)
            .field(&header::CONTENT_TYPE, &kind)
            .field(&header::CACHE_CONTROL, &HeaderValue::from_static("no-store"))
            .body(prometheus::text(&Snapshot::of(&self.metrics), uptime))
            .into()
    }
}

/// What isn't a look at the page itself.
fn refusal(request: &Request<'_>) -> Option<Answer> {
    const ALLOWED: &[Method] = &[Method::GET, Method::HEAD, Method::OPTIONS];
    match *request.method() {
        _ if !request.rest().is_empty() => Some(Response::error(StatusCode::NOT_FOUND).into()),
        Method::GET | Method::HEAD => None,
        Method::OPTIONS => Some(Response::new(StatusCode::NO_CONTENT).allow(ALLOWED).into()),
        _ => Some(refuse_method(request.method(), ALLOWED).into()),
    }
}

/// The query says it, or else the one of the two types that Accept names first. Browsers name HTML.
fn wants_json(request: &Request<'_>) -> bool {
    for parameter in request.query().unwrap_or_default().split(|&b| b == b'&') {
        match parameter {
            b"format=json" => return true,
            b"format=html" => return false,
            _ => {}
        }
    }
    let named = tokens(request.known(Known::Accept).unwrap_or_default()).find_map(|element| {
        let mut parts = element.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let is_json = match parts.next()? {
            name if name.eq_ignore_ascii_case(b"application/json") => true,
            name if name.eq_ignore_ascii_case(b"text/html") => false,
            _ => return None,
        };
        // RFC 9110 §12.4.2: a weight of nothing is a no.
        let refused = parts.any(|p| matches!(p, b"q=0" | b"q=0.0" | b"q=0.00" | b"q=0.000"));
        (!refused).then_some(is_json)
    });
    named.unwrap_or(false)
}
