//! Two sessions linked to each other: what one sends, the other receives.

use super::{Client, Faults};
use crate::limits::Limits;
use crate::session::Session;

/// A client session and a server session on one wire.
pub struct Pair {
    /// The first session's end.
    pub left: Client,
    /// The second session's end.
    pub right: Client,
}

impl Pair {
    /// Links two sessions.
    pub fn new(left: impl Session, right: impl Session) -> Self {
        Self::with(Box::new(left), Box::new(right), Limits::default(), Faults::none())
    }

    /// Links two sessions over a network with faults.
    pub fn with(
        left: Box<dyn Session>,
        right: Box<dyn Session>,
        limits: Limits,
        faults: Faults,
    ) -> Self {
        let mut pair = Pair {
            left: Client::with(left, limits.clone(), faults.clone()),
            right: Client::with(right, limits, faults),
        };
        pair.run();
        pair
    }

    /// Carries bytes and ends across until neither side has more to say. Returns how many bytes went
    /// from left to right and from right to left.
    pub fn run(&mut self) -> (usize, usize) {
        let (mut there, mut back) = (0, 0);
        loop {
            let moved = carry(&mut self.left, &mut self.right, &mut there)
                | carry(&mut self.right, &mut self.left, &mut back);
            if !moved {
                return (there, back);
            }
        }
    }
}

fn carry(from: &mut Client, to: &mut Client, count: &mut usize) -> bool {
    let bytes = from.output();
    let mut moved = !bytes.is_empty();
    *count += bytes.len();
    if moved {
        to.send(&bytes);
    }
    if from.is_closed() && !to.line.has_ended() {
        to.end();
        moved = true;
    }
    moved
}
