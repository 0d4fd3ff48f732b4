//! Zones: how they are read, what they are in memory, and which there are.
//!
//! Nothing here opens a file or knows the time; files come through `store`, and answers are made in
//! `answer`.

mod builder;
mod fault;
mod generate;
mod index;
mod lexer;
mod model;
mod nsec3;
pub(crate) mod rdata;
mod reader;
mod set;
mod svcb;
mod text;

use crate::name::Name;

pub use builder::{Misfit, Record, ZoneBuilder};
pub use fault::Fault;
pub use lexer::Place;
pub use model::{Node, RrSet, Soa, Zone};
pub use rdata::from_message as rdata_from_message;
pub use reader::{Reading, Source, read_zone};
pub use set::{Zones, ZonesSnapshot};

pub(crate) use builder::below;
#[cfg(test)]
pub(crate) use model::LOOKS;
pub(crate) use model::{Denial, NO_NODE, NO_POINTER, RECORD_HEAD, node_flag};
pub(crate) use nsec3::Nsec3;
pub(crate) use reader::{Verify, read_verified};

#[cfg(test)]
mod tests;

/// A name as people write it: the dot at its end may be left out.
///
/// # Errors
///
/// What is wrong with it, in words.
pub fn name_from_text(text: &str) -> Result<Name, &'static str> {
    let mut wire = Vec::new();
    text::name_into(&mut wire, text.as_bytes(), Some(&[0]))?;
    Name::from_wire(&wire).map_err(|_| "not a name")
}
