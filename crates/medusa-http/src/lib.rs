//! An HTTP/1.1 and HTTP/1.0 server (RFC 9110, RFC 9112) as a machine over frames: it parses, decides
//! and composes, and knows neither sockets nor threads. medusa-core brings the octets.
//!
//! A program that embeds it writes a [`Handler`] and mounts an [`HttpService`].

mod access;
mod body;
mod chunked;
mod compose;
mod config;
mod date;
mod error;
mod handler;
mod head;
mod request;
mod response;
mod router;
mod service;
mod session;
mod site;
mod static_files;

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
pub use request::Request;
pub use response::{Body, FieldBlock, Response};
pub use router::{Redirect, Route, Router};
pub use service::HttpService;
pub use session::{HttpLimits, HttpSession};
pub use site::Http;
pub use static_files::{CacheLimits, StaticFiles, StaticOptions};
