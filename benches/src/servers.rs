//! The servers that are measured, each started with the same files and settings that compare: one worker,
//! no access log, sendfile, open files kept, gzip at level 6, connections that live on.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use medusa_core::tls::ClientTls;

use crate::client::{Stream, connect};
use crate::machine::version;
use crate::process::{Cores, Process};
use crate::site::Site;

/// How long a server may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The bare epoll loop.
    Bare,
    /// A session on the core.
    Canned,
    /// A handler on medusa-http.
    Handler,
    /// The program `medusa`.
    Medusa,
    /// Another build of it, to compare with.
    Other,
    Nginx,
    H2o,
}

/// Where the programs are and what they serve.
pub(crate) struct Workshop {
    pub(crate) site: Site,
    pub(crate) cores: Cores,
    pub(crate) medusa: PathBuf,
    pub(crate) other: Option<PathBuf>,
    /// Connections that a server must be able to hold.
    pub(crate) connections: usize,
    /// Everything over TLS 1.3, with the certificate in `cert.pem` and its key in `key.pem`.
    pub(crate) tls: Option<ClientTls>,
}

/// A server that listens. It is ended when it is dropped.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Bare => "bare epoll loop",
            Kind::Canned => "session on medusa-core",
            Kind::Handler => "handler on medusa-http",
            Kind::Medusa => "medusa",
            Kind::Other => "medusa, the other build",
            Kind::Nginx => "nginx",
            Kind::H2o => "h2o",
        }
    }
}

impl Workshop {
    /// The peers' versions, a line each, the missing ones among them.
    pub(crate) fn peers(&self) -> String {
        let of = |name, argument| match version(name, argument) {
            Some(version) => format!("- {version}"),
            None => format!("- {name}: not installed, and so not measured"),
        };
        let secured: &[_] =
            if self.tls.is_some() { &[("openssl", "version")] } else { &[("h2o", "-v")] };
        let peers = [("nginx", "-v"), ("wrk", "-v")].iter().chain(secured);
        peers.map(|(name, argument)| of(name, argument)).collect::<Vec<_>>().join("\n")
    }

    /// A new connection to a server.
    pub(crate) fn connect(&self, server: &Server) -> Result<Stream> {
        connect(server.address, self.tls.as_ref())
    }

    /// Starts a server and waits until it listens; `None` where there is none of its kind.
    pub(crate) fn start(&self, kind: Kind) -> Result<Option<Server>> {
        let address = free_address()?;
        let Some(mut command) = self.command(kind, address)? else { return Ok(None) };
        let log = self.site.folder().join("server.log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let mut server = Server { kind, process: self.cores.serve(&mut command)?, address };
        match server.process.listens(server.address, PATIENCE) {
            Ok(()) => Ok(Some(server)),
            Err(error) => {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                Err(error.context(format!("{} said: {said}", kind.name())))
            }
        }
    }

    fn command(&self, kind: Kind, address: SocketAddr) -> Result<Option<Command>> {
        let ourselves = |name: &str| -> Result<Option<Command>> {
            let mut command = Command::new(std::env::current_exe()?);
            command.args([name, &address.to_string()]);
            Ok(Some(command))
        };
        match kind {
            Kind::Bare => ourselves("serve-bare"),
            Kind::Canned => ourselves("serve-canned"),
            Kind::Handler => ourselves("serve-handler"),
            Kind::Medusa => Ok(Some(self.medusa(&self.medusa, address)?)),
            Kind::Other => self.other.as_ref().map(|path| self.medusa(path, address)).transpose(),
            Kind::Nginx => self.nginx(address),
            Kind::H2o => self.h2o(address),
        }
    }

    fn medusa(&self, program: &Path, address: SocketAddr) -> Result<Command> {
        let (tls, listen) = match &self.tls {
            Some(_) => ("[tls]\ncertificate = \"cert.pem\"\nkey = \"key.pem\"", "tls_listen"),
            None => ("", "listen"),
        };
        let configuration = format!(
            r#"{tls}
[server]
shards = 1
[log]
level = "warn"
[limits]
connections = {connections}
connections_per_peer = false
idle = "1h"
[http.site]
{listen} = ["{address}"]
root = "public"
gzip = true
"#,
            connections = self.connections,
        );
        let path = self.site.write("medusa.toml", &configuration)?;
        let mut command = Command::new(program);
        command.arg("serve").arg(path);
        Ok(command)
    }

    fn nginx(&self, address: SocketAddr) -> Result<Option<Command>> {
        if version("nginx", "-v").is_none() {
            return Ok(None);
        }
        let folder = self.site.folder().display();
        // Started by root it would give up the right to read the folder.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let (ssl, certificate) = match &self.tls {
            Some(_) => (
                "ssl",
                "ssl_certificate cert.pem; ssl_certificate_key key.pem; ssl_protocols TLSv1.3;",
            ),
            None => ("", ""),
        };
        let configuration = format!(
            r#"{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
error_log {folder}/nginx.error.log;
pid {folder}/nginx.pid;
events {{ worker_connections {connections}; use epoll; multi_accept on; }}
http {{
  types {{ text/plain txt; }}
  default_type application/octet-stream;
  access_log off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  open_file_cache max=1000 inactive=1h;
  keepalive_timeout 1h;
  keepalive_requests 1000000000;
  gzip on;
  gzip_comp_level 6;
  gzip_types text/plain;
  client_body_temp_path {folder}/nginx.body;
  proxy_temp_path {folder}/nginx.proxy;
  fastcgi_temp_path {folder}/nginx.fastcgi;
  uwsgi_temp_path {folder}/nginx.uwsgi;
  scgi_temp_path {folder}/nginx.scgi;
  server {{
    listen {address} {ssl} backlog=4096;
    {certificate}
    root {public};
    location = /hello.txt {{ default_type text/plain; return 200 "Hello, world!"; }}
  }}
}}
"#,
            descriptors = self.connections + 64,
            connections = self.connections,
            public = self.site.public().display(),
        );
        let path = self.site.write("nginx.conf", &configuration)?;
        let mut command = Command::new("nginx");
        command.arg("-c").arg(path).arg("-p").arg(self.site.folder());
        Ok(Some(command))
    }

    fn h2o(&self, address: SocketAddr) -> Result<Option<Command>> {
        if version("h2o", "-v").is_none() {
            return Ok(None);
        }
        let user = if rustix::process::geteuid().is_root() { "user: root" } else { "" };
        let configuration = format!(
            r#"{user}
num-threads: 1
max-connections: {connections}
http1-request-timeout: 3600
listen:
  host: {host}
  port: {port}
compress:
  gzip: 6
hosts:
  default:
    paths:
      /:
        file.dir: {public}
"#,
            connections = self.connections,
            host = address.ip(),
            port = address.port(),
            public = self.site.public().display(),
        );
        let path = self.site.write("h2o.conf", &configuration)?;
        let mut command = Command::new("h2o");
        command.arg("-c").arg(path);
        Ok(Some(command))
    }
}

/// An address on loopback that nobody has at the moment.
pub(crate) fn free_address() -> Result<SocketAddr> {
    // Sessions that were measured before may have left all ports in TIME_WAIT, for a minute.
    let end = Instant::now() + Duration::from_secs(70);
    loop {
        match TcpListener::bind("127.0.0.1:0") {
            Ok(listener) => return Ok(listener.local_addr()?),
            Err(error) if Instant::now() >= end => return Err(error).context("no port is free"),
            Err(_) => std::thread::sleep(Duration::from_millis(500)),
        }
    }
}

/// The program `medusa` of this workspace, built as this program was.
pub(crate) fn medusa() -> Result<PathBuf> {
    let ourselves = std::env::current_exe()?;
    let folder = ourselves.parent().context("this program lies nowhere")?;
    let medusa = folder.join("medusa");
    // `cargo run` has built this program alone. An older medusa would be measured otherwise.
    let cargo = std::env::var_os("CARGO");
    if cargo.is_none() && medusa.exists() {
        return Ok(medusa);
    }
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") => "dev",
        Some(profile) => profile,
        None => "release",
    };
    let target = folder.parent().context("this program lies nowhere")?;
    let mut command = Command::new(cargo.unwrap_or_else(|| "cargo".into()));
    command.args(["build", "--quiet", "-p", "medusa-launcher", "--profile", profile]);
    command.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = command.status().context("can't run cargo")?;
    if !status.success() {
        bail!("cargo can't build medusa: {status}");
    }
    Ok(medusa)
}
