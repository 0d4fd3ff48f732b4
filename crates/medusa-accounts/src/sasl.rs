//! SASL (RFC 4422) for line protocols: PLAIN, LOGIN and SCRAM-SHA-256, as server and as client.
//!
//! Both sides are pure machines. They are fed messages (or, the server, the base64 lines that SMTP
//! (RFC 4954) and POP3 (RFC 5034) put them in), and say what to send or what they need to know.
//! They compute nothing that takes long, ask nobody and keep no time.
//!
//! There is no channel binding, no security layer, and no mechanism that needs the password stored
//! in clear.

mod client;
mod scram;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Client, ClientStep, Derivation, Derived};
pub use scram::Nonce;
pub use server::{Server, Step};

/// The longest line of an exchange, without its line end: RFC 4954 §4.
pub const LINE_OCTETS: usize = 12_288;
/// The longest name; RFC 4616 §2 asks for this much.
const NAME_OCTETS: usize = 255;

/// How a client proves who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// Name and password in one message (RFC 4616).
    Plain,
    /// Name and password in two messages (draft-murchison-sasl-login), for old clients.
    Login,
    /// A proof that never shows the password (RFC 5802, RFC 7677).
    ScramSha256,
}

/// Strongest first: the order in which they are announced and picked.
const MECHANISMS: [(Mechanism, &str, bool); 3] = [
    (Mechanism::ScramSha256, "SCRAM-SHA-256", false),
    (Mechanism::Plain, "PLAIN", true),
    (Mechanism::Login, "LOGIN", true),
];

impl Mechanism {
    /// All of them, strongest first.
    pub fn all() -> impl Iterator<Item = Self> {
        MECHANISMS.iter().map(|row| row.0)
    }

    /// The mechanism of this name, in any case.
    pub fn parse(name: &str) -> Option<Self> {
        MECHANISMS.iter().find(|row| row.1.eq_ignore_ascii_case(name)).map(|row| row.0)
    }

    /// Its registered name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Whether whoever listens learns the password: only over TLS, or where the configuration says
    /// so.
    pub fn reveals_password(self) -> bool {
        self.row().2
    }

    /// The strongest of those that a server offers, for a client. Those that reveal the password
    /// are left out unless `confidential`.
    pub fn strongest<'n>(
        offered: impl IntoIterator<Item = &'n str>,
        confidential: bool,
    ) -> Option<Self> {
        let offered: Vec<Self> = offered.into_iter().filter_map(Self::parse).collect();
        Self::all().find(|m| offered.contains(m) && (confidential || !m.reveals_password()))
    }

    fn row(self) -> &'static (Self, &'static str, bool) {
        // Every variant has its row: see the test.
        MECHANISMS.iter().find(|row| row.0 == self).unwrap_or(&MECHANISMS[0])
    }
}

#[cfg(test)]
mod mechanism_tests {
    use super::*;

    #[test]
    fn every_mechanism_has_its_name() {
        for (mechanism, name) in [
            (Mechanism::Plain, "PLAIN"),
            (Mechanism::Login, "LOGIN"),
            (Mechanism::ScramSha256, "SCRAM-SHA-256"),
        ] {
            assert_eq!(mechanism.name(), name);
            assert_eq!(Mechanism::parse(&name.to_lowercase()), Some(mechanism));
        }
        for name in ["", "PLAIN ", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "CRAM-MD5"] {
            assert_eq!(Mechanism::parse(name), None);
        }
    }

    #[test]
    fn a_client_picks_the_strongest_and_reveals_nothing_in_the_clear() {
        let offered = ["LOGIN", "PLAIN", "CRAM-MD5", "SCRAM-SHA-256"];
        assert_eq!(Mechanism::strongest(offered, true), Some(Mechanism::ScramSha256));
        assert_eq!(Mechanism::strongest(["LOGIN", "PLAIN"], true), Some(Mechanism::Plain));
        assert_eq!(Mechanism::strongest(["LOGIN", "PLAIN"], false), None);
        assert_eq!(Mechanism::strongest(offered, false), Some(Mechanism::ScramSha256));
    }
}
