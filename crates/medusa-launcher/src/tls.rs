//! `[tls]`: the certificates that services show, read and held against the names they are for.
//!
//! The core reads the files and serves them; here its errors get their line in the configuration, and
//! an operator is told what a certificate is good for and until when.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use medusa_core::tls::{Certificate, CertificateFacts, ServerTls, TlsError};

use crate::config::diagnostic::{Diagnostic, Gravity};
use crate::config::document::Table;
use crate::config::own;
use crate::config::tables::TlsTable;
use crate::files::{in_folder, readable_by_anybody};

/// The name of the table.
pub(crate) const TABLE: &str = "tls";

/// What services show, and what there is to say of it.
pub(crate) struct Tls {
    /// The certificates.
    pub server: ServerTls,
    /// A row for each: file, last day, names.
    pub rows: Vec<[String; 3]>,
}

/// One certificate of the configuration.
struct Written {
    certificate: Certificate,
    /// The keys that name its files, from the table on.
    chain_at: String,
    key_at: String,
    host_at: String,
}

/// Reads `[tls]`, if it is there and nothing in it is wrong; complaints that needn't keep anybody from
/// serving go to `errors` too.
pub(crate) fn read(
    root: &Table<'_, '_>,
    folder: &Path,
    now: SystemTime,
    errors: &mut Vec<Diagnostic>,
) -> Option<Tls> {
    let written = written(own::optional(root, TABLE, errors)?, folder);
    let table = root.below(&root.entry(TABLE)?)?;
    let before = errors.len();
    check_hosts(&written, &table, errors);
    let certificates = written.iter().map(|one| one.certificate.clone()).collect();
    let server = match ServerTls::new(certificates) {
        Ok(server) => server,
        Err(faults) => {
            errors.extend(faults.iter().map(|fault| complaint(fault, &written, &table)));
            return None;
        }
    };
    if errors.len() > before {
        return None;
    }
    let expired = server.warnings(now);
    errors.extend(expired.iter().map(|fault| complaint(fault, &written, &table)));
    let mut rows = Vec::new();
    let all_said = server.certificates();
    for (index, one) in written.iter().enumerate() {
        let Some(said) = all_said.iter().find(|said| said.path == one.certificate.chain) else {
            continue;
        };
        check_use(one, said, &table, errors);
        let mut names = match one.certificate.hosts.as_slice() {
            [] => said.names.clone(),
            hosts => hosts.to_vec(),
        };
        if index == 0 {
            names.push("every other name".to_owned());
        }
        let file = one.certificate.chain.display().to_string();
        rows.push([file, said.last_day.clone(), names.join(", ")]);
    }
    Some(Tls { server, rows })
}

fn written(table: TlsTable, folder: &Path) -> Vec<Written> {
    let one = |hosts: Vec<String>, chain: PathBuf, key: PathBuf, prefix: &str| Written {
        certificate: Certificate {
            hosts,
            chain: in_folder(folder, &chain),
            key: in_folder(folder, &key),
        },
        chain_at: format!("{prefix}certificate"),
        key_at: format!("{prefix}key"),
        host_at: format!("{prefix}host"),
    };
    let mut all = vec![one(Vec::new(), table.certificate, table.key, "")];
    for (index, name) in table.name.into_iter().enumerate() {
        let prefix = format!("name[{index}].");
        all.push(one(vec![name.host], name.certificate, name.key, &prefix));
    }
    all
}

fn check_hosts(written: &[Written], table: &Table<'_, '_>, errors: &mut Vec<Diagnostic>) {
    let mut seen = HashSet::new();
    for one in written {
        for host in &one.certificate.hosts {
            let message = if !is_host(host) {
                format!("`{host}` is no host name")
            } else if !seen.insert(host.to_ascii_lowercase()) {
                format!("`{host}` has a certificate already")
            } else {
                continue;
            };
            errors.push(
                Diagnostic::new(message)
                    .at(table.find(&one.host_at))
                    .hint("such as \"www.example.org\", or \"*.example.org\"".to_owned()),
            );
        }
    }
}

/// A name as clients send it (RFC 6066 §3): no address, no dot at the end; a star for the first label.
fn is_host(host: &str) -> bool {
    let labels = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    host.len() <= 253 && labels.split('.').all(label) && host.parse::<std::net::IpAddr>().is_err()
}

/// What may be wrong with a certificate that can be served.
fn check_use(
    one: &Written,
    said: &CertificateFacts,
    table: &Table<'_, '_>,
    errors: &mut Vec<Diagnostic>,
) {
    for host in one.certificate.hosts.iter().filter(|host| !covers(&said.names, host)) {
        let message =
            format!("the certificate in {} isn't for `{host}`", one.certificate.chain.display());
        let hint = format!("it names {}", said.names.join(", "));
        errors.push(
            Diagnostic::new(message)
                .at(table.find(&one.host_at))
                .hint(Some(hint).filter(|_| !said.names.is_empty()))
                .gravity(Gravity::Advice),
        );
    }
    if readable_by_anybody(&one.certificate.key) {
        let key = one.certificate.key.display();
        errors.push(
            Diagnostic::new(format!("anybody on this machine can read the private key {key}"))
                .at(table.find(&one.key_at))
                .hint(format!("chmod 600 {key}"))
                .gravity(Gravity::Advice),
        );
    }
}

/// RFC 6125 §6.4: the name itself, or a star in place of its first label.
fn covers(names: &[String], host: &str) -> bool {
    let above = |host: &str| host.split_once('.').map(|(_, rest)| rest.to_owned());
    names.iter().any(|name| {
        name.eq_ignore_ascii_case(host)
            || name
                .strip_prefix("*.")
                .is_some_and(|name| above(host).is_some_and(|rest| rest.eq_ignore_ascii_case(name)))
    })
}

fn complaint(fault: &TlsError, written: &[Written], table: &Table<'_, '_>) -> Diagnostic {
    let key = written.iter().find_map(|one| match fault.path()? {
        path if path == one.certificate.chain => Some(one.chain_at.as_str()),
        path if path == one.certificate.key => Some(one.key_at.as_str()),
        _ => None,
    });
    let place = key.map_or(table.span.clone(), |key| table.find(key));
    let (gravity, hint) = match fault {
        TlsError::NotNow { .. } => (Gravity::Served, None),
        TlsError::Missing { wanted, .. } => (
            Gravity::Fatal,
            Some(format!("such a file has a line `-----BEGIN {}-----`", wanted.to_uppercase())),
        ),
        TlsError::Mismatch { .. } => {
            (Gravity::Fatal, Some("both have to come from the same request".to_owned()))
        }
        _ => (Gravity::Fatal, None),
    };
    Diagnostic::new(fault.to_string()).at(place).hint(hint).gravity(gravity)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::config::diagnostic::{Diagnostics, Source};
    use crate::config::document::Document;

    /// A folder with `NAME.pem` and `NAME.key` for each name.
    fn folder(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for name in names {
            let made = rcgen::generate_simple_self_signed([(*name).to_owned()]).expect("made");
            write(&folder, &format!("{name}.pem"), &made.cert.pem());
            write(&folder, &format!("{name}.key"), &made.signing_key.serialize_pem());
        }
        folder
    }

    fn write(folder: &tempfile::TempDir, name: &str, text: &str) {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("private");
    }

    /// The rows, and everything that was told.
    fn outcome(folder: &Path, text: &str, now: SystemTime) -> (Option<Vec<[String; 3]>>, String) {
        let source = Source { name: "m.toml".into(), text: text.into() };
        let document = Document::parse(&source).expect("valid");
        let mut told = Vec::new();
        let tls = read(&document.root(), folder, now, &mut told);
        let none = told.is_empty();
        let told = Diagnostics::new(source.clone(), told).to_string();
        (tls.map(|tls| tls.rows), if none { String::new() } else { told })
    }

    fn check(folder: &tempfile::TempDir, text: &str, parts: &[&str]) {
        let (rows, told) = outcome(folder.path(), text, SystemTime::now());
        assert!(rows.is_none(), "{text}");
        for part in parts {
            assert!(told.contains(part), "{part:?} is not in:\n{told}");
        }
    }

    #[test]
    fn certificates_are_read_and_told_about() {
        let folder = folder(&["a.test", "*.b.test"]);
        let text = "[tls]\ncertificate = \"a.test.pem\"\nkey = \"a.test.key\"\n\
             [[tls.name]]\nhost = \"www.b.test\"\ncertificate = \"*.b.test.pem\"\nkey = \"*.b.test.key\"\n";
        let (rows, told) = outcome(folder.path(), text, SystemTime::now());
        assert_eq!(told, "");
        let rows = rows.expect("sound");
        assert!(rows[0][0].ends_with("a.test.pem"), "{rows:?}");
        assert_eq!((&*rows[0][1], &*rows[0][2]), ("4096-01-01", "a.test, every other name"));
        assert_eq!(rows[1][2], "www.b.test");
        let (rows, told) = outcome(folder.path(), "[server]\n", SystemTime::now());
        assert!(rows.is_none() && told.is_empty(), "{told}");
    }

    #[test]
    fn what_is_missing_or_does_not_belong_together_is_told_at_its_line() {
        let folder = folder(&["a.test", "b.test"]);
        check(&folder, "[tls]\n", &["`certificate` is missing in `[tls]`"]);
        check(
            &folder,
            "[tls]\ncertificate = \"none.pem\"\nkey = \"a.test.key\"\n",
            &["none.pem can't be read: No such file", "m.toml:2:15"],
        );
        check(
            &folder,
            "[tls]\ncertificate = \"a.test.pem\"\nkey = \"b.test.key\"\n",
            &["b.test.key is not the key of the certificate in", "a.test.pem", "m.toml:3:7"],
        );
        check(
            &folder,
            "[tls]\ncertificate = \"a.test.key\"\nkey = \"a.test.pem\"\n",
            &["a.test.key holds no certificate", "m.toml:2:15", "-----BEGIN CERTIFICATE-----"],
        );
        check(
            &folder,
            "[tls]\ncertificate = \"a.test.pem\"\nkey = \"a.test.key\"\n\
             [[tls.name]]\nhost = \"b.test\"\ncertificate = \"b.test.pem\"\nkey = \"none\"\n",
            &["none can't be read", "m.toml:7:7"],
        );
        check(
            &folder,
            "[tls]\ncertificate = \"a.test.pem\"\nkey = \"a.test.key\"\n\
             name = [{ hots = \"b.test\", certificate = \"b.test.pem\", key = \"none\" }]\n",
            &["unknown key `hots`", "did you mean `host`?"],
        );
    }

    #[test]
    fn hosts_are_names_and_have_one_certificate() {
        let folder = folder(&["a.test"]);
        let named = |host: &str| {
            format!(
                "[[tls.name]]\nhost = \"{host}\"\ncertificate = \"a.test.pem\"\nkey = \"a.test.key\"\n"
            )
        };
        let tls = "[tls]\ncertificate = \"a.test.pem\"\nkey = \"a.test.key\"\n";
        for host in
            ["", "a b", "*.", "a.*.b", "*", "127.0.0.1", "::1", "a..b", "b.test.", "https://b"]
        {
            check(&folder, &format!("{tls}{}", named(host)), &["is no host name", "m.toml:5:8"]);
        }
        check(
            &folder,
            &format!("{tls}{}{}", named("a.test"), named("A.test")),
            &["`A.test` has a certificate already", "m.toml:9:8"],
        );
    }

    #[test]
    fn what_can_be_served_is_served_with_a_warning() {
        let folder = folder(&["a.test"]);
        let text = "[tls]\ncertificate = \"a.test.pem\"\nkey = \"a.test.key\"\n";
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        let (rows, told) = outcome(folder.path(), text, past);
        assert!(rows.is_some() && told.contains("is not valid before"), "{told}");
        assert!(told.contains("m.toml:2:15") && told.contains("served all the same"), "{told}");
        let future = SystemTime::UNIX_EPOCH + Duration::from_secs(70_000_000_000);
        let (rows, told) = outcome(folder.path(), text, future);
        assert!(rows.is_some() && told.contains("a.test.pem has expired on"), "{told}");

        let named = "[[tls.name]]\nhost = \"www.b.test\"\ncertificate = \"a.test.pem\"\nkey = \"a.test.key\"\n";
        let (rows, told) = outcome(folder.path(), &format!("{text}{named}"), SystemTime::now());
        assert!(rows.is_some() && told.contains("isn't for `www.b.test`"), "{told}");
        assert!(told.contains("it names a.test"), "{told}");

        let key = folder.path().join("a.test.key");
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o644)).expect("changed");
        let (rows, told) = outcome(folder.path(), text, SystemTime::now());
        assert!(rows.is_some() && told.contains("warning: anybody on this machine can"), "{told}");
    }

    #[test]
    fn a_star_stands_for_one_label() {
        let names = ["*.b.test".to_owned(), "c.test".to_owned()];
        for (host, covered) in [
            ("www.b.test", true),
            ("WWW.B.test", true),
            ("*.b.test", true),
            ("b.test", false),
            ("a.www.b.test", false),
            ("c.test", true),
            ("www.c.test", false),
        ] {
            assert_eq!(covers(&names, host), covered, "{host}");
        }
    }
}
