//! Configurations that are refused, and where; and what the accepted ones do.

use serde::Deserialize;
use serde::de::value::StrDeserializer;

use medusa_accounts::{
    Accounts, Directory, HashCost, Logins, Password, ThrottleLimits, User, Users,
};
use medusa_core::testing::{Client, Faults};
use medusa_core::tls::{Certificate, ServerTls};
use medusa_core::{Endpoint, Peer, ServiceNames};

use super::*;
use crate::config::{ClientCertificate, RouteConfig as Route1, StatusKey};

fn context() -> (tempfile::TempDir, BuildContext) {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["public", "private"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    std::fs::write(folder.path().join("file"), "").expect("a file");
    let cx = BuildContext::new("http", "site", folder.path());
    (folder, cx)
}

fn config() -> SiteConfig {
    SiteConfig {
        listen: Some(vec!["127.0.0.1:0".parse().expect("an address")]),
        root: Some("public".into()),
        ..SiteConfig::default()
    }
}

fn with_route(route: Route1) -> SiteConfig {
    SiteConfig {
        route: vec![Route1 { path: Some("/a/".into()), ..Route1::default() }, route],
        ..config()
    }
}

#[track_caller]
fn refused(config: SiteConfig, key: Option<&str>, words: &str) {
    let (_folder, cx) = context();
    let mut config = config;
    if let Some(first) = config.route.first_mut() {
        first.files.get_or_insert_with(|| "private".into());
    }
    let error = site(config, &cx).expect_err("refused");
    assert_eq!(error.key.as_deref(), key, "{error}");
    assert!(error.message.contains(words), "{error}");
}

#[test]
fn what_is_refused_and_where() {
    let files = || Route1 { files: Some("public".into()), ..Route1::default() };
    let redirect = || Route1 { redirect: Some("/b/{rest}".into()), ..Route1::default() };
    let path = |path: &str| with_route(Route1 { path: Some(path.into()), ..files() });
    let host = |host: &str| with_route(Route1 { host: Some(host.into()), ..files() });
    refused(SiteConfig { listen: None, ..config() }, Some("listen"), "listens nowhere");
    refused(SiteConfig { listen: Some(vec![]), ..config() }, Some("listen"), "listens nowhere");
    refused(SiteConfig { root: None, ..config() }, None, "nothing to serve");
    refused(SiteConfig { root: Some("nowhere".into()), ..config() }, Some("root"), "no such");
    refused(SiteConfig { root: Some("file".into()), ..config() }, Some("root"), "not a folder");
    let index = Some(vec!["index.html".into(), "a/b".into()]);
    refused(SiteConfig { index, ..config() }, Some("index[1]"), "a/b");
    let cache_control = Some("a\nb".into());
    refused(SiteConfig { cache_control, ..config() }, Some("cache_control"), "header field");
    for wrong in ["a", "/a%20b", "/a/../b", "//a", "/a?b", "/%zz"] {
        refused(path(wrong), Some("route[1].path"), "path");
    }
    for wrong in ["http://a", "a:80", "a b", "", "*.*.a", "a/"] {
        refused(host(wrong), Some("route[1].host"), "host");
    }
    refused(with_route(Route1::default()), Some("route[1]"), "what is to be done");
    let both = Route1 { redirect: Some("/b".into()), ..files() };
    refused(with_route(both), Some("route[1].redirect"), "one thing to do");
    let missing = Route1 { files: Some("nowhere".into()), ..Route1::default() };
    refused(with_route(missing), Some("route[1].files"), "no such");
    let status = |code| Some(StatusKey::Code(code));
    refused(
        with_route(Route1 { status: status(404), ..redirect() }),
        Some("route[1].status"),
        "no redirection",
    );
    refused(
        with_route(Route1 { status: status(301), ..files() }),
        Some("route[1].status"),
        "redirection",
    );
    refused(
        with_route(Route1 { listing: Some(true), ..redirect() }),
        Some("route[1].listing"),
        "`files`",
    );
    let size = Some("1 KiB".parse().expect("a size"));
    refused(
        with_route(Route1 { max_upload: size, ..files() }),
        Some("route[1].max_upload"),
        "writable",
    );
    refused(with_route(Route1 { quota: size, ..files() }), Some("route[1].quota"), "writable");
    for wrong in ["b", "ftp://a", "/{rest}/{rest}", ""] {
        let route = Route1 { redirect: Some(wrong.into()), ..Route1::default() };
        refused(with_route(route), Some("route[1].redirect"), "redirected");
    }
    for wrong in [
        "https://a.test{rest}",
        "http://{rest}",
        "https://a.test:8443{rest}?x",
        "//a.test{rest}",
        "//{rest}",
        "https://a.test{rest}/",
    ] {
        let route = Route1 { redirect: Some(wrong.into()), ..Route1::default() };
        refused(with_route(route), Some("route[1].redirect"), "goes on the host");
    }
    for (wrong, message) in [
        ("https:///{rest}", "names no host"),
        ("///{rest}", "names no host"),
        ("//", "names no host"),
        ("https://:80/{rest}", "names no host"),
        ("https://a@b.test/", "names no host"),
        ("/new/#part", "fragment"),
        ("/new/{rset}", "no such placeholder"),
        ("/{rest}/}", "no such placeholder"),
    ] {
        let route = Route1 { redirect: Some(wrong.into()), ..Route1::default() };
        refused(with_route(route), Some("route[1].redirect"), message);
    }
    for right in ["/{rest}", "/a:b/{rest}", "//a.test/{rest}", "https://a.test:8443?x={rest}"] {
        let route = Route1 { redirect: Some(right.into()), ..Route1::default() };
        let (_folder, cx) = context();
        let built = site(SiteConfig { route: vec![route], ..config() }, &cx);
        assert!(built.is_ok(), "{right}: {:?}", built.err());
    }
}

#[test]
fn everything_wrong_is_told_at_once() {
    let route = |path: &str, files: &str| Route1 {
        path: Some(path.into()),
        files: Some(files.into()),
        ..Route1::default()
    };
    let config = SiteConfig {
        listen: None,
        root: Some("nowhere".into()),
        index: Some(vec!["a/b".into()]),
        route: vec![route("no-slash", "."), route("/good/", "."), route("/gone/", "gone")],
        ..config()
    };
    let (_folder, cx) = context();
    let all = site(config, &cx).expect_err("refused").into_all();
    let keys: Vec<_> = all.iter().map(|one| one.key.as_deref().unwrap_or("-")).collect();
    assert_eq!(keys, ["listen", "index[0]", "route[0].path", "route[2].files", "root"]);
}

/// A self-signed certificate, which is its own authority.
fn certificate(folder: &std::path::Path) -> ServerTls {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).expect("works");
    let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).expect("works");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("works");
    ServerTls::new(vec![Certificate { hosts: Vec::new(), chain, key }]).expect("works")
}

#[test]
fn tls_and_proxies_that_make_no_sense() {
    let secured = || Some(vec!["127.0.0.1:8443".parse().expect("an address")]);
    let trusted = || Some(vec!["127.0.0.0/8".parse().expect("a network")]);
    let day = Some("1d".parse().expect("a period"));
    let on = Some(true);
    let ca = || Some("cert.pem".into());
    let with_tls = || SiteConfig { tls_listen: secured(), ..config() };
    refused(with_tls(), Some("tls_listen"), "no certificate");
    let nowhere = SiteConfig { listen: None, tls_listen: Some(vec![]), ..config() };
    refused(nowhere, Some("listen"), "listens nowhere");
    refused(SiteConfig { hsts: day, ..config() }, Some("hsts"), "over TLS only");
    let redirect = SiteConfig { redirect_to_tls: on, ..config() };
    refused(redirect, Some("redirect_to_tls"), "nowhere to be sent");
    refused(SiteConfig { client_ca: ca(), ..config() }, Some("client_ca"), "doesn't listen");
    let require = Some(ClientCertificate::Require);
    let alone = SiteConfig { client_certificate: require, ..config() };
    refused(alone, Some("client_certificate"), "doesn't listen");
    refused(SiteConfig { proxy_protocol: on, ..config() }, Some("proxy_protocol"), "trusted");

    let (folder, cx) = context();
    let cx = cx.with_shared(certificate(folder.path()));
    let built = |config| site(config, &cx);
    let unbound = Some(vec!["127.0.0.1:0".parse().expect("an address")]);
    let redirect = SiteConfig { redirect_to_tls: on, tls_listen: unbound, ..config() };
    let error = built(redirect).expect_err("refused");
    assert_eq!(error.key.as_deref(), Some("redirect_to_tls"));
    assert!(error.message.contains("before it is bound"), "{error}");
    let service = built(with_tls()).expect("accepted");
    assert_eq!(
        service.parts().listeners().iter().map(|l| l.secured).collect::<Vec<_>>(),
        [false, true]
    );
    assert_eq!(service.parts().listeners()[1].key, "tls_listen[0]");
    let clients = |config| service_clients(&built(config).expect("accepted"));
    assert_eq!(clients(with_tls()), "NotAsked");
    assert_eq!(clients(SiteConfig { client_ca: ca(), ..with_tls() }), "Asked");
    let required = SiteConfig { client_ca: ca(), client_certificate: require, ..with_tls() };
    assert_eq!(clients(required), "Required");
    let unnamed = SiteConfig { client_certificate: require, ..with_tls() };
    assert_eq!(built(unnamed).expect_err("refused").key.as_deref(), Some("client_certificate"));
    let missing = SiteConfig { client_ca: Some("nowhere.pem".into()), ..with_tls() };
    assert_eq!(built(missing).expect_err("refused").key.as_deref(), Some("client_ca"));
    let only = SiteConfig { listen: None, ..with_tls() };
    assert_eq!(built(only).expect("accepted").parts().listeners().len(), 1);

    // Behind a proxy that does TLS, a site needs none of its own.
    let behind =
        SiteConfig { hsts: day, redirect_to_tls: on, trusted_proxies: trusted(), ..config() };
    assert!(built(behind).expect("accepted").parts().proxies().is_empty());
    let headed = SiteConfig { trusted_proxies: trusted(), proxy_protocol: on, ..config() };
    assert_eq!(built(headed).expect("accepted").parts().proxies().len(), 1);
}

#[test]
fn accounts_that_are_not_there() {
    let route = |names: &[&str]| Route1 {
        files: Some("private".into()),
        accounts: Some(names.iter().map(|name| (*name).to_owned()).collect()),
        ..Route1::default()
    };
    refused(with_route(route(&[])), Some("route[1].accounts"), "nobody");
    refused(with_route(route(&["alice"])), Some("route[1].accounts"), "no accounts");

    let (folder, cx) = context();
    let user = User::with_password_at(
        &Password::new("secret"),
        HashCost { memory_kib: 8, passes: 1, lanes: 1 },
        4096,
    );
    let users = Users([("alice".to_owned(), user.expect("works"))].into());
    let directory = Directory::new(users, folder.path()).expect("works");
    let cx = cx.with_shared(Accounts::new(directory).expect("works"));
    let accounts = cx.shared::<Accounts>().expect("shared");
    let cx = cx.with_shared(Logins::new(accounts, ThrottleLimits::default()));
    let with = |names: &[&str]| SiteConfig { route: vec![route(names)], ..config() };
    let error = site(with(&["Alice", "bob"]), &cx).expect_err("refused");
    assert_eq!(error.key.as_deref(), Some("route[0].accounts[1]"));
    let private = Route1 { path: Some("/private/".into()), ..route(&["Alice"]) };
    let service = site(SiteConfig { route: vec![private], ..config() }, &cx).expect("accepted");
    std::fs::write(folder.path().join("private/a"), "here").expect("works");
    let peer = Peer::new(Endpoint::Unix, Endpoint::Unix);
    let session = service.acceptor().accepted(&peer);
    let mut client = Client::with(session, service.parts().limits(), Faults::none());
    client.send("GET /private/a HTTP/1.1\r\nHost: a\r\n\r\n").run_jobs();
    let text = client.text();
    assert!(text.starts_with("HTTP/1.1 401 ") && text.contains("realm=\"site\""), "{text}");
    let alice = "Authorization: Basic YWxpY2U6c2VjcmV0\r\n";
    client.send(format!("GET /private/a HTTP/1.1\r\nHost: a\r\n{alice}\r\n")).run_jobs();
    let text = client.text();
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with("here"), "{text}");
}

fn service_clients(service: &HttpService) -> String {
    let parts = service.parts();
    let tls = parts.tls().expect("secured");
    let shown = format!("{:?}", tls.clients());
    shown.split(' ').next().unwrap_or_default().to_owned()
}

#[test]
fn what_this_build_does_not_offer_is_refused_by_name() {
    let dns = Route1 { dns: Some("zones".into()), ..Route1::default() };
    refused(with_route(dns), Some("route[1].dns"), "no DNS services");
    let names = ServiceNames::new(vec!["dns.zone".into()]);
    let (_folder, cx) = context();
    let cx = cx.with_shared(medusa_resolver::Doors::default()).with_shared(names);
    let dns = Route1 { path: Some("/q".into()), dns: Some("zones".into()), ..Route1::default() };
    let mut config = with_route(dns);
    config.route[0].files = Some("private".into());
    let error = site(config, &cx).expect_err("refused");
    assert_eq!(error.key.as_deref(), Some("route[1].dns"));
    assert_eq!(error.hint.as_deref(), Some("did you mean `zone`?"));
}

#[test]
fn pages_about_the_server() {
    let page = || Some(StatusKey::Page(true));
    let status = || Route1 { path: Some("/status".into()), status: page(), ..Route1::default() };
    let metrics =
        || Route1 { path: Some("/metrics".into()), metrics: Some(true), ..Route1::default() };
    refused(with_route(status()), Some("route[1].status"), "nothing is counted");
    refused(with_route(metrics()), Some("route[1].metrics"), "nothing is counted");
    let files = Some("public".into());
    refused(
        with_route(Route1 { files: files.clone(), ..status() }),
        Some("route[1].status"),
        "one thing to do",
    );
    refused(with_route(Route1 { files, ..metrics() }), Some("route[1].metrics"), "one thing to do");
    refused(
        with_route(Route1 { metrics: Some(true), ..status() }),
        Some("route[1].metrics"),
        "one thing to do",
    );
    refused(
        with_route(Route1 { writable: Some(true), ..metrics() }),
        Some("route[1].writable"),
        "`files`",
    );
    let off = Route1 { metrics: Some(false), ..Route1::default() };
    refused(with_route(off), Some("route[1]"), "what is to be done");

    let (_folder, cx) = context();
    let cx = cx.with_shared(Metrics::default());
    let service = site(SiteConfig { route: vec![status(), metrics()], ..config() }, &cx);
    let service = service.expect("accepted");
    let peer = Peer::new(Endpoint::Unix, Endpoint::Unix);
    let session = service.acceptor().accepted(&peer);
    let mut client = Client::with(session, service.parts().limits(), Faults::none());
    client.send("GET /status?format=json HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.text().contains("{\"name\":\"http.site\","));
    client.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    let line = "medusa_http_requests_total{service=\"http.site\",class=\"2xx\"} 1\n";
    assert!(client.text().contains(line));
}

#[test]
fn a_status_is_a_number_or_a_page() {
    let text: StrDeserializer<'_, serde::de::value::Error> = StrDeserializer::new("301");
    assert!(StatusKey::deserialize(text).is_err());
    let number = serde::de::value::I64Deserializer::<serde::de::value::Error>::new(308);
    assert_eq!(StatusKey::deserialize(number), Ok(StatusKey::Code(308)));
    let number = serde::de::value::I64Deserializer::<serde::de::value::Error>::new(-1);
    assert!(StatusKey::deserialize(number).is_err());
}

#[test]
fn what_is_said_of_a_site() {
    let (_folder, cx) = context();
    let said = |config| site(config, &cx).expect("accepted").parts().summary().to_owned();
    assert_eq!(said(config()), "public");
    let route = || Route1 { redirect: Some("/b".into()), ..Route1::default() };
    assert_eq!(said(SiteConfig { route: vec![route()], ..config() }), "public, 1 route");
    assert_eq!(
        said(SiteConfig { route: vec![route(), route()], root: None, ..config() }),
        "2 routes"
    );
}

#[test]
fn a_site_is_its_routes_and_its_root() {
    let folder = tempfile::tempdir().expect("works");
    for name in ["public", "private", "drop"] {
        std::fs::create_dir(folder.path().join(name)).expect("works");
        std::fs::write(folder.path().join(name).join("a.txt"), name).expect("works");
    }
    let route = |path: &str, files: &str| Route1 {
        path: Some(path.into()),
        files: Some(files.into()),
        ..Route1::default()
    };
    let drop = Route1 { writable: Some(true), ..route("/drop/", "drop") };
    let config = SiteConfig { route: vec![route("/private/", "private"), drop], ..config() };
    let cx = BuildContext::new("http", "site", folder.path());
    let service = Http::build(config, &cx).expect("works");
    let peer = Peer::new(Endpoint::Unix, Endpoint::Unix);
    let mut client =
        Client::with(service.acceptor().accepted(&peer), service.parts().limits(), Faults::none());
    let mut ask = |request: &str| {
        client.send(request).run_jobs();
        let text = client.text();
        format!("{} {}", &text[9..12], text.split_once("\r\n\r\n").expect("works").1)
    };
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(ask(&get("/a.txt")), "200 public");
    assert_eq!(ask(&get("/private/a.txt")), "200 private");
    assert_eq!(ask(&get("/%70rivate//a.txt")), "200 private");
    let put =
        |path: &str| format!("PUT {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nnew");
    assert!(ask(&put("/a.txt")).starts_with("405"));
    assert!(ask(&put("/drop/b.txt")).starts_with("201"));
    assert_eq!(ask(&get("/drop/b.txt")), "200 new");
    assert_eq!(std::fs::read(folder.path().join("drop/b.txt")).expect("works"), b"new");
    assert!(ask("DELETE /drop/b.txt HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("204"));
    assert!(ask(&get("/drop/b.txt")).starts_with("404"));
}
