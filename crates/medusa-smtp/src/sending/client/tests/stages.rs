//! Everything that can happen at each stage of a conversation: replies of all kinds, silence, ends.

use std::time::Duration;

use medusa_core::testing::Faults;

use super::{Setup, Talk, check};

/// A conversation up to each reply that is awaited, and what is awaited.
pub(super) const STAGES: &[(&str, &str)] = &[
    ("greeting", ""),
    ("EHLO", "S: 220 next.test\nC: EHLO we.test"),
    ("MAIL", "S: 220 next.test\nC: EHLO we.test\nS: 250 next.test\nC: MAIL FROM:<a@b.test>"),
    (
        "RCPT",
        "S: 220 next.test\nC: EHLO we.test\nS: 250 next.test\nC: MAIL FROM:<a@b.test>\nS: 250 ok
         C: RCPT TO:<x@next.test>",
    ),
    (
        "DATA",
        "S: 220 next.test\nC: EHLO we.test\nS: 250 next.test\nC: MAIL FROM:<a@b.test>\nS: 250 ok
         C: RCPT TO:<x@next.test>\nS: 250 ok\nC: DATA",
    ),
    (
        "end",
        "S: 220 next.test\nC: EHLO we.test\nS: 250 next.test\nC: MAIL FROM:<a@b.test>\nS: 250 ok
         C: RCPT TO:<x@next.test>\nS: 250 ok\nC: DATA\nS: 354 go on\nC: Subject: hi\nC:
         C: ..dot\nC: .",
    ),
    (
        "body",
        "S: 220 next.test\nC: EHLO we.test\nS: 250 next.test\nC: MAIL FROM:<a@b.test>\nS: 250 ok
         C: RCPT TO:<x@next.test>\nS: 250 ok\nC: DATA\nSTALL\nS: 354 go on",
    ),
];

#[test]
fn everything_at_every_stage() {
    let events = [
        "S: 421 4.3.2 bye",
        "S: 450 4.2.0 later",
        "S: 550 5.7.1 never",
        "S: 521 5.3.2 no mail here",
        "S: 354 what?",
        "S: HTTP/1.1 400 Bad Request",
        "RAW: 250-a\\r\\n350 b\\r\\n",
        "END",
        "RESET",
        "WAIT: 1200",
    ];
    let mut found = String::new();
    for (stage, script) in STAGES {
        for event in events {
            let mut talk = Talk::new(&Setup::default(), Faults::none());
            talk.run(script);
            assert_eq!(talk.told(), "", "{stage}");
            talk.script.clear();
            if let Some(text) = event.strip_prefix("RAW: ") {
                talk.client.send(text.replace("\\r", "\r").replace("\\n", "\n"));
            } else {
                match event {
                    "END" => drop(talk.client.end()),
                    "RESET" => drop(talk.client.reset()),
                    "WAIT: 1200" => drop(talk.client.advance(Duration::from_secs(1200))),
                    said => drop(talk.client.send(format!("{}\r\n", &said[3..]))),
                }
            }
            let told = talk.told();
            if *stage == "body" {
                // What was cut off isn't completed: somebody else may get it.
                talk.client.unstall();
                assert_eq!(talk.client.text(), "", "{event}");
                assert!(talk.client.is_closed(), "{event}");
            }
            found.push_str(format!("{stage} | {event} | {told}").trim_end());
            found.push('\n');
        }
        // A line without an end.
        let mut talk = Talk::new(&Setup::default(), Faults::none());
        talk.run(script);
        talk.client.send(vec![b'2'; 5000]);
        assert!(talk.told().contains("gone"), "{stage}");
    }
    assert_eq!(found, EXPECTED, "\n{found}");
}

const EXPECTED: &str = r"greeting | S: 421 4.3.2 bye | #1 Host 4.3.2 gone
greeting | S: 450 4.2.0 later | #1 Host 4.2.0 gone
greeting | S: 550 5.7.1 never | #1 Host 4.7.1 gone
greeting | S: 521 5.3.2 no mail here | #1 NoMail 4.3.2 gone
greeting | S: 354 what? | #1 Host 4.5.0 gone
greeting | S: HTTP/1.1 400 Bad Request | #1 Host 4.5.0 gone
greeting | RAW: 250-a\r\n350 b\r\n | #1 Host 4.5.0 gone
greeting | END | #1 Host 4.4.2 gone
greeting | RESET | #1 Host 4.4.2 gone
greeting | WAIT: 1200 | #1 Host 4.4.2 gone
EHLO | S: 421 4.3.2 bye | #1 Host 4.3.2 gone
EHLO | S: 450 4.2.0 later | #1 Host 4.2.0 gone
EHLO | S: 550 5.7.1 never |
EHLO | S: 521 5.3.2 no mail here | #1 NoMail 4.3.2 gone
EHLO | S: 354 what? | #1 Host 4.5.0 gone
EHLO | S: HTTP/1.1 400 Bad Request | #1 Host 4.5.0 gone
EHLO | RAW: 250-a\r\n350 b\r\n | #1 Host 4.5.0 gone
EHLO | END | #1 Host 4.4.2 gone
EHLO | RESET | #1 Host 4.4.2 gone
EHLO | WAIT: 1200 | #1 Host 4.4.2 gone
MAIL | S: 421 4.3.2 bye | #1 Host 4.3.2 gone
MAIL | S: 450 4.2.0 later | #1 0:deferred 4.2.0
MAIL | S: 550 5.7.1 never | #1 0:failed 5.7.1
MAIL | S: 521 5.3.2 no mail here | #1 0:failed 5.3.2
MAIL | S: 354 what? | #1 Host 4.5.0 gone
MAIL | S: HTTP/1.1 400 Bad Request | #1 Host 4.5.0 gone
MAIL | RAW: 250-a\r\n350 b\r\n | #1 Host 4.5.0 gone
MAIL | END | #1 Host 4.4.2 gone
MAIL | RESET | #1 Host 4.4.2 gone
MAIL | WAIT: 1200 | #1 Host 4.4.2 gone
RCPT | S: 421 4.3.2 bye | #1 Host 4.3.2 gone
RCPT | S: 450 4.2.0 later | #1 0:deferred 4.2.0
RCPT | S: 550 5.7.1 never | #1 0:failed 5.7.1
RCPT | S: 521 5.3.2 no mail here | #1 0:failed 5.3.2
RCPT | S: 354 what? | #1 Host 4.5.0 gone
RCPT | S: HTTP/1.1 400 Bad Request | #1 Host 4.5.0 gone
RCPT | RAW: 250-a\r\n350 b\r\n | #1 Host 4.5.0 gone
RCPT | END | #1 Host 4.4.2 gone
RCPT | RESET | #1 Host 4.4.2 gone
RCPT | WAIT: 1200 | #1 Host 4.4.2 gone
DATA | S: 421 4.3.2 bye | #1 Host 4.3.2 gone
DATA | S: 450 4.2.0 later | #1 0:deferred 4.2.0
DATA | S: 550 5.7.1 never | #1 0:failed 5.7.1
DATA | S: 521 5.3.2 no mail here | #1 0:failed 5.3.2
DATA | S: 354 what? |
DATA | S: HTTP/1.1 400 Bad Request | #1 Host 4.5.0 gone
DATA | RAW: 250-a\r\n350 b\r\n | #1 Host 4.5.0 gone
DATA | END | #1 Host 4.4.2 gone
DATA | RESET | #1 Host 4.4.2 gone
DATA | WAIT: 1200 | #1 Host 4.4.2 gone
end | S: 421 4.3.2 bye | #1 Host 4.3.2 gone
end | S: 450 4.2.0 later | #1 0:deferred 4.2.0
end | S: 550 5.7.1 never | #1 0:failed 5.7.1
end | S: 521 5.3.2 no mail here | #1 0:failed 5.3.2
end | S: 354 what? | #1 Unanswered 4.5.0 gone
end | S: HTTP/1.1 400 Bad Request | #1 Unanswered 4.5.0 gone
end | RAW: 250-a\r\n350 b\r\n | #1 Unanswered 4.5.0 gone
end | END | #1 Unanswered 4.4.2 gone
end | RESET | #1 Unanswered 4.4.2 gone
end | WAIT: 1200 | #1 Unanswered 4.4.2 gone
body | S: 421 4.3.2 bye | #1 Host 4.3.2 gone
body | S: 450 4.2.0 later | #1 0:deferred 4.2.0 gone
body | S: 550 5.7.1 never | #1 0:failed 5.7.1 gone
body | S: 521 5.3.2 no mail here | #1 0:failed 5.3.2 gone
body | S: 354 what? | #1 Host 4.5.0 gone
body | S: HTTP/1.1 400 Bad Request | #1 Host 4.5.0 gone
body | RAW: 250-a\r\n350 b\r\n | #1 Host 4.5.0 gone
body | END | #1 Host 4.4.2 gone
body | RESET | #1 Host 4.4.2 gone
body | WAIT: 1200 | #1 Host 4.4.2 gone
";

#[test]
fn replies_that_nobody_asked_for() {
    check(
        &Setup::default(),
        "S: 220 next.test
         C: EHLO we.test
         S: 250 next.test
         C: MAIL FROM:<a@b.test>
         S: 550 no
         S: 250 and yet
         C: QUIT",
        "#1 0:failed 5.0.0; Host 4.5.0 gone",
    );
}

#[test]
fn patience_is_that_of_rfc_5321() {
    let minutes =
        [("greeting", 5), ("EHLO", 5), ("MAIL", 5), ("RCPT", 5), ("DATA", 2), ("end", 10)];
    for ((stage, script), (name, minutes)) in STAGES.iter().zip(minutes) {
        assert_eq!(*stage, name);
        let mut talk = Talk::new(&Setup::default(), Faults::none());
        talk.run(script);
        talk.client.advance(Duration::from_secs(minutes * 60 - 1));
        assert_eq!(talk.told(), "", "{stage}");
        talk.client.advance(Duration::from_secs(1));
        assert!(talk.told().ends_with("4.4.2 gone"), "{stage}");
    }
}

#[test]
fn a_message_that_is_refused_before_it_was_read_ends_the_connection() {
    let mut talk = Talk::new(&Setup::default(), Faults::none());
    talk.run(STAGES[4].1);
    talk.client.stall();
    talk.client.send("354 go on\r\n552 5.3.4 too much\r\n");
    assert_eq!(talk.told(), "#1 0:failed 5.3.4 gone");
}

#[test]
fn a_shutdown_lets_what_was_begun_come_to_its_end() {
    let mut talk = Talk::new(&Setup::default(), Faults::none());
    talk.run(STAGES[5].1);
    talk.client.drain();
    talk.run("S: 250 taken\nC: QUIT");
    assert_eq!(talk.told(), "#1 0:sent 2.0.0; gone");
    let mut talk = Talk::new(&Setup::default(), Faults::none());
    talk.run(STAGES[5].1);
    talk.run("S: 250 taken");
    talk.client.drain();
    talk.run("C: QUIT");
    assert_eq!(talk.told(), "#1 0:sent 2.0.0; gone");
}

#[test]
fn a_job_that_comes_too_late_is_given_back() {
    let mut talk = Talk::new(&Setup::default(), Faults::none());
    talk.run(STAGES[5].1);
    talk.run("S: 250 taken\nWAIT: 5\nC: QUIT");
    talk.client.notify(Setup::default().job(2));
    assert_eq!(talk.told(), "#1 0:sent 2.0.0; gone; #2 Untried 4.4.2 gone");
}
