//! The accounts of a users file that was found good, ready for look-ups by logins and by mail.
//!
//! Every error carries the path of the value that it is about, so that whoever read the text can show
//! its line. Nothing is verified here: that is [`Accounts`](crate::Accounts).

use std::{collections::HashMap, path::Path};

use crate::{
    Denial, Error, FileAccess, HashCost, Identity, KeyPath, MailAddress, SCRAM_ITERATIONS,
    ScramKeys, StoredHash, User, Users,
    address::AddressBook,
    keys::InventedKeys,
    secret::random,
    users::{check_name, check_service, folded_name, same_name},
};

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

impl Recipient {
    /// The account of this name, reached without a tag.
    pub fn account(name: impl Into<String>) -> Recipient {
        Recipient::Account { identity: Identity::new(name), tag: None }
    }
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
    if user.quota.is_some() && user.files.is_none() {
        errors.push(at("quota").problem("there is no folder of its own to count; add `files`"));
    }
    for (key, rate) in [("upload_rate", user.upload_rate), ("download_rate", user.download_rate)] {
        if rate.is_some_and(|rate| rate.0 == 0) {
            errors.push(
                at(key).problem("nothing could ever be moved; leave the key out for no limit"),
            );
        }
    }
    let access = FileAccess {
        rights: user.rights,
        quota: user.quota,
        upload_rate: user.upload_rate,
        download_rate: user.download_rate,
    };
    let mut identity = Identity::new(name).with_addresses(addresses).with_file_access(access);
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
    use medusa_core::config::{Rate, Size};

    use super::*;
    use crate::{
        HashCost, Password,
        hash::tests::CHEAP,
        users::tests::{user, with_keys},
    };

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
    fn every_bad_value_is_refused_with_its_path() {
        let good = || user("x");
        let mail = |list: &[&str]| User { mail: texts(list), ..good() };
        let services = |list: &[&str]| User { services: Some(texts(list)), ..good() };
        for (got, expected) in [
            (problem([("a b", good())]), "\"a b\": a name has letters"),
            (problem([("../etc", good())]), "\"../etc\": a name has letters"),
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
            (
                problem([("a", User { quota: Some(Size(1)), ..good() })]),
                "a.quota: there is no folder",
            ),
            (
                problem([("a", User { upload_rate: Some(Rate(0)), ..good() })]),
                "a.upload_rate: nothing",
            ),
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
    fn accounts_without_keys_are_named() {
        let off = User { enabled: false, ..user("x") };
        let directory = directory([("b", user("x")), ("a", with_keys("x")), ("c", off)]);
        assert_eq!(directory.without_scram(), ["b"]);
    }
}
