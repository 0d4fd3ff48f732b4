//! A message's sizes: on disk, on the wire, where each line ends in CRLF, and on the wire for those who can read
//! no UTF-8 in headers. It is handed the content piece by piece.

use std::io::{self, Read};

use memchr::memchr_iter;

use crate::surrogate::Surrogate;

/// A message that is being measured.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    own: Counted,
    surrogate: Surrogate,
    passed: Counted,
}

/// The sizes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub size: u64,
    pub wire_size: u64,
    /// On the wire, of what stands in for it where UTF-8 in headers isn't understood. `None` if nothing has to.
    pub surrogate_size: Option<u64>,
}

impl Sizes {
    /// Those of what is read to its end.
    pub(crate) fn of(mut content: impl Read) -> io::Result<Sizes> {
        let mut buffer = vec![0; 64 * 1024];
        let mut measured = Measured::default();
        loop {
            match content.read(&mut buffer)? {
                0 => return Ok(measured.sizes()),
                count => measured.add(&buffer[..count]),
            }
        }
    }
}

impl Measured {
    /// Measures what comes next.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.own.add(bytes);
        let passed = &mut self.passed;
        self.surrogate.push(bytes, &mut |bytes| passed.add(bytes));
    }

    /// The sizes of all that came.
    pub(crate) fn sizes(mut self) -> Sizes {
        let passed = &mut self.passed;
        self.surrogate.finish(&mut |bytes| passed.add(bytes));
        Sizes {
            size: self.own.size,
            wire_size: self.own.wire_size(),
            surrogate_size: self.surrogate.has_changed().then(|| self.passed.wire_size()),
        }
    }
}

/// What was counted so far.
#[derive(Debug, Default)]
struct Counted {
    size: u64,
    /// LF without a CR before it.
    bare: u64,
    last: Option<u8>,
}

impl Counted {
    /// Counts what comes next.
    fn add(&mut self, bytes: &[u8]) {
        for at in memchr_iter(b'\n', bytes) {
            let before = if at == 0 { self.last } else { Some(bytes[at - 1]) };
            self.bare += u64::from(before != Some(b'\r'));
        }
        self.size += bytes.len() as u64;
        self.last = bytes.last().copied().or(self.last);
    }

    /// Octets on the wire: the end of the last line is added where it is missing (RFC 1939 §3 can't
    /// send a text without it, and binary mail of RFC 3030 may come so).
    fn wire_size(&self) -> u64 {
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
                let sizes = Sizes { size: text.len() as u64, wire_size, surrogate_size: None };
                assert_eq!(measured.sizes(), sizes, "{text:?} at {split}");
            }
        }
    }
}
