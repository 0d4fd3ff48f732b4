//! A server in a process of its own, with a folder of its own.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;

/// A folder with a configuration and whatever the test puts beside it.
pub struct Site {
    folder: tempfile::TempDir,
}

/// A running server. It is killed when the test forgets it.
pub struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    table: String,
}

impl Site {
    /// A folder with this configuration as `medusa.toml`.
    pub fn new(configuration: &str) -> Self {
        let site = Self { folder: tempfile::tempdir().expect("a folder") };
        site.write("medusa.toml", configuration);
        site
    }

    /// Writes a file and the folders on its way.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        fs::write(path, content).expect("a file");
        self
    }

    /// Writes a file that nobody else may read.
    pub fn write_private(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        self.write(path, content);
        let private = fs::Permissions::from_mode(0o600);
        fs::set_permissions(self.path(path), private).expect("a private file");
        self
    }

    /// A path in the folder.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The text of a file.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).expect("a text")
    }

    /// The program with its arguments, in this folder, with the log on.
    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.folder.path()).env_remove("MEDUSA_LOG");
        command.stdin(Stdio::null());
        command
    }

    /// Starts the program and waits until it serves.
    pub fn serve(&self, program: &str) -> Server {
        Server::start(self.command(program, &["serve", "medusa.toml"]))
    }
}

impl Server {
    /// Starts a server and waits for the line that says it is ready. Its log goes where the test's does.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the server starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut server = Self { child, stdout, table: String::new() };
        while !server.table.lines().any(|line| line.starts_with("ready:")) {
            server.wait_for_output();
            let read = server.stdout.read_line(&mut server.table).expect("text");
            assert!(read > 0, "the server ended before it was ready; it said: {:?}", server.table);
        }
        server
    }

    /// What the server has printed until it was ready.
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The first TCP address of a service.
    pub fn address(&self, service: &str) -> SocketAddr {
        self.address_in(service, |_| true)
    }

    /// The first address where a service speaks TLS from the first octet.
    pub fn secured_address(&self, service: &str) -> SocketAddr {
        self.address_in(service, |row| row.ends_with("TLS"))
    }

    fn address_in(&self, service: &str, wanted: impl Fn(&str) -> bool) -> SocketAddr {
        let address = self.table.lines().filter(|row| wanted(row)).find_map(|row| {
            let mut row = row.split_whitespace();
            (row.next()? == service).then(|| row.next()?.parse().ok())?
        });
        address.unwrap_or_else(|| panic!("no such address of {service} in {:?}", self.table))
    }

    /// A connection to a service; what is read from it comes within the test's patience.
    pub fn connect(&self, service: &str) -> TcpStream {
        let stream = TcpStream::connect(self.address(service)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// The address of a page.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address("http.site"))
    }

    /// Sends the server a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the server lives");
    }

    /// Waits until the server ends.
    pub fn wait(mut self) -> ExitStatus {
        let mut rest = Vec::new();
        loop {
            self.wait_for_output();
            let mut piece = [0; 4096];
            match self.stdout.read(&mut piece).expect("text") {
                0 => break,
                length => rest.extend_from_slice(&piece[..length]),
            }
        }
        self.child.wait().expect("the server has ended")
    }

    /// Ends the server as an operator would, and expects it to end well.
    pub fn end(self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert!(status.success(), "the server ended with {status}");
    }

    /// What the system tells of the server: /proc/PID/status.
    pub fn status(&self) -> String {
        self.process("status")
    }

    /// What the system tells of the server in /proc/PID.
    pub fn process(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("a text")
    }

    /// The server's memory in use (VmRSS) in octets.
    pub fn resident_octets(&self) -> u64 {
        let status = self.status();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        kib * 1024
    }

    /// Whether the server has read all that was written to this connection, by the length of the receive
    /// queue at its end (proc_pid_net(5): local and remote address, state, tx:rx in hexadecimal).
    pub fn has_read(&self, stream: &TcpStream) -> bool {
        let (client, server) = (stream.local_addr(), stream.peer_addr());
        let (client, server) =
            (client.expect("an address").port(), server.expect("an address").port());
        let table = fs::read_to_string("/proc/net/tcp").expect("a table");
        let port = |cell: &str| u16::from_str_radix(cell.rsplit(':').next()?, 16).ok();
        let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let row = rows.find(|row| {
            row.len() > 4 && port(row[1]) == Some(server) && port(row[2]) == Some(client)
        });
        row.is_some_and(|row| row[4].ends_with(":00000000"))
    }

    /// How many files the server has open.
    pub fn open_files(&self) -> usize {
        let path = Path::new("/proc").join(self.child.id().to_string()).join("fd");
        fs::read_dir(path).expect("descriptors").count()
    }

    /// Until there is something to read or the pipe is closed.
    fn wait_for_output(&mut self) {
        if !self.stdout.buffer().is_empty() {
            return;
        }
        let mut fds = [PollFd::from_borrowed_fd(self.stdout.get_ref().as_fd(), PollFlags::IN)];
        let patience = Timespec { tv_sec: PATIENCE.as_secs() as i64, tv_nsec: 0 };
        let ready = poll(&mut fds, Some(&patience)).expect("poll");
        assert!(ready > 0, "the server said nothing within {PATIENCE:?}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Ended already, mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
