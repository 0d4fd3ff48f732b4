//! What a small pipelined GET costs: head parsed, routed, and its response composed into the outbox.
//! Prints nanoseconds; under `valgrind --tool=callgrind` the inclusive cost of
//! `HttpSession::received` tells instructions.
//!
//! `cargo bench -p medusa-http --bench hot_path -- [small|browser] [ROUNDS]`

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::time::Instant;

use http::{HeaderValue, StatusCode, header};
use medusa_core::testing::{Client, Faults};
use medusa_core::{Endpoint, Peer, Service};
use medusa_http::{
    Answer, Exchange, Head, HeadLimits, HttpService, Request, Route, Router, handler_fn,
};

const SMALL: &str = "GET /hello HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n";
const BROWSER: &str = "GET /hello HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nConnection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: en-US,en;q=0.9\r\n\r\n";

fn hello(_: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
    let plain = HeaderValue::from_static("text/plain");
    exchange
        .response(StatusCode::OK)
        .field(&header::CONTENT_TYPE, &plain)
        .body("Hello, world!")
        .into()
}

fn main() {
    let rounds: u32 = std::env::args().find_map(|n| n.parse().ok()).unwrap_or(20_000);
    let only: Vec<String> = std::env::args().skip(1).collect();
    for (name, request) in [("small", SMALL), ("browser", BROWSER)] {
        if only.iter().any(|other| other != name && ["small", "browser"].contains(&&**other)) {
            continue;
        }
        let head = request.trim_end().as_bytes();
        let began = Instant::now();
        for _ in 0..rounds * 16 {
            std::hint::black_box(
                Head::parse(std::hint::black_box(head), &HeadLimits::default()).unwrap(),
            );
        }
        report(name, "parse", began, rounds * 16);

        let service = HttpService::new("bench", || {
            Router::new()
                .route(Route::exact("/other"), handler_fn(hello))
                .route(Route::prefix("/"), handler_fn(hello))
        });
        let here = Endpoint::Inet(([127, 0, 0, 1], 80).into());
        let peer = Peer::new(here, here);
        let session = service.acceptor().accepted(&peer);
        let mut client = Client::with(session, service.parts().limits(), Faults::none());
        let burst = request.repeat(16);
        let began = Instant::now();
        for _ in 0..rounds {
            client.send(&burst);
            std::hint::black_box(client.output());
        }
        report(name, "frame, parse, route, compose, and the scripted client", began, rounds * 16);
    }
}

fn report(request: &str, what: &str, began: Instant, times: u32) {
    let nanos = began.elapsed().as_nanos() / u128::from(times);
    println!("{request:8} {nanos:5} ns  {what}");
}
