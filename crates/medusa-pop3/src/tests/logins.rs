//! Who is let in, and how.

use std::sync::Arc;
use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use medusa_accounts::sasl::{self, ClientStep, Mechanism, Nonce};
use medusa_accounts::{Credentials, Password};
use medusa_core::testing::{Client, Faults};
use medusa_core::tls::Facts;
use medusa_core::{Endpoint, Peer, Service};

use super::{Setup, check_with, crlf, say, two};
use crate::login_delay::LoginDelay;
use crate::session::{ERRORS, LINE_OCTETS};
use crate::{PlaintextLogin, Pop3Service};

const INSIDE: &str = "+OK 2 messages (56 octets)\n";

#[test]
fn user_and_pass() {
    let named = "+OK and the password?\n";
    let store = two();
    check_with(&store, "USER alice\nPASS secret", &format!("{named}{INSIDE}"));
    let spaces = &format!("{named}{INSIDE}");
    check_with(&store, "USER alice\nPASS two  words ", spaces);
    let wrong = &format!("{named}-ERR [AUTH] wrong name or password\n");
    check_with(&store, "USER alice\nPASS secret ", wrong);
    check_with(&store, "USER nobody\nPASS secret", wrong);
    check_with(&store, "USER alice\nPASS", wrong);
    check_with(&store, "PASS secret", "-ERR USER comes first\n");
    // A password that failed takes the name with it.
    check_with(
        &store,
        "USER alice\nPASS x\nPASS secret",
        &format!("{wrong}-ERR USER comes first\n"),
    );
    let mut client = Setup::new(&store).connect();
    client.send(b"USER alice\r\nPASS \xff\r\n").run_jobs();
    assert!(client.text().ends_with("-ERR [AUTH] wrong name or password\r\n"));
}

#[test]
fn sasl_plain_and_login() {
    let store = two();
    check_with(&store, "AUTH PLAIN AGFsaWNlAHNlY3JldA==", INSIDE);
    check_with(&store, "AUTH plain\nAGFsaWNlAHNlY3JldA==", &format!("+ \n{INSIDE}"));
    check_with(
        &store,
        "AUTH LOGIN\nYWxpY2U=\nc2VjcmV0",
        &format!("+ VXNlcm5hbWU6\n+ UGFzc3dvcmQ6\n{INSIDE}"),
    );
    check_with(
        &store,
        "AUTH PLAIN AGFsaWNlAHdyb25n\nNOOP",
        "-ERR [AUTH] wrong name or password\n-ERR log in first\n",
    );
    check_with(&store, "AUTH PLAIN\n*\nNOOP", "+ \n-ERR cancelled\n-ERR log in first\n");
    check_with(&store, "AUTH PLAIN\n!!!\nNOOP", "+ \n-ERR that is no login\n-ERR log in first\n");
    check_with(&store, "AUTH PLAIN =", "-ERR that is no login\n");
    check_with(&store, "AUTH", "+OK mechanisms:\nSCRAM-SHA-256\nPLAIN\nLOGIN\n.\n");
}

fn scram(client: &mut Client, password: &str) -> String {
    let credentials =
        Credentials { name: "alice".into(), authzid: None, password: Password::new(password) };
    let mut peer = sasl::Client::new(Mechanism::ScramSha256, credentials, Nonce::random().unwrap());
    let initial = BASE64_STANDARD.encode(&*peer.initial().unwrap());
    let mut line = format!("AUTH SCRAM-SHA-256 {initial}");
    for _ in 0..4 {
        let reply = say(client, &line);
        let Some(challenge) = reply.strip_prefix("+ ") else { return reply };
        let challenge = BASE64_STANDARD.decode(challenge.trim_end()).unwrap();
        let mut step = peer.challenged(&challenge).unwrap();
        if let ClientStep::Derive(derivation) = step {
            step = peer.derived(&derivation.run()).unwrap();
        }
        let ClientStep::Send(message) = step else { panic!("nothing to send") };
        line = BASE64_STANDARD.encode(&*message);
        if line.is_empty() {
            line.push('\n');
        }
    }
    panic!("the exchange doesn't end");
}

#[test]
fn passwords_are_kept_from_listeners() {
    let store = two();
    let mut setup = Setup::new(&store);
    setup.remote = "192.0.2.7:40000";
    for (plaintext, remote, allowed) in [
        (PlaintextLogin::Never, "127.0.0.1:4", false),
        (PlaintextLogin::Never, "192.0.2.7:4", false),
        (PlaintextLogin::Loopback, "127.0.0.1:4", true),
        (PlaintextLogin::Loopback, "[::1]:4", true),
        (PlaintextLogin::Loopback, "192.0.2.7:4", false),
        (PlaintextLogin::Always, "192.0.2.7:4", true),
    ] {
        (setup.plaintext, setup.remote) = (plaintext, remote);
        let mut client = setup.connect();
        let capabilities = say(&mut client, "CAPA");
        assert_eq!(capabilities.contains("\nUSER\n"), allowed);
        let sasl = if allowed { "SASL SCRAM-SHA-256 PLAIN LOGIN" } else { "SASL SCRAM-SHA-256" };
        assert!(capabilities.contains(&format!("\n{sasl}\n")), "{capabilities}");
        if !allowed {
            for line in ["USER alice", "AUTH PLAIN", "AUTH PLAIN AGFsaWNlAHNlY3JldA=="] {
                assert_eq!(say(&mut client, line), "-ERR no passwords without TLS\n");
            }
            client.send("STLS\r\n").secure(Facts::default());
            assert_eq!(client.text(), "+OK begin TLS\r\n");
        }
        assert!(say(&mut client, "USER alice\nPASS secret\nQUIT").contains(INSIDE));
    }
}

#[test]
fn scram_shows_no_password() {
    let store = two();
    let mut setup = Setup::new(&store);
    (setup.plaintext, setup.remote) = (PlaintextLogin::Never, "192.0.2.7:40000");
    let mut client = setup.connect();
    assert_eq!(scram(&mut client, "wrong"), "-ERR [AUTH] wrong name or password\n");
    client.advance(Duration::from_secs(2));
    let mut client = Setup::new(&store).connect();
    assert_eq!(scram(&mut client, "secret"), INSIDE);
}

/// CVE-2011-0411: what was slipped in behind STLS must not be taken for the client's.
#[test]
fn nothing_said_before_tls_counts() {
    let store = two();
    let mut client = Setup::new(&store).connect();
    client.send(crlf("USER alice\nSTLS\nPASS secret\nCAPA"));
    assert_eq!(client.text(), crlf("+OK and the password?\n+OK begin TLS"));
    assert!(client.awaits_tls());
    client.secure(Facts::default()).run_jobs();
    // No greeting, no answer to what was slipped in, and the name is forgotten.
    assert_eq!(client.text(), "");
    assert_eq!(say(&mut client, "PASS secret"), "-ERR USER comes first\n");
    assert_eq!(say(&mut client, "STLS"), "-ERR TLS is there already\n");
    assert!(!say(&mut client, "CAPA").contains("STLS"));
    assert!(say(&mut client, "USER alice\nPASS secret").ends_with(INSIDE));
}

#[test]
fn capabilities_are_what_is_done() {
    let store = two();
    let mut client = Setup::new(&store).connect();
    let common = "+OK capabilities\nTOP\nUIDL\nRESP-CODES\nAUTH-RESP-CODE\nPIPELINING\n\
                  EXPIRE NEVER\nLANG\nUTF8 USER\nUSER\nSASL SCRAM-SHA-256 PLAIN LOGIN\n";
    assert_eq!(say(&mut client, "CAPA"), format!("{common}STLS\n.\n"));
    say(&mut client, "USER alice\nPASS secret");
    assert_eq!(say(&mut client, "CAPA"), format!("{common}IMPLEMENTATION Medusa\n.\n"));
    let mut setup = Setup::new(&store);
    setup.has_tls = false;
    let mut client = setup.connect();
    assert_eq!(say(&mut client, "CAPA"), format!("{common}.\n"));
    assert_eq!(say(&mut client, "STLS"), "-ERR TLS is not offered\n");
}

#[test]
fn an_account_that_was_here_waits_for_the_login_delay() {
    let store = two();
    let mut setup = Setup::new(&store);
    setup.login_delay = Some(Arc::new(LoginDelay::new(Duration::from_secs(30))));
    let named = "+OK and the password?\n";
    let mut first = setup.connect();
    assert!(say(&mut first, "CAPA").contains("\nLOGIN-DELAY 30\n"));
    assert_eq!(say(&mut first, "USER alice\nPASS secret"), format!("{named}{INSIDE}"));
    assert!(say(&mut first, "CAPA").contains("\nLOGIN-DELAY 30\n"));
    say(&mut first, "QUIT");
    // Every way in, in sessions of other shards; and only with the right password.
    let mut client = setup.connect();
    let soon = "-ERR [LOGIN-DELAY] you have just been here, come back in 30 s\n";
    assert_eq!(say(&mut client, "USER alice\nPASS secret"), format!("{named}{soon}"));
    assert_eq!(say(&mut client, "AUTH PLAIN AGFsaWNlAHNlY3JldA=="), soon);
    assert_eq!(scram(&mut client, "secret"), soon);
    // Others don't wait, and neither does alice when the time is over.
    assert!(say(&mut setup.connect(), "USER bob\nPASS secret").contains("+OK 0 messages"));
    let mut client = setup.connect();
    client.advance(Duration::from_secs(31));
    assert_eq!(say(&mut client, "USER alice\nPASS secret"), format!("{named}{INSIDE}"));
    // Who doesn't know the password doesn't learn that she was here.
    let mut client = setup.connect();
    let wrong = format!("{named}-ERR [AUTH] wrong name or password\n");
    assert_eq!(say(&mut client, "USER alice\nPASS x\nNOOP"), format!("{wrong}-ERR log in first\n"));
}

#[test]
fn all_shards_of_a_service_share_one_login_delay() {
    let store = two();
    let setup = Setup::new(&store);
    let service = Pop3Service::new("pop3.test", store.clone(), setup.logins.clone())
        .with_login_delay(Some(Duration::from_secs(30)));
    let connect = |service: &Pop3Service| {
        let inet = |address: &str| Endpoint::Inet(address.parse().unwrap());
        let peer = Peer::new(inet(setup.remote), inet("192.0.2.1:110"));
        let session = service.acceptor().accepted(&peer);
        Client::from_peer(session, peer, service.parts().limits(), Faults::none())
    };
    let (mut one, mut other) = (connect(&service), connect(&service));
    assert!(say(&mut one, "USER alice\nPASS secret\nQUIT").ends_with("+OK bye\n"));
    assert!(say(&mut other, "USER alice\nPASS secret").contains("-ERR [LOGIN-DELAY]"));
    // None is no delay, and neither is one of nothing.
    for delay in [None, Some(Duration::ZERO)] {
        let service =
            Pop3Service::new("pop3.test", two(), setup.logins.clone()).with_login_delay(delay);
        let mut client = connect(&service);
        assert!(!say(&mut client, "CAPA").contains("LOGIN-DELAY"));
    }
}

#[test]
fn who_finds_no_maildrop_may_come_back_at_once() {
    let store = two();
    let mut setup = Setup::new(&store);
    setup.login_delay = Some(Arc::new(LoginDelay::new(Duration::from_secs(30))));
    store.0.lock().unwrap().locked.insert("alice".into());
    let mut client = setup.connect();
    assert!(say(&mut client, "USER alice\nPASS secret").contains("-ERR [IN-USE]"));
    store.0.lock().unwrap().locked.clear();
    assert!(say(&mut client, "USER alice\nPASS secret").ends_with(INSIDE));
}

#[test]
fn failed_logins_wait_and_pipelined_commands_with_them() {
    let store = two();
    let mut client = Setup::new(&store).connect();
    let wrong = "+OK and the password?\n-ERR [AUTH] wrong name or password\n";
    assert_eq!(say(&mut client, "USER bob\nPASS x"), wrong);
    assert_eq!(say(&mut client, "USER bob\nPASS x\nNOOP"), "+OK and the password?\n");
    client.advance(Duration::from_secs(1)).run_jobs();
    assert_eq!(client.text(), "-ERR [AUTH] wrong name or password\r\n-ERR log in first\r\n");
}

#[test]
fn too_many_errors_end_the_session() {
    let store = two();
    let mut client = Setup::new(&store).connect();
    let text = say(&mut client, &"XYZZY\n".repeat(2 * ERRORS as usize));
    assert_eq!(text, "-ERR no such command\n".repeat(ERRORS as usize));
    assert!(client.is_closed());
}

#[test]
fn overlong_lines_are_refused_and_skipped() {
    let store = two();
    for line in ["x".repeat(LINE_OCTETS + 1), format!("USER {}", "y".repeat(1_000_000))] {
        let mut client = Setup::new(&store).connect();
        let text = say(&mut client, &format!("{line}\nCAPA"));
        assert!(text.starts_with("-ERR the line is too long\n+OK capabilities\n"), "{text}");
        assert!(say(&mut client, "USER alice\nPASS secret").ends_with(INSIDE));
    }
    let mut client = Setup::new(&store).connect();
    let line = "A".repeat(LINE_OCTETS + 1);
    let text = say(&mut client, &format!("AUTH PLAIN\n{line}\nLANG de"));
    assert_eq!(text, "+ \n-ERR the line is too long\n-ERR that language is not spoken here\n");
    // The longest login there can be fits: 255 octets of name, twice, and 1,024 of password.
    let longest = format!("AUTH PLAIN {}", "A".repeat(2048));
    assert_eq!(say(&mut client, &longest), "-ERR that is no login\n");
}

#[test]
fn who_does_not_log_in_is_cut_off_without_a_word() {
    let store = two();
    let mut client = Setup::new(&store).connect();
    for _ in 0..5 {
        client.advance(Duration::from_secs(11));
        assert!(say(&mut client, "CAPA").starts_with("+OK"));
    }
    client.advance(Duration::from_secs(5));
    assert!(client.is_closed() && client.text().is_empty());
    // Who has logged in has ten minutes between commands.
    let mut client = Setup::new(&store).connect();
    say(&mut client, "USER alice\nPASS secret");
    client.advance(Duration::from_secs(599));
    assert_eq!(say(&mut client, "NOOP"), "+OK nothing done\n");
    client.advance(Duration::from_secs(601));
    assert!(client.is_closed() && client.text().is_empty());
}
