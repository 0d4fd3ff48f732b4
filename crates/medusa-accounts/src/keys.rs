//! The keys that SCRAM-SHA-256 needs in place of a password (RFC 5802 §3, RFC 7677), their stored
//! form (RFC 5803 §2), and the invented keys of names that don't exist.
//!
//! It is arithmetic only: the conversation is in [`sasl`](crate::sasl).

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use pbkdf2::{Algorithm, Params, pbkdf2_hmac_with_params};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    Error,
    secret::{Password, random},
};

/// How often the password is hashed for new keys: OWASP's number for PBKDF2-HMAC-SHA256. RFC 7677
/// §4 asks for 4,096 at least, and for a tenth of a second on a modern machine. Fewer would make
/// these keys the easier prey beside an argon2id hash in the same stolen file. The work is the
/// client's; a login costs the server nothing of it.
pub const SCRAM_ITERATIONS: u32 = 600_000;
/// RFC 7677 §4.
pub(crate) const FEWEST_ITERATIONS: u32 = 4_096;
/// What a client can be asked for: a few seconds of work.
pub(crate) const MOST_ITERATIONS: u32 = 10_000_000;

const SCHEME: &str = "SCRAM-SHA-256";
const SALT_OCTETS: usize = 16;

/// The length of every key here.
pub(crate) const KEY_OCTETS: usize = 32;
pub(crate) type Key = [u8; KEY_OCTETS];

/// The salted keys of one account. Who has them can pose as the *server*, and can try passwords
/// against them; nobody can log in with them.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub(crate) iterations: u32,
    pub(crate) salt: Vec<u8>,
    pub(crate) stored_key: Key,
    pub(crate) server_key: Key,
}

impl ScramKeys {
    /// Makes keys from a password, with a new salt. Blocks.
    ///
    /// # Errors
    ///
    /// [`Error::UnusablePassword`], [`Error::Random`], [`Error::BadHash`] for a number of
    /// iterations out of bounds.
    pub fn create(password: &Password, iterations: u32) -> Result<Self, Error> {
        password.check_usable()?;
        check_iterations(iterations)?;
        Ok(Self::derive(password, random::<SALT_OCTETS>()?.to_vec(), iterations))
    }

    pub(crate) fn derive(password: &Password, salt: Vec<u8>, iterations: u32) -> Self {
        let (client_key, server_key) = client_and_server_key(password, &salt, iterations);
        Self { iterations, stored_key: sha256(&*client_key), server_key, salt }
    }

    /// Reads the form that `to_string` gives.
    ///
    /// # Errors
    ///
    /// [`Error::BadHash`], saying what is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let malformed =
            || Error::BadHash(format!("not in the form {SCHEME}$iterations:salt$key:key"));
        let mut parts = text.split('$');
        let (Some(scheme), Some(info), Some(value), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(malformed());
        };
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return Err(Error::BadHash(format!("only {SCHEME} keys are accepted")));
        }
        let (iterations, salt) = info.split_once(':').ok_or_else(malformed)?;
        let (stored, server) = value.split_once(':').ok_or_else(malformed)?;
        let iterations = iterations.parse().map_err(|_| malformed())?;
        check_iterations(iterations)?;
        let salt = BASE64_STANDARD.decode(salt).map_err(|_| malformed())?;
        if salt.is_empty() {
            return Err(Error::BadHash("the salt is empty".into()));
        }
        let key = |text: &str| -> Result<Key, Error> {
            BASE64_STANDARD
                .decode(text)
                .ok()
                .and_then(|octets| octets.try_into().ok())
                .ok_or_else(|| Error::BadHash(format!("a key isn't {KEY_OCTETS} octets in base64")))
        };
        Ok(Self { iterations, salt, stored_key: key(stored)?, server_key: key(server)? })
    }
}

/// `SCRAM-SHA-256$600000:salt$StoredKey:ServerKey`: RFC 5803 §2, and PostgreSQL's `pg_authid`.
impl fmt::Display for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { iterations, salt, stored_key, server_key } = self;
        let [salt, stored, server] =
            [&salt[..], stored_key, server_key].map(|octets| BASE64_STANDARD.encode(octets));
        write!(f, "{SCHEME}${iterations}:{salt}${stored}:{server}")
    }
}

impl fmt::Debug for ScramKeys {
    /// The keys stay out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// Invents keys for names that have none, so that a client can't tell those names from the
/// others: the same name always gets the same salt, and no proof ever fits (RFC 5802 §9 leaves
/// this to the server; PostgreSQL calls it mock authentication).
#[derive(Clone)]
pub struct InventedKeys {
    secret: Zeroizing<Key>,
    iterations: u32,
}

impl InventedKeys {
    /// Salts that follow from `secret`. It should outlive a restart: if every salt but the real
    /// ones changed with one, the real ones would stand out.
    pub fn new(secret: &[u8], iterations: u32) -> Self {
        Self { secret: Zeroizing::new(hmac(secret, &[b"invented SCRAM keys"])), iterations }
    }

    /// The keys of one name.
    pub fn of(&self, name: &str) -> ScramKeys {
        let part = |what: &[u8]| hmac(&*self.secret, &[what, name.as_bytes()]);
        ScramKeys {
            iterations: self.iterations,
            salt: part(b"salt")[..SALT_OCTETS].to_vec(),
            stored_key: part(b"stored"),
            server_key: part(b"server"),
        }
    }
}

impl fmt::Debug for InventedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InventedKeys").finish_non_exhaustive()
    }
}

/// `ClientKey` and `ServerKey` of RFC 5802 §3. Blocks for as long as `iterations` ask for.
pub(crate) fn client_and_server_key(
    password: &Password,
    salt: &[u8],
    iterations: u32,
) -> (Zeroizing<Key>, Key) {
    let mut salted = Zeroizing::new([0; KEY_OCTETS]);
    let prepared = password.prepared();
    // Every caller has bounded them, by FEWEST_ITERATIONS.
    let params = Params::new(iterations).expect("as many iterations as PBKDF2 needs");
    // Not the generic function: it would be compiled here, unoptimised in a debug build.
    let octets = prepared.as_bytes();
    pbkdf2_hmac_with_params(octets, salt, Algorithm::Pbkdf2Sha256, params, &mut *salted);
    (Zeroizing::new(hmac(&*salted, &[b"Client Key"])), hmac(&*salted, &[b"Server Key"]))
}

pub(crate) fn sha256(octets: &[u8]) -> Key {
    Sha256::digest(octets).into()
}

pub(crate) fn hmac(key: &[u8], parts: &[&[u8]]) -> Key {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn check_iterations(iterations: u32) -> Result<(), Error> {
    if (FEWEST_ITERATIONS..=MOST_ITERATIONS).contains(&iterations) {
        return Ok(());
    }
    Err(Error::BadHash(format!(
        "{iterations} iterations; from {FEWEST_ITERATIONS} (RFC 7677 §4) to {MOST_ITERATIONS} are \
         accepted"
    )))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The keys of RFC 7677 §3's example.
    pub(crate) fn example() -> ScramKeys {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        ScramKeys::derive(&Password::new("pencil"), salt, 4096)
    }

    /// The keys of RFC 7677's example as PostgreSQL and others print them.
    #[test]
    fn the_stored_form_is_read_back() {
        let text = example().to_string();
        assert_eq!(
            text,
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$\
             WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:\
             wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
        );
        assert_eq!(ScramKeys::parse(&text).unwrap(), example());
    }

    #[test]
    fn every_bad_form_is_refused_with_its_reason() {
        let good = example().to_string();
        for (text, reason) in [
            (String::new(), "form"),
            ("SCRAM-SHA-256".into(), "form"),
            (good.replace("SHA-256", "SHA-1"), "only SCRAM-SHA-256"),
            (good.replace("4096:", "4096;"), "form"),
            (good.replace("4096:", "many:"), "form"),
            (good.replace("4096:", "4095:"), "4095 iterations"),
            (good.replace("4096:", "10000001:"), "iterations"),
            (good.replace("W22ZaJ0SNY7soEsUEjb6gQ==", ""), "salt is empty"),
            (good.replace("W22ZaJ0SNY7soEsUEjb6gQ==", "W22"), "form"),
            (good.replace("wfPLwcE6", "wfPL"), "32 octets"),
            (format!("{good}$"), "form"),
        ] {
            let error = ScramKeys::parse(&text).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn invented_keys_are_stable_and_differ_by_name_and_secret() {
        let invented = InventedKeys::new(b"secret", 4096);
        assert_eq!(invented.of("bob"), InventedKeys::new(b"secret", 4096).of("bob"));
        assert_ne!(invented.of("bob").salt, invented.of("eve").salt);
        assert_ne!(invented.of("bob").salt, InventedKeys::new(b"other", 4096).of("bob").salt);
        assert_eq!(invented.of("bob").salt.len(), example().salt.len());
    }

    #[test]
    fn new_keys_have_a_salt_of_their_own() {
        let [a, b] = [(); 2].map(|()| ScramKeys::create(&Password::new("pencil"), 4096).unwrap());
        assert_ne!(a.salt, b.salt);
        assert!(ScramKeys::create(&Password::new("pencil"), 4095).is_err());
        assert!(ScramKeys::create(&Password::new(""), 4096).is_err());
    }

    #[test]
    fn keys_are_never_shown() {
        assert_eq!(format!("{:?}", example()), "ScramKeys { iterations: 4096, .. }");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_is_refused_without_a_panic(text in "\\PC{0,80}") {
            let _ = ScramKeys::parse(&text);
            let _ = ScramKeys::parse(&format!("SCRAM-SHA-256${text}"));
        }
    }
}
