//! Services on a shard: how they come, also in the place of others, and how they leave while it runs.
//!
//! What leaves takes nothing more in. Its sessions are told that they are draining and are looked at several
//! times a second until all have ended, or their time is up.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use mio::net::UdpSocket;

use super::Shard;
use super::accept::{Gate, Socket};
use super::table::Entry;
use crate::desk::Desk;
use crate::limits::Census;
use crate::server::roster::{Change, Entrance, Mounting, Number};
use crate::session::Reason;
use crate::timer::Millis;

/// How long it may take until a service whose last session has ended is let go.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A service that leaves.
pub(super) struct Leaving {
    number: Number,
    census: Arc<Census>,
    /// When its sessions have had long enough.
    until: Option<Millis>,
}

/// Services that stand ready to be taken in, and those that leave for them.
pub(super) struct Staged {
    services: Vec<Ready>,
    leaving: Vec<Number>,
    within: Option<Duration>,
}

/// A service with all that its own code makes for a shard.
struct Ready {
    number: Number,
    gate: Gate,
    sockets: Vec<Entrance<Socket>>,
    desk: Option<Box<Desk>>,
    datagram_sockets: Vec<Entrance<UdpSocket>>,
}

impl Shard {
    /// Makes ready what is to change, and says whether it can: nothing has changed yet.
    pub(super) fn stage(&mut self, change: Change) -> Result<(), String> {
        if self.env.draining {
            return Err("the server is shutting down".to_owned());
        }
        let Change { mountings, leaving, within } = change;
        let (mut services, mut result) = (Vec::new(), Ok(()));
        for mounting in mountings {
            let name = Arc::clone(mounting.parts.name());
            match self.ready(mounting) {
                Ok(ready) => services.push(ready),
                Err(error) => result = Err(format!("{name}: {error}")),
            }
        }
        self.staged = Some(Staged { services, leaving, within });
        result
    }

    /// Carries out what stands ready, or forgets it.
    pub(super) fn settle_change(&mut self, goes: bool) {
        let Some(Staged { services, leaving, within }) = self.staged.take() else { return };
        if !goes {
            let desks = services.iter().filter_map(|ready| ready.desk.as_ref());
            return desks.for_each(|desk| self.env.release(desk.state.token));
        }
        for ready in services {
            let name = Arc::clone(&ready.gate.name);
            if let Err(error) = self.take_in(ready) {
                // It is as when the system takes a socket away: the others are served.
                tracing::error!(service = &*name, %error, "a listener is lost");
            }
        }
        for number in leaving {
            self.unmount(number, within);
        }
    }

    /// Takes a service in before the shard runs.
    pub(crate) fn mount(&mut self, mounting: Mounting) -> io::Result<()> {
        let ready = self.ready(mounting)?;
        self.take_in(ready)
    }

    /// Has a service make what this shard needs of it. A panic in it ends nothing.
    fn ready(&mut self, mounting: Mounting) -> io::Result<Ready> {
        let Mounting { number, service, parts, census, rates, metrics, sockets, datagram_sockets } =
            mounting;
        let make = || (service.acceptor(), service.datagram_service());
        let (acceptor, datagrams) = catch_unwind(AssertUnwindSafe(make))
            .map_err(|_| io::Error::other("it panicked when it was to be taken in"))?;
        let limits = Arc::new(parts.limits());
        let gate = Gate {
            name: Arc::clone(parts.name()),
            acceptor,
            limits: Arc::clone(&limits),
            census,
            tls: parts.tls().cloned(),
            proxies: parts.proxies().to_vec(),
        };
        if datagrams.is_none() && !datagram_sockets.is_empty() {
            let message = "a service listens for datagrams and doesn't serve them";
            return Err(io::Error::other(message));
        }
        let counts = Arc::clone(&metrics.service(parts.name()).datagrams);
        let desk = datagrams.map(|datagrams| {
            let token = self.env.allocate().token;
            let mut desk = Box::new(Desk::new(datagrams, token, limits, None, counts));
            desk.limit_peers(rates);
            desk.number = Some(number);
            desk
        });
        Ok(Ready { number, gate, sockets, desk, datagram_sockets })
    }

    /// A socket that can't be registered is told of; the others are served.
    fn take_in(&mut self, ready: Ready) -> io::Result<()> {
        let Ready { number, gate, sockets, desk, datagram_sockets } = ready;
        self.gates.insert(number, gate);
        let mut result = Ok(());
        for Entrance { number: socket, secured, socket: new } in sockets {
            match new {
                Some(new) => result = self.listen(new, socket, number, secured).and(result),
                None => self.reopen(socket, number, secured),
            }
        }
        match desk {
            Some(desk) => self.serve_datagrams(desk, datagram_sockets).and(result),
            None => result,
        }
    }

    fn unmount(&mut self, number: Number, within: Option<Duration>) {
        let Some(gate) = self.gates.get(&number) else { return };
        let census = Arc::clone(&gate.census);
        for token in self.table.inlets_at(number) {
            self.remove_inlet(token);
        }
        for token in self.table.prologues_at(number) {
            self.table.take(token);
            self.table.remove(token);
            self.env.release(token);
        }
        for token in self.table.connections_of(&census) {
            self.with_channel(token, |channel, env| channel.drain(env));
        }
        if let Some(token) = self.table.desk_at(number) {
            self.read_out(token);
            self.with_desk(token, Desk::drain);
        }
        let until = within.map(|within| self.env.millis_after(within));
        self.leaving.push(Leaving { number, census, until });
        self.look_after_leaving();
    }

    /// Lets services go whose sessions have ended, and ends those that had long enough.
    pub(super) fn look_after_leaving(&mut self) {
        let now = self.env.millis();
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.retain(|one| {
            let is_late = one.until.is_some_and(|until| until <= now);
            let desk = self.table.desk_at(one.number);
            let left = self.table.connections_of(&one.census);
            if !is_late && (!left.is_empty() || desk.is_some_and(|desk| !self.is_idle(desk))) {
                return true;
            }
            for token in left {
                if let Some(Entry::Connection(connection)) = self.table.take(token) {
                    self.end(token, connection, Reason::Stopped);
                }
            }
            if let Some(desk) = desk {
                self.end_desk(desk);
            }
            self.gates.remove(&one.number);
            false
        });
        self.carry_out();
        self.look_at = (!leaving.is_empty()).then(|| self.env.millis_after(LOOK_AGAIN));
        self.leaving = leaving;
    }
}
