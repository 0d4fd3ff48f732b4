//! A ticket that is sent is a file, and nobody else gets anything.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use medusa_core::config::Listen;

use super::*;

#[test]
fn a_ticket_becomes_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = service("127.0.0.1:0", folder.path().to_owned()).expect("an address");
    let server = Server::builder().mount(service).bind().expect("a port");
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
    let running = server.start().expect("threads");

    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    let script = "EHLO c\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@support.test>\r\n\
                  RCPT TO:<ticket-42@support.test>\r\nDATA\r\nIt is broken.\r\n.\r\nQUIT\r\n";
    stream.write_all(script.as_bytes()).expect("it reads");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("it answers");
    assert!(said.contains("\r\n550 5.1.1 ") && said.contains("\r\n250 2.0.0 Taken as "), "{said}");
    let text = fs::read_to_string(folder.path().join("42.eml")).expect("a ticket");
    assert!(text.ends_with("It is broken.\r\n"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);

    running.handle().stop();
    running.join().expect("it ends");
}
