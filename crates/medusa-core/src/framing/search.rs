//! The search for a delimiter. It knows nothing of frames, and remembers nothing.

use memchr::{memchr, memmem};

#[cfg(target_arch = "aarch64")]
use memchr::arch::aarch64::neon::packedpair::Finder;
#[cfg(target_arch = "x86_64")]
use memchr::arch::x86_64::sse2::packedpair::Finder;

/// Finds `delimiter` in `input`, knowing that none begins before `from`.
#[inline]
pub(super) fn find_from(input: &[u8], delimiter: &[u8], from: usize) -> Option<usize> {
    let rest = input.get(from..)?;
    let found = match delimiter {
        [] => None,
        [octet] => memchr(*octet, rest),
        _ => find(rest, delimiter),
    };
    found.map(|at| from + at)
}

/// Sixteen octets at a time, by the delimiter's first octet and its last: both where they belong is the whole
/// of it, nearly always. What `memmem` does to choose a way costs more than a request's head is long.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline]
fn find(input: &[u8], delimiter: &[u8]) -> Option<usize> {
    use memchr::arch::all::packedpair::Pair;
    let ends = u8::try_from(delimiter.len() - 1).ok();
    let pair = ends.and_then(|last| Pair::with_indices(delimiter, 0, last));
    match pair.and_then(|pair| Finder::with_pair(delimiter, pair)) {
        Some(finder) if input.len() >= finder.min_haystack_len() => finder.find(input, delimiter),
        // Too short to be looked at so.
        Some(_) => input.windows(delimiter.len()).position(|window| window == delimiter),
        None => memmem::find(input, delimiter),
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn find(input: &[u8], delimiter: &[u8]) -> Option<usize> {
    memmem::find(input, delimiter)
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
