//! The rules of the house and the table of checks that hold it to them.
//!
//! A check looks at a `House`: packages with their dependencies, and the text of every tracked file.
//! So each is tried on a bad example without a workspace to hand. How a house is found on disk stands
//! in `house`, what is code and what is comment in `source`. Formatting and idiom are left to rustfmt
//! and clippy, licences and sources of dependencies to cargo-deny.

mod house;
mod imports;
mod source;
mod texts;

use std::fmt;

pub use house::{Dependency, File, House, Package};

/// One rule and how it is checked.
pub struct Check {
    /// Its name in a report.
    pub name: &'static str,
    /// The rule in a sentence.
    pub rule: &'static str,
    run: fn(&House) -> Vec<Finding>,
}

/// One place where a rule is broken, or nearly.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// A path below the root, with a line where there is one; or a package.
    pub place: String,
    /// What is wrong there.
    pub message: String,
    /// A warning doesn't fail the check.
    pub warning: bool,
}

/// What all the checks found.
pub struct Report {
    findings: Vec<(&'static str, Finding)>,
}

/// Every check, in the order in which they are reported.
pub const CHECKS: &[Check] = &[
    Check {
        name: "rooms",
        rule: "crates import only what the house allows them",
        run: imports::rooms,
    },
    Check {
        name: "reserved",
        rule: "sockets, TLS, TOML and the command line are imported where they belong",
        run: imports::reserved,
    },
    Check { name: "runtime", rule: "no async runtime in what is shipped", run: imports::runtime },
    Check { name: "lints", rule: "every package takes the workspace's lints", run: texts::lints },
    Check { name: "rustls", rule: "rustls is named in transport/tls alone", run: texts::rustls },
    Check { name: "opening", rule: "every .rs file opens with //!", run: texts::opening },
    Check { name: "length", rule: "a file over 800 lines is split", run: texts::length },
    Check {
        name: "pure",
        rule: "pure files have no clock, socket, thread or file system",
        run: texts::pure,
    },
    Check { name: "lists", rule: "files that a rule names exist", run: texts::lists },
    Check {
        name: "unfinished",
        rule: "nothing is announced that doesn't work",
        run: texts::unfinished,
    },
    Check { name: "sleep", rule: "tests don't sleep", run: texts::sleep },
    Check { name: "ignored", rule: "no test is ignored", run: texts::ignored },
    Check { name: "unsafe", rule: "unsafe stands in one named file", run: texts::unsafe_code },
    Check {
        name: "machine",
        rule: "no path of one machine in a tracked file",
        run: texts::machine,
    },
];

/// Runs every check on `house`.
pub fn check(house: &House) -> Report {
    let findings = CHECKS
        .iter()
        .flat_map(|check| (check.run)(house).into_iter().map(|finding| (check.name, finding)));
    Report { findings: findings.collect() }
}

/// The names and rules of all checks, one a line.
pub fn list_of_checks() -> String {
    CHECKS.iter().map(|check| format!("  {:<11} {}\n", check.name, check.rule)).collect()
}

impl Report {
    /// Whether no rule is broken; warnings don't count.
    pub fn passed(&self) -> bool {
        self.findings.iter().all(|(_, finding)| finding.warning)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, finding) in &self.findings {
            let level = if finding.warning { "warning" } else { "error" };
            writeln!(f, "{level}[{name}] {}: {}", finding.place, finding.message)?;
        }
        let errors = self.findings.iter().filter(|(_, finding)| !finding.warning).count();
        let warnings = self.findings.len() - errors;
        writeln!(f, "tidy: {} checks, {errors} errors, {warnings} warnings", CHECKS.len())
    }
}

impl Finding {
    fn error(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { place: place.into(), message: message.into(), warning: false }
    }

    fn warning(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { warning: true, ..Self::error(place, message) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_has_a_name_of_its_own() {
        let mut names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), CHECKS.len());
        assert_eq!(list_of_checks().lines().count(), CHECKS.len());
    }

    #[test]
    fn a_warning_passes_and_an_error_does_not() {
        let report = |finding| Report { findings: vec![("length", finding)] };
        let warned = report(Finding::warning("a.rs", "is long"));
        assert!(warned.passed());
        assert!(warned.to_string().contains("warning[length] a.rs: is long"), "{warned}");
        assert!(!report(Finding::error("a.rs", "is too long")).passed());
    }
}
