//! What is served: a [`Storage`] of files and folders. A disk is one ([`Disk`]); a program that embeds
//! this crate may bring its memory or its database.
//!
//! Everything here may block and is called in the offload pool, never on an event loop, but for what
//! begins with `try_`.

mod disk;
mod memory;

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use medusa_files::{Timestamp, VirtualPath};

use crate::Error;

pub use disk::{Disk, Uploads};
pub use memory::Memory;

/// Files and folders, by paths that are normalised already: no `..`, no empty component, no NUL.
pub trait Storage: Send + Sync + 'static {
    /// What is known of a file or folder.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] as a rule.
    fn info(&self, path: &VirtualPath) -> Result<Info, Error>;

    /// The entries of a folder, one after the other, without `.` and `..`.
    ///
    /// # Errors
    ///
    /// [`Error::NotAFolder`] for a file.
    fn list(&self, path: &VirtualPath) -> Result<Entries, Error>;

    /// The content of a file.
    ///
    /// # Errors
    ///
    /// [`Error::IsAFolder`] for a folder.
    fn read(&self, path: &VirtualPath) -> Result<Content, Error>;

    /// What is known of a file or folder where nothing has to be waited for; `None` where something has, and unless it is
    /// implemented. Called on an event loop: it must not block.
    fn try_info(&self, path: &VirtualPath) -> Option<Result<Info, Error>> {
        let _ = path;
        None
    }

    /// The content of a file where nothing has to be waited for, as above.
    fn try_read(&self, path: &VirtualPath) -> Option<Result<Content, Error>> {
        let _ = path;
        None
    }

    /// Begins to write a file.
    ///
    /// # Errors
    ///
    /// [`Error::BeyondEnd`] where [`Start::At`] is behind the end, [`Error::Exists`] where
    /// [`Start::New`] finds the name taken.
    fn write(&self, path: &VirtualPath, start: Start) -> Result<Box<dyn Upload>, Error>;

    /// Whether [`write`](Self::write) would be refused as things stand, so that it can be told before data is
    /// sent. Changes nothing: the file is written when its first octets have come, or all of it has.
    ///
    /// # Errors
    ///
    /// Those of `write`, as far as they can be foreseen; none, unless it is implemented.
    fn check_write(&self, path: &VirtualPath, start: Start) -> Result<(), Error> {
        let _ = (path, start);
        Ok(())
    }

    /// How long the part is that a broken upload has left of a file that isn't there; [`Start::At`] and
    /// [`Start::End`] go on with it.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] where there is none, and unless it is implemented.
    fn part(&self, path: &VirtualPath) -> Result<u64, Error> {
        let _ = path;
        Err(Error::NotFound)
    }

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// [`Error::IsAFolder`] for a folder.
    fn remove_file(&self, path: &VirtualPath) -> Result<(), Error>;

    /// Removes an empty folder.
    ///
    /// # Errors
    ///
    /// [`Error::NotEmpty`].
    fn remove_folder(&self, path: &VirtualPath) -> Result<(), Error>;

    /// Makes a folder.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`].
    fn make_folder(&self, path: &VirtualPath) -> Result<(), Error>;

    /// Gives a file or folder another name. A file that has that name is replaced if `replace`.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] where something may not be replaced.
    fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: bool) -> Result<(), Error>;

    /// Sets when a file was last changed.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] unless it is implemented.
    fn set_modified(&self, path: &VirtualPath, modified: Timestamp) -> Result<(), Error> {
        let _ = (path, modified);
        Err(Error::Unsupported)
    }

    /// Sets the nine permission bits.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`] unless it is implemented.
    fn set_mode(&self, path: &VirtualPath, mode: u32) -> Result<(), Error> {
        let _ = (path, mode);
        Err(Error::Unsupported)
    }
}

/// The entries of a folder.
pub type Entries = Box<dyn Iterator<Item = Result<Entry, Error>> + Send>;

/// One entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, as the octets that it is.
    pub name: Vec<u8>,
    /// What is known of it.
    pub info: Info,
}

/// What is known of a file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Whether it is a folder.
    pub is_folder: bool,
    /// Its length in octets; of no meaning for a folder.
    pub len: u64,
    /// When it was last changed.
    pub modified: Timestamp,
    /// Permission bits, where there are any.
    pub mode: Option<u32>,
    /// What tells it from every other file of this storage, where there is such a thing.
    pub unique: Option<(u64, u64)>,
}

/// Where writing begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the beginning; what has the name is replaced.
    Empty,
    /// At the end of what is there; nothing need be there.
    End,
    /// At this offset; what stands before it stays, what stands behind it goes.
    At(u64),
    /// At the beginning of a file that must be new.
    New,
}

/// A file that is being written.
pub trait Upload: Send {
    /// Takes the next octets.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] above all.
    fn write(&mut self, octets: &[u8]) -> Result<(), Error>;

    /// Nothing more will come.
    ///
    /// # Errors
    ///
    /// The file could not be completed.
    fn end(self: Box<Self>, ending: Ending) -> Result<(), Error>;
}

/// How an upload ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All of it has come.
    Complete,
    /// The peer left or broke it off: what has come may be kept to be resumed.
    Cut,
    /// It can't be kept: what was there before is to be there again.
    Failed,
}

/// What can be read at any place, by blocking calls.
pub trait ReadAt: Send {
    /// Fills the front of `buffer` with what stands at `offset`, and says how much that was; 0 is the
    /// end.
    ///
    /// # Errors
    ///
    /// Whatever keeps it from being read.
    fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// The content of a file.
pub enum Content {
    /// An open file and its length: sent by the kernel where that can be.
    File(Arc<File>, u64),
    /// Octets in memory.
    Bytes(Bytes),
    /// Anything else, and its length.
    Other(Box<dyn ReadAt>, u64),
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Content {
    /// Its length in octets.
    pub fn len(&self) -> u64 {
        match self {
            Content::File(_, len) | Content::Other(_, len) => *len,
            Content::Bytes(bytes) => bytes.len() as u64,
        }
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills the front of `buffer` with what stands at `offset`, within the length.
    pub(crate) fn read_at(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.len().saturating_sub(offset);
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffer = &mut buffer[..most];
        match self {
            Content::File(file, _) => file.read_at(buffer, offset),
            Content::Other(other, _) => other.read_at(buffer, offset),
            Content::Bytes(bytes) => {
                let from = bytes.len() - left.min(bytes.len() as u64) as usize;
                buffer.copy_from_slice(&bytes[from..from + most]);
                Ok(most)
            }
        }
    }
}
