//! Mail into a store of one's own: whatever is sent to `ticket-NUMBER@support.test` becomes the file
//! `NUMBER.eml`, or takes its place. No accounts, no Maildirs.
//!
//! It shows the two traits that a program brings: whose an address is, and how a message is kept.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use medusa_accounts::{Identity, Recipient};
use medusa_core::config::Listen;
use medusa_core::{Listener, Service};
use medusa_mail::{Error, Incoming, MailStore, Maildrop, Then};
use medusa_smtp::{Directory, SmtpService};

/// A server for the tickets in `folder`.
pub fn service(listen: Listen, folder: PathBuf) -> Box<dyn Service> {
    let (listeners, domains) = (vec![Listener::new(listen)], vec!["support.test".to_owned()]);
    let (directory, store) = (Arc::new(Numbers), Arc::new(Tickets { folder }));
    SmtpService::new("smtp.tickets", listeners, "mx.support.test", domains, directory, store)
        .build()
}

struct Numbers;

impl Directory for Numbers {
    fn recipient(&self, local: &str, _: &str) -> Recipient {
        match local.strip_prefix("ticket-").and_then(|digits| digits.parse::<u32>().ok()) {
            Some(number) => {
                Recipient::Account { identity: Identity::new(number.to_string()), tag: None }
            }
            None => Recipient::Unknown,
        }
    }
}

struct Tickets {
    folder: PathBuf,
}

impl MailStore for Tickets {
    fn admit(&self, _: &str, _: u64) -> Result<(), Error> {
        Ok(())
    }

    fn has_quota(&self) -> bool {
        false
    }

    fn begin(&self, accounts: &[String]) -> Result<Box<dyn Incoming>, Error> {
        let paths = accounts.iter().map(|number| self.folder.join(format!("{number}.eml")));
        Ok(Box::new(Ticket { paths: paths.collect(), text: Vec::new() }))
    }

    fn open(&self, _: &str) -> Result<Box<dyn Maildrop>, Error> {
        // Nobody fetches tickets by POP3.
        Err(Error::Missing)
    }
}

struct Ticket {
    paths: Vec<PathBuf>,
    text: Vec<u8>,
}

impl Ticket {
    /// The sender is told that it is kept once this is done.
    fn keep(&self) -> std::io::Result<()> {
        for path in &self.paths {
            let temporary = path.with_extension("part");
            let mut file = File::create(&temporary)?;
            file.write_all(&self.text)?;
            file.sync_all()?;
            fs::rename(&temporary, path)?;
            path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
        }
        Ok(())
    }
}

impl Incoming for Ticket {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    fn commit(self: Box<Self>, then: Then) {
        // The pool's thread is here: a program with much mail would have one of its own for this.
        then(self.keep().map_err(|source| Error::Io { path: self.paths[0].clone(), source }));
    }
}
