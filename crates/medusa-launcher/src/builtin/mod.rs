//! What is served without a configuration: a text that is compiled in, on high loopback ports, with its
//! data below `./medusa-data`.
//!
//! It is a configuration like any other and is read like one. Files are written only where there are
//! none; a port that somebody has is passed over for the next free one, and that is said.

mod demo;

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;

use crate::config::diagnostic::Source;
use crate::kinds::Kinds;

use demo::Demo;

/// One service of the built-in configuration.
struct Builtin {
    kind: &'static str,
    /// Its table.
    table: &'static str,
    /// What its table has besides while there is the demo account.
    for_demo: &'static str,
    /// What stands for a port in its table, and the port: high enough to need no rights, and what people
    /// try first.
    ports: &'static [(&'static str, u16)],
    /// What is written below the current folder, by path.
    files: &'static [(&'static str, &'static str)],
    /// How to log in, with `{password}` where that belongs.
    login: &'static str,
}

const BUILTINS: &[Builtin] = &[
    Builtin {
        kind: "http",
        table: "
[http.welcome]
listen = [\"127.0.0.1:{port}\"]
tls_listen = [\"127.0.0.1:{tls_port}\"]
root = \"medusa-data/http\"
listing = true
",
        for_demo: "
[[http.welcome.route]]
path = \"/private/\"
files = \"medusa-data/private\"
listing = true
accounts = [\"demo\"]
",
        ports: &[("{port}", 8080), ("{tls_port}", 8443)],
        files: &[
            ("medusa-data/http/index.html", include_str!("index.html")),
            ("medusa-data/private/hello.txt", "Only those who have logged in read this.\n"),
        ],
        login: "\
http://127.0.0.1:{port}/private/ wants a login; over TLS, with the certificate that was made for it:
  curl --cacert medusa-data/tls/cert.pem --user demo:{password} https://localhost:{tls_port}/private/hello.txt",
    },
    // Mail for elsewhere is refused: nobody is to send any by having tried a program out.
    Builtin {
        kind: "smtp",
        table: "
[smtp.mx]
listen = [\"127.0.0.1:{port}\"]
hostname = \"localhost\"
domains = [\"localhost\", \"example.test\"]
mailboxes = \"medusa-data/mail\"

[smtp.submission]
listen = [\"127.0.0.1:{submission_port}\"]
tls_listen = [\"127.0.0.1:{tls_port}\"]
hostname = \"localhost\"
role = \"submission\"
domains = [\"localhost\", \"example.test\"]
mailboxes = \"medusa-data/mail\"
",
        for_demo: "",
        ports: &[("{port}", 2525), ("{submission_port}", 2587), ("{tls_port}", 2465)],
        files: &[],
        login: "\
mail for demo@localhost comes in, and is submitted after a login:
  swaks --server 127.0.0.1:{port} --to demo@localhost
  swaks --server 127.0.0.1:{submission_port} --tls --auth-user demo --auth-password {password} --to demo@localhost",
    },
    Builtin {
        kind: "pop3",
        table: "
[pop3.mail]
listen = [\"127.0.0.1:{port}\"]
tls_listen = [\"127.0.0.1:{tls_port}\"]
mailboxes = \"medusa-data/mail\"
",
        for_demo: "",
        ports: &[("{port}", 1110), ("{tls_port}", 1995)],
        files: &[],
        login: "\
and is fetched, listed or whole:
  curl --user demo:{password} pop3://127.0.0.1:{port}/
  curl --user demo:{password} pop3://127.0.0.1:{port}/1",
    },
    Builtin {
        kind: "ftp",
        table: "
[ftp.files]
listen = [\"127.0.0.1:{port}\"]
root = \"medusa-data/files\"
anonymous = \"read\"
",
        for_demo: "",
        ports: &[("{port}", 2121)],
        files: &[("medusa-data/files/hello.txt", "Everybody reads this.\n")],
        login: "\
files are read by everybody, and written after a login:
  curl ftp://127.0.0.1:{port}/hello.txt
  curl --user demo:{password} --upload-file medusa-data/http/index.html ftp://127.0.0.1:{port}/welcome.html",
    },
    Builtin {
        kind: "dns",
        table: "
[dns.zones]
listen = [\"127.0.0.1:{port}\"]
zones = [\"medusa-data/zones/example.test.zone\"]
",
        for_demo: "",
        ports: &[("{port}", 5353)],
        files: &[("medusa-data/zones/example.test.zone", include_str!("example.test.zone"))],
        login: "\
names below example.test are answered for, each with this machine's loopback address:
  dig @127.0.0.1 -p {port} example.test MX",
    },
];

/// How many ports are tried after the first.
const TRIES: u16 = 100;

/// Makes the data's folders and files, but for what is there already; then the configuration for those
/// of `kinds` that are built in, and lines that say how to log in and which ports were taken.
pub(crate) fn prepare(kinds: &Kinds, folder: &Path) -> anyhow::Result<(Source, Vec<String>)> {
    let demo = write_data(kinds, folder)?;
    // For datagrams too: a service with both has one port, and another's mDNS is likely to have 5353.
    let is_free = |port| {
        let address = (Ipv4Addr::LOCALHOST, port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    Ok(compose(kinds, demo.as_ref(), is_free))
}

/// Makes the data; the account that there is then, if anything built in is served at all.
fn write_data(kinds: &Kinds, folder: &Path) -> anyhow::Result<Option<Demo>> {
    if mounted(kinds).next().is_none() {
        return Ok(None);
    }
    for (path, text) in mounted(kinds).flat_map(|builtin| builtin.files) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => file.write_all(text.as_bytes())?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    demo::write(folder).map(Some)
}

fn mounted(kinds: &Kinds) -> impl Iterator<Item = &'static Builtin> {
    BUILTINS.iter().filter(|builtin| kinds.names().any(|name| name == builtin.kind))
}

fn compose(
    kinds: &Kinds,
    demo: Option<&Demo>,
    mut is_free: impl FnMut(u16) -> bool,
) -> (Source, Vec<String>) {
    let mut text = String::from("# What Medusa serves without a configuration.\n");
    if demo.is_some() {
        text.push_str(demo::TABLES);
    }
    let (mut taken, mut logins) = (Vec::new(), Vec::new());
    for builtin in mounted(kinds) {
        let mut table = builtin.table.to_owned();
        if matches!(demo, Some(Demo::Open(_) | Demo::Changed)) {
            table.push_str(builtin.for_demo);
        }
        let mut login = builtin.login.to_owned();
        for (name, first) in builtin.ports {
            let mut ports = *first..=first.saturating_add(TRIES);
            // With none free the first is asked for, and refused with the reason.
            let port = ports.find(|port| is_free(*port)).unwrap_or(*first);
            if port != *first {
                taken.push(format!("port {first} is taken; {} has {port} instead", builtin.kind));
            }
            table = table.replace(name, &port.to_string());
            login = login.replace(name, &port.to_string());
        }
        text.push_str(&table);
        logins.push(login);
    }
    let notes = taken.into_iter().chain(demo.into_iter().flat_map(|demo| how(demo, &logins)));
    (Source { name: "<built-in>".to_owned(), text }, notes.collect())
}

/// How to log in.
fn how(demo: &Demo, logins: &[String]) -> Vec<String> {
    let (first, password) = match demo {
        Demo::Open(password) => (
            format!("log in as {}, password {password} ({})", demo::NAME, demo::PASSWORD_FILE),
            password.as_str(),
        ),
        Demo::Changed => {
            (format!("log in as {}, with the password you have set", demo::NAME), "PASSWORD")
        }
        Demo::Gone => return Vec::new(),
    };
    let logins = logins.iter().map(|login| login.replace("{password}", password));
    std::iter::once(first).chain(logins).collect()
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
        let (source, notes) = compose(&kinds(), None, |_| true);
        assert!(source.text.contains("127.0.0.1:8080") && notes.is_empty(), "{}", source.text);
        let (source, notes) = compose(&kinds(), None, |port| port > 8081);
        assert!(source.text.contains("127.0.0.1:8082"), "{}", source.text);
        assert_eq!(notes, ["port 8080 is taken; http has 8082 instead"]);
        let (source, _) = compose(&kinds(), None, |_| false);
        assert!(source.text.contains("127.0.0.1:8080"));
        assert!(Document::parse(&source).is_ok());
    }

    #[test]
    fn who_may_log_in_is_told_how() {
        let told = |demo: Demo| {
            let (source, notes) = compose(&kinds(), Some(&demo), |_| true);
            assert!(source.text.contains("[tls]") && source.text.contains("[accounts]"));
            assert!(Document::parse(&source).is_ok(), "{}", source.text);
            (source.text.contains("accounts = [\"demo\"]"), notes.join("\n"))
        };
        let (private, notes) = told(Demo::Open("bukado".into()));
        assert!(private && notes.contains("log in as demo, password bukado"), "{notes}");
        assert!(notes.contains("--user demo:bukado https://localhost:8443/private/"), "{notes}");
        let (private, notes) = told(Demo::Changed);
        assert!(private && notes.contains("the password you have set"), "{notes}");
        assert_eq!(told(Demo::Gone), (false, String::new()));
    }

    #[test]
    fn every_port_of_a_table_is_told_or_used() {
        for builtin in BUILTINS {
            for (name, _) in builtin.ports {
                assert!(builtin.table.contains(name), "{} has no {name}", builtin.kind);
            }
            let left = builtin.ports.iter().fold(
                format!("{}{}", builtin.table, builtin.login.replace("{password}", "")),
                |text, (name, _)| text.replace(name, ""),
            );
            assert!(!left.contains('{'), "{left}");
        }
        let mut ports: Vec<u16> =
            BUILTINS.iter().flat_map(|builtin| builtin.ports).map(|(_, port)| *port).collect();
        let count = ports.len();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), count);
    }

    #[test]
    fn only_what_is_mounted_is_served() {
        let (source, _) = compose(&Kinds::default(), None, |_| true);
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
