//! A program whose output is collected by POP3: it leaves text files in `FOLDER/ACCOUNT`, a mail program
//! fetches and deletes them. Neither Maildirs nor a users file are needed for that.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use medusa_accounts::{Attempt, Authenticate, Denial, Identity, Logins, Password, ThrottleLimits};
use medusa_core::{Listener, config::Listen};
use medusa_mail::{Error, Maildrop, Message};
use medusa_pop3::{Maildrops, Pop3Service};

/// The whole program as a service: everybody's password is `please`.
pub fn service(listen: Listen, folder: PathBuf) -> Pop3Service {
    let logins = Logins::new(Arc::new(Please), ThrottleLimits::default());
    let texts = Texts { folder, visited: Arc::default() };
    Pop3Service::new("pop3.embedded", vec![Listener::new(listen)], texts, logins)
}

struct Please;

impl Authenticate for Please {
    fn authenticate(&self, attempt: &Attempt, password: &Password) -> Result<Identity, Denial> {
        let is_name = attempt.name.bytes().all(|octet| octet.is_ascii_lowercase());
        let is_known = is_name && password.reveal() == "please";
        if is_known { Ok(Identity::new(&attempt.name)) } else { Err(Denial::Credentials) }
    }
}

struct Texts {
    folder: PathBuf,
    visited: Arc<Mutex<HashSet<PathBuf>>>,
}

/// The files of one account. While this lives, nobody else opens them.
struct Visit {
    folder: PathBuf,
    messages: Vec<Message>,
    visited: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Maildrops for Texts {
    fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        let (folder, visited) = (self.folder.join(account), Arc::clone(&self.visited));
        if !visited.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.clone()) {
            return Err(Error::InUse);
        }
        let mut visit = Visit { folder, messages: Vec::new(), visited };
        for entry in fs::read_dir(&visit.folder).into_iter().flatten().flatten() {
            let (Ok(unique_id), Ok(text)) =
                (entry.file_name().into_string(), fs::read_to_string(entry.path()))
            else {
                continue;
            };
            let wire_size = text.lines().map(|line| line.len() as u64 + 2).sum();
            visit.messages.push(Message { unique_id, size: text.len() as u64, wire_size });
        }
        visit.messages.sort_by(|one, other| one.unique_id.cmp(&other.unique_id));
        Ok(Box::new(visit))
    }
}

impl Maildrop for Visit {
    fn messages(&self) -> &[Message] {
        &self.messages
    }

    fn read(&self, index: usize) -> Result<File, Error> {
        let path = self.folder.join(&self.messages[index].unique_id);
        File::open(&path).map_err(|source| Error::Io { path, source })
    }

    fn remove(&self, indices: &[usize]) -> Result<(), Error> {
        indices.iter().try_for_each(|&index| {
            let path = self.folder.join(&self.messages[index].unique_id);
            fs::remove_file(&path).map_err(|source| Error::Io { path, source })
        })
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.visited.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.folder);
    }
}
