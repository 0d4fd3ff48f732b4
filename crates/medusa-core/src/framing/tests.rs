//! Frames are the same however their octets arrive.

use super::*;

/// What a session would see: each frame's bytes joined, or `None` for an overlong one.
type Seen = Vec<Option<Vec<u8>>>;

/// Feeds `parts` one after the other, as a channel does, and returns the frames and what is left.
fn run(framing: &Framing, parts: &[&[u8]]) -> (Seen, Vec<u8>) {
    let mut framer = Framer::new(framing.clone());
    let mut input = Vec::new();
    let mut seen = Vec::new();
    let mut open = Vec::new();
    for part in parts {
        input.extend_from_slice(part);
        loop {
            match framer.cut(&mut input) {
                Cut::Frame { start, length, end, consumed } => {
                    open.extend_from_slice(&input[start..start + length]);
                    input.drain(..consumed);
                    if end {
                        seen.push(Some(std::mem::take(&mut open)));
                    }
                }
                Cut::Overlong { consumed } => {
                    input.drain(..consumed);
                    seen.push(None);
                }
                Cut::Partial { consumed: 0 } => break,
                Cut::Partial { consumed } => drop(input.drain(..consumed)),
            }
        }
    }
    // Of an unfinished piece, what was handed on and what is held back are the same stream.
    open.extend_from_slice(&input);
    (seen, open)
}

/// All two- and three-way splits, and byte by byte, give what the whole gives.
fn check(framing: Framing, text: &[u8], expected: &[Option<&[u8]>]) {
    let whole = run(&framing, &[text]);
    let expected: Seen = expected.iter().map(|frame| frame.map(<[u8]>::to_vec)).collect();
    assert_eq!(whole.0, expected, "{framing:?}");
    let single: Vec<&[u8]> = text.chunks(1).collect();
    assert_eq!(run(&framing, &single).0, expected, "byte by byte");
    for first in 0..=text.len() {
        for second in first..=text.len() {
            let parts = [&text[..first], &text[first..second], &text[second..]];
            assert_eq!(run(&framing, &parts).0, expected, "split at {first} and {second}");
        }
    }
}

fn whole(terminator: Terminator, limit: usize) -> Framing {
    Framing { terminator, delivery: Delivery::Whole { limit } }
}

fn pieces(terminator: Terminator) -> Framing {
    Framing { terminator, delivery: Delivery::Pieces }
}

#[test]
fn lines_whole() {
    check(
        Framing::line(10),
        b"one\r\n\r\nt\rw\no\r\r\nrest",
        &[Some(b"one"), Some(b""), Some(b"t\rw\no\r")],
    );
}

#[test]
fn heads_whole() {
    check(
        Framing::delimited(b"\r\n\r\n", 40),
        b"A\r\nB\r\n\r\nC\r\r\n\r\n\n\r\n\r\n",
        &[Some(b"A\r\nB"), Some(b"C\r"), Some(b"\n")],
    );
}

#[test]
fn a_limit_looks_at_the_frame_and_not_at_how_it_came() {
    check(
        Framing::line(3),
        b"abc\r\nabcd\r\nabcdefgh\r\nab\r\nabc\r\r\nx\r\n",
        &[Some(b"abc"), None, None, Some(b"ab"), None, Some(b"x")],
    );
}

#[test]
fn delimited_pieces() {
    let boundary = Terminator::Delimiter(Delimiter::Owned(b"\r\n--aab".as_slice().into()));
    check(
        pieces(boundary),
        b"x\r\n--aaab\r\n--aabyy\r\n--aab",
        &[Some(b"x\r\n--aaab"), Some(b"yy")],
    );
}

#[test]
fn lengths() {
    check(whole(Terminator::Length(3), 3), b"abcdefg", &[Some(b"abc"), Some(b"def")]);
    check(pieces(Terminator::Length(3)), b"abcdefg", &[Some(b"abc"), Some(b"def")]);
    check(whole(Terminator::Length(0), 3), b"abc", &[Some(b"")]);
    check(pieces(Terminator::Length(0)), b"abc", &[Some(b"")]);
    check(whole(Terminator::Length(4), 3), b"abcdefg", &[None, None]);
}

#[test]
fn dot_texts() {
    let text: &[u8] =
        b"one\r\n..two\r\n.\rthree\r\n...\r\n\n.\r\n\r.\r\nx\n.\n\r\n.\r\n.\r\n..\r\n\r\n.\r\nrest";
    let expected: [Option<&[u8]>; 3] = [
        Some(b"one\r\n.two\r\n\rthree\r\n..\r\n\n.\r\n\r.\r\nx\n.\n\r\n"),
        Some(b""),
        Some(b".\r\n\r\n"),
    ];
    check(pieces(Terminator::DotLine), text, &expected);
    check(whole(Terminator::DotLine, 100), text, &expected);
}

#[test]
fn a_dot_text_over_its_limit_is_skipped() {
    check(
        whole(Terminator::DotLine, 6),
        b"abcd\r\n.\r\nabcde\r\n.\r\nan endless line",
        &[Some(b"abcd\r\n"), None, None],
    );
    check(whole(Terminator::DotLine, 2), b"a long line\r\n..\r\n.\r\n.\r\n", &[None, Some(b"")]);
}

#[test]
fn what_is_expected_behind_an_overlong_frame_begins_behind_it() {
    let text = b"much too long\r\nabc\r\n";
    for split in 0..text.len() {
        let mut framer = Framer::new(Framing::line(4));
        let (mut input, mut seen) = (Vec::new(), Vec::new());
        for part in [&text[..split], &text[split..]] {
            input.extend_from_slice(part);
            loop {
                let consumed = match framer.cut(&mut input) {
                    Cut::Overlong { consumed } => {
                        framer.expect(Framing::exact(2));
                        consumed
                    }
                    Cut::Frame { start, length, consumed, .. } => {
                        seen.push(input[start..start + length].to_vec());
                        consumed
                    }
                    Cut::Partial { consumed: 0 } => break,
                    Cut::Partial { consumed } => consumed,
                };
                input.drain(..consumed);
            }
        }
        assert_eq!(seen, [&b"ab"[..], b"c\r"], "split at {split}");
    }
}

#[test]
fn a_stream_has_no_end() {
    let (seen, rest) = run(&Framing::stream(), &[b"ab", b"", b"cd"]);
    assert!(seen.is_empty());
    assert_eq!(rest, b"abcd");
}

#[test]
fn the_search_is_linear_however_slowly_bytes_drip() {
    // A quadratic search over 4 MiB byte by byte would not end in a day.
    let size = 4 << 20;
    let mut framer = Framer::new(Framing::delimited(b"\r\n\r\n", size));
    let mut input = vec![b'\r'; size];
    for end in 1..size {
        assert_eq!(framer.cut(&mut input[..end]), Cut::Partial { consumed: 0 });
    }
}

/// What holds for any octets: however they arrive, the frames are the same.
fn fuzz(octets: &[u8]) {
    let framings = [
        Framing::line(30),
        Framing::delimited(b"\r\n\r\n", 40),
        Framing::length(20),
        Framing { terminator: Terminator::DotLine, delivery: Delivery::Whole { limit: 60 } },
        Framing { terminator: Terminator::DotLine, delivery: Delivery::Pieces },
    ];
    for framing in framings {
        let whole = run(&framing, &[octets]);
        let single: Vec<&[u8]> = octets.chunks(1).collect();
        assert_eq!(run(&framing, &single).0, whole.0, "{framing:?}: {octets:?}");
        let (front, back) = octets.split_at(octets.len() / 2);
        assert_eq!(run(&framing, &[front, back]).0, whole.0, "{framing:?}: {octets:?}");
    }
}

#[test]
fn streams_that_are_nearly_right() {
    let corpus = [
        &b"EHLO a.test\r\nMAIL FROM:<>\r\nDATA\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
        b"Subject: a\r\n\r\n..stuffed\r\n.\r\nQUIT\r\n",
        b".\r\n.\r\n",
    ];
    crate::testing::mutated(&corpus, 2, 1_500).for_each(|octets| fuzz(&octets));
}
