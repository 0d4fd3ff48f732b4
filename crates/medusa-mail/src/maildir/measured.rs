//! A message's two sizes: on disk, and on the wire, where each line ends in CRLF. Pure: it is handed the
//! content piece by piece.

use memchr::memchr_iter;

/// What was counted so far.
#[derive(Debug, Default)]
pub(super) struct Measured {
    size: u64,
    /// LF without a CR before it.
    bare: u64,
    last: Option<u8>,
}

impl Measured {
    /// Counts what comes next.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        for at in memchr_iter(b'\n', bytes) {
            let before = if at == 0 { self.last } else { Some(bytes[at - 1]) };
            self.bare += u64::from(before != Some(b'\r'));
        }
        self.size += bytes.len() as u64;
        self.last = bytes.last().copied().or(self.last);
    }

    /// Octets as they are.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Octets on the wire: the end of the last line is added where it is missing (RFC 1939 §3 can't
    /// send a text without it, and binary mail of RFC 3030 may come so).
    pub(super) fn wire_size(&self) -> u64 {
        let unended = self.last.is_some_and(|last| last != b'\n');
        self.size + self.bare + if unended { 2 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_counts_the_same() {
        for (text, wire_size) in [
            ("", 0),
            ("a\r\nb\r\n", 6),
            ("a\nb\n", 6),
            ("a\nb\r\nc", 9),
            ("\n", 2),
            ("\r", 3),
            ("\r\r\n\n", 5),
        ] {
            for split in 0..=text.len() {
                let mut measured = Measured::default();
                measured.add(&text.as_bytes()[..split]);
                measured.add(&[]);
                measured.add(&text.as_bytes()[split..]);
                let sizes = (measured.size(), measured.wire_size());
                assert_eq!(sizes, (text.len() as u64, wire_size), "{text:?} at {split}");
            }
        }
    }
}
