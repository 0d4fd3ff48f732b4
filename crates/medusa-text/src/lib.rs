//! What line protocols share: the table of commands, and the two families of replies.
//!
//! - [`Table`] finds the [`Row`] of a command line and says what is wrong with it: an unknown verb, a
//!   state in which it isn't allowed, an argument too many or too few.
//! - [`code`] writes three-digit replies (SMTP, FTP), [`status`] writes `+OK` and `-ERR` (POP3).
//!
//! [`log`] has the dates of access logs.
//!
//! It is pure and knows no protocol: no verb, no code and no socket lives here, and it reads no
//! argument beyond telling that there is one.

pub mod code;
pub mod log;
pub mod status;

mod line;
mod table;

pub use line::Line;
pub use table::{Arguments, Mismatch, Row, States, Table};
