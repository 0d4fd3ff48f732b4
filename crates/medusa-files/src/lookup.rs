//! From a name to a descriptor, never leaving the root.
//!
//! Two ways that answer alike. `openat2(RESOLVE_BENEATH)` lets the kernel watch the whole walk.
//! The component-wise way opens one component at a time without following links, reads each link
//! from the descriptor it has in hand, and goes back by popping descriptors rather than by opening
//! `..`; nothing that is swapped meanwhile can turn it outwards. No flags are decided here but
//! those that keep a look-up from following or leaving.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::Error;
use crate::path::PATH_MAX;

/// How many symbolic links one look-up follows: the kernel's own `MAXSYMLINKS`.
const MAX_LINKS: usize = 40;
/// How deep the component-wise way goes. It holds a descriptor for each folder on the way, and a
/// deep name must not use up the process's.
const MAX_DEPTH: usize = 128;
/// How often a look-up that lost a race against a rename is tried again before it is walked.
const MAX_RACES: usize = 8;

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symlinks {
    /// Those that stay beneath the root all along. An absolute link doesn't, wherever it leads.
    #[default]
    Beneath,
    /// None: a name with a link in it is refused.
    Refused,
}

/// How names are looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lookup {
    /// By `openat2` where the kernel and its filters allow it, else component by component.
    #[default]
    Detected,
    /// Component by component. It is slower, and there to be tested on any kernel.
    ComponentWise,
}

/// Whether a look-up may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Allowed,
    Refused,
}

/// A directory with the settled way of looking names up beneath it.
#[derive(Debug)]
pub(crate) struct Beneath {
    directory: OwnedFd,
    symlinks: Symlinks,
    has_openat2: bool,
}

impl Beneath {
    pub(crate) fn new(directory: OwnedFd, symlinks: Symlinks, lookup: Lookup) -> Self {
        let has_openat2 = lookup == Lookup::Detected && {
            // ENOSYS before Linux 5.6; EPERM from system-call filters that don't know it.
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::openat2(&directory, ".", flags, Mode::empty(), ResolveFlags::BENEATH)
                .is_ok()
        };
        Self { directory, symlinks, has_openat2 }
    }

    pub(crate) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// The same way of looking up beneath another directory.
    pub(crate) fn beneath(&self, directory: OwnedFd) -> Self {
        Self { directory, symlinks: self.symlinks, has_openat2: self.has_openat2 }
    }

    /// Opens a name; an empty one is the root.
    pub(crate) fn open(
        &self,
        path: &[u8],
        flags: OFlags,
        mode: Mode,
        wait: Wait,
    ) -> Result<OwnedFd, Error> {
        if path.len() > PATH_MAX || path.contains(&0) {
            return Err(Error::InvalidName);
        }
        let path = if path.is_empty() { b"." } else { path };
        // Never a controlling terminal, never waiting for a FIFO's other end.
        let mut flags = flags | OFlags::CLOEXEC;
        if !flags.contains(OFlags::PATH) {
            flags |= OFlags::NONBLOCK | OFlags::NOCTTY;
        }
        let opened = match (self.has_openat2, wait) {
            (true, wait) => self.open_by_openat2(path, flags, mode, wait),
            // The component-wise way can't ask for the cache alone.
            (false, Wait::Refused) => return Err(Error::WouldBlock),
            (false, Wait::Allowed) => self.walk(path, flags, mode),
        };
        opened.map_err(|errno| match errno {
            Errno::XDEV => Error::EscapesRoot,
            Errno::AGAIN if wait == Wait::Refused => Error::WouldBlock,
            other => other.into(),
        })
    }

    fn open_by_openat2(
        &self,
        path: &[u8],
        flags: OFlags,
        mode: Mode,
        wait: Wait,
    ) -> Result<OwnedFd, Errno> {
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        if self.symlinks == Symlinks::Refused {
            resolve |= ResolveFlags::NO_SYMLINKS;
        }
        if wait == Wait::Refused {
            let resolve = resolve | ResolveFlags::CACHED;
            return match rustix::fs::openat2(&self.directory, path, flags, mode, resolve) {
                // Linux 5.6 to 5.11 have no RESOLVE_CACHED.
                Err(Errno::INVAL) => Err(Errno::AGAIN),
                result => result,
            };
        }
        for _ in 0..MAX_RACES {
            match rustix::fs::openat2(&self.directory, path, flags, mode, resolve) {
                // A rename anywhere on the machine while a `..` was resolved.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
        self.walk(path, flags, mode)
    }

    fn walk(&self, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
        let mut folders: Vec<OwnedFd> = Vec::new();
        let mut rest = path.to_vec();
        // Links followed and races lost: both are bounded by the same number.
        let mut turns = 0;
        refuse_absolute(&rest)?;
        loop {
            let current = folders.last().map_or(self.directory.as_fd(), AsFd::as_fd);
            let (component, after) = split_first(&rest);
            match (component, after) {
                (b".", None) => {
                    return rustix::fs::openat(current, ".", flags | OFlags::NOFOLLOW, mode);
                }
                (b".", Some(after)) => rest = after.to_vec(),
                (b"..", after) => {
                    // At the root: the way out.
                    folders.pop().ok_or(Errno::XDEV)?;
                    rest = after.unwrap_or(b".").to_vec();
                }
                (name, after) => {
                    let step = match after {
                        Some(_) => enter(current, name),
                        None => open_last(current, name, flags, mode),
                    }?;
                    match (step, after) {
                        (Step::Opened(opened), None) => return Ok(opened),
                        (Step::Opened(folder), Some(after)) => {
                            rest = after.to_vec();
                            folders.push(folder);
                            if folders.len() > MAX_DEPTH {
                                return Err(Errno::NAMETOOLONG);
                            }
                        }
                        (Step::Raced, _) => turns += 1,
                        (Step::Link(_), _) if self.symlinks == Symlinks::Refused => {
                            return Err(Errno::LOOP);
                        }
                        (Step::Link(mut target), after) => {
                            turns += 1;
                            refuse_absolute(&target)?;
                            if let Some(after) = after {
                                target.push(b'/');
                                target.extend_from_slice(after);
                            }
                            rest = target;
                        }
                    }
                    if turns > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                }
            }
        }
    }
}

/// What one component turned out to be.
enum Step {
    Opened(OwnedFd),
    Link(Vec<u8>),
    /// It became something else between two looks: look again.
    Raced,
}

/// Enters a folder in the middle of a name.
fn enter(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Step, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let entered = rustix::fs::openat(folder, name, flags, Mode::empty())?;
    match file_type(&entered)? {
        FileType::Directory => Ok(Step::Opened(entered)),
        FileType::Symlink => read_link(&entered).map(Step::Link),
        _ => Err(Errno::NOTDIR),
    }
}

/// Opens the last component as it was asked for.
fn open_last(
    folder: BorrowedFd<'_>,
    name: &[u8],
    flags: OFlags,
    mode: Mode,
) -> Result<Step, Errno> {
    let follows = !flags.contains(OFlags::NOFOLLOW) && !flags.contains(OFlags::EXCL);
    if follows {
        let peek = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(folder, name, peek, Mode::empty()) {
            Ok(peeked) => match file_type(&peeked)? {
                FileType::Symlink => return read_link(&peeked).map(Step::Link),
                // What is seen is what is handed out: there is no second look to race with.
                _ if flags == OFlags::PATH | OFlags::CLOEXEC => return Ok(Step::Opened(peeked)),
                _ => {}
            },
            Err(Errno::NOENT) if flags.contains(OFlags::CREATE) => {}
            Err(errno) => return Err(errno),
        }
    }
    match rustix::fs::openat(folder, name, flags | OFlags::NOFOLLOW, mode) {
        // It became a symbolic link since (which O_DIRECTORY reports as ENOTDIR).
        Err(Errno::LOOP) if follows => Ok(Step::Raced),
        Err(Errno::NOTDIR) if follows && flags.contains(OFlags::DIRECTORY) => {
            let peek = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let peeked = rustix::fs::openat(folder, name, peek, Mode::empty())?;
            match file_type(&peeked)? {
                FileType::Symlink => Ok(Step::Raced),
                _ => Err(Errno::NOTDIR),
            }
        }
        opened => opened.map(Step::Opened),
    }
}

fn file_type(descriptor: &OwnedFd) -> Result<FileType, Errno> {
    Ok(FileType::from_raw_mode(rustix::fs::fstat(descriptor)?.st_mode))
}

/// Reads the link that the descriptor itself stands for, whatever its name now leads to.
fn read_link(link: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let target = rustix::fs::readlinkat(link, "", Vec::new())?.into_bytes();
    if target.is_empty() { Err(Errno::NOENT) } else { Ok(target) }
}

fn refuse_absolute(path: &[u8]) -> Result<(), Errno> {
    if path.starts_with(b"/") { Err(Errno::XDEV) } else { Ok(()) }
}

/// Cuts off the first component. What comes after it is `None` at the end of the name; a slash at
/// the end asks for a folder, which is the same as `.` after it.
fn split_first(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|&byte| byte == b'/') {
        None => (path, None),
        Some(slash) => {
            let after = &path[slash..];
            let start = after.iter().position(|&byte| byte != b'/');
            (&path[..slash], Some(start.map_or(b".", |start| &after[start..])))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_are_cut_as_the_kernel_cuts_them() {
        assert_eq!(split_first(b"a"), (&b"a"[..], None));
        assert_eq!(split_first(b"a/b"), (&b"a"[..], Some(&b"b"[..])));
        assert_eq!(split_first(b"a///b/c"), (&b"a"[..], Some(&b"b/c"[..])));
        assert_eq!(split_first(b"a//"), (&b"a"[..], Some(&b"."[..])));
    }
}
