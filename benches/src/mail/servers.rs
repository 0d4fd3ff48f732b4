//! The mail servers that are measured, each with a folder of its own, its own processes in the foreground and
//! the settings that its package has where nothing is said here: Medusa, Postfix that delivers by its
//! virtual(8), and Dovecot. All keep `alice`'s mail in a Maildir and write a log of what they did.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use crate::machine::version;
use crate::process::{Cores, Process};
use crate::servers::free_address;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);
/// Where Debian and most others keep Postfix's daemons.
const POSTFIX: &str = "/usr/lib/postfix/sbin";
/// `nobody`: Postfix and Dovecot deliver for users alone that aren't root.
const NOBODY: u32 = 65534;

/// A mail server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Medusa,
    /// Another build of it, to compare with.
    Other,
    Postfix,
    Dovecot,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Medusa => "medusa",
            Kind::Other => "medusa, the other build",
            Kind::Postfix => "Postfix",
            Kind::Dovecot => "Dovecot",
        }
    }

    /// Its version, where it can be measured.
    pub(super) fn version(self) -> Option<String> {
        let is_root = rustix::process::geteuid().is_root();
        match self {
            Kind::Medusa | Kind::Other => Some(self.name().to_owned()),
            // Both become other users.
            Kind::Postfix if is_root && version("smtp-source", "-h").is_some() => {
                let said =
                    Command::new("postconf").args(["-d", "-h", "mail_version"]).output().ok()?;
                Some(format!("Postfix {}", String::from_utf8_lossy(&said.stdout).trim()))
            }
            Kind::Dovecot if is_root => {
                version("dovecot", "--version").map(|v| format!("Dovecot {v}"))
            }
            _ => None,
        }
    }
}

/// A server that listens, and its folder. It is ended when it is dropped.
pub(super) struct Server {
    pub(super) kind: Kind,
    // Before its folder: it is ended first.
    pub(super) process: Process,
    pub(super) smtp: SocketAddr,
    pub(super) pop3: SocketAddr,
    folder: tempfile::TempDir,
}

/// How a server is started.
pub(super) struct Workshop {
    pub(super) cores: Cores,
    pub(super) medusa: PathBuf,
    pub(super) other: Option<PathBuf>,
    /// Connections that it must be able to hold.
    pub(super) connections: usize,
    /// Messages in `alice`'s maildrop, and the octets of each.
    pub(super) stored: (usize, usize),
}

impl Workshop {
    /// Starts a server; `None` where there is none of its kind.
    pub(super) fn start(&self, kind: Kind) -> Result<Option<Server>> {
        let program = match kind {
            Kind::Medusa => Some(self.medusa.as_path()),
            Kind::Other => self.other.as_deref(),
            // Theirs are several programs.
            Kind::Postfix | Kind::Dovecot => kind.version().map(|_| Path::new("")),
        };
        let Some(program) = program else { return Ok(None) };
        let folder = tempfile::tempdir()?;
        spread(folder.path())?;
        let place = &place(folder.path());
        fs::create_dir(place)?;
        // Whoever they become must come in.
        for path in [folder.path(), place] {
            fs::set_permissions(path, Permissions::from_mode(0o755))?;
        }
        let path = place.as_path();
        let (smtp, pop3) = (free_address()?, free_address()?);
        fill(&path.join("mail"), self.stored)?;
        let mut command = match kind {
            Kind::Medusa | Kind::Other => self.medusa(program, path, (smtp, pop3))?,
            Kind::Postfix => postfix(path, smtp)?,
            Kind::Dovecot => dovecot(path, pop3)?,
        };
        let log = path.join("said");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let process = self.cores.serve(&mut command)?;
        let mut server = Server { kind, process, smtp, pop3, folder };
        let address = if kind == Kind::Dovecot { server.pop3 } else { server.smtp };
        server.process.listens(address, PATIENCE).with_context(|| {
            format!("{} said: {}", kind.name(), fs::read_to_string(&log).unwrap_or_default())
        })?;
        Ok(Some(server))
    }

    fn medusa(
        &self,
        program: &Path,
        folder: &Path,
        (smtp, pop3): (SocketAddr, SocketAddr),
    ) -> Result<Command> {
        let configuration = format!(
            r#"[server]
shards = 1
[log]
level = "warn"
access = "access.log"
[accounts]
file = "users.toml"
[limits]
connections = {connections}
connections_per_peer = false
idle = "1h"
[smtp.mx]
listen = ["{smtp}"]
hostname = "mx.example.test"
domains = ["example.test"]
mailboxes = "mail"
[pop3.mail]
listen = ["{pop3}"]
mailboxes = "mail"
"#,
            connections = self.connections,
        );
        let path = folder.join("medusa.toml");
        fs::write(&path, configuration)?;
        let users = folder.join("users.toml");
        let mut passwd = Command::new(program);
        passwd.args(["passwd", "--accounts"]).arg(&users).arg("alice");
        let mut child = passwd.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        child.stdin.take().context("a pipe")?.write_all(b"secret\n")?;
        ensure!(child.wait()?.success(), "medusa passwd has failed");
        let account = fs::read_to_string(&users)?;
        fs::write(&users, format!("{account}mail = [\"alice@example.test\"]\n"))?;
        let mut command = Command::new(program);
        command.arg("serve").arg(path);
        Ok(command)
    }
}

impl Server {
    /// Where messages come to be once they are delivered.
    pub(super) fn new_mail(&self) -> PathBuf {
        place(self.folder.path()).join("mail/alice/new")
    }
}

/// Where in its folder a server has its files.
fn place(folder: &Path) -> PathBuf {
    folder.join("server")
}

/// Has ext4 give each folder below this one a part of the disk of its own: where another program has just removed
/// files, a new one costs a look at each of them, whoever makes it.
fn spread(folder: &Path) -> Result<()> {
    let folder = File::open(folder)?;
    if let Ok(flags) = ioctl_getflags(&folder) {
        // Not every file system knows it.
        let _ = ioctl_setflags(&folder, flags | IFlags::TOPDIR);
    }
    Ok(())
}

/// Makes the Maildir, owned by whoever is to deliver there.
fn fill(mail: &Path, (messages, octets): (usize, usize)) -> Result<()> {
    let maildir = mail.join("alice");
    for name in ["new", "cur", "tmp"] {
        fs::create_dir_all(maildir.join(name))?;
    }
    let line = format!("{}\r\n", "0123456789".repeat(7));
    for number in 0..messages {
        let head = format!("From: <a@b.test>\r\nSubject: number {number}\r\n\r\n");
        let mut text = head + &line.repeat(octets / line.len() + 1);
        text.truncate(octets - 2);
        text += "\r\n";
        // As if delivered by a program that doesn't say sizes: each measures them once.
        fs::write(
            maildir.join(format!("new/{}.M1P1Q{number}.host", 1_763_824_804 + number)),
            text,
        )?;
    }
    if rustix::process::geteuid().is_root() {
        give(mail)?;
    }
    Ok(())
}

fn give(path: &Path) -> Result<()> {
    chown(path, Some(NOBODY), Some(NOBODY))?;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path())?;
        }
    }
    Ok(())
}

fn postfix(folder: &Path, smtp: SocketAddr) -> Result<Command> {
    let (conf, data) = (folder.join("conf"), folder.join("data"));
    for made in [&conf, &data, &folder.join("queue")] {
        fs::create_dir(made)?;
    }
    let said = Command::new("id").args(["-u", "postfix"]).output().context("can't run id")?;
    let owner = String::from_utf8_lossy(&said.stdout).trim().parse().context("no user postfix")?;
    chown(&data, Some(owner), None)?;
    let folder = folder.display();
    let main = format!(
        "compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {POSTFIX}
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = mx.example.test
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
virtual_mailbox_domains = example.test
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = static:alice/
virtual_uid_maps = static:{NOBODY}
virtual_gid_maps = static:{NOBODY}
smtpd_client_connection_count_limit = 0
"
    );
    // As Debian has it, without what isn't used here; nothing in a chroot, which takes files of its own.
    let master = format!(
        "{smtp} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    );
    fs::write(conf.join("main.cf"), main)?;
    fs::write(conf.join("master.cf"), master)?;
    let check = Command::new("postfix").arg("-c").arg(&conf).arg("check").output();
    let check = check.context("can't run postfix")?;
    ensure!(check.status.success(), "postfix check: {}", String::from_utf8_lossy(&check.stderr));
    let mut command = Command::new(Path::new(POSTFIX).join("master"));
    command.arg("-s").arg("-c").arg(conf);
    Ok(command)
}

fn dovecot(folder: &Path, pop3: SocketAddr) -> Result<Command> {
    fs::write(folder.join("users"), "alice:{PLAIN}secret\n")?;
    let (folder, host, port) = (folder.display(), pop3.ip(), pop3.port());
    let configuration = format!(
        "base_dir = {folder}/run
state_dir = {folder}/state
instance_name = medusa-bench
log_path = {folder}/dovecot.log
protocols = pop3
listen = {host}
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{folder}/mail/%u
first_valid_uid = 1
passdb {{
  driver = passwd-file
  args = {folder}/users
}}
userdb {{
  driver = static
  args = uid={NOBODY} gid={NOBODY} home={folder}/mail/%u
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {port}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"
    );
    let path = PathBuf::from(folder.to_string()).join("dovecot.conf");
    fs::write(&path, configuration)?;
    let mut command = Command::new("dovecot");
    command.arg("-F").arg("-c").arg(path);
    Ok(command)
}
