//! The name servers that are measured, each with a folder of its own, in the foreground, with one thread that
//! answers over UDP and one that answers over TCP at most, and without a limit on how often they answer.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::zones::APEX;
use crate::machine::version;
use crate::process::{Cores, Process};
use crate::servers::free_address;

/// How long a server may take to answer, a zone of a million names read.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often it is asked until then.
const PAUSE: Duration = Duration::from_millis(5);

/// A name server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A loop in C that sends back whatever comes.
    Floor,
    Medusa,
    /// Another build of it.
    Other,
    Knot,
    Nsd,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Floor => "echo in C (floor)",
            Kind::Medusa => "medusa",
            Kind::Other => "medusa, the other build",
            Kind::Knot => "Knot",
            Kind::Nsd => "NSD",
        }
    }

    /// Its version, where it is installed.
    pub(super) fn version(self) -> Option<String> {
        match self {
            Kind::Knot => version("knotd", "--version"),
            Kind::Nsd => version("nsd", "-v"),
            Kind::Floor | Kind::Medusa | Kind::Other => Some(self.name().to_owned()),
        }
    }
}

/// A server that answers. It is ended when it is dropped.
pub(super) struct Server {
    pub(super) kind: Kind,
    // Before its folder: it is ended first.
    pub(super) process: Process,
    pub(super) address: SocketAddr,
    /// How long it took until the zone's last name was answered for.
    pub(super) ready_after: Duration,
    folder: tempfile::TempDir,
}

/// How a server is started.
pub(super) struct Workshop {
    pub(super) cores: Cores,
    pub(super) medusa: PathBuf,
    pub(super) other: Option<PathBuf>,
    /// The program that is the floor.
    pub(super) floor: PathBuf,
}

impl Workshop {
    /// Starts a server and waits until it answers for `last`; `None` where there is none of its kind.
    pub(super) fn start(&self, kind: Kind, zone: &Path, last: &str) -> Result<Option<Server>> {
        if kind.version().is_none() {
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        let address = free_address()?;
        let mut command = match (kind, &self.other) {
            (Kind::Floor, _) => return self.floor(folder).map(Some),
            (Kind::Other, None) => return Ok(None),
            (Kind::Other, Some(other)) => medusa(other, path, zone, address)?,
            (Kind::Medusa, _) => medusa(&self.medusa, path, zone, address)?,
            (Kind::Knot, _) => knot(path, zone, address)?,
            (Kind::Nsd, _) => nsd(path, zone, address)?,
        };
        let log = path.join("said");
        let file = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let begun = Instant::now();
        let process = self.cores.serve(&mut command)?;
        let ready_after = Duration::ZERO;
        let mut server = Server { kind, process, address, ready_after, folder };
        server.answers(last).with_context(|| {
            format!("{} said: {}", kind.name(), fs::read_to_string(&log).unwrap_or_default())
        })?;
        server.ready_after = begun.elapsed();
        Ok(Some(server))
    }

    fn floor(&self, folder: tempfile::TempDir) -> Result<Server> {
        let mut command = Command::new(&self.floor);
        command.args(["epoll", "127.0.0.1"]).stdout(Stdio::piped());
        let mut process = self.cores.serve(&mut command)?;
        let stdout = process.child().stdout.take().context("the floor's output")?;
        let mut port = String::new();
        BufReader::new(stdout).read_line(&mut port)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port.trim().parse()?));
        Ok(Server { kind: Kind::Floor, process, address, ready_after: Duration::ZERO, folder })
    }
}

impl Server {
    /// Asks for a name until it is answered for with a record.
    fn answers(&mut self, name: &str) -> Result<()> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(self.address)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let question = question(name);
        let end = Instant::now() + PATIENCE;
        let mut answer = [0; 512];
        loop {
            // Refused as long as it doesn't listen.
            if socket.send(&question).is_ok()
                && let Ok(length) = socket.recv(&mut answer)
                && length > 12
                && answer[3] & 0xF == 0
                && answer[7] > 0
            {
                return Ok(());
            }
            if let Some(status) = self.process.child().try_wait()? {
                bail!("it ended with {status}");
            }
            if Instant::now() > end {
                bail!("it doesn't answer for {name} at {}", self.address);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Its folder.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// A question for the addresses of a name.
fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

fn medusa(program: &Path, folder: &Path, zone: &Path, address: SocketAddr) -> Result<Command> {
    let configuration = format!(
        r#"[server]
shards = 1
[log]
level = "warn"
[dns.bench]
listen = ["{address}"]
zones = ["{zone}"]
rate_limit = false
"#,
        zone = zone.display(),
    );
    let path = folder.join("medusa.toml");
    fs::write(&path, configuration)?;
    let mut command = Command::new(program);
    command.arg("serve").arg(path);
    Ok(command)
}

fn knot(folder: &Path, zone: &Path, address: SocketAddr) -> Result<Command> {
    let configuration = format!(
        r#"server:
  rundir: {folder}
  listen: {host}@{port}
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
log:
  - target: stderr
    any: warning
database:
  storage: {folder}
template:
  - id: default
    journal-content: none
    zonefile-sync: -1
    zonefile-load: whole
zone:
  - domain: {APEX}
    file: {zone}
"#,
        folder = folder.display(),
        host = address.ip(),
        port = address.port(),
        zone = zone.display(),
    );
    let path = folder.join("knot.conf");
    fs::write(&path, configuration)?;
    let mut command = Command::new("knotd");
    command.arg("-c").arg(path);
    Ok(command)
}

fn nsd(folder: &Path, zone: &Path, address: SocketAddr) -> Result<Command> {
    let configuration = format!(
        r#"server:
  ip-address: {host}@{port}
  server-count: 1
  username: ""
  chroot: ""
  zonesdir: "{folder}"
  database: ""
  pidfile: "{folder}/nsd.pid"
  zonelistfile: "{folder}/zone.list"
  xfrdfile: "{folder}/xfrd.state"
  xfrdir: "{folder}"
  rrl-ratelimit: 0
  rrl-whitelist-ratelimit: 0
  verbosity: 0
remote-control:
  control-enable: no
zone:
  name: {APEX}
  zonefile: "{zone}"
"#,
        folder = folder.display(),
        host = address.ip(),
        port = address.port(),
        zone = zone.display(),
    );
    let path = folder.join("nsd.conf");
    fs::write(&path, configuration)?;
    let mut command = Command::new("nsd");
    command.arg("-d").arg("-c").arg(path);
    Ok(command)
}
