//! The launcher as a library.

pub mod config;
pub mod kinds;
pub mod plan;
