//! The keeper: on one shard of a service, it asks primaries, has their zones checked and written down off
//! the shard, and tells others of changes.
//!
//! When that is due is said by `secondary` and `notice`; what comes is checked by `incoming`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use medusa_core::{ClientSocket, DatagramCx, DatagramService, Failure, Note, SocketId, TimerKey};
use sha1::{Digest, Sha1};

use super::catalog::{Member, members};
use super::desk::{Desk, Kept, News};
use super::fetch::{Fetch, LONGEST, Report};
use super::incoming::{Brought, Wanted};
use super::message::is_newer;
use super::notice::Notice;
use super::secondary::{Due, Schedule};
use super::store;
use crate::name::Name;
use crate::service::whole_seconds_of;
use crate::types::Rcode;
use crate::zone::{Soa, Zone};

/// The one timer that the keeper arms, for whatever is due first.
pub(crate) const DUE: TimerKey = TimerKey(0x4B00);

/// How many transfers may be under way (BIND's `transfers-in`).
const MOST_TRANSFERS: usize = 10;
/// When a transfer that nobody reports is given up: long after it should have ended by itself.
const GIVEN_UP: Duration = LONGEST.saturating_add(Duration::from_secs(600));
/// When sockets are asked for again, if none was free for a notice: none of ours need be among those that
/// are closed.
const SOCKETS_AGAIN: Duration = Duration::from_secs(3);
/// The most octets of one transfer, unless `max_transfer` says otherwise.
const MOST_OCTETS: u64 = 1 << 30;

/// A datagram service that has a keeper, on one of its shards.
pub(crate) trait HasKeeper: DatagramService {
    /// The keeper, if this shard has it.
    fn keeper(&mut self) -> Option<&mut Keeper>;
}

/// What looks after the zones of a service.
pub(crate) struct Keeper {
    desk: Desk,
    secondaries: HashMap<Name, Secondary>,
    notices: HashMap<SocketId, Notice>,
    /// Who is to be told of which zone once there is a socket for it, each of them once.
    untold: VecDeque<(Name, SocketAddr)>,
    is_untold: HashSet<(Name, SocketAddr)>,
    random: u64,
    number: u64,
}

/// A zone that comes from elsewhere.
struct Secondary {
    schedule: Schedule,
    /// The transfer that is under way, and when it is given up even if nobody reports.
    attempt: Option<(u64, Instant)>,
    /// How many of its primaries have failed since one was last asked with success.
    tried: usize,
}

impl Secondary {
    fn is_at(&self, number: u64) -> bool {
        self.attempt.is_some_and(|(current, _)| current == number)
    }
}

/// What came of work in the offload pool.
enum Settled {
    Installed(Soa),
    /// There is nothing newer.
    Current,
    /// The changes make nothing of what there is: all of it may.
    Unusable(String),
    Useless(String),
}

impl Keeper {
    /// Becomes the keeper of the service, if no other shard has.
    pub(crate) fn appointed<S: HasKeeper>(desk: &Desk, cx: &mut DatagramCx<'_>) -> Option<Keeper> {
        if !desk.appoint(cx.remote()) {
            return None;
        }
        // Ports are random too, and come from the kernel.
        let random = getrandom::u64().unwrap_or_else(|_| whole_seconds_of(cx.wall_clock()));
        let mut keeper = Keeper {
            desk: desk.clone(),
            secondaries: HashMap::new(),
            notices: HashMap::new(),
            untold: VecDeque::new(),
            is_untold: HashSet::new(),
            random: random | 1,
            number: 0,
        };
        let prepared = desk.clone();
        let prepare = move || prepared.prepare_journals();
        if cx.offload(prepare, |_: &mut S, _, ()| {}).is_err() {
            tracing::debug!("journals are prepared when they are needed");
        }
        for (name, kept) in desk.all_kept() {
            if kept.is_secondary() {
                keeper.begin(cx.now(), name.clone(), &kept);
            }
            if kept.is_catalog {
                keeper.take_members::<S>(cx, &name, &kept);
            }
            // Who was told before a restart may have missed it (RFC 1996 §4.3).
            keeper.tell_others(cx, &name, &kept);
        }
        keeper.turn(cx);
        Some(keeper)
    }

    /// A note has come.
    pub(crate) fn notified<S: HasKeeper>(&mut self, cx: &mut DatagramCx<'_>, note: Note) {
        let note = match note.downcast::<News>() {
            Ok(News::Changed(name)) => {
                if let Some(kept) = self.desk.kept(&name) {
                    if kept.is_catalog {
                        self.take_members::<S>(cx, &name, &kept);
                    }
                    self.tell_others(cx, &name, &kept);
                }
                return self.turn(cx);
            }
            Ok(News::Notified(name, serial)) => {
                if let Some(secondary) = self.secondaries.get_mut(&name) {
                    secondary.schedule.notified(cx.now(), serial);
                }
                return self.turn(cx);
            }
            Err(note) => note,
        };
        if let Ok(report) = note.downcast::<Report>() {
            self.reported::<S>(cx, report);
            self.turn(cx);
        }
    }

    /// The timer has run out.
    pub(crate) fn expired(&mut self, cx: &mut DatagramCx<'_>) {
        self.turn(cx);
    }

    /// Whether a socket is one of the keeper's.
    pub(crate) fn owns(&self, socket: SocketId) -> bool {
        self.notices.contains_key(&socket)
    }

    /// A datagram has come by a socket of the keeper's.
    pub(crate) fn received(
        &mut self,
        cx: &mut DatagramCx<'_>,
        socket: SocketId,
        from: SocketAddr,
        message: &[u8],
    ) {
        let Some(notice) = self.notices.get(&socket).filter(|notice| notice.target == from) else {
            return;
        };
        if let Some(rcode) = notice.answered(message) {
            let (zone, target) = (&notice.zone, notice.target);
            match rcode {
                Rcode::NOERROR => tracing::debug!(%zone, %target, "told of a change"),
                rcode => tracing::warn!(%zone, %target, %rcode, "a notice is refused"),
            }
            self.notices.remove(&socket);
            cx.close_socket(socket);
            self.tell_waiting(cx);
        }
    }

    /// A socket of the keeper's is in trouble. It is tried again: who is told may be starting.
    pub(crate) fn failed(&mut self, socket: SocketId, failure: &Failure) {
        if let Failure::Unopened(error) = failure
            && let Some(notice) = self.notices.remove(&socket)
        {
            let (zone, target) = (notice.zone, notice.target);
            tracing::warn!(%zone, %target, %error, "a notice can't be sent");
        }
    }

    fn begin(&mut self, now: Instant, name: Name, kept: &Kept) {
        let zone = self.desk.zones().named(&name);
        let held = zone.filter(|zone| zone.record_count() > 0);
        let held = held.map(|zone| (zone.soa(), kept.age_at_start.unwrap_or_default()));
        let schedule = Schedule::new(now, held);
        self.secondaries.insert(name, Secondary { schedule, attempt: None, tried: 0 });
    }

    /// Does what is due, and arms the timer for what will be.
    fn turn(&mut self, cx: &mut DatagramCx<'_>) {
        let now = cx.now();
        self.give_up(now);
        let busy = self.secondaries.values().filter(|one| one.attempt.is_some()).count();
        let mut free = MOST_TRANSFERS.saturating_sub(busy);
        let mut asked = Vec::new();
        for (name, secondary) in &mut self.secondaries {
            while let Some(due) = secondary.schedule.poll(now, free > 0) {
                match due {
                    Due::Ask => {
                        free -= 1;
                        secondary.tried = 0;
                        asked.push(name.clone());
                    }
                    Due::Expire => {
                        tracing::error!(zone = %name, "expired: its primaries have been silent");
                        if let Some(zone) = self.desk.zones().named(name) {
                            zone.set_stale(true);
                        }
                    }
                }
            }
        }
        for name in asked {
            self.ask(cx, &name, true);
        }
        self.repeat_notices(cx);
        self.tell_waiting(cx);
        // What waits for a place among the transfers is looked at when one ends.
        let waits = |secondary: &Secondary| {
            secondary.schedule.deadline().filter(|at| *at > now || secondary.attempt.is_some())
        };
        let schedules = self.secondaries.values().filter_map(waits);
        let attempts = self.secondaries.values().filter_map(|one| one.attempt.map(|(_, at)| at));
        let notices = self.notices.values().map(Notice::deadline);
        let untold = (!self.untold.is_empty()).then(|| now + SOCKETS_AGAIN);
        match schedules.chain(attempts).chain(notices).chain(untold).min() {
            Some(first) => cx.arm(DUE, first.saturating_duration_since(now)),
            None => cx.disarm(DUE),
        }
    }

    /// Ends transfers of which nothing was heard: their report, or the work on it, was lost.
    fn give_up(&mut self, now: Instant) {
        for (name, secondary) in &mut self.secondaries {
            if secondary.attempt.take_if(|(_, at)| *at <= now).is_some() {
                tracing::error!(zone = %name, "nothing was heard of a transfer");
                secondary.schedule.failed(now, 0.0);
            }
        }
    }

    /// Asks the next of a zone's primaries, for changes where there is something to be changed.
    fn ask(&mut self, cx: &mut DatagramCx<'_>, name: &Name, by_changes: bool) {
        let Some(kept) = self.desk.kept(name) else {
            self.secondaries.remove(name);
            return;
        };
        let number = self.number;
        let id = self.next_random() as u16;
        let Some(secondary) = self.secondaries.get_mut(name) else { return };
        let Some(primary) = kept.primaries.get(secondary.tried % kept.primaries.len().max(1))
        else {
            return;
        };
        self.number += 1;
        secondary.attempt = Some((number, cx.now() + GIVEN_UP));
        let held = self.desk.zones().named(name);
        let wanted = Wanted {
            name: name.clone(),
            // What has expired may be replaced by an older version, of which there are no changes.
            held: held.filter(|zone| by_changes && zone.record_count() > 0 && !zone.is_stale()),
            key: kept.key.clone(),
            octets: kept.most_octets.unwrap_or(MOST_OCTETS),
        };
        tracing::debug!(zone = %name, %primary, changes = wanted.held.is_some(), "asking");
        let fetch = Fetch::new(number, id, wanted, cx.address());
        cx.connect(*primary, Box::new(fetch));
    }

    /// A transfer has ended.
    fn reported<S: HasKeeper>(&mut self, cx: &mut DatagramCx<'_>, report: Report) {
        let Report { number, wanted, outcome } = report;
        let name = wanted.name.clone();
        let is_it = self.secondaries.get(&name).is_some_and(|one| one.is_at(number));
        let kept = self.desk.kept(&name);
        let Some(kept) = kept.filter(|_| is_it) else { return };
        match outcome {
            Ok(brought) => {
                let (desk, wall) = (self.desk.clone(), cx.wall_clock());
                let work = move || settle(&desk, &kept, &wanted, brought, wall);
                let settled_name = name.clone();
                let then = move |service: &mut S, cx: &mut DatagramCx<'_>, settled: Settled| {
                    if let Some(keeper) = service.keeper() {
                        keeper.settled(cx, &settled_name, number, settled);
                        keeper.turn(cx);
                    }
                };
                if cx.offload(work, then).is_err() {
                    let busy = Settled::Useless("too much work is waiting already".into());
                    self.settled(cx, &name, number, busy);
                }
            }
            Err(error) => {
                let changes = wanted.held.is_some();
                let again = changes
                    && matches!(&error, super::fetch::FetchError::Refused(error) if error.is_about_changes());
                if again {
                    tracing::info!(zone = %name, %error, "no changes come: asking for all of it");
                    self.ask(cx, &name, false);
                } else {
                    self.settled(cx, &name, number, Settled::Useless(error.to_string()));
                }
            }
        }
    }

    /// What came was looked at.
    fn settled(&mut self, cx: &mut DatagramCx<'_>, name: &Name, number: u64, settled: Settled) {
        let chance = (self.next_random() >> 40) as f32 / (1_u32 << 24) as f32;
        let held = self.desk.zones().named(name).filter(|zone| zone.record_count() > 0);
        let primaries = self.desk.kept(name).map_or(0, |kept| kept.primaries.len());
        let Some(secondary) = self.secondaries.get_mut(name) else { return };
        if !secondary.is_at(number) {
            return;
        }
        secondary.attempt = None;
        let soa = match settled {
            Settled::Unusable(why) => {
                tracing::info!(zone = %name, %why, "the changes are of no use: asking for all of it");
                return self.ask(cx, name, false);
            }
            Settled::Installed(soa) => {
                tracing::info!(zone = %name, serial = soa.serial, "transferred");
                Some(soa)
            }
            Settled::Current => held.map(|zone| zone.soa()),
            Settled::Useless(why) => {
                let attempt = secondary.tried + 1;
                tracing::warn!(zone = %name, %why, attempt, "no transfer");
                None
            }
        };
        match soa {
            Some(soa) => {
                secondary.tried = 0;
                secondary.schedule.succeeded(cx.now(), soa, chance);
            }
            None => {
                secondary.tried += 1;
                if secondary.tried < primaries {
                    self.ask(cx, name, true);
                } else {
                    secondary.schedule.failed(cx.now(), chance);
                }
            }
        }
    }

    /// Tells those who are to hear of a zone's changes. An older notice of the same zone is of no use then.
    fn tell_others(&mut self, cx: &mut DatagramCx<'_>, name: &Name, kept: &Kept) {
        let zone = self.desk.zones().named(name);
        if kept.notify.is_empty() || zone.is_none_or(|zone| zone.is_stale()) {
            return;
        }
        let old: Vec<_> =
            self.notices.iter().filter(|(_, one)| one.zone == *name).map(|(id, _)| *id).collect();
        for target in &kept.notify {
            // Who waits already will hear of the zone as it is then.
            if self.is_untold.insert((name.clone(), *target)) {
                self.untold.push_back((name.clone(), *target));
            }
        }
        self.tell_waiting(cx);
        // Behind what was sent by new sockets: closing one sends all that waits, and they aren't open yet.
        for socket in old {
            self.notices.remove(&socket);
            cx.close_socket(socket);
        }
        self.tell_waiting(cx);
    }

    /// Tells those who wait for a socket, as far as there are some.
    fn tell_waiting(&mut self, cx: &mut DatagramCx<'_>) {
        let before = self.untold.len();
        while let Some((_, target)) = self.untold.front()
            && let Ok(socket) = cx.open_socket(ClientSocket::connected(*target))
            && let Some(one) = self.untold.pop_front()
        {
            self.is_untold.remove(&one);
            let (name, target) = one;
            let id = self.next_random() as u16;
            self.notices.insert(socket, Notice::new(name, target, id, cx.now()));
        }
        if self.untold.len() < before {
            self.repeat_notices(cx);
        }
    }

    fn repeat_notices(&mut self, cx: &mut DatagramCx<'_>) {
        let (now, seconds) = (cx.now(), whole_seconds_of(cx.wall_clock()));
        let desk = &self.desk;
        self.notices.retain(|socket, notice| match notice.poll(now) {
            Some(false) => true,
            Some(true) => {
                let zone = desk.zones().named(&notice.zone);
                let Some((zone, kept)) = zone.zip(desk.kept(&notice.zone)) else {
                    cx.close_socket(*socket);
                    return false;
                };
                let message = notice.message(&zone, kept.key.as_ref(), seconds);
                cx.send(*socket, |out| out.extend_from_slice(&message));
                true
            }
            None => {
                let (zone, target) = (&notice.zone, notice.target);
                tracing::warn!(%zone, %target, "no answer to a notice");
                cx.close_socket(*socket);
                false
            }
        });
    }

    /// Does what a catalog says: keeps the zones that it lists, and no longer those that it has listed.
    fn take_members<S: HasKeeper>(
        &mut self,
        cx: &mut DatagramCx<'_>,
        catalog: &Name,
        kept: &Arc<Kept>,
    ) {
        let zone = self.desk.zones().named(catalog).filter(|zone| zone.record_count() > 0);
        let Some(zone) = zone else { return };
        let listed = match members(&zone) {
            Ok(listed) => listed,
            Err(why) => {
                tracing::error!(%catalog, %why, "the catalog is broken: nothing of it is done");
                return;
            }
        };
        let is_listed = |member: &Member| listed.contains(member);
        let (mut files, mut gone) = (Vec::new(), Vec::new());
        for (name, one) in self.desk.all_kept() {
            let Some((of, member)) = &one.member_of else { continue };
            if of == catalog && !is_listed(member) {
                tracing::info!(zone = %name, %catalog, "no longer listed");
                self.desk.forget(&name);
                self.secondaries.remove(&name);
                files.extend(one.file.clone());
                gone.push(name);
            }
        }
        if !gone.is_empty() {
            self.desk.zones().remove_all(&gone);
        }
        let mut come = Vec::new();
        for member in listed {
            let name = member.name.clone();
            if self.desk.kept(&name).is_some_and(|one| {
                one.member_of.as_ref().is_some_and(|(of, known)| of == catalog && *known == member)
            }) {
                continue;
            }
            if self.desk.kept(&name).is_some() || self.desk.zones().named(&name).is_some() {
                tracing::warn!(zone = %name, %catalog, "listed, but kept in another way already");
                continue;
            }
            come.push((name, kept.for_member(catalog, member)));
        }
        if files.is_empty() && come.is_empty() {
            return;
        }
        let desk = self.desk.clone();
        let work = move || {
            for file in files {
                if let Err(error) = store::remove(&file) {
                    tracing::warn!(%error, file = %file.display(), "a zone's file stays");
                }
            }
            let (mut names, mut copies, mut members) = (Vec::new(), Vec::new(), Vec::new());
            for (name, mut kept) in come {
                if let Some(folder) = kept.file.as_ref().and_then(|file| file.parent())
                    && let Err(error) = store::make_folder(folder)
                {
                    tracing::error!(%error, "the folder of a catalog's zones can't be made");
                }
                copies.push(kept.last_copy(&name));
                members.push((name.clone(), kept));
                names.push(name);
            }
            desk.zones().replace_all(copies);
            for (name, kept) in members {
                desk.keep(name, kept);
            }
            names
        };
        let of = catalog.clone();
        let then = move |service: &mut S, cx: &mut DatagramCx<'_>, names: Vec<Name>| {
            let Some(keeper) = service.keeper() else { return };
            for name in names {
                if let Some(kept) = keeper.desk.kept(&name) {
                    keeper.begin(cx.now(), name, &kept);
                }
            }
            // The list may have changed while folders were made.
            if let Some(kept) = keeper.desk.kept(&of) {
                keeper.take_members::<S>(cx, &of, &kept);
            }
            keeper.turn(cx);
        };
        if cx.offload(work, then).is_err() {
            tracing::error!(%catalog, "too much work is waiting: its zones are taken at its next change");
        }
    }

    /// Xorshift: for ids and jitter of connections that are ours, and secret enough behind random ports.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

impl Kept {
    /// How a zone that this catalog lists is kept: as the catalog itself.
    fn for_member(&self, catalog: &Name, member: Member) -> Kept {
        let folder = self.file.as_ref().map(|file| {
            let mut folder = file.clone().into_os_string();
            folder.push(".zones");
            PathBuf::from(folder)
        });
        Kept {
            transfer_to: self.transfer_to.clone(),
            key: self.key.clone(),
            primaries: self.primaries.clone(),
            most_octets: self.most_octets,
            file: folder.map(|folder| folder.join(file_name(&member.name))),
            member_of: Some((catalog.clone(), member)),
            ..Kept::default()
        }
    }
}

/// A file's name for a zone, whatever the zone is called.
fn file_name(name: &Name) -> String {
    let text = name.to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if text.len() > 200 || text.starts_with('.') || !text.bytes().all(is_plain) {
        let digest = Sha1::digest(name.wire());
        return digest.iter().map(|byte| format!("{byte:02x}")).chain([".zone".into()]).collect();
    }
    format!("{text}zone")
}

/// Makes the zone of what a transfer has brought, writes it down and serves it. Blocks.
fn settle(
    desk: &Desk,
    kept: &Arc<Kept>,
    wanted: &Wanted,
    brought: Brought,
    now: SystemTime,
) -> Settled {
    let zones = desk.zones();
    let held = zones.named(&wanted.name).filter(|zone| zone.record_count() > 0);
    let confirm = |zone: &Zone| {
        zone.set_stale(false);
        if let Some(file) = &kept.file
            && let Err(error) = store::touch(file, now)
        {
            tracing::warn!(zone = %wanted.name, %error, "when it was confirmed can't be written down");
        }
    };
    if let (Brought::Current, Some(held)) = (&brought, &held) {
        confirm(held);
        return Settled::Current;
    }
    let (zone, deltas) = match brought.finish(held.as_deref()) {
        Ok(made) => made,
        Err(error) if wanted.held.is_some() && error.is_about_changes() => {
            return Settled::Unusable(error.to_string());
        }
        Err(error) => return Settled::Useless(error.to_string()),
    };
    let soa = zone.soa();
    if let Some(held) = &held {
        let serial = held.soa().serial;
        if serial == soa.serial {
            confirm(held);
            return Settled::Current;
        }
        // An expired copy is worth nothing, whatever its number.
        if !is_newer(soa.serial, serial) && !held.is_stale() {
            return Settled::Useless(format!("its serial {} is older than {serial}", soa.serial));
        }
    }
    if let Some(file) = &kept.file {
        let written = store::write_zone(file, &zone).and_then(|()| store::touch(file, now));
        if let Err(error) = written {
            // It is served all the same; after a restart it has to come again.
            tracing::error!(zone = %wanted.name, %error, "it can't be written to its file");
        }
    }
    if desk.install_kept(kept, zone, deltas) {
        return Settled::Installed(soa);
    }
    // Where it is listed anew, the file is that one's.
    if let Some(file) = kept.file.as_ref().filter(|_| desk.kept(&wanted.name).is_none())
        && let Err(error) = store::remove(file)
    {
        tracing::warn!(zone = %wanted.name, %error, "the file of a zone that isn't kept stays");
    }
    Settled::Useless("it isn't kept any more".into())
}

#[cfg(test)]
mod tests;
