//! A file that appears under its name whole or not at all.
//!
//! It is written under a temporary name in the folder where it belongs and renamed when it is
//! complete. Dropping it instead leaves nothing. A crash may leave the temporary file: its name
//! begins with [`StagedFile::PREFIX`], so that it can be hidden, and [`Root::sweep`](crate::Root::sweep)
//! removes it. A broken one may be kept to be gone on with, as the part of its name.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::file::write_counted;
use crate::quota::{Charge, Quota};
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
    charge: Charge,
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

    /// What the names of parts begin with; what they are parts of follows.
    pub const PART: &'static [u8] = b".medusa-part-of-";

    pub(crate) fn begin(
        folder: OwnedFd,
        name: &[u8],
        staging: Staging,
        quota: Option<Quota>,
    ) -> Result<Self, Error> {
        let replaced = refuse_place(&folder, name, staging.replace)?;
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
                        charge: Charge::new(quota, 0, replaced),
                    });
                }
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Err(Error::Exists)
    }

    /// Takes a part up again.
    pub(crate) fn resume(
        folder: OwnedFd,
        name: &[u8],
        at: Option<u64>,
        staging: Staging,
        quota: Option<Quota>,
    ) -> Result<Self, Error> {
        let replaced = refuse_place(&folder, name, staging.replace)?;
        let part = part_name(name)?;
        let mut temporary = Temporary { folder, name: temporary_name(), is_kept: true };
        let Temporary { folder, name: own, .. } = &temporary;
        // Whoever renames it first has it.
        rustix::fs::renameat_with(folder, &part, folder, own, RenameFlags::NOREPLACE)?;
        let (file, len) = match open_part(folder, own, at) {
            Ok(opened) => opened,
            Err(error) => {
                // Not to be gone on with like this; it may be otherwise.
                let _ =
                    rustix::fs::renameat_with(folder, own, folder, &part, RenameFlags::NOREPLACE);
                return Err(error);
            }
        };
        temporary.is_kept = false;
        let at = at.unwrap_or(len);
        let (name, charge) = (name.to_vec(), Charge::new(quota, len, replaced));
        let mut staged = Self { temporary, name, file: file.into(), staging, charge };
        rustix::fs::ftruncate(&staged.file, at)?;
        staged.charge.shrink(len - at);
        staged.file.seek(SeekFrom::Start(at)).map_err(Error::from_io)?;
        Ok(staged)
    }

    /// Keeps what has come as the part of its name, for [`Root::resume_part`](crate::Root::resume_part);
    /// an older part goes. A name that is too long for that is [`Error::InvalidName`], and nothing is
    /// kept.
    pub fn keep_part(mut self) -> Result<Committed, Error> {
        let part = part_name(&self.name)?;
        self.staging.replace = Replace::Allowed;
        self.commit_as(&part)
    }

    /// How long the file is by now.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> Result<u64, Error> {
        Ok(Metadata::of(&self.file)?.len)
    }

    /// Cuts the file off at `len`, if it is longer, and goes on there.
    pub fn truncate(&mut self, len: u64) -> Result<(), Error> {
        let before = self.len()?;
        if before > len {
            rustix::fs::ftruncate(&self.file, len)?;
            self.charge.shrink(before - len);
            self.file.seek(SeekFrom::Start(len)).map_err(Error::from_io)?;
        }
        Ok(())
    }

    /// The file. What is written through it counts for no quota.
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
        let replaced = refuse_place(&self.temporary.folder, name, self.staging.replace)?;
        if self.staging.sync {
            rustix::fs::fsync(&self.file)?;
        }
        let is_new = self.take_name(name)?;
        self.temporary.is_kept = true;
        self.charge.keep(if is_new { 0 } else { replaced });
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
        write_counted(&mut self.file, &mut self.charge, bytes)
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
/// itself, as a rename does; it is not followed. Tells how long the file is that has the name.
fn refuse_place(folder: &OwnedFd, name: &[u8], replace: Replace) -> Result<u64, Error> {
    if name.len() > 255 || name.contains(&0) {
        return Err(Error::InvalidName);
    }
    match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(0),
        Err(errno) => Err(errno.into()),
        Ok(stat) => match Metadata::from_stat(&stat) {
            Metadata { kind: Kind::Folder, .. } => Err(Error::IsAFolder),
            Metadata { kind: Kind::Other, .. } => Err(Error::NotRegular),
            _ if replace == Replace::Refused => Err(Error::Exists),
            Metadata { kind: Kind::Symlink, .. } => Ok(0),
            Metadata { len, .. } => Ok(len),
        },
    }
}

/// Opens a part and tells its length.
fn open_part(folder: &OwnedFd, name: &[u8], at: Option<u64>) -> Result<(OwnedFd, u64), Error> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    match Metadata::of(&file)? {
        Metadata { kind: Kind::File, len, .. } if at.is_some_and(|at| at > len) => {
            Err(Error::BeyondEnd)
        }
        Metadata { kind: Kind::File, len, .. } => Ok((file, len)),
        _ => Err(Error::NotRegular),
    }
}

/// The name of the part of `name`.
pub(crate) fn part_name(name: &[u8]) -> Result<Vec<u8>, Error> {
    let part = [StagedFile::PART, name].concat();
    if part.len() > 255 || name.contains(&0) { Err(Error::InvalidName) } else { Ok(part) }
}

/// After so many seconds without a change a temporary file is taken for one that a crash has left: whoever
/// sends one is cut off sooner.
const LEFT_SECONDS: i64 = 3600;

/// Whether this is a temporary file that nobody writes any more, by when it was last changed.
pub(crate) fn is_left_behind(name: &[u8], changed: i64) -> bool {
    let is_temporary = name.starts_with(StagedFile::PREFIX) && !name.starts_with(StagedFile::PART);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    is_temporary && i64::try_from(now).is_ok_and(|now| now.saturating_sub(changed) >= LEFT_SECONDS)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_crash_has_left_is_told_from_what_is_being_written() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
        let (temporary, part) = (temporary_name(), part_name(b"name").unwrap());
        assert!(is_left_behind(&temporary, now - LEFT_SECONDS - 1));
        assert!(!is_left_behind(&temporary, now - LEFT_SECONDS + 100));
        assert!(!is_left_behind(&temporary, now + LEFT_SECONDS));
        for other in [&part[..], b"name", b".medusa"] {
            assert!(!is_left_behind(other, 0), "{}", other.escape_ascii());
        }
    }
}
