//! Requests that two implementations could read differently: each is refused, the connection closed,
//! and nothing behind it is taken for a request.

use crate::fixture::{check, get, raw, request};

/// How the last request of each script is refused.
#[test]
fn what_is_ambiguous_is_refused() {
    let hidden = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";
    for (fields, status) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "400"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "400"),
        ("Transfer-Encoding: chunked\r\nContent-Length:\r\n", "400"),
        ("Content-Length: 3\r\nContent-Length: 3\r\n", "400"),
        ("Content-Length: 3\r\nContent-Length: 4\r\n", "400"),
        ("Content-Length: 3, 3\r\n", "400"),
        ("Content-Length: 3,4\r\n", "400"),
        ("Content-Length: +3\r\n", "400"),
        ("Content-Length: -3\r\n", "400"),
        ("Content-Length: 3 3\r\n", "400"),
        ("Content-Length: 0x3\r\n", "400"),
        ("Content-Length: 3;\r\n", "400"),
        ("Content-Length: three\r\n", "400"),
        ("Content-Length: \r\n", "400"),
        ("Content-Length: 18446744073709551616\r\n", "400"),
        ("Content-Length: 99999999999999999999999\r\n", "400"),
        ("Content-Length : 3\r\n", "400"),
        ("Content-Length\t: 3\r\n", "400"),
        ("Content-Length\r\n: 3\r\n", "400"),
        (" Content-Length: 3\r\n", "400"),
        ("X: y\r\n Content-Length: 3\r\n", "400"),
        ("X: y\r\n\tz\r\n", "400"),
        ("X: y\nContent-Length: 3\r\n", "400"),
        ("X: y\rContent-Length: 3\r\n", "400"),
        ("X: y\r\rContent-Length: 3\r\n", "400"),
        ("X: y\0\r\n", "400"),
        ("X: y\x08\r\n", "400"),
        ("X\0: y\r\n", "400"),
        ("\0X: y\r\n", "400"),
        ("X y\r\n", "400"),
        (": y\r\n", "400"),
        ("Transfer-Encoding: chunked, chunked\r\n", "400"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "400"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "400"),
        ("Transfer-Encoding: chunked, identity\r\n", "400"),
        ("Transfer-Encoding: chunked;q=1\r\n", "400"),
        ("Transfer-Encoding: \r\n", "400"),
        ("Transfer-Encoding: identity\r\n", "501"),
        ("Transfer-Encoding: gzip\r\n", "501"),
        ("Transfer-Encoding: gzip, chunked\r\n", "501"),
        ("Transfer-Encoding: identity, chunked\r\n", "501"),
        ("Transfer-Encoding: xchunked\r\n", "501"),
        ("Transfer-Encoding: chunkedx\r\n", "501"),
        ("Transfer-Encoding: \"chunked\"\r\n", "501"),
        ("Transfer-Encoding : chunked\r\n", "400"),
        ("Transfer-Encoding:\n chunked\r\n", "400"),
        ("Transfer-Encoding: chunked\n\r\n", "400"),
        ("Transfer-Encoding: \x0bchunked\r\n", "400"),
        ("Host: b\r\n", "400"),
        ("Host: a\r\n", "400"),
    ] {
        let refused = format!("{status} close");
        check(
            &[request("POST", "/echo", fields, &format!("0\r\n\r\n{hidden}"))],
            &[&refused, "closed"],
        );
        check(
            &[get("/hello"), request("POST", "/echo", fields, hidden), get("/hello")],
            &["200 Hello, world!", &refused, "closed"],
        );
    }
}

#[test]
fn old_versions_have_no_transfer_coding() {
    check(
        &[raw("POST /echo HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")],
        &["400 close", "closed"],
    );
}

#[test]
fn request_lines_that_are_refused() {
    for (line, status) in [
        ("GET  /hello HTTP/1.1", "400"),
        ("GET /hello  HTTP/1.1", "400"),
        ("GET /hello HTTP/1.1 ", "400"),
        (" GET /hello HTTP/1.1", "400"),
        ("GET\t/hello\tHTTP/1.1", "400"),
        ("GET /hel lo HTTP/1.1", "400"),
        ("GET /hello", "400"),
        ("GET", "400"),
        ("GET /hello HTTP/1.1\n", "400"),
        ("GET /hello HTTP/1.1\r", "400"),
        ("GET /hello\0 HTTP/1.1", "400"),
        ("GET /hello#x HTTP/1.1", "400"),
        ("GET hello HTTP/1.1", "400"),
        ("GET http:/hello HTTP/1.1", "400"),
        ("GET http://u:p@a/hello HTTP/1.1", "400"),
        ("GET * HTTP/1.1", "400"),
        ("G@T /hello HTTP/1.1", "400"),
        ("GET /hello http/1.1", "400"),
        ("GET /hello HTTP/1.1.1", "400"),
        ("GET /hello HTTP/ 1.1", "400"),
        ("GET /hello HTTP/2.0", "505"),
        ("GET /hello HTTP/0.9", "505"),
        ("GET /hello HTTP/1.2", "505"),
    ] {
        let refused = format!("{status} close");
        check(&[raw(&format!("{line}\r\nHost: a\r\n\r\n")), get("/hello")], &[&refused, "closed"]);
    }
    check(&[raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")], &["505 close", "closed"]);
}

#[test]
fn chunks_that_are_refused() {
    for chunks in [
        "x\r\n",
        "\r\n",
        " 3\r\nabc\r\n",
        "3 \r\nabc\r\n",
        "+3\r\nabc\r\n",
        "0x3\r\nabc\r\n",
        "3\nabc\r\n",
        "3\rabc\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabcd\r\n",
        "3\r\nab\r\n",
        "3;\r\nabc\r\n",
        "3;a\nb\r\nabc\r\n",
        "3;a=\"b\r\nabc\r\n",
        "3;a b\r\nabc\r\n",
        "3;\0\r\nabc\r\n",
        "10000000000000000\r\n",
        "fffffffffffffffff\r\n",
        "0\r\nX : y\r\n\r\n",
        "0\r\n X: y\r\n\r\n",
        "0\r\nX: y\nZ: a\r\n\r\n",
        "0\r\nX\r\n\r\n",
        "0\n\r\n",
        "0\r\n\n",
    ] {
        let script = request("POST", "/count", "Transfer-Encoding: chunked\r\n", chunks);
        check(&[script.clone(), get("/hello"), get("/hello")], &["400 close", "closed"]);
        check(
            &[get("/hello"), script, get("/hello"), get("/hello")],
            &["200 Hello, world!", "400 close", "closed"],
        );
    }
}

#[test]
fn trailers_never_reach_the_header() {
    let trailers = "0\r\nContent-Length: 40\r\nX-Field: b\r\nHost: evil\r\n\r\n";
    let fields = "Transfer-Encoding: chunked\r\nX-Field: a\r\n";
    check(
        &[
            request("POST", "/echo", fields, trailers),
            request("GET", "/fields", "X-Field: c\r\n", ""),
        ],
        &["200", "200 c"],
    );
}

#[test]
fn one_empty_line_before_a_request_is_forgiven() {
    check(&[get("/hello"), raw("\r\n"), get("/hello")], &["200 Hello, world!"; 2]);
    check(&[raw("\r\n\r\n"), get("/hello")], &["400 close", "closed"]);
    check(&[raw("\n"), get("/hello")], &["400 close", "closed"]);
}
