//! One event loop: it polls, folds events into flags, runs due timers and gives each queued connection
//! one bounded step.
//!
//! It knows sockets and fairness. What a connection does with its bytes stands in `channel`, what one
//! step is in `connection`, how connections come in in `accept`.

mod accept;
pub(crate) mod connection;
mod datagrams;
mod mounting;
mod own;
mod prologue;
mod table;
mod wire;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Poll, Token};

use accept::Spare;
pub(crate) use accept::{Gate, Socket};
use connection::{Connection, Step};
use datagrams::Post;
use mounting::{Leaving, Staged};
use table::{Entry, Table};
pub(crate) use wire::bind as bind_datagrams;

use crate::channel::Channel;
use crate::env::Env;
use crate::mailbox::{Address, Control, Mailbox, Message, Note};
use crate::offload::Pool;
use crate::server::roster::Number;
use crate::session::{Command, Goodbye, Listening, Reason};
use crate::timer::{Millis, TimerQueue};
use crate::transport::SCRATCH;

/// The token of the mailbox's waker; no place in the table has it.
pub(crate) const MAILBOX: Token = Token(usize::MAX);

/// How often in a turn notes are handed on: those that came up before, those that these led to, and so on.
/// What is asked of another session on the shard is told, begun, done and reported in one turn.
const ROUNDS_OF_NOTES: usize = 4;

/// Events taken from the kernel at one time.
const EVENTS: usize = 1024;

/// One event loop and all that lives on it.
pub(crate) struct Shard {
    poll: Poll,
    env: Env,
    table: Table,
    /// Tokens that are owed a step.
    queue: VecDeque<u64>,
    /// By the number of their service.
    gates: BTreeMap<Number, Gate>,
    /// Services whose sessions may still finish, and when they are looked at next.
    leaving: Vec<Leaving>,
    /// A change that stands ready.
    staged: Option<Staged>,
    look_at: Option<Millis>,
    /// Private listeners that may have more to accept, if they aren't closed in this turn.
    owed: Vec<u64>,
    spare: Spare,
    post: Post,
    timers: TimerQueue,
    due: Vec<(Millis, u64)>,
    messages: Vec<Message>,
    /// What is read into: one buffer for all connections.
    scratch: Box<[u8]>,
    /// The mailboxes of all shards, this one's included.
    mailboxes: Arc<[Arc<Mailbox>]>,
    /// Connections whose producer waits for room in the offload pool.
    deferred: VecDeque<u64>,
    /// When a drain has lasted long enough.
    stop_at: Option<Millis>,
    stopped: bool,
    /// Notes from this shard to itself, which are handed on at the end of a turn.
    notes: VecDeque<(u64, Note)>,
}

impl Drop for Shard {
    fn drop(&mut self) {
        self.env.mailbox.close();
    }
}

impl Shard {
    pub(crate) fn new(
        index: u16,
        poll: Poll,
        mailboxes: Arc<[Arc<Mailbox>]>,
        pool: Arc<Pool>,
    ) -> Self {
        let mailbox = Arc::clone(&mailboxes[usize::from(index)]);
        Shard {
            poll,
            env: Env::new(index, Instant::now(), SystemTime::now(), mailbox, pool),
            table: Table::default(),
            queue: VecDeque::new(),
            gates: BTreeMap::new(),
            leaving: Vec::new(),
            staged: None,
            look_at: None,
            owed: Vec::new(),
            spare: Spare::default(),
            post: Post::default(),
            timers: TimerQueue::default(),
            due: Vec::new(),
            messages: Vec::new(),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            mailboxes,
            deferred: VecDeque::new(),
            stop_at: None,
            stopped: false,
            notes: VecDeque::new(),
        }
    }

    /// Runs until it is told to stop, or has drained.
    pub(crate) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.stopped {
            self.turn(&mut events)?;
        }
        self.close_all();
        Ok(())
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, self.patience()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        self.env.set_now(Instant::now());
        self.env.wall_clock = SystemTime::now();
        for event in events.iter() {
            if event.token() == MAILBOX {
                continue;
            }
            let token = event.token().0 as u64;
            let queued = match self.table.get_mut(token) {
                Some(Entry::Connection(connection)) => connection.fold(event),
                Some(Entry::Inlet(inlet)) => inlet.fold(event),
                Some(Entry::Prologue(prologue)) => prologue.fold(),
                Some(Entry::Wire(wire)) => wire.fold(event),
                // The entry has gone: a stale event reaches nobody. A desk has no socket but its wires.
                Some(Entry::Desk(_)) | None => false,
            };
            if queued {
                self.queue.push_back(token);
            }
        }
        self.read_mail();
        self.run_timers();
        self.retry_deferred();
        for _ in 0..self.queue.len() {
            if let Some(token) = self.queue.pop_front() {
                self.step(token);
            }
        }
        self.post_turn();
        for _ in 0..ROUNDS_OF_NOTES {
            for _ in 0..self.notes.len() {
                if let Some((token, note)) = self.notes.pop_front() {
                    self.hand_note(token, note);
                }
            }
        }
        let table = &self.table;
        self.queue.extend(self.owed.drain(..).filter(|&token| table.has(token)));
        if self.look_at.is_some_and(|at| at <= self.env.millis()) {
            self.look_after_leaving();
        }
        let late = self.stop_at.is_some_and(|at| at <= self.env.millis());
        let draining = self.env.draining;
        if late || draining && self.table.connections() == 0 && self.desks_are_idle() {
            self.stopped = true;
        }
        Ok(())
    }

    fn patience(&self) -> Option<Duration> {
        if !(self.queue.is_empty() && self.notes.is_empty()) || self.post.is_pending() {
            return Some(Duration::ZERO);
        }
        // Whole milliseconds, as the kernel takes them: what has passed of this one is rounded up.
        let next = [self.timers.next(), self.look_at, self.stop_at].into_iter().flatten().min();
        let next = next.map(|at| Duration::from_millis(at.saturating_sub(self.env.millis())));
        // A full offload pool says nothing when it has room again.
        let retry = (!self.deferred.is_empty()).then_some(Duration::from_millis(1));
        [next, retry].into_iter().flatten().min()
    }

    // ---- steps -------------------------------------------------------------------------------

    fn step(&mut self, token: u64) {
        match self.table.take(token) {
            Some(Entry::Connection(mut connection)) => {
                connection.queued = false;
                let step = self.guarded(&mut connection, |connection, env, scratch| {
                    connection.step(env, scratch)
                });
                self.settle(token, connection, step);
            }
            Some(Entry::Inlet(mut inlet)) => {
                inlet.queued = false;
                self.accept(token, &mut inlet);
                self.table.put_back(token, Entry::Inlet(inlet));
            }
            Some(Entry::Prologue(prologue)) => self.read_prologue(token, prologue),
            Some(entry) => {
                self.table.put_back(token, entry);
                self.step_wire(token, false);
            }
            None => {}
        }
        self.carry_out();
    }

    /// Runs a callback of one connection; a panic in it closes that connection alone.
    fn guarded(
        &mut self,
        connection: &mut Connection,
        callback: impl FnOnce(&mut Connection, &mut Env, &mut [u8]) -> Step,
    ) -> Step {
        let (env, scratch) = (&mut self.env, &mut self.scratch);
        let guarded = catch_unwind(AssertUnwindSafe(|| callback(connection, env, scratch)));
        guarded.unwrap_or_else(|_| {
            tracing::error!(peer = %connection.remote(), "a session panicked; its connection is closed");
            Step::Ended(Reason::Panicked)
        })
    }

    /// Puts a connection back after its step, queues it again if it is owed another, or ends it.
    fn settle(&mut self, token: u64, mut connection: Box<Connection>, step: Step) {
        match step {
            Step::Again if !connection.queued => {
                connection.queued = true;
                self.queue.push_back(token);
            }
            Step::Again | Step::Idle => {}
            Step::Ended(reason) => return self.end(token, connection, reason),
        }
        if connection.channel.has_deferred() && !connection.awaits_pool {
            connection.awaits_pool = true;
            self.deferred.push_back(token);
        }
        if let Some(at) = connection.channel.deadline()
            && connection.wakes_at.is_none_or(|before| at < before)
        {
            connection.wakes_at = Some(at);
            self.timers.push(at, token);
        }
        self.table.put_back(token, Entry::Connection(connection));
    }

    fn end(&mut self, token: u64, connection: Box<Connection>, reason: Reason) {
        if connection.channel.owns_listeners() {
            for owned in self.table.inlets_of(token) {
                self.remove_inlet(owned);
            }
            for owned in self.table.desks_of(token) {
                self.end_desk(owned);
            }
        }
        self.table.remove_connection(token);
        self.env.release(token);
        self.last_words(|| connection.part(reason));
    }

    /// Runs a session's own code once more, and hands on what it has told others.
    fn last_words(&mut self, part: impl FnOnce() -> Goodbye) {
        match catch_unwind(AssertUnwindSafe(part)) {
            Ok(goodbye) => {
                for (to, note) in goodbye.into_notes() {
                    self.notify(to, note);
                }
            }
            Err(_) => tracing::error!("a session panicked while it was closed"),
        }
    }

    /// Gives one connection a callback, then its step.
    fn with_channel(&mut self, token: u64, callback: impl FnOnce(&mut Channel, &mut Env)) {
        match self.table.take(token) {
            Some(Entry::Connection(mut connection)) => {
                let step = self.guarded(&mut connection, |connection, env, scratch| {
                    callback(&mut connection.channel, env);
                    connection.step(env, scratch)
                });
                self.settle(token, connection, step);
            }
            Some(entry) => self.table.put_back(token, entry),
            None => {}
        }
        self.carry_out();
    }

    // ---- mail, timers, commands --------------------------------------------------------------

    fn read_mail(&mut self) {
        if !self.env.mailbox.is_filled() {
            return;
        }
        let mut messages = std::mem::take(&mut self.messages);
        self.env.mailbox.take(&mut messages);
        for message in messages.drain(..) {
            match message {
                Message::Wake(token) => self.with_channel(token, |channel, _| channel.wake()),
                Message::Note(token, note) => self.hand_note(token, note),
                Message::Resume(token, then) => {
                    self.with_channel(token, |channel, env| channel.resume(env, then));
                }
                Message::ResumeDatagrams(token, then) => {
                    self.with_desk(token, |desk, env, outgoing| desk.resume(env, outgoing, then));
                }
                Message::Abort(token) => {
                    if let Some(Entry::Connection(connection)) = self.table.take(token) {
                        self.end(token, connection, Reason::Panicked);
                    }
                }
                // Whoever asks may have given up.
                Message::Change(change, told) => drop(told.send(self.stage(*change))),
                Message::Settle { goes, done } => {
                    self.settle_change(goes);
                    drop(done);
                }
                Message::Control(Control::Drain { within }) => self.drain(within),
                Message::Control(Control::Stop) => self.stopped = true,
            }
        }
        self.messages = messages;
    }

    fn run_timers(&mut self) {
        let now = self.env.millis();
        let mut due = std::mem::take(&mut self.due);
        self.timers.take_due(now, &mut due);
        for (at, token) in due.drain(..) {
            match self.table.take(token) {
                Some(Entry::Connection(mut connection)) if connection.wakes_at == Some(at) => {
                    connection.wakes_at = None;
                    let step = match connection.channel.deadline() {
                        // It has moved further away since: look again then.
                        Some(later) if later > now => Step::Idle,
                        None => Step::Idle,
                        Some(_) => self.guarded(&mut connection, Connection::lapse),
                    };
                    self.settle(token, connection, step);
                }
                Some(Entry::Inlet(mut inlet)) => {
                    if inlet.rested() {
                        self.queue.push_back(token);
                    }
                    self.table.put_back(token, Entry::Inlet(inlet));
                }
                Some(Entry::Prologue(prologue)) => self.prologue_lapsed(token, prologue, at),
                Some(Entry::Desk(desk)) => {
                    self.table.put_back(token, Entry::Desk(desk));
                    self.lapse_desk(token, at);
                }
                Some(entry) => self.table.put_back(token, entry),
                None => {}
            }
            self.carry_out();
        }
        self.due = due;
    }

    /// Gives connections whose work found the offload pool full another try.
    fn retry_deferred(&mut self) {
        // As many as there is room for, the longest waiting first.
        for _ in 0..self.deferred.len() {
            if !self.env.pool.has_room() {
                return;
            }
            let Some(token) = self.deferred.pop_front() else { return };
            if let Some(Entry::Connection(connection)) = self.table.get_mut(token) {
                connection.awaits_pool = false;
                self.with_channel(token, |_, _| {});
            }
        }
    }

    fn carry_out(&mut self) {
        while !self.env.commands.is_empty() {
            for command in std::mem::take(&mut self.env.commands) {
                match command {
                    Command::Notify { to, note } => self.notify(to, note),
                    Command::Connect { id, from, target, session } => {
                        self.connect(id, from, target, session);
                    }
                    Command::Listen { id, owner, bind, acceptor, secured } => {
                        let bound = self.listen_private(id, owner, &bind, acceptor, secured);
                        self.notify(owner, Note::new(Listening { id, bound }));
                    }
                    Command::Unlisten(id) => self.remove_inlet(id.token),
                    Command::OpenDatagrams { id, owner, service } => {
                        self.serve_privately(id, owner, service);
                    }
                    Command::OpenSocket { id, owner, socket } => {
                        self.open_socket(id, owner, &socket);
                    }
                    Command::CloseSocket(id) => self.close_socket(id),
                }
            }
        }
    }

    fn notify(&mut self, to: Address, note: Note) {
        if to.shard == self.env.shard {
            // Not handed on here: what it leads to may be the next note.
            self.notes.push_back((to.token, note));
        } else if let Some(mailbox) = self.mailboxes.get(usize::from(to.shard))
            && mailbox.post_note(to.token, note, |note| note).is_err()
        {
            tracing::warn!(%to, "a shard's mailbox is full; a note is lost");
        }
    }

    fn hand_note(&mut self, token: u64, note: Note) {
        if let Some(Entry::Desk(_)) = self.table.get_mut(token) {
            self.with_desk(token, |desk, env, outgoing| desk.notify(env, outgoing, note));
        } else {
            self.with_channel(token, |channel, env| channel.notify(env, note));
        }
    }

    fn drain(&mut self, within: Option<Duration>) {
        self.env.draining = true;
        self.stop_at = within.map(|within| self.env.millis_after(within));
        for token in self.table.public_inlets() {
            self.remove_inlet(token);
        }
        for token in self.table.tokens_of_connections() {
            self.with_channel(token, |channel, env| channel.drain(env));
        }
        self.drain_desks();
    }

    fn close_all(&mut self) {
        for token in self.table.tokens_of_connections() {
            if let Some(Entry::Connection(connection)) = self.table.take(token) {
                self.end(token, connection, Reason::Stopped);
            }
        }
        self.close_desks();
    }
}

#[cfg(test)]
mod tests;
