//! One event loop for any protocol: framing by terminators, replies as producers, fair shards.
//!
//! A protocol is a [`Session`] that is handed [`Frame`]s and answers through [`Cx`]; a [`Service`] makes
//! sessions; a [`Server`] runs services on one event loop per core. No protocol lives here, and no
//! session ever sees a socket.

pub mod config;
pub mod datagram;
pub mod framing;
pub mod limits;
pub mod metrics;
pub mod network;
pub mod offload;
pub mod outbox;
pub mod producer;
pub mod reply;
pub mod server;
pub mod service;
pub mod session;
pub mod tls;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

mod ancillary;
mod channel;
mod desk;
mod env;
mod mailbox;
mod parts;
mod peer_rates;
mod proxy;
mod reloads;
mod shard;
mod sys;
mod target;
mod timer;
mod transport;

pub use datagram::{
    ClientSocket, Datagram, DatagramCx, DatagramLimits, DatagramService, Failure, Sender, SocketId,
};
pub use framing::{Delimiter, Delivery, Frame, Framing, Terminator};
pub use limits::{Limits, LimitsConfig, Refusal};
pub use mailbox::{Address, Note, Remote};
pub use network::Network;
pub use offload::{Busy, Returned};
pub use outbox::{Delivered, Outbox};
pub use parts::ServiceParts;
pub use producer::{ProduceError, Produced, Producer};
pub use reloads::Reloads;
pub use reply::ReplySlot;
pub use server::Server;
pub use service::{
    Acceptor, AccessSink, BuildContext, BuildError, Complaints, Endpoint, Listener, Peer, Plugin,
    Service, ServiceNames,
};
pub use session::{Cx, Deadline, Goodbye, Listening, Reason, Session};
pub use target::Target;
pub use timer::TimerKey;
