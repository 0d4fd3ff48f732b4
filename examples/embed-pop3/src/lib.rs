//! A program whose output is collected by POP3: it leaves text files in `FOLDER/ACCOUNT`, a mail program
//! fetches and deletes them. Neither Maildirs nor a users file are needed for that.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;

use medusa_accounts::{Attempt, Authenticate, Denial, Identity, Logins, Password, ThrottleLimits};
use medusa_core::{ServiceParts, config::Listen};
use medusa_mail::{Content, Error, Maildrop, Message};
use medusa_pop3::{Maildrops, Pop3Service};
use rustix::fs::{FlockOperation, flock};

/// The whole program as a service: everybody's password is `please`.
pub fn service(listen: Listen, folder: PathBuf) -> Pop3Service {
    let logins = Logins::new(Arc::new(Please), ThrottleLimits::default());
    Pop3Service::new(ServiceParts::new("pop3.embedded").listen(listen), Texts(folder), logins)
}

struct Please;

impl Authenticate for Please {
    fn authenticate(&self, attempt: &Attempt, password: &Password) -> Result<Identity, Denial> {
        let is_name = attempt.name.bytes().all(|octet| octet.is_ascii_lowercase());
        let is_known = is_name && password.reveal() == "please";
        if is_known { Ok(Identity::new(&attempt.name)) } else { Err(Denial::Credentials) }
    }
}

struct Texts(PathBuf);

/// The files of one account. While the lock is held, nobody else opens them.
struct Visit {
    paths: Vec<PathBuf>,
    messages: Vec<Message>,
    _lock: File,
}

impl Maildrops for Texts {
    fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        let folder = self.0.join(account);
        let lock = fs::create_dir_all(&folder).and_then(|()| File::open(&folder));
        let lock = lock.map_err(|source| Error::Io { path: folder.clone(), source })?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Error::InUse)?;
        let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        paths.sort();
        let describe = |path: &PathBuf| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let unique_id = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            Message::measured(unique_id, text.as_bytes())
        };
        Ok(Box::new(Visit { messages: paths.iter().map(describe).collect(), paths, _lock: lock }))
    }
}

impl Maildrop for Visit {
    fn messages(&self) -> &[Message] {
        &self.messages
    }

    fn read(&self, index: usize) -> Result<Content, Error> {
        File::open(&self.paths[index]).map(Content::from).map_err(|_| Error::Missing)
    }

    fn remove(&self, indices: &[usize]) -> Result<(), Error> {
        indices.iter().try_for_each(|&index| {
            let path = &self.paths[index];
            fs::remove_file(path).map_err(|source| Error::Io { path: path.clone(), source })
        })
    }
}
