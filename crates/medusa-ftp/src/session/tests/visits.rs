//! What a visitor may do where, what is said on the way, and how fast files go.

use std::time::Duration;

use medusa_core::testing::Faults;
use medusa_files::{Above, VirtualPath};

use super::fixture::{World, files, lines, play};
use crate::home::{Folder, Rights, Visit, Visitor};
use crate::pace::Meter;
use crate::service::{FtpBuilder, FtpService};
use crate::storage::Memory;

const PASSIVE: &str = "227 Entering Passive Mode";

fn path(text: &str) -> VirtualPath {
    VirtualPath::new(text.as_bytes(), Above::Refuse).unwrap()
}

fn serving(visit: impl Fn() -> Visit + Send + Sync + 'static) -> FtpBuilder {
    FtpService::builder("ftp.test", move |_: Visitor<'_>| Ok(visit())).anonymous(true)
}

/// What is told behind an anonymous login, ports left out.
fn told(builder: FtpBuilder, script: &[&str]) -> Vec<String> {
    let mut whole = vec!["USER ftp", "PASS x"];
    whole.extend_from_slice(script);
    let world = play(builder, &whole, Faults::none());
    let told = lines(&world).into_iter().skip(2);
    told.map(|line| if line.starts_with(PASSIVE) { PASSIVE } else { line }.to_owned()).collect()
}

fn with_folders() -> FtpBuilder {
    let memory = files();
    memory.insert("drop/there.txt", "there").unwrap();
    memory.insert("drop/closed/deep.txt", "deep").unwrap();
    memory.insert("dropped/open.txt", "open").unwrap();
    let folder = |text, rights| Folder { path: path(text), rights, message: None };
    let none = Rights { write: false, ..Rights::DROP };
    let mut drop = folder("drop", Some(Rights::DROP));
    drop.message = Some("Leave it here\nand go".to_owned());
    let folders = [folder("drop/closed", Some(none)), drop, folder("folder", None)];
    serving(move || {
        let visit = Visit::new(memory.clone(), Rights { delete: true, ..Rights::READ });
        visit.folders(folders.clone()).greeting("Hello\nand welcome")
    })
}

#[test]
fn folders_have_rights_of_their_own() {
    let no = "550 Not permitted";
    assert_eq!(
        told(
            with_folders(),
            &[
                "SIZE dropped/open.txt",
                "PASV",
                "RETR drop/there.txt",
                "STOR hello.txt",
                "STOR new.txt",
                "NLST drop",
                "STOR drop/closed/new",
                "STOR drop/there.txt",
                "REST 3",
                "STOR drop/there.txt",
                "STOR drop/new",
                "@connect",
                "@send x",
                "@end",
                "SIZE drop/new",
                "MKD drop/made",
                "DELE drop/there.txt",
                "RNFR drop",
                "RMD drop/closed",
                "RNFR folder",
                "RNFR hello.txt",
                "RNTO drop/closed/hello.txt",
                "RNFR hello.txt",
                "RNTO drop/there.txt",
                "RNFR hello.txt",
                "RNTO drop/hello.txt",
            ],
        ),
        [
            "230-Hello",
            "230 and welcome",
            "213 4",
            PASSIVE,
            no,
            no,
            no,
            no,
            no,
            "550 Exists already",
            "350 The next transfer begins at 3",
            no,
            "150 Send it",
            "226 Done",
            no,
            "257 \"/drop/made\" is there now",
            no,
            no,
            no,
            no,
            "350 And its new name?",
            no,
            "350 And its new name?",
            "550 Exists already",
            "350 And its new name?",
            "250 It is renamed",
        ]
    );
}

#[test]
fn folders_have_something_to_say() {
    let memory = files();
    memory.insert(".message", "at the root\r\n").unwrap();
    memory.insert("folder/.message", "226 forged\nby\x1b a file").unwrap();
    memory.insert("blind/.message", "never shown").unwrap();
    memory.insert("long/.message", "x".repeat(10_000)).unwrap();
    let blind = Folder {
        path: path("blind"),
        rights: Some(Rights::DROP),
        message: Some("from the configuration".to_owned()),
    };
    let serving = serving(move || {
        let visit = Visit::new(memory.clone(), Rights::READ).folders([blind.clone()]);
        visit.message_file(Some(b".message"[..].into()))
    });
    let told = told(serving, &["CWD folder", "CWD /blind", "CDUP", "CWD long"]);
    let (long, told) = told.split_last().map(|(_, rest)| rest.split_last().unwrap()).unwrap();
    assert_eq!(
        told,
        [
            "230-at the root",
            "230 Welcome",
            "250-226 forged",
            "250-by? a file",
            "250 There you are",
            "250-from the configuration",
            "250 There you are",
            "250-at the root",
            "250 There you are",
        ]
    );
    assert!(long.starts_with("250-xxx") && long.len() == 510, "{}", long.len());
}

/// The world, once somebody is logged in whose transfers go at this many octets a second.
fn metered(memory: &Memory, rate: u64) -> World {
    let (memory, meter) = (memory.clone(), Meter::new(rate));
    let builder = serving(move || {
        let visit = Visit::new(memory.clone(), Rights::ALL);
        visit.uploads_metered(meter.clone()).downloads_metered(meter.clone())
    });
    play(builder, &["USER ftp", "PASS x", "PASV"], Faults::none().reads([16_384]))
}

#[test]
fn downloads_keep_their_pace() {
    let memory = Memory::new(1 << 20);
    let content: Vec<u8> = (0..400_000u32).map(|n| (n / 7) as u8).collect();
    memory.insert("big", content.clone()).unwrap();
    for ascii in [false, true] {
        let mut world = metered(&memory, 100_000);
        if ascii {
            world.step("TYPE A");
        }
        world.step("RETR big");
        world.step("@connect");
        let mut come = world.data.as_mut().unwrap().output();
        for tenth in 1..=60 {
            let data = world.data.as_mut().unwrap();
            data.advance(Duration::from_millis(100));
            come.extend(data.output());
            world.settle();
            come.extend(world.data.as_mut().unwrap().output());
            // What is in memory comes in one piece of the storage's own size.
            let most = 10_000 * tenth + 150_000;
            assert!(come.len() <= most, "{} after {tenth}", come.len());
        }
        assert!(ascii || come == content, "{}", come.len());
        assert!(world.transcript.ends_with("226 Done\r\n"), "{}", world.transcript);
    }
}

#[test]
fn uploads_keep_their_pace() {
    let memory = Memory::new(10 << 20);
    let mut world = metered(&memory, 100_000);
    world.step("STOR big");
    world.step("@connect");
    let content = vec![b'x'; 1_000_000];
    world.data.as_mut().unwrap().send(&content);
    world.settle();
    let mut unread = world.data.as_ref().unwrap().unread_bytes();
    assert!(unread > 800_000, "{unread}");
    let mut tenths = 0;
    while unread > 0 {
        tenths += 1;
        assert!(tenths < 120, "{unread} are left");
        world.control.advance(Duration::from_millis(100));
        world.data.as_mut().unwrap().advance(Duration::from_millis(100));
        world.settle();
        unread = world.data.as_ref().unwrap().unread_bytes();
    }
    // Ten seconds' worth, but for what is read before it is paid for.
    assert!(tenths >= 80, "{tenths}");
    world.step("@end");
    world.step("@wait 5");
    assert!(world.transcript.ends_with("226 Done\r\n"), "{}", world.transcript);
    assert_eq!(memory.get("big").unwrap().len(), content.len());
}

#[test]
fn what_goes_slowly_can_be_broken_off() {
    let memory = Memory::new(1 << 20);
    memory.insert("big", vec![b'x'; 400_000]).unwrap();
    for (command, come) in [("RETR big", ""), ("STOR new", "@send xxxxxxx")] {
        let mut world = metered(&memory, 1);
        world.step(command);
        world.step("@connect");
        if !come.is_empty() {
            world.step(come);
        }
        world.step("ABOR");
        assert!(world.transcript.contains("426 Broken off"), "{command}: {}", world.transcript);
        assert!(world.data.as_ref().unwrap().is_closed());
    }
}
