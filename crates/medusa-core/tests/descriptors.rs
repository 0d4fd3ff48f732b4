//! A process without a descriptor left. Alone in its binary, since the limit is the process's.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use medusa_core::config::Listen;
use medusa_core::{Acceptor, Cx, Frame, Framing, Peer, Server, Service, ServiceParts, Session};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

struct Echo;

impl Session for Echo {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(100));
    }

    fn received(&mut self, cx: &mut Cx<'_>, frame: Frame<'_>) {
        cx.write(frame.bytes);
        cx.write(b"\n");
    }
}

impl Service for Echo {
    fn parts(&self) -> ServiceParts {
        ServiceParts::new("echo").listen("127.0.0.1:0".parse().unwrap())
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(|_: &Peer| Box::new(Echo) as Box<dyn Session>)
    }
}

/// What comes of `open` once there is a descriptor for it.
fn again<T>(mut open: impl FnMut() -> io::Result<T>) -> T {
    for _ in 0..1_000_000 {
        match open() {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
                std::thread::yield_now()
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("no descriptor was given back");
}

#[test]
fn a_listener_that_gets_emfile_sheds_and_recovers() {
    let server = Server::builder().mount(Box::new(Echo)).bind().unwrap();
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
    let running = server.start().unwrap();
    // Whoever accepts takes a descriptor before it is known whether somebody waits, and gives it back: the
    // last free one may be gone for a moment.
    let connect = || {
        let stream = again(|| TcpStream::connect(address));
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    };
    let ask = |stream: &mut TcpStream| {
        let mut answer = [0; 3];
        stream.write_all(b"hi\r\n").and_then(|()| stream.read_exact(&mut answer)).is_ok()
    };
    let mut before = connect();
    assert!(ask(&mut before));

    // All descriptors up to the limit are taken but one: enough for our own end of a connection.
    let before_limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), ..before_limit }).unwrap();
    let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    for _ in 0..20 {
        hoard.pop();
        let mut shed = connect();
        assert!(!ask(&mut shed), "served without a descriptor");
        drop(shed);
        hoard.push(again(|| File::open("/dev/null")));
        assert!(ask(&mut before), "a connection that stands goes on");
    }

    drop(hoard);
    setrlimit(Resource::Nofile, before_limit).unwrap();
    assert!(ask(&mut connect()), "the listener has not recovered");
    running.handle().stop();
    running.join().unwrap();
}
