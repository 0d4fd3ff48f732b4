//! The desk: who may have a zone as a whole, tell that it has changed, or change it, and how each is
//! answered. Questions that are signed pass it too.
//!
//! It decides and hands back what is to be done: an answer, a stream, or work for the offload pool. Sockets
//! and timers are the keeper's, files `store`'s.

mod request;

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use medusa_core::{Network, Remote};

use super::catalog::Member;
use super::delta::{Delta, History, changes, soa_record, whole};
use super::message::{Reader, is_newer, serial_of};
use super::outgoing::{Clock, Outgoing};
use super::store::JournalFile;
use super::tsig::{Key, Keys, error_answer, locate, verify};
use super::update;
use crate::answer::{Outcome, Transport, refuse};
use crate::name::{Name, wire_length};
use crate::types::{Rcode, RecordType, class, opcode};
use crate::wire::{HEADER, Header, flag};
use crate::zone::{Zone, Zones};
use request::{Business, Request, Said, unsigned};

/// How one zone is kept: who else has it, and who may change it.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Who may have it as a whole, where it isn't who may have all zones.
    pub(crate) transfer_to: Option<Vec<Network>>,
    /// What its transfers and notices are signed with.
    pub(crate) key: Option<Arc<Key>>,
    /// Where it comes from, if not from here.
    pub(crate) primaries: Vec<SocketAddr>,
    /// Who is told when it has changed.
    pub(crate) notify: Vec<SocketAddr>,
    /// Who may change it: from anywhere if nobody is named, and with this key alone.
    pub(crate) update_from: Vec<Network>,
    pub(crate) update_key: Option<Arc<Key>>,
    /// Its file.
    pub(crate) file: Option<PathBuf>,
    /// Whether it lists other zones to be kept (RFC 9432).
    pub(crate) is_catalog: bool,
    /// The most octets that may come from its primary.
    pub(crate) most_octets: Option<u64>,
    /// The catalog that lists it.
    pub(crate) member_of: Option<(Name, Member)>,
    /// How old its copy was when it was read.
    pub(crate) age_at_start: Option<Duration>,
    pub(crate) history: Mutex<History>,
    /// Held while it is changed. None for a zone that isn't changed by message.
    pub(crate) journal: Mutex<Option<JournalFile>>,
}

impl Kept {
    /// Whether it comes from somewhere else.
    pub(crate) fn is_secondary(&self) -> bool {
        !self.primaries.is_empty()
    }

    /// Whether what is served of it comes from elsewhere or is changed by message, and written down here.
    fn keeps_state(&self) -> bool {
        self.is_secondary() || self.is_catalog || lock(&self.journal).is_some()
    }
}

/// What the desk has to tell the keeper.
#[derive(Debug)]
pub(crate) enum News {
    /// A zone has changed here.
    Changed(Name),
    /// A primary says that a zone has changed there, to this serial perhaps.
    Notified(Name, Option<u32>),
}

/// A message for the desk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'m> {
    pub(crate) message: &'m [u8],
    /// Who asks; nobody over a Unix-domain socket.
    pub(crate) address: Option<IpAddr>,
    pub(crate) transport: Transport,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

/// What becomes of it.
pub(crate) enum Handled {
    /// Nothing is said to it.
    Ignored,
    /// This is the answer to what is no question.
    Reply(Vec<u8>),
    /// A signed question has been answered.
    Answered(Box<Said>),
    /// The answer is long. Only over a connection.
    Stream(Box<Outgoing>),
    /// The answer is made off the shard.
    Work(Work),
}

/// What is done in the offload pool, and makes an answer.
pub(crate) type Work = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// Shared by all shards; clones are the same desk.
#[derive(Clone)]
pub(crate) struct Desk(Arc<Inner>);

struct Inner {
    zones: Zones,
    keys: Keys,
    transfer_to: Vec<Network>,
    clock: Clock,
    kept: Mutex<HashMap<Name, Arc<Kept>>>,
    keeper: Mutex<Option<Remote>>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("keys", &self.0.keys).finish_non_exhaustive()
    }
}

/// Whether a message is for the desk: anything but a plain question. Looks no farther than it must.
#[inline]
pub(crate) fn concerns(message: &[u8]) -> bool {
    let Some(header) = Header::read(message) else { return false };
    if header.is_response() {
        return false;
    }
    match header.opcode() {
        opcode::QUERY => {}
        opcode::NOTIFY | opcode::UPDATE => return true,
        _ => return false,
    }
    let body = &message[HEADER..];
    let Ok(length) = wire_length(body) else { return false };
    let Some(rest) = body.get(length..).and_then(|rest| rest.split_first_chunk::<4>()) else {
        return false;
    };
    let (question, rest) = rest;
    let rtype = RecordType(u16::from_be_bytes([question[0], question[1]]));
    if [RecordType::AXFR, RecordType::IXFR].contains(&rtype) {
        return true;
    }
    // Nearly all that is additional is one OPT record, right behind the question.
    match header.counts {
        [_, _, _, 0] => false,
        [1, 0, 0, 1] if rest.starts_with(&[0, 0, 41]) => false,
        // What can't be read so far is refused where signatures are looked at.
        _ => !matches!(locate(message), Ok(None)),
    }
}

impl Desk {
    pub(crate) fn new(zones: Zones, keys: Keys, transfer_to: Vec<Network>, clock: Clock) -> Desk {
        Desk(Arc::new(Inner {
            zones,
            keys,
            transfer_to,
            clock,
            kept: Mutex::default(),
            keeper: Mutex::default(),
        }))
    }

    pub(crate) fn zones(&self) -> &Zones {
        &self.0.zones
    }

    /// Keeps a zone from now on, in the place of one with its name.
    pub(crate) fn keep(&self, name: Name, kept: Kept) {
        lock(&self.0.kept).insert(name, Arc::new(kept));
    }

    /// Keeps a zone no longer.
    pub(crate) fn forget(&self, name: &Name) {
        lock(&self.0.kept).remove(name);
    }

    /// How a zone is kept, if there is anything to say.
    pub(crate) fn kept(&self, name: &Name) -> Option<Arc<Kept>> {
        lock(&self.0.kept).get(name).cloned()
    }

    /// Whether a zone of it is written down here as it changes.
    pub(crate) fn keeps_state(&self) -> bool {
        lock(&self.0.kept).values().any(|kept| kept.keeps_state())
    }

    /// All zones of which there is something to say.
    pub(crate) fn all_kept(&self) -> Vec<(Name, Arc<Kept>)> {
        lock(&self.0.kept).iter().map(|(name, kept)| (name.clone(), Arc::clone(kept))).collect()
    }

    /// Takes the keeper's place, unless another shard has it.
    pub(crate) fn appoint(&self, remote: Remote) -> bool {
        let mut keeper = lock(&self.0.keeper);
        let is_free = keeper.is_none();
        if is_free {
            *keeper = Some(remote);
        }
        is_free
    }

    /// Installs a zone that has come, if it is still kept as it was when it was asked for; says whether.
    pub(crate) fn install_kept(&self, kept: &Arc<Kept>, zone: Zone, deltas: Vec<Delta>) -> bool {
        let all = lock(&self.0.kept);
        let is_kept = all.get(zone.apex()).is_some_and(|current| Arc::ptr_eq(current, kept));
        if is_kept {
            // With the lock held: who forgets it takes the zone out behind that.
            self.install(kept, zone, deltas);
        }
        is_kept
    }

    fn tell(&self, news: News) {
        if let Some(keeper) = &*lock(&self.0.keeper)
            && keeper.notify(news).is_err()
        {
            tracing::warn!("a zone has changed, and too much waits to tell others");
        }
    }

    /// Serves a new version of a zone, remembers what has changed, and has others told.
    pub(crate) fn install(&self, kept: &Kept, zone: Zone, deltas: Vec<Delta>) {
        let (name, octets) = (zone.apex().clone(), zone.octets());
        {
            // Who looks at the history sees the version that it leads to, or an older one.
            let mut history = lock(&kept.history);
            for delta in deltas {
                history.push(Arc::new(delta), octets);
            }
            self.0.zones.replace(zone);
        }
        self.tell(News::Changed(name));
    }

    /// Brings the journals of all zones into order, now that the server begins. Blocks.
    pub(crate) fn prepare_journals(&self) {
        for (name, kept) in self.all_kept() {
            if let Some(Err(error)) = lock(&kept.journal).as_mut().map(JournalFile::prepare) {
                tracing::error!(zone = %name, %error, "its journal can't be written to");
            }
        }
    }

    /// Serves what a zone's file has become. Blocks where there is a journal.
    pub(crate) fn reloaded(&self, zone: Zone) {
        let (name, serial) = (zone.apex().clone(), zone.soa().serial);
        let (kept, old) = (self.kept(&name), self.0.zones.named(&name));
        let (Some(kept), Some(old)) = (kept, old) else { return self.0.zones.replace(zone) };
        let current = old.soa().serial;
        let mut journal = lock(&kept.journal);
        if let Some(journal) = journal.as_mut().filter(|journal| !journal.is_empty()) {
            if !is_newer(serial, current) {
                tracing::warn!(
                    zone = %name, serial, current,
                    "its file isn't used: updates have made it newer, and its serial has to be too"
                );
                return;
            }
            journal.outdate(serial);
            if let Err(error) = journal.prepare() {
                tracing::error!(zone = %name, %error, "its journal can't be put aside");
            }
        } else if !is_newer(serial, current) {
            tracing::warn!(
                zone = %name, serial, current,
                "its serial isn't newer than before: its secondaries won't ask for it"
            );
        }
        let delta = Delta::between(&old, &zone);
        if delta.is_none() {
            lock(&kept.history).clear();
        }
        self.install(&kept, zone, delta.into_iter().collect());
    }

    /// Handles a message that [concerns] the desk. `plain` answers a question as if it weren't signed.
    pub(crate) fn handle(
        &self,
        asked: &Asked<'_>,
        plain: impl FnOnce(&[u8], &mut Vec<u8>) -> Outcome,
    ) -> Handled {
        let request = match self.checked(asked) {
            Ok(request) => request,
            Err(handled) => return handled,
        };
        match Business::of(&request.header, request.question.rtype, asked.transport) {
            Business::Notice => self.notified(request),
            Business::Update => self.update(request),
            Business::Transfer => self.transfer(request),
            Business::Question => {
                let mut answer = Vec::new();
                let Outcome::Answered(answered) = plain(&request.message, &mut answer) else {
                    return Handled::Ignored;
                };
                request.said(answer, answered)
            }
        }
    }

    /// Handles one that came where there is one message each way (RFC 8484): questions are answered, and
    /// nothing else is done.
    pub(crate) fn handle_question(
        &self,
        asked: &Asked<'_>,
        plain: impl FnOnce(&[u8], &mut Vec<u8>) -> Outcome,
    ) -> Handled {
        let request = match self.checked(asked) {
            Ok(request) => request,
            Err(handled) => return handled,
        };
        let mut answer = Vec::new();
        let outcome = match Business::of(&request.header, request.question.rtype, asked.transport) {
            Business::Question => plain(&request.message, &mut answer),
            _ => refuse(&request.message, Rcode::NOTIMP, &mut answer),
        };
        let Outcome::Answered(answered) = outcome else { return Handled::Ignored };
        request.said(answer, answered)
    }

    /// A request whose signature holds, if it has one.
    ///
    /// # Errors
    ///
    /// What is said to another.
    fn checked<'m>(&self, asked: &'m Asked<'m>) -> Result<Request<'m>, Handled> {
        let fail = |rcode| {
            let answer = error_answer(asked.message, rcode);
            answer.map_or(Handled::Ignored, |answer| unsigned(asked, answer))
        };
        let Ok(at) = locate(asked.message) else { return Err(fail(Rcode::FORMERR)) };
        let (message, key, signer) = match at {
            None => (Cow::Borrowed(asked.message), None, None),
            Some(at) => match verify(asked.message, at, &self.0.keys, asked.now) {
                Ok(verified) => {
                    let key = Arc::clone(verified.key());
                    let stripped = without_signature(asked.message, at);
                    (Cow::Owned(stripped), Some(key), Some(verified.into_signer()))
                }
                Err(rejected) => {
                    let from = asked.address;
                    tracing::debug!(?from, reason = rejected.reason(), "a signature is refused");
                    let answer = rejected.answer(asked.message, asked.now);
                    return Err(answer.map_or(Handled::Ignored, |answer| unsigned(asked, answer)));
                }
            },
        };
        let Some((reader, Some(question))) = Reader::open(&message) else {
            return Err(fail(Rcode::FORMERR));
        };
        let header = *reader.header();
        Ok(Request { asked, message, header, question, key, signer })
    }

    fn transfer(&self, request: Request<'_>) -> Handled {
        let Request { asked, question, .. } = &request;
        let kept = self.kept(&question.name);
        let kept = kept.as_deref();
        if !self.may_transfer(kept, asked.address, request.key.as_deref()) {
            let (zone, from) = (&question.name, asked.address);
            tracing::debug!(%zone, ?from, "a transfer is refused");
            return request.rcode(Rcode::REFUSED);
        }
        // The version and what led to it have to belong together.
        let history = kept.map(|kept| lock(&kept.history));
        let zone = self.0.zones.named(&question.name);
        let Some(zone) = zone.filter(|_| question.class == class::IN) else {
            return request.rcode(Rcode::NOTAUTH);
        };
        if zone.is_stale() {
            return request.rcode(Rcode::SERVFAIL);
        }
        let datagram = asked.transport == Transport::Udp;
        if question.rtype == RecordType::AXFR {
            return request.stream(whole(zone), self.0.clock);
        }
        let Some(held) = request.held_serial() else { return request.rcode(Rcode::FORMERR) };
        let serial = zone.soa().serial;
        let newest = |request: Request<'_>, zone: &Zone| {
            let soa = soa_record(zone).into_iter();
            request.stream(soa, self.0.clock)
        };
        if !is_newer(serial, held) {
            return newest(request, &zone);
        }
        let since = history.as_ref().and_then(|history| history.since(held, serial));
        drop(history);
        // Changes that are longer than the zone help nobody.
        let since = since.filter(|deltas| {
            deltas.iter().map(|delta| delta.octets()).sum::<usize>() < zone.octets()
        });
        let changed = since.and_then(|deltas| changes(&zone, deltas));
        match changed {
            Some(records) if datagram => {
                let limit = request.limit();
                let (again, question) = (request.again(), request.question.clone());
                let outgoing =
                    Outgoing::new(records, request.header.id, question, again, self.0.clock);
                // What fits no datagram is told by the newest SOA record alone (RFC 1995 §2).
                match outgoing.single(limit) {
                    Some(message) => Handled::Reply(message),
                    None => newest(request, &zone),
                }
            }
            Some(records) => request.stream(records, self.0.clock),
            None if datagram => newest(request, &zone),
            None => request.stream(whole(zone), self.0.clock),
        }
    }

    /// A zone with a key goes to those who have that key and, where networks are named, are in one. One
    /// without goes to the networks.
    fn may_transfer(
        &self,
        kept: Option<&Kept>,
        address: Option<IpAddr>,
        key: Option<&Key>,
    ) -> bool {
        let own = kept.and_then(|kept| kept.transfer_to.as_deref());
        let networks = own.unwrap_or(&self.0.transfer_to);
        let is_near = address.is_some_and(|address| Network::any_contains(networks, address));
        match kept.and_then(|kept| kept.key.as_deref()) {
            Some(wanted) => {
                key.is_some_and(|key| key.name() == wanted.name())
                    && (is_near || networks.is_empty())
            }
            None => is_near,
        }
    }

    /// A primary says that a zone has changed (RFC 1996).
    fn notified(&self, request: Request<'_>) -> Handled {
        let Request { asked, question, .. } = &request;
        let Some(kept) = self.kept(&question.name).filter(|kept| kept.is_secondary()) else {
            return request.rcode(Rcode::NOTAUTH);
        };
        if question.rtype != RecordType::SOA || question.class != class::IN {
            return request.rcode(Rcode::FORMERR);
        }
        let is_primary =
            |address: IpAddr| kept.primaries.iter().any(|one| one.ip().to_canonical() == address);
        // A signature says more than an address.
        let signed = request.key.as_ref().zip(kept.key.as_ref());
        let signed = signed.is_some_and(|(own, wanted)| own.name() == wanted.name());
        if !signed && !asked.address.is_some_and(is_primary) {
            let (zone, from) = (&question.name, asked.address);
            tracing::debug!(%zone, ?from, "a notice is refused: it isn't from a primary");
            return request.rcode(Rcode::REFUSED);
        }
        let mut serial = None;
        if let Some((mut reader, _)) = Reader::open(&request.message)
            && let Ok(Some(entry)) = reader.next()
            && entry.section == 0
            && entry.rtype == RecordType::SOA
        {
            serial = reader.data(&entry).and_then(|rdata| serial_of(&rdata));
        }
        self.tell(News::Notified(question.name.clone(), serial));
        request.rcode(Rcode::NOERROR)
    }

    fn update(&self, request: Request<'_>) -> Handled {
        let Request { asked, question, header, .. } = &request;
        if header.counts[0] != 1 || question.rtype != RecordType::SOA {
            return request.rcode(Rcode::FORMERR);
        }
        let is_here = question.class == class::IN && self.0.zones.named(&question.name).is_some();
        let Some(kept) = self.kept(&question.name).filter(|_| is_here) else {
            let rcode = if is_here { Rcode::REFUSED } else { Rcode::NOTAUTH };
            return request.rcode(rcode);
        };
        let from = &kept.update_from;
        let is_near = from.is_empty()
            || asked.address.is_some_and(|address| Network::any_contains(from, address));
        let wanted = kept.update_key.as_ref().map(|key| key.name());
        let has_key = wanted.is_some() && request.key.as_ref().map(|key| key.name()) == wanted;
        // Changes are for the primary to make, and aren't passed on to it.
        if kept.is_secondary() || !is_near || !has_key {
            let (zone, from) = (&question.name, asked.address);
            tracing::debug!(%zone, ?from, "an update is refused");
            return request.rcode(Rcode::REFUSED);
        }
        let (desk, name) = (self.clone(), question.name.clone());
        let (full, now) = (asked.message.to_vec(), self.0.clock);
        let (message, mut signer) = (request.message.into_owned(), request.signer);
        Handled::Work(Box::new(move || {
            let rcode = desk.apply(&name, &kept, &message).err().unwrap_or(Rcode::NOERROR);
            let mut out = error_answer(&full, rcode).unwrap_or_default();
            if let Some(signer) = &mut signer {
                signer.sign(&mut out, now());
            }
            out
        }))
    }

    /// Changes a zone as a message asks, so that it lasts. Blocks.
    fn apply(&self, name: &Name, kept: &Kept, message: &[u8]) -> Result<(), Rcode> {
        // One at a time, from the version that is read to the one that is installed.
        let mut journal = lock(&kept.journal);
        let zone = self.0.zones.named(name).ok_or(Rcode::NOTAUTH)?;
        let Some(delta) = update::difference(&zone, message)? else { return Ok(()) };
        let changed = zone.edited(&delta.removed, &delta.added).map_err(|faults| {
            let fault = faults.first().map(ToString::to_string);
            tracing::info!(zone = %name, ?fault, "an update would make no zone");
            Rcode::REFUSED
        })?;
        let journal = journal.as_mut().ok_or(Rcode::REFUSED)?;
        journal.append(&zone, &changed, &delta).map_err(|error| {
            tracing::error!(zone = %name, %error, "an update can't be written to the journal");
            Rcode::SERVFAIL
        })?;
        tracing::info!(zone = %name, serial = delta.to, "updated");
        self.install(kept, changed, vec![delta]);
        Ok(())
    }
}

/// The answer to a request that is too many: it may be asked again over a connection.
pub(crate) fn truncated(request: &[u8]) -> Option<Vec<u8>> {
    let mut out = error_answer(request, Rcode::NOERROR)?;
    out[2] |= flag::TRUNCATED;
    Some(out)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn reply(answer: Option<Vec<u8>>) -> Handled {
    answer.map_or(Handled::Ignored, Handled::Reply)
}

/// The message as it was before it was signed.
fn without_signature(message: &[u8], at: usize) -> Vec<u8> {
    let mut out = message[..at].to_vec();
    let count = u16::from_be_bytes([out[10], out[11]]).saturating_sub(1);
    out[10..12].copy_from_slice(&count.to_be_bytes());
    out
}

#[cfg(test)]
mod tests;
