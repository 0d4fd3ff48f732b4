//! What is written to a folder, as all the shards and routes that serve it have to know: two writers of a name take
//! turns, and what is kept of any file isn't fresh any more once something was written.
//!
//! What others write (FTP, a shell, a route for a folder above) isn't known here; it is noticed within a second.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use medusa_files::Root;

/// How long what is kept is served without a look at the disk.
const FRESH: Duration = Duration::from_secs(1);

/// Names that collide here wait for one another, which is all that it costs.
const TURNS: usize = 16;

/// By device and inode.
type Folders = HashMap<(u64, u64), Weak<Writes>>;

static FOLDERS: Mutex<Option<Folders>> = Mutex::new(None);

/// What is written to one folder.
#[derive(Debug, Default)]
pub(crate) struct Writes {
    happened: AtomicU64,
    turns: [Mutex<()>; TURNS],
}

impl Writes {
    /// Of a root's folder: the same for each root that was opened on it.
    pub(crate) fn of(root: &Root) -> Arc<Writes> {
        // A folder that can't be looked at can't be written to either.
        let Ok(metadata) = root.metadata(b"") else { return Arc::default() };
        let mut folders = lock(&FOLDERS);
        let folders = folders.get_or_insert_default();
        folders.retain(|_, writes| writes.strong_count() > 0);
        let known = folders.entry((metadata.device, metadata.inode)).or_default();
        if let Some(writes) = known.upgrade() {
            return writes;
        }
        let writes = Arc::default();
        *known = Arc::downgrade(&writes);
        writes
    }

    /// Waits for the turn of a file. Held while the conditions of a write are judged and it is done: otherwise two
    /// would find the same version, and the second undo what the first did (RFC 9110 §13.1.1). For the pool: it
    /// may have to wait for a disk.
    pub(crate) fn turn(&self, path: &[u8]) -> Turn<'_> {
        let sum =
            path.iter().fold(0_usize, |sum, &octet| sum.wrapping_mul(31) + usize::from(octet));
        Turn { writes: self, _guard: lock(&self.turns[sum % TURNS]) }
    }

    /// Of what is going to be looked up now.
    pub(crate) fn fresh_from(&self, now: Instant) -> Freshness {
        Freshness { until: now + FRESH, happened: self.happened.load(Ordering::Acquire) }
    }

    /// Whether what was looked up isn't to be served any more without another look.
    #[inline]
    pub(crate) fn is_stale(&self, fresh: Freshness, now: Instant) -> bool {
        now >= fresh.until || fresh.happened != self.happened.load(Ordering::Acquire)
    }
}

/// Nothing behind these locks could be left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Made by [`Writes::turn`].
pub(crate) struct Turn<'w> {
    writes: &'w Writes,
    _guard: MutexGuard<'w, ()>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Whether or not something was changed.
        self.writes.happened.fetch_add(1, Ordering::Release);
    }
}

/// Until when something that was looked up is served without a look at the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Freshness {
    until: Instant,
    happened: u64,
}
