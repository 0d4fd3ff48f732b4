//! What a client can make the server hold, or do, is bounded.

use std::time::Duration;

use medusa_core::testing::{Client, Faults};
use medusa_core::{Limits, Reason, Refusal, Service};
use medusa_http::{HeadLimits, HttpLimits, Response};

use crate::fixture::{
    Held, check, client, get, limited, raw, request, responses, service, session,
};

#[test]
fn a_header_without_an_end_is_refused_in_linear_time() {
    let service = service(&Held::default());
    let mut client = client(&service, Faults::none());
    client.send("GET / HTTP/1.1\r\nHost: a\r\nX: ");
    // 100 MB in steps of 10 KB; quadratic work would take hours. The server has long since closed.
    let piece = vec![b'x'; 10_000];
    let mut until_closed = None;
    for sent in 0..10_000 {
        client.send(&piece);
        if client.is_closed() {
            until_closed.get_or_insert(sent);
        }
        assert_eq!(client.unread_bytes(), 0, "what is sent on is dropped, not kept");
    }
    assert_eq!(until_closed, Some(3), "32 KiB are the limit");
    assert_eq!(responses(&client.text(), &[]), ["431 close"]);
}

#[test]
fn a_header_that_drips_costs_no_more_than_one_that_comes_whole() {
    let mut client = client(&service(&Held::default()), Faults::none().reads([1]));
    client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(40_000)));
    assert_eq!(responses(&client.text(), &[]), ["431 close"]);
}

#[test]
fn heads_have_limits() {
    let long = |n: usize| get(&format!("/{}", "x".repeat(n - 1)));
    check(&[long(8 * 1024), get("/hello")], &["404", "200 Hello, world!"]);
    check(&[long(8 * 1024 + 1)], &["414 close", "closed"]);
    check(&[long(200_000)], &["414 close", "closed"]);
    check(&[raw(&"G".repeat(100_000))], &["431 close", "closed"]);
    let fields = |n: usize| request("GET", "/hello", &"X: y\r\n".repeat(n - 1), "");
    check(&[fields(100)], &["200 Hello, world!"]);
    check(&[fields(101)], &["431 close", "closed"]);
    let value = |n: usize| request("GET", "/hello", &format!("X: {}\r\n", "y".repeat(n)), "");
    check(&[value(30_000)], &["200 Hello, world!"]);
    check(&[value(33_000)], &["431 close", "closed"]);
    check(&[value(100_000), get("/hello")], &["431 close", "closed"]);
    // What is wrong first is said first, however long the rest is.
    check(
        &[request("GET", "/hello", &format!("X : y\r\nY: {}\r\n", "y".repeat(50_000)), "")],
        &["400 close", "closed"],
    );
}

#[test]
fn limits_are_the_services() {
    let mut limits = HttpLimits::default();
    limits.head = HeadLimits { head: 100, target: 10, fields: 3 };
    limits.unread = 5;
    limits.body = Some(10);
    let ask = |octets: &str| {
        let mut client = client(&limited(limits), Faults::none());
        client.send(octets);
        responses(&client.text(), &[])
    };
    assert_eq!(ask("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n"), ["200 Hello, world!"]);
    assert_eq!(ask("GET /hello/abcd HTTP/1.1\r\nHost: a\r\n\r\n"), ["414 close"]);
    let post = |path: &str, n: usize| {
        ask(&format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {n}\r\n\r\n{}",
            "x".repeat(n)
        ))
    };
    assert_eq!(post("/hello", 5), ["200 Hello, world!"]);
    assert_eq!(post("/hello", 6), ["200 close Hello, world!"]);
    assert_eq!(post("/count", 10), ["200 10"]);
    assert_eq!(post("/count", 11), ["413 close"]);
}

#[test]
fn a_client_that_never_reads_is_not_read_from() {
    for path in ["/hello", "/held", "/large", "/big", "/stream"] {
        let held = Held::default();
        let mut client = client(&service(&held), Faults::none());
        client.stall();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        // 200,000 requests; the wire is the client's, not ours.
        for _ in 0..200 {
            client.send(request.repeat(1000));
        }
        let unread = client.unread_bytes();
        assert!(unread > 150_000 * request.len(), "{path}: {unread} left on the wire");
        assert!(client.unsent_bytes() < 256 * 1024, "{path}: {} unsent", client.unsent_bytes());
        assert!(held.lock().unwrap().len() <= 128, "{path}");
    }
}

#[test]
fn a_client_that_takes_nothing_is_cut_off() {
    let mut client = client(&service(&Held::default()), Faults::none());
    client.stall().send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    client.advance(Duration::from_secs(60));
    assert!(matches!(client.ended_by(), Some(Reason::Aborted)), "{:?}", client.ended_by());
}

#[test]
fn a_pool_that_is_full_is_said_to_be() {
    let mut limits = Limits::default();
    limits.in_flight = 10_000;
    let session = session(&service(&Held::default()));
    let mut client = Client::with(session, limits, Faults::none());
    client.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000)).run_jobs();
    let text = client.text();
    let seen = responses(&text, &[]);
    assert_eq!(seen.len(), 2000);
    let busy = seen.iter().filter(|line| *line == "503").count();
    assert!((1..2000).contains(&busy), "{busy}");
    assert!(seen.iter().all(|line| line == "503" || line == "200 late"));
    assert_eq!(text.matches("\r\nRetry-After: ").count(), busy);
}

#[test]
fn who_is_refused_is_told_when_to_come_again() {
    let mut acceptor = service(&Held::default()).acceptor();
    let words = acceptor.refused(Refusal::Connections);
    let words = std::str::from_utf8(&words).unwrap();
    let (head, page) = words.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
    assert!(head.contains("\r\nRetry-After: ") && head.contains("\r\nConnection: close"), "{head}");
    assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", page.len())), "{head}");
}

#[test]
fn all_pipelined_requests_are_answered_in_the_end() {
    let mut client = client(&service(&Held::default()), Faults::none().writes([1000]));
    client.send("GET /hello HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20_000));
    let seen = responses(&client.text(), &[]);
    assert_eq!(seen.len(), 20_000);
    assert!(seen.iter().all(|line| line == "200 Hello, world!"));
}

#[test]
fn a_chunked_body_may_not_be_all_framing() {
    let many = "1;abcdefghijklmnopqrstuvwxyz\r\nx\r\n".repeat(1000);
    check(
        &[request("POST", "/count", "Transfer-Encoding: chunked\r\n", &many)],
        &["400 close", "closed"],
    );
    let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "a".repeat(300));
    check(
        &[request("POST", "/count", "Transfer-Encoding: chunked\r\n", &long)],
        &["400 close", "closed"],
    );
    let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(2000));
    check(
        &[request("POST", "/count", "Transfer-Encoding: chunked\r\n", &trailers)],
        &["400 close", "closed"],
    );
}

#[test]
fn an_answer_that_never_comes_has_a_deadline_where_one_is_set() {
    let mut limits = HttpLimits::default();
    limits.answer = Some(Duration::from_secs(10));
    let held = Held::default();
    let service = service(&held).with_http_limits(limits);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let post = "POST /held HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc";
    let mut client = client(&service, Faults::none());
    client.send([&get("/held"), &get("/slow"), &get("/hello")].map(String::as_str).concat());
    client.advance(Duration::from_secs(9));
    assert_eq!(client.text(), "");
    client.advance(Duration::from_secs(1));
    let seen = |client: &mut Client| responses(&client.text(), &[]);
    assert_eq!(seen(&mut client), ["503", "200 slow", "200 Hello, world!"]);
    // The answer that comes after all is nobody's.
    let late = held.lock().unwrap().remove(0);
    let _ = late.answer(|| Response::text("late"));
    client.deliver();
    assert_eq!(client.text(), "");
    // With a body that nobody has read, and in HTTP/1.0, where nothing follows.
    client.send([post, &get("/hello")].concat());
    client.advance(Duration::from_secs(10));
    assert_eq!(seen(&mut client), ["503", "200 Hello, world!"]);
    client.send("GET /held HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    client.advance(Duration::from_secs(10));
    assert_eq!(seen(&mut client), ["503 keep-alive"]);
    // Work that is put off in steps has one deadline, and a reader between them doesn't stop it.
    client.send(get("/later"));
    client.advance(Duration::from_secs(10));
    assert_eq!(seen(&mut client), ["503"]);
    client.run_jobs();
    assert_eq!(client.text(), "");
    // What was answered in time leaves no deadline behind.
    client.send(get("/late")).run_jobs();
    assert_eq!(seen(&mut client), ["200 late"]);
    client.send(get("/slow"));
    client.advance(Duration::from_secs(5));
    assert_eq!(seen(&mut client), ["200 slow"]);
    client.send(get("/held"));
    client.advance(Duration::from_secs(9));
    assert_eq!(client.text(), "");
}

/// Each chunk was a new beginning for the deadlines: a body could be dripped for ever.
#[test]
fn a_body_that_drips_is_cut_off_whatever_its_framing() {
    let service = service(&Held::default());
    for (field, piece) in
        [("Content-Length: 1000", "x"), ("Transfer-Encoding: chunked", "1\r\nx\r\n")]
    {
        let mut client = client(&service, Faults::none());
        client.send(format!("POST /echo HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n"));
        for _ in 0..15 {
            client.send(piece).advance(Duration::from_secs(3));
        }
        assert!(client.is_closed(), "{field}");
    }
}
