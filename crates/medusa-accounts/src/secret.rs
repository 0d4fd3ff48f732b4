//! A password that somebody sent: wiped when dropped, never shown, and brought into one form
//! before anything is computed from it.
//!
//! It doesn't judge strength.

use std::{borrow::Cow, fmt};

use zeroize::{Zeroize, Zeroizing};

use crate::Error;

/// The longest password that a login may bring. RFC 4616 §2 asks for at least 255 octets; nobody
/// types more than this, and all of it would have to be hashed.
pub const PASSWORD_OCTETS: usize = 1024;

/// A password in clear. Its memory is overwritten when it is dropped, and it has no `Display`.
#[derive(Clone)]
pub struct Password(Zeroizing<String>);

impl Password {
    /// Takes a password over.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Takes a password over from octets; `None` unless they are UTF-8.
    pub fn from_octets(octets: Vec<u8>) -> Option<Self> {
        String::from_utf8(octets).map(Self::new).map_err(|e| e.into_bytes().zeroize()).ok()
    }

    /// The password as it was sent.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// The form that is hashed: by SASLprep (RFC 4013), and untouched where SASLprep knows no
    /// answer, because its tables end with Unicode 3.2 and an emoji is a fine password.
    /// PostgreSQL does the same, and SCRAM clients that don't prepare still get in.
    pub(crate) fn prepared(&self) -> Zeroizing<String> {
        Zeroizing::new(prepared(&self.0).into_owned())
    }

    /// Whether this password may be *set*. Reading is more lenient than writing: what is refused
    /// here can't have been set, so it can't match.
    ///
    /// # Errors
    ///
    /// [`Error::UnusablePassword`] for one that is empty or too long, or holds a control character
    /// (RFC 7617 §2 forbids them in HTTP, and line protocols can't carry them).
    pub fn check_usable(&self) -> Result<(), Error> {
        let rules: [(bool, &'static str); 4] = [
            (self.0.is_empty(), "it is empty"),
            (self.0.len() > PASSWORD_OCTETS, "it is longer than 1024 octets"),
            (self.0.chars().any(char::is_control), "it holds a control character"),
            (self.prepared().is_empty(), "nothing of it is visible"),
        ];
        match rules.into_iter().find(|(broken, _)| *broken) {
            Some((_, why)) => Err(Error::UnusablePassword(why)),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(…)")
    }
}

/// SASLprep where it has an answer, otherwise the text as it is.
pub(crate) fn prepared(text: &str) -> Cow<'_, str> {
    stringprep::saslprep(text).unwrap_or(Cow::Borrowed(text))
}

/// Random octets from the system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).map_err(|e| Error::Random(e.to_string()))?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        assert_eq!(format!("{:?}", Password::new("hunter2")), "Password(…)");
    }

    /// RFC 4013 §3's examples, and what lies beyond its tables.
    #[test]
    fn saslprep_is_applied_where_it_has_an_answer() {
        for (given, expected) in [
            ("I\u{ad}X", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u{aa}", "a"),
            ("\u{2168}", "IX"),
            ("\u{a0}x", " x"),
            // Prohibited (RFC 4013 §2.3, §2.4) or unassigned in Unicode 3.2: as it is.
            ("\u{7}", "\u{7}"),
            ("\u{627}1", "\u{627}1"),
            ("\u{1f40d}", "\u{1f40d}"),
        ] {
            assert_eq!(*Password::new(given).prepared(), expected, "{given:?}");
        }
    }

    #[test]
    fn what_can_not_be_typed_again_is_not_set() {
        for (text, usable) in [
            ("correct horse", true),
            ("pässwörd\u{1f40d}", true),
            ("", false),
            ("two\nlines", false),
            ("\u{ad}", false),
            (&*"x".repeat(PASSWORD_OCTETS), true),
            (&*"x".repeat(PASSWORD_OCTETS + 1), false),
        ] {
            assert_eq!(Password::new(text).check_usable().is_ok(), usable, "{text:?}");
        }
    }

    #[test]
    fn octets_that_are_not_utf_8_are_no_password() {
        assert!(Password::from_octets(vec![0xff, 0xfe]).is_none());
        assert_eq!(Password::from_octets(b"abc".to_vec()).unwrap().reveal(), "abc");
    }
}
