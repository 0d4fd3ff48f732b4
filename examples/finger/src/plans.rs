//! The plans on disk: a folder with a file for each user. Everything here may block, so sessions call it
//! through `offload`.

use std::io::Read;
use std::path::Path;

use medusa_files::{Error, Root};

/// The most that is shown of one plan.
const MOST_SHOWN: u64 = 64 << 10;

/// The most users that are listed.
const MOST_USERS: usize = 1000;

/// A folder with a file for each user.
#[derive(Debug)]
pub struct Plans {
    root: Root,
}

impl Plans {
    /// Opens the folder.
    ///
    /// # Errors
    ///
    /// If it isn't one that can be opened.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        Root::new(folder).map(|root| Self { root })
    }

    /// Everybody, by name and by the first line of their plan.
    pub(crate) fn everybody(&self, at_length: bool) -> Result<String, Error> {
        let mut names = Vec::new();
        for entry in self.root.list("")? {
            let name = entry?.name;
            if let Ok(name) = String::from_utf8(name)
                && !name.starts_with('.')
            {
                names.push(name);
            }
            if names.len() == MOST_USERS {
                break;
            }
        }
        names.sort_unstable();
        let mut shown = String::new();
        for name in names {
            // Somebody may leave while we look.
            let Ok(plan) = self.plan(&name) else { continue };
            match at_length {
                true => shown.push_str(&format!("{name}\n{plan}\n")),
                false => shown
                    .push_str(&format!("{name:<16} {}\n", plan.lines().next().unwrap_or_default())),
            }
        }
        Ok(shown)
    }

    /// One user's plan; its first line only unless `at_length`.
    pub(crate) fn one(&self, name: &str, at_length: bool) -> Result<String, Error> {
        let plan = self.plan(name)?;
        Ok(match at_length {
            true => plan,
            false => plan.lines().next().unwrap_or_default().to_owned(),
        })
    }

    fn plan(&self, name: &str) -> Result<String, Error> {
        let file = self.root.open(name)?;
        let mut octets = Vec::new();
        file.as_std().take(MOST_SHOWN).read_to_end(&mut octets).map_err(Error::from_io)?;
        Ok(String::from_utf8_lossy(&octets).into_owned())
    }
}
