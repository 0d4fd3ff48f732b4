//! Uploads on a disk: whole or in part, and what is left of what was there.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use medusa_ftp::{Disk, Ending, Error, Rights, Start, Storage, Uploads, VirtualPath, Visit};

use super::fixture::{Control, Fixture, connect};

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
    for uploads in [Uploads::Direct, Uploads::Atomic, Uploads::Resumable] {
        let disk = Disk::new(folder.path()).unwrap().uploads(uploads);
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
            assert_eq!(names(folder.path()), ["old"], "{name} {start:?} {uploads:?}");
            assert_eq!(std::fs::read(folder.path().join("old")).unwrap(), b"what was there");
        }
        assert!(matches!(disk.write(&path("old"), Start::New), Err(Error::Exists)));
        assert!(matches!(disk.write(&path("old"), Start::At(15)), Err(Error::BeyondEnd)));
    }
}

#[test]
fn a_broken_upload_stays_to_be_resumed_or_leaves_nothing() {
    for (uploads, kept) in [(Uploads::Direct, Some("part")), (Uploads::Atomic, None)] {
        let fixture = Fixture::with(uploads, |builder| builder);
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
            assert_eq!(content.as_deref(), expected, "{name} {uploads:?}");
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
fn a_part_of_an_atomic_upload_is_gone_on_with() {
    let fixture = Fixture::with(Uploads::Resumable, |builder| builder);
    fixture.write("old", "what was there");
    let mut control = fixture.alice();
    let broken = |control: &mut Control<TcpStream>, command: &str, octets: &[u8]| {
        let mut data = connect(control.passive());
        assert!(control.ask(command).starts_with("150 "), "{command}");
        data.write_all(octets).unwrap();
        let told = format!(" {} bytes", octets.len());
        while !control.ask("STAT").contains(&told) {}
        assert_eq!(control.ask("ABOR"), "426 Broken off");
        assert!(control.hear().starts_with("226 "));
    };
    // What is replaced stays whole, and nothing of the new one is kept.
    broken(&mut control, "STOR old", b"part");
    assert_eq!(std::fs::read(fixture.path("old")).unwrap(), b"what was there");
    assert_eq!(control.ask("SIZE old"), "213 14");
    // A new one isn't there, but goes on: by APPE, and by REST, which may go back.
    broken(&mut control, "STOR new", b"0123");
    assert!(!fixture.path("new").exists());
    assert_eq!(control.ask("SIZE new"), "213 4");
    assert_eq!(String::from_utf8(control.fetch("NLST")).unwrap(), "old\r\n");
    control.passive();
    assert!(control.ask("RETR new").starts_with("550 "));
    broken(&mut control, "APPE new", b"4567");
    assert_eq!(control.ask("SIZE new"), "213 8");
    control.ask("REST 9");
    control.passive();
    assert!(control.ask("STOR new").starts_with("554 "));
    assert_eq!(control.ask("SIZE new"), "213 8");
    control.ask("REST 6");
    assert_eq!(control.store("STOR new", b"xyz"), "226 Done");
    assert_eq!(std::fs::read(fixture.path("new")).unwrap(), b"012345xyz");
    // Parts go with what asks for them to go: a new upload, DELE, RMD.
    broken(&mut control, "STOR other", b"part");
    assert_eq!(control.store("STOR other", b"whole"), "226 Done");
    assert_eq!(control.ask("DELE other"), "250 It is gone");
    broken(&mut control, "STOR other", b"part");
    assert_eq!(control.ask("DELE other"), "250 It is gone");
    assert_eq!(control.ask("MKD folder"), "257 \"/folder\" is there now");
    broken(&mut control, "STOR folder/a", b"part");
    assert_eq!(control.ask("RMD folder"), "250 It is gone");
    assert_eq!(names(&fixture.path("")), ["new", "old"]);
}

#[test]
fn a_quota_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    for uploads in [Uploads::Direct, Uploads::Atomic, Uploads::Resumable] {
        let home = folder.path().to_owned();
        let fixture = Fixture::of(
            |builder| builder,
            move |_| {
                let disk = Disk::new(&home)?.uploads(uploads).limited(100_000)?;
                Ok(Visit::new(disk, Rights::ALL))
            },
        );
        let mut control = fixture.alice();
        assert_eq!(control.store("STOR a", &[1; 60_000]), "226 Done");
        assert_eq!(control.store("STOR b", &[2; 40_001]), "552 More than is allowed");
        assert_eq!(control.ask("SIZE b"), "550 No such file or folder");
        assert_eq!(control.store("APPE a", &[2; 40_001]), "552 More than is allowed");
        assert_eq!(control.ask("SIZE a"), "213 60000");
        // Another session counts with this one; a file makes room for the one that replaces it.
        let mut other = fixture.alice();
        assert_eq!(other.store("STOR b", &[2; 40_000]), "226 Done");
        assert_eq!(control.store("STOR a", &[3; 60_000]), "226 Done");
        assert_eq!(control.store("STOR a", &[3; 60_001]), "552 More than is allowed");
        assert_eq!(control.ask("DELE b"), "250 It is gone");
        assert_eq!(control.store("APPE a", &[4; 40_000]), "226 Done");
        assert_eq!(control.ask("DELE a"), "250 It is gone");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

/// Sends so much of a file that goes on, and waits until the server has it.
fn go_on(control: &mut Control<TcpStream>, data: &mut TcpStream, octets: &[u8], told: usize) {
    data.write_all(octets).unwrap();
    let told = format!(" {told} bytes");
    assert!((0..100_000).any(|_| control.ask("STAT").contains(&told)));
}

#[test]
fn a_failed_upload_takes_nothing_of_another_session() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::new(folder.path()).unwrap();
    let mut failing = disk.write(&path("name"), Start::Empty).unwrap();
    failing.write(b"first").unwrap();
    let mut other = disk.write(&path("name"), Start::Empty).unwrap();
    other.write(b"second").unwrap();
    other.end(Ending::Complete).unwrap();
    failing.end(Ending::Failed).unwrap();
    assert_eq!(std::fs::read(folder.path().join("name")).unwrap(), b"second");
    // The same with one that was renamed, and one that was removed.
    for is_renamed in [true, false] {
        let failing = disk.write(&path("other"), Start::Empty).unwrap();
        match is_renamed {
            true => disk.rename(&path("name"), &path("other"), true).unwrap(),
            false => disk.remove_file(&path("other")).unwrap(),
        }
        failing.end(Ending::Failed).unwrap();
        assert_eq!(folder.path().join("other").exists(), is_renamed);
        let _ = std::fs::remove_file(folder.path().join("other"));
    }
    // A link that leads to nothing stays one.
    std::os::unix::fs::symlink("target", folder.path().join("link")).unwrap();
    let failing = disk.write(&path("link"), Start::Empty).unwrap();
    assert_eq!(names(folder.path()), ["link", "target"]);
    failing.end(Ending::Failed).unwrap();
    assert_eq!(names(folder.path()), ["link"]);
}

#[test]
fn a_resumption_that_fails_leaves_the_part() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_owned();
    let fixture = Fixture::of(
        |builder| builder,
        move |_| {
            let disk = Disk::new(&home)?.uploads(Uploads::Resumable).limited(100_000)?;
            Ok(Visit::new(disk, Rights::ALL))
        },
    );
    let mut control = fixture.alice();
    let mut data = connect(control.passive());
    assert_eq!(control.ask("STOR big"), "150 Send it");
    go_on(&mut control, &mut data, &[1; 60_000], 60_000);
    assert_eq!(control.ask("ABOR"), "426 Broken off");
    assert!(control.hear().starts_with("226 "));
    for command in ["STOR big", "APPE big"] {
        assert_eq!(control.ask("SIZE big"), "213 60000");
        if command == "STOR big" {
            control.ask("REST 60000");
        }
        assert_eq!(control.store(command, &[2; 40_001]), "552 More than is allowed");
    }
    assert_eq!(control.ask("SIZE big"), "213 60000");
    // What it holds is counted once still.
    assert_eq!(control.store("STOR other", &[3; 40_001]), "552 More than is allowed");
    assert_eq!(control.store("APPE big", &[2; 40_000]), "226 Done");
    let content = std::fs::read(folder.path().join("big")).unwrap();
    assert!(content == [[1; 60_000].as_slice(), &[2; 40_000]].concat());
    assert_eq!(names(folder.path()), ["big"]);
}

#[test]
fn a_unique_name_is_promised_as_long_as_the_upload_lasts() {
    for uploads in [Uploads::Direct, Uploads::Atomic, Uploads::Resumable] {
        let fixture = Fixture::with(uploads, |builder| builder);
        let (mut first, mut second) = (fixture.alice(), fixture.alice());
        let mut data = connect(first.passive());
        assert_eq!(first.ask("STOU same"), "150 FILE: same");
        // As much as makes the pool begin the file.
        go_on(&mut first, &mut data, &[1; 200_000], 200_000);
        assert!((0..100_000).any(|_| !names(&fixture.path("")).is_empty()));
        let mut other = connect(second.passive());
        assert_eq!(second.ask("STOU same"), "150 FILE: same.1", "{uploads:?}");
        other.write_all(b"second").unwrap();
        drop((data, other));
        assert_eq!(first.hear(), "226 Done");
        assert_eq!(second.hear(), "226 Done");
        assert_eq!(names(&fixture.path("")), ["same", "same.1"]);
    }
}

/// A file system of one MiB, until it is dropped.
struct Small(tempfile::TempDir);

impl Small {
    /// `None` where none may be mounted.
    fn mount() -> Option<Small> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "medusa-test"])
            .arg(folder.path())
            .stderr(Stdio::null())
            .status();
        mounted.is_ok_and(|status| status.success()).then_some(Small(folder))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_disk_that_fills_up_is_told_and_what_was_there_stays() {
    let Some(small) = Small::mount() else {
        println!("skipped: no file system can be mounted here");
        return;
    };
    let old: Vec<u8> = (0..300_000u32).map(|n| (n / 3) as u8).collect();
    let (left, new) = (small.0.path().join("old"), vec![b'x'; 2_000_000]);
    for uploads in [Uploads::Direct, Uploads::Atomic, Uploads::Resumable] {
        std::fs::write(&left, &old).unwrap();
        let home = small.0.path().to_owned();
        let fixture = Fixture::of(
            |builder| builder,
            move |_| Ok(Visit::new(Disk::new(&home)?.uploads(uploads), Rights::ALL)),
        );
        let mut control = fixture.alice();
        for command in ["STOR old", "APPE old", "STOR new", "APPE new", "STOU new"] {
            // It goes on to be read, or is reset: who sends may not come to the end.
            let mut data = connect(control.passive());
            assert!(control.ask(command).starts_with("150 "));
            let _ = data.write_all(&new);
            drop(data);
            let told = control.hear();
            assert_eq!(told, "452 No space left", "{command} {uploads:?}");
            assert_eq!(names(small.0.path()), ["old"], "{command} {uploads:?}");
            assert!(std::fs::read(&left).unwrap() == old, "{command} {uploads:?}");
        }
        assert_eq!(control.store("STOR small", b"fits"), "226 Done");
        assert_eq!(control.ask("DELE small"), "250 It is gone");
    }
}

#[test]
fn any_name_that_a_disk_takes_can_be_used() {
    let fixture = Fixture::new(|builder| builder);
    let mut control = fixture.alice();
    let long = vec![b'n'; 255];
    let names: [(&[u8], &[u8]); 7] = [
        (b"q\"uo\"te", b"q\"uo\"te"),
        // On the control connection 0xFF is doubled (RFC 959, by way of RFC 854); one that isn't will do.
        (b"\xff\xff\xfe", b"\xff\xfe"),
        (b"a\xffb", b"a\xffb"),
        (b" spaces  all over ", b" spaces  all over "),
        (b"line\nfeed", b"line\nfeed"),
        (b"-la", b"-la"),
        (&long, &long),
    ];
    for (said, stored) in names {
        let line = |verb: &str| [verb.as_bytes(), b" ./", said].concat();
        let mut data = connect(control.passive());
        assert!(control.ask(line("STOR")).starts_with("150 "), "{}", said.escape_ascii());
        data.write_all(b"content").unwrap();
        drop(data);
        assert_eq!(control.hear(), "226 Done");
        let kept = fixture.path("").join(OsStr::from_bytes(stored));
        assert_eq!(std::fs::read(kept).unwrap(), b"content", "{}", said.escape_ascii());
        assert_eq!(control.ask(line("SIZE")), "213 7");
        let listed = control.fetch("NLST");
        let shown: Vec<u8> =
            stored.iter().map(|&octet| if octet == b'\n' { b'?' } else { octet }).collect();
        assert_eq!(listed, [&shown[..], b"\r\n"].concat());
        assert_eq!(control.ask(line("RNFR")), "350 And its new name?");
        assert_eq!(control.ask("RNTO plain"), "250 It is renamed");
        assert_eq!(control.ask("DELE plain"), "250 It is gone");
    }
    let longer = [b"STOR ".to_vec(), vec![b'n'; 256]].concat();
    control.passive();
    assert!(control.ask(longer).starts_with("553 "));
    assert!(control.ask(b"STOR carriage\rreturn").starts_with("501 "));
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

#[test]
fn a_short_files_two_replies_leave_together_once_it_has_gone() {
    let fixture = Fixture::new(|builder| builder);
    fixture.write("short", "hello");
    fixture.write("long", vec![b'x'; 200_000]);
    let mut control = fixture.alice();
    let mut data = connect(control.passive());
    control.say("RETR short");
    let mut replies = [0; 100];
    let count = control.reader.get_mut().read(&mut replies).unwrap();
    let replies = String::from_utf8_lossy(&replies[..count]);
    assert_eq!(replies, "150 Here it comes (5 bytes)\r\n226 Done\r\n");
    let mut content = Vec::new();
    data.read_to_end(&mut content).unwrap();
    assert_eq!(content, b"hello");
    // A client that connects only when it has heard 150 hears it, for both.
    for name in ["short", "long"] {
        let port = control.passive();
        assert!(control.ask(format!("RETR {name}")).starts_with("150 "));
        let mut data = connect(port);
        assert!(data.read_to_end(&mut content).unwrap() > 0);
        assert_eq!(control.hear(), "226 Done");
    }
}

#[test]
fn what_follows_quit_takes_no_reply_away() {
    let fixture = Fixture::new(|builder| builder);
    for line in ["QUIT", "QUIT\r\nNOOP", "NOOP\r\nQUIT"] {
        let mut control = fixture.alice();
        control.say(line);
        let mut said = String::new();
        control.reader.read_to_string(&mut said).unwrap();
        assert!(said.ends_with("221 Goodbye\r\n"), "{line}: {said}");
    }
}

/// What PORT says so that nobody is there to be connected to.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    format!("PORT 127,0,0,1,{},{}", port >> 8, port & 0xff)
}

#[test]
fn an_upload_without_a_data_connection_has_changed_nothing() {
    for uploads in [Uploads::Direct, Uploads::Atomic, Uploads::Resumable] {
        let fixture = Fixture::with(uploads, |builder| builder);
        fixture.write("old", "what was there");
        fixture.write(".medusa-part-of-part", "0123456789");
        std::os::unix::fs::symlink("old", fixture.path("link")).unwrap();
        let before = names(&fixture.path(""));
        let mut control = fixture.alice();
        let commands = [
            "STOR old",
            "STOR link",
            "STOR new",
            "STOU unique",
            "APPE old",
            "APPE new",
            "REST old",
        ];
        let resumed = match uploads {
            Uploads::Resumable => &["APPE part", "REST part"][..],
            _ => &[],
        };
        for command in commands.iter().chain(resumed) {
            for way in ["425", "ABOR", "lost"] {
                let mut control = fixture.alice();
                if way == "425" {
                    assert_eq!(control.ask(nobody()), "200 There it will go");
                } else {
                    control.passive();
                }
                let command = match command.strip_prefix("REST ") {
                    Some(name) => {
                        control.ask("REST 5");
                        format!("STOR {name}")
                    }
                    None => (*command).to_owned(),
                };
                assert!(control.ask(&command).starts_with("150 "), "{command} {uploads:?}");
                match way {
                    "425" => assert_eq!(control.hear(), "425 There is no data connection"),
                    "ABOR" => {
                        assert_eq!(control.ask("ABOR"), "426 Broken off");
                        assert!(control.hear().starts_with("226 "));
                    }
                    _ => drop(control),
                }
            }
        }
        // What was told first has been worked off when this is answered.
        assert_eq!(control.ask("NOOP"), "200 Here I am");
        assert_eq!(names(&fixture.path("")), before, "{uploads:?}");
        let content = |name| std::fs::read_to_string(fixture.path(name)).unwrap();
        assert_eq!(content("old"), "what was there");
        assert_eq!(content(".medusa-part-of-part"), "0123456789");
    }
}

#[test]
fn what_a_link_leads_to_is_replaced_as_a_whole() {
    for uploads in [Uploads::Direct, Uploads::Atomic, Uploads::Resumable] {
        let fixture = Fixture::with(uploads, |builder| builder);
        std::fs::create_dir(fixture.path("folder")).unwrap();
        fixture.write("folder/old", "what was there");
        std::os::unix::fs::symlink("folder/old", fixture.path("link")).unwrap();
        let disk = Disk::new(fixture.path("")).unwrap().uploads(uploads);
        for ending in [Ending::Failed, Ending::Cut, Ending::Complete] {
            let mut upload = disk.write(&path("link"), Start::Empty).unwrap();
            upload.write(b"new").unwrap();
            upload.end(ending).unwrap();
            let is_new =
                ending == Ending::Complete || ending == Ending::Cut && uploads == Uploads::Direct;
            let expected = if is_new { "new" } else { "what was there" };
            let content = std::fs::read_to_string(fixture.path("folder/old")).unwrap();
            assert_eq!(content, expected, "{uploads:?} {ending:?}");
            fixture.write("folder/old", "what was there");
        }
        assert!(std::fs::symlink_metadata(fixture.path("link")).unwrap().is_symlink());
        assert_eq!(names(&fixture.path("folder")), ["old"]);
    }
}

#[test]
fn two_that_ask_for_a_unique_name_get_two() {
    for uploads in [Uploads::Direct, Uploads::Atomic, Uploads::Resumable] {
        let fixture = Fixture::with(uploads, |builder| builder);
        let mut controls = [fixture.alice(), fixture.alice(), fixture.alice()];
        let mut data: Vec<TcpStream> =
            controls.iter_mut().map(|control| connect(control.passive())).collect();
        for (control, name) in controls.iter_mut().zip(["same", "same.1", "same.2"]) {
            assert_eq!(control.ask("STOU same"), format!("150 FILE: {name}"));
        }
        for (index, data) in data.iter_mut().enumerate() {
            data.write_all(format!("{index}").as_bytes()).unwrap();
        }
        drop(data);
        for control in &mut controls {
            assert_eq!(control.hear(), "226 Done");
        }
        for (index, name) in ["same", "same.1", "same.2"].iter().enumerate() {
            let content = std::fs::read_to_string(fixture.path(name)).unwrap();
            assert_eq!(content, index.to_string(), "{uploads:?}");
        }
        // In another folder than one's own, the path is told.
        std::fs::create_dir(fixture.path("folder")).unwrap();
        controls[0].passive();
        assert_eq!(controls[0].ask("STOU folder/x"), "150 FILE: /folder/x");
        assert_eq!(controls[0].ask("ABOR"), "426 Broken off");
        assert!(controls[0].hear().starts_with("226 "));
        // A promise that came to nothing is none any more.
        controls[0].passive();
        assert_eq!(controls[0].ask("STOU other"), "150 FILE: other");
        assert_eq!(controls[0].ask("ABOR"), "426 Broken off");
        assert!(controls[0].hear().starts_with("226 "));
        controls[1].passive();
        assert_eq!(controls[1].ask("STOU other"), "150 FILE: other");
    }
}

#[test]
fn a_part_outlives_whoever_sent_it() {
    let fixture = Fixture::with(Uploads::Resumable, |builder| builder);
    let mut control = fixture.alice();
    for (name, both) in [("control", false), ("both", true)] {
        let mut other = fixture.alice();
        let mut data = connect(other.passive());
        assert!(other.ask(format!("STOR {name}")).starts_with("150 "));
        data.write_all(&vec![b'x'; 300_000]).unwrap();
        while !other.ask("STAT").contains(" 300000 bytes") {}
        let stream = other.reader.into_inner();
        for stream in [Some(&stream), both.then_some(&data)].into_iter().flatten() {
            rustix::net::sockopt::set_socket_linger(stream, Some(std::time::Duration::ZERO))
                .unwrap();
        }
        drop(stream);
        if both {
            drop(data);
        }
        // At least what the pool had been given is there.
        let kept = (0..100_000).any(|_| control.ask(format!("SIZE {name}")).starts_with("213 "));
        assert!(kept, "{name}");
    }
}
