//! A server in this process with alice's Maildir, and a client that speaks lines.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use medusa_accounts::{
    Attempt, Authenticate, Denial, Identity, Logins, Password, ScramKeys, ScramRecord,
    ThrottleLimits,
};
use medusa_core::config::Listen;
use medusa_core::server::{Handle, Running};
use medusa_core::tls::{Certificate, ServerTls};
use medusa_core::{Server, ServiceParts};
use medusa_mail::{MailStore, MaildirStore};
use medusa_pop3::{PlaintextLogin, Pop3Service};

/// How long anything may take; met only by what is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// Knows alice, whose password is `secret`.
struct Alice(ScramKeys);

impl Authenticate for Alice {
    fn authenticate(&self, attempt: &Attempt, password: &Password) -> Result<Identity, Denial> {
        match (attempt.name.as_str(), password.reveal()) {
            ("alice", "secret") => Ok(Identity::new("alice")),
            _ => Err(Denial::Credentials),
        }
    }

    fn offers_scram(&self, _: &str) -> bool {
        true
    }

    fn scram_keys(&self, attempt: &Attempt) -> Result<ScramRecord, Denial> {
        let is_alice = attempt.name == "alice";
        let verdict = if is_alice { Ok(Identity::new("alice")) } else { Err(Denial::Credentials) };
        Ok(ScramRecord { keys: self.0.clone(), verdict })
    }
}

/// A running server and its folder.
pub(crate) struct Fixture {
    folder: tempfile::TempDir,
    pub(crate) store: MaildirStore,
    pub(crate) address: SocketAddr,
    pub(crate) tls_address: SocketAddr,
    handle: Handle,
    running: Option<Running>,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        Fixture::with(PlaintextLogin::Loopback, 64)
    }

    /// With room for so many jobs in the pool.
    pub(crate) fn with(plaintext: PlaintextLogin, jobs: usize) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let store = MaildirStore::open(&folder.path().join("mail"), "localhost").unwrap();
        let keys = ScramKeys::create(&Password::new("secret"), 4096).unwrap();
        let logins = Logins::new(Arc::new(Alice(keys)), ThrottleLimits::default());
        let any = Listen::Inet(SocketAddr::from(([127, 0, 0, 1], 0)));
        let parts = ServiceParts::new("pop3.test").listen(any.clone()).tls_listen(any);
        let parts = parts.with_tls(certificate(folder.path()));
        let service =
            Pop3Service::new(parts, store.clone(), logins).with_plaintext_login(plaintext);
        let pool = NonZeroUsize::new(2).unwrap();
        let server = Server::builder().shards(2).offload(pool, jobs).mount(Box::new(service));
        let server = server.bind().unwrap();
        let bound: Vec<SocketAddr> = server
            .bound()
            .iter()
            .map(|bound| match bound.address {
                Listen::Inet(address) => address,
                _ => panic!("not TCP"),
            })
            .collect();
        let running = server.start().unwrap();
        Fixture {
            folder,
            store,
            address: bound[0],
            tls_address: bound[1],
            handle: running.handle(),
            running: Some(running),
        }
    }

    /// Delivers to alice as SMTP would.
    pub(crate) fn deliver(&self, text: &str) {
        let mut incoming = self.store.begin(&["alice".into()]).unwrap();
        incoming.write(text.as_bytes()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        incoming.commit(Box::new(move |result| sender.send(result).unwrap()));
        receiver.recv().unwrap().unwrap();
    }

    /// A file in alice's `new`, as another program would put it there.
    pub(crate) fn put(&self, name: &str, text: &str) {
        std::fs::write(self.maildir().join("new").join(name), text).unwrap();
    }

    pub(crate) fn maildir(&self) -> PathBuf {
        self.folder.path().join("mail/alice")
    }

    /// How many messages are on disk.
    pub(crate) fn count(&self) -> usize {
        let in_folder = |name| std::fs::read_dir(self.maildir().join(name)).unwrap().count();
        in_folder("new") + in_folder("cur")
    }

    pub(crate) fn connect(&self) -> Lines<TcpStream> {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut lines = Lines { reader: BufReader::new(stream) };
        assert_eq!(lines.hear(), "+OK Medusa POP3 ready");
        lines
    }

    /// A session of alice's.
    pub(crate) fn login(&self) -> Lines<TcpStream> {
        let mut lines = self.connect();
        lines.ask("USER alice");
        let welcome = lines.ask("PASS secret");
        assert!(welcome.starts_with("+OK"), "{welcome}");
        lines
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(running) = self.running.take() {
            let _ = running.join();
        }
    }
}

/// A client that speaks lines.
pub(crate) struct Lines<S: Read> {
    pub(crate) reader: BufReader<S>,
}

impl<S: Read + Write> Lines<S> {
    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let line = line.strip_suffix("\r\n");
        line.expect("a whole line").to_owned()
    }

    pub(crate) fn say(&mut self, text: &str) {
        self.reader.get_mut().write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn ask(&mut self, line: &str) -> String {
        self.say(&format!("{line}\r\n"));
        self.hear()
    }

    /// The rest of a reply of many lines, up to its dot.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            match self.hear() {
                line if line == "." => return lines,
                line => lines.push(line),
            }
        }
    }
}

/// A certificate for localhost that signs itself.
fn certificate(folder: &Path) -> Arc<ServerTls> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    Arc::new(ServerTls::new(vec![Certificate { hosts: Vec::new(), chain, key }]).unwrap())
}
