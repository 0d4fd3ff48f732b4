//! medusa-core

pub mod config;
