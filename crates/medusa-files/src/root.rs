//! The root and what can be done beneath it.
//!
//! Everything that changes a folder (making, removing, renaming) looks the *folder* up beneath the
//! root and then names one component in it, which the operating system never follows as a link.
//! What stands in a file is changed through a descriptor that was looked up first. So no call here
//! has a moment between a check and a use in which a swapped link could matter.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Access, AtFlags, Mode, OFlags, RenameFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::lookup::{Beneath, Wait};
use crate::quota::Quota;
use crate::staged::{is_left_behind, part_name};
use crate::{
    Error, File, Kind, Listing, Lookup, Metadata, StagedFile, Staging, Symlinks, Timestamp, Writing,
};

/// A directory that nothing looked up through it can leave. Cloning it is cheap.
///
/// It is the directory that stood there when it was opened. One that is put in its place later, by a
/// rename or by pointing a link elsewhere, is another, and needs a root of its own.
#[derive(Clone, Debug)]
pub struct Root {
    beneath: Arc<Beneath>,
    quota: Option<Quota>,
}

/// How a root looks names up.
#[derive(Clone, Copy, Debug, Default)]
pub struct RootOptions {
    /// Which symbolic links are followed.
    pub symlinks: Symlinks,
    /// By which way.
    pub lookup: Lookup,
}

/// Whether something may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// What has the name is replaced, in one step.
    Allowed,
    /// A name that is taken is refused with [`Error::Exists`], in one step as well.
    Refused,
}

/// How much a file system holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this process could still write.
    pub available: u64,
    /// Bytes in all.
    pub total: u64,
}

/// How many descriptors this process may have; `None` where there is no limit.
pub fn descriptor_limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

impl Root {
    /// Opens a directory as a root, with the defaults of [`RootOptions`].
    pub fn new(directory: impl AsRef<Path>) -> Result<Self, Error> {
        Self::with(directory, RootOptions::default())
    }

    /// Opens a directory as a root. The path to it is the operator's and is followed as it stands.
    pub fn with(directory: impl AsRef<Path>, options: RootOptions) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory.as_ref(), flags, Mode::empty())?;
        let beneath = Beneath::new(directory, options.symlinks, options.lookup);
        Ok(Self { beneath: Arc::new(beneath), quota: None })
    }

    /// A folder beneath this root as a root of its own, which is then as hard to leave.
    pub fn subroot(&self, path: impl AsRef<[u8]>) -> Result<Self, Error> {
        let directory =
            self.open_any(path.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY, Wait::Allowed)?;
        let beneath = Arc::new(self.beneath.beneath(directory));
        Ok(Self { beneath, quota: self.quota.clone() })
    }

    /// The same root, beneath which files may have so many octets together; what would be more is
    /// refused with [`Error::QuotaExceeded`]. A file that replaces another may be as long as if that
    /// were gone already. The first limited root of a folder looks at everything beneath it.
    pub fn limited(self, octets: u64) -> Result<Self, Error> {
        let quota = Quota::of(&self, octets)?;
        Ok(Self { quota: Some(quota), ..self })
    }

    /// How many octets the files beneath have, where the root is limited.
    #[must_use]
    pub fn used(&self) -> Option<u64> {
        self.quota.as_ref().map(Quota::used)
    }

    /// Opens a regular file to read it.
    pub fn open(&self, path: impl AsRef<[u8]>) -> Result<File, Error> {
        File::from_descriptor(self.open_any(path.as_ref(), OFlags::RDONLY, Wait::Allowed)?)
    }

    /// Opens a regular file to read it if that needs no wait for the disk, else
    /// [`Error::WouldBlock`].
    pub fn try_open(&self, path: impl AsRef<[u8]>) -> Result<File, Error> {
        File::from_descriptor(self.open_any(path.as_ref(), OFlags::RDONLY, Wait::Refused)?)
    }

    /// What is known of a name; symbolic links are followed as the root's options say.
    pub fn metadata(&self, path: impl AsRef<[u8]>) -> Result<Metadata, Error> {
        Metadata::of(self.open_any(path.as_ref(), OFlags::PATH, Wait::Allowed)?)
    }

    /// What is known of a name if that needs no wait for the disk, else [`Error::WouldBlock`].
    pub fn try_metadata(&self, path: impl AsRef<[u8]>) -> Result<Metadata, Error> {
        Metadata::of(self.open_any(path.as_ref(), OFlags::PATH, Wait::Refused)?)
    }

    /// What is known of a name itself, where it is a symbolic link's.
    pub fn link_metadata(&self, path: impl AsRef<[u8]>) -> Result<Metadata, Error> {
        let Some((folder, name)) = split(path.as_ref()) else {
            return self.metadata(path);
        };
        let folder = self.open_folder(folder)?;
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Metadata::from_stat(&stat))
    }

    /// The entries of a folder, one after the other, in the order of the file system.
    pub fn list(&self, path: impl AsRef<[u8]>) -> Result<Listing, Error> {
        let path = path.as_ref();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let folder = self.open_any(path, flags, Wait::Allowed)?;
        Listing::new(self.clone(), path, folder)
    }

    /// Opens a regular file to write it in place.
    pub fn open_for_writing(
        &self,
        path: impl AsRef<[u8]>,
        writing: Writing,
    ) -> Result<File, Error> {
        let flags = writing.flags()?;
        // openat2 takes a mode only where something may be made.
        let makes = flags.contains(OFlags::CREATE);
        let mode = if makes { Mode::from_raw_mode(writing.mode & 0o777) } else { Mode::empty() };
        let descriptor = self.beneath.open(path.as_ref(), flags, mode, Wait::Allowed)?;
        File::from_descriptor(descriptor)?.limited(self.quota.clone()).start_at(writing.start)
    }

    /// Begins a file that appears under its name whole or not at all.
    pub fn stage(&self, path: impl AsRef<[u8]>, staging: Staging) -> Result<StagedFile, Error> {
        let (folder, name) = self.split_folder(path.as_ref())?;
        StagedFile::begin(folder, name, staging, self.quota.clone())
    }

    /// How long the part is that [`StagedFile::keep_part`] has left of a file of this name.
    pub fn part_len(&self, path: impl AsRef<[u8]>) -> Result<u64, Error> {
        let (folder, name) = self.split_folder(path.as_ref())?;
        let stat = rustix::fs::statat(folder, part_name(name)?, AtFlags::SYMLINK_NOFOLLOW)?;
        let metadata = Metadata::from_stat(&stat);
        if metadata.kind == Kind::File { Ok(metadata.len) } else { Err(Error::NotRegular) }
    }

    /// Goes on with such a part, as a file that is on its way to its name again: at its end, or at an
    /// offset, and then what stands behind is cut off. Whoever else asks for it finds none.
    pub fn resume_part(
        &self,
        path: impl AsRef<[u8]>,
        at: Option<u64>,
        staging: Staging,
    ) -> Result<StagedFile, Error> {
        let (folder, name) = self.split_folder(path.as_ref())?;
        StagedFile::resume(folder, name, at, staging, self.quota.clone())
    }

    /// Removes such a part.
    pub fn remove_part(&self, path: impl AsRef<[u8]>) -> Result<(), Error> {
        let (folder, name) = self.split_folder(path.as_ref())?;
        self.unlink(&folder, &part_name(name)?)
    }

    /// Removes the temporary files that a crash has left in a folder: those that nobody has touched for an
    /// hour. Says how many there were.
    pub fn sweep(&self, folder: impl AsRef<[u8]>) -> Result<usize, Error> {
        let folder = folder.as_ref();
        let (directory, mut swept) = (self.open_folder(folder)?, 0);
        for entry in self.list(folder)? {
            let name = entry?.name;
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let stat = rustix::fs::statat(&directory, &name, flags);
            let is_left = stat.is_ok_and(|stat| is_left_behind(&name, stat.st_ctime));
            // Another may have swept it.
            if is_left && self.unlink(&directory, &name).is_ok() {
                swept += 1;
            }
        }
        Ok(swept)
    }

    /// Removes a file, or a symbolic link itself.
    pub fn remove_file(&self, path: impl AsRef<[u8]>) -> Result<(), Error> {
        let (folder, name) = self.split_folder(path.as_ref())?;
        self.unlink(&folder, name)
    }

    /// Removes a name if it is that of this very file; says whether it was. What another has put in its place
    /// stays.
    pub fn remove_own(&self, path: impl AsRef<[u8]>, file: &File) -> Result<bool, Error> {
        let (folder, name) = self.split_folder(path.as_ref())?;
        // The number can't be given to another file while this one is open.
        let own = file.metadata();
        match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(errno.into()),
            Ok(stat) => {
                let found = Metadata::from_stat(&stat);
                if (found.device, found.inode) != (own.device, own.inode) {
                    return Ok(false);
                }
            }
        }
        self.unlink(&folder, name)?;
        Ok(true)
    }

    fn unlink(&self, folder: &OwnedFd, name: &[u8]) -> Result<(), Error> {
        let gone = self.counted(folder, name).map_or(0, |(_, len)| len);
        rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
        self.release(gone);
        Ok(())
    }

    /// The number and length of what counts for the quota under a name; `None` where nothing does.
    fn counted(&self, folder: &OwnedFd, name: &[u8]) -> Option<(u64, u64)> {
        self.quota.as_ref()?;
        let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let Metadata { kind, inode, len, .. } = Metadata::from_stat(&stat);
        (kind == Kind::File).then_some((inode, len))
    }

    fn release(&self, octets: u64) {
        if let Some(quota) = &self.quota {
            quota.release(octets);
        }
    }

    /// Makes a folder, with these permission bits before the process's umask.
    pub fn make_folder(&self, path: impl AsRef<[u8]>, mode: u32) -> Result<(), Error> {
        let (folder, name) = self.split_folder(path.as_ref())?;
        Ok(rustix::fs::mkdirat(folder, name, Mode::from_raw_mode(mode & 0o777))?)
    }

    /// Removes an empty folder.
    pub fn remove_folder(&self, path: impl AsRef<[u8]>) -> Result<(), Error> {
        let (folder, name) = self.split_folder(path.as_ref())?;
        Ok(rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR)?)
    }

    /// Gives a file or folder another name, in the same folder or another.
    pub fn rename(
        &self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        replace: Replace,
    ) -> Result<(), Error> {
        let (from_folder, from) = self.split_folder(from.as_ref())?;
        let (to_folder, to) = self.split_folder(to.as_ref())?;
        let source = self.counted(&from_folder, from);
        // A file may be renamed to another name of itself.
        let replaced =
            self.counted(&to_folder, to).filter(|to| source.map(|from| from.0) != Some(to.0));
        let renamed = match replace {
            Replace::Allowed => rustix::fs::renameat(from_folder, from, to_folder, to),
            Replace::Refused => {
                let flags = RenameFlags::NOREPLACE;
                rustix::fs::renameat_with(from_folder, from, to_folder, to, flags)
            }
        };
        renamed.map_err(|errno| match errno {
            // A folder into itself.
            Errno::INVAL => Error::NotPermitted,
            // Another file system beneath the root, which is not a way out of it.
            other => Error::from(other),
        })?;
        self.release(replaced.map_or(0, |(_, len)| len));
        Ok(())
    }

    /// Sets when a file or folder was last read and changed; `None` leaves a time as it is.
    pub fn set_times(
        &self,
        path: impl AsRef<[u8]>,
        accessed: Option<Timestamp>,
        modified: Option<Timestamp>,
    ) -> Result<(), Error> {
        let times =
            Timestamps { last_access: timespec(accessed), last_modification: timespec(modified) };
        // By O_PATH, because the file may be one that can't be read.
        let path = path.as_ref();
        let named = self.open_any(path, OFlags::PATH, Wait::Allowed)?;
        refuse_other(&named)?;
        match rustix::fs::utimensat(&named, "", &times, AtFlags::EMPTY_PATH) {
            // Linux before 5.8.
            Err(Errno::INVAL) => {
                let opened = self.open_any(path, OFlags::RDONLY, Wait::Allowed)?;
                Ok(rustix::fs::futimens(opened, &times)?)
            }
            result => Ok(result?),
        }
    }

    /// Sets the nine permission bits of a file or folder. Set-user-id and its like can't be set.
    pub fn set_mode(&self, path: impl AsRef<[u8]>, mode: u32) -> Result<(), Error> {
        let mode = Mode::from_raw_mode(mode & 0o777);
        let path = path.as_ref();
        match self.open_any(path, OFlags::RDONLY, Wait::Allowed) {
            Ok(opened) => {
                refuse_other(&opened)?;
                Ok(rustix::fs::fchmod(opened, mode)?)
            }
            // Its owner may change a file that it may not read; the descriptor names it then.
            Err(Error::NotPermitted) => {
                let named = self.open_any(path, OFlags::PATH, Wait::Allowed)?;
                refuse_other(&named)?;
                let number = std::os::fd::AsRawFd::as_raw_fd(&named);
                match rustix::fs::chmod(format!("/proc/self/fd/{number}"), mode) {
                    Err(Errno::NOENT) => Err(Error::NotPermitted),
                    result => Ok(result?),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// How much room is left where a folder stands.
    pub fn space(&self, path: impl AsRef<[u8]>) -> Result<Space, Error> {
        let folder = self.open_any(path.as_ref(), OFlags::PATH, Wait::Allowed)?;
        Space::of(folder)
    }

    /// Refuses a folder in which this process may make or remove nothing, and what is no folder.
    pub fn check_changeable(&self, folder: impl AsRef<[u8]>) -> Result<(), Error> {
        let folder = self.open_folder(folder.as_ref())?;
        let access = Access::WRITE_OK | Access::EXEC_OK;
        match rustix::fs::accessat(&folder, ".", access, AtFlags::EACCESS) {
            // Before Linux 5.8, or a filter that doesn't know faccessat2: whoever tries will see.
            Err(Errno::NOSYS) | Ok(()) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Where a path leads when all links have been followed, from the root. What stands there may be another
    /// thing by the time it is looked up again. [`Error::NotFound`] also where /proc isn't mounted.
    pub fn resolved(&self, path: impl AsRef<[u8]>) -> Result<Vec<u8>, Error> {
        let target = self.open_any(path.as_ref(), OFlags::PATH, Wait::Allowed)?;
        let (root, target) = (name_of(self.beneath.directory())?, name_of(target.as_fd())?);
        let inside = target.strip_prefix(root.strip_suffix(b"/").unwrap_or(&root));
        match inside.and_then(|rest| rest.strip_prefix(b"/")) {
            Some(inside) => Ok(inside.to_vec()),
            // One of them was moved meanwhile.
            None => Err(Error::NotFound),
        }
    }

    fn open_any(&self, path: &[u8], flags: OFlags, wait: Wait) -> Result<OwnedFd, Error> {
        self.beneath.open(path, flags, Mode::empty(), wait)
    }

    fn open_folder(&self, path: &[u8]) -> Result<OwnedFd, Error> {
        self.open_any(path, OFlags::PATH | OFlags::DIRECTORY, Wait::Allowed)
    }

    /// The folder that a name is in, open, and the name in it.
    fn split_folder<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), Error> {
        let (folder, name) = split(path).ok_or(Error::InvalidName)?;
        Ok((self.open_folder(folder)?, name))
    }
}

impl Space {
    pub(crate) fn of(descriptor: impl AsFd) -> Result<Self, Error> {
        let space = rustix::fs::fstatvfs(descriptor)?;
        Ok(Self {
            available: space.f_bavail.saturating_mul(space.f_frsize),
            total: space.f_blocks.saturating_mul(space.f_frsize),
        })
    }
}

/// What the kernel calls an open file or folder.
fn name_of(descriptor: BorrowedFd<'_>) -> Result<Vec<u8>, Error> {
    let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    Ok(rustix::fs::readlink(link, Vec::new())?.into_bytes())
}

/// Takes a path apart into the folder and the last component, which names something in it; `None`
/// where the path ends in the root, `.` or `..`.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = path.iter().rposition(|&byte| byte != b'/')? + 1;
    let path = &path[..end];
    let start = path.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    match (&path[..start], &path[start..]) {
        (_, b"." | b"..") => None,
        split => Some(split),
    }
}

/// A link that leads nowhere, a FIFO, a socket or a device keep their times and modes.
fn refuse_other(descriptor: impl AsFd) -> Result<(), Error> {
    match Metadata::of(descriptor)?.kind {
        Kind::File | Kind::Folder => Ok(()),
        Kind::Symlink | Kind::Other => Err(Error::NotRegular),
    }
}

fn timespec(timestamp: Option<Timestamp>) -> Timespec {
    match timestamp {
        Some(timestamp) => {
            Timespec { tv_sec: timestamp.seconds, tv_nsec: timestamp.nanoseconds.into() }
        }
        None => Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_folder_and_a_name() {
        let table: &[(&str, Option<(&str, &str)>)] = &[
            ("a", Some(("", "a"))),
            ("a/b", Some(("a/", "b"))),
            ("a/b//", Some(("a/", "b"))),
            ("/a", Some(("/", "a"))),
            ("../a", Some(("../", "a"))),
            ("", None),
            ("/", None),
            (".", None),
            ("a/..", None),
            ("a/../", None),
        ];
        for (path, expected) in table {
            let expected = expected.map(|(folder, name)| (folder.as_bytes(), name.as_bytes()));
            assert_eq!(split(path.as_bytes()), expected, "{path}");
        }
    }
}
