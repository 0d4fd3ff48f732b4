//! Bad input from good: octets that are nearly right, by the thousand, the same in every run.
//!
//! What a fuzzer does without a compiler's help: it knows no coverage, and finds what is near to its corpus.

/// Changes of `corpus`, `count` of them, by `seed`. A parser's test hands each to a plain function that
/// asserts what must hold for any octets.
pub fn mutated<'a>(
    corpus: &'a [&'a [u8]],
    seed: u64,
    count: usize,
) -> impl Iterator<Item = Vec<u8>> + 'a {
    let mut dice = Dice(seed);
    (0..count).map(move |_| {
        let mut octets = dice.one_of(corpus).to_vec();
        for _ in 0..=dice.below(4) {
            dice.change(&mut octets, corpus);
        }
        octets
    })
}

/// What parsers of line protocols stumble over.
const ODD: &[&[u8]] = &[
    b"\0",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n\n",
    b" ",
    b"\t",
    b":",
    b".",
    b"..",
    b"%00",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"-1",
    b"0",
    b"00000000000000000000",
    b"18446744073709551616",
    b"ffffffffffffffff",
];

/// Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end.max(1) as u64) as usize
    }

    fn one_of<'a>(&mut self, all: &[&'a [u8]]) -> &'a [u8] {
        let at = self.below(all.len());
        all.get(at).copied().unwrap_or_default()
    }

    /// A range of at most sixteen octets.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let end = (start + self.below(17)).min(length);
        start..end
    }

    fn change(&mut self, octets: &mut Vec<u8>, corpus: &[&[u8]]) {
        let at = self.below(octets.len());
        match self.below(7) {
            0 => {
                let bit = self.below(8);
                if let Some(octet) = octets.get_mut(at) {
                    *octet ^= 1 << bit;
                }
            }
            1 => {
                let any = self.roll() as u8;
                if let Some(octet) = octets.get_mut(at) {
                    *octet = any;
                }
            }
            2 => drop(octets.drain(self.range(octets.len()))),
            3 => octets.extend_from_within(self.range(octets.len())),
            4 => octets.truncate(at),
            5 => {
                let odd = self.one_of(ODD);
                octets.splice(at..at, odd.iter().copied());
            }
            _ => {
                let other = self.one_of(corpus);
                let range = self.range(other.len());
                octets.splice(at..at, other[range].iter().copied());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same() {
        let corpus = [&b"GET / HTTP/1.1"[..], b""];
        let all: Vec<_> = mutated(&corpus, 7, 500).collect();
        assert_eq!(all, mutated(&corpus, 7, 500).collect::<Vec<_>>());
        assert_ne!(all, mutated(&corpus, 8, 500).collect::<Vec<_>>());
        assert!(all.iter().any(|octets| octets.len() > 14) && all.contains(&Vec::new()));
        assert_eq!(mutated(&[], 1, 10).count(), 10);
    }
}
