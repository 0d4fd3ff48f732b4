//! The parts of a multipart/byteranges body (RFC 9110 §14.6), composed before the first is sent, so
//! that the length is known then. Pure: the bytes of the file are somebody else's.

use std::ops::Range;

use bytes::Bytes;

/// A body in parts: each a head and a range of the file, and what closes it.
#[derive(Clone, Debug)]
pub(crate) struct Multipart {
    /// For the Content-Type field of the whole.
    pub(crate) content_type: String,
    pub(crate) parts: Vec<(Bytes, Range<u64>)>,
    pub(crate) close: Bytes,
}

/// Composes the heads of these ranges of a file of this type and length. The seed makes the
/// boundary: whoever knows the boundary in advance can write a file that breaks out of its part.
pub(crate) fn compose(seed: u64, media_type: &str, len: u64, ranges: &[Range<u64>]) -> Multipart {
    let boundary = boundary(seed);
    let mut line_end = "";
    let mut parts = Vec::with_capacity(ranges.len());
    for range in ranges {
        let head = format!(
            "{line_end}--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {}\r\n\r\n",
            content_range(range, len)
        );
        // The line end before a boundary belongs to the boundary (RFC 2046 §5.1.1).
        line_end = "\r\n";
        parts.push((Bytes::from(head), range.clone()));
    }
    let close = format!("{line_end}--{boundary}--\r\n");
    Multipart {
        content_type: format!("multipart/byteranges; boundary={boundary}"),
        parts,
        close: Bytes::from(close),
    }
}

/// The value of a Content-Range field (RFC 9110 §14.4). The range isn't empty.
pub(crate) fn content_range(range: &Range<u64>, len: u64) -> String {
    format!("bytes {}-{}/{len}", range.start, range.end - 1)
}

/// The value of a Content-Range field with 416.
pub(crate) fn unsatisfied_range(len: u64) -> String {
    format!("bytes */{len}")
}

/// 32 hexadecimal digits from two rounds of SplitMix64, which spreads neighbouring seeds apart.
fn boundary(seed: u64) -> String {
    let mix = |state: u64| {
        let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ (state >> 31)
    };
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let first = mix(seed.wrapping_add(STEP));
    let second = mix(seed.wrapping_add(STEP.wrapping_mul(2)));
    format!("{first:016x}{second:016x}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn body(multipart: &Multipart, file: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for (head, range) in &multipart.parts {
            body.extend_from_slice(head);
            body.extend_from_slice(&file[range.start as usize..range.end as usize]);
        }
        body.extend_from_slice(&multipart.close);
        body
    }

    #[test]
    fn a_body_in_two_parts() {
        let file = b"0123456789";
        let multipart = compose(7, "text/plain", 10, &[7..9, 0..1]);
        let boundary = multipart.content_type.strip_prefix("multipart/byteranges; boundary=");
        let boundary = boundary.unwrap();
        assert_eq!(boundary.len(), 32);
        let expected = format!(
            "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-8/10\r\n\r\n78\r\n\
             --{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/10\r\n\r\n0\r\n\
             --{boundary}--\r\n"
        );
        let body = body(&multipart, file);
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn boundaries_differ_and_repeat_with_their_seed() {
        assert_eq!(boundary(1), boundary(1));
        let distinct: std::collections::HashSet<_> = (0..1000).map(boundary).collect();
        assert_eq!(distinct.len(), 1000);
    }

    proptest! {
        /// A plain reader of multipart finds in each part the slice that its Content-Range names.
        #[test]
        fn each_part_is_its_slice(
            file in proptest::collection::vec(any::<u8>(), 1..300),
            picks in proptest::collection::vec((0usize..300, 1usize..300), 1..6),
            seed: u64,
        ) {
            let len = file.len();
            let ranges: Vec<Range<u64>> = picks
                .iter()
                .map(|&(start, length)| {
                    let start = start % len;
                    start as u64..(start + length).min(len) as u64
                })
                .collect();
            let multipart = compose(seed, "a/b", len as u64, &ranges);
            let body = body(&multipart, &file);
            let boundary = multipart.content_type.split_once("boundary=").unwrap().1;
            let delimiter = format!("\r\n--{boundary}").into_bytes();
            let text = [b"\r\n", &body[..]].concat();
            let mut starts: Vec<_> = memchr::memmem::find_iter(&text, &delimiter).collect();
            let last = starts.pop().unwrap();
            prop_assert_eq!(&text[last + delimiter.len()..], b"--\r\n");
            prop_assert_eq!(starts.len(), ranges.len());
            starts.push(last);
            for (pair, range) in starts.windows(2).zip(&ranges) {
                let part = &text[pair[0] + delimiter.len()..pair[1]];
                let head_end = memchr::memmem::find(part, b"\r\n\r\n").unwrap() + 4;
                let slice = &file[range.start as usize..range.end as usize];
                prop_assert_eq!(&part[head_end..], slice);
                let head = std::str::from_utf8(&part[..head_end]).unwrap();
                prop_assert!(head.contains(&content_range(range, len as u64)));
            }
        }
    }
}
