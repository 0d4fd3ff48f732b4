//! Who may connect where, what TLS must prove, and what is never leaked.

use std::net::{Ipv4Addr, SocketAddr};

use medusa_core::testing::{Asked, Client, Faults};
use medusa_core::{Endpoint, Limits, Peer, Session};

use super::fixture::{World, builder, check, check_in, check_outside, files, limits, lines, play};
use crate::data::Order;
use crate::passive::PortRange;
use crate::service::FtpBuilder;
use crate::session::FtpSession;
use crate::storage::Memory;

const PASSIVE: &str = "227 Entering Passive Mode (127,0,0,1,195,80)";

fn secured(memory: &Memory) -> FtpBuilder {
    builder(memory).offering_tls()
}

#[test]
fn data_goes_to_the_peer_alone() {
    let refused = "504 Data goes to your own address, and to no privileged port";
    check(
        &[
            "PORT 192,0,2,1,200,1",
            "PORT 127,0,0,1,0,22",
            "PORT 127,0,0,1,3,255",
            "EPRT |1|192.0.2.1|51201|",
            "EPRT |2|::1|51201|",
            "EPRT |2|::ffff:127.0.0.1|51201|",
            "EPRT |3|x|1|",
            "PORT 1,2,3",
            "RETR hello.txt",
        ],
        &[
            refused,
            refused,
            refused,
            refused,
            refused,
            "200 There it will go",
            "522 Network protocol not supported, use (1,2)",
            "501 Syntax: PORT h1,h2,h3,h4,p1,p2",
            "150 Here it comes (6 bytes)",
            "[connects to 127.0.0.1:51201]",
            "226 Done",
        ],
    );
}

#[test]
fn a_stranger_takes_nobodys_place() {
    check(
        &["PASV", "RETR hello.txt", "@stranger", "@get", "@connect", "@get"],
        &[PASSIVE, "150 Here it comes (6 bytes)", "[|]", "226 Done", "[hello\n|]"],
    );
}

#[test]
fn epsv_all_is_kept() {
    check(
        &[
            "EPSV ALL",
            "PASV",
            "PORT 127,0,0,1,200,1",
            "EPRT |1|127.0.0.1|51201|",
            "EPSV 2",
            "EPSV 1",
        ],
        &[
            "200 EPSV it is from now on",
            "503 It was said that EPSV is all that will be used",
            "503 It was said that EPSV is all that will be used",
            "503 It was said that EPSV is all that will be used",
            "522 Network protocol not supported, use (1)",
            "229 Entering Extended Passive Mode (|||50000|)",
        ],
    );
}

#[test]
fn plaintext_behind_auth_is_thrown_away() {
    // CVE-2011-0411: what was slipped in before TLS must not be taken for what came through it.
    let script = ["@raw AUTH TLS\r\nUSER alice\r\nPASS secret\r\n", "@secure control", "PWD"];
    let world = play(secured(&files()), &script, Faults::none());
    assert_eq!(lines(&world)[1..], ["234 TLS begins", "530 Log in first"]);
    // Nor does a name that was given before count.
    let script = ["USER alice", "AUTH TLS", "@secure control", "PASS secret"];
    let world = play(secured(&files()), &script, Faults::none());
    assert_eq!(lines(&world)[3], "503 Not now: another command comes before it");
}

#[test]
fn protection_is_asked_for_in_order() {
    let script = [
        "PBSZ 0",
        "PROT P",
        "AUTH GSSAPI",
        "AUTH TLS",
        "@secure control",
        "PROT P",
        "PBSZ x",
        "PBSZ 100",
        "PROT S",
        "PROT X",
        "PROT P",
        "AUTH TLS",
        "PROT C",
        "CCC",
    ];
    let world = play(secured(&files()), &script, Faults::none());
    assert_eq!(
        lines(&world)[1..],
        [
            "503 AUTH TLS comes first",
            "503 AUTH TLS and PBSZ come first",
            "504 TLS is what is offered",
            "234 TLS begins",
            "503 AUTH TLS and PBSZ come first",
            "501 A size is a number",
            "200 PBSZ=0",
            "536 C and P are what TLS has",
            "504 C and P are what TLS has",
            "200 Data will be protected",
            "503 This connection is protected already",
            "200 Data will be clear",
            "533 The control connection stays protected",
        ]
    );
    check_outside(&["AUTH TLS"], &["502 TLS is not offered"]);
}

#[test]
fn a_data_connection_proves_whose_it_is() {
    let login = ["AUTH TLS", "@secure control", "USER alice", "PASS secret", "PBSZ 0", "PROT P"];
    let play_on = |rest: &[&'static str]| {
        let mut script = login.to_vec();
        script.extend_from_slice(rest);
        let world = play(secured(&files()), &script, Faults::none());
        lines(&world)[6..].iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()
    };
    let passive = ["[listens for TLS]", PASSIVE];
    assert_eq!(
        play_on(&["PASV", "RETR hello.txt", "@resume control", "@get"])[..],
        [&passive[..], &["150 Here it comes (6 bytes)", "226 Done", "[hello\n|]"]].concat()
    );
    // A ticket of a data connection that was right will do as well.
    let told = play_on(&[
        "PASV",
        "@resume control",
        "NLST",
        "PASV",
        "@resume data connection.",
        "RETR hello.txt",
    ]);
    assert_eq!(told.last().unwrap(), "226 Done", "{told:?}");
    // Somebody else's session, or none, before the command or behind it.
    let refused = "522 The data connection's TLS is not as it should be";
    for resumes in ["@resume another", "@resume"] {
        let told = play_on(&["PASV", "RETR hello.txt", resumes, "@get"]);
        assert_eq!(told[told.len() - 2..], [refused, "[|]"]);
        let told = play_on(&["PASV", resumes, "RETR hello.txt", "NOOP"]);
        let must = "522 The data connection must resume the TLS session of this one";
        assert_eq!(told[told.len() - 2..], [must, "200 Here I am"]);
    }
    // A port that was told for clear data isn't used for protected data, nor the other way round.
    let told = play_on(&["PASV", "PROT C", "@connect", "RETR hello.txt"]);
    assert_eq!(told[told.len() - 2..], ["[refused]", "425 Say PASV, EPSV, PORT or EPRT first"]);
    // Where the server connects it is held to the same.
    let active = ["@resumes control", "PORT 127,0,0,1,200,1", "RETR hello.txt", "@get"];
    let connects = ["150 Here it comes (6 bytes)", "[connects to 127.0.0.1:51201 with TLS]"];
    assert_eq!(play_on(&active)[1..], [&connects[..], &["226 Done", "[hello\n|]"]].concat());
    let told = play_on(&["@resumes another", "PORT 127,0,0,1,200,1", "RETR hello.txt"]);
    assert_eq!(told[1..], [&connects[..], &[refused]].concat());
    // An upload that was cut off without TLS's word for it isn't whole.
    let told = play_on(&["PASV", "STOR new", "@resume control", "@send part", "@truncate"]);
    assert_eq!(told.last().unwrap(), "426 The data connection ended without TLS's close_notify");
    let mut script = login.to_vec();
    script.extend(["PASV", "RETR hello.txt", "@resume"]);
    let world = play(secured(&files()).data_tls_binding(false), &script, Faults::none());
    assert_eq!(*lines(&world).last().unwrap(), "226 Done");
}

#[test]
fn nobody_stays_outside() {
    let late = "421 Nobody has logged in";
    check_outside(&["@wait 59", "NOOP", "@wait 2"], &["200 Here I am", late]);
    check_outside(&["USER alice", "@wait 61"], &["331 Send the password", late]);
    check(
        &["@wait 61", "NOOP", "REIN", "@wait 61"],
        &["200 Here I am", "220 Ready for another user", late],
    );
    // REIN doesn't wind it up for somebody who has never been inside.
    let again = "220 Ready for another user";
    check_outside(&["@wait 40", "REIN", "@wait 15", "REIN", "@wait 6"], &[again, again, late]);
}

#[test]
fn a_letter_box_shows_nothing() {
    let script = [
        "USER drop",
        "PASS secret",
        "PASV",
        "LIST",
        "RETR hello.txt",
        "SIZE hello.txt",
        "STOR hello.txt",
        "DELE hello.txt",
        "STOR new",
        "@connect",
        "@send x",
        "@end",
        "STAT /",
    ];
    let world = play(builder(&files()), &script, Faults::none());
    let no = "550 Not permitted";
    let told = ["550 Exists already", no, "150 Send it", "226 Done", no];
    assert_eq!(lines(&world)[4..], [&[no, no, no][..], &told].concat());
}

#[test]
fn a_thousand_passive_opens_leave_one_port_lent() {
    let mut world = play(builder(&files()), &["USER alice", "PASS secret"], Faults::none());
    for _ in 0..1000 {
        world.control.send("PASV\r\n");
        world.settle();
    }
    assert_eq!(world.listened, 1000);
    assert!(!world.transcript.contains("425"));
    // Four ports: this session has one of them, three others find theirs.
    assert_eq!(world.transcript.matches("227").count(), 1000);
}

#[test]
fn ports_are_shared_and_given_back() {
    let builder = builder(&files()).passive_ports(PortRange::new(50_000, 50_001));
    let shared = builder.build().into_shared();
    let mut worlds: Vec<World> = (0..3).map(|_| World::of(&shared, Faults::none())).collect();
    let ask = |world: &mut World| {
        world.control.send("EPSV\r\n");
        world.settle();
        world.transcript.lines().last().unwrap().to_owned()
    };
    for world in &mut worlds {
        world.control.send("USER anonymous\r\nPASS\r\n");
        world.settle();
    }
    assert!(ask(&mut worlds[0]).contains("50000"));
    assert!(ask(&mut worlds[1]).contains("50001"));
    assert_eq!(ask(&mut worlds[2]), "425 No port is free");
    worlds[0].control.reset();
    assert!(ask(&mut worlds[2]).contains("50000"));
    // A port that another program has is passed over.
    worlds[1].control.send("QUIT\r\n").end();
    worlds[1].settle();
    worlds[2].taken = vec![50_001];
    assert!(ask(&mut worlds[2]).contains("50000"), "{}", worlds[2].transcript);
    worlds[2].taken = vec![50_000, 50_001];
    assert_eq!(ask(&mut worlds[2]), "425 No port is free");
}

#[test]
fn names_forge_nothing() {
    let memory = Memory::new(1000);
    for name in ["a\r\n226 Done", "q\"q", "tab\there", &"n".repeat(255)] {
        memory.insert(name, "x").unwrap();
    }
    let long = "n".repeat(255);
    let size = format!("SIZE {long}");
    check_in(
        &memory,
        builder,
        &[
            "SIZE q\"q",
            &size,
            "OPTS MLST size;",
            "MLST q\"q",
            "PASV",
            "NLST",
            "@connect",
            "@get",
            "MKD \u{ff}\u{ff}x\"",
            "CWD \u{ff}x\"",
            "PWD",
            "CWD ..",
            "CWD \0",
            "MKD line\nfeed",
        ],
        &[
            "213 1",
            "213 1",
            "200 MLST OPTS size;",
            "250-Here it is",
            " size=1; /q\"q",
            "250 That is all",
            PASSIVE,
            "150 Here it comes",
            "226 Done",
            "[a??226 Done",
            &long,
            "q\"q",
            "tab?here",
            "|]",
            "257 \"/\u{ff}\u{ff}x\"\"\" is there now",
            "250 There you are",
            "257 \"/\u{ff}\u{ff}x\"\"\" is where you are",
            "250 There you are",
            "553 That is no name for a file",
            "257 \"/line?feed\" is there now",
        ],
    );
}

#[test]
fn an_idle_connection_is_small() {
    // With what the core keeps of a connection it is to stay below 1 KiB.
    let size = std::mem::size_of::<crate::session::FtpSession>();
    assert!(size <= 512, "{size}");
}

#[test]
fn one_that_comes_too_late_ends_nothing() {
    let mut world = play(builder(&files()), &["USER alice", "PASS secret", "PASV"], Faults::none());
    // Both were accepted before the port was closed.
    let mut acceptor = world.acceptor.take().expect("it listens");
    let peer = world.peer();
    let second = acceptor.accepted(&peer);
    let first = acceptor.accepted(&peer);
    world.data = Some(Client::from_peer(first, peer.clone(), limits(), Faults::none()));
    world.settle();
    let mut second = Client::from_peer(second, peer, limits(), Faults::none());
    world.pass_on(&mut second);
    let asked = world.control.asked();
    let [Asked::Notify(_, note)] = <[_; 1]>::try_from(asked).ok().expect("one order") else {
        panic!("the second is to be abandoned")
    };
    second.notify(note.downcast::<Order>().expect("an order"));
    assert!(second.is_closed());
    world.control.deliver();
    world.step("RETR hello.txt");
    world.step("@get");
    let told = lines(&world);
    assert_eq!(told[told.len() - 3..], ["150 Here it comes (6 bytes)", "226 Done", "[hello\n|]"]);
}

#[test]
fn a_port_takes_a_few_and_closes() {
    let mut world = play(builder(&files()), &["USER alice", "PASS secret", "PASV"], Faults::none());
    let peer = world.peer();
    // Their handshakes never end.
    let taken = (0..100).take_while(|_| {
        let session = world.acceptor.as_mut().map(|acceptor| acceptor.accepted(&peer));
        world.settle();
        session.is_some()
    });
    assert_eq!(taken.count(), 8);
    // One of them may still turn out to be the right one; otherwise it is told after a while.
    world.step("RETR hello.txt");
    world.step("@wait 61");
    assert_eq!(*lines(&world).last().unwrap(), "425 There is no data connection");
}

#[test]
fn a_port_that_nobody_uses_is_given_back() {
    let script = ["PASV", "@wait 59", "NOOP", "@wait 2", "@connect", "LIST"];
    let told = [PASSIVE, "200 Here I am", "[refused]", "425 Say PASV, EPSV, PORT or EPRT first"];
    check(&script, &told);
    // Nor is another way for data taken away, or a connection that stands.
    check(
        &["PASV", "PORT 127,0,0,1,200,1", "@wait 61", "RETR hello.txt"],
        &[
            PASSIVE,
            "200 There it will go",
            "150 Here it comes (6 bytes)",
            "[connects to 127.0.0.1:51201]",
            "226 Done",
        ],
    );
    check(
        &["PASV", "@wait 50", "@connect", "@wait 20", "RETR hello.txt"],
        &[PASSIVE, "150 Here it comes (6 bytes)", "226 Done"],
    );
}

#[test]
fn epsv_says_what_there_is() {
    check(
        &["EPSV 3", "EPSV 2", "EPSV x", "EPSV ALL", "PASV"],
        &[
            "522 Network protocol not supported, use (1)",
            "522 Network protocol not supported, use (1)",
            "501 Syntax: EPSV [1|2|ALL]",
            "200 EPSV it is from now on",
            "503 It was said that EPSV is all that will be used",
        ],
    );
}

#[test]
fn an_ipv6_client_gets_no_ipv4_port() {
    let address = |port| Endpoint::Inet(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port)));
    let builder = builder(&files()).passive_address(Some(Ipv4Addr::new(203, 0, 113, 7)));
    let session: Box<dyn Session> = Box::new(FtpSession::new(builder.build().into_shared()));
    let peer = Peer::new(address(40_000), address(21));
    let mut client = Client::from_peer(session, peer, Limits::default(), Faults::none());
    client.send("USER ftp\r\nPASS x\r\nPASV\r\nEPSV 1\r\nEPSV 3\r\n").run_jobs().deliver();
    let told = client.text();
    let told: Vec<&str> = told.lines().rev().take(3).collect();
    let other = "522 Network protocol not supported, use (2)";
    assert_eq!(told, [other, other, "425 There is no IPv4 address here, use EPSV"]);
}
