//! Transfers, their ends, and what may come during one.

use std::sync::Arc;

use medusa_core::testing::Faults;
use medusa_core::{AccessSink, ServiceParts};

use super::fixture::{Lines, builder, builder_of, check, check_in, files, lines, play};
use crate::storage::Memory;

const PASSIVE: &str = "227 Entering Passive Mode (127,0,0,1,195,80)";
const READY: &str = "FTP server ready";

#[test]
fn files_are_fetched() {
    // The data connection stands before the command, or comes behind it.
    check(
        &["PASV", "@connect", "RETR hello.txt", "@get", "@end"],
        &[PASSIVE, "150 Here it comes (6 bytes)", "226 Done", "[hello\n|]"],
    );
    check(
        &["PASV", "RETR hello.txt", "@connect", "@get", "PWD"],
        &[
            PASSIVE,
            "150 Here it comes (6 bytes)",
            "226 Done",
            "[hello\n|]",
            "257 \"/\" is where you are",
        ],
    );
    check(
        &["PORT 127,0,0,1,200,1", "RETR hello.txt", "@get"],
        &[
            "200 There it will go",
            "150 Here it comes (6 bytes)",
            "[connects to 127.0.0.1:51201]",
            "226 Done",
            "[hello\n|]",
        ],
    );
    check(
        &["EPRT |1|127.0.0.1|51201|", "REST 4", "RETR digits", "@get"],
        &[
            "200 There it will go",
            "350 The next transfer begins at 4",
            "150 Here it comes (6 bytes)",
            "[connects to 127.0.0.1:51201]",
            "226 Done",
            "[456789|]",
        ],
    );
    check(
        &[
            "EPSV",
            "REST 11",
            "RETR digits",
            "RETR none",
            "RETR folder",
            "REST 10",
            "RETR digits",
            "@connect",
            "@get",
        ],
        &[
            "229 Entering Extended Passive Mode (|||50000|)",
            "350 The next transfer begins at 11",
            "554 The offset is behind the end of the file",
            "550 No such file or folder",
            "550 Is a folder",
            "350 The next transfer begins at 10",
            "150 Here it comes (0 bytes)",
            "226 Done",
            "[|]",
        ],
    );
}

#[test]
fn types_and_modes_change_what_is_sent() {
    check(
        &[
            "TYPE A",
            "PASV",
            "RETR folder/inner.txt",
            "@connect",
            "@get",
            "REST 1",
            "PASV",
            "RETR hello.txt",
        ],
        &[
            "200 TYPE is A",
            PASSIVE,
            "150 Here it comes",
            "226 Done",
            "[one",
            "two",
            "|]",
            "350 The next transfer begins at 1",
            "227 Entering Passive Mode (127,0,0,1,195,81)",
            "504 A transfer is resumed in TYPE I and MODE S",
        ],
    );
}

#[test]
fn files_are_sent() {
    check(
        &["PASV", "STOR new.txt", "@connect", "@send one", "@send two", "@end", "SIZE new.txt"],
        &[PASSIVE, "150 Send it", "226 Done", "213 6"],
    );
    check(
        &[
            "PASV",
            "@connect",
            "APPE digits",
            "@send abc",
            "@end",
            "SIZE digits",
            "EPSV",
            "REST 4",
            "STOR digits",
            "@connect",
            "@send xy",
            "@end",
            "SIZE digits",
        ],
        &[
            PASSIVE,
            "150 Send it",
            "226 Done",
            "213 13",
            "229 Entering Extended Passive Mode (|||50001|)",
            "350 The next transfer begins at 4",
            "150 Send it",
            "226 Done",
            "213 6",
        ],
    );
    check(
        &[
            "PASV",
            "STOU digits",
            "@connect",
            "@send x",
            "@end",
            "SIZE digits.1",
            "PASV",
            "STOU",
            "@connect",
            "@end",
        ],
        &[
            PASSIVE,
            "150 FILE: digits.1",
            "226 Done",
            "213 1",
            "227 Entering Passive Mode (127,0,0,1,195,81)",
            "150 FILE: file",
            "226 Done",
        ],
    );
    check(
        &[
            "TYPE A",
            "PASV",
            "STOR a",
            "@connect",
            "@send a\r",
            "@send \nb\r\nc\r",
            "@end",
            "TYPE I",
            "SIZE a",
        ],
        &["200 TYPE is A", PASSIVE, "150 Send it", "226 Done", "200 TYPE is I", "213 6"],
    );
}

#[test]
fn a_transfer_is_broken_off() {
    check(
        &["PASV", "STOR new", "@connect", "@send part", "ABOR", "@get", "SIZE new", "RETR new"],
        &[
            PASSIVE,
            "150 Send it",
            "426 Broken off",
            "226 Nothing is under way any more",
            "[|]",
            "213 4",
            "425 Say PASV, EPSV, PORT or EPRT first",
        ],
    );
    // Before the data connection stands, and with Telnet's signals.
    check(
        &["PASV", "RETR hello.txt", "@raw \u{ff}\u{f4}\u{ff}\u{f2}ABOR\r\n", "@connect"],
        &[
            PASSIVE,
            "150 Here it comes (6 bytes)",
            "426 Broken off",
            "226 Nothing is under way any more",
            "[refused]",
        ],
    );
}

#[test]
fn what_comes_during_a_transfer_waits_for_it() {
    check(
        &[
            "PASV",
            "STOR new",
            "STAT",
            "@connect",
            "@send part",
            "STAT",
            "@raw PWD\r\nNOOP\r\nSTAT\r\n",
            "@end",
        ],
        &[
            PASSIVE,
            "150 Send it",
            "213 Waiting for the data connection",
            "213 A transfer is under way, 4 bytes so far",
            "226 Done",
            "257 \"/\" is where you are",
            "200 Here I am",
            "211-How things are:",
            " Logged in as alice",
            " TYPE I, STRU F, MODE S",
            "211 End",
        ],
    );
    check(
        &["PASV", "STOR new", "@connect", "@send part", "PWD", "ABOR", "NOOP"],
        &[
            PASSIVE,
            "150 Send it",
            "426 Broken off",
            "257 \"/\" is where you are",
            "226 Nothing is under way any more",
            "200 Here I am",
        ],
    );
    check(
        &["PASV", "STOR new", "@connect", "@send part", "QUIT", "@send more", "@end"],
        &[PASSIVE, "150 Send it", "226 Done", "221 Goodbye"],
    );
}

#[test]
fn a_flood_behind_a_transfer_is_bounded_and_answered() {
    let flood = format!("@raw {}", "NOOP\r\n".repeat(500));
    let world = play(
        builder(&files()),
        &["USER alice", "PASS secret", "PASV", "STOR new", "@connect", &flood],
        Faults::none(),
    );
    // Most of it isn't read.
    assert_eq!(lines(&world).len(), 5);
    let mut world = world;
    world.data.as_mut().unwrap().end();
    world.settle();
    assert_eq!(world.transcript.matches("200 Here I am").count(), 500);
}

#[test]
fn losses_are_told() {
    check(
        &["PASV", "STOR new", "@connect", "@send part", "@reset", "NOOP"],
        &[PASSIVE, "150 Send it", "426 The data connection was lost", "200 Here I am"],
    );
    check(
        &["PASV", "RETR hello.txt", "@wait 61", "NOOP"],
        &[
            PASSIVE,
            "150 Here it comes (6 bytes)",
            "425 There is no data connection",
            "200 Here I am",
        ],
    );
    // It stood, and left before it was used.
    check(
        &["PASV", "@connect", "@reset", "RETR hello.txt"],
        &[PASSIVE, "425 Say PASV, EPSV, PORT or EPRT first"],
    );
    // It came and was never used.
    check(
        &["PASV", "@connect", "@wait 61", "RETR hello.txt"],
        &[PASSIVE, "425 Say PASV, EPSV, PORT or EPRT first"],
    );
}

#[test]
fn a_silent_upload_is_cut_off_and_the_control_connection_waits_for_it() {
    check(
        &["PASV", "STOR new", "@connect", "@send part", "@wait 25", "NOOP", "SIZE new"],
        &[PASSIVE, "150 Send it", "426 The data connection was too slow", "200 Here I am", "213 4"],
    );
    // The limit on silence is for the time between commands.
    let unlimited = |memory: &Memory| {
        let mut limits = super::fixture::limits();
        limits.minimum_rate = None;
        builder_of(ServiceParts::new("ftp.test").with_limits(limits), memory)
    };
    let script = ["PASV", "STOR new", "@connect", "@wait 299", "@send a", "@wait 299", "@end"];
    check_in(&files(), unlimited, &script, &[PASSIVE, "150 Send it", "226 Done"]);
}

#[test]
fn a_lost_control_connection_ends_the_transfer() {
    for end in ["@lost", "@gone"] {
        let script =
            ["USER alice", "PASS secret", "PASV", "STOR new", "@connect", "@send part", end];
        let mut world = play(builder(&files()), &script, Faults::none());
        world.settle();
        assert!(world.data.as_ref().unwrap().is_closed(), "{end}");
        assert!(world.control.is_closed(), "{end}");
    }
    // But one that has said QUIT before hears the end of it.
    let script =
        ["USER alice", "PASS secret", "PASV", "STOR new", "@connect", "QUIT", "@gone", "@end"];
    let world = play(builder(&files()), &script, Faults::none());
    assert_eq!(lines(&world)[5..], ["226 Done", "221 Goodbye"]);
}

#[test]
fn a_drain_waits_for_the_transfer() {
    check(
        &["PASV", "STOR new", "@connect", "@send part", "@drain", "@send more", "@end"],
        &[PASSIVE, "150 Send it", "226 Done", "421 The server is shutting down"],
    );
}

#[test]
fn a_full_storage_is_told_and_what_was_there_stays() {
    let memory = Memory::new(200_000);
    memory.insert("digits", "0123456789").unwrap();
    let big = format!("@send {}", "x".repeat(150_000));
    for start in [&["STOR digits"][..], &["APPE digits"], &["REST 4", "STOR digits"]] {
        let mut script = vec!["USER alice", "PASS secret", "PASV"];
        script.extend_from_slice(start);
        script.extend(["@connect", &big, &big, "@end", "XSHA256 digits"]);
        let world = play(builder(&memory.deep_copy()), &script, Faults::none());
        let told = lines(&world);
        assert_eq!(
            told[told.len() - 2..],
            [
                "452 No space left",
                "250 84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
            ]
        );
    }
}

#[test]
fn big_files_go_both_ways_in_bounded_memory() {
    let memory = Memory::new(10_000_000);
    let content: Vec<u8> =
        (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    memory.insert("big", content.clone()).unwrap();
    let login = ["USER alice", "PASS secret", "PASV", "RETR big", "@connect"];
    let mut world = play(builder(&memory), &login, Faults::random(3, 100_000));
    world.settle();
    assert_eq!(world.data.as_mut().unwrap().output(), content);
    let login = ["USER alice", "PASS secret", "PASV", "STOR copy", "@connect"];
    let mut world = play(builder(&memory), &login, Faults::random(5, 100_000));
    for piece in content.chunks(1_500_000) {
        let data = world.data.as_mut().unwrap();
        data.send(piece);
        // Reading rests while the pool writes.
        assert!(data.unread_bytes() >= piece.len() - 800_000, "{}", data.unread_bytes());
        world.settle();
    }
    world.data.as_mut().unwrap().end();
    world.settle();
    assert!(world.transcript.ends_with("226 Done\r\n"), "{}", world.transcript);
    assert!(memory.get("copy").unwrap() == content);
}

#[test]
fn transfers_are_logged() {
    let log = Arc::new(Lines::default());
    let sink: Arc<dyn AccessSink> = log.clone();
    let metrics = medusa_core::metrics::Metrics::default();
    let parts = ServiceParts::new("ftp.test").with_access(Some(sink));
    let builder = builder_of(parts, &files()).metrics(&metrics);
    let script = [
        "USER alice",
        "PASS secret",
        "PASV",
        "RETR hello.txt",
        "@connect",
        "PASV",
        "NLST",
        "@connect",
        "TYPE A",
        "PASV",
        "STOR a b\u{1b}",
        "@connect",
        "@send xyz",
        "ABOR",
    ];
    let world = play(builder, &script, Faults::none());
    assert!(world.transcript.contains(READY));
    assert_eq!(
        *log.0.lock().unwrap(),
        [
            "Sun Sep  9 01:46:40 2001 1 127.0.0.1 6 /hello.txt b _ o r alice ftp 0 * c",
            "Sun Sep  9 01:46:40 2001 1 127.0.0.1 3 /a_b_ a _ i r alice ftp 0 * i",
        ]
    );
    assert_eq!(
        metrics.service("ftp.test").counters(),
        [("downloads", 1), ("downloaded_octets", 6), ("uploads", 1), ("uploaded_octets", 3)]
    );
}
