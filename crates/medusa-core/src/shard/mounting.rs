//! Services on a shard: how they come, also in the place of others, and how they leave while it runs.
//!
//! What leaves takes nothing more in. Its sessions are told that they are draining and are looked at several
//! times a second until all have ended, or their time is up.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Shard;
use super::accept::Gate;
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

impl Shard {
    /// Carries out what has changed while the shard runs. One that is shutting down takes nothing in.
    pub(super) fn change(&mut self, change: Change) {
        if self.env.draining {
            return;
        }
        for mounting in change.mountings {
            let name = Arc::clone(mounting.parts.name());
            if let Err(error) = self.mount(mounting) {
                tracing::error!(service = &*name, %error, "a service can't be taken in");
            }
        }
        for number in change.leaving {
            self.unmount(number, change.within);
        }
    }

    /// Takes a service in.
    pub(crate) fn mount(&mut self, mounting: Mounting) -> io::Result<()> {
        let Mounting { number, service, parts, census, rates, metrics, sockets, datagram_sockets } =
            mounting;
        let limits = Arc::new(parts.limits());
        let gate = Gate {
            name: Arc::clone(parts.name()),
            acceptor: service.acceptor(),
            limits: Arc::clone(&limits),
            census,
            tls: parts.tls().cloned(),
            proxies: parts.proxies().to_vec(),
        };
        self.gates.insert(number, gate);
        for Entrance { number: socket, secured, socket: new } in sockets {
            match new {
                Some(new) => self.listen(new, socket, number, secured)?,
                None => self.reopen(socket, number, secured),
            }
        }
        let counts = Arc::clone(&metrics.service(parts.name()).datagrams);
        match service.datagram_service() {
            Some(datagrams) => {
                let token = self.env.allocate().token;
                let mut desk = Box::new(Desk::new(datagrams, token, limits, None, counts));
                desk.limit_peers(rates);
                desk.number = Some(number);
                self.serve_datagrams(desk, datagram_sockets)
            }
            None if datagram_sockets.is_empty() => Ok(()),
            None => Err(io::Error::other("a service listens for datagrams and doesn't serve them")),
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
