//! The program over a real socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use medusa_core::config::Listen;

use super::*;

#[test]
fn texts_are_collected_and_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    fs::write(path.join("1.txt"), "Subject: one\n\n.dot\n").expect("a file");
    fs::write(path.join("2.txt"), "Subject: two\n").expect("a file");
    let service = service("127.0.0.1:0", path.to_owned()).expect("an address");
    let server = Server::builder().mount(Box::new(service)).bind().expect("a free port");
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
    let running = server.start().expect("a thread");
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let session = "USER zoe\r\nPASS please\r\nUIDL\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n";
    stream.write_all(session.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    running.handle().stop();
    running.join().expect("ended");
    assert!(text.contains("\r\n1 1.txt\r\n2 2.txt\r\n.\r\n"), "{text}");
    assert!(text.contains("+OK 22 octets\r\nSubject: one\r\n\r\n..dot\r\n.\r\n"), "{text}");
    assert!(text.ends_with("+OK bye\r\n"), "{text}");
    assert!(!path.join("1.txt").exists() && path.join("2.txt").exists());
}
