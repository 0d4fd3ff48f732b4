//! Datagram services on a shard: batches are read, handed over one by one, and what was sent in answer
//! leaves in batches too.
//!
//! A service stands in the table as a desk, each of its sockets as a wire. A step of a wire is bounded
//! like any other, and no error of a socket and no panic of a service ends the loop.

use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mio::net::UdpSocket;

use super::own::Surroundings;
use super::table::Entry;
use super::wire::{self, Wire};
use super::{Address, Shard};
use crate::datagram::{
    ClientSocket, Datagram, DatagramService, Failure, Letter, Outgoing, Sender, SocketId,
};
use crate::desk::Desk;
use crate::env::Env;
use crate::server::roster::{Entrance, Number};
use crate::sys::{Arrivals, Departures};
use crate::timer::Millis;

/// Batches taken from one socket in one step.
const BATCHES_PER_STEP: usize = 4;

/// Timers of one service that run in one turn.
const TIMERS_PER_TURN: usize = 16;

/// Steps in which a listener is read out before it is closed.
const LAST_STEPS: usize = 16;

/// Failures that may wait to be told; there can be one for each datagram sent.
const FAILURES: usize = 1024;

/// What the datagram services of a shard share. A shard without any holds no buffer.
#[derive(Default)]
pub(super) struct Post {
    arrivals: Option<Box<Arrivals>>,
    departures: Option<Box<Departures>>,
    outgoing: Outgoing,
    failures: Failures,
}

/// What services have yet to be told.
#[derive(Default)]
struct Failures(Vec<(u64, SocketId, Failure)>);

impl Failures {
    fn push(&mut self, owner: u64, socket: SocketId, failure: Failure) {
        if self.0.len() < FAILURES {
            self.0.push((owner, socket, failure));
        }
    }
}

impl Post {
    /// Whether something is left to be sent or told.
    pub(super) fn is_pending(&self) -> bool {
        !self.outgoing.is_empty() || !self.failures.0.is_empty()
    }
}

impl Shard {
    // ---- beginnings and ends -----------------------------------------------------------------

    /// Adds a service with the sockets that others send to: new ones, and those that another service had.
    pub(super) fn serve_datagrams(
        &mut self,
        mut desk: Box<Desk>,
        entrances: Vec<Entrance<UdpSocket>>,
    ) -> io::Result<()> {
        let mut result = Ok(());
        for Entrance { number, socket, .. } in entrances {
            match socket {
                Some(socket) => result = self.add_wire(socket, number, &mut desk).and(result),
                None => self.take_over(number, &mut desk),
            }
        }
        self.open_desk(desk);
        result
    }

    fn add_wire(&mut self, socket: UdpSocket, number: Number, desk: &mut Desk) -> io::Result<()> {
        let (token, limits) = (desk.state.token, desk.state.limits);
        let id = SocketId(self.env.allocate());
        let wire =
            Wire::new(socket, id, token, None, limits, desk.counts()).and_then(|mut wire| {
                wire.listener = Some(number);
                wire.register(self.poll.registry()).map(|()| wire)
            });
        let wire = wire.inspect_err(|_| self.env.release(id.0.token))?;
        desk.add_listener(id, wire.local());
        self.table.insert(id.0.token, Entry::Wire(Box::new(wire)));
        Ok(())
    }

    /// Has a listening socket belong to `desk` from now on. What its earlier owner has yet to answer may
    /// still leave by it.
    fn take_over(&mut self, number: Number, desk: &mut Desk) {
        let wire = self.table.wire(number).and_then(|token| self.table.get_mut(token));
        let Some(Entry::Wire(wire)) = wire else { return };
        let (id, before) = (wire.id(), wire.owner);
        wire.hand_to(desk.state.token, desk.state.limits, desk.counts());
        desk.add_listener(id, wire.local());
        if let Some(Entry::Desk(before)) = self.table.get_mut(before) {
            before.remove_listener(id);
        }
    }

    /// Adds a service that is one connection's own.
    pub(super) fn serve_privately(
        &mut self,
        id: Address,
        owner: Address,
        service: Box<dyn DatagramService>,
    ) {
        match self.surroundings_of(owner) {
            Some(Surroundings { limits, .. }) => {
                let owner = Some(owner.token);
                let counts = Arc::default();
                self.open_desk(Box::new(Desk::new(service, id.token, limits, owner, counts)));
            }
            None => self.env.release(id.token),
        }
    }

    fn open_desk(&mut self, desk: Box<Desk>) {
        let token = desk.state.token;
        self.table.insert(token, Entry::Desk(desk));
        self.with_desk(token, Desk::open);
    }

    pub(super) fn open_socket(&mut self, id: SocketId, owner: u64, client: &ClientSocket) {
        let Some(Entry::Desk(desk)) = self.table.get_mut(owner) else {
            return self.env.release(id.0.token);
        };
        let (limits, counts) = (desk.state.limits, desk.counts());
        let opened = wire::open(client).and_then(|socket| {
            let mut wire = Wire::new(socket, id, owner, client.remote, limits, counts)?;
            wire.register(self.poll.registry())?;
            Ok(wire)
        });
        match opened {
            Ok(wire) => self.table.insert(id.0.token, Entry::Wire(Box::new(wire))),
            Err(error) => {
                self.env.release(id.0.token);
                self.post.failures.push(owner, id, Failure::Unopened(error));
            }
        }
    }

    /// Closes a socket behind what it has sent. What others have sent waits: one of them may be about to
    /// be opened.
    pub(super) fn close_socket(&mut self, id: SocketId) {
        let letters = self.post.outgoing.take_by(id);
        self.send(letters);
        self.remove_wire(id.0.token);
    }

    fn remove_wire(&mut self, token: u64) {
        if let Some(Entry::Wire(_)) = self.table.get_mut(token) {
            self.table.take(token);
            self.table.remove(token);
            self.env.release(token);
        }
    }

    pub(super) fn end_desk(&mut self, token: u64) {
        let Some(Entry::Desk(desk)) = self.table.take(token) else { return };
        self.flush();
        self.table.remove(token);
        self.env.release(token);
        for socket in desk.sockets() {
            self.remove_wire(socket.0.token);
        }
        let mut service = desk.into_service();
        if catch_unwind(AssertUnwindSafe(|| service.closed())).is_err() {
            tracing::error!("a datagram service panicked while it was closed");
        }
    }

    /// Tells the public services that the server is shutting down.
    pub(super) fn drain_desks(&mut self) {
        for token in self.table.public_desks() {
            self.with_desk(token, Desk::drain);
        }
    }

    /// Whether no public service owes anything.
    pub(super) fn desks_are_idle(&mut self) -> bool {
        self.table.public_desks().into_iter().all(|token| self.is_idle(token))
    }

    /// Whether a service owes nothing.
    pub(super) fn is_idle(&mut self, token: u64) -> bool {
        match self.table.get_mut(token) {
            Some(Entry::Desk(desk)) => {
                catch_unwind(AssertUnwindSafe(|| desk.is_idle())).unwrap_or(true)
            }
            _ => true,
        }
    }

    /// Answers what has come to the listeners that a service has, and closes them.
    pub(super) fn read_out(&mut self, desk: u64) {
        for token in self.table.listening_wires_of(desk) {
            self.read_last(token);
            let Some(Entry::Wire(wire)) = self.table.get_mut(token) else { continue };
            let id = wire.id();
            if let Some(Entry::Desk(desk)) = self.table.get_mut(desk) {
                desk.remove_listener(id);
            }
            self.close_socket(id);
        }
    }

    /// Reads a listener out before it is closed: what has come by now would reach nobody else.
    fn read_last(&mut self, token: u64) {
        for _ in 0..LAST_STEPS {
            if !self.step_wire(token, true) {
                break;
            }
        }
    }

    /// Ends all services. After a drain, listeners are read out first: what has come by now is
    /// answered, as it would reach nobody else.
    pub(super) fn close_desks(&mut self) {
        if self.env.draining {
            for token in self.table.listening_wires() {
                self.read_last(token);
            }
        }
        for token in self.table.desks() {
            self.end_desk(token);
        }
    }

    // ---- steps -------------------------------------------------------------------------------

    /// One step of a socket: what has waited is sent, so many batches are read, and answers leave. Says
    /// whether it is owed another.
    pub(super) fn step_wire(&mut self, token: u64, read: bool) -> bool {
        let Some(Entry::Wire(wire)) = self.table.get_mut(token) else { return false };
        wire.queued = false;
        wire.readable |= read;
        let (owner, id) = (wire.owner, wire.id());
        let Post { departures, outgoing, failures, .. } = &mut self.post;
        let told = &mut |failure| failures.push(owner, id, failure);
        let departures = departures.get_or_insert_with(Box::default);
        let unsent = wire.resend(departures, outgoing, self.poll.registry(), told);
        for _ in 0..BATCHES_PER_STEP {
            let Some(Entry::Wire(wire)) = self.table.get_mut(token) else { return false };
            if !wire.readable {
                break;
            }
            match wire.receive(self.post.arrivals.get_or_insert_with(Box::default)) {
                Ok(0) => {}
                Ok(count) => {
                    let post =
                        Handover { id, local: wire.local(), listens: wire.listener.is_some() };
                    self.hand_over(owner, &post, count);
                }
                Err(failure) => self.post.failures.push(owner, id, failure),
            }
        }
        let Some(Entry::Wire(wire)) = self.table.get_mut(token) else { return false };
        let again = unsent || wire.readable;
        if again && !std::mem::replace(&mut wire.queued, true) {
            self.queue.push_back(token);
        }
        again
    }

    /// Hands over the batch that was read last.
    fn hand_over(&mut self, owner: u64, socket: &Handover, count: usize) {
        let mut index = 0;
        while index < count {
            let Post { arrivals: Some(arrivals), outgoing, .. } = &mut self.post else { return };
            let Some(Entry::Desk(mut desk)) = self.table.take(owner) else { return };
            while index < count && !outgoing.is_full() && !desk.state.closing {
                let arrival = arrivals.datagram(index);
                index += 1;
                let Some(remote) = arrival.from else { continue };
                let wanted = match socket.listens {
                    true => desk.admits(remote, self.env.now),
                    // Otherwise it was closed by the service a moment ago.
                    false => desk.has_client(socket.id),
                };
                if !wanted {
                    continue;
                }
                let local = arrival.local.map_or(socket.local, |ip| {
                    let mut local = socket.local;
                    local.set_ip(ip);
                    local
                });
                let sender = Sender { socket: socket.id, remote, local };
                let datagram =
                    Datagram { bytes: arrival.bytes, sender, truncated: arrival.truncated };
                guarded(&mut desk, &mut self.env, outgoing, |desk, env, outgoing| {
                    desk.receive(env, outgoing, datagram);
                });
            }
            self.settle_desk(desk);
            self.flush();
        }
    }

    /// Gives one service a callback.
    pub(super) fn with_desk(
        &mut self,
        token: u64,
        callback: impl FnOnce(&mut Desk, &mut Env, &mut Outgoing),
    ) {
        match self.table.take(token) {
            Some(Entry::Desk(mut desk)) => {
                guarded(&mut desk, &mut self.env, &mut self.post.outgoing, callback);
                self.settle_desk(desk);
                if self.post.outgoing.is_full() {
                    self.flush();
                }
            }
            Some(entry) => self.table.put_back(token, entry),
            None => {}
        }
    }

    /// Puts a service back after its callback, carries out what it has asked for, and ends it if it wants
    /// to end.
    fn settle_desk(&mut self, mut desk: Box<Desk>) {
        let (token, closing) = (desk.state.token, desk.state.closing);
        if let Some(at) = desk.deadline()
            && desk.wakes_at.is_none_or(|before| at < before)
        {
            desk.wakes_at = Some(at);
            self.timers.push(at, token);
        }
        self.table.put_back(token, Entry::Desk(desk));
        self.carry_out();
        if closing {
            self.end_desk(token);
        }
    }

    /// Runs what is due.
    pub(super) fn lapse_desk(&mut self, token: u64, at: Millis) {
        let Some(Entry::Desk(desk)) = self.table.get_mut(token) else { return };
        if desk.wakes_at != Some(at) {
            return;
        }
        desk.wakes_at = None;
        self.with_desk(token, |desk, env, outgoing| {
            for _ in 0..TIMERS_PER_TURN {
                if !desk.lapse(env, outgoing) {
                    break;
                }
            }
        });
    }

    /// Sends what is left of this turn, and tells services what went wrong. What goes wrong meanwhile is
    /// told in the next turn.
    pub(super) fn post_turn(&mut self) {
        if !self.post.is_pending() {
            return;
        }
        self.flush();
        for (owner, socket, failure) in std::mem::take(&mut self.post.failures.0) {
            self.with_desk(owner, |desk, env, outgoing| {
                desk.fail(env, outgoing, socket, failure);
            });
        }
        self.flush();
    }

    /// Hands the kernel what has been sent.
    fn flush(&mut self) {
        if self.post.outgoing.is_empty() {
            return;
        }
        let letters = self.post.outgoing.take();
        self.send(letters);
    }

    fn send(&mut self, mut letters: Vec<Letter>) {
        let Post { departures, failures, .. } = &mut self.post;
        let departures = departures.get_or_insert_with(Box::default);
        let mut rest = &mut letters[..];
        while let Some(first) = rest.first() {
            let id = first.socket;
            let run = rest.iter().take_while(|letter| letter.socket == id).count();
            let (run, after) = std::mem::take(&mut rest).split_at_mut(run);
            rest = after;
            // Otherwise the socket has been closed since.
            if let Some(Entry::Wire(wire)) = self.table.get_mut(id.0.token) {
                let owner = wire.owner;
                let told = &mut |failure| failures.push(owner, id, failure);
                wire.send(departures, run, self.poll.registry(), told);
            }
        }
        self.post.outgoing.restore(letters);
    }
}

/// What is told of a socket with each of its datagrams.
struct Handover {
    id: SocketId,
    local: SocketAddr,
    listens: bool,
}

/// Runs a callback; if it panics, what it has sent is dropped and the service goes on.
fn guarded(
    desk: &mut Desk,
    env: &mut Env,
    outgoing: &mut Outgoing,
    callback: impl FnOnce(&mut Desk, &mut Env, &mut Outgoing),
) {
    let before = outgoing.letters.len();
    if catch_unwind(AssertUnwindSafe(|| callback(desk, env, outgoing))).is_err() {
        outgoing.truncate(before);
        tracing::error!("a datagram service panicked; it goes on with the next datagram");
    }
}
