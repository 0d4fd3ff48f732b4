//! Zone files: the one place of this crate that opens files.
//!
//! What is in them is for `zone` to read.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

use crate::name::Name;
use crate::verify::verify;
use crate::zone::{Reading, Source, Verify, Zone, read_verified};

/// The most octets of one file.
const LARGEST: u64 = 4 << 30;

/// Reads a zone from a master file. `$INCLUDE` reaches what is in the folder of that file and below, and
/// nothing else. Blocks.
pub fn load_zone(path: &Path, apex: Option<&Name>) -> Reading {
    load_with_files(path, apex).0
}

/// The same, and warns of records that another implementation can't read, or reads as something else. It
/// takes its time, so it is for whoever looks for mistakes, not for who serves. Blocks.
pub fn check_zone(path: &Path, apex: Option<&Name>) -> Reading {
    load(path, apex, Some(verify)).0
}

/// Reads a zone, and says of which files it is made.
pub(crate) fn load_with_files(path: &Path, apex: Option<&Name>) -> (Reading, Vec<Seen>) {
    load(path, apex, None)
}

fn load(path: &Path, apex: Option<&Name>, verify: Option<Verify>) -> (Reading, Vec<Seen>) {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let shown = path.display().to_string();
    let mut files = Files { folder, first: Some(path.to_owned()), read: Vec::new() };
    let reading = read_verified(&mut files, &shown, apex, verify);
    (reading, files.read)
}

/// The files of zones that are served, to be looked at now and then.
#[derive(Debug, Default)]
pub(crate) struct ZoneFiles(Vec<ZoneFile>);

#[derive(Debug)]
struct ZoneFile {
    path: PathBuf,
    apex: Name,
    /// All files that it is made of, as they were when they were read.
    read: Vec<Seen>,
    /// The same, as they were at the last look.
    seen: Vec<Seen>,
}

/// A file, and what it looked like; none if it wasn't there.
pub(crate) type Seen = (PathBuf, Option<Stamp>);

/// What changes when a file does: its time, length and number.
pub(crate) type Stamp = (SystemTime, u64, u64);

impl ZoneFiles {
    /// Has the files of a zone that was just read looked at from now on.
    pub(crate) fn add(&mut self, path: PathBuf, apex: Name, read: Vec<Seen>) {
        self.0.push(ZoneFile { path, apex, seen: read.clone(), read });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads what has changed and stayed so since the last look, and hands it to `replace`; what is wrong
    /// is told, and the zone that was served before still is. Whether it should look again soon. Blocks.
    pub(crate) fn look(&mut self, replace: impl FnMut(Zone)) -> bool {
        self.look_at_all(false, replace)
    }

    /// The same, and whoever asks says that nobody is writing: what has changed is read at once. Blocks.
    pub(crate) fn look_now(&mut self, replace: impl FnMut(Zone)) {
        self.look_at_all(true, replace);
    }

    fn look_at_all(&mut self, is_settled: bool, mut replace: impl FnMut(Zone)) -> bool {
        let mut soon = false;
        for file in &mut self.0 {
            let stamped = |(path, _): &Seen| (path.clone(), stamp(path));
            let now: Vec<Seen> = file.read.iter().map(stamped).collect();
            if now == file.read {
                file.seen = now;
            } else if now != file.seen && !is_settled {
                // Somebody may be writing still.
                file.seen = now;
                soon = true;
            } else {
                file.read_again(&mut replace);
            }
        }
        soon
    }
}

impl ZoneFile {
    fn read_again(&mut self, replace: &mut impl FnMut(Zone)) {
        let (reading, read) = load_with_files(&self.path, Some(&self.apex));
        for warning in &reading.warnings {
            tracing::warn!("{warning}");
        }
        match reading.zone {
            Ok(zone) => {
                let serial = zone.soa().serial;
                tracing::info!(
                    serial,
                    records = zone.record_count(),
                    "{} was read again",
                    self.apex
                );
                replace(zone);
            }
            Err(faults) => {
                for fault in &faults {
                    tracing::error!("{} stays as it was: {fault}", self.apex);
                }
            }
        }
        self.seen.clone_from(&read);
        self.read = read;
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

/// Files below one folder.
struct Files {
    folder: PathBuf,
    /// What was read so far, as it was before.
    read: Vec<Seen>,
    /// The zone's own file, which may be called whatever it likes.
    first: Option<PathBuf>,
}

impl Source for Files {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let path = match self.first.take() {
            Some(first) => first,
            None => self.below(Path::new(path))?,
        };
        self.read.push((path.clone(), stamp(&path)));
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
    fn below(&mut self, path: &Path) -> Result<PathBuf, String> {
        let outside = || "is outside of the zone's folder".to_owned();
        let plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
        if !path.components().all(plain) {
            return Err(outside());
        }
        let told = |error: io::Error| format!("can't be read: {error}");
        let folder = if self.folder.as_os_str().is_empty() { Path::new(".") } else { &self.folder };
        let folder = folder.canonicalize().map_err(told)?;
        let wanted = folder.join(path);
        let path = wanted.canonicalize().map_err(|error| {
            // Once it is there it is read.
            self.read.push((wanted, None));
            told(error)
        })?;
        path.starts_with(&folder).then_some(path).ok_or_else(outside)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::zone::Zones;

    const HEAD: &str = "$TTL 60\n@ SOA ns root 1 2 3 4 5\n@ NS ns\nns A 192.0.2.2\n";

    #[test]
    fn what_has_changed_and_settled_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        write("example.test.zone", &format!("{HEAD}$INCLUDE hosts\n"));
        write("hosts", "a A 192.0.2.1\n");
        let (reading, paths) = load_with_files(&path("example.test.zone"), None);
        let zone = reading.zone.unwrap();
        let apex = zone.apex().clone();
        let mut files = ZoneFiles::default();
        files.add(path("example.test.zone"), apex.clone(), paths);
        let zones = Zones::new([Arc::new(zone)]);
        let count = || zones.named(&apex).unwrap().record_count();
        assert!(!files.look(|zone| zones.replace(zone)));
        write("hosts", "a A 192.0.2.1\nb A 192.0.2.2\n");
        assert!(files.look(|zone| zones.replace(zone)), "it may still be written");
        assert_eq!(count(), 4);
        assert!(!files.look(|zone| zones.replace(zone)));
        assert_eq!(count(), 5);
        // A bad one leaves what there is, and isn't read again and again.
        write("hosts", "a A 192.0.2.1\nb B 192.0.2.2\n");
        assert!(files.look(|zone| zones.replace(zone)));
        assert!(!files.look(|zone| zones.replace(zone)));
        assert_eq!(count(), 5);
        std::fs::remove_file(path("hosts")).unwrap();
        assert!(files.look(|zone| zones.replace(zone)) && !files.look(|zone| zones.replace(zone)));
        assert_eq!(count(), 5);
        write("hosts", "c A 192.0.2.3\n");
        assert!(files.look(|zone| zones.replace(zone)) && !files.look(|zone| zones.replace(zone)));
        assert_eq!(count(), 4);
        write("hosts", "c A 192.0.2.3\nd A 192.0.2.4\n");
        files.look_now(|zone| zones.replace(zone));
        assert_eq!(count(), 5);
        files.look_now(|_| panic!("nothing has changed"));
    }

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
