//! Stored password hashes: argon2id in PHC string form, `$argon2id$v=19$m=19456,t=2,p=1$salt$hash`.
//!
//! Everything here blocks for as long as the parameters ask for, and so belongs into the offload
//! pool. It doesn't know names or files.

use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, Version};
use subtle::ConstantTimeEq;

use crate::{
    Error,
    secret::{Password, random},
};

/// The costliest hash that is accepted from a users file. A login needs this much memory in every
/// thread of the pool: beyond it a typing error in the file becomes an outage.
const MEMORY_LIMIT_KIB: u32 = 1024 * 1024;
/// With the above, a bound on the time of one login.
const PASSES_LIMIT: u32 = 64;
const LANES_LIMIT: u32 = 64;
/// Blocks of 1 KiB that are reserved at least, though only those that are needed are touched. The C
/// library keeps freed memory of up to 32 MiB (glibc's `DEFAULT_MMAP_THRESHOLD_MAX`) for later, in
/// every thread of the pool; glibc 2.36 was seen to keep ten times the memory of one hash. A larger
/// piece goes back to the system at once.
const UNMAPPED_WHEN_FREED: usize = 33 * 1024;
const SALT_OCTETS: usize = 16;
const OUTPUT_OCTETS: usize = 32;
/// A shorter hash could be met by chance, so it is refused.
const SHORTEST_OUTPUT: usize = 16;

/// What a hash costs to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// How often the memory is gone over.
    pub passes: u32,
    /// How many independent lanes it has.
    pub lanes: u32,
}

impl Default for HashCost {
    /// 19 MiB, two passes, one lane: the first choice of OWASP's Password Storage Cheat Sheet.
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 }
    }
}

/// A stored argon2id hash.
#[derive(Clone)]
pub struct StoredHash {
    phc: String,
    argon: Argon2<'static>,
    salt: Vec<u8>,
    output: Vec<u8>,
}

impl StoredHash {
    /// Hashes a password with a new salt. Blocks.
    ///
    /// # Errors
    ///
    /// [`Error::UnusablePassword`], [`Error::Random`], and [`Error::BadHash`] for a cost that
    /// argon2 doesn't allow or that can't be afforded.
    pub fn create(password: &Password, cost: HashCost) -> Result<Self, Error> {
        password.check_usable()?;
        let salt = random::<SALT_OCTETS>()?;
        let argon = context(cost, Version::V0x13)?;
        let mut output = [0; OUTPUT_OCTETS];
        compute(&argon, password, &salt, &mut output).map_err(bad)?;
        Self::assemble(argon, &salt, &output)
    }

    /// A hash that no password has, as costly as the others: what an unknown name is verified
    /// against, so that it takes as long as a known one.
    pub(crate) fn unmatchable(cost: HashCost) -> Result<Self, Error> {
        Self::assemble(
            context(cost, Version::V0x13)?,
            &random::<SALT_OCTETS>()?,
            &random::<OUTPUT_OCTETS>()?,
        )
    }

    /// Reads the PHC form.
    ///
    /// # Errors
    ///
    /// [`Error::BadHash`], saying what is wrong.
    pub fn parse(phc: &str) -> Result<Self, Error> {
        let parsed = PasswordHash::new(phc)
            .map_err(|e| Error::BadHash(format!("not a password hash in PHC form ({e})")))?;
        if parsed.algorithm != argon2::ARGON2ID_IDENT {
            return Err(Error::BadHash(format!(
                "only argon2id hashes are accepted, not {}",
                parsed.algorithm
            )));
        }
        let (Some(salt), Some(output)) = (parsed.salt, parsed.hash) else {
            return Err(Error::BadHash("the hash is cut short".into()));
        };
        if output.len() < SHORTEST_OUTPUT {
            return Err(Error::BadHash("the hash is shorter than 128 bits".into()));
        }
        // Before version 19 the PHC form had no version at all.
        let version = match parsed.version {
            None | Some(16) => Version::V0x10,
            Some(19) => Version::V0x13,
            Some(v) => return Err(Error::BadHash(format!("argon2 has no version {v}"))),
        };
        let params = Params::try_from(&parsed).map_err(bad)?;
        if !params.data().is_empty() || !params.keyid().is_empty() {
            return Err(Error::BadHash("hashes with `data` or `keyid` aren't supported".into()));
        }
        let cost = HashCost {
            memory_kib: params.m_cost(),
            passes: params.t_cost(),
            lanes: params.p_cost(),
        };
        Ok(Self {
            phc: phc.to_owned(),
            argon: context(cost, version)?,
            salt: salt.as_ref().to_vec(),
            output: output.as_bytes().to_vec(),
        })
    }

    /// The PHC form.
    pub fn as_str(&self) -> &str {
        &self.phc
    }

    /// What verifying a password against it costs.
    pub fn cost(&self) -> HashCost {
        let params = self.argon.params();
        HashCost { memory_kib: params.m_cost(), passes: params.t_cost(), lanes: params.p_cost() }
    }

    /// Whether it is this password's hash. Blocks, and takes the same time either way.
    pub fn matches(&self, password: &Password) -> bool {
        let mut output = vec![0; self.output.len()];
        // The one thing that can still fail is memory: then nobody gets in.
        compute(&self.argon, password, &self.salt, &mut output).is_ok()
            && bool::from(output.ct_eq(&self.output))
    }

    fn assemble(argon: Argon2<'static>, salt: &[u8], output: &[u8]) -> Result<Self, Error> {
        let form = PasswordHash {
            algorithm: argon2::ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: argon.params().try_into().map_err(bad)?,
            salt: Some(salt.try_into().map_err(bad)?),
            hash: Some(output.try_into().map_err(bad)?),
        };
        Ok(Self { phc: form.to_string(), argon, salt: salt.to_vec(), output: output.to_vec() })
    }
}

impl std::fmt::Debug for StoredHash {
    /// The hash stays out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoredHash").field("cost", &self.cost()).finish_non_exhaustive()
    }
}

fn compute(
    argon: &Argon2<'_>,
    password: &Password,
    salt: &[u8],
    output: &mut [u8],
) -> Result<(), argon2::Error> {
    let blocks = argon.params().block_count();
    let mut memory: Vec<Block> = Vec::new();
    memory
        .try_reserve_exact(blocks.max(UNMAPPED_WHEN_FREED))
        .map_err(|_| argon2::Error::OutOfMemory)?;
    memory.resize(blocks, Block::default());
    argon.hash_password_into_with_memory(password.prepared().as_bytes(), salt, output, memory)
}

fn context(cost: HashCost, version: Version) -> Result<Argon2<'static>, Error> {
    let HashCost { memory_kib, passes, lanes } = cost;
    if memory_kib > MEMORY_LIMIT_KIB || passes > PASSES_LIMIT || lanes > LANES_LIMIT {
        return Err(Error::BadHash(format!(
            "a login would cost m={memory_kib},t={passes},p={lanes}; at most \
             m={MEMORY_LIMIT_KIB},t={PASSES_LIMIT},p={LANES_LIMIT} is accepted"
        )));
    }
    let params = Params::new(memory_kib, passes, lanes, None).map_err(bad)?;
    Ok(Argon2::new(Algorithm::Argon2id, version, params))
}

fn bad(error: impl std::fmt::Display) -> Error {
    Error::BadHash(format!("argon2 can't work with these parameters ({error})"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The least that argon2 accepts, so that tests don't spend their time in it.
    pub(crate) const CHEAP: HashCost = HashCost { memory_kib: 8, passes: 1, lanes: 1 };

    #[test]
    fn a_hash_knows_its_password() {
        let hash = StoredHash::create(&Password::new("pässword"), CHEAP).unwrap();
        assert!(hash.as_str().starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{}", hash.as_str());
        let read = StoredHash::parse(hash.as_str()).unwrap();
        assert_eq!(read.cost(), CHEAP);
        assert!(read.matches(&Password::new("pässword")));
        // The same text in another normal form is the same password.
        assert!(read.matches(&Password::new("pa\u{308}ssword")));
        assert!(!read.matches(&Password::new("pässwort")));
        assert!(!read.matches(&Password::new("")));
    }

    /// From the test suite of the reference implementation (argon2id, version 19).
    #[test]
    fn a_hash_of_the_reference_implementation_is_understood() {
        let hash = StoredHash::parse(
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        )
        .unwrap();
        assert!(hash.matches(&Password::new("password")));
        assert!(!hash.matches(&Password::new("Password")));
    }

    #[test]
    fn an_unmatchable_hash_costs_the_same_and_matches_nothing() {
        let hash = StoredHash::unmatchable(CHEAP).unwrap();
        assert_eq!(hash.cost(), CHEAP);
        assert!(!hash.matches(&Password::new("")));
        assert!(!hash.matches(&Password::new("password")));
    }

    #[test]
    fn every_bad_hash_is_refused_with_its_reason() {
        let salted = "c29tZXNhbHRzb21l";
        let hash = "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        for (phc, reason) in [
            (String::new(), "PHC form"),
            ("hunter2".into(), "PHC form"),
            ("$6$salt$hash".into(), "PHC form"),
            (format!("$argon2i$v=19$m=256,t=2,p=1${salted}${hash}"), "only argon2id"),
            (format!("$argon2id$v=19$m=256,t=2,p=1${salted}"), "cut short"),
            ("$argon2id$v=19$m=256,t=2,p=1".into(), "cut short"),
            (format!("$argon2id$v=19$m=256,t=2,p=1${salted}$nf65EOgLrQMR/uIP"), "128 bits"),
            (format!("$argon2id$v=20$m=256,t=2,p=1${salted}${hash}"), "version 20"),
            (format!("$argon2id$v=19$m=1,t=2,p=1${salted}${hash}"), "parameters"),
            (format!("$argon2id$v=19$m=256,t=0,p=1${salted}${hash}"), "parameters"),
            (format!("$argon2id$v=19$m=4000000,t=2,p=1${salted}${hash}"), "at most"),
            (format!("$argon2id$v=19$m=256,t=99999,p=1${salted}${hash}"), "at most"),
            (format!("$argon2id$v=19$m=256,t=2,p=1,data=AAAA${salted}${hash}"), "`data`"),
        ] {
            let error = StoredHash::parse(&phc).unwrap_err().to_string();
            assert!(error.contains(reason), "{phc}: {error}");
        }
    }

    #[test]
    fn the_default_cost_is_the_documented_one() {
        let cost = HashCost::default();
        assert_eq!((cost.memory_kib, cost.passes, cost.lanes), (19_456, 2, 1));
        context(cost, Version::V0x13).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_text_is_refused_without_a_panic(text in "\\PC{0,120}") {
            let _ = StoredHash::parse(&text);
            let _ = StoredHash::parse(&format!("$argon2id$v=19${text}"));
        }
    }
}
