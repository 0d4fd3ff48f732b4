//! What follows from who asks and over what: the way to TLS, what is said over it alone, and names in
//! the access log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use medusa_core::testing::{Client, Faults};
use medusa_core::tls::Facts;
use medusa_core::{Endpoint, Limits, Peer, Service, ServiceParts};
use medusa_http::{
    Exchange, Handler, HttpService, RedirectToTls, Request, Response, Route, Router, handler_fn,
};

use crate::fixture::Lines;

fn who(request: &Request<'_>, _: &mut Exchange<'_, '_>) -> Response {
    let client = request.client().map_or("nobody".to_owned(), |address| address.to_string());
    Response::text(format!("{client} {:?}", request.certificate()))
}

fn router() -> impl Handler {
    RedirectToTls::new(Router::new().route(Route::prefix("/a/"), handler_fn(who)), 8443)
}

fn service(lines: &Arc<Lines>) -> HttpService {
    let parts = ServiceParts::new("http.test").with_access(Some(lines.clone()));
    HttpService::new(parts, router)
        .with_hsts(Duration::from_secs(86_400))
        .with_trusted_proxies(vec!["127.0.0.0/8".parse().unwrap()])
}

/// The head and the body of what a client at `address` is answered.
fn ask(service: &HttpService, address: &str, tls: Option<&str>, request: &str) -> (String, String) {
    let inet = |text: &str| Endpoint::Inet(SocketAddr::new(text.parse().unwrap(), 1));
    let mut peer = Peer::new(inet(address), inet("127.0.0.1"));
    if let Some(subject) = tls {
        let mut facts = Facts::default();
        facts.client = (!subject.is_empty()).then(|| subject.into());
        peer.tls = Some(Arc::new(facts));
    }
    let session = service.acceptor().accepted(&peer);
    let mut client = Client::from_peer(session, peer, Limits::default(), Faults::none());
    client.send(request);
    let text = client.text();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn location(head: &str) -> &str {
    head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap_or_default()
}

#[test]
fn plaintext_is_sent_to_tls_and_nowhere_else() {
    let service = service(&Arc::default());
    for (target, host, expected) in [
        ("/a/b?c=d", "site.test:8080", "https://site.test:8443/a/b?c=d"),
        ("/a/%2e%2e/x%20y", "site.test", "https://site.test:8443/a/%2e%2e/x%20y"),
        ("//evil.test/", "site.test", "https://site.test:8443//evil.test/"),
        ("/@evil.test", "site.test", "https://site.test:8443/@evil.test"),
        ("/a", "[2001:db8::1]:80", "https://[2001:db8::1]:8443/a"),
        ("http://asked.test/a", "site.test", "https://asked.test:8443/a"),
    ] {
        let request = format!("POST {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let (head, _) = ask(&service, "192.0.2.1", None, &request);
        assert!(head.starts_with("HTTP/1.1 308 "), "{head}");
        assert_eq!(location(&head), expected);
        assert!(!head.contains("Strict-Transport-Security"), "{head}");
    }
    for nowhere in ["GET /a/ HTTP/1.0\r\n\r\n", "GET /a/ HTTP/1.1\r\nHost:\r\n\r\n"] {
        let (head, _) = ask(&service, "192.0.2.1", None, nowhere);
        assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    }
}

#[test]
fn over_tls_it_is_served_and_said_to_stay_there() {
    let service = service(&Arc::default());
    for request in
        ["GET /a/ HTTP/1.1\r\nHost: a\r\n\r\n", "GET /b HTTP/1.1\r\nHost: a\r\n\r\n", "X\r\n\r\n"]
    {
        let (head, _) = ask(&service, "192.0.2.1", Some(""), request);
        assert!(!head.contains(" 308 "), "{head}");
        assert_eq!(head.matches("Strict-Transport-Security: max-age=86400\r\n").count(), 1);
    }
}

#[test]
fn a_trusted_proxy_says_what_it_is_spoken_to_by() {
    let service = service(&Arc::default());
    let asked = |address: &str, proto: &str| {
        let request =
            format!("GET /a/ HTTP/1.1\r\nHost: a.test:80\r\nX-Forwarded-Proto: {proto}\r\n\r\n");
        let (head, _) = ask(&service, address, None, &request);
        format!("{} {}", &head[9..12], location(&head)).trim_end().to_owned()
    };
    assert_eq!(asked("127.0.0.1", "https"), "200");
    assert_eq!(asked("127.0.0.1", "http"), "308 https://a.test/a/");
    assert_eq!(asked("192.0.2.1", "https"), "308 https://a.test:8443/a/");
}

#[test]
fn names_in_the_handler_and_in_the_log() {
    let lines: Arc<Lines> = Arc::default();
    let service = service(&lines);
    let get = "GET /a/ HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\n\
               X-Forwarded-For: 198.51.100.9, 192.0.2.7\r\n\r\n";
    for (address, tls, body, begin) in [
        ("127.0.0.1", None, "192.0.2.7 None", "192.0.2.7 - - ["),
        ("127.0.0.1", Some("CN=proxy"), "192.0.2.7 Some(\"CN=proxy\")", "192.0.2.7 - CN=proxy ["),
        (
            "192.0.2.1",
            Some("CN=a b \"c\",O=d"),
            "192.0.2.1 Some(\"CN=a b \\\"c\\\",O=d\")",
            "192.0.2.1 - CN=a\\x20b\\x20\\x22c\\x22,O=d [09/Sep/2001:",
        ),
    ] {
        assert_eq!(ask(&service, address, tls, get).1, body);
        let line = lines.take().remove(0);
        assert!(line.starts_with(begin), "{line}");
        assert!(line.contains("] \"GET /a/ HTTP/1.1\" 200 "), "{line}");
    }
}
