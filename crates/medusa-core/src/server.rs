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

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Poll, Waker};
use socket2::{Domain, Protocol, SockAddr, Type};

use crate::config::Listen;
use crate::limits::Census;
use crate::mailbox::{Control, Mailbox, Message};
use crate::metrics::Metrics;
use crate::offload::Pool;
use crate::peer_rates::PeerRates;
use crate::service::{Listener, Service};
use crate::shard::{Gate, MAILBOX, Shard, Socket, bind_datagrams};

/// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;

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
    metrics: Metrics,
    services: Vec<Arc<dyn Service>>,
    bound: Vec<Bound>,
    /// By shard, the listening sockets, the number of their service and whether they are secured.
    sockets: Vec<Vec<(usize, Socket, bool)>>,
    /// By shard, the sockets for datagrams with the number of their service.
    datagram_sockets: Vec<Vec<(usize, UdpSocket)>>,
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
    fn new(service: &dyn Service, address: Listen) -> Self {
        let (summary, service) = (service.summary(), service.name().to_owned());
        Bound { service, summary, address, secured: false, datagrams: false }
    }
}

impl BindError {
    fn new(service: &dyn Service, listener: Listener, datagrams: bool, source: io::Error) -> Self {
        let (service, Listener { key, address, .. }) = (service.name().to_owned(), listener);
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
            self.sockets.iter().map(|_| Poll::new()).collect::<Result<_, _>>()?;
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
        let census = |service: &Arc<dyn Service>| {
            Arc::new(Census::new(self.metrics.service(service.name())))
        };
        let censuses: Vec<_> = self.services.iter().map(census).collect();
        let rates = |service: &Arc<dyn Service>| {
            let rate = service.limits().datagram_rate?;
            Some(Arc::new(PeerRates::new(rate, Instant::now())))
        };
        let rates: Vec<_> = self.services.iter().map(rates).collect();
        let handle = Handle { mailboxes: Arc::clone(&mailboxes) };
        let mut threads = Vec::new();
        let (ends, ended) = mpsc::channel();
        let sockets = self.sockets.into_iter().zip(self.datagram_sockets);
        for (index, (poll, (sockets, datagrams))) in polls.into_iter().zip(sockets).enumerate() {
            let mailboxes = Arc::clone(&mailboxes);
            let pool = Arc::clone(&pool);
            let services = self.services.clone();
            let (censuses, rates) = (censuses.clone(), rates.clone());
            let metrics = self.metrics.clone();
            let run = move || {
                let mut shard = Shard::new(index as u16, poll, mailboxes, pool);
                for (service, census) in services.iter().zip(censuses) {
                    shard.add_gate(Gate {
                        name: service.name().into(),
                        acceptor: service.acceptor(),
                        limits: Arc::new(service.limits()),
                        census,
                        tls: service.tls(),
                        proxies: service.proxies(),
                    });
                }
                for (gate, socket, secured) in sockets {
                    shard.listen(socket, gate, secured)?;
                }
                let mut datagrams = datagrams.into_iter().peekable();
                for (number, service) in services.iter().enumerate() {
                    let theirs = std::iter::from_fn(|| datagrams.next_if(|(of, _)| *of == number));
                    let theirs: Vec<_> = theirs.map(|(_, socket)| socket).collect();
                    if let Some(datagrams) = service.datagram_service() {
                        let limits = Arc::new(service.limits());
                        let counts = Arc::clone(&metrics.service(service.name()).datagrams);
                        let rates = rates[number].clone();
                        shard.serve_datagrams(datagrams, limits, counts, rates, theirs)?;
                    } else if !theirs.is_empty() {
                        let message = "a service listens for datagrams and doesn't serve them";
                        return Err(io::Error::other(message));
                    }
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
        let mut server = Server {
            metrics: self.metrics,
            services: self.services.into_iter().map(Arc::from).collect(),
            bound: Vec::new(),
            sockets: (0..self.shards).map(|_| Vec::new()).collect(),
            datagram_sockets: (0..self.shards).map(|_| Vec::new()).collect(),
            offload_threads: self.offload_threads,
            offload_capacity: self.offload_capacity,
        };
        let mut errors = Vec::new();
        for (number, service) in server.services.clone().iter().enumerate() {
            for listener in service.listeners() {
                match bind_all(&listener.address, self.shards) {
                    Ok((address, sockets)) => {
                        let secured = listener.secured;
                        let bound = Bound::new(&**service, address);
                        server.bound.push(Bound { secured, ..bound });
                        for (shard, socket) in server.sockets.iter_mut().zip(sockets) {
                            shard.push((number, socket, secured));
                        }
                    }
                    Err(error) => errors.push(BindError::new(&**service, listener, false, error)),
                }
            }
            for listener in service.datagram_listeners() {
                match bind_all_datagrams(&listener.address, self.shards) {
                    Ok((address, sockets)) => {
                        let bound = Bound::new(&**service, address);
                        server.bound.push(Bound { datagrams: true, ..bound });
                        for (shard, socket) in server.datagram_sockets.iter_mut().zip(sockets) {
                            shard.push((number, socket));
                        }
                    }
                    Err(error) => errors.push(BindError::new(&**service, listener, true, error)),
                }
            }
        }
        if errors.is_empty() { Ok(server) } else { Err(BindErrors(errors)) }
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

/// Binds one listener for each shard.
fn bind_all(address: &Listen, shards: usize) -> io::Result<(Listen, Vec<Socket>)> {
    match address {
        Listen::Inet(address) => {
            // SO_REUSEPORT would let a second server of the same user share the port unnoticed.
            drop(bind_tcp(*address, false)?);
            let first = bind_tcp(*address, shards > 1)?;
            let bound = first.local_addr()?;
            let mut sockets = vec![Socket::Tcp(mio::net::TcpListener::from_std(first))];
            for _ in 1..shards {
                let next = bind_tcp(bound, true)?;
                sockets.push(Socket::Tcp(mio::net::TcpListener::from_std(next)));
            }
            Ok((Listen::Inet(bound), sockets))
        }
        Listen::Unix(path) => {
            let listener = bind_unix(path)?;
            let mut sockets = Vec::new();
            for _ in 1..shards {
                sockets.push(Socket::Unix(mio::net::UnixListener::from_std(listener.try_clone()?)));
            }
            sockets.push(Socket::Unix(mio::net::UnixListener::from_std(listener)));
            Ok((address.clone(), sockets))
        }
    }
}

/// Binds one socket for datagrams for each shard.
fn bind_all_datagrams(address: &Listen, shards: usize) -> io::Result<(Listen, Vec<UdpSocket>)> {
    let Listen::Inet(address) = address else {
        let message = "datagrams over Unix sockets are not supported";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    };
    // As above: without sharing first, so that a port in use is told.
    drop(bind_datagrams(*address, false)?);
    let first = bind_datagrams(*address, shards > 1)?;
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(bind_datagrams(bound, true)?);
    }
    Ok((Listen::Inet(bound), sockets))
}

fn bind_tcp(address: SocketAddr, share: bool) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` may be listed side by side.
        socket.set_only_v6(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        // A socket that nobody answers is what an earlier run has left.
        Err(error)
            if error.kind() == io::ErrorKind::AddrInUse
                && std::os::unix::net::UnixStream::connect(path)
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) =>
        {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        result => result?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}
