//! `[dns.NAME]` as an operator mounts it, asked by the clients that people use.

use std::io::{Read, Write};
use std::net::{Shutdown, UdpSocket};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use medusa_tests::{Authority, PATIENCE, Server, Signal, Site, curl, require, until};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

const SITE: &str = "\
[dns.zones]
listen = [\"127.0.0.1:0\"]      # UDP and TCP
zones = [\"zones/example.test.zone\"]
transfer_to = [\"127.0.0.0/8\"]    # AXFR and IXFR
forward = []
";

const ZONE: &str = "\
$TTL 3600
@       SOA ns1 hostmaster 7 3600 900 604800 300
        NS  ns1
        MX  10 mail
ns1     A   192.0.2.1
mail    A   192.0.2.2
www     CNAME web
web     A   192.0.2.3
        AAAA 2001:db8::3
$GENERATE 1-2000 host-$ TXT \"host number ${0,5} with quite some text behind it\"
";

fn site() -> Site {
    let site = Site::new(SITE);
    site.write("zones/example.test.zone", ZONE);
    site
}

/// The ports for TCP and for UDP.
fn ports(server: &Server) -> (String, String) {
    let rows = || server.table().lines().filter(|row| row.starts_with("dns.zones "));
    let port = |row: &str| {
        let address = row.split_whitespace().nth(1).expect("an address");
        address.rsplit(':').next().expect("a port").to_owned()
    };
    let tcp = rows().find(|row| !row.ends_with("UDP")).map(port).expect("a row");
    let udp = rows().find(|row| row.ends_with("UDP")).map(port).expect("a row");
    (tcp, udp)
}

/// What a client prints; none where it isn't installed.
fn asked(program: &str, arguments: &[&str]) -> Option<String> {
    if !require(program) {
        return None;
    }
    let output = Command::new(program).args(arguments).output().expect("it runs");
    Some(String::from_utf8(output.stdout).expect("text"))
}

#[test]
fn dig_and_kdig_are_answered_over_udp_and_tcp() {
    let site = site();
    let server = site.serve(MEDUSA);
    let (tcp, udp) = ports(&server);
    for program in ["dig", "kdig"] {
        let ask = |port: &str, rest: &[&str]| {
            let arguments = [&["@127.0.0.1", "-p", port, "+norecurse"], rest].concat();
            asked(program, &arguments)
        };
        let Some(answer) = ask(&udp, &["www.example.test", "A", "+short"]) else { continue };
        assert_eq!(answer, "web.example.test.\n192.0.2.3\n");
        let answer = ask(&tcp, &["example.test", "MX", "+tcp", "+short"]).expect("an answer");
        assert_eq!(answer, "10 mail.example.test.\n");
        let answer = ask(&udp, &["none.example.test", "A"]).expect("an answer");
        assert!(answer.contains("NXDOMAIN") && answer.contains("SOA"), "{answer}");
        let answer = ask(&udp, &["example.org", "A"]).expect("an answer");
        assert!(answer.contains("REFUSED"), "{answer}");
    }
    server.end();
}

/// A Python that has dnspython: the system's, if the first one hasn't.
fn python() -> Option<&'static str> {
    let has = |python: &&str| {
        let run = Command::new(python).args(["-c", "import dns"]).stderr(Stdio::null()).status();
        run.is_ok_and(|status| status.success())
    };
    let found = ["python3", "/usr/bin/python3"].into_iter().find(has);
    if found.is_none() {
        // Tells it, or fails where every client must be there.
        require("python3 with dnspython");
    }
    found
}

const PYTHON: &str = "\
import sys, dns.flags, dns.message, dns.query, dns.zone
tcp, udp = map(int, sys.argv[1:])
zone = dns.zone.from_xfr(dns.query.xfr('127.0.0.1', 'example.test', port=tcp, lifetime=20))
asked = 0
for name, node in zone.nodes.items():
    for rdataset in node.rdatasets:
        query = dns.message.make_query(name.derelativize(zone.origin), rdataset.rdtype, use_edns=0)
        answer = dns.query.udp(query, '127.0.0.1', port=udp, timeout=20)
        assert answer.flags & dns.flags.AA, answer
        found = answer.answer[0].to_rdataset()
        assert found == rdataset.copy() or found.to_text() == rdataset.to_text(
            origin=zone.origin, relativize=False), (found.to_text(), rdataset.to_text())
        asked += 1
        if asked == 200:
            print('all is well')
            sys.exit()
";

#[test]
fn dnspython_finds_what_it_was_sent() {
    let Some(python) = python() else { return };
    let site = site();
    let server = site.serve(MEDUSA);
    let (tcp, udp) = ports(&server);
    let output = Command::new(python).args(["-c", PYTHON, &tcp, &udp]).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, b"all is well\n", "{errors}");
    server.end();
}

#[test]
fn a_zone_is_transferred_to_whom_it_may() {
    let site = site();
    let server = site.serve(MEDUSA);
    let (tcp, _) = ports(&server);
    for program in ["dig", "kdig"] {
        let arguments = ["@127.0.0.1", "-p", &tcp, "AXFR", "example.test", "+tcp"];
        let Some(answer) = asked(program, &arguments) else { continue };
        let records: Vec<_> = answer
            .lines()
            .filter(|line| line.starts_with(|c: char| c.is_ascii_alphanumeric()))
            .collect();
        // All of them, and the SOA record again.
        assert_eq!(records.len(), 2009, "{answer}");
        assert!(records[0].contains("SOA") && records[2008].contains("SOA"));
        assert!(answer.contains("host number 02000 with"));
    }
    server.end();
    site.write("medusa.toml", SITE.replace("127.0.0.0/8", "192.0.2.0/24"));
    let server = site.serve(MEDUSA);
    let (tcp, _) = ports(&server);
    let arguments = ["@127.0.0.1", "-p", &tcp, "AXFR", "example.test", "+tcp"];
    if let Some(answer) = asked("dig", &arguments) {
        assert!(answer.contains("Transfer failed") && !answer.contains("SOA"), "{answer}");
    }
    server.end();
}

#[test]
fn messages_come_over_tls_and_https() {
    let site = site();
    Authority::new(&site, "authority").sign(&site, "cert", &["localhost"]);
    let http = "\
tls_listen = [\"127.0.0.1:0\"]

[tls]
certificate = \"cert.pem\"
key = \"cert.key\"

[http.site]
tls_listen = [\"127.0.0.1:0\"]
[[http.site.route]]
path = \"/dns-query\"
dns = \"zones\"
";
    site.write("medusa.toml", format!("{SITE}{http}"));
    let server = site.serve(MEDUSA);
    let port = server.secured_address("dns.zones").port().to_string();
    let arguments =
        ["@127.0.0.1", "-p", &port, "+tls", "www.example.test", "A", "+norecurse", "+padding=128"];
    if let Some(answer) = asked("kdig", &arguments) {
        assert!(answer.contains("TLS session") && answer.contains("192.0.2.3"), "{answer}");
        assert!(answer.contains("Received 468 B"), "padded: {answer}");
    }
    let port = server.secured_address("http.site").port();
    // www.example.test A.
    let question = b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x04test\0\0\x01\0\x01";
    site.write("question", question);
    let (file, authority) = (site.path("question"), site.path("authority.pem"));
    let url = |rest: &str| format!("https://localhost:{port}{rest}");
    let authority = authority.to_str().expect("text");
    let ask = |rest: &str, arguments: &[&str]| {
        let url = url(rest);
        curl(&[&["--cacert", authority, &url][..], arguments].concat())
    };
    let body = format!("@{}", file.display());
    let media_type = "content-type: application/dns-message";
    let get = "/dns-query?dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlBHRlc3QAAAEAAQ";
    for (rest, arguments) in
        [(get, &[][..]), ("/dns-query", &["--data-binary", &body, "-H", media_type])]
    {
        let Some(answer) = ask(rest, arguments) else { return };
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("content-type"), Some("application/dns-message"));
        assert_eq!(answer.field("cache-control"), Some("max-age=3600"));
        assert!(answer.body.ends_with(&[192, 0, 2, 3]), "{:?}", answer.body);
    }
    let status = |rest: &str, arguments: &[&str]| ask(rest, arguments).map(|answer| answer.status);
    assert_eq!(status("/dns-query", &["--data-binary", &body]), Some(415));
    assert_eq!(status("/dns-query", &[]), Some(400));
    assert_eq!(status("/dns-query?dns=AAAA=", &[]), Some(400));
    assert_eq!(status("/dns-query", &["-X", "PUT", "--data-binary", &body]), Some(405));
    assert_eq!(status("/dns-query", &["-X", "OPTIONS"]), Some(204));
    assert_eq!(status(&get.replace('?', "/below?"), &[]), Some(404));
    site.write("long", vec![0; 65536]);
    let long = format!("@{}", site.path("long").display());
    assert_eq!(status("/dns-query", &["--data-binary", &long, "-H", media_type]), Some(413));
    server.end();
}

#[test]
fn names_of_others_are_asked_of_others_for_those_who_may() {
    let other = Site::new(&SITE.replace("example.test", "example.org"));
    let mut zone = ZONE.to_owned();
    zone.push_str("$GENERATE 1-100 many A 192.0.2.$\n");
    other.write("zones/example.org.zone", zone);
    let upstream = other.serve(MEDUSA);
    // Truncated answers are asked for again at the same port.
    let (tcp, udp) = ports(&upstream);
    let site = site();
    let forward = |who: &str| {
        let keys = format!("forward = [\"127.0.0.1:{udp}\"]\nrecursion_for = [\"{who}\"]");
        site.write("medusa.toml", SITE.replace("forward = []", &keys));
        site.serve(MEDUSA)
    };
    let server = forward("127.0.0.0/8");
    let (own_tcp, own_udp) = ports(&server);
    let ask =
        |port: &str, rest: &[&str]| asked("dig", &[&["@127.0.0.1", "-p", port], rest].concat());
    for rest in [&[][..], &["+tcp"]] {
        let port = if rest.is_empty() { &own_udp } else { &own_tcp };
        for _ in 0..2 {
            let question = [&["www.example.org", "A"], rest].concat();
            let Some(answer) = ask(port, &question) else { return };
            assert!(answer.contains("NOERROR") && answer.contains("192.0.2.3"), "{answer}");
            assert!(answer.contains("flags: qr rd ra;"), "{answer}");
        }
        let answer = ask(port, &[&["none.example.org", "A"], rest].concat()).expect("an answer");
        assert!(answer.contains("NXDOMAIN") && answer.contains("SOA"), "{answer}");
        // Ours are still ours.
        let answer = ask(port, &[&["www.example.test", "A"], rest].concat()).expect("an answer");
        assert!(answer.contains("flags: qr aa rd ra;"), "{answer}");
        let question = [&["www.example.org", "A", "+norecurse"], rest].concat();
        let answer = ask(port, &question).expect("an answer");
        assert!(
            answer.contains("REFUSED"),
            "nothing is asked for those who don't want it: {answer}"
        );
    }
    if tcp == udp {
        let answer = ask(&own_udp, &["many.example.org", "A", "+ignore"]).expect("an answer");
        assert!(answer.contains(" tc "), "{answer}");
        let answer =
            ask(&own_tcp, &["many.example.org", "A", "+tcp", "+short"]).expect("an answer");
        assert_eq!(answer.lines().count(), 100, "{answer}");
    }
    server.end();
    let server = forward("192.0.2.0/24");
    let (_, own_udp) = ports(&server);
    let answer = ask(&own_udp, &["www.example.org", "A"]).expect("an answer");
    assert!(answer.contains("REFUSED") && !answer.contains(" ra"), "{answer}");
    server.end();
    upstream.end();
}

#[test]
fn a_question_that_others_are_slow_to_answer_keeps_no_other_waiting() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a port");
    silent.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let upstream = silent.local_addr().expect("bound");
    let site = site();
    let keys = format!("forward = [\"{upstream}\"]\nrecursion_for = [\"127.0.0.0/8\"]");
    site.write("medusa.toml", SITE.replace("forward = []", &keys));
    let server = site.serve(MEDUSA);
    let mut stream = server.connect("dns.zones");
    let question = |id: u8, last: &[u8]| {
        let mut message = vec![0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        message.extend_from_slice(b"\x03www\x07example");
        message.extend_from_slice(last);
        message.extend_from_slice(&[0, 0, 1, 0, 1]);
        [vec![0, message.len() as u8], message].concat()
    };
    let questions = [question(1, b"\x03org"), question(2, b"\x04test")].concat();
    stream.write_all(&questions).expect("sent");
    stream.shutdown(Shutdown::Write).expect("ended");
    let mut hear = || {
        let mut length = [0; 2];
        stream.read_exact(&mut length).expect("a length");
        let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut message).expect("a message");
        (message[1], message[3] & 15)
    };
    assert_eq!(hear(), (2, 0), "ours is there at once");
    // Now the other one says what it knows: nothing.
    let mut asked = [0; 512];
    let (count, from) = silent.recv_from(&mut asked).expect("a question");
    let mut answer = asked[..count].to_vec();
    answer[2] |= 0x80;
    answer[3] = 0x83;
    silent.send_to(&answer, from).expect("sent");
    assert_eq!(hear(), (1, 3), "and is told, though the client has ended its side");
    server.end();
}

#[test]
fn questions_are_counted_and_have_lines_where_that_is_asked_for() {
    let http = "[http.site]\nlisten = [\"127.0.0.1:0\"]\n\
                [[http.site.route]]\npath = \"/metrics\"\nmetrics = true\n\
                [[http.site.route]]\npath = \"/status\"\nstatus = true\n";
    let log = "[log]\naccess = \"access.log\"\n";
    for has_lines in [true, false] {
        let site = site();
        let dns =
            if has_lines { SITE.replace("forward", "access = true\nforward") } else { SITE.into() };
        site.write("medusa.toml", format!("{log}{dns}{http}"));
        let server = site.serve(MEDUSA);
        let (tcp, udp) = ports(&server);
        let ask = |port: &str, rest: &[&str]| {
            let arguments = [&["@127.0.0.1", "-p", port, "+norecurse", "+noedns"], rest].concat();
            asked("dig", &arguments)
        };
        if ask(&udp, &["WWW.example.test", "A"]).is_none() {
            return;
        }
        ask(&tcp, &["+tcp", "none.example.test", "TYPE65280"]).expect("an answer");
        ask(&udp, &["example.org", "AAAA"]).expect("an answer");
        let address = server.address("http.site");
        let page = |path: &str| curl(&[&format!("http://{address}{path}")]);
        let Some(metrics) = page("/metrics") else { return };
        let text = String::from_utf8(metrics.body).expect("text");
        for (rcode, count) in [("noerror", 1), ("nxdomain", 1), ("refused", 1), ("servfail", 0)] {
            let line =
                format!("medusa_dns_answers_{rcode}_total{{service=\"dns.zones\"}} {count}\n");
            assert!(text.contains(&line), "{line}isn't in\n{text}");
        }
        let status = String::from_utf8(page("/status").expect("a page").body).expect("text");
        assert!(status.contains("answers"), "{status}");
        server.end();
        let log = site.read("access.log");
        let lines: Vec<_> = log.lines().filter(|line| line.contains("\"DNS ")).collect();
        let parts: &[&str] = match has_lines {
            true => &[
                "\"DNS WWW.example.test. A\" NOERROR ",
                "\"DNS none.example.test. TYPE65280\" NXDOMAIN ",
                "\"DNS example.org. AAAA\" REFUSED 29",
            ],
            false => &[],
        };
        assert_eq!(lines.len(), parts.len(), "{log}");
        for part in parts {
            assert!(log.contains(part) && lines[0].starts_with("127.0.0.1 - - ["), "{log}");
        }
    }
}

#[test]
fn changed_zone_files_are_read_again_at_hup() {
    let site = site();
    let mut command = site.command(MEDUSA, &["serve", "medusa.toml"]);
    command.stderr(std::fs::File::create(site.path("log")).expect("a file"));
    let server = Server::start(command);
    site.write("zones/example.test.zone", format!("{ZONE}new A 192.0.2.9\n"));
    server.signal(Signal::HUP);
    // Without the signal it would take ten seconds, and one more to be sure that nobody writes.
    let soon = Instant::now() + Duration::from_secs(8);
    let is_read = || site.read("log").contains("example.test. was read again");
    until("it was read", || is_read() || Instant::now() > soon);
    assert!(is_read(), "{}", site.read("log"));
    let (_, udp) = ports(&server);
    let arguments = ["@127.0.0.1", "-p", &udp, "new.example.test", "+short", "+norecurse"];
    if let Some(answer) = asked("dig", &arguments) {
        assert_eq!(answer, "192.0.2.9\n");
    }
    site.write("zones/example.test.zone", format!("{ZONE}new B 192.0.2.9\n"));
    server.signal(Signal::HUP);
    until("it was refused", || site.read("log").contains("stays as it was"));
    server.end();
}

#[test]
fn a_zone_file_is_checked() {
    let site = site();
    let check = |file: &str| {
        let output = site.command(MEDUSA, &["zone", "check", file]).output().expect("it runs");
        let told = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(told).expect("text"))
    };
    let (code, told) = check("zones/example.test.zone");
    assert_eq!(code, Some(0), "{told}");
    assert_eq!(told, "example.test.: 2008 records, serial 7: no errors\n");
    site.write("bad.zone", "@ 60 SOA a b 1 2 3 4 5\n  60 NS a\nx 60 AA 192.0.2.1\ny 60 A 1\n");
    let (code, told) = check("bad.zone");
    assert_eq!(code, Some(2), "{told}");
    for part in
        ["bad.zone:3:6", "bad.zone:4:8", "3 | x 60 AA 192.0.2.1", "^^", "not an IPv4 address"]
    {
        assert!(told.contains(part), "{part:?} isn't in\n{told}");
    }
}

#[test]
fn what_is_wrong_is_shown_in_its_line() {
    let check = |from: &str, to: &str, parts: &[&str]| {
        let site = site();
        site.write("medusa.toml", SITE.replace(from, to));
        site.write("bad.zone", "@ 60 SOA a b 1 2 3 4 5\n  60 NS a\nx 60 AA 192.0.2.1\n");
        let output = site.command(MEDUSA, &["check", "medusa.toml"]).output().expect("it runs");
        let told = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{told}");
        for part in parts {
            assert!(told.contains(part), "{part:?} isn't in\n{told}");
        }
    };
    check("zones =", "zone_files =", &["unknown key `zone_files`", "medusa.toml:3"]);
    check("zones/example.test.zone", "none.zone", &["none.zone", "can't be read", "medusa.toml:3"]);
    check("zones/example.test.zone", "bad.zone", &["bad.zone:3:6", "`AA` is not a record type"]);
    check("forward = []", "forward = [\"dns\"]", &["`dns` is no name server", "medusa.toml:5"]);
    check("forward = []", "tls_listen = [\"127.0.0.1:0\"]", &["tls_listen", "[tls]"]);
    let route = "[http.site]\nlisten = [\"127.0.0.1:0\"]\n[[http.site.route]]\n\
                 path = \"/dns-query\"\ndns = \"zone\"\n";
    let parts = ["there is no `[dns.zone]`", "did you mean `zones`?", "medusa.toml:9:7"];
    check("forward = []\n", route, &parts);
    check("forward", "access = true\nforward", &["no access log", "[log]", "medusa.toml:5"]);
    let twice = "\"zones/example.test.zone\", \"zones/example.test.zone\"";
    check("\"zones/example.test.zone\"", twice, &["example.test.", "there already"]);
}
