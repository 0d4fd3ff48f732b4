//! TYPE A (RFC 959 §3.1.1.1): on the wire a line ends in CRLF, here in LF.
//!
//! Sending puts a CR before each LF, receiving takes the CR before an LF away; nothing else is changed,
//! so that what was sent and is received again is what it was. A CR that was there before an LF is
//! doubled on the wire for the same reason.

use medusa_core::{Outbox, ProduceError, Produced, Producer};
use memchr::{memchr, memchr_iter};

/// So much of what is stored is changed in one go.
const STEP: usize = 32 * 1024;
/// So often the inner producer is asked in one call, however little it says.
const ASKED: usize = 64;

/// Produces what `inner` does with CRLF for LF. Its chunk, by which it may overshoot the room, is 64 KiB.
pub(crate) struct Ascii {
    inner: Box<dyn Producer>,
    /// What it said and isn't changed yet.
    staged: Outbox,
    is_done: bool,
}

impl Ascii {
    pub(crate) fn new(inner: Box<dyn Producer>) -> Ascii {
        let mut staged = Outbox::without_files();
        staged.set_target(STEP as u64);
        Ascii { inner, staged, is_done: false }
    }

    /// Changes some of what is staged; says whether there was any.
    fn convert(&mut self, out: &mut Outbox) -> bool {
        let front = self.staged.front();
        let step = &front[..front.len().min(STEP)];
        let count = step.len();
        if count > 0 {
            out.compose(|text| push_with_cr(text, step));
            self.staged.advance(count as u64);
        }
        count > 0
    }
}

impl Producer for Ascii {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        for _ in 0..ASKED {
            while self.convert(out) {
                if out.room() == 0 {
                    return Ok(Produced::More);
                }
            }
            if self.is_done {
                return Ok(Produced::Done);
            }
            let produced = self.inner.produce(&mut self.staged)?;
            if let Some(job) = self.staged.take_job() {
                out.defer(job);
            }
            match produced {
                Produced::More => {}
                Produced::Done => self.is_done = true,
                Produced::Pending => {
                    while self.convert(out) {}
                    return Ok(Produced::Pending);
                }
            }
        }
        Ok(Produced::More)
    }
}

fn push_with_cr(out: &mut Vec<u8>, mut text: &[u8]) {
    while let Some(at) = memchr(b'\n', text) {
        out.extend_from_slice(&text[..at]);
        out.extend_from_slice(b"\r\n");
        text = &text[at + 1..];
    }
    out.extend_from_slice(text);
}

/// How many octets longer `text` is on the wire.
pub(crate) fn added_by_ascii(text: &[u8]) -> u64 {
    memchr_iter(b'\n', text).count() as u64
}

/// The way back, over pieces of any size.
#[derive(Debug, Default)]
pub(crate) struct FromAscii {
    /// A CR was the last octet, and is to be written unless an LF follows.
    holds_cr: bool,
}

impl FromAscii {
    /// Appends what `wire` stands for.
    pub(crate) fn push(&mut self, out: &mut Vec<u8>, mut wire: &[u8]) {
        if self.holds_cr && !wire.is_empty() {
            self.holds_cr = false;
            if wire[0] != b'\n' {
                out.push(b'\r');
            }
        }
        while let Some(at) = memchr(b'\r', wire) {
            out.extend_from_slice(&wire[..at]);
            match wire.get(at + 1) {
                Some(b'\n') => {}
                Some(_) => out.push(b'\r'),
                None => self.holds_cr = true,
            }
            wire = &wire[at + 1..];
        }
        out.extend_from_slice(wire);
    }

    /// Appends what was held back for what didn't come.
    pub(crate) fn end(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.holds_cr) {
            out.push(b'\r');
        }
    }
}

#[cfg(test)]
mod tests {
    use medusa_core::producer::pieces;
    use proptest::prelude::*;

    use super::*;

    fn sent(parts: Vec<Vec<u8>>) -> Vec<u8> {
        let mut producer = Ascii::new(Box::new(pieces(parts)));
        let mut out = Outbox::without_files();
        while producer.produce(&mut out).unwrap() != Produced::Done {}
        let mut wire = Vec::new();
        while !out.front().is_empty() {
            wire.extend_from_slice(out.front());
            out.advance(out.front().len() as u64);
        }
        wire
    }

    fn received(wire: &[u8], cuts: &[usize]) -> Vec<u8> {
        let (mut from, mut out, mut at) = (FromAscii::default(), Vec::new(), 0);
        for cut in cuts.iter().copied().chain([wire.len()]) {
            from.push(&mut out, &wire[at..cut]);
            at = cut;
        }
        from.end(&mut out);
        out
    }

    #[test]
    fn line_ends_change_and_nothing_else_does() {
        for (stored, wire) in [
            (&b"a\nb\n"[..], &b"a\r\nb\r\n"[..]),
            (b"\n\n", b"\r\n\r\n"),
            (b"a\r\nb\rc", b"a\r\r\nb\rc"),
            (b"", b""),
            (b"\r", b"\r"),
        ] {
            assert_eq!(sent(vec![stored.to_vec()]), wire);
            assert_eq!((stored.len() as u64) + added_by_ascii(stored), wire.len() as u64);
            for first in 0..=wire.len() {
                for second in first..=wire.len() {
                    assert_eq!(received(wire, &[first, second]), stored, "{first} {second}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_sent_comes_back(
            parts in prop::collection::vec("[a\r\n]{0,5}", 0..6), cut in 0usize..40,
        ) {
            let stored: Vec<u8> = parts.concat().into_bytes();
            let wire = sent(parts.into_iter().map(String::into_bytes).collect());
            prop_assert_eq!(received(&wire, &[cut.min(wire.len())]), stored);
        }
    }
}
