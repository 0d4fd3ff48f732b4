//! The entries of a folder, one after the other, in bounded memory.
//!
//! The order is the file system's: sorting a folder of a million entries is the business of
//! whoever can afford to hold them. How an entry is written for a client is the protocols'.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType};

use crate::{Error, Kind, Metadata, Root};

/// The entries of one folder, without `.` and `..`.
///
/// It holds one descriptor and one buffer, whatever the folder's size, and can be moved to another
/// thread between two entries.
#[derive(Debug)]
pub struct Listing {
    root: Root,
    path: Vec<u8>,
    directory: Dir,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the folder, as the bytes that it is.
    pub name: Vec<u8>,
    /// What it is, where the file system says so for free.
    pub kind: Option<Kind>,
    /// The number that names the file on its device.
    pub inode: u64,
}

impl Listing {
    pub(crate) fn new(root: Root, path: &[u8], folder: OwnedFd) -> Result<Self, Error> {
        Ok(Self { root, path: path.to_vec(), directory: Dir::new(folder)? })
    }

    /// What is known of an entry; a symbolic link is followed where the root allows it.
    ///
    /// An entry that went away meanwhile is [`Error::NotFound`].
    pub fn metadata(&self, entry: &Entry) -> Result<Metadata, Error> {
        let metadata = self.link_metadata(entry)?;
        if metadata.kind != Kind::Symlink {
            return Ok(metadata);
        }
        let mut path = self.path.clone();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(&entry.name);
        self.root.metadata(path)
    }

    /// What is known of an entry itself, where it is a symbolic link.
    pub fn link_metadata(&self, entry: &Entry) -> Result<Metadata, Error> {
        let folder = self.directory.fd()?;
        let stat = rustix::fs::statat(folder, &entry.name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(Metadata::from_stat(&stat))
    }
}

impl Iterator for Listing {
    type Item = Result<Entry, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.directory.read()? {
                Ok(entry) => entry,
                Err(errno) => return Some(Err(errno.into())),
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::RegularFile => Some(Kind::File),
                FileType::Directory => Some(Kind::Folder),
                FileType::Symlink => Some(Kind::Symlink),
                FileType::Unknown => None,
                _ => Some(Kind::Other),
            };
            return Some(Ok(Entry { name: name.to_vec(), kind, inode: entry.ino() }));
        }
    }
}
