//! What can go wrong, and what is said about it on the wire.
//!
//! A [`Fault`] is the peer's: it is answered by a status and, where the framing of what follows can
//! no longer be trusted, by closing. An [`Error`] is what this crate's callers see. No text from a
//! request ever enters either, so that a page or a log line made of them needs no escaping.

use http::StatusCode;

/// What this crate's public functions fail with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer sent something that isn't, or shouldn't be, taken.
    #[error("{0}")]
    Refused(Fault),
    /// The program that embeds this crate asked for something that HTTP doesn't allow.
    #[error("{0}")]
    Misuse(&'static str),
}

impl Error {
    /// The status that a client is told; anything that isn't its own fault is a 500.
    pub fn status(&self) -> StatusCode {
        match self {
            Error::Refused(fault) => fault.status(),
            Error::Misuse(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        Error::Refused(fault)
    }
}

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident $status:ident $text:literal;)*) => {
        /// A request that is refused, and why. Each knows its status.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Fault { $($(#[$doc])* $name,)* }

        impl Fault {
            /// Every fault, for tables and tests.
            pub const ALL: &'static [Fault] = &[$(Fault::$name,)*];

            /// What the client is answered.
            pub const fn status(self) -> StatusCode {
                match self { $(Fault::$name => StatusCode::$status,)* }
            }

            /// One line for a page or a log, holding nothing that the peer sent.
            pub const fn text(self) -> &'static str {
                match self { $(Fault::$name => $text,)* }
            }
        }
    };
}

faults! {
    /// The request line isn't `method SP target SP version` (RFC 9112 §3).
    RequestLine BAD_REQUEST "The request line is malformed.";
    /// A CR without LF, or an LF without CR (RFC 9112 §2.2).
    BareLineEnd BAD_REQUEST "A line must end in CR LF, and neither octet may stand alone.";
    /// NUL or another control octet (RFC 9110 §5.5).
    ControlOctet BAD_REQUEST "The request head holds a control octet.";
    /// A header field without a name, without a colon, or with an octet that isn't a token's.
    FieldName BAD_REQUEST "A header field's name is malformed.";
    /// White space between a field's name and its colon (RFC 9112 §5.1).
    SpaceBeforeColon BAD_REQUEST "White space before a header field's colon isn't allowed.";
    /// A line that begins with white space (RFC 9112 §5.2).
    FoldedLine BAD_REQUEST "Folded header lines aren't allowed.";
    /// The target is in none of the four forms, or in one that the method doesn't take.
    Target BAD_REQUEST "The request target is malformed.";
    /// The path's percent-encoding is broken, holds NUL, or climbs above the root.
    Path BAD_REQUEST "The path is malformed.";
    /// HTTP/1.1 without Host (RFC 9112 §3.2).
    HostMissing BAD_REQUEST "A Host header field is needed.";
    /// Host twice, or no host (RFC 9112 §3.2).
    Host BAD_REQUEST "The Host header field is malformed or repeated.";
    /// Content-Length is repeated, isn't plain digits, or overflows (RFC 9112 §6.3).
    ContentLength BAD_REQUEST "The Content-Length header field is malformed or repeated.";
    /// Content-Length together with Transfer-Encoding (RFC 9112 §6.1).
    LengthAndCoding BAD_REQUEST "Content-Length and Transfer-Encoding exclude each other.";
    /// Transfer-Encoding in an HTTP/1.0 request (RFC 9112 §6.1).
    CodingInOldVersion BAD_REQUEST "HTTP/1.0 has no Transfer-Encoding.";
    /// `chunked` isn't the last transfer coding, comes twice, or the list is malformed.
    ChunkedNotLast BAD_REQUEST "The Transfer-Encoding header field is malformed.";
    /// A transfer coding other than `chunked` (RFC 9112 §6.1).
    UnknownCoding NOT_IMPLEMENTED "Only the chunked transfer coding is implemented.";
    /// A chunk's size isn't hexadecimal digits or overflows (RFC 9112 §7.1), or its extensions aren't
    /// `;token[=token|quoted]` or are too long (§7.1.1).
    ChunkSize BAD_REQUEST "A chunk's size or extension is malformed or too long.";
    /// A chunk's data isn't followed by CR LF.
    ChunkEnd BAD_REQUEST "A chunk doesn't end where its size says.";
    /// A trailer field is malformed (RFC 9112 §7.1.2), or there are too many.
    Trailer BAD_REQUEST "The trailer section is malformed or too long.";
    /// The body is longer than this server or this resource takes.
    BodyTooLong PAYLOAD_TOO_LARGE "The request body is too long.";
    /// The target is longer than the limit.
    TargetTooLong URI_TOO_LONG "The request target is too long.";
    /// The head is longer than the limit, or holds too many fields.
    HeadTooLong REQUEST_HEADER_FIELDS_TOO_LARGE "The request's header fields are too large or too many.";
    /// The head didn't come whole in time.
    HeadTimeout REQUEST_TIMEOUT "The request took too long to arrive.";
    /// The body stopped coming.
    BodyTimeout REQUEST_TIMEOUT "The request body took too long to arrive.";
    /// An expectation other than `100-continue` (RFC 9110 §10.1.1).
    Expectation EXPECTATION_FAILED "Only the expectation 100-continue can be met.";
    /// Neither HTTP/1.0 nor HTTP/1.1.
    Version HTTP_VERSION_NOT_SUPPORTED "Only HTTP/1.0 and HTTP/1.1 are spoken here.";
    /// A method that nothing here implements.
    UnknownMethod NOT_IMPLEMENTED "The method isn't implemented.";
    /// An answer that was put off didn't come in time.
    AnswerTimeout SERVICE_UNAVAILABLE "The answer took too long; try again later.";
    /// A limit is reached for now.
    Busy SERVICE_UNAVAILABLE "The server is too busy; try again later.";
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_a_status_and_words_that_need_no_escaping() {
        for fault in Fault::ALL {
            let status = fault.status();
            assert!(status.is_client_error() || status.is_server_error(), "{fault:?}");
            assert!(!fault.text().contains(['<', '>', '&', '"']), "{fault:?}");
            assert_eq!(Error::from(*fault).status(), status);
        }
    }
}
