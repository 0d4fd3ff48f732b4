//! Output that a callback or an iterator makes as it goes.
//!
//! It adds nothing to what they make, and bounds it only between their pieces.

use bytes::Bytes;

use super::{ProduceError, Produced, Producer};
use crate::outbox::Outbox;

/// So many pieces are asked of an iterator in one call, whatever their length.
const MAX_PIECES: usize = 256;

/// Produces what `callback` appends to the outbox. The contract of [`Producer`] is the callback's to
/// keep, and its chunk is what it appends at once.
pub fn generated<F>(callback: F) -> Generated<F>
where
    F: FnMut(&mut Outbox) -> Result<Produced, ProduceError>,
{
    Generated { callback }
}

/// Produces the bytes that an iterator yields, one after another. Its chunk is one of its items.
pub fn pieces<I>(items: I) -> Pieces<I::IntoIter>
where
    I: IntoIterator<Item: Into<Bytes>>,
{
    Pieces { items: items.into_iter() }
}

/// Made by [`generated`].
pub struct Generated<F> {
    callback: F,
}

impl<F> Producer for Generated<F>
where
    F: FnMut(&mut Outbox) -> Result<Produced, ProduceError>,
{
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        (self.callback)(out)
    }
}

/// Made by [`pieces`].
pub struct Pieces<I> {
    items: I,
}

impl<I: Iterator<Item: Into<Bytes>>> Producer for Pieces<I> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        for _ in 0..MAX_PIECES {
            let Some(item) = self.items.next() else { return Ok(Produced::Done) };
            out.push(item.into());
            if out.room() == 0 {
                break;
            }
        }
        Ok(Produced::More)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::testing::run;

    #[test]
    fn a_callback_generates() {
        let mut turn = 0;
        let producer = generated(move |out: &mut Outbox| {
            turn += 1;
            out.push_slice(turn.to_string().as_bytes());
            Ok(if turn == 3 { Produced::Done } else { Produced::More })
        });
        assert_eq!(run(producer), b"123");
    }

    #[test]
    fn an_iterator_is_asked_by_room() {
        let mut out = Outbox::new();
        out.set_target(4);
        let mut items = (0..4).map(|at| format!("piece{at}"));
        let mut producer = pieces(items.by_ref());
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::More);
        assert_eq!(out.front(), b"piece0");
        assert_eq!(items.len(), 3);
        assert_eq!(run(pieces(items)), b"piece1piece2piece3");
    }
}
