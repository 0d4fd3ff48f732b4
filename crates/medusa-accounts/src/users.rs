//! The users file: its shape for serde, its rules, and the directory that logins and mail are
//! looked up in.
//!
//! It reads no file and knows no TOML: the launcher parses the text, and every error carries the
//! path of the value that it is about, so that the launcher can show the line.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::{
    Denial, Error, HashCost, Identity, KeyPath, MailAddress, Password, ScramKeys, StoredHash,
    address::AddressBook,
    keys::{InventedKeys, SCRAM_ITERATIONS},
    secret::{prepared, random},
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

/// Whom mail for an address belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipient {
    /// Nobody.
    Unknown,
    /// A disabled account (RFC 3463's X.2.1).
    Disabled,
    /// This account.
    Account {
        /// Whose it is.
        identity: Identity,
        /// What stood behind the `+`, where it was taken off to find the account.
        tag: Option<String>,
    },
}

/// A users file that was found good, ready for look-ups.
#[derive(Debug)]
pub struct Directory {
    accounts: HashMap<String, Account>,
    /// From addresses to the keys of `accounts`.
    addresses: AddressBook<String>,
    /// What unknown names are verified against.
    pub(crate) unmatchable: StoredHash,
    pub(crate) invented: InventedKeys,
}

#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) identity: Identity,
    pub(crate) hash: StoredHash,
    pub(crate) scram: Option<ScramKeys>,
    services: Option<Vec<String>>,
    enabled: bool,
}

impl Account {
    /// What is said to somebody who has the right password.
    pub(crate) fn verdict(&self, service: &str, authzid: Option<&str>) -> Result<Identity, Denial> {
        let own = |id: &str| same_name(id, self.identity.name());
        if !self.enabled {
            Err(Denial::Disabled)
        } else if !self.may_use(service) {
            Err(Denial::Service)
        } else if !authzid.is_none_or(own) {
            Err(Denial::Authzid)
        } else {
            Ok(self.identity.clone())
        }
    }

    fn may_use(&self, service: &str) -> bool {
        let kind = service.split_once('.').map_or(service, |(kind, _)| kind);
        self.services
            .as_ref()
            .is_none_or(|allowed| allowed.iter().any(|s| s == service || s == kind))
    }
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

impl Directory {
    /// Checks a users file. `folder` is where its relative paths start.
    ///
    /// # Errors
    ///
    /// An [`Error::Entry`] for every value that can't be used, in the order of names;
    /// [`Error::Random`].
    pub fn new(users: Users, folder: &Path) -> Result<Self, Vec<Error>> {
        let mut accounts: HashMap<String, Account> = HashMap::new();
        let mut addresses = AddressBook::default();
        let mut errors = Vec::new();
        for (name, user) in users.0 {
            let path = KeyPath::root(&name);
            let key = folded_name(&name);
            if let Err(why) = check_name(&name) {
                errors.push(path.clone().problem(why));
            } else if let Some(other) = accounts.get(&key) {
                let other = other.identity.name();
                errors.push(path.clone().problem(format!("differs from `{other}` in case only")));
            }
            let claimed = claim_addresses(&user.mail, &path, &key, &mut addresses, &mut errors);
            if let Some(account) = account(name, user, claimed, &path, folder, &mut errors) {
                accounts.insert(key, account);
            }
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Self::assemble(accounts, addresses).map_err(|error| vec![error])
    }

    fn assemble(
        accounts: HashMap<String, Account>,
        addresses: AddressBook<String>,
    ) -> Result<Self, Error> {
        let cost = commonest(accounts.values().map(|a| a.hash.cost())).unwrap_or_default();
        let iterations =
            commonest(accounts.values().filter_map(|a| Some(a.scram.as_ref()?.iterations)))
                .unwrap_or(SCRAM_ITERATIONS);
        Ok(Self {
            unmatchable: StoredHash::unmatchable(cost)?,
            invented: InventedKeys::new(&invention_secret(&accounts)?, iterations),
            accounts,
            addresses,
        })
    }

    /// How many accounts there are.
    pub fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// An account by its name, whether it is enabled or not. For configuration that names
    /// accounts.
    pub fn identity(&self, name: &str) -> Option<&Identity> {
        self.account(name).map(|account| &account.identity)
    }

    /// Whom mail for `local@domain` belongs to. The local part comes without its quotes
    /// (RFC 5321 §4.1.2).
    pub fn recipient(&self, local: &str, domain: &str) -> Recipient {
        let Some((key, tag)) = self.addresses.find(local, domain) else {
            return Recipient::Unknown;
        };
        match self.accounts.get(key) {
            Some(Account { enabled: true, identity, .. }) => {
                Recipient::Account { identity: identity.clone(), tag: tag.map(str::to_owned) }
            }
            Some(_) => Recipient::Disabled,
            None => Recipient::Unknown,
        }
    }

    /// Whether an account that may use this service has SCRAM keys.
    pub fn offers_scram(&self, service: &str) -> bool {
        self.accounts.values().any(|a| a.enabled && a.scram.is_some() && a.may_use(service))
    }

    /// The names of enabled accounts without SCRAM keys, in order. A client that prefers SCRAM
    /// can't log in to them where it is offered because others have keys.
    pub fn without_scram(&self) -> Vec<&str> {
        let lacking = |a: &&Account| a.enabled && a.scram.is_none();
        let mut names: Vec<&str> =
            self.accounts.values().filter(lacking).map(|a| a.identity.name()).collect();
        names.sort_unstable();
        names
    }

    pub(crate) fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.get(&folded_name(name))
    }

    /// What a hash of an unknown name costs: the commonest of all.
    pub fn cost(&self) -> HashCost {
        self.unmatchable.cost()
    }
}

/// Whether an account may have this name: it names folders and stands in logs and headers.
///
/// # Errors
///
/// Why not.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    let rules: [(bool, &'static str); 5] = [
        (name.is_empty(), "an account needs a name"),
        (name.len() > NAME_OCTETS, "a name has at most 128 characters"),
        (!name.chars().all(plain), "a name has ASCII letters, digits and `.`, `_`, `-`, `@` only"),
        (
            !name.starts_with(|c: char| c.is_ascii_alphanumeric()),
            "a name starts with a letter or a digit",
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
    prepared(name).to_ascii_lowercase()
}

/// The account that an entry describes; `None`, and errors, if it describes none.
fn account(
    name: String,
    user: User,
    addresses: Vec<MailAddress>,
    path: &KeyPath,
    folder: &Path,
    errors: &mut Vec<Error>,
) -> Option<Account> {
    let known = errors.len();
    let at = |key: &str| path.clone().key(key);
    let mut note = |key: &str, error: Error| errors.push(at(key).problem(error.to_string()));
    let hash = StoredHash::parse(&user.password).map_err(|e| note("password", e)).ok();
    let scram = user.scram.as_deref().map(ScramKeys::parse);
    let scram = scram.and_then(|keys| keys.map_err(|e| note("scram", e)).ok());
    for (n, service) in user.services.iter().flatten().enumerate() {
        if let Err(why) = check_service(service) {
            errors.push(at("services").index(n).problem(why));
        }
    }
    let mut identity = Identity::new(name).with_addresses(addresses);
    if let Some(files) = user.files {
        if files.as_os_str().is_empty() {
            errors.push(at("files").problem("an empty path; leave the key out"));
        }
        identity = identity.with_files(folder.join(files));
    }
    let hash = hash.filter(|_| errors.len() == known)?;
    Some(Account { identity, hash, scram, services: user.services, enabled: user.enabled })
}

fn claim_addresses(
    mail: &[String],
    path: &KeyPath,
    key: &str,
    book: &mut AddressBook<String>,
    errors: &mut Vec<Error>,
) -> Vec<MailAddress> {
    let mut claimed = Vec::with_capacity(mail.len());
    for (n, text) in mail.iter().enumerate() {
        let at = || path.clone().key("mail").index(n);
        match MailAddress::parse(text) {
            Err(why) => errors.push(at().problem(why)),
            Ok(address) => match book.insert(address.clone(), key.to_owned()) {
                Some(holder) => {
                    errors.push(at().problem(format!("`{address}` already belongs to `{holder}`")))
                }
                None => claimed.push(address),
            },
        }
    }
    claimed
}

/// A kind, or a kind and a name, as the configuration writes them.
fn check_service(service: &str) -> Result<(), &'static str> {
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

fn commonest<T: Eq + Ord + std::hash::Hash + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: HashMap<T, usize> = HashMap::new();
    for value in values {
        *counts.entry(value).or_default() += 1;
    }
    counts.into_iter().max_by_key(|&(value, count)| (count, value)).map(|(value, _)| value)
}

/// Something secret that outlives a restart and most changes of the file: the stored hash of the
/// first account. No client ever sees anything of it.
fn invention_secret(accounts: &HashMap<String, Account>) -> Result<Vec<u8>, Error> {
    match accounts.iter().min_by_key(|(name, _)| *name) {
        Some((_, first)) => Ok(first.hash.as_str().as_bytes().to_vec()),
        None => Ok(random::<32>()?.to_vec()),
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

    pub(crate) fn directory<const N: usize>(users: [(&str, User); N]) -> Directory {
        let users = users.map(|(name, user)| (name.to_owned(), user));
        Directory::new(Users(users.into()), Path::new("/srv")).unwrap()
    }

    fn problem<const N: usize>(users: [(&str, User); N]) -> String {
        let users = users.map(|(name, user)| (name.to_owned(), user));
        let errors = Directory::new(Users(users.into()), Path::new("/srv")).unwrap_err();
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    }

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
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
    fn every_bad_value_is_refused_with_its_path() {
        let good = || user("x");
        let mail = |list: &[&str]| User { mail: texts(list), ..good() };
        let services = |list: &[&str]| User { services: Some(texts(list)), ..good() };
        for (got, expected) in [
            (problem([("a b", good())]), "\"a b\": a name has ASCII"),
            (problem([("../etc", good())]), "\"../etc\": a name has ASCII"),
            (problem([("a..b", good())]), "\"a..b\": a name has no `..`"),
            (problem([("-a", good())]), "-a: a name starts with"),
            (problem([("", good())]), "\"\": an account needs a name"),
            (
                problem([("Alice", good()), ("alice", good())]),
                "alice: differs from `Alice` in case",
            ),
            (
                problem([("a", User { password: "x".into(), ..good() })]),
                "a.password: not a password",
            ),
            (
                problem([("a", User { scram: Some("x".into()), ..good() })]),
                "a.scram: not in the form",
            ),
            (problem([("a", mail(&["a@b.test", "a"]))]), "a.mail[1]: an address needs"),
            (problem([("a", mail(&["a@b.test", "A@B.test"]))]), "a.mail[1]: `a@b.test` already"),
            (
                problem([("a", mail(&["@b.test"])), ("b", mail(&["@b.test"]))]),
                "b.mail[0]: `@b.test` already belongs to `a`",
            ),
            (problem([("a", services(&["smtp", "sm tp"]))]), "a.services[1]: not a service"),
            (problem([("a", services(&["smtp.a.b"]))]), "a.services[0]: not a service"),
            (problem([("a", User { files: Some("".into()), ..good() })]), "a.files: an empty path"),
        ] {
            assert!(got.starts_with(expected), "{got}");
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let bad = User {
            password: "x".into(),
            scram: Some("x".into()),
            mail: texts(&["a", "b"]),
            ..user("x")
        };
        let told = problem([("a b", bad.clone()), ("c", bad)]);
        let paths: Vec<&str> =
            told.lines().filter_map(|line| line.split_once(": ")).map(|l| l.0).collect();
        assert_eq!(
            paths,
            [
                "\"a b\"",
                "\"a b\".mail[0]",
                "\"a b\".mail[1]",
                "\"a b\".password",
                "\"a b\".scram",
                "c.mail[0]",
                "c.mail[1]",
                "c.password",
                "c.scram",
            ]
        );
    }

    #[test]
    fn names_are_found_in_any_case() {
        let directory = directory([("Alice", User { files: Some("home".into()), ..user("x") })]);
        for name in ["alice", "ALICE", "Ali\u{ad}ce", "\u{ff21}lice"] {
            assert_eq!(directory.identity(name).map(Identity::name), Some("Alice"), "{name}");
        }
        assert!(directory.identity("alicia").is_none());
        let files = directory.identity("alice").unwrap().files().unwrap();
        assert_eq!(files, Path::new("/srv/home"));
        assert_eq!(directory.len(), 1);
        assert!(!directory.is_empty());
    }

    #[test]
    fn mail_of_a_disabled_account_goes_to_nobody_else() {
        let directory = directory([
            ("all", User { mail: texts(&["@example.test"]), ..user("x") }),
            ("gone", User { mail: texts(&["gone@example.test"]), enabled: false, ..user("x") }),
        ]);
        assert_eq!(directory.recipient("gone", "example.test"), Recipient::Disabled);
        assert_eq!(directory.recipient("gone+tag", "example.test"), Recipient::Disabled);
        assert_eq!(directory.recipient("a", "other.test"), Recipient::Unknown);
        let Recipient::Account { identity, tag: None } = directory.recipient("a+b", "example.test")
        else {
            panic!("the catch-all takes it")
        };
        assert_eq!(identity.name(), "all");
    }

    #[test]
    fn services_are_kinds_or_single_services() {
        let directory = directory([(
            "alice",
            User { services: Some(texts(&["pop3", "smtp.submission"])), ..with_keys("x") },
        )]);
        let account = directory.account("alice").unwrap();
        for (service, allowed) in [
            ("pop3.mail", true),
            ("pop3", true),
            ("smtp.submission", true),
            ("smtp.mx", false),
            ("ftp.files", false),
        ] {
            let verdict = account.verdict(service, None);
            assert_eq!(verdict.is_ok(), allowed, "{service}");
            assert_eq!(directory.offers_scram(service), allowed, "{service}");
        }
    }

    #[test]
    fn nobody_acts_for_another() {
        let directory = directory([("Alice", user("x")), ("bob", user("x"))]);
        let account = directory.account("alice").unwrap();
        assert!(account.verdict("smtp.a", Some("ALICE")).is_ok());
        assert_eq!(account.verdict("smtp.a", Some("bob")), Err(Denial::Authzid));
    }

    #[test]
    fn unknown_names_cost_what_most_accounts_cost() {
        let mut dear = user("x");
        let cost = HashCost { memory_kib: 16, ..CHEAP };
        dear.password = StoredHash::create(&Password::new("x"), cost).unwrap().as_str().to_owned();
        let mixed = directory([("a", user("x")), ("b", dear.clone()), ("c", dear)]);
        assert_eq!(mixed.cost(), cost);
        assert_eq!(directory([]).cost(), HashCost::default());
    }

    #[test]
    fn invented_salts_survive_a_reload() {
        let users = Users([("a".to_owned(), user("x")), ("b".to_owned(), user("x"))].into());
        let [one, two] =
            [(); 2].map(|()| Directory::new(users.clone(), Path::new("/srv")).unwrap());
        assert_eq!(one.invented.of("nobody"), two.invented.of("nobody"));
    }

    #[test]
    fn every_service_is_told_with_its_path() {
        let users = Users(
            [("a".to_owned(), User { services: Some(texts(&["smtp", "irc"])), ..user("x") })]
                .into(),
        );
        let told: Vec<(String, &str)> =
            users.services().map(|(path, service)| (path.to_string(), service)).collect();
        assert_eq!(
            told,
            [("a.services[0]".to_owned(), "smtp"), ("a.services[1]".to_owned(), "irc")]
        );
    }

    #[test]
    fn accounts_without_keys_are_named() {
        let off = User { enabled: false, ..user("x") };
        let directory = directory([("b", user("x")), ("a", with_keys("x")), ("c", off)]);
        assert_eq!(directory.without_scram(), ["b"]);
    }
}
