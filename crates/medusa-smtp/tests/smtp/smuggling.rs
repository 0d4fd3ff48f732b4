//! What might be taken for the end of a message elsewhere never is here, and is refused: two servers that
//! disagree about an end let a sender slip a second message in (SMTP smuggling, CVE-2023-51764 and others).

use medusa_smtp::Smuggling;

use crate::fixture::{TO_ALICE, check, check_with, mx};

const SECOND: &str =
    "MAIL FROM:<admin@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nforged\r\n.\r\n";

/// Every way to write a line with a dot but the right one.
const ENDS: [&str; 14] = [
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\r\r\n.\r\r\n",
    "\n\n.\r\n",
    "\r\n.\n\r\n",
    "\n.\r",
    "\r.\n",
    "\r\n.\r\r\n",
    "\r\n\n.\r\n",
    "\r\n.\u{0}\r",
];

#[test]
fn each_is_refused_as_one_message_or_none() {
    for end in ENDS {
        let script = format!("{TO_ALICE}DATA\r\nfirst{end}{SECOND}");
        let kept = check(&script, "250 250 250 354 550");
        assert!(kept.is_empty(), "{end:?}: {kept:?}");
    }
}

#[test]
fn or_becomes_part_of_the_message() {
    for end in ENDS {
        let script = format!("{TO_ALICE}DATA\r\nfirst{end}{SECOND}");
        let service = |store: &_| mx(store).with_smuggling(Smuggling::Normalise);
        let kept = check_with(service, &script, "250 250 250 354 250");
        assert_eq!(kept.len(), 1, "{end:?}");
        let text = &kept[0].1;
        assert!(text.contains("MAIL FROM:<admin@example.test>\r\n"), "{end:?}: {text}");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n']), "{end:?}: {text:?}");
    }
}

#[test]
fn in_chunks_as_well() {
    for text in ["a\nb", "a\rb", "a\r", "\n"] {
        let script = format!("{TO_ALICE}BDAT {} LAST\r\n{text}NOOP\r\n", text.len());
        assert!(check(&script, "250 250 250 550 250").is_empty(), "{text:?}");
    }
}

#[test]
fn a_command_ends_in_crlf_alone() {
    // The LF is part of the command, which is none then.
    check("EHLO c\nMAIL FROM:<>\r\nNOOP\r\n", "500 250");
    check("EHLO c\rNOOP\r\n", "500");
    check("EHLO c\r\r\nNOOP\r\n", "500 250");
    check("NOOP\0\r\n", "500");
    check("EHLO c\r\nMAIL FROM:<a\n@b>\r\n", "250 500");
}
