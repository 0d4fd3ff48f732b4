//! Every way we know to name a file outside of the root, by both ways of looking names up, with
//! every operation; and the same while another thread swaps the links.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use medusa_files::{
    Error, Kind, Lookup, Replace, Root, RootOptions, Staging, Symlinks, Timestamp, Writing,
};

const BOTH: [Lookup; 2] = [Lookup::Detected, Lookup::ComponentWise];

/// `outer/secret` is what must not be reached; `outer/root` is the root.
struct Place {
    outer: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let outer = tempfile::tempdir().unwrap();
        let at = |name: &str| outer.path().join(name);
        fs::create_dir_all(at("root/dir/deep")).unwrap();
        fs::create_dir_all(at("outside")).unwrap();
        fs::write(at("secret"), "secret").unwrap();
        fs::write(at("outside/secret"), "secret").unwrap();
        fs::write(at("root/inside"), "inside").unwrap();
        fs::write(at("root/dir/deep/file"), "inside").unwrap();
        Self { outer }
    }

    fn path(&self) -> PathBuf {
        self.outer.path().join("root")
    }

    fn link(&self, name: &str, target: impl AsRef<Path>) {
        symlink(target, self.path().join(name)).unwrap();
    }

    fn root(&self, lookup: Lookup, symlinks: Symlinks) -> Root {
        Root::with(self.path(), RootOptions { lookup, symlinks }).unwrap()
    }

    fn absolute(&self, name: &str) -> String {
        self.outer.path().join(name).to_str().unwrap().to_owned()
    }

    /// Links that lead out as folders do: what follows them names something outside.
    fn link_out(&self) -> Vec<String> {
        self.link("up", "..");
        self.link("up-slash", "../");
        self.link("up-dot", "./../.");
        self.link("up-through", "dir/../..");
        self.link("absolute", self.absolute(""));
        self.link("back", self.path());
        self.link("slash", "/");
        self.link("proc", "/proc/self/root");
        self.link("chain", "chain2");
        self.link("chain2", "dir/../chain3");
        self.link("chain3", "..");
        self.link("dir/up-two", "../..");
        self.link("dir/deep/up-three", "../../..");
        ["up", "up-slash", "up-dot", "up-through", "absolute", "chain", "dir/up-two"]
            .into_iter()
            .chain(["dir/deep/up-three", "dir/../up", "dir/deep/../up-two", "dir/deep/../../chain"])
            .map(str::to_owned)
            .collect()
    }
}

/// Names of the secrets outside, each reached through a folder, each proven to reach them where
/// nobody watches.
fn names(place: &Place) -> Vec<String> {
    let mut folders = place.link_out();
    let absolute = place.absolute("");
    folders.extend([absolute.clone(), format!("/{absolute}"), format!(".{absolute}/../..")]);
    folders.extend(["back/..".into(), format!("slash/{absolute}"), format!("proc/{absolute}")]);
    for depth in 0..4 {
        let down = "dir/deep/".repeat(depth.min(1)) + &"./".repeat(depth);
        let up = "../".repeat(depth.min(1) * 2 + 1);
        folders.push(format!("{down}{up}").trim_end_matches('/').to_owned());
    }
    folders.extend(["../root/..".into(), "dir/../../root/dir/../..".into(), "//..".into()]);
    let mut names = Vec::new();
    for folder in folders {
        for before in ["", "./", "dir/../", "dir//deep/../../", ".///./"] {
            for target in ["secret", "outside/secret", ".//secret", "outside/../secret"] {
                names.push(format!("{before}{folder}/{target}"));
            }
        }
    }
    names.retain(|name| {
        let unwatched = place.path().as_os_str().to_str().unwrap().to_owned() + "/" + name;
        let path = if name.starts_with('/') { name } else { &unwatched };
        fs::read(path).is_ok_and(|text| text == b"secret")
    });
    names
}

fn assert_unharmed(place: &Place) {
    let mut outside: Vec<_> = fs::read_dir(place.outer.path())
        .unwrap()
        .chain(fs::read_dir(place.outer.path().join("outside")).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    outside.sort();
    assert_eq!(outside, ["outside", "root", "secret", "secret"]);
    for secret in ["secret", "outside/secret"] {
        let secret = place.outer.path().join(secret);
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
        let metadata = fs::metadata(&secret).unwrap();
        assert_ne!(metadata.permissions().mode() & 0o777, 0o600);
        assert!(metadata.modified().unwrap() > std::time::UNIX_EPOCH);
    }
}

/// Every operation, each of which must fail.
fn attempts(root: &Root, name: &str) -> Vec<(&'static str, Result<(), Error>)> {
    let epoch = Some(Timestamp { seconds: 0, nanoseconds: 0 });
    let mut attempts = followed(root, name);
    attempts.extend([
        ("link_metadata", root.link_metadata(name).map(drop)),
        ("stage", root.stage(name, Staging::default()).map(drop)),
        ("make_folder", root.make_folder(format!("{name}-new"), 0o777)),
        ("remove_folder", root.remove_folder(name)),
        ("remove_file", root.remove_file(name)),
        ("rename from", root.rename(name, "stolen", Replace::Allowed)),
        ("rename to", root.rename("inside", name, Replace::Allowed)),
        ("rename to new", root.rename("inside", format!("{name}-new"), Replace::Refused)),
        ("set_times", root.set_times(name, epoch, epoch)),
    ]);
    attempts
}

/// The operations that follow a link at the end of a name.
fn followed(root: &Root, name: &str) -> Vec<(&'static str, Result<(), Error>)> {
    let epoch = Some(Timestamp { seconds: 0, nanoseconds: 0 });
    vec![
        ("open", root.open(name).map(drop)),
        ("try_open", root.try_open(name).map(drop)),
        ("metadata", root.metadata(name).map(drop)),
        ("try_metadata", root.try_metadata(name).map(drop)),
        ("list", root.list(name).map(drop)),
        ("subroot", root.subroot(name).map(drop)),
        ("write", root.open_for_writing(name, Writing::default()).map(drop)),
        ("set_times", root.set_times(name, epoch, epoch)),
        ("set_mode", root.set_mode(name, 0o600)),
        ("space", root.space(name).map(drop)),
    ]
}

#[test]
fn hundreds_of_names_outside_reach_nothing() {
    for lookup in BOTH {
        for symlinks in [Symlinks::Beneath, Symlinks::Refused] {
            let place = Place::new();
            let names = names(&place);
            assert!(names.len() >= 400, "{}", names.len());
            let root = place.root(lookup, symlinks);
            for name in &names {
                for (operation, result) in attempts(&root, name) {
                    let Err(error) = result else {
                        panic!("{operation} reached {name} by {lookup:?}");
                    };
                    let told = matches!(error, Error::EscapesRoot | Error::WouldBlock)
                        || (symlinks == Symlinks::Refused
                            && matches!(error, Error::SymlinkRefused));
                    assert!(told, "{operation} {name} by {lookup:?}: {error:?}");
                }
            }
            assert_unharmed(&place);
            assert_eq!(fs::read_to_string(place.path().join("inside")).unwrap(), "inside");
        }
    }
}

#[test]
fn links_at_the_end_of_a_name_are_not_followed_out() {
    for lookup in BOTH {
        let place = Place::new();
        place.link("file", "../secret");
        place.link("file-absolute", place.absolute("secret"));
        place.link("file-chain", "file");
        place.link("dir/file", "../../outside/secret");
        place.link("folder", "../outside");
        place.link("new", "../outside/new");
        place.link("fd", "/proc/self/fd/0");
        let root = place.root(lookup, Symlinks::Beneath);
        for name in ["file", "file-absolute", "file-chain", "dir/file", "folder", "new", "fd"] {
            for (operation, result) in followed(&root, name) {
                let told = matches!(result, Err(Error::EscapesRoot | Error::WouldBlock));
                assert!(told, "{operation} {name} by {lookup:?}: {result:?}");
            }
            assert_eq!(root.link_metadata(name).unwrap().kind, Kind::Symlink);
        }
        // What replaces or removes a name does so to the link.
        let mut staged = root.stage("file", Staging::default()).unwrap();
        staged.write_all(b"mine").unwrap();
        assert!(!staged.commit().unwrap().is_new);
        assert_eq!(fs::read_to_string(place.path().join("file")).unwrap(), "mine");
        root.remove_file("file-absolute").unwrap();
        root.rename("dir/file", "folder", Replace::Allowed).unwrap();
        assert_unharmed(&place);
    }
}

#[test]
fn the_root_itself_can_be_neither_removed_nor_replaced() {
    for lookup in BOTH {
        let place = Place::new();
        let root = place.root(lookup, Symlinks::Beneath);
        for name in ["", ".", "..", "/", "dir/..", "dir/../..", "./"] {
            assert!(root.remove_folder(name).is_err());
            assert!(root.remove_file(name).is_err());
            assert!(root.rename(name, "dir/new", Replace::Allowed).is_err());
            assert!(root.rename("dir", name, Replace::Allowed).is_err());
            assert!(root.stage(name, Staging::default()).is_err());
            assert!(root.make_folder(name, 0o777).is_err());
        }
        assert_unharmed(&place);
    }
}

#[test]
fn links_that_stay_inside_are_followed_or_refused_as_asked() {
    for lookup in BOTH {
        let place = Place::new();
        place.link("plain", "dir/deep/file");
        place.link("dir/deep/back", "../../inside");
        place.link("to-dir", "dir//deep/");
        place.link("dir/chain", "../to-dir/back");
        let names = ["plain", "dir/deep/back", "to-dir/file", "dir/chain", "to-dir/../deep/back"];
        let following = place.root(lookup, Symlinks::Beneath);
        let refusing = place.root(lookup, Symlinks::Refused);
        for name in names {
            let mut text = String::new();
            following.open(name).unwrap().as_std().read_to_string(&mut text).unwrap();
            assert_eq!(text, "inside", "{name}");
            assert!(matches!(refusing.open(name), Err(Error::SymlinkRefused)), "{name}");
        }
        assert!(refusing.open("dir/deep/file").is_ok());
        assert!(refusing.open("dir/../inside").is_ok());
    }
}

#[test]
fn links_in_a_circle_or_too_many_come_to_an_end() {
    for lookup in BOTH {
        let place = Place::new();
        place.link("self", "self");
        place.link("a", "dir/../b");
        place.link("b", "./a");
        for step in 0..50 {
            place.link(&format!("step{step}"), format!("step{}", step + 1));
        }
        place.link("step50", "inside");
        let root = place.root(lookup, Symlinks::Beneath);
        for name in ["self", "a", "b", "self/x", "step0"] {
            assert!(matches!(root.open(name), Err(Error::SymlinkRefused)), "{name}");
        }
        assert!(root.open("step11").is_ok(), "40 links are followed");
        assert!(root.open("step10").is_err(), "41 are not");
    }
}

#[test]
fn names_that_no_file_can_have_are_refused() {
    for lookup in BOTH {
        let place = Place::new();
        let root = place.root(lookup, Symlinks::Beneath);
        let long = "x".repeat(256);
        for name in ["inside\0", "inside\0.txt", "\0", &long, &"dir/../".repeat(600)] {
            assert!(matches!(root.open(name), Err(Error::InvalidName)), "{name:?}");
            assert!(root.stage(name, Staging::default()).is_err());
        }
    }
}

#[test]
fn a_deep_name_holds_a_bounded_number_of_descriptors() {
    let place = Place::new();
    let deep = vec!["d"; 200].join("/");
    fs::create_dir_all(place.path().join(&deep)).unwrap();
    assert!(place.root(Lookup::Detected, Symlinks::Beneath).metadata(&deep).is_ok());
    let walking = place.root(Lookup::ComponentWise, Symlinks::Beneath);
    assert!(matches!(walking.metadata(&deep), Err(Error::InvalidName)));
    assert!(walking.metadata(vec!["d"; 120].join("/")).is_ok());
}

/// Swaps two names in the root, over and over, while `look` is called.
fn while_swapping(place: &Place, one: &str, other: &str, mut look: impl FnMut()) {
    const SWAPS: usize = 20_000;
    const LOOKS: usize = 200_000;
    let (one, other) = (place.path().join(one), place.path().join(other));
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..SWAPS {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                let at = rustix::fs::CWD;
                rustix::fs::renameat_with(at, &one, at, &other, exchange).unwrap();
            }
            finished.store(true, Ordering::Release);
        });
        for _ in 0..LOOKS {
            look();
            if finished.load(Ordering::Acquire) {
                break;
            }
        }
    });
}

fn text_of(root: &Root, name: &str) -> Option<String> {
    let mut text = String::new();
    root.open(name).ok()?.as_std().read_to_string(&mut text).unwrap();
    Some(text)
}

#[test]
fn a_folder_swapped_for_a_link_out_is_never_followed() {
    for lookup in BOTH {
        let place = Place::new();
        fs::create_dir(place.path().join("flip")).unwrap();
        fs::write(place.path().join("flip/secret"), "inside").unwrap();
        place.link("flop", "../outside");
        let root = place.root(lookup, Symlinks::Beneath);
        while_swapping(&place, "flip", "flop", || {
            for name in ["flip/secret", "flop/secret", "dir/../flip/secret"] {
                assert!(text_of(&root, name).is_none_or(|text| text == "inside"));
            }
            if let Ok(staged) = root.stage("flip/new", Staging::default()) {
                staged.commit().unwrap();
            }
            let _ = root.remove_file("flop/new");
            let _ = root.set_mode("flip/secret", 0o600);
            let _ = root.make_folder("flop/folder", 0o777);
            let _ = root.remove_folder("flip/folder");
        });
        assert_unharmed(&place);
    }
}

#[test]
fn a_file_swapped_for_a_link_out_is_never_followed() {
    for lookup in BOTH {
        let place = Place::new();
        fs::write(place.path().join("flip"), "inside").unwrap();
        place.link("flop", "../secret");
        let root = place.root(lookup, Symlinks::Beneath);
        while_swapping(&place, "flip", "flop", || {
            assert!(text_of(&root, "flip").is_none_or(|text| text == "inside"));
            if let Ok(metadata) = root.metadata("flop") {
                assert_eq!(metadata.kind, Kind::File);
            }
            let writing = Writing { start: medusa_files::Start::At(6), ..Writing::default() };
            if let Ok(file) = root.open_for_writing("flip", writing) {
                assert_ne!(
                    file.metadata().inode,
                    fs::metadata(place.outer.path().join("secret")).map_or(0, |m| inode(&m))
                );
            }
            let _ = root.set_mode("flip", 0o600);
        });
        assert_unharmed(&place);
    }
}

fn inode(metadata: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[test]
fn a_folder_that_moves_away_under_a_look_up_takes_nobody_out() {
    for lookup in BOTH {
        let place = Place::new();
        fs::create_dir_all(place.path().join("dir/deep/x")).unwrap();
        fs::create_dir(place.path().join("elsewhere")).unwrap();
        let root = place.root(lookup, Symlinks::Beneath);
        while_swapping(&place, "dir/deep", "elsewhere", || {
            // Two levels down at one moment, one at the next: a `..` too many would be the root's.
            for name in ["dir/deep/x/../../../../secret", "elsewhere/x/../../../secret"] {
                assert!(text_of(&root, name).is_none());
            }
        });
        assert_unharmed(&place);
    }
}
