//! Connections from trusted proxies, until they have said for whom they speak.
//!
//! The header is looked at without being taken until it is complete, so that not an octet of what
//! follows (a ClientHello, a request) is touched.

use mio::Token;

use super::Shard;
use super::accept::Door;
use super::table::Entry;
use crate::proxy::{self, Header};
use crate::server::roster::Number;
use crate::service::{Endpoint, Peer};
use crate::timer::Millis;
use crate::transport::{Carrier, Transport};

/// A connection that owes its header.
pub(super) struct Prologue {
    pub(super) gate: Number,
    secured: bool,
    transport: Transport,
    peer: Peer,
    until: Option<Millis>,
    pub(super) queued: bool,
}

impl Prologue {
    /// Whether it must be queued after an event.
    pub(super) fn fold(&mut self) -> bool {
        !std::mem::replace(&mut self.queued, true)
    }
}

impl Shard {
    pub(super) fn await_prologue(
        &mut self,
        gate: Number,
        secured: bool,
        mut transport: Transport,
        peer: Peer,
    ) {
        let token = self.env.allocate().token;
        if transport.register(self.poll.registry(), Token(token as usize)).is_err() {
            return self.env.release(token);
        }
        let limit = self.gates.get(&gate).and_then(|gate| gate.limits.handshake);
        let until = limit.map(|limit| self.env.millis_after(limit));
        if let Some(until) = until {
            self.timers.push(until, token);
        }
        let prologue = Prologue { gate, secured, transport, peer, until, queued: false };
        self.table.insert(token, Entry::Prologue(Box::new(prologue)));
    }

    pub(super) fn read_prologue(&mut self, token: u64, mut prologue: Box<Prologue>) {
        prologue.queued = false;
        let mut buffer = [0; proxy::LONGEST];
        let seen = match prologue.transport.peek(&mut buffer) {
            Ok(0) => return self.drop_prologue(token, &prologue, "it has gone"),
            Ok(count) => &buffer[..count],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return self.table.put_back(token, Entry::Prologue(prologue));
            }
            Err(_) => return self.drop_prologue(token, &prologue, "it has gone"),
        };
        match proxy::parse(seen) {
            Header::Incomplete => self.table.put_back(token, Entry::Prologue(prologue)),
            Header::Invalid(why) => self.drop_prologue(token, &prologue, why),
            Header::Complete { length, addresses } => {
                let Prologue { gate, secured, mut transport, mut peer, .. } = *prologue;
                self.table.remove(token);
                if transport.read(&mut buffer[..length]).is_err() {
                    return self.env.release(token);
                }
                if let Some((source, destination)) = addresses {
                    peer.remote = Endpoint::Inet(source);
                    peer.local = Endpoint::Inet(destination);
                }
                self.admit(&mut Door::Public { gate, secured }, transport, peer, Some(token));
            }
        }
    }

    pub(super) fn prologue_lapsed(&mut self, token: u64, prologue: Box<Prologue>, at: Millis) {
        match prologue.until {
            Some(until) if until <= at => self.drop_prologue(token, &prologue, "it is too slow"),
            _ => self.table.put_back(token, Entry::Prologue(prologue)),
        }
    }

    fn drop_prologue(&mut self, token: u64, prologue: &Prologue, why: &str) {
        tracing::info!(proxy = %prologue.peer.remote, why, "a trusted proxy's connection is closed");
        self.table.remove(token);
        self.env.release(token);
    }
}
