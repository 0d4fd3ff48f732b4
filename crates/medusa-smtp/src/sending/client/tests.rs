//! Conversations with servers of all kinds: what is said to them, and what is reported.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use medusa_accounts::{Credentials, Password};
use medusa_core::testing::{Client, Faults};
use medusa_core::tls::{ClientTls, Facts, Roots};
use medusa_mail::Body;

use super::{Addressee, ClientSession, Inbox, Job, Outgoing, Profile, Word};
use crate::default_limits;
use crate::sending::outcome::Fate;
use crate::sending::route::Security;

mod stages;

use stages::STAGES;

/// What is sent, by whom, to whom.
#[derive(Clone)]
struct Setup {
    security: Security,
    login: bool,
    sender: &'static str,
    recipients: Vec<&'static str>,
    text: &'static str,
    body: Body,
    smtputf8: bool,
    dsn: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            security: Security::Opportunistic,
            login: false,
            sender: "a@b.test",
            recipients: vec!["x@next.test"],
            text: "Subject: hi\r\n\r\n.dot\r\n",
            body: Body::SevenBit,
            smtputf8: false,
            dsn: false,
        }
    }
}

impl Setup {
    fn to(recipients: &[&'static str]) -> Setup {
        Setup { recipients: recipients.to_vec(), ..Setup::default() }
    }

    fn job(&self, ticket: u64) -> Job {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(self.text.as_bytes()).unwrap();
        let text = |text: &str| self.dsn.then(|| text.to_owned());
        let recipients = self.recipients.iter().enumerate().map(|(index, address)| Addressee {
            index,
            address: (*address).to_owned(),
            notify: text("SUCCESS,FAILURE"),
            orcpt: text("rfc822;o@b.test"),
        });
        Job {
            ticket,
            recipients: recipients.collect(),
            message: Arc::new(Outgoing {
                sender: self.sender.into(),
                body: self.body,
                smtputf8: self.smtputf8,
                ret: text("HDRS"),
                envid: text("QQ+3D1"),
                file: Arc::new(file),
                size: self.text.len() as u64,
            }),
        }
    }

    fn session(&self, owner: Arc<Inbox>) -> ClientSession {
        let login = self.login.then(|| Credentials {
            name: "user".into(),
            authzid: None,
            password: Password::new("pencil"),
        });
        let profile = Profile {
            host: "next.test".into(),
            server_name: "next.test".into(),
            ourselves: "we.test".into(),
            security: self.security,
            tls: Some(Arc::new(ClientTls::new(&Roots::Anyone, &[]).unwrap())),
            login,
            idle: Duration::from_secs(5),
        };
        ClientSession::new(7, owner, profile, self.job(1))
    }
}

/// A connection and its worker.
struct Talk {
    client: Client,
    inbox: Arc<Inbox>,
    script: String,
}

impl Talk {
    fn new(setup: &Setup, faults: Faults) -> Talk {
        let inbox = Arc::<Inbox>::default();
        let session = setup.session(Arc::clone(&inbox));
        let client = Client::with(Box::new(session), default_limits(), faults);
        Talk { client, inbox, script: String::new() }
    }

    /// Lines of the server (`S: `) and of the client (`C: `), in turn. What the client says must be as
    /// written; other lines are what happens: `TLS`, `END`, `RESET`, `WAIT seconds`.
    fn run(&mut self, script: &str) -> &mut Talk {
        let mut said = String::new();
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.script.push_str(line);
            self.script.push('\n');
            let (who, text) = line.split_once(':').unwrap_or((line, ""));
            let text = text.trim_start();
            if who != "C" {
                self.compare(&mut said);
            }
            match who {
                "C" => {
                    said.push_str(text);
                    said.push_str("\r\n");
                }
                "S" => drop(self.client.send(format!("{text}\r\n"))),
                "RAW" => drop(self.client.send(text.replace("\\r", "\r").replace("\\n", "\n"))),
                "TLS" => drop(self.client.secure(Facts::default())),
                "END" => drop(self.client.end()),
                "RESET" => drop(self.client.reset()),
                "STALL" => drop(self.client.stall()),
                "WAIT" => drop(self.client.advance(Duration::from_secs(text.parse().unwrap()))),
                other => panic!("{other}?"),
            }
            self.client.run_jobs();
        }
        self.compare(&mut said);
        self
    }

    fn compare(&mut self, said: &mut String) {
        let text = self.client.text();
        assert_eq!(text, *said, "after\n{}", self.script);
        said.clear();
    }

    /// What the worker was told: a line for each report.
    fn told(&mut self) -> String {
        let mut told = Vec::new();
        for word in self.inbox.take() {
            let Word::Reported(report) = word else { panic!("{word:?}") };
            assert_eq!(report.session, 7);
            let mut words = Vec::new();
            if let Some(ticket) = report.ticket {
                words.push(format!("#{ticket}"));
            }
            for (index, outcome) in report.outcomes {
                let fate = match outcome.fate {
                    Fate::Delivered { dsn: true } => "passed",
                    Fate::Delivered { dsn: false } => "sent",
                    Fate::Deferred => "deferred",
                    Fate::Failed => "failed",
                };
                words.push(format!("{index}:{fate} {}", outcome.status));
            }
            if let Some(problem) = report.problem {
                words.push(format!("{:?} {}", problem.kind, problem.outcome.status));
            }
            if report.gone {
                words.push("gone".into());
            }
            told.push(words.join(" "));
        }
        told.join("; ")
    }
}

/// Runs a script over several networks.
fn check(setup: &Setup, script: &str, told: &str) {
    for faults in [Faults::none(), Faults::none().reads([1]), Faults::none().writes([1]).reads([3])]
    {
        let mut talk = Talk::new(setup, faults);
        talk.run(script);
        assert_eq!(talk.told(), told, "{script}");
    }
}

#[test]
fn step_by_step() {
    check(
        &Setup::to(&["x@next.test", "y@next.test"]),
        "S: 220-next.test
         S: 220 hello
         C: EHLO we.test
         S: 250 next.test
         C: MAIL FROM:<a@b.test>
         S: 250 ok
         C: RCPT TO:<x@next.test>
         S: 250 ok
         C: RCPT TO:<y@next.test>
         S: 550 5.1.1 who?
         C: DATA
         S: 354 go on
         C: Subject: hi
         C:
         C: ..dot
         C: .
         S: 250 2.6.0 taken",
        "#1 1:failed 5.1.1 0:sent 2.6.0",
    );
}

#[test]
fn in_one_group_and_the_next_one_over_the_same_connection() {
    let setup = Setup::to(&["x@next.test", "y@next.test"]);
    let mut talk = Talk::new(&setup, Faults::none());
    talk.run(
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250-PIPELINING
         S: 250 SIZE 1000
         C: MAIL FROM:<a@b.test> SIZE=21
         C: RCPT TO:<x@next.test>
         C: RCPT TO:<y@next.test>
         C: DATA
         S: 250 ok
         S: 250 ok
         S: 450 4.2.1 later
         S: 354 go on
         C: Subject: hi
         C:
         C: ..dot
         C: .
         S: 250 taken",
    );
    assert_eq!(talk.told(), "#1 1:deferred 4.2.1 0:sent 2.0.0");
    talk.client.notify(setup.job(2));
    talk.run(
        "C: MAIL FROM:<a@b.test> SIZE=21
         C: RCPT TO:<x@next.test>
         C: RCPT TO:<y@next.test>
         C: DATA
         S: 250 ok
         S: 550 no
         S: 550 no
         S: 503 nobody",
    );
    assert_eq!(talk.told(), "#2 0:failed 5.0.0 1:failed 5.0.0");
    // What was begun and not ended is taken back first.
    talk.client.notify(setup.job(3));
    talk.run(
        "C: RSET
         C: MAIL FROM:<a@b.test> SIZE=21
         C: RCPT TO:<x@next.test>
         C: RCPT TO:<y@next.test>
         C: DATA
         S: 250 ok
         S: 550 5.7.1 not you
         S: 503 mail first
         S: 503 mail first
         S: 503 mail first",
    );
    assert_eq!(talk.told(), "#3 0:failed 5.7.1 1:failed 5.7.1");
    talk.run("WAIT: 5\nC: QUIT");
    assert_eq!(talk.told(), "gone");
    assert!(talk.client.is_closed());
}

#[test]
fn a_server_that_waits_for_a_message_for_nobody_gets_an_empty_one() {
    check(
        &Setup::default(),
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250 PIPELINING
         C: MAIL FROM:<a@b.test>
         C: RCPT TO:<x@next.test>
         C: DATA
         S: 250 ok
         S: 550 5.1.1 who?
         S: 354 go on
         C: .
         S: 250 taken, why not",
        "#1 0:failed 5.1.1",
    );
}

#[test]
fn in_one_chunk() {
    check(
        &Setup::to(&["x@next.test", "y@next.test"]),
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250-PIPELINING
         S: 250 CHUNKING
         C: MAIL FROM:<a@b.test>
         C: RCPT TO:<x@next.test>
         C: RCPT TO:<y@next.test>
         S: 250 ok
         S: 250 ok
         S: 250 ok
         C: BDAT 21 LAST
         C: Subject: hi
         C:
         C: .dot
         S: 452 4.3.1 full",
        "#1 0:deferred 4.3.1 1:deferred 4.3.1",
    );
    // Not a word of it where nobody is taken.
    check(
        &Setup::default(),
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250-PIPELINING
         S: 250 CHUNKING
         C: MAIL FROM:<a@b.test>
         C: RCPT TO:<x@next.test>
         S: 250 ok
         S: 450 no",
        "#1 0:deferred 4.0.0",
    );
}

#[test]
fn too_many_recipients_are_put_off() {
    check(
        &Setup::to(&["x@next.test", "y@next.test"]),
        "S: 220 next.test
         C: EHLO we.test
         S: 250 next.test
         C: MAIL FROM:<a@b.test>
         S: 250 ok
         C: RCPT TO:<x@next.test>
         S: 250 ok
         C: RCPT TO:<y@next.test>
         S: 552 5.5.3 too many
         C: DATA
         S: 550 no",
        "#1 1:deferred 4.5.3 0:failed 5.0.0",
    );
    check(
        &Setup::default(),
        "S: 220 next.test
         C: EHLO we.test
         S: 250 next.test
         C: MAIL FROM:<a@b.test>
         S: 250 ok
         C: RCPT TO:<x@next.test>
         S: 552 5.2.2 full",
        "#1 0:failed 5.2.2",
    );
    // Without a status it may be about their number, also where it is the first (RFC 5321 §4.5.3.1.10).
    check(
        &Setup::default(),
        "S: 220 next.test
         C: EHLO we.test
         S: 250 next.test
         C: MAIL FROM:<a@b.test>
         S: 250 ok
         C: RCPT TO:<x@next.test>
         S: 552 too many",
        "#1 0:deferred 4.5.3",
    );
}

#[test]
fn what_was_refused_at_its_end_is_taken_back() {
    let mut talk = Talk::new(&Setup::default(), Faults::none());
    talk.run(STAGES[5].1);
    talk.run("S: 550 5.7.1 spam");
    assert_eq!(talk.told(), "#1 0:failed 5.7.1");
    talk.client.notify(Setup::default().job(2));
    talk.run(
        "C: RSET
         S: 250 ok
         C: MAIL FROM:<a@b.test>
         S: 503 5.5.1 nested",
    );
    assert_eq!(talk.told(), "#2 Host 4.5.1 gone");
}

#[test]
fn what_is_wanted_of_reports_is_passed_on() {
    check(
        &Setup { dsn: true, body: Body::EightBitMime, smtputf8: true, ..Setup::default() },
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250-8BITMIME
         S: 250-SMTPUTF8
         S: 250 DSN
         C: MAIL FROM:<a@b.test> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+3D1
         S: 250 ok
         C: RCPT TO:<x@next.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;o@b.test
         S: 250 ok
         C: DATA
         S: 354 go on
         C: Subject: hi
         C:
         C: ..dot
         C: .
         S: 250 ok",
        "#1 0:passed 2.0.0",
    );
}

const PLAIN: &str = "S: 220 next.test
    C: EHLO we.test
    S: 250 next.test\n";

#[test]
fn what_a_server_does_not_take_is_refused_or_sent_as_what_it_is() {
    let refused = |setup: Setup, told: &str| {
        let mut talk = Talk::new(&setup, Faults::none());
        talk.run(PLAIN);
        assert_eq!(talk.told(), told);
    };
    let taken = |setup: Setup, mail: &str| {
        let mut talk = Talk::new(&setup, Faults::none());
        talk.run(&format!("{PLAIN}C: {mail}"));
    };
    let eight = "Subject: hi\r\n\r\nb\u{e9}\r\n";
    let head = "Subject: b\u{e9}\r\n\r\nx\r\n";
    let base = Setup::default();
    let with = |body, text, smtputf8| Setup { body, text, smtputf8, ..base.clone() };
    refused(with(Body::EightBitMime, eight, false), "#1 0:failed 5.6.3");
    refused(with(Body::BinaryMime, base.text, false), "#1 0:failed 5.6.3");
    refused(with(Body::SevenBit, head, true), "#1 0:failed 5.6.7");
    refused(Setup { sender: "\u{e9}@b.test", ..base.clone() }, "#1 0:failed 5.6.7");
    refused(Setup { sender: "a@b.test>\r\nDATA", ..base.clone() }, "#1 0:failed 5.1.3");
    refused(Setup::to(&["\u{e9}@next.test"]), "#1 0:failed 5.6.7");
    // ASCII all the same; and what nobody has announced is sent as it came.
    taken(with(Body::EightBitMime, base.text, false), "MAIL FROM:<a@b.test>");
    taken(with(Body::SevenBit, base.text, true), "MAIL FROM:<a@b.test>");
    taken(with(Body::SevenBit, eight, false), "MAIL FROM:<a@b.test>");
    let mut talk = Talk::new(&Setup::to(&["x@next.test", "\u{e9}@next.test"]), Faults::none());
    talk.run(&format!(
        "{PLAIN}C: MAIL FROM:<a@b.test>
         S: 250 ok
         C: RCPT TO:<x@next.test>
         S: 250 ok
         C: DATA
         S: 550 no"
    ));
    assert_eq!(talk.told(), "#1 1:failed 5.6.7 0:failed 5.0.0");
    check(
        &base,
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250 SIZE 20",
        "#1 0:failed 5.3.4",
    );
}

#[test]
fn only_as_many_recipients_as_it_says() {
    check(
        &Setup::to(&["x@next.test", "y@next.test"]),
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250 LIMITS RCPTMAX=1
         C: MAIL FROM:<a@b.test>
         S: 250 ok
         C: RCPT TO:<x@next.test>
         S: 550 5.1.1 who?",
        "#1 0:failed 5.1.1",
    );
}

#[test]
fn helo_where_ehlo_is_unknown() {
    check(
        &Setup::default(),
        "S: 220 next.test
         C: EHLO we.test
         S: 502 what?
         C: HELO we.test
         S: 250 next.test
         C: MAIL FROM:<a@b.test>
         S: 421 4.3.2 shutting down",
        "#1 Host 4.3.2 gone",
    );
}

#[test]
fn over_tls_where_it_is_offered() {
    check(
        &Setup::default(),
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250-PIPELINING
         S: 250 STARTTLS
         C: STARTTLS
         S: 220 go on
         TLS
         C: EHLO we.test
         S: 250 next.test
         C: MAIL FROM:<a@b.test>
         S: 550 no",
        "#1 0:failed 5.0.0",
    );
    check(
        &Setup { security: Security::Off, ..Setup::default() },
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250 STARTTLS
         C: MAIL FROM:<a@b.test>
         S: 550 no",
        "#1 0:failed 5.0.0",
    );
}

#[test]
fn tls_that_cannot_be_had() {
    let required = Setup { security: Security::Require, ..Setup::default() };
    check(
        &required,
        "S: 220 next.test
         C: EHLO we.test
         S: 250 next.test
         C: QUIT",
        "#1 Host 4.7.4 gone",
    );
    for setup in [required, Setup::default()] {
        check(
            &setup,
            "S: 220 next.test
             C: EHLO we.test
             S: 250-next.test
             S: 250 STARTTLS
             C: STARTTLS
             S: 454 4.7.0 not now",
            "#1 Insecure 4.7.0 gone",
        );
    }
}

#[test]
fn tls_that_is_begun_and_never_agreed_upon() {
    check(
        &Setup::default(),
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250 STARTTLS
         C: STARTTLS
         S: 220 go on
         WAIT: 600",
        "#1 Insecure 4.7.5 gone",
    );
}

#[test]
fn logins() {
    let setup = Setup { login: true, security: Security::Off, ..Setup::default() };
    // `\0user\0pencil`
    check(
        &setup,
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250 AUTH LOGIN PLAIN
         C: AUTH PLAIN AHVzZXIAcGVuY2ls
         S: 235 welcome
         C: MAIL FROM:<a@b.test>
         S: 550 no",
        "#1 0:failed 5.0.0",
    );
    check(
        &setup,
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250 AUTH LOGIN
         C: AUTH LOGIN
         S: 334 VXNlcm5hbWU6
         C: dXNlcg==
         S: 334 UGFzc3dvcmQ6
         C: cGVuY2ls
         S: 535 5.7.8 wrong
         C: QUIT",
        "#1 Host 4.7.8 gone",
    );
    // Nobody is told a password in the clear, and nobody who can't prove it is believed.
    check(
        &Setup { login: true, ..Setup::default() },
        "S: 220 next.test
         C: EHLO we.test
         S: 250-next.test
         S: 250 AUTH LOGIN PLAIN
         C: QUIT",
        "#1 Host 4.7.0 gone",
    );
    let mut talk = Talk::new(&setup, Faults::none());
    talk.client.send("220 next.test\r\n250-next.test\r\n250 AUTH SCRAM-SHA-256\r\n");
    assert!(talk.client.text().contains("AUTH SCRAM-SHA-256 biws"));
    talk.run("S: 235 believe me\nC: QUIT");
    assert_eq!(talk.told(), "#1 Host 4.7.0 gone");
}

#[test]
fn a_server_with_our_own_name_is_a_loop() {
    check(
        &Setup::default(),
        "S: 220 WE.test
         C: EHLO we.test
         S: 250 WE.test hello
         C: QUIT",
        "#1 Loop 5.4.6 gone",
    );
}

#[test]
fn a_connection_is_small() {
    assert!(size_of::<ClientSession>() <= 600, "{}", size_of::<ClientSession>());
}
