//! Sends those who come without TLS to the same host and path with it.

use http::{Method, StatusCode};

use crate::error::Fault;
use crate::handler::{Answer, Exchange, Handler};
use crate::request::Request;
use crate::response::Response;

/// Answers requests over TLS with another handler, and redirects all others to `https` (308, so that
/// the method is kept).
///
/// The host is the one that the client has asked, and nothing of the path is taken for one: nobody can
/// be sent elsewhere by a link.
#[derive(Debug)]
pub struct RedirectToTls<H> {
    inner: H,
    port: u16,
}

impl<H: Handler> RedirectToTls<H> {
    /// `port` is where TLS is listened for. Clients of a trusted proxy know no port of ours: they are
    /// sent to the proxy's 443.
    pub fn new(inner: H, port: u16) -> RedirectToTls<H> {
        RedirectToTls { inner, port }
    }
}

impl<H: Handler> Handler for RedirectToTls<H> {
    fn requested(&self, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
        if request.is_secure() {
            return self.inner.requested(request, exchange);
        }
        // HTTP/1.0 may leave it out, and then there is nowhere to send the client.
        let Some(host) = request.host().filter(|host| !host.host.is_empty()) else {
            return Response::fault(Fault::HostMissing).into();
        };
        let port = if request.is_proxied() { 443 } else { self.port };
        let mut location = [b"https://", host.host].concat();
        if port != 443 {
            location.extend_from_slice(format!(":{port}").as_bytes());
        }
        location.extend_from_slice(request.raw_path());
        if let Some(query) = request.query() {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        Response::redirect(StatusCode::PERMANENT_REDIRECT, &location).into()
    }

    fn methods(&self) -> Vec<Method> {
        self.inner.methods()
    }
}
