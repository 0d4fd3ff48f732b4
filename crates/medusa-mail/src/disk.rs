//! The steps by which mail gets to disk, each of them a method, so that a test can let any of them fail
//! and see what is left. Reading is done by `std::fs`: it can lose nothing.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// What writes, links and syncs.
pub trait Disk: Debug + Send + Sync {
    /// Makes a file that mustn't exist, for this user alone.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Gives a file a second name.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file another name on the same file system.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a name away.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder for this user alone; says whether it is new.
    ///
    /// # Errors
    ///
    /// What the system says, but for one that is there already.
    fn make_folder(&self, path: &Path) -> io::Result<bool>;

    /// Has the names in a folder reach the disk.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// A file that is being written.
pub trait DiskFile: Debug + Send {
    /// Writes some of `bytes`, and says how many.
    ///
    /// # Errors
    ///
    /// What the system says.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Has the system begin to write what it holds, without waiting.
    fn begin_sync(&self) {}

    /// Has the content reach the disk.
    ///
    /// # Errors
    ///
    /// What the system says. What was written since the last success may be lost then, and a second
    /// attempt may succeed without writing it: the file is to be given up.
    fn sync(&mut self) -> io::Result<()>;
}

/// Writes all of `bytes`.
pub(crate) fn write_all(file: &mut dyn DiskFile, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = &bytes[count.min(bytes.len())..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The disk as the system has it.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile {
    file: File,
    octets: u64,
}

/// Two pages of the smallest size.
#[cfg(target_os = "linux")]
const TWO_PAGES: u64 = 8192;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Box::new(RealFile { file, octets: 0 }))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<bool> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

impl DiskFile for RealFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.octets += count as u64;
        Ok(count)
    }

    fn begin_sync(&self) {
        // Linux begins to write a file's pages when it is told that they won't be needed. Only advice: what
        // it doesn't do, the sync does. Then it drops those that lie wholly within what was named, and finds
        // them busy, which has it interrupt every processor: without the first octet and the last, a small
        // file has no such page.
        #[cfg(target_os = "linux")]
        {
            let (start, count) = match self.octets {
                0..=2 => return,
                octets @ ..=TWO_PAGES => (1, octets - 2),
                octets => (0, octets),
            };
            let count = std::num::NonZero::new(count);
            let _ = rustix::fs::fadvise(&self.file, start, count, rustix::fs::Advice::DontNeed);
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_all()
    }
}
