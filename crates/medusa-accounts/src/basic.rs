//! HTTP's Basic authentication (RFC 7617): the header in, credentials out; and the challenge.
//!
//! Whether the connection is confidential, and what a denial looks like, is the HTTP crate's.

use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::Zeroizing;

use crate::{Credentials, Denial, PASSWORD_OCTETS, Password};

/// The longest user-id.
const NAME_OCTETS: usize = 255;
/// The longest token68 that can be good.
const TOKEN_OCTETS: usize = (NAME_OCTETS + 1 + PASSWORD_OCTETS).div_ceil(3) * 4;

/// Reads the value of an `Authorization` header.
///
/// # Errors
///
/// [`Denial::Mechanism`] for another scheme, [`Denial::Malformed`] and [`Denial::TooLong`].
/// All of them are answered with 401 and the challenge.
pub fn parse(header: &[u8]) -> Result<Credentials, Denial> {
    let scheme_end = header.iter().position(|&b| b == b' ').unwrap_or(header.len());
    let (scheme, rest) = header.split_at(scheme_end);
    // RFC 9110 §11.1: schemes have no case.
    if !scheme.eq_ignore_ascii_case(b"Basic") {
        return Err(Denial::Mechanism);
    }
    // RFC 9110 §11.4: one space or more before the token.
    let token = rest.trim_ascii();
    if token.len() > TOKEN_OCTETS {
        return Err(Denial::TooLong);
    }
    let octets = BASE64_STANDARD
        .decode(token)
        .map(Zeroizing::new)
        .map_err(|_| Denial::Malformed("bad base64"))?;
    // RFC 7617 §2.1: we ask for UTF-8 by `charset`.
    let text = std::str::from_utf8(&octets)
        .map_err(|_| Denial::Malformed("credentials that aren't UTF-8"))?;
    // RFC 7617 §2: the first colon ends the name, the password may have more of them.
    let (name, password) =
        text.split_once(':').ok_or(Denial::Malformed("credentials without a colon"))?;
    if text.chars().any(char::is_control) {
        return Err(Denial::Malformed("a control character"));
    }
    if name.len() > NAME_OCTETS || password.len() > PASSWORD_OCTETS {
        return Err(Denial::TooLong);
    }
    Ok(Credentials { name: name.to_owned(), authzid: None, password: Password::new(password) })
}

/// The value of a `WWW-Authenticate` header. What a quoted string can't hold is left out of the
/// realm.
pub fn challenge(realm: &str) -> String {
    let mut quoted = String::with_capacity(realm.len());
    for c in realm.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    format!("Basic realm=\"{quoted}\", charset=\"UTF-8\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(credentials: &[u8]) -> Vec<u8> {
        format!("Basic {}", BASE64_STANDARD.encode(credentials)).into_bytes()
    }

    #[test]
    fn credentials_are_read() {
        for (header, name, password) in [
            // RFC 7617 §2 and §2.1.
            (b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_vec(), "Aladdin", "open sesame"),
            (b"Basic dGVzdDoxMjPCow==".to_vec(), "test", "123£"),
            (b"bAsIc   dGVzdDoxMjPCow==".to_vec(), "test", "123£"),
            (header(b"alice:a:b:"), "alice", "a:b:"),
            (header(b"alice:"), "alice", ""),
            (header(b":secret"), "", "secret"),
        ] {
            let got = parse(&header).unwrap();
            assert_eq!((&*got.name, got.password.reveal()), (name, password));
            assert_eq!(got.authzid, None);
        }
    }

    #[test]
    fn every_bad_header_is_refused() {
        let malformed = Denial::Malformed;
        for (header, denial) in [
            (b"".to_vec(), Denial::Mechanism),
            (b"Bearer abc".to_vec(), Denial::Mechanism),
            (b"Basicdcd dGVzdDoxMjPCow==".to_vec(), Denial::Mechanism),
            (b"Basic".to_vec(), malformed("credentials without a colon")),
            (b"Basic !".to_vec(), malformed("bad base64")),
            (b"Basic dGVzdDoxMjPCow".to_vec(), malformed("bad base64")),
            (b"Basic dGVz dDox".to_vec(), malformed("bad base64")),
            (header(b"alice"), malformed("credentials without a colon")),
            (header(b"al\xefce:x"), malformed("credentials that aren't UTF-8")),
            (header(b"alice:\0"), malformed("a control character")),
            (header(b"al\nice:x"), malformed("a control character")),
            (header(format!("{}:x", "a".repeat(256)).as_bytes()), Denial::TooLong),
            (header(format!("a:{}", "x".repeat(1025)).as_bytes()), Denial::TooLong),
            (header(&[b'x'; 10_000]), Denial::TooLong),
        ] {
            assert_eq!(parse(&header).map(|c| c.name), Err(denial), "{header:?}");
        }
    }

    #[test]
    fn a_realm_stays_in_its_quotes() {
        assert_eq!(challenge("private"), "Basic realm=\"private\", charset=\"UTF-8\"");
        assert_eq!(challenge("a\"b\\c\r\nd"), "Basic realm=\"a\\\"b\\\\cd\", charset=\"UTF-8\"");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_headers_are_refused_without_a_panic(
            octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        ) {
            let _ = parse(&octets);
            let _ = parse(&[b"Basic ", &octets[..]].concat());
            if let Ok(got) = parse(&header(&octets)) {
                let again = format!("{}:{}", got.name, got.password.reveal());
                proptest::prop_assert_eq!(again.as_bytes(), &octets[..]);
            }
        }
    }
}
