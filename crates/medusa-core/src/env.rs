//! What a shard lends to the connection whose turn it is: the time, commands, ids and spare buffers.
//!
//! Pure: the shard sets the time once a turn and carries the commands out afterwards.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::channel::Flow;
use crate::mailbox::{Address, Mailbox};
use crate::offload::Pool;
use crate::session::Command;
use crate::timer::Millis;

/// Spare flows kept for reuse; each holds buffers of an ordinary size at most.
const SPARE_FLOWS: usize = 64;

pub(crate) struct Env {
    pub(crate) shard: u16,
    pub(crate) epoch: Instant,
    pub(crate) now: Instant,
    /// The same, since the epoch: asked for several times in each step.
    millis: Millis,
    pub(crate) wall_clock: SystemTime,
    pub(crate) draining: bool,
    pub(crate) commands: Vec<Command>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) pool: Arc<Pool>,
    ids: Ids,
    #[expect(clippy::vec_box, reason = "a flow moves between here and connections as a pointer")]
    flows: Vec<Box<Flow>>,
}

impl Env {
    pub(crate) fn new(
        shard: u16,
        now: Instant,
        wall_clock: SystemTime,
        mailbox: Arc<Mailbox>,
        pool: Arc<Pool>,
    ) -> Self {
        Env {
            shard,
            epoch: now,
            now,
            millis: 0,
            wall_clock,
            draining: false,
            commands: Vec::new(),
            mailbox,
            pool,
            ids: Ids::default(),
            flows: Vec::new(),
        }
    }

    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = now;
        self.millis = now.duration_since(self.epoch).as_millis() as Millis;
    }

    pub(crate) fn millis(&self) -> Millis {
        self.millis
    }

    /// When `after` has passed; rounded up, so that nothing comes due early.
    pub(crate) fn millis_after(&self, after: Duration) -> Millis {
        let at = self.now.duration_since(self.epoch).saturating_add(after);
        Millis::try_from(at.as_nanos().div_ceil(1_000_000)).unwrap_or(Millis::MAX)
    }

    /// The same, for who may be about to arm the timer that runs: later than now.
    pub(crate) fn deadline_after(&self, after: Duration) -> Millis {
        self.millis_after(after).max(self.millis + 1)
    }

    pub(crate) fn allocate(&mut self) -> Address {
        Address { shard: self.shard, token: self.ids.allocate() }
    }

    pub(crate) fn release(&mut self, token: u64) {
        self.ids.release(token);
    }

    /// A flow for a connection; one that is `secured` must see its bytes, so files are read.
    pub(crate) fn take_flow(&mut self, secured: bool) -> Box<Flow> {
        let mut flow = self.flows.pop().unwrap_or_default();
        flow.outbox.set_accepts_files(!secured);
        flow
    }

    pub(crate) fn recycle(&mut self, mut flow: Box<Flow>) {
        if self.flows.len() < SPARE_FLOWS {
            flow.reset();
            self.flows.push(flow);
        }
    }
}

/// Places in a shard. The low half of a token is an index, the high half counts how often that index
/// was given out, so that a stale token reaches nobody.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    generations: Vec<u32>,
    free: Vec<u32>,
}

impl Ids {
    pub(crate) fn allocate(&mut self) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.generations.push(0);
            self.generations.len() as u32 - 1
        });
        u64::from(self.generations[index as usize]) << 32 | u64::from(index)
    }

    pub(crate) fn release(&mut self, token: u64) {
        let index = token as u32;
        let generation = &mut self.generations[index as usize];
        if *generation == (token >> 32) as u32 {
            *generation = generation.wrapping_add(1);
            self.free.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_out_again_under_another_name() {
        let mut ids = Ids::default();
        let (a, b) = (ids.allocate(), ids.allocate());
        assert_ne!(a, b);
        ids.release(a);
        ids.release(a);
        let c = ids.allocate();
        assert_eq!(c as u32, a as u32);
        assert_ne!(c, a);
        assert_ne!(ids.allocate() as u32, c as u32);
    }
}
