//! What a protocol asks of mail storage, so that another store can stand in for the Maildirs.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::maildir::unique_id;
use crate::measured::{Measured, Sizes};
use crate::{Error, Then};

/// Takes messages for accounts, and opens their maildrops. Methods block.
pub trait MailStore: Send + Sync {
    /// Does what belongs to the start of a server, before anything is asked: what a crash left behind is
    /// put in order. May be called again.
    ///
    /// # Errors
    ///
    /// The store can't be used now. It may be later.
    fn prepare(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Whether [`admit`](Self::admit) can ever refuse: if not, nobody asks, which blocks.
    fn has_quota(&self) -> bool {
        true
    }

    /// Whether an account may get a message of `size` octets now. Looks at the account's quota, not at
    /// the disk, and promises nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Full`], or that it can't be told.
    fn admit(&self, account: &str, size: u64) -> Result<(), Error> {
        let _ = (account, size);
        Ok(())
    }

    /// Begins a message for these accounts. There must be one at least.
    ///
    /// # Errors
    ///
    /// Nothing can be written.
    fn begin(&self, accounts: &[String]) -> Result<Box<dyn Incoming>, Error>;

    /// Keeps a message that is there whole: as [`begin`](Self::begin), one write and [`Incoming::commit`].
    /// Blocks, unless it [is done aside](Self::delivers_aside).
    fn deliver(&self, accounts: &[String], message: Vec<u8>, then: Then) {
        let begun = self.begin(accounts).and_then(|mut incoming| {
            incoming.write(&message)?;
            Ok(incoming)
        });
        match begun {
            Ok(incoming) => incoming.commit(then),
            Err(error) => then(Err(error)),
        }
    }

    /// Whether [`deliver`](Self::deliver) leaves everything that blocks to a thread of the store.
    fn delivers_aside(&self) -> bool {
        false
    }

    /// Opens an account's maildrop for one reader alone (RFC 1939 §3), until it is dropped or the
    /// process ends.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] where another reader has it; [`Error::Missing`] of a store that shows nothing.
    fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        let _ = account;
        Err(Error::Missing)
    }
}

impl<S: MailStore + ?Sized> MailStore for Arc<S> {
    fn prepare(&self) -> Result<(), Error> {
        (**self).prepare()
    }

    fn has_quota(&self) -> bool {
        (**self).has_quota()
    }

    fn admit(&self, account: &str, size: u64) -> Result<(), Error> {
        (**self).admit(account, size)
    }

    fn begin(&self, accounts: &[String]) -> Result<Box<dyn Incoming>, Error> {
        (**self).begin(accounts)
    }

    fn deliver(&self, accounts: &[String], message: Vec<u8>, then: Then) {
        (**self).deliver(accounts, message, then);
    }

    fn delivers_aside(&self) -> bool {
        (**self).delivers_aside()
    }

    fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        (**self).open(account)
    }
}

/// A message on its way. Dropped, it was never there.
pub trait Incoming: Send {
    /// Writes what came next, lines ended by CRLF.
    ///
    /// # Errors
    ///
    /// It isn't written whole: the message is to be given up.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error>;

    /// Has the message reach the disk in all of its maildrops, or in none, and calls `then` once that is
    /// certain. It may block: it is called in the offload pool, or, where it is the report of a delivery, in the
    /// thread that the commit before it calls back from, which it then holds up: that of the message, or of the
    /// queue. One that calls back from elsewhere lets many commits share a sync.
    fn commit(self: Box<Self>, then: Then);
}

/// One account's messages as they were when it was opened. Shared, so that a message can be opened in one
/// thread while another lists them.
pub trait Maildrop: Send + Sync {
    /// The messages, oldest first. What comes later isn't among them.
    fn messages(&self) -> &[Message];

    /// A message's content. Lines may end in LF alone where another program delivered it.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] where another program has taken it away.
    fn read(&self, index: usize) -> Result<Content, Error>;

    /// Removes messages for good; those that have gone already are no error. All are tried.
    ///
    /// # Errors
    ///
    /// The first that could not be removed.
    fn remove(&self, indices: &[usize]) -> Result<(), Error>;
}

/// A message's content: a file to be sent from, or the octets themselves.
#[derive(Debug)]
pub enum Content {
    /// An open file, from its beginning.
    File(File),
    /// All of it.
    Octets(Vec<u8>),
}

impl Content {
    /// All of it. Blocks where it is a file.
    ///
    /// # Errors
    ///
    /// The file can't be read.
    pub fn into_octets(self) -> std::io::Result<Vec<u8>> {
        match self {
            Content::Octets(octets) => Ok(octets),
            Content::File(mut file) => {
                let mut octets = Vec::new();
                file.read_to_end(&mut octets).map(|_| octets)
            }
        }
    }
}

impl From<File> for Content {
    fn from(file: File) -> Content {
        Content::File(file)
    }
}

impl From<Vec<u8>> for Content {
    fn from(octets: Vec<u8>) -> Content {
        Content::Octets(octets)
    }
}

/// What is known of a message without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// Names it for as long as it stays (RFC 1939 §7): 1 to 70 printable octets.
    pub unique_id: String,
    /// Octets on disk.
    pub size: u64,
    /// Octets on the wire: each line end counted as CRLF, one that the last line lacks too, no dots
    /// stuffed.
    pub wire_size: u64,
    /// The same of its [`Surrogate`](crate::Surrogate), if the message can't go as it is to those who read no
    /// UTF-8 in headers.
    pub surrogate_size: Option<u64>,
}

impl Message {
    /// A message that is so long on disk and on the wire, with headers in ASCII.
    pub fn new(unique_id: impl Into<String>, size: u64, wire_size: u64) -> Message {
        Message { unique_id: unique_id.into(), size, wire_size, surrogate_size: None }
    }

    /// What there is to know of a message with this content, looked up in it.
    pub fn measured(unique_id: impl Into<String>, content: &[u8]) -> Message {
        let mut measured = Measured::default();
        measured.add(content);
        Self::with_sizes(unique_id, &measured.sizes())
    }

    /// What there is to know of a message that is a file, named after it. Blocks: the file is read.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub fn of_file(path: &Path) -> Result<Message, Error> {
        let file = File::open(path).map_err(Error::at(path))?;
        let sizes = Sizes::of(file).map_err(Error::at(path))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(Self::with_sizes(unique_id(&name), &sizes))
    }

    pub(crate) fn with_sizes(unique_id: impl Into<String>, sizes: &Sizes) -> Message {
        let Sizes { size, wire_size, surrogate_size } = *sizes;
        Message { unique_id: unique_id.into(), size, wire_size, surrogate_size }
    }
}
