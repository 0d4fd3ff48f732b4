//! A response's head, composed: status line, Date, the handler's fields, and the framing that fits
//! the request (RFC 9112 §6, §9.3). The one place where it is decided what a body's end is and
//! whether the connection outlives it.

use http::{Method, StatusCode, Version};

use crate::date::Stamp;
use crate::head::Head;
use crate::response::Response;

/// What of a request decides how its response is framed. Bits of one word: a response is composed right
/// behind its request, and flags that are written one by one and read together make a processor wait.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked(usize);

impl Asked {
    const OLD_VERSION: usize = 1;
    const HEAD_ONLY: usize = 2;
    const PERSISTENT: usize = 4;
    const SECURE: usize = 8;
    const ALONE: usize = 16;

    /// Of a request whose head could not be made out: the reply is the last.
    pub(crate) const UNKNOWN: Asked = Asked(0);

    #[inline]
    pub(crate) fn by(head: &Head<'_>, method: &Method) -> Asked {
        let flag = |flag: usize, is_set: bool| flag * usize::from(is_set);
        Asked(
            flag(Asked::OLD_VERSION, head.version() == Version::HTTP_10)
                | flag(Asked::HEAD_ONLY, *method == Method::HEAD)
                | flag(Asked::PERSISTENT, head.persistent())
                | flag(Asked::ALONE, !method.is_safe()),
        )
    }

    /// HTTP/1.0.
    pub(crate) fn is_old_version(self) -> bool {
        self.0 & Asked::OLD_VERSION != 0
    }

    /// HEAD: no body, whatever the fields say (RFC 9110 §9.3.2).
    pub(crate) fn is_head_only(self) -> bool {
        self.0 & Asked::HEAD_ONLY != 0
    }

    /// The client would go on, and nothing speaks against it.
    pub(crate) fn is_persistent(self) -> bool {
        self.0 & Asked::PERSISTENT != 0
    }

    /// It came over TLS.
    pub(crate) fn is_secure(self) -> bool {
        self.0 & Asked::SECURE != 0
    }

    /// Nothing behind it is looked at while its answer is put off: what it does may change what is
    /// answered next (RFC 9112 §9.3.2).
    pub(crate) fn is_alone(self) -> bool {
        self.0 & Asked::ALONE != 0
    }

    /// The same, and alone if it has to be.
    #[must_use]
    pub(crate) fn alone_if(self, has_to_be: bool) -> Asked {
        if has_to_be { Asked(self.0 | Asked::ALONE) } else { self }
    }

    /// The same, persistent only if it may be.
    #[must_use]
    pub(crate) fn persistent_if(self, may_be: bool) -> Asked {
        if may_be { self } else { Asked(self.0 & !Asked::PERSISTENT) }
    }

    /// The same, over TLS or not.
    #[must_use]
    pub(crate) fn secured(self, is_secure: bool) -> Asked {
        if is_secure { Asked(self.0 | Asked::SECURE) } else { Asked(self.0 & !Asked::SECURE) }
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Asked({:05b})", self.0)
    }
}

/// How the end of a response's body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// There is no body, and no field that would speak of one.
    None,
    Length(u64),
    Chunked,
    /// The end of the connection.
    Close,
}

/// How a response is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) end: End,
    pub(crate) send_body: bool,
    /// The connection ends behind this response.
    pub(crate) close: bool,
}

impl Plan {
    #[inline]
    pub(crate) fn new(asked: Asked, response: &Response) -> Plan {
        let close = !asked.is_persistent() || response.parts.close;
        let bodiless = match response.parts.status {
            // RFC 9112 §6.3: these end at their empty line.
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Some(End::None),
            // RFC 9110 §15.3.6: no content, and it says so.
            StatusCode::RESET_CONTENT => Some(End::Length(0)),
            _ => None,
        };
        if let Some(end) = bodiless {
            return Plan { end, send_body: false, close };
        }
        match response.parts.body.length() {
            Some(length) => {
                Plan { end: End::Length(length), send_body: !asked.is_head_only(), close }
            }
            None if asked.is_head_only() => Plan { end: End::None, send_body: false, close },
            None if asked.is_old_version() => {
                Plan { end: End::Close, send_body: true, close: true }
            }
            None => Plan { end: End::Chunked, send_body: true, close },
        }
    }
}

/// Appends the head, up to and with its empty line. `always` are whole lines that each response has.
#[inline]
pub(crate) fn head(
    out: &mut Vec<u8>,
    response: &Response,
    asked: Asked,
    plan: Plan,
    stamp: &Stamp,
    always: &[u8],
) {
    out.reserve(160 + response.parts.fields.len());
    match response.parts.status {
        StatusCode::OK => out.extend_from_slice(stamp.ok()),
        status => {
            status_line(out, status);
            out.extend_from_slice(stamp.line());
        }
    }
    out.extend_from_slice(&response.parts.fields);
    if !always.is_empty() {
        out.extend_from_slice(always);
    }
    match plan.end {
        End::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            if !(plan.close || asked.is_old_version()) {
                // As it is nearly always, in one go.
                return out.extend_from_slice(b"\r\n\r\n");
            }
            out.extend_from_slice(b"\r\n");
        }
        End::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        End::None | End::Close => {}
    }
    if plan.close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if asked.is_old_version() {
        // RFC 9112 §9.3: in 1.0 the connection persists only if both sides say so.
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Appends the status line. The version is the server's own, also to an HTTP/1.0 request
/// (RFC 9110 §2.5).
#[inline]
fn status_line(out: &mut Vec<u8>, status: StatusCode) {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    // RFC 9112 §4: the phrase may be empty, the space before it not.
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::response::Body;
    use medusa_core::{Outbox, ProduceError, Produced, Producer};

    struct Endless;
    impl Producer for Endless {
        fn produce(&mut self, _: &mut Outbox) -> Result<Produced, ProduceError> {
            Ok(Produced::Pending)
        }
    }

    fn check(asked: Asked, response: Response, tail: &str) {
        let mut out = Vec::new();
        let plan = Plan::new(asked, &response);
        head(&mut out, &response, asked, plan, &Stamp::new(b"Sun, 06 Nov 1994 08:49:37 GMT"), b"");
        let reason = response.parts.status.canonical_reason().unwrap_or_default();
        let expected = format!(
            "HTTP/1.1 {} {reason}\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n{tail}\r\n",
            response.parts.status.as_str(),
        );
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn each_response_has_its_framing() {
        let new = Asked(Asked::PERSISTENT);
        let old = Asked(Asked::PERSISTENT | Asked::OLD_VERSION);
        let head = Asked(Asked::PERSISTENT | Asked::HEAD_ONLY);
        let last = new.persistent_if(false);
        let ok = || Response::new(StatusCode::OK);
        let endless = || ok().body(Body::producer(Endless));
        let empty = |status| Response::new(status).body("never sent");
        check(new, ok().body("abc"), "Content-Length: 3\r\n");
        check(new, ok(), "Content-Length: 0\r\n");
        check(new, endless(), "Transfer-Encoding: chunked\r\n");
        check(new, ok().closing(), "Content-Length: 0\r\nConnection: close\r\n");
        check(last, ok(), "Content-Length: 0\r\nConnection: close\r\n");
        check(last, endless(), "Transfer-Encoding: chunked\r\nConnection: close\r\n");
        check(old, ok(), "Content-Length: 0\r\nConnection: keep-alive\r\n");
        check(old, endless(), "Connection: close\r\n");
        check(old.persistent_if(false), ok(), "Content-Length: 0\r\nConnection: close\r\n");
        check(head, ok().body("abc"), "Content-Length: 3\r\n");
        check(head, endless(), "");
        for asked in [new, head] {
            check(asked, empty(StatusCode::NO_CONTENT), "");
            check(asked, empty(StatusCode::NOT_MODIFIED), "");
            check(asked, empty(StatusCode::RESET_CONTENT), "Content-Length: 0\r\n");
        }
        for status in [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::RESET_CONTENT]
        {
            assert!(!Plan::new(new, &empty(status)).send_body);
        }
        assert!(!Plan::new(head, &ok().body("abc")).send_body);
        let odd = StatusCode::from_u16(599).expect("three digits");
        check(new, Response::new(odd), "Content-Length: 0\r\n");
    }
}
