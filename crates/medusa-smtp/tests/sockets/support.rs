//! A server with Maildirs below a folder, for domain `example.test`: whoever is named has an account.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use medusa_accounts::{
    Attempt, Authenticate, Denial, Identity, Logins, Password, Recipient, ThrottleLimits,
};
use medusa_core::config::Listen;
use medusa_core::server::Running;
use medusa_core::tls::{Certificate, ServerTls};
use medusa_core::{Limits, Server, ServiceParts};
use medusa_mail::MaildirStore;
use medusa_smtp::{Directory, PlaintextLogin, SmtpService};

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Whoever is named has an account.
pub(crate) struct Everybody;

impl Directory for Everybody {
    fn recipient(&self, local: &str, domain: &str) -> Recipient {
        match domain {
            "example.test" => Recipient::Account { identity: Identity::new(local), tag: None },
            _ => Recipient::Unknown,
        }
    }
}

/// Everybody's password is their name, backwards.
impl Authenticate for Everybody {
    fn authenticate(&self, attempt: &Attempt, password: &Password) -> Result<Identity, Denial> {
        match attempt.name.chars().eq(password.reveal().chars().rev()) {
            true => Ok(Identity::new(&attempt.name)),
            false => Err(Denial::Credentials),
        }
    }
}

pub(crate) enum Kind {
    Mx,
    /// With STARTTLS.
    SecuredMx,
    /// With STARTTLS, and passwords over TLS alone.
    Submission,
}

/// A server on a port that the system chooses.
pub(crate) fn serve(folder: &Path, kind: &Kind) -> (Running, SocketAddr) {
    let store = MaildirStore::open(&folder.join("mail"), "mx.example.test").unwrap();
    let mut limits = Limits::default();
    limits.connections_per_peer = None;
    let tls = (!matches!(kind, Kind::Mx)).then(|| certificate(folder));
    let parts = ServiceParts::new("smtp.test").listen(Listen::Inet(([127, 0, 0, 1], 0).into()));
    let service = SmtpService::new(
        parts.with_limits(limits).with_tls(tls),
        "mx.example.test",
        ["example.test"],
        Everybody,
        store,
    );
    let service = match kind {
        Kind::Mx | Kind::SecuredMx => service,
        Kind::Submission => service.with_submission(
            Logins::new(Arc::new(Everybody), ThrottleLimits::default()),
            PlaintextLogin::Never,
        ),
    };
    let server = Server::builder().shards(2).mount(service.build()).bind().unwrap();
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
    (server.start().unwrap(), address)
}

fn certificate(folder: &Path) -> Arc<ServerTls> {
    let made = rcgen::generate_simple_self_signed(["mx.example.test".to_owned()]).unwrap();
    let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    fs::write(&chain, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    Arc::new(ServerTls::new(vec![Certificate { hosts: Vec::new(), chain, key }]).unwrap())
}

/// Everything in an account's folder `new` or `tmp`.
pub(crate) fn messages(folder: &Path, account: &str, place: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder.join("mail").join(account).join(place)) else {
        return Vec::new();
    };
    entries.map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
}

/// A connection that is read line by line.
pub(crate) struct Line {
    reader: BufReader<TcpStream>,
}

impl Line {
    pub(crate) fn connect(address: SocketAddr) -> std::io::Result<Line> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Line { reader: BufReader::new(stream) })
    }

    pub(crate) fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.reader.get_mut().write_all(text.as_bytes())
    }

    /// The code of the next reply.
    pub(crate) fn code(&mut self) -> std::io::Result<u16> {
        loop {
            let mut line = String::new();
            if self.reader.read_line(&mut line)? == 0 || !line.ends_with('\n') {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if line.as_bytes()[3] == b' ' {
                return Ok(line[..3].parse().unwrap());
            }
        }
    }
}
