//! The decoder, fed by a plain reading of what it wants, in pieces of any size.

use proptest::prelude::*;

use super::*;

type DataAndRest = (Vec<u8>, Vec<u8>);

/// Feeds a body, its data in pieces of at most `piece`: the data, and what is left behind it.
/// `None` where the octets end before the body does.
fn decode(
    mut octets: &[u8],
    piece: usize,
    limits: ChunkLimits,
) -> Result<Option<DataAndRest>, Fault> {
    let mut decoder = Decoder::new(limits, Some(1 << 20));
    let mut body = Vec::new();
    loop {
        match decoder.wants() {
            Want::Nothing => return Ok(Some((body, octets.to_vec()))),
            Want::Line { limit } => {
                let Some(end) = memchr::memmem::find(octets, b"\r\n") else { return Ok(None) };
                if end > limit {
                    return Err(decoder.overlong());
                }
                decoder.handle_frame(&octets[..end], true)?;
                octets = &octets[end + 2..];
            }
            Want::Octets(mut left) => {
                while left > 0 {
                    let n = octets.len().min(piece).min(usize::try_from(left).unwrap_or(piece));
                    if n == 0 {
                        return Ok(None);
                    }
                    left -= n as u64;
                    assert_eq!(decoder.handle_frame(&octets[..n], left == 0)?, Decoded::Data);
                    body.extend_from_slice(&octets[..n]);
                    octets = &octets[n..];
                }
            }
        }
    }
}

#[test]
fn bodies_that_are_taken() {
    for (octets, body, rest) in [
        ("0\r\n\r\nGET", "", "GET"),
        ("5\r\nhello\r\n0\r\n\r\n", "hello", ""),
        ("5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nx", "hello!", "x"),
        ("00A\r\n0123456789\r\n000\r\n\r\n", "0123456789", ""),
        ("a\r\n0123\r\n6789\r\n0\r\n\r\n", "0123\r\n6789", ""),
        ("1;a\r\nx\r\n0;b=c;d=\"e\\\" f\"\r\n\r\n", "x", ""),
        ("1 ; a = b\r\nx\r\n0\r\n\r\n", "x", ""),
        ("0\r\nX: y\r\nContent-Length: 3\r\n\r\nabc", "", "abc"),
        ("0\r\nX:\r\n\r\n", "", ""),
    ] {
        for piece in 1..12 {
            let expected = Some((body.as_bytes().to_vec(), rest.as_bytes().to_vec()));
            let limits = ChunkLimits::default();
            assert_eq!(decode(octets.as_bytes(), piece, limits), Ok(expected), "{octets:?}");
        }
    }
}

#[test]
fn bodies_that_are_refused() {
    for (octets, fault) in [
        ("\r\n", Fault::ChunkSize),
        ("x\r\n", Fault::ChunkSize),
        ("0x5\r\nhello\r\n", Fault::ChunkSize),
        ("+5\r\nhello\r\n", Fault::ChunkSize),
        ("-5\r\nhello\r\n", Fault::ChunkSize),
        (" 5\r\nhello\r\n", Fault::ChunkSize),
        ("5 \r\nhello\r\n", Fault::ChunkSize),
        ("5\t\r\nhello\r\n", Fault::ChunkSize),
        ("5,\r\nhello\r\n", Fault::ChunkSize),
        ("5 5\r\nhello\r\n", Fault::ChunkSize),
        ("5\nhello\r\n0\r\n\r\n", Fault::ChunkSize),
        ("5\rhello\r\n", Fault::ChunkSize),
        ("5\0\r\nhello\r\n", Fault::ChunkSize),
        ("10000000000000000\r\n", Fault::ChunkSize),
        ("00000000000000005\r\nhello\r\n", Fault::ChunkSize),
        ("FFFFFFFFFFFFFFFF\r\n", Fault::BodyTooLong),
        ("5;\r\nhello\r\n", Fault::ChunkSize),
        ("5;=a\r\nhello\r\n", Fault::ChunkSize),
        ("5;a=\r\nhello\r\n", Fault::ChunkSize),
        ("5;a=\"b\r\nhello\r\n", Fault::ChunkSize),
        ("5;a=\"b\"c\r\nhello\r\n", Fault::ChunkSize),
        ("5;a b\r\nhello\r\n", Fault::ChunkSize),
        ("5;a\nb\r\nhello\r\n", Fault::ChunkSize),
        ("5;a=\"\n\"\r\nhello\r\n", Fault::ChunkSize),
        ("5;a\r\rb\r\nhello\r\n", Fault::ChunkSize),
        ("5;a \r\nhello\r\n", Fault::ChunkSize),
        ("5\r\nhelloX\r\n0\r\n\r\n", Fault::ChunkEnd),
        ("5\r\nhello0\r\n\r\n", Fault::ChunkEnd),
        ("5\r\nhello\n0\r\n\r\n", Fault::ChunkEnd),
        ("0\r\nX y\r\n\r\n", Fault::Trailer),
        ("0\r\nX : y\r\n\r\n", Fault::Trailer),
        ("0\r\n X: y\r\n\r\n", Fault::Trailer),
        ("0\r\nX: y\nZ: a\r\n\r\n", Fault::Trailer),
        ("0\r\nX: \0\r\n\r\n", Fault::Trailer),
        ("0\r\nGET / HTTP/1.1\r\n\r\n", Fault::Trailer),
    ] {
        for piece in [1, 3, 100] {
            let result = decode(octets.as_bytes(), piece, ChunkLimits::default());
            assert_eq!(result, Err(fault), "{octets:?}");
        }
    }
}

#[test]
fn what_stands_beside_the_data_is_bounded() {
    let limits = ChunkLimits { line: 20, extensions: 40, trailers: 30 };
    let ask = |octets: String| decode(octets.as_bytes(), 100, limits);
    let with_extension = |n| format!("1;{}\r\nx\r\n", "a".repeat(n));
    assert!(ask(with_extension(18) + "0\r\n\r\n").is_ok());
    assert_eq!(ask(with_extension(19) + "0\r\n\r\n"), Err(Fault::ChunkSize));
    assert!(ask(with_extension(9).repeat(4) + "0\r\n\r\n").is_ok());
    assert_eq!(ask(with_extension(9).repeat(5) + "0\r\n\r\n"), Err(Fault::ChunkSize));
    assert!(ask("0\r\n".to_owned() + &"X: y\r\n".repeat(5) + "\r\n").is_ok());
    assert_eq!(ask("0\r\n".to_owned() + &"X: y\r\n".repeat(6) + "\r\n"), Err(Fault::Trailer));
    let mut decoder = Decoder::new(limits, Some(3));
    assert_eq!(decoder.handle_frame(b"2", true), Ok(Decoded::Framing));
    assert_eq!(decoder.handle_frame(b"ab", true), Ok(Decoded::Data));
    assert_eq!(decoder.handle_frame(b"", true), Ok(Decoded::Framing));
    assert_eq!(decoder.handle_frame(b"2", true), Err(Fault::BodyTooLong));
}

proptest! {
    #[test]
    fn what_was_chunked_comes_out(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..8),
        piece in 1usize..20,
    ) {
        let mut octets = Vec::new();
        for chunk in &chunks {
            octets.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            octets.extend_from_slice(chunk);
            octets.extend_from_slice(b"\r\n");
        }
        octets.extend_from_slice(b"0\r\n\r\nnext");
        let expected = Some((chunks.concat(), b"next".to_vec()));
        prop_assert_eq!(decode(&octets, piece, ChunkLimits::default()), Ok(expected));
    }

    #[test]
    fn arbitrary_lines_never_panic(
        lines in proptest::collection::vec("[0-9a-f;=\"\\\\ \tXy:\r\n]{0,12}", 0..8),
    ) {
        let mut decoder = Decoder::new(ChunkLimits::default(), None);
        for line in lines {
            if decoder.handle_frame(line.as_bytes(), true).is_err() {
                break;
            }
        }
    }
}

/// What holds for any octets: however a body arrives, it is the same one or the same fault.
fn fuzz(octets: &[u8]) {
    let limits = ChunkLimits::default();
    let whole = decode(octets, usize::MAX, limits);
    assert_eq!(decode(octets, 1, limits), whole, "{:?}", String::from_utf8_lossy(octets));
    if let Ok(Some((body, rest))) = whole {
        assert!(body.len() + rest.len() < octets.len());
        assert!(octets.ends_with(&rest));
    }
}

#[test]
fn bodies_that_are_nearly_right() {
    let corpus = [
        &b"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nGET / HTTP/1.1"[..],
        b"1;a=b;c=\"d\\\" e\"\r\nx\r\n0\r\n\r\n",
        b"0\r\nX: y\r\nContent-Length: 3\r\n\r\nabc",
        b"00A\r\n0123\r\n6789\r\n000\r\n\r\n",
    ];
    medusa_core::testing::mutated(&corpus, 4, 20_000).for_each(|octets| fuzz(&octets));
}
