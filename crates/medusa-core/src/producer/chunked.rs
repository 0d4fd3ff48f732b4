//! HTTP/1.1's chunked transfer coding (RFC 9112 §7.1).
//!
//! The inner producer writes straight into the outbox and the size is slipped in front afterwards, so
//! that no payload is copied and file segments pass. It writes no chunk extensions, and no `Trailer`
//! field: that stands in the head.

use std::io::Write;

use super::{ProduceError, Produced, Producer};
use crate::outbox::Outbox;

/// Produces what `inner` does, a chunk for each time it had bytes, and the last chunk when it is done.
///
/// Its chunk, by which it may overshoot the room, is that of `inner` and 25 bytes of framing, and at
/// the end the trailers.
pub fn chunked<P: Producer>(inner: P) -> Chunked<P> {
    Chunked { inner, trailers: None }
}

/// Made by [`chunked`].
pub struct Chunked<P> {
    inner: P,
    trailers: Option<Trailers>,
}

type Trailers = Box<dyn FnOnce() -> Vec<(String, String)>>;

impl<P> Chunked<P> {
    /// Ends with the trailer fields (RFC 9112 §7.1.2) that `trailers` names. It is asked when the inner
    /// producer is done, so they may tell what was only known then.
    pub fn trailers(mut self, trailers: impl FnOnce() -> Vec<(String, String)> + 'static) -> Self {
        self.trailers = Some(Box::new(trailers));
        self
    }
}

impl<P: Producer> Producer for Chunked<P> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let mark = out.mark();
        let produced = self.inner.produce(out);
        let length = out.since(&mark);
        if length > 0 {
            // Sixteen digits hold any u64.
            let mut size = [0; 18];
            let mut rest = &mut size[..];
            write!(rest, "{length:x}\r\n")?;
            let unused = rest.len();
            out.prepend(mark, &size[..size.len() - unused]);
        }
        let done = matches!(produced, Ok(Produced::Done));
        match (length > 0, done) {
            (true, false) => out.push_slice(b"\r\n"),
            (true, true) => out.push_slice(b"\r\n0\r\n"),
            (false, true) => out.push_slice(b"0\r\n"),
            (false, false) => {}
        }
        if done {
            if let Some(trailers) = self.trailers.take() {
                push_trailers(out, &trailers())?;
            }
            out.push_slice(b"\r\n");
        }
        produced
    }
}

fn push_trailers(out: &mut Outbox, trailers: &[(String, String)]) -> Result<(), ProduceError> {
    for (name, value) in trailers {
        // A line end in a field would let its author write a second reply.
        if name.is_empty() || !name.bytes().all(is_token) || value.bytes().any(ends_or_hides) {
            return Err(ProduceError::Failed("a trailer field is malformed".into()));
        }
        for part in [name, ": ", value, "\r\n"] {
            out.push_slice(part.as_bytes());
        }
    }
    Ok(())
}

/// `tchar` of RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// What a field value must not hold (RFC 9110 §5.5).
fn ends_or_hides(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n' | 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::producer::testing::run;
    use crate::producer::{bytes, composite, empty, generated};

    #[test]
    fn each_piece_is_a_chunk() {
        let pieces = vec![bytes("hello "), bytes("world")];
        assert_eq!(run(chunked(bytes("hello"))), b"5\r\nhello\r\n0\r\n\r\n");
        let out = run(chunked(composite(pieces)));
        assert_eq!(out, b"b\r\nhello world\r\n0\r\n\r\n");
    }

    #[test]
    fn nothing_is_the_last_chunk_alone() {
        assert_eq!(run(chunked(empty())), b"0\r\n\r\n");
    }

    #[test]
    fn no_empty_chunk_before_the_end() {
        let mut turn = 0;
        let producer = chunked(generated(move |out: &mut Outbox| {
            turn += 1;
            if turn == 3 {
                out.push_slice(b"x");
            }
            Ok([Produced::Pending, Produced::More, Produced::Pending, Produced::Done][turn - 1])
        }));
        assert_eq!(run(producer), b"1\r\nx\r\n0\r\n\r\n");
    }

    #[test]
    fn trailers_are_asked_at_the_end() {
        let producer = chunked(bytes("x")).trailers(|| vec![("Digest".into(), "abc".into())]);
        assert_eq!(run(producer), b"1\r\nx\r\n0\r\nDigest: abc\r\n\r\n");
    }

    #[test]
    fn a_trailer_cannot_smuggle_a_line() {
        for (name, value) in [("A", "b\r\nC: d"), ("A: b\r\nC", "d"), ("", "d"), ("A", "\0")] {
            let mut producer = chunked(empty()).trailers(move || vec![(name.into(), value.into())]);
            assert!(producer.produce(&mut Outbox::new()).is_err(), "{name:?}: {value:?}");
        }
    }

    #[test]
    fn a_failed_reply_looks_truncated() {
        let mut out = Outbox::new();
        let mut producer = chunked(generated(|out: &mut Outbox| {
            out.push_slice(b"half");
            Err(ProduceError::Truncated { missing: 4 })
        }));
        assert!(producer.produce(&mut out).is_err());
        assert_eq!(crate::producer::testing::drained(&mut out), b"4\r\nhalf\r\n");
    }
}
