//! The same canned reply from a session on the core: what the core itself costs.

use std::net::SocketAddr;

use medusa_core::config::Listen;
use medusa_core::{
    Acceptor, Cx, Frame, Framing, Limits, Peer, Server, Service, ServiceParts, Session,
};

/// What an ordinary server would say, with 13 bytes of body.
pub(crate) const REPLY: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\n\
Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, world!";

struct Canned(SocketAddr);

impl Session for Canned {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::delimited(b"\r\n\r\n", 8192));
    }

    fn received(&mut self, cx: &mut Cx<'_>, _: Frame<'_>) {
        cx.write(REPLY);
    }
}

impl Service for Canned {
    fn parts(&self) -> ServiceParts {
        let mut limits = Limits::default();
        limits.connections = None;
        limits.connections_per_peer = None;
        limits.idle = None;
        ServiceParts::new("canned").listen(Listen::Inet(self.0)).with_limits(limits)
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        let address = self.0;
        Box::new(move |_: &Peer| Box::new(Canned(address)) as Box<dyn Session>)
    }
}

/// Serves until the process is killed.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<()> {
    Ok(Server::builder().mount(Box::new(Canned(address))).bind()?.run()?)
}
