//! Zone files: the one place of this crate that opens files.
//!
//! What is in them is for `zone` to read.

use std::io;
use std::path::{Component, Path, PathBuf};

use crate::name::Name;
use crate::zone::{Reading, Source, read_zone};

/// The most octets of one file.
const LARGEST: u64 = 4 << 30;

/// Reads a zone from a master file. `$INCLUDE` reaches what is in the folder of that file and below, and
/// nothing else. Blocks.
pub fn load_zone(path: &Path, apex: Option<&Name>) -> Reading {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let shown = path.display().to_string();
    let mut files = Files { folder, first: Some(path.to_owned()) };
    read_zone(&mut files, &shown, apex)
}

/// Files below one folder.
struct Files {
    folder: PathBuf,
    /// The zone's own file, which may be called whatever it likes.
    first: Option<PathBuf>,
}

impl Source for Files {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let path = match self.first.take() {
            Some(first) => first,
            None => self.below(Path::new(path))?,
        };
        let told = |error: io::Error| format!("can't be read: {error}");
        let size = std::fs::metadata(&path).map_err(told)?.len();
        if size > LARGEST {
            return Err("is larger than 4 GiB".into());
        }
        std::fs::read(&path).map_err(told)
    }
}

impl Files {
    /// A file below the folder, also when links are followed.
    fn below(&self, path: &Path) -> Result<PathBuf, String> {
        let outside = || "is outside of the zone's folder".to_owned();
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if !path.components().all(plain) {
            return Err(outside());
        }
        let told = |error: io::Error| format!("can't be read: {error}");
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        let folder = folder.canonicalize().map_err(told)?;
        let path = folder.join(path).canonicalize().map_err(told)?;
        path.starts_with(&folder).then_some(path).ok_or_else(outside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_stay_in_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(path("zones/parts")).unwrap();
        std::fs::write(path("secret"), "s 60 A 192.0.2.9\n").unwrap();
        std::fs::write(path("zones/parts/hosts"), "www A 192.0.2.1\n").unwrap();
        std::os::unix::fs::symlink(path("secret"), path("zones/link")).unwrap();
        let zone = |included: &str| {
            let text = format!(
                "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.2\n$INCLUDE {included}\n"
            );
            std::fs::write(path("zones/example.test.zone"), text).unwrap();
            load_zone(&path("zones/example.test.zone"), None).zone
        };
        let sound = zone("parts/hosts").unwrap();
        assert_eq!(sound.apex().to_string(), "example.test.");
        assert_eq!(sound.record_count(), 4);
        for outside in ["../secret", "link", "/etc/hostname", "parts/../../secret"] {
            let faults = zone(outside).unwrap_err();
            let told = faults[0].to_string();
            assert!(told.contains("outside") && told.contains(":5:10:"), "{told}");
        }
        assert!(zone("missing").unwrap_err()[0].message.contains("can't be read"));
        assert!(load_zone(&path("none.zone"), None).zone.is_err());
    }
}
