//! Who is here, and who isn't.

use medusa_core::testing::Faults;

use crate::fixture::{Store, check, codes, mx, run};

#[test]
fn addresses_and_their_accounts() {
    for (path, accounts) in [
        ("<alice@example.test>", &["alice"][..]),
        ("<ALICE@EXAMPLE.TEST>", &["alice"]),
        ("<alice+tag@example.test>", &["alice"]),
        ("<\"alice\"@example.test>", &["alice"]),
        ("<\"a b\"@example.test>", &["alice"]),
        ("<@relay.test:alice@example.test>", &["alice"]),
        ("<anybody@all.test>", &["erin"]),
        ("<postmaster@all.test>", &["erin"]),
        ("<postmaster>", &["postmaster"]),
        ("<PostMaster@example.test>", &["postmaster"]),
        ("<alice@[127.0.0.1]>", &["alice"]),
        (" <alice@example.test> ", &["alice"]),
    ] {
        let script = format!("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:{path}\r\nDATA\r\n.\r\n");
        let kept = check(&script, "250 250 250 354 250");
        assert_eq!(kept[0].0, accounts, "{path}");
    }
}

#[test]
fn nobody_is_relayed_for() {
    for (path, code) in [
        ("<a@elsewhere.test>", "550"),
        ("<alice@sub.example.test>", "550"),
        ("<alice@example.test.elsewhere.test>", "550"),
        ("<alice%example.test@elsewhere.test>", "550"),
        ("<alice@[192.0.2.1]>", "550"),
        ("<alice@[IPv6:::1]>", "550"),
        // These would be here: as local parts they are nobody.
        ("<user%elsewhere.test@example.test>", "550"),
        ("<elsewhere.test!user@example.test>", "550"),
        ("<\"user@elsewhere.test\"@example.test>", "550"),
        ("<carol@example.test>", "550"),
        ("<alice>", "501"),
        ("<alice@example.test", "501"),
        ("alice@example.test", "501"),
        ("<b\u{fc}b@example.test>", "553"),
    ] {
        check(
            &format!("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:{path}\r\nDATA\r\n"),
            &format!("250 250 {code} 554"),
        );
    }
}

#[test]
fn senders() {
    for (path, code) in [
        ("<>", "250"),
        ("<a@b>", "250"),
        ("<\"a b\"@[192.0.2.1]>", "250"),
        (" <a@b>", "250"),
        ("<postmaster>", "501"),
        ("<a>", "501"),
        ("<a@b> x@y", "501"),
        ("<\u{e9}@b>", "553"),
        ("<\u{e9}@b> SMTPUTF8", "250"),
    ] {
        check(&format!("EHLO c\r\nMAIL FROM:{path}\r\n"), &format!("250 {code}"));
    }
}

#[test]
fn letters_beyond_ascii_with_smtputf8() {
    let script =
        "EHLO c\r\nMAIL FROM:<> SMTPUTF8\r\nRCPT TO:<b\u{fc}b@example.test>\r\nDATA\r\n.\r\n";
    assert_eq!(check(script, "250 250 250 354 250")[0].0, ["bob"]);
}

#[test]
fn an_account_gets_a_message_once() {
    let script = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<al@example.test>\r\n\
                  RCPT TO:<nobody@example.test>\r\nDATA\r\n.\r\n";
    assert_eq!(check(script, "250 250 250 250 550 354 250")[0].0, ["alice"]);
}

#[test]
fn a_full_maildrop_refuses_for_itself_alone() {
    let store = Store::default();
    store.fill("alice");
    let script = "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n.\r\n";
    let (text, _) = run(&*mx(&store).build(), script, Faults::none());
    assert_eq!(codes(&text), "220 250 250 452 250 354 250");
    assert_eq!(store.kept()[0].0, ["bob"]);
}

#[test]
fn who_answers_a_report_reaches_the_postmaster() {
    for local in ["MAILER-DAEMON", "postmaster"] {
        for domain in ["mx.example.test", "example.test"] {
            let to = format!(
                "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<{local}@{domain}>\r\nDATA\r\nx\r\n.\r\n"
            );
            assert_eq!(check(&to, "250 250 250 354 250")[0].0, ["postmaster"], "{local}@{domain}");
        }
    }
    check("EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<alice@mx.example.test>\r\n", "250 250 550");
}
