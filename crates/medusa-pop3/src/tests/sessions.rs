//! What a session shows and removes.

use std::time::Duration;

use medusa_core::testing::{Client, Faults};
use proptest::prelude::*;

use super::{Setup, Store, check, crlf, inside, say, two};

const ONE: &str = "Subject: one\n\nHello\n";
const TWO_STUFFED: &str = "Subject: two\n\n..\n...dots\nlast\n";

#[test]
fn messages_are_counted_as_they_are_sent() {
    check("STAT", "+OK 2 56\n");
    check("LIST", "+OK 2 messages (56 octets)\n1 23\n2 33\n.\n");
    check("LIST 2", "+OK 2 33\n");
    check("UIDL", "+OK 2 messages (56 octets)\n1 U1\n2 U2\n.\n");
    check("UIDL 2", "+OK 2 U2\n");
    check("LIST  2 ", "+OK 2 33\n");
}

#[test]
fn messages_are_sent_with_crlf_and_dots_doubled() {
    check("RETR 1", &format!("+OK 23 octets\n{ONE}.\n"));
    check("RETR 2", &format!("+OK 33 octets\n{TWO_STUFFED}.\n"));
    check("TOP 2 0", "+OK top of the message\nSubject: two\n\n.\n");
    check("TOP 2 2", "+OK top of the message\nSubject: two\n\n..\n...dots\n.\n");
    check("TOP 1 99", &format!("+OK top of the message\n{ONE}.\n"));
    let raw = {
        let mut client = inside(&two());
        client.send("RETR 2\r\n").run_jobs().text()
    };
    assert_eq!(raw.matches('\n').count(), raw.matches("\r\n").count());
    // RFC 1939 §11: 33 octets, two dots doubled, and the end.
    assert_eq!(raw.len(), "+OK 33 octets\r\n".len() + 33 + 2 + 3);
}

#[test]
fn what_is_marked_is_hidden_until_it_is_unmarked() {
    check(
        "DELE 1\nDELE 1\nRETR 1\nTOP 1 0\nLIST 1\nUIDL 1\nSTAT\nLIST\nRSET\nLIST\nRETR 1",
        &format!(
            "+OK marked as deleted\n-ERR no such message\n-ERR no such message\n\
             -ERR no such message\n-ERR no such message\n-ERR no such message\n+OK 1 33\n\
             +OK 1 messages (33 octets)\n2 33\n.\n+OK 2 messages (56 octets)\n\
             +OK 2 messages (56 octets)\n1 23\n2 33\n.\n+OK 23 octets\n{ONE}.\n"
        ),
    );
}

#[test]
fn a_listing_shows_what_held_when_it_was_asked_for() {
    let mut client = inside(&two());
    client.stall();
    client.send(crlf("RETR 1\nLIST\nDELE 1\nUIDL")).run_jobs();
    client.unstall();
    let text = client.text().replace("\r\n", "\n");
    assert!(
        text.ends_with(
            "+OK 2 messages (56 octets)\n1 23\n2 33\n.\n+OK marked as deleted\n\
             +OK 1 messages (33 octets)\n2 U2\n.\n"
        ),
        "{text}"
    );
}

#[test]
fn quit_removes_and_nothing_else_does() {
    let store = two();
    let mut client = inside(&store);
    assert_eq!(say(&mut client, "DELE 2\nQUIT"), "+OK marked as deleted\n+OK bye\n");
    assert!(client.is_closed());
    assert_eq!(store.left(), ["U1"]);

    let store = two();
    let ends: [fn(&mut Client) -> &mut Client; 4] = [
        Client::reset,
        Client::end,
        |client| client.advance(Duration::from_secs(700)),
        |client| client.drain().reset(),
    ];
    for end in ends {
        let mut client = inside(&store);
        assert_eq!(say(&mut client, "DELE 1\nDELE 2"), "+OK marked as deleted\n".repeat(2));
        end(&mut client).run_jobs();
        assert_eq!(client.text(), "");
        assert!(client.is_closed());
        assert_eq!(store.left(), ["U1", "U2"]);
    }
    let mut client = inside(&store);
    assert_eq!(say(&mut client, "DELE 1\nRSET\nQUIT"), {
        "+OK marked as deleted\n+OK 2 messages (56 octets)\n+OK bye\n"
    });
    assert_eq!(store.left(), ["U1", "U2"]);
}

/// RETR, DELE and QUIT at once, and the line is cut within the message: it must be there still.
#[test]
fn nothing_is_removed_before_all_is_sent() {
    let store = Store::with(&[&"a line of text\r\n".repeat(20_000)]);
    let mut client = inside(&store);
    client.stall();
    client.send(crlf("RETR 1\nDELE 1\nQUIT")).run_jobs();
    client.reset().run_jobs();
    assert_eq!(store.left(), ["U1"]);

    let mut client = inside(&store);
    client.stall();
    client.send(crlf("RETR 1\nDELE 1\nQUIT")).run_jobs();
    assert_eq!(store.left(), ["U1"]);
    client.unstall().run_jobs();
    assert!(client.text().ends_with(".\r\n+OK marked as deleted\r\n+OK bye\r\n"));
    assert_eq!(store.left(), [""; 0]);
}

#[test]
fn who_has_said_quit_hears_how_it_went_though_the_server_ends() {
    let store = two();
    let mut client = inside(&store);
    client.send(crlf("DELE 1\nQUIT"));
    client.drain();
    assert!(!client.is_closed());
    client.run_jobs();
    assert_eq!(client.text(), crlf("+OK marked as deleted\n+OK bye"));
    assert!(client.is_closed());
    assert_eq!(store.left(), ["U2"]);
}

#[test]
fn who_has_marked_messages_may_say_quit_while_the_server_ends() {
    let store = two();
    let mut client = inside(&store);
    assert!(say(&mut client, "RETR 1\nDELE 1").ends_with("+OK marked as deleted\n"));
    client.drain();
    assert!(!client.is_closed());
    assert_eq!(say(&mut client, "QUIT"), "+OK bye\n");
    assert!(client.is_closed());
    assert_eq!(store.left(), ["U2"]);
    // Who has not has nothing to lose.
    let mut client = inside(&store);
    client.drain();
    assert!(client.is_closed());
}

#[test]
fn the_lock_is_free_before_quit_is_answered() {
    let store = two();
    let setup = Setup::new(&store);
    for script in ["QUIT", "DELE 1\nQUIT", "RETR 1\nQUIT"] {
        let mut client = inside(&store);
        assert!(say(&mut client, script).ends_with("+OK bye\n"));
        assert!(store.0.lock().unwrap().locked.is_empty(), "{script}");
        drop(setup.connect());
    }
}

#[test]
fn one_session_at_a_time_has_a_maildrop() {
    let store = two();
    let setup = Setup::new(&store);
    let (mut first, mut second) = (setup.connect(), setup.connect());
    let login = "USER alice\nPASS secret";
    assert!(say(&mut first, login).ends_with("+OK 2 messages (56 octets)\n"));
    assert!(say(&mut second, login).ends_with("-ERR [IN-USE] another session has this maildrop\n"));
    // Somebody else's is not concerned.
    assert!(say(&mut second, "USER bob\nPASS secret\nSTAT\nQUIT").contains("+OK 0 0\n"));
    let mut third = setup.connect();
    first.reset();
    assert!(say(&mut third, login).ends_with("+OK 2 messages (56 octets)\n"));
}

#[test]
fn who_leaves_while_the_maildrop_is_opened_keeps_no_lock() {
    let store = two();
    let mut client = Setup::new(&store).connect();
    client.send(crlf("USER alice\nPASS secret"));
    client.reset().run_jobs();
    assert!(store.0.lock().unwrap().locked.is_empty());
    inside(&store);
}

#[test]
fn mail_that_comes_meanwhile_is_for_the_next_session() {
    let store = two();
    let mut client = inside(&store);
    store.deliver("Subject: three\r\n\r\n");
    assert_eq!(say(&mut client, "STAT\nRETR 3\nDELE 1\nQUIT"), {
        "+OK 2 56\n-ERR no such message\n+OK marked as deleted\n+OK bye\n"
    });
    assert_eq!(store.left(), ["U2", "U3"]);
    let mut client = inside(&store);
    assert_eq!(say(&mut client, "UIDL"), "+OK 2 messages (51 octets)\n1 U2\n2 U3\n.\n");
}

#[test]
fn a_thousand_pipelined_messages_are_opened_one_by_one() {
    let store = two();
    let mut client = inside(&store);
    client.send(crlf(&"RETR 1\n".repeat(1000)));
    assert_eq!(client.text(), "");
    client.run_jobs();
    let one = crlf(&format!("+OK 23 octets\n{ONE}.\n"));
    assert_eq!(client.text(), one.repeat(1000));
}

#[test]
fn a_large_maildrop_is_listed_as_the_client_takes_it() {
    let store = Store::with(&vec!["x\r\n"; 30_000]);
    let mut client = inside(&store);
    client.stall();
    client.send(crlf("LIST\nUIDL"));
    assert!(client.unsent_bytes() < 128 * 1024, "{}", client.unsent_bytes());
    client.unstall();
    let text = client.text();
    assert_eq!(text.lines().count(), 60_004);
    assert!(text.ends_with("30000 U30000\r\n.\r\n"));
}

/// A whole session, every command of it, cut in two at every place, and in pieces by chance.
#[test]
fn every_split_of_a_pipelined_session_gives_the_same() {
    let session = crlf(
        "CAPA\nUSER bob\nPASS no\nUSER alice\nPASS secret\nSTAT\nLIST\nUIDL 1\nRETR 2\nTOP 1 1\n\
         DELE 1\nBOGUS\nNOOP\nLIST\nQUIT",
    );
    let run = |parts: &[&str]| {
        let store = two();
        let mut client = Setup::new(&store).connect();
        for part in parts {
            client.send(part).run_jobs();
            client.advance(Duration::from_secs(1)).run_jobs();
        }
        (client.text(), store.left())
    };
    let (whole, left) = run(&[&session]);
    assert!(whole.ends_with("+OK bye\r\n"), "{whole}");
    assert_eq!(left, ["U2"]);
    for at in 0..=session.len() {
        let (first, second) = session.split_at(at);
        assert_eq!(run(&[first, second]), (whole.clone(), left.clone()), "at {at}");
    }
}

proptest! {
    #[test]
    fn any_text_comes_out_as_it_went_in(text in "[a.\r\n]{0,200}", seed in any::<u64>()) {
        let store = Store::with(&[&text]);
        let mut setup = Setup::new(&store);
        setup.faults = Faults::random(seed, 7);
        let mut client = setup.connect();
        say(&mut client, "USER alice\nPASS secret");
        client.send("RETR 1\r\nNOOP\r\n").run_jobs();
        let reply = client.text();
        let (_, reply) = reply.split_once("\r\n").unwrap();
        let body = reply.strip_suffix("+OK nothing done\r\n").unwrap();
        // As a client reads it: line by line, to the dot.
        let mut read = String::new();
        let mut lines = body.split_inclusive("\r\n");
        for line in lines.by_ref() {
            if line == ".\r\n" {
                break;
            }
            read.push_str(line.strip_prefix('.').unwrap_or(line));
        }
        prop_assert!(lines.next().is_none());
        let mut expected = String::new();
        let mut last = '\0';
        for c in text.chars() {
            if c == '\n' && last != '\r' {
                expected.push('\r');
            }
            expected.push(c);
            last = c;
        }
        if !expected.is_empty() && !expected.ends_with("\r\n") {
            expected.push_str("\r\n");
        }
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn whatever_is_sent_is_answered_or_waits(
        lines in proptest::collection::vec(
            "[A-Za-z0-9 =*]{0,12}|RETR [0-9]|DELE [0-9]|TOP [0-9] [0-9]|AUTH PLAIN|USER alice|PASS secret",
            0..15,
        ),
    ) {
        let mut client = Setup::new(&two()).connect();
        let text = say(&mut client, &lines.join("\n"));
        prop_assert!(text.is_empty() || text.starts_with('+') || text.starts_with('-'));
        prop_assert!(text.is_empty() || text.ends_with('\n'));
    }
}
