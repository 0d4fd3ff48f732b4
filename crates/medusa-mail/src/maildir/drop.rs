//! A Maildir opened for reading and removing, by one reader at a time.
//!
//! The lock is a `flock`, which ends with the process however that ends. It keeps out other readers of this
//! kind and not deliveries, which need no lock; other programs may move and remove messages meanwhile,
//! so a message is looked for again where it isn't found.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::name;
use crate::measured::Sizes;
use crate::store::{Content, Maildrop, Message};
use crate::{Disk, Error};

const LOCK: &str = "medusa-reader-lock";
const FOLDERS: [&str; 2] = ["new", "cur"];

/// A maildrop as it was when it was opened.
#[derive(Debug)]
pub(super) struct Opened {
    folder: PathBuf,
    disk: Arc<dyn Disk>,
    messages: Vec<Message>,
    /// Where each message was seen: the folder's index, and the file's name.
    places: Vec<(usize, String)>,
    /// Kept open for its lock.
    _lock: File,
}

impl Opened {
    /// Locks and lists a Maildir.
    pub(super) fn new(folder: PathBuf, disk: Arc<dyn Disk>) -> Result<Opened, Error> {
        let path = folder.join(LOCK);
        let options = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = options.map_err(Error::at(&path))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(Error::InUse),
            Err(errno) => return Err(Error::at(path)(errno.into())),
        }
        let mut found = Vec::new();
        for place in list(&folder)? {
            if let Some(message) = measure(&folder, &place)? {
                found.push((message, place));
            }
        }
        // By the time in the name; one that has none stands at the front, as very old.
        found.sort_by_cached_key(|(_, (_, name))| (time_of(name), name.clone()));
        let (messages, places) =
            found.into_iter().map(|((message, name), (index, _))| (message, (index, name))).unzip();
        Ok(Opened { folder, disk, messages, places, _lock: lock })
    }

    /// Where a message is now, if it is anywhere.
    fn find(&self, index: usize) -> Result<PathBuf, Error> {
        let (Some(message), Some((at, name))) = (self.messages.get(index), self.places.get(index))
        else {
            return Err(Error::Missing);
        };
        let path = self.folder.join(FOLDERS[*at]).join(name);
        if fs::symlink_metadata(&path).is_ok() {
            return Ok(path);
        }
        let same = |name: &str| {
            name::parse(name).is_some_and(|n| name::unique_id(n.base) == message.unique_id)
        };
        let moved = list(&self.folder)?.into_iter().find(|(_, name)| same(name));
        moved.map(|(at, name)| self.folder.join(FOLDERS[at]).join(name)).ok_or(Error::Missing)
    }
}

impl Maildrop for Opened {
    fn messages(&self) -> &[Message] {
        &self.messages
    }

    fn read(&self, index: usize) -> Result<Content, Error> {
        // Nearly always where it was seen.
        if let Some((at, name)) = self.places.get(index)
            && let Ok(file) = File::open(self.folder.join(FOLDERS[*at]).join(name))
        {
            return Ok(file.into());
        }
        let path = self.find(index)?;
        File::open(&path).map(Content::from).map_err(Error::at(path))
    }

    fn remove(&self, indices: &[usize]) -> Result<(), Error> {
        let mut outcome = Ok(());
        for &index in indices {
            let removed = match self.find(index) {
                Ok(path) => self.disk.remove(&path).map_err(Error::at(path)),
                Err(error) => Err(error),
            };
            if let Err(error) = removed
                && !matches!(error, Error::Missing)
                && outcome.is_ok()
            {
                outcome = Err(error);
            }
        }
        for folder in FOLDERS {
            let path = self.folder.join(folder);
            if let (Err(error), Ok(())) = (self.disk.sync_folder(&path), &outcome) {
                outcome = Err(Error::at(path)(error));
            }
        }
        outcome
    }
}

/// Every message in `new` and `cur`.
fn list(folder: &Path) -> Result<Vec<(usize, String)>, Error> {
    let mut places = Vec::new();
    for (index, name) in FOLDERS.iter().enumerate() {
        let path = folder.join(name);
        for entry in fs::read_dir(&path).map_err(Error::at(&path))? {
            let entry = entry.map_err(Error::at(&path))?;
            // A name that isn't UTF-8 is no Maildir program's.
            if let Ok(name) = entry.file_name().into_string()
                && name::parse(&name).is_some()
            {
                places.push((index, name));
            }
        }
    }
    Ok(places)
}

/// What is known of a message, and its name. What the name doesn't say is measured once and said from then
/// on. `None` for one that has gone, or is no file.
fn measure(
    folder: &Path,
    (index, name): &(usize, String),
) -> Result<Option<(Message, String)>, Error> {
    let Some(parsed) = name::parse(name) else { return Ok(None) };
    let unique_id = name::unique_id(parsed.base);
    if let Some(sizes) = parsed.sizes() {
        return Ok(Some((Message::with_sizes(unique_id, &sizes), name.clone())));
    }
    let path = folder.join(FOLDERS[*index]).join(name);
    let sizes = match sizes(&path) {
        Ok(Some(sizes)) => sizes,
        Ok(None) => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::at(path)(error)),
    };
    // What the name says is taken, now as the next time.
    let sizes = Sizes {
        size: parsed.size.unwrap_or(sizes.size),
        wire_size: parsed.wire_size.unwrap_or(sizes.wire_size),
        ..sizes
    };
    // All: a name that doesn't say one of them would be measured each time.
    let told = name::with_missing_sizes(name, &sizes);
    let renamed = fs::rename(&path, path.with_file_name(&told)).is_ok();
    let name = if renamed { told } else { name.clone() };
    Ok(Some((Message::with_sizes(unique_id, &sizes), name)))
}

/// What a file's sizes are; `None` for what is no file.
fn sizes(path: &Path) -> io::Result<Option<Sizes>> {
    if !fs::symlink_metadata(path)?.is_file() {
        return Ok(None);
    }
    Sizes::of(File::open(path)?).map(Some)
}

fn time_of(name: &str) -> u64 {
    name.split('.').next().and_then(|time| time.parse().ok()).unwrap_or(0)
}
