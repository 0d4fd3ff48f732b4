//! `[accounts]` and `medusa passwd` as an operator sees them.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::{Output, Stdio};

use medusa_tests::{Server, Signal, Site, until};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

const SITE: &str = "\
[accounts]
file = \"users.toml\"

[http.site]
listen = [\"127.0.0.1:0\"]
root = \"public\"
";

fn site() -> Site {
    let site = Site::new(SITE);
    site.write("public/hello.txt", "Hello, world!");
    site
}

fn run(site: &Site, arguments: &[&str], input: &str) -> Output {
    let mut command = site.command(MEDUSA, arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it runs");
    // It may refuse before it reads.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    child.wait_with_output().expect("it ends")
}

fn said(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).expect("text")
}

#[test]
fn a_password_is_set_and_the_rest_of_the_file_stays() {
    let site = site();
    let output = run(&site, &["check", "medusa.toml"], "");
    assert_eq!(output.status.code(), Some(2));
    for part in ["there is no users file users.toml", "medusa.toml:2:8", "medusa passwd"] {
        assert!(said(&output.stderr).contains(part), "{}", said(&output.stderr));
    }

    let output = run(&site, &["passwd", "alice"], "secret\n");
    assert!(output.status.success(), "{}", said(&output.stderr));
    assert_eq!(said(&output.stdout), "alice is added in users.toml\n");
    let mode = || site.path("users.toml").metadata().expect("a file").permissions().mode();
    assert_eq!(mode() & 0o777, 0o600);
    let users = site.read("users.toml");
    assert!(users.starts_with("[alice]\npassword = \"$argon2id$v=19$"), "{users}");
    assert!(
        users.contains("scram = \"SCRAM-SHA-256$600000:") && !users.contains("secret"),
        "{users}"
    );

    site.write("users.toml", format!("# The office.\n{users}mail = [\"a@example.test\"] # hers\n"));
    std::fs::set_permissions(site.path("users.toml"), std::fs::Permissions::from_mode(0o644))
        .expect("changed");
    let output = run(&site, &["passwd", "--accounts", "users.toml", "ALICE"], "another\n");
    assert_eq!(said(&output.stdout), "the password of alice is changed in users.toml\n");
    assert_eq!(mode() & 0o777, 0o600);
    let changed = site.read("users.toml");
    assert!(changed.starts_with("# The office.\n[alice]\npassword = "), "{changed}");
    assert!(changed.ends_with("mail = [\"a@example.test\"] # hers\n"), "{changed}");
    assert_ne!(changed.lines().nth(2), users.lines().nth(1), "another hash");

    let output = run(&site, &["check", "medusa.toml"], "");
    assert!(output.status.success(), "{}", said(&output.stderr));
    assert!(
        said(&output.stdout).contains("\n1 account in users.toml\n"),
        "{}",
        said(&output.stdout)
    );
    assert_eq!(said(&output.stderr), "");
}

#[test]
fn what_can_not_be_a_name_or_a_password_is_refused() {
    let site = site();
    for (name, password) in
        [("../alice", "secret\n"), ("", "secret\n"), ("alice", "\n"), ("alice", "")]
    {
        let output = run(&site, &["passwd", name], password);
        assert_eq!(output.status.code(), Some(1), "{name} {password}");
        assert!(said(&output.stderr).starts_with("medusa: "), "{}", said(&output.stderr));
    }
    assert!(!site.path("users.toml").exists());
    assert_eq!(run(&site, &["passwd"], "").status.code(), Some(2));
}

#[test]
fn errors_in_the_users_file_have_its_line() {
    let site = site();
    site.write("users.toml", "[alice]\npassword = \"secret\"\nservices = [\"htpt\"]\n");
    for command in ["check", "serve"] {
        let output = run(&site, &[command, "medusa.toml"], "");
        assert_eq!(output.status.code(), Some(2));
        let said = said(&output.stderr);
        for part in ["users.toml:2:12", "users.toml:3:13", "did you mean `http`?", "2 errors"] {
            assert!(said.contains(part), "{part:?} is not in:\n{said}");
        }
    }
}

#[test]
fn the_users_file_is_read_again_at_hup() {
    let site = site();
    assert!(run(&site, &["passwd", "alice"], "secret\n").status.success());
    let mut command = site.command(MEDUSA, &["serve", "medusa.toml"]);
    command.stderr(std::fs::File::create(site.path("log")).expect("a file"));
    let server = Server::start(command);
    let users = site.read("users.toml");
    site.write("users.toml", format!("{users}\n{}", users.replace("[alice]", "[bob]")));
    server.signal(Signal::HUP);
    until("it was read", || site.read("log").contains("users.toml was read again accounts=2"));
    site.write("users.toml", "[alice]\nmail = 5\n");
    server.signal(Signal::HUP);
    until("it was refused", || site.read("log").contains("the accounts in use stay"));
    assert!(site.read("log").contains("users.toml:2"), "{}", site.read("log"));
    server.end();
}
