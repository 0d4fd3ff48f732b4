//! Every command in every state, against the table; and what is wrong with lines.

use medusa_core::testing::Faults;
use medusa_text::{Arguments, States};

use super::fixture::{builder, check, check_outside, files, lines, play};
use crate::commands::{COMMANDS, IN, NAMED, OUT, RENAMING};

/// How to get into each state.
const WAYS: [(States, &[&str]); 4] = [
    (OUT, &[]),
    (NAMED, &["USER alice"]),
    (IN, &["USER alice", "PASS secret"]),
    (RENAMING, &["USER alice", "PASS secret", "RNFR hello.txt"]),
];

/// Something that each verb takes.
fn argument(verb: &str) -> &'static str {
    match verb {
        "TYPE" => "I",
        "MODE" => "S",
        "STRU" => "F",
        "REST" | "ALLO" | "PBSZ" => "0",
        "PORT" => "127,0,0,1,200,1",
        "EPRT" => "|1|127.0.0.1|51201|",
        "USER" => "alice",
        "PASS" => "secret",
        "OPTS" => "UTF8 ON",
        "MFMT" => "20010101000000 hello.txt",
        "SITE" => "HELP",
        "CWD" | "XCWD" => "folder",
        "MKD" | "XMKD" => "new",
        "PROT" => "P",
        _ => "hello.txt",
    }
}

#[test]
fn every_command_in_every_state() {
    for (state, way) in WAYS {
        for row in COMMANDS.rows() {
            let line = match row.arguments {
                Arguments::Forbidden => row.verb.to_owned(),
                // With a path it is for those who are inside.
                _ if row.verb == "STAT" => row.verb.to_owned(),
                _ => format!("{} {}", row.verb, argument(row.verb)),
            };
            let mut script = way.to_vec();
            script.push(&line);
            let world = play(builder(&files()), &script, Faults::none());
            let told = lines(&world);
            let last = told.last().expect("a reply");
            let code = &last[..3];
            assert_eq!(&last[3..4], " ", "{line}: {last}");
            let is_inside = state == IN || state == RENAMING;
            if row.states.contain(state) {
                assert!(code != "530" && code != "500", "{line}: {last}");
                // 503 where TLS, or RNFR, is missing.
                let needs_tls = matches!(row.verb, "PBSZ" | "PROT");
                assert_eq!(code == "503", needs_tls, "{line}: {last}");
            } else if row.states.contain(IN) && !is_inside {
                assert_eq!(code, "530", "{line}: {last}");
            } else {
                assert_eq!(code, "503", "{line}: {last}");
            }
            // Whatever it was, it was one reply, and the next command is answered as well.
            assert_eq!(
                told.iter().filter(|line| line.starts_with("220 ")).count(),
                1 + usize::from(matches!(row.verb, "HOST" | "REIN") && code == "220")
            );
            let mut script = script.clone();
            script.push("NOOP");
            let world = play(builder(&files()), &script, Faults::none());
            let next = *lines(&world).last().expect("a reply");
            match row.verb {
                "QUIT" => assert_eq!(&next[..3], "221"),
                _ => assert_eq!(next, "200 Here I am", "{line}"),
            }
        }
    }
}

#[test]
fn lines_that_are_wrong() {
    check_outside(
        &["", "XYZZY", "QUIT now", "USER", "user  alice ", "PASS", "NOOP whatever", "FEAT x"],
        &[
            "500 No such command",
            "500 No such command",
            "501 Syntax: QUIT",
            "501 Syntax: USER name",
            "331 Send the password",
            "530 Wrong name or password",
            "200 Here I am",
            "501 Syntax: FEAT",
        ],
    );
    let long = format!("RETR {}", "x".repeat(9000));
    check(
        &[&long, "CWD a\rb", "NOOP"],
        &["500 No such command", "501 A bare CR is no part of an argument", "200 Here I am"],
    );
}

#[test]
fn who_talks_something_else_is_shown_out() {
    let script = ["GET / HTTP/1.1"; 30];
    let world = play(builder(&files()), &script, Faults::none());
    let told = lines(&world);
    assert_eq!(told.len(), 21);
    assert_eq!(told[20], "421 Too many commands that are none");
    assert!(world.control.is_closed());
}

#[test]
fn rnto_follows_rnfr_at_once() {
    check(
        &[
            "RNTO a",
            "RNFR none",
            "RNFR hello.txt",
            "NOOP",
            "RNTO a",
            "RNFR hello.txt",
            "RNTO a",
            "SIZE a",
        ],
        &[
            "503 Not now: another command comes before it",
            "550 No such file or folder",
            "350 And its new name?",
            "200 Here I am",
            "503 Not now: another command comes before it",
            "350 And its new name?",
            "250 It is renamed",
            "213 6",
        ],
    );
}
