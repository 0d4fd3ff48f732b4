//! Clients that ask for more than they take, over real sockets: what a server holds then is bounded.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use medusa_tests::{PATIENCE, Server, Site};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

/// A server with one shard, so that all is borne by one.
fn server(site: &Site) -> Server {
    Server::start(site.command(MEDUSA, &["serve", "medusa.toml", "--shards", "1"]))
}

fn site() -> Site {
    let site = Site::new("[http.site]\nlisten = [\"127.0.0.1:0\"]\nroot = \"public\"\n");
    site.write("public/hello.txt", "Hello, world!");
    site.write("public/large.bin", vec![7; 8 << 20]);
    site
}

/// Writes as much as the server takes; how many octets that was. It has stopped reading when nothing was
/// taken for a quarter of a second.
fn write_until_it_blocks(stream: &mut TcpStream, octets: &[u8]) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(250))).expect("a timeout");
    let mut written = 0;
    while written < octets.len() {
        match stream.write(&octets[written..]) {
            Ok(length) => written += length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => panic!("after {written} octets: {error}"),
        }
    }
    stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    written
}

/// How many answers with this beginning are read before `count` is reached.
fn count_answers(stream: &mut TcpStream, count: usize) -> usize {
    let (mut seen, mut held) = (0, Vec::new());
    let mut piece = vec![0; 1 << 16];
    while seen < count {
        let length = stream.read(&mut piece).expect("answers");
        assert!(length > 0, "the connection ended after {seen} answers");
        held.extend_from_slice(&piece[..length]);
        seen += held.windows(9).filter(|window| *window == b"HTTP/1.1 ").count();
        // An answer's beginning may be cut; what is kept is too short to be counted twice.
        held.drain(..held.len().saturating_sub(8));
    }
    seen
}

#[test]
fn a_client_that_never_reads_costs_little() {
    const REQUESTS: usize = 200_000;
    let site = site();
    let server = server(&site);
    let request = b"GET /hello.txt HTTP/1.1\r\nHost: localhost\r\n\r\n";
    // One that is answered, so that what is made once is made already.
    let mut warm = server.connect("http.site");
    warm.write_all(request).expect("asked");
    assert_eq!(count_answers(&mut warm, 1), 1);
    let before = server.resident_octets();

    let all = request.repeat(REQUESTS);
    let mut stream = server.connect("http.site");
    let written = write_until_it_blocks(&mut stream, &all);
    assert!(written < all.len(), "the server has read all of it");
    let grown = server.resident_octets().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} octets more after {written} octets of requests");

    // And it takes up where it stopped: every request is answered.
    let mut writer = stream.try_clone().expect("a second handle");
    let rest = std::thread::spawn(move || writer.write_all(&all[written..]).expect("the rest"));
    assert_eq!(count_answers(&mut stream, REQUESTS), REQUESTS);
    rest.join().expect("written");
    server.end();
}

#[test]
fn many_requests_for_a_large_file_open_few() {
    let site = site();
    let server = server(&site);
    let before = server.open_files();
    let mut stream = server.connect("http.site");
    let requests = b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1500);
    write_until_it_blocks(&mut stream, &requests);
    // Whatever of it the server has read, it has begun to answer.
    let mut piece = [0; 4096];
    assert!(stream.read(&mut piece).expect("an answer") > 0);
    let opened = server.open_files().saturating_sub(before);
    assert!(opened <= 8, "{opened} descriptors for one connection");
    drop(stream);
    server.end();
}

#[test]
fn a_head_without_an_end_is_refused_in_linear_time() {
    let site = site();
    let server = server(&site);
    let mut stream = server.connect("http.site");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ").expect("asked");
    let filler = vec![b'a'; 1 << 20];
    for _ in 0..100 {
        // The server may close once it has answered.
        if stream.write_all(&filler).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(
        answer.starts_with(b"HTTP/1.1 431 "),
        "{:?}",
        String::from_utf8_lossy(&answer[..answer.len().min(200)])
    );
    server.end();
}
