//! What only a socket and a disk can show.

use std::io::Read;
use std::net::Shutdown;

use medusa_core::testing::SecuredStream;
use medusa_core::tls::{ClientTls, Roots};
use medusa_pop3::PlaintextLogin;

use super::fixture::{Fixture, Lines};

#[test]
fn a_connection_that_is_dropped_deletes_nothing_and_leaves_no_lock() {
    let fixture = Fixture::new();
    fixture.deliver("Subject: one\r\n\r\nHello\r\n");
    let mut lines = fixture.login();
    assert_eq!(lines.ask("DELE 1"), "+OK marked as deleted");
    assert_eq!(fixture.connect().ask("AUTH PLAIN AGFsaWNlAHNlY3JldA=="), {
        "-ERR [IN-USE] another session has this maildrop"
    });
    lines.reader.get_ref().shutdown(Shutdown::Both).unwrap();
    drop(lines);
    // The server hears of it when it gets there.
    let mut tries = 0;
    let mut lines = loop {
        let mut lines = fixture.connect();
        if lines.ask("AUTH PLAIN AGFsaWNlAHNlY3JldA==").starts_with("+OK") {
            break lines;
        }
        tries += 1;
        assert!(tries < 100_000, "the lock stays");
        std::thread::yield_now();
    };
    assert_eq!(lines.ask("STAT"), "+OK 1 23");
    assert_eq!((lines.ask("DELE 1"), lines.ask("QUIT")), {
        ("+OK marked as deleted".into(), "+OK bye".into())
    });
    assert_eq!(fixture.count(), 0);
}

#[test]
fn a_session_may_be_sent_at_once_and_its_end_with_it() {
    let fixture = Fixture::new();
    for n in 0..20 {
        fixture.deliver(&format!("Subject: {n}\r\n\r\n{}\r\n", "x".repeat(n * 1000)));
    }
    let mut lines = fixture.connect();
    let retrievals: String = (1..=20).map(|n| format!("RETR {n}\r\nDELE {n}\r\n")).collect();
    lines.say(&format!("USER alice\r\nPASS secret\r\n{retrievals}QUIT\r\n"));
    lines.reader.get_ref().shutdown(Shutdown::Write).unwrap();
    let mut text = String::new();
    lines.reader.read_to_string(&mut text).unwrap();
    assert!(text.ends_with("+OK marked as deleted\r\n+OK bye\r\n"), "{text}");
    assert_eq!(text.matches("\r\n.\r\n").count(), 20);
    assert_eq!(fixture.count(), 0);
}

#[test]
fn sizes_are_those_of_the_wire_and_ids_stay() {
    let fixture = Fixture::new();
    fixture.deliver("Subject: one\r\n\r\nHello\r\n");
    fixture.put("5.unix.host", "Subject: two\n\n.dot\nno end");
    let mut lines = fixture.login();
    let stored = "Subject: two\n\n.dot\nno end".len();
    let long = "Subject: two\r\n\r\n.dot\r\nno end\r\n".len();
    let told = format!("5.unix.host,S={stored},W={long},U=0");
    assert!(lines.ask("LIST").starts_with("+OK"));
    assert_eq!(lines.rest(), [format!("1 {long}"), "2 23".into()]);
    assert_eq!(lines.ask("RETR 1"), format!("+OK {long} octets"));
    assert_eq!(lines.rest(), ["Subject: two", "", "..dot", "no end"]);
    lines.ask("UIDL");
    let ids = lines.rest();
    lines.ask("QUIT");
    // Measured once: the name says it now.
    let new = fixture.maildir().join("new").join(&told);
    assert!(new.exists());
    // Another program moves it and sets a flag.
    let cur = fixture.maildir().join(format!("cur/{told}:2,S"));
    std::fs::rename(new, cur).unwrap();
    let mut lines = fixture.login();
    lines.ask("UIDL");
    assert_eq!(lines.rest(), ids);
}

/// What the names say of the sizes is taken, so that a large maildrop is opened without reading it.
#[test]
fn a_maildrop_is_opened_by_its_names_alone() {
    let fixture = Fixture::new();
    fixture.deliver("x\r\n");
    for n in 0..2_000 {
        fixture.put(&format!("1{n:06}.a.host,S=1000,W=1024,U=0"), "");
    }
    let mut lines = fixture.login();
    assert_eq!(lines.ask("STAT"), format!("+OK 2001 {}", 2_000 * 1024 + 3));
}

#[test]
fn a_message_longer_than_memory_is_to_hold_goes_through() {
    let fixture = Fixture::new();
    let text = format!("Subject: long\r\n\r\n{}", ".a line of some length\r\n".repeat(400_000));
    fixture.deliver(&text);
    let mut lines = fixture.login();
    assert_eq!(lines.ask("RETR 1"), format!("+OK {} octets", text.len()));
    let read: usize =
        lines.rest().iter().map(|line| line.strip_prefix('.').unwrap_or(line).len() + 2).sum();
    assert_eq!(read, text.len());
}

#[test]
fn stls_secures_the_session_and_forgets_what_was_slipped_in() {
    let fixture = Fixture::with(PlaintextLogin::Never, 64);
    fixture.deliver("x\r\n");
    let mut lines = fixture.connect();
    assert_eq!(lines.ask("USER alice"), "-ERR no passwords without TLS");
    lines.say("STLS\r\nCAPA\r\nUSER mallory\r\n");
    assert_eq!(lines.hear(), "+OK begin TLS");
    let client = ClientTls::new(&Roots::Anyone, &[]).unwrap();
    let stream = SecuredStream::handshake(lines.reader.into_inner(), &client, "localhost").unwrap();
    let mut lines = Lines { reader: std::io::BufReader::new(stream) };
    assert_eq!(lines.ask("PASS secret"), "-ERR USER comes first");
    assert_eq!(lines.ask("USER alice"), "+OK and the password?");
    assert_eq!(lines.ask("PASS secret"), "+OK 1 messages (3 octets)");
}

#[test]
fn a_pool_that_is_full_is_said_to_be_busy() {
    let fixture = Fixture::with(PlaintextLogin::Always, 0);
    let mut lines = fixture.connect();
    lines.ask("USER alice");
    assert_eq!(lines.ask("PASS secret"), { "-ERR [SYS/TEMP] the server is busy, try again later" });
    assert!(lines.ask("CAPA").starts_with("+OK"));
}
