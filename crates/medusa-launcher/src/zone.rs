//! `medusa zone check FILE`: everything that is wrong with a zone file, in the form of compilers.
//!
//! What is wrong is found by `medusa-dns`, which asks another implementation too; here it is shown.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use medusa_dns::zone::{Fault, name_from_text};

use crate::config::diagnostic::{Diagnostic, Diagnostics, Gravity, Source};
use crate::{Failure, print_out};

/// Reads a zone and tells what is wrong with it; exits well if that is nothing but warnings.
pub(crate) fn check(file: &Path, name: Option<&str>) -> Result<(), Failure> {
    let apex = name.map(name_from_text).transpose();
    let apex = apex.map_err(|error| {
        Failure::Usage(format!("`{}` is no name: {error}", name.unwrap_or_default()))
    })?;
    let reading = medusa_dns::check_zone(file, apex.as_ref());
    let (faults, outcome) = match &reading.zone {
        Ok(zone) => {
            let (count, serial) = (zone.record_count(), zone.soa().serial);
            let records = if count == 1 { "record" } else { "records" };
            let outcome =
                format!("{}: {count} {records}, serial {serial}: no errors\n", zone.apex());
            (&[][..], outcome)
        }
        Err(faults) => (&faults[..], String::new()),
    };
    let mut texts = Texts { folder: file.parent(), found: HashMap::new() };
    let errors = faults.iter().map(|fault| texts.diagnostic(fault, Gravity::Fatal));
    let mut list: Vec<_> = errors.collect();
    let warnings = reading.warnings.iter();
    list.extend(warnings.map(|fault| texts.diagnostic(fault, Gravity::Advice)));
    if !list.is_empty() {
        let source = Source { name: file.display().to_string(), text: String::new() };
        let told = Failure::from(Diagnostics::new(source, list));
        if reading.zone.is_err() {
            return Err(told);
        }
        told.tell();
    }
    print_out(&outcome);
    Ok(())
}

/// The texts that faults are about, read once more to show their lines.
struct Texts<'f> {
    folder: Option<&'f Path>,
    found: HashMap<Arc<str>, Arc<Source>>,
}

impl Texts<'_> {
    fn diagnostic(&mut self, fault: &Fault, gravity: Gravity) -> Diagnostic {
        let mut diagnostic = Diagnostic::new(fault.message.clone()).gravity(gravity);
        let Some(file) = &fault.file else { return diagnostic };
        let source = self.source(file);
        if fault.place.line > 0 {
            diagnostic = diagnostic.at(span(&source.text, fault));
        }
        diagnostic.elsewhere(&source)
    }

    fn source(&mut self, file: &Arc<str>) -> Arc<Source> {
        let folder = self.folder;
        let read = || {
            // What is included is named from the zone's folder on.
            let octets = std::fs::read(&**file).or_else(|error| match folder {
                Some(folder) => std::fs::read(folder.join(&**file)),
                None => Err(error),
            });
            // One octet stays one, so that columns are right.
            let octets = octets.unwrap_or_default();
            let text = String::from_utf8(octets).unwrap_or_else(|error| {
                let shown = |byte: &u8| if byte.is_ascii() { char::from(*byte) } else { '?' };
                error.as_bytes().iter().map(shown).collect()
            });
            Arc::new(Source { name: file.to_string(), text })
        };
        Arc::clone(self.found.entry(Arc::clone(file)).or_insert_with(read))
    }
}

/// The octets that a fault is about: some of a line, or the line.
fn span(text: &str, fault: &Fault) -> std::ops::Range<usize> {
    let before = text.split_inclusive('\n').take(fault.place.line as usize - 1);
    let start: usize = before.map(str::len).sum();
    let line = text[start..].lines().next().unwrap_or_default().len();
    let column = (fault.place.column as usize).saturating_sub(1).min(line);
    let length = match fault.place.column {
        0 => line,
        _ => (fault.place.length as usize).min(line - column),
    };
    start + column..start + column + length
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> (bool, String) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("example.test.zone");
        std::fs::write(&path, text).expect("written");
        let reading = medusa_dns::check_zone(&path, None);
        let is_sound = reading.zone.is_ok();
        let faults = reading.zone.err().unwrap_or(reading.warnings);
        let mut texts = Texts { folder: path.parent(), found: HashMap::new() };
        let list = faults.iter().map(|fault| texts.diagnostic(fault, Gravity::Fatal)).collect();
        let source = Source { name: String::new(), text: String::new() };
        (is_sound, Diagnostics::new(source, list).render(false))
    }

    #[test]
    fn faults_are_shown_in_their_lines() {
        let head = "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.2\n";
        let (is_sound, text) =
            told(&format!("{head}www  AA 192.0.2.1\nmail A 192.0.2.256 ; \u{e4}\n"));
        assert!(!is_sound);
        for part in [
            "error: `AA` is not a record type",
            "example.test.zone:5:6",
            "5 | www  AA 192.0.2.1",
            "     ^^",
            "error: not an IPv4 address",
            "example.test.zone:6:8",
        ] {
            assert!(text.contains(part), "{part:?} isn't in\n{text}");
        }
        let (is_sound, text) =
            told(&format!("{head}a 5 A 192.0.2.1\na 6 A 192.0.2.1\na 6 A 192.0.2.9\n"));
        assert!(is_sound && text.contains("several TTLs"), "{text}");
        // RFC 3403 §4.1: flags are letters and digits. It is served as it is written.
        let (is_sound, text) = told(&format!("{head}a NAPTR 1 1 \"!\" \"\" \"\" .\n"));
        assert!(is_sound && text.contains("can't read this NAPTR record"), "{text}");
        assert!(text.contains("example.test.zone:5:3"), "{text}");
        let (is_sound, text) = told("");
        assert!(!is_sound && text.contains("no records"), "{text}");
    }

    #[test]
    fn a_zone_is_checked_and_a_missing_one_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.zone");
        std::fs::write(&path, "@ 60 SOA ns root 1 2 3 4 5\n@ 60 NS ns\n").expect("written");
        assert!(check(&path, None).is_ok());
        assert!(check(&path, Some("example.org")).is_ok());
        assert!(check(&path, Some("a..b")).is_err());
        assert!(check(&folder.path().join("b.zone"), None).is_err());
    }
}
