//! A request as a handler sees it: lent, since nothing of it was copied.

use std::net::IpAddr;

use http::{HeaderName, Method, Version};

use crate::error::{Error, Fault};
use crate::head::{Authority, Fields, Head, HeadLimits, Known, KnownSet};
use crate::origin::Origin;

/// A request whose head has been judged. Its body, if it has one, is read by
/// [`Answer::Read`](crate::Answer::Read).
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    head: &'a Head<'a>,
    method: &'a Method,
    path: &'a [u8],
    rest: usize,
    origin: &'a Origin,
    /// Twice lent, to be one word: a request is copied for each route that looks at it.
    user: Option<&'a &'a str>,
    has_body: bool,
}

impl<'a> Request<'a> {
    pub(crate) fn new(
        head: &'a Head<'a>,
        method: &'a Method,
        path: &'a [u8],
        origin: &'a Origin,
        has_body: bool,
    ) -> Request<'a> {
        Request { head, method, path, rest: 0, origin, user: None, has_body }
    }

    /// The method.
    pub fn method(&self) -> &'a Method {
        self.method
    }

    /// The path in its one canonical form: percent-decoded, without dot segments or empty ones. It
    /// begins with `/` and is what routes match and files are found by. Octets, since the decoded
    /// path may be any but NUL.
    pub fn path(&self) -> &'a [u8] {
        self.path
    }

    /// What of [`path`](Request::path) is left behind the prefix of the route that took it, without
    /// a slash at its front. Without a router, all behind the first slash.
    pub fn rest(&self) -> &'a [u8] {
        let rest = &self.path[self.rest..];
        rest.strip_prefix(b"/").unwrap_or(rest)
    }

    /// The path as it came, still encoded.
    pub fn raw_path(&self) -> &'a [u8] {
        self.head.target().path().unwrap_or(b"*")
    }

    /// What follows the first `?` of the target, as it came.
    pub fn query(&self) -> Option<&'a [u8]> {
        self.head.target().query()
    }

    /// The host that is asked; the target's goes before the Host field's (RFC 9112 §3.3).
    pub fn host(&self) -> Option<Authority<'a>> {
        self.head.host()
    }

    /// The client's address: the other end of the connection, or whom a
    /// [trusted proxy](crate::HttpService::with_trusted_proxies) names. `None` for a Unix socket.
    pub fn client(&self) -> Option<IpAddr> {
        self.origin.address()
    }

    /// Whether it came over TLS, be it to a trusted proxy.
    pub fn is_secure(&self) -> bool {
        self.origin.is_secure()
    }

    /// Whether a trusted proxy speaks for the client.
    pub fn is_proxied(&self) -> bool {
        self.origin.is_proxied()
    }

    /// The account that has logged in, where the route asks for that
    /// ([`Protected`](crate::Protected)).
    pub fn user(&self) -> Option<&'a str> {
        self.user.copied()
    }

    /// The subject of the client's certificate in RFC 4514 form, where a good one was shown in the
    /// TLS handshake. Where a proxy speaks for the client, it is the proxy's.
    pub fn certificate(&self) -> Option<&'a str> {
        self.origin.certificate()
    }

    /// HTTP/1.0 or HTTP/1.1.
    pub fn version(&self) -> Version {
        self.head.version()
    }

    /// The first value of one of the fields that the parser knows: costs nothing.
    pub fn known(&self, field: Known) -> Option<&'a [u8]> {
        self.head.known(field)
    }

    /// Whether there is any of these fields.
    #[inline]
    pub(crate) fn has_any(&self, fields: KnownSet) -> bool {
        self.head.has_any(fields)
    }

    /// The values of a field, one for each time that it came.
    pub fn values<'n>(&self, name: &'n HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        self.head.fields().all(name)
    }

    /// All header fields, in the order they came.
    pub fn fields(&self) -> Fields<'a> {
        self.head.fields()
    }

    /// The Content-Length, where there is one.
    pub fn content_length(&self) -> Option<u64> {
        self.head.content_length()
    }

    /// Whether a body follows that isn't empty by its head.
    pub fn has_body(&self) -> bool {
        self.has_body
    }

    /// The request line as it came: for logs.
    pub fn request_line(&self) -> &'a [u8] {
        self.head.request_line()
    }

    /// An owned copy, without its body: for an answer that takes longer than the call.
    ///
    /// # Errors
    ///
    /// The target holds octets that `http::Uri` doesn't take.
    pub fn to_owned(&self) -> Result<http::Request<()>, Error> {
        let target = match self.query() {
            Some(query) => [self.raw_path(), b"?", query].concat(),
            None => self.raw_path().to_vec(),
        };
        let builder = http::Request::builder()
            .method(self.method.clone())
            .uri(target)
            .version(self.version());
        self.fields()
            .fold(builder, |builder, (name, value)| builder.header(name, value))
            .body(())
            .map_err(|_| Fault::Target.into())
    }

    /// The same request as a route's handler sees it: `matched` octets of the path are the route's.
    pub(crate) fn below(&self, matched: usize) -> Request<'a> {
        Request { rest: matched.min(self.path.len()), ..*self }
    }

    /// The same request, from somebody whose name is known.
    pub(crate) fn by<'b>(&self, user: &'b &'b str) -> Request<'b>
    where
        'a: 'b,
    {
        Request { user: Some(user), ..*self }
    }

    /// A copy to be [lent](Kept::lend) again, for handlers that have to know something first.
    pub(crate) fn keep(&self) -> Kept {
        Kept {
            head: self.head.as_bytes().to_vec(),
            path: self.path.to_vec(),
            rest: self.rest,
            origin: self.origin.clone(),
            has_body: self.has_body,
        }
    }
}

/// A request that is put off as a whole.
pub(crate) struct Kept {
    head: Vec<u8>,
    path: Vec<u8>,
    rest: usize,
    origin: Origin,
    has_body: bool,
}

impl Kept {
    /// The request as it was. It was judged before: `None` doesn't happen.
    pub(crate) fn lend<R>(&self, to: impl FnOnce(&Request<'_>) -> R) -> Option<R> {
        let any = usize::MAX;
        let head =
            Head::parse(&self.head, &HeadLimits { head: any, target: any, fields: any }).ok()?;
        let method = head.method();
        let (origin, path) = (&self.origin, &self.path[..]);
        let request = Request::new(&head, &method, path, origin, self.has_body);
        Some(to(&request.below(self.rest)))
    }
}
