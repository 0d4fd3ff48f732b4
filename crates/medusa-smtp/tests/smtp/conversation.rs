//! Every command in every state.

use crate::fixture::{
    Store, TO_ALICE, check, check_with, codes, connect, mx, run, send, submission,
};
use medusa_core::testing::Faults;
use medusa_smtp::PlaintextLogin;

/// A way into a state, with the codes on it.
const STATES: [(&str, &str, &str); 5] = [
    ("fresh", "", ""),
    ("greeted", "EHLO c\r\n", "250"),
    ("sender", "EHLO c\r\nMAIL FROM:<s@c>\r\n", "250 250"),
    ("recipients", TO_ALICE, "250 250 250"),
    (
        "chunks",
        "EHLO c\r\nMAIL FROM:<s@c>\r\nRCPT TO:<bob@example.test>\r\nBDAT 3\r\nabc",
        "250 250 250 250",
    ),
];

/// A command, and its code in each state.
const COMMANDS: [(&str, [&str; 5]); 30] = [
    ("HELO c", ["250"; 5]),
    ("EHLO c", ["250"; 5]),
    ("ehlo [127.0.0.1]", ["250"; 5]),
    ("EHLO", ["501"; 5]),
    ("HELO \"x\"", ["501"; 5]),
    ("MAIL FROM:<a@b>", ["503", "250", "503", "503", "503"]),
    ("MAIL", ["503", "501", "503", "503", "503"]),
    ("MAIL FROM:a@b", ["503", "501", "503", "503", "503"]),
    ("RCPT TO:<bob@example.test>", ["503", "503", "250", "250", "503"]),
    ("RCPT TO:<nobody@example.test>", ["503", "503", "550", "550", "503"]),
    ("RCPT TO:<a@elsewhere.test>", ["503", "503", "550", "550", "503"]),
    ("RCPT TO:<>", ["503", "503", "501", "501", "503"]),
    ("DATA now", ["503", "503", "554", "501", "503"]),
    ("DATA\r\n.", ["503 500", "503 500", "554 500", "354 250", "503 500"]),
    ("BDAT 0 LAST", ["503", "503", "554", "250", "250"]),
    ("BDAT 2\r\nhi", ["503 500", "503 500", "554 500", "250 500", "250 500"]),
    ("RSET", ["250"; 5]),
    ("RSET now", ["501"; 5]),
    ("NOOP", ["250"; 5]),
    ("NOOP well", ["250"; 5]),
    ("VRFY alice", ["252"; 5]),
    ("VRFY", ["501"; 5]),
    ("HELP", ["214"; 5]),
    ("STARTTLS", ["503", "502", "503", "503", "503"]),
    ("STARTTLS now", ["503", "501", "503", "503", "503"]),
    ("AUTH PLAIN", ["503", "502", "503", "503", "503"]),
    ("EXPN all", ["502"; 5]),
    ("XYZZY", ["500"; 5]),
    ("", ["500"; 5]),
    ("NO\u{fc}P", ["500"; 5]),
];

#[test]
fn every_command_in_every_state() {
    for (command, expected) in COMMANDS {
        for ((state, script, before), code) in STATES.iter().zip(expected) {
            // STARTTLS is known before EHLO, but here there is no certificate.
            let code = if command == "STARTTLS" && *state == "fresh" { "502" } else { code };
            let code = if command == "STARTTLS now" && *state == "fresh" { "501" } else { code };
            // The octets of a chunk are skipped, and what is behind them is a command.
            let code = match (command, code.split_once(' ')) {
                ("BDAT 2\r\nhi", Some((chunk, _))) => format!("{chunk} 500"),
                _ => code.to_owned(),
            };
            let script = format!("{script}{command}\r\nQUIT\r\n");
            let expected = format!("{before} {code} 221");
            println!("{state}: {command}");
            check(&script, expected.trim());
        }
    }
}

#[test]
fn each_of_the_state_changes_counts() {
    // After a message, and after RSET and EHLO in the middle of one, another can begin.
    let mail = "MAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\n";
    let kept = check(
        &format!(
            "{TO_ALICE}DATA\r\n1\r\n.\r\n{mail}RSET\r\n{mail}EHLO d\r\n{mail}DATA\r\n2\r\n.\r\nQUIT\r\n"
        ),
        "250 250 250 354 250 250 250 250 250 250 250 250 250 354 250 221",
    );
    assert_eq!(kept.len(), 2);
    assert_eq!(kept[1].0, ["bob"]);
    assert!(
        kept[1].1.starts_with("Return-Path: <>\r\nReceived: from d ([127.0.0.1])\r\n"),
        "{}",
        kept[1].1
    );
}

#[test]
fn what_is_offered() {
    let (text, _) = run(&*mx(&Store::default()).build(), "EHLO c\r\n", Faults::none());
    assert_eq!(
        text,
        "220 mx.example.test ESMTP Medusa\r\n250-mx.example.test\r\n250-PIPELINING\r\n\
         250-SIZE 26214400\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-CHUNKING\r\n\
         250-ENHANCEDSTATUSCODES\r\n250 LIMITS RCPTMAX=1000\r\n"
    );
    let (text, _) = run(&*mx(&Store::default()).build(), "HELO c\r\n", Faults::none());
    assert!(text.ends_with("\r\n250 mx.example.test\r\n"));
    let (text, _) = run(&*mx(&Store::default()).build(), "HELP\r\n", Faults::none());
    assert!(
        text.contains("\r\n214-2.0.0 RCPT TO:<path>\r\n") && text.ends_with("214 2.0.0 HELP\r\n")
    );
}

#[test]
fn every_other_reply_has_an_enhanced_status() {
    let script =
        "X\r\nEHLO c\r\nMAIL FROM:<x@y>\r\nRCPT TO:<x@y>\r\nVRFY a\r\nRSET\r\nDATA\r\nQUIT\r\n";
    let (text, _) = run(&*mx(&Store::default()).build(), script, Faults::none());
    for line in text.split_terminator("\r\n").filter(|line| !line.contains("example.test")) {
        if line.starts_with("250-") || line.starts_with("250 LIMITS") {
            continue;
        }
        let class = format!("{}.", &line[..1]);
        assert!(line[4..].starts_with(&class), "{line}");
    }
}

#[test]
fn other_protocols_are_shown_the_door() {
    check("GET / HTTP/1.1\r\nHost: x\r\n\r\nEHLO c\r\n", "554");
    check("POST /x\r\nEHLO c\r\n", "554");
}

#[test]
fn quit_ends_it_and_nothing_behind_it_counts() {
    let kept = check(&format!("{TO_ALICE}QUIT\r\nDATA\r\nx\r\n.\r\n"), "250 250 250 221");
    assert!(kept.is_empty());
    let mut client = connect(&*mx(&Store::default()).build(), Faults::none());
    send(&mut client, "QUIT\r\n");
    assert!(client.is_closed());
}

#[test]
fn a_pipelined_group_is_answered_at_once() {
    let mut client = connect(&*mx(&Store::default()).build(), Faults::none());
    client.text();
    send(&mut client, format!("{TO_ALICE}DATA\r\n"));
    assert_eq!(codes(&client.text()), "250 250 250 354");
    send(&mut client, "a\r\n.\r\nRSET\r\n");
    assert_eq!(codes(&client.text()), "250 250");
}

#[test]
fn parameters() {
    let sizes = |store: &Store| {
        let mut limits = medusa_smtp::SmtpLimits::default();
        limits.message = Some(1000);
        mx(store).with_smtp_limits(limits)
    };
    for (parameter, code) in [
        ("SIZE=1000", "250"),
        ("SIZE=1001", "552"),
        ("SIZE=99999999999999999999", "552"),
        ("SIZE=x", "501"),
        ("BODY=8bitmime SMTPUTF8", "250"),
        ("BODY=BINARYMIME", "501"),
        ("RET=FULL", "555"),
        ("AUTH=<>", "555"),
        ("HOLDFOR=5", "555"),
    ] {
        check_with(
            sizes,
            &format!("EHLO c\r\nMAIL FROM:<> {parameter}\r\n"),
            &format!("250 {code}"),
        );
    }
    check("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test> NOTIFY=NEVER\r\n", "250 250 555");
}

#[test]
fn help_lists_what_is_there() {
    let (text, _) = run(&*mx(&Store::default()).build(), "HELP\r\n", Faults::none());
    assert!(
        text.contains("RCPT") && !text.contains("AUTH") && !text.contains("STARTTLS"),
        "{text}"
    );
    let service = submission(&Store::default(), PlaintextLogin::Always).build();
    let (text, _) = run(&*service, "HELP\r\n", Faults::none());
    assert!(text.contains("AUTH"), "{text}");
}

#[test]
fn a_shutdown_does_not_wait_for_a_login() {
    let service = submission(&Store::default(), PlaintextLogin::Always).build();
    let mut client = connect(&*service, Faults::none());
    send(&mut client, "EHLO c\r\nAUTH LOGIN\r\n");
    client.drain();
    assert!(codes(&client.text()).ends_with("334 421"));
    assert!(client.is_closed());
}
