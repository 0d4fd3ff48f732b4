//! A password that somebody sent: wiped when dropped, never shown, and brought into one form
//! before anything is computed from it.
//!
//! It doesn't judge strength.

use std::{borrow::Cow, fmt};

use stringprep::tables;
use unicode_normalization::UnicodeNormalization;
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

    /// The form that is hashed: [`prepared`].
    pub(crate) fn prepared(&self) -> Zeroizing<String> {
        Zeroizing::new(prepared(&self.0).unwrap_or(Cow::Borrowed(&self.0)).into_owned())
    }

    /// The same in that form; `None` where it has none, so that nobody can have set it.
    pub(crate) fn into_prepared(self) -> Option<Self> {
        match prepared(&self.0)? {
            Cow::Borrowed(_) => Some(self),
            Cow::Owned(form) => Some(Self::new(form)),
        }
    }

    /// Whether this password may be *set*. Reading is more lenient than writing: what is refused
    /// here can't have been set, so it can't match.
    ///
    /// # Errors
    ///
    /// [`Error::UnusablePassword`] for one that is empty or too long, or holds a control character
    /// (RFC 7617 §2 forbids them in HTTP, and line protocols can't carry them) or another one that
    /// SASLprep forbids.
    pub fn check_usable(&self) -> Result<(), Error> {
        let form = prepared(&self.0).map(Cow::into_owned).map(Zeroizing::new);
        let rules: [(bool, &'static str); 5] = [
            (self.0.is_empty(), "it is empty"),
            (self.0.len() > PASSWORD_OCTETS, "it is longer than 1024 octets"),
            (self.0.chars().any(char::is_control), "it holds a control character"),
            (form.is_none(), "it holds a character that SASLprep forbids"),
            (form.is_some_and(|form| form.is_empty()), "nothing of it is visible"),
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

/// What SASLprep (RFC 4013) makes of a name or a password, taken as a query: characters that Unicode
/// 3.2 didn't know are allowed, as an emoji is a fine password. `None` where one is forbidden (§2.3).
///
/// The rule for two directions of writing (§2.4) isn't applied: an Arabic password may end with a
/// digit. SASLprep's successor has dropped it for passwords (RFC 8265 §4.2).
pub(crate) fn prepared(text: &str) -> Option<Cow<'_, str>> {
    if text.bytes().all(|octet| octet == b' ' || octet.is_ascii_graphic()) {
        return Some(Cow::Borrowed(text));
    }
    // §2.1 and §2.2.
    let space = |c| if tables::non_ascii_space_character(c) { ' ' } else { c };
    let mapped = text.chars().map(space).filter(|c| !tables::commonly_mapped_to_nothing(*c));
    let form: String = mapped.nfkc().collect();
    if form.chars().any(is_forbidden) { None } else { Some(Cow::Owned(form)) }
}

/// RFC 4013 §2.3, table by table. Those of surrogates has nothing that a `char` can be.
fn is_forbidden(c: char) -> bool {
    let forbidden = [
        tables::non_ascii_space_character,
        tables::ascii_control_character,
        tables::non_ascii_control_character,
        tables::private_use,
        tables::non_character_code_point,
        tables::inappropriate_for_plain_text,
        tables::inappropriate_for_canonical_representation,
        tables::change_display_properties_or_deprecated,
        tables::tagging_character,
    ];
    forbidden.iter().any(|table| table(c))
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
            // Unassigned in Unicode 3.2, beside what is not; two directions.
            ("a\u{308}\u{1f40d}", "\u{e4}\u{1f40d}"),
            ("\u{627}1", "\u{627}1"),
            // Forbidden: as it is, and it can't have been set.
            ("\u{7}", "\u{7}"),
        ] {
            assert_eq!(*Password::new(given).prepared(), expected, "{given:?}");
        }
    }

    /// RFC 4013 §2.3.
    #[test]
    fn what_saslprep_forbids_has_no_form() {
        for text in ["\u{7}", "x\u{7f}", "\u{80}", "\u{e000}", "\u{fffd}", "\u{2ff0}", "\u{202a}"] {
            assert!(Password::new(text).into_prepared().is_none(), "{text:?}");
            assert!(Password::new(text).check_usable().is_err(), "{text:?}");
        }
        assert_eq!(Password::new("a\u{308}").into_prepared().unwrap().reveal(), "\u{e4}");
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
