//! Header fields where they lie: the names this server looks at, found once while the head is
//! parsed, and a walk over all of them. Nothing is copied and nothing is combined.

use http::HeaderName;

use super::octets;

macro_rules! known {
    ($($name:ident $text:literal;)*) => {
        /// A field that the parser remembers the place of, so that looking it up costs nothing.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs)] // each is the field whose name it bears
        #[repr(u8)]
        pub enum Known { $($name,)* }

        pub(super) const KNOWN: &[(Known, &str)] = &[$((Known::$name, $text),)*];
    };
}

known! {
    Te "te";
    Host "host";
    Range "range";
    Cookie "cookie";
    Accept "accept";
    Expect "expect";
    Referer "referer";
    Trailer "trailer";
    Upgrade "upgrade";
    IfMatch "if-match";
    IfRange "if-range";
    Forwarded "forwarded";
    Connection "connection";
    UserAgent "user-agent";
    ContentType "content-type";
    Authorization "authorization";
    IfNoneMatch "if-none-match";
    ContentLength "content-length";
    AcceptEncoding "accept-encoding";
    XForwardedFor "x-forwarded-for";
    TransferEncoding "transfer-encoding";
    IfModifiedSince "if-modified-since";
    IfUnmodifiedSince "if-unmodified-since";
}

pub(super) const COUNT: usize = KNOWN.len();

/// Some of the known fields, to be asked for all at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct KnownSet(u32);

impl KnownSet {
    pub(crate) const fn of(fields: &[Known]) -> KnownSet {
        let mut set = 0;
        let mut i = 0;
        while i < fields.len() {
            set |= 1 << fields[i] as u32;
            i += 1;
        }
        KnownSet(set)
    }

    #[inline]
    pub(super) fn insert(&mut self, field: Known) {
        self.0 |= 1 << field as u32;
    }

    #[inline]
    pub(super) fn overlaps(self, other: KnownSet) -> bool {
        self.0 & other.0 != 0
    }
}

const LONGEST: usize = 19;

/// For each length, where names of that length begin in `KNOWN`, which is sorted by length.
const BY_LENGTH: [(u8, u8); LONGEST + 1] = {
    let mut table = [(0, 0); LONGEST + 1];
    let mut i = 0;
    while i < KNOWN.len() {
        let length = KNOWN[i].1.len();
        assert!(i == 0 || KNOWN[i - 1].1.len() <= length, "KNOWN is sorted by length");
        assert!(KNOWN[i].0 as usize == i);
        if table[length].1 == 0 {
            table[length].0 = i as u8;
        }
        table[length].1 = i as u8 + 1;
        i += 1;
    }
    table
};

/// A known name as words of eight octets, with the bit of each letter that its case is.
struct Spelling {
    of: Known,
    words: [u64; WORDS],
    cases: [u64; WORDS],
}

const WORDS: usize = LONGEST.div_ceil(8);

const SPELLINGS: [Spelling; COUNT] = {
    const NONE: Spelling = Spelling { of: KNOWN[0].0, words: [0; WORDS], cases: [0; WORDS] };
    let mut all = [NONE; COUNT];
    let mut i = 0;
    while i < COUNT {
        all[i].of = KNOWN[i].0;
        let text = KNOWN[i].1.as_bytes();
        let mut at = 0;
        while at < text.len() {
            let shift = at % 8 * 8;
            all[i].words[at / 8] |= (text[at] as u64) << shift;
            if text[at].is_ascii_lowercase() {
                all[i].cases[at / 8] |= 0x20 << shift;
            }
            at += 1;
        }
        i += 1;
    }
    all
};

impl Known {
    /// The known name that begins these octets and ends in a colon, whatever its case. What it holds needn't
    /// be judged any more.
    #[inline]
    pub(super) fn at_front(octets: &[u8]) -> Option<(Known, usize)> {
        let mut words = [0; WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            let eight = octets.get(8 * index..)?.first_chunk::<8>()?;
            *word = u64::from_le_bytes(*eight);
            let colon = octets::equal(*word, b':').trailing_zeros() / 8;
            if colon < 8 {
                *word &= (1 << (8 * colon)) - 1;
                let length = 8 * index + colon as usize;
                return Known::spelled(&words, length).map(|known| (known, length));
            }
        }
        None
    }

    #[inline]
    fn spelled(words: &[u64; WORDS], length: usize) -> Option<Known> {
        let &(from, to) = BY_LENGTH.get(length)?;
        let alike = SPELLINGS.get(usize::from(from)..usize::from(to))?;
        let is_it = |spelling: &&Spelling| {
            let differ = |at: usize| (words[at] ^ spelling.words[at]) & !spelling.cases[at];
            differ(0) | differ(1) | differ(2) == 0
        };
        alike.iter().find(is_it).map(|spelling| spelling.of)
    }

    /// The known name that this one equals, whatever its case.
    pub(super) fn find(name: &[u8]) -> Option<Known> {
        let &(from, to) = BY_LENGTH.get(name.len())?;
        KNOWN[usize::from(from)..usize::from(to)]
            .iter()
            .find(|(_, text)| name.eq_ignore_ascii_case(text.as_bytes()))
            .map(|&(known, _)| known)
    }
}

const _: () = assert!(WORDS == 3, "`spelled` looks at three words");

/// All header fields of a head that has been parsed, in the order they came.
#[derive(Debug, Clone, Copy)]
pub struct Fields<'a> {
    /// Lines that the parser has already judged, each but the last with its CR LF.
    block: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(block: &'a [u8]) -> Fields<'a> {
        Fields { block }
    }

    /// The lines as they came.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.block
    }

    /// The values of every field of this name.
    pub fn all<'n>(&self, name: &'n HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let name = name.as_str().as_bytes();
        (*self).filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let colon = memchr::memchr(b':', self.block)?;
        let rest = &self.block[colon..];
        let end = colon + memchr::memchr(b'\r', rest).unwrap_or(rest.len());
        let item = (&self.block[..colon], octets::trim(&self.block[colon + 1..end]));
        self.block = self.block.get(end + 2..).unwrap_or_default();
        Some(item)
    }
}

/// The elements of a comma-separated list, without empty ones (RFC 9110 §5.6.1). Quoted strings
/// aren't understood: for lists of tokens.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&b| b == b',').map(octets::trim).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_are_found_in_any_case_and_nothing_else_is() {
        for &(known, text) in KNOWN {
            for name in
                [text.to_owned(), text.to_uppercase(), text[..1].to_uppercase() + &text[1..]]
            {
                let line = format!("{name}: some value that is long enough");
                assert_eq!(Known::at_front(line.as_bytes()), Some((known, name.len())), "{line}");
                assert_eq!(Known::find(name.as_bytes()), Some(known));
                // One bit of one octet, which may be that of the case.
                for (at, bit) in (0..name.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                    let mut wrong = line.clone().into_bytes();
                    wrong[at] ^= 1 << bit;
                    let expected = Known::find(&wrong[..name.len()]);
                    let found = Known::at_front(&wrong).map(|(known, _)| known);
                    assert_eq!(found, expected, "{}", String::from_utf8_lossy(&wrong));
                }
            }
        }
        // Too short to be looked at by words, or no name at all.
        for line in [
            "host:a",
            "te: ",
            ":",
            "",
            "a-name-that-is-longer-than-all: x",
            "x-unknown: y",
            "host 127.0.0.1",
        ] {
            assert_eq!(Known::at_front(line.as_bytes()), None, "{line}");
        }
    }
}
