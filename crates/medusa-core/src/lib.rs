//! One event loop for any protocol.

pub mod config;
pub mod framing;
pub mod outbox;
pub mod producer;
pub use outbox::Outbox;
pub use producer::{ProduceError, Produced, Producer};
