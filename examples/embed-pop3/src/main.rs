//! A program whose output is collected by POP3: it leaves texts in the folder `texts`, and a mail program fetches and
//! deletes them. Neither Maildirs nor a users file are needed for that.
//!
//! It serves on 127.0.0.1:8110, or where the first argument says: `curl pop3://127.0.0.1:8110 --user zoe:please`.

use std::{fs, path::PathBuf};

use medusa_accounts::Logins;
use medusa_core::{Server, ServiceParts};
use medusa_mail::{Content, Error, Maildrop, Message};
use medusa_pop3::{Maildrops, Pop3Service};

struct Texts(PathBuf);

/// The texts as a session finds them: the oldest name first, and a message for each.
struct Found(Vec<PathBuf>, Vec<Message>);

impl Maildrops for Texts {
    fn open(&self, _account: &str) -> Result<Box<dyn Maildrop>, Error> {
        let entries = fs::read_dir(&self.0)?.map(|entry| Ok(entry?.path()));
        let mut paths = entries.collect::<Result<Vec<_>, Error>>()?;
        paths.sort();
        let messages = paths.iter().map(|path| Message::of_file(path)).collect::<Result<_, _>>()?;
        Ok(Box::new(Found(paths, messages)))
    }
}

impl Maildrop for Found {
    fn messages(&self) -> &[Message] {
        &self.1
    }

    fn read(&self, index: usize) -> Result<Content, Error> {
        Ok(fs::File::open(&self.0[index])?.into())
    }

    fn remove(&self, indices: &[usize]) -> Result<(), Error> {
        indices.iter().try_for_each(|&index| Ok(fs::remove_file(&self.0[index])?))
    }
}

fn service(listen: &str, folder: PathBuf) -> Result<Pop3Service, Box<dyn std::error::Error>> {
    let logins = Logins::checked_by(|name, password| (name, password) == ("zoe", "please"));
    let parts = ServiceParts::new("pop3.texts").listen(listen.parse()?);
    Ok(Pop3Service::new(parts, Texts(folder), logins))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8110".to_owned());
    fs::create_dir_all("texts")?;
    let service = service(&listen, "texts".into())?;
    Ok(Server::builder().mount(Box::new(service)).bind()?.run()?)
}

#[cfg(test)]
mod tests;
