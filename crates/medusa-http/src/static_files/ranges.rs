//! Which bytes of a file a Range field asks for (RFC 9110 §14). Pure.
//!
//! A field that can't be understood is ignored, as is one that asks for too much: the client gets
//! the whole, which is always a right answer (RFC 9110 §14.2).

use std::ops::Range;

/// How many ranges one request may ask for; Apache's `MaxRanges` is 200. More is what attacks look like
/// (CVE-2011-3192), and each weighs 16 octets for as long as its response waits.
const MAX_RANGES: usize = 64;
/// Ranges closer than this are sent as one, since a part's head is longer than the gap
/// (RFC 9110 §15.3.7.2 speaks of around 80).
const SMALL_GAP: u64 = 80;

/// What is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// Everything, with 200.
    Whole,
    /// One range, with 206 and Content-Range.
    One(Range<u64>),
    /// Two or more that don't overlap, with 206 and multipart/byteranges.
    Several(Vec<Range<u64>>),
    /// Nothing of it is there: 416.
    Unsatisfiable,
}

/// Reads a Range field against a file of this length.
pub(crate) fn select(field: &[u8], len: u64) -> Selection {
    let Some(set) = strip_unit(field) else {
        return Selection::Whole;
    };
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut count = 0;
    let mut is_satisfiable = false;
    for spec in set.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
        if spec.is_empty() {
            continue;
        }
        count += 1;
        let Some(range) = parse(spec, len).filter(|_| count <= MAX_RANGES) else {
            return Selection::Whole;
        };
        match range {
            Spec::Bytes(range) => ranges.push(range),
            Spec::AllOfNothing => is_satisfiable = true,
            Spec::Beyond => {}
        }
    }
    match ranges.len() {
        // No range at all is no ranges-specifier. The end of an empty file is satisfiable, and can
        // be written as no Content-Range.
        0 if count == 0 || is_satisfiable => Selection::Whole,
        0 => Selection::Unsatisfiable,
        1 => Selection::One(ranges.swap_remove(0)),
        _ => {
            let mut ranges = coalesce(ranges);
            match ranges.len() {
                1 => Selection::One(ranges.swap_remove(0)),
                _ => Selection::Several(ranges),
            }
        }
    }
}

enum Spec {
    Bytes(Range<u64>),
    /// The last so many bytes of an empty file.
    AllOfNothing,
    Beyond,
}

/// `bytes=`, in any case (RFC 9110 §14.1: range units are case-insensitive).
fn strip_unit(field: &[u8]) -> Option<&[u8]> {
    let equals = field.iter().position(|&byte| byte == b'=')?;
    field[..equals].eq_ignore_ascii_case(b"bytes").then(|| &field[equals + 1..])
}

/// One range; `None` where it isn't one.
fn parse(spec: &[u8], len: u64) -> Option<Spec> {
    let dash = spec.iter().position(|&byte| byte == b'-')?;
    let (first, last) = (&spec[..dash], &spec[dash + 1..]);
    if first.is_empty() {
        let suffix = number(last)?;
        return Some(match (suffix, len) {
            (0, _) => Spec::Beyond,
            (_, 0) => Spec::AllOfNothing,
            _ => Spec::Bytes(len.saturating_sub(suffix)..len),
        });
    }
    let first = number(first)?;
    let end = match last {
        b"" => len,
        last => {
            let last = number(last)?;
            if last < first {
                return None;
            }
            last.saturating_add(1).min(len)
        }
    };
    Some(if first < len { Spec::Bytes(first..end) } else { Spec::Beyond })
}

/// Digits, and nothing else; what is too large for any file is as large as can be.
fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: u64, &digit: &u8| sum.saturating_mul(10).saturating_add((digit - b'0').into());
    Some(digits.iter().fold(0, add))
}

/// Joins ranges that overlap or nearly touch. What remains is in the order in which it was asked
/// for, a joined range standing where the first of its parts stood.
fn coalesce(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut sorted: Vec<(usize, Range<u64>)> = ranges.into_iter().enumerate().collect();
    sorted.sort_unstable_by_key(|(_, range)| range.start);
    let mut joined: Vec<(usize, Range<u64>)> = Vec::with_capacity(sorted.len());
    for (place, range) in sorted {
        match joined.last_mut() {
            Some((first, last)) if range.start <= last.end.saturating_add(SMALL_GAP) => {
                last.end = last.end.max(range.end);
                *first = place.min(*first);
            }
            _ => joined.push((place, range)),
        }
    }
    joined.sort_unstable_by_key(|&(place, _)| place);
    joined.into_iter().map(|(_, range)| range).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_table_of_ranges() {
        use Selection::*;
        let table = [
            ("bytes=0-0", One(0..1)),
            ("bytes=0-", One(0..1000)),
            ("bytes=0-999", One(0..1000)),
            ("bytes=0-99999", One(0..1000)),
            ("bytes=999-", One(999..1000)),
            ("bytes=-1", One(999..1000)),
            ("bytes=-2000", One(0..1000)),
            ("BYTES=5-9", One(5..10)),
            ("bytes= 5-9 ", One(5..10)),
            ("bytes=,5-9,,", One(5..10)),
            ("bytes=1000-", Unsatisfiable),
            ("bytes=1000-2000", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=18446744073709551616-", Unsatisfiable),
            ("bytes=5-99999999999999999999999", One(5..1000)),
            ("bytes=-99999999999999999999999", One(0..1000)),
            ("bytes=1000-,5-9", One(5..10)),
            ("bytes=0-9,500-509", Several(vec![0..10, 500..510])),
            ("bytes=500-509, 0-9", Several(vec![500..510, 0..10])),
            ("bytes=500-509,0-9,505-600", Several(vec![500..601, 0..10])),
            ("bytes=0-9,505-600,-1,500-509", Several(vec![0..10, 500..601, 999..1000])),
            ("bytes=0-9,10-19", One(0..20)),
            ("bytes=0-9,50-59", One(0..60)),
            ("bytes=0-9,91-99", Several(vec![0..10, 91..100])),
            ("bytes=0-9,90-99", One(0..100)),
            ("bytes=0-,-1", One(0..1000)),
            // Not understood, so the whole.
            ("bytes=9-5", Whole),
            ("bytes=0-9,9-5", Whole),
            ("bytes=", Whole),
            ("bytes=,", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("bytes=1 - 2", Whole),
            ("bytes=1-2-3", Whole),
            ("bytes 1-2", Whole),
            ("bytes", Whole),
            ("", Whole),
            ("lines=1-2", Whole),
        ];
        for (field, expected) in table {
            assert_eq!(select(field.as_bytes(), 1000), expected, "{field}");
        }
    }

    #[test]
    fn an_empty_file_has_no_bytes_to_name() {
        assert_eq!(select(b"bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(select(b"bytes=0-0", 0), Selection::Unsatisfiable);
        assert_eq!(select(b"bytes=-5", 0), Selection::Whole);
        assert_eq!(select(b"bytes=-0", 0), Selection::Unsatisfiable);
    }

    #[test]
    fn too_many_ranges_are_none() {
        let many = |count: usize| {
            let specs: Vec<_> = (0..count).map(|n| format!("{0}-{0}", n * 1000)).collect();
            select(format!("bytes={}", specs.join(",")).as_bytes(), 1 << 40)
        };
        assert!(
            matches!(many(MAX_RANGES), Selection::Several(ranges) if ranges.len() == MAX_RANGES)
        );
        assert_eq!(many(MAX_RANGES + 1), Selection::Whole);
    }

    proptest! {
        /// What is selected is what was asked for, and nothing comes twice.
        #[test]
        fn the_selection_holds_each_byte_asked_for_once(
            specs in proptest::collection::vec((0u64..600, 0u64..600, 0u8..3), 1..12),
            len in 0u64..500,
        ) {
            let mut asked = vec![false; len as usize];
            let mut field = String::from("bytes=");
            for (one, other, form) in specs {
                let (first, last) = (one.min(other), one.max(other));
                let range = match form {
                    0 => { field += &format!("{first}-{last},"); first..(last + 1).min(len) }
                    1 => { field += &format!("{first}-,"); first..len }
                    _ => { field += &format!("-{first},"); len.saturating_sub(first)..len }
                };
                for at in range {
                    asked[at as usize] = true;
                }
            }
            let ranges = match select(field.as_bytes(), len) {
                Selection::One(range) => vec![range],
                Selection::Several(ranges) => { prop_assert!(ranges.len() > 1); ranges }
                Selection::Unsatisfiable => vec![],
                Selection::Whole => { prop_assert_eq!(len, 0); vec![] }
            };
            let mut sent = vec![0u32; len as usize];
            for range in &ranges {
                prop_assert!(range.start < range.end && range.end <= len);
                for at in range.clone() {
                    sent[at as usize] += 1;
                }
            }
            for (at, &asked) in asked.iter().enumerate() {
                prop_assert!(sent[at] <= 1, "byte {} is sent twice", at);
                prop_assert!(!asked || sent[at] == 1, "byte {} is missing", at);
            }
        }

        #[test]
        fn no_field_brings_it_down(field in proptest::collection::vec(any::<u8>(), 0..40), len: u64) {
            let _ = select(&field, len);
            let _ = select(&[b"bytes=", &field[..]].concat(), len);
        }
    }
}
