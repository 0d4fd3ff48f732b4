//! Messages and what stands in for them, for every split; and that ASCII headers come out whatever goes in.

use proptest::prelude::*;

use super::*;

/// What stands in for these lines, decoded for the reader: `=?utf-8?b?…?=` is shown as `«…»`.
fn shown(lines: &str) -> String {
    let text = String::from_utf8(Surrogate::of(lines.replace('\n', "\r\n").as_bytes())).unwrap();
    words::tests::shown(&text.replace("\r\n", "\n"))
}

fn check(message: &str, expected: &str) {
    assert_eq!(shown(message), expected);
    let message = message.replace('\n', "\r\n");
    let whole = Surrogate::of(message.as_bytes());
    for first in 0..=message.len() {
        let mut parts = Vec::new();
        let mut surrogate = Surrogate::default();
        let (one, other) = message.as_bytes().split_at(first);
        for part in [one, other] {
            surrogate.push(part, &mut |bytes| parts.extend_from_slice(bytes));
        }
        surrogate.finish(&mut |bytes| parts.extend_from_slice(bytes));
        assert!(parts == whole, "split at {first}");
        assert_eq!(surrogate.has_changed(), whole != message.as_bytes());
    }
    let mut drop_by_drop = Vec::new();
    let mut surrogate = Surrogate::default();
    for octet in message.as_bytes() {
        surrogate.push(&[*octet], &mut |bytes| drop_by_drop.extend_from_slice(bytes));
    }
    surrogate.finish(&mut |bytes| drop_by_drop.extend_from_slice(bytes));
    assert!(drop_by_drop == whole);
}

fn unchanged(message: &str) {
    check(message, message);
}

#[test]
fn ascii_headers_stay_and_bodies_always_do() {
    unchanged("");
    unchanged("\n");
    unchanged("Subject: x\n\nGr\u{fc}\u{df}e\n.\n--b\nX: \u{fc}\n");
    unchanged("Subject: =?utf-8?q?=C3=BC?=\nFolded: a\n b\n\tc\n\n");
    unchanged("no header");
    unchanged("Content-Type: text/plain; boundary=b\n\n--b\nSubject: \u{fc}\n\n");
}

/// RFC 6858 §2.1.
#[test]
fn addresses_become_invalid_ones_that_say_which_they_were() {
    check(
        "From: Fred Foo <fred@ex\u{e4}mple.com>\nTo: fred@ex\u{e4}mple.com,\n a@b.test, Zo\u{eb} <zoe@b.test>\n\n",
        "From: \u{ab}Fred Foo <fred@ex\u{e4}mple.com>\u{bb}\n \
         <invalid@internationalized-address.invalid>\n\
         To: \u{ab}fred@ex\u{e4}mple.com\u{bb}\n <invalid@internationalized-address.invalid>,\n \
         a@b.test,\n \u{ab}Zo\u{eb}\u{bb}\n <zoe@b.test>\n\n",
    );
    // Quotes, comments, groups, commas that separate nothing.
    check(
        "Cc: \"B\u{f6}, \\\"x\\\"\" <b@c.test>, d@e.test (D\u{f6}), Gr\u{fc}n: a@b.test, <\u{fc}@b.test>;, x@y.test\n\n",
        "Cc: \u{ab}B\u{f6}, \"x\"\u{bb}\n <b@c.test>,\n \u{ab}D\u{f6}\u{bb}\n <d@e.test>,\n \
         \u{ab}Gr\u{fc}n\u{bb}:\n a@b.test,\n \
         \u{ab}\u{fc}@b.test\u{bb}\n <invalid@internationalized-address.invalid>;,\n x@y.test\n\n",
    );
    check(
        "Return-Path: <\u{fc}@b.test>\nResent-Sender: <a@b.test> (\u{fc})\n\n",
        "Return-Path: <invalid@internationalized-address.invalid>\nResent-Sender: <a@b.test>\n\n",
    );
    check(
        "To: \"unbalanced \u{fc} <a@b.test\n\n",
        "To: \u{ab}\"unbalanced \u{fc} <a@b.test\u{bb}\n <invalid@internationalized-address.invalid>\n\n",
    );
}

/// RFC 6858 §2.2 to §2.4.
#[test]
fn subjects_are_encoded_and_the_rest_goes() {
    check(
        "Subject: Gr\u{fc}\u{df}e\n an alle\nX-Note: \u{fc}\nX-\u{dc}: a\nDate: x\n\n\u{fc}\n",
        "Subject: \u{ab}Gr\u{fc}\u{df}e an alle\u{bb}\nDate: x\n\n\u{fc}\n",
    );
    check(
        "Content-Disposition: attachment; size=3;\n filename=\"\u{fc};.txt\"; x=y\n\n",
        "Content-Disposition: attachment;\n size=3;\n x=y\n\n",
    );
    check("Content-Type: t\u{fc}xt/plain; a=b\n\n", "\n");
    // Without an end of the header, and never nothing at all.
    check("X: \u{fc}", "\n");
    check("X: \u{fc}\nA: b", "A: b\n\n");
    check("X: \u{fc}\nA: b\n", "A: b\n\n");
    check("A: b\nSubject: \u{fc}\n c", "A: b\nSubject: \u{ab}\u{fc} c\u{bb}\n\n");
}

#[test]
fn words_are_short_and_cut_between_characters() {
    let text = "\u{20ac}".repeat(100);
    let message = format!("Subject: {text}\r\n\r\n");
    let surrogate = String::from_utf8(Surrogate::of(message.as_bytes())).unwrap();
    assert!(surrogate.lines().all(|line| line.len() <= 76), "{surrogate}");
    assert_eq!(shown(&format!("Subject: {text}\n\n")), format!("Subject: \u{ab}{text}\u{bb}\n\n"));
    let latin = Surrogate::of(b"Subject: Gr\xfc\xdfe\r\n\r\n");
    assert_eq!(latin, b"Subject: =?unknown-8bit?b?R3L832U=?=\r\n\r\n");
}

#[test]
fn headers_of_parts_and_of_messages_within_are_looked_into() {
    check(
        "Content-Type: multipart/mixed; boundary=\"a b\"\n\nX: \u{fc}\n--a b \n\
         Content-Type: text/plain; name=\u{fc}\n\nX: \u{fc}\n--a\n-\n\n--a b\n\
         Content-Type: multipart/digest;\n boundary=ab\n\n--ab\n\nSubject: \u{fc}\n\nX: \u{fc}\n\
         --ab--\nX: \u{fc}\n--a b\nContent-Type: message/rfc822\n\nX: \u{fc}\nA: b\n\nX: \u{fc}\n--a b\n\
         Content-Type: message/global\nContent-Transfer-Encoding: base64\n\nX: \u{fc}\n--a b\nX: \u{fc}\n\
         --a b--\nX: \u{fc}\n--a b\nX: \u{fc}\n",
        "Content-Type: multipart/mixed; boundary=\"a b\"\n\nX: \u{fc}\n--a b \n\
         Content-Type: text/plain\n\nX: \u{fc}\n--a\n-\n\n--a b\n\
         Content-Type: multipart/digest;\n boundary=ab\n\n--ab\n\nSubject: \u{ab}\u{fc}\u{bb}\n\nX: \u{fc}\n\
         --ab--\nX: \u{fc}\n--a b\nContent-Type: message/rfc822\n\nA: b\n\nX: \u{fc}\n--a b\n\
         Content-Type: message/global\nContent-Transfer-Encoding: base64\n\nX: \u{fc}\n--a b\n\
         --a b--\nX: \u{fc}\n--a b\nX: \u{fc}\n",
    );
}

#[test]
fn what_is_too_long_to_keep_is_ascii_too() {
    let long = "x".repeat(FIELD_OCTETS);
    let message =
        format!("Subject: {long}\u{fc}\r\n \u{fc}\r\nX: y\r\nTo: \u{fc}\r\n {long}\r\n\r\n");
    let expected = format!("Subject: {long}??\r\n \u{fc}\r\nX: y\r\nTo: ??\r\n {long}\r\n\r\n");
    // What is folded behind it has no name, and goes.
    let expected = expected.replace(" \u{fc}\r\n", "");
    assert!(Surrogate::of(message.as_bytes()) == expected.as_bytes());
    for size in [1, 1_000, FIELD_OCTETS - 1, FIELD_OCTETS, FIELD_OCTETS + 9] {
        let mut parts = Vec::new();
        let mut surrogate = Surrogate::default();
        for part in message.as_bytes().chunks(size) {
            surrogate.push(part, &mut |bytes| parts.extend_from_slice(bytes));
        }
        surrogate.finish(&mut |bytes| parts.extend_from_slice(bytes));
        assert!(parts == expected.as_bytes(), "in pieces of {size}");
    }
}

/// A million headers, a thousand multiparts: no more than a pass.
#[test]
fn what_is_hostile_takes_no_longer() {
    let nested: String = (0..1_000)
        .map(|n| format!("Content-Type: multipart/mixed; boundary={n}\r\n\r\n--{n}\r\n"))
        .collect();
    let deep = Surrogate::of(nested.as_bytes());
    assert!(deep == nested.as_bytes());
    let hyphens = format!("{nested}{}", "--\r\n".repeat(100_000));
    assert!(Surrogate::of(hyphens.as_bytes()) == hyphens.as_bytes());
    let many = "To: \u{fc}\r\n".repeat(100_000);
    assert!(Surrogate::of(many.as_bytes()).is_ascii());
    let commas = format!("To: \u{fc}{}\r\n\r\n", ",(".repeat(30_000));
    assert!(Surrogate::of(commas.as_bytes()).is_ascii());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Pieces that mean something, in any order, cut anywhere.
    #[test]
    fn any_split_gives_the_same_and_headers_are_ascii(
        pieces in proptest::collection::vec(proptest::sample::select(vec![
            "Subject: ", "To: ", "Content-Type: multipart/mixed; boundary=b\r\n", "\r\n", "\n", "--b", "--b--",
            "\u{fc}", "<", ">", "(", ")", "\"", "\\", ",", ":", ";", "a@b", " ", "\r", "X: y\r\n", "\u{20ac}",
            "Content-Type: message/rfc822\r\n\r\n",
        ]), 0..40),
        cut in 1usize..9,
    ) {
        let message = pieces.concat();
        let whole = Surrogate::of(message.as_bytes());
        let mut parts = Vec::new();
        let mut surrogate = Surrogate::default();
        for part in message.as_bytes().chunks(cut) {
            surrogate.push(part, &mut |bytes| parts.extend_from_slice(bytes));
        }
        surrogate.finish(&mut |bytes| parts.extend_from_slice(bytes));
        prop_assert_eq!(&parts, &whole);
        let end = whole.windows(2).position(|two| two == b"\n\n").unwrap_or(whole.len());
        let end = end.min(whole.windows(3).position(|three| three == b"\n\r\n").unwrap_or(end));
        let starts_blank = whole.starts_with(b"\n") || whole.starts_with(b"\r\n");
        prop_assert!(starts_blank || whole[..end].is_ascii());
        // What stands in for it needs nothing to stand in.
        let mut again = Surrogate::default();
        again.push(&whole, &mut |_| {});
        again.finish(&mut |_| {});
        prop_assert!(!again.has_changed());
    }
}
