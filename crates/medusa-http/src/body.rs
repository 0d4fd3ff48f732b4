//! How long a request's body is (RFC 9112 §6.3): the one place where that is decided.
//!
//! What two implementations could read differently is refused, not repaired: that is how requests
//! are smuggled (RFC 9112 §11.2).

use http::Version;

use crate::error::Fault;
use crate::head::{Head, Known, tokens};

/// Where a request's body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyLength {
    /// After this many octets; most requests' 0 among them.
    Length(u64),
    /// After the last chunk and the trailer section.
    Chunked,
}

impl BodyLength {
    /// What the head says of the body that follows it.
    ///
    /// # Errors
    ///
    /// Content-Length with Transfer-Encoding, Transfer-Encoding in HTTP/1.0, `chunked` twice or not
    /// last, and codings other than `chunked`. After any of them the connection must be closed.
    #[inline]
    pub fn of(head: &Head<'_>) -> Result<BodyLength, Fault> {
        match head.known(Known::TransferEncoding) {
            None => Ok(BodyLength::Length(head.content_length().unwrap_or(0))),
            Some(_) => coded(head),
        }
    }

    /// Whether there is nothing to read.
    pub fn is_empty(self) -> bool {
        self == BodyLength::Length(0)
    }
}

#[cold]
fn coded(head: &Head<'_>) -> Result<BodyLength, Fault> {
    if head.content_length().is_some() {
        return Err(Fault::LengthAndCoding);
    }
    if head.version() == Version::HTTP_10 {
        return Err(Fault::CodingInOldVersion);
    }
    let lines = head.fields().all(&http::header::TRANSFER_ENCODING);
    let mut codings = 0;
    let mut chunked_at = None;
    for coding in lines.flat_map(tokens) {
        let is_chunked = coding.eq_ignore_ascii_case(b"chunked");
        // `chunked` takes no parameters (RFC 9112 §7.1): another reader might drop them.
        let with_parameters = coding.len() > 7
            && coding[..7].eq_ignore_ascii_case(b"chunked")
            && matches!(coding[7], b';' | b' ' | b'\t');
        if chunked_at.is_some() || with_parameters {
            return Err(Fault::ChunkedNotLast);
        }
        if is_chunked {
            chunked_at = Some(codings);
        }
        codings += 1;
    }
    match (chunked_at, codings) {
        (Some(0), 1) => Ok(BodyLength::Chunked),
        (None, 0) => Err(Fault::ChunkedNotLast),
        _ => Err(Fault::UnknownCoding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::HeadLimits;

    #[test]
    fn each_body_has_one_reading_or_none() {
        let te = |value: &str| format!("Transfer-Encoding: {value}\r\n");
        for (version, fields, expected) in [
            ("1.1", String::new(), Ok(BodyLength::Length(0))),
            ("1.1", "Content-Length: 0\r\n".into(), Ok(BodyLength::Length(0))),
            ("1.0", "Content-Length: 12\r\n".into(), Ok(BodyLength::Length(12))),
            ("1.1", te("chunked"), Ok(BodyLength::Chunked)),
            ("1.1", te("Chunked"), Ok(BodyLength::Chunked)),
            ("1.1", te(", chunked ,"), Ok(BodyLength::Chunked)),
            ("1.0", te("chunked"), Err(Fault::CodingInOldVersion)),
            ("1.1", te("chunked") + "Content-Length: 3\r\n", Err(Fault::LengthAndCoding)),
            ("1.1", "Content-Length: 3\r\n".to_owned() + &te("x"), Err(Fault::LengthAndCoding)),
            ("1.0", te("chunked") + "Content-Length: 3\r\n", Err(Fault::LengthAndCoding)),
            ("1.1", te("gzip, chunked"), Err(Fault::UnknownCoding)),
            ("1.1", te("gzip") + &te("chunked"), Err(Fault::UnknownCoding)),
            ("1.1", te("gzip"), Err(Fault::UnknownCoding)),
            ("1.1", te("identity"), Err(Fault::UnknownCoding)),
            ("1.1", te("xchunked"), Err(Fault::UnknownCoding)),
            ("1.1", te("\"chunked\""), Err(Fault::UnknownCoding)),
            ("1.1", te("chunked, gzip"), Err(Fault::ChunkedNotLast)),
            ("1.1", te("chunked, chunked"), Err(Fault::ChunkedNotLast)),
            ("1.1", te("chunked") + &te("chunked"), Err(Fault::ChunkedNotLast)),
            ("1.1", te("chunked") + &te("identity"), Err(Fault::ChunkedNotLast)),
            ("1.1", te("chunked;q=1"), Err(Fault::ChunkedNotLast)),
            ("1.1", te("chunked x"), Err(Fault::ChunkedNotLast)),
            ("1.1", te(""), Err(Fault::ChunkedNotLast)),
            ("1.1", te(","), Err(Fault::ChunkedNotLast)),
        ] {
            let text = format!("PUT / HTTP/{version}\r\n{fields}Host: a");
            let head = Head::parse(text.as_bytes(), &HeadLimits::default()).expect("well-formed");
            assert_eq!(BodyLength::of(&head), expected, "{text:?}");
        }
    }
}
