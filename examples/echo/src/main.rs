//! Every line comes back: the smallest protocol on the core.

use medusa_core::{Cx, Frame, Framing, Peer, Server, ServiceParts, Session};

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

fn main() -> std::io::Result<()> {
    let parts = ServiceParts::new("echo").listen("127.0.0.1:7007".parse().expect("an address"));
    let echo = parts.serve(|| |_: &Peer| Box::new(Echo) as Box<dyn Session>);
    Server::builder().mount(echo).bind()?.run()
}
