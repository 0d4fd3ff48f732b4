//! What goes through a data connection: producers on the way out, a sink on the way in, and the changes
//! that TYPE A and MODE Z make.

mod ascii;
mod pooled;
mod sink;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use medusa_core::producer::{Coding, bytes, compressed, file_range};
use medusa_core::{Outbox, ProduceError, Produced, Producer};

use crate::storage::{Content, ReadAt};

pub(crate) use ascii::{Ascii, added_by_ascii};
pub(crate) use pooled::{Generate, pooled};
pub(crate) use sink::Sink;

/// What is read at once from a storage that has no file.
const PIECE: usize = 64 * 1024;

/// How what is stored becomes what is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Representation {
    /// TYPE A: a line ends in CRLF.
    pub(crate) ascii: bool,
    /// MODE Z, and its level.
    pub(crate) deflate: Option<u32>,
}

impl Representation {
    /// Wraps what is stored.
    pub(crate) fn apply(self, inner: Box<dyn Producer>) -> Box<dyn Producer> {
        let text: Box<dyn Producer> = match self.ascii {
            true => Box::new(Ascii::new(inner)),
            false => inner,
        };
        match self.deflate {
            Some(level) => Box::new(compressed(text, Coding::Zlib, level)),
            None => text,
        }
    }
}

/// The content from `offset` on.
pub(crate) fn content_from(content: Content, offset: u64) -> Box<dyn Producer> {
    let left = content.len().saturating_sub(offset);
    match content {
        Content::File(file, _) => Box::new(file_range(file, offset, left)),
        Content::Bytes(all) => {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(all.len());
            Box::new(bytes(all.slice(from..)))
        }
        Content::Other(reader, _) => Box::new(pooled(Reading { reader, offset, left })),
    }
}

struct Reading {
    reader: Box<dyn ReadAt>,
    offset: u64,
    left: u64,
}

impl Generate for Reading {
    fn generate(&mut self, out: &mut Vec<u8>) -> Result<bool, crate::Error> {
        out.resize(PIECE.min(usize::try_from(self.left).unwrap_or(PIECE)), 0);
        if out.is_empty() {
            return Ok(false);
        }
        let mut filled = 0;
        while filled < out.len() {
            match self.reader.read_at(&mut out[filled..], self.offset + filled as u64)? {
                // Shorter than it was said to be: a truncated reply must look truncated.
                0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                count => filled += count,
            }
        }
        self.offset += filled as u64;
        self.left -= filled as u64;
        Ok(self.left > 0)
    }
}

/// Counts what a producer makes, for STAT.
pub(crate) struct Counted {
    pub(crate) inner: Box<dyn Producer>,
    pub(crate) moved: Arc<AtomicU64>,
}

impl Producer for Counted {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let before = out.pushed();
        let produced = self.inner.produce(out);
        self.moved.fetch_add(out.pushed() - before, Ordering::Relaxed);
        produced
    }

    fn remaining(&self) -> Option<u64> {
        self.inner.remaining()
    }
}
