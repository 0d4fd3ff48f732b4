//! Zones as a whole: to those who may have them, from those who have them first, and changed by message.
//!
//! | room | what lives there |
//! | --- | --- |
//! | `tsig` | signatures over messages (pure) |
//! | `message` | messages of many records: read and packed (pure) |
//! | `delta` | what has changed from one version of a zone to the next (pure) |
//! | `outgoing`, `incoming` | AXFR and IXFR, from both sides (pure) |
//! | `update` | what an UPDATE requires and changes (pure) |
//! | `journal` | changes as octets that last (pure) |
//! | `config` | what the configuration says of all this |
//! | `secondary`, `notice` | when a primary is asked, and others are told (pure) |
//! | `catalog` | the zones that a zone lists (pure) |
//! | `keeper`, `fetch` | those who ask and tell, on one shard |
//! | `desk` | who may ask for what, and how it is answered |
//! | `store` | the files of journals and of zones that came from a primary |

mod catalog;
mod config;
pub(crate) mod delta;
pub(crate) mod desk;
mod fetch;
pub(crate) mod incoming;
mod journal;
pub(crate) mod keeper;
pub(crate) mod message;
mod notice;
pub(crate) mod outgoing;
mod secondary;
mod store;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod tsig;
mod update;

pub(crate) use config::{KeyConfig, ServerAddress, kept, keys};
pub(crate) use desk::{Asked, Desk, Handled, Kept, concerns, truncated};
pub(crate) use tsig::Keys;
