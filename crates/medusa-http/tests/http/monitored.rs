//! What is counted, and the pages that show it.

use std::time::{Duration, Instant};

use medusa_core::Service;
use medusa_core::metrics::Metrics;
use medusa_core::testing::{Client, Faults};
use medusa_http::{
    Exchange, HttpService, MetricsPage, Request, Response, Route, Router, StatusPage, handler_fn,
};

use crate::fixture::session;

fn service(metrics: &Metrics) -> HttpService {
    let shown = metrics.clone();
    let (status, numbers) = {
        let since = Instant::now();
        (StatusPage::new(metrics, since), MetricsPage::new(&shown, since))
    };
    let make = move || {
        let hello = |_: &Request<'_>, _: &mut Exchange<'_, '_>| Response::text("hello");
        Router::new()
            .route(Route::prefix("/status"), status.clone())
            .route(Route::prefix("/metrics"), numbers.clone())
            .route(Route::exact("/hello"), handler_fn(hello))
    };
    HttpService::new("http.test", make).with_metrics(metrics)
}

fn client(service: &HttpService) -> Client {
    Client::with(session(service), service.parts().limits(), Faults::none())
}

fn ask(client: &mut Client, method: &str, path: &str, fields: &str) -> (String, String) {
    client.send(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
    let text = client.text();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn counters(metrics: &Metrics) -> Vec<u64> {
    metrics.service("http.test").counters().iter().map(|(_, value)| *value).collect()
}

#[test]
fn each_response_is_counted_once_by_its_class() {
    let metrics = Metrics::default();
    let service = service(&metrics);
    let names: Vec<_> = {
        drop(service.acceptor());
        metrics.service("http.test").counters().iter().map(|(name, _)| *name).collect()
    };
    assert_eq!(names, ["requests_2xx", "requests_3xx", "requests_4xx", "requests_5xx"]);
    let mut client = client(&service);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send([get("/hello"), get("/none"), get("/hello")].concat());
    assert_eq!(counters(&metrics), [2, 0, 1, 0]);
    client.send("BREW /none HTTP/1.1\r\nHost: a\r\n\r\n");
    client.send("broken\r\n\r\n");
    assert_eq!(counters(&metrics), [2, 0, 3, 0]);
    // Who takes nothing is counted when the connection is gone.
    let mut client = self::client(&service);
    client.stall().send(get("/hello"));
    assert_eq!(counters(&metrics)[0], 2);
    client.reset();
    assert_eq!(counters(&metrics)[0], 3);
}

#[test]
fn the_status_page_is_for_people_and_programs() {
    let metrics = Metrics::default();
    let other = metrics.service("smtp.<mx>");
    let service = service(&metrics);
    other.accepted.add(30);
    other.ended.add(28);
    other.refused.add(1);
    other.sent_octets.add(4096);
    other.counter("messages").add(50);
    let names = metrics.service("dns.zones");
    names.datagrams.received.add(400);
    names.datagrams.refused.add(3);
    names.datagrams.sent.add(390);
    let mut client = client(&service);
    client.advance(Duration::from_secs(20));

    let (head, page) = ask(&mut client, "GET", "/status", "Accept: text/html, */*\r\n");
    assert!(head.contains("Content-Type: text/html"), "{head}");
    assert!(head.contains("Vary: Accept") && head.contains("no-store"), "{head}");
    assert!(page.contains("Up for 20 s"), "{page}");
    let row = "<tr><th>smtp.&lt;mx&gt;</th><td>2</td><td>30</td><td>1.5</td><td>1</td>\
               <td>0 B</td><td>4.0 KiB</td><td class=\"own\">messages: 50 (2.5/s)</td></tr>";
    assert!(page.contains(row), "{page}");
    let cell = "<td class=\"own\">datagrams: 400 (20.0/s), 390 sent, 3 refused</td>";
    assert!(page.contains(cell), "{page}");

    for (path, accept) in [
        ("/status?format=json", "text/html"),
        ("/status", "application/json"),
        ("/status/", "application/json;q=0.9, text/html;q=0.1"),
        ("/status", "text/html;q=0, application/json"),
    ] {
        let (head, json) = ask(&mut client, "GET", path, &format!("Accept: {accept}\r\n"));
        assert!(head.contains("Content-Type: application/json"), "{head}");
        assert!(json.starts_with("{\"uptime_seconds\":20,\"window_seconds\":20,\"services\":["));
        let service = "{\"name\":\"smtp.<mx>\",\"connections_open\":2,\
                       \"connections_accepted\":30,\"connections_refused\":1,\
                       \"connections_per_second\":1.500,\"received_octets\":0,\
                       \"sent_octets\":4096,\"counted\":{\"messages\":50},\
                       \"per_second\":{\"messages\":2.500}";
        assert!(json.contains(service), "{json}");
        let datagrams = "\"datagrams_received\":400,\"datagrams_truncated\":0,\
                         \"datagrams_refused\":3,\"datagrams_sent\":390,\"datagrams_dropped\":0}";
        assert!(json.contains(datagrams), "{json}");
    }
    for accept in ["", "Accept: application/json;q=0\r\n", "Accept: */*\r\n"] {
        let (head, _) = ask(&mut client, "GET", "/status", accept);
        assert!(head.contains("Content-Type: text/html"), "{head}");
    }
}

#[test]
fn rates_are_those_of_late() {
    let metrics = Metrics::default();
    let service = service(&metrics);
    let messages = metrics.service("smtp.mx").counter("messages");
    let mut client = client(&service);
    let mut rate = |seconds: u64, more: u64| {
        messages.add(more);
        client.advance(Duration::from_secs(seconds));
        let (_, json) = ask(&mut client, "GET", "/status?format=json", "");
        let at = json.find("\"per_second\":{\"messages\":").unwrap();
        let (window, rest) = (&json[..json.find(",\"services").unwrap()], &json[at + 25..]);
        let window = window.rsplit(':').next().unwrap().to_owned();
        (window, rest.split('}').next().unwrap().to_owned())
    };
    assert_eq!(rate(0, 3), ("0".into(), "3.000".into()));
    assert_eq!(rate(10, 27), ("10".into(), "3.000".into()));
    // Looked at often, it isn't the rate of a moment.
    assert_eq!(rate(2, 6), ("12".into(), "3.000".into()));
    assert_eq!(rate(8, 4), ("10".into(), "1.000".into()));
    assert_eq!(rate(30, 0), ("30".into(), "0.000".into()));
}

#[test]
fn metrics_are_text_for_prometheus() {
    let metrics = Metrics::default();
    let service = service(&metrics);
    let mut client = client(&service);
    client.advance(Duration::from_secs(5));
    let (head, text) = ask(&mut client, "GET", "/metrics", "");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    assert!(text.contains("\nmedusa_uptime_seconds 5\n"), "{text}");
    assert!(text.contains("\nmedusa_connections_open{service=\"http.test\"} 0\n"), "{text}");
    assert!(text.ends_with('\n'));
    let (_, text) = ask(&mut client, "GET", "/metrics", "");
    assert!(text.contains("requests_total{service=\"http.test\",class=\"2xx\"} 1\n"), "{text}");
}

#[test]
fn only_to_be_looked_at() {
    let service = service(&Metrics::default());
    let mut client = client(&service);
    for path in ["/status", "/metrics"] {
        for (method, status) in
            [("HEAD", "200"), ("OPTIONS", "204"), ("POST", "405"), ("BREW", "501")]
        {
            let (head, body) = ask(&mut client, method, path, "");
            assert_eq!(&head[9..12], status, "{method} {path}");
            assert!(method != "HEAD" || body.is_empty());
        }
        let (head, _) = ask(&mut client, "GET", &format!("{path}/below"), "");
        assert_eq!(&head[9..12], "404");
    }
}
