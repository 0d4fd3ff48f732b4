//! UTF8 (RFC 6856 §2): what is shown as it came, and to whom something else is shown.

use base64::{Engine, prelude::BASE64_STANDARD};
use medusa_core::tls::Facts;

use super::*;

const FOREIGN: &str = "From: J\u{f6}rg <j\u{f6}rg@b\u{fc}cher.test>\r\nSubject: Gr\u{fc}\u{df}e\r\n\
                       X-Note: \u{fc}\r\n\r\n\u{fc}\r\n.\r\n3\r\n";

/// What stands in for it.
fn surrogate() -> String {
    let encoded = |text: &str| format!("=?utf-8?b?{}?=", BASE64_STANDARD.encode(text));
    let address = encoded("J\u{f6}rg <j\u{f6}rg@b\u{fc}cher.test>");
    let subject = encoded("Gr\u{fc}\u{df}e");
    format!(
        "From: {address}\r\n <invalid@internationalized-address.invalid>\r\nSubject: {subject}\r\n\r\n\
         \u{fc}\r\n.\r\n3\r\n"
    )
}

fn session(store: &Store, first: &str) -> Client {
    let mut client = Setup::new(store).connect();
    let answer = say(&mut client, &format!("{first}USER alice\nPASS secret"));
    assert!(answer.ends_with("octets)\n"), "{answer}");
    client
}

/// RETR, with the stuffed dots taken out; and what was said of its size.
fn retrieved(client: &mut Client, command: &str) -> (String, String) {
    client.send(crlf(command)).run_jobs();
    let text = client.text();
    let (status, rest) = text.split_once("\r\n").unwrap();
    let rest = rest.strip_suffix("\r\n.\r\n").map(|rest| format!("{rest}\r\n")).unwrap();
    (status.to_owned(), rest.replace("\r\n..", "\r\n."))
}

#[test]
fn who_asked_for_it_sees_messages_as_they_came() {
    let store = Store::with(&[FOREIGN, "Subject: plain\r\n\r\n\u{fc}\r\n"]);
    let mut client = session(&store, "UTF8\n");
    let (one, two) = (FOREIGN.len(), 22);
    assert_eq!(say(&mut client, "STAT\nLIST 1"), format!("+OK 2 {}\n+OK 1 {one}\n", one + two));
    assert_eq!(retrieved(&mut client, "RETR 1"), (format!("+OK {one} octets"), FOREIGN.into()));
    assert!(retrieved(&mut client, "TOP 1 0").1.ends_with("X-Note: \u{fc}\r\n\r\n"));
}

/// RFC 6856 §2.1, RFC 6858 §4: sizes and lines are those of what is sent.
#[test]
fn others_see_a_surrogate_of_the_size_that_was_said() {
    let store = Store::with(&[FOREIGN, "Subject: plain\r\n\r\n\u{fc}\r\n"]);
    let mut client = session(&store, "");
    let (one, two) = (surrogate().len(), 22);
    assert_eq!(say(&mut client, "STAT\nLIST 1"), format!("+OK 2 {}\n+OK 1 {one}\n", one + two));
    let listed = format!("+OK 2 messages ({} octets)\n1 {one}\n2 {two}\n.\n", one + two);
    assert_eq!(say(&mut client, "LIST"), listed);
    for _ in 0..2 {
        assert_eq!(retrieved(&mut client, "RETR 1"), (format!("+OK {one} octets"), surrogate()));
    }
    let top = surrogate().replace("3\r\n", "");
    assert_eq!(retrieved(&mut client, "TOP 1 2"), ("+OK top of the message".into(), top));
    // The other one needs none: what is in bodies is MIME's.
    assert_eq!(retrieved(&mut client, "RETR 2").1, "Subject: plain\r\n\r\n\u{fc}\r\n");
    assert_eq!(say(&mut client, "DELE 1\nSTAT"), "+OK marked as deleted\n+OK 1 22\n");
    let reset = format!("+OK 2 messages ({} octets)\n", one + two);
    assert_eq!(say(&mut client, "RSET"), reset);
    // The one is known by the same name to both.
    let unique_id = say(&mut client, "UIDL 1");
    drop(client);
    assert_eq!(say(&mut session(&store, "UTF8\n"), "UIDL 1"), unique_id);
}

/// Those too that are sent from their files, and with other line ends.
#[test]
fn a_large_one_is_replaced_on_its_way() {
    let body = "0123456789\n.dots \u{fc}\n".repeat(20_000);
    // A field longer than what is read of a file at once.
    let long = " folded\n".repeat(5_000);
    let store = Store::with(&[&format!("Subject: \u{fc}\nX: \u{fc}\n{long}Y:\n{long}\n{body}")]);
    let mut client = session(&store, "");
    let (status, text) = retrieved(&mut client, "RETR 1");
    let expected = format!("Subject: =?utf-8?b?w7w=?=\nY:\n{long}\n{body}").replace('\n', "\r\n");
    assert!(text == expected);
    assert_eq!(status, format!("+OK {} octets", expected.len()));
    assert_eq!(say(&mut client, "LIST 1"), format!("+OK 1 {}\n", expected.len()));
}

#[test]
fn it_is_said_before_the_login_and_after_stls() {
    let mut client = Setup::new(&two()).connect();
    let answers = say(&mut client, "UTF8\nUTF8\nSTLS\nUTF8 x\nUSER alice\nUTF8\nPASS secret\nUTF8");
    let signs: Vec<&str> = answers.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(signs, ["+OK", "+OK", "-ERR", "-ERR", "+OK", "+OK", "+OK", "-ERR"], "{answers}");
    assert!(answers.contains("-ERR STLS comes before UTF8\n"));
    let mut client = Setup::new(&two()).connect();
    client.send("STLS\r\nUTF8\r\n").run_jobs();
    assert_eq!(client.text(), "+OK begin TLS\r\n");
    client.secure(Facts::default()).run_jobs();
    assert!(say(&mut client, "UTF8").starts_with("+OK "));
    assert!(say(&mut client, "CAPA").contains("\nUTF8 USER\n"));
}

/// It lasts beyond a login that fails.
#[test]
fn a_failed_login_leaves_the_mode() {
    let store = Store::with(&[FOREIGN]);
    let mut client = session(&store, "UTF8\nAUTH PLAIN\n*\n");
    assert_eq!(say(&mut client, "LIST 1"), format!("+OK 1 {}\n", FOREIGN.len()));
}

/// RFC 6856 §2.2: prepared by SASLprep, refused where that forbids a character or it is no UTF-8.
#[test]
fn names_and_passwords_are_prepared() {
    for (name, password, is_let_in) in [
        ("j\u{f6}rg", "p\u{e4}ss", true),
        ("jo\u{308}rg", "pa\u{308}ss", true),
        ("\u{ff4a}\u{f6}rg", "p\u{ad}\u{e4}ss", true),
        ("j\u{f6}rg", "p\u{e4}ss\u{e000}", false),
        ("j\u{f6}rg\u{7}", "p\u{e4}ss", false),
    ] {
        let mut client = Setup::new(&two()).connect();
        let answer = say(&mut client, &format!("USER {name}\nPASS {password}"));
        let expected = if is_let_in { "+OK 0 messages" } else { "-ERR [AUTH]" };
        let last = answer.lines().last().unwrap();
        assert!(last.starts_with(expected), "{name:?} {password:?}: {answer}");
    }
    let mut client = Setup::new(&two()).connect();
    client.send(b"USER j\xf6rg\r\nUSER alice\r\nPASS \xff\r\n").run_jobs();
    let answer = client.text();
    assert!(answer.starts_with("-ERR a name is UTF-8\r\n") && answer.contains("-ERR [AUTH]"));
}

#[test]
fn every_split_gives_the_same() {
    let store = Store::with(&[FOREIGN]);
    let script = crlf("UTF8\nUSER j\u{f6}rg\nPASS p\u{e4}ss\nLIST\nUTF8\nQUIT");
    let play = |parts: &[&[u8]]| {
        let mut client = Setup::new(&store).connect();
        for part in parts {
            client.send(part).run_jobs();
        }
        client.text()
    };
    let whole = play(&[script.as_bytes()]);
    assert!(whole.contains("+OK bye"), "{whole}");
    for at in 0..script.len() {
        let (one, other) = script.as_bytes().split_at(at);
        assert_eq!(play(&[one, other]), whole, "split at {at}");
    }
}
