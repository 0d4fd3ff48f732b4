//! Who may have what: Basic authentication in front of handlers that answer at once, later, or read a
//! body, and what the log says of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use medusa_accounts::{
    Accounts, Directory, HashCost, Logins, Password, ThrottleLimits, User, Users,
};
use medusa_core::testing::{Client, Faults};
use medusa_core::{Endpoint, Limits, Peer, Service, ServiceParts};
use medusa_http::{
    Answer, Exchange, Handler, HttpService, Protected, Request, Response, Route, Router, handler_fn,
};

use crate::fixture::{Lines, responses};

const ALICE: &str = "YWxpY2U6c2VjcmV0"; // alice:secret
const ALICE_LOUD: &str = "QUxJQ0U6c2VjcmV0"; // ALICE:secret
const ALICE_WRONG: &str = "YWxpY2U6d3Jvbmc="; // alice:wrong
const BOB: &str = "Ym9iOnNlY3JldA=="; // bob:secret
const NOBODY: &str = "bm9ib2R5OnNlY3JldA=="; // nobody:secret

fn accounts() -> Arc<Accounts> {
    let cheap = HashCost { memory_kib: 8, passes: 1, lanes: 1 };
    let user = || User::with_password_at(&Password::new("secret"), cheap, 4096).unwrap();
    let users = ["alice", "bob"].map(|name| (name.to_owned(), user()));
    let directory = Directory::new(Users(users.into()), Path::new("/")).unwrap();
    Arc::new(Accounts::new(directory).unwrap())
}

fn router(logins: &Logins) -> impl Handler + use<> {
    let inner = Router::new()
        .route(
            Route::exact("/in/now"),
            handler_fn(|request: &Request<'_>, _: &mut Exchange<'_, '_>| {
                Response::text(format!("{:?}", request.user()))
            }),
        )
        .route(
            Route::exact("/in/late"),
            handler_fn(|_: &Request<'_>, exchange: &mut Exchange<'_, '_>| {
                exchange.offload(|| (), |(), _| Response::text("late").into())
            }),
        )
        .route(
            Route::exact("/in/echo"),
            handler_fn(|_: &Request<'_>, _: &mut Exchange<'_, '_>| {
                Answer::collect(100, |body, _| Response::text(body).into())
            }),
        );
    let open = handler_fn(|_: &Request<'_>, _: &mut Exchange<'_, '_>| Response::text("open"));
    Router::new()
        .route(
            Route::prefix("/in/"),
            Protected::new(inner, logins.clone(), "http.test", "test").only(["Alice".to_owned()]),
        )
        .route(Route::any(), open)
}

struct Fixture {
    service: HttpService,
    lines: Arc<Lines>,
    accounts: Arc<Accounts>,
}

impl Fixture {
    fn new() -> Fixture {
        let (accounts, lines) = (accounts(), Arc::<Lines>::default());
        let logins = Logins::new(accounts.clone(), ThrottleLimits::default());
        let parts = ServiceParts::new("http.test").with_access(Some(lines.clone()));
        let service = HttpService::new(parts, move || router(&logins))
            .with_trusted_proxies(vec!["127.0.0.0/8".parse().unwrap()]);
        Fixture { service, lines, accounts }
    }

    fn client(&self, address: &str) -> Client {
        self.split(address, Faults::none())
    }

    fn split(&self, address: &str, faults: Faults) -> Client {
        let inet = |text: &str| Endpoint::Inet(SocketAddr::new(text.parse().unwrap(), 1));
        let peer = Peer::new(inet(address), inet("127.0.0.1"));
        let session = self.service.acceptor().accepted(&peer);
        Client::from_peer(session, peer, Limits::default(), faults)
    }
}

fn get(path: &str, token: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {token}\r\n\r\n")
}

fn put(fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "PUT /in/echo HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {ALICE}\r\n\
         Content-Length: {length}\r\n{fields}\r\n{body}"
    )
}

fn said(client: &mut Client) -> Vec<String> {
    responses(&client.text(), &[])
}

#[test]
fn who_says_nothing_is_asked() {
    let fixture = Fixture::new();
    let mut client = fixture.client("192.0.2.1");
    client.send("GET /in/now HTTP/1.1\r\nHost: a\r\n\r\n");
    let text = client.text();
    assert!(text.starts_with("HTTP/1.1 401 "), "{text}");
    assert!(text.contains("WWW-Authenticate: Basic realm=\"test\", charset=\"UTF-8\"\r\n"));
    for bad in [
        "Authorization: Bearer abc\r\n".to_owned(),
        "Authorization: Basic !\r\n".to_owned(),
        "Authorization: Basic\r\n".to_owned(),
        "Authorization: \r\n".to_owned(),
        format!("Authorization: Basic {}\r\n", "A".repeat(4000)),
        format!("Authorization: Basic {ALICE}\r\nAuthorization: Basic {ALICE}\r\n"),
    ] {
        client.send(format!("GET /in/now HTTP/1.1\r\nHost: a\r\n{bad}\r\n")).run_jobs();
        assert_eq!(said(&mut client), ["401"], "{bad}");
    }
    client.send("GET /out HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(said(&mut client), ["200 open"]);
    assert_eq!(fixture.accounts.hashes(), 0);
    assert!(fixture.lines.take().iter().all(|line| line.starts_with("192.0.2.1 - - [")));
}

#[test]
fn who_is_let_in_has_a_name_and_is_remembered() {
    let fixture = Fixture::new();
    let mut client = fixture.client("192.0.2.1");
    client.send(get("/in/now", ALICE));
    assert_eq!(client.text(), "");
    client.run_jobs();
    assert_eq!(said(&mut client), ["200 Some(\"alice\")"]);
    client.send(get("/in/now", ALICE_LOUD));
    assert_eq!(said(&mut client), ["200 Some(\"alice\")"]);
    client.send(get("/in/late", ALICE)).run_jobs();
    assert_eq!(said(&mut client), ["200 late"]);
    client.send(get("/out", ALICE));
    assert_eq!(said(&mut client), ["200 open"]);
    assert_eq!(fixture.accounts.hashes(), 1);
    let users: Vec<String> =
        fixture.lines.take().iter().map(|l| l.split(' ').nth(2).unwrap().to_owned()).collect();
    assert_eq!(users, ["alice", "alice", "alice", "-"]);
}

#[test]
fn whoever_is_refused_is_told_the_same() {
    let mut answers = Vec::new();
    for token in [ALICE_WRONG, NOBODY, BOB] {
        let fixture = Fixture::new();
        let mut client = fixture.client("192.0.2.1");
        client.send(get("/in/now", token)).run_jobs();
        answers.push(client.text());
        assert_eq!(fixture.accounts.hashes(), 1);
        assert!(fixture.lines.take()[0].starts_with("192.0.2.1 - - ["));
    }
    assert!(answers[0].starts_with("HTTP/1.1 401 "));
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[test]
fn logins_take_their_time_and_nothing_comes_out_of_order() {
    for faults in [Faults::none(), Faults::none().reads([1]), Faults::random(5, 60)] {
        let fixture = Fixture::new();
        let mut client = fixture.split("192.0.2.1", faults);
        let burst = [
            get("/in/now", ALICE_WRONG),
            get("/out", ""),
            put("", ""),
            get("/in/late", ALICE),
            put("", "body"),
            get("/out", ""),
        ];
        client.send(burst.concat());
        // The first is refused; the others of this peer were let in to the queue before.
        client.run_jobs();
        client.advance(Duration::from_secs(20)).run_jobs();
        assert_eq!(
            said(&mut client),
            ["401", "200 open", "200", "200 late", "200 body", "200 open"]
        );
        let mut client = fixture.client("192.0.2.2");
        client.send(get("/in/now", ALICE_WRONG)).run_jobs();
        client.send([get("/in/now", ALICE), get("/out", "")].concat()).run_jobs();
        assert_eq!(said(&mut client), ["401"]);
        client.advance(Duration::from_millis(1000)).run_jobs();
        assert_eq!(said(&mut client), ["200 Some(\"alice\")", "200 open"]);
    }
}

#[test]
fn a_body_waits_for_the_login() {
    let fixture = Fixture::new();
    let mut client = fixture.client("192.0.2.1");
    client.send(put("Expect: 100-continue\r\n", "").replace("Length: 0", "Length: 4"));
    assert_eq!(client.text(), "");
    client.run_jobs();
    assert_eq!(client.text(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body");
    assert_eq!(said(&mut client), ["200 body"]);
    // Refused later, its body is passed over and never taken for a request.
    let hidden = "GET /out HTTP/1.1\r\nHost: a\r\n\r\n";
    client.send(put("", hidden).replace(ALICE, NOBODY)).run_jobs();
    assert_eq!(said(&mut client), ["401"]);
    client.send(hidden);
    assert_eq!(said(&mut client), ["200 open"]);
    let lines = fixture.lines.take();
    assert!(lines[0].starts_with("192.0.2.1 - alice ["), "{lines:?}");
    assert!(lines[1].starts_with("192.0.2.1 - - ["), "{lines:?}");
}

#[test]
fn guessing_gets_slow_and_then_impossible() {
    let fixture = Fixture::new();
    let mut client = fixture.client("192.0.2.1");
    let mut guess = || {
        client.send(get("/in/now", ALICE_WRONG)).run_jobs();
        client.advance(Duration::from_secs(15)).run_jobs();
        client.text()
    };
    // Ten failures, and one more for each that is forgiven meanwhile.
    let refused = (0..20).find_map(|count| {
        let text = guess();
        (!text.starts_with("HTTP/1.1 401 ")).then_some((count, text))
    });
    let (count, text) = refused.unwrap();
    assert!((10..16).contains(&count), "{count}");
    assert!(text.starts_with("HTTP/1.1 503 "), "{text}");
    let (_, wait) = text.split_once("\r\nRetry-After: ").unwrap();
    assert!((500..=600).contains(&wait.split("\r\n").next().unwrap().parse::<u64>().unwrap()));
    // Behind a proxy it is the client that is counted.
    let mut proxy = fixture.client("127.0.0.1");
    let from = |address: &str| {
        get("/in/now", ALICE)
            .replace("\r\n\r\n", &format!("\r\nX-Forwarded-For: {address}\r\n\r\n"))
    };
    proxy.send(from("192.0.2.1")).run_jobs();
    assert_eq!(said(&mut proxy), ["503"]);
    proxy.send(from("192.0.2.2")).run_jobs();
    proxy.advance(Duration::from_secs(5)).run_jobs();
    assert_eq!(said(&mut proxy), ["200 Some(\"alice\")"]);
}

#[test]
fn who_leaves_while_waiting_is_not_looked_up() {
    let fixture = Fixture::new();
    let mut client = fixture.client("192.0.2.1");
    client.send(get("/in/now", ALICE_WRONG)).run_jobs();
    client.send(get("/in/now", ALICE));
    client.reset();
    client.advance(Duration::from_secs(20)).run_jobs();
    assert_eq!(fixture.accounts.hashes(), 1);
    assert!(fixture.lines.take()[0].contains(" 401 "));
}

#[test]
fn one_login_at_a_time_is_held_for_a_connection() {
    let fixture = Fixture::new();
    let mut client = fixture.split("192.0.2.1", Faults::none().reads([16 * 1024]));
    let padded = format!("\r\nX: {}\r\n\r\n", "x".repeat(8000));
    client.send(get("/in/now", ALICE).replace("\r\n\r\n", &padded).repeat(64));
    // What is behind the first isn't even read until that is known; then the others are remembered.
    assert!(client.unread_bytes() > 256 * 1024);
    client.run_jobs();
    assert_eq!(said(&mut client), ["200 Some(\"alice\")"; 64]);
    assert_eq!(client.unread_bytes(), 0);
    assert_eq!(fixture.accounts.hashes(), 1);
}
