//! `[pop3.NAME]` as an operator mounts it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Stdio;

use medusa_tests::{Authority, Signal, Site};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

const SITE: &str = "\
[accounts]
file = \"users.toml\"

[tls]
certificate = \"cert.pem\"
key = \"cert.key\"

[pop3.mail]
listen = [\"127.0.0.1:0\"]
tls_listen = [\"127.0.0.1:0\"]
mailboxes = \"mail\"
plaintext_login = \"loopback\"
";

/// A site whose alice has two messages and the password `secret`.
fn site() -> Site {
    let site = Site::new(SITE);
    Authority::new(&site, "authority").sign(&site, "cert", &["localhost"]);
    let mut command = site.command(MEDUSA, &["passwd", "alice"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(b"secret\n").expect("read");
    assert!(child.wait().expect("it ends").success());
    for name in ["1.a.host,S=23,W=23,U=0", "2.b.host"] {
        site.write(&format!("mail/alice/new/{name}"), "Subject: one\r\n\r\nHello\r\n");
    }
    site
}

/// Says all of this and hears a line for each.
fn say(stream: &mut BufReader<TcpStream>, lines: &[&str]) -> Vec<String> {
    for line in lines {
        stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("sent");
    }
    let hear = |_: &&str| {
        let mut line = String::new();
        stream.read_line(&mut line).expect("answered");
        line.trim_end().to_owned()
    };
    lines.iter().map(hear).collect()
}

#[test]
fn a_server_that_is_killed_leaves_no_lock_and_has_removed_nothing() {
    let site = site();
    let login = ["NOOP", "USER alice", "PASS secret"];
    let mut before = Vec::new();
    for _ in 0..2 {
        let server = site.serve(MEDUSA);
        let mut stream = BufReader::new(server.connect("pop3.mail"));
        let heard = say(&mut stream, &login);
        assert_eq!(heard[0], "+OK Medusa POP3 ready");
        let heard = say(&mut stream, &["UIDL 1", "UIDL 2", "DELE 1", "DELE 2"]);
        // One behind, as the greeting came first.
        assert_eq!(heard[0], "+OK 2 messages (46 octets)");
        assert_eq!(heard[1..3], ["+OK 1 1.a.host", "+OK 2 2.b.host"]);
        assert!(before.is_empty() || before == heard, "{before:?} {heard:?}");
        before = heard;
        server.signal(Signal::KILL);
        assert!(!server.wait().success());
    }
    let server = site.serve(MEDUSA);
    let mut stream = BufReader::new(server.connect("pop3.mail"));
    say(&mut stream, &login);
    let heard = say(&mut stream, &["DELE 1", "STAT", "QUIT"]);
    assert_eq!(heard[1..], ["+OK marked as deleted", "+OK 1 23"]);
    let mut last = String::new();
    stream.read_line(&mut last).expect("answered");
    assert_eq!(last, "+OK bye\r\n");
    assert!(!site.path("mail/alice/new/1.a.host,S=23,W=23,U=0").exists());
    assert!(site.path("mail/alice/new/2.b.host,S=23,W=23,U=0").exists());
    drop(stream);
    server.end();
}

#[test]
fn what_is_wrong_is_shown_in_its_line() {
    let check = |from: &str, to: &str, parts: &[&str]| {
        let site = site();
        site.write("medusa.toml", SITE.replace(from, to));
        let output = site.command(MEDUSA, &["check", "medusa.toml"]).output().expect("it runs");
        let told = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{told}");
        for part in parts {
            assert!(told.contains(part), "{part:?} isn't in\n{told}");
        }
    };
    check("mailboxes =", "mailbox =", &["unknown key `mailbox`", "`mailboxes`", "medusa.toml:11"]);
    check("\"loopback\"", "\"sometimes\"", &["sometimes", "medusa.toml:12"]);
    check("[tls]\ncertificate = \"cert.pem\"\nkey = \"cert.key\"\n", "", &["tls_listen", "[tls]"]);
    check("[accounts]\nfile = \"users.toml\"\n", "", &["no accounts", "[accounts]"]);
}
