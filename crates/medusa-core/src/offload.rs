//! The bounded pool for blocking work: file look-ups, password hashes, syncs.
//!
//! Work goes in through [`Cx::offload`](crate::Cx::offload) or a producer's
//! [`Outbox::defer`](crate::Outbox::defer) and its result comes back through the shard's mailbox. A
//! full pool hands it back; it never waits and never drops.
//!
//! Work that waits (for disks, mostly) and work that computes have a lane each. What computes gets half of the
//! threads at most, so that a burst of logins doesn't keep everybody's files waiting.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
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

/// What a job does with its thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// It waits, or is done soon.
    Waiting,
    /// It keeps a processor busy for milliseconds: a password hash.
    Computing,
}

struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
    /// The most jobs in each lane.
    capacity: usize,
    /// The most that compute at one time.
    computing: usize,
}

#[derive(Default)]
struct Queue {
    /// By lane; each job with its number, in the order in which all came.
    lanes: [VecDeque<(u64, Job)>; 2],
    numbers: u64,
    /// How many compute now.
    computing: usize,
    closed: bool,
}

impl Queue {
    fn lane(&mut self, lane: Lane) -> &mut VecDeque<(u64, Job)> {
        &mut self.lanes[lane as usize]
    }

    fn push(&mut self, lane: Lane, job: Job) {
        let number = self.numbers;
        self.numbers += 1;
        self.lane(lane).push_back((number, job));
    }

    /// The job whose turn it is: the one that came first, of those that may begin.
    fn pop(&mut self, most_computing: usize) -> Option<(Lane, Job)> {
        let first = |lane: &VecDeque<(u64, Job)>| lane.front().map(|(number, _)| *number);
        let waiting = first(&self.lanes[Lane::Waiting as usize]);
        let computing = first(&self.lanes[Lane::Computing as usize]);
        let computing = computing.filter(|_| self.computing < most_computing);
        let lane = match (waiting, computing) {
            (Some(waiting), Some(computing)) if computing < waiting => Lane::Computing,
            (None, Some(_)) => Lane::Computing,
            _ => Lane::Waiting,
        };
        let (_, job) = self.lane(lane).pop_front()?;
        self.computing += usize::from(lane == Lane::Computing);
        Some((lane, job))
    }
}

impl Pool {
    /// A pool of `threads` threads on which `capacity` jobs may wait.
    ///
    /// # Errors
    ///
    /// A thread could not be started.
    pub fn new(threads: NonZeroUsize, capacity: usize) -> std::io::Result<Self> {
        let computing = (threads.get() / 2).max(1);
        let mut pool = Self::of(Shared::new(capacity, computing));
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
        Self::of(Shared::new(capacity, usize::MAX))
    }

    fn of(shared: Shared) -> Self {
        Pool { shared: Arc::new(shared), threads: Vec::new() }
    }

    /// Queues a job.
    ///
    /// # Errors
    ///
    /// The job, when the queue is full.
    pub fn submit(&self, job: Job) -> Result<(), Returned<Job>> {
        self.submit_made(Lane::Waiting, job, |job| job)
    }

    /// Queues the job that `make` makes of `parts`, which are handed back when the queue is full. `make`
    /// only wraps them: it is called while others wait.
    pub(crate) fn submit_made<P>(
        &self,
        lane: Lane,
        parts: P,
        make: impl FnOnce(P) -> Job,
    ) -> Result<(), Returned<P>> {
        let mut queue = self.shared.lock();
        if queue.lane(lane).len() >= self.shared.capacity {
            return Err(Returned(parts));
        }
        queue.push(lane, make(parts));
        drop(queue);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Whether a job that waits would be taken.
    pub fn has_room(&self) -> bool {
        self.shared.lock().lane(Lane::Waiting).len() < self.shared.capacity
    }

    /// Has idle jobs take all the room that is left.
    #[cfg(feature = "testing")]
    pub(crate) fn fill(&self) {
        for lane in [Lane::Waiting, Lane::Computing] {
            while self.submit_made(lane, (), |()| Box::new(|| {})).is_ok() {}
        }
    }

    /// Runs one waiting job in this thread; false when none waits.
    pub fn run_one(&self) -> bool {
        let next = self.shared.lock().pop(usize::MAX);
        next.map(|(lane, job)| self.shared.run(lane, job)).is_some()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
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
    fn new(capacity: usize, computing: usize) -> Shared {
        Shared { queue: Mutex::default(), changed: Condvar::new(), capacity, computing }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some((lane, job)) = queue.pop(self.computing) {
                drop(queue);
                self.run(lane, job);
                queue = self.lock();
            } else if queue.closed && queue.lanes.iter().all(VecDeque::is_empty) {
                // Others may wait for what only had to be computed first.
                return self.changed.notify_all();
            } else {
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// A job reports its own panic to its connection; here it only must not end the thread.
    fn run(&self, lane: Lane, job: Job) {
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            tracing::error!("a job in the offload pool panicked");
        }
        if lane == Lane::Computing {
            self.lock().computing -= 1;
        }
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
    fn what_computes_leaves_threads_for_what_waits() {
        let pool = Pool::new(NonZeroUsize::new(4).unwrap(), 8).unwrap();
        let (begun, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let ends = Arc::new(Mutex::new(ends));
        for _ in 0..8 {
            let (begun, ends) = (begun.clone(), Arc::clone(&ends));
            let hash = move || {
                begun.send("hash").unwrap();
                // An error is as good: the test has failed.
                let _ = ends.lock().unwrap().recv();
            };
            assert!(pool.submit_made(Lane::Computing, hash, |hash| Box::new(hash)).is_ok());
        }
        assert_eq!([begins.recv(), begins.recv()], [Ok("hash"); 2]);
        // Both lanes have room of their own, and two threads are left.
        for _ in 0..20 {
            let begun = begun.clone();
            assert!(pool.submit(Box::new(move || begun.send("file").unwrap())).is_ok());
            assert_eq!(begins.recv(), Ok("file"));
        }
        // Each hash that ends lets the next one begin.
        for _ in 0..6 {
            end.send(()).unwrap();
            assert_eq!(begins.recv(), Ok("hash"));
        }
        drop(end);
    }

    #[test]
    fn a_panicking_job_ends_no_thread() {
        let pool = Pool::new(NonZeroUsize::MIN, 8).unwrap();
        let (tx, rx) = mpsc::channel();
        assert!(pool.submit(Box::new(|| panic!("on purpose"))).is_ok());
        assert!(pool.submit(Box::new(move || tx.send(7).unwrap())).is_ok());
        assert_eq!(rx.recv().unwrap(), 7);
    }

    #[test]
    fn a_pool_ends_whatever_still_computes() {
        let (done, ended) = mpsc::channel();
        thread::spawn(move || {
            for _ in 0..50 {
                let pool = Pool::new(NonZeroUsize::new(4).unwrap(), 64).unwrap();
                for _ in 0..16 {
                    // Long enough for the others to find that they may not compute, and to wait.
                    let job = || (0..100).for_each(|_| thread::yield_now());
                    let submitted = pool.submit_made(Lane::Computing, (), |()| Box::new(job));
                    assert!(submitted.is_ok());
                }
                drop(pool);
            }
            done.send(()).unwrap();
        });
        assert!(
            ended.recv_timeout(std::time::Duration::from_secs(20)).is_ok(),
            "a thread sleeps on"
        );
    }
}
