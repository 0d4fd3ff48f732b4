//! Uploads on a disk: whole or in part, and what is left of what was there.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use medusa_ftp::{Disk, Ending, Error, Start, Storage, VirtualPath};

use super::fixture::{Fixture, connect};

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn path(name: &str) -> VirtualPath {
    VirtualPath::root().join(name.as_bytes(), medusa_files::Above::Refuse).unwrap()
}

#[test]
fn a_failed_upload_leaves_what_was_there() {
    let folder = tempfile::tempdir().unwrap();
    for atomic in [false, true] {
        let disk = Disk::new(folder.path()).unwrap().atomic(atomic);
        std::fs::write(folder.path().join("old"), "what was there").unwrap();
        for (name, start) in [
            ("old", Start::Empty),
            ("old", Start::End),
            ("old", Start::At(14)),
            ("new", Start::Empty),
            ("new", Start::New),
            ("new", Start::End),
        ] {
            let mut upload = disk.write(&path(name), start).unwrap();
            upload.write(b"something longer than what was there").unwrap();
            upload.end(Ending::Failed).unwrap();
            assert_eq!(names(folder.path()), ["old"], "{name} {start:?} {atomic}");
            assert_eq!(std::fs::read(folder.path().join("old")).unwrap(), b"what was there");
        }
        assert!(matches!(disk.write(&path("old"), Start::New), Err(Error::Exists)));
        assert!(matches!(disk.write(&path("old"), Start::At(15)), Err(Error::BeyondEnd)));
    }
}

#[test]
fn a_broken_upload_stays_to_be_resumed_or_leaves_nothing() {
    for (atomic, kept) in [(false, Some("part")), (true, None)] {
        let fixture = Fixture::with(atomic, false, |builder| builder);
        fixture.write("old", "what was there");
        std::fs::set_permissions(fixture.path("old"), PermissionsExt::from_mode(0o600)).unwrap();
        let mut control = fixture.alice();
        for name in ["old", "new"] {
            let mut data = connect(control.passive());
            assert!(control.ask(format!("STOR {name}")).starts_with("150 "));
            data.write_all(b"part").unwrap();
            // Once it is told it has come.
            while !control.ask("STAT").contains(" 4 bytes") {}
            assert_eq!(control.ask("ABOR"), "426 Broken off");
            assert!(control.hear().starts_with("226 "));
            let content = std::fs::read_to_string(fixture.path(name)).ok();
            let expected = kept.or((name == "old").then_some("what was there"));
            assert_eq!(content.as_deref(), expected, "{name} {atomic}");
        }
        assert_eq!(control.store("STOR old", b"whole"), "226 Done");
        assert_eq!(std::fs::read(fixture.path("old")).unwrap(), b"whole");
        let mode = std::fs::metadata(fixture.path("old")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "a file that is replaced keeps its mode");
        let left = names(&fixture.path(""));
        assert!(left.iter().all(|name| name == "old" || name == "new"), "{left:?}");
    }
}

#[test]
fn transfers_go_on_behind_four_gigabytes() {
    let fixture = Fixture::new(|builder| builder);
    let far = (4u64 << 30) + 7;
    // A hole costs nothing.
    std::fs::File::create(fixture.path("hole")).unwrap().set_len(far).unwrap();
    let mut control = fixture.alice();
    assert_eq!(control.ask("TYPE I"), "200 TYPE is I");
    assert_eq!(control.ask("SIZE hole"), format!("213 {far}"));
    assert_eq!(
        control.ask(format!("REST {far}")),
        format!("350 The next transfer begins at {far}")
    );
    assert_eq!(control.store("STOR hole", b"tail"), "226 Done");
    assert_eq!(control.store("APPE hole", b" end"), "226 Done");
    control.ask(format!("REST {}", far - 1));
    assert_eq!(control.fetch("RETR hole"), b"\0tail end");
    assert_eq!(control.ask("DELE hole"), "250 It is gone");
}

#[test]
fn a_big_file_goes_both_ways() {
    let fixture = Fixture::new(|builder| builder);
    let content: Vec<u8> =
        (0..20_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut control = fixture.alice();
    assert_eq!(control.store("STOR big", &content), "226 Done");
    assert!(std::fs::read(fixture.path("big")).unwrap() == content);
    assert!(control.fetch("RETR big") == content);
}

#[test]
fn a_large_folder_is_listed_while_others_are_served() {
    let fixture = Fixture::new(|builder| builder);
    for number in 0..3000 {
        fixture.write(&format!("file-{number:05}"), "");
    }
    let mut control = fixture.alice();
    for (command, columns) in [("NLST", 1), ("LIST -la", 9), ("MLSD", 2)] {
        let text = String::from_utf8(control.fetch(command)).unwrap();
        let rows: Vec<&str> = text.split_terminator("\r\n").collect();
        let files = rows.iter().filter(|row| row.contains("file-"));
        assert_eq!(files.clone().count(), 3000, "{command}");
        let mut names: Vec<&str> = files
            .map(|row| {
                assert_eq!(row.split_whitespace().count(), columns, "{row}");
                row.rsplit(' ').next().unwrap()
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 3000);
    }
}
