//! A response as a handler makes it: status, fields and a body. How it is framed is decided where it
//! is composed (`compose.rs`); a handler can't set the fields that do that.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use medusa_core::Producer;

use crate::error::{Error, Fault};
use crate::head::octets;

/// What follows a response's head.
#[derive(Default)]
#[non_exhaustive]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// These octets.
    Bytes(Bytes),
    /// A copy of octets, in a buffer that goes round: see [`Response::body_copy`].
    Copy(Vec<u8>),
    /// What the producer makes. Where it knows what [remains](Producer::remaining), that is the
    /// Content-Length; otherwise the body is chunked, or ends with the connection in HTTP/1.0. It
    /// isn't asked for anything when the request was HEAD.
    Producer(Box<dyn Producer>),
}

impl Body {
    /// A body that `producer` makes.
    pub fn producer(producer: impl Producer + 'static) -> Body {
        Body::Producer(Box::new(producer))
    }

    /// How long it is, where that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Body::Empty => Some(0),
            Body::Bytes(bytes) => Some(bytes.len() as u64),
            Body::Copy(copy) => Some(copy.len() as u64),
            Body::Producer(producer) => producer.remaining(),
        }
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Body({:?})", self.length())
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        Body::Bytes(bytes)
    }
}

impl From<Vec<u8>> for Body {
    fn from(octets: Vec<u8>) -> Body {
        Body::Bytes(octets.into())
    }
}

impl From<String> for Body {
    fn from(text: String) -> Body {
        Body::Bytes(text.into())
    }
}

impl From<&'static [u8]> for Body {
    fn from(octets: &'static [u8]) -> Body {
        Body::Bytes(Bytes::from_static(octets))
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Body {
        Body::Bytes(Bytes::from_static(text.as_bytes()))
    }
}

/// Header fields made ready once and used in many responses, such as a cached file's.
#[derive(Debug, Clone, Default)]
pub struct FieldBlock {
    lines: Bytes,
}

impl FieldBlock {
    /// Makes fields ready.
    ///
    /// # Errors
    ///
    /// A field that the response's framing decides, such as Content-Length.
    pub fn new<'a>(
        fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>,
    ) -> Result<FieldBlock, Error> {
        let mut lines = Vec::new();
        for (name, value) in fields {
            if is_reserved(name) {
                return Err(Error::Misuse(RESERVED));
            }
            push_field(&mut lines, name, value.as_bytes());
        }
        Ok(FieldBlock { lines: lines.into() })
    }

    /// The same without a field, which is named as it is written.
    pub(crate) fn without(&self, name: &str) -> FieldBlock {
        let is_other = |line: &&[u8]| {
            !line.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b":"))
        };
        let lines = self.lines.split_inclusive(|&octet| octet == b'\n').filter(is_other);
        FieldBlock { lines: lines.collect::<Vec<_>>().concat().into() }
    }
}

/// A response.
#[derive(Debug)]
#[must_use]
pub struct Response {
    /// In a box that goes round with its buffers: a response changes hands half a dozen times.
    pub(crate) parts: Box<Parts>,
}

#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) status: StatusCode,
    /// Whole lines, each with its CR LF.
    pub(crate) fields: Vec<u8>,
    pub(crate) body: Body,
    pub(crate) close: bool,
    /// What the handler did that HTTP doesn't allow: it is answered by 500 instead.
    pub(crate) misuse: Option<&'static str>,
}

const RESERVED: &str = "Connection, Content-Length, Date, Keep-Alive, Trailer, Transfer-Encoding \
                        and Upgrade are the server's own fields";

impl Response {
    /// A response without fields and body.
    pub fn new(status: StatusCode) -> Response {
        let (fields, body) = (Vec::new(), Body::Empty);
        let parts = Parts { status, fields, body, close: false, misuse: misuse_of(status) };
        Response { parts: Box::new(parts) }
    }

    /// The same, in the parts of one that has been [emptied](Parts::empty).
    #[inline]
    pub(crate) fn again(mut parts: Box<Parts>, status: StatusCode) -> Response {
        parts.status = status;
        parts.misuse = misuse_of(status);
        Response { parts }
    }

    /// 200 with a text.
    pub fn text(text: impl Into<Body>) -> Response {
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        Response::new(StatusCode::OK).field(&header::CONTENT_TYPE, &plain).body(text)
    }

    /// 200 with a page.
    pub fn html(page: impl Into<Body>) -> Response {
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        Response::new(StatusCode::OK).field(&header::CONTENT_TYPE, &html).body(page)
    }

    /// A small page that says what the status means, and one line more. Neither may hold anything
    /// that the client sent.
    pub fn page(status: StatusCode, line: &'static str) -> Response {
        let title = format!("{} {}", status.as_str(), status.canonical_reason().unwrap_or("Error"));
        let page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <title>{title}</title></head>\n<body><h1>{title}</h1>\n<p>{line}</p></body></html>\n"
        );
        let mut response = Response::html(page);
        response.parts.status = status;
        response
    }

    /// The page for a status, as it is answered where there is nothing more to say.
    pub fn error(status: StatusCode) -> Response {
        let line = match status {
            StatusCode::FORBIDDEN => "This may not be had.",
            StatusCode::NOT_FOUND => "There is nothing here by this name.",
            StatusCode::METHOD_NOT_ALLOWED => "This can't be done with what is here.",
            StatusCode::INTERNAL_SERVER_ERROR => "The server failed to answer.",
            StatusCode::SERVICE_UNAVAILABLE => "The server is too busy; try again later.",
            _ => "",
        };
        Response::page(status, line)
    }

    /// What a fault is answered with. 503 says when to try again (RFC 9110 §10.2.3).
    pub fn fault(fault: Fault) -> Response {
        let response = Response::page(fault.status(), fault.text());
        if fault.status() == StatusCode::SERVICE_UNAVAILABLE {
            return response.field(&header::RETRY_AFTER, &HeaderValue::from_static("5"));
        }
        response
    }

    /// 405, with what is allowed instead (RFC 9110 §15.5.6).
    pub fn method_not_allowed(allowed: &[Method]) -> Response {
        Response::error(StatusCode::METHOD_NOT_ALLOWED).allow(allowed)
    }

    /// What a handler gets that did what HTTP doesn't allow.
    pub(crate) fn misused(misuse: &'static str) -> Response {
        let mut response = Response::new(StatusCode::INTERNAL_SERVER_ERROR);
        response.parts.misuse = Some(misuse);
        response
    }

    /// A redirection to `location`, a URI reference. What may not stand in one is percent-encoded,
    /// so that nothing can break out of the field.
    pub fn redirect(status: StatusCode, location: &[u8]) -> Response {
        let mut encoded = Vec::with_capacity(location.len());
        for &octet in location {
            if octets::is(octet, octets::TARGET)
                && octet.is_ascii()
                && !b"\"<>\\^`{|}".contains(&octet)
            {
                encoded.push(octet);
            } else {
                percent_encode(&mut encoded, octet);
            }
        }
        let mut response = Response::page(status, "What was asked for is elsewhere.");
        push_field(&mut response.parts.fields, &header::LOCATION, &encoded);
        response
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.parts.status
    }

    /// The body.
    pub fn content(&self) -> &Body {
        &self.parts.body
    }

    /// Adds a field. The fields that frame the message are the server's: to name one is answered by
    /// a 500.
    #[inline]
    pub fn field(mut self, name: &HeaderName, value: &HeaderValue) -> Response {
        if is_reserved(name) {
            self.parts.misuse = Some(RESERVED);
        } else {
            push_field(&mut self.parts.fields, name, value.as_bytes());
        }
        self
    }

    /// Adds a field whose value is made at run time.
    ///
    /// # Errors
    ///
    /// The value holds an octet that may not stand in one.
    pub fn try_field(mut self, name: &HeaderName, value: &[u8]) -> Result<Response, Error> {
        if octets::value_run(value, 0) != value.len() {
            return Err(Error::Misuse("a field's value holds a control octet"));
        }
        if is_reserved(name) {
            return Err(Error::Misuse(RESERVED));
        }
        push_field(&mut self.parts.fields, name, value);
        Ok(self)
    }

    /// Adds fields that were made ready before.
    #[inline]
    pub fn block(mut self, block: &FieldBlock) -> Response {
        self.parts.fields.extend_from_slice(&block.lines);
        self
    }

    /// Adds Allow.
    pub fn allow(mut self, allowed: &[Method]) -> Response {
        let list = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
        push_field(&mut self.parts.fields, &header::ALLOW, list.as_bytes());
        self
    }

    /// Sets the body.
    #[inline]
    pub fn body(mut self, body: impl Into<Body>) -> Response {
        self.parts.body = body.into();
        self
    }

    /// Sets the body to a copy of these octets. For short bodies that are made anew for each response:
    /// in a response of [`Exchange::response`](crate::Exchange::response) it allocates nothing.
    #[inline]
    pub fn body_copy(mut self, octets: &[u8]) -> Response {
        match &mut self.parts.body {
            Body::Copy(copy) => {
                copy.clear();
                copy.extend_from_slice(octets);
            }
            other => *other = Body::Copy(octets.to_vec()),
        }
        self
    }

    /// Closes the connection behind this response.
    pub fn closing(mut self) -> Response {
        self.parts.close = true;
        self
    }
}

impl Parts {
    /// Buffers that have grown beyond this aren't kept.
    const KEEP: usize = 4096;

    /// Empties them for the next response, all but the buffers.
    #[inline]
    pub(crate) fn empty(&mut self) {
        self.fields.clear();
        if self.fields.capacity() > Self::KEEP {
            self.fields = Vec::new();
        }
        match &mut self.body {
            Body::Copy(copy) if copy.capacity() <= Self::KEEP => copy.clear(),
            other => *other = Body::Empty,
        }
        self.close = false;
    }
}

/// RFC 9110 §15.2: an interim status answers nothing.
#[inline]
fn misuse_of(status: StatusCode) -> Option<&'static str> {
    status.is_informational().then_some("a 1xx status isn't a final response")
}

/// Appends `%XX`.
pub(crate) fn percent_encode(out: &mut Vec<u8>, octet: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.extend_from_slice(&[
        b'%',
        DIGITS[usize::from(octet >> 4)],
        DIGITS[usize::from(octet & 15)],
    ]);
}

fn is_reserved(name: &HeaderName) -> bool {
    const NAMES: [&str; 7] = [
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    NAMES.contains(&name.as_str())
}

/// Appends a line. Names get their capitals: they don't matter, but people expect them.
#[inline]
fn push_field(out: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    out.reserve(name.as_str().len() + value.len() + 4);
    match name.as_str() {
        "content-type" => out.extend_from_slice(b"Content-Type: "),
        "etag" => out.extend_from_slice(b"ETag: "),
        "www-authenticate" => out.extend_from_slice(b"WWW-Authenticate: "),
        name => push_name(out, name.as_bytes()),
    }
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn push_name(out: &mut Vec<u8>, name: &[u8]) {
    let mut before = b'-';
    out.extend(name.iter().map(|&octet| {
        let is_first = std::mem::replace(&mut before, octet) == b'-';
        if is_first { octet.to_ascii_uppercase() } else { octet }
    }));
    out.extend_from_slice(b": ");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_lines() {
        let response = Response::new(StatusCode::OK)
            .field(&header::ETAG, &HeaderValue::from_static("\"a\""))
            .field(&header::LAST_MODIFIED, &HeaderValue::from_static("b"))
            .allow(&[Method::GET, Method::HEAD]);
        assert_eq!(
            response.parts.fields,
            b"ETag: \"a\"\r\nLast-Modified: b\r\nAllow: GET, HEAD\r\n"
        );
    }

    #[test]
    fn framing_is_not_the_handlers() {
        for name in ["connection", "content-length", "transfer-encoding", "date", "upgrade"] {
            let name = HeaderName::from_static(name);
            let value = HeaderValue::from_static("1");
            let response = Response::new(StatusCode::OK).field(&name, &value);
            assert!(response.parts.misuse.is_some() && response.parts.fields.is_empty(), "{name}");
            assert!(Response::new(StatusCode::OK).try_field(&name, b"1").is_err());
            assert!(FieldBlock::new([(&name, &value)]).is_err());
        }
        assert!(Response::new(StatusCode::CONTINUE).parts.misuse.is_some());
    }

    #[test]
    fn a_value_can_not_end_its_line() {
        for value in [&b"a\r\nX: y"[..], b"a\nb", b"a\0", b"\x7f"] {
            assert!(Response::new(StatusCode::OK).try_field(&header::VIA, value).is_err());
        }
        let response =
            Response::redirect(StatusCode::FOUND, b"/a b\r\nSet-Cookie: <x>?q=1&r#f\xc3");
        let expected = "Location: /a%20b%0D%0ASet-Cookie:%20%3Cx%3E?q=1&r%23f%C3\r\n";
        assert!(String::from_utf8_lossy(&response.parts.fields).contains(expected));
    }
}
