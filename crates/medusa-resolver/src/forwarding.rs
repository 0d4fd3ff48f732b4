//! The resolver that asks DNS servers: what programs and other services hold of it.
//!
//! The work is done on the shards, by [the service](Forwarding::service) that has to be mounted; nothing
//! here blocks, and what is known already is answered on the spot.

use std::cell::RefCell;
use std::fmt;
use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use medusa_core::tls::{ClientTls, Roots, TlsError};
use medusa_core::{Remote, Service};

use crate::asker::{Asker, Resolver};
use crate::cache::Cache;
use crate::counts::Counts;
use crate::engine::Pace;
use crate::error::LookupError;
use crate::question::Question;
use crate::service::{Core, Mounted, Pending};
use crate::special::Hosts;
use crate::stored::Reply;
use crate::system::{Files, System};
use crate::upstream::Upstream;

/// Questions that wait for the service to begin.
const EARLY: usize = 1024;

/// How a [`Forwarding`] resolver works.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The servers that are asked: the fastest that answers. Where none are given, the system says which
    /// (`/etc/resolv.conf`, and names in `/etc/hosts` are answered from there); it is read again when it
    /// changes.
    pub servers: Option<Vec<Upstream>>,
    /// The longest that a packet waits for its answer; packets to a server that is fast are repeated
    /// sooner. Default 5 s, or what the system says (resolv.conf(5): 5 s).
    pub timeout: Option<Duration>,
    /// How often each server is asked. Default 3, or what the system says (resolv.conf(5): 2).
    pub attempts: Option<u32>,
    /// Whether the servers, and the way to them, are trusted when they say that an answer is authentic
    /// (AD). Default no, as resolv.conf(5) has it for `trust-ad`.
    pub trust_ad: bool,
    /// What answers may take in memory, in bytes, over all shards. Default 16 MiB (Unbound has 4 MiB for
    /// messages and as much again for records; dnsmasq 150 names).
    pub cache_bytes: usize,
    /// For how long an answer may be told after its time, if no newer one can be had (RFC 8767 §4: one to
    /// three days). None at all if it is zero. Default a day.
    pub stale: Duration,
    /// The authorities that sign the certificates of servers that are asked over TLS, in a PEM file.
    /// Default: those that the system trusts.
    pub authorities: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            servers: None,
            timeout: None,
            attempts: None,
            trust_ad: false,
            cache_bytes: 16 << 20,
            stale: Duration::from_secs(24 * 60 * 60),
            authorities: None,
        }
    }
}

impl Settings {
    /// The default, but for the servers that are asked.
    pub fn asking(servers: Vec<Upstream>) -> Self {
        Settings { servers: Some(servers), ..Settings::default() }
    }
}

/// Asks DNS servers, and remembers what they say. Cheap to clone: clones are the same resolver.
///
/// It works on the shards of the server on which its [service](Self::service) is mounted.
///
/// ```no_run
/// use std::sync::Arc;
/// use medusa_core::Server;
/// use medusa_resolver::{Forwarding, Resolver};
///
/// # fn serve(service: Box<dyn medusa_core::Service>) -> std::io::Result<()> {
/// let resolver = Forwarding::system();
/// let server = Server::builder().mount(resolver.service()).mount(service).bind()?;
/// let shared: Arc<dyn Resolver> = Arc::new(resolver);
/// server.run()
/// # }
/// ```
#[derive(Clone)]
pub struct Forwarding {
    shared: Arc<Shared>,
}

/// What all shards of one resolver share.
pub(crate) struct Shared {
    settings: Settings,
    plan: RwLock<Arc<Plan>>,
    pub(crate) cache: Arc<Cache>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) tls: Option<Arc<ClientTls>>,
    shards: Mutex<Shards>,
    system: Option<SystemFiles>,
}

/// Whom engines ask, and how; it changes when the system's files do.
pub(crate) struct Plan {
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) pace: Pace,
    pub(crate) hosts: Hosts,
    system: System,
}

struct SystemFiles {
    files: Files,
    /// Milliseconds since `began` at which they were looked at.
    looked: AtomicU64,
    looking: AtomicBool,
    began: Instant,
}

/// The services on their shards.
#[derive(Default)]
struct Shards {
    remotes: Vec<Remote>,
    /// What was asked before there was one.
    early: Vec<Pending>,
    next: usize,
}

/// Which resolver it is of, what works here, and the service that it belongs to.
type OnShard = (usize, Weak<RefCell<Core>>, Remote);

thread_local! {
    /// What runs on this thread's shard, of each resolver.
    static HERE: RefCell<Vec<OnShard>> = const { RefCell::new(Vec::new()) };
}

impl Forwarding {
    /// Asks the servers that the system names.
    pub fn system() -> Self {
        let settings = Settings::default();
        // Without TLS there is nothing that could fail.
        Self { shared: Arc::new(Shared::new(settings, None, Files::of_the_system())) }
    }

    /// Asks the servers that these files name.
    #[cfg(test)]
    pub(crate) fn by(files: Files) -> Self {
        Self { shared: Arc::new(Shared::new(Settings::default(), None, files)) }
    }

    /// Asks these servers, and looks at no file.
    ///
    /// # Errors
    ///
    /// One of them is asked over TLS, and no authorities can be read.
    pub fn new(servers: Vec<Upstream>) -> Result<Self, TlsError> {
        Self::with(Settings::asking(servers))
    }

    /// Works as the settings say.
    ///
    /// # Errors
    ///
    /// A server is asked over TLS, and the authorities can't be read.
    pub fn with(settings: Settings) -> Result<Self, TlsError> {
        let servers = settings.servers.iter().flatten();
        let tls = match servers.clone().any(|upstream| upstream.tls_name().is_some()) {
            true => {
                let roots = settings.authorities.clone().map_or(Roots::System, Roots::File);
                // RFC 7858 has no need of ALPN; "dot" is registered (RFC 9461 and IANA).
                Some(Arc::new(ClientTls::new(&roots, &[b"dot"])?))
            }
            false => None,
        };
        Ok(Self { shared: Arc::new(Shared::new(settings, tls, Files::of_the_system())) })
    }

    /// What does the work. It is mounted once, before the services that ask; it listens nowhere.
    pub fn service(&self) -> Box<dyn Service> {
        Box::new(Mounted::new(Arc::clone(&self.shared)))
    }

    /// The resolver on this thread's shard, where there is one. Its service is begun when the shard is, so
    /// a service of the same shard asks for it when it first has a question.
    pub fn local(&self) -> Option<Local> {
        let key = Arc::as_ptr(&self.shared) as usize;
        HERE.with_borrow(|here| {
            let (_, core, remote) = here.iter().find(|(of, ..)| *of == key)?;
            Some(Local { core: core.upgrade()?, remote: remote.clone() })
        })
    }

    /// What it has done so far.
    pub fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    /// The bytes that answers take in memory now, and how many there are.
    pub fn cache_size(&self) -> (usize, usize) {
        self.shared.cache.size()
    }

    /// The servers that are asked now.
    pub fn servers(&self) -> Vec<Upstream> {
        self.shared.plan().upstreams.clone()
    }
}

impl fmt::Debug for Forwarding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forwarding").field("servers", &self.servers()).finish_non_exhaustive()
    }
}

impl Resolver for Forwarding {
    /// On a shard where the resolver works too, it is asked at once; otherwise one of them is sent a note.
    fn resolve(&self, question: Question, asker: Asker) {
        let pending = Pending::new(question, asker);
        match self.local() {
            Some(local) => local.ask(pending, Instant::now()),
            None => self.shared.send(pending),
        }
    }
}

// ---- for other services of the same shard ----------------------------------------------------------

/// A resolver's side on one shard, for services of the same shard: no question crosses a thread, and what
/// is known is answered at once. It can't leave its thread.
#[derive(Clone)]
pub struct Local {
    core: Rc<RefCell<Core>>,
    remote: Remote,
}

/// A question of somebody else's that is passed on: any type, class IN.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RawQuestion<'a> {
    /// The name in wire form (RFC 1035 §3.1), uncompressed, in whatever case.
    pub name: &'a [u8],
    /// The type's number. Types that are no records of a zone (OPT, TSIG, transfers: 41 and 249 to 254)
    /// aren't passed on.
    pub kind: u16,
    /// Signatures are wanted too (DO, RFC 3225).
    pub dnssec_ok: bool,
    /// Answers are wanted even if their signatures are wrong (CD, RFC 4035 §3.2.2).
    pub checking_disabled: bool,
}

impl<'a> RawQuestion<'a> {
    /// A question without signatures.
    pub fn new(name: &'a [u8], kind: u16) -> Self {
        RawQuestion { name, kind, dnssec_ok: false, checking_disabled: false }
    }
}

/// What came of a question that was passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passed {
    /// The answer is known, or there is none to be had.
    Now(Result<Reply, LookupError>),
    /// Whoever asked will be sent a note: [`Forwarded`].
    Later,
}

/// The note with the answer to a question that was passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Forwarded {
    /// The asker's own number for the question.
    pub ticket: u64,
    /// The answer, NXDOMAIN and answers without records included; otherwise SERVFAIL is due.
    pub result: Result<Reply, LookupError>,
}

impl Forwarded {
    pub(crate) fn new(ticket: u64, result: Result<Reply, LookupError>) -> Self {
        Forwarded { ticket, result }
    }
}

impl Local {
    /// Passes a question on, for a DNS server that answers others. `now` is the turn's time. If the
    /// answer isn't known, `asker` is sent a note that holds it, [`Forwarded`], with its `ticket`.
    ///
    /// The hosts file isn't for others, and isn't looked at.
    pub fn forward(
        &self,
        question: RawQuestion<'_>,
        now: Instant,
        asker: &Remote,
        ticket: u64,
    ) -> Passed {
        let Ok(mut core) = self.core.try_borrow_mut() else {
            return Passed::Now(Err(LookupError::temporary("the resolver is at work")));
        };
        let passed = core.forward(question, now, asker, ticket);
        core.have_flushed(&self.remote);
        passed
    }

    fn ask(&self, pending: Pending, now: Instant) {
        match self.core.try_borrow_mut() {
            Ok(mut core) => {
                core.ask(pending, now);
                core.have_flushed(&self.remote);
            }
            // Asked from within itself.
            Err(_) => {
                let _ = self.remote.notify(pending);
            }
        }
    }
}

impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("remote", &self.remote).finish_non_exhaustive()
    }
}

// ---- what shards share -----------------------------------------------------------------------------

impl Shared {
    fn new(settings: Settings, tls: Option<Arc<ClientTls>>, files: Files) -> Self {
        let cache = Arc::new(Cache::new(settings.cache_bytes, settings.stale));
        let system = settings.servers.is_none().then(|| SystemFiles {
            files,
            looked: AtomicU64::new(0),
            looking: AtomicBool::new(false),
            began: Instant::now(),
        });
        let read = system.as_ref().map(|system| system.files.read()).unwrap_or_default();
        let plan = RwLock::new(Arc::new(Plan::new(&settings, read)));
        let (counts, shards) = (Arc::default(), Mutex::default());
        Shared { settings, plan, cache, counts, tls, shards, system }
    }

    pub(crate) fn plan(&self) -> Arc<Plan> {
        Arc::clone(&self.plan.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether that isn't the plan any more.
    pub(crate) fn has_other_plan(&self, plan: &Arc<Plan>) -> bool {
        !Arc::ptr_eq(plan, &self.plan.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the system's files should be looked at now: every few seconds, by one shard.
    pub(crate) fn should_look(&self, now: Instant) -> bool {
        const EVERY: u64 = 5_000;
        let Some(system) = &self.system else { return false };
        let elapsed = now.saturating_duration_since(system.began).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        if elapsed < system.looked.load(Ordering::Relaxed) + EVERY
            || system.looking.swap(true, Ordering::AcqRel)
        {
            return false;
        }
        system.looked.store(elapsed, Ordering::Relaxed);
        true
    }

    /// Looks at the system's files, which may block, and makes a new plan if they have changed. What was
    /// learnt from other servers is forgotten then: they may know other names.
    pub(crate) fn look(&self) {
        let Some(system) = &self.system else { return };
        if let Some(read) = system.files.read_again(&self.plan().system) {
            let plan = Arc::new(Plan::new(&self.settings, read));
            tracing::info!(servers = %list(&plan.upstreams), "the system's resolver has changed");
            if plan.upstreams != self.plan().upstreams {
                self.cache.clear();
            }
            *self.plan.write().unwrap_or_else(PoisonError::into_inner) = plan;
        }
        self.looked();
    }

    /// Lets others look.
    pub(crate) fn looked(&self) {
        if let Some(system) = &self.system {
            system.looking.store(false, Ordering::Release);
        }
    }

    /// What it is, for a log.
    pub(crate) fn summary(&self) -> String {
        list(&self.plan().upstreams)
    }

    /// A shard's service has begun; it is given what nobody could be asked before.
    pub(crate) fn join(self: &Arc<Self>, core: &Rc<RefCell<Core>>, remote: Remote) -> Vec<Pending> {
        HERE.with_borrow_mut(|here| {
            here.retain(|(_, core, _)| core.strong_count() > 0);
            here.push((Arc::as_ptr(self) as usize, Rc::downgrade(core), remote.clone()));
        });
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.remotes.push(remote);
        std::mem::take(&mut shards.early)
    }

    /// A shard's service has ended.
    pub(crate) fn leave(&self, remote: &Remote) {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        shards.remotes.retain(|one| one.address() != remote.address());
        drop(shards);
        HERE.with_borrow_mut(|here| here.retain(|(.., one)| one.address() != remote.address()));
    }

    /// Sends a question to one of the shards. If it takes no more notes, the question is answered as it
    /// is dropped.
    fn send(&self, pending: Pending) {
        let mut shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        if shards.remotes.is_empty() {
            if shards.early.len() < EARLY {
                shards.early.push(pending);
            }
            return;
        }
        shards.next = (shards.next + 1) % shards.remotes.len();
        let remote = shards.remotes[shards.next].clone();
        drop(shards);
        let _ = remote.notify(pending);
    }
}

impl Plan {
    fn new(settings: &Settings, system: System) -> Self {
        let default = Pace::default();
        let conf = &system.resolv_conf;
        let pace = Pace {
            timeout: settings.timeout.or(conf.timeout).unwrap_or(default.timeout),
            attempts: settings.attempts.or(conf.attempts).unwrap_or(default.attempts),
            trust_ad: settings.trust_ad || conf.trust_ad,
            ..default
        };
        let upstreams = settings.servers.clone().unwrap_or_else(|| conf.servers.clone());
        Plan { upstreams, pace, hosts: system.hosts.clone(), system }
    }
}

fn list(upstreams: &[Upstream]) -> String {
    upstreams.iter().map(Upstream::to_string).collect::<Vec<_>>().join(", ")
}
