//! Zones as a whole, between `[dns.NAME]` and the name servers that people use: BIND, NSD and Knot, as
//! secondaries and as primaries; and a primary that means no good.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use medusa_tests::{Server, Signal, Site, require};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

const SECRET: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ==";
const KEY: &str = "hmac-sha256:xfer:c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IQ==";
const OTHER_KEY: &str = "hmac-sha256:xfer:b3RoZXIgb3RoZXIgb3RoZXIgb3RoZXI=";

const ZONE: &str = "\
$TTL 300
@    SOA ns1 admin 7 3600 600 86400 300
@    NS  ns1
ns1  A   192.0.2.53
www  A   192.0.2.80
mail 60 MX 10 mx.example.org.
text TXT \"one\" \"two \\\"three\\\"\"
";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port that is free for UDP and TCP alike.
fn free_port() -> u16 {
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = udp.local_addr().expect("bound").port();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free for both");
}

/// Another name server, which ends with the test.
struct Other {
    child: Child,
    port: u16,
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who it is, and its part in a test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Bind,
    Nsd,
    Knot,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Bind, Kind::Nsd, Kind::Knot];

    fn program(self) -> &'static str {
        match self {
            Kind::Bind => "/usr/sbin/named",
            Kind::Nsd => "/usr/sbin/nsd",
            Kind::Knot => "/usr/sbin/knotd",
        }
    }

    /// Starts it as primary or secondary of `example.test`, with ours as the other one at `ours`.
    fn start(self, site: &Site, port: u16, ours: u16, is_primary: bool) -> Option<Other> {
        if !require(self.program()) {
            return None;
        }
        let name = format!("{self:?}").to_lowercase();
        let folder = site.path(&name);
        std::fs::create_dir_all(&folder).expect("a folder");
        if is_primary {
            site.write(&format!("{name}/zone"), ZONE);
        }
        let configuration = self.configuration(&folder, port, ours, is_primary);
        site.write(&format!("{name}/conf"), configuration);
        let arguments: &[&str] = match self {
            Kind::Bind => &["-g", "-n", "1", "-c", "conf"],
            Kind::Nsd => &["-d", "-c", "conf"],
            Kind::Knot => &["-c", "conf"],
        };
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let child = Command::new(self.program())
            .args(arguments)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("it starts");
        Some(Other { child, port })
    }

    fn configuration(self, folder: &Path, port: u16, ours: u16, is_primary: bool) -> String {
        let folder = folder.display();
        match self {
            Kind::Bind => {
                let zone = match is_primary {
                    true => format!(
                        "type primary; allow-update {{ key xfer; }}; allow-transfer {{ key xfer; }}; \
                         notify explicit; notify-delay 0; \
                         also-notify {{ 127.0.0.1 port {ours} key xfer; }};"
                    ),
                    false => format!(
                        "type secondary; primaries {{ 127.0.0.1 port {ours} key xfer; }}; \
                         allow-notify {{ key xfer; }}; notify no; masterfile-format text;"
                    ),
                };
                format!(
                    "options {{ directory \"{folder}\"; listen-on port {port} {{ 127.0.0.1; }}; \
                     listen-on-v6 {{ none; }}; pid-file none; session-keyfile none; recursion no; \
                     dnssec-validation no; serial-query-rate 1000; notify-rate 1000; }};\n\
                     controls {{ }};\n\
                     key xfer {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
                     zone example.test {{ {zone} file \"zone\"; }};\n"
                )
            }
            Kind::Nsd => {
                let zone = match is_primary {
                    true => {
                        format!("  provide-xfr: 127.0.0.1 xfer\n  notify: 127.0.0.1@{ours} xfer\n")
                    }
                    false => format!(
                        "  request-xfr: 127.0.0.1@{ours} xfer\n  allow-notify: 127.0.0.1 xfer\n"
                    ),
                };
                format!(
                    "server:\n  ip-address: 127.0.0.1\n  port: {port}\n  username: \"\"\n  \
                     zonesdir: \"{folder}\"\n  pidfile: \"{folder}/pid\"\n  \
                     xfrdfile: \"{folder}/xfrd\"\n  zonelistfile: \"{folder}/list\"\n  \
                     xfrdir: \"{folder}\"\n  database: \"\"\n  server-count: 1\n  \
                     xfrd-reload-timeout: 0\n\
                     remote-control:\n  control-enable: no\n\
                     key:\n  name: xfer\n  algorithm: hmac-sha256\n  secret: \"{SECRET}\"\n\
                     zone:\n  name: example.test\n  zonefile: zone\n{zone}"
                )
            }
            Kind::Knot => {
                let role = if is_primary { "notify: ours" } else { "master: ours" };
                format!(
                    "server:\n  rundir: {folder}\n  listen: 127.0.0.1@{port}\n\
                     database:\n  storage: {folder}\n\
                     key:\n  - id: xfer\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
                     remote:\n  - id: ours\n    address: 127.0.0.1@{ours}\n    key: xfer\n\
                     acl:\n  - id: ours\n    address: 127.0.0.1\n    key: xfer\n    \
                     action: [notify, transfer]\n\
                     zone:\n  - domain: example.test\n    storage: {folder}\n    file: zone\n    \
                     acl: ours\n    {role}\n"
                )
            }
        }
    }
}

/// What dig prints.
fn dig(port: u16, arguments: &[&str]) -> String {
    let port = port.to_string();
    let fixed = ["@127.0.0.1", "-p", &port, "+norecurse", "+time=2", "+tries=1"];
    let output = Command::new("dig").args(fixed).args(arguments).output().expect("dig runs");
    String::from_utf8(output.stdout).expect("text")
}

/// The serial that a server has, if it answers.
fn serial(port: u16, zone: &str) -> Option<u32> {
    let answer = dig(port, &["+short", zone, "SOA"]);
    answer.split_whitespace().nth(2)?.parse().ok()
}

/// Asks until it is so.
fn wait_for<T: PartialEq + std::fmt::Debug>(what: &str, wanted: T, mut ask: impl FnMut() -> T) {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = ask();
        if found == wanted {
            return;
        }
        assert!(Instant::now() < end, "{what}: {found:?} where {wanted:?} was waited for");
        // Each question costs a process.
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Changes `example.test` by nsupdate, and says whether it was done.
fn update(port: u16, key: &str, lines: &str) -> bool {
    let mut child = Command::new("nsupdate")
        .args(["-y", key])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("nsupdate runs");
    let script = format!("server 127.0.0.1 {port}\nzone example.test\n{lines}\nsend\n");
    child.stdin.take().expect("a pipe").write_all(script.as_bytes()).expect("it reads");
    child.wait().expect("it ends").success()
}

/// The records of a zone as AXFR has them, in order.
fn whole(port: u16, zone: &str) -> Vec<String> {
    let answer = dig(port, &["-y", KEY, "+noall", "+answer", "+onesoa", zone, "AXFR"]);
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<_> =
        answer.lines().filter(|line| !line.starts_with(';')).map(words).collect();
    lines.sort();
    lines
}

fn tools() -> bool {
    ["dig", "nsupdate"].into_iter().all(require)
}

fn key_table() -> String {
    format!(
        "[[dns.zones.key]]\nname = \"xfer\"\nalgorithm = \"hmac-sha256\"\nsecret = \"{SECRET}\"\n"
    )
}

fn site_with(port: u16, rest: &str) -> Site {
    Site::new(&format!(
        "[dns.zones]\nlisten = [\"127.0.0.1:{port}\"]\nrate_limit = false\n{}{rest}",
        key_table()
    ))
}

/// A primary of `example.test` that tells these.
fn primary_site(port: u16, notify: &[u16]) -> Site {
    let notify: Vec<_> = notify.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let site = site_with(
        port,
        &format!(
            "[[dns.zones.zone]]\nname = \"example.test\"\nfile = \"example.test.zone\"\n\
             key = \"xfer\"\nupdate_key = \"xfer\"\nupdate_from = [\"127.0.0.0/8\"]\n\
             notify = {notify:?}\n"
        ),
    );
    site.write("example.test.zone", ZONE);
    site
}

/// A secondary of `example.test`.
fn secondary_site(port: u16, primary: u16, key: bool) -> Site {
    let key = if key { "key = \"xfer\"\n" } else { "transfer_to = [\"127.0.0.0/8\"]\n" };
    site_with(
        port,
        &format!(
            "[[dns.zones.zone]]\nname = \"example.test\"\nfile = \"copy.zone\"\n\
             primary = [\"127.0.0.1:{primary}\"]\n{key}"
        ),
    )
}

#[test]
fn bind_nsd_and_knot_are_secondaries_of_ours() {
    if !tools() {
        return;
    }
    let port = free_port();
    let ports = [free_port(), free_port(), free_port()];
    let site = primary_site(port, &ports);
    let server = site.serve(MEDUSA);
    let others: Vec<_> = Kind::ALL
        .into_iter()
        .zip(ports)
        .filter_map(|(kind, other)| Some((kind, kind.start(&site, other, port, false)?)))
        .collect();
    for (kind, other) in &others {
        wait_for(&format!("{kind:?}"), Some(7), || serial(other.port, "example.test"));
    }
    // Twice: the second time each has a version of ours to be changed.
    for next in [8, 9] {
        let lines = format!(
            "update delete www.example.test A\nupdate add www.example.test 300 A 192.0.2.{next}\n\
             update add n{next}.example.test 60 TXT \"number {next}\""
        );
        assert!(update(port, KEY, &lines));
        assert_eq!(serial(port, "example.test"), Some(next));
        for (kind, other) in &others {
            wait_for(&format!("{kind:?}"), Some(next), || serial(other.port, "example.test"));
            let www = dig(other.port, &["+short", "www.example.test", "A"]);
            assert_eq!(www, format!("192.0.2.{next}\n"), "{kind:?}");
        }
    }
    let changes = dig(port, &["-y", KEY, "+tcp", "+noall", "+answer", "example.test", "IXFR=8"]);
    let changes = changes.lines().filter(|line| line.starts_with(|c: char| c.is_alphanumeric()));
    // The newest SOA record, the old one and what is gone, the new one and what has come, the newest again.
    assert_eq!(changes.count(), 7);
    drop(others);
    server.end();
}

#[test]
fn bind_nsd_and_knot_are_primaries_of_ours() {
    if !tools() {
        return;
    }
    for kind in Kind::ALL {
        let (port, other_port) = (free_port(), free_port());
        let site = secondary_site(port, other_port, true);
        let Some(other) = kind.start(&site, other_port, port, true) else { continue };
        wait_for(&format!("{kind:?}"), Some(7), || serial(other.port, "example.test"));
        let server = site.serve(MEDUSA);
        wait_for("the first transfer", Some(7), || serial(port, "example.test"));
        assert_eq!(whole(port, "example.test"), whole(other.port, "example.test"), "{kind:?}");
        assert_eq!(whole(port, "example.test").len(), 6);
        if kind == Kind::Bind {
            assert!(update(other.port, KEY, "update add new.example.test 60 A 192.0.2.1"));
            wait_for("a notice", Some(8), || serial(port, "example.test"));
            assert!(update(other.port, KEY, "update delete new.example.test A"));
            wait_for("a notice", Some(9), || serial(port, "example.test"));
            assert_eq!(whole(port, "example.test"), whole(other.port, "example.test"));
        }
        let held = serial(port, "example.test");
        server.end();
        drop(other);
        // Without its primary it has what it had, until that is too old.
        let server = site.serve(MEDUSA);
        assert_eq!(serial(port, "example.test"), held, "{kind:?}");
        server.end();
        let long_ago = SystemTime::now() - Duration::from_secs(86_401);
        let file = std::fs::OpenOptions::new().write(true).open(site.path("copy.zone"));
        file.and_then(|file| file.set_modified(long_ago)).expect("a copy");
        let server = site.serve(MEDUSA);
        let answer = dig(port, &["example.test", "SOA"]);
        assert!(answer.contains("SERVFAIL"), "{kind:?} {answer}");
        server.end();
    }
}

#[test]
fn signatures_are_asked_for_and_checked() {
    if !tools() {
        return;
    }
    let port = free_port();
    let site = primary_site(port, &[]);
    let server = site.serve(MEDUSA);
    assert_eq!(whole(port, "example.test").len(), 6);
    let signed = dig(port, &["-y", KEY, "www.example.test", "A"]);
    assert!(signed.contains("192.0.2.80") && signed.contains("TSIG"), "{signed}");
    assert!(!signed.contains("verify"), "{signed}");
    for (key, told) in [
        (None, "Transfer failed"),
        (Some(OTHER_KEY), "BADSIG"),
        (Some("hmac-sha256:nobody:c2VjcmV0"), "BADKEY"),
        (Some(&*KEY.replace("256", "512")), "BADKEY"),
    ] {
        let arguments = match key {
            Some(key) => vec!["-y", key, "example.test", "AXFR"],
            None => vec!["example.test", "AXFR"],
        };
        let answer = dig(port, &arguments);
        assert!(answer.contains(told) && !answer.contains("192.0.2.80"), "{answer}");
    }
    let add = "update add x.example.test 60 A 192.0.2.1";
    assert!(!update(port, OTHER_KEY, add));
    assert!(!update(port, KEY, &format!("prereq yxdomain none.example.test\n{add}")));
    assert_eq!(serial(port, "example.test"), Some(7));
    assert!(update(port, KEY, &format!("prereq nxdomain x.example.test\n{add}")));
    assert_eq!(serial(port, "example.test"), Some(8));
    server.end();
    // A client of the Knot family signs its own way.
    if require("kdig") {
        let server = site.serve(MEDUSA);
        let port = port.to_string();
        let arguments = ["@127.0.0.1", "-p", &port, "-y", KEY, "+tcp", "example.test", "AXFR"];
        let output = Command::new("kdig").args(arguments).output().expect("kdig runs");
        let text = String::from_utf8(output.stdout).expect("text");
        assert!(text.contains("192.0.2.80") && !text.contains("WARNING"), "{text}");
        server.end();
    }
}

#[test]
fn what_was_answered_survives_a_kill() {
    if !tools() {
        return;
    }
    let port = free_port();
    let site = primary_site(port, &[]);
    let mut expected = 7;
    for round in 0..3 {
        let server = site.serve(MEDUSA);
        assert_eq!(serial(port, "example.test"), Some(expected));
        for number in 0..4 {
            let name = format!("r{round}n{number}.example.test");
            assert!(update(port, KEY, &format!("update add {name} 60 TXT x")));
            expected += 1;
        }
        server.signal(Signal::KILL);
        server.wait();
    }
    let server = site.serve(MEDUSA);
    assert_eq!(serial(port, "example.test"), Some(expected));
    assert_eq!(whole(port, "example.test").len(), 6 + 12);
    // And what changed before is known as changes.
    let changes = dig(port, &["-y", KEY, "+tcp", "+noall", "+answer", "example.test", "IXFR=17"]);
    assert!(!changes.contains("192.0.2.80") && changes.contains("r2n3"), "{changes}");
    // The file that somebody has written is as it was.
    assert_eq!(site.read("example.test.zone"), ZONE);
    server.end();
    // One that is newer counts; one that is older doesn't.
    site.write("example.test.zone", ZONE.replace(" 7 ", " 8 "));
    let server = site.serve(MEDUSA);
    assert_eq!(serial(port, "example.test"), Some(expected));
    server.end();
    site.write("example.test.zone", ZONE.replace(" 7 ", " 100 "));
    // Whoever only checks what is written changes nothing.
    let status = site.command(MEDUSA, &["check", "medusa.toml"]).status().expect("it runs");
    assert!(status.success() && site.path("example.test.zone.journal").exists());
    let server = site.serve(MEDUSA);
    assert_eq!(serial(port, "example.test"), Some(100));
    assert_eq!(whole(port, "example.test").len(), 6);
    let old = site.path("example.test.zone.journal.old");
    wait_for("an old journal", true, || old.exists());
    assert!(update(port, KEY, "update add y.example.test 60 TXT x"));
    server.end();
}

#[test]
fn large_zones_and_large_sets_come_whole() {
    if !tools() {
        return;
    }
    let (port, second) = (free_port(), free_port());
    let site = primary_site(port, &[second]);
    let mut zone = ZONE.to_owned();
    for number in 0..100_000 {
        writeln!(zone, "n{number} A 10.0.0.1").expect("memory");
    }
    // One set of 40 KB.
    for number in 0..400 {
        writeln!(zone, "large TXT \"{number:0100}\"").expect("memory");
    }
    site.write("example.test.zone", zone);
    let server = site.serve(MEDUSA);
    let other = secondary_site(second, port, true);
    let other_server = other.serve(MEDUSA);
    wait_for("a large zone", Some(7), || serial(second, "example.test"));
    let records = whole(second, "example.test");
    assert_eq!(records.len(), 6 + 100_000 + 400);
    assert!(update(port, KEY, "update delete large.example.test TXT"));
    wait_for("a large change", Some(8), || serial(second, "example.test"));
    let large = dig(second, &["large.example.test", "TXT"]);
    assert!(large.contains("NXDOMAIN"), "{large}");
    server.end();
    other_server.end();
}

#[test]
fn a_catalog_lists_zones_that_come_and_go() {
    if !tools() {
        return;
    }
    let (port, second) = (free_port(), free_port());
    let catalog = |serial: u32, members: &str| {
        format!(
            "$TTL 60\n@ SOA invalid. invalid. {serial} 3600 600 86400 60\n@ NS invalid.\n\
             version TXT \"2\"\n{members}"
        )
    };
    let primary = |members: &str, serial: u32| {
        let site = Site::new(&format!(
            "[dns.zones]\nlisten = [\"127.0.0.1:{port}\"]\nrate_limit = false\n\
             zones = [\"one.test.zone\", \"two.test.zone\"]\ntransfer_to = [\"127.0.0.0/8\"]\n\
             [[dns.zones.zone]]\nname = \"catalog.test\"\nfile = \"catalog.zone\"\n\
             notify = [\"127.0.0.1:{second}\"]\n"
        ));
        site.write("one.test.zone", ZONE).write("two.test.zone", ZONE);
        site.write("catalog.zone", catalog(serial, members));
        site
    };
    let site = primary("a.zones PTR one.test.\n", 1);
    let server = site.serve(MEDUSA);
    let other = Site::new(&format!(
        "[dns.zones]\nlisten = [\"127.0.0.1:{second}\"]\nrate_limit = false\n\
         [[dns.zones.zone]]\nname = \"catalog.test\"\nfile = \"catalog.copy\"\ncatalog = true\n\
         primary = [\"127.0.0.1:{port}\"]\n"
    ));
    let other_server = other.serve(MEDUSA);
    wait_for("a member", Some(7), || serial(second, "one.test"));
    assert_eq!(serial(second, "two.test"), None);
    server.end();
    let site = primary("b.zones PTR two.test.\n", 2);
    let server = site.serve(MEDUSA);
    wait_for("another member", Some(7), || serial(second, "two.test"));
    wait_for("no member", None, || serial(second, "one.test"));
    other_server.end();
    // Members are there at once after a restart.
    server.end();
    let other_server = other.serve(MEDUSA);
    wait_for("the member that was", Some(7), || serial(second, "two.test"));
    other_server.end();
}

/// A primary that answers each connection with what it is told to.
struct Hostile {
    listener: TcpListener,
}

impl Hostile {
    /// The next connection, which comes within the test's patience.
    fn accept(&self) -> TcpStream {
        let end = Instant::now() + PATIENCE;
        self.listener.set_nonblocking(true).expect("a listener");
        loop {
            if let Ok((stream, _)) = self.listener.accept() {
                stream.set_nonblocking(false).expect("a stream");
                return stream;
            }
            assert!(Instant::now() < end, "nobody asks");
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Answers one request with these messages, and waits until the other end has gone.
    fn answer(&self, messages: impl Iterator<Item = Vec<u8>>) {
        let mut stream = self.accept();
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let request = read_message(&mut stream);
        for mut message in messages {
            message[..2].copy_from_slice(&request[..2]);
            let mut bytes = (message.len() as u16).to_be_bytes().to_vec();
            bytes.extend_from_slice(&message);
            if stream.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
}

fn read_message(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).expect("a length");
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).expect("a message");
    message
}

const NAME: &[u8] = b"\x07example\x04test\x00";

/// A record; an owner that begins with `.` is below `example.test`.
fn record(owner: &[u8], rtype: u16, data: &[u8]) -> Vec<u8> {
    let fixed = [&rtype.to_be_bytes()[..], &[0, 1, 0, 0, 1, 44]].concat();
    [owner, &fixed, &(data.len() as u16).to_be_bytes(), data].concat()
}

fn soa(serial: u32) -> Vec<u8> {
    let numbers = [serial, 3600, 600, 86_400, 300].map(u32::to_be_bytes).concat();
    record(NAME, 6, &[NAME, NAME, &numbers].concat())
}

fn message(records: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![0, 0, 0x84, 0, 0, 0];
    out.extend_from_slice(&(records.len() as u16).to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    records.iter().for_each(|record| out.extend_from_slice(record));
    out
}

/// Tells the server that `example.test` has changed.
fn notify(port: u16) {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let header = [0, 1, 0x24, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let question = [NAME, &[0, 6, 0, 1]].concat();
    socket.send_to(&[&header[..], &question].concat(), ("127.0.0.1", port)).expect("sent");
    let mut answer = [0; 512];
    let (length, _) = socket.recv_from(&mut answer).expect("answered");
    assert!(length >= 12 && answer[3] & 0xF == 0, "{:?}", &answer[..length]);
}

#[test]
fn a_hostile_primary_changes_nothing() {
    if !tools() {
        return;
    }
    let port = free_port();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let primary = listener.local_addr().expect("bound").port();
    let site = secondary_site(port, primary, false);
    let text = std::fs::read_to_string(site.path("medusa.toml")).expect("a configuration");
    site.write("medusa.toml", format!("{text}max_transfer = \"1 MiB\"\n"));
    site.write("copy.zone", format!("$ORIGIN example.test.\n{ZONE}"));
    let server = site.serve(MEDUSA);
    let hostile = Hostile { listener };
    let ns = record(NAME, 2, NAME);
    let a = |label: &[u8]| record(&[label, NAME].concat(), 1, &[192, 0, 2, 66]);
    let outside = record(b"\x03org\x00", 1, &[192, 0, 2, 66]);
    let endless = (0..10_000_u32).map(|number| {
        let label = format!("\x09n{number:08}");
        let mut records = vec![a(label.as_bytes()); 100];
        if number == 0 {
            records.insert(0, soa(9));
        }
        message(&records)
    });
    let cut = {
        let mut cut = message(&[soa(9), ns.clone(), a(b"\x01x")]);
        cut.truncate(cut.len() - 3);
        cut
    };
    // What IXFR fails with is asked for again by AXFR; what is too large or refused is not.
    let twice: [Vec<Vec<u8>>; 7] = [
        vec![message(&[a(b"\x01x"), soa(9)])],
        vec![message(&[soa(9), ns.clone(), a(b"\x01x"), soa(10)])],
        vec![message(&[soa(9), ns.clone(), outside, soa(9)])],
        vec![message(&[soa(9), soa(5), soa(9), a(b"\x01x"), soa(9)])],
        vec![message(&[soa(9), a(b"\x01x"), soa(9), a(b"\x01y")])],
        vec![cut],
        vec![vec![0; 5]],
    ];
    for (round, messages) in twice.into_iter().enumerate() {
        if round > 0 {
            notify(port);
        }
        hostile.answer(messages.clone().into_iter());
        hostile.answer(messages.into_iter());
        assert_eq!(serial(port, "example.test"), Some(7), "round {round}");
    }
    // It goes away in the middle, never ends, and is older than what there is.
    notify(port);
    hostile.answer([message(&[soa(9), ns.clone(), a(b"\x01x")])].into_iter());
    notify(port);
    hostile.answer(endless);
    assert_eq!(serial(port, "example.test"), Some(7));
    let www = dig(port, &["+short", "www.example.test", "A"]);
    assert_eq!(www, "192.0.2.80\n");
    assert!(site.read("copy.zone").contains("192.0.2.80"));
    // At last it does as it should.
    notify(port);
    hostile.answer([message(&[soa(9), ns, a(b"\x01x"), soa(9)])].into_iter());
    wait_for("a good zone", Some(9), || serial(port, "example.test"));
    assert!(site.read("copy.zone").contains("192.0.2.66"));
    server.end();
}

#[test]
fn a_primary_that_can_not_sign_is_not_believed() {
    if !tools() {
        return;
    }
    let port = free_port();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let primary = listener.local_addr().expect("bound").port();
    let site = secondary_site(port, primary, true);
    let server: Server = site.serve(MEDUSA);
    let hostile = Hostile { listener };
    let ns = record(NAME, 2, NAME);
    hostile.answer([message(&[soa(9), ns.clone(), soa(9)])].into_iter());
    let answer = dig(port, &["example.test", "SOA"]);
    assert!(answer.contains("SERVFAIL"), "{answer}");
    assert!(!site.path("copy.zone").exists());
    server.end();
}
