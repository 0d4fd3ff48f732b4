//! From the greeting to a connection that takes messages: EHLO, STARTTLS and AUTH.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use medusa_accounts::sasl::{self, ClientStep, Derived, Mechanism, Nonce};
use medusa_core::Cx;

use super::{Await, ClientSession, Stage};
use crate::sending::outcome::{Kind, Problem};
use crate::sending::reply::{Extensions, Reply, Status};
use crate::sending::route::Security;

/// A server that doesn't take mail at all (RFC 7504 §3).
const NO_MAIL: u16 = 521;

impl ClientSession {
    pub(super) fn greeted(&mut self, cx: &mut Cx<'_>, awaited: Await, reply: &Reply) {
        match (awaited, reply.code / 100) {
            (Await::Greeting, 2) => self.hello(cx),
            (Await::Ehlo, 2) => {
                self.offered = Extensions::parse(&reply.text);
                self.introduced(cx, reply);
            }
            // RFC 5321 §3.2: one that doesn't know EHLO may know HELO.
            (Await::Ehlo, 5) if reply.code != NO_MAIL => {
                let line = format!("HELO {}\r\n", self.profile.ourselves);
                self.say(cx, line.as_bytes(), Await::Helo);
            }
            (Await::Helo, 2) => {
                self.offered = Extensions::default();
                self.introduced(cx, reply);
            }
            (Await::StartTls, 2) => self.secure(cx),
            (Await::StartTls, _) => {
                // It has offered it. Where it isn't required, it goes without.
                let said = Problem::said(Kind::Insecure, reply, &self.profile.host);
                self.fail(cx, said);
            }
            (Await::Auth, 3) => self.challenged(cx, &reply.text),
            (Await::Auth, 2) => self.logged_in(cx),
            (_, 5) if reply.code == NO_MAIL => {
                self.fail(cx, Problem::said(Kind::NoMail, reply, &self.profile.host));
            }
            (_, 4 | 5) => self.fail(cx, Problem::said(Kind::Host, reply, &self.profile.host)),
            _ => self.misplaced(cx, awaited, reply),
        }
    }

    /// Says who we are.
    pub(super) fn hello(&mut self, cx: &mut Cx<'_>) {
        self.stage = Stage::Hello;
        let line = format!("EHLO {}\r\n", self.profile.ourselves);
        self.say(cx, line.as_bytes(), Await::Ehlo);
    }

    /// The server knows who we are, and we know who it is.
    fn introduced(&mut self, cx: &mut Cx<'_>, reply: &Reply) {
        let name = reply.text.split(['\n', ' ', '\t']).next().unwrap_or_default();
        if name.eq_ignore_ascii_case(&self.profile.ourselves) {
            // As Postfix does: two servers never have one name.
            let text = format!("mail loops back to {name}, which is this server's own name");
            return self.fail(cx, self.trouble(Kind::Loop, Status(5, 4, 6), text));
        }
        let required = self.profile.security == Security::Require;
        if cx.is_secured() || self.profile.security == Security::Off {
            return self.log_in(cx);
        }
        match (self.offered.starttls, self.profile.tls.is_some()) {
            (true, true) => {
                self.stage = Stage::Securing;
                self.say(cx, b"STARTTLS\r\n", Await::StartTls);
            }
            (false, _) if required => {
                let text = "TLS is required here, and it doesn't offer it";
                self.fail(cx, self.trouble(Kind::Host, Status(4, 7, 4), text));
            }
            (_, false) if required => {
                let text = "TLS is required here, and can't be set up";
                self.fail(cx, self.trouble(Kind::Host, Status(4, 7, 4), text));
            }
            _ => self.log_in(cx),
        }
    }

    fn secure(&mut self, cx: &mut Cx<'_>) {
        let Some(tls) = self.profile.tls.clone() else { return self.log_in(cx) };
        self.speak(cx);
        self.offered = Extensions::default();
        cx.start_tls_as_client(&tls, &self.profile.server_name);
    }

    /// Says who sends, where that is wanted.
    fn log_in(&mut self, cx: &mut Cx<'_>) {
        let Some(credentials) = self.profile.login.clone().filter(|_| !self.logged_in) else {
            return self.ready(cx);
        };
        // A password is shown over TLS alone, or where the operator has said that there is none.
        let confidential = cx.is_secured() || self.profile.security == Security::Off;
        let names = self.offered.auth.iter().map(String::as_str);
        let Some(mechanism) = Mechanism::strongest(names, confidential) else {
            let text = "we are to log in there, and it offers no way that we know and may use";
            return self.fail(cx, self.trouble(Kind::Host, Status(4, 7, 0), text));
        };
        let Ok(nonce) = Nonce::random() else {
            let text = "no random numbers to log in with";
            return self.fail(cx, self.trouble(Kind::Host, Status(4, 3, 0), text));
        };
        self.stage = Stage::Login;
        let mut client = sasl::Client::new(mechanism, credentials, nonce);
        let line = match client.initial() {
            Some(initial) => {
                // RFC 4954 §4: an empty one is `=`.
                let text = if initial.is_empty() { "=".into() } else { STANDARD.encode(&*initial) };
                format!("AUTH {} {text}\r\n", mechanism.name())
            }
            None => format!("AUTH {}\r\n", mechanism.name()),
        };
        self.login = Some(Box::new(client));
        self.say(cx, line.as_bytes(), Await::Auth);
    }

    fn challenged(&mut self, cx: &mut Cx<'_>, text: &str) {
        let Some(mut client) = self.login.take() else { return };
        let step = STANDARD.decode(text.trim()).ok().map(|challenge| client.challenged(&challenge));
        self.login = Some(client);
        match step {
            Some(Ok(ClientStep::Send(message))) => self.answer(cx, &message),
            Some(Ok(ClientStep::Derive(derivation))) => {
                let derive = move || derivation.run();
                let derived = |session: &mut ClientSession, cx: &mut Cx<'_>, keys: Derived| {
                    session.derived(cx, &keys);
                };
                if cx.compute(derive, derived).is_err() {
                    self.login_failed(cx, "there is too much to do here");
                }
            }
            Some(Err(error)) => self.login_failed(cx, &error.to_string()),
            None => self.login_failed(cx, "its challenge isn't in base64"),
        }
    }

    fn derived(&mut self, cx: &mut Cx<'_>, keys: &Derived) {
        let Some(client) = &mut self.login else { return };
        match client.derived(keys) {
            Ok(ClientStep::Send(message)) => self.answer(cx, &message),
            Ok(ClientStep::Derive(_)) => self.login_failed(cx, "it went in circles"),
            Err(error) => self.login_failed(cx, &error.to_string()),
        }
        self.wait(cx);
    }

    fn answer(&mut self, cx: &mut Cx<'_>, message: &[u8]) {
        let line = STANDARD.encode(message) + "\r\n";
        self.say(cx, line.as_bytes(), Await::Auth);
    }

    fn logged_in(&mut self, cx: &mut Cx<'_>) {
        match self.login.take().map(|client| client.finished()) {
            Some(Err(error)) => self.login_failed(cx, &error.to_string()),
            _ => {
                self.logged_in = true;
                self.ready(cx);
            }
        }
    }

    fn login_failed(&mut self, cx: &mut Cx<'_>, why: &str) {
        let text = format!("logging in there failed: {why}");
        self.fail(cx, self.trouble(Kind::Host, Status(4, 7, 0), text));
    }
}
