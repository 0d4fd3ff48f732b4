//! HTTP over TLS, with logins, client certificates and behind proxies, by curl: what a site's keys do.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use medusa_tests::{Answer, Authority, Server, Site, curl};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

/// A served site; `keys` are its own, `routes` what stands behind them.
fn served(keys: &str, routes: &str) -> (Site, Server) {
    let site = Site::new(&format!(
        "[log]\naccess = \"access.log\"\n\n\
         [tls]\ncertificate = \"www.pem\"\nkey = \"www.key\"\n\n\
         [accounts]\nfile = \"users.toml\"\n\n\
         [http.site]\nlisten = [\"127.0.0.1:0\"]\nroot = \"public\"\n{keys}\n{routes}"
    ));
    site.write("public/hello.txt", "Hello, world!");
    site.write("private/secret.txt", "for Alice");
    site.write("drop/.keep", "");
    let authority = Authority::new(&site, "ca");
    authority.sign(&site, "www", &["www.example.test", "127.0.0.1"]);
    authority.sign(&site, "carol", &[]);
    Authority::new(&site, "stranger").sign(&site, "mallory", &[]);
    for name in ["alice", "bob"] {
        let mut command = site.command(MEDUSA, &["passwd", "--accounts", "users.toml", name]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("runs");
        child.stdin.take().expect("a pipe").write_all(b"secret\n").expect("read");
        assert!(child.wait().expect("ends").success());
    }
    let server = site.serve(MEDUSA);
    (site, server)
}

const TLS: &str = "tls_listen = [\"127.0.0.1:0\"]\n";

/// Over TLS, the certificate being checked.
fn secured(site: &Site, server: &Server, path: &str, options: &[&str]) -> Option<Answer> {
    let port = server.secured_address("http.site").port();
    let resolve = format!("www.example.test:{port}:127.0.0.1");
    let authority = site.path("ca.pem").display().to_string();
    let url = format!("https://www.example.test:{port}{path}");
    curl(&[&["--cacert", &authority, "--resolve", &resolve][..], options, &[&url]].concat())
}

fn plain(server: &Server, path: &str, options: &[&str]) -> Option<Answer> {
    curl(&[options, &[&server.url(path)]].concat())
}

/// The lines of the access log, once the server has ended.
fn logged(site: &Site, server: Server) -> Vec<String> {
    server.end();
    site.read("access.log").lines().map(str::to_owned).collect()
}

#[test]
fn a_site_over_tls_says_that_it_stays_there() {
    let (site, server) = served(&format!("{TLS}hsts = \"365d\""), "");
    let Some(answer) = secured(&site, &server, "/hello.txt", &[]) else { return };
    assert_eq!((answer.status, answer.text()), (200, "Hello, world!"));
    assert!(answer.heads.starts_with("HTTP/1.1 "), "{answer:?}");
    let hsts = "strict-transport-security";
    assert_eq!(answer.field(hsts), Some("max-age=31536000"));
    let missing = secured(&site, &server, "/none", &[]).expect("curl");
    assert_eq!((missing.status, missing.field(hsts)), (404, Some("max-age=31536000")));
    let answer = plain(&server, "/hello.txt", &[]).expect("curl");
    assert_eq!((answer.status, answer.field(hsts)), (200, None));
    // Large enough for many records, and several on one connection.
    site.write("public/large.bin", vec![7; 3_000_000]);
    let url = format!("https://{}/large.bin", server.secured_address("http.site"));
    let answer = curl(&["--insecure", &url, &url]).expect("curl");
    assert_eq!((answer.exit, answer.body.len()), (0, 6_000_000));
    server.end();
}

#[test]
fn plaintext_is_sent_to_tls() {
    // The port has to be known before it is bound.
    let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("one").port();
    let keys = format!("tls_listen = [\"127.0.0.1:{port}\"]\nredirect_to_tls = true");
    let (site, server) = served(&keys, "");
    let Some(answer) = plain(&server, "/hello.txt?a=b", &[]) else { return };
    let location = format!("https://127.0.0.1:{port}/hello.txt?a=b");
    assert_eq!((answer.status, answer.field("location")), (308, Some(&*location)));
    let authority = site.path("ca.pem").display().to_string();
    let options = ["--location", "--cacert", &authority];
    let followed = plain(&server, "/hello.txt", &options).expect("curl");
    assert_eq!((followed.status, followed.text()), (200, "Hello, world!"));
    server.end();
}

#[test]
fn who_logs_in_is_let_in_and_logged() {
    let routes = "[[http.site.route]]\npath = \"/private/\"\nfiles = \"private\"\n\
                  accounts = [\"alice\"]\n\n\
                  [[http.site.route]]\npath = \"/drop/\"\nfiles = \"drop\"\nwritable = true\n\
                  accounts = [\"alice\"]\n";
    let (site, server) = served(TLS, routes);
    let ask = |path: &str, options: &[&str]| secured(&site, &server, path, options);
    let Some(answer) = ask("/private/secret.txt", &[]) else { return };
    assert_eq!(answer.status, 401);
    let challenge = "Basic realm=\"site\", charset=\"UTF-8\"";
    assert_eq!(answer.field("www-authenticate"), Some(challenge));
    for _ in 0..2 {
        let answer = ask("/private/secret.txt", &["--user", "alice:secret"]).expect("curl");
        assert_eq!((answer.status, answer.text()), (200, "for Alice"));
    }
    // curl asks first, and logs in when it is told to.
    let answer = ask("/private/secret.txt", &["--anyauth", "--user", "alice:secret"]);
    assert_eq!(answer.expect("curl").status, 200);

    let file = site.path("public/hello.txt").display().to_string();
    let upload = |who: &[&str]| {
        let options = [&["--upload-file", &file, "--expect100-timeout", "60"][..], who].concat();
        ask("/drop/new.txt", &[&options[..], &["--header", "Expect: 100-continue"]].concat())
    };
    assert_eq!(upload(&[]).expect("curl").status, 401);
    assert!(!site.path("drop/new.txt").exists());
    assert_eq!(upload(&["--user", "alice:secret"]).expect("curl").status, 201);
    assert_eq!(site.read("drop/new.txt"), "Hello, world!");

    // The right password of somebody else, and a wrong one: told the same.
    let other = ask("/private/secret.txt", &["--user", "bob:secret"]).expect("curl");
    let wrong = ask("/private/secret.txt", &["--user", "alice:wrong"]).expect("curl");
    assert_eq!((other.status, wrong.status), (401, 401));
    assert_eq!(other.body, wrong.body);
    // Allowed without TLS too: whoever configures it so means a loopback or a proxy.
    let answer = plain(&server, "/private/secret.txt", &["--user", "alice:secret"]);
    assert_eq!(answer.expect("curl").status, 200);
    let lines = logged(&site, server);
    let users: Vec<&str> = lines.iter().filter_map(|line| line.split(' ').nth(2)).collect();
    assert_eq!(users[..3], ["-", "alice", "alice"], "{lines:?}");
    assert_eq!(users.last(), Some(&"alice"), "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains("secret:") && !line.contains("YWxpY2U")));
}

#[test]
fn a_name_that_nobody_has_is_a_configuration_error() {
    let (site, server) = served("", "");
    let text = site.read("medusa.toml");
    let route = "[[http.site.route]]\npath = \"/a/\"\nfiles = \"private\"\naccounts = [\"eve\"]\n";
    site.write("other.toml", format!("{text}\n{route}"));
    let output = site.command(MEDUSA, &["check", "other.toml"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("there is no account `eve`"), "{said}");
    server.end();
}

#[test]
fn a_certificate_is_asked_for_or_required() {
    for (wanted, without) in [("ask", 200), ("require", 0)] {
        let keys = format!("{TLS}client_ca = \"ca.pem\"\nclient_certificate = \"{wanted}\"");
        let (site, server) = served(&keys, "");
        let with = |name: &str| {
            let file = |end: &str| site.path(&format!("{name}.{end}")).display().to_string();
            let options = ["--cert", &file("pem"), "--key", &file("key")];
            secured(&site, &server, "/hello.txt", &options)
        };
        let Some(answer) = with("carol") else { return };
        assert_eq!((answer.status, answer.exit), (200, 0));
        let answer = secured(&site, &server, "/hello.txt", &[]).expect("curl");
        assert_eq!(answer.status, without, "{wanted}");
        assert_eq!(with("mallory").expect("curl").status, 0, "{wanted}");
        let lines = logged(&site, server);
        assert!(lines[0].starts_with("127.0.0.1 - CN=carol ["), "{lines:?}");
        assert!(lines[1..].iter().all(|line| line.starts_with("127.0.0.1 - - [")), "{lines:?}");
    }
}

#[test]
fn a_proxy_says_for_whom_it_speaks() {
    let trusted = "trusted_proxies = [\"127.0.0.0/8\"]\nhsts = \"1d\"";
    let (site, server) = served(trusted, "");
    let from = "X-Forwarded-For: 203.0.113.9, 192.0.2.7";
    let options = ["--header", from, "--header", "X-Forwarded-Proto: https"];
    let Some(answer) = plain(&server, "/hello.txt", &options) else { return };
    assert_eq!(answer.field("strict-transport-security"), Some("max-age=86400"));
    let lines = logged(&site, server);
    assert!(lines[0].starts_with("192.0.2.7 - - ["), "{lines:?}");

    let keys = format!("{TLS}trusted_proxies = [\"127.0.0.0/8\"]\nproxy_protocol = true");
    let (site, server) = served(&keys, "");
    let answer = plain(&server, "/hello.txt", &["--haproxy-protocol", "--header", from]);
    assert_eq!(answer.expect("curl").status, 200);
    let answer = secured(&site, &server, "/hello.txt", &["--haproxy-protocol"]).expect("curl");
    assert_eq!((answer.status, answer.text()), (200, "Hello, world!"));
    let mut stream = server.connect("http.site");
    let asked = "PROXY TCP4 192.0.2.8 192.0.2.9 1 80\r\n\
                 GET /hello.txt HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(asked.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("text");
    assert!(text.ends_with("Hello, world!"), "{text}");
    drop(stream);
    let lines = logged(&site, server);
    assert!(lines[0].starts_with("127.0.0.1 - - [") && lines.len() == 3, "{lines:?}");
    assert!(lines[2].starts_with("192.0.2.8 - - ["), "{lines:?}");
}

#[test]
fn what_is_counted_is_shown() {
    let routes = "[[http.site.route]]\npath = \"/status\"\nstatus = true\n\n\
                  [[http.site.route]]\npath = \"/metrics\"\nmetrics = true\n";
    let (_site, server) = served("", routes);
    let Some(_) = plain(&server, "/hello.txt", &[]) else { return };
    plain(&server, "/none", &[]).expect("curl");
    let page = plain(&server, "/status", &[]).expect("curl");
    assert!(page.text().contains("<tr><th>http.site</th>"), "{page:?}");
    let json = plain(&server, "/status", &["--header", "Accept: application/json"]);
    let json = json.expect("curl");
    assert!(json.text().contains("\"name\":\"http.site\",\"connections_open\":"), "{json:?}");
    let metrics = plain(&server, "/metrics", &[]).expect("curl");
    assert_eq!(metrics.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let value = |metric: &str| {
        let line = metrics.text().lines().find_map(|line| line.strip_prefix(metric));
        let value = line.unwrap_or_else(|| panic!("no {metric} in {metrics:?}"));
        value.trim().parse::<u64>().expect("a number")
    };
    assert_eq!(value("medusa_connections_accepted_total{service=\"http.site\"}"), 5);
    assert_eq!(value("medusa_http_requests_total{service=\"http.site\",class=\"2xx\"}"), 3);
    assert_eq!(value("medusa_http_requests_total{service=\"http.site\",class=\"4xx\"}"), 1);
    assert!(value("medusa_connections_open{service=\"http.site\"}") >= 1);
    server.end();
}
