//! Who it is, and how the connections are protected: USER, PASS, REIN, HOST, AUTH, PBSZ, PROT (RFC 959,
//! 4217, 7151).

use std::sync::Arc;

use medusa_accounts::{Answer, Asked, Credentials, Identity, Origin, Password, Question, Told};
use medusa_core::Cx;
use medusa_files::VirtualPath;

use super::{FtpSession, IN, LEVEL, LOGIN, NAMED, OUT, OUTSIDE, Representation, say};
use crate::Error;
use crate::home::{Visit, Visitor};
use crate::listing::Facts;

/// So many TLS sessions are remembered for a data connection to resume.
const TICKETS: usize = 64;
/// The longest name that is kept.
const NAME: usize = 255;

impl FtpSession {
    pub(super) fn user(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let name = String::from_utf8_lossy(argument.trim_ascii()).into_owned();
        if name.len() > NAME {
            return say(cx, 501, "That name is too long");
        }
        let text = match is_anonymous(&name) && self.shared.anonymous {
            true => "Send your mail address as the password",
            false => "Send the password",
        };
        self.user = name;
        self.state = NAMED;
        say(cx, 331, text);
    }

    pub(super) fn pass(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        if is_anonymous(&self.user) && self.shared.anonymous {
            return self.visit(cx, None);
        }
        let Some(logins) = self.shared.logins.clone() else {
            return self.denied(cx, Told::WrongCredentials);
        };
        let Some(password) = Password::from_octets(argument.to_vec()) else {
            return self.denied(cx, Told::WrongCredentials);
        };
        let credentials = Credentials { name: self.user.clone(), authzid: None, password };
        let origin = Origin { service: Arc::clone(&self.shared.name), peer: cx.peer().remote.ip() };
        self.is_busy = true;
        match logins.ask(cx, &origin, Question::Password(credentials), FtpSession::answered) {
            Asked::Answered(answer) => self.answered(cx, answer),
            Asked::Underway => {}
            Asked::Wait(waiting) => {
                cx.arm(LOGIN, waiting.wait());
                self.login = Some(Box::new(waiting));
            }
        }
    }

    pub(super) fn login_waited(&mut self, cx: &mut Cx<'_>) {
        if let Some(answer) = self.login.take().and_then(|waiting| waiting.go_on(cx)) {
            self.answered(cx, answer);
        }
    }

    fn answered(&mut self, cx: &mut Cx<'_>, answer: Answer) {
        self.is_busy = false;
        match answer.verdict() {
            Ok(identity) => self.visit(cx, Some(identity)),
            Err(denial) => self.denied(cx, denial.told()),
        }
        self.go_on(cx);
    }

    fn denied(&mut self, cx: &mut Cx<'_>, told: Told) {
        self.state = OUT;
        match told {
            Told::TryLater { .. } => {
                say(cx, 421, "Too many logins, try again later");
                cx.close();
            }
            Told::Malformed | Told::TooLong => say(cx, 501, "That can't be a login"),
            _ => say(cx, 530, "Wrong name or password"),
        }
    }

    /// Opens what is there for them.
    fn visit(&mut self, cx: &mut Cx<'_>, identity: Option<Identity>) {
        self.state = OUT;
        if let (None, Some(visit)) = (&identity, &self.shared.anonymous_visit) {
            let message = visit.message_at(&VirtualPath::root()) + &visit.greeting;
            return self.settle_in(cx, "anonymous".to_owned(), Arc::clone(visit), &message);
        }
        let shared = Arc::clone(&self.shared);
        let name = identity.as_ref().map_or("anonymous", Identity::name).to_owned();
        let open = move || {
            let visitor = identity.as_ref().map_or(Visitor::Anonymous, Visitor::Account);
            let visit = (shared.home)(visitor)?;
            let message = visit.message_at(&VirtualPath::root()) + &visit.greeting;
            Ok((visit, message))
        };
        self.in_pool(cx, open, move |session, cx, visit: Result<_, Error>| match visit {
            Ok((visit, message)) => {
                session.settle_in(cx, name, Arc::new(visit), &message);
            }
            Err(error) => {
                tracing::warn!(name, %error, "a login has no folder that could be opened");
                say(cx, 530, "There is nothing here for this account");
            }
        });
    }

    /// Lets nobody stay outside for longer than the limit.
    pub(super) fn await_login(&self, cx: &mut Cx<'_>) {
        if let Some(login) = cx.limits().login {
            cx.arm(OUTSIDE, login);
        }
    }

    fn settle_in(&mut self, cx: &mut Cx<'_>, name: String, visit: Arc<Visit>, message: &str) {
        cx.disarm(OUTSIDE);
        self.user = name;
        self.visit = Some(visit);
        self.state = IN;
        say(cx, 230, message);
    }

    pub(super) fn rein(&mut self, cx: &mut Cx<'_>) {
        // The time of somebody who has never logged in isn't begun anew.
        if self.visit.is_some() {
            self.await_login(cx);
        }
        self.forget(cx);
        // As when the connection stood, and with implicit TLS it has always been so.
        self.is_protected = self.is_implicit;
        self.has_buffer_size = false;
        say(cx, 220, "Ready for another user");
    }

    /// As it was in the beginning.
    fn forget(&mut self, cx: &mut Cx<'_>) {
        self.drop_channel(cx);
        self.state = OUT;
        self.user.clear();
        self.visit = None;
        self.cwd = VirtualPath::root();
        self.how = Representation::default();
        self.level = LEVEL;
        self.facts = Facts::default();
        self.restart = 0;
        self.only_epsv = false;
    }

    pub(super) fn host(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let name = argument.trim_ascii();
        let fits = |octet: &u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(octet);
        match name.len() <= NAME && name.iter().all(fits) {
            // There is one host behind every name.
            true => say(cx, 220, &self.shared.banner),
            false => say(cx, 501, "That is no name of a host"),
        }
    }

    pub(super) fn auth(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let mechanism = argument.trim_ascii().to_ascii_uppercase();
        match mechanism.as_slice() {
            _ if !self.shared.has_tls => say(cx, 502, "TLS is not offered"),
            _ if cx.is_secured() => say(cx, 503, "This connection is protected already"),
            b"TLS" | b"TLS-C" | b"SSL" | b"TLS-P" => {
                // Nothing that was said in plaintext counts (RFC 4217 §4.1 lets a server forget it).
                self.forget(cx);
                // The older names ask for protected data too (RFC 4217 §16, on what went before it).
                self.is_protected = matches!(mechanism.as_slice(), b"SSL" | b"TLS-P");
                say(cx, 234, "TLS begins");
                self.waiting.clear();
                cx.start_tls();
            }
            _ => say(cx, 504, "TLS is what is offered"),
        }
    }

    pub(super) fn pbsz(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let size = argument.trim_ascii();
        match size.iter().all(u8::is_ascii_digit) {
            _ if !cx.is_secured() => say(cx, 503, "AUTH TLS comes first"),
            false => say(cx, 501, "A size is a number"),
            true => {
                self.has_buffer_size = true;
                // RFC 4217 §8: TLS has no use for another.
                say(cx, 200, "PBSZ=0");
            }
        }
    }

    pub(super) fn prot(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        if !cx.is_secured() || !self.has_buffer_size {
            return say(cx, 503, "AUTH TLS and PBSZ come first");
        }
        let is_protected = match argument.trim_ascii() {
            b"P" | b"p" => true,
            b"C" | b"c" => false,
            b"S" | b"s" | b"E" | b"e" => return say(cx, 536, "C and P are what TLS has"),
            _ => return say(cx, 504, "C and P are what TLS has"),
        };
        if is_protected != self.is_protected {
            // A port that was told already would speak as it was before.
            self.drop_channel(cx);
        }
        self.is_protected = is_protected;
        say(cx, 200, if is_protected { "Data will be protected" } else { "Data will be clear" });
    }

    /// Data connections may resume this connection's session, or the one that it resumed.
    pub(super) fn remember_tls(&mut self, cx: &Cx<'_>) {
        self.tickets.clear();
        if let Some(facts) = &cx.peer().tls {
            self.tickets.extend(facts.resumes);
            self.tickets.push(facts.session);
        }
    }

    /// The tickets of a data connection that was right may be used as well.
    pub(super) fn remember_ticket(&mut self, session: [u8; 16]) {
        if self.tickets.len() >= TICKETS {
            // The control connection's own stay.
            self.tickets.remove(2);
        }
        self.tickets.push(session);
    }
}

fn is_anonymous(name: &str) -> bool {
    name.eq_ignore_ascii_case("anonymous") || name.eq_ignore_ascii_case("ftp")
}
