//! `[smtp.*]` as an operator writes it: what comes in by SMTP, users' logins, and what POP3 makes of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use medusa_tests::{Server, Site, messages};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

const SITE: &str = "\
[accounts]
file = \"users.toml\"

[smtp.mx]
listen = [\"127.0.0.1:0\"]
hostname = \"mx.example.test\"
domains = [\"example.test\"]
mailboxes = \"mail\"
max_message = \"1 MiB\"

[smtp.submission]
listen = [\"127.0.0.1:0\"]
hostname = \"mx.example.test\"
role = \"submission\"
domains = [\"example.test\"]
mailboxes = \"mail\"

[pop3.mail]
listen = [\"127.0.0.1:0\"]
mailboxes = \"mail\"
";

fn site() -> Site {
    let site = Site::new(SITE);
    add_account(&site, "alice", "secret", "alice@example.test");
    site
}

fn add_account(site: &Site, name: &str, password: &str, address: &str) {
    let mut command = site.command(MEDUSA, &["passwd", name]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it runs");
    let line = format!("{password}\n");
    child.stdin.take().expect("a pipe").write_all(line.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it ends").success());
    let users = site.read("users.toml");
    site.write("users.toml", format!("{users}mail = ['{address}']\n"));
}

/// Says each line, and returns the last line of the reply to each, the greeting's first.
fn talk(server: &Server, service: &str, lines: &[&str]) -> Vec<String> {
    let mut reader = BufReader::new(server.connect(service));
    let mut replies = Vec::new();
    for line in [""].iter().chain(lines) {
        if !line.is_empty() {
            reader.get_mut().write_all(format!("{line}\r\n").as_bytes()).expect("it reads");
        }
        let mut reply = String::new();
        while reply.get(3..4) == Some("-") || reply.is_empty() {
            reply.clear();
            reader.read_line(&mut reply).expect("text");
            assert!(reply.ends_with("\r\n"), "{replies:?} {reply:?}");
        }
        replies.push(reply.trim_end().to_owned());
    }
    replies
}

fn codes(replies: &[String]) -> String {
    replies.iter().map(|reply| &reply[..3]).collect::<Vec<_>>().join(" ")
}

#[test]
fn mail_comes_in_and_is_fetched() {
    let site = site();
    let server = site.serve(MEDUSA);
    let replies = talk(
        &server,
        "smtp.mx",
        &[
            "EHLO c.test",
            "MAIL FROM:<bob@elsewhere.test> SIZE=2000000",
            "MAIL FROM:<bob@elsewhere.test>",
            "RCPT TO:<carol@example.test>",
            "RCPT TO:<bob@elsewhere.test>",
            "RCPT TO:<alice+tag@example.test>",
            "DATA",
            "Subject: hello\r\n\r\n..\r\n.",
            "QUIT",
        ],
    );
    assert_eq!(codes(&replies), "220 250 552 250 550 550 250 354 250 221", "{replies:?}");

    // `\0alice\0secret`
    let login = "AUTH PLAIN AGFsaWNlAHNlY3JldA==";
    let lines =
        ["EHLO c.test", "MAIL FROM:<>", login, "MAIL FROM:<>", "RCPT TO:<x@elsewhere.test>"];
    let replies = talk(&server, "smtp.submission", &lines);
    assert_eq!(codes(&replies), "220 250 530 235 250 550", "{replies:?}");

    let replies = talk(&server, "pop3.mail", &["USER alice", "PASS secret", "STAT", "QUIT"]);
    assert!(replies.iter().all(|reply| reply.starts_with("+OK")), "{replies:?}");
    assert!(replies[3].starts_with("+OK 1 "), "{replies:?}");
    server.end();
}

/// An account, its password, its address and a message in UTF-8; RFC 6531, RFC 6856.
#[test]
fn what_is_not_ascii_goes_all_the_way() {
    let site = site();
    add_account(&site, "j\u{f6}rg", "p\u{e4}ss w\u{f6}rd", "\"j\u{f6}rg k.\"@example.test");
    let server = site.serve(MEDUSA);
    let replies = talk(
        &server,
        "smtp.mx",
        &[
            "EHLO c.test",
            "MAIL FROM:<\u{fc}@b\u{fc}cher.test> SMTPUTF8",
            "RCPT TO:<\"J\u{f6}rg K.\"@example.test>",
            "DATA",
            "From: \u{fc}@b\u{fc}cher.test\r\nSubject: Gr\u{fc}\u{df}e\r\n\r\n\u{fc}\r\n.",
            "QUIT",
        ],
    );
    assert_eq!(codes(&replies), "220 250 250 250 354 250 221", "{replies:?}");
    assert!(site.path("mail/j\u{f6}rg/new").is_dir());
    // As another keyboard writes it.
    let login = ["USER jo\u{308}rg", "PASS pa\u{308}ss wo\u{308}rd"];
    for (first, subject) in
        [("UTF8", "Subject: Gr\u{fc}\u{df}e\r\n"), ("NOOP", "?utf-8?b?R3LDvMOfZQ==?=")]
    {
        let mut stream = server.connect("pop3.mail");
        let script = [first, login[0], login[1], "LIST 1", "RETR 1", "QUIT", ""].join("\r\n");
        stream.write_all(script.as_bytes()).expect("it reads");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("it answers");
        assert!(text.contains(subject) && text.ends_with("+OK bye\r\n"), "{text}");
        let (_, rest) = text.split_once("octets)\r\n+OK 1 ").expect("a size");
        let (size, rest) = rest.split_once("\r\n").expect("a line");
        let (_, rest) = rest.split_once("\r\n").expect("a line");
        let (message, _) = rest.split_once("\r\n.\r\n").expect("an end");
        assert_eq!((message.len() + 2).to_string(), size, "{text}");
        let head = message.split("\r\n\r\n").next().expect("a head");
        assert_eq!(head.is_ascii(), first != "UTF8", "{text}");
    }
    server.end();
}

#[test]
fn a_queue_that_nobody_fills_is_refused_with_its_line() {
    let site = Site::new(&SITE.replace("max_message", "queue = \"queue\"\nmax_message"));
    site.write("users.toml", "");
    let output = site.command(MEDUSA, &["check", "medusa.toml"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("nothing is sent on from here"), "{said}");
}

#[test]
fn a_queue_of_two_services_is_refused_with_its_line_and_its_owner() {
    let second = SITE[SITE.find("[smtp.submission]").expect("there")..]
        .replace("[smtp.submission]", "[smtp.second]\nqueue = \"./queue\"");
    let second = &second[..second.find("[pop3").expect("there")];
    let site = Site::new(&format!(
        "{}\n{second}",
        SITE.replace("role = \"submission\"", "role = \"submission\"\nqueue = \"queue\"")
    ));
    site.write("users.toml", "");
    let output = site.command(MEDUSA, &["check", "medusa.toml"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("`./queue` is the queue of `[smtp.submission]` already"), "{said}");
    assert!(said.contains("queue = \"./queue\""), "{said}");
    assert!(!site.path("queue").exists());
}

#[test]
fn what_a_sender_wants_to_know_is_told_or_kept() {
    let site = site();
    // Nobody is at that port: what is for elsewhere stays in the queue.
    let queue = "role = \"submission\"\nqueue = \"queue\"\nrelay = \"127.0.0.1:1\"";
    site.write("medusa.toml", SITE.replace("role = \"submission\"", queue));
    let server = site.serve(MEDUSA);
    let replies = talk(&server, "smtp.mx", &["EHLO c.test", "MAIL FROM:<> RET=HDRS"]);
    assert_eq!(codes(&replies), "220 250 555", "without a queue there are no reports");
    let lines = [
        "EHLO c.test",
        "AUTH PLAIN AGFsaWNlAHNlY3JldA==",
        "MAIL FROM:<alice@example.test> RET=HDRS ENVID=QQ+3D1",
        "RCPT TO:<alice@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;list+2Bone@example.test",
        "RCPT TO:<postmaster@example.test> NOTIFY=NEVER",
        "RCPT TO:<bob@elsewhere.test> NOTIFY=DELAY ORCPT=rfc822;bob@elsewhere.test",
        "RCPT TO:<bob@elsewhere.test> NOTIFY=ALWAYS",
        "DATA",
        "Subject: told\r\n\r\nbody\r\n.",
        "MAIL FROM:<carol@elsewhere.test>",
        "RCPT TO:<alice@example.test> NOTIFY=SUCCESS",
        "DATA",
        "Subject: afar\r\n\r\n.",
    ];
    let replies = talk(&server, "smtp.submission", &lines);
    assert_eq!(codes(&replies), "220 250 235 250 250 250 250 501 354 250 250 250 354 250");

    let mut kept = messages(&site.path("mail/alice"), "new");
    kept.sort_by_key(|text| !text.contains("multipart/report"));
    assert_eq!(kept.len(), 3, "two messages and a report");
    let report = &kept[0];
    for part in [
        "Return-Path: <>\r\n",
        "To: <alice@example.test>\r\n",
        "Original-Envelope-Id: QQ=1\r\n",
        "Original-Recipient: rfc822; list+one@example.test\r\n",
        "Final-Recipient: rfc822; alice@example.test\r\nAction: delivered\r\nStatus: 2.0.0\r\n",
        "\r\nSubject: told\r\n\r\n--",
    ] {
        assert!(report.contains(part), "{part:?} isn't in {report}");
    }
    assert!(!report.contains("postmaster") && !report.contains("body"), "{report}");

    let envelopes = |wanted: &str| {
        let entries = std::fs::read_dir(site.path("queue/waiting")).expect("a folder");
        let texts = entries.map(|entry| std::fs::read_to_string(entry.expect("one").path()));
        texts.flatten().filter(|text| text.contains(wanted)).collect::<Vec<_>>().concat()
    };
    let onward = envelopes("recipient bob@elsewhere.test\n");
    for line in ["ret HDRS", "notify DELAY", "orcpt rfc822;bob@elsewhere.test"] {
        assert!(onward.contains(&format!("\n{line}\n")), "{line} isn't in {onward}");
    }
    assert!(onward.contains("\nenvid QQ"), "{onward}");
    let report = envelopes("recipient carol@elsewhere.test\n");
    assert!(report.contains("\nsender \n") && report.contains("\nnotify NEVER\n"), "{report}");
    server.end();
}
