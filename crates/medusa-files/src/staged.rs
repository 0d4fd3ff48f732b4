//! A file that appears under its name whole or not at all.
//!
//! It is written under a temporary name in the folder where it belongs and renamed when it is
//! complete. Dropping it instead leaves nothing. A crash may leave the temporary file: its name
//! begins with [`StagedFile::PREFIX`], so that it can be hidden and swept.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::{Error, Kind, Metadata, Replace, Space};

/// How many temporary names are tried before the folder is taken for a hostile one.
const MAX_NAMES: usize = 16;

/// How a file is staged.
#[derive(Clone, Copy, Debug)]
pub struct Staging {
    /// Whether it may take the place of another file.
    pub replace: Replace,
    /// The permission bits, before the process's umask.
    pub mode: u32,
    /// Whether file and folder are on the disk (`fsync`) before the commit returns, so that a
    /// power cut can't undo it. It costs as much as the disk is slow.
    pub sync: bool,
}

/// A file on its way to its name.
#[derive(Debug)]
pub struct StagedFile {
    name: Vec<u8>,
    temporary: Temporary,
    file: std::fs::File,
    staging: Staging,
}

/// What became of a staged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Whether the name is new; else the file took another's place.
    pub is_new: bool,
    /// What is known of the file as it stands.
    pub metadata: Metadata,
}

impl Default for Staging {
    fn default() -> Self {
        Self { replace: Replace::Allowed, mode: 0o666, sync: false }
    }
}

impl StagedFile {
    /// What the temporary names begin with.
    pub const PREFIX: &'static [u8] = b".medusa-part-";

    pub(crate) fn begin(folder: OwnedFd, name: &[u8], staging: Staging) -> Result<Self, Error> {
        refuse_place(&folder, name, staging.replace)?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(staging.mode & 0o777);
        for _ in 0..MAX_NAMES {
            let temporary = temporary_name();
            match rustix::fs::openat(&folder, &temporary, flags, mode) {
                Ok(file) => {
                    return Ok(Self {
                        temporary: Temporary { folder, name: temporary, is_kept: false },
                        name: name.to_vec(),
                        file: file.into(),
                        staging,
                    });
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Error::Exists)
    }

    /// The file, to be written to.
    #[must_use]
    pub fn as_std(&self) -> &std::fs::File {
        &self.file
    }

    /// Refuses with [`Error::NoSpace`] where the file system has less room than this, to learn it
    /// before the first byte. Nothing is set aside: whoever only says that much will come would
    /// otherwise fill the disk.
    pub fn require_space(&self, bytes: u64) -> Result<(), Error> {
        let available = Space::of(&self.file)?.available;
        if bytes > available { Err(Error::NoSpace) } else { Ok(()) }
    }

    /// Gives the file its name.
    pub fn commit(self) -> Result<Committed, Error> {
        let name = self.name.clone();
        self.commit_as(&name)
    }

    /// Gives the file another name than it was begun for, in the same folder: what a broken upload
    /// is kept under.
    pub fn commit_as(mut self, name: &[u8]) -> Result<Committed, Error> {
        if matches!(name, b"" | b"." | b"..") || name.contains(&b'/') {
            return Err(Error::InvalidName);
        }
        refuse_place(&self.temporary.folder, name, self.staging.replace)?;
        if self.staging.sync {
            rustix::fs::fsync(&self.file)?;
        }
        let is_new = self.take_name(name)?;
        self.temporary.is_kept = true;
        if self.staging.sync {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let folder = rustix::fs::openat(&self.temporary.folder, ".", flags, Mode::empty())?;
            rustix::fs::fsync(folder)?;
        }
        Ok(Committed { is_new, metadata: Metadata::of(&self.file)? })
    }

    /// Renames, and tells whether the name is new.
    fn take_name(&self, name: &[u8]) -> Result<bool, Error> {
        let Temporary { folder, name: temporary, .. } = &self.temporary;
        // Without replacing first, which tells a new name from an old one without a race.
        let flags = RenameFlags::NOREPLACE;
        let taken = match rustix::fs::renameat_with(folder, temporary, folder, name, flags) {
            Ok(()) => return Ok(true),
            Err(Errno::EXIST) => true,
            // A file system that can't rename without replacing: a second name, then, which is
            // refused just so.
            Err(Errno::INVAL | Errno::NOSYS) => {
                match rustix::fs::linkat(folder, temporary, folder, name, AtFlags::empty()) {
                    Ok(()) => {
                        rustix::fs::unlinkat(folder, temporary, AtFlags::empty())?;
                        return Ok(true);
                    }
                    Err(Errno::EXIST) => true,
                    Err(errno) => return Err(errno.into()),
                }
            }
            Err(errno) => return Err(errno.into()),
        };
        if taken && self.staging.replace == Replace::Refused {
            return Err(Error::Exists);
        }
        rustix::fs::renameat(folder, temporary, folder, name)?;
        Ok(false)
    }
}

impl Write for StagedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl AsFd for StagedFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A name that is removed when it is dropped, unless it was given away.
#[derive(Debug)]
struct Temporary {
    folder: OwnedFd,
    name: Vec<u8>,
    is_kept: bool,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_kept {
            // Whoever removed it before did what was wanted; there is nobody to tell otherwise.
            let _ = rustix::fs::unlinkat(&self.folder, &self.name, AtFlags::empty());
        }
    }
}

/// Refuses a name that a folder, a FIFO, a socket or a device has. A symbolic link is replaced
/// itself, as a rename does; it is not followed.
fn refuse_place(folder: &OwnedFd, name: &[u8], replace: Replace) -> Result<(), Error> {
    if name.len() > 255 || name.contains(&0) {
        return Err(Error::InvalidName);
    }
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
        Ok(stat) => match Metadata::from_stat(&stat).kind {
            Kind::Folder => Err(Error::IsAFolder),
            Kind::Other => Err(Error::NotRegular),
            Kind::File | Kind::Symlink if replace == Replace::Refused => Err(Error::Exists),
            Kind::File | Kind::Symlink => Ok(()),
        },
    }
}

/// A name that nobody else has; `O_EXCL` decides.
fn temporary_name() -> Vec<u8> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    // The standard library's hash keys are random for each process.
    let number = RandomState::new().hash_one((std::process::id(), count));
    let mut name = StagedFile::PREFIX.to_vec();
    name.extend_from_slice(format!("{number:016x}").as_bytes());
    name
}
