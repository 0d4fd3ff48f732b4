//! A configuration that is changed while the server runs, as an operator does it: edit, HUP, look at the log.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use medusa_tests::{PATIENCE, Server, Signal, Site, until};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

/// A server whose configuration is edited and whose log is read.
struct Edited {
    site: Site,
    server: Server,
    /// The octets of the log that were read.
    read: usize,
}

impl Edited {
    fn new(configuration: &str) -> Edited {
        let site = Site::new(configuration);
        for name in ["one", "two"] {
            site.write(&format!("{name}/name.txt"), name);
        }
        site.write_private("users.toml", "");
        let mut command = site.command(MEDUSA, &["serve", "medusa.toml"]);
        command.stderr(File::create(site.path("log")).expect("a log"));
        let server = Server::start(command);
        Edited { site, server, read: 0 }
    }

    /// Saves the configuration and has it read; what the log says until `word` stands in it.
    fn edit(&mut self, configuration: &str, word: &str) -> String {
        self.read = self.site.read("log").len();
        self.site.write("medusa.toml", configuration);
        self.server.signal(Signal::HUP);
        let told = || self.site.read("log")[self.read..].to_owned();
        until(word, || told().contains(word));
        // Whole lines.
        until("a line's end", || told().ends_with('\n'));
        told()
    }
}

/// Where a service listens, by what the log says.
fn listens(told: &str, service: &str) -> SocketAddr {
    let line = told.lines().find(|line| line.contains(&format!("service={service} ")));
    let line = line.unwrap_or_else(|| panic!("nothing of {service} in {told}"));
    let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
    address.and_then(|address| address.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream
}

/// One answer on a connection that stays.
fn get(stream: &mut TcpStream, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("asked");
    let mut answer = String::new();
    loop {
        let mut piece = [0; 4096];
        let length = stream.read(&mut piece).expect("an answer");
        answer.push_str(&String::from_utf8_lossy(&piece[..length]));
        if length == 0 || answer.contains("\r\n\r\n") && !answer.ends_with("\r\n\r\n") {
            return answer;
        }
    }
}

fn site(name: &str, root: &str) -> String {
    format!("[http.{name}]\nlisten = [\"127.0.0.1:0\"]\nroot = \"{root}\"\n")
}

const NO_ACCESS: &str = "[log]\nlevel = \"info\"\n";

#[test]
fn services_are_added_changed_and_taken_out() {
    let (stays, other) = (site("stays", "one"), site("other", "one"));
    let first = format!("{NO_ACCESS}{stays}{other}");
    let mut edited = Edited::new(&first);
    let (stays_at, other_at) =
        (edited.server.address("http.stays"), edited.server.address("http.other"));
    let mut stays_open = connect(stays_at);
    assert!(get(&mut stays_open, "/name.txt").ends_with("one"));
    let mut idle = connect(other_at);
    assert!(get(&mut idle, "/name.txt").ends_with("one"));

    // Changed and added: the address stays, the old session is let go, the other's goes on.
    let second = format!("{NO_ACCESS}{stays}{}{}", site("other", "two"), site("new", "two"));
    let told = edited.edit(&second, "service=http.new");
    assert_eq!(listens(&told, "http.other"), other_at);
    until("it serves what is written now", || {
        let mut stream = connect(other_at);
        get(&mut stream, "/name.txt").ends_with("two")
    });
    let mut rest = Vec::new();
    let ended = idle.read_to_end(&mut rest);
    assert!(ended.is_ok_and(|length| length == 0), "the old session is told nothing and ends");
    drop(idle);
    let new_at = listens(&told, "http.new");
    assert!(get(&mut connect(new_at), "/name.txt").ends_with("two"));
    assert!(get(&mut stays_open, "/name.txt").ends_with("one"));

    // Taken out.
    let third = format!("{NO_ACCESS}{stays}");
    let told = edited.edit(&third, "service=http.other");
    assert_eq!(told.matches("it is no longer served").count(), 2, "{told}");
    for gone in [other_at, new_at] {
        until("nobody listens", || {
            TcpStream::connect(gone)
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        });
    }
    assert!(get(&mut stays_open, "/name.txt").ends_with("one"));

    // Comments and order mean nothing.
    edited.edit(&format!("# Nothing new.\n{third}"), "the services are unchanged");
    assert!(get(&mut stays_open, "/name.txt").ends_with("one"));
    edited.server.end();
}

#[test]
fn what_is_wrong_changes_nothing() {
    let sound = format!("{NO_ACCESS}{}", site("site", "one"));
    let mut edited = Edited::new(&sound);
    let address = edited.server.address("http.site");
    let mut open = connect(address);
    assert!(get(&mut open, "/name.txt").ends_with("one"));
    for (wrong, at) in [
        (format!("{sound}rot = \"two\"\n"), "medusa.toml:6"),
        (format!("{sound}[\n"), "medusa.toml:6"),
        (format!("{NO_ACCESS}{}{}", site("site", "two"), site("more", "none")), "medusa.toml:8"),
        // It can't be bound: the one that could isn't changed either.
        (
            format!(
                "{NO_ACCESS}{}[http.more]\nlisten = [\"192.0.2.1:8080\"]\nroot = \"two\"\n",
                site("site", "two")
            ),
            "medusa.toml:7",
        ),
    ] {
        let told = edited.edit(&wrong, "the configuration in use stays");
        assert!(told.contains(at), "{at} is not in {told}");
        assert!(get(&mut open, "/name.txt").ends_with("one"));
        assert!(get(&mut connect(address), "/name.txt").ends_with("one"));
    }
    // What stays as it is may have lost what it names.
    let named = format!("{sound}[[http.site.route]]\npath = \"/q\"\ndns = \"zones\"\n");
    let zones = "[dns.zones]\nlisten = [\"127.0.0.1:0\"]\n";
    edited.edit(&format!("{named}{zones}"), "service=dns.zones");
    let told = edited.edit(&named, "the configuration in use stays");
    assert!(told.contains("[dns.zones]"), "{told}");
    edited.edit(&sound, "service=dns.zones");
    assert!(get(&mut connect(address), "/q?dns=AAABAAABAAAAAAAAAAABAAE").contains(" 404 "));
    edited.edit(&format!("{NO_ACCESS}{}", site("site", "two")), "service=http.site");
    until("it serves what is written now", || {
        get(&mut connect(address), "/name.txt").ends_with("two")
    });
}

#[test]
fn what_is_shared_or_kept_on_disk_waits_for_the_next_start() {
    let users = "[accounts]\nfile = \"users.toml\"\n";
    let submission = |more: &str| {
        format!(
            "{NO_ACCESS}{users}[resolver]\nservers = [\"127.0.0.1\"]\n\
             [smtp.out]\nlisten = [\"127.0.0.1:0\"]\nhostname = \"mx.example.test\"\n\
             role = \"submission\"\ndomains = [\"example.test\"]\nmailboxes = \"mail\"\n\
             queue = \"queue\"\nplaintext_login = \"always\"\n{more}"
        )
    };
    let mut edited = Edited::new(&submission(""));
    let mut stream = connect(edited.server.address("smtp.out"));
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).expect("a greeting");
    let told = edited.edit(&submission("expire = \"1d\"\n"), "at the next start");
    assert!(told.contains("[smtp.out] keeps something on disk"), "{told}");
    let more = format!("{}[server]\nshards = 7\ndrain = \"1s\"\n", submission(""));
    let told = edited.edit(&more, "at the next start");
    assert!(told.contains("[server] has changed"), "{told}");
    // It may be taken out: its session is told so.
    let without = format!("{NO_ACCESS}{users}{}", self::site("site", "mail"));
    let told = edited.edit(&without, "it is no longer served");
    assert!(told.contains("service=smtp.out"), "{told}");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("an end");
    assert!(rest.contains("421 "), "{rest}");
}
