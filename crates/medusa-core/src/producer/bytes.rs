//! Bytes that are there already, and nothing at all.
//!
//! Shared bytes are handed on without a copy. A caller that has a plain short reply pushes it into the
//! outbox and needs no producer.

use bytes::Bytes;

use super::{ProduceError, Produced, Producer};
use crate::outbox::Outbox;

/// A piece has at least this many bytes, so that little room doesn't splinter a big reply.
const MIN_PIECE: usize = 16 * 1024;

/// Produces `bytes`: all at once where there is room, else piece by piece.
///
/// Its chunk, by which it may overshoot the room, is 16 KiB.
pub fn bytes(bytes: impl Into<Bytes>) -> BytesProducer {
    BytesProducer { rest: bytes.into() }
}

/// Produces nothing, at once.
pub fn empty() -> BytesProducer {
    bytes(Bytes::new())
}

/// Made by [`bytes()`] and [`empty`].
#[derive(Debug, Clone)]
pub struct BytesProducer {
    rest: Bytes,
}

impl Producer for BytesProducer {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let piece = out.room().max(MIN_PIECE);
        if self.rest.len() > piece {
            out.push(self.rest.split_to(piece));
            return Ok(Produced::More);
        }
        out.push(std::mem::take(&mut self.rest));
        Ok(Produced::Done)
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_huge_reply_comes_by_room() {
        let mut out = Outbox::new();
        out.set_target(100_000);
        let mut producer = bytes(vec![7; 250_000]);
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::More);
        assert_eq!((out.len(), producer.remaining()), (100_000, Some(150_000)));
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::More);
        assert_eq!(out.len(), 100_000 + MIN_PIECE as u64);
        out.advance(out.len());
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::More);
        out.advance(out.len());
        assert_eq!(producer.produce(&mut out).unwrap(), Produced::Done);
        assert_eq!(producer.remaining(), Some(0));
    }

    #[test]
    fn nothing_is_done_at_once() {
        let mut out = Outbox::new();
        assert_eq!(empty().produce(&mut out).unwrap(), Produced::Done);
        assert!(out.is_empty());
    }
}
