//! How many files all caches of the process keep open together: a part of what the process may open, since each
//! route of each shard has a cache of its own, and connections need descriptors, too.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A quarter is for files that are kept open; what is served and connections have the rest.
const PART: u64 = 4;

static KEPT: AtomicUsize = AtomicUsize::new(0);

/// The descriptors that one entry of a cache keeps open, counted for the process until it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Share(usize);

impl Share {
    /// Keeps so many from now on. False, and nothing is changed, where that is more than there is room for.
    pub(crate) fn hold(&mut self, count: usize) -> bool {
        if count > self.0 {
            let (more, limit) = (count - self.0, limit());
            let room = |kept: usize| kept.checked_add(more).filter(|kept| *kept <= limit);
            if KEPT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_err() {
                return false;
            }
        } else {
            KEPT.fetch_sub(self.0 - count, Ordering::Relaxed);
        }
        self.0 = count;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        KEPT.fetch_sub(self.0, Ordering::Relaxed);
    }
}

fn limit() -> usize {
    let limit = medusa_files::descriptor_limit();
    limit.map_or(usize::MAX, |limit| usize::try_from(limit / PART).unwrap_or(usize::MAX))
}
