//! Which octet may stand where: tables for the grammar of RFC 9110 §5 and RFC 9112 §3, and the
//! search for the end of a run. Knows nothing of what the runs mean.

/// A `tchar` (RFC 9110 §5.6.2).
pub(crate) const TOKEN: u8 = 1;
/// May stand in a request target: visible ASCII but `#`, which begins a fragment and is never sent
/// (RFC 9112 §3.2), and octets above ASCII, which curl sends unencoded.
pub(crate) const TARGET: u8 = 2;
/// May stand in a host: unreserved, sub-delims and `%` (RFC 3986 §3.2.2).
pub(crate) const REG_NAME: u8 = 4;
/// May stand between a quoted string's quotes, unescaped (RFC 9110 §5.6.4).
pub(crate) const QUOTED: u8 = 8;
/// May stand in a field's value (RFC 9110 §5.5).
pub(crate) const VALUE: u8 = 16;
/// `?` and `%`, which make a target more than a path as it is.
const ODD: u8 = 32;
/// `/`.
const SLASH: u8 = 64;
/// What makes a path odd behind a slash: another one, or a dot. The next bit after SLASH.
const ODD_BEHIND_SLASH: u8 = SLASH << 1;

const CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut octet = 0;
    while octet < 256 {
        let b = octet as u8;
        let mut class = 0;
        if b.is_ascii_alphanumeric() || in_set(b, b"!#$%&'*+-.^_`|~") {
            class |= TOKEN;
        }
        if (b > b' ' && b != 0x7f) && b != b'#' {
            class |= TARGET;
        }
        if b.is_ascii_alphanumeric() || in_set(b, b"-._~!$&'()*+,;=%") {
            class |= REG_NAME;
        }
        if b == b'\t' || (b >= b' ' && b != 0x7f) {
            class |= VALUE;
            if b != b'"' && b != b'\\' {
                class |= QUOTED;
            }
        }
        if b == b'?' || b == b'%' {
            class |= ODD;
        }
        if b == b'/' {
            class |= SLASH;
        }
        if b == b'/' || b == b'.' {
            class |= ODD_BEHIND_SLASH;
        }
        table[octet] = class;
        octet += 1;
    }
    table
};

const fn in_set(b: u8, set: &[u8]) -> bool {
    let mut i = 0;
    while i < set.len() {
        if set[i] == b {
            return true;
        }
        i += 1;
    }
    false
}

/// Whether the octet is of the class.
#[inline]
pub(crate) const fn is(octet: u8, class: u8) -> bool {
    CLASSES[octet as usize] & class != 0
}

/// Whether there is at least one octet and all are of the class.
#[cfg(test)]
pub(crate) fn all(octets: &[u8], class: u8) -> bool {
    !octets.is_empty() && octets.iter().all(|&b| is(b, class))
}

/// Where the run of octets of the class that begins at `at` ends.
#[inline]
pub(crate) fn run(octets: &[u8], at: usize, class: u8) -> usize {
    let mut end = at;
    while let Some(&[a, b, c, d]) = octets.get(end..).and_then(|rest| rest.first_chunk()) {
        let classes = [a, b, c, d].map(|octet| CLASSES[octet as usize]);
        if classes[0] & classes[1] & classes[2] & classes[3] & class == 0 {
            break;
        }
        end += 4;
    }
    while let Some(&octet) = octets.get(end)
        && is(octet, class)
    {
        end += 1;
    }
    end
}

/// A word of eight octets in which each is 1, or 0x80.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Marks, by its highest bit, the first octet of a word that is below an ASCII one. Octets behind it may be
/// marked wrongly, for a borrow: a search from the front doesn't meet them, and nothing is ever left unmarked.
#[inline]
const fn below(word: u64, octet: u8) -> u64 {
    word.wrapping_sub(octet as u64 * ONES) & !word & HIGH
}

/// The same for the first octet that equals an ASCII one.
#[inline]
pub(super) const fn equal(word: u64, octet: u8) -> u64 {
    below(word ^ (octet as u64 * ONES), 1)
}

/// Where the run of target octets that begins at `at` ends, and whether it is plain: without a query,
/// percent-encoding, dot segments or empty ones.
#[inline]
pub(crate) fn target_run(octets: &[u8], at: usize) -> (usize, bool) {
    let (mut end, mut odd, mut before) = (at, 0, 0);
    // Eight octets at a time, as long as there is nothing to see in them but letters, digits and what else
    // stands in ordinary paths. What is marked beside the space at the end is looked at again below.
    let mut slash_before = 0;
    while let Some(eight) = octets.get(end..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        // A slash, or a dot, which differs in one bit, behind a slash.
        let slashes = equal(word, b'/');
        let behind = (slashes << 8 | slash_before) & equal(word | ONES, b'/');
        // Space, `#`, `%` and others up to `*`; DEL or `?`, which differ in one bit.
        let marks = below(word, b'*' + 1) | equal(word | (0x40 * ONES), 0x7f) | behind;
        if marks != 0 {
            let bits = marks.trailing_zeros() & !7;
            if (word >> bits) as u8 == b' ' {
                return (end + bits as usize / 8, true);
            }
            break;
        }
        slash_before = slashes >> 56;
        end += 8;
    }
    if slash_before != 0 {
        before = SLASH;
    }
    let at = end;
    for &octet in octets.get(at..).unwrap_or_default() {
        let class = CLASSES[octet as usize];
        if class & TARGET == 0 {
            break;
        }
        odd |= class & ODD | class & (before << 1) & ODD_BEHIND_SLASH;
        before = class;
        end += 1;
    }
    (end, odd == 0)
}

/// Where the run of field-value octets that begins at `at` ends: the same as [`run`] with
/// [`VALUE`], eight octets at a time, since values are most of a head.
#[inline]
pub(crate) fn value_run(octets: &[u8], mut at: usize) -> usize {
    while let Some(eight) = octets.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*eight);
        let del = word ^ (0x7f * ONES);
        // The first octet below a space, or equal to DEL; a borrow can mark only later ones.
        let hits = (word.wrapping_sub(0x20 * ONES) & !word | del.wrapping_sub(ONES) & !del) & HIGH;
        if hits == 0 {
            at += 8;
            continue;
        }
        at += (hits.trailing_zeros() / 8) as usize;
        if octets[at] != b'\t' {
            return at;
        }
        at += 1;
    }
    run(octets, at, VALUE)
}

/// Without the optional white space at both ends (RFC 9110 §5.6.3).
pub(crate) fn trim(octets: &[u8]) -> &[u8] {
    trim_end(trim_start(octets))
}

#[inline]
fn trim_start(mut octets: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = octets {
        octets = rest;
    }
    octets
}

#[inline]
fn trim_end(mut octets: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = octets {
        octets = rest;
    }
    octets
}

/// Where what lies from `start` to `end` begins and ends without that white space. One space before a value and
/// none behind it is what everybody sends.
#[inline]
pub(super) fn trimmed(octets: &[u8], start: usize, end: usize) -> (usize, usize) {
    let is_blank = |at: usize| matches!(octets.get(at), Some(b' ' | b'\t'));
    let begin = start + usize::from(start < end && octets.get(start) == Some(&b' '));
    if begin < end && (is_blank(begin) || is_blank(end - 1)) {
        return trimmed_slowly(octets, begin, end);
    }
    (begin, end)
}

#[cold]
fn trimmed_slowly(octets: &[u8], start: usize, end: usize) -> (usize, usize) {
    let untrimmed = octets.get(start..end).unwrap_or_default();
    let value = trim_start(untrimmed);
    let begin = start + untrimmed.len() - value.len();
    (begin, begin + trim_end(value).len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn value_run_equals_the_plain_run(octets in proptest::collection::vec(
            prop_oneof![9 => 0x20u8..=0xff, 1 => any::<u8>(), 1 => Just(b'\t')], 0..64),
            start in 0usize..64)
        {
            let start = start.min(octets.len());
            prop_assert_eq!(value_run(&octets, start), run(&octets, start, VALUE));
        }
    }

    #[test]
    fn every_single_octet_is_judged_alike_at_every_offset() {
        for octet in 0..=255u8 {
            for offset in 0..20 {
                let mut line = [b'a'; 24];
                line[offset] = octet;
                assert_eq!(value_run(&line, 0), run(&line, 0, VALUE), "{octet:#x} at {offset}");
            }
        }
    }

    proptest! {
        #[test]
        fn target_run_equals_the_plain_run(target in "([ab/.%?#é ]|[a-z/]{6,9}){0,12}") {
            let octets = target.as_bytes();
            let (end, is_plain) = target_run(octets, 0);
            prop_assert_eq!(end, run(octets, 0, TARGET));
            let run = String::from_utf8_lossy(&octets[..end]).into_owned();
            let odd = ["?", "%", "//", "/."].iter().any(|odd| run.contains(odd));
            prop_assert_eq!(is_plain, !odd);
        }
    }

    #[test]
    fn the_first_octet_of_a_word_is_found_and_none_is_missed() {
        let marked = |marks: u64| (0..8).filter(move |at| marks >> (8 * at) & 0x80 != 0);
        for (at, octet) in (0..8).flat_map(|at| (0..=255u8).map(move |octet| (at, octet))) {
            for beside in [0, 1, 0x20, b'/', b'%', 0x7f, 0x80, 0xff] {
                let mut eight = [beside; 8];
                eight[at] = octet;
                let word = u64::from_le_bytes(eight);
                let check = |marks: u64, wanted: &dyn Fn(u8) -> bool| {
                    let true_ones: Vec<_> = (0..8).filter(|at| wanted(eight[*at])).collect();
                    assert_eq!(marked(marks).next(), true_ones.first().copied(), "{eight:?}");
                    assert!(true_ones.iter().all(|at| marked(marks).any(|found| found == *at)));
                };
                for wanted in [b'/', b'%', 0x7f] {
                    check(equal(word, wanted), &|octet| octet == wanted);
                }
                check(below(word, 0x21), &|octet| octet < 0x21);
            }
        }
    }

    #[test]
    fn white_space_is_trimmed_in_place() {
        for text in ["", " ", "  ", "\t", " a", "a", " a ", "\ta", "a\t ", "  a b\t", "   ", " \t "]
        {
            let line = format!("x:{text}\r\n");
            let (start, end) = trimmed(line.as_bytes(), 2, 2 + text.len());
            assert_eq!(&line.as_bytes()[start..end], trim(text.as_bytes()), "{text:?}");
        }
    }

    #[test]
    fn trim_takes_only_spaces_and_tabs() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b"\x0ba"), b"\x0ba");
    }
}
