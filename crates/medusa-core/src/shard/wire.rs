//! One UDP socket of a shard: what waits to be sent by it, and what its events and errors mean.
//!
//! The kernel takes a datagram or it doesn't; nothing is sent twice. What it doesn't take now waits up to
//! a bound, in order, and what comes beyond is counted and dropped, as anywhere else on its way.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mio::event::Event;
use mio::net::UdpSocket;
use mio::{Interest, Registry, Token};
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::{Domain, Protocol, SockAddr, Type};

use crate::datagram::{ClientSocket, DatagramLimits, Failure, Letter, Outgoing, SocketId};
use crate::metrics::DatagramCounts;
use crate::server::roster::Number;
use crate::sys::{Arrivals, BATCH, Departure, Departures, tell_local_addresses};

/// The receive buffer asked for; the kernel caps it at net.core.rmem_max. NSD asks for 1 MiB as well.
const RECEIVE_BUFFER: usize = 1 << 20;

pub(super) struct Wire {
    socket: UdpSocket,
    id: SocketId,
    /// The token of the service that it belongs to.
    pub(super) owner: u64,
    /// Its number among the server's listeners, if it is one.
    pub(super) listener: Option<Number>,
    local: SocketAddr,
    remote: Option<SocketAddr>,
    pub(super) queued: bool,
    pub(super) readable: bool,
    /// An error waits to be read.
    erring: bool,
    datagram_bytes: usize,
    backlog: Backlog,
    counts: Arc<DatagramCounts>,
}

impl Wire {
    pub(super) fn new(
        socket: UdpSocket,
        id: SocketId,
        owner: u64,
        remote: Option<SocketAddr>,
        limits: DatagramLimits,
        counts: Arc<DatagramCounts>,
    ) -> io::Result<Self> {
        Ok(Wire {
            local: socket.local_addr()?,
            socket,
            id,
            owner,
            listener: None,
            remote,
            queued: false,
            readable: false,
            erring: false,
            datagram_bytes: limits.datagram_bytes,
            backlog: Backlog {
                letters: VecDeque::new(),
                bytes: 0,
                most_bytes: limits.unsent_bytes,
                blocked: false,
                dropping: false,
                connected: remote.is_some(),
                counts: Arc::clone(&counts),
            },
            counts,
        })
    }

    pub(super) fn id(&self) -> SocketId {
        self.id
    }

    pub(super) fn local(&self) -> SocketAddr {
        self.local
    }

    /// Has it belong to another service from now on.
    pub(super) fn hand_to(
        &mut self,
        owner: u64,
        limits: DatagramLimits,
        counts: Arc<DatagramCounts>,
    ) {
        self.owner = owner;
        self.datagram_bytes = limits.datagram_bytes;
        self.backlog.most_bytes = limits.unsent_bytes;
        self.backlog.counts = Arc::clone(&counts);
        self.counts = counts;
    }

    /// Registers it for what comes in alone: with both directions, the kernel would wake the shard for
    /// every datagram that has left.
    pub(super) fn register(&mut self, registry: &Registry) -> io::Result<()> {
        registry.register(&mut self.socket, Token(self.id.0.token as usize), Interest::READABLE)
    }

    /// Folds an event into the flags. Says whether the socket must be queued.
    pub(super) fn fold(&mut self, event: &Event) -> bool {
        self.readable |= event.is_readable() || event.is_error();
        self.erring |= event.is_error();
        if event.is_writable() {
            self.backlog.blocked = false;
        }
        !std::mem::replace(&mut self.queued, true)
    }

    // ---- input -------------------------------------------------------------------------------

    /// Takes one batch. A short one means that nothing is left.
    pub(super) fn receive(&mut self, arrivals: &mut Arrivals) -> Result<usize, Failure> {
        match arrivals.receive(&self.socket, self.datagram_bytes) {
            Ok(count) => {
                self.readable = count == BATCH || self.erring;
                self.counts.received.add(count as u64);
                let truncated = arrivals.truncated();
                if truncated > 0 {
                    self.counts.truncated.add(truncated as u64);
                }
                Ok(count)
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => {
                    (self.readable, self.erring) = (false, false);
                    Ok(0)
                }
                io::ErrorKind::Interrupted => Ok(0),
                _ => {
                    self.erring = false;
                    Err(Failure::Unreachable(error))
                }
            },
        }
    }

    // ---- output ------------------------------------------------------------------------------

    /// Sends letters that are all for this socket, or keeps or drops them. `told` hears what went
    /// wrong. Their buffers stay with them, unless they are kept.
    pub(super) fn send(
        &mut self,
        departures: &mut Departures,
        letters: &mut [Letter],
        registry: &Registry,
        told: &mut impl FnMut(Failure),
    ) {
        let was_blocked = self.backlog.blocked;
        let envelope = self.envelope();
        let kernel =
            |letters: &[Letter]| departures.send(&self.socket, letters.iter().map(envelope));
        self.backlog.send(letters, kernel, told);
        if self.backlog.blocked && !was_blocked {
            self.watch(registry, Interest::READABLE | Interest::WRITABLE, told);
        }
    }

    /// Sends what has waited, one batch of it. Says whether more could be sent at once.
    pub(super) fn resend(
        &mut self,
        departures: &mut Departures,
        outgoing: &mut Outgoing,
        registry: &Registry,
        told: &mut impl FnMut(Failure),
    ) -> bool {
        if self.backlog.letters.is_empty() || self.backlog.blocked {
            return false;
        }
        let envelope = self.envelope();
        let kernel =
            |letters: &[Letter]| departures.send(&self.socket, letters.iter().map(envelope));
        self.backlog.resend(outgoing, kernel, told);
        match (self.backlog.blocked, self.backlog.letters.is_empty()) {
            // The kernel says again when it takes something, which may be at once.
            (true, _) => self.watch(registry, Interest::READABLE | Interest::WRITABLE, told),
            (false, true) => self.watch(registry, Interest::READABLE, told),
            (false, false) => return true,
        }
        false
    }

    /// What the kernel needs to know of a letter. A source is named only where the socket has several,
    /// a destination only where it isn't the socket's own.
    fn envelope(&self) -> impl Fn(&Letter) -> Departure<'_> + Copy + use<> {
        let (wildcard, remote) = (self.local.ip().is_unspecified(), self.remote);
        move |letter: &Letter| Departure {
            bytes: &letter.bytes,
            to: letter.to.filter(|to| remote != Some(*to)),
            from: letter.from.filter(|_| wildcard),
        }
    }

    fn watch(&mut self, registry: &Registry, what: Interest, told: &mut impl FnMut(Failure)) {
        let token = Token(self.id.0.token as usize);
        if let Err(error) = registry.reregister(&mut self.socket, token, what) {
            told(Failure::Unreachable(error));
        }
    }
}

/// What a socket has yet to send. Pure: the kernel is a function that takes the first of some letters.
struct Backlog {
    letters: VecDeque<Letter>,
    bytes: usize,
    most_bytes: usize,
    /// The kernel takes nothing for now.
    blocked: bool,
    /// Whether it was said that letters are dropped, until all are sent again.
    dropping: bool,
    /// Connected sockets tell of earlier datagrams' errors.
    connected: bool,
    counts: Arc<DatagramCounts>,
}

impl Backlog {
    fn send(
        &mut self,
        letters: &mut [Letter],
        kernel: impl FnMut(&[Letter]) -> io::Result<usize>,
        told: &mut impl FnMut(Failure),
    ) {
        let sent = match self.letters.is_empty() && !self.blocked {
            true => self.post(letters, kernel, told),
            false => 0,
        };
        for letter in &mut letters[sent..] {
            if self.bytes + letter.cost() > self.most_bytes {
                self.counts.dropped.add(1);
                if !std::mem::replace(&mut self.dropping, true) {
                    tracing::warn!("the kernel takes datagrams too slowly; some are dropped");
                }
                continue;
            }
            self.bytes += letter.cost();
            let bytes = std::mem::take(&mut letter.bytes);
            self.letters.push_back(Letter { bytes, ..*letter });
        }
    }

    fn resend(
        &mut self,
        outgoing: &mut Outgoing,
        kernel: impl FnMut(&[Letter]) -> io::Result<usize>,
        told: &mut impl FnMut(Failure),
    ) {
        let mut letters = std::mem::take(&mut self.letters);
        let count = letters.len().min(BATCH);
        let done = self.post(&letters.make_contiguous()[..count], kernel, told);
        for letter in letters.drain(..done) {
            self.bytes -= letter.cost();
            outgoing.recycle(letter.bytes);
        }
        self.dropping &= !letters.is_empty();
        self.letters = letters;
    }

    /// Hands letters to the kernel until it takes no more. Says how many are done with.
    fn post(
        &mut self,
        letters: &[Letter],
        mut kernel: impl FnMut(&[Letter]) -> io::Result<usize>,
        told: &mut impl FnMut(Failure),
    ) -> usize {
        let (mut done, mut sent) = (0, 0);
        let mut earlier: Option<io::Error> = None;
        while done < letters.len() {
            match kernel(&letters[done..]) {
                Ok(count) => {
                    (done, sent) = (done + count, sent + count);
                    if let Some(error) = earlier.take() {
                        told(Failure::Unreachable(error));
                    }
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.blocked = true;
                        break;
                    }
                    io::ErrorKind::Interrupted => {}
                    // It may be what ICMP said of an earlier datagram, told in place of sending this
                    // one: try again, once.
                    _ if self.connected && earlier.is_none() => earlier = Some(error),
                    _ => {
                        told(Failure::Unsent { to: letters[done].to, error });
                        self.counts.dropped.add(1);
                        earlier = None;
                        done += 1;
                    }
                },
            }
        }
        if let Some(error) = earlier {
            told(Failure::Unreachable(error));
        }
        self.counts.sent.add(sent as u64);
        done
    }
}

// ---- sockets ---------------------------------------------------------------------------------

/// Binds a listener.
pub(crate) fn bind(address: SocketAddr, share: bool) -> io::Result<UdpSocket> {
    let socket = new_socket(address)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    if address.ip().is_unspecified() {
        tell_local_addresses(&socket, address.is_ipv6())?;
    }
    // A forged "fragmentation needed" must not make us fragment answers (or lose them): Knot, NSD and
    // BIND set it too.
    let _ = match address {
        SocketAddr::V4(_) => sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::OMIT),
        SocketAddr::V6(_) => sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::OMIT),
    };
    // As much as the kernel allows, which may be less.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&SockAddr::from(address))?;
    Ok(UdpSocket::from_std(socket.into()))
}

/// Opens a client socket.
pub(super) fn open(client: &ClientSocket) -> io::Result<UdpSocket> {
    let socket = new_socket(client.local)?;
    // Connecting binds to a random port as well.
    let anywhere = client.local.ip().is_unspecified() && client.local.port() == 0;
    if client.remote.is_none() || !anywhere {
        socket.bind(&SockAddr::from(client.local))?;
    }
    if let Some(remote) = client.remote {
        socket.connect(&SockAddr::from(remote))?;
    }
    Ok(UdpSocket::from_std(socket.into()))
}

fn new_socket(address: SocketAddr) -> io::Result<socket2::Socket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(Domain::for_address(address), kind, Some(Protocol::UDP))?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` may be listed side by side.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::Address;

    const PEER: &str = "192.0.2.1:53";

    fn backlog(most_bytes: usize, connected: bool) -> Backlog {
        Backlog {
            letters: VecDeque::new(),
            bytes: 0,
            most_bytes,
            blocked: false,
            dropping: false,
            connected,
            counts: Arc::default(),
        }
    }

    fn letters(texts: &[&str]) -> Vec<Letter> {
        let socket = SocketId(Address { shard: 0, token: 0 });
        let to = PEER.parse().ok();
        let letter = |text: &&str| Letter { socket, to, from: None, bytes: text.as_bytes().into() };
        texts.iter().map(letter).collect()
    }

    /// A kernel that takes what `answers` say, and what it has taken.
    struct Kernel {
        answers: Vec<Result<usize, io::ErrorKind>>,
        taken: Vec<u8>,
    }

    impl Kernel {
        fn new(answers: &[Result<usize, io::ErrorKind>]) -> Self {
            Kernel { answers: answers.iter().rev().copied().collect(), taken: Vec::new() }
        }

        fn take(&mut self, letters: &[Letter]) -> io::Result<usize> {
            let count = self.answers.pop().expect("the kernel is asked once too often")?;
            let taken = letters[..count].iter().flat_map(|letter| letter.bytes.clone());
            self.taken.extend(taken);
            Ok(count)
        }

        fn text(&self) -> &str {
            assert!(self.answers.is_empty(), "the kernel was not asked often enough");
            std::str::from_utf8(&self.taken).unwrap()
        }
    }

    fn words(failures: &[Failure]) -> Vec<String> {
        let words = failures.iter().map(|failure| match failure {
            Failure::Unsent { error, .. } => format!("unsent: {:?}", error.kind()),
            Failure::Unreachable(error) => format!("unreachable: {:?}", error.kind()),
            Failure::Unopened(_) => "unopened".to_owned(),
        });
        words.collect()
    }

    #[test]
    fn what_the_kernel_does_not_take_waits_in_order_up_to_a_bound() {
        let cost = letters(&["a"])[0].cost();
        let mut backlog = backlog(3 * cost, false);
        let mut told = |failure| panic!("told of {failure:?}");
        let mut kernel = Kernel::new(&[Ok(1), Err(io::ErrorKind::WouldBlock)]);
        backlog.send(&mut letters(&["a", "b", "c"]), |letters| kernel.take(letters), &mut told);
        assert_eq!((kernel.text(), backlog.letters.len(), backlog.blocked), ("a", 2, true));
        // While some wait, none overtakes them: the kernel isn't asked.
        let mut kernel = Kernel::new(&[]);
        backlog.send(&mut letters(&["d", "e"]), |letters| kernel.take(letters), &mut told);
        assert_eq!(backlog.counts.dropped.value(), 1);
        assert!(backlog.dropping);
        // The kernel takes two more, then the last.
        backlog.blocked = false;
        let mut outgoing = Outgoing::default();
        let mut kernel = Kernel::new(&[Ok(2), Err(io::ErrorKind::WouldBlock)]);
        backlog.resend(&mut outgoing, |letters| kernel.take(letters), &mut told);
        assert_eq!((kernel.text(), backlog.bytes), ("bc", cost));
        let mut kernel = Kernel::new(&[Err(io::ErrorKind::Interrupted), Ok(1)]);
        backlog.blocked = false;
        backlog.resend(&mut outgoing, |letters| kernel.take(letters), &mut told);
        assert_eq!((kernel.text(), backlog.bytes, backlog.dropping), ("d", 0, false));
        assert_eq!((backlog.counts.sent.value(), backlog.counts.dropped.value()), (4, 1));
    }

    #[test]
    fn a_refused_datagram_is_told_and_those_after_it_leave() {
        let mut backlog = backlog(1000, false);
        let mut failures = Vec::new();
        let mut kernel = Kernel::new(&[Ok(1), Err(io::ErrorKind::PermissionDenied), Ok(1)]);
        backlog.send(
            &mut letters(&["a", "b", "c"]),
            |letters| kernel.take(letters),
            &mut |failure| failures.push(failure),
        );
        assert_eq!(kernel.text(), "ac");
        assert_eq!(words(&failures), ["unsent: PermissionDenied"]);
        assert_eq!((backlog.counts.sent.value(), backlog.counts.dropped.value()), (2, 1));
    }

    #[test]
    fn an_earlier_datagrams_error_costs_no_later_one() {
        use io::ErrorKind::{ConnectionRefused, InvalidInput, WouldBlock};
        for (answers, taken, expected) in [
            (vec![Err(ConnectionRefused), Ok(2)], "ab", vec!["unreachable: ConnectionRefused"]),
            (vec![Err(InvalidInput), Err(InvalidInput), Ok(1)], "b", vec!["unsent: InvalidInput"]),
            (
                vec![Err(ConnectionRefused), Err(WouldBlock)],
                "",
                vec!["unreachable: ConnectionRefused"],
            ),
        ] {
            let mut backlog = backlog(1000, true);
            let mut failures = Vec::new();
            let mut kernel = Kernel::new(&answers);
            backlog.send(
                &mut letters(&["a", "b"]),
                |letters| kernel.take(letters),
                &mut |failure| {
                    failures.push(failure);
                },
            );
            assert_eq!(kernel.text(), taken);
            assert_eq!(words(&failures), expected);
        }
    }
}
