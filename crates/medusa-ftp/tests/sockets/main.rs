//! FTP over real sockets on loopback, from a folder on the disk.
#![allow(clippy::unwrap_used, reason = "a test panics where something is not as expected")]

mod descriptors;
mod disk;
mod fixture;
mod outside;
mod pool;
mod secured;
