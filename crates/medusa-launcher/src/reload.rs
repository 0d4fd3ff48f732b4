//! Certificates and accounts that change while a server runs: looked at every few seconds, and at HUP, when
//! the configuration is read again too, and services are asked to look at their own files.
//!
//! What can't be used is told once, and what was read before stays in use.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use medusa_accounts::Accounts;
use medusa_core::tls::{ExpiryWatch, ServerTls, TlsError};

use crate::accounts::{Look, UsersFile};
use crate::config::diagnostic::{Diagnostic, Source};
use crate::live::Live;

/// How often files are looked at. A look costs a stat(2) for each, and a certificate that was renewed
/// or a password that was changed should not need a signal (Caddy and Traefik watch theirs).
const PERIOD: Duration = Duration::from_secs(10);

/// How long a users file has to stay as it is before it is read: an editor may have written half of it.
const SETTLED: Duration = Duration::from_secs(1);

/// What may change, and how.
pub(crate) struct Watched {
    /// The certificates, where there are any.
    tls: Option<Arc<ServerTls>>,
    /// The accounts and their file, where there is one.
    accounts: Option<(UsersFile, Arc<Accounts>)>,
    /// The services, which follow the configuration when it is asked for.
    services: Option<Live>,
    /// What was told of certificates that are about to expire.
    expiry: ExpiryWatch,
}

/// The thread that looks; it ends when this is dropped.
pub(crate) struct Watch {
    wishes: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watched {
    /// What is to be watched. Certificates that expire soon are told of at once; those that have expired
    /// were told of with their line in the configuration.
    pub(crate) fn new(
        tls: Option<Arc<ServerTls>>,
        accounts: Option<(UsersFile, Arc<Accounts>)>,
        services: impl Into<Option<Live>>,
    ) -> Self {
        let mut expiry = ExpiryWatch::default();
        let shown = tls.as_ref().map(|tls| tls.certificates()).unwrap_or_default();
        for warning in expiry.look(&shown, SystemTime::now()) {
            if let TlsError::Expiring { .. } = warning {
                tracing::warn!("{warning}");
            }
        }
        Self { tls, accounts, services: services.into(), expiry }
    }

    /// Looks at everything every few seconds from now on.
    pub(crate) fn start(self) -> io::Result<Watch> {
        let (wishes, wished) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("reload".into())
            .spawn(move || self.watch(&wished, PERIOD, SETTLED))?;
        Ok(Watch { wishes: Some(wishes), thread: Some(thread) })
    }

    fn watch(mut self, wished: &Receiver<()>, period: Duration, settled: Duration) {
        let mut pause = period;
        loop {
            let asked = match wished.recv_timeout(pause) {
                Ok(()) => true,
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            pause = if self.look(asked) { settled } else { period };
        }
    }

    /// Reads what has changed; with `asked` the users file in any case, and says so. Whether it should
    /// look again soon.
    fn look(&mut self, asked: bool) -> bool {
        if let Some(services) = self.services.as_mut().filter(|_| asked) {
            // A plug-in of somebody's may panic when it is built: certificates are looked at all the same.
            if catch_unwind(AssertUnwindSafe(|| services.read_again())).is_err() {
                tracing::error!(
                    "a service panicked while it was built; the configuration in use stays"
                );
            }
        }
        if let Some(tls) = &self.tls {
            match tls.refresh() {
                Ok(true) => tracing::info!("the certificates were read again"),
                Ok(false) if asked => tracing::info!("the certificates are unchanged"),
                Ok(false) => {}
                Err(errors) => {
                    for error in errors {
                        tracing::error!("the certificates in use stay: {error}");
                    }
                }
            }
            for warning in self.expiry.look(&tls.certificates(), SystemTime::now()) {
                tracing::warn!("{warning}");
            }
        }
        if let Some((file, accounts)) = &mut self.accounts {
            match file.look(accounts, asked) {
                Look::Same => {}
                Look::Changing => return true,
                Look::Read(advice) => {
                    let count = accounts.directory().len();
                    tracing::info!(accounts = count, "{} was read again", file.name());
                    advice.iter().for_each(warn);
                }
                Look::Refused(errors) => {
                    for error in &errors {
                        let at = error.place(&nowhere());
                        tracing::error!(at, "the accounts in use stay: {}", error.message);
                    }
                }
            }
        }
        false
    }
}

impl Watch {
    /// Has everything looked at now.
    pub(crate) fn asker(&self) -> Option<Sender<()>> {
        self.wishes.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.wishes = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that reloads panicked");
        }
    }
}

fn warn(one: &Diagnostic) {
    tracing::warn!(at = one.place(&nowhere()), "{}", one.message);
}

/// For complaints about other files, which name them themselves.
fn nowhere() -> Source {
    Source { name: String::new(), text: String::new() }
}

#[cfg(test)]
mod tests {
    use medusa_accounts::{HashCost, Password, User};

    use super::*;
    use crate::config::document::Document;

    fn users(names: &[&str]) -> String {
        let cost = HashCost { memory_kib: 8, passes: 1, lanes: 1 };
        let user = User::with_password_at(&Password::new("x"), cost, 4096).expect("hashed");
        names.iter().map(|name| format!("[{name}]\npassword = \"{}\"\n", user.password)).collect()
    }

    #[test]
    fn what_changes_is_found_without_a_signal() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("users.toml");
        std::fs::write(&path, users(&["alice"])).expect("written");
        let text = "[accounts]\nfile = \"users.toml\"\n".to_owned();
        let source = Source { name: "m.toml".into(), text };
        let document = Document::parse(&source).expect("valid");
        let (root, services) = (document.root(), Default::default());
        let read = crate::accounts::read(&root, folder.path(), services, &mut Vec::new());
        let (file, accounts) = read.expect("sound");
        let accounts = Arc::new(accounts);
        let watched = Watched::new(None, Some((file, Arc::clone(&accounts))), None);
        let (wishes, wished) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let soon = Duration::from_millis(1);
            watched.watch(&wished, soon, soon);
        });
        for names in [&["alice", "bob"][..], &[], &["carol"]] {
            // Even if it should be read half written, it is read again when it is whole.
            std::fs::write(&path, users(names)).expect("written");
            let end = std::time::Instant::now() + Duration::from_secs(20);
            while accounts.directory().len() != names.len() {
                assert!(std::time::Instant::now() < end, "{names:?}");
                std::thread::yield_now();
            }
        }
        drop(wishes);
        thread.join().expect("it ends");
    }
}
