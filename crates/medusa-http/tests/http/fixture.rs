//! `check(script, expected)`: what a client does, and what it is answered, in few words. Every script
//! runs under several networks that split what is sent, and must come out the same octets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode, header};
use medusa_core::producer::{bytes, generated, pieces};
use medusa_core::testing::{Client, Faults};
use medusa_core::{
    AccessSink, Endpoint, Limits, Outbox, Peer, Produced, Service, ServiceParts, Session,
};
use medusa_http::{
    Answer, Body, BodyReader, Exchange, Handler, HttpLimits, HttpService, Later, Reading, Request,
    Response, handler_fn,
};

/// A step of a script.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// The client sends.
    Send(String),
    /// Offloaded work is done.
    Jobs,
    /// The first request that is held is answered.
    Answer,
    /// The first request that is held is dropped.
    Forget,
    /// Time passes.
    Wait(u64),
    /// The client sends no more.
    End,
    /// The server is to shut down.
    Drain,
}

/// A request without a body.
pub(crate) fn get(path: &str) -> Step {
    request("GET", path, "", "")
}

/// A request of any kind; `fields` are whole lines.
pub(crate) fn request(method: &str, path: &str, fields: &str, body: &str) -> Step {
    Step::Send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n{body}"))
}

/// Octets as they are.
pub(crate) fn raw(octets: &str) -> Step {
    Step::Send(octets.to_owned())
}

/// Takes access lines.
#[derive(Debug, Default)]
pub(crate) struct Lines(Mutex<Vec<String>>);

impl Lines {
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl AccessSink for Lines {
    fn line(&self, line: &[u8]) {
        self.0.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
    }
}

pub(crate) type Held = Arc<Mutex<Vec<Later>>>;

/// What is served: a path for each thing that a handler can do.
pub(crate) fn service(held: &Held) -> HttpService {
    service_of("http.test", held)
}

pub(crate) fn service_of(parts: impl Into<ServiceParts>, held: &Held) -> HttpService {
    let held = Arc::clone(held);
    HttpService::new(parts, move || demo(Arc::clone(&held)))
}

pub(crate) fn session(service: &HttpService) -> Box<dyn Session> {
    let loopback = |port| Endpoint::Inet(([127, 0, 0, 1], port).into());
    service.acceptor().accepted(&Peer::new(loopback(40_000), loopback(80)))
}

pub(crate) fn client(service: &HttpService, faults: Faults) -> Client {
    Client::with(session(service), Limits::default(), faults)
}

fn demo(held: Held) -> impl Handler {
    handler_fn(move |request: &Request<'_>, exchange: &mut Exchange<'_, '_>| -> Answer {
        let status = |status| Response::new(status).body("not to be seen");
        match request.path() {
            b"/hello" => Response::text("Hello, world!").into(),
            b"/fast" => {
                let plain = HeaderValue::from_static("text/plain");
                let response = exchange.response(StatusCode::OK);
                response.field(&header::CONTENT_TYPE, &plain).body("Hello, world!").into()
            }
            b"/late" => exchange.offload(|| "late", |text, _| Response::text(text).into()),
            b"/later" => exchange.offload(
                || "lat",
                |text, exchange| {
                    exchange
                        .offload(move || format!("{text}er"), |text, _| Response::text(text).into())
                },
            ),
            b"/slow" => exchange.after(Duration::from_secs(5), |_| Response::text("slow").into()),
            b"/held" => {
                let (answer, later) = exchange.defer();
                held.lock().unwrap().push(later);
                answer
            }
            b"/holding" => Response::text(held.lock().unwrap().len().to_string()).into(),
            b"/echo" => Answer::collect(1000, |body, _| Response::text(body).into()),
            b"/late-echo" => exchange.offload(
                || (),
                |(), _| Answer::collect(1000, |body, _| Response::text(body).into()),
            ),
            b"/echo-late" => Answer::collect(1000, |body, exchange| {
                exchange.offload(|| body, |body, _| Response::text(body).into())
            }),
            b"/count" => Answer::read(Counting { octets: 0, careful: false }),
            b"/careful" => Answer::read(Counting { octets: 0, careful: true }),
            b"/enough" => Answer::read(Enough(0)),
            b"/stream" => {
                let body = pieces(["one", "two", "three"].into_iter().map(bytes_of));
                Response::text(Body::producer(body)).into()
            }
            b"/big" => Response::text(Body::producer(bytes(vec![b'x'; 1 << 18]))).into(),
            b"/large" => Response::text(vec![b'x'; 100_000]).into(),
            b"/broken" => {
                let mut left = 2;
                let body = generated(move |out: &mut Outbox| {
                    left -= 1;
                    out.push_slice(b"part");
                    match left {
                        0 => Err(std::io::Error::other("broken").into()),
                        _ => Ok(Produced::More),
                    }
                });
                Response::text(Body::producer(body)).into()
            }
            b"/204" => status(StatusCode::NO_CONTENT).into(),
            b"/205" => status(StatusCode::RESET_CONTENT).into(),
            b"/304" => status(StatusCode::NOT_MODIFIED).into(),
            b"/100" => status(StatusCode::CONTINUE).into(),
            b"/framed" => {
                let length = HeaderValue::from_static("5");
                Response::text("abc").field(&header::CONTENT_LENGTH, &length).into()
            }
            b"/closing" => Response::text("bye").closing().into(),
            b"/held-closing" => {
                exchange.offload(|| (), |(), _| Response::text("bye").closing().into())
            }
            b"/fields" => {
                let name = HeaderName::from_static("x-field");
                let all: Vec<_> = request.values(&name).collect();
                Response::text(all.join(&b'|')).into()
            }
            _ => Response::error(StatusCode::NOT_FOUND).into(),
        }
    })
}

fn bytes_of(text: &'static str) -> bytes::Bytes {
    bytes::Bytes::from_static(text.as_bytes())
}

/// Counts a body of any length; when careful, a piece at a time with work between.
struct Counting {
    octets: u64,
    careful: bool,
}

impl BodyReader for Counting {
    fn received(&mut self, piece: &[u8], exchange: &mut Exchange<'_, '_>) -> Reading {
        self.octets += piece.len() as u64;
        if self.careful {
            return exchange.offload_reading(|| (), |(), _| Reading::More);
        }
        Reading::More
    }

    fn ended(self: Box<Self>, _: &mut Exchange<'_, '_>) -> Answer {
        Response::text(self.octets.to_string()).into()
    }
}

/// Has enough after five octets.
struct Enough(usize);

impl BodyReader for Enough {
    fn received(&mut self, piece: &[u8], _: &mut Exchange<'_, '_>) -> Reading {
        self.0 += piece.len();
        if self.0 >= 5 {
            return Reading::Enough(Response::text("enough").into());
        }
        Reading::More
    }

    fn ended(self: Box<Self>, _: &mut Exchange<'_, '_>) -> Answer {
        Response::text("all").into()
    }
}

/// Runs a script and compares what comes out, a line for each response: the status, `close` where it
/// says so, and a plain text's body; then how the connection ended, if it did.
#[track_caller]
pub(crate) fn check(script: &[Step], expected: &[&str]) {
    let mut first: Option<String> = None;
    let networks = [
        Faults::none(),
        Faults::none().reads([1]),
        Faults::none().writes([1]),
        Faults::random(1, 7),
        Faults::random(2, 40),
        Faults::random(3, 200),
    ];
    for (index, network) in networks.into_iter().enumerate() {
        let (output, end) = run(script, network);
        let mut seen = responses(&output, &methods(script));
        seen.extend(end);
        assert_eq!(seen, expected, "network {index}, of {script:?}\n{output}");
        assert_eq!(*first.get_or_insert_with(|| output.clone()), output, "network {index}");
    }
}

/// Runs a script: the octets, and how the connection ended.
pub(crate) fn run(script: &[Step], network: Faults) -> (String, Option<String>) {
    let held = Held::default();
    let service = service(&held);
    let mut client = client(&service, network);
    for step in script {
        match step {
            Step::Send(octets) => client.send(octets),
            Step::Jobs => client.run_jobs(),
            Step::Answer => {
                let later = held.lock().unwrap().remove(0);
                later.answer(|| Response::text("held")).unwrap();
                client.deliver()
            }
            Step::Forget => {
                drop(held.lock().unwrap().remove(0));
                client.deliver()
            }
            Step::Wait(seconds) => client.advance(Duration::from_secs(*seconds)),
            Step::End => client.end(),
            Step::Drain => client.drain(),
        };
    }
    let end = match client.ended_by() {
        Some(medusa_core::Reason::Closed) => Some("closed".to_owned()),
        Some(other) => Some(format!("{other:?}").split('(').next().unwrap().to_lowercase()),
        None => client.is_closed().then(|| "closed".to_owned()),
    };
    (client.text(), end)
}

fn methods(script: &[Step]) -> Vec<&str> {
    let sent = script.iter().filter_map(|step| match step {
        Step::Send(octets) => octets.split(' ').next(),
        _ => None,
    });
    sent.collect()
}

/// A client's reading of responses, apart from the crate's own code.
pub(crate) fn responses(mut output: &str, methods: &[&str]) -> Vec<String> {
    let mut seen = Vec::new();
    let mut methods = methods.iter();
    while !output.is_empty() {
        let Some((head, mut rest)) = output.split_once("\r\n\r\n") else {
            seen.push(format!("unfinished head: {output:?}"));
            break;
        };
        let mut lines = head.split("\r\n");
        let status_line = lines.next().unwrap_or_default();
        let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
        let status = status.unwrap_or_else(|| panic!("no status line: {status_line:?}"));
        let fields: Vec<(String, &str)> = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        let field = |name: &str| {
            let mut values = fields.iter().filter(|(n, _)| n == name).map(|(_, v)| *v);
            let value = values.next();
            assert_eq!(values.next(), None, "{name} twice: {head:?}");
            value
        };
        let mut line = status.to_owned();
        if status == "100" {
            seen.push(line);
            output = rest;
            continue;
        }
        assert!(field("date").is_some(), "no date: {head:?}");
        let head_only = methods.next() == Some(&"HEAD") || matches!(status, "204" | "304");
        let length = field("content-length").map(|length| length.parse::<usize>().unwrap());
        let mut body = String::new();
        if head_only {
        } else if field("transfer-encoding") == Some("chunked") {
            assert_eq!(length, None, "both: {head:?}");
            while let Some((size, after)) = rest.split_once("\r\n") {
                let size = usize::from_str_radix(size, 16).unwrap();
                let Some(chunk) = after.get(..size) else { break };
                body.push_str(chunk);
                rest = after[size..].strip_prefix("\r\n").unwrap_or_default();
                if size == 0 {
                    break;
                }
            }
        } else {
            let length = length.unwrap_or(rest.len());
            assert!(rest.len() >= length, "{} of {length} octets of {head:?}", rest.len());
            body.push_str(&rest[..length]);
            rest = &rest[length..];
        }
        if matches!(status, "204" | "304") {
            assert!(length.is_none() && field("transfer-encoding").is_none(), "{head:?}");
        }
        match field("connection") {
            None => {}
            Some(option) => line = format!("{line} {option}"),
        }
        if field("content-type").is_some_and(|kind| kind.starts_with("text/plain")) {
            if body.len() > 100 {
                body = format!("{} octets", body.len());
            }
            line = format!("{line} {body}");
        }
        seen.push(line.trim_end().to_owned());
        output = rest;
    }
    seen
}

/// The demo's service with other limits.
pub(crate) fn limited(limits: HttpLimits) -> HttpService {
    service(&Held::default()).with_http_limits(limits)
}
