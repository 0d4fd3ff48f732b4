//! A stored message as it goes over the wire: every line ends in CRLF, and of TOP's messages only the
//! header and some lines come (RFC 1939 §7).
//!
//! Dots are doubled by the core's `dot_stuffed`, which goes around. It reads no file: that is the inner
//! producer's.

use medusa_core::{Outbox, ProduceError, Produced, Producer};
use memchr::memchr;

/// What is asked of the inner producer at once, within these bounds.
const MIN_STAGED: usize = 1024;
const MAX_STAGED: usize = 32 * 1024;

/// Produces the lines of `inner` with CRLF behind each, where LF alone may have been. A CR that no LF
/// follows is left as it is. With `lines`, the text ends so many lines after its first empty one.
///
/// Its chunk is that of `inner`, and once more where every octet is a bare LF.
pub(crate) fn wire_text<P: Producer>(inner: P, lines: Option<u64>) -> WireText<P> {
    WireText { inner, staged: Outbox::without_files(), line: Line::Empty, in_header: true, lines }
}

/// Made by [`wire_text`].
#[derive(Debug)]
pub(crate) struct WireText<P> {
    inner: P,
    /// Empty between calls.
    staged: Outbox,
    line: Line,
    in_header: bool,
    /// Lines of the body that may still come; `None` is all.
    lines: Option<u64>,
}

/// What of the current line has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Empty,
    /// One CR and nothing else.
    Cr,
    Text,
    TextCr,
}

impl<P: Producer> Producer for WireText<P> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let wanted = out.room().clamp(MIN_STAGED, MAX_STAGED);
        self.staged.set_target(wanted as u64);
        let produced = self.inner.produce(&mut self.staged)?;
        if let Some(job) = self.staged.take_job() {
            out.defer(job);
        }
        let mut ended = false;
        while !self.staged.is_empty() {
            let front = self.staged.front();
            let count = front.len() as u64;
            let mut place = Place { line: self.line, in_header: self.in_header, lines: self.lines };
            ended = ended || place.pass(front, out);
            (self.line, self.in_header, self.lines) = (place.line, place.in_header, place.lines);
            self.staged.advance(count);
        }
        Ok(if ended { Produced::Done } else { produced })
    }
}

struct Place {
    line: Line,
    in_header: bool,
    lines: Option<u64>,
}

impl Place {
    /// Passes `text` on. Says whether what was asked for has come to its end.
    fn pass(&mut self, text: &[u8], out: &mut Outbox) -> bool {
        let mut rest = text;
        while let Some(at) = memchr(b'\n', rest) {
            let (line, behind) = rest.split_at(at);
            self.within(line, out);
            let has_cr = matches!(self.line, Line::Cr | Line::TextCr);
            out.push_slice(if has_cr { b"\n" } else { b"\r\n" });
            let is_blank = matches!(self.line, Line::Empty | Line::Cr);
            self.line = Line::Empty;
            rest = &behind[1..];
            if self.ends_with_line(is_blank) {
                return true;
            }
        }
        self.within(rest, out);
        false
    }

    fn within(&mut self, part: &[u8], out: &mut Outbox) {
        out.push_slice(part);
        self.line = match (self.line, part) {
            (line, []) => line,
            (Line::Empty, [b'\r']) => Line::Cr,
            (_, [.., b'\r']) => Line::TextCr,
            _ => Line::Text,
        };
    }

    fn ends_with_line(&mut self, is_blank: bool) -> bool {
        let Some(lines) = &mut self.lines else { return false };
        if !self.in_header {
            *lines = lines.saturating_sub(1);
        } else if is_blank {
            self.in_header = false;
        }
        !self.in_header && *lines == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use medusa_core::producer::generated;

    fn run(mut producer: impl Producer) -> String {
        let mut out = Outbox::new();
        let mut all = Vec::new();
        for _ in 0..10_000 {
            out.set_target(1);
            let produced = producer.produce(&mut out).unwrap();
            while !out.is_empty() {
                let front = out.front();
                all.extend_from_slice(front);
                let count = front.len() as u64;
                out.advance(count);
            }
            if produced == Produced::Done {
                return String::from_utf8(all).unwrap();
            }
        }
        panic!("it never ended");
    }

    /// Also with every split in three.
    fn check(text: &str, lines: Option<u64>, expected: &str) {
        for first in 0..=text.len() {
            for second in first..=text.len() {
                let parts = [&text[..first], &text[first..second], &text[second..]];
                let mut rest = parts.iter();
                let inner = generated(|out: &mut Outbox| {
                    let Some(part) = rest.next() else { return Ok(Produced::Done) };
                    out.push_slice(part.as_bytes());
                    Ok(Produced::More)
                });
                assert_eq!(run(wire_text(inner, lines)), expected, "{parts:?} {lines:?}");
            }
        }
    }

    #[test]
    fn every_line_ends_in_crlf() {
        for (text, expected) in [
            ("", ""),
            ("a\nb\n", "a\r\nb\r\n"),
            ("a\r\nb\r\n", "a\r\nb\r\n"),
            ("\n\n", "\r\n\r\n"),
            ("\r\n\n\r\n", "\r\n\r\n\r\n"),
            ("a\rb\n", "a\rb\r\n"),
            ("a\r\r\nb", "a\r\r\nb"),
            ("a\r", "a\r"),
        ] {
            check(text, None, expected);
        }
    }

    #[test]
    fn top_is_the_header_the_blank_line_and_so_many_lines() {
        let text = "A: b\nC: d\r\n\r\n1\n\n3\r\n";
        check(text, Some(0), "A: b\r\nC: d\r\n\r\n");
        check(text, Some(1), "A: b\r\nC: d\r\n\r\n1\r\n");
        check(text, Some(2), "A: b\r\nC: d\r\n\r\n1\r\n\r\n");
        check(text, Some(9), "A: b\r\nC: d\r\n\r\n1\r\n\r\n3\r\n");
        check("A: b\n", Some(0), "A: b\r\n");
        check("\nbody\n", Some(0), "\r\n");
        check("A: b\n \n\nbody", Some(1), "A: b\r\n \r\n\r\nbody");
        check("A: b\n\r\r\n\nx", Some(0), "A: b\r\n\r\r\n\r\n");
    }
}
