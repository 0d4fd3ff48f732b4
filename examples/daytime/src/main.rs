//! The Daytime Protocol (RFC 867) over TCP and UDP: one service, both kinds of socket.
//!
//! Who connects hears the time and is hung up on; who sends a datagram, whatever it holds, gets one back.

use std::time::SystemTime;

use medusa_core::config::Listen;
use medusa_core::{
    Acceptor, Cx, Datagram, DatagramCx, DatagramService, Frame, Listener, Peer, Server, Service,
    ServiceParts, Session,
};

struct Daytime {
    listen: Listen,
}

/// One line in no particular syntax, as RFC 867 has it; ours is the date of HTTP.
fn line(now: SystemTime) -> String {
    format!("{}\r\n", httpdate::fmt_http_date(now))
}

/// A connection.
struct Told;

impl Session for Told {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.write(line(cx.wall_clock()).as_bytes());
        cx.close();
    }

    fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {
        // Whatever the client says is thrown away.
    }
}

/// One shard's datagrams.
struct Asked;

impl DatagramService for Asked {
    fn received(&mut self, cx: &mut DatagramCx<'_>, datagram: Datagram<'_>) {
        // Two servers that answer any datagram would talk for ever once somebody forged the first one
        // (CERT CA-1996-01). Clients don't ask from a service's port.
        if datagram.sender.remote().port() < 1024 {
            return;
        }
        let line = line(cx.wall_clock());
        cx.reply(datagram.sender, |out| out.extend_from_slice(line.as_bytes()));
    }
}

impl Service for Daytime {
    fn parts(&self) -> ServiceParts {
        ServiceParts::new("daytime").listen(self.listen.clone())
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(|_: &Peer| Box::new(Told) as Box<dyn Session>)
    }

    fn datagram_listeners(&self) -> Vec<Listener> {
        vec![Listener::new(self.listen.clone())]
    }

    fn datagram_service(&self) -> Option<Box<dyn DatagramService>> {
        Some(Box::new(Asked))
    }
}

fn main() -> std::io::Result<()> {
    let listen = "127.0.0.1:1313".parse().expect("an address");
    Server::builder().mount(Box::new(Daytime { listen })).bind()?.run()
}

#[cfg(test)]
mod tests {
    use super::*;
    use medusa_core::testing::{Client, Datagrams};
    use std::io::Read;
    use std::net::{SocketAddr, TcpStream, UdpSocket};
    use std::time::Duration;

    const TOLD: &str = "Sun, 09 Sep 2001 01:46:40 GMT\r\n";

    #[test]
    fn a_connection_hears_the_time_and_is_closed() {
        let mut client = Client::new(Told);
        assert_eq!(client.text(), TOLD);
        assert!(client.is_closed());
    }

    #[test]
    fn a_datagram_is_answered_whatever_it_holds() {
        let mut datagrams = Datagrams::new(Asked);
        let client = SocketAddr::from(([192, 0, 2, 1], 4000));
        for bytes in ["", "what time is it?"] {
            let sent = datagrams.receive(client, bytes).sent();
            assert_eq!((sent.len(), sent[0].to, sent[0].text()), (1, client, TOLD.to_owned()));
        }
    }

    #[test]
    fn another_server_is_not_answered() {
        let mut datagrams = Datagrams::new(Asked);
        for port in [7, 13, 19, 53] {
            let server = SocketAddr::from(([192, 0, 2, 1], port));
            assert_eq!(datagrams.receive(server, TOLD).sent(), []);
        }
    }

    #[test]
    fn one_service_serves_both() {
        let listen = "127.0.0.1:0".parse().unwrap();
        let server =
            Server::builder().shards(2).mount(Box::new(Daytime { listen })).bind().unwrap();
        let address = |datagrams| {
            let bound = server.bound().iter().find(|bound| bound.datagrams == datagrams);
            let Listen::Inet(address) = bound.unwrap().address else { panic!("a Unix socket") };
            address
        };
        let (stream, datagrams) = (address(false), address(true));
        let running = server.start().unwrap();

        let mut told = String::new();
        let mut stream = TcpStream::connect(stream).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.read_to_string(&mut told).unwrap();
        assert!(told.ends_with(" GMT\r\n"), "{told}");

        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        socket.connect(datagrams).unwrap();
        socket.send(b"").unwrap();
        let mut answer = [0; 100];
        let count = socket.recv(&mut answer).unwrap();
        assert!(answer[..count].ends_with(b" GMT\r\n"));

        running.handle().stop();
        running.join().unwrap();
    }
}
