//! One door for the logins of all protocols: counts and delays them, asks the [`Authenticate`] that
//! knows the accounts, and logs what fails.
//!
//! It blocks only in [`PendingLogin::run`], and knows no sessions: those stand in
//! [`ask`](crate::ask).

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    Admission, Attempt, Authenticate, Credentials, Denial, Identity, Outcome, Password,
    ScramRecord, Throttle, ThrottleLimits, sasl::Mechanism, secret::prepared, throttle::network,
};

/// Who somebody is, or why not.
pub type Verdict = Result<Identity, Denial>;

/// What a login needs to know.
#[derive(Debug, Clone)]
pub enum Question {
    /// Whether this password is right.
    Password(Credentials),
    /// The SCRAM keys of a name.
    ScramKeys {
        /// The name that was given.
        name: String,
        /// Whom to act for, if that was said. Never empty.
        authzid: Option<String>,
    },
}

/// The answer to a [`Question`].
#[derive(Debug)]
pub enum Answer {
    /// The password is right, or the login is refused.
    Verdict(Verdict),
    /// The keys to compare a proof with. The ticket counts the outcome.
    Keys(ScramRecord, Option<Ticket>),
}

impl Answer {
    /// The verdict, where a password was asked about.
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Verdict(verdict) => verdict,
            Self::Keys(..) => Err(Denial::Mechanism),
        }
    }
}

/// Where a login comes in.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The service that is asked, `smtp.submission`.
    pub service: Arc<str>,
    /// The other end; `None` for a Unix-domain socket. All of those count as one peer.
    pub peer: Option<IpAddr>,
}

/// The logins of all services. Cheap to clone; all clones count together.
#[derive(Clone)]
pub struct Logins(Arc<Inner>);

struct Inner {
    accounts: Arc<dyn Authenticate>,
    throttle: Mutex<Throttle>,
}

/// A login that was let in by the throttle: it waits, then it is looked up.
#[derive(Debug)]
pub struct PendingLogin {
    wait: Duration,
    attempt: Attempt,
    password: Option<Password>,
    /// Whether SASLprep has a form for all of it.
    is_prepared: bool,
    ticket: Ticket,
}

/// What becomes of a [`Question`] at once.
#[derive(Debug)]
pub enum Begun {
    /// It is answered: the login is remembered, or refused.
    Answered(Answer),
    /// It has to be looked up.
    Pending(PendingLogin),
}

impl Logins {
    /// Asks `accounts`, and counts failures by `limits`.
    pub fn new(accounts: Arc<dyn Authenticate>, limits: ThrottleLimits) -> Self {
        Self(Arc::new(Inner { accounts, throttle: Mutex::new(Throttle::new(limits)) }))
    }

    /// Those of a program that needs nothing but names and passwords: `is_right` tells whether they belong
    /// together, in the offload pool, and may block. Failures are counted by the limits of the house.
    ///
    /// It should take as long for a name that nobody has.
    pub fn checked_by(is_right: impl Fn(&str, &str) -> bool + Send + Sync + 'static) -> Self {
        Self::new(Arc::new(Checked(is_right)), ThrottleLimits::default())
    }

    /// Who is asked.
    pub fn accounts(&self) -> &Arc<dyn Authenticate> {
        &self.0.accounts
    }

    /// What a service may announce, strongest first. Those that reveal the password are left out
    /// unless `confidential`.
    pub fn mechanisms(&self, service: &str, confidential: bool) -> Vec<Mechanism> {
        let scram = self.0.accounts.offers_scram(service);
        Mechanism::all()
            .filter(|m| scram || *m != Mechanism::ScramSha256)
            .filter(|m| confidential || !m.reveals_password())
            .collect()
    }

    /// Begins a login. Doesn't block. Name and password are prepared by SASLprep (RFC 4013), whoever
    /// answers.
    pub fn begin(&self, origin: &Origin, question: Question, now: Instant) -> Begun {
        let (name, authzid, password) = match question {
            Question::Password(Credentials { name, authzid, password }) => {
                (name, authzid, Some(password.into_prepared()))
            }
            Question::ScramKeys { name, authzid } => (name, authzid, None),
        };
        let form = prepared(&name).map(Cow::into_owned);
        let is_prepared = form.is_some() && !matches!(password, Some(None));
        let (name, password) = (form.unwrap_or(name), password.flatten());
        let peer = origin.peer.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let attempt = Attempt { service: origin.service.clone(), peer, name, authzid, at: now };
        let admission = self.0.throttle().admit(peer, &attempt.name, now);
        let wait = match admission {
            Admission::After(wait) => wait,
            Admission::Refused { retry_after } | Admission::Banned { retry_after } => {
                let (service, name) = (&*attempt.service, shown(&attempt.name));
                tracing::debug!(service, %peer, name, "login refused without a look");
                return Begun::refused(Denial::Throttled { retry_after });
            }
        };
        let ticket = Ticket {
            logins: Arc::clone(&self.0),
            service: attempt.service.clone(),
            peer,
            name: attempt.name.clone(),
            at: now,
            settled: false,
        };
        // A peer that has to wait isn't told at once which password is right.
        if wait.is_zero()
            && let Some(password) = &password
            && let Some(identity) = self.0.accounts.remembered(&attempt, password)
        {
            let verdict = Ok(identity);
            ticket.settle(&verdict);
            return Begun::Answered(Answer::Verdict(verdict));
        }
        Begun::Pending(PendingLogin { wait, attempt, password, is_prepared, ticket })
    }
}

struct Checked<F>(F);

impl<F: Fn(&str, &str) -> bool + Send + Sync> Authenticate for Checked<F> {
    fn authenticate(&self, attempt: &Attempt, password: &Password) -> Verdict {
        let acts_for_itself = attempt.authzid.as_ref().is_none_or(|id| *id == attempt.name);
        match (self.0)(&attempt.name, password.reveal()) {
            true if acts_for_itself => Ok(Identity::new(&attempt.name)),
            true => Err(Denial::Authzid),
            false => Err(Denial::Credentials),
        }
    }
}

impl fmt::Debug for Logins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logins").finish_non_exhaustive()
    }
}

impl Inner {
    /// No code that holds the lock can leave the tables half changed.
    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Begun {
    fn refused(denial: Denial) -> Self {
        Self::Answered(Answer::Verdict(Err(denial)))
    }
}

impl PendingLogin {
    /// How long to wait before [`PendingLogin::run`].
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// Looks it up, in the offload pool: this blocks. The outcome is counted even if the client
    /// has left meanwhile.
    pub fn run(self) -> Answer {
        let Self { wait, mut attempt, password, is_prepared, ticket } = self;
        // The clock isn't asked: what was to pass has passed.
        attempt.at += wait;
        let banned = ticket.logins.throttle().banned(attempt.peer, &attempt.name, attempt.at);
        if let Some(retry_after) = banned {
            return Answer::Verdict(Err(Denial::Throttled { retry_after }));
        }
        // RFC 4616 §2, RFC 6856 §2.2: what can't be prepared fails. Nobody can have set it.
        if !is_prepared {
            let verdict = Err(Denial::Credentials);
            ticket.at(attempt.at).settle(&verdict);
            return Answer::Verdict(verdict);
        }
        let accounts = Arc::clone(&ticket.logins.accounts);
        match password {
            Some(password) => {
                let verdict = accounts.authenticate(&attempt, &password);
                ticket.at(attempt.at).settle(&verdict);
                Answer::Verdict(verdict)
            }
            None => match accounts.scram_keys(&attempt) {
                Ok(record) => Answer::Keys(record, Some(ticket.at(attempt.at))),
                Err(denial) => Answer::Verdict(Err(denial)),
            },
        }
    }
}

/// Stands for an attempt until its outcome is counted. Dropped, it counts for nothing.
pub struct Ticket {
    logins: Arc<Inner>,
    service: Arc<str>,
    peer: IpAddr,
    name: String,
    at: Instant,
    settled: bool,
}

impl Ticket {
    /// Counts and logs the outcome.
    pub fn settle(mut self, verdict: &Verdict) {
        self.count(match verdict {
            Ok(_) => Outcome::Succeeded,
            Err(denial) if denial.counts_as_failed() => Outcome::Failed,
            Err(_) => Outcome::Abandoned,
        });
        let (service, peer, name) = (&*self.service, self.peer, shown(&self.name));
        match verdict {
            Ok(_) => tracing::debug!(service, %peer, name, "login"),
            Err(Denial::Unavailable(why)) => {
                tracing::error!(service, why, "the accounts can't be asked");
            }
            Err(denial) => tracing::info!(service, %peer, name, why = %denial, "login failed"),
        }
    }

    fn at(mut self, at: Instant) -> Self {
        self.at = at;
        self
    }

    fn count(&mut self, outcome: Outcome) {
        self.settled = true;
        let ban = self.logins.throttle().settled(self.peer, &self.name, outcome, self.at);
        if let Some(ban) = ban {
            let (peer, failures, seconds) = (ban.peer, ban.failures, ban.lasts.as_secs());
            let service = &*self.service;
            tracing::warn!(service, %peer, failures, seconds, "banned after failed logins");
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.settled {
            self.count(Outcome::Abandoned);
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (peer, name) = (network(self.peer), &self.name);
        f.debug_struct("Ticket").field("peer", &peer).field("name", name).finish_non_exhaustive()
    }
}

/// A name as it is logged: somebody else's text, so without control characters and not too long.
fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use tracing::{Event, Metadata, Subscriber, field, span};

    use super::*;
    use crate::{
        Accounts,
        directory::tests::directory,
        sasl,
        users::tests::{user, with_keys},
    };

    const SECOND: Duration = Duration::from_secs(1);

    fn logins() -> Logins {
        let directory = directory([("alice", with_keys("secret")), ("bob", user("his"))]);
        Logins::new(Arc::new(Accounts::new(directory).unwrap()), ThrottleLimits::default())
    }

    fn origin(service: &str, host: u8) -> Origin {
        Origin { service: service.into(), peer: Some([192, 0, 2, host].into()) }
    }

    fn password(name: &str, password: &str) -> Question {
        let password = Password::new(password);
        Question::Password(Credentials { name: name.into(), authzid: None, password })
    }

    /// Logs in, and waits as it is told; how long, and the verdict.
    fn login(
        logins: &Logins,
        origin: &Origin,
        question: Question,
        now: &mut Instant,
    ) -> (u64, Verdict) {
        match logins.begin(origin, question, *now) {
            Begun::Answered(answer) => (0, answer.verdict()),
            Begun::Pending(login) => {
                let wait = login.wait();
                *now += wait;
                (wait.as_secs(), login.run().verdict())
            }
        }
    }

    #[test]
    fn failures_count_across_services_and_mechanisms() {
        let (logins, mut now) = (logins(), Instant::now());
        let mut waits = Vec::new();
        for service in ["http.site", "smtp.submission", "pop3.mail", "ftp.files"] {
            let (wait, verdict) =
                login(&logins, &origin(service, 1), password("alice", "wrong"), &mut now);
            assert_eq!(verdict, Err(Denial::Credentials));
            waits.push(wait);
        }
        // A wrong proof is a failure like a wrong password; asking for the salt is none.
        for wrong in [false, true, true] {
            let mut server = sasl::Server::new(Mechanism::ScramSha256, sasl::Nonce::fixed("x"));
            let sasl::Step::Ask(question) = server.started(Some(b"n,,n=alice,r=abc")) else {
                panic!("it asks for keys")
            };
            let Begun::Pending(login) = logins.begin(&origin("pop3.mail", 1), question, now) else {
                panic!("keys are never remembered")
            };
            waits.push(login.wait().as_secs());
            now += login.wait();
            server.answered(login.run());
            if wrong {
                let last = b"c=biws,r=abcx,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
                let step = server.received(last);
                assert!(matches!(step, sasl::Step::Refused(Denial::Credentials)), "{step:?}");
            }
        }
        assert_eq!(waits, [0, 1, 2, 4, 8, 8, 15]);
        // Somebody else isn't held up, and learns nothing of it.
        let other = login(&logins, &origin("ftp.files", 2), password("bob", "his"), &mut now);
        assert_eq!((other.0, other.1.unwrap().name()), (0, "bob"));
    }

    #[test]
    fn a_banned_peer_is_refused_before_anything_is_computed() {
        let (logins, mut now) = (logins(), Instant::now());
        let here = origin("pop3.mail", 1);
        // One attempt waits while others get the peer banned.
        let mut held = None;
        let throttled = (0..20).find_map(|n| {
            if n == 5 {
                held = Some(logins.begin(&here, password("alice", "secret"), now));
            }
            match login(&logins, &here, password("bob", "wrong"), &mut now).1 {
                Err(Denial::Throttled { retry_after }) => Some(retry_after),
                _ => None,
            }
        });
        assert!(throttled.unwrap() > SECOND * 500, "{throttled:?}");
        let Some(Begun::Pending(mut held)) = held else { panic!("it has to wait") };
        held.wait = now - held.attempt.at;
        let verdict = held.run().verdict();
        assert!(matches!(verdict, Err(Denial::Throttled { .. })), "{verdict:?}");
        let (_, verdict) = login(&logins, &here, password("alice", "secret"), &mut now);
        assert!(matches!(verdict, Err(Denial::Throttled { .. })), "{verdict:?}");
        now += throttled.unwrap();
        login(&logins, &here, password("alice", "secret"), &mut now).1.unwrap();
    }

    #[test]
    fn a_remembered_login_is_answered_at_once_unless_the_peer_has_to_wait() {
        let (logins, mut now) = (logins(), Instant::now());
        let here = origin("http.site", 1);
        let good = || password("alice", "secret");
        assert!(matches!(logins.begin(&here, good(), now), Begun::Pending(_)));
        login(&logins, &here, good(), &mut now).1.unwrap();
        for service in ["http.site", "ftp.files"] {
            let begun = logins.begin(&origin(service, 1), good(), now);
            assert!(matches!(begun, Begun::Answered(Answer::Verdict(Ok(_)))), "{begun:?}");
        }
        login(&logins, &here, password("alice", "wrong"), &mut now).1.unwrap_err();
        let Begun::Pending(waiting) = logins.begin(&here, good(), now) else {
            panic!("an oracle: right passwords would be told from wrong ones without a wait")
        };
        assert_eq!(waiting.wait(), SECOND);
        waiting.run().verdict().unwrap();
    }

    #[test]
    fn mechanisms_follow_the_accounts_and_the_channel() {
        use Mechanism::{Login, Plain, ScramSha256};
        assert_eq!(logins().mechanisms("pop3.mail", true), [ScramSha256, Plain, Login]);
        assert_eq!(logins().mechanisms("pop3.mail", false), [ScramSha256]);
        let bare = Accounts::new(directory([("bob", user("his"))])).unwrap();
        let logins = Logins::new(Arc::new(bare), ThrottleLimits::default());
        assert_eq!(logins.mechanisms("pop3.mail", true), [Plain, Login]);
        assert_eq!(logins.mechanisms("pop3.mail", false), []);
    }

    /// Something else than a file: a directory service that is down now and then.
    #[test]
    fn another_authenticate_can_be_brought() {
        struct Down(AtomicU64);
        impl Authenticate for Down {
            fn authenticate(&self, attempt: &Attempt, _: &Password) -> Verdict {
                match self.0.fetch_add(1, Relaxed) {
                    0..20 => Err(Denial::Unavailable("no answer".into())),
                    _ => Ok(Identity::new(&attempt.name)),
                }
            }
        }
        let logins = Logins::new(Arc::new(Down(AtomicU64::new(0))), ThrottleLimits::default());
        let mut now = Instant::now();
        for n in 0..30 {
            let (wait, verdict) =
                login(&logins, &origin("ftp.files", 1), password("zoe", "x"), &mut now);
            assert_eq!((wait, verdict.is_ok()), (0, n >= 20), "an outage is nobody's failure");
        }
        assert_eq!(logins.mechanisms("ftp.files", true), [Mechanism::Plain, Mechanism::Login]);
        let question = Question::ScramKeys { name: "zoe".into(), authzid: None };
        let verdict = login(&logins, &origin("ftp.files", 1), question, &mut now).1;
        assert_eq!(verdict, Err(Denial::Mechanism));
    }

    thread_local! {
        static LINES: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
    }

    /// Writes a thread's events down. One for the whole process: with scoped subscribers, another
    /// test's thread may decide that nobody is interested.
    struct Log;

    impl Subscriber for Log {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }
        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
        fn event(&self, event: &Event<'_>) {
            let mut line = event.metadata().level().to_string();
            event.record(&mut |field: &field::Field, value: &dyn fmt::Debug| {
                line += &format!(" {field}={value:?}");
            });
            LINES.with_borrow_mut(|lines| lines.push(line));
        }
        fn enter(&self, _: &span::Id) {}
        fn exit(&self, _: &span::Id) {}
    }

    #[test]
    fn failures_and_bans_are_logged_without_passwords() {
        tracing::subscriber::set_global_default(Log).unwrap();
        let (logins, mut now) = (logins(), Instant::now());
        let here = origin("pop3.mail", 1);
        for _ in 0..12 {
            let _ = login(&logins, &here, password("al\nice", "hunter2"), &mut now);
        }
        let lines = LINES.take();
        assert!(lines.iter().all(|line| !line.contains("hunter2") && !line.contains('\n')));
        let failed: Vec<&String> = lines.iter().filter(|line| line.starts_with("INFO")).collect();
        assert_eq!(failed.len(), 11, "{lines:?}");
        for part in ["login failed", "\"pop3.mail\"", "192.0.2.1", "al\\\\nice", "wrong name"] {
            assert!(failed[0].contains(part), "{part}: {}", failed[0]);
        }
        let bans: Vec<&String> = lines.iter().filter(|line| line.starts_with("WARN")).collect();
        assert_eq!(bans.len(), 1, "{lines:?}");
        for part in ["banned", "peer=192.0.2.1", "failures=10", "seconds=600"] {
            assert!(bans[0].contains(part), "{part}: {}", bans[0]);
        }
    }
}
