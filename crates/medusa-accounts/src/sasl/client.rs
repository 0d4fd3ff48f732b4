//! The client's side, for a server that logs in to another one: SMTP to a smart host.
//!
//! A login isn't good before [`Client::finished`] says so: a SCRAM server has to prove that it
//! knows the keys, or it is somebody else.

use zeroize::Zeroizing;

use super::{
    Mechanism, Nonce,
    scram::{self, ClientFinal, ClientFirst, ServerFirst},
};
use crate::{
    Credentials, Error, Password,
    keys::{FEWEST_ITERATIONS, Key, MOST_ITERATIONS, client_and_server_key},
};

/// One login at another server.
#[derive(Debug)]
pub struct Client {
    mechanism: Mechanism,
    credentials: Credentials,
    nonce: Nonce,
    state: State,
}

/// What is to be done now.
#[derive(Debug)]
pub enum ClientStep {
    /// Send this message, in base64 on a line. It may be empty.
    Send(Zeroizing<Vec<u8>>),
    /// Compute this in the offload pool and come back with [`Client::derived`].
    Derive(Derivation),
}

#[derive(Debug)]
enum State {
    /// PLAIN: nothing was sent. LOGIN: no name was sent. SCRAM: nothing was sent.
    Fresh,
    /// LOGIN: the name was sent.
    Named,
    /// SCRAM: the first message was sent.
    First(ClientFirst),
    /// SCRAM: the keys are being derived.
    Deriving(ClientFirst, ServerFirst),
    /// SCRAM: the proof was sent; this is what the server must say.
    Proved {
        expected: String,
    },
    /// All was sent, and what the server had to prove is proved.
    Finished,
    Failed,
}

/// A password and what a SCRAM server wants it hashed with.
#[derive(Debug)]
pub struct Derivation {
    password: Password,
    salt: Vec<u8>,
    iterations: u32,
}

/// What came of a [`Derivation`].
pub struct Derived {
    client_key: Zeroizing<Key>,
    server_key: Zeroizing<Key>,
}

impl std::fmt::Debug for Derived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Derived(…)")
    }
}

impl Derivation {
    /// Computes it. Blocks.
    pub fn run(self) -> Derived {
        let (client_key, server_key) =
            client_and_server_key(&self.password, &self.salt, self.iterations);
        Derived { client_key, server_key: Zeroizing::new(server_key) }
    }
}

impl Client {
    /// A login by `mechanism`. The nonce is used by SCRAM.
    pub fn new(mechanism: Mechanism, credentials: Credentials, nonce: Nonce) -> Self {
        Self { mechanism, credentials, nonce, state: State::Fresh }
    }

    /// The message that may follow the mechanism's name, for those that begin with the client.
    pub fn initial(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        if !matches!(self.state, State::Fresh) {
            return None;
        }
        let Credentials { name, authzid, password } = &self.credentials;
        match self.mechanism {
            Mechanism::Login => None,
            Mechanism::Plain => {
                self.state = State::Finished;
                let authzid = authzid.as_deref().unwrap_or_default();
                let message = [authzid, name, password.reveal()].join("\0");
                Some(Zeroizing::new(message.into_bytes()))
            }
            Mechanism::ScramSha256 => {
                let first = ClientFirst::new(name, authzid.as_deref(), &self.nonce);
                let message = first.message().into_bytes();
                self.state = State::First(first);
                Some(Zeroizing::new(message))
            }
        }
    }

    /// Goes on with a challenge.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] for one that doesn't belong here. The exchange is to be cancelled with
    /// `*`.
    pub fn challenged(&mut self, challenge: &[u8]) -> Result<ClientStep, Error> {
        if let Some(initial) = self.initial() {
            // The server's empty challenge asks for what could have come with the command.
            return match challenge {
                b"" => Ok(ClientStep::Send(initial)),
                _ => self.fail("it challenged before anything was said"),
            };
        }
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Fresh => {
                self.state = State::Named;
                Ok(ClientStep::Send(Zeroizing::new(self.credentials.name.clone().into_bytes())))
            }
            State::Named => {
                self.state = State::Finished;
                let password = self.credentials.password.reveal().as_bytes().to_vec();
                Ok(ClientStep::Send(Zeroizing::new(password)))
            }
            State::First(first) => self.salted(first, challenge),
            State::Proved { expected } if challenge == expected.as_bytes() => {
                self.state = State::Finished;
                Ok(ClientStep::Send(Zeroizing::default()))
            }
            State::Proved { .. } => self.fail("it doesn't know the password's keys"),
            State::Deriving(..) | State::Finished | State::Failed => {
                self.fail("it challenged once too often")
            }
        }
    }

    /// Goes on with the keys.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] if none were asked for.
    pub fn derived(&mut self, keys: &Derived) -> Result<ClientStep, Error> {
        let State::Deriving(first, server) = std::mem::replace(&mut self.state, State::Failed)
        else {
            return self.fail("it asked for no keys");
        };
        let unproved = ClientFinal::unproved(&first, &server.nonce);
        let signed = scram::auth_message(&first, &server, &unproved);
        let message = scram::client_final(&unproved, &keys.client_key, &signed);
        self.state = State::Proved { expected: scram::server_final(&keys.server_key, &signed) };
        Ok(ClientStep::Send(Zeroizing::new(message.into_bytes())))
    }

    /// Whether the server's success may be believed.
    ///
    /// # Errors
    ///
    /// [`Error::Server`] if it came too early, or without the server's proof.
    pub fn finished(&self) -> Result<(), Error> {
        match self.state {
            State::Finished => Ok(()),
            _ => Err(self.error("it accepted a login that wasn't finished")),
        }
    }

    fn salted(&mut self, first: ClientFirst, challenge: &[u8]) -> Result<ClientStep, Error> {
        let server = match ServerFirst::parse(challenge) {
            Ok(server) => server,
            Err(problem) => return self.fail(problem),
        };
        // RFC 5802 §5.1: the server appends to the client's nonce.
        if !server.nonce.starts_with(&first.nonce) || server.nonce.len() == first.nonce.len() {
            return self.fail("it answered another nonce");
        }
        // Fewer would make the password easy to guess for whoever poses as the server.
        if !(FEWEST_ITERATIONS..=MOST_ITERATIONS).contains(&server.iterations) {
            return self.fail("its number of iterations is out of bounds");
        }
        let derivation = Derivation {
            password: self.credentials.password.clone(),
            salt: server.salt.clone(),
            iterations: server.iterations,
        };
        self.state = State::Deriving(first, server);
        Ok(ClientStep::Derive(derivation))
    }

    fn fail<T>(&mut self, problem: &'static str) -> Result<T, Error> {
        self.state = State::Failed;
        Err(self.error(problem))
    }

    fn error(&self, problem: &'static str) -> Error {
        Error::Server { mechanism: self.mechanism.name(), problem }
    }
}
