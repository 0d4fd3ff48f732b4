//! A queue whose methods fail or panic when a test says so, for tests of what becomes of mail then.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::{Mutex, PoisonError};

use medusa_mail::{DiskQueue, EntryId, Envelope, Error, Queue, Queued, Queuing, Request, Then};

/// A queue that fails so many times, by the name of the method.
pub(crate) struct Flawed {
    queue: DiskQueue,
    failures: Mutex<HashMap<&'static str, usize>>,
    panics: Mutex<HashMap<&'static str, usize>>,
}

impl Flawed {
    pub(crate) fn new(queue: DiskQueue) -> Flawed {
        Flawed { queue, failures: Mutex::default(), panics: Mutex::default() }
    }

    /// The next `count` calls fail.
    pub(crate) fn fail(&self, method: &'static str, count: usize) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).insert(method, count);
    }

    /// The next `count` calls panic.
    pub(crate) fn panic(&self, method: &'static str, count: usize) {
        self.panics.lock().unwrap_or_else(PoisonError::into_inner).insert(method, count);
    }

    fn step(&self, method: &'static str) -> Result<(), Error> {
        let mut panics = self.panics.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = panics.get_mut(method).filter(|count| **count > 0) {
            *count -= 1;
            drop(panics);
            panic!("so the test wants it");
        }
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get_mut(method) {
            Some(count) if *count > 0 => {
                *count -= 1;
                let source = io::Error::other("so the test wants it");
                Err(Error::Io { path: method.into(), source })
            }
            _ => Ok(()),
        }
    }
}

impl Queue for Flawed {
    fn prepare(&self) -> Result<(), Error> {
        self.queue.prepare()
    }

    fn requests(&self) -> Result<Vec<Request>, Error> {
        self.step("requests")?;
        self.queue.requests()
    }

    fn begin(&self) -> Result<Box<dyn Queuing>, Error> {
        self.step("begin")?;
        self.queue.begin()
    }

    fn entries(&self) -> Result<Vec<Queued>, Error> {
        self.step("entries")?;
        self.queue.entries()
    }

    fn envelope(&self, id: &EntryId) -> Result<Envelope, Error> {
        self.step("envelope")?;
        self.queue.envelope(id)
    }

    fn message(&self, id: &EntryId) -> Result<File, Error> {
        self.step("message")?;
        self.queue.message(id)
    }

    fn update(&self, id: &EntryId, envelope: &Envelope) -> Result<(), Error> {
        self.step("update")?;
        self.queue.update(id, envelope)
    }

    fn hold(&self, id: &EntryId, held: bool) -> Result<(), Error> {
        self.step("hold")?;
        self.queue.hold(id, held)
    }

    fn remove(&self, id: &EntryId) -> Result<(), Error> {
        self.step("remove")?;
        self.queue.remove(id)
    }

    fn retire(&self, id: &EntryId, then: Then) {
        match self.step("retire") {
            Ok(()) => self.queue.retire(id, then),
            Err(error) => then(Err(error)),
        }
    }
}
