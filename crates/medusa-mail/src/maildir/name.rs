//! Names of messages in a Maildir: `TIME.unique.host,S=octets,W=octets,U=octets:2,FLAGS`.
//!
//! What stands before the first comma names the message for good, and is its unique id; sizes and flags
//! may change behind it (<https://cr.yp.to/proto/maildir.html>, and Courier's and Dovecot's `,S=` and
//! `,W=`). `,U=` is of this program: what a session that knows no UTF-8 is sent, and 0 where that is the message
//! as it is.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Error;
use crate::measured::Sizes;

/// RFC 1939 §7.
const UNIQUE_ID_OCTETS: usize = 70;

/// A new name, never used before by anyone: time, process, a counter and 48 random bits of the process, so that
/// neither two processes of one number in two containers nor a clock set back can make it twice.
pub(crate) fn unique() -> Result<String, Error> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (id, random) = process()?;
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let (seconds, micros) = (now.as_secs(), now.subsec_micros());
    Ok(format!("{seconds}.M{micros:06}P{id}Q{count}R{random:012x}"))
}

/// This process's number and random bits, asked for once: each costs a system call.
fn process() -> Result<(u32, u64), Error> {
    static PROCESS: OnceLock<(u32, u64)> = OnceLock::new();
    if let Some(process) = PROCESS.get() {
        return Ok(*process);
    }
    let random = getrandom::u64().map_err(|error| Error::Io {
        path: "getrandom".into(),
        source: std::io::Error::other(error.to_string()),
    })?;
    // Of two threads that come here first, both have what one of them drew.
    Ok(*PROCESS.get_or_init(|| (std::process::id(), random >> 16)))
}

/// The name of a message in `new`.
pub(crate) fn with_sizes(unique: &str, host: &str, sizes: &Sizes) -> String {
    with_missing_sizes(&format!("{unique}.{host}"), sizes)
}

/// Whether a name in `tmp` is one that [`unique`] made.
pub(crate) fn is_ours(name: &str) -> bool {
    let Some(unique) = name.split('.').nth(1) else { return false };
    let Some((head, random)) = unique.rsplit_once('R') else { return false };
    head.starts_with('M')
        && head.contains('P')
        && head.contains('Q')
        && random.len() == 12
        && random.bytes().all(|octet| octet.is_ascii_hexdigit())
}

/// A host's name as it can stand in a file's, and short enough for the whole to be a unique id. It is
/// for people: nothing depends on it.
pub(crate) fn host(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '_' };
    let host: String = name.chars().map(plain).take(20).collect();
    if host.is_empty() { "localhost".into() } else { host }
}

/// What a name says of its message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Parsed<'n> {
    /// What never changes.
    pub base: &'n str,
    pub size: Option<u64>,
    pub wire_size: Option<u64>,
    /// 0 where there is none.
    pub surrogate_size: Option<u64>,
}

impl Parsed<'_> {
    /// The sizes, if it says all of them.
    pub(crate) fn sizes(&self) -> Option<Sizes> {
        let surrogate_size = self.surrogate_size?;
        Some(Sizes {
            size: self.size?,
            wire_size: self.wire_size?,
            surrogate_size: (surrogate_size > 0).then_some(surrogate_size),
        })
    }
}

/// Reads a name; `None` for what is no message.
pub(crate) fn parse(name: &str) -> Option<Parsed<'_>> {
    if name.starts_with('.') {
        return None;
    }
    let (stem, _) = name.split_once(":2,").unwrap_or((name, ""));
    let mut parts = stem.split(',');
    let base = parts.next().filter(|base| !base.is_empty())?;
    let mut parsed = Parsed { base, size: None, wire_size: None, surrogate_size: None };
    for part in parts {
        match part.split_once('=') {
            Some(("S", size)) => parsed.size = size.parse().ok(),
            Some(("W", size)) => parsed.wire_size = size.parse().ok(),
            Some(("U", size)) => parsed.surrogate_size = size.parse().ok(),
            _ => {}
        }
    }
    Some(parsed)
}

/// The unique id of a message: its base where that can be one, else a digest of it.
pub(crate) fn unique_id(base: &str) -> String {
    let fits = base.len() <= UNIQUE_ID_OCTETS && base.bytes().all(|octet| octet.is_ascii_graphic());
    if fits {
        return base.to_owned();
    }
    // FNV-1a twice: another program's name of more than 70 octets, told apart from others in one box.
    let digest = |seed: u64| {
        base.bytes()
            .fold(seed, |hash, octet| (hash ^ u64::from(octet)).wrapping_mul(0x0000_0100_0000_01b3))
    };
    format!("D{:016x}{:016x}", digest(0xcbf2_9ce4_8422_2325), digest(0x6c62_272e_07bb_0142))
}

/// The same name with the sizes in it that it doesn't say, before the flags.
pub(crate) fn with_missing_sizes(name: &str, sizes: &Sizes) -> String {
    let (stem, flags) = match name.find(":2,") {
        Some(at) => name.split_at(at),
        None => (name, ""),
    };
    let parsed = parse(name);
    let said = |size: fn(&Parsed<'_>) -> Option<u64>| parsed.as_ref().and_then(size).is_some();
    let mut told = stem.to_owned();
    for (key, is_said, size) in [
        ("S", said(|parsed| parsed.size), sizes.size),
        ("W", said(|parsed| parsed.wire_size), sizes.wire_size),
        ("U", said(|parsed| parsed.surrogate_size), sizes.surrogate_size.unwrap_or(0)),
    ] {
        if !is_said {
            told.push_str(&format!(",{key}={size}"));
        }
    }
    told + flags
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SIZES: Sizes = Sizes { size: 5, wire_size: 6, surrogate_size: Some(7) };

    #[test]
    fn names_are_unique_and_fit_as_ids() {
        let host = host("mail.example.test");
        let names: HashSet<String> = (0..1000).map(|_| unique().unwrap()).collect();
        assert_eq!(names.len(), 1000);
        for unique in names {
            let name = with_sizes(&unique, &host, &SIZES);
            let parsed = parse(&name).unwrap();
            assert_eq!(parsed.sizes(), Some(SIZES));
            assert_eq!(unique_id(parsed.base), parsed.base, "{name} is too long for an id");
            assert!(is_ours(&name));
        }
    }

    #[test]
    fn names_of_others_are_read() {
        let check = |name: &str, base: &str, size, wire_size| {
            let parsed = parse(name).unwrap();
            assert_eq!((parsed.base, parsed.size, parsed.wire_size), (base, size, wire_size));
            assert_eq!(parsed.sizes(), None, "{name}");
        };
        check("1.a.host", "1.a.host", None, None);
        check("1.a.host:2,", "1.a.host", None, None);
        check("1.a.host,S=12:2,FS", "1.a.host", Some(12), None);
        check("1.a.host,W=13,S=12,X", "1.a.host", Some(12), Some(13));
        check("1.a.host,S=x,W=", "1.a.host", None, None);
        for none in [".hidden", ",S=5", ""] {
            assert_eq!(parse(none), None);
        }
        for (name, told) in [
            ("1.a,S=5:2,S", "1.a,S=5,W=6,U=7:2,S"),
            ("1.a,W=6:2,", "1.a,W=6,S=5,U=7:2,"),
            ("1.a", "1.a,S=5,W=6,U=7"),
            ("1.a,S=5,W=6,U=7", "1.a,S=5,W=6,U=7"),
        ] {
            assert_eq!(with_missing_sizes(name, &SIZES), told);
        }
        let plain = Sizes { surrogate_size: None, ..SIZES };
        assert_eq!(with_missing_sizes("1.a", &plain), "1.a,S=5,W=6,U=0");
        assert_eq!(parse("1.a,S=5,W=6,U=0").unwrap().sizes(), Some(plain));
        assert_eq!(unique_id(&"x".repeat(71)).len(), 33);
        assert_eq!(host("a/b:c,\u{fc}"), "a_b_c__");
        assert_eq!(host(""), "localhost");
        for other in ["1.R.host", "1.a.host", "", "1.M1P1Q1R0123.host", "dovecot.M1P1.host"] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
