//! Paths (RFC 5321 §4.1.2, with RFC 6531 §3.3's letters): `<user@host>`, `<"quoted local"@[192.0.2.1]>`,
//! `<>`. Pure grammar: whether anybody lives there is not asked.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// RFC 5321 §4.5.3.1.1 to .3.
const LOCAL_OCTETS: usize = 64;
const DOMAIN_OCTETS: usize = 255;
const PATH_OCTETS: usize = 256;

/// What stands behind the `@`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Domain {
    /// A name.
    Name(String),
    /// An address literal.
    Literal(IpAddr),
}

/// A mailbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// The local part without its quotes.
    pub local: String,
    /// The domain; none for `<postmaster>` alone (RFC 5321 §4.1.1.3).
    pub domain: Option<Domain>,
}

impl Mailbox {
    /// Whether it can't be written in ASCII.
    pub fn needs_utf8(&self) -> bool {
        let name = match &self.domain {
            Some(Domain::Name(name)) => name,
            _ => "",
        };
        !(self.local.is_ascii() && name.is_ascii())
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Name(name) => f.write_str(name),
            Domain::Literal(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Domain::Literal(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.local) {
            f.write_str(&self.local)?;
        } else {
            f.write_str("\"")?;
            for character in self.local.chars() {
                if matches!(character, '"' | '\\') {
                    f.write_str("\\")?;
                }
                write!(f, "{character}")?;
            }
            f.write_str("\"")?;
        }
        match &self.domain {
            Some(domain) => write!(f, "@{domain}"),
            None => Ok(()),
        }
    }
}

/// Reads a path in its brackets at the front of `text`: the mailbox, `None` for `<>`, and what follows.
/// A source route is read and left out (RFC 5321 §3.3, appendix C). `None` where it isn't one.
pub(crate) fn path(text: &str) -> Option<(Option<Mailbox>, &str)> {
    let inner = text.strip_prefix('<')?;
    if let Some(rest) = inner.strip_prefix('>') {
        return Some((None, rest));
    }
    let inner = match inner.starts_with('@') {
        true => source_route(inner)?,
        false => inner,
    };
    let (local, rest) = match inner.strip_prefix('"') {
        Some(quoted) => quoted_string(quoted)?,
        None => {
            let end = inner.find(['@', '>'])?;
            let local = &inner[..end];
            (is_dot_string(local).then(|| local.to_owned())?, &inner[end..])
        }
    };
    if local.len() > LOCAL_OCTETS {
        return None;
    }
    let (domain, rest) = match rest.strip_prefix('@') {
        Some(after) => {
            let end = after.find('>')?;
            (Some(domain(&after[..end])?), &after[end..])
        }
        // Only the postmaster is known by the local part alone.
        None if local.eq_ignore_ascii_case("postmaster") => (None, rest),
        None => return None,
    };
    let rest = rest.strip_prefix('>')?;
    if text.len() - rest.len() > PATH_OCTETS {
        return None;
    }
    Some((Some(Mailbox { local, domain }), rest))
}

/// What EHLO or HELO may name: a domain or a literal. Names that break the grammar but not the line are
/// let in, as so many clients have one (RFC 5321 §4.1.4 forbids to refuse mail for a name's sake).
pub(crate) fn is_host(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._[]:".contains(c) || !c.is_ascii();
    !text.is_empty()
        && text.len() <= DOMAIN_OCTETS
        && text.chars().all(|c| plain(c) && !c.is_control() && !c.is_whitespace())
}

fn source_route(text: &str) -> Option<&str> {
    let (route, mailbox) = text.split_once(':')?;
    let valid = |hop: &str| hop.strip_prefix('@').is_some_and(|name| domain(name).is_some());
    route.split(',').all(valid).then_some(mailbox)
}

/// Reads up to the closing quote. What is quoted is any printable ASCII, a space, or UTF-8.
fn quoted_string(text: &str) -> Option<(String, &str)> {
    let mut local = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        let taken = match character {
            '"' => return Some((local, &text[at + 1..])),
            '\\' => characters.next()?.1,
            plain => plain,
        };
        if taken.is_control() {
            return None;
        }
        local.push(taken);
    }
    None
}

fn is_dot_string(text: &str) -> bool {
    let atext = |c: char| {
        c.is_ascii_alphanumeric()
            || "!#$%&'*+-/=?^_`{|}~".contains(c)
            || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
    };
    text.split('.').all(|atom| !atom.is_empty() && atom.chars().all(atext))
}

fn domain(text: &str) -> Option<Domain> {
    if let Some(literal) = text.strip_prefix('[') {
        let literal = literal.strip_suffix(']')?;
        let tagged = literal.get(..5).filter(|tag| tag.eq_ignore_ascii_case("IPv6:"));
        let address = match tagged {
            Some(_) => literal[5..].parse::<Ipv6Addr>().ok()?.into(),
            None => literal.parse::<Ipv4Addr>().ok()?.into(),
        };
        return Some(Domain::Literal(address));
    }
    let letter = |c: char| {
        c.is_ascii_alphanumeric() || (!c.is_ascii() && !c.is_control() && !c.is_whitespace())
    };
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| letter(c) || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_name = text.len() <= DOMAIN_OCTETS && text.split('.').all(label);
    is_name.then(|| Domain::Name(text.to_owned()))
}

/// A domain's name in the one form that it is compared in: small letters, and in ASCII where it can be written so
/// (RFC 5890 §2.3.2.4).
pub(crate) fn folded(name: &str) -> String {
    let in_ascii = || idna::domain_to_ascii(name).unwrap_or_else(|_| name.to_lowercase());
    if name.is_ascii() { name.to_ascii_lowercase() } else { in_ascii() }
}

/// Whether two names are one domain's: without their case, and whether they are written in Unicode or in ASCII.
pub(crate) fn same_domain(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
        || (!one.is_ascii() || !other.is_ascii()) && folded(one) == folded(other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Option<&str>) {
        let shown = path(text).map(|(mailbox, rest)| match mailbox {
            Some(mailbox) => format!("{} {mailbox}|{rest}", mailbox.local),
            None => format!("nobody|{rest}"),
        });
        assert_eq!(shown.as_deref(), expected, "{text}");
    }

    #[test]
    fn a_domain_has_two_forms() {
        for (one, other) in [
            ("A.test", "a.TEST"),
            ("b\u{fc}cher.test", "xn--bcher-kva.test"),
            ("B\u{dc}CHER.test", "b\u{fc}cher.test"),
        ] {
            assert!(same_domain(one, other) && same_domain(other, one), "{one} {other}");
        }
        assert!(
            !same_domain("b\u{fc}cher.test", "bucher.test") && !same_domain("a.test", "b.test")
        );
    }

    #[test]
    fn paths() {
        let long = |n| "x".repeat(n);
        check("<>", Some("nobody|"));
        check("<> SIZE=5", Some("nobody| SIZE=5"));
        check("<a@b>", Some("a a@b|"));
        check("<a.b+c@d-e.f>x", Some("a.b+c a.b+c@d-e.f|x"));
        check("<\"a b\"@c>", Some("a b \"a b\"@c|"));
        check(r#"<"a\"\\>@"@c>"#, Some(r#"a"\>@ "a\"\\>@"@c|"#));
        check("<\"ab\"@c>", Some("ab ab@c|"));
        check("<\"\"@c>", Some(" \"\"@c|"));
        check("<a@[192.0.2.1]>", Some("a a@[192.0.2.1]|"));
        check("<a@[IPv6:2001:db8::1]>", Some("a a@[IPv6:2001:db8::1]|"));
        check("<@x,@y.z:a@b>", Some("a a@b|"));
        check("<Postmaster>", Some("Postmaster Postmaster|"));
        check("<\u{fc}@b\u{fc}cher.test>", Some("\u{fc} \u{fc}@b\u{fc}cher.test|"));
        check(&format!("<{}@b>", long(64)), Some(&format!("{0} {0}@b|", long(64))));
        for broken in [
            "",
            "<",
            "a@b",
            "<a>",
            "<a@>",
            "<@b>",
            "<a@b",
            "<a b@c>",
            "<.a@b>",
            "<a.@b>",
            "<a..b@c>",
            "<a@b..c>",
            "<a@-b>",
            "<a@b->",
            "<a@b_c>",
            "<a@[1.2.3]>",
            "<a@[::1]>",
            "<a@[IPv6:1.2.3.4]>",
            "<a@[x:y]>",
            "<a@b@c>",
            "<\"a@b>",
            "<\"a\\",
            "<\"a\"b@c>",
            "<a\"b\"@c>",
            "<<a@b>>",
            "<@x:>",
            "<@x;a@b>",
            "<@x a@b>",
            "<a@b\u{a0}c>",
            "<a\0@b>",
            "<\"a\0\"@b>",
            "<a@b.>",
            "<a,b@c>",
        ] {
            check(broken, None);
        }
        check(&format!("<{}@b>", long(65)), None);
        check(&format!("<a@{}>", long(64)), None);
        let domain = [&*long(63), &long(63), &long(63), &long(60)].join(".");
        check(&format!("<abcdef@{domain}>"), None);
    }

    #[test]
    fn hosts() {
        for good in ["a", "mx.example.test", "[192.0.2.1]", "[IPv6:::1]", "my_pc", "b\u{fc}cher"] {
            assert!(is_host(good), "{good}");
        }
        for bad in ["", "a b", "a\"", "a(b)", "<a>", "a\u{85}", &"x".repeat(256)] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_as_the_same(text in "<(\"[ -~\u{e9}]{0,9}\"|[a-z.\\\\\"]{1,9})@[a-z0-9.-]{1,9}>") {
            if let Some((Some(mailbox), rest)) = path(&text) {
                prop_assert_eq!(rest, "");
                let shown = format!("<{mailbox}>");
                prop_assert_eq!(path(&shown), Some((Some(mailbox), "")));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = path(&text);
            let _ = path(&format!("<{text}"));
        }
    }
}
