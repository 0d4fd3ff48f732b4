//! Which handler a request goes to, and what a redirection says.

use http::{Method, StatusCode};
use medusa_core::Service;
use medusa_core::testing::{Client, Faults};
use medusa_http::{Exchange, HttpService, Redirect, Request, Response, Route, Router, handler_fn};

use crate::fixture::session;

/// Says which route it is, and what is left of the path.
fn say(name: &'static str) -> impl medusa_http::Handler {
    handler_fn(move |request: &Request<'_>, _: &mut Exchange<'_, '_>| {
        Response::text([name.as_bytes(), b" ", request.rest()].concat())
    })
}

fn router() -> Router {
    Router::new()
        .route(Route::exact("/exact"), say("exact"))
        .route(Route::prefix("/deep/"), say("deep"))
        .route(Route::prefix("/both"), say("both"))
        .route(Route::prefix("/get").methods([Method::GET]), say("get"))
        .route(
            Route::prefix("/get").methods([Method::PUT, Method::from_bytes(b"MKCOL").unwrap()]),
            say("put"),
        )
        .route(Route::any().host("other.test"), say("other"))
        .route(Route::any().host("*.wild.test"), say("wild"))
        .route(Route::prefix("/old/"), Redirect::new(StatusCode::MOVED_PERMANENTLY, "/new/{rest}"))
        .route(Route::exact("/to"), Redirect::new(StatusCode::SEE_OTHER, "https://a.test/?x=y"))
        .route(Route::prefix("/first"), say("first"))
        .route(Route::prefix("/first/second"), say("second"))
}

/// The status, and the location, the methods or the text that come with it.
fn ask(method: &str, path: &str, host: &str) -> String {
    let service = HttpService::new("http.test", router);
    let mut client = Client::with(session(&service), service.parts().limits(), Faults::none());
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    let text = client.text();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim_start_matches(": ").to_owned())
    };
    let rest = field("Location").or(field("Allow"));
    let is_page = head.contains("text/html");
    let body = if is_page { String::new() } else { body.to_owned() };
    format!("{} {}", &head[9..12], rest.unwrap_or(body)).trim_end().to_owned()
}

#[test]
fn the_first_that_matches() {
    for (path, expected) in [
        ("/exact", "200 exact"),
        ("/exact/", "404"),
        ("/exact/x", "404"),
        ("/exactly", "404"),
        ("/%65xact", "200 exact"),
        ("//x/..//exact", "200 exact"),
        ("/deep/", "200 deep"),
        ("/deep/a/b", "200 deep a/b"),
        ("/deep", "301 /deep/"),
        ("/deep?q=1", "301 /deep/?q=1"),
        ("/deeper", "404"),
        ("/both", "200 both"),
        ("/both/", "200 both"),
        ("/both/a", "200 both a"),
        ("/bothersome", "404"),
        ("/first/second/third", "200 first second/third"),
        ("/deep/%2e%2e/exact", "200 exact"),
        ("/deep%2f..%2fexact", "200 exact"),
        ("/", "404"),
    ] {
        assert_eq!(ask("GET", path, "a"), expected, "{path}");
    }
}

#[test]
fn hosts_in_any_case_and_with_any_port() {
    for (host, expected) in [
        ("other.test", "200 other x"),
        ("OTHER.test:8080", "200 other x"),
        ("other.test.", "200 other x"),
        ("another.test", "404"),
        ("a.wild.test", "200 wild x"),
        ("a.b.WILD.test:1", "200 wild x"),
        ("wild.test", "404"),
        ("xwild.test", "404"),
        ("", "404"),
    ] {
        assert_eq!(ask("GET", "/x", host), expected, "{host}");
    }
    assert_eq!(ask("GET", "http://other.test/x", "elsewhere"), "200 other x");
}

#[test]
fn methods_that_are_not_allowed() {
    assert_eq!(ask("GET", "/get/a", "a"), "200 get a");
    assert_eq!(ask("PUT", "/get/a", "a"), "200 put a");
    assert_eq!(ask("MKCOL", "/get/a", "a"), "200 put a");
    assert!(ask("HEAD", "/get/a", "a").starts_with("200"));
    assert_eq!(ask("POST", "/get/a", "a"), "405 OPTIONS, GET, HEAD, PUT, MKCOL");
    assert_eq!(ask("OPTIONS", "/get/a", "a"), "204 OPTIONS, GET, HEAD, PUT, MKCOL");
    assert_eq!(ask("BREW", "/get/a", "a"), "501");
    assert!(ask("OPTIONS", "*", "a").starts_with("204 OPTIONS, GET, HEAD, PUT, MKCOL"));
}

#[test]
fn redirections_break_out_of_nothing() {
    for (path, expected) in [
        ("/old/a/b", "301 /new/a/b"),
        ("/old/", "301 /new/"),
        ("/old/a?b=c", "301 /new/a?b=c"),
        ("/old//evil.test/", "301 /new/evil.test/"),
        ("/old/%2f%2fevil.test", "301 /new/evil.test"),
        ("/old/a%0d%0aX:%20y", "301 /new/a%0D%0AX:%20y"),
        ("/old/%3f%23%25", "301 /new/%3F%23%25"),
        ("/old/\u{e4}", "301 /new/%C3%A4"),
        ("/to", "303 https://a.test/?x=y"),
        ("/to?z", "303 https://a.test/?x=y"),
    ] {
        assert_eq!(ask("GET", path, "a"), expected, "{path}");
    }
}
