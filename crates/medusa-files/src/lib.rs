//! A directory as a root that can't be escaped.
//!
//! A [`Root`] holds the descriptor of a directory. Every look-up goes beneath that descriptor, by
//! `openat2(RESOLVE_BENEATH)` where the kernel has it and component by component where it hasn't, so
//! that neither `..`, nor an absolute name, nor a symbolic link, nor a link swapped between a check
//! and its use can reach a file outside. What isn't a regular file or a folder (a FIFO, a socket, a
//! device) is refused without ever blocking on it.
//!
//! Names are bytes. [`VirtualPath`] normalises what a client sent as a path; it doesn't decode
//! percent signs, which is HTTP's business, nor character sets, which is nobody's.
//!
//! Every call here may wait for the disk, but [`Root::try_open`] and [`Root::try_metadata`]: those
//! answer [`Error::WouldBlock`] rather than wait for a directory that isn't cached. On an event
//! loop, try first and hand the waiting call to a pool.
//!
//! A root may be [limited](Root::limited) to so many octets of files. It deliberately doesn't know about
//! users or wire formats.

mod error;
mod file;
mod listing;
mod lookup;
mod metadata;
mod path;
mod quota;
mod root;
mod staged;

pub use error::Error;
pub use file::{Create, File, Start, Writing};
pub use listing::{Entry, Listing};
pub use lookup::{Lookup, Symlinks};
pub use metadata::{Kind, Metadata, Timestamp};
pub use path::{Above, VirtualPath};
pub use root::{Replace, Root, RootOptions, Space, descriptor_limit};
pub use staged::{Committed, StagedFile, Staging};
