//! A regular file that was opened beneath a root, and how one is opened to be written in place.
//!
//! Writing in place shows readers a file that grows; what must appear whole or not at all is
//! staged instead (`staged.rs`).

use std::io::{self, IoSliceMut, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};

use crate::quota::{Charge, Quota};
use crate::{Error, Kind, Metadata};

/// A regular file, open, with what was known of it when it was opened.
#[derive(Debug)]
pub struct File {
    file: std::fs::File,
    metadata: Metadata,
    quota: Option<Quota>,
}

/// Whether a file that is to be written may or must be a new one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Create {
    /// It must exist.
    Never,
    /// It is made where it is missing.
    #[default]
    IfMissing,
    /// It must not exist.
    Always,
}

/// Where writing begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// At the beginning, and what was there is gone.
    #[default]
    Empty,
    /// At an offset, and what stands before it stays; what stands after it is cut off. An offset
    /// beyond the end is refused with [`Error::BeyondEnd`], and none but 0 makes a file.
    At(u64),
    /// At the end, whoever else appends meanwhile (`O_APPEND`).
    End,
}

/// How a file is opened to be written in place.
#[derive(Clone, Copy, Debug)]
pub struct Writing {
    /// Whether it may or must be new.
    pub create: Create,
    /// Where writing begins.
    pub start: Start,
    /// The permission bits of a new file, before the process's umask. 0o666 as with `creat(2)`'s
    /// usual callers.
    pub mode: u32,
}

impl Default for Writing {
    fn default() -> Self {
        Self { create: Create::default(), start: Start::default(), mode: 0o666 }
    }
}

impl File {
    /// Takes a descriptor that may be anything, and keeps it if it is a regular file's.
    pub(crate) fn from_descriptor(descriptor: OwnedFd) -> Result<Self, Error> {
        let metadata = Metadata::of(&descriptor)?;
        match metadata.kind {
            Kind::File => Ok(Self { file: descriptor.into(), metadata, quota: None }),
            Kind::Folder => Err(Error::IsAFolder),
            Kind::Symlink | Kind::Other => Err(Error::NotRegular),
        }
    }

    /// What was known when it was opened.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The same, whose writing counts.
    pub(crate) fn limited(self, quota: Option<Quota>) -> Self {
        Self { quota, ..self }
    }

    /// The file, to read from. What is written through it counts for no quota.
    #[must_use]
    pub fn as_std(&self) -> &std::fs::File {
        &self.file
    }

    /// The file alone.
    #[must_use]
    pub fn into_std(self) -> std::fs::File {
        self.file
    }

    /// Cuts the file off at `len`, if it is longer.
    pub fn truncate(&self, len: u64) -> Result<(), Error> {
        let before = Metadata::of(&self.file)?.len;
        if before > len {
            rustix::fs::ftruncate(&self.file, len)?;
            if let Some(quota) = &self.quota {
                quota.release(before - len);
            }
        }
        Ok(())
    }

    /// The whole content, if the file stays as it was when it was opened; `None` where it was changed
    /// meanwhile. The caller bounds it by [`Metadata::len`].
    pub fn read_whole(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read_all(ReadWriteFlags::empty())
    }

    /// The same without waiting for the disk: [`Error::WouldBlock`] where it isn't in memory.
    pub fn try_read_whole(&self) -> Result<Option<Vec<u8>>, Error> {
        self.read_all(ReadWriteFlags::NOWAIT)
    }

    fn read_all(&self, flags: ReadWriteFlags) -> Result<Option<Vec<u8>>, Error> {
        let len = usize::try_from(self.metadata.len).map_err(|_| Error::TooLarge)?;
        // One more than there should be shows that the file grew.
        let mut content = vec![0; len.saturating_add(1)];
        let mut filled = 0;
        while filled < content.len() {
            let mut slices = [IoSliceMut::new(&mut content[filled..])];
            match rustix::io::preadv2(&self.file, &mut slices, filled as u64, flags) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                // EOPNOTSUPP: a file system that can't tell what it holds in memory.
                Err(Errno::AGAIN | Errno::OPNOTSUPP) if !flags.is_empty() => {
                    return Err(Error::WouldBlock);
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        content.truncate(filled);
        let is_whole = filled == len && Metadata::of(self)?.is_unchanged_from(&self.metadata);
        Ok(is_whole.then_some(content))
    }

    /// Puts the file where [`Writing::start`] says, once it is known to be a regular one.
    pub(crate) fn start_at(mut self, start: Start) -> Result<Self, Error> {
        let at = match start {
            Start::Empty => 0,
            Start::At(offset) if offset > self.metadata.len => return Err(Error::BeyondEnd),
            Start::At(offset) => offset,
            Start::End => return Ok(self),
        };
        self.truncate(at)?;
        self.file.seek(SeekFrom::Start(at)).map_err(Error::from_io)?;
        self.metadata = Metadata::of(&self.file)?;
        Ok(self)
    }
}

impl Writing {
    pub(crate) fn flags(self) -> Result<OFlags, Error> {
        // Truncating is left for later: O_TRUNC would reach a file before it is looked at.
        let create = match (self.create, self.start) {
            // Any offset but the first is beyond the end of a new file.
            (Create::Always, Start::At(1..)) => return Err(Error::BeyondEnd),
            (Create::Never, _) | (Create::IfMissing, Start::At(1..)) => OFlags::empty(),
            (Create::IfMissing, _) => OFlags::CREATE,
            (Create::Always, _) => OFlags::CREATE | OFlags::EXCL,
        };
        let append = if self.start == Start::End { OFlags::APPEND } else { OFlags::empty() };
        Ok(OFlags::WRONLY | create | append)
    }
}

/// Writes behind what was written before. It counts where the root has a quota, and is refused beyond
/// that with EDQUOT.
impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut charge = Charge::new(self.quota.clone(), 0, 0);
        write_counted(&mut self.file, &mut charge, bytes).inspect(|_| charge.keep(0))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes what `charge` has room for, and counts what was written.
pub(crate) fn write_counted(
    file: &mut std::fs::File,
    charge: &mut Charge,
    bytes: &[u8],
) -> io::Result<usize> {
    let whole = bytes.len() as u64;
    charge.grow(whole).map_err(|_| io::Error::from(Errno::DQUOT))?;
    let written = file.write(bytes);
    charge.shrink(whole - written.as_ref().map_or(0, |count| *count as u64));
    written
}

impl AsFd for File {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
