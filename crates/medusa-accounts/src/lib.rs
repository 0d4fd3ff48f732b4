//! Users, password hashes, and the delays that failed logins earn: what the protocols that know
//! logins share.
//!
//! - [`Users`] is the users file as serde reads it, [`Directory`] what it becomes when it is found
//!   good, [`Accounts`] the [`Authenticate`] that answers from it.
//! - [`Authenticate`] is the door for a program that keeps its accounts elsewhere.
//! - [`StoredHash`] (argon2id) and [`ScramKeys`] are what is kept of a password.
//!
//! It opens no file, parses no TOML and reads no clock. What blocks says so, and belongs into the
//! offload pool.

mod accounts;
mod address;
mod authenticate;
mod error;
mod hash;
mod keys;
mod secret;
mod throttle;
mod users;
mod verified;

pub use accounts::Accounts;
pub use address::MailAddress;
pub use authenticate::{Attempt, Authenticate, Credentials, Identity, Refusal, ScramRecord, Told};
pub use error::{Error, KeyPath, KeyStep};
pub use hash::{HashCost, StoredHash};
pub use keys::{InventedKeys, SCRAM_ITERATIONS, ScramKeys};
pub use secret::{PASSWORD_OCTETS, Password};
pub use throttle::{Admission, Ban, Outcome, Throttle, ThrottleLimits, network};
pub use users::{Directory, Recipient, User, Users, check_name};
pub use verified::REMEMBERED;
