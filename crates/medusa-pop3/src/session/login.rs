//! The AUTHORIZATION state (RFC 1939 §4): USER and PASS, AUTH, and the maildrop of whoever is let in.
//!
//! Who may log in is `medusa-accounts`' to say, and what SASL's mechanisms send is its machine's; here it is
//! put into POP3's words.

use std::mem::replace;
use std::sync::Arc;

use medusa_accounts::sasl::{Mechanism, Nonce, Server, Step};
use medusa_accounts::{Answer, Asked, Credentials, Denial, Identity, Origin, Password, Question};
use medusa_core::Cx;
use medusa_mail::Error;
use medusa_text::status::ok;

use super::{DELAY, LOGIN, Pop3Session, State, maildrop_has};
use crate::replies::{busy, deny, refuse_maildrop, too_soon};
use crate::visit::Visit;

impl Pop3Session {
    /// Whether a password may be sent as it is.
    pub(super) fn is_confidential(&self, cx: &Cx<'_>) -> bool {
        cx.is_secured() || self.shard.plaintext.allows(cx.peer())
    }

    pub(super) fn user(&mut self, cx: &mut Cx<'_>, name: &[u8]) {
        if !self.is_confidential(cx) {
            return self.error(cx, "no passwords without TLS");
        }
        match std::str::from_utf8(name) {
            Ok(name) => {
                self.state = State::Named(name.to_owned());
                // Whether there is such a user, nobody learns (RFC 1939 §13).
                cx.compose(|out| ok(out, "and the password?"));
            }
            Err(_) => self.error(cx, "a name is UTF-8"),
        }
    }

    /// The password is all that follows the first space (RFC 1939 §7).
    pub(super) fn pass(&mut self, cx: &mut Cx<'_>, password: &[u8]) {
        let State::Named(name) = replace(&mut self.state, State::Entering) else { return };
        match Password::from_octets(password.to_vec()) {
            Some(password) => {
                let credentials = Credentials { name, authzid: None, password };
                self.ask(cx, Question::Password(credentials));
            }
            None => self.denied(cx, &Denial::Credentials),
        }
    }

    pub(super) fn auth(&mut self, cx: &mut Cx<'_>, argument: &[u8]) {
        let offered = self.shard.logins.mechanisms(&self.shard.service, self.is_confidential(cx));
        let mut words = argument.split(|&octet| octet == b' ').filter(|word| !word.is_empty());
        let Some(name) = words.next() else {
            // What clients sent before there was CAPA (RFC 1734's successors keep it).
            return cx.compose(|out| {
                ok(out, "mechanisms:");
                for mechanism in &offered {
                    out.extend_from_slice(mechanism.name().as_bytes());
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(b".\r\n");
            });
        };
        let (initial, rest) = (words.next(), words.next());
        let mechanism = std::str::from_utf8(name).ok().and_then(Mechanism::parse);
        match mechanism {
            _ if rest.is_some() => self.error(cx, "write it so: AUTH mechanism response"),
            Some(mechanism) if offered.contains(&mechanism) => match Nonce::random() {
                Ok(nonce) => {
                    let mut server = Box::new(Server::new(mechanism, nonce));
                    let step = server.begin(initial);
                    self.step(cx, server, step);
                }
                Err(error) => {
                    tracing::error!(%error, "no random numbers");
                    cx.compose(busy);
                }
            },
            Some(mechanism) if mechanism.reveals_password() => {
                self.error(cx, "no passwords without TLS");
            }
            _ => self.denied(cx, &Denial::Mechanism),
        }
    }

    pub(super) fn step(&mut self, cx: &mut Cx<'_>, server: Box<Server>, step: Step) {
        let challenge = step.challenge_line();
        match step {
            Step::Challenge(_) => {
                self.state = State::Exchanging(server);
                let challenge = challenge.unwrap_or_default();
                cx.write(format!("+ {challenge}\r\n").as_bytes());
            }
            Step::Ask(question) => {
                self.state = State::Exchanging(server);
                self.ask(cx, question);
            }
            Step::Accepted(identity) => self.enter(cx, identity),
            Step::Refused(denial) => self.denied(cx, &denial),
        }
    }

    fn ask(&mut self, cx: &mut Cx<'_>, question: Question) {
        let origin =
            Origin { service: Arc::clone(&self.shard.service), peer: cx.peer().remote.ip() };
        cx.pause();
        let logins = self.shard.logins.clone();
        match logins.ask(cx, &origin, question, Self::answered) {
            Asked::Answered(answer) => self.answered(cx, answer),
            Asked::Underway => {}
            Asked::Wait(waiting) => {
                cx.arm(DELAY, waiting.wait());
                self.waiting = Some(Box::new(waiting));
            }
        }
    }

    pub(super) fn answered(&mut self, cx: &mut Cx<'_>, answer: Answer) {
        cx.resume();
        match replace(&mut self.state, State::Entering) {
            State::Exchanging(mut server) => {
                let step = server.answered(answer);
                self.step(cx, server, step);
            }
            _ => match answer.verdict() {
                Ok(identity) => self.enter(cx, identity),
                Err(denial) => self.denied(cx, &denial),
            },
        }
    }

    fn denied(&mut self, cx: &mut Cx<'_>, denial: &Denial) {
        self.state = State::Greeted;
        cx.compose(|out| deny(out, denial));
        self.count_error(cx);
    }

    /// Opens the maildrop of somebody who has logged in.
    fn enter(&mut self, cx: &mut Cx<'_>, identity: Identity) {
        // Now and not at USER: there it would tell anybody who the users are (RFC 2449 §8.1.1).
        let delay = self.shard.login_delay.as_ref();
        let turn = match delay.map(|delay| delay.admit(identity.name(), cx.now())).transpose() {
            Ok(turn) => turn,
            Err(left) => {
                self.state = State::Greeted;
                cx.compose(|out| too_soon(out, left));
                return self.count_error(cx);
            }
        };
        self.state = State::Entering;
        cx.pause();
        let (maildrops, open) = (Arc::clone(&self.shard.maildrops), self.shard.open.clone());
        let service = Arc::clone(&self.shard.service);
        let form = self.form;
        let work = move || {
            let opened = open.open(&*maildrops, identity.name());
            if let Err(error) = &opened {
                let (service, account) = (&*service, identity.name());
                match error {
                    Error::InUse => tracing::debug!(service, account, "the maildrop is in use"),
                    error => tracing::error!(service, account, %error, "no maildrop"),
                }
            }
            // Whoever found no maildrop may try again at once.
            if let (Some(turn), Ok(_)) = (turn, &opened) {
                turn.keep();
            }
            // Not on the shard: summing up a hundred thousand messages takes its time.
            opened.map(|maildrop| Visit::new(identity.name(), maildrop, form))
        };
        if cx.offload(work, Self::entered).is_err() {
            self.state = State::Greeted;
            cx.compose(busy);
            cx.resume();
        }
    }

    fn entered(&mut self, cx: &mut Cx<'_>, opened: Result<Visit, Error>) {
        cx.resume();
        match opened {
            Ok(visit) => {
                cx.disarm(LOGIN);
                let text = maildrop_has(&visit);
                self.state = State::Transaction(visit);
                cx.compose(|out| ok(out, &text));
            }
            Err(error) => {
                self.state = State::Greeted;
                cx.compose(|out| refuse_maildrop(out, &error));
            }
        }
    }
}
