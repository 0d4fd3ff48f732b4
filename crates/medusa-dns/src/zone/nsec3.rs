//! Hashed denial of existence (RFC 5155): the hash, and which record covers it.
//!
//! Which of them a proof needs is for `answer::denial` to say.

use sha1::{Digest, Sha1};

/// The length of a SHA-1 hash, the only one there is (RFC 5155 §11).
pub(crate) const HASH: usize = 20;

/// The most iterations that are computed. Resolvers take zones with more for unsigned, and each costs
/// whoever is asked (RFC 9276 §3.2; BIND and Knot Resolver have 50 to 150).
pub(crate) const MOST_ITERATIONS: u16 = 150;

/// The chain of NSEC3 records of a zone.
#[derive(Debug)]
pub(crate) struct Nsec3 {
    salt: Box<[u8]>,
    iterations: u16,
    /// Hashes in order, each with the number of its node.
    chain: Box<[([u8; HASH], u32)]>,
}

impl Nsec3 {
    pub(crate) fn new(salt: &[u8], iterations: u16, mut chain: Vec<([u8; HASH], u32)>) -> Nsec3 {
        chain.sort_unstable();
        Nsec3 { salt: salt.into(), iterations, chain: chain.into() }
    }

    /// The hash of a wire name in lower case (RFC 5155 §5).
    pub(crate) fn hash(&self, wire: &[u8]) -> [u8; HASH] {
        let mut hash: [u8; HASH] =
            Sha1::new().chain_update(wire).chain_update(&self.salt).finalize().into();
        for _ in 0..self.iterations {
            hash = Sha1::new().chain_update(hash).chain_update(&self.salt).finalize().into();
        }
        hash
    }

    /// The node whose record is that of this very hash.
    pub(crate) fn matching(&self, hash: &[u8; HASH]) -> Option<u32> {
        let found = self.chain.binary_search_by_key(&hash, |(own, _)| own).ok()?;
        Some(self.chain[found].1)
    }

    /// The node whose record covers this hash, which is none of the chain's.
    pub(crate) fn covering(&self, hash: &[u8; HASH]) -> Option<u32> {
        let behind = self.chain.partition_point(|(own, _)| own <= hash);
        let before = behind.checked_sub(1).or(self.chain.len().checked_sub(1))?;
        Some(self.chain[before].1)
    }

    /// How many octets it takes.
    pub(crate) fn octets(&self) -> usize {
        self.chain.len() * size_of::<([u8; HASH], u32)>() + self.salt.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::text::base32_into;

    #[test]
    fn hashes_are_those_of_the_rfc() {
        // RFC 5155, appendix A.
        let nsec3 = Nsec3::new(&[0xAA, 0xBB, 0xCC, 0xDD], 12, Vec::new());
        for (name, expected) in [
            (&b"\x07example\x00"[..], "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            (b"\x01a\x07example\x00", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            (b"\x01*\x01w\x07example\x00", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
        ] {
            let mut hash = Vec::new();
            base32_into(&mut hash, expected.as_bytes()).unwrap();
            assert_eq!(nsec3.hash(name).to_vec(), hash, "{expected}");
        }
    }

    #[test]
    fn the_chain_is_a_ring() {
        let chain = vec![([30; HASH], 3), ([10; HASH], 1), ([20; HASH], 2)];
        let nsec3 = Nsec3::new(&[], 0, chain);
        assert_eq!(nsec3.matching(&[20; HASH]), Some(2));
        assert_eq!(nsec3.matching(&[21; HASH]), None);
        for (hash, node) in [(5, 3), (15, 1), (25, 2), (35, 3)] {
            assert_eq!(nsec3.covering(&[hash; HASH]), Some(node));
        }
        assert_eq!(Nsec3::new(&[], 0, Vec::new()).covering(&[1; HASH]), None);
    }
}
