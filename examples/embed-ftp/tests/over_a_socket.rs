//! The embedded program over real sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use medusa_core::Server;
use medusa_core::config::Listen;

fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
    stream
}

fn ask(control: &mut BufReader<TcpStream>, line: &str) -> String {
    control.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("sent");
    hear(control)
}

fn hear(control: &mut BufReader<TcpStream>) -> String {
    let mut reply = String::new();
    control.read_line(&mut reply).expect("answered");
    reply.trim_end().to_owned()
}

fn data(control: &mut BufReader<TcpStream>, line: &str) -> TcpStream {
    let reply = ask(control, "EPSV");
    let port = reply.split('|').nth(3).and_then(|port| port.parse().ok()).expect("a port");
    let stream = connected(SocketAddr::from(([127, 0, 0, 1], port)));
    let reply = ask(control, line);
    assert!(reply.starts_with("150 "), "{line}: {reply}");
    stream
}

#[test]
fn numbers_are_fetched_and_files_are_put_into_the_inbox() {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let server = Server::builder().mount(Box::new(embed_ftp::service(listen)));
    let server = server.bind().expect("a free port");
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
    let running = server.start().expect("a thread");
    let mut control = BufReader::new(connected(address));
    hear(&mut control);
    ask(&mut control, "USER anonymous");
    assert_eq!(ask(&mut control, "PASS"), "230 There are numbers to fetch, and an inbox");

    let mut all = String::new();
    data(&mut control, "RETR squares.txt").read_to_string(&mut all).expect("fetched");
    assert_eq!(hear(&mut control), "226 Done");
    assert_eq!(ask(&mut control, "SIZE squares.txt"), format!("213 {}", all.len()));
    let line = all.lines().nth(399_999).expect("a line");
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), ["399999", "159999200001"]);
    ask(&mut control, &format!("REST {}", all.len() - 30));
    let mut end = String::new();
    data(&mut control, "RETR squares.txt").read_to_string(&mut end).expect("fetched");
    assert_eq!(hear(&mut control), "226 Done");
    assert_eq!(end, all[all.len() - 30..]);

    assert!(ask(&mut control, "DELE squares.txt").starts_with("550 "));
    let mut upload = data(&mut control, "STOR inbox/note");
    upload.write_all(b"hello").expect("sent");
    upload.shutdown(Shutdown::Write).expect("ended");
    assert_eq!(hear(&mut control), "226 Done");
    assert_eq!(ask(&mut control, "SIZE inbox/note"), "213 5");
    running.handle().stop();
    running.join().expect("ended");
}
