//! `check(script, expected)`: what a client does on both of its connections, and what comes out of them, in
//! few words. The test plays the shard: it binds ports, connects, and carries notes to and fro.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use medusa_accounts::{Attempt, Authenticate, Denial, Identity, Logins, Password, ThrottleLimits};
use medusa_core::testing::{Asked, Client, Faults};
use medusa_core::tls::Facts;
use medusa_core::{Acceptor, AccessSink, Endpoint, Limits, Listening, Peer, ServiceParts, Session};

use crate::data::{Order, Report};
use crate::home::{Visit, Visitor};
use crate::passive::PortRange;
use crate::service::{FtpBuilder, FtpService};
use crate::session::{Announce, FtpSession, Rights, Shared};
use crate::storage::Memory;

/// Knows alice, whose password is `secret`, and mallory, who finds nothing.
struct Names;

impl Authenticate for Names {
    fn authenticate(&self, attempt: &Attempt, password: &Password) -> Result<Identity, Denial> {
        match (attempt.name.as_str(), password.reveal()) {
            ("alice" | "mallory" | "drop", "secret") => Ok(Identity::new(&attempt.name)),
            _ => Err(Denial::Credentials),
        }
    }
}

/// Takes access lines.
#[derive(Default)]
pub(super) struct Lines(pub(super) Mutex<Vec<String>>);

impl AccessSink for Lines {
    fn line(&self, line: &[u8]) {
        self.0.lock().unwrap().push(String::from_utf8(line.to_vec()).unwrap());
    }
}

/// What is served in most tests.
pub(super) fn files() -> Memory {
    let memory = Memory::new(100_000);
    for (path, content) in
        [("hello.txt", "hello\n"), ("folder/inner.txt", "one\ntwo\n"), ("digits", "0123456789")]
    {
        memory.insert(path, content).unwrap();
    }
    memory
}

pub(super) fn builder(memory: &Memory) -> FtpBuilder {
    builder_of("ftp.test", memory)
}

pub(super) fn builder_of(parts: impl Into<ServiceParts>, memory: &Memory) -> FtpBuilder {
    let memory = memory.clone();
    let home = move |visitor: Visitor<'_>| {
        let rights = match visitor {
            Visitor::Anonymous => Rights::READ,
            Visitor::Account(identity) => match identity.name() {
                "alice" => Rights::ALL,
                "drop" => Rights::DROP,
                _ => return Err(crate::Error::NotFound),
            },
        };
        Ok(Visit::new(memory.clone(), rights))
    };
    FtpService::builder(parts, home)
        .anonymous(true)
        .logins(Some(Logins::new(Arc::new(Names), ThrottleLimits::default())))
        .passive_ports(PortRange::new(50_000, 50_003))
}

/// A client with its two connections, and the shard between.
pub(super) struct World {
    pub(super) control: Client,
    pub(super) data: Option<Client>,
    pub(super) acceptor: Option<Box<dyn Acceptor>>,
    /// What listens, and how many have listened in all.
    pub(super) inlet: Option<medusa_core::Address>,
    pub(super) listened: usize,
    /// Addresses that can't be bound: another program has them.
    pub(super) taken: Vec<u16>,
    pub(super) transcript: String,
    /// Which TLS session is resumed where the server connects.
    resumes: Option<[u8; 16]>,
    limits: Limits,
    faults: Faults,
}

fn loopback(port: u16) -> Endpoint {
    Endpoint::Inet(SocketAddr::from(([127, 0, 0, 1], port)))
}

impl World {
    pub(super) fn new(builder: FtpBuilder, faults: Faults) -> World {
        let service = builder.build();
        let limits = medusa_core::Service::parts(&service).limits();
        Self::limited(&service.into_shared(), limits, faults)
    }

    /// One of several clients of a server.
    pub(super) fn of(shared: &Arc<Shared>, faults: Faults) -> World {
        Self::limited(shared, limits(), faults)
    }

    fn limited(shared: &Arc<Shared>, limits: Limits, faults: Faults) -> World {
        let session: Box<dyn Session> = Box::new(FtpSession::new(Arc::clone(shared)));
        let peer = Peer::new(loopback(40_000), loopback(21));
        World {
            control: Client::from_peer(session, peer, limits.clone(), faults.clone()),
            limits,
            data: None,
            acceptor: None,
            inlet: None,
            listened: 0,
            taken: Vec::new(),
            transcript: String::new(),
            resumes: None,
            faults,
        }
    }

    /// Carries everything to and fro until nothing moves.
    pub(super) fn settle(&mut self) {
        let mut quiet_rounds = 0;
        for _ in 0..1000 {
            self.control.run_jobs().deliver();
            let mut asked = self.control.asked();
            let mut quiet = asked.is_empty();
            for one in asked.drain(..) {
                self.carry(one);
            }
            let mut reports = Vec::new();
            if let Some(data) = &mut self.data {
                data.run_jobs().deliver();
                for one in data.asked() {
                    let Asked::Notify(_, note) = one else { panic!("data asks for nothing") };
                    reports.push(note.downcast::<Report>().expect("a report"));
                }
            }
            quiet &= reports.is_empty();
            for report in reports {
                self.control.notify(report);
            }
            // What was posted at the end of a round is delivered in the next.
            quiet_rounds = if quiet { quiet_rounds + 1 } else { 0 };
            if quiet_rounds == 2 {
                return self.flush();
            }
        }
        panic!("nothing comes to rest");
    }

    fn flush(&mut self) {
        let text: String = self.control.output().iter().map(|&o| char::from(o)).collect();
        self.transcript += &text;
    }

    fn carry(&mut self, asked: Asked) {
        let is_secured = matches!(asked, Asked::ConnectAsTlsServer(..));
        match asked {
            Asked::Notify(_, note) if note.is::<Announce>() => {
                let announce = note.downcast::<Announce>().expect("one was looked at");
                self.control.notify(announce);
            }
            Asked::Notify(_, note) => {
                let order = note.downcast::<Order>().expect("an order");
                if let Some(data) = &mut self.data {
                    data.notify(order);
                }
            }
            Asked::Listen(id, bind, acceptor, secured) => {
                let Some(&bound) = bind.iter().find(|at| !self.taken.contains(&at.port())) else {
                    let bound = Err(std::io::ErrorKind::AddrInUse.into());
                    self.control.notify(Listening { id, bound });
                    return;
                };
                self.transcript += if secured { "[listens for TLS]\r\n" } else { "" };
                (self.acceptor, self.inlet) = (Some(acceptor), Some(id));
                self.listened += 1;
                self.control.notify(Listening { id, bound: Ok(bound) });
            }
            Asked::Unlisten(id) if self.inlet == Some(id) => {
                (self.acceptor, self.inlet) = (None, None);
            }
            Asked::Unlisten(_) => {}
            Asked::Connect(_, target, session) | Asked::ConnectAsTlsServer(_, target, session) => {
                self.flush();
                let with = if is_secured { " with TLS" } else { "" };
                self.transcript += &format!("[connects to {target}{with}]\r\n");
                let mut peer = Peer::new(Endpoint::Inet(target), loopback(20));
                peer.tls = is_secured.then(|| Arc::new(resuming(self.resumes)));
                let limits = self.limits.clone();
                self.data = Some(Client::from_peer(session, peer, limits, self.faults.clone()));
            }
            _ => panic!("the shard was asked for something new"),
        }
    }

    /// Somebody connects to the passive port.
    pub(super) fn connect(&mut self, from: Endpoint, facts: Option<Facts>) {
        let Some(acceptor) = &mut self.acceptor else {
            self.transcript += "[refused]\r\n";
            return;
        };
        let mut peer = Peer::new(from, loopback(50_000));
        let session = acceptor.accepted(&peer);
        peer.tls = facts.map(Arc::new);
        let limits = self.limits.clone();
        self.data = Some(Client::from_peer(session, peer, limits, self.faults.clone()));
    }

    /// A data connection's own peer.
    pub(super) fn peer(&self) -> Peer {
        Peer::new(loopback(40_001), loopback(50_000))
    }

    /// Carries the notes of a data connection that isn't ours to the control connection.
    pub(super) fn pass_on(&mut self, data: &mut Client) {
        for one in data.asked() {
            let Asked::Notify(_, note) = one else { panic!("data asks for nothing") };
            self.control.notify(note.downcast::<Report>().expect("a report"));
        }
    }

    pub(super) fn step(&mut self, step: &str) {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        match verb {
            "@connect" => self.connect(loopback(40_001), None),
            "@stranger" => {
                let address = SocketAddr::from(([127, 0, 0, 9], 40_001));
                self.connect(Endpoint::Inet(address), None);
            }
            // A data connection whose TLS session resumes that of this name.
            "@resume" => {
                let resumes = (!rest.is_empty()).then(|| name(rest));
                self.connect(loopback(40_001), Some(resuming(resumes)));
            }
            // The same of those that the server makes from now on.
            "@resumes" => self.resumes = Some(name(rest)),
            "@secure" => {
                assert!(self.control.awaits_tls(), "{}", self.transcript);
                let mut facts = Facts::default();
                facts.session = name(rest);
                self.control.secure(facts);
            }
            "@send" => drop_it(self.data.as_mut().expect("a data connection").send(rest)),
            "@end" => drop_it(self.data.as_mut().expect("a data connection").end()),
            "@truncate" => drop_it(self.data.as_mut().expect("a data connection").truncate()),
            "@reset" => drop_it(self.data.as_mut().expect("a data connection").reset()),
            "@stall" => drop_it(self.data.as_mut().expect("a data connection").stall()),
            "@unstall" => drop_it(self.data.as_mut().expect("a data connection").unstall()),
            "@get" => {
                let data = self.data.as_mut().expect("a data connection");
                let text: String = data.output().iter().map(|&o| char::from(o)).collect();
                let end = if data.is_closed() { "|" } else { "" };
                self.transcript += &format!("[{text}{end}]\r\n");
            }
            "@wait" => {
                let time = Duration::from_secs(rest.parse().expect("seconds"));
                self.control.advance(time);
                if let Some(data) = &mut self.data {
                    data.advance(time);
                }
            }
            "@drain" => drop_it(self.control.drain()),
            "@gone" => drop_it(self.control.end()),
            "@lost" => drop_it(self.control.reset()),
            "@raw" => drop_it(self.control.send(octets(rest))),
            _ => {
                let mut line = octets(step);
                line.extend_from_slice(b"\r\n");
                self.control.send(line);
            }
        }
        self.settle();
    }
}

/// What is known of the TLS of a data connection.
fn resuming(resumes: Option<[u8; 16]>) -> Facts {
    let mut facts = Facts::default();
    facts.session = *b"data connection.";
    facts.resumes = resumes;
    facts
}

/// A TLS session's name, padded.
fn name(text: &str) -> [u8; 16] {
    let mut name = [b'.'; 16];
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

/// Characters up to U+00FF are octets; `\r` and `\n` are theirs.
fn octets(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).expect("an octet")).collect()
}

/// Plays a script with a server of one's own, under a network.
pub(super) fn play(builder: FtpBuilder, script: &[&str], faults: Faults) -> World {
    let mut world = World::new(builder, faults);
    world.settle();
    for step in script {
        world.step(step);
    }
    world
}

/// The lines of a transcript without their ends.
pub(super) fn lines(world: &World) -> Vec<&str> {
    world.transcript.split_terminator("\r\n").collect()
}

/// Plays a script under several networks that split what is sent, and compares all that came out; each
/// line of it is one of `expected`. The login of alice is played before.
pub(super) fn check(script: &[&str], expected: &[&str]) {
    check_in(&files(), builder, script, expected);
}

/// The same with files and a server of one's own.
pub(super) fn check_in(
    memory: &Memory,
    builder: impl Fn(&Memory) -> FtpBuilder,
    script: &[&str],
    expected: &[&str],
) {
    let networks = [
        Faults::none(),
        Faults::none().reads([1]).writes([1]),
        Faults::none().reads([3, 1, 7]).writes([2, 5]),
        Faults::random(7, 20),
    ];
    let mut whole = vec!["USER alice", "PASS secret"];
    whole.extend_from_slice(script);
    for faults in networks {
        let network = format!("{faults:?}");
        // A copy each time: files change.
        let copy = memory.deep_copy();
        let world = play(builder(&copy), &whole, faults);
        let told = lines(&world);
        assert_eq!(told[..3], ["220 FTP server ready", "331 Send the password", "230 Welcome"]);
        assert_eq!(&told[3..], expected, "{network}");
    }
}

/// Plays a script without a login, once.
pub(super) fn check_outside(script: &[&str], expected: &[&str]) {
    let world = play(builder(&files()), script, Faults::none());
    assert_eq!(&lines(&world)[1..], expected);
}

pub(super) fn limits() -> Limits {
    FtpService::default_limits()
}

/// The client is done with for this step.
fn drop_it(_: &mut Client) {}
