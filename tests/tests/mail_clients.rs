//! Mail programs that people have, against the program as it is configured: msmtp and swaks submit, mpop and
//! fetchmail fetch. Python's, and curl, are in the protocols' own tests.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use medusa_tests::{Server, Site, messages, require};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

const SITE: &str = r#"
[accounts]
file = "users.toml"
[smtp.submission]
listen = ["127.0.0.1:0"]
hostname = "mx.example.test"
role = "submission"
domains = ["example.test"]
mailboxes = "mail"
[pop3.mail]
listen = ["127.0.0.1:0"]
mailboxes = "mail"
"#;

/// `password`, by the test suite of argon2's reference implementation; it costs little.
const HASH: &str =
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

const MESSAGE: &str = "From: alice@example.test\nTo: bob@example.test\nSubject: by a program\n\n\
                       .a dot\n..two\n\nFrom here\nend\n";

fn serve() -> (Site, Server) {
    let site = Site::new(SITE);
    let users = ["alice", "bob"]
        .map(|name| format!("[{name}]\npassword = \"{HASH}\"\nmail = [\"{name}@example.test\"]\n"));
    site.write_private("users.toml", users.concat());
    let server = site.serve(MEDUSA);
    (site, server)
}

/// Runs a client in the site's folder and expects it to be content. `None` where it may be missing.
fn run(site: &Site, program: &str, arguments: &[&str], input: &str) -> Option<String> {
    if !require(program) {
        return None;
    }
    let mut command = Command::new(program);
    let folder = site.path("");
    command.args(arguments).current_dir(&folder).env("HOME", &folder).env("FETCHMAILHOME", &folder);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("it runs");
    // It may not want to read all.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program} ended with {}: {said}", output.status);
    Some(said)
}

/// What bob has, as text with LF.
fn bobs(site: &Site) -> Vec<String> {
    let kept = messages(&site.path("mail/bob"), "new");
    kept.iter().map(|text| text.replace("\r\n", "\n")).collect()
}

fn port(server: &Server, service: &str) -> String {
    server.address(service).port().to_string()
}

/// Puts a message into bob's maildrop without a client.
fn deliver(site: &Site, count: usize) {
    for number in 0..count {
        site.write(&format!("mail/bob/new/{number}.a.host"), MESSAGE);
        fs::create_dir_all(site.path("mail/bob/tmp")).expect("a folder");
        fs::create_dir_all(site.path("mail/bob/cur")).expect("a folder");
    }
}

#[test]
fn msmtp_submits() {
    let (site, server) = serve();
    let port = format!("--port={}", port(&server, "smtp.submission"));
    let arguments = [
        "--host=127.0.0.1",
        &port,
        "--timeout=20",
        "--tls=off",
        "--auth=plain",
        "--user=alice",
        "--passwordeval=echo password",
        "--domain=client.test",
        "--from=alice@example.test",
        "bob@example.test",
    ];
    if run(&site, "msmtp", &arguments, MESSAGE).is_some() {
        let kept = bobs(&site);
        assert!(kept.len() == 1 && kept[0].ends_with(MESSAGE), "{kept:?}");
    }
    server.end();
}

#[test]
fn swaks_submits_by_every_mechanism() {
    let (site, server) = serve();
    let address = server.address("smtp.submission").to_string();
    for (index, mechanism) in ["PLAIN", "LOGIN"].into_iter().enumerate() {
        let arguments = [
            "--server",
            &address,
            "--timeout",
            "20",
            "--ehlo",
            "client.test",
            "--auth",
            mechanism,
            "--auth-user",
            "alice",
            "--auth-password",
            "password",
            "--from",
            "alice@example.test",
            "--to",
            "bob@example.test",
            "--data",
            "-",
        ];
        if run(&site, "swaks", &arguments, "Subject: s\n\nby swaks\n").is_some() {
            assert_eq!(bobs(&site).len(), index + 1);
        }
    }
    server.end();
}

#[test]
fn mpop_fetches_and_removes() {
    let (site, server) = serve();
    deliver(&site, 3);
    for folder in ["new", "cur", "tmp"] {
        fs::create_dir_all(site.path("fetched").join(folder)).expect("a folder");
    }
    let port = format!("--port={}", port(&server, "pop3.mail"));
    let arguments = [
        "--host=127.0.0.1",
        &port,
        "--timeout=20",
        "--tls=off",
        "--auth=user",
        "--user=bob",
        "--passwordeval=echo password",
        "--keep=off",
        "--uidls-file=uidls",
        "--received-header=off",
        "--delivery=maildir,fetched",
    ];
    if run(&site, "mpop", &arguments, "").is_some() {
        let fetched = messages(&site.path("fetched"), "new");
        assert_eq!(fetched.len(), 3, "{fetched:?}");
        assert!(fetched.iter().all(|text| text.replace("\r\n", "\n") == MESSAGE), "{fetched:?}");
        assert!(bobs(&site).is_empty());
    }
    server.end();
}

#[test]
fn fetchmail_fetches_and_removes() {
    let (site, server) = serve();
    deliver(&site, 3);
    let port = port(&server, "pop3.mail");
    let rc = format!(
        "poll 127.0.0.1 service {port} protocol POP3 timeout 20 user bob password password \
         is root here sslproto '' fetchall nokeep no rewrite no pass8bits mda 'cat >> fetched'\n"
    );
    site.write_private("fetchmailrc", rc);
    let arguments = [
        "--fetchmailrc",
        "fetchmailrc",
        "--nosyslog",
        "--nodetach",
        "--invisible",
        "--idfile",
        "ids",
    ];
    if run(&site, "fetchmail", &arguments, "").is_some() {
        let fetched = site.read("fetched");
        assert_eq!(fetched.matches("Subject: by a program").count(), 3, "{fetched}");
        assert_eq!(fetched.matches("\n.a dot\n..two\n").count(), 3, "{fetched}");
        assert!(bobs(&site).is_empty());
    }
    server.end();
}
