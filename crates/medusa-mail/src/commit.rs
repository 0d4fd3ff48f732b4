//! Group commit: one thread that brings whatever waits to disk, in one batch with as few syncs as there
//! can be, then calls back.
//!
//! A batch begins with what came while the one before was under way, so that it grows with the load. Behind a
//! batch of several, the next one waits a moment for as many (PostgreSQL's `commit_delay`, which is fixed): who
//! sends alone doesn't wait, but for the first time after he was one of several. Files are told to be written
//! all together and synced one by one, which makes one transaction of a journalling file system; a folder is
//! synced once, however many names it got.
//!
//! It knows only files, names and folders; what they are for is its callers' business.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Disk, DiskFile, Error};

/// Called with the outcome of a commit, on the committing thread. It mustn't block.
pub type Then = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// How many transactions are brought to disk together, so that the first isn't held up by the last.
const BATCH: usize = 64;

/// How long a batch waits for as many as came together before. Less than a disk takes to sync one file,
/// and much less than a client's way there and back over a network.
const WINDOW: Duration = Duration::from_millis(1);

/// How often a name is tried to be taken back.
const TRIES: usize = 3;

/// Where commits are done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Commits {
    /// By a thread of the store: whoever asks goes on at once.
    #[default]
    InThread,
    /// At once, by whoever asks: for tests and for programs that have threads of their own.
    AtOnce,
}

/// What has to be on disk, all of it or nothing.
pub(crate) struct Transaction {
    /// Files to be synced.
    pub files: Vec<(PathBuf, Box<dyn DiskFile>)>,
    /// Folders whose names must be durable before anything is moved.
    pub before: Vec<PathBuf>,
    /// Where names are to appear, from where. The last one moves, those before it are links.
    pub moves: Vec<Move>,
    /// What is taken away if it comes to nothing, apart from what was moved.
    pub remains: Vec<PathBuf>,
    /// Who is told.
    pub then: Then,
}

/// A name that is to appear.
pub(crate) struct Move {
    pub from: PathBuf,
    pub to: PathBuf,
    /// Whether the old name stays.
    pub link: bool,
}

enum Task {
    Commit(Transaction),
    /// Makes what is to be committed, or tells its owner that it can't.
    Prepare(Box<dyn FnOnce() -> Option<Transaction> + Send>),
    /// Files of a message that nobody wants any more.
    Discard(Vec<PathBuf>),
    Retire(Retirement),
}

/// A name that is to be gone for good, and what it stood for.
pub(crate) struct Retirement {
    /// The name.
    pub name: PathBuf,
    /// A file that is removed behind it: without the name nobody finds it.
    pub content: PathBuf,
    /// Who is told.
    pub then: Then,
}

/// Brings transactions to disk.
pub(crate) struct Committer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    disk: Arc<dyn Disk>,
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Default)]
struct Queue {
    tasks: Vec<Task>,
    /// So many tasks are worth waking the thread for: without end while it is at work, and looks anyway.
    wanted: usize,
    closed: bool,
}

impl fmt::Debug for Committer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").field("disk", &self.shared.disk).finish_non_exhaustive()
    }
}

impl Committer {
    /// A committer through `disk`.
    pub(crate) fn new(disk: Arc<dyn Disk>, commits: Commits) -> Result<Committer, Error> {
        let shared = Arc::new(Shared { disk, queue: Mutex::default(), filled: Condvar::new() });
        let thread = match commits {
            Commits::AtOnce => None,
            Commits::InThread => {
                let shared = Arc::clone(&shared);
                let builder = thread::Builder::new().name("mail-commit".into());
                Some(builder.spawn(move || shared.work()).map_err(Error::at("mail-commit"))?)
            }
        };
        Ok(Committer { shared, thread })
    }

    /// Brings a transaction to disk and tells its owner.
    pub(crate) fn commit(&self, transaction: Transaction) {
        self.put(Task::Commit(transaction));
    }

    /// Brings a transaction to disk that is made where that may block.
    pub(crate) fn prepare(&self, prepare: impl FnOnce() -> Option<Transaction> + Send + 'static) {
        self.put(Task::Prepare(Box::new(prepare)));
    }

    /// Whether its callers go on at once.
    pub(crate) fn is_aside(&self) -> bool {
        self.thread.is_some()
    }

    /// Takes a name away, durably, and tells its owner.
    pub(crate) fn retire(&self, retirement: Retirement) {
        self.put(Task::Retire(retirement));
    }

    /// Takes files away that were never committed.
    pub(crate) fn discard(&self, paths: Vec<PathBuf>) {
        self.put(Task::Discard(paths));
    }

    fn put(&self, task: Task) {
        if self.thread.is_none() {
            self.shared.settle(vec![task]);
            return;
        }
        let mut queue = self.shared.queue();
        queue.tasks.push(task);
        if queue.tasks.len() >= queue.wanted {
            drop(queue);
            self.shared.filled.notify_one();
        }
    }
}

impl Drop for Committer {
    /// What was asked for is done before the end.
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.filled.notify_one();
        // The last handle of a store may be dropped by what the thread itself called back.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// A panic of whoever was called back can't leave the queue half changed.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut together = 1;
        loop {
            let mut queue = self.queue();
            queue.wanted = 1;
            let none = |queue: &mut Queue| queue.tasks.is_empty() && !queue.closed;
            queue = self.filled.wait_while(queue, none).unwrap_or_else(PoisonError::into_inner);
            if queue.tasks.is_empty() {
                return;
            }
            queue.wanted = together;
            let few = |queue: &mut Queue| queue.tasks.len() < queue.wanted && !queue.closed;
            (queue, _) = self
                .filled
                .wait_timeout_while(queue, WINDOW, few)
                .unwrap_or_else(PoisonError::into_inner);
            together = queue.tasks.len().min(BATCH);
            let tasks = queue.tasks.drain(..together).collect();
            queue.wanted = usize::MAX;
            drop(queue);
            self.settle(tasks);
        }
    }

    /// One batch.
    fn settle(&self, tasks: Vec<Task>) {
        let (mut batch, mut retiring) = (Vec::new(), Vec::new());
        for task in tasks {
            match task {
                Task::Commit(transaction) => batch.push((transaction, Ok(()))),
                Task::Prepare(prepare) => {
                    batch.extend(guarded(prepare).flatten().map(|made| (made, Ok(()))));
                }
                Task::Discard(paths) => paths.iter().for_each(|path| drop(self.disk.remove(path))),
                Task::Retire(one) => retiring.push((one, Ok(()))),
            }
        }
        // One alone is synced next anyway.
        for (transaction, _) in batch.iter().filter(|_| batch.len() > 1) {
            transaction.files.iter().for_each(|(_, file)| file.begin_sync());
        }
        for (transaction, outcome) in &mut batch {
            *outcome = transaction.sync_files();
        }
        let before = batch.iter_mut().map(|(one, outcome)| (one.before.clone(), outcome));
        self.sync_folders(before.collect());
        for (transaction, outcome) in &mut batch {
            if outcome.is_ok() {
                *outcome = transaction.move_names(&*self.disk);
            }
        }
        for (Retirement { name, .. }, outcome) in &mut retiring {
            *outcome = self.disk.remove(name).map_err(Error::at(&*name));
        }
        let appearing = batch.iter_mut().map(|(one, outcome)| (one.targets(), outcome));
        let vanishing = retiring.iter_mut().map(|(one, outcome)| {
            (one.name.parent().map(Path::to_owned).into_iter().collect(), outcome)
        });
        self.sync_folders(appearing.chain(vanishing).collect());
        for (Retirement { content, then, .. }, outcome) in retiring {
            // What is left behind is swept at the next start; if the name comes back, it is needed.
            if outcome.is_ok() {
                let _ = self.disk.remove(&content);
            }
            guarded(|| then(outcome));
        }
        for (transaction, outcome) in batch {
            if outcome.is_err() {
                transaction.undo(&*self.disk);
            }
            let Transaction { then, .. } = transaction;
            guarded(|| then(outcome));
        }
    }

    /// Syncs each folder once; a failure is that of everybody who needs it.
    fn sync_folders(&self, mut owners: Vec<(Vec<PathBuf>, &mut Result<(), Error>)>) {
        let mut wanted: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        for (index, (folders, outcome)) in owners.iter_mut().enumerate() {
            if outcome.is_ok() {
                for folder in std::mem::take(folders) {
                    wanted.entry(folder).or_default().push(index);
                }
            }
        }
        for (folder, needing) in wanted {
            if let Err(error) = self.disk.sync_folder(&folder) {
                for index in needing {
                    let same = error.raw_os_error();
                    let same =
                        same.map_or_else(|| error.kind().into(), std::io::Error::from_raw_os_error);
                    *owners[index].1 = Err(Error::at(&folder)(same));
                }
            }
        }
    }
}

/// One who panics when he is called back must not end everybody's mail.
fn guarded<T>(call: impl FnOnce() -> T) -> Option<T> {
    let called = catch_unwind(AssertUnwindSafe(call));
    if called.is_err() {
        tracing::error!("a commit's owner has panicked");
    }
    called.ok()
}

impl Transaction {
    fn sync_files(&mut self) -> Result<(), Error> {
        for (path, mut file) in self.files.drain(..) {
            file.sync().map_err(Error::at(path))?;
        }
        Ok(())
    }

    fn move_names(&self, disk: &dyn Disk) -> Result<(), Error> {
        for Move { from, to, link } in &self.moves {
            let moved = if *link { disk.link(from, to) } else { disk.rename(from, to) };
            moved.map_err(Error::at(to))?;
        }
        Ok(())
    }

    /// The folders that names appear in.
    fn targets(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> =
            self.moves.iter().filter_map(|one| one.to.parent().map(Path::to_owned)).collect();
        folders.sort();
        folders.dedup();
        folders
    }

    /// Nobody is told of a message that is only half accepted: what can be taken away is.
    fn undo(&self, disk: &dyn Disk) {
        for Move { from, to, .. } in self.moves.iter().rev() {
            if let Err(error) = take_back(disk, to) {
                // Without its content it would be worse: found at the next start, and not to be read.
                tracing::error!(
                    "{} can't be taken back ({error}): it was refused, and may be found at the next start",
                    to.display()
                );
                return;
            }
            let _ = disk.remove(from);
        }
        for path in &self.remains {
            let _ = disk.remove(path);
        }
    }
}

/// Removes a name that others look for. A disk that failed a moment ago may well fail once more.
fn take_back(disk: &dyn Disk, path: &Path) -> std::io::Result<()> {
    let mut result = Ok(());
    for _ in 0..TRIES {
        result = disk.remove(path);
        match &result {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {}
            _ => return Ok(()),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::RealDisk;

    #[test]
    fn one_who_panics_does_not_end_everybodys_mail() {
        let folder = tempfile::tempdir().unwrap();
        let committer = Committer::new(Arc::new(RealDisk), Commits::InThread).unwrap();
        let retire = |then: Then| {
            let (name, content) = (folder.path().join("name"), folder.path().join("content"));
            committer.retire(Retirement { name, content, then });
        };
        committer.prepare(|| panic!("as the test wants it"));
        retire(Box::new(|_| panic!("as the test wants it")));
        let (tell, told) = channel();
        retire(Box::new(move |result| tell.send(result).unwrap()));
        assert!(matches!(told.recv_timeout(Duration::from_secs(20)), Ok(Err(Error::Missing))));
    }
}
