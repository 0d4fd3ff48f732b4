//! One piece of work handed out of the event loop, and its result.
//!
//! Shared by those producers that read files. It runs nothing itself: the job goes through
//! [`Outbox::defer`] to whoever owns the pool.

use std::sync::{Arc, Mutex, PoisonError};

use crate::outbox::Outbox;

/// The result of a deferred job, once it is there.
pub(super) struct Deferred<T>(Arc<Mutex<Option<T>>>);

/// What has become of a deferred job.
pub(super) enum Outcome<T> {
    Finished(T),
    Running,
    /// It was dropped unrun, or it panicked: ask again.
    Lost,
}

impl<T: Send + 'static> Deferred<T> {
    /// Hands `work` out through `out`.
    pub(super) fn start(out: &mut Outbox, work: impl FnOnce() -> T + Send + 'static) -> Self {
        let slot = Arc::new(Mutex::new(None));
        let result = Arc::clone(&slot);
        out.defer(Box::new(move || {
            let value = work();
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        }));
        Deferred(slot)
    }

    /// Takes the result if it is there.
    pub(super) fn outcome(&mut self) -> Outcome<T> {
        // Who holds the slot alone knows that the job is gone, whatever it left.
        if let Some(slot) = Arc::get_mut(&mut self.0) {
            let value = slot.get_mut().unwrap_or_else(PoisonError::into_inner).take();
            return value.map_or(Outcome::Lost, Outcome::Finished);
        }
        let value = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        value.map_or(Outcome::Running, Outcome::Finished)
    }
}
