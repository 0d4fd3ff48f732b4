//! Numbers drawn by lot: for the order of equals and for the spread of waits. No secrets.

use std::sync::atomic::{AtomicU64, Ordering};

/// Draws numbers; any number of threads may (SplitMix64).
#[derive(Debug)]
pub(crate) struct Lot(AtomicU64);

impl Lot {
    pub(crate) fn new(seed: u64) -> Lot {
        Lot(AtomicU64::new(seed))
    }

    pub(crate) fn draw(&self) -> u64 {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_generator_and_spread() {
        // The reference implementation's first ones from seed 0 (https://prng.di.unimi.it/splitmix64.c).
        let lot = Lot::new(0);
        assert_eq!([lot.draw(), lot.draw()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
        let mut low = [0; 16];
        (0..1600).for_each(|_| low[(lot.draw() % 16) as usize] += 1);
        assert!(low.iter().all(|count| (50..=150).contains(count)), "{low:?}");
    }
}
