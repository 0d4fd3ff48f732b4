//! Names, checked and normalised: lower case, A-labels, no dot at the end.
//!
//! What DNS can carry beyond the names of hosts and services (RFC 2181 §11: any octets) has no place
//! here.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::LookupError;

/// The longest name, in characters without the dot at its end (RFC 1035 §2.3.4: 255 octets on the wire).
const LONGEST: usize = 253;
/// The longest label (RFC 1035 §2.3.4).
const LONGEST_LABEL: usize = 63;

/// A fully qualified domain name: lower case, internationalised labels in their ASCII form (A-labels, RFC
/// 5890 §2.3.2.1), no dot at the end. Labels are of letters, digits and hyphens (RFC 1123 §2.1), and of
/// underscores for services and policies (`_dmarc.example.org`, RFC 8552). The root is `.`.
///
/// Cheap to clone. No search list is ever applied: a name means itself.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks and normalises a name. U-labels become A-labels (UTS #46, not transitional); a dot at the
    /// end is dropped.
    ///
    /// # Errors
    ///
    /// [`LookupError::Invalid`]: it is empty, too long, or holds what no name of a host or service does.
    pub fn new(name: &str) -> Result<Self, LookupError> {
        let invalid = |reason| LookupError::Invalid { name: name.into(), reason };
        // A name of any sense is far shorter; nothing is computed for one that isn't.
        if name.len() > 4 * LONGEST {
            return Err(LookupError::Invalid {
                name: name.chars().take(LONGEST).collect(),
                reason: "it is longer than 253 characters",
            });
        }
        if name == "." {
            return Ok(Self::root());
        }
        let mut ascii = match name.is_ascii() {
            true => name.to_ascii_lowercase(),
            false => {
                idna::domain_to_ascii(name).map_err(|_| invalid("it breaks the rules of IDNA"))?
            }
        };
        if ascii.ends_with('.') {
            ascii.pop();
        }
        check(&ascii).map_err(invalid)?;
        Ok(Name(ascii.into()))
    }

    /// The root, `.`: what an MX record names where there is no mail at all (RFC 7505 §3).
    pub fn root() -> Self {
        Name(".".into())
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        &*self.0 == "."
    }

    /// Its text, without a dot at the end; `.` for the root.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its labels, the leftmost first; none for the root.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.').filter(|label| !label.is_empty())
    }

    /// Whether it is `other` or below it.
    pub fn is_within(&self, other: &Name) -> bool {
        let above = self.0.strip_suffix(&*other.0);
        other.is_root() || above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = LookupError;

    fn from_str(name: &str) -> Result<Self, LookupError> {
        Name::new(name)
    }
}

fn check(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.len() > LONGEST {
        return Err("it is longer than 253 characters");
    }
    for label in name.split('.') {
        let known = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'_';
        match label.len() {
            0 => return Err("a label is empty"),
            1..=LONGEST_LABEL => {}
            _ => return Err("a label is longer than 63 characters"),
        }
        if !label.bytes().all(known) {
            return Err("it holds what no name may");
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err("a label begins or ends with a hyphen");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_normalised() {
        for (given, expected) in [
            ("Example.ORG", "example.org"),
            ("example.org.", "example.org"),
            ("_Dmarc.example.org", "_dmarc.example.org"),
            ("B\u{fc}cher.example", "xn--bcher-kva.example"),
            ("stra\u{df}e.example", "xn--strae-oqa.example"),
            ("localhost", "localhost"),
            ("192.0.2.1", "192.0.2.1"),
            (".", "."),
        ] {
            let name = Name::new(given).expect(given);
            assert_eq!(name.as_str(), expected);
            assert_eq!(Name::new(name.as_str()).expect("normalised"), name);
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let label = "a".repeat(64);
        let long = vec!["abcdefg"; 32].join(".");
        for given in [
            "",
            "..",
            "a..b",
            ".a",
            "a b",
            "a\0b",
            "a/b",
            "a@b",
            "-a.b",
            "a-.b",
            "::1",
            "[::1]",
            "*.a",
            "a\\.b",
            "\u{fc}\u{200b}\u{0}",
            &label,
            &long,
            &"\u{fc}".repeat(2000),
        ] {
            let error = Name::new(given).expect_err(given);
            assert!(matches!(error, LookupError::Invalid { .. }) && error.is_permanent());
        }
        let longest =
            [&"a".repeat(63)[..], &"b".repeat(63), &"c".repeat(63), &"d".repeat(61)].join(".");
        assert_eq!(longest.len(), 253);
        assert!(Name::new(&longest).is_ok() && Name::new(&format!("{longest}.")).is_ok());
    }

    #[test]
    fn names_stand_below_one_another() {
        let name = |name| Name::new(name).expect("a name");
        for (below, above, is) in [
            ("a.b.c", "b.c", true),
            ("b.c", "b.c", true),
            ("ab.c", "b.c", false),
            ("c", "b.c", false),
            ("c", ".", true),
            (".", ".", true),
            (".", "c", false),
        ] {
            assert_eq!(name(below).is_within(&name(above)), is, "{below} {above}");
        }
        assert_eq!(name("a.b").labels().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(Name::root().labels().count(), 0);
    }
}
