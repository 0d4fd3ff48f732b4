//! `check(script, expected)`: what a client says, and the replies it gets, in few words. Every script runs
//! under several networks that split what is sent, and must come out the same.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use medusa_accounts::{
    Attempt, Authenticate, Denial, Identity, Logins, Password, Recipient, ThrottleLimits,
};
use medusa_core::testing::{Client, Faults};
use medusa_core::{AccessSink, Endpoint, Peer, Service, ServiceParts};
use medusa_mail::{Error, Incoming, MailStore, Maildrop, Then};
use medusa_smtp::{Directory, PlaintextLogin, SmtpService};

/// A message that was kept: for whom, and its text.
pub(crate) type Kept = (Vec<String>, String);

/// A store in memory that fails as it is told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    kept: Vec<Kept>,
    full: HashSet<String>,
    /// Steps until one fails: begin, writes, commit.
    fails_in: Option<usize>,
    writes: usize,
    open: usize,
}

impl Store {
    pub(crate) fn kept(&self) -> Vec<Kept> {
        self.0.lock().unwrap().kept.clone()
    }

    pub(crate) fn fill(&self, account: &str) {
        self.0.lock().unwrap().full.insert(account.to_owned());
    }

    pub(crate) fn fail_in(&self, steps: usize) {
        self.0.lock().unwrap().fails_in = Some(steps);
    }

    /// How often something was written, and how many messages are neither kept nor forgotten.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.0.lock().unwrap();
        (state.writes, state.open)
    }

    fn step(&self) -> Result<(), Error> {
        let mut state = self.0.lock().unwrap();
        match &mut state.fails_in {
            Some(0) => Err(Error::NoSpace),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl MailStore for Store {
    fn admit(&self, account: &str, _: u64) -> Result<(), Error> {
        if self.0.lock().unwrap().full.contains(account) { Err(Error::Full) } else { Ok(()) }
    }

    fn begin(&self, accounts: &[String]) -> Result<Box<dyn Incoming>, Error> {
        self.step()?;
        self.0.lock().unwrap().open += 1;
        Ok(Box::new(Arriving {
            store: self.clone(),
            accounts: accounts.to_vec(),
            text: Vec::new(),
        }))
    }

    fn open(&self, _: &str) -> Result<Box<dyn Maildrop>, Error> {
        Err(Error::InUse)
    }
}

struct Arriving {
    store: Store,
    accounts: Vec<String>,
    text: Vec<u8>,
}

impl Incoming for Arriving {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.store.step()?;
        self.store.0.lock().unwrap().writes += 1;
        self.text.extend_from_slice(bytes);
        Ok(())
    }

    fn commit(self: Box<Self>, then: Then) {
        let stored = self.store.step();
        if stored.is_ok() {
            let text = String::from_utf8_lossy(&self.text).into_owned();
            let kept = (self.accounts.clone(), text);
            self.store.0.lock().unwrap().kept.push(kept);
        }
        then(stored);
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.store.0.lock().unwrap().open -= 1;
    }
}

/// alice, bob and Bob's tags; carol is disabled; erin gets what nobody else does at `all.test`.
#[derive(Debug)]
pub(crate) struct People;

impl Directory for People {
    fn recipient(&self, local: &str, domain: &str) -> Recipient {
        let (name, tag) = match local.split_once('+') {
            Some((name, tag)) => (name, Some(tag.to_owned())),
            None => (local, None),
        };
        let account =
            |name: &str| Recipient::Account { identity: Identity::new(name), tag: tag.clone() };
        match (&*name.to_lowercase(), &*domain.to_lowercase()) {
            ("alice" | "al" | "a b", "example.test") => account("alice"),
            ("bob" | "b\u{fc}b", "example.test") => account("bob"),
            ("carol", "example.test") => Recipient::Disabled,
            (_, "all.test") => account("erin"),
            _ => Recipient::Unknown,
        }
    }
}

/// Everybody's password is their name, backwards.
struct Backwards;

impl Authenticate for Backwards {
    fn authenticate(&self, attempt: &Attempt, password: &Password) -> Result<Identity, Denial> {
        match attempt.name.chars().eq(password.reveal().chars().rev()) {
            true => Ok(Identity::new(&attempt.name)),
            false => Err(Denial::Credentials),
        }
    }
}

/// Takes access lines.
#[derive(Debug, Default)]
pub(crate) struct Lines(pub Mutex<Vec<String>>);

impl AccessSink for Lines {
    fn line(&self, line: &[u8]) {
        self.0.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
    }
}

pub(crate) fn mx(store: &Store) -> SmtpService {
    mx_of("smtp.mx", store)
}

pub(crate) fn mx_of(parts: impl Into<ServiceParts>, store: &Store) -> SmtpService {
    SmtpService::new(parts, "mx.example.test", ["example.test", "all.test"], People, store.clone())
}

pub(crate) fn submission(store: &Store, plaintext: PlaintextLogin) -> SmtpService {
    submission_of("smtp.mx", store, plaintext)
}

pub(crate) fn submission_of(
    parts: impl Into<ServiceParts>,
    store: &Store,
    plaintext: PlaintextLogin,
) -> SmtpService {
    let logins = Logins::new(Arc::new(Backwards), ThrottleLimits::default());
    mx_of(parts, store).with_submission(logins, plaintext)
}

pub(crate) fn connect(service: &dyn Service, faults: Faults) -> Client {
    let at = |port| Endpoint::Inet(([127, 0, 0, 1], port).into());
    let peer = Peer::new(at(40_000), at(25));
    let session = service.acceptor().accepted(&peer);
    Client::from_peer(session, peer, service.parts().limits(), faults)
}

/// Sends, and lets everything happen that follows from it.
pub(crate) fn send(client: &mut Client, octets: impl AsRef<[u8]>) {
    client.send(octets).run_jobs().deliver().run_jobs();
}

/// All that is answered to `script`, the greeting first.
pub(crate) fn run(
    service: &dyn Service,
    script: impl AsRef<[u8]>,
    faults: Faults,
) -> (String, Client) {
    let mut client = connect(service, faults);
    send(&mut client, script);
    let text = client.text();
    (text, client)
}

/// Codes of all replies, as `220 250- 250`, a line's continuation left out.
pub(crate) fn codes(text: &str) -> String {
    let last = |line: &&str| line.len() > 3 && line.as_bytes()[3] == b' ';
    text.split_terminator("\r\n").filter(last).map(|line| &line[..3]).collect::<Vec<_>>().join(" ")
}

/// Networks that split and delay.
pub(crate) fn networks() -> Vec<Faults> {
    vec![
        Faults::none(),
        Faults::none().reads([1]),
        Faults::none().reads([2, 3, 5]).writes([7]),
        Faults::random(1, 40),
    ]
}

/// What a script is answered by an mx, and what is kept, whatever the network does.
pub(crate) fn check(script: &str, expected: &str) -> Vec<Kept> {
    check_with(mx, script, expected)
}

pub(crate) fn check_with(
    service: impl Fn(&Store) -> SmtpService,
    script: &str,
    expected: &str,
) -> Vec<Kept> {
    let mut seen = None;
    for network in networks() {
        let store = Store::default();
        let shown = format!("{network:?}: {script:?}");
        let (text, client) = run(&*service(&store).build(), script, network);
        assert_eq!(codes(&text), format!("220 {expected}").trim_end(), "{shown}\n{text}");
        drop(client);
        assert_eq!(store.counts().1, 0, "a message is neither kept nor forgotten: {shown}");
        let kept = store.kept();
        assert_eq!(*seen.get_or_insert_with(|| kept.clone()), kept, "{shown}");
    }
    seen.unwrap_or_default()
}

/// The opening of a message to alice.
pub(crate) const TO_ALICE: &str =
    "EHLO c.test\r\nMAIL FROM:<s@c.test>\r\nRCPT TO:<alice@example.test>\r\n";
