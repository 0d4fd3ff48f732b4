//! Gathering of small pieces, so that what goes around them sees fewer and bigger ones.
//!
//! Worth its while under [`chunked`](super::chunked): the outbox itself coalesces already. It holds
//! nothing back: what the inner producer said before it was pending is handed on.

use super::{ProduceError, Produced, Producer};
use crate::outbox::Outbox;

/// So often the inner producer is asked in one call, however little it says.
const MAX_ASKED: usize = 256;

/// Produces what `inner` does, at least `size` bytes at a time as long as it has them at hand.
///
/// Its chunk, by which it may overshoot the room, is that of `inner` and `size` bytes.
pub fn globbing<P: Producer>(inner: P, size: u64) -> Globbing<P> {
    Globbing { inner, size }
}

/// Made by [`globbing`].
#[derive(Debug, Clone)]
pub struct Globbing<P> {
    inner: P,
    size: u64,
}

impl<P: Producer> Producer for Globbing<P> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let began = out.pushed();
        for _ in 0..MAX_ASKED {
            let produced = self.inner.produce(out)?;
            if produced != Produced::More || out.pushed() - began >= self.size {
                return Ok(produced);
            }
        }
        Ok(Produced::More)
    }

    fn remaining(&self) -> Option<u64> {
        self.inner.remaining()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::testing::{drained, run};
    use crate::producer::{chunked, generated};

    fn drops(count: usize, pending: usize) -> impl Producer {
        let mut turn = 0;
        generated(move |out: &mut Outbox| {
            turn += 1;
            out.push_slice(b"drop");
            Ok(match turn {
                _ if turn == count => Produced::Done,
                _ if turn == pending => Produced::Pending,
                _ => Produced::More,
            })
        })
    }

    #[test]
    fn small_pieces_become_one() {
        let out = run(chunked(globbing(drops(5, 0), 10)));
        assert_eq!(out, b"c\r\ndropdropdrop\r\n8\r\ndropdrop\r\n0\r\n\r\n");
    }

    #[test]
    fn nothing_is_held_back_when_the_inner_waits() {
        let mut out = Outbox::new();
        let mut producer = globbing(drops(5, 2), 1000);
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::Pending);
        assert_eq!(drained(&mut out), b"dropdrop");
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::Done);
        assert_eq!(drained(&mut out), b"dropdropdrop");
    }
}
