//! A server's life as an operator sees it: started, checked, told by signals, ended.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Output;
use std::time::Duration;

use medusa_tests::{Conversation, Server, Signal, Site, curl, until};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

const SITE: &str = "\
[log]
access = \"access.log\"

[http.site]
listen = [\"127.0.0.1:0\"]
root = \"public\"
";

fn site() -> Site {
    let site = Site::new(SITE);
    site.write("public/hello.txt", "Hello, world!");
    site
}

fn run(site: &Site, arguments: &[&str]) -> Output {
    site.command(MEDUSA, arguments).output().expect("it runs")
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// Sends a request and returns the whole answer, on a connection that ends with it.
fn get(server: &Server, service: &str, path: &str) -> String {
    let mut stream = server.connect(service);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("asked");
    rest(&mut stream)
}

fn rest(stream: &mut TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and an end");
    answer
}

/// A connection on which a request was answered and a further one is half sent: a session that is busy.
fn busy(server: &Server) -> TcpStream {
    let mut stream = server.connect("http.site");
    stream.write_all(b"GET /hello.txt HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("asked");
    let mut answer = Vec::new();
    while !answer.ends_with(b"Hello, world!") {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).expect("an answer");
        assert!(length > 0, "the connection ended after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&piece[..length]);
    }
    stream.write_all(b"GET /hello.txt HTTP/1.1\r\nHost: loc").expect("half asked");
    until("the half is read", || server.has_read(&stream));
    stream
}

#[test]
fn without_a_configuration_a_welcome_page_is_served() {
    let site = Site::new("");
    site.write("medusa-data/http/mine.txt", "mine");
    let server = Server::start(site.command(MEDUSA, &[]));
    let page = get(&server, "http.welcome", "/");
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("Medusa is running"), "{page}");
    assert!(site.read("medusa-data/http/index.html").contains("Medusa is running"));

    // TLS and a login, with what was printed.
    let password = site.read("medusa-data/password.txt").trim_end().to_owned();
    assert!(
        server.table().contains(&format!("log in as demo, password {password} ")),
        "{}",
        server.table()
    );
    let port = server.secured_address("http.welcome").port();
    let certificate = site.path("medusa-data/tls/cert.pem");
    for (login, status) in [(format!("demo:{password}"), 200), ("demo:wrong".to_owned(), 401)] {
        let certificate = certificate.to_str().expect("a path");
        let url = format!("https://localhost:{port}/private/hello.txt");
        let to = format!("localhost:{port}:127.0.0.1");
        let arguments = ["--cacert", certificate, "--resolve", &to, "--user", &login, &url];
        if let Some(answer) = curl(&arguments) {
            assert_eq!(answer.status, status, "{answer:?}");
        }
    }

    // Mail comes in and is fetched, and files are read by everybody and written after a login.
    let mut smtp = Conversation::connect(server.address("smtp.mx")).expect("a connection");
    smtp.code().expect("a greeting");
    let said =
        ["HELO c.test", "MAIL FROM:<>", "RCPT TO:<demo@localhost>", "DATA", "Subject: hi\r\n\r\n."];
    assert!(smtp.talk(&said).expect("replies")[4].starts_with("250 "));
    let login = format!("demo:{password}");
    let url = |kind: &str, service: &str, path: &str| {
        format!("{kind}://{}/{path}", server.address(service))
    };
    site.write("mine.txt", "mine");
    let mine = site.path("mine.txt");
    let mine = mine.to_str().expect("a path");
    for (arguments, body) in [
        (&["--user", &login, &url("pop3", "pop3.mail", "1")][..], "\r\nSubject: hi\r\n\r\n"),
        (&[&*url("ftp", "ftp.files", "hello.txt")][..], "Everybody reads this.\n"),
        (&["--user", &login, "--upload-file", mine, &url("ftp", "ftp.files", "mine.txt")][..], ""),
        (&[&*url("ftp", "ftp.files", "mine.txt")][..], "mine"),
    ] {
        if let Some(answer) = curl(arguments) {
            assert_eq!(answer.exit, 0, "{arguments:?} {answer:?}");
            assert!(answer.text().ends_with(body), "{arguments:?} {answer:?}");
        }
    }

    // Names are answered for: one question, for example.test's MX (RFC 1035 4.1).
    let question = b"\x12\x34\0\0\0\x01\0\0\0\0\0\0\x07example\x04test\0\0\x0f\0\x01";
    let asking = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    asking.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
    asking.send_to(question, server.address("dns.zones")).expect("sent");
    let mut answer = [0; 512];
    let length = asking.recv(&mut answer).expect("an answer");
    assert_eq!(answer[6..8], [0, 1], "one record: {:?}", &answer[..length]);

    // Another one beside it takes the next port, says so, and leaves the data alone.
    site.write("medusa-data/http/index.html", "changed");
    let second = Server::start(site.command(MEDUSA, &["serve"]));
    assert!(second.table().contains("is taken; http has"), "{}", second.table());
    assert!(second.table().contains(&password), "{}", second.table());
    assert_ne!(server.address("http.welcome"), second.address("http.welcome"));
    assert!(get(&second, "http.welcome", "/").ends_with("changed"));
    assert!(get(&second, "http.welcome", "/mine.txt").ends_with("mine"));
    second.end();
    server.end();
}

#[test]
fn a_check_says_what_would_be_served() {
    let site = site();
    let output = run(&site, &["check", "medusa.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", told(&output));
    let table = String::from_utf8(output.stdout).expect("text");
    let row = table.lines().nth(1).expect("a row");
    let mut cells = row.split_whitespace();
    assert_eq!(cells.next(), Some("http.site"), "{table}");
    assert_eq!(cells.next(), Some("127.0.0.1:0"), "{table}");
    assert!(cells.next().is_some_and(|root| root.ends_with("public")), "{table}");
    assert!(!site.path("access.log").exists(), "a check leaves nothing behind");
}

#[test]
fn everything_that_is_wrong_is_told_before_anything_is_served() {
    let site = Site::new(
        "[server]\nshard = 2\n[limits]\nidle = \"60\"\n[http.site]\nlisen = [\"127.0.0.1:0\"]\nroot = 5\n[gopher.mx]\n",
    );
    for command in ["check", "serve"] {
        let output = run(&site, &[command, "medusa.toml"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        let told = told(&output);
        for part in [
            "medusa.toml:2:1",
            "did you mean `shards`?",
            "medusa.toml:4:8",
            "`60` has no unit",
            "medusa.toml:6:1",
            "did you mean `listen`?",
            "medusa.toml:7:8",
            "not the number 5",
            "medusa.toml:8:2",
            "no plug-in for `gopher`",
            "`http`",
        ] {
            assert!(told.contains(part), "{part:?} is not in:\n{told}");
        }
    }
}

#[test]
fn what_shows_only_when_it_is_tried_is_told_at_its_line_too() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let site = Site::new(&format!(
        "[http.site]\nlisten = [\"127.0.0.1:0\", \"{address}\"]\nroot = \"public\"\n"
    ));
    site.write("public/index.html", "");
    let output = run(&site, &["serve", "medusa.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let told = told(&output);
    for part in ["medusa.toml:2:26", "somebody listens there already", "nothing is served"] {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }

    let site = Site::new("[http.site]\nlisten = [\"127.0.0.1:0\"]\nroot = \"public\"\n");
    let output = run(&site, &["serve", "medusa.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(self::told(&output).contains("medusa.toml:3:8"), "{}", self::told(&output));
}

#[test]
fn the_command_line_is_strict() {
    let site = site();
    for arguments in
        [&["--shards", "0"][..], &["serve", "a", "b"], &["chek"], &["check"], &["--log", "loud"]]
    {
        assert_eq!(run(&site, arguments).status.code(), Some(2), "{arguments:?}");
    }
    let output = run(&site, &["check", "medua.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("did you mean `medusa.toml`?"), "{}", told(&output));
    let output =
        site.command(MEDUSA, &["serve", "medusa.toml"]).env("MEDUSA_LOG", "a=b=c").output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(2), "{}", told(&output));
    for arguments in [["--version"], ["--help"]] {
        let output = run(&site, &arguments);
        assert!(output.status.success() && !output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_drain_lets_a_busy_session_finish() {
    let site = site();
    let server = site.serve(MEDUSA);
    let address = server.address("http.site");
    let mut busy = busy(&server);
    server.signal(Signal::TERM);
    // Its listeners are closed first of all; until then a further connection may still be made.
    until("no more connections", || TcpStream::connect(address).is_err());
    busy.write_all(b"alhost\r\n\r\n").expect("asked");
    let answer = rest(&mut busy);
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("Hello, world!"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close"), "{answer}");
    drop(busy);
    assert!(server.wait().success());
    let log = site.read("access.log");
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let site = site();
    let server = site.serve(MEDUSA);
    let mut busy = busy(&server);
    server.signal(Signal::INT);
    let address = server.address("http.site");
    until("no more connections", || TcpStream::connect(address).is_err());
    server.signal(Signal::INT);
    assert!(server.wait().success());
    let mut left = Vec::new();
    // Cut off: an end or a reset, but no answer.
    let _ = busy.read_to_end(&mut left);
    assert!(left.is_empty(), "{}", String::from_utf8_lossy(&left));
}

#[test]
fn a_drain_has_an_end() {
    let site = site();
    site.write("medusa.toml", format!("[server]\ndrain = \"100ms\"\n{SITE}"));
    let server = site.serve(MEDUSA);
    let _busy = busy(&server);
    server.end();
}

#[test]
fn the_access_log_is_opened_anew_at_hup() {
    let site = site();
    let server = site.serve(MEDUSA);
    assert!(get(&server, "http.site", "/hello.txt").contains("Hello"));
    std::fs::rename(site.path("access.log"), site.path("access.log.1")).expect("moved");
    server.signal(Signal::HUP);
    until("a new access log", || site.path("access.log").exists());
    assert!(get(&server, "http.site", "/none").contains("404"));
    server.end();
    let (old, new) = (site.read("access.log.1"), site.read("access.log"));
    assert!(old.contains("\"GET /hello.txt HTTP/1.1\" 200 13 "), "{old}");
    assert!(new.contains("\"GET /none HTTP/1.1\" 404 "), "{new}");
    assert_eq!((old.lines().count(), new.lines().count()), (1, 1));
    assert!(old.starts_with("127.0.0.1 - - ["), "{old}");
}

#[test]
fn another_user_is_become_or_refused() {
    let site = site();
    site.write(
        "medusa.toml",
        "[server]\nuser = \"nobody\"\n[http.site]\nlisten = [\"127.0.0.1:0\"]\nroot = \"public\"\n",
    );
    if !rustix::process::geteuid().is_root() {
        let output = run(&site, &["serve", "medusa.toml"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(told(&output).contains("only root can become `nobody`"), "{}", told(&output));
        return;
    }
    let server = site.serve(MEDUSA);
    let status = server.status();
    let uids =
        status.lines().find_map(|line| line.strip_prefix("Uid:")).expect("a line").to_owned();
    assert!(uids.split_whitespace().all(|uid| uid != "0"), "{uids}");
    assert!(get(&server, "http.site", "/hello.txt").ends_with("Hello, world!"));
    server.end();

    site.write("medusa.toml", "[server]\nuser = \"nobdy-at-all\"\n[http.site]\nlisten = [\"127.0.0.1:0\"]\nroot = \"public\"\n");
    let output = run(&site, &["check", "medusa.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(told(&output).contains("there is no user `nobdy-at-all`"), "{}", told(&output));
    assert!(told(&output).contains("medusa.toml:2:8"), "{}", told(&output));
}

#[test]
fn as_many_files_as_the_system_allows_may_be_open() {
    let site = site();
    let mut command = site.command("sh", &["-c", "ulimit -S -n 256 && exec \"$0\" \"$@\"", MEDUSA]);
    command.args(["serve", "medusa.toml"]);
    let server = Server::start(command);
    let limits = server.process("limits");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let numbers: Vec<_> = line.split_whitespace().skip(3).collect();
    assert!(numbers[0] == numbers[1] && numbers[0] != "256", "{line}");
    server.end();
}

#[test]
fn the_log_is_json_where_it_is_asked_for() {
    let site = site();
    site.write("medusa.toml", SITE.replace("[log]", "[log]\nformat = \"json\""));
    let mut command = site.command(MEDUSA, &["serve", "medusa.toml"]);
    let log = std::fs::File::create(site.path("log")).expect("a file");
    command.stderr(log);
    Server::start(command).end();
    let log = site.read("log");
    assert!(log.lines().count() >= 2, "{log}");
    assert!(log.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{log}");
    assert!(log.contains("\"message\":\"serving\""), "{log}");
}
