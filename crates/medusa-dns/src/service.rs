//! DNS as a service of the core: what a program that embeds this crate mounts, and what the plug-in makes
//! from a configuration.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use medusa_core::metrics::ServiceMetrics;
use medusa_core::{
    Acceptor, Datagram, DatagramCx, DatagramService, Failure, Limits, Listener, Network, Note,
    Peer, Service, ServiceParts, Session, SocketId, TimerKey,
};
use medusa_resolver::{Door, Forwarded, Forwarding};

use crate::answer::{Answered, Answerer, Asker, Kind, Outcome, Program, Settings, Transport};
use crate::door::DnsDoor;
use crate::ledger::{Ledger, Receiver};
use crate::rate::{Accounts, RateLimit, Verdict};
use crate::recursion::{Asking, Brought, Counters, OVERDUE, Recursion, To};
use crate::session::DnsSession;
use crate::store::ZoneFiles;
use crate::transfer::keeper::{DUE, HasKeeper, Keeper};
use crate::transfer::{self, Desk, Handled, Keys};
use crate::zone::Zones;

/// A name server, to be mounted.
#[derive(Debug)]
pub struct DnsService {
    parts: ServiceParts,
    shared: Shared,
}

/// What all sessions and datagrams of a service have in common.
#[derive(Debug, Clone)]
pub(crate) struct Shared {
    pub(crate) zones: Zones,
    pub(crate) settings: Arc<Settings>,
    /// Who may have zones as a whole, and change them.
    pub(crate) desk: Desk,
    /// Who is asked for what no zone has.
    pub(crate) recursion: Option<Arc<Recursion>>,
    pub(crate) ledger: Ledger,
    rates: Option<Arc<Accounts>>,
    files: Option<Arc<Mutex<ZoneFiles>>>,
}

impl DnsService {
    /// A server for these zones, of this name, or with more that services have in common. Each listener that
    /// isn't secured takes datagrams too, and the access log has a line for each question.
    pub fn new(parts: impl Into<ServiceParts>, zones: Zones) -> DnsService {
        let parts = parts.into().or_limits(Self::default_limits);
        let ledger = Ledger::default().with_access(parts.access());
        DnsService {
            parts,
            shared: Shared {
                desk: Desk::new(zones.clone(), Keys::default(), Vec::new(), whole_seconds),
                zones,
                settings: Arc::default(),
                recursion: None,
                ledger,
                rates: None,
                files: None,
            },
        }
        .with_settings(Settings::default())
        .with_rate_limit(Some(RateLimit::default()))
    }

    /// The limits where nothing else is said: a connection may be idle for 10 seconds (RFC 7766 §6.2.3
    /// asks for a few; BIND has 30, Knot 10).
    pub fn default_limits() -> Limits {
        let mut limits = Limits::default();
        limits.idle = Some(Duration::from_secs(10));
        limits
    }

    /// Sets what it says of itself, and how much it says at once. Without a secret for cookies it makes
    /// one.
    #[must_use]
    pub fn with_settings(mut self, mut settings: Settings) -> DnsService {
        settings.cookie_secret = settings.cookie_secret.or_else(secret);
        settings.program = settings.program.or_else(|| self.shared.settings.program.clone());
        self.shared.settings = Arc::new(settings);
        self
    }

    /// Has code answer for the names that no zone has.
    #[must_use]
    pub fn with_program(self, program: impl Program + 'static) -> DnsService {
        let mut settings = (*self.shared.settings).clone();
        settings.program = Some(Arc::new(program));
        self.with_settings(settings)
    }

    /// Has others asked for what no zone has, for those who are in these networks. The resolver is to be
    /// mounted too.
    ///
    /// ```no_run
    /// use medusa_core::Server;
    /// use medusa_dns::{DnsService, zone::Zones};
    /// use medusa_resolver::Forwarding;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let resolver = Forwarding::new(vec!["192.0.2.53".parse()?])?;
    /// let service = DnsService::new("dns", Zones::default())
    ///     .with_forwarding(resolver.clone(), vec!["127.0.0.0/8".parse()?]);
    /// Server::builder().mount(resolver.service()).mount(Box::new(service)).bind()?.run()?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_forwarding(self, resolver: Forwarding, networks: Vec<Network>) -> DnsService {
        self.with_counted_forwarding(resolver, networks, Counters::default())
    }

    #[must_use]
    pub(crate) fn with_counted_forwarding(
        mut self,
        resolver: Forwarding,
        networks: Vec<Network>,
        counters: Counters,
    ) -> DnsService {
        self.shared.recursion = Some(Arc::new(Recursion::new(resolver, networks, counters)));
        self
    }

    /// Sets how much a network is answered over UDP: [so much](RateLimit::default) unless it is said, and
    /// everything with `None`.
    #[must_use]
    pub fn with_rate_limit(self, limit: Option<RateLimit>) -> DnsService {
        self.with_rate_limit_by(limit, secret)
    }

    #[must_use]
    pub(crate) fn with_rate_limit_by(
        mut self,
        limit: Option<RateLimit>,
        secret: impl Fn() -> Option<[u8; 16]>,
    ) -> DnsService {
        let accounts = |limit| Arc::new(Accounts::new(limit, secret().unwrap_or_else(makeshift)));
        self.shared.rates = limit.map(accounts);
        self
    }

    /// Counts answers here, by their response codes.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Option<Arc<ServiceMetrics>>) -> DnsService {
        self.shared.ledger = std::mem::take(&mut self.shared.ledger).with_metrics(metrics);
        self
    }

    /// Looks at these files now and then, and replaces zones whose files have changed.
    #[must_use]
    pub(crate) fn with_files(mut self, files: ZoneFiles) -> DnsService {
        self.shared.files = (!files.is_empty()).then(|| Arc::new(Mutex::new(files)));
        self
    }

    /// Reads, when it is called, the zone files that have changed: at once, and blocking.
    pub(crate) fn reload(&self) -> Option<impl Fn() + Send + Sync + 'static> {
        let (files, desk) = (self.shared.files.clone()?, self.shared.desk.clone());
        Some(move || {
            let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
            files.look_now(|zone| desk.reloaded(zone));
        })
    }

    /// Sets who may have zones as a whole: nobody, unless somebody is named.
    #[must_use]
    pub fn with_transfer_to(self, networks: Vec<Network>) -> DnsService {
        let zones = self.shared.zones.clone();
        self.with_desk(Desk::new(zones, Keys::default(), networks, whole_seconds))
    }

    /// Sets who may have zones as a whole and change them, and by which keys.
    #[must_use]
    pub(crate) fn with_desk(mut self, desk: Desk) -> DnsService {
        self.shared.zones = desk.zones().clone();
        self.shared.desk = desk;
        self
    }

    /// A door to this server, for protocols that carry messages: as things are set now.
    pub fn door(&self) -> Arc<dyn Door> {
        Arc::new(DnsDoor::new(self.shared.of_a_shard()))
    }
}

impl Service for DnsService {
    fn parts(&self) -> ServiceParts {
        self.parts.clone()
    }

    fn keeps_state(&self) -> bool {
        // Two that write one journal would spoil it.
        self.shared.desk.keeps_state()
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(DnsAcceptor { shared: Rc::new(self.shared.of_a_shard()), answerer: Rc::default() })
    }

    fn datagram_listeners(&self) -> Vec<Listener> {
        self.parts.listeners().iter().filter(|listener| !listener.secured).cloned().collect()
    }

    fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
        Some(Box::new(DnsDatagrams {
            shared: self.shared.of_a_shard(),
            answerer: Answerer::default(),
            keeper: None,
            clock: (UNIX_EPOCH, 0),
            asking: Asking::default(),
        }))
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
    /// On one shard.
    keeper: Option<Keeper>,
    /// The wall clock when it was last looked at, and its seconds.
    clock: (SystemTime, u32),
    asking: Asking,
}

impl HasKeeper for DnsDatagrams {
    fn keeper(&mut self) -> Option<&mut Keeper> {
        self.keeper.as_mut()
    }
}

impl DatagramService for DnsDatagrams {
    #[inline]
    fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
        let remote = datagram.sender.remote();
        // Nobody asks from port 0, and nobody hears what is sent there.
        if remote.port() == 0 {
            return;
        }
        if let Some(keeper) = &mut self.keeper
            && keeper.owns(datagram.sender.socket())
        {
            keeper.received(cx, datagram.sender.socket(), remote, datagram.bytes);
            return;
        }
        let wall_clock = cx.wall_clock();
        // It stands still while a batch is answered.
        if self.clock.0 != wall_clock {
            self.clock = (wall_clock, seconds(wall_clock));
        }
        let asker = Asker {
            address: Some(remote.ip().to_canonical()),
            transport: Transport::Udp,
            now: self.clock.1,
        };
        let DnsDatagrams { shared, answerer, .. } = self;
        let shared: &Shared = shared;
        let Shared { settings, ledger, .. } = shared;
        let mut passed_on = None;
        let mut is_plain = true;
        cx.reply_if(datagram.sender, |out| {
            let zones = shared.zones.current();
            let outcome = answerer.answer_plain(&zones, settings, &asker, datagram.bytes, out);
            is_plain = outcome.is_some();
            let Some(Outcome::Answered(answered)) = outcome else { return false };
            if let Some(recursion) = &shared.recursion
                && let asked = (datagram.bytes, &asker)
                && let Some(kept) = recursion.takes(asked, &answered, answerer, &zones, out)
            {
                passed_on = Some((kept, answered.is_known));
                return false;
            }
            match shared.verdict(remote.ip(), answered.kind, answered.is_known, wall_clock) {
                Verdict::Sent => {
                    let to = Receiver { address: asker.address, at: wall_clock };
                    ledger.answered(answered.rcode, out, to);
                    true
                }
                Verdict::Dropped => false,
                Verdict::Slipped => {
                    out.clear();
                    answerer.slip(settings, &asker, datagram.bytes, out)
                }
            }
        });
        if !is_plain {
            return self.hand_over(cx, &asker, &datagram);
        }
        if let Some((kept, is_known)) = passed_on {
            self.asking.pass_on(cx, shared, kept, To::Sender(datagram.sender, is_known));
        }
    }

    fn opened(&mut self, cx: &mut DatagramCx<'_>) {
        self.look_again(cx, PERIOD);
        let desk = self.shared.desk.clone();
        self.keeper = Keeper::appointed::<DnsDatagrams>(&desk, cx);
        if let Some(recursion) = &self.shared.recursion {
            recursion.join(cx.remote());
        }
    }

    fn is_idle(&self) -> bool {
        self.asking.is_idle()
    }

    fn failed(&mut self, _: &mut DatagramCx<'_>, socket: SocketId, failure: Failure) {
        if let Some(keeper) = &mut self.keeper {
            keeper.failed(socket, &failure);
        }
    }

    fn notified(&mut self, cx: &mut DatagramCx<'_>, note: Note) {
        let note = match note.downcast::<Forwarded>() {
            Ok(forwarded) => return self.asking.heard(cx, &self.shared, &forwarded),
            Err(note) => note,
        };
        let note = match note.downcast::<Brought>() {
            Ok(Brought { kept, then }) => {
                return self.asking.pass_on(cx, &self.shared, kept, To::Door(then));
            }
            Err(note) => note,
        };
        if let Some(keeper) = &mut self.keeper {
            keeper.notified::<DnsDatagrams>(cx, note);
        }
    }

    fn expired(&mut self, cx: &mut DatagramCx<'_>, key: TimerKey) {
        if key == DUE {
            if let Some(keeper) = &mut self.keeper {
                keeper.expired(cx);
            }
            return;
        }
        if key == OVERDUE {
            return self.asking.expired(cx, &self.shared);
        }
        let Some(files) = self.shared.files.clone() else { return };
        let desk = self.shared.desk.clone();
        let look = move || match files.try_lock() {
            Ok(mut files) => files.look(|zone| desk.reloaded(zone)),
            // Another shard is at it.
            Err(_) => false,
        };
        let then = |own: &mut DnsDatagrams, cx: &mut DatagramCx<'_>, soon: bool| {
            own.look_again(cx, if soon { SETTLED } else { PERIOD });
        };
        if cx.offload(look, then).is_err() {
            self.look_again(cx, PERIOD);
        }
    }
}

impl Shared {
    /// The same for one shard, which counts by itself.
    fn of_a_shard(&self) -> Shared {
        Shared { ledger: self.ledger.of_a_shard(), ..self.clone() }
    }

    /// Whether an answer may be sent to who is perhaps not there; counted, if it may not.
    pub(crate) fn verdict(
        &self,
        address: IpAddr,
        kind: Kind,
        is_known: bool,
        now: SystemTime,
    ) -> Verdict {
        let Some(rates) = self.rates.as_ref().filter(|_| !is_known) else { return Verdict::Sent };
        let verdict = rates.count(address, kind, microseconds(now));
        self.ledger.limited(verdict);
        verdict
    }
}

impl DnsDatagrams {
    /// Has the desk handle what is no plain question.
    fn hand_over(&mut self, cx: &mut DatagramCx<'_>, asker: &Asker, datagram: &Datagram<'_>) {
        let DnsDatagrams { shared, answerer, .. } = self;
        let asked = transfer::Asked {
            message: datagram.bytes,
            address: asker.address,
            transport: asker.transport,
            now: whole_seconds_of(cx.wall_clock()),
        };
        let plain = |message: &[u8], out: &mut Vec<u8>| {
            let zones = shared.zones.current();
            answerer.answer(&zones, &shared.settings, asker, message, out)
        };
        let sender = datagram.sender;
        match shared.desk.handle(&asked, plain) {
            Handled::Reply(mut answer) => {
                // Its address may be forged as a question's may.
                let address = sender.remote().ip();
                match shared.verdict(address, Kind::Error, false, cx.wall_clock()) {
                    Verdict::Sent => {}
                    Verdict::Dropped => return,
                    Verdict::Slipped => {
                        let cut = transfer::truncated(datagram.bytes);
                        let Some(cut) = cut else { return };
                        answer = cut;
                    }
                }
                cx.reply(sender, |out| out.extend_from_slice(&answer));
            }
            Handled::Answered(said) => {
                let Answered { rcode, kind, is_known, .. } = said.answered;
                let (address, now) = (sender.remote().ip(), cx.wall_clock());
                let answer = match shared.verdict(address, kind, is_known, now) {
                    Verdict::Sent => {
                        let answer = said.message();
                        let to = Receiver { address: asker.address, at: now };
                        shared.ledger.answered(rcode, &answer, to);
                        answer
                    }
                    Verdict::Dropped => return,
                    Verdict::Slipped => said.slipped(),
                };
                cx.reply(sender, |out| out.extend_from_slice(&answer));
            }
            Handled::Work(work) => {
                let then = move |_: &mut DnsDatagrams, cx: &mut DatagramCx<'_>, answer: Vec<u8>| {
                    cx.reply(sender, |out| out.extend_from_slice(&answer));
                };
                // Whoever hears nothing asks again; there may be room then.
                let _ = cx.offload(work, then);
            }
            Handled::Ignored | Handled::Stream(_) => {}
        }
    }

    fn look_again(&self, cx: &mut DatagramCx<'_>, after: Duration) {
        if self.shared.files.is_some() && !cx.is_draining() {
            cx.arm(LOOK, after);
        }
    }
}

/// The timer that looks at files.
const LOOK: TimerKey = TimerKey(1);

/// How often files are looked at, as the launcher looks at certificates.
const PERIOD: Duration = Duration::from_secs(10);

/// How long a file has to stay as it is before it is read: an editor may have written half of it.
const SETTLED: Duration = Duration::from_secs(1);

/// Octets that nobody can guess; none where the system has none to give, and then what needs them is off.
fn secret() -> Option<[u8; 16]> {
    let mut secret = [0; 16];
    match getrandom::fill(&mut secret) {
        Ok(()) => Some(secret),
        Err(error) => {
            tracing::warn!(
                "no random octets, so no cookies, and a rate limit that can be foreseen: {error}"
            );
            None
        }
    }
}

/// What accounts are kept by where nothing better is to be had: who guesses it can have a network limited
/// for what another one asks, which is less than what anybody can do where nothing is limited.
fn makeshift() -> [u8; 16] {
    let now = microseconds(SystemTime::now());
    let mixed = u64::from(std::process::id()).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ now;
    (u128::from(now) << 64 | u128::from(mixed)).to_le_bytes()
}

fn microseconds(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Seconds since 1970 now, for what is signed while it is sent.
pub(crate) fn whole_seconds() -> u64 {
    whole_seconds_of(SystemTime::now())
}

/// Seconds since 1970.
pub(crate) fn whole_seconds_of(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Seconds since 1970, modulo 2³².
pub(crate) fn seconds(now: SystemTime) -> u32 {
    now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as u32)
}
