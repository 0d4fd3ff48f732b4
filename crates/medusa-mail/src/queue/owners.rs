//! Whose a queue's folder is, among the services of one configuration: a queue is one service's alone. Between
//! processes its `flock` tells.
//!
//! Folders are told apart by where they are, however they are written; they need not be there.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The queues of one configuration. Cheap to clone, and then the same.
#[derive(Debug, Clone, Default)]
pub struct QueueOwners(Arc<Mutex<HashMap<PathBuf, String>>>);

impl QueueOwners {
    /// Says that the queue in `folder` is `owner`'s.
    ///
    /// # Errors
    ///
    /// Whose it is already.
    pub fn claim(&self, folder: &Path, owner: &str) -> Result<(), String> {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let first = owners.entry(place(folder)).or_insert_with(|| owner.to_owned());
        if first == owner { Ok(()) } else { Err(first.clone()) }
    }

    /// Those of some owners, apart from these from now on: what another configuration begins with that keeps
    /// these owners.
    #[must_use]
    pub fn of(&self, is_kept: impl Fn(&str) -> bool) -> QueueOwners {
        let mut owners = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        owners.retain(|_, owner| is_kept(owner));
        QueueOwners(Arc::new(Mutex::new(owners)))
    }

    /// These and others; where both name an owner, the others.
    #[must_use]
    pub fn and(&self, others: &QueueOwners) -> QueueOwners {
        let all = self.of(|_| true);
        let others = others.of(|_| true);
        let mut owners = all.0.lock().unwrap_or_else(PoisonError::into_inner);
        owners
            .extend(std::mem::take(&mut *others.0.lock().unwrap_or_else(PoisonError::into_inner)));
        drop(owners);
        all
    }
}

/// Whether two paths lead to one folder, or would.
pub fn same_folder(one: &Path, other: &Path) -> bool {
    place(one) == place(other)
}

/// Where a folder is or would be: links are followed as far as there is something.
fn place(folder: &Path) -> PathBuf {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let there = |path: &&Path| path.exists();
    let existing = folder.ancestors().find(there).unwrap_or(Path::new("/"));
    let mut place = existing.canonicalize().unwrap_or_else(|_| existing.to_owned());
    for component in folder.strip_prefix(existing).iter().flat_map(|rest| rest.components()) {
        match component {
            Component::ParentDir => drop(place.pop()),
            Component::Normal(name) => place.push(name),
            _ => {}
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_has_one_owner_however_its_folder_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir(root.join("real")).unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        let owners = QueueOwners::default();
        assert_eq!(owners.claim(&root.join("real/queue"), "smtp.a"), Ok(()));
        assert_eq!(owners.clone().claim(&root.join("real/queue"), "smtp.a"), Ok(()));
        for same in ["real/queue", "link/queue", "real/./queue/", "real/none/../queue"] {
            assert_eq!(owners.claim(&root.join(same), "smtp.b"), Err("smtp.a".into()), "{same}");
        }
        assert_eq!(owners.claim(&root.join("real/other"), "smtp.b"), Ok(()));
        assert!(!root.join("real/queue").exists());
        // Another configuration that has no `smtp.a`.
        let next = owners.of(|owner| owner != "smtp.a");
        assert_eq!(next.claim(&root.join("real/queue"), "smtp.c"), Ok(()));
        assert_eq!(next.claim(&root.join("real/other"), "smtp.c"), Err("smtp.b".into()));
        assert_eq!(owners.claim(&root.join("real/queue"), "smtp.c"), Err("smtp.a".into()));
        let both = owners.and(&next.of(|owner| owner == "smtp.c"));
        assert_eq!(both.claim(&root.join("real/queue"), "smtp.a"), Err("smtp.c".into()));
        assert_eq!(both.claim(&root.join("real/other"), "smtp.a"), Err("smtp.b".into()));
    }
}
