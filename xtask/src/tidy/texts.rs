//! What stands in the files: how they open, how long they are, and words that have no place there.

use super::source::{before_tests, code_of, lines_with};
use super::{File, Finding, House};

/// A Rust file is split before it has more lines than this.
const MOST_LINES: usize = 800;
/// A Rust file over this is questioned.
const MANY_LINES: usize = 500;

/// The one file that may hold `unsafe`: system calls that no crate wraps.
const UNSAFE_FILE: &str = "crates/medusa-core/src/sys.rs";

/// The one module that may name rustls: this file, and those in its folder.
const TLS_FILE: &str = "crates/medusa-core/src/transport/tls.rs";
const TLS_FOLDER: &str = "crates/medusa-core/src/transport/tls/";

/// Files (`.rs`) and folders (`/`) without socket, thread, clock or file system.
const PURE: &[&str] = &[
    "crates/medusa-core/src/ancillary.rs",
    "crates/medusa-core/src/channel.rs",
    "crates/medusa-core/src/channel/",
    "crates/medusa-core/src/config.rs",
    "crates/medusa-core/src/datagram.rs",
    "crates/medusa-core/src/desk.rs",
    "crates/medusa-core/src/env.rs",
    "crates/medusa-core/src/framing.rs",
    "crates/medusa-core/src/framing/",
    "crates/medusa-core/src/limits.rs",
    "crates/medusa-core/src/mailbox.rs",
    "crates/medusa-core/src/metrics.rs",
    "crates/medusa-core/src/network.rs",
    "crates/medusa-core/src/outbox.rs",
    "crates/medusa-core/src/peer_rates.rs",
    "crates/medusa-core/src/producer/",
    "crates/medusa-core/src/proxy.rs",
    "crates/medusa-core/src/reply.rs",
    "crates/medusa-core/src/session.rs",
    "crates/medusa-core/src/timer.rs",
    "crates/medusa-http/src/access.rs",
    "crates/medusa-http/src/body.rs",
    "crates/medusa-http/src/chunked.rs",
    "crates/medusa-http/src/chunked/",
    "crates/medusa-http/src/compose.rs",
    "crates/medusa-http/src/date.rs",
    "crates/medusa-http/src/head/",
    "crates/medusa-http/src/monitor/page.rs",
    "crates/medusa-http/src/monitor/prometheus.rs",
    "crates/medusa-http/src/origin.rs",
    "crates/medusa-http/src/request.rs",
    "crates/medusa-http/src/response.rs",
    "crates/medusa-http/src/router.rs",
    "crates/medusa-http/src/session/",
    "crates/medusa-dns/src/answer/",
    "crates/medusa-dns/src/door.rs",
    "crates/medusa-dns/src/name.rs",
    "crates/medusa-dns/src/rate.rs",
    "crates/medusa-dns/src/session.rs",
    "crates/medusa-dns/src/transfer/catalog.rs",
    "crates/medusa-dns/src/transfer/delta.rs",
    "crates/medusa-dns/src/transfer/desk.rs",
    "crates/medusa-dns/src/transfer/fetch.rs",
    "crates/medusa-dns/src/transfer/incoming.rs",
    "crates/medusa-dns/src/transfer/journal.rs",
    "crates/medusa-dns/src/transfer/message.rs",
    "crates/medusa-dns/src/transfer/notice.rs",
    "crates/medusa-dns/src/transfer/outgoing.rs",
    "crates/medusa-dns/src/transfer/secondary.rs",
    "crates/medusa-dns/src/transfer/tsig.rs",
    "crates/medusa-dns/src/transfer/update.rs",
    "crates/medusa-dns/src/types.rs",
    "crates/medusa-dns/src/wire.rs",
    "crates/medusa-dns/src/zone/",
    "crates/medusa-pop3/src/access.rs",
    "crates/medusa-pop3/src/commands.rs",
    "crates/medusa-pop3/src/replies.rs",
    "crates/medusa-pop3/src/retrieval.rs",
    "crates/medusa-pop3/src/session.rs",
    "crates/medusa-pop3/src/session/",
    "crates/medusa-pop3/src/visit.rs",
    "crates/medusa-pop3/src/wire_text.rs",
    "crates/medusa-smtp/src/address.rs",
    "crates/medusa-smtp/src/commands.rs",
    "crates/medusa-smtp/src/inspect.rs",
    "crates/medusa-smtp/src/params.rs",
    "crates/medusa-smtp/src/replies.rs",
    "crates/medusa-smtp/src/session/",
    "crates/medusa-text/src/",
    "crates/medusa-ftp/src/commands.rs",
    "crates/medusa-ftp/src/session/",
    "crates/medusa-resolver/src/cache.rs",
    "crates/medusa-resolver/src/engine/health.rs",
    "crates/medusa-resolver/src/engine/judge.rs",
    "crates/medusa-resolver/src/engine/mod.rs",
    "crates/medusa-resolver/src/engine/putting.rs",
    "crates/medusa-resolver/src/engine/running.rs",
    "crates/medusa-resolver/src/fixed.rs",
    "crates/medusa-resolver/src/name.rs",
    "crates/medusa-resolver/src/question.rs",
    "crates/medusa-resolver/src/records.rs",
    "crates/medusa-resolver/src/resolvers.rs",
    "crates/medusa-resolver/src/service.rs",
    "crates/medusa-resolver/src/special.rs",
    "crates/medusa-resolver/src/stored.rs",
    "crates/medusa-resolver/src/stream.rs",
    "crates/medusa-resolver/src/upstream.rs",
    "crates/medusa-resolver/src/wire/",
    "crates/medusa-accounts/src/throttle.rs",
];

/// Within those folders, what may touch a file.
const NOT_PURE: &[&str] = &["crates/medusa-core/src/producer/file.rs"];

/// What pure code doesn't name. An address is a value like any other, and so is a file that is open
/// already; sockets and paths to open are not.
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "ToSocketAddrs",
    "std::thread",
    "thread::spawn",
    "use std::fs;",
    "fs::read",
    "fs::write",
    "fs::metadata",
    "File::open",
    "File::create",
    "OpenOptions",
    "std::process",
    "std::env",
];

// In two parts, so that this file passes its own checks.
const UNFINISHED: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME")];
const UNFINISHED_CODE: &[&str] = &[concat!("to", "do!"), concat!("unimple", "mented!")];
const MACHINE: &[&str] =
    &[concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/tm", "p/"), concat!("/ho", "me/")];
const IGNORED: &str = concat!("#[ig", "nore");
const SLEEP: &str = concat!("thread::", "sleep");

/// Every package takes the workspace's lints.
pub(super) fn lints(house: &House) -> Vec<Finding> {
    let manifests = house.files.iter().filter(|file| {
        house.packages.iter().any(|package| file.path == format!("{}/Cargo.toml", package.folder))
    });
    manifests
        .filter(|file| !file.text.contains("[lints]\nworkspace = true"))
        .map(|file| Finding::error(&file.path, "lacks `[lints] workspace = true`"))
        .collect()
}

/// rustls is named in one module.
pub(super) fn rustls(house: &House) -> Vec<Finding> {
    in_code(
        house,
        |file| {
            file.path != TLS_FILE
                && ![TLS_FOLDER, "xtask/"].iter().any(|at| file.path.starts_with(at))
        },
        &["rustls"],
        |word| format!("names {word}, which belongs in {TLS_FILE}"),
    )
}

/// Every Rust file opens with what it does.
pub(super) fn opening(house: &House) -> Vec<Finding> {
    rust_files(house)
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| Finding::error(&file.path, "doesn't open with `//!`"))
        .collect()
}

/// Long files are questioned, then split.
pub(super) fn length(house: &House) -> Vec<Finding> {
    rust_files(house)
        .filter_map(|file| match file.text.lines().count() {
            lines if lines > MOST_LINES => Some(Finding::error(
                &file.path,
                format!("{lines} lines: split it, {MOST_LINES} is the most"),
            )),
            lines if lines > MANY_LINES => {
                Some(Finding::warning(&file.path, format!("{lines} lines: is it one thing still?")))
            }
            _ => None,
        })
        .collect()
}

/// Pure files have no clock, socket, thread or file system. Their tests may: an `Instant` to start
/// from can be had in no other way.
pub(super) fn pure(house: &House) -> Vec<Finding> {
    let is_pure = |file: &File| {
        let path = file.path.as_str();
        let listed = PURE
            .iter()
            .any(|pure| if pure.ends_with('/') { path.starts_with(pure) } else { path == *pure });
        listed && !NOT_PURE.contains(&path)
    };
    let mut findings = Vec::new();
    for file in rust_files(house).filter(|file| is_pure(file)) {
        let code = code_of(before_tests(&file.text));
        for word in IMPURE {
            for line in lines_with(&code, word) {
                findings.push(Finding::error(at(file, line), format!("`{word}` in a pure file")));
            }
        }
    }
    findings
}

/// A file that is named in these lists exists: one that was moved would not be checked any more.
pub(super) fn lists(house: &House) -> Vec<Finding> {
    let exists = |listed: &str| {
        let mut paths = house.files.iter().map(|file| file.path.as_str());
        paths.any(
            |path| if listed.ends_with('/') { path.starts_with(listed) } else { path == listed },
        )
    };
    PURE.iter()
        .chain(NOT_PURE)
        .chain([&UNSAFE_FILE])
        .filter(|listed| !exists(listed))
        .map(|listed| {
            Finding::error(*listed, "is in a list of xtask/src/tidy/texts.rs and isn't there")
        })
        .collect()
}

/// Nothing is left for later without saying so where it is asked for: in an issue.
pub(super) fn unfinished(house: &House) -> Vec<Finding> {
    let message = |word: &str| format!("`{word}`: finish it or leave it out");
    let mut findings = in_code(house, |_| true, UNFINISHED_CODE, message);
    findings.extend(in_text(house, UNFINISHED, message));
    findings
}

/// Tests wait for events, not for time.
pub(super) fn sleep(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in rust_files(house).filter(|file| !file.path.starts_with("benches/")) {
        let is_test = file.path.starts_with("tests/") || file.path.contains("/tests/");
        let first = if is_test { 0 } else { before_tests(&file.text).lines().count() };
        for line in lines_with(&code_of(&file.text), SLEEP).filter(|line| *line > first) {
            findings
                .push(Finding::error(at(file, line), "a test sleeps; wait for what it waits for"));
        }
    }
    findings
}

/// A test that is ignored tests nothing.
pub(super) fn ignored(house: &House) -> Vec<Finding> {
    in_code(house, |_| true, &[IGNORED], |_| "a test is ignored".to_owned())
}

/// unsafe stands in one named file.
pub(super) fn unsafe_code(house: &House) -> Vec<Finding> {
    in_code(
        house,
        |file| file.path != UNSAFE_FILE,
        &["unsafe", "allow(unsafe_code)"],
        |_| format!("unsafe code belongs in {UNSAFE_FILE}"),
    )
}

/// A path that only one machine has.
pub(super) fn machine(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in &house.files {
        for (index, line) in file.text.lines().enumerate() {
            for path in MACHINE {
                // Within a longer path or an address it is a folder like any other.
                let starts = line.match_indices(path).any(|(start, _)| {
                    let before = line[..start].chars().next_back();
                    !before.is_some_and(|c| c.is_alphanumeric() || "._-/}".contains(c))
                });
                if starts {
                    let message = format!("names `{path}`, a folder of one machine");
                    findings.push(Finding::error(at(file, index + 1), message));
                }
            }
        }
    }
    findings
}

fn rust_files(house: &House) -> impl Iterator<Item = &File> {
    house.files.iter().filter(|file| file.path.ends_with(".rs"))
}

fn at(file: &File, line: usize) -> String {
    format!("{}:{line}", file.path)
}

/// The words in the code of the Rust files that `concerned` picks.
fn in_code(
    house: &House,
    concerned: fn(&File) -> bool,
    words: &[&str],
    message: impl Fn(&str) -> String,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in rust_files(house).filter(|file| concerned(file)) {
        let code = code_of(&file.text);
        for word in words {
            findings.extend(
                lines_with(&code, word).map(|line| Finding::error(at(file, line), message(word))),
            );
        }
    }
    findings
}

/// The words in any file, comments and prose included.
fn in_text(house: &House, words: &[&str], message: impl Fn(&str) -> String) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in house.files.iter().filter(|file| file.path != "Cargo.lock") {
        for word in words {
            findings.extend(
                lines_with(&file.text, word)
                    .map(|line| Finding::error(at(file, line), message(word))),
            );
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Package;
    use super::*;

    /// The places that `check` finds fault with in a house of one file.
    fn found(check: fn(&House) -> Vec<Finding>, path: &str, text: &str) -> Vec<String> {
        let file = File { path: path.into(), text: text.into() };
        let package = Package { folder: "crates/medusa-x".into(), ..Package::default() };
        let house = House { packages: vec![package], files: vec![file] };
        check(&house).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn lints_are_taken() {
        assert_eq!(found(lints, "crates/medusa-x/Cargo.toml", "[package]\n").len(), 1);
        assert!(
            found(lints, "crates/medusa-x/Cargo.toml", "[lints]\nworkspace = true\n").is_empty()
        );
        assert!(found(lints, "Cargo.toml", "[workspace]\n").is_empty());
    }

    #[test]
    fn rustls_is_named_in_one_module() {
        let text = "//! rustls is for others.\nuse rustls::ServerConfig;\nlet s = \"rustls\";";
        assert_eq!(
            found(rustls, "crates/medusa-core/src/shard/turn.rs", text),
            ["crates/medusa-core/src/shard/turn.rs:2"]
        );
        assert!(found(rustls, TLS_FILE, text).is_empty());
        assert!(found(rustls, &format!("{TLS_FOLDER}certificates.rs"), text).is_empty());
    }

    #[test]
    fn files_open_with_what_they_do() {
        assert_eq!(found(opening, "a.rs", "use std::fmt;\n").len(), 1);
        assert_eq!(found(opening, "a.rs", "").len(), 1);
        assert!(found(opening, "a.rs", "//! Does a.\n").is_empty());
        assert!(found(opening, "a.md", "# A\n").is_empty());
    }

    #[test]
    fn long_files_are_warned_about_then_refused() {
        let of = |lines: usize| {
            let file = File { path: "a.rs".into(), text: "//!\n".repeat(lines) };
            length(&House { packages: Vec::new(), files: vec![file] })
        };
        assert!(of(500).is_empty());
        assert!(of(501)[0].warning && of(800)[0].warning);
        assert!(!of(801)[0].warning);
    }

    #[test]
    fn pure_files_are_pure() {
        let framing = "crates/medusa-core/src/framing.rs";
        for bad in [
            "let now = Instant::now();",
            "use std::fs;",
            "use std::net::TcpStream;",
            "std::thread::spawn(f)",
        ] {
            assert!(!found(pure, framing, bad).is_empty(), "{bad}");
            assert!(
                !found(pure, "crates/medusa-core/src/producer/bytes.rs", bad).is_empty(),
                "{bad}"
            );
            assert!(
                found(pure, "crates/medusa-core/src/producer/file.rs", bad).is_empty(),
                "{bad}"
            );
            assert!(found(pure, "crates/medusa-core/src/offload.rs", bad).is_empty(), "{bad}");
        }
        for good in [
            "use std::net::SocketAddr;",
            "use std::fs::File;",
            "// no Instant::now",
            "#[cfg(test)]\nmod tests { Instant::now() }",
        ] {
            assert!(found(pure, framing, good).is_empty(), "{good}");
        }
    }

    #[test]
    fn files_that_were_moved_are_missed() {
        let missing = found(lists, "crates/medusa-core/src/producer/bytes.rs", "");
        assert!(missing.contains(&UNSAFE_FILE.to_owned()));
        assert!(missing.contains(&"crates/medusa-core/src/framing.rs".to_owned()));
        assert!(!missing.contains(&"crates/medusa-core/src/producer/".to_owned()));
    }

    #[test]
    fn unfinished_work_is_found() {
        let [word, name] = UNFINISHED else { panic!("two words") };
        assert_eq!(found(unfinished, "a.md", &format!("one\n{word}: two\n")), ["a.md:2"]);
        assert_eq!(found(unfinished, "a.rs", &format!("// {name} later")), ["a.rs:1"]);
        for word in UNFINISHED_CODE {
            assert_eq!(
                found(unfinished, "a.rs", &format!("fn f() {{ {word}() }}")),
                ["a.rs:1"],
                "{word}"
            );
        }
        assert!(found(unfinished, "a.md", "a mastodon").is_empty());
    }

    #[test]
    fn sleeping_tests_are_found() {
        let call = format!("std::{SLEEP}(a);");
        assert_eq!(found(sleep, "tests/tests/http.rs", &call), ["tests/tests/http.rs:1"]);
        assert_eq!(
            found(sleep, "crates/a/src/b.rs", &format!("//!\n#[cfg(test)]\nmod tests {{\n{call}")),
            ["crates/a/src/b.rs:4"]
        );
        assert!(found(sleep, "crates/a/src/b.rs", &call).is_empty());
        assert!(found(sleep, "benches/src/main.rs", &call).is_empty());
    }

    #[test]
    fn ignored_tests_are_found() {
        assert_eq!(
            found(ignored, "a.rs", &format!("#[test]\n{IGNORED}]\nfn f() {{}}")),
            ["a.rs:2"]
        );
        assert!(found(ignored, "a.rs", "// ignored").is_empty());
    }

    #[test]
    fn unsafe_code_is_found() {
        assert_eq!(found(unsafe_code, "a.rs", "let x = unsafe { f() };"), ["a.rs:1"]);
        assert_eq!(found(unsafe_code, "a.rs", "#![allow(unsafe_code)]"), ["a.rs:1"]);
        assert!(found(unsafe_code, UNSAFE_FILE, "unsafe { f() }").is_empty());
        assert!(
            found(unsafe_code, "a.rs", "// unsafe\n\"unsafe\"\n#![deny(unsafe_code)]").is_empty()
        );
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        for path in MACHINE {
            assert_eq!(found(machine, "a.md", &format!("see {path}x")), ["a.md:1"], "{path}");
            assert!(found(machine, "a.md", &format!("see frame{path}x")).is_empty(), "{path}");
        }
    }
}
