//! Reading a configuration: the text, the tree that remembers places, and what was wrong with it.

pub(crate) mod diagnostic;
pub(crate) mod document;
mod fault;
pub(crate) mod own;
pub(crate) mod read;
pub(crate) mod tables;
