//! Maildirs by the book: written in `tmp`, synced, moved into `new`, the folder synced
//! (<https://cr.yp.to/proto/maildir.html>). A message for several accounts is one file with a name in each
//! maildrop.
//!
//! Messages are kept as they go over the wire, with CRLF (Dovecot's `mail_save_crlf`), so that nothing has
//! to be converted or counted when they are read. Flags and folders are left to other programs.

mod drop;
mod name;

pub(crate) use name::unique as unique_name;
pub(crate) use name::unique_id;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use crate::commit::{Commits, Committer, Move, Then, Transaction};
use crate::disk::write_all;
use crate::measured::Measured;
use crate::store::{Incoming, MailStore, Maildrop};
use crate::{Disk, DiskFile, Error, RealDisk};

/// A file in `tmp` that is older belongs to nobody any more (the protocol's own number).
const TMP_AGE: Duration = Duration::from_secs(36 * 60 * 60);

/// Held shared by every process that delivers here, so that one that starts alone knows that it is.
const LOCK: &str = ".medusa-lock";

/// A folder with a Maildir for each account.
#[derive(Debug, Clone)]
pub struct MaildirStore {
    place: Arc<Place>,
    quota: Option<u64>,
}

/// Where a store is, and what it has open there once it is used.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    host: String,
    shared: Mutex<Option<Arc<Shared>>>,
}

#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    host: String,
    disk: Arc<dyn Disk>,
    committer: Committer,
    /// Accounts whose folders are known to be there, and durable.
    ready: Mutex<HashSet<String>>,
    usages: Mutex<HashMap<String, Usage>>,
    /// Kept open for its lock.
    _lock: File,
}

/// What an account's mail comes to, as long as its folders haven't changed.
#[derive(Debug, Clone, Copy)]
struct Usage {
    octets: u64,
    changed: [(i64, i64); 2],
}

impl MaildirStore {
    /// The Maildirs below `folder`, which is made if it isn't there. `host` goes into the names of
    /// messages. All stores of one folder in a process share their commits. What a process that died left
    /// behind half-written is removed.
    ///
    /// # Errors
    ///
    /// The folder can't be used.
    pub fn open(folder: &Path, host: &str) -> Result<MaildirStore, Error> {
        let store = Self::at(folder, host)?;
        store.shared()?;
        Ok(store)
    }

    /// As [`open`](Self::open), when it is first used or [prepared](MailStore::prepare): so far nothing is
    /// made or removed, and whoever checks a configuration leaves nothing behind.
    ///
    /// # Errors
    ///
    /// There can't be such a folder.
    pub fn at(folder: &Path, host: &str) -> Result<MaildirStore, Error> {
        let existing = folder.ancestors().find(|path| path.exists());
        if existing.is_some_and(|path| !path.is_dir()) {
            return Err(Error::at(folder)(std::io::ErrorKind::NotADirectory.into()));
        }
        let (folder, host) = (folder.to_owned(), host.to_owned());
        Ok(MaildirStore {
            place: Arc::new(Place { folder, host, shared: Mutex::default() }),
            quota: None,
        })
    }

    /// A store that writes through `disk`, alone with its folder.
    ///
    /// # Errors
    ///
    /// The folder can't be used.
    pub fn with_disk(
        folder: &Path,
        host: &str,
        disk: Arc<dyn Disk>,
        commits: Commits,
    ) -> Result<MaildirStore, Error> {
        let shared = Shared::open(folder, host, disk, commits)?;
        let place = Place {
            folder: folder.to_owned(),
            host: host.to_owned(),
            shared: Mutex::new(Some(shared)),
        };
        Ok(MaildirStore { place: Arc::new(place), quota: None })
    }

    /// What is open, once it is.
    fn shared(&self) -> Result<Arc<Shared>, Error> {
        static OPEN: OnceLock<Mutex<HashMap<PathBuf, Weak<Shared>>>> = OnceLock::new();
        let mut own = locked(&self.place.shared);
        if let Some(shared) = &*own {
            return Ok(Arc::clone(shared));
        }
        let Place { folder, host, .. } = &*self.place;
        fs::create_dir_all(folder).map_err(Error::at(folder))?;
        let folder = folder.canonicalize().map_err(Error::at(folder))?;
        let mut open = locked(OPEN.get_or_init(Mutex::default));
        let shared = match open.get(&folder).and_then(Weak::upgrade) {
            Some(shared) => shared,
            None => {
                let shared = Shared::open(&folder, host, Arc::new(RealDisk), Commits::InThread)?;
                open.retain(|_, shared| shared.strong_count() > 0);
                open.insert(folder, Arc::downgrade(&shared));
                shared
            }
        };
        *own = Some(Arc::clone(&shared));
        Ok(shared)
    }

    /// The same Maildirs, with at most so many octets in each. A message that is longer than was said
    /// when it was admitted may overshoot it once.
    #[must_use]
    pub fn with_quota(mut self, octets: Option<u64>) -> MaildirStore {
        self.quota = octets;
        self
    }
}

impl MailStore for MaildirStore {
    fn prepare(&self) -> Result<(), Error> {
        self.shared().map(drop)
    }

    fn admit(&self, account: &str, size: u64) -> Result<(), Error> {
        let Some(quota) = self.quota else { return Ok(()) };
        let shared = self.shared()?;
        let used = shared.used(account, &shared.maildir(account)?)?;
        if used.saturating_add(size.max(1)) > quota { Err(Error::Full) } else { Ok(()) }
    }

    fn has_quota(&self) -> bool {
        self.quota.is_some()
    }

    fn begin(&self, accounts: &[String]) -> Result<Box<dyn Incoming>, Error> {
        Ok(Box::new(Arriving::begin(self.shared()?, accounts)?))
    }

    fn deliver(&self, accounts: &[String], message: Vec<u8>, then: Then) {
        let shared = match self.shared() {
            Ok(shared) => shared,
            Err(error) => return then(Err(error)),
        };
        let (accounts, own) = (accounts.to_vec(), Arc::clone(&shared));
        shared.committer.prepare(move || {
            let written = Arriving::begin(own, &accounts).and_then(|mut arriving| {
                arriving.write(&message)?;
                Ok(arriving)
            });
            match written {
                Ok(mut arriving) => arriving.transaction(then),
                Err(error) => {
                    then(Err(error));
                    None
                }
            }
        });
    }

    fn delivers_aside(&self) -> bool {
        locked(&self.place.shared).as_ref().is_some_and(|shared| shared.committer.is_aside())
    }

    fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        let shared = self.shared()?;
        let folder = shared.maildir(account)?;
        let opened = shared.again_where_folders_went(&[account], &folder, || {
            shared.prepare(account)?;
            drop::Opened::new(folder.clone(), Arc::clone(&shared.disk))
        })?;
        Ok(Box::new(opened))
    }
}

impl Arriving {
    fn begin(shared: Arc<Shared>, accounts: &[String]) -> Result<Arriving, Error> {
        let mut folders = accounts
            .iter()
            .map(|account| shared.maildir(account))
            .collect::<Result<Vec<PathBuf>, Error>>()?;
        folders.sort();
        folders.dedup();
        let unique = name::unique()?;
        let first = folders.first().ok_or_else(|| Error::Name(String::new()))?;
        let temporary = first.join("tmp").join(format!("{unique}.{}", shared.host));
        let file = shared.again_where_folders_went(accounts, &temporary, || {
            for account in accounts {
                shared.prepare(account)?;
            }
            shared.disk.create(&temporary).map_err(Error::at(&temporary))
        })?;
        Ok(Arriving {
            shared,
            accounts: accounts.to_vec(),
            folders,
            unique,
            temporary,
            file: Some(file),
            measured: Measured::default(),
        })
    }

    /// What there is to be done. `None` where that was asked for before.
    fn transaction(&mut self, then: Then) -> Option<Transaction> {
        let Some(file) = self.file.take() else {
            then(Err(Error::Missing));
            return None;
        };
        let (shared, accounts) = (Arc::clone(&self.shared), std::mem::take(&mut self.accounts));
        let then: Then = Box::new(move |outcome| {
            // Whatever it was: the next message finds out whether the folders are there.
            if outcome.is_err() {
                shared.forget(&accounts);
            }
            then(outcome);
        });
        let sizes = std::mem::take(&mut self.measured).sizes();
        let name = name::with_sizes(&self.unique, &self.shared.host, &sizes);
        let last = self.folders.len().saturating_sub(1);
        let moves = self.folders.iter().enumerate().map(|(index, folder)| Move {
            from: self.temporary.clone(),
            to: folder.join("new").join(&name),
            link: index < last,
        });
        Some(Transaction {
            files: vec![(self.temporary.clone(), file)],
            before: Vec::new(),
            moves: moves.collect(),
            remains: vec![self.temporary.clone()],
            then,
        })
    }
}

impl Shared {
    fn open(
        folder: &Path,
        host: &str,
        disk: Arc<dyn Disk>,
        commits: Commits,
    ) -> Result<Arc<Shared>, Error> {
        let path = folder.join(LOCK);
        let options = File::options().create(true).truncate(false).write(true).open(&path);
        let lock = options.map_err(Error::at(&path))?;
        let alone = flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        sweep(folder, alone);
        flock(&lock, FlockOperation::LockShared).map_err(|e| Error::at(&path)(e.into()))?;
        Ok(Arc::new(Shared {
            folder: folder.to_owned(),
            host: name::host(host),
            committer: Committer::new(Arc::clone(&disk), commits)?,
            disk,
            ready: Mutex::default(),
            usages: Mutex::default(),
            _lock: lock,
        }))
    }

    /// An account's folder. Names are checked again: they become paths here.
    fn maildir(&self, account: &str) -> Result<PathBuf, Error> {
        let is_plain = !account.is_empty()
            && !account.starts_with('.')
            && !account.contains(['/', '\0'])
            && account.len() <= 255;
        match is_plain {
            true => Ok(self.folder.join(account)),
            false => Err(Error::Name(account.to_owned())),
        }
    }

    /// Does something with accounts' folders, and once more if they aren't there any more: somebody may empty a
    /// maildrop by removing it. `path` is what is told to be missing then.
    fn again_where_folders_went<T>(
        &self,
        accounts: &[impl AsRef<str>],
        path: &Path,
        mut work: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        match work() {
            Err(Error::Missing) => self.forget(accounts),
            outcome => return outcome,
        }
        work().map_err(|error| match error {
            Error::Missing => {
                Error::Io { path: path.to_owned(), source: std::io::ErrorKind::NotFound.into() }
            }
            error => error,
        })
    }

    /// Has the folders of these accounts looked for again.
    fn forget(&self, accounts: &[impl AsRef<str>]) {
        let mut ready = locked(&self.ready);
        for account in accounts {
            ready.remove(account.as_ref());
        }
    }

    /// Makes an account's folders where they are missing; they are durable when it returns.
    fn prepare(&self, account: &str) -> Result<(), Error> {
        let folder = self.maildir(account)?;
        if locked(&self.ready).contains(account) && folder.join("new").exists() {
            return Ok(());
        }
        self.disk.make_folder(&folder).map_err(Error::at(&folder))?;
        for name in ["tmp", "new", "cur"] {
            let below = folder.join(name);
            self.disk.make_folder(&below).map_err(Error::at(&below))?;
        }
        // Also where they were there: whoever made them may have died before.
        for folder in [&folder, &self.folder] {
            self.disk.sync_folder(folder).map_err(Error::at(folder))?;
        }
        locked(&self.ready).insert(account.to_owned());
        Ok(())
    }

    /// How many octets an account has. Its folders are read only if they changed since.
    fn used(&self, account: &str, folder: &Path) -> Result<u64, Error> {
        let paths = [folder.join("new"), folder.join("cur")];
        let mut changed = [(0, 0); 2];
        for (path, changed) in paths.iter().zip(&mut changed) {
            match fs::metadata(path) {
                Ok(found) => *changed = (found.ctime(), found.ctime_nsec()),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::at(path)(error)),
            }
        }
        if let Some(usage) = locked(&self.usages).get(account).filter(|u| u.changed == changed) {
            return Ok(usage.octets);
        }
        let mut octets = 0;
        for path in &paths {
            for entry in fs::read_dir(path).into_iter().flatten() {
                let entry = entry.map_err(Error::at(path))?;
                let name = entry.file_name();
                let size = name.to_str().and_then(name::parse).and_then(|parsed| parsed.size);
                // One that goes away meanwhile takes no room.
                octets += size.or_else(|| Some(entry.metadata().ok()?.len())).unwrap_or(0);
            }
        }
        // A file system's clock is coarse: a change in the same tick wouldn't be seen.
        let settled = SystemTime::now() - Duration::from_secs(2);
        let settled = settled.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        if changed.iter().all(|(seconds, _)| seconds.unsigned_abs() < settled) {
            locked(&self.usages).insert(account.to_owned(), Usage { octets, changed });
        }
        Ok(octets)
    }
}

/// A message on its way into `new`.
struct Arriving {
    shared: Arc<Shared>,
    accounts: Vec<String>,
    folders: Vec<PathBuf>,
    unique: String,
    temporary: PathBuf,
    /// Gone once it is being committed.
    file: Option<Box<dyn DiskFile>>,
    measured: Measured,
}

impl Incoming for Arriving {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let Some(file) = &mut self.file else { return Err(Error::Missing) };
        write_all(&mut **file, bytes).map_err(Error::at(&self.temporary))?;
        self.measured.add(bytes);
        Ok(())
    }

    fn commit(mut self: Box<Self>, then: Then) {
        if let Some(transaction) = self.transaction(then) {
            self.shared.committer.commit(transaction);
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        // Away from here: it may be a large file, and this an event loop.
        if self.file.take().is_some() {
            self.shared.committer.discard(vec![std::mem::take(&mut self.temporary)]);
        }
    }
}

/// Removes what was never finished: everything if nobody else delivers here, else what is too old to be
/// anybody's.
fn sweep(folder: &Path, alone: bool) {
    let mut removed = 0;
    for account in fs::read_dir(folder).into_iter().flatten().flatten() {
        for entry in fs::read_dir(account.path().join("tmp")).into_iter().flatten().flatten() {
            let ours = entry.file_name().to_str().is_some_and(name::is_ours);
            let age = entry
                .metadata()
                .and_then(|found| found.modified())
                .map(|modified| SystemTime::now().duration_since(modified).unwrap_or_default());
            let old = age.is_ok_and(|age| age > TMP_AGE);
            if ((alone && ours) || old) && fs::remove_file(entry.path()).is_ok() {
                removed += 1;
            }
        }
    }
    if removed > 0 {
        tracing::info!(folder = %folder.display(), removed, "removed messages that never came whole");
    }
}

/// No code that holds one of these locks can leave what it guards half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
