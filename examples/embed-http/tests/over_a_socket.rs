//! The embedded program over a real socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use medusa_core::Server;
use medusa_core::config::Listen;

/// Sends octets, ends its side, and reads all that comes.
fn ask(octets: &str) -> String {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let server = Server::builder().mount(Box::new(embed_http::service(listen)));
    let server = server.bind().expect("a free port");
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
    let running = server.start().expect("a thread");
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream.write_all(octets.as_bytes()).expect("sent");
    stream.shutdown(std::net::Shutdown::Write).expect("ended");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    running.handle().stop();
    running.join().expect("ended");
    text
}

#[test]
fn late_answers_come_in_order_and_streams_behind_them() {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let post = "POST /lines HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\n\r\na\nb\nc\nd\n";
    let text = ask(&[
        get("/factor/1099511627689"),
        get("/count?to=3"),
        get("/factor/360"),
        post.to_owned(),
        get("/factor/one"),
    ]
    .concat());
    let bodies: Vec<&str> =
        text.split("HTTP/1.1 ").skip(1).filter_map(|one| one.split("\r\n\r\n").nth(1)).collect();
    assert_eq!(bodies.len(), 5, "{text}");
    assert_eq!(bodies[0], "1099511627689\n");
    assert_eq!(bodies[1], "6\r\n1\n2\n3\n\r\n0");
    assert_eq!(bodies[2], "2 * 2 * 2 * 3 * 3 * 5\n");
    assert_eq!(bodies[3], "4\n");
    assert!(bodies[4].contains("400 Bad Request"));
}

#[test]
fn a_long_stream_comes_whole() {
    let text = ask("GET /count?to=200000 HTTP/1.0\r\n\r\n");
    let (head, body) = text.split_once("\r\n\r\n").expect("a head");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nConnection: close"));
    assert_eq!(body.lines().count(), 200_000);
    assert!(body.ends_with("\n200000\n"));
}
