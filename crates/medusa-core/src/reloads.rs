//! What services read again when an operator asks for it, by SIGHUP for instance.
//!
//! When it is asked for, and in which thread, is for the program to say; what it costs and what is told of
//! it, for the service.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

type Reload = Arc<dyn Fn() + Send + Sync>;

/// What is to be read again. One is shared through
/// [`BuildContext::with_shared`](crate::BuildContext::with_shared); all clones are the same.
#[derive(Clone, Default)]
pub struct Reloads(Arc<Mutex<Vec<Reload>>>);

impl Reloads {
    /// Has `reload` called each time an operator asks. It may block, and tells itself, in the log, what it
    /// has found.
    pub fn register(&self, reload: impl Fn() + Send + Sync + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::new(reload));
    }

    /// Calls all of them, in the order in which they were registered. Blocks: not for a shard. One that
    /// panics is told of in the log, and keeps the others from nothing.
    pub fn run(&self) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for reload in &all {
            if catch_unwind(AssertUnwindSafe(|| reload())).is_err() {
                tracing::error!("a service panicked while it read its files again");
            }
        }
    }
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reloads")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_called_each_time_and_may_register_others() {
        let (reloads, called) = (Reloads::default(), Arc::new(Mutex::new(String::new())));
        let (same, told) = (reloads.clone(), Arc::clone(&called));
        reloads.register(|| panic!("on purpose"));
        reloads.clone().register(move || {
            told.lock().unwrap().push('a');
            let told = Arc::clone(&told);
            same.register(move || told.lock().unwrap().push('b'));
        });
        reloads.run();
        reloads.run();
        assert_eq!(*called.lock().unwrap(), "aab");
    }
}
