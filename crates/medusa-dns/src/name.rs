//! Domain names as they are on the wire: lower-cased, hashed, compared and shown.
//!
//! How they are read in a message is `medusa-resolver`'s to know, which reads answers so too. Text with origins
//! and escapes is read in `zone::text`; where names are compressed in answers is the answer writer's to say.

use std::cmp::Ordering;
use std::fmt;

use medusa_resolver::wire_name;

pub use medusa_resolver::wire_name::{
    MAX_LABEL, MAX_LABELS, MAX_NAME, NameError, labels, wire_length,
};

/// A name that is kept: in wire form, uncompressed and in lower case.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Box<[u8]>);

impl Name {
    /// The root.
    pub fn root() -> Name {
        Name([0].into())
    }

    /// A name from its uncompressed wire form, which must be all of `wire`.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with it; [`NameError::CutOff`] also where something follows it.
    pub fn from_wire(wire: &[u8]) -> Result<Name, NameError> {
        if wire_length(wire)? != wire.len() {
            return Err(NameError::CutOff);
        }
        Ok(Name(wire.to_ascii_lowercase().into()))
    }

    /// Its wire form.
    pub fn wire(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Shown(&self.0).fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Name({self})")
    }
}

/// A wire name as text, with a dot at its end (RFC 1035 §5.1).
#[derive(Debug, Clone, Copy)]
pub struct Shown<'a>(pub &'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.first().is_none_or(|length| *length == 0) {
            return f.write_str(".");
        }
        for label in labels(self.0) {
            for byte in label {
                match byte {
                    b'.' | b'\\' | b'"' | b';' | b'(' | b')' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(*byte))?;
                    }
                    b'!'..=b'~' => write!(f, "{}", char::from(*byte))?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

/// Appends the name at `at` of `message` to `out`, its pointers followed and its case kept; see
/// [`wire_name::expand`]. Returns where the message goes on behind it.
///
/// # Errors
///
/// Whatever is wrong with it; `out` is as it was then.
#[inline]
pub fn expand(message: &[u8], at: usize, out: &mut Vec<u8>) -> Result<usize, NameError> {
    #[cfg(test)]
    EXPANDED.set(EXPANDED.get() + 1);
    wire_name::expand(message, at, out)
}

/// Compares two uncompressed lower-case names in canonical order (RFC 4034 §6.1): label by label from the
/// right.
pub fn canonical_cmp(left: &[u8], right: &[u8]) -> Ordering {
    let (mut left_starts, mut right_starts) = ([0; MAX_LABELS], [0; MAX_LABELS]);
    let left_count = label_starts(left, &mut left_starts);
    let right_count = label_starts(right, &mut right_starts);
    let label = |wire: &[u8], starts: &[u8], index: usize| -> (usize, usize) {
        let start = usize::from(starts[index]);
        (start + 1, start + 1 + usize::from(wire[start]))
    };
    for depth in 1..=left_count.min(right_count) {
        let (from, to) = label(left, &left_starts, left_count - depth);
        let (other_from, other_to) = label(right, &right_starts, right_count - depth);
        match left[from..to].cmp(&right[other_from..other_to]) {
            Ordering::Equal => {}
            unequal => return unequal,
        }
    }
    left_count.cmp(&right_count)
}

/// Where the labels of an uncompressed name start, and how many there are.
pub(crate) fn label_starts(wire: &[u8], starts: &mut [u8; MAX_LABELS]) -> usize {
    let (mut at, mut count) = (0, 0);
    while let Some(length) = wire.get(at).filter(|length| **length != 0)
        && count < MAX_LABELS
    {
        starts[count] = u8::try_from(at).unwrap_or(u8::MAX);
        count += 1;
        at += usize::from(*length) + 1;
    }
    count
}

/// The name that a question asks for, in lower case, with where its labels begin and a hash of every
/// suffix. It is large and meant to be used again and again: filling it in allocates nothing.
pub struct QueryName {
    /// With room to read whole words from any place of a name.
    wire: [u8; MAX_NAME + 1 + WORD],
    length: usize,
    starts: [u8; MAX_LABELS + 1],
    /// `hashes[i]` is that of the name from label `i` on.
    hashes: [u64; MAX_LABELS + 1],
    count: usize,
}

impl Default for QueryName {
    fn default() -> Self {
        QueryName {
            wire: [0; MAX_NAME + 1 + WORD],
            length: 1,
            starts: [0; MAX_LABELS + 1],
            hashes: [ROOT_HASH; MAX_LABELS + 1],
            count: 0,
        }
    }
}

impl fmt::Debug for QueryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueryName({})", Shown(self.wire()))
    }
}

impl QueryName {
    /// Takes the uncompressed name at the front of `wire`, and says how many octets it has. A pointer is
    /// an error: nothing stands before a question that one could point to but the header.
    ///
    /// # Errors
    ///
    /// Whatever is wrong with it; this one is the root then.
    #[inline]
    pub fn read(&mut self, wire: &[u8]) -> Result<usize, NameError> {
        self.count = 0;
        self.length = 1;
        let (mut at, mut count) = (0, 0);
        loop {
            let length = usize::from(*wire.get(at).ok_or(NameError::CutOff)?);
            if length == 0 {
                break;
            }
            if length > MAX_LABEL {
                return Err(if length < 0xC0 { NameError::Label } else { NameError::Pointer });
            }
            // The root's octet has to fit too.
            if at + length + 2 > MAX_NAME {
                return Err(NameError::TooLong);
            }
            self.starts[count] = at as u8;
            count += 1;
            at += length + 1;
        }
        self.starts[count] = at as u8;
        self.length = at + 1;
        self.count = count;
        self.wire[..=at].copy_from_slice(&wire[..=at]);
        // Lengths are below `A`. What stands behind the name from before may be lowered too.
        for word in self.wire[..=at | 7].as_chunks_mut::<WORD>().0 {
            *word = lowered(u64::from_le_bytes(*word)).to_le_bytes();
        }
        let mut hash = ROOT_HASH;
        self.hashes[count] = hash;
        for index in (0..count).rev() {
            let (from, to) = (usize::from(self.starts[index]), usize::from(self.starts[index + 1]));
            hash = self.hash_label(hash, from, to);
            self.hashes[index] = hash;
        }
        Ok(at + 1)
    }

    /// [`hash_label`] of the octets from one place to another.
    #[inline]
    fn hash_label(&self, mut hash: u64, mut from: usize, to: usize) -> u64 {
        let word =
            |at: usize| self.wire[at..].first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        while to - from >= WORD {
            hash = fold(hash ^ word(from));
            from += WORD;
        }
        let rest = (1_u64 << ((to - from) * 8)) - 1;
        fold(hash ^ word(from) & rest)
    }

    /// The whole name.
    #[inline]
    pub fn wire(&self) -> &[u8] {
        &self.wire[..self.length]
    }

    /// How many labels it has, the root's not counted.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Where label `index` begins; the root's is behind the last one.
    #[inline]
    pub fn start(&self, index: usize) -> usize {
        usize::from(self.starts[index.min(self.count)])
    }

    /// The name from label `index` on.
    #[inline]
    pub fn suffix(&self, index: usize) -> &[u8] {
        &self.wire[self.start(index)..self.length]
    }

    /// The hash of the name from label `index` on.
    #[inline]
    pub fn hash(&self, index: usize) -> u64 {
        self.hashes[index.min(self.count)]
    }
}

/// The hash of the root, where every name's begins.
const ROOT_HASH: u64 = 0x9E37_79B9_7F4A_7C15;

/// The hash of a wire name in lower case, as [`QueryName`] has it. It is built from the right, so that
/// those of all suffixes come with it. What is hashed into tables comes from zones, never from questions,
/// so that nobody can choose names that collide.
pub fn hash_of(wire: &[u8]) -> u64 {
    hash_below(ROOT_HASH, wire)
}

/// The hash of a name that has the labels of `wire` in front of a name that hashes to `hash`.
pub(crate) fn hash_below(hash: u64, wire: &[u8]) -> u64 {
    let mut starts = [0; MAX_LABELS];
    let count = label_starts(wire, &mut starts);
    starts[..count].iter().rev().fold(hash, |hash, start| {
        let start = usize::from(*start);
        hash_label(hash, &wire[start..=start + usize::from(wire[start])])
    })
}

/// The hash of a name with `label`, its length included, in front of a name that hashes to `hash`.
#[inline]
pub fn hash_label(mut hash: u64, label: &[u8]) -> u64 {
    let mut chunks = label.chunks_exact(8);
    for chunk in &mut chunks {
        let mut word = [0; 8];
        word.copy_from_slice(chunk);
        hash = fold(hash ^ u64::from_le_bytes(word));
    }
    let mut word = [0; 8];
    let rest = chunks.remainder();
    word[..rest.len()].copy_from_slice(rest);
    fold(hash ^ u64::from_le_bytes(word))
}

/// The octets of a word.
const WORD: usize = size_of::<u64>();

/// The octets of a word in lower case, all at once.
#[inline]
fn lowered(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let low = word & (EACH * 0x7F);
    // The highest bit of an octet says that it is at least `A`, or beyond `Z`.
    let at_least = low + EACH * (0x80 - b'A' as u64);
    let beyond = low + EACH * (0x7F - b'Z' as u64);
    let is_upper = (at_least ^ beyond) & !word & (EACH * 0x80);
    word | is_upper >> 2
}

#[inline]
fn fold(word: u64) -> u64 {
    let product = u128::from(word) * 0x9FB2_1C65_1E98_DF25_u128;
    (product as u64) ^ ((product >> 64) as u64)
}

#[cfg(test)]
thread_local! {
    /// How many names were expanded: what messages cost, for tests.
    pub(crate) static EXPANDED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str) -> Vec<u8> {
        let mut wire = Vec::new();
        for label in text.split('.').filter(|label| !label.is_empty()) {
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        wire
    }

    #[test]
    fn a_question_is_lowered_and_hashed_by_suffix() {
        let mut name = QueryName::default();
        let bytes = wire("WWW.Example.TEST");
        assert_eq!(name.read(&bytes), Ok(bytes.len()));
        assert_eq!(name.wire(), wire("www.example.test"));
        assert_eq!(name.count(), 3);
        for (index, text) in ["www.example.test", "example.test", "test", ""].iter().enumerate() {
            assert_eq!(name.suffix(index), wire(text));
            assert_eq!(name.hash(index), hash_of(&wire(text)));
        }
        assert_ne!(name.hash(0), hash_of(&wire("ww.wexample.test")));
    }

    #[test]
    fn all_octets_are_lowered_as_ascii() {
        let mut name = QueryName::default();
        for octet in 0..=255_u8 {
            for length in 1..=20 {
                let bytes = [&[length][..], &vec![octet; length.into()], &[0]].concat();
                assert_eq!(name.read(&bytes), Ok(bytes.len()));
                let lower = bytes.to_ascii_lowercase();
                assert_eq!(name.wire(), lower);
                assert_eq!(name.hash(0), hash_of(&lower));
            }
        }
    }

    #[test]
    fn bounds_are_kept() {
        let mut name = QueryName::default();
        let longest = wire(&format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61)));
        assert_eq!(longest.len(), 255);
        assert_eq!(name.read(&longest), Ok(255));
        let longer = wire(&format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(62)));
        assert_eq!(name.read(&longer), Err(NameError::TooLong));
        assert_eq!(name.read(&[64; 80]), Err(NameError::Label));
        assert_eq!(name.read(&[0xC0, 0]), Err(NameError::Pointer));
        assert_eq!(name.read(&[3, b'a', b'b']), Err(NameError::CutOff));
        assert_eq!(name.read(&[]), Err(NameError::CutOff));
        let deepest = wire(&vec!["a"; 127].join("."));
        assert_eq!(name.read(&deepest), Ok(255));
        assert_eq!(name.count(), 127);
    }

    #[test]
    fn canonical_order_is_that_of_the_rfc() {
        // RFC 4034 §6.1.
        let names = [
            "example",
            "a.example",
            "yljkjljk.a.example",
            "z.a.example",
            "zabc.a.example",
            "z.example",
            "\u{1}.z.example",
            "*.z.example",
        ];
        for pair in names.windows(2) {
            assert_eq!(canonical_cmp(&wire(pair[0]), &wire(pair[1])), Ordering::Less, "{pair:?}");
        }
        assert_eq!(canonical_cmp(&wire("a.b"), &wire("a.b")), Ordering::Equal);
    }

    #[test]
    fn names_are_shown_with_escapes() {
        assert_eq!(Shown(&[0]).to_string(), ".");
        assert_eq!(Shown(b"\x03a.b\x01\x07\x00").to_string(), "a\\.b.\\007.");
        assert_eq!(Name::from_wire(b"\x01A\x00").unwrap().to_string(), "a.");
        assert!(Name::from_wire(b"\x01A\x00\x00").is_err());
    }
}
