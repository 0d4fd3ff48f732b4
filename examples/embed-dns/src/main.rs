//! A name server whose answers are computed: `whoami.example.test` says who asks, and
//! `192-0-2-7.ip.example.test` is 192.0.2.7.
//!
//! It serves on 127.0.0.1:5300, or where the first argument says:
//! `dig @127.0.0.1 -p 5300 whoami.example.test TXT`.

use std::net::Ipv4Addr;

use medusa_core::{Server, ServiceParts};
use medusa_dns::DnsService;
use medusa_dns::answer::{Question, Reply};
use medusa_dns::types::{Rcode, RecordType};
use medusa_dns::zone::Zones;

fn answer(question: &Question<'_>, reply: &mut Reply<'_, '_>) -> bool {
    let name = question.name();
    let Some(name) = name.strip_suffix("example.test.") else { return false };
    match (name.strip_suffix('.').unwrap_or(name), question.rtype) {
        ("whoami", RecordType::TXT) => {
            let address = question.address.map_or("nobody".into(), |address| address.to_string());
            reply.text(0, &address);
        }
        ("" | "whoami" | "ip", _) => {}
        (other, rtype) => {
            let digits = other.strip_suffix(".ip").map(|host| host.replace('-', "."));
            match digits.and_then(|digits| digits.parse::<Ipv4Addr>().ok()) {
                Some(address) if rtype == RecordType::A => reply.address(3600, address.into()),
                Some(_) => {}
                None => reply.set_rcode(Rcode::NXDOMAIN),
            }
        }
    }
    true
}

fn service(listen: &str) -> Result<DnsService, Box<dyn std::error::Error>> {
    let parts = ServiceParts::new("names").listen(listen.parse()?);
    Ok(DnsService::new(parts, Zones::default()).with_program(answer))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listen = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:5300".to_owned());
    Server::builder().mount(Box::new(service(&listen)?)).bind()?.run()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use medusa_core::config::Listen;
    use std::net::UdpSocket;
    use std::time::Duration;

    #[test]
    fn names_are_computed() {
        let service = service("127.0.0.1:0").unwrap();
        let server = Server::builder().mount(Box::new(service)).bind().unwrap();
        let bound = server.bound().iter().find(|bound| bound.datagrams);
        let Listen::Inet(address) = bound.unwrap().address else { panic!("a Unix socket") };
        let running = server.start().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.connect(address).unwrap();
        let ask = |labels: &[&str], rtype: u8| {
            let mut message = b"\0\x07\0\0\0\x01\0\0\0\0\0\0".to_vec();
            for label in labels {
                message.push(label.len() as u8);
                message.extend_from_slice(label.as_bytes());
            }
            message.extend_from_slice(&[0, 0, rtype, 0, 1]);
            socket.send(&message).unwrap();
            let mut answer = [0; 512];
            let count = socket.recv(&mut answer).unwrap();
            // The response code, and what stands behind the question.
            (answer[3] & 15, answer[message.len()..count].to_vec())
        };
        let (rcode, records) = ask(&["whoami", "example", "test"], 16);
        assert!(rcode == 0 && records.ends_with(b"\x09127.0.0.1"), "{records:?}");
        let (rcode, records) = ask(&["192-0-2-7", "IP", "example", "test"], 1);
        assert!(rcode == 0 && records.ends_with(&[192, 0, 2, 7]), "{records:?}");
        assert_eq!(ask(&["192-0-2-7", "ip", "example", "test"], 28), (0, vec![]));
        assert_eq!(ask(&["nowhere", "example", "test"], 1), (3, vec![]));
        assert_eq!(ask(&["example", "org"], 1), (5, vec![]));
        running.handle().stop();
        running.join().unwrap();
    }
}
