//! The engine on a shard: its sockets, its connections, its timer, and the notes by which it is asked.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use medusa_core::{
    Acceptor, Address, ClientSocket, Cx, Datagram, DatagramCx, DatagramLimits, DatagramService,
    Failure, Frame, Limits, Note, Peer, Remote, Service, ServiceParts, Session, SocketId, TimerKey,
};

use crate::asker::Asker;
use crate::engine::{Asked, Engine, Pace, Transmit};
use crate::error::LookupError;
use crate::forwarding::{Forwarded, Passed, Plan, RawQuestion, Shared};
use crate::question::Question;
use crate::special;
use crate::stored::Reply;
use crate::stream::{Event, Leave, Message, Said, Upward};
use crate::wire::{self, Query};

/// The engine's next deadline.
const DEADLINE: TimerKey = TimerKey(0);

/// A connection to an upstream server is closed when nothing was asked for this long (RFC 7766 §6.2.3
/// leaves it to both ends; Unbound's tcp-idle-timeout is 30 s, many servers close after 10 s).
const IDLE: Duration = Duration::from_secs(10);

/// A connection that can't be made in this time is of no use to anybody who waits.
const CONNECTING: Duration = Duration::from_secs(5);

/// What is mounted on a server.
pub(crate) struct Mounted {
    shared: Arc<Shared>,
}

impl Mounted {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Mounted { shared }
    }
}

impl Service for Mounted {
    fn parts(&self) -> ServiceParts {
        let mut limits = Limits::default();
        (limits.idle, limits.handshake) = (Some(IDLE), Some(CONNECTING));
        ServiceParts::new("resolver").with_limits(limits).with_summary(self.shared.summary())
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(|_: &Peer| Box::new(Nobody) as Box<dyn Session>)
    }

    fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
        Some(Box::new(Shard::new(Arc::clone(&self.shared))))
    }
}

/// Who would connect where nobody listens.
struct Nobody;

impl Session for Nobody {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.abort();
    }

    fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
}

// ---- who waits -------------------------------------------------------------------------------------

/// A question that is to be answered. Dropped, it is answered too: whoever asked would wait in vain.
#[derive(Debug)]
pub(crate) struct Pending(Option<(Question, Asker)>);

impl Pending {
    pub(crate) fn new(question: Question, asker: Asker) -> Self {
        Pending(Some((question, asker)))
    }

    fn question(&self) -> Option<&Question> {
        self.0.as_ref().map(|(question, _)| question)
    }

    fn answer(mut self, answer: impl FnOnce(&Question) -> Result<crate::Records, LookupError>) {
        if let Some((question, asker)) = self.0.take() {
            let result = answer(&question);
            asker.answer(question, result);
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some((question, asker)) = self.0.take() {
            asker.answer(question, Err(LookupError::temporary("the resolver takes no questions")));
        }
    }
}

/// Who waits for an answer of the engine's.
enum Waiter {
    Question(Pending),
    Passed(Remote, u64),
}

impl Waiter {
    fn tell(self, answer: Result<Reply, LookupError>) {
        match self {
            Waiter::Question(pending) => {
                pending.answer(|question| answer.and_then(|reply| reply.records(question)));
            }
            Waiter::Passed(remote, ticket) => {
                let _ = remote.notify(Forwarded::new(ticket, answer));
            }
        }
    }
}

fn busy() -> LookupError {
    LookupError::temporary("too many questions are under way")
}

// ---- one shard -------------------------------------------------------------------------------------

/// What a shard's service and the handles to it share.
pub(crate) struct Core {
    engine: Engine<Waiter>,
    shared: Arc<Shared>,
    plan: Arc<Plan>,
    /// A note was sent to the service that there is something to be sent.
    flushing: bool,
}

/// A note to the service: there is something to be sent.
struct Flush;

struct Shard {
    core: Rc<RefCell<Core>>,
    shared: Arc<Shared>,
    remote: Option<Remote>,
    /// Sockets by the engine's name for them, and the other way round.
    sockets: HashMap<u64, SocketId>,
    paths: HashMap<SocketId, u64>,
    /// Connections to servers, each with a number of its own.
    streams: HashMap<u32, (u64, Address)>,
    next_connection: u64,
}

impl Core {
    fn new(shared: Arc<Shared>) -> Self {
        let (cache, counts) = (Arc::clone(&shared.cache), Arc::clone(&shared.counts));
        let engine = Engine::new(cache, counts, random());
        let plan = shared.plan();
        Core { engine, shared, plan, flushing: false }
    }

    pub(crate) fn ask(&mut self, pending: Pending, now: Instant) {
        let Some(question) = pending.question() else { return };
        let known = special::literal(question).or_else(|| self.plan.hosts.look_up(question));
        if let Some(result) = known {
            return pending.answer(|_| result);
        }
        let query = Query::of(question);
        let mut pending = Some(pending);
        let asked = self
            .engine
            .ask(&query, now, || Waiter::Question(pending.take().unwrap_or(Pending(None))));
        let Some(pending) = pending else { return };
        let answer = match asked {
            Asked::Now(answer) => answer.map_err(LookupError::temporary),
            Asked::Busy | Asked::Later => Err(busy()),
        };
        Waiter::Question(pending).tell(answer);
    }

    pub(crate) fn forward(
        &mut self,
        question: RawQuestion<'_>,
        now: Instant,
        asker: &Remote,
        ticket: u64,
    ) -> Passed {
        let RawQuestion { name, kind, dnssec_ok, checking_disabled } = question;
        let invalid =
            |reason| LookupError::Invalid { name: name.escape_ascii().to_string(), reason };
        if matches!(kind, 0 | 41 | 249..=254) {
            return Passed::Now(Err(invalid("there are no records of this type")));
        }
        let Ok(query) = Query::new(name, kind, dnssec_ok, checking_disabled) else {
            return Passed::Now(Err(invalid("it is no name in wire form")));
        };
        match self.engine.ask(&query, now, || Waiter::Passed(asker.clone(), ticket)) {
            Asked::Now(answer) => Passed::Now(answer.map_err(LookupError::temporary)),
            Asked::Later => Passed::Later,
            Asked::Busy => Passed::Now(Err(busy())),
        }
    }

    /// Has the service send what the engine wants sent, when it was asked behind the service's back.
    pub(crate) fn have_flushed(&mut self, service: &Remote) {
        let due = self.engine.has_news() || self.shared.has_other_plan(&self.plan);
        if due && !self.flushing {
            self.flushing = service.notify(Flush).is_ok();
        }
    }
}

impl Shard {
    fn new(shared: Arc<Shared>) -> Self {
        let core = Rc::new(RefCell::new(Core::new(Arc::clone(&shared))));
        let (sockets, paths, streams) = (HashMap::new(), HashMap::new(), HashMap::new());
        Shard { core, shared, remote: None, sockets, paths, streams, next_connection: 0 }
    }

    /// Has the engine do something, and then does what it wants.
    fn with(&mut self, cx: &mut DatagramCx<'_>, act: impl FnOnce(&mut Core, Instant)) {
        let core = Rc::clone(&self.core);
        let Ok(mut core) = core.try_borrow_mut() else { return };
        let now = cx.now();
        self.mind_the_plan(&mut core, cx, now);
        act(&mut core, now);
        while let Some(transmit) = core.engine.poll_transmit() {
            self.transmit(&mut core, cx, transmit, now);
        }
        while let Some((waiter, answer)) = core.engine.poll_answer() {
            waiter.tell(answer.map_err(LookupError::temporary));
        }
        core.flushing = false;
        match core.engine.poll_timeout() {
            Some(at) => cx.arm(DEADLINE, at.saturating_duration_since(now)),
            None => cx.disarm(DEADLINE),
        }
    }

    /// Follows a plan that has changed, and has the system's files looked at from time to time.
    fn mind_the_plan(&self, core: &mut Core, cx: &mut DatagramCx<'_>, now: Instant) {
        if self.shared.has_other_plan(&core.plan) {
            core.plan = self.shared.plan();
            core.engine.set_servers(&core.plan.upstreams, core.plan.pace, now);
        }
        if self.shared.should_look(now) {
            let shared = Arc::clone(&self.shared);
            let looked = cx.offload(
                move || shared.look(),
                |shard: &mut Shard, cx: &mut DatagramCx<'_>, ()| shard.with(cx, |_, _| {}),
            );
            if looked.is_err() {
                self.shared.looked();
            }
        }
    }

    fn transmit(
        &mut self,
        core: &mut Core,
        cx: &mut DatagramCx<'_>,
        transmit: Transmit,
        now: Instant,
    ) {
        match transmit {
            Transmit::Datagram { path, to, bytes } => {
                match cx.open_socket(ClientSocket::connected(to)) {
                    Ok(socket) => {
                        self.sockets.insert(path, socket);
                        self.paths.insert(socket, path);
                        cx.send(socket, |out| out.extend_from_slice(&bytes));
                    }
                    Err(_) => core.engine.handle_unreachable(path, true, now),
                }
            }
            Transmit::Close { path } => {
                if let Some(socket) = self.sockets.remove(&path) {
                    self.paths.remove(&socket);
                    cx.close_socket(socket);
                }
            }
            Transmit::Stream { server, bytes } => {
                let Some(address) = self.stream(core, cx, server) else { return };
                cx.notify(address, Message(bytes));
            }
            Transmit::Leave { server } => {
                if let Some((_, address)) = self.streams.remove(&server) {
                    cx.notify(address, Leave);
                }
            }
        }
    }

    /// The connection to a server, made if there is none.
    fn stream(&mut self, core: &Core, cx: &mut DatagramCx<'_>, server: u32) -> Option<Address> {
        if let Some((_, address)) = self.streams.get(&server) {
            return Some(*address);
        }
        let upstream = core.engine.upstream(server)?;
        let connection = self.next_connection;
        self.next_connection += 1;
        let session = Box::new(Upward::new(server, connection, cx.remote()));
        let address = match (upstream.tls_name(), &self.shared.tls) {
            (Some(name), Some(tls)) => cx.connect_tls(upstream.address(), tls, name, session),
            (Some(_), None) => return None,
            (None, _) => cx.connect(upstream.address(), session),
        };
        self.streams.insert(server, (connection, address));
        Some(address)
    }
}

impl DatagramService for Shard {
    fn opened(&mut self, cx: &mut DatagramCx<'_>) {
        self.remote = Some(cx.remote());
        let early = self.shared.join(&self.core, cx.remote());
        self.with(cx, |core, now| {
            let plan = Arc::clone(&core.plan);
            core.engine.set_servers(&plan.upstreams, plan.pace, now);
            early.into_iter().for_each(|pending| core.ask(pending, now));
        });
    }

    fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
        let Some(&path) = self.paths.get(&datagram.sender.socket()) else { return };
        let from = datagram.sender.remote();
        let mut bytes = std::borrow::Cow::Borrowed(datagram.bytes);
        if datagram.truncated && bytes.len() > 2 {
            // Longer than was asked for, and cut by us: to be fetched over TCP like what the server cuts.
            bytes.to_mut()[2] |= (wire::flag::TC >> 8) as u8;
        }
        self.with(cx, |core, now| core.engine.handle_datagram(path, from, &bytes, now));
    }

    fn failed(&mut self, cx: &mut DatagramCx<'_>, socket: SocketId, failure: Failure) {
        let Some(&path) = self.paths.get(&socket) else { return };
        // Without a route there is no socket either, but nor is there a server.
        let there = match &failure {
            Failure::Unopened(error) => {
                self.paths.remove(&socket);
                self.sockets.remove(&path);
                !matches!(error.kind(), ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable)
            }
            _ => false,
        };
        tracing::debug!(?failure, "a name server can't be asked");
        self.with(cx, |core, now| core.engine.handle_unreachable(path, there, now));
    }

    fn expired(&mut self, cx: &mut DatagramCx<'_>, _: TimerKey) {
        self.with(cx, |core, now| core.engine.handle_timeout(now));
    }

    fn notified(&mut self, cx: &mut DatagramCx<'_>, note: Note) {
        let note = match note.downcast::<Said>() {
            Ok(said) => {
                let current = self.streams.get(&said.server);
                if current.is_none_or(|(connection, _)| *connection != said.connection) {
                    return;
                }
                return match said.event {
                    Event::Received(bytes) => self.with(cx, |core, now| {
                        core.engine.handle_message(said.server, &bytes, now);
                    }),
                    Event::Ended { failed } => {
                        self.streams.remove(&said.server);
                        self.with(cx, |core, now| {
                            core.engine.handle_hangup(said.server, failed, now);
                        });
                    }
                };
            }
            Err(note) => note,
        };
        match note.downcast::<Pending>() {
            Ok(pending) => self.with(cx, |core, now| core.ask(pending, now)),
            // A wish to flush; there is nothing else that would be sent.
            Err(_) => self.with(cx, |_, _| {}),
        }
    }

    fn closed(&mut self) {
        if let Some(remote) = &self.remote {
            self.shared.leave(remote);
        }
    }

    fn limits(&self) -> DatagramLimits {
        let mut limits = DatagramLimits::default();
        // Two of them for each question.
        limits.client_sockets = 2 * Pace::default().outstanding;
        limits
    }
}

/// Octets that nobody can guess, from the system, a buffer full at a time.
fn random() -> impl FnMut(&mut [u8]) + 'static {
    let mut buffer = [0; 512];
    let mut used = buffer.len();
    move |octets| {
        for octet in octets {
            if used == buffer.len() {
                fill(&mut buffer);
                used = 0;
            }
            *octet = buffer[used];
            used += 1;
        }
    }
}

fn fill(buffer: &mut [u8]) {
    if let Err(error) = getrandom::fill(buffer) {
        // It can't fail once the system has begun. A keyed hash, whose key is from the system too, is
        // still better than what can be guessed.
        tracing::error!(%error, "the system has no random numbers");
        for (index, chunk) in buffer.chunks_mut(8).enumerate() {
            let number = RandomState::new().hash_one(index).to_ne_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests;
