//! What a connection does with its input, and every way from one thing to the next: the whole table.
//! What a phase means for the core (what is expected, whether reading stops) stands here too.

/// What a connection is doing with its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests, or in a request's head.
    Head,
    /// A body goes to its reader.
    Reading,
    /// A body waits: its reader has paused, or its request's answer was put off. Or a request waits until
    /// those before it are answered.
    Held,
    /// The rest of a body is passed over; its request has been answered.
    PassingOver,
    /// Nothing more is read: the connection ends when what is owed has been sent.
    Over,
}

/// What happens to a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The handler wants to read the body.
    Read,
    /// The reader wants no more for now.
    Pause,
    /// The reader goes on.
    Resume,
    /// The answer was put off, and the body with it; or the whole request.
    PutOff,
    /// The answer came before the body's end, and the rest is short enough to be passed over.
    Pass,
    /// The body is at its end.
    Whole,
    /// The last response of the connection is on its way.
    Last,
}

use Event::{Last, Pass, Pause, PutOff, Read, Resume, Whole};
use Phase::{Head, Held, Over, PassingOver, Reading};

const TABLE: &[(Phase, Event, Phase)] = &[
    // A request without a body stays in the head: the next one follows.
    (Head, Read, Reading),
    (Head, PutOff, Held),
    (Head, Pass, PassingOver),
    (Head, Last, Over),
    (Reading, Pause, Held),
    (Reading, PutOff, Held),
    (Reading, Pass, PassingOver),
    (Reading, Whole, Head),
    (Reading, Last, Over),
    (Held, Resume, Reading),
    (Held, Read, Reading),
    (Held, Pause, Held),
    (Held, PutOff, Held),
    (Held, Pass, PassingOver),
    (Held, Whole, Head),
    (Held, Last, Over),
    (PassingOver, Whole, Head),
    (PassingOver, Last, Over),
    (Over, Last, Over),
];

impl Phase {
    /// Where the event leads. What the table doesn't know ends the connection.
    pub(super) fn after(self, event: Event) -> Phase {
        let row = TABLE.iter().find(|(phase, on, _)| *phase == self && *on == event);
        debug_assert!(row.is_some(), "no way from {self:?} by {event:?}");
        row.map_or(Over, |(_, _, next)| *next)
    }

    /// Whether the input is a body's.
    pub(super) fn in_body(self) -> bool {
        matches!(self, Reading | Held | PassingOver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_is_there_once() {
        for (at, (phase, event, _)) in TABLE.iter().enumerate() {
            let same = TABLE.iter().filter(|(p, e, _)| p == phase && e == event);
            assert_eq!(same.count(), 1, "row {at}");
        }
        for phase in [Head, Reading, Held, PassingOver, Over] {
            assert_eq!(phase.after(Last), Over, "every phase can end");
        }
    }
}
