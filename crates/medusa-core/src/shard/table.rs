//! What lives on a shard, by token. A token is given out once: an event, note or timer for an entry
//! that has gone finds nothing.

use std::sync::Arc;

use super::accept::Inlet;
use super::connection::Connection;
use super::prologue::Prologue;
use super::wire::Wire;
use crate::desk::Desk;
use crate::limits::Census;
use crate::server::roster::Number;

/// Something with a token.
pub(super) enum Entry {
    Connection(Box<Connection>),
    Inlet(Box<Inlet>),
    Prologue(Box<Prologue>),
    Desk(Box<Desk>),
    Wire(Box<Wire>),
}

#[derive(Default)]
pub(super) struct Table {
    /// By the token's low half: the whole token, and the entry unless it is taken out for its turn.
    places: Vec<Option<(u64, Option<Entry>)>>,
    connections: usize,
}

impl Table {
    pub(super) fn insert(&mut self, token: u64, entry: Entry) {
        *self.place(token) = Some((token, Some(entry)));
    }

    /// Makes a place for a connection, which is put into it after its first step.
    pub(super) fn insert_connection(&mut self, token: u64) {
        *self.place(token) = Some((token, None));
        self.connections += 1;
    }

    pub(super) fn get_mut(&mut self, token: u64) -> Option<&mut Entry> {
        match self.places.get_mut(token as u32 as usize)? {
            Some((occupant, entry)) if *occupant == token => entry.as_mut(),
            _ => None,
        }
    }

    /// Whether there is an entry, be it taken out for its turn.
    pub(super) fn has(&self, token: u64) -> bool {
        let place = self.places.get(token as u32 as usize);
        matches!(place, Some(Some((occupant, _))) if *occupant == token)
    }

    /// Takes an entry out for its turn; [`put_back`](Self::put_back) or [`remove`](Self::remove)
    /// follows.
    pub(super) fn take(&mut self, token: u64) -> Option<Entry> {
        match self.places.get_mut(token as u32 as usize)? {
            Some((occupant, entry)) if *occupant == token => entry.take(),
            _ => None,
        }
    }

    pub(super) fn put_back(&mut self, token: u64, entry: Entry) {
        if let Some(Some((occupant, place))) = self.places.get_mut(token as u32 as usize)
            && *occupant == token
        {
            *place = Some(entry);
        }
    }

    /// Forgets a token whose entry was taken out.
    pub(super) fn remove(&mut self, token: u64) {
        if let Some(place) = self.places.get_mut(token as u32 as usize)
            && let Some((occupant, entry)) = place
            && *occupant == token
        {
            debug_assert!(entry.is_none(), "an entry is taken out before it is removed");
            *place = None;
        }
    }

    /// Forgets the token of a connection that was taken out.
    pub(super) fn remove_connection(&mut self, token: u64) {
        self.remove(token);
        self.connections -= 1;
    }

    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    pub(super) fn tokens_of_connections(&self) -> Vec<u64> {
        self.tokens(|entry| matches!(entry, Entry::Connection(_)))
    }

    pub(super) fn public_inlets(&self) -> Vec<u64> {
        self.tokens(|entry| matches!(entry, Entry::Inlet(inlet) if inlet.owner().is_none()))
    }

    /// Those that lead to a service.
    pub(super) fn inlets_at(&self, service: Number) -> Vec<u64> {
        self.tokens(|entry| matches!(entry, Entry::Inlet(inlet) if inlet.leads_to(service)))
    }

    /// The public listener of this number.
    pub(super) fn inlet(&self, number: Number) -> Option<u64> {
        let is_it =
            |entry: &Entry| matches!(entry, Entry::Inlet(inlet) if inlet.number() == Some(number));
        self.tokens(is_it).pop()
    }

    pub(super) fn prologues_at(&self, service: Number) -> Vec<u64> {
        self.tokens(|entry| matches!(entry, Entry::Prologue(prologue) if prologue.gate == service))
    }

    /// Those that are counted in this census.
    pub(super) fn connections_of(&self, census: &Arc<Census>) -> Vec<u64> {
        let counted = |entry: &Entry| match entry {
            Entry::Connection(connection) => {
                connection.census().is_some_and(|other| Arc::ptr_eq(&other, census))
            }
            _ => false,
        };
        self.tokens(counted)
    }

    /// A service's desk.
    pub(super) fn desk_at(&self, service: Number) -> Option<u64> {
        self.tokens(|entry| matches!(entry, Entry::Desk(desk) if desk.number == Some(service)))
            .pop()
    }

    /// The listening wire of this number.
    pub(super) fn wire(&self, number: Number) -> Option<u64> {
        self.tokens(|entry| matches!(entry, Entry::Wire(wire) if wire.listener == Some(number)))
            .pop()
    }

    /// The listening wires of a desk.
    pub(super) fn listening_wires_of(&self, desk: u64) -> Vec<u64> {
        let theirs = |wire: &Wire| wire.listener.is_some() && wire.owner == desk;
        self.tokens(|entry| matches!(entry, Entry::Wire(wire) if theirs(wire)))
    }

    pub(super) fn inlets_of(&self, owner: u64) -> Vec<u64> {
        self.tokens(|entry| matches!(entry, Entry::Inlet(inlet) if inlet.owner() == Some(owner)))
    }

    pub(super) fn desks(&self) -> Vec<u64> {
        self.tokens(|entry| matches!(entry, Entry::Desk(_)))
    }

    pub(super) fn public_desks(&self) -> Vec<u64> {
        self.tokens(|entry| matches!(entry, Entry::Desk(desk) if desk.owner.is_none()))
    }

    pub(super) fn desks_of(&self, owner: u64) -> Vec<u64> {
        self.tokens(|entry| matches!(entry, Entry::Desk(desk) if desk.owner == Some(owner)))
    }

    pub(super) fn listening_wires(&self) -> Vec<u64> {
        self.tokens(|entry| matches!(entry, Entry::Wire(wire) if wire.listener.is_some()))
    }

    fn place(&mut self, token: u64) -> &mut Option<(u64, Option<Entry>)> {
        let index = token as u32 as usize;
        if index >= self.places.len() {
            self.places.resize_with(index + 1, || None);
        }
        &mut self.places[index]
    }

    fn tokens(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<u64> {
        let places = self.places.iter().flatten();
        let wanted = places.filter(|(_, entry)| entry.as_ref().is_some_and(&wanted));
        wanted.map(|(token, _)| *token).collect()
    }
}
