//! Patterns in LIST and NLST: `*.txt` as a shell takes it, in the last part of a path alone.
//!
//! `*` is any octets, `?` is one, `[a-z]` and `[!a-z]` are one of a set; a leading dot is matched by a dot
//! alone. A file whose name is just so is meant before any pattern. Matching takes time that grows with the
//! product of both lengths at most, however many stars there are.

use medusa_files::VirtualPath;

use crate::Error;
use crate::storage::{Entries, Storage};

/// A folder, and what its entries are to look like.
pub(crate) struct Pattern {
    folder: VirtualPath,
    name: Vec<u8>,
    /// How the client spelled the folder: names come back with it, as from a shell.
    prefix: Vec<u8>,
}

impl Pattern {
    /// What was `given` and leads to `path`; `None` where that is no pattern.
    pub(crate) fn of(path: &VirtualPath, given: &[u8]) -> Option<Pattern> {
        let name = path.name()?;
        if !name.iter().any(|octet| b"*?[".contains(octet)) {
            return None;
        }
        let end = given.iter().rposition(|&octet| octet == b'/').map_or(0, |at| at + 1);
        // With a slash or dots at the end it is a folder that is meant, and there is none.
        if &given[end..] != name {
            return None;
        }
        let (name, prefix) = (name.to_vec(), given[..end].to_vec());
        Some(Pattern { folder: path.parent()?, name, prefix })
    }

    /// The entries that fit.
    pub(crate) fn entries(self, storage: &dyn Storage) -> Result<Entries, Error> {
        let Pattern { folder, name, prefix } = self;
        let entries = storage.list(&folder)?;
        Ok(Box::new(entries.filter_map(move |entry| match entry {
            Ok(entry) if !fits(&name, &entry.name) => None,
            Ok(mut entry) => {
                entry.name = [&prefix[..], &entry.name].concat();
                Some(Ok(entry))
            }
            error => Some(error),
        })))
    }
}

/// Whether a name fits a pattern.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    let (mut at, mut read) = (0, 0);
    // Where to go on when what follows the last star doesn't fit here: one octet further.
    let mut star: Option<(usize, usize)> = None;
    loop {
        let step = match (pattern.get(at), name.get(read)) {
            (Some(b'*'), _) => {
                star = Some((at + 1, read));
                at += 1;
                continue;
            }
            (None, None) => return true,
            (Some(_), Some(&octet)) => one(&pattern[at..], octet),
            _ => None,
        };
        match (step, star) {
            (Some(length), _) => (at, read) = (at + length, read + 1),
            (None, Some((behind, from))) if from < name.len() => {
                (at, read) = (behind, from + 1);
                star = Some((behind, from + 1));
            }
            _ => return false,
        }
    }
}

/// How long the part of the pattern is that stands for one octet, if this is one of those.
fn one(pattern: &[u8], octet: u8) -> Option<usize> {
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', set @ ..] => match in_set(set, octet) {
            Some((true, length)) => Some(1 + length),
            Some((false, _)) => None,
            // A bracket that is never closed is itself.
            None => (octet == b'[').then_some(1),
        },
        [literal, ..] => (*literal == octet).then_some(1),
        [] => None,
    }
}

/// Whether a set holds an octet, and where it ends; `None` where it doesn't.
fn in_set(set: &[u8], octet: u8) -> Option<(bool, usize)> {
    let negated = matches!(set.first(), Some(b'!' | b'^'));
    let start = usize::from(negated);
    let (mut at, mut found) = (start, false);
    loop {
        match &set[at..] {
            [] => return None,
            // In front it is itself.
            [b']', ..] if at > start => return Some((found != negated, at + 1)),
            [first, b'-', last, ..] if *last != b']' => {
                found |= (*first..=*last).contains(&octet);
                at += 3;
            }
            [single, ..] => {
                found |= *single == octet;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_a_shells() {
        for (pattern, fitting, others) in [
            ("*.txt", &["a.txt", "a.b.txt"][..], &[".txt", "a.txt2", "txt"][..]),
            ("*", &["a", "a b"], &[".hidden"]),
            (".*", &[".hidden", "."], &["a"]),
            ("a?c", &["abc", "a*c"], &["ac", "abbc"]),
            ("[a-c]x*", &["ax", "cxyz"], &["dx", "-x"]),
            ("[!a-c]x", &["dx", "!x"], &["ax", "x"]),
            ("[]-]x", &["]x", "-x"], &["ax"]),
            ("[a", &["[a"], &["a"]),
            ("*a*b*c", &["abc", "xaxbxc", "aabbcc"], &["acb", "ab"]),
            ("", &[""], &["a"]),
        ] {
            for name in fitting {
                assert!(fits(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
            }
            for name in others {
                assert!(!fits(pattern.as_bytes(), name.as_bytes()), "{pattern} {name}");
            }
        }
    }

    #[test]
    fn many_stars_cost_little() {
        assert!(!fits(&b"*a".repeat(120), &[b'a'; 119]));
        assert!(!fits(&[&b"*a".repeat(100)[..], b"b"].concat(), &[b'a'; 255]));
    }

    /// The plainest way to say it.
    fn fits_slowly(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => {
                (0..=name.len()).any(|skipped| fits_slowly(rest, &name[skipped..]))
            }
            ([b'?', rest @ ..], [_, name @ ..]) => fits_slowly(rest, name),
            ([octet, rest @ ..], [other, name @ ..]) => octet == other && fits_slowly(rest, name),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn two_ways_agree(pattern in "[ab*?]{0,7}", name in "[ab]{0,9}") {
            let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
            prop_assert_eq!(fits(pattern, name), fits_slowly(pattern, name));
        }

        #[test]
        fn nothing_that_is_sent_panics(pattern in any::<Vec<u8>>(), name in any::<Vec<u8>>()) {
            fits(&pattern, &name);
        }
    }
}
