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

impl Known {
    /// The known name that this one equals, whatever its case.
    #[inline]
    pub(super) fn find(name: &[u8]) -> Option<Known> {
        let &(from, to) = BY_LENGTH.get(name.len())?;
        KNOWN[usize::from(from)..usize::from(to)]
            .iter()
            .find(|(_, text)| name.eq_ignore_ascii_case(text.as_bytes()))
            .map(|&(known, _)| known)
    }
}

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
