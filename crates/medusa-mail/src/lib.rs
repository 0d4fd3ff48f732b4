//! Mail on disk: Maildir delivery and a durable queue.
//!
//! The promise: once a commit has said yes, no crash, kill, full disk or power cut loses the message or
//! leaves half of it. Before that, nothing of it is to be seen.
//!
//! - [`MailStore`] takes messages for accounts and opens their maildrops; [`MaildirStore`] is the one that
//!   writes Maildirs, and [`WholeMessages`] the one that is a function.
//! - [`Queue`] keeps messages with their [`Envelope`] until somebody has sent them on; [`DiskQueue`] is
//!   the one in a folder.
//! - [`Disk`] is what both write through, so that tests can let every step of it fail.
//!
//! Everything here blocks, but for commits: those go to a thread of the store that shares the disk's
//! syncs among all that wait (group commit) and calls back. It knows no protocol, no addresses and no
//! accounts beyond their names. It looks into messages for one thing alone: whether their headers are ASCII, and
//! what stands in for them where that is wanted ([`Surrogate`]).

pub mod disk;

mod commit;
mod error;
mod maildir;
mod measured;
mod queue;
mod store;
mod surrogate;
mod whole;

#[cfg(feature = "testing")]
pub mod testing;

pub use commit::{Commits, Then};
pub use disk::{Disk, DiskFile, RealDisk};
pub use error::Error;
pub use maildir::MaildirStore;
pub use queue::{
    Action, Body, DiskQueue, EntryId, Envelope, Queue, QueueOwners, QueueView, Queued, Queuing,
    Recipient, Request, same_folder,
};
pub use store::{Content, Incoming, MailStore, Maildrop, Message};
pub use surrogate::Surrogate;
pub use whole::WholeMessages;
