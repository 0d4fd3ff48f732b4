//! Every line comes back: the smallest protocol on the core.

use medusa_core::{Acceptor, Cx, Frame, Framing, Listener, Peer, Server, Service, Session};

struct Echo;

impl Session for Echo {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.expect(Framing::line(1000));
    }

    fn received(&mut self, cx: &mut Cx<'_>, line: Frame<'_>) {
        cx.write(line.bytes);
        cx.write(b"\r\n");
    }
}

impl Service for Echo {
    fn name(&self) -> &str {
        "echo"
    }

    fn listeners(&self) -> Vec<Listener> {
        vec![Listener::new("127.0.0.1:7007".parse().expect("an address"))]
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(|_: &Peer| Box::new(Echo) as Box<dyn Session>)
    }
}

fn main() -> std::io::Result<()> {
    Server::builder().mount(Box::new(Echo)).bind()?.run()
}
