//! Text as SMTP, POP3 and NNTP send it: a dot at a line's beginning is doubled, and a line with one dot
//! ends it (RFC 5321 §4.5.2, RFC 1939 §3).
//!
//! A line ends with CRLF and nothing else: a bare CR or LF passes as it is, and whoever fears what a
//! lax receiver makes of it refuses it beforehand.

use memchr::memchr;

use super::{ProduceError, Produced, Producer};
use crate::outbox::Outbox;

/// What is asked of the inner producer at once, within these bounds: a dot takes two bytes in the end.
const MIN_STAGED: usize = 1024;
const MAX_STAGED: usize = 32 * 1024;

/// Produces the text of `inner` with dots doubled, CRLF if its last line lacks it, and `.` CRLF.
///
/// Its chunk, by which it may overshoot the room, is that of `inner` and a third more, and 2 KiB.
pub fn dot_stuffed<P: Producer>(inner: P) -> DotStuffed<P> {
    DotStuffed { inner, staged: Outbox::without_files(), place: Place::LineStart }
}

/// Made by [`dot_stuffed`].
#[derive(Debug)]
pub struct DotStuffed<P> {
    inner: P,
    /// Empty between calls.
    staged: Outbox,
    place: Place,
}

/// Where the last byte left us. Kept over calls: a CRLF may be cut, and a wait is not an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    Within,
    AfterCr,
}

impl<P: Producer> Producer for DotStuffed<P> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let wanted = (out.room() / 4 * 3).clamp(MIN_STAGED, MAX_STAGED);
        self.staged.set_target(wanted as u64);
        let produced = self.inner.produce(&mut self.staged)?;
        if let Some(job) = self.staged.take_job() {
            out.defer(job);
        }
        while !self.staged.is_empty() {
            let front = self.staged.front();
            self.place = stuff(self.place, front, out);
            let count = front.len() as u64;
            self.staged.advance(count);
        }
        if produced == Produced::Done {
            let end: &[u8] = if self.place == Place::LineStart { b".\r\n" } else { b"\r\n.\r\n" };
            out.push_slice(end);
        }
        Ok(produced)
    }
}

/// Appends `text`, doubling the dots at the beginnings of lines. Returns where it ends.
fn stuff(mut place: Place, text: &[u8], out: &mut Outbox) -> Place {
    let mut rest = text;
    while let Some(&first) = rest.first() {
        match (place, first) {
            (Place::LineStart, b'.') => {
                out.push_slice(b"..");
                rest = &rest[1..];
                place = Place::Within;
            }
            (Place::AfterCr, b'\n') => {
                out.push_slice(b"\n");
                rest = &rest[1..];
                place = Place::LineStart;
            }
            _ => {
                let taken = memchr(b'\r', rest).map_or(rest.len(), |at| at + 1);
                out.push_slice(&rest[..taken]);
                place = if rest[taken - 1] == b'\r' { Place::AfterCr } else { Place::Within };
                rest = &rest[taken..];
            }
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::testing::{drained, run};
    use crate::producer::{bytes, chunked, generated};

    const CASES: &[(&str, &str)] = &[
        ("", ".\r\n"),
        (".", "..\r\n.\r\n"),
        ("..", "...\r\n.\r\n"),
        ("a", "a\r\n.\r\n"),
        ("a\r\n", "a\r\n.\r\n"),
        ("a\r\n.b\r\n", "a\r\n..b\r\n.\r\n"),
        ("a\r\n.\r\n", "a\r\n..\r\n.\r\n"),
        ("\r\n\r\n.", "\r\n\r\n..\r\n.\r\n"),
        ("a.b\r\nc.\r\n", "a.b\r\nc.\r\n.\r\n"),
        // A bare CR or LF begins no line and ends no text.
        ("a\n.b", "a\n.b\r\n.\r\n"),
        ("a\r.b", "a\r.b\r\n.\r\n"),
        ("a\r", "a\r\r\n.\r\n"),
        ("a\r\r\n.b", "a\r\r\n..b\r\n.\r\n"),
        ("a\n", "a\n\r\n.\r\n"),
    ];

    #[test]
    fn dots_are_doubled_and_the_text_ended() {
        for (text, expected) in CASES {
            let out = run(dot_stuffed(bytes(*text)));
            assert_eq!(String::from_utf8(out).unwrap(), *expected, "{text:?}");
        }
    }

    #[test]
    fn every_split_gives_the_same() {
        for (text, expected) in CASES {
            for first in 0..=text.len() {
                for second in first..=text.len() {
                    let parts = [&text[..first], &text[first..second], &text[second..]];
                    // A call for each part: the outbox would join them again.
                    let mut rest = parts.iter();
                    let out = run(dot_stuffed(generated(|out: &mut Outbox| {
                        let Some(part) = rest.next() else { return Ok(Produced::Done) };
                        out.push_slice(part.as_bytes());
                        Ok(Produced::Pending)
                    })));
                    assert_eq!(String::from_utf8(out).unwrap(), *expected, "{parts:?}");
                }
            }
        }
    }

    /// Medusa's escaping producer took "nothing now" for "finished", and sent `ab` alone.
    #[test]
    fn nothing_now_is_not_finished() {
        let mut turn = 0;
        let mut producer = dot_stuffed(generated(move |out: &mut Outbox| {
            turn += 1;
            match turn {
                1 => out.push_slice(b"ab"),
                3 => out.push_slice(b"\r\n"),
                5 => out.push_slice(b"cd"),
                6 => return Ok(Produced::Done),
                _ => {}
            }
            Ok(Produced::Pending)
        }));
        let mut out = Outbox::new();
        let said: [&[u8]; 6] = [b"ab", b"", b"\r\n", b"", b"cd", b"\r\n.\r\n"];
        for (turn, said) in said.iter().enumerate() {
            let expected = if turn == 5 { Produced::Done } else { Produced::Pending };
            assert_eq!(producer.produce(&mut out).unwrap(), expected);
            assert_eq!(drained(&mut out), *said);
        }
    }

    #[test]
    fn dots_alone_stay_within_the_bound() {
        let text = "\r\n.".repeat(100_000);
        for room in [1, 100, 5_000, 60_000] {
            let mut out = Outbox::new();
            out.set_target(room);
            let mut producer = dot_stuffed(bytes(text.clone()));
            assert_eq!(producer.produce(&mut out).unwrap(), Produced::More);
            // 16 KiB is the chunk of `bytes`.
            assert!(out.len() <= room + 2048 + 16 * 1024 / 3 * 4, "{} for {room}", out.len());
        }
    }

    #[test]
    fn it_nests() {
        let out = run(chunked(dot_stuffed(bytes(".a"))));
        assert_eq!(out, b"8\r\n..a\r\n.\r\n\r\n0\r\n\r\n");
    }
}
