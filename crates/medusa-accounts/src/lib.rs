//! Users, password hashes, and the delays that failed logins earn: what the protocols that know
//! logins share.
//!
//! - [`Users`] is the users file as serde reads it, [`Directory`] what it becomes when it is found
//!   good, [`Accounts`] the [`Authenticate`] that answers from it.
//! - [`Authenticate`] is the door for a program that keeps its accounts elsewhere.
//! - [`Logins`] is what a protocol talks to: it asks an [`Authenticate`] and counts failures in one
//!   [`Throttle`] for all services.
//! - [`sasl`] and [`basic`] turn what a client sends into a [`Question`], and the [`Answer`] into
//!   what it is told.
//! - [`StoredHash`] (argon2id) and [`ScramKeys`] are what is kept of a password.
//!
//! Accounts that are kept elsewhere:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use medusa_accounts::*;
//!
//! /// Everybody's password is their name, backwards.
//! struct Backwards;
//!
//! impl Authenticate for Backwards {
//!     fn authenticate(&self, attempt: &Attempt, password: &Password) -> Result<Identity, Denial> {
//!         match attempt.name.chars().eq(password.reveal().chars().rev()) {
//!             true => Ok(Identity::new(&attempt.name).with_files("/srv/files")),
//!             false => Err(Denial::Credentials),
//!         }
//!     }
//! }
//!
//! let logins = Logins::new(Arc::new(Backwards), ThrottleLimits::default());
//! let origin = Origin { service: "ftp.files".into(), peer: Some([192, 0, 2, 1].into()) };
//! let credentials = basic::parse(b"Basic em9lOmVveg==").unwrap();
//! let question = Question::Password(credentials);
//! // A session says `logins.ask` instead, which doesn't block.
//! let Begun::Pending(login) = logins.begin(&origin, question, Instant::now()) else { panic!() };
//! assert_eq!(login.run().verdict().unwrap().name(), "zoe");
//! ```
//!
//! It opens no file, parses no TOML and reads no clock. What blocks says so, and belongs into the
//! offload pool; [`Logins::ask`] brings it there.

pub mod basic;
pub mod sasl;

mod accounts;
mod address;
mod ask;
mod authenticate;
mod directory;
mod error;
mod files;
mod hash;
mod keys;
mod logins;
mod plaintext;
mod secret;
mod throttle;
mod users;
mod verified;

pub use accounts::Accounts;
pub use address::MailAddress;
pub use ask::{Asked, Then, Waiting};
pub use authenticate::{Attempt, Authenticate, Credentials, Denial, Identity, ScramRecord, Told};
pub use directory::{Directory, Recipient};
pub use error::{Error, KeyPath, KeyStep};
pub use files::{FileAccess, FileRight};
pub use hash::{HashCost, StoredHash};
pub use keys::{InventedKeys, SCRAM_ITERATIONS, ScramKeys};
pub use logins::{Answer, Begun, Logins, Origin, PendingLogin, Question, Ticket, Verdict};
pub use plaintext::PlaintextLogin;
pub use secret::{PASSWORD_OCTETS, Password};
pub use throttle::{Admission, Ban, Outcome, Throttle, ThrottleLimits, network};
pub use users::{User, Users, check_name, same_name};
pub use verified::REMEMBERED;
