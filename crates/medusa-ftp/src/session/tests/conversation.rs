//! Conversations on the control connection alone.

use medusa_core::testing::Faults;

use super::fixture::{builder, check, check_outside, files, limits, lines, play};

#[test]
fn logins() {
    check_outside(
        &[
            "USER bob",
            "PASS x",
            "@wait 30",
            "PWD",
            "USER mallory",
            "PASS secret",
            "@wait 20",
            "user ANONYMOUS",
            "PASS",
            "PWD",
            "STOR x",
            "DELE hello.txt",
            "REIN",
            "PWD",
        ],
        &[
            "331 Send the password",
            "530 Wrong name or password",
            "530 Log in first",
            "331 Send the password",
            "530 There is nothing here for this account",
            "331 Send your mail address as the password",
            "230 Welcome",
            "257 \"/\" is where you are",
            "425 Say PASV, EPSV, PORT or EPRT first",
            "550 Not permitted",
            "220 Ready for another user",
            "530 Log in first",
        ],
    );
}

#[test]
fn a_login_that_has_to_wait_keeps_the_order() {
    let script =
        ["USER bob", "PASS x", "USER alice", "@raw PASS secret\r\nNOOP\r\nPWD\r\n", "@wait 1"];
    let world = play(builder(&files()), &script, Faults::none());
    assert_eq!(lines(&world)[4..], ["230 Welcome", "200 Here I am", "257 \"/\" is where you are"]);
}

#[test]
fn folders() {
    check(
        &[
            "PWD",
            "CWD folder",
            "PWD",
            "SIZE inner.txt",
            "CDUP",
            "PWD",
            "CWD none",
            "CWD hello.txt",
            "CWD ../../..",
            "PWD",
            "MKD a \"b\"",
            "CWD a \"b\"",
            "PWD",
            "CWD /",
            "RMD a \"b\"",
            "RMD folder",
            "RMD /",
            "DELE folder",
            "XPWD",
        ],
        &[
            "257 \"/\" is where you are",
            "250 There you are",
            "257 \"/folder\" is where you are",
            "213 8",
            "250 There you are",
            "257 \"/\" is where you are",
            "550 No such file or folder",
            "550 Not a folder",
            "250 There you are",
            "257 \"/\" is where you are",
            "257 \"/a \"\"b\"\"\" is there now",
            "250 There you are",
            "257 \"/a \"\"b\"\"\" is where you are",
            "250 There you are",
            "250 It is gone",
            "550 The folder is not empty",
            "550 The folder is not empty",
            "550 Is a folder",
            "257 \"/\" is where you are",
        ],
    );
}

#[test]
fn facts_about_files() {
    check(
        &[
            "MFMT 20010909014640 /",
            "MFMT 20010909014640 hello.txt",
            "MDTM hello.txt",
            "SITE CHMOD 640 hello.txt",
            "OPTS MLST size;modify;unix.mode;",
            "MLST hello.txt",
            "MLST",
            "SIZE folder",
            "MDTM none",
            "MFMT 2001 hello.txt",
            "SITE CHMOD 1777 hello.txt",
            "SITE CHMOD +77 hello.txt",
            "SITE CHMOD 644",
            "HASH digits",
            "XSHA256 digits",
            "HASH folder",
        ],
        &[
            "213 Modify=20010909014640; /",
            "213 Modify=20010909014640; hello.txt",
            "213 20010909014640",
            "200 The mode is set",
            "200 MLST OPTS size;modify;UNIX.mode;",
            "250-Here it is",
            " size=6;modify=20010909014640;UNIX.mode=0640; /hello.txt",
            "250 That is all",
            "250-Here it is",
            " modify=20010909014640;UNIX.mode=0755; /",
            "250 That is all",
            "550 Is a folder",
            "550 No such file or folder",
            "501 Syntax: MFMT YYYYMMDDHHMMSS path",
            "501 Syntax: SITE CHMOD mode path",
            "501 Syntax: SITE CHMOD mode path",
            "501 Syntax: SITE CHMOD mode path",
            "213 SHA-256 0-10 84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882 digits",
            "250 84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882",
            "550 Is a folder",
        ],
    );
}

#[test]
fn sizes_are_told_for_the_type() {
    check(
        &[
            "SIZE folder/inner.txt",
            "TYPE A",
            "SIZE folder/inner.txt",
            "TYPE L 8",
            "SIZE folder/inner.txt",
            "TYPE E",
            "TYPE A T",
        ],
        &[
            "213 8",
            "200 TYPE is A",
            "213 10",
            "200 TYPE is I",
            "213 8",
            "504 The types are A, I and L 8",
            "504 The types are A, I and L 8",
        ],
    );
}

#[test]
fn what_the_server_says_of_itself() {
    check(
        &[
            "SYST",
            "FEAT",
            "OPTS UTF8 ON",
            "OPTS X",
            "OPTS MODE Z LEVEL 9",
            "STAT",
            "HELP RETR",
            "HELP x",
            "ACCT x",
            "ALLO 5",
            "STRU F",
            "STRU R",
            "MODE B",
            "SMNT x",
            "CCC",
            "AUTH TLS",
            "CLNT x",
            "ABOR",
        ],
        &[
            "215 UNIX Type: L8",
            "211-Features:",
            " UTF8",
            " EPRT",
            " EPSV",
            " MLST type*;size*;modify*;perm*;UNIX.mode*;unique*;",
            " SIZE",
            " MDTM",
            " MFMT",
            " REST STREAM",
            " TVFS",
            " MODE Z",
            " HASH SHA-256*",
            " XSHA256",
            " HOST",
            " CLNT",
            " SITE CHMOD",
            "211 End",
            "200 Names are UTF-8",
            "501 There is no such option",
            "200 MODE Z LEVEL is 9",
            "211-How things are:",
            " Logged in as alice",
            " TYPE I, STRU F, MODE S",
            "211 End",
            "214 Syntax: RETR path",
            "504 No such command",
            "202 No account information is needed",
            "202 Room is found as it is needed",
            "200 STRU is F",
            "504 F is the one structure",
            "504 The modes are S and Z",
            "502 Nothing can be mounted",
            "533 The control connection stays protected",
            "503 Not now: another command comes before it",
            "200 Noted",
            "226 Nothing is under way any more",
        ],
    );
}

#[test]
fn a_list_on_the_control_connection() {
    check(
        &["MFMT 20010909014640 hello.txt", "STAT hello.txt", "STAT -l none"],
        &[
            "213 Modify=20010909014640; hello.txt",
            "213-Here it is",
            " -rw-r--r--   1 ftp      ftp                 6 Sep  9 01:46 hello.txt",
            "213 That is all",
            "550 No such file or folder",
        ],
    );
}

#[test]
fn hosts_are_named_before_users() {
    check_outside(
        &["HOST ftp.example.test", "HOST a b", "USER alice", "HOST x"],
        &[
            "220 FTP server ready",
            "501 That is no name of a host",
            "331 Send the password",
            "503 Not now: another command comes before it",
        ],
    );
}

#[test]
fn silence_and_drains_are_told() {
    let idle = limits().idle.unwrap().as_secs() + 1;
    check(&[&format!("@wait {idle}")], &["421 Nothing came for too long"]);
    check(&["@drain"], &["421 The server is shutting down"]);
    check(&["QUIT", "NOOP"], &["221 Goodbye"]);
}

#[test]
fn every_split_of_a_conversation_is_the_same() {
    let text = "USER alice\r\nPASS secret\r\nSIZE hello.txt\r\nPWD\r\n\u{ff}\u{f4}\u{ff}\u{f2}ABOR\r\nabor\r\nQUIT\r\n";
    let whole: Vec<u8> = text.chars().map(|c| c as u8).collect();
    let play_split = |cuts: &[usize]| {
        let mut world = play(builder(&files()), &[], Faults::none());
        let mut at = 0;
        for cut in cuts.iter().copied().chain([whole.len()]) {
            world.control.send(&whole[at..cut]);
            world.settle();
            at = cut;
        }
        world.transcript
    };
    let expected = play_split(&[]);
    assert_eq!(expected.matches("226 Nothing").count(), 2, "{expected}");
    for first in 0..=whole.len() {
        for second in (first..=whole.len()).step_by(3) {
            assert_eq!(play_split(&[first, second]), expected, "{first} {second}");
        }
    }
}

#[test]
fn an_abor_whose_lf_was_urgent_is_obeyed() {
    // The LF was sent as urgent data and taken out of the stream.
    for script in [
        &["@raw \u{ff}\u{f4}\u{ff}ABOR\r", "@raw PWD\r\n"][..],
        &["@raw ABOR\rPWD\r\n"],
        &["@raw ABOR\r", "@raw \nPWD\r\n"],
    ] {
        check(script, &["226 Nothing is under way any more", "257 \"/\" is where you are"]);
    }
    // What follows it may be too long to be a line.
    let long = format!("@raw {}\r\nPWD\r\n", "x".repeat(9000));
    check(
        &["@raw ABOR\r", &long],
        &["226 Nothing is under way any more", "500 No such command", "257 \"/\" is where you are"],
    );
}
