//! Who may connect to a passive port (RFC 2577 §4): the control connection's peer, and not too often. Which
//! of its connections counts is the control connection's to judge.

use std::net::IpAddr;

use medusa_core::{Acceptor, Cx, Frame, Peer, Remote, Session};

use super::{DataSession, Event, Name, report};

/// After so many connections a port is closed, whether one of them is right or not.
const CROWD: u32 = 8;

/// Takes the data connections of one passive listener: those of the control connection's peer.
pub(crate) struct DataAcceptor {
    pub(crate) control: Remote,
    /// The next connection's name.
    pub(crate) next: Name,
    pub(crate) peer: Option<IpAddr>,
}

impl Acceptor for DataAcceptor {
    fn accepted(&mut self, peer: &Peer) -> Box<dyn Session> {
        match peer.remote.ip() == self.peer {
            true => {
                let name = self.next;
                self.next.index += 1;
                if name.index + 1 == CROWD {
                    report(&self.control, name, Event::Crowded);
                }
                Box::new(DataSession::new(self.control.clone(), name))
            }
            false => {
                tracing::info!(peer = %peer.remote, "a data connection of another host is refused");
                Box::new(Stranger)
            }
        }
    }
}

/// Somebody else at a data port (RFC 2577 §4). It doesn't take the place of the right one.
struct Stranger;

impl Session for Stranger {
    fn opened(&mut self, cx: &mut Cx<'_>) {
        cx.abort();
    }

    fn received(&mut self, _: &mut Cx<'_>, _: Frame<'_>) {}
}
