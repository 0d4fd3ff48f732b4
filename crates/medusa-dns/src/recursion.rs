//! Questions for names of others: for whom others are asked, and who waits for what they say.
//!
//! Whom to ask and what is remembered is for `medusa-resolver`; what an answer looks like is in
//! `answer::passed`.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use medusa_core::metrics::Counter;
use medusa_core::{Cx, DatagramCx, Network, Remote, ReplySlot, Sender, TimerKey};
use medusa_resolver::{
    DoorAnswer, Forwarded, Forwarding, LookupError, Passed, Pending, Reply, Then,
};

use crate::answer::{Answered, Answerer, Asker, Kept, Kind};
use crate::door::lifetime;
use crate::ledger::{Receiver, rcode_of};
use crate::rate::Verdict;
use crate::service::Shared;
use crate::wire::flag;
use crate::zone::ZonesSnapshot;

/// The timer of those who have waited for too long.
pub(crate) const OVERDUE: TimerKey = TimerKey(3);

/// For how long anybody waits. The resolver says something within 30 seconds; what it says may be lost where
/// too much is said.
const LONGEST_WAIT: Duration = Duration::from_secs(35);

/// Who is asked for names of others, and for whom.
#[derive(Debug)]
pub(crate) struct Recursion {
    forwarding: Forwarding,
    networks: Vec<Network>,
    counters: Counters,
    /// The datagram services of all shards, which ask for those who have no session of ours.
    shards: Mutex<Vec<Remote>>,
    next: AtomicUsize,
}

/// What was passed on, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) questions: Arc<Counter>,
    /// Those that were answered at once.
    pub(crate) known: Arc<Counter>,
    pub(crate) failures: Arc<Counter>,
}

impl Recursion {
    pub(crate) fn new(
        forwarding: Forwarding,
        networks: Vec<Network>,
        counters: Counters,
    ) -> Recursion {
        let (shards, next) = (Mutex::default(), AtomicUsize::default());
        Recursion { forwarding, networks, counters, shards, next }
    }

    /// What is to be kept of a question, if others are to be asked in the place of `answer`, which is the
    /// last of `answerer`. Who might have them asked is told so, by RA in every answer. Without RD they
    /// aren't: nobody has to know what others have asked for.
    pub(crate) fn takes(
        &self,
        (message, asker): (&[u8], &Asker),
        answered: &Answered,
        answerer: &Answerer,
        zones: &ZonesSnapshot,
        answer: &mut [u8],
    ) -> Option<Kept> {
        if !asker.address.is_some_and(|address| self.serves(address)) {
            return None;
        }
        let [.., flags, more] = answer.first_chunk_mut::<4>()?;
        *more |= flag::RECURSION_AVAILABLE;
        if *flags & flag::RECURSION_DESIRED == 0 {
            return None;
        }
        match answered.kind {
            _ if answered.is_foreign => Kept::of(message, asker),
            Kind::Alias => Kept::behind(message, asker, answer, answerer.target(zones)?),
            _ => None,
        }
    }

    fn serves(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(address))
    }

    fn ask(&self, kept: &Kept, now: Instant, remote: &Remote, ticket: u64) -> Passed {
        self.counters.questions.add(1);
        let passed = match self.forwarding.local() {
            Some(local) => local.forward(kept.question(), now, remote, ticket),
            None => Passed::Now(Err(LookupError::temporary("the resolver has ended"))),
        };
        match &passed {
            Passed::Now(Ok(_)) => self.counters.known.add(1),
            Passed::Now(Err(_)) => self.counters.failures.add(1),
            Passed::Later => {}
        }
        passed
    }

    /// A shard's datagram service has begun.
    pub(crate) fn join(&self, remote: Remote) {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner).push(remote);
    }

    /// Has a shard ask for somebody who has no session of ours. None if there is no shard.
    pub(crate) fn bring(&self, kept: Kept) -> Option<Pending> {
        let shards = self.shards.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let remote = shards.get(next % shards.len().max(1))?.clone();
        Some(Pending::new(move |then| {
            // If it isn't taken, `then` is dropped with it, which is an answer too.
            let _ = remote.notify(Brought { kept, then });
        }))
    }
}

/// A note to a datagram service: a question that came through a door.
pub(crate) struct Brought {
    pub(crate) kept: Kept,
    pub(crate) then: Then,
}

/// Those who wait for an answer, by their tickets.
struct Waiting<T> {
    entries: BTreeMap<u64, (Instant, T)>,
    next: u64,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Waiting { entries: BTreeMap::new(), next: 0 }
    }
}

impl<T> Waiting<T> {
    fn ticket(&self) -> u64 {
        self.next
    }

    /// Whether it is the only one: its time is the next to run out.
    fn add(&mut self, now: Instant, one: T) -> bool {
        self.entries.insert(self.next, (now, one));
        self.next += 1;
        self.entries.len() == 1
    }

    fn take(&mut self, ticket: u64) -> Option<T> {
        self.entries.remove(&ticket).map(|(_, one)| one)
    }

    /// Takes one that has waited for too long, or says when there will be one.
    fn overdue(&mut self, now: Instant) -> Result<T, Option<Duration>> {
        let Some(first) = self.entries.first_entry() else { return Err(None) };
        let left = (first.get().0 + LONGEST_WAIT).saturating_duration_since(now);
        if left.is_zero() { Ok(first.remove().1) } else { Err(Some(left)) }
    }
}

fn too_late() -> LookupError {
    LookupError::temporary("nobody has answered in time")
}

// ---- datagrams -------------------------------------------------------------------------------------

/// What one shard's datagram service waits for.
#[derive(Default)]
pub(crate) struct Asking {
    waiting: Waiting<(Kept, To)>,
}

/// Where an answer goes.
pub(crate) enum To {
    /// To who has sent a datagram, and whether that is no other.
    Sender(Sender, bool),
    /// Through a door.
    Door(Then),
}

impl Asking {
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.entries.is_empty()
    }

    pub(crate) fn pass_on(&mut self, cx: &mut DatagramCx<'_>, shared: &Shared, kept: Kept, to: To) {
        let Some(recursion) = &shared.recursion else { return };
        match recursion.ask(&kept, cx.now(), &cx.remote(), self.waiting.ticket()) {
            Passed::Now(said) => to.tell(cx, shared, &kept, said.as_ref()),
            Passed::Later => {
                if self.waiting.add(cx.now(), (kept, to)) {
                    cx.arm(OVERDUE, LONGEST_WAIT);
                }
            }
        }
    }

    pub(crate) fn heard(
        &mut self,
        cx: &mut DatagramCx<'_>,
        shared: &Shared,
        forwarded: &Forwarded,
    ) {
        if let Some((kept, to)) = self.waiting.take(forwarded.ticket) {
            shared.count_failure(&forwarded.result);
            to.tell(cx, shared, &kept, forwarded.result.as_ref());
        }
    }

    pub(crate) fn expired(&mut self, cx: &mut DatagramCx<'_>, shared: &Shared) {
        loop {
            match self.waiting.overdue(cx.now()) {
                Ok((kept, to)) => to.tell(cx, shared, &kept, Err(&too_late())),
                Err(Some(left)) => return cx.arm(OVERDUE, left),
                Err(None) => return,
            }
        }
    }
}

impl To {
    fn tell(
        self,
        cx: &mut DatagramCx<'_>,
        shared: &Shared,
        kept: &Kept,
        said: Result<&Reply, &LookupError>,
    ) {
        let settings = &shared.settings;
        let now = cx.wall_clock();
        let to = Receiver { address: kept.address(), at: now };
        match self {
            To::Sender(sender, is_known) => cx.reply_if(sender, |out| {
                let kind = kept.answer(settings, said, out);
                let verdict = shared.verdict(sender.remote().ip(), kind, is_known, now);
                match verdict {
                    Verdict::Sent => {
                        shared.ledger.answered(rcode_of(out), out, to);
                        true
                    }
                    Verdict::Dropped => false,
                    Verdict::Slipped => {
                        out.clear();
                        kept.slip(settings, out);
                        true
                    }
                }
            }),
            To::Door(then) => {
                let mut message = Vec::new();
                kept.answer(settings, said, &mut message);
                shared.ledger.answered(rcode_of(&message), &message, to);
                let seconds = lifetime(&message);
                then(DoorAnswer { message, seconds });
            }
        }
    }
}

// ---- connections -----------------------------------------------------------------------------------

/// What a connection waits for. Answers leave as they come (RFC 7766 §6.2.1.1): whichever is ready takes the
/// first place that is free.
#[derive(Default)]
pub(crate) struct Owing {
    waiting: Waiting<Kept>,
    slots: VecDeque<ReplySlot>,
}

impl Owing {
    /// Whether what is sent the usual way would have to wait.
    pub(crate) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Sends an answer before those that are waited for.
    pub(crate) fn send(&mut self, cx: &mut Cx<'_>, framed: Vec<u8>) {
        self.slots.push_back(cx.reserve());
        self.fulfil(cx, framed);
    }

    pub(crate) fn pass_on(&mut self, cx: &mut Cx<'_>, shared: &Shared, kept: Kept) {
        let Some(recursion) = &shared.recursion else { return };
        self.slots.push_back(cx.reserve());
        match recursion.ask(&kept, cx.now(), &cx.remote(), self.waiting.ticket()) {
            Passed::Now(said) => self.tell(cx, shared, &kept, said.as_ref()),
            Passed::Later => {
                if self.waiting.add(cx.now(), kept) {
                    cx.arm(OVERDUE, LONGEST_WAIT);
                }
            }
        }
    }

    pub(crate) fn heard(&mut self, cx: &mut Cx<'_>, shared: &Shared, forwarded: &Forwarded) {
        if let Some(kept) = self.waiting.take(forwarded.ticket) {
            shared.count_failure(&forwarded.result);
            self.tell(cx, shared, &kept, forwarded.result.as_ref());
            if self.waiting.entries.is_empty() {
                cx.disarm(OVERDUE);
            }
        }
    }

    pub(crate) fn expired(&mut self, cx: &mut Cx<'_>, shared: &Shared) {
        loop {
            match self.waiting.overdue(cx.now()) {
                Ok(kept) => self.tell(cx, shared, &kept, Err(&too_late())),
                Err(Some(left)) => return cx.arm(OVERDUE, left),
                Err(None) => return,
            }
        }
    }

    fn tell(
        &mut self,
        cx: &mut Cx<'_>,
        shared: &Shared,
        kept: &Kept,
        said: Result<&Reply, &LookupError>,
    ) {
        let mut framed = Vec::new();
        crate::session::with_length(&mut framed, |out| kept.answer(&shared.settings, said, out));
        let answer = framed.get(2..).unwrap_or_default();
        let to = Receiver { address: kept.address(), at: cx.wall_clock() };
        shared.ledger.answered(rcode_of(answer), answer, to);
        self.fulfil(cx, framed);
    }

    fn fulfil(&mut self, cx: &mut Cx<'_>, framed: Vec<u8>) {
        if let Some(slot) = self.slots.pop_front() {
            cx.fulfil_bytes(slot, framed.into());
        }
    }
}

impl Shared {
    fn count_failure(&self, result: &Result<Reply, LookupError>) {
        if let (Some(recursion), Err(_)) = (&self.recursion, result) {
            recursion.counters.failures.add(1);
        }
    }
}

#[cfg(test)]
mod tests;
