//! Who comes, what they find, what they may do with it, and how fast. Rights hold for a folder and what
//! is below, by its path: a link that leads there is another path.

use std::fmt;
use std::sync::Arc;

use medusa_accounts::{FileRight, Identity};
use medusa_files::{Above, VirtualPath};

use crate::Error;
use crate::pace::{Meter, Pace};
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

    /// Those that are listed.
    pub fn of(listed: &[FileRight]) -> Rights {
        Rights {
            read: listed.contains(&FileRight::Read),
            list: listed.contains(&FileRight::List),
            write: listed.contains(&FileRight::Write),
            delete: listed.contains(&FileRight::Delete),
        }
    }

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
    folders: Arc<[Folder]>,
    message_file: Option<Arc<[u8]>>,
    uploads: Pace,
    downloads: Pace,
}

/// A folder that differs from the rest of what a visitor finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    /// Which one, and what is below it.
    pub path: VirtualPath,
    /// What may be done there; `None`, what may be done above.
    pub rights: Option<Rights>,
    /// What is said to whoever goes there; lines are parted by LF.
    pub message: Option<String>,
}

/// So much of a message is read.
const MESSAGE: usize = 4 * 1024;

impl Visit {
    /// A visit to these files.
    pub fn new(storage: impl Storage, rights: Rights) -> Visit {
        Visit {
            storage: Arc::new(storage),
            rights,
            greeting: "Welcome".to_owned(),
            folders: Arc::new([]),
            message_file: None,
            uploads: Pace::default(),
            downloads: Pace::default(),
        }
    }

    /// The same with another greeting.
    #[must_use]
    pub fn greeting(self, greeting: impl Into<String>) -> Visit {
        Visit { greeting: greeting.into(), ..self }
    }

    /// The same with folders that differ from the rest.
    #[must_use]
    pub fn folders(self, folders: impl Into<Arc<[Folder]>>) -> Visit {
        Visit { folders: folders.into(), ..self }
    }

    /// The same, where a file of this name is shown to whoever goes to its folder and may read it.
    #[must_use]
    pub fn message_file(self, name: Option<Arc<[u8]>>) -> Visit {
        Visit { message_file: name, ..self }
    }

    /// The same, whose uploads go at the pace of this meter too.
    #[must_use]
    pub fn uploads_metered(mut self, meter: Meter) -> Visit {
        self.uploads.0.push(meter);
        self
    }

    /// The same, whose downloads go at the pace of this meter too.
    #[must_use]
    pub fn downloads_metered(mut self, meter: Meter) -> Visit {
        self.downloads.0.push(meter);
        self
    }

    /// What may be done with a file or folder: by the deepest folder that says so.
    pub(crate) fn rights_at(&self, path: &VirtualPath) -> Rights {
        let above = self.folders.iter().filter(|folder| is_within(path, &folder.path));
        let deepest = above.filter(|folder| folder.rights.is_some());
        let deepest = deepest.max_by_key(|folder| folder.path.as_bytes().len());
        deepest.and_then(|folder| folder.rights).unwrap_or(self.rights)
    }

    /// Whether a folder that differs is this one or below it: under another name it wouldn't differ.
    pub(crate) fn must_keep_name(&self, path: &VirtualPath) -> bool {
        self.folders.iter().any(|folder| is_within(&folder.path, path))
    }

    /// Whether messages are in files, so that it may block to tell them.
    pub(crate) fn reads_messages(&self) -> bool {
        self.message_file.is_some()
    }

    /// What is to be said to whoever goes to a folder, before the reply itself. May block.
    pub(crate) fn message_at(&self, path: &VirtualPath) -> String {
        let mut message = String::new();
        for folder in self.folders.iter().filter(|folder| folder.path == *path) {
            message.extend(folder.message.as_deref());
        }
        if let Some(name) = self.message_file.as_deref().filter(|_| self.rights_at(path).read) {
            message += &read_message(&*self.storage, path, name).unwrap_or_default();
        }
        if !message.is_empty() && !message.ends_with('\n') {
            message.push('\n');
        }
        message
    }

    pub(crate) fn pace(&self, is_upload: bool) -> Pace {
        if is_upload { self.uploads.clone() } else { self.downloads.clone() }
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Visit").field("rights", &self.rights).finish_non_exhaustive()
    }
}

fn is_within(path: &VirtualPath, folder: &VirtualPath) -> bool {
    let rest = path.as_bytes().strip_prefix(folder.as_bytes());
    rest.is_some_and(|rest| folder.is_root() || rest.is_empty() || rest[0] == b'/')
}

fn read_message(storage: &dyn Storage, folder: &VirtualPath, name: &[u8]) -> Option<String> {
    let mut content = storage.read(&folder.join(name, Above::Refuse).ok()?).ok()?;
    let (mut text, mut filled) = (vec![0; MESSAGE], 0);
    while filled < text.len() {
        match content.read_at(&mut text[filled..], filled as u64).ok()? {
            0 => break,
            count => filled += count,
        }
    }
    text.truncate(filled);
    Some(String::from_utf8_lossy(&text).replace('\r', ""))
}

/// Says what a visitor finds. Called in the offload pool: it may block.
pub(crate) type Home = dyn Fn(Visitor<'_>) -> Result<Visit, Error> + Send + Sync;
