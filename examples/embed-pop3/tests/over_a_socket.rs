//! The embedded program over a real socket.

use std::io::{Read, Write};
use std::net::TcpStream;

use medusa_core::Server;
use medusa_core::config::Listen;

#[test]
fn texts_are_collected_and_deleted() {
    let folder = tempfile::tempdir().expect("a folder");
    let zoe = folder.path().join("zoe");
    std::fs::create_dir(&zoe).expect("a folder");
    std::fs::write(zoe.join("1.txt"), "Subject: one\n\n.dot\n").expect("a file");
    std::fs::write(zoe.join("2.txt"), "Subject: two\n").expect("a file");
    let listen = "127.0.0.1:0".parse().expect("an address");
    let service = embed_pop3::service(listen, folder.path().to_owned());
    let server = Server::builder().mount(Box::new(service)).bind().expect("a free port");
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
    let running = server.start().expect("a thread");
    let mut stream = TcpStream::connect(address).expect("a connection");
    let session = "USER zoe\r\nPASS please\r\nUIDL\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n";
    stream.write_all(session.as_bytes()).expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    running.handle().stop();
    running.join().expect("ended");
    assert!(text.contains("\r\n1 1.txt\r\n2 2.txt\r\n.\r\n"), "{text}");
    assert!(text.contains("+OK 22 octets\r\nSubject: one\r\n\r\n..dot\r\n.\r\n"), "{text}");
    assert!(text.ends_with("+OK bye\r\n"), "{text}");
    assert!(!zoe.join("1.txt").exists() && zoe.join("2.txt").exists());
}
