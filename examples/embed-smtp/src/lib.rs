//! Mail into a store of one's own: whatever is sent to `ticket-NUMBER@support.test` becomes the file
//! `NUMBER.eml`, or takes its place. No accounts, no Maildirs: whose an address is, and how a message is kept.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use medusa_accounts::{Identity, Recipient};
use medusa_core::config::Listen;
use medusa_core::{Service, ServiceParts};
use medusa_mail::{Error, Incoming, MailStore, Then};
use medusa_smtp::{Directory, SmtpService};

/// A server for the tickets in `folder`.
pub fn service(listen: Listen, folder: PathBuf) -> Box<dyn Service> {
    let parts = ServiceParts::new("smtp.tickets").listen(listen);
    let domains = vec!["support.test".to_owned()];
    let tickets = Arc::new(Tickets(folder));
    let directory = tickets.clone();
    SmtpService::new(parts, "mx.support.test", domains, directory, tickets).build()
}

struct Tickets(PathBuf);

impl Directory for Tickets {
    fn recipient(&self, local: &str, _: &str) -> Recipient {
        let number = local.strip_prefix("ticket-").and_then(|digits| digits.parse::<u32>().ok());
        number.map_or(Recipient::Unknown, |number| Recipient::Account {
            identity: Identity::new(number.to_string()),
            tag: None,
        })
    }
}

impl MailStore for Tickets {
    fn begin(&self, numbers: &[String]) -> Result<Box<dyn Incoming>, Error> {
        let paths = numbers.iter().map(|number| self.0.join(format!("{number}.eml"))).collect();
        Ok(Box::new(Ticket { paths, text: Vec::new() }))
    }
}

struct Ticket {
    paths: Vec<PathBuf>,
    text: Vec<u8>,
}

impl Incoming for Ticket {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    /// In a thread of the pool. The sender is told that it is kept once `then` is.
    fn commit(self: Box<Self>, then: Then) {
        then(self.paths.iter().try_for_each(|path| {
            keep(path, &self.text).map_err(|source| Error::Io { path: path.clone(), source })
        }));
    }
}

fn keep(path: &Path, text: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("part");
    let mut file = File::create(&temporary)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(path.with_file_name("."))?.sync_all()
}
