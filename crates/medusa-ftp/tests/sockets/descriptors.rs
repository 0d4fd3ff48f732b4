//! What is opened is closed: ports, sockets, files.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU16, Ordering};

use medusa_ftp::PortRange;

use super::fixture::{Fixture, connect};

/// Three ports that nobody has, below those that the system gives out by itself (Linux begins at 32768).
pub(super) fn three_ports() -> PortRange {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    // Not those of another test or another run.
    let start = 20_000 + (std::process::id() % 3_000) as u16 * 4;
    let start = start + TAKEN.fetch_add(3, Ordering::Relaxed);
    let is_free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let mut firsts = (start..32_000).step_by(3);
    let first = firsts.find(|&first| (first..first + 3).all(is_free)).expect("free ports");
    PortRange::new(first, first + 2).unwrap()
}

/// This process's descriptors that are sockets listening on one of these ports.
pub(super) fn listening(ports: &PortRange) -> usize {
    let text = ports.to_string();
    let (first, last) = text.split_once('-').unwrap();
    let range = first.parse::<u16>().unwrap()..=last.parse::<u16>().unwrap();
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).filter(|row| {
        let mut cells = row.split_whitespace();
        let port =
            cells.nth(1).and_then(|cell| u16::from_str_radix(cell.rsplit(':').next()?, 16).ok());
        // proc_pid_net(5): the state 0A is LISTEN.
        port.is_some_and(|port| range.contains(&port)) && cells.nth(1) == Some("0A")
    });
    rows.count()
}

#[test]
fn a_thousand_passive_opens_leak_nothing() {
    let ports = three_ports();
    let fixture = Fixture::new(|builder| builder.passive_ports(Some(ports.clone())));
    let mut control = fixture.alice();
    for round in 0..1000 {
        let reply = control.ask(if round % 2 == 0 { "PASV" } else { "EPSV" });
        assert!(reply.starts_with("22"), "{round}: {reply}");
    }
    assert_eq!(listening(&ports), 1);
    // All three ports can be had, so none of the thousand is lent any more.
    let mut others = [fixture.alice(), fixture.alice()];
    for other in &mut others {
        assert!(other.ask("PASV").starts_with("227 "));
    }
    let mut fourth = fixture.alice();
    assert_eq!(fourth.ask("PASV"), "425 No port is free");
    assert_eq!(listening(&ports), 3);
    for other in &mut others {
        assert_eq!(other.ask("QUIT"), "221 Goodbye");
    }
    assert_eq!(control.ask("REIN"), "220 Ready for another user");
    // The goodbyes have been worked off when a port can be had again.
    let again = (0..10_000).any(|_| fourth.ask("PASV").starts_with("227 "));
    assert!(again, "the port of a session that has ended is still lent");
}

#[test]
fn data_connections_that_are_dropped_at_every_point_leave_none() {
    let fixture = Fixture::new(|builder| builder);
    fixture.write("big", vec![b'x'; 5_000_000]);
    let mut control = fixture.alice();
    for _ in 0..20 {
        // Connected and never used; never connected; lost in the middle of each direction.
        drop(connect(control.passive()));
        control.passive();
        let data = connect(control.passive());
        assert!(control.ask("RETR big").starts_with("150 "));
        drop(data);
        assert!(control.hear().starts_with("426 "));
        let data = connect(control.passive());
        assert!(control.ask("STOR part").starts_with("150 "));
        let reply = control.ask("ABOR");
        assert_eq!(reply, "426 Broken off");
        assert!(control.hear().starts_with("226 "));
        drop(data);
    }
    assert_eq!(control.fetch("RETR big").len(), 5_000_000);
    let port = control.passive();
    drop(control);
    // Nobody listens for a control connection that has gone.
    let closed = (0..100_000).any(|_| TcpStream::connect(port).is_err());
    assert!(closed, "a port outlives its control connection");
}

#[test]
fn an_idle_port_takes_its_own_client_alone() {
    let fixture = Fixture::new(|builder| builder);
    fixture.write("a", "hello");
    let mut control = fixture.alice();
    let port = control.passive();
    // Another address of this machine.
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::STREAM,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &SocketAddr::from(([127, 0, 0, 2], 0))).unwrap();
    rustix::net::connect(&socket, &port).unwrap();
    let mut stranger = TcpStream::from(socket);
    let mut octets = Vec::new();
    let _ = std::io::Read::read_to_end(&mut stranger, &mut octets);
    assert!(octets.is_empty());
    let mut data = connect(port);
    assert!(control.ask("RETR a").starts_with("150 "));
    std::io::Read::read_to_end(&mut data, &mut octets).unwrap();
    assert_eq!(octets, b"hello");
    assert_eq!(control.hear(), "226 Done");
}

#[test]
fn a_client_that_does_not_listen_is_told() {
    let fixture = Fixture::new(|builder| builder);
    fixture.write("a", "hello");
    let mut control = fixture.alice();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let line = format!("PORT 127,0,0,1,{},{}", port >> 8, port & 0xff);
    assert_eq!(control.ask(&line), "200 There it will go");
    assert!(control.ask("RETR a").starts_with("150 "));
    let mut octets = Vec::new();
    std::io::Read::read_to_end(&mut listener.accept().unwrap().0, &mut octets).unwrap();
    assert_eq!((octets.as_slice(), control.hear().as_str()), (&b"hello"[..], "226 Done"));
    drop(listener);
    assert_eq!(control.ask(&line), "200 There it will go");
    assert!(control.ask("RETR a").starts_with("150 "));
    assert_eq!(control.hear(), "425 There is no data connection");
}

#[test]
fn data_comes_from_the_address_that_the_client_talks_to() {
    let fixture = Fixture::everywhere();
    fixture.write("a", "hello");
    for ip in [[127, 0, 0, 1], [127, 0, 0, 3]] {
        let mut control = fixture.alice_at(SocketAddr::from((ip, fixture.address.port())));
        // The client's own address is the one that it came from.
        let own = control.reader.get_ref().local_addr().unwrap().ip();
        let listener = std::net::TcpListener::bind((own, 0)).unwrap();
        let at = listener.local_addr().unwrap();
        let line = format!("EPRT |1|{}|{}|", at.ip(), at.port());
        assert_eq!(control.ask(&line), "200 There it will go");
        assert!(control.ask("RETR a").starts_with("150 "));
        let (mut data, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), std::net::IpAddr::from(ip));
        let mut octets = Vec::new();
        std::io::Read::read_to_end(&mut data, &mut octets).unwrap();
        assert_eq!((octets.as_slice(), control.hear().as_str()), (&b"hello"[..], "226 Done"));
    }
}
