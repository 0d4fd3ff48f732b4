//! Looks at a message as it streams by: line ends, lines' lengths, and how many servers it went through.
//!
//! What it lets through ends its lines in CRLF and nothing else. It keeps the beginning of one line and no
//! more of the message, and the result is the same however the message is split.

use memchr::memchr2;

/// What is done about a CR or LF that is not part of a CRLF. Neither ever ends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Smuggling {
    /// The message is refused.
    #[default]
    Reject,
    /// It becomes a CRLF.
    Normalise,
}

const RECEIVED: &[u8] = b"received:";

/// What was seen of one message.
#[derive(Debug, Clone)]
pub(crate) struct Inspector {
    smuggling: Smuggling,
    line_limit: usize,
    /// The last octet was a CR, which is not written yet.
    behind_cr: bool,
    /// The length of the line at hand.
    line: usize,
    /// Its first octets, in lower case.
    start: [u8; RECEIVED.len()],
    in_head: bool,
    /// A CR or LF stood alone.
    pub bare: bool,
    /// A line was longer than it may be.
    pub overlong: bool,
    /// Received fields.
    pub hops: usize,
}

impl Inspector {
    pub(crate) fn new(smuggling: Smuggling, line_limit: usize) -> Inspector {
        Inspector {
            smuggling,
            line_limit,
            behind_cr: false,
            line: 0,
            start: [0; RECEIVED.len()],
            in_head: true,
            bare: false,
            overlong: false,
            hops: 0,
        }
    }

    /// Whether the message is refused for its line ends.
    pub(crate) fn is_smuggled(&self) -> bool {
        self.bare && self.smuggling == Smuggling::Reject
    }

    /// Whether the header section has ended.
    pub(crate) fn head_ended(&self) -> bool {
        !self.in_head
    }

    /// Appends what may be kept of `piece` to `out`.
    pub(crate) fn take(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while let Some(&first) = rest.first() {
            if self.behind_cr {
                self.behind_cr = false;
                if first == b'\n' {
                    rest = &rest[1..];
                } else {
                    self.bare = true;
                }
                self.end_line(out);
                continue;
            }
            let end = memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
            self.text(&rest[..end], out);
            match rest.get(end) {
                Some(b'\r') => self.behind_cr = true,
                Some(_) => {
                    self.bare = true;
                    self.end_line(out);
                }
                None => return,
            }
            rest = &rest[end + 1..];
        }
    }

    /// The message is over: a last line that lacks its end gets one.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) {
        self.bare |= self.behind_cr;
        if self.behind_cr || self.line > 0 {
            self.behind_cr = false;
            self.end_line(out);
        }
    }

    fn text(&mut self, text: &[u8], out: &mut Vec<u8>) {
        if self.in_head && self.line < RECEIVED.len() {
            let room = RECEIVED.len() - self.line;
            for (place, octet) in
                self.start[self.line..].iter_mut().zip(&text[..text.len().min(room)])
            {
                *place = octet.to_ascii_lowercase();
            }
        }
        self.line += text.len();
        self.overlong |= self.line > self.line_limit;
        out.extend_from_slice(text);
    }

    fn end_line(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\r\n");
        if self.in_head {
            self.hops += usize::from(self.line >= RECEIVED.len() && self.start == RECEIVED);
            self.in_head = self.line > 0;
        }
        self.line = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn run(smuggling: Smuggling, pieces: &[&[u8]]) -> (Vec<u8>, Inspector) {
        let mut inspector = Inspector::new(smuggling, 20);
        let mut out = Vec::new();
        for piece in pieces {
            inspector.take(piece, &mut out);
        }
        inspector.finish(&mut out);
        (out, inspector)
    }

    #[test]
    fn line_ends() {
        let check = |text: &[u8], normalised: &[u8], bare: bool| {
            let (out, inspector) = run(Smuggling::Normalise, &[text]);
            assert_eq!((&*out, inspector.bare), (normalised, bare), "{text:?}");
            assert_eq!(run(Smuggling::Reject, &[text]).1.is_smuggled(), bare, "{text:?}");
        };
        check(b"a\r\n\r\nb\r\n", b"a\r\n\r\nb\r\n", false);
        check(b"", b"", false);
        check(b"a", b"a\r\n", false);
        check(b"a\nb\r\n", b"a\r\nb\r\n", true);
        check(b"a\rb\r\n", b"a\r\nb\r\n", true);
        check(b"a\r\r\n", b"a\r\n\r\n", true);
        check(b"a\r\n\n", b"a\r\n\r\n", true);
        check(b"a\r", b"a\r\n", true);
        check(b"\n.\r\n", b"\r\n.\r\n", true);
    }

    #[test]
    fn hops_are_counted_in_the_head_alone() {
        let text = b"Received: a\r\n b\r\nRECEIVED:\r\nReceivedx:\r\n\r\nReceived: c\r\n";
        let (_, inspector) = run(Smuggling::Reject, &[text]);
        assert_eq!((inspector.hops, inspector.overlong), (2, false));
        let (_, inspector) = run(Smuggling::Reject, &[b"Received\r\nReceive\r\nReceived:"]);
        assert_eq!(inspector.hops, 1);
    }

    #[test]
    fn a_line_is_as_long_as_it_may_be() {
        assert!(!run(Smuggling::Reject, &[&[b'x'; 20], b"\r\n", &[b'x'; 20]]).1.overlong);
        assert!(run(Smuggling::Reject, &[&[b'x'; 20], b"x\r\n"]).1.overlong);
    }

    proptest! {
        #[test]
        fn every_split_is_the_same(
            text in vec(prop::sample::select(b"\r\n.aReceived:".to_vec()), 0..40),
            first in 0usize..40,
            second in 0usize..40,
        ) {
            let (first, second) = (first.min(text.len()), second.min(text.len()));
            let (first, second) = (first.min(second), first.max(second));
            for smuggling in [Smuggling::Reject, Smuggling::Normalise] {
                let whole = run(smuggling, &[&text]);
                let split = run(smuggling, &[&text[..first], &text[first..second], &text[second..]]);
                prop_assert_eq!(&whole.0, &split.0);
                prop_assert_eq!(format!("{:?}", whole.1), format!("{:?}", split.1));
                let seen = String::from_utf8(whole.0).unwrap();
                prop_assert!(!seen.replace("\r\n", "").contains(['\r', '\n']), "{seen:?}");
            }
        }
    }
}
