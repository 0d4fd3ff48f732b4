//! DNS as a service of the core: what a program that embeds this crate mounts, and what the plug-in makes
//! from a configuration.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use medusa_core::tls::ServerTls;
use medusa_core::{
    Acceptor, Datagram, DatagramCx, DatagramService, Limits, Listener, Network, Peer, Service,
    Session,
};

use crate::answer::{Answerer, Asker, Outcome, Settings, Transport};
use crate::session::DnsSession;
use crate::zone::Zones;

/// A name server, to be mounted.
#[derive(Debug)]
pub struct DnsService {
    name: String,
    listeners: Vec<Listener>,
    limits: Limits,
    tls: Option<Arc<ServerTls>>,
    summary: String,
    shared: Shared,
}

/// What all sessions and datagrams of a service have in common.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) zones: Zones,
    pub(crate) settings: Arc<Settings>,
    /// Who may have zones as a whole.
    pub(crate) transfer_to: Arc<[Network]>,
}

impl DnsService {
    /// A server of this name for these zones. Each listener that isn't secured takes datagrams too.
    pub fn new(name: impl Into<String>, listeners: Vec<Listener>, zones: Zones) -> DnsService {
        DnsService {
            name: name.into(),
            listeners,
            limits: Self::default_limits(),
            tls: None,
            summary: String::new(),
            shared: Shared { zones, settings: Arc::default(), transfer_to: Arc::default() },
        }
    }

    /// The limits where nothing else is said: a connection may be idle for 10 seconds (RFC 7766 §6.2.3
    /// asks for a few; BIND has 30, Knot 10).
    pub fn default_limits() -> Limits {
        let mut limits = Limits::default();
        limits.idle = Some(Duration::from_secs(10));
        limits
    }

    /// Sets what connections may use.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> DnsService {
        self.limits = limits;
        self
    }

    /// Sets what secured listeners show to clients.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Arc<ServerTls>>) -> DnsService {
        self.tls = tls;
        self
    }

    /// Sets what it says of itself, and how much it says at once.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> DnsService {
        self.shared.settings = Arc::new(settings);
        self
    }

    /// Sets who may have zones as a whole: nobody, unless somebody is named.
    #[must_use]
    pub fn with_transfer_to(mut self, networks: Vec<Network>) -> DnsService {
        self.shared.transfer_to = networks.into();
        self
    }

    /// Sets what is said of it in a table.
    #[must_use]
    pub fn with_summary(mut self, summary: impl Into<String>) -> DnsService {
        self.summary = summary.into();
        self
    }
}

impl Service for DnsService {
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

    fn summary(&self) -> String {
        self.summary.clone()
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(DnsAcceptor { shared: Rc::new(self.shared.clone()), answerer: Rc::default() })
    }

    fn datagram_listeners(&self) -> Vec<Listener> {
        self.listeners.iter().filter(|listener| !listener.secured).cloned().collect()
    }

    fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
        Some(Box::new(DnsDatagrams { shared: self.shared.clone(), answerer: Answerer::default() }))
    }
}

struct DnsAcceptor {
    shared: Rc<Shared>,
    answerer: Rc<RefCell<Answerer>>,
}

impl Acceptor for DnsAcceptor {
    fn accepted(&mut self, _: &Peer) -> Box<dyn Session> {
        Box::new(DnsSession::new(Rc::clone(&self.shared), Rc::clone(&self.answerer)))
    }
}

/// One shard's datagrams.
struct DnsDatagrams {
    shared: Shared,
    answerer: Answerer,
}

impl DatagramService for DnsDatagrams {
    #[inline]
    fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
        let remote = datagram.sender.remote();
        // Nobody asks from port 0, and nobody hears what is sent there.
        if remote.port() == 0 {
            return;
        }
        let asker = Asker {
            address: Some(remote.ip().to_canonical()),
            transport: Transport::Udp,
            now: seconds(cx.wall_clock()),
        };
        let DnsDatagrams { shared, answerer } = self;
        cx.reply_if(datagram.sender, |out| {
            let zones = shared.zones.current();
            let outcome = answerer.answer(&zones, &shared.settings, &asker, datagram.bytes, out);
            matches!(outcome, Outcome::Answered(_))
        });
    }
}

/// Seconds since 1970, modulo 2³².
pub(crate) fn seconds(now: SystemTime) -> u32 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
