//! An FTP and FTPS server for `medusa-core`: RFC 959 with what came after it, over any [`Storage`].
//!
//! - [`FtpService`] is what a program mounts, [`Ftp`] what the launcher does.
//! - [`Storage`] is what is served: [`Disk`] is a folder that can't be left, [`Memory`] is gone with the
//!   process, and a program may bring another.
//! - `commands.rs` is the table of all commands, `session/` does them, `data.rs` is the other connection.
//!
//! The sessions are pure: they see lines, notes and timers, and bring blocking work to the offload pool.
//! No client lives here.
//!
//! ```
//! use medusa_ftp::{FtpService, Memory, Rights, Visit, Visitor};
//! # fn main() -> Result<(), medusa_ftp::Error> {
//! let files = Memory::new(1 << 20);
//! files.insert("hello.txt", "Hello, world!\n")?;
//! let service = FtpService::builder("ftp.demo", move |_: Visitor<'_>| {
//!     Ok(Visit::new(files.clone(), Rights::READ))
//! })
//! .anonymous(true)
//! .build();
//! # let _ = service;
//! # Ok(())
//! # }
//! ```

mod access;
mod commands;
mod data;
mod error;
mod home;
mod homes;
mod listing;
mod pace;
mod passive;
mod pattern;
mod plugin;
mod service;
mod session;
mod storage;
mod stream;
mod telnet;
mod time;

pub use error::Error;
pub use home::{Folder, Rights, Visit, Visitor};
pub use medusa_files::{Timestamp, VirtualPath};
pub use pace::Meter;
pub use passive::PortRange;
pub use plugin::{Ftp, FtpConfig};
pub use service::{FtpBuilder, FtpService};
pub use storage::{
    Content, Disk, Ending, Entries, Entry, Info, Memory, ReadAt, Start, Storage, Upload, Uploads,
};
