//! A report on its way: into the maildrop of a sender who is here, or into the queue. All of it blocks, but for
//! the commit.
//!
//! It is written first and committed afterwards, so that whoever has to say yes to the report and to something
//! else knows before either that both can be written.

use std::time::SystemTime;

use medusa_mail::{EntryId, Envelope, Error, Incoming, MailStore, Queue, Queuing, Then};

use super::Report;
use crate::Directory;
use crate::address;
use crate::sending::domain_of;
use crate::service::{self, account};
use crate::trace::return_path;

/// Who has accounts here: their reports don't go out.
#[derive(Clone, Copy)]
pub(crate) struct Home<'h> {
    pub hostname: &'h str,
    pub domains: &'h [String],
    pub directory: &'h dyn Directory,
    pub store: &'h dyn MailStore,
}

/// A report that is written. Dropped, it was never there.
pub(crate) enum Posted {
    /// For a maildrop here.
    Here(Box<dyn Incoming>),
    /// For the queue, with what it is sent with.
    Onward(Box<dyn Queuing>, Envelope),
}

/// Takes the next octets.
pub(crate) type Write<'w> = dyn FnMut(&[u8]) -> Result<(), Error> + 'w;

/// Writes a report to a sender, with what it returns of the message. `None` where the sender can't be told: that
/// is a line in the log.
pub(crate) fn post(
    home: Option<Home<'_>>,
    queue: &dyn Queue,
    to: &str,
    report: &Report,
    now: SystemTime,
    returned: &mut dyn FnMut(&mut Write<'_>) -> Result<(), Error>,
) -> Result<Option<Posted>, Error> {
    let mut write_all = |write: &mut Write<'_>| {
        write(&report.front)?;
        returned(write)?;
        write(&report.back)
    };
    match home.map_or(Place::Elsewhere, |home| place(home, to)) {
        Place::Here(account, store) => {
            let mut incoming = store.begin(&[account])?;
            let mut trace = return_path("");
            trace.extend_from_slice(format!("Delivered-To: {to}\r\n").as_bytes());
            incoming.write(&trace)?;
            write_all(&mut |bytes| incoming.write(bytes))?;
            Ok(Some(Posted::Here(incoming)))
        }
        Place::Elsewhere => {
            let mut queuing = queue.begin()?;
            write_all(&mut |bytes| queuing.write(bytes))?;
            let envelope = report.envelope(to, now);
            queuing.seal(&envelope)?;
            Ok(Some(Posted::Onward(queuing, envelope)))
        }
        Place::Nowhere => {
            tracing::warn!(sender = to, "a report's addressee isn't known here; it is dropped");
            Ok(None)
        }
    }
}

impl Posted {
    /// Has it reach the disk, and calls `then` once that is certain: with the entry that has come to be in the
    /// queue, if one has.
    pub(crate) fn commit(
        self,
        then: impl FnOnce(Result<Option<(EntryId, Envelope)>, Error>) + Send + 'static,
    ) {
        match self {
            Posted::Here(incoming) => {
                incoming.commit(Box::new(move |result| then(result.map(|()| None))));
            }
            Posted::Onward(queuing, envelope) => {
                let id = queuing.id().clone();
                let then: Then = Box::new(move |result| {
                    then(result.map(|()| Some((id, envelope))));
                });
                queuing.commit(then);
            }
        }
    }
}

/// Where a report goes.
enum Place<'h> {
    Here(String, &'h dyn MailStore),
    Elsewhere,
    Nowhere,
}

fn place<'h>(home: Home<'h>, to: &str) -> Place<'h> {
    let mailbox = address::path(&format!("<{to}>")).and_then(|(mailbox, _)| mailbox);
    let local = mailbox.as_ref().map_or("", |mailbox| &*mailbox.local);
    let Some(ours) = service::home(home.domains, home.hostname, local, domain_of(to)) else {
        return Place::Elsewhere;
    };
    let Some(mailbox) = mailbox else { return Place::Nowhere };
    match account(home.directory, &mailbox.local, ours) {
        Ok(account) => Place::Here(account, home.store),
        Err(_) => Place::Nowhere,
    }
}
