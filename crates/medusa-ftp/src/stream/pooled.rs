//! Output that blocking work makes, a piece at a time: a folder's list, a file of a foreign storage. Each
//! piece is made in the pool when there is room for it, so memory is bounded and no loop waits.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use medusa_core::{Outbox, ProduceError, Produced, Producer};

use crate::Error;

/// Makes output by blocking work.
pub(crate) trait Generate: Send + 'static {
    /// Appends the next piece, and says whether there may be another.
    fn generate(&mut self, out: &mut Vec<u8>) -> Result<bool, Error>;
}

/// Produces what `work` generates.
pub(crate) fn pooled<G: Generate>(work: G) -> Pooled<G> {
    Pooled { state: State::Ready(work) }
}

pub(crate) struct Pooled<G> {
    state: State<G>,
}

enum State<G> {
    Ready(G),
    Running(Arc<Mutex<Option<Piece<G>>>>),
    Ended,
}

/// What comes back from the pool.
struct Piece<G> {
    work: G,
    octets: Vec<u8>,
    more: Result<bool, Error>,
}

impl<G: Generate> Producer for Pooled<G> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Ready(work) => Ok(self.begin(work, out)),
            State::Running(slot) => {
                let piece = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
                match piece {
                    Some(piece) => self.finished(piece, out),
                    // Whoever holds the slot alone knows that the work is lost.
                    None if Arc::strong_count(&slot) == 1 => {
                        Err(std::io::Error::other("the work of a reply was lost").into())
                    }
                    None => {
                        self.state = State::Running(slot);
                        Ok(Produced::Pending)
                    }
                }
            }
            State::Ended => Ok(Produced::Done),
        }
    }
}

impl<G: Generate> Pooled<G> {
    fn begin(&mut self, mut work: G, out: &mut Outbox) -> Produced {
        let slot = Arc::new(Mutex::new(None));
        let result = Arc::clone(&slot);
        out.defer(Box::new(move || {
            let mut octets = Vec::new();
            let more = work.generate(&mut octets);
            let piece = Piece { work, octets, more };
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(piece);
        }));
        self.state = State::Running(slot);
        Produced::Pending
    }

    fn finished(&mut self, piece: Piece<G>, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let Piece { work, octets, more } = piece;
        let more = more.map_err(|error| ProduceError::Failed(error.into()))?;
        let is_empty = octets.is_empty();
        out.push(Bytes::from(octets));
        Ok(match more {
            false => Produced::Done,
            true if is_empty => self.begin(work, out),
            true => {
                self.state = State::Ready(work);
                Produced::More
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Countdown(u32);

    impl Generate for Countdown {
        fn generate(&mut self, out: &mut Vec<u8>) -> Result<bool, Error> {
            self.0 -= 1;
            match self.0 {
                0 => Err(Error::NotFound),
                // A piece of nothing is no end.
                3 => Ok(true),
                left => {
                    out.extend_from_slice(left.to_string().as_bytes());
                    Ok(left > 1)
                }
            }
        }
    }

    /// Runs a producer, its jobs in between.
    fn run(mut producer: impl Producer) -> Result<Vec<u8>, ProduceError> {
        let mut out = Outbox::without_files();
        let mut all = Vec::new();
        loop {
            let produced = producer.produce(&mut out)?;
            while !out.front().is_empty() {
                all.extend_from_slice(out.front());
                out.advance(out.front().len() as u64);
            }
            match (produced, out.take_job()) {
                (Produced::Done, None) => return Ok(all),
                (Produced::Pending, Some(job)) => job(),
                (Produced::More, None) => {}
                (produced, job) => panic!("{produced:?}, and a job: {}", job.is_some()),
            }
        }
    }

    #[test]
    fn pieces_come_in_order_and_an_error_ends_it() {
        assert_eq!(run(pooled(Countdown(6))).unwrap(), b"5421");
        let mut failing = pooled(Countdown(1));
        let mut out = Outbox::new();
        assert_eq!(failing.produce(&mut out).unwrap(), Produced::Pending);
        assert_eq!(failing.produce(&mut out).unwrap(), Produced::Pending);
        out.take_job().unwrap()();
        assert!(matches!(failing.produce(&mut out), Err(ProduceError::Failed(_))));
    }

    #[test]
    fn work_that_is_lost_fails_the_reply() {
        let mut producer = pooled(Countdown(6));
        let mut out = Outbox::new();
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::Pending);
        drop(out.take_job());
        assert!(producer.produce(&mut out).is_err());
    }
}
