//! Looking up names: what programs ask ([`Question`]), what they hear ([`Answer`]), and who answers
//! ([`Resolver`]).
//!
//! A resolver never blocks: whoever asks hands it an [`Asker`], and is sent a note with the [`Answer`].
//! Services find the one that they share in their surroundings:
//!
//! ```
//! # use std::sync::Arc;
//! # use medusa_core::BuildContext;
//! use medusa_resolver::{Fixed, Resolver};
//!
//! # let cx = BuildContext::new("smtp", "mx", ".");
//! // Who starts the services:
//! let resolver: Arc<dyn Resolver> = Arc::new(Fixed::new());
//! let cx = cx.with_shared(resolver);
//! // A plug-in that is built:
//! let found: Option<Arc<Arc<dyn Resolver>>> = cx.shared();
//! # assert!(found.is_some());
//! ```
//!
//! [`Forwarding`] asks DNS servers and remembers what they say; it works on the shards, as a service that is
//! mounted. For a DNS server that passes questions on it has a door of its own, [`Local`]. [`Fixed`] answers
//! from a table: for tests, and for programs without DNS. [`Doors`] lead to DNS servers of this process, for
//! protocols that carry messages to them.

mod asker;
mod cache;
mod counts;
mod doors;
mod engine;
mod error;
mod fixed;
mod forwarding;
mod name;
mod question;
mod records;
mod resolvers;
mod service;
mod special;
mod stored;
mod stream;
mod system;
#[cfg(test)]
mod testing;
mod upstream;
mod wire;
pub mod wire_name;

pub use asker::{Answer, Asker, Resolver};
pub use counts::{Count, Counts};
pub use doors::{Door, DoorAnswer, DoorReply, Doors, Pending, Then, Visitor};
pub use error::LookupError;
pub use fixed::Fixed;
pub use forwarding::{Forwarded, Forwarding, Local, Passed, RawQuestion, Settings};
pub use name::Name;
pub use question::{Question, RecordKind};
pub use records::{Data, Record, Records, Validation};
pub use resolvers::Resolvers;
pub use stored::Reply;
pub use upstream::{BadUpstream, Upstream};
