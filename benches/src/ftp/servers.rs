//! The FTP servers that are measured, each with a folder of its own and in the foreground: Medusa, and
//! vsftpd as a standalone daemon with its defaults where nothing is said here. Anonymous visitors read all of
//! it and write in `up`, and each transfer is logged.

use std::fs::{self, File, Permissions};
use std::io::{Read, Seek};
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::{Cores, Process, Spent};
use crate::servers::free_address;

use super::account::Account;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);
/// Octets of the small file.
pub(super) const SMALL: usize = 4096;

/// An FTP server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Medusa,
    /// Another build of it, to compare with.
    Other,
    Vsftpd,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Medusa => "medusa",
            Kind::Other => "medusa, the other build",
            Kind::Vsftpd => "vsftpd",
        }
    }

    /// Its version, where it can be measured.
    pub(super) fn version(self) -> Option<String> {
        match self {
            Kind::Medusa | Kind::Other => Some(self.name().to_owned()),
            // It becomes another user.
            Kind::Vsftpd if rustix::process::geteuid().is_root() => {
                // It says so where a connection would be: on its standard input.
                let mut told = tempfile::tempfile().ok()?;
                let mut command = Command::new("vsftpd");
                command.arg("-v").stdin(told.try_clone().ok()?).output().ok()?;
                let mut text = String::new();
                told.rewind().ok()?;
                told.read_to_string(&mut text).ok()?;
                Some(text.trim().replace(": version", ""))
            }
            Kind::Vsftpd => None,
        }
    }
}

/// A server that listens, and its folder. It is ended when it is dropped.
pub(super) struct Server {
    pub(super) kind: Kind,
    // Before its folder: it is ended first.
    pub(super) process: Process,
    account: Option<Account>,
    pub(super) address: SocketAddr,
    folder: tempfile::TempDir,
}

/// How a server is started.
pub(super) struct Workshop {
    pub(super) cores: Cores,
    pub(super) medusa: PathBuf,
    pub(super) other: Option<PathBuf>,
    /// Connections that it must be able to hold.
    pub(super) connections: usize,
}

impl Workshop {
    /// Starts a server of a small file and one of so many MiB; `None` where there is none of its kind.
    pub(super) fn start(&self, kind: Kind, large: u64) -> Result<Option<Server>> {
        let program = match kind {
            Kind::Medusa => Some(self.medusa.as_path()),
            Kind::Other => self.other.as_deref(),
            Kind::Vsftpd => kind.version().map(|_| Path::new("vsftpd")),
        };
        let Some(program) = program else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        // Whoever they become must come in.
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        fill(&path.join("files"), large)?;
        let address = free_address()?;
        let mut command = match kind {
            Kind::Medusa | Kind::Other => self.medusa(program, path, address)?,
            Kind::Vsftpd => vsftpd(path, address)?,
        };
        let log = path.join("said");
        let said = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let mut process = self.cores.serve(&mut command)?;
        let account = Account::open(process.child().id());
        let mut server = Server { kind, process, account, address, folder };
        server.process.listens(server.address, PATIENCE).with_context(|| {
            format!("{} said: {}", kind.name(), fs::read_to_string(&log).unwrap_or_default())
        })?;
        Ok(Some(server))
    }

    /// Whether what a server spends can be told exactly.
    pub(super) fn is_accounted(&self) -> bool {
        let Ok(mut process) = self.cores.serve(Command::new("sleep").arg("60")) else {
            return false;
        };
        let account = Account::open(process.child().id());
        // The group can't go before what is in it.
        drop(process);
        account.is_some()
    }

    fn medusa(&self, program: &Path, folder: &Path, address: SocketAddr) -> Result<Command> {
        let configuration = format!(
            r#"[server]
shards = 1
[log]
level = "warn"
access = "access.log"
[limits]
connections = {connections}
connections_per_peer = false
idle = "1h"
[ftp.files]
listen = ["{address}"]
root = "files"
anonymous = "read"
[[ftp.files.folder]]
path = "up"
rights = ["list", "read", "write", "delete"]
"#,
            connections = self.connections,
        );
        let path = folder.join("medusa.toml");
        fs::write(&path, configuration)?;
        let mut command = Command::new(program);
        command.arg("serve").arg(path);
        Ok(command)
    }
}

impl Server {
    /// What it and all that it has started have spent.
    pub(super) fn spent(&self) -> Result<Spent> {
        self.account.as_ref().map_or_else(|| self.process.spent(), Account::spent)
    }

    /// Takes a file away that was sent.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        Ok(fs::remove_file(self.folder.path().join("files").join(name))?)
    }
}

fn fill(files: &Path, large: u64) -> Result<()> {
    fs::create_dir(files)?;
    fs::write(files.join("small"), [b'x'; SMALL])?;
    fs::write(files.join("large"), vec![b'x'; usize::try_from(large << 20)?])?;
    // That vsftpd's user may write.
    fs::create_dir(files.join("up"))?;
    fs::set_permissions(files.join("up"), Permissions::from_mode(0o777))?;
    Ok(())
}

fn vsftpd(folder: &Path, address: SocketAddr) -> Result<Command> {
    fs::create_dir(folder.join("empty"))?;
    let said = Command::new("id").args(["-u", "ftp"]).output().context("can't run id")?;
    let owner: u32 = String::from_utf8_lossy(&said.stdout).trim().parse().context("no user ftp")?;
    chown(folder.join("files/up"), Some(owner), None)?;
    let (folder, host, port) = (folder.display(), address.ip(), address.port());
    let configuration = format!(
        "listen=YES
listen_ipv6=NO
background=NO
listen_address={host}
listen_port={port}
anonymous_enable=YES
anon_root={folder}/files
anon_world_readable_only=NO
write_enable=YES
anon_upload_enable=YES
anon_other_write_enable=YES
secure_chroot_dir={folder}/empty
xferlog_enable=YES
xferlog_file={folder}/xferlog
vsftpd_log_file={folder}/vsftpd.log
max_clients=0
max_per_ip=0
idle_session_timeout=3600
"
    );
    let path = PathBuf::from(folder.to_string()).join("vsftpd.conf");
    fs::write(&path, configuration)?;
    let mut command = Command::new("vsftpd");
    command.arg(path);
    Ok(command)
}
