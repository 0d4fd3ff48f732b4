//! The same reply from a handler on medusa-http, as a program that embeds it would write one: what HTTP
//! costs, without files and without the launcher.

use std::net::SocketAddr;

use medusa_core::config::Listen;
use medusa_core::{Limits, Server, ServiceParts};
use medusa_http::http::{HeaderValue, StatusCode, header};
use medusa_http::{Exchange, HttpService, Request, Route, Router, handler_fn};

use crate::site::HELLO;

/// Serves until the process is killed.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let mut limits = Limits::default();
    limits.connections = None;
    limits.connections_per_peer = None;
    limits.idle = None;
    let parts = ServiceParts::new("http.bench").listen(Listen::Inet(address)).with_limits(limits);
    let service = HttpService::new(parts, || {
        Router::new().route(
            Route::prefix("/"),
            handler_fn(|_: &Request<'_>, exchange: &mut Exchange<'_, '_>| {
                exchange
                    .response(StatusCode::OK)
                    .field(&header::CONTENT_TYPE, &HeaderValue::from_static("text/plain"))
                    .body(HELLO)
            }),
        )
    });
    Ok(Server::builder().mount(Box::new(service)).bind()?.run()?)
}
