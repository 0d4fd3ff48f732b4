//! TLS over real sockets: from the first octet and in mid-stream, garbage, cuts, certificates that
//! change, resumption, client certificates, outbound connections.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use medusa_core::config::Listen;
use medusa_core::metrics::Metrics;
use medusa_core::network::Network;
use medusa_core::producer;
use medusa_core::server::{Handle, Running};
use medusa_core::testing::SecuredStream;
use medusa_core::tls::{Certificate, ClientCertificates, ClientTls, Roots, ServerTls, TlsError};
use medusa_core::{
    Acceptor, Address, Cx, Frame, Framing, Goodbye, Limits, Note, Peer, Reason, ReplySlot, Server,
    Service, ServiceParts, Session,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Certificates in a folder: an authority, and leaves signed by it.
struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Authority { folder, issuer }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// Writes `NAME.pem` and `NAME.key` for these hosts.
    fn sign(&self, name: &str, hosts: &[&str]) -> Certificate {
        self.sign_with(name, hosts, |_| {})
    }

    fn sign_with(
        &self,
        name: &str,
        hosts: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Certificate {
        let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let (chain, pem) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key")));
        std::fs::write(&chain, leaf.pem()).unwrap();
        std::fs::write(&pem, key.serialize_pem()).unwrap();
        Certificate { hosts: Vec::new(), chain, key: pem }
    }

    fn client(&self) -> Arc<ClientTls> {
        Arc::new(ClientTls::new(&Roots::File(self.path("ca.pem")), &[]).unwrap())
    }
}

/// Answers lines; `STARTTLS` and `facts` do what they say, `big N` sends N octets.
#[derive(Default)]
struct Lines {
    slot: Option<ReplySlot>,
    client: Option<Arc<ClientTls>>,
    body: bool,
}

impl Session for Lines {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(100));
        cx.write(b"hello\n");
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        if self.body {
            return;
        }
        let line = String::from_utf8_lossy(frame.bytes).into_owned();
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("STARTTLS", _) => {
                cx.write(b"go\n");
                cx.start_tls();
            }
            ("facts", _) => {
                let tls = cx.peer().tls.as_deref().cloned();
                cx.write(format!("{tls:?}\n").as_bytes());
            }
            ("big", size) => cx.send(producer::bytes(vec![b'x'; size.parse().unwrap()])),
            ("file", path) => {
                let file = std::fs::File::open(path).unwrap();
                let length = file.metadata().unwrap().len();
                cx.send(producer::file(file.into(), length));
            }
            ("body", _) => {
                self.body = true;
                cx.expect(Framing::stream());
            }
            ("forward", target) => {
                let (address, name) = target.split_once(' ').unwrap();
                self.slot = Some(cx.reserve());
                let session = Forward { owner: cx.address(), text: Vec::new() };
                let client = self.client.clone().unwrap();
                cx.connect_tls(address.parse().unwrap(), &client, name, Box::new(session));
            }
            ("active", target) => {
                cx.connect_as_tls_server(target.parse().unwrap(), Box::new(Lines::default()));
            }
            ("peer", _) => {
                let peer = format!("{}\n", cx.peer().remote);
                cx.write(peer.as_bytes());
            }
            ("quit", _) => cx.close(),
            _ => cx.write(format!("{line}\n").as_bytes()),
        }
    }

    fn secured(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(100));
    }

    fn half_closed(&mut self, cx: &mut Cx<'_>) {
        cx.write(format!("truncated: {}\n", cx.is_truncated()).as_bytes());
        cx.close();
    }

    fn notified(&mut self, cx: &mut Cx<'_>, note: Note) {
        let text = note.downcast::<String>().unwrap();
        cx.fulfil_bytes(self.slot.take().unwrap(), text.into());
    }
}

/// An outbound connection that reports what it met.
struct Forward {
    owner: Address,
    text: Vec<u8>,
}

impl Session for Forward {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(100));
        cx.write(b"quit\r\n");
    }

    fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}

    fn unfinished(&mut self, _: &mut Cx<'_>, so_far: &[u8], _: usize) {
        self.text = so_far.to_vec();
    }

    fn half_closed(&mut self, cx: &mut Cx<'_>) {
        let text = format!("forwarded: {}", String::from_utf8_lossy(&self.text));
        cx.notify(self.owner, text);
        cx.close();
    }
}

struct Lab {
    tls: Arc<ServerTls>,
    client: Option<Arc<ClientTls>>,
    limits: Limits,
    proxies: Vec<Network>,
}

impl Service for Lab {
    fn parts(&self) -> ServiceParts {
        let any: Listen = "127.0.0.1:0".parse().unwrap();
        ServiceParts::new("lab.tls")
            .listen(any.clone())
            .tls_listen(any)
            .with_limits(self.limits.clone())
            .with_tls(Arc::clone(&self.tls))
            .with_proxies(self.proxies.clone())
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        let client = self.client.clone();
        Box::new(move |_: &Peer| {
            Box::new(Lines { client: client.clone(), ..Lines::default() }) as Box<dyn Session>
        })
    }
}

struct Fixture {
    running: Option<Running>,
    handle: Handle,
    plain: SocketAddr,
    secured: SocketAddr,
    tls: Arc<ServerTls>,
    metrics: Metrics,
}

impl Fixture {
    fn new(tls: ServerTls) -> Self {
        Self::with(tls, None, Limits::default())
    }

    fn with(tls: ServerTls, client: Option<Arc<ClientTls>>, limits: Limits) -> Self {
        Self::serving(Lab { tls: Arc::new(tls), client, limits, proxies: Vec::new() })
    }

    fn serving(lab: Lab) -> Self {
        let (tls, metrics) = (Arc::clone(&lab.tls), Metrics::default());
        let builder = Server::builder().shards(2).metrics(&metrics);
        let server = builder.mount(Box::new(lab)).bind().unwrap();
        let addresses: Vec<SocketAddr> = server
            .bound()
            .iter()
            .map(|bound| match bound.address {
                Listen::Inet(address) => address,
                Listen::Unix(_) => panic!("not TCP"),
            })
            .collect();
        let running = server.start().unwrap();
        let handle = running.handle();
        let (plain, secured) = (addresses[0], addresses[1]);
        Fixture { running: Some(running), handle, plain, secured, tls, metrics }
    }

    /// Waits until so many connections stand.
    fn comes_to(&self, connections: u64) {
        let counts = self.metrics.service("lab.tls");
        let end = Instant::now() + Duration::from_secs(20);
        while counts.open() != connections {
            assert!(Instant::now() < end, "{} connections stand", counts.open());
            std::thread::yield_now();
        }
    }

    fn connect(&self, client: &ClientTls, name: &str) -> std::io::Result<SecuredStream> {
        SecuredStream::handshake(tcp(self.secured), client, name)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.handle.stop();
        self.running.take().unwrap().join().unwrap();
    }
}

fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn hear(stream: &mut impl Read) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}

fn ask(stream: &mut (impl Read + Write), line: &str) -> String {
    stream.write_all(format!("{line}\r\n").as_bytes()).unwrap();
    hear(stream)
}

#[test]
fn from_the_first_octet_with_a_clean_end() {
    let authority = Authority::new();
    let tls = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let fixture = Fixture::new(tls);
    let mut stream = fixture.connect(&authority.client(), "a.test").unwrap();
    assert_eq!(stream.facts().version, "TLSv1.3");
    assert_eq!(hear(&mut stream), "hello");
    assert_eq!(ask(&mut stream, "over TLS"), "over TLS");
    stream.write_all(b"big 3000000\r\nquit\r\n").unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.len(), 3_000_000);
    assert!(stream.peer_has_closed());
}

#[test]
fn a_file_goes_through_tls() {
    let authority = Authority::new();
    let tls = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let fixture = Fixture::new(tls);
    let content: Vec<u8> = (0..2_000_003u32).map(|n| (n.wrapping_mul(7) >> 3) as u8).collect();
    std::fs::write(authority.path("content"), &content).unwrap();
    let mut stream = fixture.connect(&authority.client(), "a.test").unwrap();
    assert_eq!(hear(&mut stream), "hello");
    let path = authority.path("content");
    stream.write_all(format!("file {}\r\nquit\r\n", path.display()).as_bytes()).unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(rest == content);
}

#[test]
fn in_mid_stream_and_what_was_slipped_in_is_lost() {
    let authority = Authority::new();
    let tls = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let fixture = Fixture::new(tls);
    let mut stream = tcp(fixture.plain);
    assert_eq!(hear(&mut stream), "hello");
    assert_eq!(ask(&mut stream, "facts"), "None");
    // CVE-2011-0411: a command behind STARTTLS, in the same segment.
    assert_eq!(ask(&mut stream, "STARTTLS\r\nslipped in"), "go");
    let mut stream = SecuredStream::handshake(stream, &authority.client(), "a.test").unwrap();
    assert_eq!(ask(&mut stream, "first"), "first");
    assert!(ask(&mut stream, "facts").contains("TLS13_AES"));
}

#[test]
fn plaintext_after_starttls_is_no_handshake() {
    let authority = Authority::new();
    let tls = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let fixture = Fixture::new(tls);
    let mut stream = tcp(fixture.plain);
    assert_eq!(hear(&mut stream), "hello");
    assert_eq!(ask(&mut stream, "STARTTLS"), "go");
    stream.write_all(b"injected\r\n").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(!rest.windows(8).any(|window| window == b"injected"));
}

#[test]
fn garbage_and_cut_hellos_harm_nobody() {
    let authority = Authority::new();
    let tls = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let fixture = Fixture::new(tls);
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 100], &[0x16, 3, 1, 0xff, 0xff, 0, 0]] {
        let mut stream = tcp(fixture.secured);
        stream.write_all(garbage).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let hello = hello_of(&authority);
    for cut in 0..hello.len() {
        assert_no_answer(fixture.secured, &hello[..cut], "an answer to half a hello");
    }
    // Behind STARTTLS as from the first octet.
    for cut in (0..hello.len()).step_by(16) {
        let mut stream = tcp(fixture.plain);
        assert_eq!(hear(&mut stream), "hello");
        assert_eq!(ask(&mut stream, "STARTTLS"), "go");
        assert_no_answer_on(stream, &hello[..cut], "an answer to half a hello");
    }
    let mut stream = fixture.connect(&authority.client(), "a.test").unwrap();
    assert_eq!(hear(&mut stream), "hello");
    fixture.comes_to(1);
}

#[test]
fn a_hello_that_is_wrong_anywhere_harms_nobody() {
    let authority = Authority::new();
    let tls = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let fixture = Fixture::new(tls);
    let hello = hello_of(&authority);
    for at in 0..hello.len() {
        let mut wrong = hello.clone();
        wrong[at] ^= 0xff;
        let mut stream = tcp(fixture.secured);
        stream.write_all(&wrong).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        // An alert or a handshake (a random number may be any); the session has said nothing.
        assert!(matches!(rest.first(), None | Some(0x15 | 0x16)), "octet {at}: {rest:?}");
    }
    let mut stream = fixture.connect(&authority.client(), "a.test").unwrap();
    assert_eq!(hear(&mut stream), "hello");
    fixture.comes_to(1);
}

#[test]
fn a_proxy_header_comes_before_the_handshake() {
    let authority = Authority::new();
    let tls = Arc::new(ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap());
    let proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let fixture = Fixture::serving(Lab { tls, client: None, limits: Limits::default(), proxies });
    let mut stream = tcp(fixture.secured);
    stream.write_all(b"PROXY TCP4 192.0.2.1 192.0.2.9 1000 443\r\n").unwrap();
    let mut stream = SecuredStream::handshake(stream, &authority.client(), "a.test").unwrap();
    assert_eq!(hear(&mut stream), "hello");
    assert_eq!(ask(&mut stream, "peer"), "192.0.2.1:1000");
    // Inside of TLS there is none, and without one there is no handshake.
    assert!(fixture.connect(&authority.client(), "a.test").is_err());
    fixture.comes_to(1);
}

/// A client's first flight, as it goes over the wire.
fn hello_of(authority: &Authority) -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = authority.client();
    let speaker = std::thread::spawn(move || {
        SecuredStream::handshake(tcp(address), &client, "a.test").is_err()
    });
    let mut hello = vec![0; 4096];
    let count = listener.accept().unwrap().0.read(&mut hello).unwrap();
    assert!(speaker.join().unwrap());
    hello.truncate(count);
    hello
}

fn assert_no_answer(address: SocketAddr, octets: &[u8], why: &str) {
    assert_no_answer_on(tcp(address), octets, why);
}

/// Not more than an alert.
fn assert_no_answer_on(mut stream: TcpStream, octets: &[u8], why: &str) {
    stream.write_all(octets).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 10, "{why}");
}

#[test]
fn a_peer_that_stalls_in_the_handshake_is_cut_off() {
    let authority = Authority::new();
    let tls = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let mut limits = Limits::default();
    limits.handshake = Some(Duration::from_millis(50));
    let fixture = Fixture::with(tls, None, limits);
    let mut silent = tcp(fixture.secured);
    assert_eq!(silent.read(&mut [0]).unwrap(), 0);
    let mut upgrading = tcp(fixture.plain);
    assert_eq!(hear(&mut upgrading), "hello");
    assert_eq!(ask(&mut upgrading, "STARTTLS"), "go");
    assert_eq!(upgrading.read(&mut [0]).unwrap(), 0);
}

#[test]
fn ten_thousand_half_open_handshakes_keep_nobody_out() {
    // Both ends are in this process. Where it may not open so many files, as many as it may.
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) as usize;
    let count = (allowed / 2).saturating_sub(300).min(10_000);
    let authority = Authority::new();
    let tls = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let mut limits = Limits::default();
    (limits.connections, limits.connections_per_peer) = (None, None);
    limits.handshake = Some(Duration::from_secs(3));
    let fixture = Fixture::with(tls, None, limits);
    let mut half_open: Vec<TcpStream> = (0..count)
        .map(|_| {
            let mut stream = tcp(fixture.secured);
            stream.write_all(&[0x16, 3, 1, 1, 0]).unwrap();
            stream
        })
        .collect();
    let mut stream = fixture.connect(&authority.client(), "a.test").unwrap();
    assert_eq!(hear(&mut stream), "hello");
    for stream in &mut half_open {
        // Cut off: an end or a reset, and no octet before it.
        assert!(!matches!(stream.read(&mut [0]), Ok(1..)));
    }
    assert_eq!(ask(&mut stream, "still here"), "still here");
}

#[test]
fn a_truncated_stream_is_told_from_a_clean_end() {
    let authority = Authority::new();
    let tls = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let fixture = Fixture::new(tls);
    for clean in [true, false] {
        let mut stream = fixture.connect(&authority.client(), "a.test").unwrap();
        assert_eq!(hear(&mut stream), "hello");
        stream.write_all(b"body\r\nhalf of a file").unwrap();
        match clean {
            true => stream.close().unwrap(),
            false => stream.socket().shutdown(Shutdown::Write).unwrap(),
        }
        assert_eq!(hear(&mut stream), format!("truncated: {}", !clean));
    }
}

#[test]
fn certificates_are_chosen_by_name_and_read_again() {
    let authority = Authority::new();
    let certificates =
        vec![authority.sign("a", &["a.test"]), authority.sign("b", &["b.test", "*.b.test"])];
    let fixture = Fixture::new(ServerTls::new(certificates).unwrap());
    let client = authority.client();
    for name in ["a.test", "b.test", "B.test", "x.b.test"] {
        assert!(fixture.connect(&client, name).is_ok(), "{name}");
    }
    assert!(fixture.connect(&client, "c.test").is_err(), "the default is not for c.test");
    let mut before = fixture.connect(&client, "a.test").unwrap();
    assert_eq!(hear(&mut before), "hello");

    assert!(!fixture.tls.refresh().unwrap(), "nothing has changed");
    authority.sign("a", &["c.test", "a-longer-name-so-that-the-length-differs.test"]);
    assert!(fixture.tls.refresh().unwrap());
    // A client that knows no ticket of the old name.
    let client = authority.client();
    assert!(fixture.connect(&client, "c.test").is_ok());
    assert!(fixture.connect(&client, "a.test").is_err());
    assert_eq!(ask(&mut before, "goes on"), "goes on");

    // Another file of the same size and age, renamed into place.
    let (path, beside) = (authority.path("a.pem"), authority.path("beside.pem"));
    let metadata = std::fs::metadata(&path).unwrap();
    std::fs::copy(&path, &beside).unwrap();
    let file = std::fs::File::options().append(true).open(&beside).unwrap();
    file.set_modified(metadata.modified().unwrap()).unwrap();
    std::fs::rename(&beside, &path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), metadata.len());
    assert!(fixture.tls.refresh().unwrap(), "not seen");
    assert!(!fixture.tls.refresh().unwrap());

    std::fs::write(authority.path("b.key"), "no key").unwrap();
    let errors = fixture.tls.refresh().unwrap_err();
    assert!(matches!(&errors[..], [TlsError::Missing { .. }]), "{errors:?}");
    assert!(fixture.connect(&client, "b.test").is_ok(), "the old certificate stays");
}

/// Out of what `facts` says: the session, and that which it resumes.
fn session(facts: &str) -> (String, Option<String>) {
    let field = |name: &str| {
        let at = facts.find(name).unwrap() + name.len();
        facts[at..].split(']').next().unwrap().rsplit('[').next().unwrap().to_owned()
    };
    (field("session: "), facts.contains("resumes: Some").then(|| field("resumes: ")))
}

#[test]
fn who_connects_out_may_be_the_tls_server() {
    let authority = Authority::new();
    let tls = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let fixture = Fixture::new(tls);
    let client = authority.client();
    let mut control = fixture.connect(&client, "a.test").unwrap();
    assert_eq!(hear(&mut control), "hello");
    let (own, _) = session(&ask(&mut control, "facts"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let line = format!("active {}\r\n", listener.local_addr().unwrap());
    control.write_all(line.as_bytes()).unwrap();
    let (stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut data = SecuredStream::handshake(stream, &client, "a.test").unwrap();
    assert_eq!(hear(&mut data), "hello");
    // RFC 4217 §10.2: that the same client is at the other end shows in the session.
    assert_eq!(session(&ask(&mut data, "facts")).1, Some(own));
}

#[test]
fn a_session_is_resumed_and_says_whose_it_was() {
    let authority = Authority::new();
    let tls = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let fixture = Fixture::new(tls);
    let client = authority.client();
    let mut first = fixture.connect(&client, "a.test").unwrap();
    assert_eq!(hear(&mut first), "hello");
    let (first_session, none) = session(&ask(&mut first, "facts"));
    assert_eq!(none, None);
    let mut second = fixture.connect(&client, "a.test").unwrap();
    assert_eq!(hear(&mut second), "hello");
    let (_, resumed) = session(&ask(&mut second, "facts"));
    assert_eq!(resumed, Some(first_session));
}

#[test]
fn client_certificates_are_asked_for_and_required() {
    let authority = Authority::new();
    let base = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let authorities = authority.path("ca.pem");
    let asked = ClientCertificates::Asked { authorities: authorities.clone() };
    let fixture = Fixture::new(base.for_service(&[b"lab"], asked).unwrap());
    let mut stream = fixture.connect(&authority.client(), "a.test").unwrap();
    assert_eq!(hear(&mut stream), "hello");
    assert!(ask(&mut stream, "facts").contains("client: None"));

    let required = ClientCertificates::Required { authorities };
    let fixture = Fixture::new(base.for_service(&[], required).unwrap());
    let mut stream = fixture.connect(&authority.client(), "a.test").unwrap();
    assert!(stream.read(&mut [0]).is_err(), "served without a certificate");

    let missing = ClientCertificates::Asked { authorities: authority.path("nothing.pem") };
    let error = base.for_service(&[], missing).unwrap_err();
    assert!(error.to_string().contains("nothing.pem can't be read"), "{error}");
}

#[test]
fn outbound_connections_check_the_name() {
    let authority = Authority::new();
    let tls = || ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let target = Fixture::new(tls());
    let fixture = Fixture::with(tls(), Some(authority.client()), Limits::default());
    let mut stream = tcp(fixture.plain);
    assert_eq!(hear(&mut stream), "hello");
    let line = format!("forward {} a.test", target.secured);
    assert_eq!(ask(&mut stream, &line), "forwarded: hello");

    let (told, heard) = std::sync::mpsc::channel();
    struct Stranger(std::sync::mpsc::Sender<String>);
    impl Session for Stranger {
        fn opened(&mut self, _: &mut Cx<'_>) {
            self.0.send("opened".into()).unwrap();
        }
        fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
        fn closed(&mut self, goodbye: &Goodbye) {
            if let Reason::Insecure(error) = &goodbye.reason {
                self.0.send(error.to_string()).unwrap();
            }
        }
    }
    struct Caller(std::sync::mpsc::Sender<String>, Arc<ClientTls>, SocketAddr);
    impl Service for Caller {
        fn parts(&self) -> ServiceParts {
            ServiceParts::new("caller").listen("127.0.0.1:0".parse().unwrap())
        }
        fn acceptor(&self) -> Box<dyn Acceptor> {
            struct Call(std::sync::mpsc::Sender<String>, Arc<ClientTls>, SocketAddr);
            impl Session for Call {
                fn opened(&mut self, cx: &mut Cx<'_>) {
                    let session = Box::new(Stranger(self.0.clone()));
                    cx.connect_tls(self.2, &self.1, "stranger.test", session);
                }
                fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
            }
            let (told, client, target) = (self.0.clone(), Arc::clone(&self.1), self.2);
            Box::new(move |_: &Peer| {
                Box::new(Call(told.clone(), Arc::clone(&client), target)) as Box<dyn Session>
            })
        }
    }
    let caller = Caller(told, authority.client(), target.secured);
    let server = Server::builder().mount(Box::new(caller)).bind().unwrap();
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
    let running = server.start().unwrap();
    let _stream = tcp(address);
    let error = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    assert!(error.contains("certificate"), "{error}");
    running.handle().stop();
    running.join().unwrap();
}

fn error_of(certificates: Vec<Certificate>) -> String {
    let errors = ServerTls::new(certificates).unwrap_err();
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn bad_files_are_named() {
    let authority = Authority::new();
    let good = authority.sign("a", &["a.test"]);
    let other = authority.sign("b", &["b.test"]);
    let mixed = Certificate { key: other.key.clone(), ..good.clone() };
    let message = error_of(vec![mixed]);
    assert!(message.contains("b.key is not the key of the certificate in"), "{message}");
    let gone = Certificate { chain: Path::new("gone.pem").into(), ..good.clone() };
    assert!(error_of(vec![gone]).contains("gone.pem can't be read"));
    let swapped = Certificate { chain: good.key.clone(), key: good.chain.clone(), hosts: vec![] };
    assert!(error_of(vec![swapped]).contains("a.key holds no certificate"));
    assert!(ServerTls::new(vec![good.clone()]).unwrap().warnings(SystemTime::now()).is_empty());

    let expired = authority.sign_with("old", &["old.test"], |params| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    });
    let tls = ServerTls::new(vec![good, expired]).unwrap();
    let warnings = tls.warnings(SystemTime::now());
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].to_string().ends_with("old.pem has expired on 2002-01-01"), "{warnings:?}");
    let facts = tls.certificates();
    let names: Vec<_> = facts.iter().map(|facts| facts.names.join(", ")).collect();
    assert_eq!(names, ["a.test", "old.test"]);
    assert_eq!((&*facts[1].first_day, &*facts[1].last_day), ("2001-01-01", "2002-01-01"));
    let day = Duration::from_secs(86_400);
    assert_eq!(facts[1].not_after, facts[1].not_before + day * 365);
}

#[test]
fn a_client_that_ends_first_hears_a_clean_end() {
    let authority = Authority::new();
    let tls = ServerTls::new(vec![authority.sign("a", &["a.test"])]).unwrap();
    let fixture = Fixture::new(tls);
    let mut stream = fixture.connect(&authority.client(), "a.test").unwrap();
    assert_eq!(hear(&mut stream), "hello");
    stream.close().unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
    assert!(stream.peer_has_closed(), "no close_notify");
}
