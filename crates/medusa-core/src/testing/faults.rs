//! What a network does to a stream: splits, short writes, resets. Deterministic by a seed.

/// A plan of faults.
#[derive(Debug, Clone)]
pub struct Faults {
    reads: Sizes,
    writes: Sizes,
    reset_after: Option<usize>,
}

#[derive(Debug, Clone)]
enum Sizes {
    Whole,
    Each(Vec<usize>, usize),
    Random(u64, usize),
}

impl Faults {
    /// A network that does everything at once.
    pub fn none() -> Self {
        Faults { reads: Sizes::Whole, writes: Sizes::Whole, reset_after: None }
    }

    /// Reads of these sizes, one after the other, again and again. A size of 0 counts as 1.
    #[must_use]
    pub fn reads(mut self, sizes: impl Into<Vec<usize>>) -> Self {
        self.reads = Sizes::Each(sizes.into(), 0);
        self
    }

    /// Short writes of these sizes, one after the other, again and again.
    #[must_use]
    pub fn writes(mut self, sizes: impl Into<Vec<usize>>) -> Self {
        self.writes = Sizes::Each(sizes.into(), 0);
        self
    }

    /// Reads and writes of 1 to `most` bytes, by `seed`.
    pub fn random(seed: u64, most: usize) -> Self {
        Faults {
            reads: Sizes::Random(seed, most),
            writes: Sizes::Random(seed ^ 0x5bd1_e995, most),
            reset_after: None,
        }
    }

    /// A reset once `bytes` have come out.
    #[must_use]
    pub fn reset_after(mut self, bytes: usize) -> Self {
        self.reset_after = Some(bytes);
        self
    }

    pub(super) fn read_size(&mut self, available: usize) -> usize {
        self.reads.next(available as u64) as usize
    }

    pub(super) fn write_size(&mut self, available: u64) -> u64 {
        self.writes.next(available)
    }

    pub(super) fn resets(&self, written: usize) -> bool {
        self.reset_after.is_some_and(|limit| written >= limit)
    }
}

impl Sizes {
    fn next(&mut self, available: u64) -> u64 {
        let size = match self {
            Sizes::Whole => available,
            Sizes::Each(sizes, at) => {
                let size = sizes.get(*at % sizes.len().max(1)).copied().unwrap_or(usize::MAX);
                *at += 1;
                size as u64
            }
            Sizes::Random(seed, most) => {
                // Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
                *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *seed;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                (z ^ (z >> 31)) % (*most as u64).max(1) + 1
            }
        };
        size.clamp(1.min(available), available)
    }
}
