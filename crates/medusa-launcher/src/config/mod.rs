//! Reading a configuration: the text, the tree that remembers places, and what was wrong with it.

pub mod diagnostic;
pub mod document;
mod fault;
pub mod read;
pub mod tables;
