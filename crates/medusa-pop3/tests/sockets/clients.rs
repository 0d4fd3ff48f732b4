//! Python's poplib and curl.

use std::process::{Command, Stdio};

use super::fixture::Fixture;

/// Whether a client is installed. Where every client must be (`CI=true` or `MEDUSA_REQUIRE_CLIENTS=1`)
/// a missing one fails the test; elsewhere it is told loudly that the test did nothing.
fn require(program: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok_and(|status| status.success()) {
        return true;
    }
    let set = |name, value| std::env::var(name).is_ok_and(|found| found == value);
    let required = set("CI", "true") || set("MEDUSA_REQUIRE_CLIENTS", "1");
    assert!(!required, "{program} is not installed, and this run requires it");
    eprintln!("\n*** SKIPPED: {program} is not installed; this test has shown nothing ***\n");
    false
}

const POPLIB: &str = r#"
import poplib, ssl, sys
plain, secured = int(sys.argv[1]), int(sys.argv[2])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
host = "127.0.0.1"

def expect(found, wanted):
    assert found == wanted, (found, wanted)

def refused(call, *arguments):
    try:
        call(*arguments)
    except poplib.error_proto as error:
        return error.args[0].decode()
    raise AssertionError("it was not refused")

one = poplib.POP3(host, plain, timeout=20)
expect(set(one.capa()) >= {"TOP", "UIDL", "STLS", "PIPELINING", "USER"}, True)
one.user("alice")
one.pass_("secret")
expect(one.stat(), (3, 73))
expect(one.list()[1], [b"1 20", b"2 20", b"3 33"])
expect(one.list(3), b"+OK 3 33")
ids = one.uidl()[1]
expect(one.retr(3)[1], [b"Subject: 3", b"", b".", b"..", b".dots", b"end"])
expect(one.top(3, 1)[1], [b"Subject: 3", b"", b"."])
other = poplib.POP3(host, plain, timeout=20)
other.user("alice")
expect(refused(other.pass_, "secret")[:14], "-ERR [IN-USE] ")
other.quit()
one.dele(1)
expect(refused(one.retr, 1), "-ERR no such message")
one.rset()
one.dele(2)
one.noop()
expect(one.quit(), b"+OK bye")

two = poplib.POP3_SSL(host, secured, timeout=20, context=context)
two.user("alice")
two.pass_("secret")
left = [line.split()[1] for line in two.uidl()[1]]
expect(left, [ids[0].split()[1], ids[2].split()[1]])
two.close()

three = poplib.POP3(host, plain, timeout=20)
three.stls(context)
expect("STLS" in three.capa(), False)
three.user("alice")
expect(refused(three.pass_, "wrong")[:12], "-ERR [AUTH] ")
three.quit()
print("done")
"#;

#[test]
fn poplib() {
    if !require("python3") {
        return;
    }
    let fixture = Fixture::new();
    for text in [
        "Subject: 1\r\n\r\na\r\nb",
        "Subject: 2\r\n\r\na\r\nb",
        "Subject: 3\r\n\r\n.\r\n..\r\n.dots\r\nend\r\n",
    ] {
        fixture.deliver(text);
    }
    let output = Command::new("python3")
        .args(["-c", POPLIB])
        .args([fixture.address.port().to_string(), fixture.tls_address.port().to_string()])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"done\n", "{told}");
    assert_eq!(fixture.count(), 2);
}

/// RFC 6856: messages as they came for who says UTF8, and ASCII in headers for everybody else.
const POPLIB_UTF8: &str = r#"
import poplib, sys
from email import message_from_bytes, policy

def session(*modes):
    it = poplib.POP3("127.0.0.1", int(sys.argv[1]), timeout=20)
    assert it.capa()["UTF8"] == ["USER"], it.capa()
    for mode in modes:
        mode(it)
    it.user("alice")
    it.pass_("secret")
    lines, size = it.retr(1)[1:]
    assert it.list(1) == b"+OK 1 %d" % size, (it.list(1), size)
    assert it.stat() == (1, size)
    try:
        it.utf8()
        raise AssertionError("it is too late for UTF8")
    except poplib.error_proto:
        pass
    it.quit()
    return b"\r\n".join(lines)

raw = session(poplib.POP3.utf8)
assert raw.startswith("From: J\u00f6rg <j\u00f6rg@b\u00fccher.test>\r\n".encode()), raw
text = session()
head, body = text.split(b"\r\n\r\n", 1)
assert head.isascii() and body == "\u00fc".encode(), text
message = message_from_bytes(text, policy=policy.default)
assert not message.defects, message.defects
assert message["subject"] == "Gr\u00fc\u00dfe", message["subject"]
address, = message["from"].addresses
assert address.addr_spec == "invalid@internationalized-address.invalid", address
assert address.display_name == "J\u00f6rg <j\u00f6rg@b\u00fccher.test>", address
print("done")
"#;

#[test]
fn who_reads_no_utf8_is_sent_none() {
    if !require("python3") || !require("curl") {
        return;
    }
    let fixture = Fixture::new();
    fixture.deliver(
        "From: J\u{f6}rg <j\u{f6}rg@b\u{fc}cher.test>\r\nSubject: Gr\u{fc}\u{df}e\r\n\r\n\u{fc}\r\n",
    );
    let port = fixture.address.port().to_string();
    let output = Command::new("python3").args(["-c", POPLIB_UTF8, &port]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && output.stdout == b"done\n", "{told}");
    // curl doesn't know the command.
    let url = format!("pop3://{}/", fixture.address);
    let text = curl(&["--user", "alice:secret", &format!("{url}1")]).unwrap();
    assert!(text.split("\r\n\r\n").next().unwrap().is_ascii(), "{text}");
    let listed = curl(&["--user", "alice:secret", &url]);
    assert_eq!(listed, Ok(format!("1 {}\r\n", text.len())));
}

/// What curl prints, or its exit code.
fn curl(arguments: &[&str]) -> Result<String, i32> {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--insecure"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    match output.status.code() {
        Some(0) => Ok(String::from_utf8(output.stdout).unwrap()),
        code => Err(code.unwrap_or(-1)),
    }
}

fn has_gsasl() -> bool {
    let output = Command::new("curl").arg("--version").output().unwrap();
    String::from_utf8_lossy(&output.stdout).contains("gsasl")
}

#[test]
fn curl_by_every_way_in() {
    if !require("curl") {
        return;
    }
    let fixture = Fixture::new();
    let text = "Subject: hello\r\n\r\n.dot\r\nend\r\n";
    fixture.deliver(text);
    let (plain, tls) = (fixture.address, fixture.tls_address);
    let alice = ["--user", "alice:secret"];
    for (url, options) in [
        (format!("pop3://{plain}"), &["--login-options", "AUTH=PLAIN"][..]),
        (format!("pop3://{plain}"), &["--login-options", "AUTH=LOGIN"]),
        (format!("pop3://{plain}"), &["--login-options", "AUTH=SCRAM-SHA-256"]),
        (format!("pop3://{plain}"), &["--sasl-ir"]),
        (format!("pop3://{plain}"), &["--ssl-reqd"]),
        (format!("pop3s://{tls}"), &[]),
    ] {
        // SCRAM is in those builds of curl that have GNU SASL.
        if options.contains(&"AUTH=SCRAM-SHA-256") && !has_gsasl() {
            continue;
        }
        let ask = |path: &str| {
            let url = format!("{url}/{path}");
            curl(&[&alice[..], options, &[&url]].concat())
        };
        assert_eq!(ask(""), Ok(format!("1 {}\r\n", text.len())), "{url} {options:?}");
        assert_eq!(ask("1").as_deref(), Ok(text), "{url} {options:?}");
    }
    let url = format!("pop3://{plain}/");
    let top = curl(&[&alice[..], &["--request", "TOP 1 0", &url]].concat());
    assert_eq!(top.as_deref(), Ok("Subject: hello\r\n\r\n"));
    let one = format!("{url}1");
    let deleted = curl(&[&alice[..], &["--request", "DELE", "--head", &one]].concat());
    assert!(deleted.is_ok(), "{deleted:?}");
    assert_eq!(fixture.count(), 0);
    // 67 is CURLE_LOGIN_DENIED.
    assert_eq!(curl(&["--user", "alice:wrong", &url]), Err(67));
}
