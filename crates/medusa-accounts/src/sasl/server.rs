//! The server's side. All of its transitions:
//!
//! | state | what comes | what is said | next |
//! |---|---|---|---|
//! | fresh, PLAIN | nothing | challenge, empty | `Plain` |
//! | fresh, LOGIN | nothing | challenge `Username:` | `LoginName` |
//! | fresh, SCRAM | nothing | challenge, empty | `ScramFirst` |
//! | fresh, any | an initial response | as in the next state | |
//! | `Plain` | authzid NUL name NUL password | ask: password | `Verifying` |
//! | `LoginName` | a name | challenge `Password:` | `LoginPassword` |
//! | `LoginPassword` | a password | ask: password | `Verifying` |
//! | `ScramFirst` | client-first | ask: keys | `Looking` |
//! | `Verifying` | a verdict | accepted or refused | `Ended` |
//! | `Looking` | keys | challenge server-first | `ScramFinal` |
//! | `ScramFinal` | client-final, proof fits | challenge server-final | `ScramDone` |
//! | `ScramDone` | an empty message | accepted | `Ended` |
//! | any | `*`, or anything else | refused | `Ended` |
//!
//! The end of SCRAM is a challenge and an empty answer to it, because neither SMTP nor POP3 can
//! carry data with their success reply (RFC 4422 §3.6, RFC 4954 §4, RFC 5034 §4).

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use super::{
    LINE_OCTETS, Mechanism, NAME_OCTETS, Nonce,
    scram::{self, ClientFinal, ClientFirst, ServerFirst},
};
use crate::{
    Answer, Credentials, Denial, Identity, PASSWORD_OCTETS, Password, Question, ScramRecord,
    Ticket, Verdict,
};

/// One login by SASL.
#[derive(Debug)]
pub struct Server {
    state: State,
    nonce: Nonce,
}

/// What is to be done now.
#[derive(Debug)]
pub enum Step {
    /// Send this challenge, in base64 on a line: after `334 ` (SMTP) or `+ ` (POP3). It may be
    /// empty.
    Challenge(Vec<u8>),
    /// Find this out and come back with [`Server::answered`].
    Ask(Question),
    /// The login is good.
    Accepted(Identity),
    /// It is not.
    Refused(Denial),
}

impl Step {
    /// A challenge as it is sent, but for what the protocol puts around it.
    pub fn challenge_line(&self) -> Option<String> {
        match self {
            Self::Challenge(octets) => Some(BASE64_STANDARD.encode(octets)),
            _ => None,
        }
    }
}

#[derive(Debug)]
enum State {
    Fresh(Mechanism),
    Plain,
    LoginName,
    LoginPassword { name: String },
    Verifying,
    ScramFirst,
    Looking(ClientFirst),
    ScramFinal(Box<Unproved>),
    ScramDone(Identity),
    Ended,
}

/// A SCRAM login that waits for its proof.
#[derive(Debug)]
struct Unproved {
    first: ClientFirst,
    server: ServerFirst,
    record: ScramRecord,
    ticket: Option<Ticket>,
}

impl Server {
    /// A login by `mechanism`. The nonce is used by SCRAM.
    pub fn new(mechanism: Mechanism, nonce: Nonce) -> Self {
        Self { state: State::Fresh(mechanism), nonce }
    }

    /// Begins, with what followed the mechanism in the client's command: nothing, a message in
    /// base64, or `=` for an empty one (RFC 4954 §4).
    pub fn begin(&mut self, initial: Option<&[u8]>) -> Step {
        match initial {
            None => self.started(None),
            Some(b"=") => self.started(Some(&[])),
            Some(line) => match self.decoded(line) {
                Ok(message) => self.started(Some(&message)),
                Err(denial) => self.refuse(denial),
            },
        }
    }

    /// Goes on with a line that followed a challenge, without its line end.
    pub fn line(&mut self, line: &[u8]) -> Step {
        match self.decoded(line) {
            Ok(message) => self.received(&message),
            Err(denial) => self.refuse(denial),
        }
    }

    /// Begins, with an initial message or without.
    pub fn started(&mut self, initial: Option<&[u8]>) -> Step {
        let State::Fresh(mechanism) = self.state else {
            return self.refuse(Denial::Malformed("a login that began already"));
        };
        let (state, challenge) = match mechanism {
            Mechanism::Plain => (State::Plain, &b""[..]),
            // What clients look for; the draft has other words, which nobody uses.
            Mechanism::Login => (State::LoginName, &b"Username:"[..]),
            Mechanism::ScramSha256 => (State::ScramFirst, &b""[..]),
        };
        self.state = state;
        match initial {
            Some(message) => self.received(message),
            None => Step::Challenge(challenge.to_vec()),
        }
    }

    /// Goes on with a message of the client.
    pub fn received(&mut self, message: &[u8]) -> Step {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let (state, step) = match state {
            State::Plain => verifying(plain(message)),
            State::LoginName => match name(message) {
                Ok(name) => (State::LoginPassword { name }, Step::Challenge(b"Password:".to_vec())),
                Err(denial) => refused(denial),
            },
            State::LoginPassword { name } => {
                verifying(password(message).map(|password| Credentials {
                    name,
                    authzid: None,
                    password,
                }))
            }
            State::ScramFirst => match ClientFirst::parse(message) {
                Ok(first) => {
                    let (name, authzid) = (first.name.clone(), first.authzid.clone());
                    (State::Looking(first), Step::Ask(Question::ScramKeys { name, authzid }))
                }
                Err(denial) => refused(denial),
            },
            State::ScramFinal(unproved) => unproved.proved(message),
            State::ScramDone(identity) if message.is_empty() => {
                (State::Ended, Step::Accepted(identity))
            }
            State::Fresh(_) | State::Verifying | State::Looking(_) | State::ScramDone(_) => {
                refused(Denial::Malformed("a message that nobody asked for"))
            }
            State::Ended => refused(Denial::Malformed("a message after the end")),
        };
        self.state = state;
        step
    }

    /// Goes on with what was asked for.
    pub fn answered(&mut self, answer: Answer) -> Step {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let (state, step) = match (state, answer) {
            (State::Verifying, Answer::Verdict(Ok(identity))) => {
                (State::Ended, Step::Accepted(identity))
            }
            (State::Looking(first), Answer::Keys(record, ticket)) => {
                let server = ServerFirst::new(&first, &self.nonce, &record.keys);
                let challenge = Step::Challenge(server.message.clone().into_bytes());
                let unproved = Box::new(Unproved { first, server, record, ticket });
                (State::ScramFinal(unproved), challenge)
            }
            (_, Answer::Verdict(Err(denial))) => refused(denial),
            // An answer to another question than the one that was asked.
            (_, Answer::Verdict(Ok(_)) | Answer::Keys(..)) => refused(Denial::Mechanism),
        };
        self.state = state;
        step
    }

    /// The client's message on a line, after the rules that hold for all of them.
    fn decoded(&self, line: &[u8]) -> Result<Zeroizing<Vec<u8>>, Denial> {
        match line {
            b"*" => Err(Denial::Cancelled),
            _ if line.len() > LINE_OCTETS => Err(Denial::TooLong),
            _ => BASE64_STANDARD
                .decode(line)
                .map(Zeroizing::new)
                .map_err(|_| Denial::Malformed("bad base64")),
        }
    }

    fn refuse(&mut self, denial: Denial) -> Step {
        self.state = State::Ended;
        Step::Refused(denial)
    }
}

impl Unproved {
    fn proved(mut self, message: &[u8]) -> (State, Step) {
        let last = match ClientFinal::parse(message) {
            Ok(last) => last,
            Err(denial) => return refused(denial),
        };
        // RFC 5802 §5.1: both must come back as they were.
        if last.header != self.first.header.as_bytes() || last.nonce != self.server.nonce {
            return refused(Denial::Malformed("a last message of another exchange"));
        }
        let signed = scram::auth_message(&self.first, &self.server, &last.unproved);
        let keys = &self.record.keys;
        let verdict: Verdict = match scram::proof_fits(keys, &signed, &last.proof) {
            true => self.record.verdict.clone(),
            false => Err(Denial::Credentials),
        };
        if let Some(ticket) = self.ticket.take() {
            ticket.settle(&verdict);
        }
        match verdict {
            Ok(identity) => {
                let signature = scram::server_final(&keys.server_key, &signed);
                (State::ScramDone(identity), Step::Challenge(signature.into_bytes()))
            }
            Err(denial) => refused(denial),
        }
    }
}

fn refused(denial: Denial) -> (State, Step) {
    (State::Ended, Step::Refused(denial))
}

fn verifying(credentials: Result<Credentials, Denial>) -> (State, Step) {
    match credentials {
        Ok(credentials) => (State::Verifying, Step::Ask(Question::Password(credentials))),
        Err(denial) => refused(denial),
    }
}

/// RFC 4616 §2.
fn plain(message: &[u8]) -> Result<Credentials, Denial> {
    let mut parts = message.split(|&octet| octet == 0);
    let (Some(authzid), Some(authcid), Some(secret), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Denial::Malformed("not three fields"));
    };
    Ok(Credentials {
        authzid: if authzid.is_empty() { None } else { Some(name(authzid)?) },
        name: name(authcid)?,
        password: password(secret)?,
    })
}

fn name(octets: &[u8]) -> Result<String, Denial> {
    if octets.is_empty() {
        return Err(Denial::Malformed("an empty name"));
    }
    if octets.len() > NAME_OCTETS {
        return Err(Denial::TooLong);
    }
    String::from_utf8(octets.to_vec()).map_err(|_| Denial::Malformed("a name that isn't UTF-8"))
}

fn password(octets: &[u8]) -> Result<Password, Denial> {
    if octets.is_empty() {
        return Err(Denial::Malformed("an empty password"));
    }
    if octets.len() > PASSWORD_OCTETS {
        return Err(Denial::TooLong);
    }
    Password::from_octets(octets.to_vec()).ok_or(Denial::Malformed("a password that isn't UTF-8"))
}
