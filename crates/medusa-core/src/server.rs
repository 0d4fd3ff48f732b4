//! Services on all cores: sockets are bound first, then each shard runs in a thread of its own.
//!
//! For the launcher and for programs that embed a protocol alike:
//!
//! ```no_run
//! use medusa_core::{Server, Service};
//!
//! fn serve(service: Box<dyn Service>) -> std::io::Result<()> {
//!     let server = Server::builder().shards(2).mount(service).bind()?;
//!     println!("listening on {}", server.bound()[0].address);
//!     server.run()
//! }
//! ```

mod binding;
pub(crate) mod roster;

use std::fmt;
use std::io;
use std::num::NonZeroUsize;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::{Poll, Waker};

use crate::config::Listen;
use crate::mailbox::{Control, Mailbox, Message};
use crate::metrics::Metrics;
use crate::offload::Pool;
use crate::parts::ServiceParts;
use crate::service::{Listener, Service};
use crate::shard::{MAILBOX, Shard};
use roster::{Change, Roster};

/// How long a change of services waits for a shard: one that takes longer for a turn is stuck or has ended.
const PATIENCE: Duration = Duration::from_secs(10);

/// Jobs that may wait for the offload pool before sessions are told [`Busy`](crate::Busy).
const OFFLOAD_CAPACITY: usize = 1024;

/// Threads of the offload pool: they mostly wait for disks.
const OFFLOAD_THREADS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(3);

/// What a server is made of, before its sockets are bound.
pub struct Builder {
    shards: usize,
    offload_threads: NonZeroUsize,
    offload_capacity: usize,
    metrics: Metrics,
    services: Vec<Box<dyn Service>>,
}

/// A server whose sockets are bound and that does not run yet: the moment to give up privileges.
pub struct Server {
    roster: Roster,
    bound: Vec<Bound>,
    /// By shard, the services and sockets that it begins with.
    changes: Vec<Change>,
    offload_threads: NonZeroUsize,
    offload_capacity: usize,
}

/// A bound listener.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Bound {
    /// The service's name.
    pub service: String,
    /// What it serves, in its own words.
    pub summary: String,
    /// The address; a port 0 of the configuration has become a real one.
    pub address: Listen,
    /// Whether it speaks TLS from the first octet.
    pub secured: bool,
    /// Whether it is bound for datagrams: UDP rather than TCP.
    pub datagrams: bool,
}

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("{service} can't listen on {address}{}: {source}", if *.datagrams { " (UDP)" } else { "" })]
#[non_exhaustive]
pub struct BindError {
    /// The service's name.
    pub service: String,
    /// The key of its configuration that names the address.
    pub key: String,
    /// The address.
    pub address: Listen,
    /// Whether it was to be bound for datagrams.
    pub datagrams: bool,
    /// Why not.
    pub source: io::Error,
}

/// All addresses that could not be bound.
#[derive(Debug)]
pub struct BindErrors(pub Vec<BindError>);

impl Bound {
    fn new(parts: &ServiceParts, address: Listen) -> Self {
        let (summary, service) = (parts.summary().to_owned(), parts.name().to_string());
        Bound { service, summary, address, secured: false, datagrams: false }
    }
}

impl BindError {
    fn new(parts: &ServiceParts, listener: Listener, datagrams: bool, source: io::Error) -> Self {
        let (service, Listener { key, address, .. }) = (parts.name().to_string(), listener);
        BindError { service, key, address, datagrams, source }
    }
}

impl fmt::Display for BindErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let between = if index == 0 { "" } else { "; " };
            write!(f, "{between}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for BindErrors {}

impl From<BindErrors> for io::Error {
    fn from(errors: BindErrors) -> Self {
        let kind = errors.0.first().map_or(io::ErrorKind::Other, |error| error.source.kind());
        io::Error::new(kind, errors)
    }
}

/// Services couldn't be changed. All is as before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// Addresses can't be bound.
    #[error(transparent)]
    Bind(#[from] BindErrors),
    /// A shard can't take a service in, or no longer takes any: why.
    #[error("{0}")]
    Refused(String),
}

/// A server that runs.
pub struct Running {
    handle: Handle,
    threads: Vec<JoinHandle<io::Result<()>>>,
    /// From each shard at its end, whether it failed.
    ended: Receiver<bool>,
}

/// A handle to a running server, for any thread.
#[derive(Clone)]
pub struct Handle {
    mailboxes: Arc<[Arc<Mailbox>]>,
    roster: Arc<Mutex<Roster>>,
}

impl Server {
    /// Begins a server with one shard.
    pub fn builder() -> Builder {
        Builder {
            shards: 1,
            offload_threads: OFFLOAD_THREADS,
            offload_capacity: OFFLOAD_CAPACITY,
            metrics: Metrics::default(),
            services: Vec::new(),
        }
    }

    /// Every bound address.
    pub fn bound(&self) -> &[Bound] {
        &self.bound
    }

    /// Starts the shards.
    ///
    /// # Errors
    ///
    /// The system can't give another thread, epoll instance or eventfd.
    pub fn start(self) -> io::Result<Running> {
        let polls: Vec<Poll> =
            self.changes.iter().map(|_| Poll::new()).collect::<Result<_, _>>()?;
        let mut mailboxes = Vec::new();
        for poll in &polls {
            let waker = Waker::new(poll.registry(), MAILBOX)?;
            mailboxes.push(Arc::new(Mailbox::new(move || {
                if let Err(error) = waker.wake() {
                    tracing::error!(%error, "a shard can't be woken");
                }
            })));
        }
        let mailboxes: Arc<[Arc<Mailbox>]> = mailboxes.into();
        let pool = Arc::new(Pool::new(self.offload_threads, self.offload_capacity)?);
        let roster = Arc::new(Mutex::new(self.roster));
        let handle = Handle { mailboxes: Arc::clone(&mailboxes), roster };
        let mut threads = Vec::new();
        let (ends, ended) = mpsc::channel();
        for (index, (poll, change)) in polls.into_iter().zip(self.changes).enumerate() {
            let mailboxes = Arc::clone(&mailboxes);
            let pool = Arc::clone(&pool);
            let run = move || {
                let mut shard = Shard::new(index as u16, poll, mailboxes, pool);
                for mounting in change.mountings {
                    shard.mount(mounting)?;
                }
                shard.run()
            };
            let ended = ends.clone();
            let run = move || {
                // Sent at a panic too, which counts as a failure.
                let mut report = Report { ended, failed: true };
                let result = run();
                report.failed = result.is_err();
                result
            };
            match thread::Builder::new().name(format!("shard-{index}")).spawn(run) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    // Those that run already would serve on with nobody to end them.
                    handle.stop();
                    threads.into_iter().for_each(|thread| drop(thread.join()));
                    return Err(error);
                }
            }
        }
        Ok(Running { handle, threads, ended })
    }

    /// Starts the shards and waits for their end.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start) and [`Running::join`].
    pub fn run(self) -> io::Result<()> {
        self.start()?.join()
    }
}

impl Builder {
    /// How many event loops there are; at least one.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards.clamp(1, usize::from(u16::MAX));
        self
    }

    /// How many threads do blocking work, and how many jobs may wait for them. Default 4 and 1,024.
    #[must_use]
    pub fn offload(mut self, threads: NonZeroUsize, capacity: usize) -> Self {
        self.offload_threads = threads;
        self.offload_capacity = capacity;
        self
    }

    /// Counts into `metrics`, which others may read.
    #[must_use]
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = metrics.clone();
        self
    }

    /// Adds a service.
    #[must_use]
    pub fn mount(mut self, service: Box<dyn Service>) -> Self {
        self.services.push(service);
        self
    }

    /// Binds every listener of every service.
    ///
    /// # Errors
    ///
    /// All addresses that can't be bound.
    pub fn bind(self) -> Result<Server, BindErrors> {
        let mut roster = Roster::new(self.shards, self.metrics);
        let (changes, next) = roster.plan(&[], self.services, None)?;
        roster.settle(next);
        Ok(Server {
            bound: roster.bound(),
            roster,
            changes,
            offload_threads: self.offload_threads,
            offload_capacity: self.offload_capacity,
        })
    }
}

impl Running {
    /// A handle to end the server with.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits until all shards have ended.
    ///
    /// # Errors
    ///
    /// The first shard whose event loop failed; the others are stopped then.
    pub fn join(self) -> io::Result<()> {
        let mut result = Ok(());
        // In the order in which they end: a failure of one stops the others.
        for _ in 0..self.threads.len() {
            let failed = self.ended.recv().unwrap_or(true);
            if failed {
                self.handle.stop();
            }
        }
        for thread in self.threads {
            let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("a shard panicked")));
            result = result.and(ended);
        }
        result
    }
}

impl Handle {
    /// Takes no more connections, lets sessions finish, and ends the server when the last has, or after
    /// `within`.
    pub fn drain(&self, within: Option<Duration>) {
        self.tell(Control::Drain { within });
    }

    /// Ends the server at once.
    pub fn stop(&self) {
        self.tell(Control::Stop);
    }

    /// Takes services in while the server runs, and gives up those named in `without`: one whose name is there
    /// too is replaced. An address that stays keeps its socket, so that nobody who waits to be accepted is
    /// lost. Sessions of services that leave are told that they are draining, and closed after `within`.
    /// Gives every bound address, once all shards have changed. Blocks.
    ///
    /// # Errors
    ///
    /// All addresses that can't be bound, or why a shard can't change. Nothing has changed then.
    pub fn change(
        &self,
        without: &[&str],
        services: Vec<Box<dyn Service>>,
        within: Option<Duration>,
    ) -> Result<Vec<Bound>, ChangeError> {
        // Held until it is done: there is one change at a time.
        let mut roster = self.roster.lock().unwrap_or_else(PoisonError::into_inner);
        let (changes, next) = roster.plan(without, services, within)?;
        let (told, ready) = mpsc::channel();
        for (mailbox, change) in self.mailboxes.iter().zip(changes) {
            mailbox.post(Message::Change(Box::new(change), told.clone()));
        }
        // Whoever has ended drops its sender.
        drop(told);
        let ready = self.mailboxes.iter().try_for_each(|_| match ready.recv_timeout(PATIENCE) {
            Ok(ready) => ready.map_err(ChangeError::Refused),
            Err(_) => Err(ChangeError::Refused("a shard has ended, or doesn't answer".to_owned())),
        });
        let (done, all_done) = mpsc::channel();
        for mailbox in self.mailboxes.iter() {
            mailbox.post(Message::Settle { goes: ready.is_ok(), done: done.clone() });
        }
        drop(done);
        ready?;
        roster.settle(next);
        // It is disconnected when the last shard has done it.
        let _ = all_done.recv_timeout(PATIENCE);
        Ok(roster.bound())
    }

    /// The services that have left while the server runs, and have sessions still.
    pub fn leaving(&self) -> Vec<String> {
        self.roster.lock().unwrap_or_else(PoisonError::into_inner).leaving()
    }

    fn tell(&self, control: Control) {
        for mailbox in self.mailboxes.iter() {
            mailbox.post(Message::Control(control));
        }
    }
}

/// Tells how a shard ended, when it is dropped.
struct Report {
    ended: Sender<bool>,
    failed: bool,
}

impl Drop for Report {
    fn drop(&mut self) {
        // Nobody may be listening any more.
        let _ = self.ended.send(self.failed);
    }
}
