//! What a well-behaved client sees: keep-alive, pipelining, bodies, expectations, time, shutting down.

use std::sync::Arc;

use medusa_core::ServiceParts;
use medusa_core::testing::Faults;

use crate::fixture::{Held, Lines, Step, check, client, get, raw, request, run, service_of};

#[test]
fn a_response_octet_for_octet() {
    let (output, end) = run(&[get("/hello")], Faults::none());
    let expected = "HTTP/1.1 200 OK\r\nDate: Sun, 09 Sep 2001 01:46:40 GMT\r\n\
                    Content-Type: text/plain; charset=utf-8\r\nContent-Length: 13\r\n\r\n\
                    Hello, world!";
    assert_eq!((output.as_str(), end), (expected, None));
}

#[test]
fn requests_follow_one_another() {
    check(
        &[get("/hello"), get("/nothing"), get("/fast"), get("/stream"), get("/large")],
        &["200 Hello, world!", "404", "200 Hello, world!", "200 onetwothree", "200 100000 octets"],
    );
    check(&[get("/big"), get("/hello")], &["200 262144 octets", "200 Hello, world!"]);
}

#[test]
fn http_1_0_closes_unless_asked_not_to() {
    let old = |path: &str, fields: &str| raw(&format!("GET {path} HTTP/1.0\r\n{fields}\r\n"));
    check(&[old("/hello", ""), get("/hello")], &["200 close Hello, world!", "closed"]);
    let keep = "Connection: keep-alive\r\n";
    check(
        &[old("/hello", keep), old("/hello", "")],
        &["200 keep-alive Hello, world!", "200 close Hello, world!", "closed"],
    );
    // Of unknown length, so that the connection's end is the body's.
    check(&[old("/stream", keep), get("/hello")], &["200 close onetwothree", "closed"]);
}

#[test]
fn close_is_said_and_done() {
    check(
        &[request("GET", "/hello", "Connection: close\r\n", ""), get("/hello")],
        &["200 close Hello, world!", "closed"],
    );
    check(&[get("/closing"), get("/hello")], &["200 close bye", "closed"]);
    check(
        &[request("GET", "/late", "Connection: close\r\n", ""), get("/hello"), Step::Jobs],
        &["200 close late", "closed"],
    );
    check(&[get("/held-closing"), Step::Jobs, get("/hello")], &["200 close bye", "closed"]);
}

#[test]
fn a_late_answer_keeps_its_place() {
    let hello = "200 Hello, world!";
    check(&[get("/late"), get("/hello"), get("/fast"), Step::Jobs], &["200 late", hello, hello]);
    check(&[get("/held"), get("/hello"), get("/stream")], &[]);
    check(
        &[get("/held"), get("/hello"), get("/large"), Step::Answer, get("/hello")],
        &["200 held", hello, "200 100000 octets", hello],
    );
    check(
        &[
            get("/hello"),
            get("/held"),
            get("/later"),
            Step::Jobs,
            get("/late"),
            Step::Jobs,
            Step::Answer,
        ],
        &[hello, "200 held", "200 later", "200 late"],
    );
    check(&[get("/slow"), get("/hello"), Step::Wait(4)], &[]);
    check(&[get("/slow"), get("/hello"), Step::Wait(5)], &["200 slow", hello]);
    check(&[get("/held"), get("/hello"), Step::Forget], &["500", hello]);
}

#[test]
fn what_may_change_something_waits_for_those_before_it() {
    let hello = "200 Hello, world!";
    let post = |fields: &str, body: &str| request("POST", "/holding", fields, body);
    let two = || post("Content-Length: 2\r\n", "ab");
    // Safe requests go side by side.
    check(&[get("/held"), get("/holding"), Step::Answer], &["200 held", "200 1"]);
    // The others hear of nothing that is still under way.
    check(&[get("/held"), two(), get("/hello")], &[]);
    check(&[get("/held"), two(), get("/hello"), Step::Answer], &["200 held", "200 0", hello]);
    check(
        &[get("/held"), get("/held"), post("", ""), Step::Answer, Step::Answer, two()],
        &["200 held", "200 held", "200 0", "200 0"],
    );
    check(
        &[get("/big"), two(), get("/stream"), two(), get("/hello")],
        &["200 262144 octets", "200 0", "200 onetwothree", "200 0", hello],
    );
    let body = "2\r\nab\r\n0\r\n\r\n";
    let chunked = || request("POST", "/count", "Transfer-Encoding: chunked\r\n", body);
    check(&[get("/held"), chunked(), two(), Step::Answer], &["200 held", "200 2", "200 0"]);
    // One that is put off itself, behind one that was.
    let late = || request("PUT", "/late", "", "");
    check(
        &[get("/held"), late(), get("/holding"), Step::Jobs, Step::Answer, Step::Jobs],
        &["200 held", "200 late", "200 0"],
    );
    // The end and a shutdown don't lose it.
    check(&[get("/held"), two(), Step::End, Step::Answer], &["200 held", "200 0", "closed"]);
    check(
        &[get("/held"), two(), get("/hello"), Step::Drain, Step::Answer],
        &["200 held", "200 close 0", "closed"],
    );
    check(
        &[get("/held"), post("Connection: close\r\n", ""), get("/hello"), Step::Answer],
        &["200 held", "200 close 0", "closed"],
    );
    // A client that waits to be asked is asked when it is its turn.
    let expecting = "Expect: 100-continue\r\nContent-Length: 2\r\n";
    check(
        &[get("/held"), request("POST", "/echo", expecting, ""), Step::Answer, raw("ab")],
        &["200 held", "100", "200 ab"],
    );
}

#[test]
fn a_late_answer_to_http_1_0_is_the_next_one() {
    let old = |path: &str| raw(&format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    check(
        &[old("/held"), old("/hello"), Step::Answer],
        &["200 keep-alive held", "200 keep-alive Hello, world!"],
    );
}

#[test]
fn a_closing_answer_waits_for_those_behind_it() {
    // Its wish comes too late for itself: the next one is already on its way.
    check(
        &[get("/held-closing"), get("/hello"), Step::Jobs, get("/hello")],
        &["200 bye", "200 Hello, world!", "closed"],
    );
    check(
        &[get("/held"), get("/closing"), get("/hello"), Step::Answer],
        &["200 held", "200 close bye", "closed"],
    );
}

#[test]
fn bodies_by_length_and_chunked() {
    let length = |n: usize| format!("Content-Length: {n}\r\n");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let hello = "200 Hello, world!";
    check(&[request("POST", "/echo", &length(5), "abcde"), get("/hello")], &["200 abcde", hello]);
    check(
        &[
            request("POST", "/echo", chunked, "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nA: b\r\n\r\n"),
            get("/hello"),
        ],
        &["200 abcde", hello],
    );
    check(&[request("POST", "/echo", &length(0), ""), get("/hello")], &["200", hello]);
    check(&[get("/echo"), get("/hello")], &["200", hello]);
    check(&[request("POST", "/echo", chunked, "0\r\n\r\n"), get("/hello")], &["200", hello]);
    check(
        &[request("POST", "/count", &length(50_000), &"x".repeat(50_000)), get("/hello")],
        &["200 50000", hello],
    );
    check(
        &[request("POST", "/echo-late", &length(3), "abc"), get("/hello"), Step::Jobs],
        &["200 abc", hello],
    );
}

#[test]
fn a_body_waits_for_who_reads_it() {
    let fields = "Content-Length: 5\r\n";
    check(
        &[request("POST", "/late-echo", fields, "abcde"), get("/hello"), Step::Jobs],
        &["200 abcde", "200 Hello, world!"],
    );
    check(
        &[request("POST", "/careful", fields, "abcde"), get("/hello"), Step::Jobs],
        &["200 5", "200 Hello, world!"],
    );
    let chunked = "Transfer-Encoding: chunked\r\n";
    check(
        &[request("POST", "/careful", chunked, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"), Step::Jobs],
        &["200 5"],
    );
}

#[test]
fn a_body_beyond_its_limit() {
    let length = |n: usize| format!("Content-Length: {n}\r\n");
    check(&[request("POST", "/echo", &length(1000), &"x".repeat(1000))], &["200 1000 octets"]);
    // Short enough to be passed over.
    check(
        &[request("POST", "/echo", &length(1001), &"x".repeat(1001)), get("/hello")],
        &["413", "200 Hello, world!"],
    );
    check(&[request("POST", "/echo", &length(1 << 20), "x")], &["413 close", "closed"]);
    let chunk = format!("3e9\r\n{}\r\n0\r\n\r\n", "x".repeat(1001));
    check(
        &[request("POST", "/echo", "Transfer-Encoding: chunked\r\n", &chunk), get("/hello")],
        &["413 close", "closed"],
    );
}

#[test]
fn an_unread_body_is_never_a_request() {
    let inner = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = |n: usize| format!("Content-Length: {n}\r\n");
    let hello = "200 Hello, world!";
    check(&[request("POST", "/hello", &length(inner.len()), inner), get("/fast")], &[hello, hello]);
    check(
        &[request("POST", "/late", &length(inner.len()), inner), get("/hello"), Step::Jobs],
        &["200 late", hello],
    );
    // At the bound, and beyond.
    let bound = 64 * 1024;
    check(
        &[request("POST", "/hello", &length(bound), &"x".repeat(bound)), get("/hello")],
        &[hello, hello],
    );
    check(
        &[request("POST", "/hello", &length(bound + 1), &"x".repeat(bound + 1)), get("/hello")],
        &["200 close Hello, world!", "closed"],
    );
    // Nobody knows how long it is.
    let chunked = "Transfer-Encoding: chunked\r\n";
    let chunk = format!("{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len());
    check(
        &[request("POST", "/hello", chunked, &chunk), get("/hello")],
        &["200 close Hello, world!", "closed"],
    );
}

#[test]
fn a_reader_may_have_enough() {
    let length = |n: usize| format!("Content-Length: {n}\r\n");
    check(
        &[request("POST", "/enough", &length(5), "abcde"), get("/hello")],
        &["200 enough", "200 Hello, world!"],
    );
    check(&[request("POST", "/enough", &length(4), "abcd")], &["200 all"]);
    check(
        &[request("POST", "/enough", &length(100), &"x".repeat(100)), get("/hello")],
        &["200 enough", "200 Hello, world!"],
    );
    // The rest is longer than what is passed over.
    check(
        &[request("POST", "/enough", &length(70_000), "abcde"), raw(&"x".repeat(69_995))],
        &["200 close enough", "closed"],
    );
}

#[test]
fn continue_is_said_to_those_who_wait_when_the_body_is_wanted() {
    let expect = "Expect: 100-continue\r\nContent-Length: 3\r\n";
    check(&[request("POST", "/echo", expect, ""), raw("abc")], &["100", "200 abc"]);
    check(&[request("POST", "/echo", expect, "")], &["100"]);
    // Not wanted: the client may send the body or not, so nothing can follow.
    check(&[request("POST", "/hello", expect, "")], &["200 close Hello, world!", "closed"]);
    let large = "Expect: 100-Continue\r\nContent-Length: 5000\r\n";
    check(&[request("POST", "/echo", large, "")], &["413 close", "closed"]);
    check(
        &[request("POST", "/late-echo", expect, ""), Step::Jobs, raw("abc"), get("/hello")],
        &["100", "200 abc", "200 Hello, world!"],
    );
    // In its place in the order.
    check(
        &[get("/late"), request("POST", "/echo", expect, ""), Step::Jobs, raw("abc")],
        &["200 late", "100", "200 abc"],
    );
    check(
        &[request("POST", "/hello", "Expect: 200-maybe\r\nContent-Length: 3\r\n", "abc")],
        &["417 close", "closed"],
    );
    check(&[request("GET", "/hello", "Expect: 100-continue\r\n", "")], &["200 Hello, world!"]);
    check(
        &[raw("POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc")],
        &["200 close abc", "closed"],
    );
}

#[test]
fn head_is_answered_without_a_body() {
    let head = |path: &str| request("HEAD", path, "", "");
    let (output, _) = run(&[head("/hello")], Faults::none());
    assert!(output.ends_with("Content-Length: 13\r\n\r\n"), "{output:?}");
    check(
        &[head("/hello"), head("/stream"), head("/big"), head("/nothing"), get("/hello")],
        &["200", "200", "200", "404", "200 Hello, world!"],
    );
    check(&[head("/late"), get("/hello"), Step::Jobs], &["200", "200 Hello, world!"]);
    check(&[raw("HEAD / HTTP/1.0\r\n\r\n")], &["404 close", "closed"]);
}

#[test]
fn some_statuses_have_no_body() {
    check(
        &[get("/204"), get("/304"), get("/205"), get("/hello")],
        &["204", "304", "205", "200 Hello, world!"],
    );
}

#[test]
fn the_server_as_a_whole() {
    let (output, _) = run(&[request("OPTIONS", "*", "", "")], Faults::none());
    assert!(output.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"), "{output:?}");
    check(&[request("OPTIONS", "*", "", ""), get("/hello")], &["204", "200 Hello, world!"]);
    let (output, _) = run(&[request("TRACE", "/hello", "", "")], Faults::none());
    assert!(output.contains("\r\nAllow: "), "{output:?}");
    check(&[request("TRACE", "/hello", "", ""), get("/hello")], &["405", "200 Hello, world!"]);
    check(&[request("CONNECT", "a:80", "", ""), get("/hello")], &["501 close", "closed"]);
    check(&[get("http://b/hello")], &["200 Hello, world!"]);
    check(&[get("/%68ello"), get("/a/../hello"), get("//hello")], &["200 Hello, world!"; 3]);
    check(
        &[get("/%"), get("/../x"), get("/%00"), get("/hello")],
        &["400", "400", "400", "200 Hello, world!"],
    );
}

#[test]
fn what_a_handler_may_not_do() {
    check(&[get("/100"), get("/framed"), get("/hello")], &["500", "500", "200 Hello, world!"]);
    // A truncated body looks truncated.
    let (output, end) = run(&[get("/broken"), get("/hello")], Faults::none());
    assert!(!output.contains("0\r\n\r\n") && !output.contains("Hello"), "{output:?}");
    assert_eq!(end.as_deref(), Some("failed"));
}

#[test]
fn fields_come_as_they_were_sent() {
    check(
        &[request(
            "GET",
            "/fields",
            "X-Field: a\r\nx-other: b\r\nX-FIELD:  c \r\nx-field:\r\n",
            "",
        )],
        &["200 a|c|"],
    );
}

#[test]
fn time_runs_out() {
    check(&[Step::Wait(61)], &["closed"]);
    check(&[get("/hello"), Step::Wait(61)], &["200 Hello, world!", "closed"]);
    check(&[raw("GET / HT"), Step::Wait(21)], &["408 close", "closed"]);
    // An empty line behind a request is nothing.
    check(&[get("/hello"), raw("\r\n"), Step::Wait(61)], &["200 Hello, world!", "closed"]);
    check(&[get("/hello"), raw("\r\n"), Step::Drain], &["200 Hello, world!", "closed"]);
    check(
        &[get("/hello"), raw("GET"), Step::Wait(21)],
        &["200 Hello, world!", "408 close", "closed"],
    );
    check(
        &[request("POST", "/echo", "Content-Length: 9\r\n", "abc"), Step::Wait(21)],
        &["408 close", "closed"],
    );
    check(
        &[request("POST", "/hello", "Content-Length: 9\r\n", "abc"), Step::Wait(21)],
        &["200 Hello, world!", "closed"],
    );
    check(
        &[request("POST", "/echo", "Transfer-Encoding: chunked\r\n", "3\r\nab"), Step::Wait(61)],
        &["408 close", "closed"],
    );
    // Whose answer is put off isn't to blame.
    check(&[get("/held"), Step::Wait(600), Step::Answer], &["200 held"]);
}

#[test]
fn the_client_ends_its_side() {
    check(&[get("/hello"), Step::End], &["200 Hello, world!", "closed"]);
    check(&[get("/held"), Step::End, Step::Answer], &["200 held", "closed"]);
    check(
        &[request("POST", "/careful", "Content-Length: 3\r\n", "abc"), Step::End, Step::Jobs],
        &["200 3", "closed"],
    );
    check(&[raw("GET / HTTP/1.1\r\n"), Step::End], &["closed"]);
    check(&[request("POST", "/echo", "Content-Length: 9\r\n", "abc"), Step::End], &["closed"]);
}

#[test]
fn shutting_down_lets_the_active_finish() {
    check(&[Step::Drain], &["closed"]);
    check(&[get("/hello"), Step::Drain], &["200 Hello, world!", "closed"]);
    check(&[get("/held"), Step::Drain, Step::Answer], &["200 close held", "closed"]);
    check(
        &[get("/held"), get("/hello"), Step::Drain, Step::Answer],
        &["200 held", "200 Hello, world!", "closed"],
    );
    check(
        &[raw("GET /hello HTTP/1.1\r\n"), Step::Drain, raw("Host: a\r\n\r\n"), get("/hello")],
        &["200 close Hello, world!", "closed"],
    );
    check(
        &[
            request("POST", "/echo", "Content-Length: 3\r\n", "a"),
            Step::Drain,
            raw("bc"),
            get("/hello"),
        ],
        &["200 close abc", "closed"],
    );
    check(
        &[request("POST", "/hello", "Content-Length: 3\r\n", "a"), Step::Drain, raw("bc")],
        &["200 Hello, world!", "closed"],
    );
}

#[test]
fn a_line_for_each_finished_request() {
    let lines = Arc::new(Lines::default());
    let parts = ServiceParts::new("http.test").with_access(Some(lines.clone()));
    let service = service_of(parts, &Held::default());
    let mut one = client(&service, Faults::none());
    one.send("GET /hello?x=\"1\" HTTP/1.1\r\nHost: a\r\nReferer: r\r\nUser-Agent: u\r\n\r\n");
    one.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n").run_jobs();
    one.send("HEAD /hello HTTP/1.1\r\nHost: a\r\n\r\n").send("GET \x1b / HTTP/1.1\r\n\r\n");
    let at = "127.0.0.1 - - [09/Sep/2001:01:46:40 +0000]";
    let expected = [
        format!("{at} \"GET /hello?x=\\\"1\\\" HTTP/1.1\" 200 13 \"r\" \"u\""),
        format!("{at} \"GET /late HTTP/1.1\" 200 4 \"-\" \"-\""),
        format!("{at} \"HEAD /hello HTTP/1.1\" 200 0 \"-\" \"-\""),
    ];
    let mut seen = lines.take();
    let refused = seen.pop().unwrap();
    assert_eq!(seen, expected);
    assert!(refused.starts_with(&format!("{at} \"GET \\x1b / HTTP/1.1\" 400 ")), "{refused}");

    // A client that leaves in the middle.
    let mut two = client(&service, Faults::none().writes([5000]).reset_after(5000));
    two.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    drop(two);
    let seen = lines.take();
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert!(seen[0].ends_with(" \"-\" \"-\" incomplete"), "{seen:?}");
    let octets: u64 = seen[0].split(' ').nth(9).unwrap().parse().unwrap();
    let head = "HTTP/1.1 200 OK\r\nDate: Sun, 09 Sep 2001 01:46:40 GMT\r\nContent-Type: \
                text/plain; charset=utf-8\r\nContent-Length: 262144\r\n\r\n";
    assert_eq!(octets as usize, 5000 - head.len(), "really sent");

    // A reply that breaks in the middle, and one that was never begun.
    let mut three = client(&service, Faults::none());
    three.send("GET /broken HTTP/1.1\r\nHost: a\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n");
    drop(three);
    let seen = lines.take();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen.iter().all(|line| line.ends_with(" incomplete")), "{seen:?}");
    assert!(
        seen.iter().any(|line| line.contains("/hello") && line.contains(" 200 0 ")),
        "{seen:?}"
    );
}
