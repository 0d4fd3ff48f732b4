//! How many octets the files beneath a root may have together.
//!
//! They are counted once, when the first limited root of a folder is made, and from then on as they are
//! written, cut off, replaced and removed through limited roots of the same folder, whichever service
//! holds them. What others do to the folder meanwhile isn't seen before nobody holds such a root any
//! more. Folders and names cost nothing; a file with two names counts twice.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use crate::{Error, Kind, Root};

/// What the folders in use hold, by device and number. `None` until it has been counted.
static FOLDERS: LazyLock<Mutex<Folders>> = LazyLock::new(Mutex::default);

type Folders = HashMap<(u64, u64), Weak<Used>>;
type Used = Mutex<Option<u64>>;

/// A limit, and what is used of it. Clones share the latter.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    limit: u64,
    used: Arc<Used>,
}

impl Quota {
    /// The quota of a root's folder. The first time it reads all folders beneath.
    pub(crate) fn of(root: &Root, limit: u64) -> Result<Self, Error> {
        let folder = root.metadata("")?;
        let used = {
            let mut folders = lock(&FOLDERS);
            folders.retain(|_, used| used.strong_count() > 0);
            let entry = folders.entry((folder.device, folder.inode)).or_default();
            entry.upgrade().unwrap_or_else(|| {
                let used = Arc::<Used>::default();
                *entry = Arc::downgrade(&used);
                used
            })
        };
        let mut counted = lock(&used);
        if counted.is_none() {
            *counted = Some(octets_beneath(root)?);
        }
        drop(counted);
        Ok(Self { limit, used })
    }

    pub(crate) fn used(&self) -> u64 {
        lock(&self.used).unwrap_or(0)
    }

    /// Counts octets that are about to be written; `credit` more are allowed than there should be.
    fn charge(&self, octets: u64, credit: u64) -> Result<(), Error> {
        let mut used = lock(&self.used);
        let sum = used.unwrap_or(0).saturating_add(octets);
        if sum > self.limit.saturating_add(credit) {
            return Err(Error::QuotaExceeded);
        }
        *used = Some(sum);
        Ok(())
    }

    /// Counts octets that are gone.
    pub(crate) fn release(&self, octets: u64) {
        let mut used = lock(&self.used);
        *used = Some(used.unwrap_or(0).saturating_sub(octets));
    }
}

/// What one file that is being written was charged for. What isn't [kept](Charge::keep) is given back.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    quota: Option<Quota>,
    octets: u64,
    credit: u64,
}

impl Charge {
    /// For a file of which `octets` are counted already. It may use up what `credit` says beyond the
    /// limit, because as much goes when it is done: the file that it replaces.
    pub(crate) fn new(quota: Option<Quota>, octets: u64, credit: u64) -> Self {
        Self { quota, octets, credit }
    }

    /// Counts what is about to be written.
    pub(crate) fn grow(&mut self, octets: u64) -> Result<(), Error> {
        if let Some(quota) = &self.quota {
            quota.charge(octets, self.credit)?;
            self.octets += octets;
        }
        Ok(())
    }

    /// Counts what was cut off, or wasn't written after all.
    pub(crate) fn shrink(&mut self, octets: u64) {
        if let Some(quota) = &self.quota {
            quota.release(octets);
            self.octets = self.octets.saturating_sub(octets);
        }
    }

    /// The file stays; one of `replaced` octets is gone.
    pub(crate) fn keep(&mut self, replaced: u64) {
        if let Some(quota) = self.quota.take() {
            quota.release(replaced);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(quota) = &self.quota {
            quota.release(self.octets);
        }
    }
}

/// A number is never half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The lengths of all files, none of them through a link. What goes away meanwhile, or may not be
/// looked into, counts for nothing.
fn octets_beneath(root: &Root) -> Result<u64, Error> {
    let mut sum = 0u64;
    let mut folders = vec![Vec::new()];
    while let Some(folder) = folders.pop() {
        // What can't be removed is counted.
        let _ = root.sweep(&folder);
        let mut listing = match root.list(&folder) {
            Ok(listing) => listing,
            Err(error @ (Error::TooManyOpen | Error::Io(_))) => return Err(error),
            Err(_) => continue,
        };
        while let Some(entry) = listing.next() {
            let entry = entry?;
            let Ok(metadata) = listing.link_metadata(&entry) else { continue };
            match metadata.kind {
                Kind::File => sum = sum.saturating_add(metadata.len),
                Kind::Folder => {
                    let mut path = folder.clone();
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(&entry.name);
                    folders.push(path);
                }
                Kind::Symlink | Kind::Other => {}
            }
        }
    }
    Ok(sum)
}
