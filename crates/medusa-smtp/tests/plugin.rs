//! `[smtp.NAME]`: what is refused, and where; and what is made of the rest.

#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

use medusa_accounts::{Accounts, Directory, Logins, ThrottleLimits, Users};
use medusa_core::config::Listen;
use medusa_core::tls::{Certificate, ServerTls};
use medusa_core::{BuildContext, BuildError, Plugin, Service};
use medusa_smtp::{Smtp, SmtpConfig};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, MapDeserializer};

/// A value as a table of the configuration has it.
#[derive(Clone)]
enum Value {
    Text(&'static str),
    List(Vec<&'static str>),
}

impl<'de> IntoDeserializer<'de, Error> for Value {
    type Deserializer = ValueDeserializer;

    fn into_deserializer(self) -> ValueDeserializer {
        ValueDeserializer(self)
    }
}

struct ValueDeserializer(Value);

impl<'de> serde::Deserializer<'de> for ValueDeserializer {
    type Error = Error;

    fn deserialize_any<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.0 {
            Value::Text(text) => visitor.visit_str(text),
            Value::List(list) => {
                serde::de::value::SeqDeserializer::new(list.into_iter()).deserialize_any(visitor)
            }
        }
    }

    fn deserialize_option<V: serde::de::Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_enum<V: serde::de::Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self.0 {
            Value::Text(text) => {
                let plain: serde::de::value::StrDeserializer<'_, Error> = text.into_deserializer();
                plain.deserialize_enum(name, variants, visitor)
            }
            Value::List(_) => self.deserialize_any(visitor),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The contract's table for an mx, with these keys in place or beside.
fn table(changes: &[(&'static str, Option<Value>)]) -> Vec<(&'static str, Value)> {
    let mut table = vec![
        ("listen", Value::List(vec!["127.0.0.1:2525"])),
        ("hostname", Value::Text("mx.example.test")),
        ("domains", Value::List(vec!["example.test"])),
        ("mailboxes", Value::Text("mail")),
        ("max_message", Value::Text("25 MiB")),
    ];
    for (key, value) in changes {
        table.retain(|(name, _)| name != key);
        table.extend(value.clone().map(|value| (*key, value)));
    }
    table
}

struct Surroundings {
    accounts: bool,
    tls: bool,
}

fn build(
    changes: &[(&'static str, Option<Value>)],
    around: &Surroundings,
) -> Result<Box<dyn Service>, BuildError> {
    let folder = tempfile::tempdir().unwrap();
    let mut cx = BuildContext::new("smtp", "mx", folder.path());
    if around.accounts {
        cx = cx.with_shared(
            Accounts::new(Directory::new(Users::default(), folder.path()).unwrap()).unwrap(),
        );
        let accounts = cx.shared::<Accounts>().unwrap();
        cx = cx.with_shared(Logins::new(accounts, ThrottleLimits::default()));
    }
    if around.tls {
        let made = rcgen::generate_simple_self_signed(["mx.example.test".to_owned()]).unwrap();
        let (chain, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&chain, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        cx = cx.with_shared(
            ServerTls::new(vec![Certificate { hosts: Vec::new(), chain, key }]).unwrap(),
        );
    }
    let config = SmtpConfig::deserialize(MapDeserializer::new(table(changes).into_iter()))
        .map_err(|error| BuildError::new(error.to_string()))?;
    let built = Smtp::build(config, &cx);
    for made in ["mail", "queue"] {
        assert!(!folder.path().join(made).exists(), "what is only built leaves nothing behind");
    }
    built
}

const ALL: Surroundings = Surroundings { accounts: true, tls: true };

fn text(key: &'static str, value: &'static str) -> (&'static str, Option<Value>) {
    (key, Some(Value::Text(value)))
}

fn list(key: &'static str, value: &[&'static str]) -> (&'static str, Option<Value>) {
    (key, Some(Value::List(value.to_vec())))
}

#[test]
fn the_contracts_tables() {
    let mx = build(&[], &ALL).unwrap().parts();
    assert_eq!((&**mx.name(), mx.summary()), ("smtp.mx", "mail for example.test"));
    assert_eq!(mx.limits().idle.unwrap().as_secs(), 300);
    let submission = build(
        &[
            text("role", "submission"),
            list("tls_listen", &["127.0.0.1:2465"]),
            ("max_message", None),
        ],
        &ALL,
    )
    .unwrap();
    let parts = submission.parts();
    assert_eq!(parts.summary(), "submission to example.test");
    let listeners = parts.listeners();
    assert_eq!(listeners.iter().map(|one| one.secured).collect::<Vec<_>>(), [false, true]);
    assert!(matches!(listeners[1].address, Listen::Inet(address) if address.port() == 2465));
    assert_eq!(listeners[1].key, "tls_listen[0]");
    for change in [
        text("smuggling", "normalise"),
        text("smuggling", "reject"),
        text("greeting_wait", "2s"),
        text("quota", "1 GiB"),
    ] {
        let key = change.0;
        assert!(build(&[change], &ALL).is_ok(), "{key}");
    }
    assert!(build(&[text("role", "submission"), text("plaintext_login", "never")], &ALL).is_ok());
    let sending = [
        text("role", "submission"),
        text("queue", "queue"),
        text("relay", "127.0.0.1:2600"),
        list("retry", &["1m", "5m", "15m", "1h", "4h"]),
        text("expire", "5d"),
    ];
    let sending = build(&sending, &ALL).unwrap();
    assert!(sending.datagram_service().is_some());
    assert!(submission.datagram_service().is_none());
    // Without a certificate there is no STARTTLS, and mail all the same.
    assert!(build(&[], &Surroundings { accounts: true, tls: false }).is_ok());
}

#[test]
fn what_is_wrong_is_said_where() {
    let check = |changes: &[(&'static str, Option<Value>)], key: Option<&str>, part: &str| {
        let error = build(changes, &ALL).err().expect("refused");
        assert!(error.message.contains(part), "{part:?} is not in {:?}", error.message);
        assert_eq!(error.key.as_deref(), key, "{}", error.message);
    };
    check(&[("listen", None)], Some("listen"), "listens nowhere");
    check(&[list("listen", &[])], Some("listen"), "listens nowhere");
    check(&[("hostname", None)], None, "has no name");
    check(&[text("hostname", "a b")], Some("hostname"), "not a host's name");
    check(&[("domains", None)], None, "no domain's mail");
    check(&[list("domains", &["a.test", "b@c"])], Some("domains[1]"), "not a domain's name");
    check(&[("mailboxes", None)], None, "no place for mail");
    check(&[text("mailboxes", "/dev/null/mail")], Some("mailboxes"), "can't keep mail");
    check(&[text("plaintext_login", "always")], Some("plaintext_login"), "nobody logs in here");
    check(&[text("role", "relay")], None, "unknown variant");
    check(&[text("smuggling", "allow")], None, "unknown variant");
    check(&[text("hotsname", "x")], None, "unknown field");
    check(&[text("queue", "queue")], Some("queue"), "nothing is sent on from here");
    for (folder, part) in [("/dev/null/queue", "can't be a queue"), ("./mail", "accounts' mail")] {
        check(&[text("role", "submission"), text("queue", folder)], Some("queue"), part);
    }
    for (key, value) in [
        text("relay", "mail.example.test"),
        list("retry", &["1m"]),
        text("expire", "5d"),
        text("warn", "4h"),
    ] {
        check(&[(key, value)], Some(key), "there is no queue for it");
    }
    let role = text("role", "submission");
    let queue = text("queue", "queue");
    for (key, value, part) in [
        ("relay", Value::Text("a b"), "`a b` is no server"),
        ("relay", Value::Text("mx.test:0"), "`mx.test:0` is no server"),
        ("retry", Value::List(vec![]), "there must be a wait"),
        ("retry", Value::List(vec!["0s"]), "there must be a wait"),
    ] {
        check(&[role.clone(), queue.clone(), (key, Some(value))], Some(key), part);
    }
}

#[test]
fn what_must_be_shared_is_missed() {
    let alone = Surroundings { accounts: false, tls: false };
    let error = build(&[], &alone).err().unwrap();
    assert!(error.message.contains("no accounts") && error.hint.unwrap().contains("[accounts]"));
    let plain = Surroundings { accounts: true, tls: false };
    let error = build(&[list("tls_listen", &["127.0.0.1:2465"])], &plain).err().unwrap();
    assert_eq!(error.key.as_deref(), Some("tls_listen"));
}
