//! What comes back to a worker: a list that nothing is lost from.
//!
//! A note is lost where a shard's mailbox is full; what an attempt has come to must not be, or its place among
//! those under way is taken until the server ends. So it is put here, by connections and by whatever thread ends
//! an entry, and a note says only that there is something: one for all that comes before the worker looks. If
//! that note is lost, the worker's next round makes up for it. Whoever owes a word holds a [`Promise`], which
//! keeps itself when it is dropped.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use medusa_core::Remote;
use medusa_mail::{Error as MailError, Then};

use crate::sending::client::Report;

/// What is said to a worker.
#[derive(Debug)]
pub(in crate::sending) enum Word {
    /// What a connection has done.
    Reported(Report),
    /// An attempt's entry was ended, or could not be.
    Retired(u64, Result<(), MailError>),
}

/// The note that there is something to be taken.
pub(in crate::sending) struct Rung;

/// Where it is put.
#[derive(Debug, Default)]
pub(in crate::sending) struct Inbox {
    list: Mutex<List>,
    owner: OnceLock<Remote>,
}

#[derive(Debug, Default)]
struct List {
    words: Vec<Word>,
    /// A note is on its way.
    rung: bool,
}

impl Inbox {
    /// Whom it belongs to: nobody is told before that is known.
    pub(in crate::sending) fn belongs_to(&self, owner: Remote) {
        let _ = self.owner.set(owner);
    }

    /// Puts something in. Any thread may.
    pub(in crate::sending) fn put(&self, word: Word) {
        let mut list = self.list();
        list.words.push(word);
        if !list.rung {
            list.rung = self.owner.get().is_some_and(|owner| owner.notify(Rung).is_ok());
        }
    }

    /// Takes everything, in the order in which it came.
    pub(in crate::sending) fn take(&self) -> Vec<Word> {
        let mut list = self.list();
        list.rung = false;
        std::mem::take(&mut list.words)
    }

    fn list(&self) -> MutexGuard<'_, List> {
        // Nothing that holds it can leave it half changed.
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A word that is owed: how the end of an attempt's entry went.
pub(in crate::sending) struct Promise {
    inbox: Arc<Inbox>,
    ticket: u64,
    /// Nobody has said how it went.
    is_open: bool,
}

impl Promise {
    pub(in crate::sending) fn new(inbox: &Arc<Inbox>, ticket: u64) -> Promise {
        Promise { inbox: Arc::clone(inbox), ticket, is_open: true }
    }

    /// Kept by whoever calls this, or drops it.
    pub(in crate::sending) fn into_then(mut self) -> Then {
        Box::new(move |result| self.keep(result))
    }

    fn keep(&mut self, result: Result<(), MailError>) {
        if std::mem::take(&mut self.is_open) {
            self.inbox.put(Word::Retired(self.ticket, result));
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.keep(Err(MailError::Closing));
    }
}
