//! Who may import whom, checked from manifests.
//!
//! What a source file names is looked at in `texts`; here a dependency alone breaks the rule, used or
//! not.

use super::{Finding, House, Package};

/// The shared rooms: what several protocols need, and nothing of a protocol.
const SHARED: &[&str] =
    &["medusa-text", "medusa-files", "medusa-accounts", "medusa-mail", "medusa-resolver"];

/// The protocols, which never import each other.
const PROTOCOLS: &[&str] =
    &["medusa-http", "medusa-smtp", "medusa-pop3", "medusa-ftp", "medusa-dns"];

/// What each room of `crates/` may import of the workspace. A crate that isn't here has no place yet.
const ROOMS: &[(&str, &[&[&str]])] = &[
    ("medusa-core", &[]),
    ("medusa-text", &[CORE]),
    ("medusa-files", &[CORE]),
    ("medusa-accounts", &[CORE]),
    ("medusa-mail", &[CORE, &["medusa-text", "medusa-files", "medusa-accounts"]]),
    ("medusa-resolver", &[CORE]),
    ("medusa-http", &[CORE, SHARED]),
    ("medusa-smtp", &[CORE, SHARED]),
    ("medusa-pop3", &[CORE, SHARED]),
    ("medusa-ftp", &[CORE, SHARED]),
    ("medusa-dns", &[CORE, SHARED]),
    ("medusa-launcher", &[CORE, SHARED, PROTOCOLS]),
];

const CORE: &[&str] = &["medusa-core"];

/// Crates of others that belong to some packages alone, and why.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("mio", CORE, "sockets are the core's"),
    ("socket2", CORE, "sockets are the core's"),
    ("slab", CORE, "connections are the core's"),
    ("rustls", CORE, "TLS is a transport of the core"),
    ("toml", LAUNCHER, "plug-ins read their Config by serde"),
    ("toml_edit", LAUNCHER, "plug-ins read their Config by serde"),
    ("annotate-snippets", LAUNCHER, "only the launcher shows configuration errors"),
    ("tracing-subscriber", LAUNCHER, "a library doesn't decide where logs go"),
    ("clap", PROGRAMS, "only a program has a command line"),
    ("anyhow", PROGRAMS, "a library has an error enum"),
];

const LAUNCHER: &[&str] = &["medusa-launcher"];
const PROGRAMS: &[&str] = &["medusa-launcher", "medusa-bench", "xtask"];

/// Async runtimes and the servers and clients that bring one along.
const RUNTIMES: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "async-executor",
    "async-io",
    "async-global-executor",
    "glommio",
    "monoio",
    "compio",
    "futures-executor",
    "embassy-executor",
    "actix-rt",
    "hyper",
    "h2",
    "reqwest",
];

/// Folders whose packages are shipped, or shown as how to use what is shipped.
const SHIPPED: &[&str] = &["crates/", "examples/"];

/// Crates import only what the table of rooms allows them.
pub(super) fn rooms(house: &House) -> Vec<Finding> {
    let ours = |name: &str| house.packages.iter().find(|package| package.name == name);
    let mut findings = Vec::new();
    for package in &house.packages {
        let mut refuse = |name: &str, why: &str| {
            findings.push(Finding::error(&package.name, format!("may not import {name}: {why}")));
        };
        let dependencies = package.dependencies.iter().filter(|one| ours(&one.name).is_some());
        // A package may import itself for its tests, with another set of features.
        let dependencies = dependencies.filter(|one| !(one.dev && one.name == package.name));
        if !package.folder.starts_with("crates/") {
            for dependency in dependencies {
                let shown = ours(&dependency.name).is_some_and(is_product)
                    || dependency.dev
                    || package.folder == "tests";
                match package.name.as_str() {
                    "xtask" => refuse(&dependency.name, "xtask must build when nothing else does"),
                    // A custom launcher is an example that others look at.
                    _ if !shown => refuse(&dependency.name, "it is not shipped"),
                    _ => {}
                }
            }
            continue;
        }
        let Some((_, allowed)) = ROOMS.iter().find(|(name, _)| *name == package.name) else {
            findings.push(Finding::error(&package.name, "has no place in the table of rooms"));
            continue;
        };
        for dependency in dependencies {
            if !allowed.iter().any(|names| names.contains(&dependency.name.as_str())) {
                refuse(&dependency.name, "the table of rooms doesn't allow it");
            }
        }
    }
    findings
}

fn is_product(package: &Package) -> bool {
    package.folder.starts_with("crates/")
}

/// Sockets, TLS, TOML and the command line are imported where they belong.
pub(super) fn reserved(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &house.packages {
        for dependency in &package.dependencies {
            for (name, owners, why) in RESERVED {
                if dependency.name == *name && !owners.contains(&package.name.as_str()) {
                    findings.push(Finding::error(
                        &package.name,
                        format!("may not import {name}: {why}"),
                    ));
                }
            }
        }
    }
    findings
}

/// No async runtime in what is shipped, however deep.
pub(super) fn runtime(house: &House) -> Vec<Finding> {
    let shipped =
        |package: &&Package| SHIPPED.iter().any(|folder| package.folder.starts_with(folder));
    let mut findings = Vec::new();
    for package in house.packages.iter().filter(shipped) {
        for name in package.linked.iter().filter(|name| RUNTIMES.contains(&name.as_str())) {
            findings.push(Finding::error(
                &package.name,
                format!("links {name}, an async runtime or what needs one"),
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Dependency;
    use super::*;

    /// A package in `folder` that imports `names`; one that starts with `dev:` for its tests.
    fn package(folder: &str, names: &[&str]) -> Package {
        let dependencies = names.iter().map(|name| match name.strip_prefix("dev:") {
            Some(name) => Dependency { name: name.into(), dev: true },
            None => Dependency { name: (*name).into(), dev: false },
        });
        Package {
            name: match folder {
                "benches" => "medusa-bench".into(),
                "tests" => "medusa-tests".into(),
                _ => folder.rsplit('/').next().unwrap_or(folder).into(),
            },
            folder: folder.into(),
            dependencies: dependencies.collect(),
            linked: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn house(packages: &[(&str, &[&str])]) -> House {
        let mut all: Vec<_> =
            packages.iter().map(|(folder, names)| package(folder, names)).collect();
        for (name, _) in ROOMS {
            let folder = format!("crates/{name}");
            if !all.iter().any(|package| package.folder == folder) {
                all.push(package(&folder, &[]));
            }
        }
        House { packages: all, files: Vec::new() }
    }

    fn found(check: fn(&House) -> Vec<Finding>, folder: &str, names: &[&str]) -> usize {
        check(&house(&[(folder, names), ("examples/echo", &[])])).len()
    }

    #[test]
    fn rooms_are_kept() {
        for (folder, names, errors) in [
            ("crates/medusa-core", &["medusa-files"][..], 1),
            ("crates/medusa-core", &["dev:medusa-core", "bytes"], 0),
            ("crates/medusa-core", &["dev:medusa-http"], 1),
            ("crates/medusa-files", &["medusa-core"], 0),
            ("crates/medusa-files", &["medusa-core", "medusa-accounts"], 1),
            ("crates/medusa-mail", &["medusa-core", "medusa-accounts"], 0),
            ("crates/medusa-resolver", &["medusa-core"], 0),
            ("crates/medusa-resolver", &["medusa-dns"], 1),
            ("crates/medusa-smtp", &["medusa-resolver"], 0),
            ("crates/medusa-http", &["medusa-core", "medusa-files"], 0),
            ("crates/medusa-http", &["medusa-smtp"], 1),
            ("crates/medusa-http", &["dev:medusa-launcher"], 1),
            ("crates/medusa-http", &["echo"], 1),
            ("crates/medusa-launcher", &["medusa-http", "medusa-files"], 0),
            ("crates/medusa-gopher", &["medusa-core"], 1),
            ("examples/finger", &["medusa-core", "medusa-launcher"], 0),
            ("examples/finger", &["echo"], 1),
            ("tests", &["medusa-launcher", "echo"], 0),
            ("xtask", &["medusa-core"], 1),
        ] {
            assert_eq!(found(rooms, folder, names), errors, "{folder} {names:?}");
        }
    }

    #[test]
    fn reserved_crates_stay_with_their_owners() {
        for (folder, names, errors) in [
            ("crates/medusa-core", &["mio", "socket2", "slab", "rustls"][..], 0),
            ("crates/medusa-http", &["mio", "socket2", "slab", "rustls"], 4),
            ("crates/medusa-http", &["dev:toml"], 1),
            ("crates/medusa-launcher", &["toml", "clap", "anyhow"], 0),
            ("crates/medusa-launcher", &["mio"], 1),
            ("examples/finger", &["clap", "tracing-subscriber"], 2),
            ("benches", &["clap", "anyhow"], 0),
            ("benches", &["toml"], 1),
            ("xtask", &["anyhow"], 0),
        ] {
            assert_eq!(found(reserved, folder, names), errors, "{folder} {names:?}");
        }
    }

    #[test]
    fn runtimes_are_found_however_deep() {
        assert_eq!(found(runtime, "crates/medusa-dns", &["tokio", "smol"]), 2);
        assert_eq!(found(runtime, "examples/finger", &["async-std"]), 1);
        assert_eq!(found(runtime, "benches", &["tokio", "hyper"]), 0);
        assert_eq!(found(runtime, "crates/medusa-dns", &["bytes"]), 0);
    }
}
