//! The messages of SCRAM (RFC 5802 §5 and §7) and the arithmetic between them, for both sides.
//!
//! No channel binding: the flags `n` and `y` are understood, `p` is refused (§6).

use base64::{Engine, prelude::BASE64_STANDARD};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::NAME_OCTETS;
use crate::{
    Denial, Error,
    keys::{KEY_OCTETS, Key, ScramKeys, hmac, sha256},
    secret::random,
};

/// A number used once. It is handed to a machine, so that the machine has no randomness of its
/// own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// A new one: 18 octets, of which base64 makes 24 printable characters without a comma.
    ///
    /// # Errors
    ///
    /// [`Error::Random`].
    pub fn random() -> Result<Self, Error> {
        Ok(Self(BASE64_STANDARD.encode(random::<18>()?)))
    }

    #[cfg(test)]
    pub(crate) fn fixed(text: &str) -> Self {
        Self(text.to_owned())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// A client's first message: `n,a=other,n=alice,r=nonce`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ClientFirst {
    /// `n,,` or `y,a=other,`: comes back in the last message.
    pub(super) header: String,
    /// The rest, as it was sent: it is part of what is proved.
    pub(super) bare: String,
    pub(super) name: String,
    pub(super) authzid: Option<String>,
    pub(super) nonce: String,
}

impl ClientFirst {
    pub(super) fn new(name: &str, authzid: Option<&str>, nonce: &Nonce) -> Self {
        let acting_for = authzid.map(|id| format!("a={}", escaped(id))).unwrap_or_default();
        Self {
            header: format!("n,{acting_for},"),
            bare: format!("n={},r={}", escaped(name), nonce.as_str()),
            name: name.to_owned(),
            authzid: authzid.map(str::to_owned),
            nonce: nonce.as_str().to_owned(),
        }
    }

    pub(super) fn parse(message: &[u8]) -> Result<Self, Denial> {
        let message = text(message)?;
        let mut parts = message.splitn(3, ',');
        let (Some(flag), Some(acting_for), Some(bare)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(Denial::Malformed("a first message without its header"));
        };
        match flag {
            "n" | "y" => {}
            _ if flag.starts_with("p=") => {
                return Err(Denial::Malformed("channel binding isn't offered"));
            }
            _ => return Err(Denial::Malformed("an unknown channel binding flag")),
        }
        let authzid = match acting_for {
            "" => None,
            _ => Some(saslname(attribute(Some(acting_for), 'a')?)?),
        };
        let mut attributes = bare.split(',');
        let name = attributes.next();
        if name.is_some_and(|a| a.starts_with("m=")) {
            return Err(Denial::Malformed("an extension that isn't known"));
        }
        let name = saslname(attribute(name, 'n')?)?;
        let nonce = attribute(attributes.next(), 'r')?;
        if nonce.is_empty() || !nonce.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Denial::Malformed("a nonce that isn't printable"));
        }
        Ok(Self {
            header: format!("{flag},{acting_for},"),
            bare: bare.to_owned(),
            name,
            authzid,
            nonce: nonce.to_owned(),
        })
    }

    pub(super) fn message(&self) -> String {
        format!("{}{}", self.header, self.bare)
    }
}

/// A server's first message: `r=nonce,s=salt,i=4096`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerFirst {
    pub(super) message: String,
    pub(super) nonce: String,
    pub(super) salt: Vec<u8>,
    pub(super) iterations: u32,
}

impl ServerFirst {
    pub(super) fn new(first: &ClientFirst, nonce: &Nonce, keys: &ScramKeys) -> Self {
        let nonce = format!("{}{}", first.nonce, nonce.as_str());
        let salt = BASE64_STANDARD.encode(&keys.salt);
        Self {
            message: format!("r={nonce},s={salt},i={}", keys.iterations),
            nonce,
            salt: keys.salt.clone(),
            iterations: keys.iterations,
        }
    }

    /// Reads a server's message; the error says what is wrong with it.
    pub(super) fn parse(message: &[u8]) -> Result<Self, &'static str> {
        const MALFORMED: &str = "its first message isn't one";
        let message = std::str::from_utf8(message).map_err(|_| MALFORMED)?;
        let mut parts = message.split(',');
        let mut next = |name| attribute(parts.next(), name).map_err(|_| MALFORMED);
        let (nonce, salt, iterations) = (next('r')?, next('s')?, next('i')?);
        let salt = BASE64_STANDARD.decode(salt).map_err(|_| MALFORMED)?;
        let iterations = iterations.parse().map_err(|_| MALFORMED)?;
        if salt.is_empty() {
            return Err("its salt is empty");
        }
        Ok(Self { message: message.to_owned(), nonce: nonce.to_owned(), salt, iterations })
    }
}

/// A client's last message: `c=biws,r=nonce,p=proof`.
#[derive(Debug, Clone)]
pub(super) struct ClientFinal {
    /// All but the proof.
    pub(super) unproved: String,
    pub(super) header: Vec<u8>,
    pub(super) nonce: String,
    pub(super) proof: Key,
}

impl ClientFinal {
    pub(super) fn parse(message: &[u8]) -> Result<Self, Denial> {
        let message = text(message)?;
        let (unproved, proof) =
            message.rsplit_once(",p=").ok_or(Denial::Malformed("a last message without proof"))?;
        let mut attributes = unproved.split(',');
        let header = attribute(attributes.next(), 'c')?;
        let nonce = attribute(attributes.next(), 'r')?;
        let octets =
            |text| BASE64_STANDARD.decode(text).map_err(|_| Denial::Malformed("bad base64"));
        Ok(Self {
            header: octets(header)?,
            nonce: nonce.to_owned(),
            proof: octets(proof)?
                .try_into()
                .map_err(|_| Denial::Malformed("a proof that isn't 32 octets"))?,
            unproved: unproved.to_owned(),
        })
    }

    /// All but the proof, for a client to prove.
    pub(super) fn unproved(first: &ClientFirst, nonce: &str) -> String {
        format!("c={},r={nonce}", BASE64_STANDARD.encode(&first.header))
    }
}

/// `AuthMessage` of RFC 5802 §3: what both sides sign.
pub(super) fn auth_message(first: &ClientFirst, server: &ServerFirst, unproved: &str) -> String {
    format!("{},{},{unproved}", first.bare, server.message)
}

/// Whether the proof was made with the password of these keys. It takes the same time either way.
pub(super) fn proof_fits(keys: &ScramKeys, auth_message: &str, proof: &Key) -> bool {
    let signature = hmac(&keys.stored_key, &[auth_message.as_bytes()]);
    let client_key = Zeroizing::new(xored(&signature, proof));
    sha256(&*client_key).ct_eq(&keys.stored_key).into()
}

/// A client's last message with its proof.
pub(super) fn client_final(unproved: &str, client_key: &Key, auth_message: &str) -> String {
    let proof = xored(client_key, &hmac(&sha256(client_key), &[auth_message.as_bytes()]));
    format!("{unproved},p={}", BASE64_STANDARD.encode(proof))
}

/// The server's last message: `v=signature`.
pub(super) fn server_final(server_key: &Key, auth_message: &str) -> String {
    format!("v={}", BASE64_STANDARD.encode(hmac(server_key, &[auth_message.as_bytes()])))
}

fn xored(a: &Key, b: &Key) -> Key {
    let mut key = [0; KEY_OCTETS];
    for (out, (a, b)) in key.iter_mut().zip(a.iter().zip(b)) {
        *out = a ^ b;
    }
    key
}

fn text(message: &[u8]) -> Result<&str, Denial> {
    std::str::from_utf8(message).map_err(|_| Denial::Malformed("a message that isn't UTF-8"))
}

fn attribute(part: Option<&str>, name: char) -> Result<&str, Denial> {
    part.and_then(|part| part.strip_prefix(name)?.strip_prefix('='))
        .ok_or(Denial::Malformed("an attribute is missing or out of order"))
}

/// `=2C` and `=3D` stand for comma and equals sign (RFC 5802 §5.1).
fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

fn saslname(text: &str) -> Result<String, Denial> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (meant, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(Denial::Malformed("an equals sign that isn't escaped")),
        };
        name.push(meant);
        name.push_str(rest);
    }
    match name.len() {
        0 => Err(Denial::Malformed("an empty name")),
        1..=NAME_OCTETS => Ok(name),
        _ => Err(Denial::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_message_is_read_and_written() {
        let first = ClientFirst::parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO").unwrap();
        assert_eq!((&*first.header, &*first.name, first.authzid.as_deref()), ("n,,", "user", None));
        assert_eq!(first.message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");

        let first = ClientFirst::parse(b"y,a=b=2Cc,n=a=3Db=2Cc,r=x,ext=1").unwrap();
        assert_eq!((&*first.header, &*first.name), ("y,a=b=2Cc,", "a=b,c"));
        assert_eq!(first.authzid.as_deref(), Some("b,c"));
        assert_eq!(first.bare, "n=a=3Db=2Cc,r=x,ext=1");

        let written = ClientFirst::new("a=b,c", Some("b,c"), &Nonce::fixed("x"));
        let read = ClientFirst::parse(written.message().as_bytes()).unwrap();
        assert_eq!(read, written);
    }

    #[test]
    fn every_bad_first_message_is_refused() {
        let long = format!("n,,n={},r=x", "a".repeat(256));
        for (message, reason) in [
            (&b""[..], "header"),
            (b"n", "header"),
            (b"n,", "header"),
            (b"n,,", "missing"),
            (b"n,,n=a", "missing"),
            (b"n,,n=a,r=", "printable"),
            (b"n,,n=a,r=\x07", "printable"),
            (b"n,,n=,r=x", "empty name"),
            (b"n,,r=x,n=a", "missing"),
            (b"n,a=,n=a,r=x", "empty name"),
            (b"n,b=x,n=a,r=x", "missing"),
            (b"n,,n=a=2,r=x", "escaped"),
            (b"n,,n=a=2c,r=x", "escaped"),
            (b"n,,m=ext,n=a,r=x", "extension"),
            (b"p=tls-unique,,n=a,r=x", "channel binding isn't"),
            (b"x,,n=a,r=x", "flag"),
            (b"n,,n=\xff,r=x", "UTF-8"),
            (long.as_bytes(), "too long"),
        ] {
            let denial = ClientFirst::parse(message).unwrap_err().to_string();
            assert!(denial.contains(reason), "{message:?}: {denial}");
        }
    }

    #[test]
    fn nonces_are_printable_and_differ() {
        let [a, b] = [(); 2].map(|()| Nonce::random().unwrap());
        assert_ne!(a, b);
        assert!(a.as_str().len() == 24 && !a.as_str().contains(','));
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_octets_are_refused_without_a_panic(
            octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
            text in "[npyamrsic=,a-z0-9+/]{0,60}",
        ) {
            for message in [&octets[..], text.as_bytes()] {
                let _ = ClientFirst::parse(message);
                let _ = ServerFirst::parse(message);
                let _ = ClientFinal::parse(message);
            }
        }

        #[test]
        fn names_survive_their_escapes(name in "[a=,é ]{1,40}") {
            proptest::prop_assert_eq!(saslname(&escaped(&name)), Ok(name));
        }
    }
}
