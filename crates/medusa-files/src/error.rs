//! What may go wrong beneath a root, told apart as far as a protocol's replies tell it apart.
//!
//! The numbers of the operating system stop here. Which status code an error becomes is decided by
//! the protocol crates.

use rustix::io::Errno;

/// What an operation beneath a [`Root`](crate::Root) may end with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Nothing has this name.
    #[error("no such file or folder")]
    NotFound,
    /// The operating system doesn't allow it: rights, or a file system that is read-only.
    #[error("not permitted")]
    NotPermitted,
    /// The name leads out of the root: by `..`, by a leading slash, or by a symbolic link.
    #[error("the name leads out of the root")]
    EscapesRoot,
    /// A symbolic link where none is followed, or more of them than are followed.
    #[error("a symbolic link that isn't followed")]
    SymlinkRefused,
    /// A file was wanted and the name is a folder's.
    #[error("is a folder")]
    IsAFolder,
    /// A folder was wanted, in the middle of the name or at its end, and something else is there.
    #[error("is not a folder")]
    NotAFolder,
    /// A FIFO, a socket or a device.
    #[error("is not a regular file")]
    NotRegular,
    /// The name is taken already.
    #[error("exists already")]
    Exists,
    /// A folder that was to be removed or replaced holds something.
    #[error("the folder is not empty")]
    NotEmpty,
    /// The file system is full.
    #[error("no space left")]
    NoSpace,
    /// The operating system's quota is used up.
    #[error("the quota is used up")]
    QuotaExceeded,
    /// More than the file system, or the process's limit, allows in one file.
    #[error("the file would be too large")]
    TooLarge,
    /// Writing was to start beyond the end of the file, which would leave a hole.
    #[error("the offset is beyond the end of the file")]
    BeyondEnd,
    /// A name that can't be one: a NUL in it, too long, or none at all where one is needed.
    #[error("not a valid name")]
    InvalidName,
    /// The process, or the machine, has no descriptors left.
    #[error("too many open files")]
    TooManyOpen,
    /// It can't be answered without waiting for the disk (from the `try_` calls alone).
    #[error("would have to wait for the disk")]
    WouldBlock,
    /// Anything else that the operating system reports.
    #[error(transparent)]
    Io(std::io::Error),
}

impl Error {
    /// Sorts what the standard library reported, for instance while writing.
    #[must_use]
    pub fn from_io(error: std::io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(errno) => errno.into(),
            None => Self::Io(error),
        }
    }

    /// Whether the file simply isn't there for the client: nothing has the name, or a part of it
    /// that would have to be a folder isn't one.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound | Self::NotAFolder)
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::NotFound,
            Errno::ACCESS | Errno::PERM | Errno::ROFS => Self::NotPermitted,
            Errno::LOOP => Self::SymlinkRefused,
            Errno::ISDIR => Self::IsAFolder,
            Errno::NOTDIR => Self::NotAFolder,
            // Opening a FIFO without a reader for writing, a socket, or a device without a driver.
            Errno::NXIO | Errno::NODEV => Self::NotRegular,
            Errno::EXIST => Self::Exists,
            Errno::NOTEMPTY => Self::NotEmpty,
            Errno::NOSPC => Self::NoSpace,
            Errno::DQUOT => Self::QuotaExceeded,
            Errno::FBIG => Self::TooLarge,
            Errno::NAMETOOLONG | Errno::INVAL | Errno::ILSEQ => Self::InvalidName,
            Errno::MFILE | Errno::NFILE => Self::TooManyOpen,
            other => Self::Io(other.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_and_a_full_quota_are_told_apart() {
        let full = std::io::Error::from_raw_os_error(Errno::NOSPC.raw_os_error());
        assert!(matches!(Error::from_io(full), Error::NoSpace));
        let quota = std::io::Error::from_raw_os_error(Errno::DQUOT.raw_os_error());
        assert!(matches!(Error::from_io(quota), Error::QuotaExceeded));
        let other = std::io::Error::other("something");
        assert!(matches!(Error::from_io(other), Error::Io(_)));
    }
}
