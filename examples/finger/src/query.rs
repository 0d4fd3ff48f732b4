//! What was asked (RFC 1288 §2.3). Pure: a line in, a query out.

/// One question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Query {
    /// `/W`: at length, please (§2.5.4).
    pub(crate) at_length: bool,
    /// About whom.
    pub(crate) about: About,
}

/// Whom a question is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum About {
    /// Everybody: {C} (§2.5.1).
    Everybody,
    /// One user: {U}{C} (§2.5.2).
    User(String),
    /// Somebody at another host: {U}{H}{C} (§2.5.5).
    Elsewhere,
}

/// A name's greatest length; no system that fingers was written for has longer ones.
const MOST_NAME: usize = 64;

/// Reads a line without its CRLF. `None` if it is no question.
pub(crate) fn parse(line: &[u8]) -> Option<Query> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split([' ', '\t']).filter(|word| !word.is_empty()).peekable();
    let at_length = words.next_if(|word| word.eq_ignore_ascii_case("/W")).is_some();
    let about = match (words.next(), words.next()) {
        (None, _) => About::Everybody,
        (Some(word), None) if word.contains('@') => About::Elsewhere,
        (Some(word), None) if is_name(word) => About::User(word.to_owned()),
        _ => return None,
    };
    Some(Query { at_length, about })
}

/// A name is also a file's: nothing in it leads anywhere.
fn is_name(word: &str) -> bool {
    word.len() <= MOST_NAME
        && !word.starts_with('.')
        && word.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"._-".contains(&octet))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read() {
        let user =
            |at_length, name: &str| Some(Query { at_length, about: About::User(name.into()) });
        for (line, query) in [
            ("", Some(Query { at_length: false, about: About::Everybody })),
            ("/W", Some(Query { at_length: true, about: About::Everybody })),
            ("  ", Some(Query { at_length: false, about: About::Everybody })),
            ("alice", user(false, "alice")),
            ("/W alice", user(true, "alice")),
            ("/w\talice ", user(true, "alice")),
            ("a.b-c_d9", user(false, "a.b-c_d9")),
            ("alice@elsewhere.test", Some(Query { at_length: false, about: About::Elsewhere })),
            ("@elsewhere.test", Some(Query { at_length: false, about: About::Elsewhere })),
            ("alice bob", None),
            ("alice /W", None),
            ("../../etc/passwd", None),
            (".profile", None),
            ("al\nice", None),
            ("alic\u{e9}", None),
        ] {
            assert_eq!(parse(line.as_bytes()), query, "{line:?}");
        }
        assert_eq!(parse(b"\xff"), None);
        assert_eq!(parse("x".repeat(65).as_bytes()), None);
    }
}
