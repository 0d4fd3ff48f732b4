//! What is known of a file without reading it.
//!
//! Plain values, copied from `fstat`; nothing here touches the disk but [`Metadata::of`].

use std::os::fd::AsFd;
use std::time::{Duration, SystemTime};

use rustix::fs::{FileType, Stat};

use crate::Error;

/// A moment as the file system keeps it: seconds since 1970 and nanoseconds, as it stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z; negative before.
    pub seconds: i64,
    /// Nanoseconds within the second, always counted forward.
    pub nanoseconds: u32,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link, where it was asked about itself.
    Symlink,
    /// A FIFO, a socket or a device.
    Other,
}

/// What is known of a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: Kind,
    /// Length in bytes.
    pub len: u64,
    /// When the content was last changed.
    pub modified: Timestamp,
    /// When the content or anything else about the file was last changed; it can't be set.
    pub changed: Timestamp,
    /// The number that names the file on its device.
    pub inode: u64,
    /// The device.
    pub device: u64,
    /// The permission bits, with set-user-id and its like: the lower twelve.
    pub mode: u32,
    /// How many names it has.
    pub links: u64,
    /// The owner's number.
    pub owner: u32,
    /// The group's number.
    pub group: u32,
}

impl Metadata {
    /// Asks about an open file.
    pub fn of(descriptor: impl AsFd) -> Result<Self, Error> {
        Ok(Self::from_stat(&rustix::fs::fstat(descriptor)?))
    }

    /// Whether it is a folder.
    #[must_use]
    pub fn is_folder(&self) -> bool {
        self.kind == Kind::Folder
    }

    /// Whether this can be taken for the same content as `other`: the same file, unchanged.
    ///
    /// The time of change is compared as well as the time of modification, because a writer can
    /// set the latter back.
    #[must_use]
    pub fn is_unchanged_from(&self, other: &Self) -> bool {
        (self.device, self.inode, self.len, self.modified, self.changed)
            == (other.device, other.inode, other.len, other.modified, other.changed)
    }

    // The fields differ in width from one architecture to the next.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    pub(crate) fn from_stat(stat: &Stat) -> Self {
        Self {
            kind: match FileType::from_raw_mode(stat.st_mode as _) {
                FileType::RegularFile => Kind::File,
                FileType::Directory => Kind::Folder,
                FileType::Symlink => Kind::Symlink,
                _ => Kind::Other,
            },
            len: u64::try_from(stat.st_size).unwrap_or(0),
            modified: Timestamp {
                seconds: stat.st_mtime as i64,
                nanoseconds: stat.st_mtime_nsec as u32,
            },
            changed: Timestamp {
                seconds: stat.st_ctime as i64,
                nanoseconds: stat.st_ctime_nsec as u32,
            },
            inode: stat.st_ino as u64,
            device: stat.st_dev as u64,
            mode: stat.st_mode as u32 & 0o7777,
            links: stat.st_nlink as u64,
            owner: stat.st_uid as u32,
            group: stat.st_gid as u32,
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(timestamp: Timestamp) -> Self {
        let whole = Duration::from_secs(timestamp.seconds.unsigned_abs());
        let start = if timestamp.seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(whole)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(whole)
        };
        start
            .and_then(|start| start.checked_add(Duration::from_nanos(timestamp.nanoseconds.into())))
            .unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Self {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanoseconds: after.subsec_nanos(),
            },
            Err(before) => {
                let before = before.duration();
                let seconds = i64::try_from(before.as_secs()).unwrap_or(i64::MAX);
                match before.subsec_nanos() {
                    0 => Self { seconds: -seconds, nanoseconds: 0 },
                    nanoseconds => {
                        Self { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_survive_both_ways_also_before_1970() {
        for (seconds, nanoseconds) in [(0, 0), (1, 5), (-1, 0), (-1, 999_999_999), (1 << 40, 7)] {
            let timestamp = Timestamp { seconds, nanoseconds };
            assert_eq!(Timestamp::from(SystemTime::from(timestamp)), timestamp);
        }
    }
}
