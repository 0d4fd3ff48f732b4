//! The server that clients are let loose on, and what they send.

use std::net::SocketAddr;
use std::sync::Arc;

use medusa_accounts::{Attempt, Authenticate, Denial, Identity, Logins, Password, ThrottleLimits};
use medusa_core::config::Listen;
use medusa_core::server::{Handle, Running};
use medusa_core::tls::{Certificate, ServerTls};
use medusa_core::{Server, ServiceParts};
use medusa_ftp::{Disk, FtpService, Rights, Uploads, Visit, Visitor};

/// Knows alice, whose password is `secret`.
struct Alice;

impl Authenticate for Alice {
    fn authenticate(&self, attempt: &Attempt, password: &Password) -> Result<Identity, Denial> {
        match (attempt.name.as_str(), password.reveal()) {
            ("alice", "secret") => Ok(Identity::new("alice")),
            _ => Err(Denial::Credentials),
        }
    }
}

/// A server of a folder, on a port with TLS when it is asked for and another with TLS at once.
pub(crate) struct Ftp {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) explicit: SocketAddr,
    pub(crate) implicit: SocketAddr,
    handle: Handle,
    running: Option<Running>,
}

impl Ftp {
    pub(crate) fn new() -> Self {
        Self::with(Uploads::Direct)
    }

    pub(crate) fn with(uploads: Uploads) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret.txt"), "secret").expect("a file");
        for name in ["root", "local", "fetched"] {
            std::fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]);
        let made = made.expect("a certificate");
        let (chain, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&chain, made.cert.pem()).expect("a file");
        std::fs::write(&key, made.signing_key.serialize_pem()).expect("a file");
        let certificate = Certificate { hosts: Vec::new(), chain, key };
        let tls = Arc::new(ServerTls::new(vec![certificate]).expect("TLS"));
        let root = folder.path().join("root");
        let home = move |visitor: Visitor<'_>| match visitor {
            Visitor::Anonymous => Ok(Visit::new(Disk::new(&root)?, Rights::READ)),
            Visitor::Account(_) => Ok(Visit::new(Disk::new(&root)?.uploads(uploads), Rights::ALL)),
        };
        let any = Listen::Inet(SocketAddr::from(([127, 0, 0, 1], 0)));
        let parts = ServiceParts::new("ftp.test").listen(any.clone()).tls_listen(any).with_tls(tls);
        let service = FtpService::builder(parts, home)
            .anonymous(true)
            .logins(Some(Logins::new(Arc::new(Alice), ThrottleLimits::default())))
            .build();
        let server = Server::builder().shards(2).mount(Box::new(service)).bind().expect("bound");
        let address = |at: usize| match server.bound()[at].address {
            Listen::Inet(address) => address,
            _ => panic!("not TCP"),
        };
        let (explicit, implicit) = (address(0), address(1));
        let running = server.start().expect("it runs");
        Self { folder, explicit, implicit, handle: running.handle(), running: Some(running) }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn content(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
}

impl Drop for Ftp {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(running) = self.running.take() {
            running.join().expect("it ends well");
        }
    }
}

/// Two megabytes in which every place looks different.
pub(crate) fn large() -> Vec<u8> {
    (0..2_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}
