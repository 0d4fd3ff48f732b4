//! What can go wrong with mail on disk.

use std::io;
use std::path::PathBuf;

use rustix::io::Errno;

/// Why mail could not be kept, read or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The account has as much mail as it may.
    #[error("the maildrop is full")]
    Full,
    /// The disk, or this user's share of it, is full.
    #[error("no space is left for mail")]
    NoSpace,
    /// Somebody has the maildrop locked, or the queue.
    #[error("it is in use")]
    InUse,
    /// That can't be the name of an account or of a queue entry.
    #[error("`{0}` can't be a name here")]
    Name(String),
    /// It isn't there, or not any more.
    #[error("no such message")]
    Missing,
    /// An envelope that this program can't have written so.
    #[error("a queue entry's envelope is damaged: {0}")]
    Envelope(&'static str),
    /// An envelope with more in it than is kept: of too many recipients.
    #[error("a queue entry's envelope is too long")]
    TooLong,
    /// The store is being closed.
    #[error("the store is closing")]
    Closing,
    /// Reading or writing failed.
    #[error("{}{}{source}", path.display(), if path.as_os_str().is_empty() { "" } else { ": " })]
    Io {
        /// What was touched; empty where that isn't known.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// For stores of a program's own. A full disk is told apart, and a file that isn't there.
impl From<io::Error> for Error {
    fn from(source: io::Error) -> Error {
        Error::at("")(source)
    }
}

impl Error {
    /// What went wrong with `path`.
    pub(crate) fn at(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Error {
        let path = path.into();
        move |source| match Errno::from_io_error(&source) {
            Some(Errno::NOSPC | Errno::DQUOT | Errno::FBIG) => Error::NoSpace,
            Some(Errno::NOENT) => Error::Missing,
            _ => Error::Io { path, source },
        }
    }
}
