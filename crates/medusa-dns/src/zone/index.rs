//! From the hash of a name to where it stands: a table that is filled once and only read then.
//!
//! It knows numbers alone. Whether a place has the right name is for the caller to say.

/// Open addressing, with a part of the hash in each slot so that strangers are seldom looked at.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// A tag in the upper half, a place in the lower one; 0 is free.
    slots: Box<[u64]>,
    mask: usize,
}

impl Index {
    /// A table for so many places.
    pub(crate) fn for_places(count: usize) -> Index {
        // At most 2/3 full, so that chains stay short.
        let size = (count + count / 2 + 1).next_power_of_two();
        Index { slots: vec![0; size].into(), mask: size - 1 }
    }

    /// Adds a place. The caller knows that there are not more of them than were announced.
    pub(crate) fn insert(&mut self, hash: u64, place: u32) {
        let mut slot = hash as usize & self.mask;
        while self.slots[slot] != 0 {
            slot = (slot + 1) & self.mask;
        }
        self.slots[slot] = tag(hash) | u64::from(place);
    }

    /// The place with this hash that `is_it` takes.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut slot = hash as usize & self.mask;
        loop {
            let entry = *self.slots.get(slot)?;
            if entry == 0 {
                return None;
            }
            if entry & TAG == tag(hash) && is_it(entry as u32) {
                return Some(entry as u32);
            }
            slot = (slot + 1) & self.mask;
        }
    }

    /// Puts other numbers in place of those that there are.
    pub(crate) fn renumber(&mut self, number: impl Fn(u32) -> u32) {
        for slot in self.slots.iter_mut().filter(|slot| **slot != 0) {
            *slot = *slot & TAG | u64::from(number(*slot as u32));
        }
    }

    /// How many octets it takes.
    pub(crate) fn octets(&self) -> usize {
        self.slots.len() * size_of::<u64>()
    }
}

const TAG: u64 = 0xFFFF_FFFF_0000_0000;

/// Never 0, so that no entry is.
fn tag(hash: u64) -> u64 {
    hash & TAG | 1 << 63
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_found_again() {
        let mut index = Index::for_places(100);
        // Hashes that all begin at few slots.
        let hash = |number: u32| u64::from(number % 3) | u64::from(number) << 40;
        (0..100).for_each(|number| index.insert(hash(number), number));
        index.renumber(|number| number * 2);
        for number in 0..100 {
            assert_eq!(index.find(hash(number), |place| place == number * 2), Some(number * 2));
        }
        assert_eq!(index.find(hash(100), |_| true), None);
        assert_eq!(index.find(hash(1), |_| false), None);
        assert_eq!(Index::default().find(1, |_| true), None);
    }
}
