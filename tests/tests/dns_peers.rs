//! The same questions asked of Medusa, NSD and Knot over the same zones, and their answers compared: flags,
//! response code, and each section as a set. Where NSD and Knot agree, Medusa agrees with them; where they
//! don't, it does as one of them. What RFCs leave open is in [`OPEN`], each with its reason.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hickory_proto::op::Message;
use medusa_tests::{PATIENCE, Server, Site, require, until};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

/// Zones in the folder of fixtures, all served by all of them.
const ZONES: &[&str] = &[
    "plain.test",
    "nsec.test",
    "nsec3.test",
    "optout.test",
    "child.plain.test",
    "child.nsec.test",
    "child.nsec3.test",
];

/// What is asked of each of the first four zones: names below the apex, and types.
const QUESTIONS: &[(&str, &[Type])] = &[
    ("", &[A, NS, SOA, MX, TXT, CAA, DS, DNSKEY, NSEC, NSEC3, NSEC3PARAM, ANY, TYPE65400]),
    ("ns1.", &[A, AAAA, MX, ANY]),
    ("WeB.", &[A, AAAA, TXT, MX, CNAME, SRV]),
    ("www.", &[A, AAAA, MX, CNAME, NSEC, ANY, TXT, DS]),
    ("alias1.", &[A, TXT, MX, CNAME]),
    ("loop1.", &[A, CNAME]),
    ("tonowhere.", &[A]),
    ("toempty.", &[A]),
    ("toabroad.", &[A]),
    ("tocut.", &[A]),
    ("todname.", &[A, TXT]),
    ("towild.", &[A, MX, TXT]),
    ("tomixed.", &[A]),
    ("mixed.", &[A, AAAA]),
    // Names that aren't there, at various places in the order and depth.
    ("missing.", &[A, DS, ANY]),
    ("a.", &[A]),
    ("zzz.", &[A]),
    ("a.missing.", &[A]),
    ("x.y.z.missing.", &[A]),
    ("below.web.", &[A]),
    ("below.www.", &[A]),
    ("other.ent.", &[A]),
    ("*.", &[A]),
    // Empty non-terminals.
    ("ent.", &[A, ANY, NS, DS]),
    ("er.ent.", &[A]),
    ("deep.er.ent.", &[A, AAAA]),
    ("_tcp.", &[SRV]),
    ("cutent.", &[A, DS]),
    // Wildcards.
    ("wild.", &[A]),
    ("one.wild.", &[A, MX, TXT, ANY, DS, NSEC]),
    ("two.one.wild.", &[A, TXT]),
    ("*.wild.", &[A, TXT]),
    ("one.*.wild.", &[A]),
    ("known.wild.", &[A, TXT]),
    ("one.known.wild.", &[A]),
    ("b.wild.", &[A]),
    ("c.b.wild.", &[A]),
    ("c.a.b.wild.", &[A]),
    ("one.cwild.", &[A, TXT, CNAME, MX]),
    ("one.nwild.", &[A]),
    ("one.dwild.", &[A, TXT]),
    // Renamed.
    ("dname.", &[A, DNAME, ANY, NS]),
    ("host.dname.", &[A, AAAA, CNAME, DNAME]),
    ("deep.er.dname.", &[A]),
    ("none.dname.", &[A]),
    ("a.odname.", &[A, DS]),
    ("one.wdname.", &[A, TXT]),
    ("one.ndname.", &[A]),
    // Delegations.
    ("sub.", &[A, NS, DS, SOA, ANY, NSEC, DNSKEY]),
    ("host.sub.", &[A, DS]),
    ("ns.sub.", &[A, AAAA, NS]),
    ("a.b.c.sub.", &[A]),
    ("signed.", &[A, DS, NS]),
    ("www.signed.", &[A]),
    ("abroad.", &[A, NS, DS]),
    ("www.abroad.", &[A]),
    ("below.cutent.", &[A, DS]),
    ("www.below.cutent.", &[A]),
    ("crossed.", &[NS]),
    ("www.crossed.", &[A]),
    ("www.lone.", &[A]),
    ("child.", &[DS, NS, SOA, A, DNSKEY]),
    ("www.child.", &[A, DS, AAAA]),
    ("none.child.", &[A]),
    // Services.
    ("_sip._tcp.", &[SRV, A]),
    ("svc.", &[HTTPS, SVCB]),
    ("ptr.", &[PTR]),
    ("mailonly.", &[MX, A]),
    ("naptr.", &[NAPTR]),
    ("private.", &[TYPE65400, TXT]),
    // Beyond 512 and 1,232 octets.
    ("big.", &[A, AAAA]),
    ("long.", &[TXT]),
];

/// Names of nobody's.
const FOREIGN: &[&str] = &["", "test.", "example.", "xplain.test.", "www.elsewhere.example."];

type Type = (&'static str, u16);
const A: Type = ("A", 1);
const NS: Type = ("NS", 2);
const CNAME: Type = ("CNAME", 5);
const SOA: Type = ("SOA", 6);
const PTR: Type = ("PTR", 12);
const MX: Type = ("MX", 15);
const TXT: Type = ("TXT", 16);
const AAAA: Type = ("AAAA", 28);
const SRV: Type = ("SRV", 33);
const NAPTR: Type = ("NAPTR", 35);
const DNAME: Type = ("DNAME", 39);
const DS: Type = ("DS", 43);
const NSEC: Type = ("NSEC", 47);
const DNSKEY: Type = ("DNSKEY", 48);
const NSEC3: Type = ("NSEC3", 50);
const NSEC3PARAM: Type = ("NSEC3PARAM", 51);
const SVCB: Type = ("SVCB", 64);
const HTTPS: Type = ("HTTPS", 65);
const ANY: Type = ("ANY", 255);
const CAA: Type = ("CAA", 257);
const TYPE65400: Type = ("TYPE65400", 65400);

/// How it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Over UDP, by who knows nothing of EDNS.
    Plain,
    /// Over UDP with 1,232 octets.
    Edns,
    /// The same, with signatures.
    Signed,
    /// Over TCP, with signatures.
    Tcp,
}

const MANNERS: [Manner; 4] = [Manner::Plain, Manner::Edns, Manner::Signed, Manner::Tcp];

/// A difference that the RFCs leave open: what it is and why, and when it may be.
type Open = (&'static str, fn(&Asked, Part, &Answer, [&Answer; 2]) -> bool);

const OPEN: &[Open] = &[(
    "Addresses of mail servers below a delegation are the child's to tell, and the parent has them as glue \
     alone, which is for referrals (RFC 2181 §5.4.1). NSD leaves them out too, but adds those of the zone's \
     name servers, as it adds their names to every answer; Knot sends them. RFC 1035 §3.3.9 only asks for \
     what is at hand.",
    |asked, part, ours, theirs| {
        let is_glue = |line: &&String| line.contains(".sub.");
        let knot = theirs[1].of(part).iter().filter(|line| !is_glue(line));
        part == Part::Additional && asked.rtype == MX && ours.of(part).iter().eq(knot)
    },
)];

/// A question.
struct Asked {
    name: String,
    rtype: Type,
    manner: Manner,
}

/// A part of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Head,
    Answers,
    Authority,
    Additional,
}

const PARTS: [Part; 4] = [Part::Head, Part::Answers, Part::Authority, Part::Additional];

/// An answer, as text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Answer {
    parts: [BTreeSet<String>; 4],
}

impl Answer {
    fn of(&self, part: Part) -> &BTreeSet<String> {
        &self.parts[part as usize]
    }

    /// Names are compared without case: who writes the zone's and who the question's is open.
    fn read(octets: &[u8]) -> Answer {
        let message = Message::from_vec(octets).expect("a message that others can read");
        let mut head = format!("rcode {}", octets[3] & 15);
        for (flag, set) in [("aa", octets[2] & 4), ("tc", octets[2] & 2), ("ra", octets[3] & 0x80)]
        {
            if set != 0 {
                let _ = write!(head, " {flag}");
            }
        }
        if let Some(edns) = &message.edns {
            let _ = write!(head, " edns {}", edns.rcode_high());
        }
        let section = |records: &[hickory_proto::rr::Record]| {
            let line = |record: &hickory_proto::rr::Record| {
                let line = format!(
                    "{} {} {} {}",
                    record.name,
                    record.ttl,
                    record.record_type(),
                    record.data
                );
                line.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase()
            };
            records.iter().map(line).collect()
        };
        Answer {
            parts: [
                [head].into(),
                section(&message.answers),
                section(&message.authorities),
                section(&message.additionals),
            ],
        }
    }
}

impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {:?}", self.name, self.rtype.0, self.manner)
    }
}

impl Asked {
    fn message(&self) -> Vec<u8> {
        let has_edns = self.manner != Manner::Plain;
        let mut message = vec![0x51, 0x7A, 0, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(has_edns)];
        for label in self.name.split('.').filter(|label| !label.is_empty()) {
            message.push(label.len() as u8);
            message.extend_from_slice(label.as_bytes());
        }
        message.push(0);
        message.extend_from_slice(&self.rtype.1.to_be_bytes());
        message.extend_from_slice(&[0, 1]);
        if has_edns {
            let wants_signatures = matches!(self.manner, Manner::Signed | Manner::Tcp);
            let flags = if wants_signatures { 0x80 } else { 0 };
            message.extend_from_slice(&[0, 0, 41, 0x04, 0xD0, 0, 0, flags, 0, 0, 0]);
        }
        message
    }
}

// ---- servers -------------------------------------------------------------------------------------

/// A server that is asked.
struct Peer {
    name: &'static str,
    udp: UdpSocket,
    tcp: TcpStream,
    _process: Process,
}

/// What is ended with the test.
enum Process {
    Ours(#[expect(dead_code, reason = "it ends when it is dropped")] Server),
    Theirs(Child),
}

impl Drop for Process {
    fn drop(&mut self) {
        let Process::Theirs(child) = self else { return };
        // NSD has processes of its own, which end when it is asked to end, and not when it is killed.
        let pid = rustix::process::Pid::from_child(child);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = child.wait();
    }
}

impl Peer {
    /// Connects, once it answers for the zone that comes last.
    fn at(name: &'static str, udp: SocketAddr, tcp: SocketAddr, process: Process) -> Peer {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(udp).expect("loopback");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket");
        for zone in ZONES {
            let name = format!("{zone}.");
            let asked = Asked { name, rtype: SOA, manner: Manner::Plain }.message();
            until("it answers for all zones", || {
                let mut answer = [0; 512];
                socket.send(&asked).is_ok()
                    && socket.recv(&mut answer).is_ok_and(|length| length > 12)
                    && answer[7] == 1
            });
        }
        // No answer of those that were waited for is taken for another.
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(udp).expect("loopback");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let stream = TcpStream::connect(tcp).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.set_nodelay(true).expect("a socket");
        Peer { name, udp: socket, tcp: stream, _process: process }
    }

    fn ask(&mut self, asked: &Asked) -> Answer {
        let message = asked.message();
        let mut answer = vec![0; 65535];
        let length = if asked.manner == Manner::Tcp {
            let framed = [&(message.len() as u16).to_be_bytes(), &message[..]].concat();
            self.tcp.write_all(&framed).expect("a question");
            let mut length = [0; 2];
            self.tcp.read_exact(&mut length).expect("an answer");
            let length = usize::from(u16::from_be_bytes(length));
            self.tcp.read_exact(&mut answer[..length]).expect("an answer");
            length
        } else {
            self.udp.send(&message).expect("a question");
            let length = self.udp.recv(&mut answer).expect("an answer");
            let most = if asked.manner == Manner::Plain { 512 } else { 1232 };
            assert!(length <= most, "{}: {asked}: {length} octets", self.name);
            length
        };
        assert_eq!(answer[..2], message[..2], "{}: {asked}", self.name);
        Answer::read(&answer[..length])
    }
}

/// A port that is free for TCP and for UDP.
fn port() -> SocketAddr {
    for _ in 0..100 {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        if UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
    panic!("no port is free for both");
}

fn medusa(site: &Site) -> Peer {
    let zones: Vec<_> = ZONES.iter().map(|zone| format!("\"{zone}.zone\"")).collect();
    let zones = zones.join(", ");
    let text = format!(
        "[server]\nshards = 1\n[dns.zones]\nlisten = [\"127.0.0.1:0\"]\nrate_limit = false\nzones = [{zones}]\n"
    );
    site.write("medusa.toml", text);
    let server = site.serve(MEDUSA);
    let address = |udp: bool| -> SocketAddr {
        let rows = server.table().lines().filter(|row| row.starts_with("dns.zones "));
        let mut rows = rows.filter(|row| row.ends_with("UDP") == udp);
        let address = rows.next().and_then(|row| row.split_whitespace().nth(1)?.parse().ok());
        address.expect("an address")
    };
    let (udp, tcp) = (address(true), address(false));
    Peer::at("medusa", udp, tcp, Process::Ours(server))
}

fn nsd(site: &Site) -> Peer {
    let address = port();
    let folder = site.path("");
    let folder = folder.display();
    let mut text = format!(
        "server:\n ip-address: 127.0.0.1@{}\n username: \"\"\n chroot: \"\"\n zonesdir: \"{folder}\"\n \
         database: \"\"\n pidfile: \"{folder}/nsd.pid\"\n xfrdfile: \"{folder}/xfrd\"\n \
         zonelistfile: \"{folder}/list\"\n xfrdir: \"{folder}\"\n server-count: 1\n \
         rrl-ratelimit: 0\n rrl-whitelist-ratelimit: 0\nremote-control:\n control-enable: no\n",
        address.port(),
    );
    for zone in ZONES {
        let _ = write!(text, "zone:\n name: {zone}\n zonefile: {zone}.zone\n");
    }
    site.write("nsd.conf", text);
    let child = start("nsd", &["-d", "-c", &format!("{folder}/nsd.conf")]);
    Peer::at("NSD", address, address, child)
}

fn knot(site: &Site) -> Peer {
    let address = port();
    let folder = site.path("");
    let folder = folder.display();
    let mut text = format!(
        "server:\n  rundir: {folder}\n  listen: 127.0.0.1@{}\n  udp-workers: 1\n  tcp-workers: 1\n\
         \x20 background-workers: 1\ndatabase:\n  storage: {folder}\n\
         template:\n  - id: default\n    storage: {folder}\n    journal-content: none\n    zonefile-sync: -1\n\
         zone:\n",
        address.port(),
    );
    for zone in ZONES {
        let _ = write!(text, "  - domain: {zone}\n    file: {zone}.zone\n");
    }
    site.write("knot.conf", text);
    let child = start("knotd", &["-c", &format!("{folder}/knot.conf")]);
    Peer::at("Knot", address, address, child)
}

fn start(program: &str, arguments: &[&str]) -> Process {
    let mut command = Command::new(program);
    let quiet = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    Process::Theirs(quiet.stderr(Stdio::null()).spawn().expect("it runs"))
}

// ---- the comparison ------------------------------------------------------------------------------

fn questions() -> Vec<Asked> {
    let mut all = Vec::new();
    for manner in MANNERS {
        for zone in &ZONES[..4] {
            for (name, types) in QUESTIONS {
                for rtype in *types {
                    let name = format!("{name}{zone}.");
                    all.push(Asked { name, rtype: *rtype, manner });
                }
            }
        }
        for name in FOREIGN {
            all.push(Asked { name: (*name).to_owned(), rtype: A, manner });
        }
    }
    all
}

/// What differs, as text; nothing where all is well.
fn compared(asked: &Asked, ours: &Answer, theirs: [&Answer; 2]) -> String {
    let mut text = String::new();
    for part in PARTS {
        let sides = theirs.map(|answer| answer.of(part));
        if sides.contains(&ours.of(part)) {
            continue;
        }
        if OPEN.iter().any(|(_, may_be)| may_be(asked, part, ours, theirs)) {
            continue;
        }
        let _ = writeln!(text, "{asked}: {part:?}");
        for (name, side) in [("medusa", ours.of(part)), ("NSD", sides[0]), ("Knot", sides[1])] {
            for line in side {
                let _ = writeln!(text, "    {name}: {line}");
            }
        }
    }
    text
}

#[test]
fn medusa_answers_as_nsd_and_knot_do() {
    if !require("nsd") || !require("knotd") {
        return;
    }
    let site = Site::new("");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/dns");
    for zone in ZONES {
        let file = format!("{zone}.zone");
        site.write(&file, std::fs::read(fixtures.join(&file)).expect("a zone"));
    }
    let mut peers = [nsd(&site), knot(&site)];
    let mut medusa = medusa(&site);
    let (mut told, mut count) = (String::new(), 0);
    let all = questions();
    for asked in &all {
        let ours = medusa.ask(asked);
        let [nsd, knot] = &mut peers;
        let (nsd, knot) = (nsd.ask(asked), knot.ask(asked));
        let difference = compared(asked, &ours, [&nsd, &knot]);
        count += usize::from(!difference.is_empty());
        told.push_str(&difference);
    }
    assert!(count == 0, "{count} of {} answers differ:\n{told}", all.len());
}
