//! A server in this process, and a client that speaks lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use medusa_accounts::{Attempt, Authenticate, Denial, Identity, Logins, Password, ThrottleLimits};
use medusa_core::config::Listen;
use medusa_core::server::{Builder, Handle, Running};
use medusa_core::tls::ServerTls;
use medusa_core::{Server, ServiceParts};
use medusa_ftp::{Disk, Error, FtpBuilder, FtpService, Rights, Uploads, Visit, Visitor};

/// Knows alice, whose password is `secret`.
pub(crate) struct Alice;

impl Authenticate for Alice {
    fn authenticate(&self, attempt: &Attempt, password: &Password) -> Result<Identity, Denial> {
        match (attempt.name.as_str(), password.reveal()) {
            ("alice", "secret") => Ok(Identity::new("alice")),
            _ => Err(Denial::Credentials),
        }
    }
}

/// A running server and its folder.
pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    handle: Handle,
    running: Option<Running>,
}

fn any_port() -> Listen {
    Listen::Inet(SocketAddr::from(([127, 0, 0, 1], 0)))
}

fn listening() -> ServiceParts {
    ServiceParts::new("ftp.test").listen(any_port())
}

impl Fixture {
    pub(crate) fn new(change: impl FnOnce(FtpBuilder) -> FtpBuilder) -> Fixture {
        Fixture::with(Uploads::Direct, change)
    }

    pub(crate) fn with(uploads: Uploads, change: impl FnOnce(FtpBuilder) -> FtpBuilder) -> Fixture {
        Fixture::disk(listening(), uploads, change)
    }

    /// One that listens on all addresses of this machine.
    pub(crate) fn everywhere() -> Fixture {
        let all = Listen::Inet(SocketAddr::from(([0, 0, 0, 0], 0)));
        Fixture::disk(ServiceParts::new("ftp.test").listen(all), Uploads::Direct, |builder| builder)
    }

    /// One with certificates, that has TLS from the first octet or when it is asked for.
    pub(crate) fn secured(tls: Arc<ServerTls>, implicit: bool) -> Fixture {
        Fixture::secured_with(tls, implicit, |builder| builder)
    }

    pub(crate) fn secured_with(
        tls: Arc<ServerTls>,
        implicit: bool,
        change: impl FnOnce(FtpBuilder) -> FtpBuilder,
    ) -> Fixture {
        let parts = match implicit {
            true => ServiceParts::new("ftp.test").tls_listen(any_port()),
            false => listening(),
        };
        Fixture::disk(parts.with_tls(tls), Uploads::Direct, change)
    }

    fn disk(
        parts: ServiceParts,
        uploads: Uploads,
        change: impl FnOnce(FtpBuilder) -> FtpBuilder,
    ) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let home = move |visitor: Visitor<'_>| {
            let rights = match visitor {
                Visitor::Anonymous => Rights::READ,
                Visitor::Account(_) => Rights::ALL,
            };
            Ok(Visit::new(Disk::new(&root)?.uploads(uploads), rights))
        };
        Fixture::at(folder, parts, change, home)
    }

    /// A server of something else.
    pub(crate) fn of(
        change: impl FnOnce(FtpBuilder) -> FtpBuilder,
        home: impl Fn(Visitor<'_>) -> Result<Visit, Error> + Send + Sync + 'static,
    ) -> Fixture {
        Fixture::at(tempfile::tempdir().unwrap(), listening(), change, home)
    }

    /// One whose pool has one thread and room for one more job.
    pub(crate) fn with_small_pool(
        home: impl Fn(&Path, Visitor<'_>) -> Result<Visit, Error> + Send + Sync + 'static,
    ) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        let home = move |visitor: Visitor<'_>| home(&root, visitor);
        let small = |server: Builder| server.offload(NonZeroUsize::MIN, 1);
        Fixture::on(folder, listening(), |builder| builder, home, small)
    }

    fn at(
        folder: tempfile::TempDir,
        parts: ServiceParts,
        change: impl FnOnce(FtpBuilder) -> FtpBuilder,
        home: impl Fn(Visitor<'_>) -> Result<Visit, Error> + Send + Sync + 'static,
    ) -> Fixture {
        Fixture::on(folder, parts, change, home, |server| server)
    }

    fn on(
        folder: tempfile::TempDir,
        parts: ServiceParts,
        change: impl FnOnce(FtpBuilder) -> FtpBuilder,
        home: impl Fn(Visitor<'_>) -> Result<Visit, Error> + Send + Sync + 'static,
        server: impl FnOnce(Builder) -> Builder,
    ) -> Fixture {
        // Beside the root there is something that nobody may reach.
        std::fs::create_dir(folder.path().join("root")).unwrap();
        std::fs::write(folder.path().join("secret.txt"), "top secret").unwrap();
        let builder = FtpService::builder(parts, home)
            .anonymous(true)
            .logins(Some(Logins::new(Arc::new(Alice), ThrottleLimits::default())));
        let service = Box::new(change(builder).build());
        let server = server(Server::builder().shards(2)).mount(service).bind().unwrap();
        let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
        let running = server.start().unwrap();
        Fixture { folder, address, handle: running.handle(), running: Some(running) }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("root").join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), content).unwrap();
    }

    pub(crate) fn connect(&self) -> Control<TcpStream> {
        self.connect_at(self.address)
    }

    fn connect_at(&self, address: SocketAddr) -> Control<TcpStream> {
        let stream = connect(address);
        let mut control = Control { reader: BufReader::new(stream) };
        assert!(control.hear().starts_with("220 "));
        control
    }

    pub(crate) fn alice(&self) -> Control<TcpStream> {
        self.alice_at(self.address)
    }

    pub(crate) fn alice_at(&self, address: SocketAddr) -> Control<TcpStream> {
        let mut control = self.connect_at(address);
        control.login();
        control
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(running) = self.running.take() {
            running.join().unwrap();
        }
    }
}

/// A connection on which a test that hangs fails instead.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// A control connection.
pub(crate) struct Control<S: Read + Write> {
    pub(crate) reader: BufReader<S>,
}

impl<S: Read + Write> Control<S> {
    pub(crate) fn say(&mut self, line: impl AsRef<[u8]>) {
        let mut octets = line.as_ref().to_vec();
        octets.extend_from_slice(b"\r\n");
        self.reader.get_mut().write_all(&octets).unwrap();
        self.reader.get_mut().flush().unwrap();
    }

    /// The last line of the next reply.
    pub(crate) fn hear(&mut self) -> String {
        loop {
            let mut line = Vec::new();
            self.reader.read_until(b'\n', &mut line).unwrap();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let is_last = line.len() < 4 || line.as_bytes()[3] == b' ';
            if is_last && !line.starts_with(' ') {
                return line;
            }
        }
    }

    pub(crate) fn ask(&mut self, line: impl AsRef<[u8]>) -> String {
        self.say(line);
        self.hear()
    }

    pub(crate) fn login(&mut self) {
        assert_eq!(self.ask("USER alice"), "331 Send the password");
        assert_eq!(self.ask("PASS secret"), "230 Welcome");
    }

    /// Where EPSV says that data goes.
    pub(crate) fn passive(&mut self) -> SocketAddr {
        let reply = self.ask("EPSV");
        let port = reply.split('|').nth(3).unwrap_or_else(|| panic!("{reply}")).parse().unwrap();
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    pub(crate) fn fetch(&mut self, command: &str) -> Vec<u8> {
        let mut data = connect(self.passive());
        let reply = self.ask(command);
        assert!(reply.starts_with("150 "), "{command}: {reply}");
        let mut content = Vec::new();
        data.read_to_end(&mut content).unwrap();
        assert_eq!(self.hear(), "226 Done");
        content
    }

    /// Sends a file; the last reply.
    pub(crate) fn store(&mut self, command: &str, content: &[u8]) -> String {
        let mut data = connect(self.passive());
        let reply = self.ask(command);
        assert!(reply.starts_with("150 "), "{command}: {reply}");
        data.write_all(content).unwrap();
        data.shutdown(Shutdown::Write).unwrap();
        self.hear()
    }
}
