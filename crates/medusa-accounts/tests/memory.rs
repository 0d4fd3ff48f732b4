//! What a burst of logins leaves behind in memory. Alone in its process, because it looks at all of it.

use std::fs;

use medusa_accounts::{HashCost, Password, StoredHash};

fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("this is Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a field of it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn threads_that_computed_hashes_keep_no_memory() {
    let password = Password::new("secret");
    let hash = StoredHash::create(&password, HashCost::default()).expect("the default cost");
    let before = resident_kib();
    let computed = std::sync::Barrier::new(3);
    let grown = std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let matched = (0..4).filter(|_| hash.matches(&password)).count();
                computed.wait();
                computed.wait();
                assert_eq!(matched, 4);
            });
        }
        computed.wait();
        let grown = resident_kib().saturating_sub(before);
        computed.wait();
        grown
    });
    assert!(grown < 8 * 1024, "{grown} KiB are kept; one hash takes 19,456");
}
