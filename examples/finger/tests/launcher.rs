//! The custom launcher, over real sockets.

use std::io::{Read, Write};
use std::net::Shutdown;

use medusa_tests::{Server, Signal, Site};

const FINGER: &str = env!("CARGO_BIN_EXE_finger");

fn site() -> Site {
    let site =
        Site::new("[finger.main]\nlisten = [\"127.0.0.1:0\", \"[::1]:0\"]\nplans = \"plans\"\n");
    site.write("plans/alice", "Alice, ground floor\nBack on Monday.\n");
    site
}

fn ask(server: &Server, question: &str) -> String {
    let mut stream = server.connect("finger.main");
    stream.write_all(question.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer and an end");
    answer
}

#[test]
fn a_foreign_protocol_is_served() {
    let site = site();
    let server = site.serve(FINGER);
    assert_eq!(server.table().matches("finger.main").count(), 2, "{}", server.table());
    assert_eq!(ask(&server, "alice\r\n"), "Alice, ground floor\r\n");
    assert_eq!(ask(&server, "/W alice\r\n"), "Alice, ground floor\r\nBack on Monday.\r\n");
    assert_eq!(ask(&server, "nobody\r\n"), "No such user.\r\n");
    server.end();
}

#[test]
fn http_is_served_beside_it() {
    let site = site();
    let finger = site.read("medusa.toml");
    site.write(
        "medusa.toml",
        format!("{finger}[http.site]\nlisten = [\"127.0.0.1:0\"]\nroot = \"plans\"\n"),
    );
    let server = site.serve(FINGER);
    let mut stream = server.connect("http.site");
    stream.write_all(b"GET /alice HTTP/1.0\r\n\r\n").expect("asked");
    let mut page = String::new();
    stream.read_to_string(&mut page).expect("a page");
    assert!(page.starts_with("HTTP/1.1 200 ") && page.ends_with("Back on Monday.\n"), "{page}");
    drop(stream);
    assert_eq!(ask(&server, "alice\r\n"), "Alice, ground floor\r\n");
    server.end();
}

#[test]
fn the_configuration_beside_the_example_is_sound() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/finger.toml");
    let output = site().command(FINGER, &["check", example]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_client_that_sends_no_more_is_answered() {
    let site = site();
    let server = site.serve(FINGER);
    let mut stream = server.connect("finger.main");
    stream.write_all(b"alice\r\n").expect("asked");
    stream.shutdown(Shutdown::Write).expect("half closed");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "Alice, ground floor\r\n");
    server.end();
}

#[test]
fn a_silent_client_does_not_keep_the_server_from_ending() {
    let site = site();
    let server = site.serve(FINGER);
    let mut silent = server.connect("finger.main");
    // Its session stands once another one, accepted later, was answered.
    assert_eq!(ask(&server, "alice\r\n"), "Alice, ground floor\r\n");
    server.signal(Signal::TERM);
    let mut rest = Vec::new();
    assert_eq!(silent.read_to_end(&mut rest).expect("an end"), 0);
    drop(silent);
    assert!(server.wait().success());
}

#[test]
fn a_wrong_configuration_is_refused_by_the_foreign_plug_in() {
    let site = site();
    site.write(
        "medusa.toml",
        "[finger.main]\nlisten = [\"127.0.0.1:0\"]\nplans = \"none\"\nplan = 1\n",
    );
    let output = site.command(FINGER, &["check", "medusa.toml"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).expect("text");
    assert!(told.contains("did you mean `plans`?") && told.contains("medusa.toml:4:1"), "{told}");
    site.write("medusa.toml", "[finger.main]\nlisten = [\"127.0.0.1:0\"]\nplans = \"none\"\n");
    let output = site.command(FINGER, &["serve", "medusa.toml"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).expect("text");
    for part in ["can't be opened", "medusa.toml:3:9", "a file for each user", "nothing is served"]
    {
        assert!(told.contains(part), "{part:?} is not in:\n{told}");
    }
}
