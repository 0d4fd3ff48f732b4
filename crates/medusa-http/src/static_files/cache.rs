//! A cache bounded in entries, in bytes and in descriptors. It knows what it holds by weight alone:
//! not what it is, nor when it is stale.
//!
//! What hasn't been asked for since the hand last passed is given up first (the clock algorithm,
//! which is close to "least recently used" and costs a hit one flag). A hit needs no allocation.

use std::collections::HashMap;

use foldhash::quality::RandomState;

/// What something weighs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) bytes: usize,
    pub(crate) descriptors: usize,
}

/// What a cache may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) entries: usize,
    pub(crate) bytes: usize,
    pub(crate) descriptors: usize,
}

pub(crate) trait Weigh {
    fn weight(&self) -> Weight;
}

pub(crate) struct Cache<V> {
    bounds: Bounds,
    /// Keys are names of files that are there, a few thousand at most, so nobody can pile up ones that
    /// collide; the standard library's hash, which is made to withstand that, was a tenth of a hit.
    index: HashMap<Box<[u8]>, usize, RandomState>,
    slots: Vec<Slot<V>>,
    /// The slot that the hand points at.
    hand: usize,
    held: Weight,
}

struct Slot<V> {
    key: Box<[u8]>,
    value: V,
    weight: Weight,
    is_used: bool,
}

impl<V: Weigh> Cache<V> {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            index: HashMap::default(),
            slots: Vec::new(),
            hand: 0,
            held: Weight::default(),
        }
    }

    /// What is held under a key. Whoever changes what it weighs calls [`reweigh`](Self::reweigh).
    #[inline]
    pub(crate) fn get(&mut self, key: &[u8]) -> Option<&mut V> {
        let slot = &mut self.slots[*self.index.get(key)?];
        slot.is_used = true;
        Some(&mut slot.value)
    }

    /// Holds a value in place of what was held under the key, and hands `dropped` what has to go for
    /// it; that may be the value itself, if it is too heavy for the bounds.
    pub(crate) fn insert(&mut self, key: &[u8], value: V, mut dropped: impl FnMut(V)) {
        self.remove(key).map(&mut dropped);
        let weight = value.weight();
        if self.bounds.entries == 0 || !fits(&self.bounds, weight) {
            dropped(value);
            return;
        }
        while self.slots.len() >= self.bounds.entries || !fits(&self.bounds, sum(self.held, weight))
        {
            match self.evict() {
                Some(value) => dropped(value),
                None => break,
            }
        }
        self.held = sum(self.held, weight);
        self.index.insert(key.into(), self.slots.len());
        self.slots.push(Slot { key: key.into(), value, weight, is_used: false });
    }

    /// Weighs again what is held under a key, and gives up what is too much then.
    pub(crate) fn reweigh(&mut self, key: &[u8], mut dropped: impl FnMut(V)) {
        let Some(&at) = self.index.get(key) else {
            return;
        };
        let slot = &mut self.slots[at];
        slot.is_used = true;
        let before = std::mem::replace(&mut slot.weight, slot.value.weight());
        let after = slot.weight;
        self.held = sum(difference(self.held, before), after);
        while !fits(&self.bounds, self.held) {
            match self.evict() {
                Some(value) => dropped(value),
                None => break,
            }
        }
    }

    /// Gives up what is held under a key.
    pub(crate) fn remove(&mut self, key: &[u8]) -> Option<V> {
        let at = *self.index.get(key)?;
        Some(self.take(at))
    }

    /// Gives up everything.
    pub(crate) fn clear(&mut self, dropped: impl FnMut(V)) {
        self.index.clear();
        self.held = Weight::default();
        self.slots.drain(..).map(|slot| slot.value).for_each(dropped);
    }

    /// Gives up whatever the hand comes to next that wasn't used since it last came by.
    fn evict(&mut self) -> Option<V> {
        if self.slots.is_empty() {
            return None;
        }
        // After one round every flag is down.
        for _ in 0..=self.slots.len() {
            self.hand %= self.slots.len();
            if !std::mem::replace(&mut self.slots[self.hand].is_used, false) {
                break;
            }
            self.hand += 1;
        }
        self.hand %= self.slots.len();
        Some(self.take(self.hand))
    }

    fn take(&mut self, at: usize) -> V {
        let slot = self.slots.swap_remove(at);
        self.index.remove(&slot.key);
        if let Some(moved) = self.slots.get(at)
            && let Some(place) = self.index.get_mut(&moved.key)
        {
            *place = at;
        }
        self.held = difference(self.held, slot.weight);
        slot.value
    }
}

fn fits(bounds: &Bounds, weight: Weight) -> bool {
    weight.bytes <= bounds.bytes && weight.descriptors <= bounds.descriptors
}

fn sum(one: Weight, other: Weight) -> Weight {
    Weight { bytes: one.bytes + other.bytes, descriptors: one.descriptors + other.descriptors }
}

fn difference(one: Weight, other: Weight) -> Weight {
    Weight { bytes: one.bytes - other.bytes, descriptors: one.descriptors - other.descriptors }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Thing(usize, usize);

    impl Weigh for Thing {
        fn weight(&self) -> Weight {
            Weight { bytes: self.0, descriptors: self.1 }
        }
    }

    fn cache(entries: usize, bytes: usize, descriptors: usize) -> Cache<Thing> {
        Cache::new(Bounds { entries, bytes, descriptors })
    }

    #[test]
    fn what_was_used_stays_and_what_was_not_goes() {
        let mut cache = cache(3, 100, 10);
        for key in [b"a", b"b", b"c"] {
            cache.insert(key, Thing(1, 0), |_| panic!("there is room"));
        }
        cache.get(b"a");
        cache.get(b"c");
        let mut dropped = Vec::new();
        cache.insert(b"d", Thing(2, 0), |thing| dropped.push(thing));
        assert_eq!(dropped.len(), 1);
        assert!(cache.get(b"b").is_none());
        for key in [b"a", b"c", b"d"] {
            assert!(cache.get(key).is_some());
        }
    }

    #[test]
    fn bytes_and_descriptors_are_bounds_too() {
        let mut cache = cache(100, 10, 2);
        let mut dropped = 0;
        cache.insert(b"a", Thing(6, 1), |_| dropped += 1);
        cache.insert(b"b", Thing(6, 1), |_| dropped += 1);
        assert_eq!((dropped, cache.slots.len()), (1, 1));
        cache.insert(b"c", Thing(11, 0), |_| dropped += 1);
        assert_eq!((dropped, cache.slots.len()), (2, 1));
        cache.insert(b"d", Thing(0, 1), |_| dropped += 1);
        cache.insert(b"e", Thing(0, 1), |_| dropped += 1);
        assert_eq!((dropped, cache.held.descriptors), (3, 2));
        let mut none = super::Cache::new(Bounds { entries: 0, bytes: 10, descriptors: 10 });
        none.insert(b"a", Thing(1, 1), |_| dropped += 1);
        assert_eq!((dropped, none.slots.len()), (4, 0));
    }

    proptest! {
        /// Whatever is done, the bounds hold, the sums are right, and every key finds its value.
        #[test]
        fn the_bounds_hold(steps in proptest::collection::vec(
            (0u8..4, 0u8..12, 0usize..8, 0usize..3), 0..200))
        {
            let mut cache = cache(5, 20, 4);
            let mut alive = 0;
            for (step, key, bytes, descriptors) in steps {
                let key = [key];
                let mut dropped = 0;
                match step {
                    0 | 1 => {
                        alive += 1;
                        cache.insert(&key, Thing(bytes, descriptors), |_| dropped += 1);
                    }
                    2 => dropped += usize::from(cache.remove(&key).is_some()),
                    3 if bytes == 7 => cache.clear(|_| dropped += 1),
                    _ => {
                        if let Some(thing) = cache.get(&key) {
                            *thing = Thing(bytes, descriptors);
                        }
                        cache.reweigh(&key, |_| dropped += 1);
                    }
                }
                alive -= dropped;
                prop_assert_eq!(alive, cache.slots.len());
                prop_assert_eq!(cache.index.len(), cache.slots.len());
                prop_assert!(cache.slots.len() <= 5 && fits(&cache.bounds, cache.held));
                let mut held = Weight::default();
                for (at, slot) in cache.slots.iter().enumerate() {
                    prop_assert_eq!(cache.index[&slot.key], at);
                    held = sum(held, slot.value.weight());
                }
                prop_assert_eq!(held, cache.held);
            }
        }
    }
}
