//! What each operation does to the files it may reach, by both ways of looking names up.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use medusa_files::{
    Create, Error, Kind, Lookup, Metadata, Replace, Root, RootOptions, StagedFile, Staging, Start,
    Timestamp, Writing,
};

/// Runs a test in a fresh folder for each way of looking names up.
fn each(test: impl Fn(&Root, &std::path::Path)) {
    for lookup in [Lookup::Detected, Lookup::ComponentWise] {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::with(folder.path(), RootOptions { lookup, ..RootOptions::default() });
        test(&root.unwrap(), folder.path());
    }
}

fn leftovers(folder: &std::path::Path) -> usize {
    fs::read_dir(folder)
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.as_encoded_bytes().starts_with(StagedFile::PREFIX)
        })
        .count()
}

#[test]
fn what_is_missing_or_in_the_way_is_told_apart() {
    each(|root, folder| {
        fs::create_dir(folder.join("folder")).unwrap();
        fs::write(folder.join("file"), "x").unwrap();
        assert!(matches!(root.open("nothing"), Err(Error::NotFound)));
        assert!(matches!(root.open("nothing/at/all"), Err(Error::NotFound)));
        assert!(matches!(root.open("folder"), Err(Error::IsAFolder)));
        assert!(matches!(root.open(""), Err(Error::IsAFolder)));
        assert!(matches!(root.open("file/"), Err(Error::NotAFolder)));
        assert!(matches!(root.open("file/x"), Err(Error::NotAFolder)));
        assert!(matches!(root.list("file"), Err(Error::NotAFolder)));
        assert!(matches!(root.make_folder("file", 0o777), Err(Error::Exists)));
        assert!(matches!(root.remove_folder("file"), Err(Error::NotAFolder)));
        assert!(matches!(root.remove_file("folder"), Err(Error::IsAFolder)));
        assert!(matches!(root.remove_file("nothing"), Err(Error::NotFound)));
        fs::write(folder.join("folder/file"), "x").unwrap();
        assert!(matches!(root.remove_folder("folder"), Err(Error::NotEmpty)));
        let metadata = root.metadata("folder/file").unwrap();
        assert_eq!((metadata.kind, metadata.len), (Kind::File, 1));
        assert_eq!(&metadata, root.open("folder/file").unwrap().metadata());
        assert!(root.metadata("").unwrap().is_folder());
        assert!(Root::new(folder.join("file")).is_err());
    });
}

#[test]
fn what_is_no_file_neither_blocks_nor_opens() {
    each(|root, folder| {
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, folder.join("fifo"), fifo, mode, 0).unwrap();
        let _socket = UnixListener::bind(folder.join("socket")).unwrap();
        for name in ["fifo", "socket"] {
            assert!(matches!(root.open(name), Err(Error::NotRegular)), "{name}");
            let writing = Writing::default();
            assert!(matches!(root.open_for_writing(name, writing), Err(Error::NotRegular)));
            let staging = Staging::default();
            assert!(matches!(root.stage(name, staging), Err(Error::NotRegular)));
            assert!(matches!(root.set_mode(name, 0o600), Err(Error::NotRegular)));
            assert!(matches!(root.set_times(name, None, None), Err(Error::NotRegular)));
            assert_eq!(root.metadata(name).unwrap().kind, Kind::Other);
        }
    });
    // A FIFO with a reader opens for writing, and is refused all the same.
    each(|root, folder| {
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        let path = folder.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NONBLOCK;
        let _reader = rustix::fs::open(&path, flags, mode).unwrap();
        let writing = Writing::default();
        assert!(matches!(root.open_for_writing("fifo", writing), Err(Error::NotRegular)));
    });
    let devices = Root::new("/dev").unwrap();
    assert!(matches!(devices.open("null"), Err(Error::NotRegular)));
    assert!(matches!(devices.open_for_writing("full", Writing::default()), Err(Error::NotRegular)));
}

#[test]
fn a_staged_file_appears_whole_or_not_at_all() {
    each(|root, folder| {
        let mut staged = root.stage("new", Staging::default()).unwrap();
        staged.write_all(b"half").unwrap();
        assert!(!folder.join("new").exists());
        drop(staged);
        assert_eq!(leftovers(folder), 0);
        assert!(!folder.join("new").exists());

        let sync = Staging { sync: true, mode: 0o640, ..Staging::default() };
        let mut staged = root.stage("new", sync).unwrap();
        staged.require_space(1).unwrap();
        staged.write_all(b"whole").unwrap();
        let committed = staged.commit().unwrap();
        assert!(committed.is_new);
        assert_eq!(committed.metadata.len, 5);
        assert_eq!(committed.metadata.mode & !0o640, 0);
        assert_eq!(committed.metadata, root.metadata("new").unwrap());

        let mut staged = root.stage("new", Staging::default()).unwrap();
        staged.write_all(b"other").unwrap();
        assert!(!staged.commit().unwrap().is_new);
        assert_eq!(fs::read(folder.join("new")).unwrap(), b"other");
        assert_eq!(leftovers(folder), 0);
    });
}

#[test]
fn a_staged_file_may_have_to_be_new() {
    each(|root, folder| {
        let create = Staging { replace: Replace::Refused, ..Staging::default() };
        let first = root.stage("new", create).unwrap();
        let second = root.stage("new", create).unwrap();
        assert!(first.commit().unwrap().is_new);
        assert!(matches!(second.commit(), Err(Error::Exists)));
        assert!(matches!(root.stage("new", create), Err(Error::Exists)));
        fs::create_dir(folder.join("folder")).unwrap();
        assert!(matches!(root.stage("folder", create), Err(Error::IsAFolder)));
        assert_eq!(leftovers(folder), 0);
    });
}

#[test]
fn a_broken_upload_may_be_kept_under_another_name() {
    each(|root, folder| {
        let longest = "n".repeat(255);
        let mut staged = root.stage(&longest, Staging::default()).unwrap();
        staged.write_all(b"half").unwrap();
        staged.commit_as(b"part").unwrap();
        assert_eq!(fs::read(folder.join("part")).unwrap(), b"half");
        for name in ["", "..", "a/b", "a\0b"] {
            let staged = root.stage("x", Staging::default()).unwrap();
            assert!(matches!(staged.commit_as(name.as_bytes()), Err(Error::InvalidName)));
        }
        assert_eq!(leftovers(folder), 0);
    });
}

#[test]
fn more_than_the_disk_holds_is_learnt_before_the_first_byte() {
    each(|root, folder| {
        let staged = root.stage("new", Staging::default()).unwrap();
        let space = root.space("").unwrap();
        assert!(space.available <= space.total && space.total > 0);
        let more = staged.require_space(space.total + 1);
        assert!(matches!(more, Err(Error::NoSpace)), "{more:?}");
        drop(staged);
        assert_eq!(leftovers(folder), 0);
    });
}

#[test]
fn a_file_is_written_in_place_from_where_it_was_asked() {
    type Row = (Create, Start, Option<&'static str>, Result<&'static str, &'static str>);
    let table: &[Row] = &[
        (Create::IfMissing, Start::Empty, None, Ok("new")),
        (Create::IfMissing, Start::Empty, Some("old text"), Ok("new")),
        (Create::IfMissing, Start::At(4), Some("old text"), Ok("old new")),
        (Create::IfMissing, Start::At(8), Some("old text"), Ok("old textnew")),
        (Create::IfMissing, Start::At(9), Some("old text"), Err("BeyondEnd")),
        (Create::IfMissing, Start::At(1), None, Err("NotFound")),
        (Create::IfMissing, Start::At(0), None, Ok("new")),
        (Create::Always, Start::At(1), None, Err("BeyondEnd")),
        (Create::IfMissing, Start::End, Some("old text"), Ok("old textnew")),
        (Create::Never, Start::End, None, Err("NotFound")),
        (Create::Never, Start::End, Some("a"), Ok("anew")),
        (Create::Always, Start::Empty, Some("a"), Err("Exists")),
        (Create::Always, Start::Empty, None, Ok("new")),
    ];
    each(|root, folder| {
        for &(create, start, before, expected) in table {
            let path = folder.join("file");
            let _ = fs::remove_file(&path);
            if let Some(before) = before {
                fs::write(&path, before).unwrap();
            }
            let opened = root.open_for_writing("file", Writing { create, start, mode: 0o644 });
            match expected {
                Ok(text) => {
                    opened.unwrap().into_std().write_all(b"new").unwrap();
                    assert_eq!(fs::read_to_string(&path).unwrap(), text);
                }
                Err(error) => {
                    assert_eq!(format!("{:?}", opened.unwrap_err()), error);
                    assert_eq!(path.exists(), before.is_some());
                }
            }
        }
    });
}

#[test]
fn names_are_changed_and_bytes_kept() {
    each(|root, folder| {
        let odd: &[u8] = b"\xff\r\n\"%00 \x07";
        root.stage(odd, Staging::default()).unwrap().commit().unwrap();
        root.make_folder("folder", 0o755).unwrap();
        root.rename(odd, b"folder/other", Replace::Refused).unwrap();
        root.rename("folder/other", odd, Replace::Allowed).unwrap();
        fs::write(folder.join("taken"), "taken").unwrap();
        assert!(matches!(root.rename(odd, "taken", Replace::Refused), Err(Error::Exists)));
        let into_itself = root.rename("folder", "folder/in", Replace::Allowed);
        assert!(matches!(into_itself, Err(Error::NotPermitted)));
        root.rename(odd, "taken", Replace::Allowed).unwrap();
        assert_eq!(fs::read(folder.join("taken")).unwrap(), b"");
        root.remove_folder("folder/").unwrap();
    });
}

#[test]
fn times_and_modes_are_set() {
    each(|root, folder| {
        fs::write(folder.join("file"), "x").unwrap();
        let read = Timestamp { seconds: 5, nanoseconds: 6 };
        let modified = Timestamp { seconds: 1_700_000_000, nanoseconds: 123_456_789 };
        root.set_times("file", Some(read), Some(modified)).unwrap();
        assert_eq!(root.metadata("file").unwrap().modified, modified);
        root.set_times("file", None, None).unwrap();
        assert_eq!(root.metadata("file").unwrap().modified, modified);
        // A file that nobody may read can still be given other bits, and set-user-id never is.
        for mode in [0o000, 0o200, 0o4755] {
            root.set_mode("file", mode).unwrap();
            let permissions = fs::metadata(folder.join("file")).unwrap().permissions();
            assert_eq!(permissions.mode() & 0o7777, mode & 0o777);
        }
        root.set_times("", None, Some(modified)).unwrap();
        assert_eq!(root.metadata("").unwrap().modified, modified);
    });
}

#[test]
fn a_folder_is_listed_whole() {
    each(|root, folder| {
        fs::create_dir_all(folder.join("folder/inner")).unwrap();
        let names: BTreeSet<_> = (0..3_000).map(|number| format!("{number:>100}")).collect();
        for name in &names {
            fs::write(folder.join("folder").join(name), "").unwrap();
        }
        std::os::unix::fs::symlink("inner", folder.join("folder/link")).unwrap();
        std::os::unix::fs::symlink("../..", folder.join("folder/out")).unwrap();
        let mut listing = root.list("folder").unwrap();
        let mut seen = BTreeSet::new();
        while let Some(entry) = listing.next() {
            let entry = entry.unwrap();
            let metadata = listing.metadata(&entry);
            match &entry.name[..] {
                b"inner" => assert_eq!(entry.kind, Some(Kind::Folder)),
                b"link" => {
                    assert_eq!(listing.link_metadata(&entry).unwrap().kind, Kind::Symlink);
                    assert_eq!(metadata.unwrap().kind, Kind::Folder);
                }
                b"out" => assert!(matches!(metadata, Err(Error::EscapesRoot))),
                _ => assert_eq!(metadata.unwrap().kind, Kind::File),
            }
            assert!(seen.insert(String::from_utf8(entry.name).unwrap()), "no entry comes twice");
        }
        assert_eq!(seen.len(), names.len() + 3);
        assert!(seen.is_superset(&names));
    });
}

#[test]
fn a_root_within_a_root_is_one() {
    each(|root, folder| {
        fs::create_dir_all(folder.join("home/alice")).unwrap();
        fs::write(folder.join("home/secret"), "x").unwrap();
        fs::write(folder.join("home/alice/file"), "x").unwrap();
        std::os::unix::fs::symlink("../secret", folder.join("home/alice/link")).unwrap();
        let alice = root.subroot("home/alice").unwrap();
        assert!(alice.open("file").is_ok());
        assert!(matches!(alice.open("../secret"), Err(Error::EscapesRoot)));
        assert!(matches!(alice.open("link"), Err(Error::EscapesRoot)));
        assert!(root.open("home/alice/link").is_ok(), "it stays beneath the outer root");
        assert!(matches!(root.subroot("home/secret"), Err(Error::NotAFolder)));
    });
}

#[test]
fn what_is_cached_opens_without_waiting() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let root = Root::new(folder.path()).unwrap();
    root.open("file").unwrap();
    // A kernel without RESOLVE_CACHED says that it would wait, and then it has to be waited for.
    for result in [root.try_open("file").map(|file| *file.metadata()), root.try_metadata("file")] {
        match result {
            Ok(metadata) => assert_eq!(metadata.len, 1),
            Err(error) => assert!(matches!(error, Error::WouldBlock), "{error:?}"),
        }
    }
    let lookup = Lookup::ComponentWise;
    let walking = Root::with(folder.path(), RootOptions { lookup, ..RootOptions::default() });
    assert!(matches!(walking.unwrap().try_open("file"), Err(Error::WouldBlock)));
}

#[test]
fn a_file_is_read_as_it_was_when_it_was_opened_or_not_at_all() {
    each(|root, folder| {
        for len in [0, 1, 4096, 100_000] {
            let content = vec![b'x'; len];
            fs::write(folder.join("file"), &content).unwrap();
            let file = root.open("file").unwrap();
            match file.try_read_whole() {
                Ok(read) => assert_eq!(read.as_ref(), Some(&content)),
                // A file system that can't tell what it holds in memory.
                Err(error) => assert!(matches!(error, Error::WouldBlock), "{error:?}"),
            }
            assert_eq!(file.read_whole().unwrap(), Some(content));
            for changed in [len + 1, len + 5000, len / 2] {
                let file = root.open("file").unwrap();
                if changed as u64 != file.metadata().len {
                    fs::write(folder.join("file"), vec![b'y'; changed]).unwrap();
                    assert_eq!(file.read_whole().unwrap(), None, "{len} became {changed}");
                }
            }
        }
    });
}

#[test]
fn a_change_shows_in_the_metadata() {
    each(|root, folder| {
        fs::write(folder.join("file"), "one").unwrap();
        let file = root.open("file").unwrap();
        let before = *file.metadata();
        assert!(Metadata::of(&file).unwrap().is_unchanged_from(&before));
        let mut staged = root.stage("file", Staging::default()).unwrap();
        staged.write_all(b"two").unwrap();
        let after = staged.commit().unwrap().metadata;
        assert!(!after.is_unchanged_from(&before));
    });
}
