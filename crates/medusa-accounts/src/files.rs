//! What an account may do with files, and how much of everything: as the users file says it.
//!
//! Nothing is enforced here; that is done by whoever serves files.

use medusa_core::config::{Rate, Size};
use serde::Deserialize;

/// One thing that may be done with files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileRight {
    /// See what there is.
    List,
    /// Fetch files.
    Read,
    /// Send new files and make folders.
    Write,
    /// Remove, replace and rename.
    Delete,
}

/// What an account may do with files. `None` is everything, and no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileAccess {
    /// What it may do.
    pub rights: Option<Vec<FileRight>>,
    /// Octets that its folder may hold.
    pub quota: Option<Size>,
    /// Octets a second that it may send, in all its transfers together.
    pub upload_rate: Option<Rate>,
    /// Octets a second that it may fetch, in all its transfers together.
    pub download_rate: Option<Rate>,
}
