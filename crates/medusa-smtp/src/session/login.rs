//! AUTH (RFC 4954): which mechanisms are offered, and the exchange of one login.

use medusa_accounts::sasl::{LINE_OCTETS, Mechanism, Nonce, Server, Step};
use medusa_accounts::{Answer, Asked, Origin, Question, Waiting};
use medusa_core::{Cx, Framing};

use super::{LOGIN, Mode, SmtpSession};
use crate::replies::Reply;
use crate::service::Role;

/// A login that is under way.
pub(super) struct Login {
    server: Server,
    /// It has to wait before it is looked at.
    waiting: Option<Waiting<SmtpSession>>,
}

impl SmtpSession {
    /// What is offered on this connection, strongest first.
    pub(super) fn mechanisms(&self, cx: &Cx<'_>) -> Vec<Mechanism> {
        let shared = self.shared();
        match &shared.logins {
            Some(logins) if shared.role == Role::Submission && self.identity.is_none() => {
                logins.mechanisms(&shared.service, self.is_confidential(cx))
            }
            _ => Vec::new(),
        }
    }

    /// Whether a password may be sent.
    fn is_confidential(&self, cx: &Cx<'_>) -> bool {
        cx.is_secured() || self.shared().plaintext_login.allows(cx.peer())
    }

    pub(super) fn auth(&mut self, cx: &mut Cx<'_>, argument: &str) {
        if self.identity.is_some() {
            return self.refuse(cx, Reply::LoggedInAlready);
        }
        if self.shared().logins.is_none() || self.shared().role != Role::Submission {
            return self.refuse(cx, Reply::NotOffered);
        }
        let mut words = argument.split_ascii_whitespace();
        let (name, initial) = (words.next().unwrap_or_default(), words.next());
        if words.next().is_some() {
            return self.refuse(cx, Reply::Unexpected);
        }
        let Some(mechanism) = Mechanism::parse(name) else {
            return self.refuse(cx, Reply::NoMechanism);
        };
        if !self.mechanisms(cx).contains(&mechanism) {
            let hidden = mechanism.reveals_password() && !self.is_confidential(cx);
            return self.refuse(cx, if hidden { Reply::TlsFirst } else { Reply::NoMechanism });
        }
        let Ok(nonce) = Nonce::random() else { return self.refuse(cx, Reply::LoginLater) };
        let mut server = Server::new(mechanism, nonce);
        let step = server.begin(initial.map(str::as_bytes));
        self.login = Some(Box::new(Login { server, waiting: None }));
        self.login_step(cx, step);
    }

    pub(super) fn login_line(&mut self, cx: &mut Cx<'_>, line: &[u8]) {
        if let Some(login) = &mut self.login {
            let step = login.server.line(line);
            self.login_step(cx, step);
        }
    }

    pub(super) fn login_overlong(&mut self, cx: &mut Cx<'_>) {
        self.login = None;
        // The rest of the line is being skipped: expecting another now would take it for a command.
        self.mode = Mode::Command;
        self.refuse(cx, Reply::LoginTooLong);
        self.settled(cx);
    }

    /// The wait that the throttle asked for is over.
    pub(super) fn login_waited(&mut self, cx: &mut Cx<'_>) {
        let waiting = self.login.as_mut().and_then(|login| login.waiting.take());
        if let Some(answer) = waiting.and_then(|waiting| waiting.go_on(cx)) {
            self.login_answered(cx, answer);
        }
    }

    fn login_step(&mut self, cx: &mut Cx<'_>, step: Step) {
        match step {
            Step::Challenge(_) => {
                let challenge = step.challenge_line().unwrap_or_default();
                self.mode = Mode::Login;
                // Not by the writer of replies, which cuts lines: a challenge is as long as it is.
                cx.write(format!("334 {challenge}\r\n").as_bytes());
                cx.expect(Framing::line(LINE_OCTETS));
                cx.resume();
            }
            Step::Ask(question) => self.login_ask(cx, question),
            Step::Accepted(identity) => {
                self.identity = Some(identity);
                self.login = None;
                self.say(cx, Reply::LoggedIn);
                self.listen(cx);
                self.settled(cx);
            }
            Step::Refused(denial) => self.login_refused(cx, Reply::denied(denial.told())),
        }
    }

    fn login_ask(&mut self, cx: &mut Cx<'_>, question: Question) {
        let shared = self.shard.shared.clone();
        let Some(logins) = &shared.logins else {
            return self.login_refused(cx, Reply::NotOffered);
        };
        let origin = Origin { service: shared.service.clone(), peer: cx.peer().remote.ip() };
        self.wait(cx);
        match logins.ask(cx, &origin, question, Self::login_answered) {
            Asked::Answered(answer) => self.login_answered(cx, answer),
            Asked::Underway => {}
            Asked::Wait(waiting) => {
                cx.arm(LOGIN, waiting.wait());
                if let Some(login) = &mut self.login {
                    login.waiting = Some(waiting);
                }
            }
        }
    }

    fn login_answered(&mut self, cx: &mut Cx<'_>, answer: Answer) {
        if let Some(login) = &mut self.login {
            let step = login.server.answered(answer);
            self.login_step(cx, step);
        }
    }

    fn login_refused(&mut self, cx: &mut Cx<'_>, reply: Reply) {
        self.login = None;
        self.refuse(cx, reply);
        self.listen(cx);
        self.settled(cx);
    }
}
