//! Whatever a client does on both connections, each command has one last reply, in order, and nothing
//! hangs.

use medusa_core::ServiceParts;
use medusa_core::testing::Faults;
use proptest::prelude::*;

use super::fixture::{World, builder, builder_of, files, limits};
use crate::commands::COMMANDS;

/// What a client may do next. Without a data connection, a step on it is none.
fn steps() -> impl Strategy<Value = String> {
    let verbs = prop::sample::select(vec![
        "PASV",
        "EPSV",
        "PORT 127,0,0,1,200,1",
        "TYPE A",
        "TYPE I",
        "MODE Z",
        "MODE S",
        "REST 3",
        "RETR hello.txt",
        "RETR digits",
        "RETR none",
        "STOR new",
        "STOR digits",
        "APPE digits",
        "STOU",
        "LIST",
        "NLST folder",
        "MLSD",
        "ABOR",
        "STAT",
        "STAT /",
        "PWD",
        "CWD folder",
        "CDUP",
        "SIZE digits",
        "RNFR digits",
        "RNTO moved",
        "DELE new",
        "MKD made",
        "RMD made",
        "HASH digits",
        "NOOP",
        "MLST",
        "FEAT",
    ]);
    let data = prop::sample::select(vec![
        "@connect",
        "@stranger",
        "@send some octets",
        "@end",
        "@truncate",
        "@reset",
        "@wait 3",
        "@stall",
        "@unstall",
    ]);
    prop_oneof![3 => verbs, 2 => data].prop_map(str::to_owned)
}

fn finals(transcript: &str) -> usize {
    let is_final = |line: &&str| {
        let octets = line.as_bytes();
        octets.len() >= 4
            && octets[..3].iter().all(u8::is_ascii_digit)
            && octets[0] != b'1'
            && octets[3] == b' '
    };
    transcript.split("\r\n").filter(is_final).count()
}

/// A line that may begin like a command, and goes on as it likes.
fn nonsense() -> impl Strategy<Value = Vec<u8>> {
    let verbs: Vec<&str> = COMMANDS.rows().iter().map(|row| row.verb).collect();
    let verb =
        prop_oneof![3 => prop::sample::select(verbs).prop_map(str::to_owned), 1 => "[A-Za-z]{0,5}"];
    let octets = prop_oneof![
        any::<Vec<u8>>(),
        "[ ,.;:|/*?0-9A-Za-z\u{1}\u{7f}-]{0,40}".prop_map(String::into_bytes),
    ];
    (verb, prop::sample::select(vec![" ", "  ", "", "\t"]), octets)
        .prop_map(|(verb, gap, octets)| [verb.as_bytes(), gap.as_bytes(), &octets].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_a_line_says_it_has_its_reply(
        lines in prop::collection::vec(nonsense(), 1..12), is_inside in any::<bool>(),
    ) {
        let mut limits = limits();
        limits.login = None;
        let parts = ServiceParts::new("ftp.test").with_limits(limits);
        let mut world = World::new(builder_of(parts, &files()), Faults::none());
        world.settle();
        if is_inside {
            world.step("USER alice");
            world.step("PASS secret");
        }
        for line in lines {
            let mut line: Vec<u8> = line.into_iter().filter(|&octet| octet != b'\n').collect();
            // ABOR may come without its LF, and QUIT is answered once.
            if world.control.is_closed() || line.to_ascii_uppercase().starts_with(b"ABOR") {
                continue;
            }
            let before = finals(&world.transcript);
            line.extend_from_slice(b"\r\n");
            world.control.send(&line);
            world.settle();
            // A transfer that waits for its data is told of that, and ends.
            world.step("@wait 61");
            let told = finals(&world.transcript) - before;
            prop_assert_eq!(told, 1, "{}\n{}", line.escape_ascii(), world.transcript);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn every_command_has_its_reply(script in prop::collection::vec(steps(), 1..30), seed in any::<u64>()) {
        let mut world = World::new(builder(&files()), Faults::random(seed, 50));
        world.step("USER alice");
        world.step("PASS secret");
        let mut commands = 2;
        for step in &script {
            let on_data = ["@send", "@end", "@truncate", "@reset", "@stall", "@unstall"];
            let needs_data = on_data.iter().any(|verb| step.starts_with(verb));
            if needs_data && world.data.is_none() {
                continue;
            }
            commands += usize::from(!step.starts_with('@'));
            world.step(step);
        }
        // A transfer that waits for its data, or for its peer, has its end by now.
        for _ in 0..20 {
            world.step("@wait 61");
        }
        world.step("NOOP");
        // The greeting is one more, and the silence may have been too long.
        let told = finals(&world.transcript) - 1;
        prop_assert!(told > commands, "{told} of {commands}: {script:?}\n{}", world.transcript);
        prop_assert!(told <= commands + 2, "{told} of {commands}: {script:?}\n{}", world.transcript);
    }
}
