//! Replies as recipes: the [`Producer`] trait and its combinators, a file each.
//!
//! A producer makes its bytes only when the socket can take them. Combinators wrap one another
//! (compress, then chunk, then glob). None of them touches a socket, a thread or a clock; the file
//! producer alone reads files.
//!
//! | made from | |
//! | --- | --- |
//! | what is there | [`bytes()`], [`lines`], [`pieces`], [`empty`] |
//! | files | [`file()`], [`file_range`], [`lazy_file`] |
//! | what comes later | [`generated`], [`pipe`] |
//! | several producers | [`chain`], [`composite`], [`sequence`] |
//! | one producer, its bytes changed | [`compressed`], [`chunked`], [`dot_stuffed`] |
//! | one producer, its bytes unchanged | [`globbing`], [`hooked`] |
//!
//! ```
//! use medusa_core::producer::{Coding, chunked, compressed, globbing, hooked, lines};
//!
//! let listing = lines((1..=1000).map(|number| format!("line {number}")));
//! let body = chunked(globbing(compressed(listing, Coding::Gzip, 6), 4096));
//! let reply = hooked(body, |delivered| println!("{} bytes", delivered.bytes));
//! # let _ = reply;
//! ```

use std::error::Error as StdError;
use std::io;

use crate::outbox::Outbox;

mod bytes;
mod chunked;
mod composite;
mod compressed;
mod deferred;
mod dot_stuffed;
mod file;
mod generated;
mod globbing;
mod hooked;
mod lines;
mod pipe;
#[cfg(test)]
mod testing;

pub use self::bytes::{BytesProducer, bytes, empty};
pub use self::chunked::{Chunked, chunked};
pub use self::composite::{Chain, Composite, Sequence, chain, composite, sequence};
pub use self::compressed::{Coding, Compressed, compressed};
pub use self::dot_stuffed::{DotStuffed, dot_stuffed};
pub use self::file::{FileProducer, LazyFile, file, file_range, lazy_file};
pub use self::generated::{Generated, Pieces, generated, pieces};
pub use self::globbing::{Globbing, globbing};
pub use self::hooked::{Hooked, hooked};
pub use self::lines::{Lines, lines};
pub use self::pipe::{NotWritten, PipeReader, PipeWriter, Wake, pipe};

/// What a call of [`Producer::produce`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Produced {
    /// Progress was made and there is more: ask again when there is room.
    More,
    /// Nothing more now; what came in this very call is to be sent. A wake is promised: by a
    /// [`Remote`](crate::Remote) or a deferred job.
    Pending,
    /// Finished, perhaps with its last bytes in this very call. Never called again.
    Done,
}

/// A reply that makes its bytes when asked.
///
/// * `More` means that progress was made; `Done` may come with the last bytes, and nothing is called
///   after it.
/// * It is never called while the socket is blocked.
/// * It may overshoot [`Outbox::room`] by at most one chunk of its own.
/// * An error aborts the connection: a truncated reply must look truncated.
pub trait Producer {
    /// Appends bytes to `out`.
    ///
    /// # Errors
    ///
    /// Whatever keeps the reply from being completed.
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError>;

    /// How many bytes are still to come, where that is known exactly.
    fn remaining(&self) -> Option<u64> {
        None
    }
}

impl<P: Producer + ?Sized> Producer for Box<P> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        (**self).produce(out)
    }

    fn remaining(&self) -> Option<u64> {
        (**self).remaining()
    }
}

/// Why a reply could not be completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProduceError {
    /// Reading what was to be sent failed.
    #[error("reading the reply failed: {0}")]
    Io(#[from] io::Error),
    /// A file became shorter while it was sent.
    #[error("the file ended {missing} bytes early")]
    Truncated {
        /// Bytes that were promised and are not there.
        missing: u64,
    },
    /// The generator of the reply gave up.
    #[error("the reply could not be generated: {0}")]
    Failed(#[source] Box<dyn StdError + Send + Sync>),
}
