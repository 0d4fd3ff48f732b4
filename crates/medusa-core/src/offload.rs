//! The bounded pool for blocking work: file look-ups, password hashes, syncs.
//!
//! Work goes in through [`Cx::offload`](crate::Cx::offload) or a producer's
//! [`Outbox::defer`](crate::Outbox::defer) and its result comes back through the shard's mailbox. A
//! full pool hands it back; it never waits and never drops.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::outbox::Job;

/// The server has too much to do. A protocol turns it into its own words: 503, 421, 451, SERVFAIL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much work is waiting already")]
pub struct Busy;

/// What is handed back as there is too much to do: a message, or the work and what was to follow. To be tried
/// again, to be ended in another way, or dropped; as an error it says what [`Busy`] says.
pub struct Returned<T>(pub T);

impl<T> fmt::Debug for Returned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Returned")
    }
}

impl<T> fmt::Display for Returned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Busy.fmt(f)
    }
}

impl<T> std::error::Error for Returned<T> {}

impl<T> From<Returned<T>> for Busy {
    fn from(_: Returned<T>) -> Busy {
        Busy
    }
}

/// A fixed number of threads that work off a bounded queue.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads.len()).finish_non_exhaustive()
    }
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    capacity: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl Pool {
    /// A pool of `threads` threads on which `capacity` jobs may wait.
    ///
    /// # Errors
    ///
    /// A thread could not be started.
    pub fn new(threads: NonZeroUsize, capacity: usize) -> std::io::Result<Self> {
        let mut pool = Self::manual(capacity);
        for index in 0..threads.get() {
            let shared = Arc::clone(&pool.shared);
            let thread = thread::Builder::new()
                .name(format!("offload-{index}"))
                .spawn(move || shared.work())?;
            pool.threads.push(thread);
        }
        Ok(pool)
    }

    /// A pool without threads, for tests: [`run_one`](Self::run_one) does the work.
    pub fn manual(capacity: usize) -> Self {
        let shared = Shared { queue: Mutex::default(), changed: Condvar::new(), capacity };
        Pool { shared: Arc::new(shared), threads: Vec::new() }
    }

    /// Queues a job.
    ///
    /// # Errors
    ///
    /// The job, when the queue is full.
    pub fn submit(&self, job: Job) -> Result<(), Returned<Job>> {
        self.submit_made(job, |job| job)
    }

    /// Queues the job that `make` makes of `parts`, which are handed back when the queue is full. `make`
    /// only wraps them: it is called while others wait.
    pub(crate) fn submit_made<P>(
        &self,
        parts: P,
        make: impl FnOnce(P) -> Job,
    ) -> Result<(), Returned<P>> {
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.jobs.len() >= self.shared.capacity {
            return Err(Returned(parts));
        }
        queue.jobs.push_back(make(parts));
        drop(queue);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Whether a job would be taken.
    pub fn has_room(&self) -> bool {
        let queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.jobs.len() < self.shared.capacity
    }

    /// Has idle jobs take all the room that is left.
    #[cfg(feature = "testing")]
    pub(crate) fn fill(&self) {
        while self.submit(Box::new(|| {})).is_ok() {}
    }

    /// Runs one waiting job in this thread; false when none waits.
    pub fn run_one(&self) -> bool {
        let job = {
            let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.jobs.pop_front()
        };
        job.map(run).is_some()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.changed.notify_all();
        let this = thread::current().id();
        for thread in self.threads.drain(..) {
            // The last handle may be dropped by a job of the pool itself.
            if thread.thread().id() != this {
                let _ = thread.join();
            }
        }
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let job = loop {
                if let Some(job) = queue.jobs.pop_front() {
                    break job;
                }
                if queue.closed {
                    return;
                }
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            };
            drop(queue);
            run(job);
        }
    }
}

/// A job reports its own panic to its connection; here it only must not end the thread.
fn run(job: Job) {
    if catch_unwind(AssertUnwindSafe(job)).is_err() {
        tracing::error!("a job in the offload pool panicked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_full_pool_hands_the_job_back() {
        let pool = Pool::manual(1);
        let (tx, rx) = mpsc::channel();
        let job = |text: &'static str| -> Job {
            let tx = tx.clone();
            Box::new(move || tx.send(text).unwrap())
        };
        assert!(pool.submit(job("first")).is_ok());
        let Err(Returned(second)) = pool.submit(job("second")) else { panic!("taken") };
        assert!(pool.run_one());
        assert!(pool.submit(second).is_ok());
        assert!(pool.run_one());
        assert!(!pool.run_one());
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["first", "second"]);
    }

    #[test]
    fn a_panicking_job_ends_no_thread() {
        let pool = Pool::new(NonZeroUsize::MIN, 8).unwrap();
        let (tx, rx) = mpsc::channel();
        assert!(pool.submit(Box::new(|| panic!("on purpose"))).is_ok());
        assert!(pool.submit(Box::new(move || tx.send(7).unwrap())).is_ok());
        assert_eq!(rx.recv().unwrap(), 7);
    }
}
