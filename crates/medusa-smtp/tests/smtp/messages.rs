//! What is kept is what was sent, with what the server put in front; or it is refused, and why.

use std::sync::Arc;

use medusa_core::ServiceParts;
use medusa_core::testing::Faults;
use medusa_smtp::{SmtpLimits, SmtpService};

use crate::fixture::{
    Kept, Lines, Store, TO_ALICE, check, check_with, codes, connect, mx, mx_of, run, send,
};

/// The text of the only message, behind what the server put in front.
fn body(kept: &[Kept]) -> &str {
    assert_eq!(kept.len(), 1, "{kept:?}");
    let (_, text) = kept[0].1.split_once("+0000\r\n").unwrap();
    text
}

fn limited(change: impl Fn(&mut SmtpLimits)) -> impl Fn(&Store) -> SmtpService {
    move |store| {
        let mut limits = SmtpLimits::default();
        change(&mut limits);
        mx(store).with_smtp_limits(limits)
    }
}

#[test]
fn a_message_is_kept_as_it_came() {
    let kept = check(
        &format!("{TO_ALICE}DATA\r\nSubject: x\r\n\r\n..a\r\n.b\r\n...\r\nlast\r\n.\r\n"),
        "250 250 250 354 250",
    );
    assert_eq!(
        kept[0].1,
        "Return-Path: <s@c.test>\r\nReceived: from c.test ([127.0.0.1])\r\n\
         \tby mx.example.test (Medusa) with ESMTP\r\n\tid 3b9aca00.000.0\r\n\tfor <alice@example.test>;\r\n\
         \tSun, 09 Sep 2001 01:46:40 +0000\r\nSubject: x\r\n\r\n.a\r\nb\r\n..\r\nlast\r\n"
    );
}

#[test]
fn an_empty_message_is_a_message() {
    assert_eq!(body(&check(&format!("{TO_ALICE}DATA\r\n.\r\n"), "250 250 250 354 250")), "");
    assert_eq!(body(&check(&format!("{TO_ALICE}BDAT 0 LAST\r\n"), "250 250 250 250")), "");
}

#[test]
fn the_greeting_shows_in_the_trace() {
    let kept = check(
        "HELO x\r\nMAIL FROM:<>\r\nRCPT TO:<al@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n.\r\n",
        "250 250 250 250 354 250",
    );
    assert_eq!(kept[0].0, ["alice", "bob"]);
    assert!(kept[0].1.contains(" with SMTP\r\n") && !kept[0].1.contains("for <"), "{}", kept[0].1);
    let kept = check(
        "EHLO x\r\nMAIL FROM:<\u{e9}@c> SMTPUTF8\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n.\r\n",
        "250 250 250 354 250",
    );
    assert!(
        kept[0].1.starts_with("Return-Path: <\u{e9}@c>\r\n")
            && kept[0].1.contains(" with UTF8SMTP\r\n")
    );
}

#[test]
fn chunks_make_a_message() {
    let kept = check(
        &format!("{TO_ALICE}BDAT 4\r\na\r\n.BDAT 5\r\n\r\nb\r\nBDAT 1 LAST\r\ncQUIT\r\n"),
        "250 250 250 250 250 250 221",
    );
    assert_eq!(body(&kept), "a\r\n.\r\nb\r\nc\r\n");
}

#[test]
fn chunks_that_nobody_wants_are_no_commands() {
    let chunk = "BDAT 6 LAST\r\nQUIT\r\n";
    assert!(check(&format!("EHLO c\r\n{chunk}NOOP\r\n"), "250 503 250").is_empty());
    assert!(
        check(&format!("EHLO c\r\nMAIL FROM:<>\r\n{chunk}NOOP\r\n"), "250 250 554 250").is_empty()
    );
    // A chunk is refused, then all behind it (RFC 3030 §2).
    let script = format!("{TO_ALICE}BDAT 2\r\na\nBDAT 6 LAST\r\nQUIT\r\nRSET\r\n");
    assert!(check(&script, "250 250 250 250 550 250").is_empty());
    // Where a chunk of no size ends nobody knows.
    assert!(check(&format!("{TO_ALICE}BDAT x\r\nNOOP\r\n"), "250 250 250 501").is_empty());
    assert!(check("EHLO c\r\nBDAT 99999999999\r\nNOOP\r\n", "250 503").is_empty());
}

#[test]
fn a_message_that_is_too_large_is_refused_before_and_during() {
    let service = limited(|limits| limits.message = Some(1000));
    let line = format!("{}\r\n", "x".repeat(98));
    let fits = line.repeat(10);
    let kept =
        check_with(&service, &format!("{TO_ALICE}DATA\r\n{fits}.\r\n"), "250 250 250 354 250");
    assert_eq!(body(&kept), fits);
    let larger = format!("{TO_ALICE}DATA\r\n{fits}{line}.\r\nNOOP\r\n");
    assert!(check_with(&service, &larger, "250 250 250 354 552 250").is_empty());
    let chunks = format!("{TO_ALICE}BDAT 1000\r\n{fits}BDAT 100\r\n{line}BDAT 1 LAST\r\nxNOOP\r\n");
    assert!(check_with(&service, &chunks, "250 250 250 250 552 503 250").is_empty());
    let huge = format!("{TO_ALICE}BDAT 999999999 LAST\r\n");
    assert!(check_with(&service, &huge, "250 250 250 552").is_empty());
}

#[test]
fn one_who_does_not_stop_is_left() {
    let store = Store::default();
    let mut client =
        connect(&*limited(|limits| limits.message = Some(1000))(&store).build(), Faults::none());
    send(&mut client, format!("{TO_ALICE}DATA\r\n"));
    let megabyte = "x".repeat(65_534) + "\r\n";
    let mut sent = 0;
    while !client.is_closed() && sent < 1024 {
        send(&mut client, &megabyte);
        sent += 1;
    }
    assert!((250..300).contains(&sent), "left after {sent} pieces of 64 KiB");
    assert!(codes(&client.text()).ends_with("354 552"));
}

#[test]
fn a_large_message_goes_to_the_store_in_pieces() {
    let text = format!("{}\r\n", "y".repeat(98)).repeat(20_000);
    let store = Store::default();
    let mut client = connect(&*mx(&store).build(), Faults::none());
    send(&mut client, format!("{TO_ALICE}DATA\r\n"));
    for piece in text.as_bytes().chunks(16 * 1024) {
        send(&mut client, piece);
    }
    assert_eq!(store.counts().1, 1);
    send(&mut client, ".\r\n");
    assert_eq!(body(&store.kept()), text);
    assert!((25..35).contains(&store.counts().0), "{} writes", store.counts().0);
}

#[test]
fn the_client_waits_for_the_disk() {
    let store = Store::default();
    let mut client = connect(&*mx(&store).build(), Faults::none());
    send(&mut client, format!("{TO_ALICE}DATA\r\n"));
    for _ in 0..100 {
        client.send("z".repeat(998) + "\r\n");
    }
    // Nothing was written yet, and no more than a piece or so is held.
    assert_eq!(store.counts(), (0, 0));
    assert!(client.unread_bytes() >= 30_000, "{}", client.unread_bytes());
    send(&mut client, ".\r\n");
    assert_eq!(body(&store.kept()).len(), 100_000);
}

#[test]
fn a_store_that_fails_at_any_step_keeps_nothing_and_says_so() {
    let text = format!("{}\r\n", "y".repeat(998)).repeat(200);
    for step in 0..8 {
        let store = Store::default();
        store.fail_in(step);
        let mut client = connect(&*mx(&store).build(), Faults::none());
        send(&mut client, format!("{TO_ALICE}DATA\r\n"));
        for piece in text.as_bytes().chunks(16 * 1024) {
            send(&mut client, piece);
        }
        send(&mut client, ".\r\nNOOP\r\n");
        let kept = step > 5;
        let end = if kept { "354 250 250" } else { "354 452 250" };
        let seen = codes(&client.text());
        assert!(seen.ends_with(end), "{step}: {seen}");
        drop(client);
        assert_eq!((store.kept().len(), store.counts().1), (usize::from(kept), 0), "{step}");
    }
}

#[test]
fn a_client_that_leaves_leaves_nothing_behind() {
    for end in ["DATA\r\nhalf of it", "DATA\r\nall\r\n.", "BDAT 5\r\nabc", "BDAT 5\r\nabcde"] {
        let store = Store::default();
        let mut client = connect(&*mx(&store).build(), Faults::none());
        send(&mut client, format!("{TO_ALICE}{end}"));
        client.reset();
        assert_eq!((store.kept().len(), store.counts().1), (0, 0), "{end:?}");
    }
}

#[test]
fn a_message_in_circles_is_stopped() {
    let hops = |count| "Received: from x\r\n".repeat(count);
    let script = |count| format!("{TO_ALICE}DATA\r\n{}\r\nReceived: body\r\n.\r\n", hops(count));
    assert_eq!(check(&script(99), "250 250 250 354 250").len(), 1);
    assert!(check(&script(100), "250 250 250 354 554").is_empty());
}

#[test]
fn lines_of_a_message_have_a_limit() {
    let service = limited(|limits| limits.line = Some(1000));
    let script = |count| format!("{TO_ALICE}DATA\r\n{}\r\n.\r\nNOOP\r\n", "x".repeat(count));
    assert_eq!(check_with(&service, &script(1000), "250 250 250 354 250 250").len(), 1);
    assert!(check_with(&service, &script(1001), "250 250 250 354 500 250").is_empty());
}

#[test]
fn a_message_that_came_to_its_end_has_a_line_in_the_log() {
    let (store, lines) = (Store::default(), Arc::new(Lines::default()));
    let parts = ServiceParts::new("smtp.mx").with_access(Some(lines.clone()));
    let service = mx_of(parts, &store).build();
    let script = format!(
        "{TO_ALICE}RCPT TO:<\"a b\"@example.test>\r\nDATA\r\nx\r\n.\r\nMAIL FROM:<>\r\n\
         RCPT TO:<bob@example.test>\r\nDATA\r\na\nb\r\n.\r\nMAIL FROM:<>\r\n"
    );
    run(&*service, script, Faults::none());
    assert_eq!(
        *lines.0.lock().unwrap(),
        [
            "127.0.0.1 - - [09/Sep/2001:01:46:40 +0000] \"SMTP <s@c.test> <alice@example.test>,\
             <\\\"a b\\\"@example.test>\" 250 3 3b9aca00.000.0",
            "127.0.0.1 - - [09/Sep/2001:01:46:40 +0000] \"SMTP <> <bob@example.test>\" 550 5 3b9aca00.000.1",
        ]
    );
}

#[test]
fn a_client_that_has_said_all_hears_all() {
    for end in ["DATA\r\nx\r\n.\r\n", "DATA\r\nx\r\n.\r\nQUIT\r\n", "BDAT 3 LAST\r\nx\r\n"] {
        let store = Store::default();
        let mut client = connect(&*mx(&store).build(), Faults::none());
        client.send(format!("{TO_ALICE}{end}")).end();
        client.run_jobs().deliver().run_jobs();
        let seen = codes(&client.text());
        let last = if end.contains("QUIT") { "250 221" } else { "250" };
        assert!(client.is_closed() && seen.ends_with(last), "{end:?}: {seen}");
        assert_eq!(body(&store.kept()), "x\r\n");
    }
}

#[test]
fn nobody_gets_what_comes_behind_a_chunk_that_was_refused() {
    let script = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<no@example.test>\r\nBDAT 6\r\nA: 1\r\n\
                  RCPT TO:<bob@example.test>\r\nBDAT 6 LAST\r\nB: 2\r\nRSET\r\n";
    assert!(check(script, "250 250 550 554 503 503 250").is_empty());
}

#[test]
fn a_name_that_is_not_ascii_is_in_no_trace_field() {
    let script =
        "EHLO b\u{fc}ro\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nx\r\n.\r\n";
    let kept = check(script, "250 250 250 354 250");
    let start = "Return-Path: <>\r\nReceived: from [127.0.0.1] ([127.0.0.1])\r\n";
    assert!(kept[0].1.starts_with(start), "{}", kept[0].1);
}
