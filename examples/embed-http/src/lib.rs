//! A program that has work of its own and answers HTTP about it.
//!
//! * `GET /factor/360` is answered late: a thread of the program's does the arithmetic, and requests
//!   behind it on the same connection are answered in their order all the same.
//! * `GET /count?to=1000000` streams: the reply is made as fast as the client takes it.
//! * `POST /lines` reads a body of any length in bounded memory.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use medusa_core::ServiceParts;
use medusa_core::config::Listen;
use medusa_core::producer::pieces;
use medusa_http::http::{Method, StatusCode};
use medusa_http::{
    Answer, Body, BodyReader, Exchange, HttpService, Later, Reading, Request, Response, Route,
    Router, handler_fn,
};

/// The whole program as a service, to be mounted in a server.
pub fn service(listen: Listen) -> HttpService {
    let numbers = start_worker();
    let parts = ServiceParts::new("http.embedded").listen(listen);
    HttpService::new(parts.with_summary("factor, count, lines"), move || {
        let numbers = numbers.clone();
        let get = || [Method::GET];
        Router::new()
            .route(
                Route::prefix("/factor/").methods(get()),
                handler_fn(move |request: &Request<'_>, exchange: &mut Exchange<'_, '_>| {
                    factor(&numbers, request, exchange)
                }),
            )
            .route(Route::exact("/count").methods(get()), handler_fn(count))
            .route(Route::exact("/lines").methods([Method::POST]), handler_fn(lines))
    })
}

// ---- a late answer ---------------------------------------------------------------------------

/// A thread that has nothing to do with the server, and a queue to it.
fn start_worker() -> Sender<(u64, Later)> {
    let (sender, numbers) = channel::<(u64, Later)>();
    thread::spawn(move || {
        for (number, later) in numbers {
            let text = factors(number);
            // The closure runs on the connection's shard, or not at all if the client has gone.
            if later.answer(move || Response::text(text)).is_err() {
                eprintln!("the server is too busy to hear of {number}");
            }
        }
    });
    sender
}

fn factor(
    numbers: &Sender<(u64, Later)>,
    request: &Request<'_>,
    exchange: &mut Exchange<'_, '_>,
) -> Answer {
    let number = std::str::from_utf8(request.rest()).ok().and_then(|text| text.parse().ok());
    let Some(number) = number.filter(|number| (2..1 << 40).contains(number)) else {
        return Response::page(StatusCode::BAD_REQUEST, "A number from 2 to 2^40, please.").into();
    };
    let (answer, later) = exchange.defer();
    // If the worker has gone, so has `later`, and dropped it answers 500.
    let _ = numbers.send((number, later));
    answer
}

fn factors(mut number: u64) -> String {
    let mut found = Vec::new();
    let mut divisor = 2;
    while divisor * divisor <= number {
        while number.is_multiple_of(divisor) {
            found.push(divisor.to_string());
            number /= divisor;
        }
        divisor += 1;
    }
    if number > 1 {
        found.push(number.to_string());
    }
    found.join(" * ") + "\n"
}

// ---- a streamed reply ------------------------------------------------------------------------

/// Counts. Nobody knows how long that becomes, so it goes out chunked; the iterator is asked only when
/// the socket has room.
fn count(request: &Request<'_>, _: &mut Exchange<'_, '_>) -> Answer {
    let query = request.query().and_then(|query| std::str::from_utf8(query).ok());
    let to = query.and_then(|query| query.strip_prefix("to=")).and_then(|to| to.parse().ok());
    let Some(to) = to else {
        return Response::page(StatusCode::BAD_REQUEST, "Count to what? Say ?to=10.").into();
    };
    let numbers = (1..=to).map(|number: u64| format!("{number}\n"));
    Response::text(Body::producer(pieces(numbers))).into()
}

// ---- a streamed body -------------------------------------------------------------------------

/// Counts the lines of what is sent.
fn lines(_: &Request<'_>, _: &mut Exchange<'_, '_>) -> Answer {
    Answer::read(Lines(0))
}

struct Lines(usize);

impl BodyReader for Lines {
    fn received(&mut self, piece: &[u8], _: &mut Exchange<'_, '_>) -> Reading {
        self.0 += piece.iter().filter(|&&octet| octet == b'\n').count();
        Reading::More
    }

    fn ended(self: Box<Self>, _: &mut Exchange<'_, '_>) -> Answer {
        Response::text(format!("{}\n", self.0)).into()
    }
}
