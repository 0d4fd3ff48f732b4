//! The launcher as a library.

pub mod config;
