//! What is served without a configuration: a text that is compiled in, on high loopback ports, with its
//! data below `./medusa-data`.
//!
//! It is a configuration like any other and is read like one. Files are written only where there are
//! none; a port that somebody has is passed over for the next free one, and that is said.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::config::diagnostic::Source;
use crate::kinds::Kinds;

/// One service of the built-in configuration.
struct Builtin {
    kind: &'static str,
    /// Its table, with `{port}` where the port belongs.
    table: &'static str,
    /// High enough to need no rights, and what people try first.
    port: u16,
    /// What is written below the current folder, by path.
    files: &'static [(&'static str, &'static str)],
}

const BUILTINS: &[Builtin] = &[Builtin {
    kind: "http",
    table: "[http.welcome]\nlisten = [\"127.0.0.1:{port}\"]\nroot = \"medusa-data/http\"\nlisting = true\n",
    port: 8080,
    files: &[("medusa-data/http/index.html", include_str!("index.html"))],
}];

/// How many ports are tried after the first.
const TRIES: u16 = 100;

/// The configuration for those of `kinds` that are built in, and a line for each port that was taken.
pub(crate) fn source(kinds: &Kinds) -> (Source, Vec<String>) {
    compose(kinds, |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
}

/// Makes the data's folders and files; what is there already is left alone.
pub(crate) fn write_data(kinds: &Kinds, folder: &Path) -> io::Result<()> {
    for (path, text) in mounted(kinds).flat_map(|builtin| builtin.files) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => file.write_all(text.as_bytes())?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn mounted(kinds: &Kinds) -> impl Iterator<Item = &'static Builtin> {
    BUILTINS.iter().filter(|builtin| kinds.names().any(|name| name == builtin.kind))
}

fn compose(kinds: &Kinds, mut is_free: impl FnMut(u16) -> bool) -> (Source, Vec<String>) {
    let mut text = String::from("# What Medusa serves without a configuration.\n");
    let mut notes = Vec::new();
    for builtin in mounted(kinds) {
        let ports = builtin.port..=builtin.port.saturating_add(TRIES);
        // With none free the first is asked for, and refused with the reason.
        let port = ports.into_iter().find(|port| is_free(*port)).unwrap_or(builtin.port);
        if port != builtin.port {
            notes.push(format!(
                "port {} is taken; {} has {port} instead",
                builtin.port, builtin.kind
            ));
        }
        text.push('\n');
        text.push_str(&builtin.table.replace("{port}", &port.to_string()));
    }
    (Source { name: "<built-in>".to_owned(), text }, notes)
}

#[cfg(test)]
mod tests {
    use medusa_core::{BuildContext, BuildError, Plugin, Service};

    use super::*;
    use crate::config::document::Document;

    struct Http;

    impl Plugin for Http {
        const KIND: &'static str = "http";
        type Config = ();

        fn build(_: (), _: &BuildContext) -> Result<Box<dyn Service>, BuildError> {
            Err(BuildError::new("not built here"))
        }
    }

    fn kinds() -> Kinds {
        let mut kinds = Kinds::default();
        kinds.add::<Http>();
        kinds
    }

    #[test]
    fn a_port_that_is_taken_is_passed_over_and_told() {
        let (source, notes) = compose(&kinds(), |_| true);
        assert!(source.text.contains("127.0.0.1:8080") && notes.is_empty(), "{}", source.text);
        let (source, notes) = compose(&kinds(), |port| port > 8081);
        assert!(source.text.contains("127.0.0.1:8082"), "{}", source.text);
        assert_eq!(notes, ["port 8080 is taken; http has 8082 instead"]);
        let (source, _) = compose(&kinds(), |_| false);
        assert!(source.text.contains("127.0.0.1:8080"));
        assert!(Document::parse(&source).is_ok());
    }

    #[test]
    fn only_what_is_mounted_is_served() {
        let (source, _) = compose(&Kinds::default(), |_| true);
        assert!(!source.text.contains("http"), "{}", source.text);
    }

    #[test]
    fn what_is_there_is_never_overwritten() {
        let folder = tempfile::tempdir().expect("a folder");
        let page = folder.path().join("medusa-data/http/index.html");
        write_data(&kinds(), folder.path()).expect("written");
        assert!(std::fs::read_to_string(&page).expect("a page").contains("Medusa is running"));
        std::fs::write(&page, "mine").expect("changed");
        write_data(&kinds(), folder.path()).expect("nothing to do");
        assert_eq!(std::fs::read_to_string(&page).expect("a page"), "mine");
    }
}
