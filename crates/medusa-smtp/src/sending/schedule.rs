//! When what is tried where: entries that wait for their time, destinations that are ready, busy or down.
//! Pure: time is handed in, and nothing is read or sent.
//!
//! An entry's recipients at one destination are a *parcel*, with a time of its own. When it is due, it lines up at
//! its destination, and parcels are [taken](Scheduler::take) from there as far as limits allow, destination by
//! destination in turn. A destination that can't be reached rests, with all that stands in its line: it is
//! probed by one parcel at a time, so that a thousand messages for it cost one connection and not a thousand.
//! What is remembered of an entry is its name, its destinations' and its times, some 400 octets.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::route::MARK;

/// An entry's name.
pub(crate) type Id = Arc<str>;
/// A destination's name.
pub(crate) type Place = Arc<str>;

/// How much is done at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caps {
    /// Parcels under way.
    pub running: usize,
    /// Parcels under way for one destination.
    pub per_place: usize,
    /// Between two parcels for one destination.
    pub pause: Duration,
}

/// An entry's recipients at one destination, to be sent now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parcel {
    pub id: Id,
    pub place: Place,
}

/// What an attempt says of its destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// Somebody was there.
    Good,
    /// It can't be reached: it rests for so long.
    Down(Duration),
    /// Nothing was learnt.
    Unknown,
}

#[derive(Debug)]
struct Item {
    /// Where its recipients are that aren't done with; each with its turn in `waiting`, while it has one.
    places: Vec<(Place, Option<Turn>)>,
    expires: Instant,
    /// When senders are to be told that it waits, and where that is still to be looked after.
    warns: Option<(Instant, Vec<Place>)>,
    running: usize,
    /// What is under way is to be tried again at once, if it has to be.
    hurried: bool,
}

/// When, and in which order what is due together.
type Turn = (Instant, u64);

#[derive(Debug, Default)]
struct Line {
    parcels: VecDeque<Id>,
    running: usize,
    /// Failures to reach it, one after the other.
    failures: u32,
    /// Until when it is left alone, because it can't be reached.
    rests: Option<Instant>,
    /// When the next parcel may go there.
    pauses: Option<Instant>,
    /// Why it can't be reached.
    why: Option<Box<str>>,
    stands: Stands,
}

/// Where a destination is to be found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stands {
    /// Nowhere: it has nothing to send, or as much under way as it may.
    #[default]
    Aside,
    Ready,
    Resting(Turn),
}

impl Line {
    /// Until when nothing is sent there, if it is later than `now`.
    fn closed(&self, now: Instant) -> Option<Instant> {
        self.rests.max(self.pauses).filter(|until| *until > now)
    }

    /// Whether it rests because it can't be reached.
    fn is_down(&self, now: Instant) -> bool {
        self.rests.is_some_and(|rests| rests > now)
    }
}

/// Everything that is to be sent.
#[derive(Debug)]
pub(crate) struct Scheduler {
    caps: Caps,
    items: HashMap<Id, Item>,
    waiting: BTreeMap<Turn, Parcel>,
    lines: HashMap<Place, Line>,
    ready: VecDeque<Place>,
    resting: BTreeMap<Turn, Place>,
    running: usize,
    count: u64,
    /// Ways with limits of their own, which all their destinations have: no more than are configured.
    special: HashMap<Box<str>, (Option<usize>, Option<Duration>)>,
}

impl Scheduler {
    pub(crate) fn new(caps: Caps) -> Scheduler {
        Scheduler {
            caps,
            items: HashMap::new(),
            waiting: BTreeMap::new(),
            lines: HashMap::new(),
            ready: VecDeque::new(),
            resting: BTreeMap::new(),
            running: 0,
            count: 0,
            special: HashMap::new(),
        }
    }

    /// Gives a destination, and all others on its way, limits of their own: parcels at one time, and a pause
    /// between two.
    pub(crate) fn limit(&mut self, place: &Place, most: Option<usize>, pause: Option<Duration>) {
        if (most.is_some() || pause.is_some()) && !self.special.contains_key(way_of(place)) {
            self.special.insert(way_of(place).into(), (most, pause));
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        *self = Scheduler::new(self.caps);
    }

    /// Entries that aren't done with.
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    /// Adds an entry that is to be tried at `next`, and says whether it is new: one that is known already is
    /// left as it is.
    pub(crate) fn add(
        &mut self,
        id: Id,
        places: Vec<Place>,
        next: Instant,
        expires: Instant,
    ) -> bool {
        if self.items.contains_key(&id) || places.is_empty() {
            return false;
        }
        let item = Item {
            places: places.iter().map(|place| (Arc::clone(place), None)).collect(),
            expires,
            warns: None,
            running: 0,
            hurried: false,
        };
        self.items.insert(Arc::clone(&id), item);
        for place in places {
            self.wait(Parcel { id: Arc::clone(&id), place }, next);
        }
        true
    }

    /// Has an entry's parcels handed out as [overdue](Self::overdue) once, if they stand in a line at that time.
    pub(crate) fn warn(&mut self, id: &str, at: Instant) {
        if let Some(item) = self.items.get_mut(id) {
            let places = item.places.iter().map(|(place, _)| Arc::clone(place)).collect();
            item.warns = Some((at, places));
        }
    }

    /// A parcel that is to be sent now, for whatever destination's turn it is.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Parcel> {
        self.promote(now);
        for _ in 0..self.ready.len() {
            if self.running >= self.caps.running {
                return None;
            }
            let place = self.ready.pop_front()?;
            if let Some(line) = self.lines.get_mut(&place) {
                line.stands = Stands::Aside;
            }
            let taken = self.take_at(&place, now);
            self.line_up(&place, now);
            if taken.is_some() {
                return taken;
            }
        }
        None
    }

    /// A parcel for this destination, to which a connection stands already.
    pub(crate) fn take_for(&mut self, place: &Place, now: Instant) -> Option<Parcel> {
        self.promote(now);
        // Others wait: this one has had its turn.
        let crowded = self.running + 1 >= self.caps.running && self.ready.len() > 1;
        match crowded || self.running >= self.caps.running {
            true => None,
            false => self.take_at(place, now),
        }
    }

    /// A parcel is done with: sent, given up, or to be tried again at `next`.
    pub(crate) fn finished(
        &mut self,
        parcel: &Parcel,
        next: Option<Instant>,
        health: Health,
        now: Instant,
    ) {
        self.running = self.running.saturating_sub(1);
        if let Some(line) = self.lines.get_mut(&parcel.place) {
            line.running = line.running.saturating_sub(1);
            match health {
                Health::Good => {
                    line.why = None;
                    line.failures = 0;
                    // A pause between two parcels stays.
                    line.rests = None;
                    if let Stands::Resting(turn) = line.stands {
                        line.stands = Stands::Aside;
                        self.resting.remove(&turn);
                    }
                }
                // What was under way together fails together, and counts as one failure.
                Health::Down(_) if line.is_down(now) => {}
                Health::Down(rest) => {
                    line.failures = line.failures.saturating_add(1);
                    line.rests = Some(now + rest);
                }
                Health::Unknown => {}
            }
        }
        self.settle(parcel, next, now);
        self.line_up(&parcel.place, now);
    }

    /// Why a destination can't be reached, for operators.
    pub(crate) fn explain(&mut self, place: &Place, why: &str) {
        if let Some(line) = self.lines.get_mut(place) {
            line.why = Some(why.into());
        }
    }

    /// The destinations that can't be reached: until when they rest, and why.
    pub(crate) fn resting(&self) -> Vec<(Place, Instant, String)> {
        let resting = self.lines.iter().filter_map(|(place, line)| {
            let why = line.why.as_deref()?;
            Some((Arc::clone(place), line.rests?, why.to_owned()))
        });
        let mut resting: Vec<_> = resting.collect();
        resting.sort();
        resting
    }

    /// How often a destination could not be reached, one time after the other.
    pub(crate) fn failures(&self, place: &Place) -> u32 {
        self.lines.get(place).map_or(0, |line| line.failures)
    }

    /// Takes out of a resting destination's line what has expired and is to be given up, and those whose
    /// senders are to be told that they wait. Each counts as under way until it is [finished](Self::finished).
    pub(crate) fn overdue(&mut self, place: &Place, now: Instant) -> Vec<Parcel> {
        let Some(line) = self.lines.get_mut(place) else { return Vec::new() };
        let items = &self.items;
        let warns = |item: &Item| {
            let warns = item.warns.as_ref();
            warns.is_some_and(|(at, places)| *at <= now && places.contains(place))
        };
        let is_overdue =
            |id: &Id| items.get(id).is_some_and(|item| item.expires <= now || warns(item));
        let (late, rest): (VecDeque<Id>, VecDeque<Id>) =
            line.parcels.drain(..).partition(is_overdue);
        line.parcels = rest;
        line.running += late.len();
        self.running += late.len();
        for id in &late {
            if let Some(item) = self.items.get_mut(id) {
                item.running += 1;
                if let Some((_, places)) = &mut item.warns {
                    places.retain(|one| one != place);
                }
            }
        }
        late.into_iter().map(|id| Parcel { id, place: Arc::clone(place) }).collect()
    }

    /// Has an entry tried at once, or all of them; also at destinations that rest.
    pub(crate) fn hurry(&mut self, id: Option<&str>, now: Instant) {
        let ids: Vec<Id> = match id {
            Some(id) => {
                self.items.get_key_value(id).map(|(id, _)| Arc::clone(id)).into_iter().collect()
            }
            None => self.items.keys().cloned().collect(),
        };
        // Of all of them, none is before another.
        let is_one = id.is_some();
        for id in ids {
            let Some(item) = self.items.get_mut(&id) else { continue };
            item.hurried = item.running > 0;
            for (place, turn) in item.places.clone() {
                if let Some(turn) = turn {
                    self.waiting.remove(&turn);
                    self.wait(Parcel { id: Arc::clone(&id), place: Arc::clone(&place) }, now);
                }
                if is_one {
                    self.advance(&id, &place);
                }
                if let Some(line) = self.lines.get_mut(&place) {
                    (line.rests, line.pauses) = (None, None);
                    if let Stands::Resting(turn) = line.stands {
                        line.stands = Stands::Aside;
                        self.resting.remove(&turn);
                    }
                }
                self.line_up(&place, now);
            }
        }
    }

    /// Forgets an entry that has been removed. Says no if it is being sent at this moment.
    pub(crate) fn forget(&mut self, id: &str) -> bool {
        match self.items.get(id) {
            Some(item) if item.running > 0 => return false,
            Some(_) => {}
            None => return true,
        }
        if let Some(item) = self.items.remove(id) {
            self.take_out(id, &item.places);
        }
        true
    }

    /// Sends nothing more of an entry that was set aside: what is under way is the last. Says whether it was
    /// to be sent until now.
    pub(crate) fn withdraw(&mut self, id: &str) -> bool {
        let Some(item) = self.items.get_mut(id) else { return false };
        let places = std::mem::take(&mut item.places);
        if item.running == 0 {
            self.items.remove(id);
        }
        self.take_out(id, &places);
        !places.is_empty()
    }

    /// Whether an entry isn't done with, or something of it is under way still.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.items.contains_key(id)
    }

    /// When there may be something to take, if not before.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let waiting = self.waiting.first_key_value().map(|((at, _), _)| *at);
        let resting = self.resting.first_key_value().map(|((at, _), _)| *at);
        [waiting, resting].into_iter().flatten().min()
    }

    // ---- helpers -----------------------------------------------------------------------------

    fn wait(&mut self, parcel: Parcel, next: Instant) {
        self.count += 1;
        let turn = (next, self.count);
        if let Some(place) = self.place_of(&parcel) {
            place.1 = Some(turn);
            self.waiting.insert(turn, parcel);
        }
    }

    /// Takes an entry's parcels out of whatever they wait in.
    fn take_out(&mut self, id: &str, places: &[(Place, Option<Turn>)]) {
        for (place, turn) in places {
            if let Some(turn) = turn {
                self.waiting.remove(turn);
            }
            if let Some(line) = self.lines.get_mut(place) {
                line.parcels.retain(|one| &**one != id);
            }
            self.tidy(place);
        }
    }

    fn place_of(&mut self, parcel: &Parcel) -> Option<&mut (Place, Option<Turn>)> {
        let item = self.items.get_mut(&parcel.id)?;
        item.places.iter_mut().find(|(place, _)| *place == parcel.place)
    }

    /// Puts a parcel that waits or stands in its destination's line at the front of it.
    fn advance(&mut self, id: &Id, place: &Place) {
        let parcel = Parcel { id: Arc::clone(id), place: Arc::clone(place) };
        if let Some(turn) = self.place_of(&parcel).and_then(|place| place.1.take()) {
            self.waiting.remove(&turn);
        } else {
            let Some(line) = self.lines.get_mut(place) else { return };
            let Some(at) = line.parcels.iter().position(|one| one == id) else { return };
            line.parcels.remove(at);
        }
        self.lines.entry(Arc::clone(place)).or_default().parcels.push_front(Arc::clone(id));
    }

    /// Lines up what is due.
    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.waiting.first_entry()
            && entry.key().0 <= now
        {
            let parcel = entry.remove();
            let Some(place) = self.place_of(&parcel) else { continue };
            place.1 = None;
            let Parcel { id, place } = parcel;
            self.lines.entry(Arc::clone(&place)).or_default().parcels.push_back(id);
            self.line_up(&place, now);
        }
        while let Some(entry) = self.resting.first_entry()
            && entry.key().0 <= now
        {
            let place = entry.remove();
            if let Some(line) = self.lines.get_mut(&place) {
                line.stands = Stands::Aside;
                // It may have failed since it was lined up, and rest for longer than that.
                let has_rested = !line.is_down(now) && line.rests.take().is_some();
                if has_rested && line.parcels.is_empty() {
                    line.failures = 0;
                }
            }
            self.line_up(&place, now);
        }
    }

    /// Puts a destination where it belongs: among those that are ready, or that rest, or away.
    fn line_up(&mut self, place: &Place, now: Instant) {
        let most = self.most_at(place);
        let Some(line) = self.lines.get_mut(place) else { return };
        if line.stands != Stands::Aside {
            return;
        }
        if let Some(until) = line.closed(now) {
            self.count += 1;
            let turn = (until, self.count);
            line.stands = Stands::Resting(turn);
            self.resting.insert(turn, Arc::clone(place));
        } else if line.parcels.is_empty() {
            self.tidy(place);
        } else if line.running < most {
            line.stands = Stands::Ready;
            self.ready.push_back(Arc::clone(place));
        }
    }

    /// Forgets a destination about which there is nothing to know.
    fn tidy(&mut self, place: &Place) {
        let idle = |line: &Line| {
            line.parcels.is_empty() && line.running == 0 && line.stands == Stands::Aside
        };
        if self.lines.get(place).is_some_and(idle) {
            self.lines.remove(place);
        }
    }

    /// One that could not be reached is probed by one parcel.
    fn most_at(&self, place: &Place) -> usize {
        match self.failures(place) {
            0 => {
                self.special.get(way_of(place)).and_then(|one| one.0).unwrap_or(self.caps.per_place)
            }
            _ => 1,
        }
    }

    fn take_at(&mut self, place: &Place, now: Instant) -> Option<Parcel> {
        let most = self.most_at(place);
        let pause =
            self.special.get(way_of(place)).and_then(|one| one.1).unwrap_or(self.caps.pause);
        let line = self.lines.get_mut(place)?;
        if line.running >= most || line.closed(now).is_some() {
            return None;
        }
        let id = line.parcels.pop_front()?;
        line.running += 1;
        line.rests = None;
        line.pauses = (!pause.is_zero()).then(|| now + pause);
        self.running += 1;
        if let Some(item) = self.items.get_mut(&id) {
            item.running += 1;
        }
        Some(Parcel { id, place: Arc::clone(place) })
    }

    /// A parcel that was under way waits again, or is done with.
    fn settle(&mut self, parcel: &Parcel, next: Option<Instant>, now: Instant) {
        let Some(item) = self.items.get_mut(&parcel.id) else { return };
        item.running = item.running.saturating_sub(1);
        let hurried = item.hurried;
        item.hurried &= item.running > 0;
        match next {
            Some(next) => self.wait(parcel.clone(), if hurried { now } else { next }),
            None => item.places.retain(|(place, _)| *place != parcel.place),
        }
        // Of one that was withdrawn, nothing waits.
        let is_over = |item: &Item| item.places.is_empty() && item.running == 0;
        if self.items.get(&parcel.id).is_some_and(is_over) {
            self.items.remove(&parcel.id);
        }
    }
}

/// The part of a destination's name that stands for the way to it.
fn way_of(place: &Place) -> &str {
    place.split_once(MARK).map_or(place, |(way, _)| way)
}

#[cfg(test)]
mod tests;
