//! The search for a delimiter. It knows nothing of frames, and remembers nothing.

use memchr::memchr;

/// Finds `delimiter` in `input`, knowing that none begins before `from`. The rarest byte of a text
/// delimiter is its last, so the search is for that.
#[inline]
pub(super) fn find_from(input: &[u8], delimiter: &[u8], from: usize) -> Option<usize> {
    /// So many octets are looked at here, eight at a time: lines are short, and a call of memchr costs as
    /// much as that. It does the rest.
    const NEAR: usize = 64;
    const ONES: u64 = 0x0101_0101_0101_0101;
    const LOW: u64 = 0x7f * ONES;
    let (&last, rest) = delimiter.split_last()?;
    let four: Option<[u8; 4]> = delimiter.try_into().ok();
    let begins = |end: usize| {
        let start = end - rest.len();
        let is_there = match four {
            // That of a request's head, in one comparison.
            Some(four) => input[start..].first_chunk() == Some(&four),
            // From the back, octet by octet: delimiters are short, and a call of memcmp costs more.
            None => input[start..end].iter().rev().eq(rest.iter().rev()),
        };
        is_there.then_some(start)
    };
    let mut at = from + rest.len();
    let far = at + NEAR;
    while at < far
        && let Some(eight) = input.get(at..).and_then(|input| input.first_chunk::<8>())
    {
        let differs = u64::from_le_bytes(*eight) ^ (u64::from(last) * ONES);
        // The highest bit of each octet that doesn't differ.
        let mut marks = !(((differs & LOW) + LOW) | differs | LOW);
        while marks != 0 {
            let found = begins(at + marks.trailing_zeros() as usize / 8);
            if found.is_some() {
                return found;
            }
            marks &= marks - 1;
        }
        at += 8;
    }
    loop {
        let rest = input.get(at..)?;
        let found = match rest.len() {
            0..8 => rest.iter().position(|octet| *octet == last)?,
            _ => memchr(last, rest)?,
        };
        let begin = begins(at + found);
        if begin.is_some() {
            return begin;
        }
        at += found + 1;
    }
}

#[cfg(test)]
mod tests {
    use memchr::memmem;

    use super::*;

    #[test]
    fn a_delimiter_is_found_wherever_it_stands() {
        for delimiter in [&b"\n"[..], b"\r\n", b"\r\n\r\n", b"\r\n--boundary"] {
            for length in [0, 1, 3, 4, 7, 8, 9, 12, 17, 40, 63, 64, 66, 68, 71, 72, 90] {
                // Neighbours that a careless comparison would take for it.
                for filler in [b'\n', b'\r', b'\n' ^ 1, b'\n' | 0x80] {
                    let mut input = vec![filler; length];
                    let plain = |input: &[u8]| memmem::find(input, delimiter);
                    assert_eq!(find_from(&input, delimiter, 0), plain(&input));
                    for at in 0..length.saturating_sub(delimiter.len()) {
                        input[at..at + delimiter.len()].copy_from_slice(delimiter);
                        assert_eq!(find_from(&input, delimiter, 0), plain(&input), "{input:?}");
                        let later = plain(&input[at / 2..]).map(|found| at / 2 + found);
                        assert_eq!(find_from(&input, delimiter, at / 2), later, "{input:?}");
                        input[at..at + delimiter.len()].fill(filler);
                    }
                }
            }
        }
    }
}
