//! Whole exchanges: the RFCs' examples, everything a client can do wrong, and our client against
//! our server.

use std::time::Instant;

use base64::{Engine, prelude::BASE64_STANDARD};
use proptest::strategy::Strategy;

use super::*;
use crate::{
    Accounts, Answer, Authenticate, Credentials, Denial, Identity, Password, Question, ScramRecord,
    User,
    accounts::tests::attempt,
    directory::tests::directory,
    keys,
    users::tests::{user, with_keys},
};

fn accounts() -> Accounts {
    let off = User { enabled: false, ..with_keys("hers") };
    Accounts::new(directory([("alice", with_keys("secret")), ("bob", user("his")), ("carol", off)]))
        .unwrap()
}

/// Finds out what is asked, as `Logins` would.
fn answer(accounts: &Accounts, question: Question) -> Answer {
    let now = Instant::now();
    match question {
        Question::Password(Credentials { name, authzid, password }) => {
            let attempt = crate::Attempt { authzid, ..attempt(&name, now) };
            Answer::Verdict(accounts.authenticate(&attempt, &password))
        }
        Question::ScramKeys { name, authzid } => {
            let attempt = crate::Attempt { authzid, ..attempt(&name, now) };
            Answer::Keys(accounts.scram_keys(&attempt).unwrap(), None)
        }
    }
}

/// Has an exchange; what was said, one line a step.
fn converse(mechanism: Mechanism, initial: Option<&[u8]>, lines: &[&[u8]]) -> String {
    let accounts = accounts();
    let mut server = Server::new(mechanism, Nonce::fixed("NONCE"));
    let mut said = Vec::new();
    let mut lines = lines.iter();
    let mut step = server.begin(initial);
    loop {
        step = match step {
            Step::Ask(question) => server.answered(answer(&accounts, question)),
            Step::Challenge(challenge) => {
                said.push(format!("+ {}", String::from_utf8(challenge).unwrap()));
                let Some(line) = lines.next() else { break };
                server.line(line)
            }
            Step::Accepted(identity) => {
                said.push(format!("welcome {identity}"));
                break;
            }
            Step::Refused(denial) => {
                said.push(denial.to_string());
                break;
            }
        };
    }
    assert_eq!(lines.next(), None, "the exchange ended before all was said: {said:?}");
    said.join(" | ")
}

fn b64(text: impl AsRef<[u8]>) -> Vec<u8> {
    BASE64_STANDARD.encode(text).into_bytes()
}

#[test]
fn plain_and_login() {
    use Mechanism::{Login, Plain};
    let wrong = "wrong name or password";
    let names = "a".repeat(256);
    let long = [b"\0alice\0", &[b'x'; 1025][..]].concat();
    for (mechanism, initial, lines, said) in [
        // RFC 4616, RFC 4954 §4: at once, or after an empty challenge.
        (Plain, Some(b64("\0alice\0secret")), vec![], "welcome alice"),
        (Plain, None, vec![b64("\0alice\0secret")], "+  | welcome alice"),
        (Plain, Some(b64("Alice\0alice\0secret")), vec![], "welcome alice"),
        (Plain, Some(b64("bob\0alice\0secret")), vec![], "the account may not act for another"),
        (Plain, Some(b64("bob\0alice\0wrong")), vec![], wrong),
        (Plain, Some(b64("\0alice\0wrong")), vec![], wrong),
        (Plain, Some(b64("\0nobody\0secret")), vec![], wrong),
        (Plain, Some(b64("\0carol\0hers")), vec![], "the account is disabled"),
        (Plain, Some(b64("\0carol\0wrong")), vec![], wrong),
        (Plain, Some(b"=".to_vec()), vec![], "malformed login: not three fields"),
        (Plain, Some(b"".to_vec()), vec![], "malformed login: not three fields"),
        (Plain, Some(b64("alice\0secret")), vec![], "malformed login: not three fields"),
        (Plain, Some(b64("\0alice\0sec\0ret")), vec![], "malformed login: not three fields"),
        (Plain, Some(b64("\0\0secret")), vec![], "malformed login: an empty name"),
        (Plain, Some(b64("\0alice\0")), vec![], "malformed login: an empty password"),
        (Plain, Some(b64(b"\0\xff\0x")), vec![], "malformed login: a name that isn't UTF-8"),
        (Plain, Some(b64(b"\0a\0\xff")), vec![], "malformed login: a password that isn't UTF-8"),
        (Plain, Some(b64(format!("\0{names}\0x"))), vec![], "the login is too long"),
        (Plain, Some(b64(format!("{names}\0a\0x"))), vec![], "the login is too long"),
        (Plain, Some(b64(long)), vec![], "the login is too long"),
        (Plain, Some(vec![b'A'; 12_289]), vec![], "the login is too long"),
        (Plain, Some(b"AGFs aWNl".to_vec()), vec![], "malformed login: bad base64"),
        (Plain, Some(b"AGFsaWNlAHg".to_vec()), vec![], "malformed login: bad base64"),
        (Plain, Some(b"*".to_vec()), vec![], "the client cancelled the login"),
        (Plain, None, vec![b"*".to_vec()], "+  | the client cancelled the login"),
        (Plain, None, vec![b"=".to_vec()], "+  | malformed login: bad base64"),
        (Plain, None, vec![vec![b'A'; 12_289]], "+  | the login is too long"),
        (
            Login,
            None,
            vec![b64("alice"), b64("secret")],
            "+ Username: | + Password: | welcome alice",
        ),
        (Login, Some(b64("alice")), vec![b64("secret")], "+ Password: | welcome alice"),
        (Login, Some(b64("alice")), vec![b64("wrong")], &format!("+ Password: | {wrong}")),
        (Login, Some(b"=".to_vec()), vec![], "malformed login: an empty name"),
        (Login, None, vec![b"".to_vec()], "+ Username: | malformed login: an empty name"),
        (
            Login,
            Some(b64("alice")),
            vec![b"".to_vec()],
            "+ Password: | malformed login: an empty password",
        ),
        (
            Login,
            Some(b64("alice")),
            vec![b"*".to_vec()],
            "+ Password: | the client cancelled the login",
        ),
    ] {
        let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
        let got = converse(mechanism, initial.as_deref(), &lines);
        assert_eq!(got, said, "{mechanism:?} {initial:?} {lines:?}");
    }
}

/// RFC 7677 §3, both sides, octet by octet.
#[test]
fn the_example_of_rfc_7677() {
    let client_first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let client_final = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    let server_final = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    let nonce = Nonce::fixed("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
    let mut server = Server::new(Mechanism::ScramSha256, nonce);
    let Step::Ask(Question::ScramKeys { name, authzid: None }) =
        server.started(Some(client_first.as_bytes()))
    else {
        panic!("it asks for keys")
    };
    assert_eq!(name, "user");
    let record = ScramRecord { keys: keys::tests::example(), verdict: Ok(Identity::new("user")) };
    let step = server.answered(Answer::Keys(record, None));
    assert!(matches!(&step, Step::Challenge(c) if c == server_first.as_bytes()), "{step:?}");
    let step = server.received(client_final.as_bytes());
    assert!(matches!(&step, Step::Challenge(c) if c == server_final.as_bytes()), "{step:?}");
    assert!(matches!(server.received(b""), Step::Accepted(identity) if identity.name() == "user"));
    assert!(matches!(server.received(b""), Step::Refused(Denial::Malformed(_))));

    let credentials =
        Credentials { name: "user".into(), authzid: None, password: Password::new("pencil") };
    let nonce = Nonce::fixed("rOprNGfwEbeRWgbNEkqO");
    let mut client = Client::new(Mechanism::ScramSha256, credentials, nonce);
    assert_eq!(**client.initial().unwrap(), *client_first.as_bytes());
    let Ok(ClientStep::Derive(derivation)) = client.challenged(server_first.as_bytes()) else {
        panic!("it has to derive keys")
    };
    let Ok(ClientStep::Send(message)) = client.derived(&derivation.run()) else { panic!() };
    assert_eq!(**message, *client_final.as_bytes());
    let Ok(ClientStep::Send(message)) = client.challenged(server_final.as_bytes()) else {
        panic!()
    };
    assert!(message.is_empty());
    client.finished().unwrap();
}

#[test]
fn a_name_without_keys_sees_the_same_exchange() {
    let first = |name: &str| b64(format!("n,,n={name},r=abc"));
    let last = b64("c=biws,r=abcNONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let said = ["alice", "bob", "carol", "nobody"].map(|name| {
        let said = converse(Mechanism::ScramSha256, Some(&first(name)), &[&last]);
        let again = converse(Mechanism::ScramSha256, Some(&first(name)), &[]);
        assert!(again.starts_with("+ r=abcNONCE,s="), "{again}");
        // All but the salt.
        let (before, after) = said.split_once("s=").unwrap();
        format!("{before}{}", &after[24..])
    });
    assert_eq!(said[0], "+ r=abcNONCE,,i=4096 | wrong name or password");
    assert!(said.iter().all(|other| *other == said[0]), "{said:?}");
}

#[test]
fn every_bad_scram_message_ends_the_exchange() {
    let first = b64("n,,n=alice,r=abc");
    for (last, said) in [
        (b64("c=biws,r=abcNONCE"), "malformed login: a last message without proof"),
        (b64("c=biws,r=abcNONCE,p=AAAA"), "malformed login: a proof that isn't 32 octets"),
        (b64("c=biws,r=abcNONCE,p=*"), "malformed login: bad base64"),
        (
            b64("c=biws,r=abcOTHER,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            "malformed login: a last message of another exchange",
        ),
        (
            // `y,,` where the first message said `n,,`: somebody took mechanisms off the list.
            b64("c=eSws,r=abcNONCE,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
            "malformed login: a last message of another exchange",
        ),
        (b"*".to_vec(), "the client cancelled the login"),
        (b"".to_vec(), "malformed login: a last message without proof"),
    ] {
        let got = converse(Mechanism::ScramSha256, Some(&first), &[&last]);
        assert!(got.ends_with(said), "{got}");
    }
    for (first, said) in [
        (b64("p=tls-exporter,,n=alice,r=abc"), "malformed login: channel binding isn't offered"),
        (b"=".to_vec(), "malformed login: a first message without its header"),
    ] {
        assert_eq!(converse(Mechanism::ScramSha256, Some(&first), &[]), said);
    }
}

/// Our client against our server; whether both are content.
fn meet(mechanism: Mechanism, credentials: Credentials, initial: bool) -> (bool, bool) {
    let accounts = accounts();
    let mut server = Server::new(mechanism, Nonce::random().unwrap());
    let mut client = Client::new(mechanism, credentials, Nonce::random().unwrap());
    let first = if initial { client.initial() } else { None };
    let mut step = server.started(first.as_ref().map(|message| message.as_slice()));
    loop {
        step = match step {
            Step::Ask(question) => server.answered(answer(&accounts, question)),
            Step::Challenge(challenge) => match client.challenged(&challenge).unwrap() {
                ClientStep::Send(message) => server.received(&message),
                ClientStep::Derive(work) => match client.derived(&work.run()).unwrap() {
                    ClientStep::Send(message) => server.received(&message),
                    ClientStep::Derive(_) => panic!("twice"),
                },
            },
            Step::Accepted(identity) => {
                assert_eq!(identity.name(), "alice");
                return (true, client.finished().is_ok());
            }
            Step::Refused(_) => return (false, client.finished().is_ok()),
        }
    }
}

#[test]
fn our_client_logs_in_to_our_server() {
    let credentials = |name: &str, authzid: Option<&str>, password: &str| Credentials {
        name: name.into(),
        authzid: authzid.map(str::to_owned),
        password: Password::new(password),
    };
    for mechanism in Mechanism::all() {
        for initial in [true, false] {
            let met = |credentials| meet(mechanism, credentials, initial);
            assert_eq!(met(credentials("alice", None, "secret")), (true, true), "{mechanism:?}");
            assert!(!met(credentials("alice", None, "wrong")).0);
            assert!(!met(credentials("nobody", None, "secret")).0);
            assert!(!met(credentials("carol", None, "hers")).0);
            if mechanism != Mechanism::Login {
                assert!(met(credentials("alice", Some("alice"), "secret")).0);
                assert!(!met(credentials("alice", Some("bob"), "secret")).0);
            }
        }
    }
}

#[test]
fn our_client_believes_no_server_that_can_not_prove_itself() {
    let credentials =
        Credentials { name: "user".into(), authzid: None, password: Password::new("pencil") };
    let client = || {
        let mut client =
            Client::new(Mechanism::ScramSha256, credentials.clone(), Nonce::fixed("abc"));
        assert!(client.finished().is_err(), "nothing was said");
        client.initial().unwrap();
        assert!(client.finished().is_err(), "nothing was proved");
        client
    };
    for (challenge, problem) in [
        ("", "isn't one"),
        ("e=unknown-user", "isn't one"),
        ("r=abcdef,s=AAAA,i=many", "isn't one"),
        ("r=abcdef,s=*,i=4096", "isn't one"),
        ("m=x,r=abcdef,s=AAAA,i=4096", "isn't one"),
        ("r=abcdef,s=,i=4096", "salt is empty"),
        ("r=abc,s=AAAA,i=4096", "another nonce"),
        ("r=xyzabc,s=AAAA,i=4096", "another nonce"),
        ("r=abcdef,s=AAAA,i=1", "out of bounds"),
        ("r=abcdef,s=AAAA,i=10000001", "out of bounds"),
    ] {
        let mut client = client();
        let error = client.challenged(challenge.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(problem), "{challenge}: {error}");
        assert!(client.finished().is_err());
        assert!(client.challenged(b"r=abcdef,s=AAAA,i=4096").is_err(), "it doesn't go on");
    }
    for last in ["v=AAAA", "", "e=invalid-proof"] {
        let mut client = client();
        let Ok(ClientStep::Derive(work)) = client.challenged(b"r=abcdef,s=AAAA,i=4096") else {
            panic!()
        };
        client.derived(&work.run()).unwrap();
        assert!(client.finished().is_err(), "the server's proof is still missing");
        assert!(client.challenged(last.as_bytes()).is_err());
        assert!(client.finished().is_err());
    }
    // And nobody gets a password twice.
    for mechanism in [Mechanism::Plain, Mechanism::Login] {
        let mut client = Client::new(mechanism, credentials.clone(), Nonce::fixed("abc"));
        client.challenged(b"").unwrap();
        let _ = client.challenged(b"Password:");
        assert!(client.challenged(b"again?").is_err());
    }
    let mut client = Client::new(Mechanism::Plain, credentials.clone(), Nonce::fixed("abc"));
    assert!(client.challenged(b"say more").is_err());
}

#[test]
fn an_answer_to_another_question_lets_nobody_in() {
    let welcome = || Answer::Verdict(Ok(Identity::new("alice")));
    for mechanism in Mechanism::all() {
        let mut server = Server::new(mechanism, Nonce::fixed("x"));
        assert!(matches!(server.answered(welcome()), Step::Refused(_)), "nothing was asked");
        let mut server = Server::new(mechanism, Nonce::fixed("x"));
        server.started(None);
        assert!(matches!(server.answered(welcome()), Step::Refused(_)), "nothing was asked");
    }
    let mut server = Server::new(Mechanism::ScramSha256, Nonce::fixed("x"));
    server.started(Some(b"n,,n=alice,r=abc"));
    assert!(matches!(server.answered(welcome()), Step::Refused(_)), "keys were asked for");
    let mut server = Server::new(Mechanism::Plain, Nonce::fixed("x"));
    server.started(Some(b"\0alice\0secret"));
    assert!(matches!(server.received(b""), Step::Refused(_)), "no verdict yet");
    assert!(matches!(server.answered(welcome()), Step::Refused(_)), "it has ended");
}

proptest::proptest! {
    /// Whatever a client says in whatever order: no panic, no entry, and an end is an end.
    #[test]
    fn arbitrary_lines_let_nobody_in(
        mechanism in 0..3_usize,
        initial in proptest::option::of(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)),
        lines in proptest::collection::vec(
            proptest::prop_oneof![
                proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60),
                "[npcrv=,a]{0,30}".prop_map(b64),
                proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60).prop_map(b64),
            ],
            0..6,
        ),
    ) {
        let mechanism = Mechanism::all().nth(mechanism).unwrap();
        let mut server = Server::new(mechanism, Nonce::fixed("x"));
        let keys = keys::InventedKeys::new(b"x", 4096);
        let mut step = server.begin(initial.as_deref());
        for line in lines {
            if let Step::Ask(question) = step {
                step = server.answered(match question {
                    Question::Password(_) => Answer::Verdict(Err(Denial::Credentials)),
                    Question::ScramKeys { name, .. } => Answer::Keys(
                        ScramRecord { keys: keys.of(&name), verdict: Err(Denial::Credentials) },
                        None,
                    ),
                });
            }
            proptest::prop_assert!(!matches!(step, Step::Accepted(_)));
            let ended = matches!(step, Step::Refused(_));
            step = server.line(&line);
            proptest::prop_assert!(!ended || matches!(step, Step::Refused(_)));
        }
    }

    #[test]
    fn arbitrary_challenges_are_refused_without_a_panic(
        mechanism in 0..3_usize,
        challenges in proptest::collection::vec("[rsiveabc=,0-9]{0,40}", 0..5),
    ) {
        let mechanism = Mechanism::all().nth(mechanism).unwrap();
        let credentials =
            Credentials { name: "a".into(), authzid: None, password: Password::new("x") };
        let mut client = Client::new(mechanism, credentials, Nonce::fixed("abc"));
        for challenge in challenges {
            let _ = client.challenged(challenge.as_bytes());
        }
        proptest::prop_assert!(mechanism != Mechanism::ScramSha256 || client.finished().is_err());
    }
}
