//! Mail addresses of accounts, and the look-up from an address to its account: the address itself,
//! then without its `+tag`, then the domain's catch-all.
//!
//! It isn't the parser of SMTP paths (RFC 5321 §4.1.2): it is given a local part without its
//! quotes, and a domain.

use std::borrow::Cow;
use std::collections::HashMap;

/// RFC 5321 §4.5.3.1.1 and §4.5.3.1.2.
const LOCAL_OCTETS: usize = 64;
const DOMAIN_OCTETS: usize = 255;
/// Sendmail's, Postfix's and Gmail's.
const TAG_DELIMITER: char = '+';

/// An address as an account claims it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MailAddress {
    local: Option<String>,
    domain: String,
}

impl MailAddress {
    /// Reads `local@domain`, or `@domain` for a catch-all. The local part may stand in quotes.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (local, domain) = text.rsplit_once('@').ok_or("an address needs an `@`")?;
        check_domain(domain)?;
        if local.is_empty() {
            return Ok(Self { local: None, domain: folded_domain(domain) });
        }
        let local = match local.strip_prefix('"') {
            Some(rest) => Cow::Owned(unquoted(rest)?),
            None => {
                check_local(local)?;
                Cow::Borrowed(local)
            }
        };
        Ok(Self { local: Some(folded(&local)), domain: folded_domain(domain) })
    }

    /// Whether it takes whatever its domain has no other address for.
    pub fn is_catch_all(&self) -> bool {
        self.local.is_none()
    }
}

impl std::fmt::Display for MailAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.local.as_deref() {
            Some(local) if check_local(local).is_err() => {
                let escaped = local.replace('\\', "\\\\").replace('"', "\\\"");
                write!(f, "\"{escaped}\"@{}", self.domain)
            }
            local => write!(f, "{}@{}", local.unwrap_or_default(), self.domain),
        }
    }
}

/// From addresses to whatever they stand for.
#[derive(Debug)]
pub(crate) struct AddressBook<T> {
    entries: HashMap<MailAddress, T>,
}

impl<T> Default for AddressBook<T> {
    fn default() -> Self {
        Self { entries: HashMap::new() }
    }
}

impl<T> AddressBook<T> {
    /// Enters an address; gives back who has it already.
    pub(crate) fn insert(&mut self, address: MailAddress, value: T) -> Option<T> {
        self.entries.insert(address, value)
    }

    /// Who takes mail for `local@domain`, and the tag if it took one off to find out.
    pub(crate) fn find<'l>(&self, local: &'l str, domain: &str) -> Option<(&T, Option<&'l str>)> {
        let mut wanted = MailAddress { local: Some(folded(local)), domain: folded_domain(domain) };
        if let Some(value) = self.entries.get(&wanted) {
            return Some((value, None));
        }
        if let Some((user, tag)) = local.split_once(TAG_DELIMITER).filter(|(u, _)| !u.is_empty()) {
            wanted.local = Some(folded(user));
            if let Some(value) = self.entries.get(&wanted) {
                return Some((value, Some(tag)));
            }
        }
        wanted.local = None;
        self.entries.get(&wanted).map(|value| (value, None))
    }
}

/// The form in which addresses are compared. RFC 5321 §2.4 lets only the receiving host interpret
/// a local part, and discourages that its case should matter; here it doesn't.
fn folded(text: &str) -> String {
    text.to_lowercase()
}

/// The same of a domain, in A-labels: `bücher.test` and `xn--bcher-kva.test` are one (RFC 5890 §2.3.2.4).
fn folded_domain(domain: &str) -> String {
    if domain.is_ascii() {
        return domain.to_ascii_lowercase();
    }
    idna::domain_to_ascii(domain).unwrap_or_else(|_| folded(domain))
}

/// What a quoted string holds, behind its first quote (RFC 5321 §4.1.2).
fn unquoted(rest: &str) -> Result<String, &'static str> {
    const UNENDED: &str = "a quoted local part that doesn't end before the `@`";
    let (mut local, mut characters) = (String::new(), rest.chars());
    loop {
        match characters.next().ok_or(UNENDED)? {
            '"' => break,
            '\\' => local.push(characters.next().ok_or(UNENDED)?),
            c => local.push(c),
        }
    }
    let rules: [(bool, &'static str); 4] = [
        (!characters.as_str().is_empty(), UNENDED),
        (local.is_empty(), "there is nothing between the quotes"),
        (rest.len() + 1 > LOCAL_OCTETS, "the part before the `@` is longer than 64 octets"),
        (
            local.chars().any(char::is_control),
            "a character that the part before the `@` can't have",
        ),
    ];
    first_broken(rules).map(|()| local)
}

fn check_local(local: &str) -> Result<(), &'static str> {
    // RFC 5322 §3.2.3's dot-atom with RFC 6531 §3.3's letters.
    let atext =
        |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c) || !c.is_ascii();
    let rules: [(bool, &'static str); 4] = [
        (local.len() > LOCAL_OCTETS, "the part before the `@` is longer than 64 octets"),
        (local.starts_with('.') || local.ends_with('.'), "a dot at either end of the local part"),
        (local.contains(".."), "two dots beside each other"),
        (
            local.chars().any(|c| !(atext(c) || c == '.') || c.is_control() || c.is_whitespace()),
            "a character that the part before the `@` can't have",
        ),
    ];
    first_broken(rules)
}

fn check_domain(domain: &str) -> Result<(), &'static str> {
    let label_broken = |label: &str| {
        label.is_empty()
            || label.len() > 63
            || label.starts_with('-')
            || label.ends_with('-')
            || label.chars().any(|c| !(c.is_ascii_alphanumeric() || c == '-' || !c.is_ascii()))
            || label.chars().any(|c| c.is_control() || c.is_whitespace())
    };
    let rules: [(bool, &'static str); 4] = [
        (domain.is_empty(), "there is no domain after the `@`"),
        (domain.len() > DOMAIN_OCTETS, "the domain is longer than 255 octets"),
        (domain.starts_with('['), "an address literal isn't a domain"),
        (domain.split('.').any(label_broken), "that isn't a domain name"),
    ];
    first_broken(rules)
}

fn first_broken<const N: usize>(rules: [(bool, &'static str); N]) -> Result<(), &'static str> {
    rules.into_iter().find(|(broken, _)| *broken).map_or(Ok(()), |(_, why)| Err(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book(entries: &[(&str, &'static str)]) -> AddressBook<&'static str> {
        let mut book = AddressBook::default();
        for (address, account) in entries {
            book.insert(MailAddress::parse(address).unwrap(), *account);
        }
        book
    }

    #[test]
    fn an_address_is_found_exactly_then_untagged_then_by_the_catch_all() {
        let book = book(&[
            ("Alice@Example.test", "alice"),
            ("bob+lists@example.test", "lists"),
            ("bob@example.test", "bob"),
            ("grüße@example.test", "greetings"),
            ("@catch.test", "eve"),
            ("alice@catch.test", "alice"),
        ]);
        for (local, domain, found) in [
            ("alice", "example.test", Some(("alice", None))),
            ("ALICE", "EXAMPLE.TEST", Some(("alice", None))),
            ("alice+news", "example.test", Some(("alice", Some("news")))),
            ("alice+a+b", "example.test", Some(("alice", Some("a+b")))),
            ("alice+", "example.test", Some(("alice", Some("")))),
            ("bob+lists", "example.test", Some(("lists", None))),
            ("bob+other", "example.test", Some(("bob", Some("other")))),
            ("GRÜSSE", "example.test", None),
            ("GRÜßE", "example.test", Some(("greetings", None))),
            ("+alice", "example.test", None),
            ("nobody", "example.test", None),
            ("alice", "example.com", None),
            ("anybody", "catch.test", Some(("eve", None))),
            ("anybody+tag", "catch.test", Some(("eve", None))),
            ("john smith", "catch.test", Some(("eve", None))),
            ("alice+x", "catch.test", Some(("alice", Some("x")))),
            ("", "catch.test", Some(("eve", None))),
            ("anybody", "sub.catch.test", None),
        ] {
            let got = book.find(local, domain).map(|(account, tag)| (*account, tag));
            assert_eq!(got, found, "{local}@{domain}");
        }
    }

    #[test]
    fn quotes_and_the_form_of_a_domain_make_no_difference() {
        let book = book(&[
            ("\"Bob Smith\"@example.test", "bob"),
            ("\"ali\\ce\"@example.test", "alice"),
            ("a@b\u{fc}cher.test", "books"),
            ("@xn--caf-dma.test", "drinks"),
        ]);
        for (local, domain, found) in [
            ("bob smith", "example.test", Some("bob")),
            ("Bob Smith+tag", "example.test", Some("bob")),
            ("bobsmith", "example.test", None),
            ("alice", "example.test", Some("alice")),
            ("a", "XN--BCHER-KVA.test", Some("books")),
            ("a", "B\u{dc}CHER.test", Some("books")),
            ("anybody", "caf\u{e9}.test", Some("drinks")),
        ] {
            assert_eq!(
                book.find(local, domain).map(|(account, _)| *account),
                found,
                "{local}@{domain}"
            );
        }
        for (text, shown) in [
            ("\"a b\"@c.test", "\"a b\"@c.test"),
            ("\"a\\\"\\\\ b\"@c.test", "\"a\\\"\\\\ b\"@c.test"),
            ("\"ab\"@c.test", "ab@c.test"),
        ] {
            let address = MailAddress::parse(text).unwrap();
            assert_eq!(address.to_string(), shown);
            assert_eq!(MailAddress::parse(shown), Ok(address));
        }
    }

    #[test]
    fn an_address_that_could_not_receive_is_refused() {
        for (address, reason) in [
            ("alice", "needs an `@`"),
            ("alice@", "no domain"),
            ("@", "no domain"),
            ("alice@[192.0.2.1]", "literal"),
            ("alice@exam ple.test", "domain name"),
            ("alice@-a.test", "domain name"),
            ("alice@a..test", "domain name"),
            ("alice@example.test.", "domain name"),
            ("al ice@example.test", "character"),
            ("\"alice@example.test", "end before"),
            ("\"alice\"b@example.test", "end before"),
            ("\"alice\\\"@example.test", "end before"),
            ("\"\"@example.test", "nothing between"),
            ("\"a\nb\"@example.test", "character"),
            (&format!("\"{}\"@example.test", "x".repeat(63)), "64"),
            ("a@b@example.test", "character"),
            ("al\nice@example.test", "character"),
            (".alice@example.test", "dot"),
            ("al..ice@example.test", "dots"),
            (&format!("{}@example.test", "x".repeat(65)), "64"),
            (&format!("a@{}", "x.".repeat(150)), "255"),
        ] {
            let error = MailAddress::parse(address).unwrap_err();
            assert!(error.contains(reason), "{address}: {error}");
        }
        assert!(MailAddress::parse("@example.test").unwrap().is_catch_all());
        assert_eq!(MailAddress::parse("A.B@Example.Test").unwrap().to_string(), "a.b@example.test");
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_addresses_are_read_and_looked_up_without_a_panic(
            text in "\\PC{0,80}", domain in "\\PC{0,40}",
        ) {
            if let Ok(address) = MailAddress::parse(&text) {
                let mut book = AddressBook::default();
                let catch_all = address.is_catch_all();
                book.insert(address.clone(), 1);
                let (_, own) = text.rsplit_once('@').unwrap();
                let shown = address.to_string();
                proptest::prop_assert_eq!(MailAddress::parse(&shown), Ok(address.clone()));
                let local = address.local.clone().unwrap_or_default();
                proptest::prop_assert!(book.find(&local, own).is_some());
                proptest::prop_assert_eq!(book.find("somebody.else", own).is_some(), catch_all);
            }
            let _ = book(&[("@example.test", "a")]).find(&text, &domain);
        }
    }
}
