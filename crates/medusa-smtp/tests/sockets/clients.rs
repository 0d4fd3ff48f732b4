//! Clients that people use: Python's smtplib, curl, swaks.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Kind, Line, messages, serve};

/// Whether a client is installed. Where every client must be (`CI=true` or `MEDUSA_REQUIRE_CLIENTS=1`) a
/// missing one fails the test; elsewhere it is told loudly that the test did nothing.
fn require(program: &str) -> bool {
    let mut command = Command::new(program);
    if command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok() {
        return true;
    }
    let set = |name, value| std::env::var(name).is_ok_and(|found| found == value);
    let required = set("CI", "true") || set("MEDUSA_REQUIRE_CLIENTS", "1");
    assert!(!required, "{program} is not installed, and this run requires it");
    eprintln!("\n*** SKIPPED: {program} is not installed; this test has shown nothing ***\n");
    false
}

/// Runs a client with something to read; what it said, and whether it was content.
fn run(program: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

const PYTHON: &str = r#"
import smtplib, ssl, sys
port = int(sys.argv[1])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
with smtplib.SMTP("127.0.0.1", port, timeout=20) as s:
    s.ehlo("python.test")
    try:
        s.sendmail("a@b.test", ["alice@example.test"], "Subject: none\r\n\r\n")
        sys.exit("taken without a login")
    except smtplib.SMTPSenderRefused as e:
        assert e.smtp_code == 530, e
    s.rset()
    s.starttls(context=context)
    s.login("alice", "ecila")
    assert s.has_extn("size") and s.has_extn("pipelining") and not s.has_extn("starttls")
    refused = s.sendmail("alice@example.test", ["bob@example.test", "x@elsewhere.test"],
        "Subject: python\r\n\r\n.dot\n..dots\r\nend", mail_options=["BODY=8BITMIME", "SMTPUTF8"])
    assert list(refused) == ["x@elsewhere.test"] and refused["x@elsewhere.test"][0] == 550, refused
    assert s.verify("alice")[0] == 252
    assert s.noop()[0] == 250
with smtplib.SMTP("127.0.0.1", port, timeout=20) as s:
    s.starttls(context=context)
    try:
        s.login("alice", "wrong")
        sys.exit("logged in")
    except smtplib.SMTPAuthenticationError as e:
        assert e.smtp_code == 535, e
"#;

#[test]
fn smtplib() {
    if !require("python3") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (running, address) = serve(folder.path(), &Kind::Submission);
    let (content, said) = run("python3", &["-", &address.port().to_string()], PYTHON);
    assert!(content, "{said}");
    let kept = messages(folder.path(), "bob", "new");
    assert_eq!(kept.len(), 1);
    assert!(kept[0].contains(" with UTF8SMTPSA\r\n"), "{}", kept[0]);
    assert!(kept[0].ends_with("Subject: python\r\n\r\n.dot\r\n..dots\r\nend\r\n"), "{}", kept[0]);
    assert!(messages(folder.path(), "alice", "new").is_empty());
    running.handle().stop();
    running.join().unwrap();
}

#[test]
fn curl() {
    if !require("curl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (mx, address) = serve(folder.path(), &Kind::Mx);
    let url = format!("smtp://{address}/curl.test");
    let to = ["--mail-from", "a@b.test", "--mail-rcpt", "alice@example.test", "--upload-file", "-"];
    let large = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(200_000));
    let common = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", &url];
    let (content, said) = run("curl", &[&common[..], &to].concat(), &large);
    assert!(content, "{said}");
    let kept = messages(folder.path(), "alice", "new");
    assert!(kept.len() == 1 && kept[0].ends_with(&large), "{} messages", kept.len());
    let none = ["--mail-from", "a@b.test", "--mail-rcpt", "a@elsewhere.test", "--upload-file", "-"];
    let (content, said) = run("curl", &[&common[..], &none].concat(), "x\r\n");
    assert!(!content && said.contains("550"), "{said}");
    mx.handle().stop();
    mx.join().unwrap();

    let (submission, address) = serve(folder.path(), &Kind::Submission);
    let url = format!("smtp://{address}/curl.test");
    let common = ["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", &url];
    let login = ["--ssl-reqd", "--insecure", "--user", "carol:lorac"];
    let (content, said) =
        run("curl", &[&common[..], &login, &to].concat(), "Subject: b\r\n\r\n.\r\n");
    assert!(content, "{said}");
    let kept = messages(folder.path(), "alice", "new");
    assert!(kept.iter().any(|text| text.ends_with("Subject: b\r\n\r\n.\r\n")), "{kept:?}");
    submission.handle().stop();
    submission.join().unwrap();
}

#[test]
fn swaks() {
    if !require("swaks") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (running, address) = serve(folder.path(), &Kind::Submission);
    let server = address.to_string();
    let common =
        ["--server", &server, "--timeout", "20", "--ehlo", "swaks.test", "--from", "a@b.test"];
    let message = ["--to", "alice@example.test,bob@example.test", "--data", "-"];
    let login = ["--tls", "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "ecila"];
    let (content, said) = run(
        "swaks",
        &[&common[..], &login, &message, &["--pipeline"]].concat(),
        "Subject: s\n\nbody\n",
    );
    // Its TLS is a Perl module that may be missing: exit code 10 says so, and that is told.
    if !content && said.contains("TLS not available") {
        eprintln!("\n*** SKIPPED: swaks has no TLS here ***\n");
    } else {
        assert!(content, "{said}");
        for account in ["alice", "bob"] {
            assert_eq!(messages(folder.path(), account, "new").len(), 1);
        }
    }
    running.handle().stop();
    running.join().unwrap();

    let (mx, address) = serve(folder.path(), &Kind::Mx);
    let server = address.to_string();
    let common =
        ["--server", &server, "--timeout", "20", "--ehlo", "swaks.test", "--from", "a@b.test"];
    let message = ["--to", "dave@example.test", "--data", "-"];
    let (content, said) =
        run("swaks", &[&common[..], &message, &["--pipeline"]].concat(), "Subject: s\n\nbody\n");
    assert!(content, "{said}");
    let kept = messages(folder.path(), "dave", "new");
    assert!(kept.len() == 1 && kept[0].contains("Subject: s\r\n\r\nbody\r\n"), "{kept:?}");
    mx.handle().stop();
    mx.join().unwrap();
}

#[test]
fn plaintext_behind_starttls_is_thrown_away_on_the_wire_too() {
    let folder = tempfile::tempdir().unwrap();
    let (running, address) = serve(folder.path(), &Kind::Submission);
    let mut line = Line::connect(address).unwrap();
    assert_eq!(line.code().unwrap(), 220);
    line.send("EHLO c\r\nSTARTTLS\r\nNOOP\r\nQUIT\r\n").unwrap();
    assert_eq!((line.code().unwrap(), line.code().unwrap()), (250, 220));
    // What came behind it is answered by nothing: the server waits for a handshake.
    line.send("EHLO c\r\n").unwrap();
    assert!(line.code().is_err());
    running.handle().stop();
    running.join().unwrap();
}
