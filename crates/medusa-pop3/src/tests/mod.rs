//! The fixture of the tests: a store in memory, accounts in memory, and `check(script, expected)`.

mod access;
mod fuzz;
mod logins;
mod plugin;
mod sessions;
mod states;
mod trouble;
mod utf8;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use medusa_accounts::{
    Attempt, Authenticate, Denial, Identity, Logins, Password, ScramKeys, ScramRecord,
    ThrottleLimits,
};
use medusa_core::testing::{Client, Faults};
use medusa_core::{AccessSink, Endpoint, Limits, Peer};
use medusa_mail::{Content, Error, Maildrop, Message};

use crate::exclusive::Open;
use crate::login_delay::LoginDelay;
use crate::session::{Pop3Session, Shard};
use crate::{Maildrops, PlaintextLogin};

const GREETING: &str = "+OK Medusa POP3 ready\r\n";

/// Maildrops in memory.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    boxes: HashMap<String, Vec<(String, String)>>,
    locked: HashSet<String>,
    /// What opening, reading or removing fails with.
    fails: Option<fn() -> Error>,
    fails_when: &'static str,
    opened: usize,
}

impl Store {
    fn with(messages: &[&str]) -> Store {
        let store = Store::default();
        for message in messages {
            store.deliver(message);
        }
        store
    }

    fn deliver(&self, message: &str) {
        let mut inner = self.0.lock().unwrap();
        let mailbox = inner.boxes.entry("alice".into()).or_default();
        let id = mailbox.last().map_or(1, |(id, _)| id[1..].parse::<u32>().unwrap() + 1);
        mailbox.push((format!("U{id}"), message.into()));
    }

    /// The unique ids that are left.
    fn left(&self) -> Vec<String> {
        let inner = self.0.lock().unwrap();
        let mailbox = inner.boxes.get("alice").into_iter().flatten();
        mailbox.map(|(id, _)| id.clone()).collect()
    }

    fn fail(&self, when: &'static str, error: fn() -> Error) {
        let mut inner = self.0.lock().unwrap();
        (inner.fails_when, inner.fails) = (when, Some(error));
    }

    fn outcome(&self, what: &str) -> Result<(), Error> {
        let inner = self.0.lock().unwrap();
        match inner.fails {
            Some(error) if inner.fails_when == what => Err(error()),
            _ => Ok(()),
        }
    }
}

impl Maildrops for Store {
    fn open(&self, account: &str) -> Result<Box<dyn Maildrop>, Error> {
        self.outcome("open")?;
        let mut inner = self.0.lock().unwrap();
        if !inner.locked.insert(account.to_owned()) {
            return Err(Error::InUse);
        }
        inner.opened += 1;
        let mailbox = inner.boxes.get(account).into_iter().flatten();
        let messages = mailbox.map(|(id, text)| Message::measured(id, text.as_bytes())).collect();
        Ok(Box::new(Opened { store: self.clone(), account: account.into(), messages }))
    }
}

struct Opened {
    store: Store,
    account: String,
    messages: Vec<Message>,
}

impl Maildrop for Opened {
    fn messages(&self) -> &[Message] {
        &self.messages
    }

    fn read(&self, index: usize) -> Result<Content, Error> {
        self.store.outcome("read")?;
        let inner = self.store.0.lock().unwrap();
        let id = &self.messages[index].unique_id;
        let found = inner.boxes[&self.account].iter().find(|(one, _)| one == id);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(found.ok_or(Error::Missing)?.1.as_bytes()).unwrap();
        Ok(file.into())
    }

    fn remove(&self, indices: &[usize]) -> Result<(), Error> {
        self.store.outcome("remove")?;
        let mut inner = self.store.0.lock().unwrap();
        let gone: Vec<&String> = indices.iter().map(|&at| &self.messages[at].unique_id).collect();
        let mailbox = inner.boxes.get_mut(&self.account).unwrap();
        mailbox.retain(|(id, _)| !gone.contains(&id));
        Ok(())
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.store.0.lock().unwrap().locked.remove(&self.account);
    }
}

/// Alice, bob and their passwords.
struct People {
    keys: ScramKeys,
}

impl Authenticate for People {
    fn authenticate(&self, attempt: &Attempt, password: &Password) -> Result<Identity, Denial> {
        match (&*attempt.name, password.reveal()) {
            ("alice", "secret" | "two  words ")
            | ("bob", "secret")
            | ("j\u{f6}rg", "p\u{e4}ss") => Ok(Identity::new(&attempt.name)),
            _ => Err(Denial::Credentials),
        }
    }

    fn offers_scram(&self, _: &str) -> bool {
        true
    }

    fn scram_keys(&self, attempt: &Attempt) -> Result<ScramRecord, Denial> {
        let verdict = match &*attempt.name {
            "alice" => Ok(Identity::new("alice")),
            _ => Err(Denial::Credentials),
        };
        Ok(ScramRecord { keys: self.keys.clone(), verdict })
    }
}

/// What a test may change.
struct Setup {
    store: Store,
    logins: Logins,
    plaintext: PlaintextLogin,
    login_delay: Option<Arc<LoginDelay>>,
    has_tls: bool,
    remote: &'static str,
    faults: Faults,
    access: Option<Arc<dyn AccessSink>>,
}

impl Setup {
    fn new(store: &Store) -> Setup {
        // Once: they cost more than a session.
        static KEYS: LazyLock<ScramKeys> =
            LazyLock::new(|| ScramKeys::create(&Password::new("secret"), 4096).unwrap());
        let keys = KEYS.clone();
        Setup {
            store: store.clone(),
            logins: Logins::new(Arc::new(People { keys }), ThrottleLimits::default()),
            plaintext: PlaintextLogin::default(),
            login_delay: None,
            has_tls: true,
            remote: "127.0.0.1:40000",
            faults: Faults::none(),
            access: None,
        }
    }

    /// Another session of the same service.
    fn connect(&self) -> Client {
        let shard = Shard {
            maildrops: Arc::new(self.store.clone()),
            open: Open::default(),
            logins: self.logins.clone(),
            service: "pop3.test".into(),
            plaintext: self.plaintext,
            login_delay: self.login_delay.clone(),
            has_tls: self.has_tls,
            access: self.access.clone(),
        };
        let inet = |address: &str| Endpoint::Inet(address.parse().unwrap());
        let peer = Peer::new(inet(self.remote), inet("192.0.2.1:110"));
        let mut limits = Limits::default();
        limits.idle = Some(Duration::from_secs(600));
        let session = Box::new(Pop3Session::new(Rc::new(shard)));
        let mut client = Client::from_peer(session, peer, limits, self.faults.clone());
        assert_eq!(client.text(), GREETING);
        client
    }
}

/// Lines as they are written in a test, each ended by CRLF.
fn crlf(lines: &str) -> String {
    lines
        .split_terminator('\n')
        .chain(lines.is_empty().then_some(""))
        .map(|line| format!("{line}\r\n"))
        .collect()
}

/// Says this and hears the answer.
fn say(client: &mut Client, lines: &str) -> String {
    client.send(crlf(lines)).run_jobs();
    client.text().replace("\r\n", "\n")
}

/// What a session says to these lines, all sent at once, with these messages in the maildrop.
fn check_with(store: &Store, script: &str, expected: &str) {
    let mut client = Setup::new(store).connect();
    assert_eq!(say(&mut client, script), expected, "{script:?}");
}

/// The same after a login, with two messages.
fn check(script: &str, expected: &str) {
    let mut client = inside(&two());
    assert_eq!(say(&mut client, script), expected, "{script:?}");
}

fn two() -> Store {
    Store::with(&["Subject: one\r\n\r\nHello\r\n", "Subject: two\n\n.\n..dots\nlast\n"])
}

/// A session of alice's.
fn inside(store: &Store) -> Client {
    let mut client = Setup::new(store).connect();
    let welcome = say(&mut client, "USER alice\nPASS secret");
    assert!(welcome.starts_with("+OK") && welcome.contains("octets)"), "{welcome}");
    client
}
