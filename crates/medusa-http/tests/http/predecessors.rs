//! Where predecessors fell, as far as it is HTTP's own and stands nowhere else: each is a test.

use medusa_core::testing::Faults;

use crate::fixture::{Step, check, get, raw, request, run};

/// Medusa lost the pipelined replies behind one that came late; Twisted 8126 changed their order.
#[test]
fn a_reply_that_comes_late_loses_none_behind_it() {
    check(
        &[
            get("/held"),
            get("/late"),
            get("/slow"),
            get("/hello"),
            Step::Jobs,
            Step::Wait(6),
            Step::Answer,
        ],
        &["200 held", "200 late", "200 slow", "200 Hello, world!"],
    );
}

/// Medusa sent 304 and 204 with a chunked body.
#[test]
fn statuses_without_a_body_have_no_framing_either() {
    for path in ["/204", "/304"] {
        let (output, _) = run(&[get(path)], Faults::none());
        let (head, body) = output.split_once("\r\n\r\n").unwrap();
        assert!(body.is_empty(), "{output:?}");
        assert!(
            !head.contains("Transfer-Encoding") && !head.contains("Content-Length"),
            "{head:?}"
        );
    }
}

/// Medusa decided to close and didn't say so.
#[test]
fn who_closes_says_so() {
    for (script, status) in [
        (request("GET", "/hello", "Connection: close\r\n", ""), "200 close Hello, world!"),
        (raw("GET /hello HTTP/1.0\r\n\r\n"), "200 close Hello, world!"),
        (raw("nonsense\r\n\r\n"), "400 close"),
    ] {
        check(&[script], &[status, "closed"]);
    }
}

/// Medusa sent the bodies of errors to HEAD.
#[test]
fn an_error_to_head_has_no_body() {
    let (output, _) = run(&[request("HEAD", "/nothing", "", "")], Faults::none());
    assert!(output.starts_with("HTTP/1.1 404 ") && output.ends_with("\r\n\r\n"), "{output:?}");
}

/// A head of bare LFs was waited for until the timeout.
#[test]
fn a_head_of_bare_line_feeds_is_refused_at_once() {
    check(&[raw("GET / HTTP/1.1\n\n")], &["400 close", "closed"]);
    check(&[raw("GET / HTTP/1.1\nHost: a\n\n")], &["400 close", "closed"]);
    check(&[raw("GET / HTTP/1.1\r\nHost: a\n")], &["400 close", "closed"]);
    // So is HTTP/0.9, which ends behind its first line.
    check(&[raw("GET /\r\n")], &["400 close", "closed"]);
}

/// Error pages that repeat what was asked for have carried many a script.
#[test]
fn an_error_page_holds_nothing_of_the_request() {
    let (output, _) = run(&[get("/<script>alert(1)</script>")], Faults::none());
    assert!(output.contains("404") && !output.contains("script"), "{output:?}");
}
