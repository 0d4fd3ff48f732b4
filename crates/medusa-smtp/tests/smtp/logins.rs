//! AUTH and STARTTLS.

use std::path::Path;
use std::sync::Arc;

use medusa_core::ServiceParts;
use medusa_core::testing::{Client, Faults};
use medusa_core::tls::{Certificate, Facts, ServerTls};
use medusa_smtp::{PlaintextLogin, SmtpService};

use crate::fixture::{
    Store, TO_ALICE, check, check_with, codes, connect, mx_of, send, submission, submission_of,
};

/// `\0alice\0ecila`, and with a wrong password.
const RIGHT: &str = "AGFsaWNlAGVjaWxh";
const WRONG: &str = "AGFsaWNlAHdyb25n";

fn plain(store: &Store) -> SmtpService {
    submission(store, PlaintextLogin::Always)
}

#[test]
fn a_submission_needs_a_login() {
    assert!(check_with(plain, TO_ALICE, "250 530 503").is_empty());
    let script = format!("EHLO c\r\nAUTH PLAIN {RIGHT}\r\n{TO_ALICE}DATA\r\n.\r\n");
    let kept = check_with(plain, &script, "250 235 250 250 250 354 250");
    assert!(kept[0].1.contains(" with ESMTPA\r\n"), "{}", kept[0].1);
}

#[test]
fn outside_domains_are_refused_while_nothing_is_sent_on() {
    let script =
        format!("EHLO c\r\nAUTH PLAIN {RIGHT}\r\nMAIL FROM:<>\r\nRCPT TO:<a@elsewhere.test>\r\n");
    check_with(plain, &script, "250 235 250 550");
}

#[test]
fn mechanisms_and_their_mistakes() {
    for (script, codes) in [
        (format!("AUTH PLAIN\r\n{RIGHT}"), "334 235"),
        (format!("AUTH plain {RIGHT}"), "235"),
        ("AUTH LOGIN\r\nYWxpY2U=\r\nZWNpbGE=".into(), "334 334 235"),
        ("AUTH LOGIN YWxpY2U=\r\nZWNpbGE=".into(), "334 235"),
        (format!("AUTH PLAIN {WRONG}"), "535"),
        (format!("AUTH PLAIN\r\n{WRONG}"), "334 535"),
        ("AUTH PLAIN\r\n*".into(), "334 501"),
        ("AUTH PLAIN\r\n%%%".into(), "334 501"),
        ("AUTH PLAIN =".into(), "501"),
        (format!("AUTH PLAIN {RIGHT} more"), "501"),
        ("AUTH CRAM-MD5".into(), "504"),
        ("AUTH SCRAM-SHA-256".into(), "504"),
        ("AUTH".into(), "501"),
        (format!("AUTH PLAIN {RIGHT}\r\nAUTH PLAIN {RIGHT}"), "235 503"),
        (format!("AUTH PLAIN {RIGHT}\r\nMAIL FROM:<>\r\nAUTH PLAIN {RIGHT}"), "235 250 503"),
        (format!("AUTH PLAIN\r\n{}\r\nNOOP", "A".repeat(12_289)), "334 500 250"),
        (format!("AUTH PLAIN {}\r\nNOOP", "A".repeat(20_000)), "500 250"),
    ] {
        check_with(plain, &format!("EHLO c\r\n{script}\r\n"), &format!("250 {codes}"));
    }
}

#[test]
fn no_password_without_tls_but_where_it_is_allowed() {
    let offered = |plaintext| {
        let store = Store::default();
        let mut client = connect(&*submission(&store, plaintext).build(), Faults::none());
        send(&mut client, format!("EHLO c\r\nAUTH PLAIN {RIGHT}\r\n"));
        let text = client.text();
        (text.contains("\r\n250-AUTH PLAIN LOGIN\r\n"), codes(&text))
    };
    assert_eq!(offered(PlaintextLogin::Never), (false, "220 250 538".into()));
    assert_eq!(offered(PlaintextLogin::Loopback), (true, "220 250 235".into()));
    assert_eq!(offered(PlaintextLogin::Always), (true, "220 250 235".into()));
    check("EHLO c\r\nAUTH PLAIN\r\n", "250 502");
}

fn certificate(folder: &Path) -> Arc<ServerTls> {
    let made = rcgen::generate_simple_self_signed(["mx.example.test".to_owned()]).unwrap();
    let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let certificate = Certificate { hosts: Vec::new(), chain, key };
    Arc::new(ServerTls::new(vec![certificate]).unwrap())
}

fn secured(script_before: &str, plaintext: PlaintextLogin) -> (Client, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::default();
    let parts = ServiceParts::new("smtp.submission").with_tls(certificate(folder.path()));
    let service = submission_of(parts, &store, plaintext).build();
    let mut client = connect(&*service, Faults::none());
    send(&mut client, script_before);
    assert!(client.awaits_tls());
    client.secure(Facts::default());
    (client, store)
}

#[test]
fn starttls_forgets_everything_and_what_was_slipped_in() {
    let before = format!(
        "EHLO c\r\nAUTH PLAIN {RIGHT}\r\nSTARTTLS\r\nEHLO slipped.in\r\nMAIL FROM:<x@y>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
    );
    let (mut client, store) = secured(&before, PlaintextLogin::Always);
    let text = client.text();
    assert!(text.contains("\r\n250-STARTTLS\r\n"));
    assert_eq!(codes(&text), "220 250 235 220");
    send(&mut client, "MAIL FROM:<>\r\nEHLO again\r\nMAIL FROM:<>\r\nSTARTTLS\r\n");
    let text = client.text();
    assert_eq!(codes(&text), "503 250 530 503");
    assert!(!text.contains("STARTTLS\r\n") && text.contains("AUTH PLAIN LOGIN"), "{text}");
    send(&mut client, format!("AUTH PLAIN {RIGHT}\r\n{TO_ALICE}DATA\r\n.\r\n"));
    assert_eq!(codes(&client.text()), "235 250 250 250 354 250");
    let kept = store.kept();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].1.contains(" with ESMTPSA\r\n"), "{}", kept[0].1);
}

#[test]
fn a_password_may_be_sent_over_tls() {
    let (mut client, _) = secured("EHLO c\r\nSTARTTLS\r\n", PlaintextLogin::Never);
    client.text();
    send(&mut client, format!("EHLO c\r\nAUTH PLAIN {RIGHT}\r\n"));
    assert_eq!(codes(&client.text()), "250 235");
}

#[test]
fn starttls_in_the_middle_of_a_message_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let parts = ServiceParts::new("smtp.mx").with_tls(tls);
    let service = move |store: &Store| mx_of(parts.clone(), store);
    check_with(service, &format!("{TO_ALICE}STARTTLS\r\n"), "250 250 250 503");
}

#[test]
fn many_wrong_passwords_make_the_next_wait() {
    use std::time::Duration;
    let store = Store::default();
    let service = plain(&store).build();
    let mut client = connect(&*service, Faults::none());
    send(&mut client, "EHLO c\r\n");
    for _ in 0..12 {
        send(&mut client, format!("AUTH PLAIN {WRONG}\r\n"));
        client.advance(Duration::from_secs(60)).run_jobs().deliver().run_jobs();
    }
    let seen = codes(&client.text());
    assert!(seen.starts_with("220 250 535 535"), "{seen}");
    // Each wait is that of a client that gave its password; it is answered all the same.
    assert_eq!(seen.split(' ').count(), 14, "{seen}");
}
