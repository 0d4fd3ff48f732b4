//! What can be wrong on our side: an entry of the users file, a password that can't be kept, a
//! system without random bytes, a SASL exchange that we as the client have to give up.
//!
//! What is wrong on the other side of a login isn't an error but a verdict: see
//! [`Denial`](crate::Denial).

use std::fmt;

/// The errors of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An entry of the users file can't be used. `path` says which value, so that whoever read the
    /// text can show its line.
    #[error("{path}: {problem}")]
    Entry {
        /// The value's place in the file.
        path: KeyPath,
        /// What is wrong with it, as a sentence without its full stop.
        problem: String,
    },
    /// A password that must not be stored.
    #[error("this password can't be used: {0}")]
    UnusablePassword(&'static str),
    /// A password hash or SCRAM keys that aren't in the expected form.
    #[error("{0}")]
    BadHash(String),
    /// The system has no random bytes to give.
    #[error("the system gave no random bytes: {0}")]
    Random(String),
    /// As a client: the server's part of a SASL exchange is wrong, so it must not be trusted.
    #[error("the server's {mechanism} answer is wrong: {problem}")]
    Server {
        /// The mechanism in use.
        mechanism: &'static str,
        /// What is wrong with the answer.
        problem: &'static str,
    },
}

/// The place of a value in the users file, `alice.mail[1]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyPath(Vec<KeyStep>);

/// One step of a [`KeyPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyStep {
    /// A key of a table.
    Key(String),
    /// An element of an array, counted from 0.
    Index(usize),
}

impl KeyPath {
    /// The path of a table at the root.
    pub fn root(key: impl Into<String>) -> Self {
        Self(vec![KeyStep::Key(key.into())])
    }

    /// This path and then a key.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.0.push(KeyStep::Key(key.into()));
        self
    }

    /// This path and then an element of an array.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(KeyStep::Index(index));
        self
    }

    /// The steps from the root.
    pub fn steps(&self) -> &[KeyStep] {
        &self.0
    }

    /// The first key, which is an account's name, and the rest of the path: `alice` and `mail[1]`.
    pub fn in_account(&self) -> (&str, Self) {
        match self.0.split_first() {
            Some((KeyStep::Key(name), rest)) => (name, Self(rest.to_vec())),
            _ => ("", self.clone()),
        }
    }

    pub(crate) fn problem(self, problem: impl Into<String>) -> Error {
        Error::Entry { path: self, problem: problem.into() }
    }
}

impl fmt::Display for KeyPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.0.iter().enumerate() {
            match step {
                KeyStep::Index(index) => write!(f, "[{index}]")?,
                KeyStep::Key(key) => {
                    f.write_str(if n > 0 { "." } else { "" })?;
                    // The bare keys of TOML; anything else is shown as it has to be written.
                    let bare = !key.is_empty()
                        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b));
                    if bare { f.write_str(key)? } else { write!(f, "{key:?}")? }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_shown_as_it_is_written() {
        assert_eq!(KeyPath::root("alice").key("mail").index(1).to_string(), "alice.mail[1]");
        assert_eq!(
            KeyPath::root("al@example.test").key("files").to_string(),
            "\"al@example.test\".files"
        );
        let path = KeyPath::root("a.b").key("mail").index(1);
        let (name, rest) = path.in_account();
        assert_eq!((name, &*rest.to_string()), ("a.b", "mail[1]"));
    }
}
