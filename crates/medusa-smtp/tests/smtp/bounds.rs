//! Who says too much, or nothing, or the wrong thing too often.

use std::time::Duration;

use medusa_core::Refusal;
use medusa_core::testing::Faults;
use medusa_smtp::{SmtpLimits, SmtpService};

use crate::fixture::{Store, TO_ALICE, check, check_with, codes, connect, mx, send};

fn limited(change: impl Fn(&mut SmtpLimits)) -> impl Fn(&Store) -> SmtpService {
    move |store| {
        let mut limits = SmtpLimits::default();
        change(&mut limits);
        mx(store).with_smtp_limits(limits)
    }
}

#[test]
fn too_many_errors_end_it() {
    let expected = format!("{} 421", ["500"; 20].join(" "));
    check(&"X\r\n".repeat(30), &expected);
    let unlimited = limited(|limits| limits.errors = None);
    check_with(unlimited, &"X\r\n".repeat(200), &["500"; 200].join(" "));
}

#[test]
fn a_command_line_has_a_limit() {
    check(&format!("NOOP {}\r\nNOOP\r\n", "x".repeat(2043)), "250 250");
    check(&format!("NOOP {}\r\nNOOP\r\n", "x".repeat(2044)), "500 250");
    check(&format!("{}\r\nNOOP\r\n", "x".repeat(100_000)), "500 250");
}

#[test]
fn a_message_has_only_so_many_recipients() {
    let service = limited(|limits| limits.recipients = Some(2));
    let script = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\n\
                  RCPT TO:<x@all.test>\r\nRCPT TO:<y@all.test>\r\nDATA\r\n.\r\n";
    let kept = check_with(&service, script, "250 250 250 250 452 452 354 250");
    assert_eq!(kept[0].0, ["alice", "bob"]);
    // One who doesn't listen is left in the end.
    let mut client = connect(&*service(&Store::default()).build(), Faults::none());
    send(&mut client, TO_ALICE);
    let many = "RCPT TO:<x@all.test>\r\n".repeat(100);
    let mut rounds = 0;
    while !client.is_closed() && rounds < 100 {
        send(&mut client, &many);
        rounds += 1;
    }
    assert_eq!(rounds, 11);
    assert!(codes(&client.text()).ends_with("452 421"));
}

#[test]
fn early_talkers() {
    let service = limited(|limits| limits.greeting_wait = Some(Duration::from_secs(2)));
    let mut client = connect(&*service(&Store::default()).build(), Faults::none());
    assert_eq!(client.text(), "");
    send(&mut client, "E");
    assert_eq!(codes(&client.text()), "554");
    assert!(client.is_closed());
    let mut client = connect(&*service(&Store::default()).build(), Faults::none());
    client.advance(Duration::from_secs(3));
    send(&mut client, "EHLO c\r\n");
    assert_eq!(codes(&client.text()), "220 250");
}

#[test]
fn silence_is_ended_after_five_minutes() {
    for script in ["", "EHLO c\r\n", TO_ALICE] {
        let mut client = connect(&*mx(&Store::default()).build(), Faults::none());
        send(&mut client, script);
        client.text();
        client.advance(Duration::from_secs(299));
        assert_eq!(client.text(), "");
        client.advance(Duration::from_secs(2));
        assert_eq!(codes(&client.text()), "421");
        assert!(client.is_closed());
    }
}

#[test]
fn a_message_that_drips_is_ended() {
    let mut client = connect(&*mx(&Store::default()).build(), Faults::none());
    send(&mut client, format!("{TO_ALICE}DATA\r\n"));
    for _ in 0..20 {
        client.send("x").advance(Duration::from_secs(1));
    }
    assert!(codes(&client.text()).ends_with("354 421"));
}

#[test]
fn a_store_that_says_nothing_is_not_waited_for_for_ever() {
    let store = Store::default();
    let mut client = connect(&*mx(&store).build(), Faults::none());
    client.send(format!("{TO_ALICE}DATA\r\n")).run_jobs();
    send(&mut client, "");
    client.send("x\r\n.\r\n");
    client.advance(Duration::from_secs(9 * 60));
    assert!(!client.is_closed());
    client.advance(Duration::from_secs(2 * 60));
    assert!(client.is_closed());
    assert!(codes(&client.text()).ends_with("354"));
}

#[test]
fn a_shutdown_ends_what_is_idle_and_lets_a_message_through() {
    let mut client = connect(&*mx(&Store::default()).build(), Faults::none());
    send(&mut client, "EHLO c\r\n");
    client.drain();
    assert_eq!(codes(&client.text()), "220 250 421");
    assert!(client.is_closed());

    let store = Store::default();
    let mut client = connect(&*mx(&store).build(), Faults::none());
    send(&mut client, format!("{TO_ALICE}DATA\r\nhalf"));
    client.drain();
    assert!(!client.is_closed());
    send(&mut client, "\r\n.\r\nNOOP\r\n");
    assert!(codes(&client.text()).ends_with("354 250 421"));
    assert!(client.is_closed());
    assert_eq!(store.kept().len(), 1);

    let mut client = connect(&*mx(&Store::default()).build(), Faults::none());
    send(&mut client, format!("{TO_ALICE}DATA\r\na\nb"));
    client.drain();
    send(&mut client, "\r\n.\r\n");
    assert!(codes(&client.text()).ends_with("354 550 421"));
}

#[test]
fn one_who_finds_no_place_is_told_so() {
    let service = mx(&Store::default()).build();
    let mut acceptor = service.acceptor();
    for (refusal, text) in [
        (Refusal::Connections, "421 4.7.0 Too many connections; try again later\r\n"),
        (Refusal::Draining, "421 4.3.2 The server is shutting down\r\n"),
    ] {
        assert_eq!(acceptor.refused(refusal), text);
    }
}

const NOBODY: &str = "RCPT TO:<no@example.test>\r\n";
const BOB: &str = "RCPT TO:<bob@example.test>\r\n";

#[test]
fn old_addresses_do_not_keep_the_others_from_their_mail() {
    // Nineteen don't matter; behind twenty, the rest is for another message, and reaches it.
    let (few, many) = (NOBODY.repeat(19), NOBODY.repeat(20));
    let script = format!(
        "EHLO c\r\nMAIL FROM:<>\r\n{few}{BOB}DATA\r\nx\r\n.\r\nMAIL FROM:<>\r\n{BOB}{many}{BOB}{NOBODY}\
         DATA\r\nx\r\n.\r\nMAIL FROM:<>\r\n{BOB}DATA\r\nx\r\n.\r\n"
    );
    let (few, many) = (["550"; 19].join(" "), ["550"; 20].join(" "));
    let expected =
        format!("250 250 {few} 250 354 250 250 250 {many} 452 452 354 250 250 250 354 250");
    assert_eq!(check(&script, &expected).len(), 3);
    // A list of which more are old than a connection may try: each message that is taken counts anew.
    let script = format!("MAIL FROM:<>\r\n{BOB}{}DATA\r\nx\r\n.\r\n", NOBODY.repeat(20));
    let expected = format!(" 250 250 {many} 354 250").repeat(8);
    assert_eq!(
        check(&format!("EHLO c\r\n{}", script.repeat(8)), &format!("250{expected}")).len(),
        8
    );
}

#[test]
fn one_who_tries_names_learns_little() {
    let elsewhere = "RCPT TO:<a@elsewhere.test>\r\n";
    for recipient in [NOBODY, elsewhere, "RCPT TO:<carol@example.test>\r\n"] {
        let script = format!(
            "EHLO c\r\n{}",
            format!("MAIL FROM:<>\r\n{}RSET\r\n", recipient.repeat(21)).repeat(9)
        );
        let refused = ["550"; 20].join(" ");
        let expected =
            format!("250{} 250 {refused} 421", format!(" 250 {refused} 452 250").repeat(4));
        assert!(check(&script, &expected).is_empty());
    }
    // In one transaction too, in the end.
    let script = format!("EHLO c\r\nMAIL FROM:<>\r\n{}", NOBODY.repeat(1100));
    let expected = format!("250 250 {} {} 421", ["550"; 20].join(" "), ["452"; 1000].join(" "));
    check(&script, &expected);
}

#[test]
fn errors_are_counted_from_one_message_to_the_next() {
    let message = "MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nx\r\n.\r\n";
    let script = format!("EHLO c\r\n{}", format!("{}{message}", "X\r\n".repeat(19)).repeat(3));
    let round = format!("{} 250 250 354 250", ["500"; 19].join(" "));
    assert_eq!(check(&script, &format!("250 {round} {round} {round}")).len(), 3);
}
