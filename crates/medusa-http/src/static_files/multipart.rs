//! The parts of a multipart/byteranges body (RFC 9110 §14.6). Their length is known before the first is sent;
//! the head of each is made when its turn comes, since a hundred responses may wait for a client, and what waits is
//! to weigh little. Pure: the bytes of the file are somebody else's.

use std::ops::Range;

use medusa_core::{Outbox, ProduceError, Produced, Producer};

/// A body in parts: each a head and a range of the file, and what closes it.
#[derive(Clone, Debug)]
pub(crate) struct Multipart {
    boundary: String,
    media_type: &'static str,
    /// Of the file.
    len: u64,
    ranges: Box<[Range<u64>]>,
}

impl Multipart {
    /// Of these ranges of a file of this type and length. The seed makes the boundary: whoever knows the boundary
    /// in advance can write a file that breaks out of its part.
    pub(crate) fn new(
        seed: u64,
        media_type: &'static str,
        len: u64,
        ranges: Vec<Range<u64>>,
    ) -> Self {
        Self { boundary: boundary(seed), media_type, len, ranges: ranges.into() }
    }

    /// For the Content-Type field of the whole.
    pub(crate) fn content_type(&self) -> String {
        format!("multipart/byteranges; boundary={}", self.boundary)
    }

    /// What stands before a part, or behind the last one.
    fn head(&self, at: usize) -> String {
        let Self { boundary, media_type, len, ranges } = self;
        // The line end before a boundary belongs to the boundary (RFC 2046 §5.1.1).
        let line_end = if at == 0 { "" } else { "\r\n" };
        match ranges.get(at) {
            Some(range) => format!(
                "{line_end}--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {}\r\n\r\n",
                content_range(range, *len)
            ),
            None => format!("{line_end}--{boundary}--\r\n"),
        }
    }

    /// How long the whole is.
    fn length(&self) -> u64 {
        let heads = (0..=self.ranges.len()).map(|at| self.head(at).len() as u64);
        let octets = self.ranges.iter().map(|range| range.end - range.start);
        heads.chain(octets).fold(0, u64::saturating_add)
    }

    /// The body, of what `part` makes of each range.
    pub(crate) fn body<P>(self, part: P) -> Parts<P>
    where
        P: FnMut(Range<u64>) -> Box<dyn Producer>,
    {
        Parts { left: self.length(), multipart: self, part, next: 0, current: None }
    }
}

/// Made by [`Multipart::body`].
pub(crate) struct Parts<P> {
    multipart: Multipart,
    part: P,
    /// The head that comes next; the last closes the body.
    next: usize,
    /// The range behind the last head.
    current: Option<Box<dyn Producer>>,
    left: u64,
}

impl<P: FnMut(Range<u64>) -> Box<dyn Producer>> Parts<P> {
    fn step(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        if let Some(current) = &mut self.current {
            match current.produce(out)? {
                Produced::Done => self.current = None,
                other => return Ok(other),
            }
            return Ok(Produced::More);
        }
        out.push_slice(self.multipart.head(self.next).as_bytes());
        let range = self.multipart.ranges.get(self.next).cloned();
        self.next += 1;
        match range {
            Some(range) => self.current = Some((self.part)(range)),
            None => return Ok(Produced::Done),
        }
        Ok(Produced::More)
    }
}

impl<P: FnMut(Range<u64>) -> Box<dyn Producer>> Producer for Parts<P> {
    fn produce(&mut self, out: &mut Outbox) -> Result<Produced, ProduceError> {
        let began = out.pushed();
        let mut produced = self.step(out);
        while matches!(produced, Ok(Produced::More)) && out.room() > 0 {
            produced = self.step(out);
        }
        self.left = self.left.saturating_sub(out.pushed() - began);
        produced
    }

    fn remaining(&self) -> Option<u64> {
        Some(self.left)
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
    use medusa_core::producer::bytes;
    use proptest::prelude::*;

    use super::*;

    /// The body, made in bits of `room` octets, and what is said to remain before each.
    fn body(multipart: &Multipart, file: &[u8], room: u64) -> Vec<u8> {
        let file = bytes::Bytes::copy_from_slice(file);
        let slice = move |range: Range<u64>| -> Box<dyn Producer> {
            Box::new(bytes(file.slice(range.start as usize..range.end as usize)))
        };
        let mut parts = multipart.clone().body(slice);
        let (mut body, mut out) = (Vec::new(), Outbox::new());
        out.set_target(room);
        let length = parts.remaining().unwrap();
        loop {
            assert_eq!(parts.remaining(), Some(length - body.len() as u64));
            let produced = parts.produce(&mut out).unwrap();
            while !out.is_empty() {
                let front = out.front().to_vec();
                out.advance(front.len() as u64);
                body.extend(front);
            }
            if produced == Produced::Done {
                assert_eq!(parts.remaining(), Some(0));
                return body;
            }
        }
    }

    #[test]
    fn a_body_in_two_parts() {
        let file = b"0123456789";
        let multipart = Multipart::new(7, "text/plain", 10, vec![7..9, 0..1]);
        let content_type = multipart.content_type();
        let boundary = content_type.strip_prefix("multipart/byteranges; boundary=").unwrap();
        assert_eq!(boundary.len(), 32);
        let expected = format!(
            "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 7-8/10\r\n\r\n78\r\n\
             --{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes 0-0/10\r\n\r\n0\r\n\
             --{boundary}--\r\n"
        );
        for room in [1, 100, 10_000] {
            let body = body(&multipart, file, room);
            assert_eq!(String::from_utf8(body).unwrap(), expected);
        }
    }

    #[test]
    fn what_waits_weighs_little() {
        let ranges = (0..64).map(|at| at * 1000..at * 1000 + 1).collect();
        let multipart = Multipart::new(7, "text/plain", 100_000, ranges);
        let weight = size_of_val(&*multipart.ranges) + multipart.boundary.capacity();
        assert!(weight < 2048, "{weight}");
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
            let multipart = Multipart::new(seed, "a/b", len as u64, ranges.clone());
            let body = body(&multipart, &file, 64);
            let boundary = &multipart.boundary;
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
