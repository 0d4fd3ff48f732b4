//! A queue looked at from outside, while another process may work it: reading is always safe, as an envelope
//! is replaced as a whole, and what is to be changed is asked of that process.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{CONTROL, HELD, LOCK, MESSAGES, REMARKS, WAITING, control, entries_in, read_envelope};
use crate::{EntryId, Envelope, Error, Queued, Request};

/// The queue in a folder, as an operator's tool sees it. It needs no lock and makes nothing.
#[derive(Debug, Clone)]
pub struct QueueView {
    folder: PathBuf,
}

impl QueueView {
    /// Looks at the queue in `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] where there is none.
    pub fn open(folder: &Path) -> Result<QueueView, Error> {
        match folder.join(WAITING).is_dir() {
            true => Ok(QueueView { folder: folder.to_owned() }),
            false => Err(Error::Missing),
        }
    }

    /// All entries, oldest first. One may have gone when it is asked for.
    ///
    /// # Errors
    ///
    /// The folders can't be read.
    pub fn entries(&self) -> Result<Vec<Queued>, Error> {
        entries_in(&self.folder)
    }

    /// An entry's envelope.
    ///
    /// # Errors
    ///
    /// There is none, or it is damaged.
    pub fn envelope(&self, id: &EntryId) -> Result<Envelope, Error> {
        let places = [WAITING, HELD].map(|folder| self.folder.join(folder).join(id.as_ref()));
        match read_envelope(&places[0]) {
            Err(Error::Missing) => read_envelope(&places[1]),
            read => read,
        }
    }

    /// An entry's message.
    ///
    /// # Errors
    ///
    /// There is none.
    pub fn message(&self, id: &EntryId) -> Result<File, Error> {
        let path = self.folder.join(MESSAGES).join(id.as_ref());
        File::open(&path).map_err(Error::at(path))
    }

    /// What the process that works the queue has last said of it; nothing where it hasn't.
    pub fn remarks(&self) -> String {
        std::fs::read_to_string(self.folder.join(REMARKS)).unwrap_or_default()
    }

    /// Whether a process works the queue now.
    ///
    /// # Errors
    ///
    /// It can't be told.
    pub fn is_served(&self) -> Result<bool, Error> {
        let path = self.folder.join(LOCK);
        let lock = File::open(&path).map_err(Error::at(&path))?;
        // Shared, and gone with the file: a server that starts in this moment is told to try again.
        match flock(&lock, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(errno) => Err(Error::at(path)(errno.into())),
        }
    }

    /// Leaves a request for the process that works the queue, or will: it is seen to within a second or
    /// two, or when one starts.
    ///
    /// # Errors
    ///
    /// It can't be written.
    pub fn ask(&self, request: &Request) -> Result<(), Error> {
        control::put(&self.folder.join(CONTROL), request)
    }
}
