//! Who comes, what they find, and what they may do with it.

use std::fmt;
use std::sync::Arc;

use medusa_accounts::Identity;

use crate::Error;
use crate::storage::Storage;

/// Somebody who has logged in.
#[derive(Debug, Clone, Copy)]
pub enum Visitor<'a> {
    /// `anonymous` or `ftp`, with whatever password.
    Anonymous,
    /// An account with its right password.
    Account(&'a Identity),
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rights {
    /// Fetch files.
    pub read: bool,
    /// See what there is: lists, sizes, times.
    pub list: bool,
    /// Send files and make folders; replace files only with `delete`.
    pub write: bool,
    /// Remove, replace, rename, and change times and modes.
    pub delete: bool,
}

impl Rights {
    /// Everything.
    pub const ALL: Rights = Rights { read: true, list: true, write: true, delete: true };
    /// Fetching and listing.
    pub const READ: Rights = Rights { read: true, list: true, write: false, delete: false };
    /// A letter box: what is put in can't be seen, fetched or replaced.
    pub const DROP: Rights = Rights { read: false, list: false, write: true, delete: false };

    /// The letters of the fact `perm` (RFC 3659 §7.5.5).
    pub(crate) fn letters(self, is_folder: bool) -> String {
        let Rights { read, list, write, delete } = self;
        let (add, both) = (write, write && delete);
        let table = match is_folder {
            true => [
                ('c', add),
                ('d', delete),
                ('e', true),
                ('f', delete),
                ('l', list),
                ('m', add),
                ('p', delete),
            ],
            false => [
                ('a', both),
                ('d', delete),
                ('f', delete),
                ('r', read),
                ('w', both),
                (' ', false),
                (' ', false),
            ],
        };
        table.iter().filter(|(_, may)| *may).map(|(letter, _)| letter).collect()
    }
}

/// What a visitor finds.
#[derive(Clone)]
pub struct Visit {
    /// The files.
    pub storage: Arc<dyn Storage>,
    /// What may be done with them.
    pub rights: Rights,
    /// What is said when the login is done; lines are parted by LF.
    pub greeting: String,
}

impl Visit {
    /// A visit to these files.
    pub fn new(storage: impl Storage, rights: Rights) -> Visit {
        Visit { storage: Arc::new(storage), rights, greeting: "Welcome".to_owned() }
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit").field("rights", &self.rights).finish_non_exhaustive()
    }
}

/// Says what a visitor finds. Called in the offload pool: it may block.
pub(crate) type Home = dyn Fn(Visitor<'_>) -> Result<Visit, Error> + Send + Sync;
