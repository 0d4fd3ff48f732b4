//! FTPS: explicit and implicit, and whose data connection it is.

use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use medusa_core::testing::SecuredStream;
use medusa_core::tls::{Certificate, ClientTls, Roots, ServerTls};

use super::fixture::{Control, Fixture, connect};

/// A certificate for localhost that signs itself.
fn certificate(folder: &Path) -> Arc<ServerTls> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (chain, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&chain, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    Arc::new(ServerTls::new(vec![Certificate { hosts: Vec::new(), chain, key }]).unwrap())
}

fn client() -> ClientTls {
    ClientTls::new(&Roots::Anyone, &[]).unwrap()
}

fn secure(stream: TcpStream, client: &ClientTls) -> SecuredStream {
    SecuredStream::handshake(stream, client, "localhost").unwrap()
}

/// Logs in with TLS from AUTH on, and asks for protected data.
fn explicit(fixture: &Fixture, client: &ClientTls) -> Control<SecuredStream> {
    let mut plain = fixture.connect();
    assert_eq!(plain.ask("AUTH TLS"), "234 TLS begins");
    let stream = secure(plain.reader.into_inner(), client);
    let mut control = Control { reader: BufReader::new(stream) };
    control.login();
    assert_eq!(control.ask("PBSZ 0"), "200 PBSZ=0");
    assert_eq!(control.ask("PROT P"), "200 Data will be protected");
    control
}

fn fetch(control: &mut Control<SecuredStream>, client: &ClientTls, name: &str) -> (Vec<u8>, bool) {
    let data = connect(control.passive());
    assert!(control.ask(format!("RETR {name}")).starts_with("150 "));
    let mut data = secure(data, client);
    let mut content = Vec::new();
    data.read_to_end(&mut content).unwrap();
    (content, data.peer_has_closed())
}

#[test]
fn explicit_tls_protects_both_connections() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let fixture = Fixture::secured(tls, false);
    let content = vec![b'x'; 1_000_000];
    fixture.write("a", &content);
    let client = client();
    let mut control = explicit(&fixture, &client);
    // Each data connection may use up a ticket of the one before.
    for _ in 0..5 {
        let (fetched, closed) = fetch(&mut control, &client, "a");
        assert!(fetched == content && closed);
        assert_eq!(control.hear(), "226 Done");
    }
    let data = connect(control.passive());
    assert!(control.ask("STOR b").starts_with("150 "));
    let mut data = secure(data, &client);
    data.write_all(&content).unwrap();
    data.close().unwrap();
    assert_eq!(control.hear(), "226 Done");
    assert!(std::fs::read(fixture.path("b")).unwrap() == content);
    // The same without the word that it is all.
    let data = connect(control.passive());
    assert!(control.ask("STOR c").starts_with("150 "));
    let mut data = secure(data, &client);
    data.write_all(b"part").unwrap();
    data.socket().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(control.hear(), "426 The data connection ended without TLS's close_notify");
}

#[test]
fn a_data_connection_must_resume_the_control_connections_session() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let fixture = Fixture::secured(tls, false);
    fixture.write("a", "hello");
    let (right, wrong) = (client(), client());
    let mut control = explicit(&fixture, &right);
    let data = connect(control.passive());
    assert!(control.ask("RETR a").starts_with("150 "));
    // The thief comes from the right address, and has a session with this server, but another's.
    let mut thief = secure(data, &wrong);
    let mut stolen = Vec::new();
    let _ = thief.read_to_end(&mut stolen);
    assert!(stolen.is_empty());
    assert!(control.hear().starts_with("522 "));
    assert_eq!(fetch(&mut control, &right, "a").0, b"hello");
}

#[test]
fn a_session_of_tls_1_2_is_known_again() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let fixture = Fixture::secured(tls, false);
    fixture.write("a", "hello");
    let (right, wrong) = (ClientTls::of_1_2().unwrap(), ClientTls::of_1_2().unwrap());
    let mut control = explicit(&fixture, &right);
    assert_eq!(control.reader.get_ref().facts().version, "TLSv1.2");
    for _ in 0..3 {
        assert_eq!(fetch(&mut control, &right, "a").0, b"hello");
        assert_eq!(control.hear(), "226 Done");
    }
    // A session of its own isn't the control connection's, though it is resumed.
    let mut another = explicit(&fixture, &wrong);
    assert_eq!(fetch(&mut another, &wrong, "a").0, b"hello");
    let data = connect(control.passive());
    assert!(control.ask("RETR a").starts_with("150 "));
    let mut stolen = Vec::new();
    let _ = secure(data, &wrong).read_to_end(&mut stolen);
    assert!(stolen.is_empty());
    assert!(control.hear().starts_with("522 "));
    // Nor is a new one, nor one of TLS 1.3.
    for client in [ClientTls::of_1_2().unwrap(), client()] {
        let data = connect(control.passive());
        assert!(control.ask("RETR a").starts_with("150 "));
        let _ = secure(data, &client).read_to_end(&mut stolen);
        assert!(stolen.is_empty() && control.hear().starts_with("522 "));
    }
}

#[test]
fn a_handshake_that_fails_leaves_the_port_to_its_client() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let ports = super::descriptors::three_ports();
    let range = Some(ports.clone());
    let fixture = Fixture::secured_with(tls, false, |builder| builder.passive_ports(range));
    fixture.write("a", "hello");
    let client = client();
    let mut control = explicit(&fixture, &client);
    // Whoever comes first, from the same address, speaks no TLS.
    let fail = |port| {
        let mut stream = connect(port);
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    };
    for _ in 0..20 {
        fail(control.passive());
    }
    assert_eq!(super::descriptors::listening(&ports), 1);
    let port = control.passive();
    fail(port);
    let data = connect(port);
    assert!(control.ask("RETR a").starts_with("150 "));
    let mut content = Vec::new();
    secure(data, &client).read_to_end(&mut content).unwrap();
    assert_eq!((control.hear().as_str(), &content[..]), ("226 Done", &b"hello"[..]));
}

#[test]
fn implicit_tls_needs_no_asking() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let fixture = Fixture::secured(tls, true);
    fixture.write("a", "hello");
    let client = client();
    let stream = secure(connect(fixture.address), &client);
    let mut control = Control { reader: BufReader::new(stream) };
    assert!(control.hear().starts_with("220 "));
    control.login();
    assert_eq!(fetch(&mut control, &client, "a").0, b"hello");
    assert_eq!(control.hear(), "226 Done");
    assert_eq!(control.ask("QUIT"), "221 Goodbye");
}

#[test]
fn plaintext_behind_auth_is_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let fixture = Fixture::secured(tls, false);
    let mut plain = fixture.connect();
    // One segment: what follows AUTH was slipped in by whoever sits between.
    assert_eq!(plain.ask("AUTH TLS\r\nUSER alice\r\nPASS secret"), "234 TLS begins");
    let stream = secure(plain.reader.into_inner(), &client());
    let mut control = Control { reader: BufReader::new(stream) };
    assert_eq!(control.ask("PWD"), "530 Log in first");
}

#[test]
fn an_active_data_connection_is_as_protected() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let fixture = Fixture::secured(tls, false);
    fixture.write("a", "hello");
    let (right, wrong) = (client(), client());
    let mut control = explicit(&fixture, &right);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("not IPv4") };
    let port = format!("PORT 127,0,0,1,{},{}", address.port() >> 8, address.port() & 0xff);
    let open = |control: &mut Control<SecuredStream>, command: &str, client: &ClientTls| {
        assert!(control.ask(&port).starts_with("200 "));
        assert!(control.ask(command).starts_with("150 "));
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        secure(stream, client)
    };
    let mut data = open(&mut control, "RETR a", &right);
    let mut content = Vec::new();
    data.read_to_end(&mut content).unwrap();
    assert_eq!((control.hear().as_str(), &content[..]), ("226 Done", &b"hello"[..]));
    let mut data = open(&mut control, "STOR b", &right);
    data.write_all(b"sent").unwrap();
    data.close().unwrap();
    assert_eq!(control.hear(), "226 Done");
    assert_eq!(std::fs::read(fixture.path("b")).unwrap(), b"sent");
    // Whoever listens there without a session of the control connection gets nothing.
    let mut thief = open(&mut control, "RETR a", &wrong);
    let mut stolen = Vec::new();
    let _ = thief.read_to_end(&mut stolen);
    assert!(stolen.is_empty() && control.hear().starts_with("522 "));
}

#[test]
fn data_that_is_to_be_protected_is_never_sent_in_clear() {
    let folder = tempfile::tempdir().unwrap();
    let tls = certificate(folder.path());
    let fixture = Fixture::secured(tls, false);
    fixture.write("a", "hello");
    let mut control = explicit(&fixture, &client());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else { panic!("not IPv4") };
    let port = address.port();
    control.ask(format!("PORT 127,0,0,1,{},{}", port >> 8, port & 0xff));
    assert!(control.ask("RETR a").starts_with("150 "));
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    // No ClientHello comes from here.
    stream.write_all(b"hello?\r\n").unwrap();
    let mut content = Vec::new();
    let _ = stream.read_to_end(&mut content);
    assert!(!content.windows(5).any(|part| part == b"hello"), "{content:?}");
    assert!(control.hear().starts_with("522 "));
}
