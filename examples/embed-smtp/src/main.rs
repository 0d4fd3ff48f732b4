//! Mail into a store of one's own: whatever is sent to `ticket-NUMBER@support.test` becomes the file `NUMBER.eml` in the
//! folder `tickets`, or takes its place. No accounts, no Maildirs: one function says whose an address is, and another
//! keeps the message.
//!
//! It serves on 127.0.0.1:8025, or where the first argument says.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use medusa_accounts::Recipient;
use medusa_core::{Server, Service, ServiceParts};
use medusa_mail::WholeMessages;
use medusa_smtp::SmtpService;

/// An account for each ticket, named by its number.
fn recipient(local: &str, _domain: &str) -> Recipient {
    let number = local.strip_prefix("ticket-").and_then(|digits| digits.parse::<u32>().ok());
    number.map_or(Recipient::Unknown, |number| Recipient::account(number.to_string()))
}

/// Returns when no crash can lose the message any more: then its sender is told so.
fn keep(folder: &Path, number: &str, message: &[u8]) -> io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let part = folder.join(format!("{}.part", COUNT.fetch_add(1, Ordering::Relaxed)));
    let mut file = File::create(&part)?;
    file.write_all(message)?;
    file.sync_all()?;
    fs::rename(&part, folder.join(number).with_extension("eml"))?;
    File::open(folder)?.sync_all()
}

fn service(listen: &str, folder: PathBuf) -> Result<Box<dyn Service>, Box<dyn std::error::Error>> {
    let tickets = WholeMessages::new(move |numbers, message| {
        numbers.iter().try_for_each(|number| Ok(keep(&folder, number, message)?))
    });
    let parts = ServiceParts::new("smtp.tickets").listen(listen.parse()?);
    Ok(SmtpService::new(parts, "mx.support.test", ["support.test"], recipient, tickets).build())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8025".to_owned());
    fs::create_dir_all("tickets")?;
    Ok(Server::builder().mount(service(&listen, "tickets".into())?).bind()?.run()?)
}

#[cfg(test)]
mod tests;
