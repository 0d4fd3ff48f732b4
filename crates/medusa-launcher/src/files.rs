//! Files that a configuration names: where they are, who may read them, whether they have changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Tells that a file has changed; `None` for one that can't be looked at.
pub(crate) type Stamp = Option<(u64, u64, i64, i64)>;

/// A path of a configuration in this folder, as it is best shown: nobody has written the `./` that
/// joining would put before the name of a file beside the configuration.
pub(crate) fn in_folder(folder: &Path, path: &Path) -> PathBuf {
    if folder == Path::new(".") { path.to_owned() } else { folder.join(path) }
}

/// Whether users who have nothing to do with a file can read it.
pub(crate) fn readable_by_anybody(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.mode() & 0o004 != 0)
}

/// Inode, length and time of modification.
pub(crate) fn stamp(path: &Path) -> Stamp {
    let file = fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.mtime(), file.mtime_nsec()))
}
