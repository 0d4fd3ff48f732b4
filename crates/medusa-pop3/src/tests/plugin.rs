//! What `[pop3.NAME]` may say.

use medusa_accounts::Logins;
use medusa_core::{BuildContext, Plugin};
use serde::Deserialize;
use serde::de::value::{Error, MapDeserializer};

use super::{Setup, two};
use crate::{Pop3, Pop3Config};

fn context(folder: &std::path::Path) -> BuildContext {
    let logins: Logins = Setup::new(&two()).logins;
    BuildContext::new("pop3", "mail", folder).with_shared(logins)
}

fn config(change: impl FnOnce(&mut Pop3Config)) -> Pop3Config {
    let mut config = Pop3Config {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        mailboxes: Some("mail".into()),
        ..Pop3Config::default()
    };
    change(&mut config);
    config
}

#[test]
fn what_is_missing_is_told_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    let bare = BuildContext::new("pop3", "mail", folder.path());
    let fails = |config: Pop3Config, cx: &BuildContext| {
        let error = Pop3::build(config, cx).err().unwrap();
        assert!(error.hint.is_some() || error.key.is_some(), "{error}");
        (error.key.unwrap_or_default(), error.message)
    };
    let cx = context(folder.path());
    assert_eq!(fails(config(|c| c.listen.clear()), &cx).1, "it listens nowhere");
    assert_eq!(fails(config(|_| {}), &bare).1, "there are no accounts to log in to");
    assert!(fails(config(|c| c.mailboxes = None), &cx).1.contains("where the mail is"));
    let secured = config(|c| c.tls_listen = vec!["127.0.0.1:0".parse().unwrap()]);
    assert_eq!(fails(secured, &cx).0, "tls_listen");
    let nothing = config(|c| c.login_delay = Some("0s".parse().unwrap()));
    assert_eq!(fails(nothing, &cx).0, "login_delay");
    std::fs::write(folder.path().join("file"), "").unwrap();
    assert_eq!(fails(config(|c| c.mailboxes = Some("file".into())), &cx).0, "mailboxes");
}

#[test]
fn a_service_is_built_with_the_defaults_of_pop3() {
    let folder = tempfile::tempdir().unwrap();
    let parts = Pop3::build(config(|_| {}), &context(folder.path())).unwrap().parts();
    assert_eq!((&**parts.name(), parts.summary()), ("pop3.mail", "mail"));
    assert_eq!(parts.limits().idle, Some(std::time::Duration::from_secs(600)));
    assert_eq!(parts.listeners().len(), 1);
}

#[test]
fn unknown_keys_and_values_are_refused() {
    let read = |key: &'static str, value: &'static str| {
        let pairs = [(key, value)].into_iter();
        Pop3Config::deserialize(MapDeserializer::<_, Error>::new(pairs)).map_err(|e| e.to_string())
    };
    assert!(read("plaintext_login", "never").is_ok());
    assert!(read("plaintext_login", "sometimes").unwrap_err().contains("loopback"));
    assert!(read("mailbox", "mail").unwrap_err().contains("unknown field"));
}
