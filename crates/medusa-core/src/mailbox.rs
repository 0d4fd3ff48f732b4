//! What reaches a shard from outside of it: notes, wakes and finished jobs.
//!
//! Pure but for the lock: how the shard is woken is a callback that the shard hands in.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::datagram::{DatagramCx, DatagramService};
use crate::offload::Returned;
use crate::server::roster::Change;
use crate::session::{Cx, Session};

/// How many notes from outside may wait for a shard. Finished jobs and wakes are not counted: the
/// offload pool bounds the former, connections the latter.
const NOTES: usize = 64 * 1024;

/// Where a connection or listener lives: a shard, and a place in it that is never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    pub(crate) shard: u16,
    pub(crate) token: u64,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}.{}", self.shard, self.token & 0xffff_ffff, self.token >> 32)
    }
}

/// A message from one session to another, or from any thread to a session.
pub struct Note(Box<dyn Any + Send>);

impl Note {
    /// Wraps a message.
    pub fn new(message: impl Any + Send) -> Self {
        Note(Box::new(message))
    }

    /// The message, if it is a `T`.
    ///
    /// # Errors
    ///
    /// The note itself, when it holds something else.
    pub fn downcast<T: Any>(self) -> Result<T, Note> {
        self.0.downcast().map(|message| *message).map_err(Note)
    }

    /// Whether the message is a `T`.
    pub fn is<T: Any>(&self) -> bool {
        self.0.is::<T>()
    }
}

impl fmt::Debug for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Note")
    }
}

pub(crate) type Resume = Box<dyn FnOnce(&mut dyn Session, &mut Cx<'_>) + Send>;

pub(crate) type ResumeDatagrams =
    Box<dyn FnOnce(&mut dyn DatagramService, &mut DatagramCx<'_>) + Send>;

pub(crate) enum Message {
    Wake(u64),
    Note(u64, Note),
    Resume(u64, Resume),
    ResumeDatagrams(u64, ResumeDatagrams),
    /// The connection's job panicked: it alone is closed.
    Abort(u64),
    Control(Control),
    /// Services are to come and go: whether they can.
    Change(Box<Change>, Sender<Result<(), String>>),
    /// They do, or they don't; the sender is dropped when it is done.
    Settle {
        goes: bool,
        done: Sender<()>,
    },
}

/// What the server tells all of its shards.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Control {
    /// Take no more connections, and let sessions come to an end within this time.
    Drain { within: Option<Duration> },
    /// Close all that is left.
    Stop,
}

/// A shard's mailbox.
pub(crate) struct Mailbox {
    messages: Mutex<Vec<Message>>,
    filled: AtomicBool,
    closed: AtomicBool,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Mailbox {
    pub(crate) fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Mailbox {
            messages: Mutex::default(),
            filled: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            wake: Box::new(wake),
        }
    }

    pub(crate) fn post(&self, message: Message) {
        self.push(self.messages.lock().unwrap_or_else(PoisonError::into_inner), message);
    }

    /// Posts the note that `make` makes of `parts`, unless too many wait.
    pub(crate) fn post_note<P>(
        &self,
        token: u64,
        parts: P,
        make: impl FnOnce(P) -> Note,
    ) -> Result<(), Returned<P>> {
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        if messages.len() >= NOTES {
            return Err(Returned(parts));
        }
        self.push(messages, Message::Note(token, make(parts)));
        Ok(())
    }

    fn push(&self, mut messages: MutexGuard<'_, Vec<Message>>, message: Message) {
        if self.closed.load(Ordering::Acquire) {
            return;
        }
        messages.push(message);
        let first = !self.filled.swap(true, Ordering::AcqRel);
        drop(messages);
        if first {
            (self.wake)();
        }
    }

    /// The shard has ended: what waits for it is dropped, and what comes.
    pub(crate) fn close(&self) {
        let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        self.closed.store(true, Ordering::Release);
        let waiting = std::mem::take(&mut *messages);
        drop(messages);
        drop(waiting);
    }

    /// Whether messages wait.
    pub(crate) fn is_filled(&self) -> bool {
        self.filled.load(Ordering::Acquire)
    }

    /// Takes all messages; `into` is handed over as the next buffer.
    pub(crate) fn take(&self, into: &mut Vec<Message>) {
        if self.filled.load(Ordering::Acquire) {
            let mut messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
            self.filled.store(false, Ordering::Release);
            std::mem::swap(&mut *messages, into);
        }
    }
}

/// A handle to a connection that may be kept anywhere and used from any thread.
#[derive(Clone)]
pub struct Remote {
    pub(crate) address: Address,
    pub(crate) mailbox: Arc<Mailbox>,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.address)
    }
}

impl Remote {
    /// Whose handle this is.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Has a pending producer of the connection asked again.
    pub fn wake(&self) {
        self.mailbox.post(Message::Wake(self.address.token));
    }

    /// Sends a message to the session, which hears of it in
    /// [`notified`](crate::Session::notified). A session that has gone hears nothing.
    ///
    /// # Errors
    ///
    /// The message, when too many wait for the shard already: 65,536 of them.
    pub fn notify<M: Any + Send>(&self, message: M) -> Result<(), Returned<M>> {
        self.mailbox.post_note(self.address.token, message, Note::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_mailbox_hands_a_message_back() {
        let mailbox = Arc::new(Mailbox::new(|| {}));
        let remote = Remote { address: Address { shard: 0, token: 7 }, mailbox };
        let sent = (0..NOTES + 1).map(|number| remote.notify(number)).filter(Result::is_ok).count();
        assert_eq!(sent, NOTES);
        let Err(Returned(message)) = remote.notify("the last straw") else { panic!("taken") };
        assert_eq!(message, "the last straw");
        // What the shard waits for is never held back.
        remote.wake();
        let mut messages = Vec::new();
        remote.mailbox.take(&mut messages);
        assert_eq!(messages.len(), NOTES + 1);
        assert!(remote.notify(message).is_ok());
    }
}
