//! An HTTP/1.1 and HTTP/1.0 server (RFC 9110, RFC 9112) as a machine over frames: it parses, decides
//! and composes, and knows neither sockets nor threads. medusa-core brings the octets.
//!
//! A program that embeds it writes a [`Handler`] and mounts an [`HttpService`]:
//!
//! ```no_run
//! use medusa_core::{Server, ServiceParts};
//! use medusa_http::{HttpService, Response, Route, Router, handler_fn};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let parts = ServiceParts::new("http.hello").listen("127.0.0.1:8080".parse()?);
//! let service = HttpService::new(parts, || {
//!     Router::new().route(Route::prefix("/hello/"), handler_fn(|request, _| {
//!         Response::text([b"Hello, ", request.rest(), b"!\n"].concat())
//!     }))
//! });
//! Server::builder().mount(Box::new(service)).bind()?.run()?;
//! # Ok(())
//! # }
//! ```
//!
//! TLS is the core's ([`ServiceParts::with_tls`](medusa_core::ServiceParts::with_tls)). It does no HTTP/2 and no proxying; docs/http.md says what is done, RFC by RFC.

mod access;
mod body;
mod chunked;
mod compose;
mod config;
mod date;
mod error;
mod handler;
mod head;
mod monitor;
mod origin;
mod protected;
mod request;
mod response;
mod router;
mod service;
mod session;
mod site;
mod static_files;
mod tally;
mod to_tls;

pub use body::BodyLength;
pub use chunked::{ChunkLimits, Decoded, Decoder, Want};
pub use config::SiteConfig;
pub use error::{Error, Fault};
pub use handler::{
    Answer, BodyReader, Exchange, FnHandler, Handler, Later, Read, Reading, Resumer, Ticket,
    handler_fn,
};
pub use head::{Authority, Fields, Head, HeadLimits, Known, Target};
pub use http;
pub use monitor::{MetricsPage, StatusPage};
pub use protected::Protected;
pub use request::Request;
pub use response::{Body, FieldBlock, Response};
pub use router::{Redirect, Route, Router};
pub use service::HttpService;
pub use session::{HttpLimits, HttpSession};
pub use site::Http;
pub use static_files::{CacheLimits, StaticFiles, StaticOptions};
pub use to_tls::RedirectToTls;
