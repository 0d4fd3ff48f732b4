//! One producer after another.
//!
//! Each is dropped as soon as it is done, and with it what it held open.

use std::collections::VecDeque;

use super::{ProduceError, Produced, Producer};
use crate::outbox::Outbox;

/// So many producers that had nothing to say may be passed over in one call.
const MAX_SILENT: usize = 256;

/// Produces what `parts` do, one after another: a multipart body, say. They are gathered at once, so
/// that what [remains](Producer::remaining) is known if each part knows it.
///
/// Its chunk is the largest of its parts' chunks.
pub fn composite<P: Producer>(parts: impl IntoIterator<Item = P>) -> Composite<P> {
    Composite { parts: parts.into_iter().collect() }
}

/// Produces what `parts` do, one after another, each taken from the iterator only when its turn has
/// come: a listing, say.
///
/// Its chunk is the largest of its parts' chunks.
pub fn sequence<P: Producer, I: IntoIterator<Item = P>>(parts: I) -> Sequence<I::IntoIter> {
    Sequence { current: None, parts: parts.into_iter() }
}

/// Produces what `first` does, and then what `second` does: a head and its body.
///
/// Its chunk is the larger of the two's chunks.
pub fn chain<A: Producer, B: Producer>(first: A, second: B) -> Chain<A, B> {
    Chain { first: Some(first), second }
}

/// Made by [`composite`].
pub struct Composite<P> {
    parts: VecDeque<P>,
}

impl<P: Producer> Producer for Composite<P> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        for _ in 0..MAX_SILENT {
            let Some(part) = self.parts.front_mut() else { return Ok(Produced::Done) };
            match part.produce(out)? {
                Produced::Done => self.parts.pop_front(),
                other => return Ok(other),
            };
            if out.room() == 0 {
                break;
            }
        }
        Ok(if self.parts.is_empty() { Produced::Done } else { Produced::More })
    }

    fn remaining(&self) -> Option<u64> {
        self.parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.remaining()?))
    }
}

/// Made by [`sequence`].
pub struct Sequence<I: Iterator> {
    current: Option<I::Item>,
    parts: I,
}

impl<I: Iterator<Item: Producer>> Producer for Sequence<I> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        for _ in 0..MAX_SILENT {
            if self.current.is_none() {
                self.current = self.parts.next();
            }
            let Some(part) = &mut self.current else { return Ok(Produced::Done) };
            match part.produce(out)? {
                Produced::Done => self.current = None,
                other => return Ok(other),
            }
            if out.room() == 0 {
                break;
            }
        }
        // Whether another follows is asked when there is room for it: making it may cost something.
        Ok(Produced::More)
    }
}

/// Made by [`chain`].
pub struct Chain<A, B> {
    first: Option<A>,
    second: B,
}

impl<A: Producer, B: Producer> Producer for Chain<A, B> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        if let Some(first) = &mut self.first {
            match first.produce(out)? {
                Produced::Done => self.first = None,
                other => return Ok(other),
            }
            if out.room() == 0 {
                return Ok(Produced::More);
            }
        }
        self.second.produce(out)
    }

    fn remaining(&self) -> Option<u64> {
        let first = self.first.as_ref().map_or(Some(0), Producer::remaining)?;
        first.checked_add(self.second.remaining()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::testing::run;
    use crate::producer::{bytes, chunked, empty};

    #[test]
    fn parts_come_in_order() {
        assert_eq!(run(composite(vec![bytes("a"), empty(), bytes("b")])), b"ab");
        assert_eq!(run(sequence(["a", "", "b"].map(bytes))), b"ab");
        assert_eq!(run(chain(bytes("a"), chunked(bytes("b")))), b"a1\r\nb\r\n0\r\n\r\n");
        assert_eq!(run(composite(Vec::<Box<dyn Producer>>::new())), b"");
    }

    #[test]
    fn the_rest_is_known_if_each_part_knows_it() {
        let mut out = Outbox::new();
        out.set_target(1);
        let mut producer = composite(vec![bytes("abc"), bytes("de")]);
        assert_eq!(producer.remaining(), Some(5));
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::More);
        assert_eq!(producer.remaining(), Some(2));
        let parts: Vec<Box<dyn Producer>> = vec![Box::new(bytes("a")), Box::new(chunked(empty()))];
        assert_eq!(composite(parts).remaining(), None);
        assert_eq!(chain(bytes("a"), bytes("bc")).remaining(), Some(3));
    }

    #[test]
    fn many_silent_parts_end_one_call() {
        let mut asked = 0;
        let endless = std::iter::repeat_with(|| {
            asked += 1;
            empty()
        });
        let mut producer = sequence(endless);
        assert_eq!(producer.produce(&mut Outbox::new()).unwrap(), Produced::More);
        drop(producer);
        assert_eq!(asked, MAX_SILENT);
    }

    #[test]
    fn a_part_is_made_when_its_turn_has_come() {
        let mut out = Outbox::new();
        out.set_target(1);
        let made = std::cell::Cell::new(0);
        let mut producer = sequence((0..3).map(|_| {
            made.set(made.get() + 1);
            bytes("part")
        }));
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::More);
        assert_eq!(made.get(), 1);
    }
}
