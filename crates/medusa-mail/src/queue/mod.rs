//! A queue that survives: one folder a state, a message and its envelope a file each.
//!
//! | folder | holds |
//! |---|---|
//! | `incoming` | envelopes that are being written |
//! | `messages` | the messages of all entries |
//! | `waiting` | envelopes of entries to be sent: **an entry exists once its envelope is here** |
//! | `held` | envelopes that nothing is done with until they are released |
//! | `control` | what an operator asks of the process that works the queue |
//!
//! The file `remarks` holds what that process says to operators.
//!
//! Nothing is sent here, and nothing is decided about retries: that is the protocol's.

mod control;
mod envelope;
mod owners;
mod view;

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

pub use control::{Action, Request};
pub use envelope::{Body, Envelope, Recipient};
pub use owners::{QueueOwners, same_folder};
pub use view::QueueView;

use crate::commit::{Commits, Committer, Move, Retirement, Then, Transaction};
use crate::disk::write_all;
use crate::maildir::unique_name;
use crate::{Disk, DiskFile, Error};

const INCOMING: &str = "incoming";
const MESSAGES: &str = "messages";
const WAITING: &str = "waiting";
const HELD: &str = "held";
const CONTROL: &str = "control";
const LOCK: &str = "lock";
const REMARKS: &str = "remarks";
const NEW_REMARKS: &str = "remarks.new";

/// The most that a new envelope may take: one of a thousand recipients is far shorter.
const SEALED_OCTETS: usize = 4 << 20;
/// The most that is written and read as an envelope later: attempts add to it.
const ENVELOPE_OCTETS: usize = 16 << 20;

/// Names an entry for as long as it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(String);

impl EntryId {
    /// Reads what [`Display`](fmt::Display) wrote.
    ///
    /// # Errors
    ///
    /// It can't be an id.
    pub fn parse(text: &str) -> Result<EntryId, Error> {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'.';
        match !text.is_empty()
            && text.len() <= 128
            && !text.starts_with('.')
            && text.bytes().all(plain)
        {
            true => Ok(EntryId(text.to_owned())),
            false => Err(Error::Name(text.to_owned())),
        }
    }
}

impl AsRef<str> for EntryId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An entry as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Its name.
    pub id: EntryId,
    /// Whether it waits until it is released.
    pub held: bool,
}

/// Keeps messages with their envelopes. Methods block, but for [`Queuing::commit`].
pub trait Queue: Send + Sync {
    /// Does what belongs to the start of a server, before anything is asked: what a crash left behind is
    /// put in order. May be called again.
    ///
    /// # Errors
    ///
    /// The queue can't be used now. It may be later.
    fn prepare(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Takes what an operator has asked for since the last call, each request once.
    ///
    /// # Errors
    ///
    /// They can't be read now.
    fn requests(&self) -> Result<Vec<Request>, Error> {
        Ok(Vec::new())
    }

    /// Leaves a text for whoever [looks at](QueueView::remarks) the queue, in place of the one before. It
    /// needs not survive anything.
    ///
    /// # Errors
    ///
    /// It can't be written.
    fn remark(&self, text: &str) -> Result<(), Error> {
        let _ = text;
        Ok(())
    }

    /// What it is called in logs: its folder, say.
    fn name(&self) -> String {
        "the queue".into()
    }

    /// Begins an entry.
    ///
    /// # Errors
    ///
    /// Nothing can be written.
    fn begin(&self) -> Result<Box<dyn Queuing>, Error>;

    /// All entries, oldest first.
    ///
    /// # Errors
    ///
    /// The queue can't be read.
    fn entries(&self) -> Result<Vec<Queued>, Error>;

    /// An entry's envelope.
    ///
    /// # Errors
    ///
    /// There is none, or it is damaged.
    fn envelope(&self, id: &EntryId) -> Result<Envelope, Error>;

    /// An entry's message.
    ///
    /// # Errors
    ///
    /// There is none.
    fn message(&self, id: &EntryId) -> Result<File, Error>;

    /// Puts another envelope in an entry's place, durably: what an attempt has changed.
    ///
    /// # Errors
    ///
    /// The old one stands.
    fn update(&self, id: &EntryId, envelope: &Envelope) -> Result<(), Error>;

    /// Sets an entry aside, or back.
    ///
    /// # Errors
    ///
    /// There is no such entry, or it can't be moved.
    fn hold(&self, id: &EntryId, held: bool) -> Result<(), Error>;

    /// Ends an entry, durably: it was sent, or given up.
    ///
    /// # Errors
    ///
    /// It may come back after a crash.
    fn remove(&self, id: &EntryId) -> Result<(), Error>;

    /// As [`remove`](Self::remove); calls `then` once it is certain, where that can share what it costs with
    /// others without blocking.
    fn retire(&self, id: &EntryId, then: Then) {
        then(self.remove(id));
    }
}

/// An entry on its way. Dropped, it was never there.
pub trait Queuing: Send {
    /// Its name to be.
    fn id(&self) -> &EntryId;

    /// Writes what came next of the message, lines ended by CRLF.
    ///
    /// # Errors
    ///
    /// It isn't written whole: the entry is to be given up.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Writes the envelope, after the message. Blocks.
    ///
    /// # Errors
    ///
    /// The entry is to be given up; [`Error::TooLong`] will be so another time.
    fn seal(&mut self, envelope: &Envelope) -> Result<(), Error>;

    /// Has the sealed entry reach the disk, and calls `then` once that is certain. Doesn't block.
    fn commit(self: Box<Self>, then: Then);
}

/// The queue in a folder, for one process at a time.
#[derive(Debug, Clone)]
pub struct DiskQueue(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    commits: Commits,
    /// Once it was needed for the first time.
    opened: Mutex<Option<Arc<Shared>>>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    committer: Committer,
    /// Kept open for its lock.
    _lock: File,
}

impl DiskQueue {
    /// The queue in `folder`, which is made if it isn't there. Nothing is touched before it is
    /// [prepared](Queue::prepare) or used for the first time: until then another process may have it, and
    /// this one may yet become another user.
    pub fn at(folder: &Path, disk: Arc<dyn Disk>, commits: Commits) -> DiskQueue {
        let opened = Mutex::default();
        DiskQueue(Arc::new(Handle { folder: folder.to_owned(), disk, commits, opened }))
    }

    /// Whether there can be a queue in `folder`. Nothing is made or changed.
    ///
    /// # Errors
    ///
    /// There is something else.
    pub fn check(folder: &Path) -> Result<(), Error> {
        let existing = folder.ancestors().find(|path| path.exists());
        match existing.is_some_and(|path| !path.is_dir()) {
            true => Err(Error::at(folder)(std::io::ErrorKind::NotADirectory.into())),
            false => Ok(()),
        }
    }

    /// Opens the queue in `folder`, which is made if it isn't there, and puts it in order after a crash:
    /// what was never accepted is removed, and everything that was is waiting again.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] where another has it open; it can't be used.
    pub fn open(folder: &Path, disk: Arc<dyn Disk>, commits: Commits) -> Result<DiskQueue, Error> {
        let queue = DiskQueue::at(folder, disk, commits);
        queue.prepare()?;
        Ok(queue)
    }

    fn shared(&self) -> Result<Arc<Shared>, Error> {
        let Handle { folder, disk, commits, opened } = &*self.0;
        let mut opened = opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) = &*opened {
            return Ok(Arc::clone(shared));
        }
        let shared = Arc::new(Shared::open(folder, Arc::clone(disk), *commits)?);
        Ok(Arc::clone(opened.insert(shared)))
    }
}

impl Shared {
    fn open(folder: &Path, disk: Arc<dyn Disk>, commits: Commits) -> Result<Shared, Error> {
        fs::create_dir_all(folder).map_err(Error::at(folder))?;
        let path = folder.join(LOCK);
        let options = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = options.map_err(Error::at(&path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Error::InUse),
            Err(errno) => return Err(Error::at(path)(errno.into())),
        }
        for name in [INCOMING, MESSAGES, WAITING, HELD, CONTROL] {
            let below = folder.join(name);
            disk.make_folder(&below).map_err(Error::at(&below))?;
        }
        disk.sync_folder(folder).map_err(Error::at(folder))?;
        let committer = Committer::new(Arc::clone(&disk), commits)?;
        let shared = Shared { folder: folder.to_owned(), disk, committer, _lock: lock };
        shared.recover()?;
        Ok(shared)
    }
}

impl Queue for DiskQueue {
    fn name(&self) -> String {
        self.0.folder.display().to_string()
    }

    fn prepare(&self) -> Result<(), Error> {
        self.shared().map(|_| ())
    }

    fn requests(&self) -> Result<Vec<Request>, Error> {
        control::take(&self.shared()?.folder.join(CONTROL))
    }

    fn remark(&self, text: &str) -> Result<(), Error> {
        let shared = self.shared()?;
        let (path, new) = (shared.folder.join(REMARKS), shared.folder.join(NEW_REMARKS));
        fs::write(&new, text).map_err(Error::at(&new))?;
        fs::rename(&new, &path).map_err(Error::at(path))
    }

    fn begin(&self) -> Result<Box<dyn Queuing>, Error> {
        let shared = self.shared()?;
        let id = EntryId::parse(&unique_name()?)?;
        let path = shared.path(MESSAGES, &id);
        let message = shared.disk.create(&path).map_err(Error::at(&path))?;
        Ok(Box::new(Arriving { shared, id, message: Some(message), envelope: None }))
    }

    fn entries(&self) -> Result<Vec<Queued>, Error> {
        entries_in(&self.shared()?.folder)
    }

    fn envelope(&self, id: &EntryId) -> Result<Envelope, Error> {
        let (path, _) = self.shared()?.find(id)?;
        read_envelope(&path)
    }

    fn message(&self, id: &EntryId) -> Result<File, Error> {
        let path = self.shared()?.path(MESSAGES, id);
        File::open(&path).map_err(Error::at(path))
    }

    fn update(&self, id: &EntryId, envelope: &Envelope) -> Result<(), Error> {
        let shared = self.shared()?;
        let bytes = bounded(envelope, ENVELOPE_OCTETS)?;
        let (path, folder) = shared.find(id)?;
        let temporary = shared.path(INCOMING, id);
        let disk = &*shared.disk;
        let write = || {
            let mut file = disk.create(&temporary).map_err(Error::at(&temporary))?;
            write_all(&mut *file, &bytes).map_err(Error::at(&temporary))?;
            file.sync().map_err(Error::at(&temporary))?;
            disk.rename(&temporary, &path).map_err(Error::at(&path))
        };
        let written = write();
        if written.is_err() {
            let _ = disk.remove(&temporary);
        }
        written?;
        shared.sync(folder)
    }

    fn hold(&self, id: &EntryId, held: bool) -> Result<(), Error> {
        let shared = self.shared()?;
        let (path, from) = shared.find(id)?;
        let to = if held { HELD } else { WAITING };
        if from == to {
            return Ok(());
        }
        shared.disk.rename(&path, &shared.path(to, id)).map_err(Error::at(path))?;
        // The new name first: in between, a crash may leave both, and recovery knows that.
        shared.sync(to)?;
        shared.sync(from)
    }

    fn remove(&self, id: &EntryId) -> Result<(), Error> {
        let shared = self.shared()?;
        let (path, folder) = shared.find(id)?;
        shared.disk.remove(&path).map_err(Error::at(path))?;
        // A message without an envelope is swept at the next start; one that comes back is sent twice.
        shared.sync(folder)?;
        let path = shared.path(MESSAGES, id);
        match shared.disk.remove(&path).map_err(Error::at(path)) {
            // An entry without one is held, and can be ended like any other.
            Err(Error::Missing) => Ok(()),
            removed => removed,
        }
    }

    fn retire(&self, id: &EntryId, then: Then) {
        let found = self.shared().and_then(|shared| Ok((shared.find(id)?.0, shared)));
        match found {
            Ok((name, shared)) => {
                let content = shared.path(MESSAGES, id);
                shared.committer.retire(Retirement { name, content, then });
            }
            Err(error) => then(Err(error)),
        }
    }
}

impl Shared {
    fn path(&self, folder: &str, id: &EntryId) -> PathBuf {
        self.folder.join(folder).join(&id.0)
    }

    fn sync(&self, folder: &str) -> Result<(), Error> {
        let path = self.folder.join(folder);
        self.disk.sync_folder(&path).map_err(Error::at(path))
    }

    /// Where an entry's envelope is.
    fn find(&self, id: &EntryId) -> Result<(PathBuf, &'static str), Error> {
        [WAITING, HELD]
            .into_iter()
            .map(|folder| (self.path(folder, id), folder))
            .find(|(path, _)| fs::symlink_metadata(path).is_ok())
            .ok_or(Error::Missing)
    }

    fn ids(&self, folder: &str) -> Result<Vec<EntryId>, Error> {
        ids_in(&self.folder.join(folder))
    }

    fn recover(&self) -> Result<(), Error> {
        for id in self.ids(INCOMING)? {
            let path = self.path(INCOMING, &id);
            self.disk.remove(&path).map_err(Error::at(path))?;
        }
        for id in self.ids(MESSAGES)? {
            if let Err(Error::Missing) = self.find(&id) {
                let path = self.path(MESSAGES, &id);
                self.disk.remove(&path).map_err(Error::at(path))?;
            }
        }
        for id in self.ids(HELD)? {
            let double = self.path(WAITING, &id);
            if fs::symlink_metadata(&double).is_ok() {
                self.disk.remove(&double).map_err(Error::at(double))?;
            }
        }
        for id in self.ids(WAITING)? {
            if fs::symlink_metadata(self.path(MESSAGES, &id)).is_err() {
                tracing::error!(entry = %id, "a queue entry has no message; it is held");
                let path = self.path(WAITING, &id);
                self.disk.rename(&path, &self.path(HELD, &id)).map_err(Error::at(path))?;
            }
        }
        Ok(())
    }
}

struct Arriving {
    shared: Arc<Shared>,
    id: EntryId,
    /// Gone once it is being committed.
    message: Option<Box<dyn DiskFile>>,
    envelope: Option<Box<dyn DiskFile>>,
}

impl Queuing for Arriving {
    fn id(&self) -> &EntryId {
        &self.id
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(file) = &mut self.message else { return Err(Error::Missing) };
        write_all(&mut **file, bytes).map_err(Error::at(self.shared.path(MESSAGES, &self.id)))
    }

    fn seal(&mut self, envelope: &Envelope) -> Result<(), Error> {
        let bytes = bounded(envelope, SEALED_OCTETS)?;
        let path = self.shared.path(INCOMING, &self.id);
        let mut file = self.shared.disk.create(&path).map_err(Error::at(&path))?;
        let written = write_all(&mut *file, &bytes);
        self.envelope = Some(file);
        written.map_err(Error::at(path))
    }

    fn commit(mut self: Box<Self>, then: Then) {
        let (Some(message), Some(envelope)) = (self.message.take(), self.envelope.take()) else {
            return then(Err(Error::Envelope("never written")));
        };
        let message_path = self.shared.path(MESSAGES, &self.id);
        let incoming = self.shared.path(INCOMING, &self.id);
        self.shared.committer.commit(Transaction {
            files: vec![(message_path.clone(), message), (incoming.clone(), envelope)],
            before: vec![self.shared.folder.join(MESSAGES)],
            moves: vec![Move {
                from: incoming.clone(),
                to: self.shared.path(WAITING, &self.id),
                link: false,
            }],
            remains: vec![incoming, message_path],
            then,
        });
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let mut remains = Vec::new();
        if self.message.take().is_some() {
            remains.push(self.shared.path(MESSAGES, &self.id));
        }
        if self.envelope.take().is_some() {
            remains.push(self.shared.path(INCOMING, &self.id));
        }
        if !remains.is_empty() {
            self.shared.committer.discard(remains);
        }
    }
}

/// What can't be read again isn't written.
fn bounded(envelope: &Envelope, most: usize) -> Result<Vec<u8>, Error> {
    let bytes = envelope.to_bytes();
    if bytes.len() > most { Err(Error::TooLong) } else { Ok(bytes) }
}

fn read_envelope(path: &Path) -> Result<Envelope, Error> {
    let length = fs::metadata(path).map_err(Error::at(path))?.len();
    if length > ENVELOPE_OCTETS as u64 {
        return Err(Error::Envelope("too long"));
    }
    Envelope::parse(&fs::read(path).map_err(Error::at(path))?)
}

/// All entries of the queue in a folder, oldest first.
fn entries_in(folder: &Path) -> Result<Vec<Queued>, Error> {
    let mut entries = Vec::new();
    for (name, held) in [(WAITING, false), (HELD, true)] {
        let ids = ids_in(&folder.join(name))?;
        entries.extend(ids.into_iter().map(|id| Queued { id, held }));
    }
    entries.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(entries)
}

/// The names in a folder that are ids.
fn ids_in(path: &Path) -> Result<Vec<EntryId>, Error> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(path).map_err(Error::at(path))? {
        let entry = entry.map_err(Error::at(path))?;
        ids.extend(entry.file_name().to_str().and_then(|name| EntryId::parse(name).ok()));
    }
    Ok(ids)
}

/// Seconds since 1970, as envelopes have them.
pub(crate) fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
