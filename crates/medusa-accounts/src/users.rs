//! The users file as it is written: its shape for serde, and what names and services may look like.
//!
//! It reads no file and knows no TOML: the launcher parses the text. Whether the values can be used
//! is found out by [`Directory`](crate::Directory).

use std::{collections::BTreeMap, path::PathBuf};

use medusa_core::config::{Rate, Size};
use serde::Deserialize;
use unicode_normalization::char::is_combining_mark;

use crate::{
    Error, FileRight, HashCost, KeyPath, Password, SCRAM_ITERATIONS, ScramKeys, StoredHash,
    secret::prepared,
};

/// A Maildir is named after its account, and Linux takes 255 octets; this is enough for an
/// address as a name.
const NAME_OCTETS: usize = 128;

/// A users file as it is written: a table an account.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Users(pub BTreeMap<String, User>);

/// One account as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The argon2id hash of the password, in PHC form.
    pub password: String,
    /// The keys for SCRAM-SHA-256, in the form of [`ScramKeys`]. Without them the account logs in
    /// with its password only.
    #[serde(default)]
    pub scram: Option<String>,
    /// The addresses it receives mail for; `@domain` takes what nobody else does.
    #[serde(default)]
    pub mail: Vec<String>,
    /// Its folder for file transfers. Relative paths start at the users file's folder.
    #[serde(default)]
    pub files: Option<PathBuf>,
    /// What it may do with files. `None` is everything.
    #[serde(default)]
    pub rights: Option<Vec<FileRight>>,
    /// How much its folder may hold.
    #[serde(default)]
    pub quota: Option<Size>,
    /// How fast it may send files.
    #[serde(default)]
    pub upload_rate: Option<Rate>,
    /// How fast it may fetch files.
    #[serde(default)]
    pub download_rate: Option<Rate>,
    /// What it may log in to: kinds (`smtp`) or single services (`smtp.submission`). `None` is
    /// everything.
    #[serde(default)]
    pub services: Option<Vec<String>>,
    /// Whether it may log in and receives mail.
    #[serde(default = "yes")]
    pub enabled: bool,
}

fn yes() -> bool {
    true
}

impl User {
    /// An account with this password, hashed at the default cost for argon2id and for SCRAM, and
    /// nothing else. Blocks.
    ///
    /// # Errors
    ///
    /// [`Error::UnusablePassword`], [`Error::Random`].
    pub fn with_password(password: &Password) -> Result<Self, Error> {
        Self::with_password_at(password, HashCost::default(), SCRAM_ITERATIONS)
    }

    /// The same at other costs.
    ///
    /// # Errors
    ///
    /// As before, and [`Error::BadHash`] for a cost out of bounds.
    pub fn with_password_at(
        password: &Password,
        cost: HashCost,
        scram_iterations: u32,
    ) -> Result<Self, Error> {
        Ok(Self {
            password: StoredHash::create(password, cost)?.as_str().to_owned(),
            scram: Some(ScramKeys::create(password, scram_iterations)?.to_string()),
            mail: Vec::new(),
            files: None,
            rights: None,
            quota: None,
            upload_rate: None,
            download_rate: None,
            services: None,
            enabled: true,
        })
    }
}

impl Users {
    /// Every entry of every `services`, for whoever knows which services there are.
    pub fn services(&self) -> impl Iterator<Item = (KeyPath, &str)> {
        self.0.iter().flat_map(|(name, user)| {
            user.services.iter().flatten().enumerate().map(move |(n, service)| {
                (KeyPath::root(name).key("services").index(n), service.as_str())
            })
        })
    }
}

/// Whether an account may have this name: it names folders and stands in logs and headers.
///
/// # Errors
///
/// Why not.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_alphanumeric() || is_combining_mark(c) || "._-@".contains(c);
    let form = prepared(name);
    let rules: [(bool, &'static str); 6] = [
        (name.is_empty(), "an account needs a name"),
        (name.len() > NAME_OCTETS, "a name has at most 128 octets"),
        (!name.chars().all(plain), "a name has letters, digits and `.`, `_`, `-`, `@` only"),
        (!name.starts_with(char::is_alphanumeric), "a name starts with a letter or a digit"),
        // One name has one spelling: it is a folder's too.
        (
            form.is_none_or(|form| form != name),
            "a name is written in the form that SASLprep gives it",
        ),
        (name.ends_with('.') || name.contains(".."), "a name has no `..` and no dot at its end"),
    ];
    rules.into_iter().find(|(broken, _)| *broken).map_or(Ok(()), |(_, why)| Err(why))
}

/// Whether two names are the same account's.
pub fn same_name(one: &str, other: &str) -> bool {
    folded_name(one) == folded_name(other)
}

/// The form in which names are compared: what SASLprep makes of it (RFC 4616 §2), and no case, as
/// nobody can be expected to know how the administrator wrote it.
pub(crate) fn folded_name(name: &str) -> String {
    prepared(name).as_deref().unwrap_or(name).to_lowercase()
}

/// A kind, or a kind and a name, as the configuration writes them.
pub(crate) fn check_service(service: &str) -> Result<(), &'static str> {
    let part = |s: &str| {
        !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let (kind, name) = service.split_once('.').unwrap_or((service, "all"));
    if part(kind) && part(name) {
        Ok(())
    } else {
        Err("not a service: `smtp` or `smtp.submission`")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde::de::value::{Error as ValueError, MapDeserializer};

    use super::*;
    use crate::hash::tests::CHEAP;

    /// An account that is whole, and cheap to verify.
    pub(crate) fn user(password: &str) -> User {
        User { scram: None, ..with_keys(password) }
    }

    pub(crate) fn with_keys(password: &str) -> User {
        User::with_password_at(&Password::new(password), CHEAP, 4096).unwrap()
    }

    #[test]
    fn an_entry_has_defaults_and_no_unknown_keys() {
        let read = |pairs: Vec<(&'static str, &'static str)>| {
            User::deserialize(MapDeserializer::<_, ValueError>::new(pairs.into_iter()))
        };
        let user = read(vec![("password", "x")]).unwrap();
        assert!(user.enabled && user.scram.is_none() && user.services.is_none());
        for (pairs, reason) in [
            (vec![("password", "x"), ("pasword", "y")], "unknown field `pasword`"),
            (vec![("password", "x"), ("mail", "x")], "sequence"),
            (vec![], "missing field `password`"),
            (vec![("password", "x"), ("enabled", "perhaps")], "boolean"),
        ] {
            let error = read(pairs).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn names_have_letters_of_any_script_in_one_spelling() {
        for name in [
            "alice",
            "a.b@c.test",
            "j\u{f6}rg",
            "\u{65e5}\u{672c}",
            "\u{939}\u{93f}\u{902}\u{926}\u{940}",
        ] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in
            ["jo\u{308}rg", "\u{ff41}", "\u{1f40d}", "a\u{ad}b", "a b", "\u{308}a", "a\u{7}"]
        {
            assert!(check_name(name).is_err(), "{name}");
        }
        assert!(same_name("J\u{d6}RG", "jo\u{308}rg") && same_name("ALICE", "\u{ff41}lice"));
        assert!(!same_name("jorg", "j\u{f6}rg"));
    }

    #[test]
    fn every_service_is_told_with_its_path() {
        let users = Users(
            [(
                "a".to_owned(),
                User { services: Some(["smtp", "irc"].map(String::from).into()), ..user("x") },
            )]
            .into(),
        );
        let told: Vec<(String, &str)> =
            users.services().map(|(path, service)| (path.to_string(), service)).collect();
        assert_eq!(
            told,
            [("a.services[0]".to_owned(), "smtp"), ("a.services[1]".to_owned(), "irc")]
        );
    }
}
