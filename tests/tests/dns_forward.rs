//! `[dns.NAME]` with `forward`: one server asks another, and `dig`, `kdig` and `curl` ask it.

use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::{Duration, Instant};

use medusa_tests::{Authority, PATIENCE, Server, Signal, Site, curl, require, until};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

/// What the upstream server has. The signature is none; nobody here looks into it.
const THEIRS: &str = "\
$TTL 300
@       SOA ns1 hostmaster 1 3600 900 604800 120
        NS  ns1
ns1     A   192.0.2.1
www     A   192.0.2.9
        RRSIG A 13 3 300 20400101000000 20200101000000 4711 example.org. c2lnbmF0dXJl
www2    CNAME www
$GENERATE 1-40 big TXT \"number $ of many strings, which don't fit into one datagram together\"
";

const OURS: &str = "\
$TTL 300
@       SOA ns1 hostmaster 1 3600 900 604800 120
        NS  ns1
ns1     A   192.0.2.2
away    CNAME www.example.org.
";

/// A port that is free for UDP and TCP alike.
fn free_port() -> u16 {
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = udp.local_addr().expect("bound").port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free for both");
}

/// The server that is asked for names of others.
fn upstream(port: u16) -> (Site, Server) {
    let configuration = format!(
        "[dns.far]\nlisten = [\"127.0.0.1:{port}\"]\nrecursion_for = []\n\
         zones = [\"zones/example.org.zone\"]\n"
    );
    let site = Site::new(&configuration);
    site.write("zones/example.org.zone", THEIRS);
    let server = site.serve(MEDUSA);
    (site, server)
}

/// The site of a server that asks it.
fn front(port: u16, upstream: u16, rest: &str) -> Site {
    let configuration = format!(
        "[dns.near]\nlisten = [\"127.0.0.1:{port}\"]\nzones = [\"zones/example.test.zone\"]\n\
         forward = [\"127.0.0.1:{upstream}\"]\n{rest}"
    );
    let site = Site::new(&configuration);
    site.write("zones/example.test.zone", OURS);
    site
}

fn dig(port: u16, arguments: &[&str]) -> String {
    let port = port.to_string();
    let fixed = ["@127.0.0.1", "-p", &port, "+time=10", "+tries=1"];
    let output = Command::new("dig").args(fixed).args(arguments).output().expect("it runs");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn names_of_others_come_from_the_server_that_is_asked() {
    if !require("dig") {
        return;
    }
    let (far, near) = (free_port(), free_port());
    let (_kept, asked) = upstream(far);
    let site = front(near, far, "recursion_for = [\"127.0.0.1/32\"]\n");
    let server = site.serve(MEDUSA);
    let answer = dig(near, &["WWW.example.org", "A"]);
    assert!(answer.contains("status: NOERROR") && answer.contains("192.0.2.9"), "{answer}");
    assert!(answer.contains("flags: qr rd ra;"), "{answer}");
    assert!(answer.contains(";WWW.example.org."), "in the client's case: {answer}");
    assert_eq!(dig(near, &["www2.example.org", "A", "+short"]), "www.example.org.\n192.0.2.9\n");
    let answer = dig(near, &["none.example.org", "A"]);
    assert!(answer.contains("status: NXDOMAIN") && answer.contains("SOA"), "{answer}");
    let answer = dig(near, &["www.example.org", "AAAA"]);
    assert!(answer.contains("status: NOERROR") && answer.contains("ANSWER: 0"), "{answer}");
    let answer = dig(near, &["www.example.org", "A", "+dnssec"]);
    assert!(answer.contains("RRSIG") && answer.contains("flags: do;"), "{answer}");
    // Cut over UDP, and whole over TCP, which dig turns to.
    let answer = dig(near, &["big.example.org", "TXT", "+ignore"]);
    assert!(answer.contains("flags: qr tc rd ra;") && answer.contains("ANSWER: 0"), "{answer}");
    let answer = dig(near, &["big.example.org", "TXT"]);
    assert!(answer.contains("ANSWER: 40") && answer.contains("(TCP)"), "{answer}");
    // What is known gets older.
    until("a lower TTL", || {
        let answer = dig(near, &["+noall", "+answer", "www.example.org", "A"]);
        let ttl = answer.split_whitespace().nth(1).and_then(|ttl| ttl.parse().ok());
        ttl.is_some_and(|ttl: u32| (200..300).contains(&ttl))
    });
    // Our own zones are ours, and where an alias leads out of them others know the rest.
    let answer = dig(near, &["away.example.test", "A"]);
    assert!(answer.contains("flags: qr aa rd ra;") && answer.contains("ANSWER: 2,"), "{answer}");
    let answer = dig(near, &["away.example.test", "A", "+short", "+tcp"]);
    assert_eq!(answer, "www.example.org.\n192.0.2.9\n");
    for refused in [&["-b", "127.0.0.2"][..], &["+norecurse"]] {
        let answer = dig(near, &[&["www.example.org", "A"], refused].concat());
        assert!(answer.contains("REFUSED") && !answer.contains("192.0.2.9"), "{answer}");
    }
    // What is known is still told when nobody can be asked; what isn't is a failure, and soon.
    asked.end();
    assert_eq!(dig(near, &["www.example.org", "A", "+short"]), "192.0.2.9\n");
    let began = Instant::now();
    let answer = dig(near, &["unknown.example.org", "A"]);
    assert!(answer.contains("SERVFAIL") && answer.contains("EDE: 22"), "{answer}");
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    server.end();
}

/// A question for www.example.org A, with RD.
const QUESTION: &[u8] = b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03org\0\0\x01\0\x01";

/// A socket that can wait for a while.
fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

#[test]
fn who_asks_for_what_nobody_tells_hears_so() {
    let (silent, client, near) = (socket(), socket(), free_port());
    let far = silent.local_addr().expect("bound").port();
    let site = front(near, far, "[resolver]\ntimeout = \"100ms\"\nattempts = 2\n");
    let server = site.serve(MEDUSA);
    let began = Instant::now();
    client.send_to(QUESTION, (Ipv4Addr::LOCALHOST, near)).expect("sent");
    let mut heard = [0; 512];
    let (length, _) = client.recv_from(&mut heard).expect("an answer");
    assert_eq!((length, &heard[..4]), (QUESTION.len(), &[0, 7, 0x81, 0x82][..]));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    server.end();
}

#[test]
fn a_server_that_ends_answers_what_it_was_asked_before() {
    let (slow, client, near) = (socket(), socket(), free_port());
    let site = front(near, slow.local_addr().expect("bound").port(), "");
    let server = site.serve(MEDUSA);
    client.send_to(QUESTION, (Ipv4Addr::LOCALHOST, near)).expect("sent");
    let mut asked = [0; 512];
    let (length, from) = slow.recv_from(&mut asked).expect("a question");
    server.signal(Signal::TERM);
    until("that it ends", || TcpStream::connect((Ipv4Addr::LOCALHOST, near)).is_err());
    let mut answer = asked[..length].to_vec();
    (answer[2], answer[3]) = (0x81, 0x83);
    slow.send_to(&answer, from).expect("sent");
    let mut heard = [0; 512];
    let (length, _) = client.recv_from(&mut heard).expect("an answer");
    assert_eq!((length, &heard[..4]), (QUESTION.len(), &[0, 7, 0x81, 0x83][..]));
    assert!(server.wait().success());
}

#[test]
fn they_come_over_tls_and_https_too() {
    let (far, near) = (free_port(), free_port());
    let (_kept, asked) = upstream(far);
    let rest = "\
tls_listen = [\"127.0.0.1:0\"]
[tls]
certificate = \"cert.pem\"
key = \"cert.key\"
[http.site]
tls_listen = [\"127.0.0.1:0\"]
[[http.site.route]]
path = \"/dns-query\"
dns = \"near\"
[[http.site.route]]
path = \"/metrics\"
metrics = true
";
    let site = front(near, far, rest);
    Authority::new(&site, "authority").sign(&site, "cert", &["localhost"]);
    let server = site.serve(MEDUSA);
    let port = server.secured_address("dns.near").port().to_string();
    let mut asked_already = 0;
    if require("kdig") {
        let arguments = ["@127.0.0.1", "-p", &port, "+tls", "www.example.org", "A"];
        let output = Command::new("kdig").args(arguments).output().expect("it runs");
        let answer = String::from_utf8(output.stdout).expect("text");
        assert!(answer.contains("TLS session") && answer.contains("192.0.2.9"), "{answer}");
        asked_already = 1;
    }
    let port = server.secured_address("http.site").port();
    let file = site.path("authority.pem");
    let ask = |rest: &str, arguments: &[&str]| {
        let url = format!("https://localhost:{port}{rest}");
        let fixed = ["--cacert", file.to_str().expect("text"), &url];
        curl(&[&fixed[..], arguments].concat())
    };
    // www2.example.org A, with RD.
    let question = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x04www2\x07example\x03org\0\0\x01\0\x01";
    site.write("question", question);
    let body = format!("@{}", site.path("question").display());
    let media_type = "content-type: application/dns-message";
    let arguments = ["--data-binary", &body, "-H", media_type];
    if let Some(answer) = ask("/dns-query", &arguments) {
        assert_eq!(answer.status, 200);
        assert!(answer.body.ends_with(&[192, 0, 2, 9]), "{:?}", answer.body);
        let age = answer.field("cache-control").and_then(|field| field.strip_prefix("max-age="));
        assert!(age.is_some_and(|age| (200..=300).contains(&age.parse().unwrap_or(0))), "{age:?}");
        let metrics = ask("/metrics", &[]).expect("curl is there");
        let count = metrics.text().lines().find(|line| {
            line.contains("forwarded_questions") && line.contains("near") && !line.starts_with('#')
        });
        let expected = format!(" {}", asked_already + 1);
        assert!(count.is_some_and(|line| line.ends_with(&expected)), "{}", metrics.text());
    }
    server.end();
    asked.end();
}

#[test]
fn what_is_wrong_is_shown_in_its_line() {
    for (rest, parts) in [
        ("forward = [\"dns.example\"]", &["`dns.example` is no name server", "medusa.toml:3"][..]),
        ("forward = [\"127.0.0.1:5353\"]", &["this server itself", "medusa.toml:3"]),
        ("recursion_for = [\"all\"]", &["recursion_for", "medusa.toml:3"]),
    ] {
        let head = "[dns.near]\nlisten = [\"127.0.0.1:5353\"]\n";
        let site = Site::new(&format!("{head}{rest}\n"));
        let output = site.command(MEDUSA, &["check", "medusa.toml"]).output().expect("it runs");
        let told = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{told}");
        for part in parts {
            assert!(told.contains(part), "{part:?} isn't in\n{told}");
        }
    }
}
