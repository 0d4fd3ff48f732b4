//! What a connection, a peer and a service may use. `None` means unlimited.
//!
//! Limits are counted here and applied by the channel (deadlines, rates, back-pressure) and by the
//! shard's accepting (connections); protocols only choose their words of refusal.

use std::collections::HashMap;
use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::de::value::{StrDeserializer, U64Deserializer};
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

use crate::config::{Period, Rate};
use crate::metrics::ServiceMetrics;

/// The limits of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Connections of the service at one time, over all shards. Default 10,000.
    pub connections: Option<usize>,
    /// Connections of one peer at one time: an IPv4 address or an IPv6 /64. Default 200.
    pub connections_per_peer: Option<usize>,
    /// New connections of one peer in a second, with as many again at once. Default unlimited.
    pub connection_rate: Option<usize>,
    /// Datagrams of one peer in a second, with as many again at once; what is beyond is dropped unseen.
    /// Default unlimited.
    pub datagram_rate: Option<usize>,
    /// How long a connection may be silent between requests. Default 60 s; protocols set their own.
    pub idle: Option<Duration>,
    /// From the first octet of a request or command to its end. Default 20 s (Apache's
    /// mod_reqtimeout begins at 20 s).
    pub head: Option<Duration>,
    /// For a TLS handshake, a PROXY header or an outbound connect. Default 10 s.
    pub handshake: Option<Duration>,
    /// From connecting to being logged in, where a protocol asks for it: a session
    /// [arms](crate::Cx::arm) a timer with it. Default 60 s (OpenSSH's LoginGraceTime is 120 s,
    /// Dovecot cuts off at 180 s).
    pub login: Option<Duration>,
    /// A peer slower than this, in bytes a second over [`Limits::RATE_WINDOW`], in a body or in taking a
    /// reply, is cut off. Default 100 B/s.
    pub minimum_rate: Option<u64>,
    /// Replies that may wait for one another on a connection before reading stops. Default 128.
    pub in_flight: usize,
    /// Bytes that may wait for the socket on a connection before reading stops. Default 64 KiB.
    pub high_water: usize,
}

impl Limits {
    /// Over how long the minimum rate is measured.
    pub const RATE_WINDOW: Duration = Duration::from_secs(10);
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections: Some(10_000),
            connections_per_peer: Some(200),
            connection_rate: None,
            datagram_rate: None,
            idle: Some(Duration::from_secs(60)),
            head: Some(Duration::from_secs(20)),
            handshake: Some(Duration::from_secs(10)),
            login: Some(Duration::from_secs(60)),
            minimum_rate: Some(100),
            in_flight: 128,
            high_water: 64 * 1024,
        }
    }
}

/// The `[limits]` table of a configuration, or a service's own `limits`: what is left out is as it would
/// be otherwise, and `false` means unlimited.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LimitsConfig {
    /// [`Limits::connections`].
    pub connections: Option<Limit<usize>>,
    /// [`Limits::connections_per_peer`].
    pub connections_per_peer: Option<Limit<usize>>,
    /// [`Limits::connection_rate`].
    pub connection_rate: Option<Limit<usize>>,
    /// [`Limits::datagram_rate`].
    pub datagram_rate: Option<Limit<usize>>,
    /// [`Limits::idle`].
    pub idle: Option<Limit<Period>>,
    /// [`Limits::head`].
    pub head: Option<Limit<Period>>,
    /// [`Limits::handshake`].
    pub handshake: Option<Limit<Period>>,
    /// [`Limits::login`].
    pub login: Option<Limit<Period>>,
    /// [`Limits::minimum_rate`].
    pub minimum_rate: Option<Limit<Rate>>,
}

impl LimitsConfig {
    /// What is set here, and `below` for the rest.
    #[must_use]
    pub fn or(&self, below: &LimitsConfig) -> LimitsConfig {
        LimitsConfig {
            connections: self.connections.or(below.connections),
            connections_per_peer: self.connections_per_peer.or(below.connections_per_peer),
            connection_rate: self.connection_rate.or(below.connection_rate),
            datagram_rate: self.datagram_rate.or(below.datagram_rate),
            idle: self.idle.or(below.idle),
            head: self.head.or(below.head),
            handshake: self.handshake.or(below.handshake),
            login: self.login.or(below.login),
            minimum_rate: self.minimum_rate.or(below.minimum_rate),
        }
    }

    /// The limits of a protocol with `defaults` of its own.
    pub fn over(&self, defaults: Limits) -> Limits {
        let period = |set: Option<Limit<Period>>, default| match set {
            Some(limit) => limit.value().map(|period| period.0),
            None => default,
        };
        let count = |set: Option<Limit<usize>>, default| match set {
            Some(limit) => limit.value(),
            None => default,
        };
        Limits {
            connections: count(self.connections, defaults.connections),
            connections_per_peer: count(self.connections_per_peer, defaults.connections_per_peer),
            connection_rate: count(self.connection_rate, defaults.connection_rate),
            datagram_rate: count(self.datagram_rate, defaults.datagram_rate),
            idle: period(self.idle, defaults.idle),
            head: period(self.head, defaults.head),
            handshake: period(self.handshake, defaults.handshake),
            login: period(self.login, defaults.login),
            minimum_rate: match self.minimum_rate {
                Some(limit) => limit.value().map(|rate| rate.0),
                None => defaults.minimum_rate,
            },
            ..defaults
        }
    }
}

/// A limit as it is written in a configuration: a value, or `false` for none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit<T> {
    /// `false`.
    Unlimited,
    /// So much and no more.
    At(T),
}

impl<T> Limit<T> {
    /// The limit, or `None` for unlimited.
    pub fn value(self) -> Option<T> {
        match self {
            Limit::Unlimited => None,
            Limit::At(value) => Some(value),
        }
    }
}

/// Zero is refused: it would serve nobody, and where no limit is meant `false` says so.
impl<'de, T: Deserialize<'de> + Default + PartialEq> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Default + PartialEq> Visitor<'de> for Either<T> {
            type Value = Limit<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, or `false` for no limit")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Limit<T>, E> {
                match value {
                    false => Ok(Limit::Unlimited),
                    true => Err(E::invalid_value(Unexpected::Bool(true), &self)),
                }
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Limit<T>, E> {
                match u64::try_from(value) {
                    Ok(value) => self.visit_u64(value),
                    Err(_) => Err(E::custom(format!("a limit can't be negative: `{value}`"))),
                }
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Limit<T>, E> {
                at_least_something(T::deserialize(U64Deserializer::new(value))?)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Limit<T>, E> {
                at_least_something(T::deserialize(StrDeserializer::new(text))?)
            }
        }
        deserializer.deserialize_any(Either(PhantomData))
    }
}

fn at_least_something<T: Default + PartialEq, E: Error>(value: T) -> Result<Limit<T>, E> {
    match value == T::default() {
        true => Err(E::custom("a limit of 0 would serve nobody; `false` is no limit")),
        false => Ok(Limit::At(value)),
    }
}

/// Why a connection was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The service has as many connections as it may.
    Connections,
    /// The peer has as many connections as it may.
    ConnectionsPerPeer,
    /// The peer connects too often.
    ConnectionRate,
    /// The server is shutting down.
    Draining,
}

/// Peers whose rate is remembered. Beyond it those that are quiet are forgotten, then all: a flood from
/// everywhere is bounded by the limit on connections.
const REMEMBERED: usize = 64 * 1024;

/// Connections counted over all shards of a service.
#[derive(Debug, Default)]
pub(crate) struct Census {
    /// Those of the service's own listeners.
    public: Count,
    /// Those of sessions' private listeners, and those that sessions make: as many again, so that a peer which
    /// has as many sessions as it may can still transfer something in each.
    private: Count,
    rates: Mutex<HashMap<IpAddr, Bucket>>,
    metrics: Arc<ServiceMetrics>,
}

#[derive(Debug, Default)]
struct Count {
    connections: AtomicUsize,
    peers: Mutex<HashMap<IpAddr, usize>>,
}

/// How a connection came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    /// By one of the service's own listeners.
    Public,
    /// By a session: its private listener, or a connection that it makes.
    Private,
}

/// What is left of a peer's rate, as a token bucket.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Census {
    /// A census that tells `metrics` what it counts.
    pub(crate) fn new(metrics: Arc<ServiceMetrics>) -> Self {
        Census { metrics, ..Census::default() }
    }

    /// Counts a new connection of `peer`, or says why there may be no more.
    pub(crate) fn entered(
        &self,
        by: By,
        peer: Option<IpAddr>,
        limits: &Limits,
        now: Instant,
    ) -> Result<(), Refusal> {
        let network = peer.map(network_of);
        let rate = limits.connection_rate.filter(|_| by == By::Public);
        let counted = match rate.zip(network) {
            Some((rate, network)) if !self.within_rate(network, rate, now) => {
                Err(Refusal::ConnectionRate)
            }
            _ => self.count(by).entered(network, limits),
        };
        match (counted, by) {
            (Ok(()), By::Public) => self.metrics.accepted.add(1),
            // What sessions open for themselves isn't a client that came.
            (Ok(()), By::Private) => self.metrics.own_opened.add(1),
            (Err(_), _) => self.metrics.refused.add(1),
        }
        counted
    }

    /// Uncounts a connection, with what it was counted with, after so many octets both ways.
    pub(crate) fn left(&self, by: By, peer: Option<IpAddr>, limits: &Limits, octets: (u64, u64)) {
        match by {
            By::Public => self.metrics.ended.add(1),
            By::Private => self.metrics.own_ended.add(1),
        }
        self.metrics.received_octets.add(octets.0);
        self.metrics.sent_octets.add(octets.1);
        self.count(by).left(peer.map(network_of), limits);
    }

    fn count(&self, by: By) -> &Count {
        match by {
            By::Public => &self.public,
            By::Private => &self.private,
        }
    }

    fn within_rate(&self, network: IpAddr, rate: usize, now: Instant) -> bool {
        let (rate, burst) = (rate as f64, rate as f64 * 2.0);
        let refilled = |bucket: &Bucket| {
            let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.left + passed * rate).min(burst)
        };
        let mut rates = self.rates.lock().unwrap_or_else(PoisonError::into_inner);
        if rates.len() >= REMEMBERED && !rates.contains_key(&network) {
            rates.retain(|_, bucket| refilled(bucket) < burst);
            if rates.len() >= REMEMBERED {
                rates.clear();
            }
        }
        let bucket = rates.entry(network).or_insert(Bucket { left: burst, at: now });
        let left = refilled(bucket);
        let within = left >= 1.0;
        *bucket = Bucket { left: if within { left - 1.0 } else { left }, at: now };
        within
    }
}

impl Count {
    fn entered(&self, network: Option<IpAddr>, limits: &Limits) -> Result<(), Refusal> {
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        if limits.connections.is_some_and(|limit| before >= limit) {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::Connections);
        }
        let (Some(limit), Some(network)) = (limits.connections_per_peer, network) else {
            return Ok(());
        };
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let count = peers.get(&network).copied().unwrap_or(0);
        if count >= limit {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            return Err(Refusal::ConnectionsPerPeer);
        }
        peers.insert(network, count + 1);
        Ok(())
    }

    fn left(&self, network: Option<IpAddr>, limits: &Limits) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
        if let (Some(_), Some(network)) = (limits.connections_per_peer, network) {
            let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(count) = peers.get_mut(&network) {
                *count -= 1;
                if *count == 0 {
                    peers.remove(&network);
                }
            }
        }
    }
}

/// Who counts as one peer: an IPv4 address (also when mapped into IPv6), or an IPv6 /64, which is what
/// one customer gets (RFC 6177 §2).
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_and_a_service_have_their_limits() {
        let limits =
            Limits { connections: Some(3), connections_per_peer: Some(2), ..Limits::default() };
        let census = Census::default();
        let ip = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let now = Instant::now();
        let enter = |text: &str| census.entered(By::Public, ip(text), &limits, now);
        assert_eq!(enter("2001:db8::1"), Ok(()));
        assert_eq!(enter("2001:db8::2"), Ok(()));
        assert_eq!(enter("2001:db8::3"), Err(Refusal::ConnectionsPerPeer));
        assert_eq!(enter("192.0.2.1"), Ok(()));
        assert_eq!(enter("192.0.2.2"), Err(Refusal::Connections));
        census.left(By::Public, ip("2001:db8::9"), &limits, (10, 20));
        assert_eq!(enter("::ffff:192.0.2.1"), Ok(()));
        assert_eq!(census.public.connections.load(Ordering::Relaxed), 3);
        assert_eq!((census.metrics.open(), census.metrics.refused.value()), (3, 2));
        assert_eq!(census.metrics.sent_octets.value(), 20);
        assert_eq!(census.public.peers.lock().unwrap()[&ip("192.0.2.1").unwrap()], 2);
    }

    #[test]
    fn what_sessions_open_is_counted_apart() {
        let limits =
            Limits { connections_per_peer: Some(1), connection_rate: Some(1), ..Limits::default() };
        let (census, now) = (Census::default(), Instant::now());
        let peer = Some(IpAddr::from([192, 0, 2, 1]));
        let enter = |by| census.entered(by, peer, &limits, now);
        assert_eq!(enter(By::Public), Ok(()));
        assert_eq!(enter(By::Private), Ok(()));
        assert_eq!(enter(By::Private), Err(Refusal::ConnectionsPerPeer));
        census.left(By::Private, peer, &limits, (0, 5000));
        // Each transfer is a connection: no rate of theirs is held against them.
        for _ in 0..10 {
            assert_eq!(enter(By::Private), Ok(()));
            census.left(By::Private, peer, &limits, (0, 0));
        }
        assert_eq!((census.metrics.accepted.value(), census.metrics.open()), (1, 1));
        assert_eq!((census.metrics.own_opened.value(), census.metrics.own_open()), (11, 0));
        assert_eq!(census.metrics.sent_octets.value(), 5000);
    }

    #[test]
    fn a_peer_that_connects_too_often_waits() {
        let limits = Limits { connection_rate: Some(10), ..Limits::default() };
        let (census, start) = (Census::default(), Instant::now());
        let at = |millis: u64, last: u8| {
            let now = start + Duration::from_millis(millis);
            census.entered(By::Public, Some(IpAddr::from([192, 0, 2, last])), &limits, now)
        };
        let taken = (0..30).filter(|_| at(0, 1).is_ok()).count();
        assert_eq!(taken, 20);
        assert_eq!(at(0, 1), Err(Refusal::ConnectionRate));
        assert_eq!(at(0, 2), Ok(()));
        assert_eq!(at(99, 1), Err(Refusal::ConnectionRate));
        assert_eq!(at(100, 1), Ok(()));
        assert_eq!(at(100, 1), Err(Refusal::ConnectionRate));
        let taken = (0..30).filter(|_| at(60_000, 1).is_ok()).count();
        assert_eq!(taken, 20);
    }
}
