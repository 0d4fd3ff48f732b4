//! `[pop3.NAME]`: the keys, what they mean together, and everything that can be wrong with them, found
//! before anything is served.

use std::path::PathBuf;
use std::time::Duration;

use medusa_accounts::{Logins, PlaintextLogin};
use medusa_core::config::{Listen, Period};
use medusa_core::{BuildContext, BuildError, Plugin, Service};
use medusa_mail::MaildirStore;
use serde::Deserialize;

use crate::service::Pop3Service;

/// The plug-in: `[pop3.NAME]`.
#[derive(Debug)]
pub struct Pop3;

/// One POP3 service as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pop3Config {
    /// Where it listens, with STLS if there is a certificate.
    #[serde(default)]
    pub(crate) listen: Vec<Listen>,
    /// Where it listens with TLS from the first octet.
    #[serde(default)]
    pub(crate) tls_listen: Vec<Listen>,
    /// The folder with a Maildir for each account.
    pub(crate) mailboxes: Option<PathBuf>,
    /// Where passwords may be sent without TLS.
    #[serde(default)]
    pub(crate) plaintext_login: PlaintextLogin,
    /// How long an account that has logged in isn't let in again.
    pub(crate) login_delay: Option<Period>,
}

impl Plugin for Pop3 {
    const KIND: &'static str = "pop3";
    type Config = Pop3Config;

    fn build(config: Pop3Config, cx: &BuildContext) -> Result<Box<dyn Service>, BuildError> {
        let defaults = Pop3Service::default_limits();
        let parts = cx.parts(&config.listen, &config.tls_listen, "127.0.0.1:1110", defaults)?;
        let logins = cx.shared::<Logins>().ok_or_else(|| {
            BuildError::new("there are no accounts to log in to")
                .hint("name a users file: `[accounts]` with `file = \"users.toml\"`")
        })?;
        let login_delay = config.login_delay.map(Duration::from);
        if login_delay.is_some_and(|delay| delay.is_zero()) {
            return Err(BuildError::at("login_delay", "a delay of nothing delays nobody")
                .hint("leave the key out where nobody is to wait"));
        }
        let mailboxes = config.mailboxes.ok_or_else(|| {
            BuildError::new("it doesn't say where the mail is")
                .hint("name a folder: `mailboxes = \"mail\"`")
        })?;
        let folder = cx.path(&mailboxes);
        // The host's name goes into the names of messages that are delivered; here none are.
        let store = MaildirStore::at(&folder, "localhost").map_err(|error| {
            let message = format!("can't keep mail in the folder `{}`: {error}", folder.display());
            BuildError::at("mailboxes", message)
        })?;
        let parts = parts.with_summary(mailboxes.display().to_string());
        let service = Pop3Service::new(parts, store, (*logins).clone())
            .with_plaintext_login(config.plaintext_login)
            .with_login_delay(login_delay);
        Ok(Box::new(service))
    }
}
