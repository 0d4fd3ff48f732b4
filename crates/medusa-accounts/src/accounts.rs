//! The users file as an [`Authenticate`]: passwords verified in constant work, SCRAM keys handed
//! out, everything exchanged at once on a reload.
//!
//! It counts and delays nothing ([`Logins`](crate::Logins) does) and starts no thread: whoever
//! calls it stands in the offload pool.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use arc_swap::ArcSwap;

use crate::{
    Attempt, Authenticate, Denial, Directory, Error, Identity, Password, Recipient, ScramRecord,
    directory::Account,
    keys::Key,
    users::folded_name,
    verified::{REMEMBERED, REMEMBERED_LOGINS, Verified},
};

/// The accounts of a users file.
pub struct Accounts {
    directory: ArcSwap<Directory>,
    verified: Mutex<Verified>,
    hashes: AtomicU64,
}

impl Accounts {
    /// Answers from this directory.
    ///
    /// # Errors
    ///
    /// [`Error::Random`].
    pub fn new(directory: Directory) -> Result<Self, Error> {
        Ok(Self {
            directory: ArcSwap::from_pointee(directory),
            verified: Mutex::new(Verified::new(REMEMBERED, REMEMBERED_LOGINS)?),
            hashes: AtomicU64::new(0),
        })
    }

    /// From now on, answers from another directory. Logins that are under way end with the old.
    pub fn replace(&self, directory: Directory) {
        self.directory.store(Arc::new(directory));
    }

    /// The directory in use.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// Whom mail for `local@domain` belongs to.
    pub fn recipient(&self, local: &str, domain: &str) -> Recipient {
        self.directory.load().recipient(local, domain)
    }

    /// How many password hashes were computed since the start.
    pub fn hashes(&self) -> u64 {
        self.hashes.load(Relaxed)
    }

    /// No code that holds the lock can leave the entries half changed.
    fn verified(&self) -> MutexGuard<'_, Verified> {
        self.verified.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, account: &Account, password: &Password) -> Key {
        let name = folded_name(account.identity.name());
        self.verified().key(&name, password, account.hash.as_str())
    }
}

impl Authenticate for Accounts {
    fn authenticate(&self, attempt: &Attempt, password: &Password) -> Result<Identity, Denial> {
        let directory = self.directory.load_full();
        let account = directory.account(&attempt.name);
        let key = account.map(|account| self.key(account, password));
        // Of many logins that were queued together, the first computes and the others find it.
        if let (Some(account), Some(key)) = (account, &key)
            && self.verified().contains(key, attempt.at)
        {
            return account.verdict(&attempt.service, attempt.authzid.as_deref());
        }
        // One hash, whether the name is known or not, the account enabled or not.
        let hash = account.map_or(&directory.unmatchable, |account| &account.hash);
        self.hashes.fetch_add(1, Relaxed);
        let matches = hash.matches(password);
        let (Some(account), Some(key), true) = (account, key, matches) else {
            return Err(Denial::Credentials);
        };
        self.verified().insert(key, attempt.at);
        account.verdict(&attempt.service, attempt.authzid.as_deref())
    }

    fn remembered(&self, attempt: &Attempt, password: &Password) -> Option<Identity> {
        let directory = self.directory.load();
        let account = directory.account(&attempt.name)?;
        let key = self.key(account, password);
        if !self.verified().contains(&key, attempt.at) {
            return None;
        }
        account.verdict(&attempt.service, attempt.authzid.as_deref()).ok()
    }

    fn offers_scram(&self, service: &str) -> bool {
        self.directory.load().offers_scram(service)
    }

    fn scram_keys(&self, attempt: &Attempt) -> Result<ScramRecord, Denial> {
        let directory = self.directory.load();
        // Computed for known names too, so that both take the same time.
        let invented = directory.invented.of(&folded_name(&attempt.name));
        let found = directory.account(&attempt.name).and_then(|a| Some((a, a.scram.as_ref()?)));
        Ok(match found {
            Some((account, keys)) => ScramRecord {
                keys: keys.clone(),
                verdict: account.verdict(&attempt.service, attempt.authzid.as_deref()),
            },
            None => ScramRecord { keys: invented, verdict: Err(Denial::Credentials) },
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::{
        User,
        directory::tests::directory,
        users::tests::{user, with_keys},
    };

    pub(crate) fn attempt(name: &str, at: Instant) -> Attempt {
        Attempt {
            service: "pop3.mail".into(),
            peer: [192, 0, 2, 1].into(),
            name: name.into(),
            authzid: None,
            at,
        }
    }

    fn accounts() -> Accounts {
        let off = User { enabled: false, ..with_keys("hers") };
        let no_mail = User { services: Some(vec!["ftp".into()]), ..user("theirs") };
        Accounts::new(directory([
            ("alice", with_keys("secret")),
            ("bob", user("his")),
            ("carol", off),
            ("dave", no_mail),
        ]))
        .unwrap()
    }

    /// The promise about time, as a promise about work: whatever the outcome, one hash of the
    /// same cost.
    #[test]
    fn every_login_computes_one_hash_of_the_same_cost() {
        let accounts = accounts();
        let now = Instant::now();
        for (n, (name, password, verdict)) in [
            ("alice", "wrong", Err(Denial::Credentials)),
            ("nobody", "wrong", Err(Denial::Credentials)),
            ("\u{7}", "", Err(Denial::Credentials)),
            ("carol", "wrong", Err(Denial::Credentials)),
            ("carol", "hers", Err(Denial::Disabled)),
            ("dave", "theirs", Err(Denial::Service)),
            ("dave", "wrong", Err(Denial::Credentials)),
            ("alice", "secret", Ok("alice")),
            ("ALICE", "wrong", Err(Denial::Credentials)),
        ]
        .into_iter()
        .enumerate()
        {
            let got = accounts.authenticate(&attempt(name, now), &Password::new(password));
            assert_eq!(got.as_ref().map(Identity::name), verdict.as_ref().copied(), "{name}");
            assert_eq!(accounts.hashes(), n as u64 + 1, "{name}");
        }
        let directory = accounts.directory();
        let known = directory.account("alice").unwrap().hash.cost();
        assert_eq!(directory.unmatchable.cost(), known);
    }

    #[test]
    fn a_good_login_is_remembered_for_a_minute() {
        let accounts = accounts();
        let start = Instant::now();
        let secret = Password::new("secret");
        assert_eq!(accounts.remembered(&attempt("alice", start), &secret), None);
        for seconds in [0, 30, 59] {
            let at = attempt("alice", start + Duration::from_secs(seconds));
            accounts.authenticate(&at, &secret).unwrap();
            assert!(accounts.remembered(&at, &secret).is_some());
            assert!(accounts.remembered(&at, &Password::new("wrong")).is_none());
        }
        assert_eq!(accounts.hashes(), 1);
        let later = attempt("alice", start + Duration::from_secs(60));
        assert_eq!(accounts.remembered(&later, &secret), None);
        accounts.authenticate(&later, &secret).unwrap();
        assert_eq!(accounts.hashes(), 2);
    }

    #[test]
    fn a_reload_takes_effect_at_once_on_remembered_logins_too() {
        let accounts = accounts();
        let now = Instant::now();
        let (at, old) = (attempt("alice", now), Password::new("secret"));
        accounts.authenticate(&at, &old).unwrap();

        // Another password.
        accounts.replace(directory([("alice", user("new"))]));
        assert_eq!(accounts.remembered(&at, &old), None);
        assert_eq!(accounts.authenticate(&at, &old), Err(Denial::Credentials));
        accounts.authenticate(&at, &Password::new("new")).unwrap();

        // The same, switched off.
        let entry = user("again");
        accounts.replace(directory([("alice", entry.clone())]));
        let again = Password::new("again");
        accounts.authenticate(&at, &again).unwrap();
        accounts.replace(directory([("alice", User { enabled: false, ..entry })]));
        assert_eq!(accounts.remembered(&at, &again), None);
        assert_eq!(accounts.authenticate(&at, &again), Err(Denial::Disabled));

        // Gone.
        accounts.replace(directory([]));
        assert_eq!(accounts.authenticate(&at, &again), Err(Denial::Credentials));
    }

    #[test]
    fn names_without_keys_get_invented_ones_that_look_alike() {
        let accounts = accounts();
        let record = |name: &str| accounts.scram_keys(&attempt(name, Instant::now())).unwrap();
        let alice = record("Alice");
        assert_eq!(alice.verdict.unwrap().name(), "alice");
        for name in ["nobody", "bob"] {
            let invented = record(name);
            assert_eq!(invented.verdict, Err(Denial::Credentials));
            assert_eq!(invented.keys.iterations, alice.keys.iterations);
            assert_eq!(invented.keys.salt.len(), alice.keys.salt.len());
            assert_eq!(invented.keys, record(&name.to_uppercase()).keys);
        }
        assert_eq!(record("carol").verdict, Err(Denial::Disabled));
        assert!(accounts.offers_scram("pop3.mail"));
    }
}
