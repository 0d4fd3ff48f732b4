//! Every command in every state.

use super::{Setup, inside, say, two};
use crate::commands::{GREETED, NAMED, TABLE, TRANSACTION};

/// A command line; what it is answered with before USER, after USER, and after the login. `+` and `-`
/// stand for the two replies, `c` for a challenge.
const ANSWERS: &[(&str, &str)] = &[
    ("RETR 1", "--+"),
    ("RETR", "---"),
    ("RETR 3", "---"),
    ("RETR 0", "---"),
    ("RETR +1", "---"),
    ("RETR 1 2", "---"),
    ("RETR 18446744073709551567", "---"),
    ("DELE 1", "--+"),
    ("DELE", "---"),
    ("DELE x", "---"),
    ("LIST", "--+"),
    ("LIST 2", "--+"),
    ("LIST 3", "---"),
    ("LIST 1 2", "---"),
    ("UIDL", "--+"),
    ("UIDL 2", "--+"),
    ("UIDL 3", "---"),
    ("TOP 1 0", "--+"),
    ("TOP 1", "---"),
    ("TOP", "---"),
    ("TOP 1 -1", "---"),
    ("TOP 3 1", "---"),
    ("TOP 1 2 3", "---"),
    ("STAT", "--+"),
    ("STAT 1", "---"),
    ("NOOP", "--+"),
    ("RSET", "--+"),
    ("QUIT", "+++"),
    ("QUIT now", "---"),
    ("CAPA", "+++"),
    ("USER alice", "++-"),
    ("USER", "---"),
    ("PASS secret", "-+-"),
    ("PASS wrong", "---"),
    ("PASS", "---"),
    ("AUTH", "++-"),
    ("AUTH PLAIN", "cc-"),
    ("AUTH PLAIN AGFsaWNlAHNlY3JldA==", "++-"),
    ("AUTH PLAIN a b", "---"),
    ("AUTH CRAM-MD5", "---"),
    ("STLS", "++-"),
    ("LANG", "+++"),
    ("LANG en-GB", "+++"),
    ("LANG *", "+++"),
    ("LANG de", "---"),
    ("UTF8", "++-"),
    ("UTF8 USER", "---"),
    ("APOP alice c4c9334bac560ecc979e58001b3e22fb", "---"),
    ("", "---"),
    (" NOOP", "---"),
    ("XYZZY", "---"),
];

#[test]
fn every_command_in_every_state() {
    for (line, answers) in ANSWERS {
        for (state, expected) in answers.chars().enumerate() {
            let mut client = match state {
                2 => inside(&two()),
                _ => Setup::new(&two()).connect(),
            };
            if state == 1 {
                assert!(say(&mut client, "USER alice").starts_with("+OK"));
            }
            let answer = say(&mut client, line);
            let sign = match answer.as_bytes() {
                [b'+', b'O', b'K', b' ', ..] => '+',
                [b'+', b' ', ..] => 'c',
                [b'-', b'E', b'R', b'R', b' ', ..] => '-',
                _ => panic!("{line:?} was answered with {answer:?}"),
            };
            assert_eq!(sign, expected, "{line:?} in state {state}: {answer:?}");
        }
    }
}

#[test]
fn the_table_of_answers_has_every_command() {
    for row in TABLE.rows() {
        for (column, state) in [GREETED, NAMED, TRANSACTION].into_iter().enumerate() {
            let mut lines =
                ANSWERS.iter().filter(|(line, _)| line.split(' ').next() == Some(row.verb));
            let some = lines.any(|(_, answers)| answers.as_bytes()[column] != b'-');
            assert_eq!(some, row.states.contain(state), "{} in column {column}", row.verb);
        }
    }
}

#[test]
fn verbs_have_no_case() {
    let mut client = inside(&two());
    assert_eq!(say(&mut client, "nOOp\ndele 1\nStat"), {
        "+OK nothing done\n+OK marked as deleted\n+OK 1 33\n"
    });
}
