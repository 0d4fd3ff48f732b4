//! `[smtp.NAME] queue`: mail is taken, kept and sent on, by the program as an operator runs it; and `medusa
//! queue` beside it.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use medusa_tests::{Authority, PATIENCE, Server, Signal, Site, require, until};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

/// A server for `example.test` that sends everything else to `relay`.
fn sender(relay: SocketAddr, more: &str) -> Site {
    let site = Site::new(&format!(
        "[accounts]
file = \"users.toml\"

[log]
access = \"access.log\"

[smtp.submission]
listen = [\"127.0.0.1:0\"]
hostname = \"out.example.test\"
role = \"submission\"
domains = [\"example.test\"]
mailboxes = \"mail\"
queue = \"queue\"
relay = \"{relay}\"
{more}"
    ));
    with_account(&site, "alice", "alice@example.test");
    site
}

/// A server for `next.test`.
fn receiver() -> Site {
    let site = Site::new(
        "[accounts]
file = \"users.toml\"

[smtp.mx]
listen = [\"127.0.0.1:0\"]
hostname = \"mx.next.test\"
domains = [\"next.test\"]
mailboxes = \"mail\"
",
    );
    with_account(&site, "bob", "bob@next.test");
    site
}

fn with_account(site: &Site, name: &str, address: &str) {
    let mut command = site.command(MEDUSA, &["passwd", name]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(b"secret\n").expect("it reads");
    assert!(child.wait().expect("it ends").success());
    let users = site.read("users.toml");
    site.write("users.toml", format!("{users}mail = [\"{address}\"]\n"));
}

/// A conversation as alice.
struct Submission(BufReader<TcpStream>);

impl Submission {
    fn open(server: &Server) -> Submission {
        let mut submission = Submission(BufReader::new(server.connect("smtp.submission")));
        assert_eq!(submission.code(), Some(220));
        // `\0alice\0secret`
        for line in ["EHLO client.test", "AUTH PLAIN AGFsaWNlAHNlY3JldA=="] {
            assert!(matches!(submission.say(line), Some(235 | 250)), "{line}");
        }
        submission
    }

    /// The reply's code; none where the server has gone.
    fn say(&mut self, line: &str) -> Option<u16> {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).ok()?;
        self.code()
    }

    fn code(&mut self) -> Option<u16> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.as_bytes().get(3) == Some(&b' ') {
                return line[..3].parse().ok();
            }
        }
    }

    /// The code that the message's end gets.
    fn send(&mut self, to: &str, text: &str) -> Option<u16> {
        self.say("MAIL FROM:<alice@example.test>")?;
        self.say(&format!("RCPT TO:<{to}>"))?;
        self.say("DATA")?;
        self.say(&format!("{text}\r\n."))
    }
}

/// The messages in a maildrop.
fn messages(site: &Site, account: &str) -> Vec<String> {
    let Ok(folder) = fs::read_dir(site.path(&format!("mail/{account}/new"))) else {
        return Vec::new();
    };
    folder
        .map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("a text"))
        .collect()
}

fn queued(site: &Site) -> usize {
    fs::read_dir(site.path("queue/waiting")).map(Iterator::count).unwrap_or(0)
}

fn kept(site: &Site) -> usize {
    fs::read_dir(site.path("queue/messages")).map(Iterator::count).unwrap_or(0)
}

fn queue(site: &Site, arguments: &[&str]) -> String {
    let arguments = [&["queue"], arguments].concat();
    let output = site.command(MEDUSA, &arguments).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn from_a_client_by_two_servers_into_a_maildrop() {
    let receiver = receiver();
    let next = receiver.serve(MEDUSA);
    let site = sender(next.address("smtp.mx"), "");
    let server = site.serve(MEDUSA);
    let mut submission = Submission::open(&server);
    assert_eq!(submission.send("bob@next.test", "Subject: one\r\n\r\n..\r\nx"), Some(250));
    until("it came", || messages(&receiver, "bob").len() == 1);
    let came = &messages(&receiver, "bob")[0];
    assert!(came.ends_with("Subject: one\r\n\r\n.\r\nx\r\n"), "{came}");
    assert!(
        came.starts_with("Return-Path: <alice@example.test>\r\nReceived: from out.example.test")
    );
    // What isn't there comes back.
    assert_eq!(submission.send("carol@next.test", "Subject: two\r\n\r\nx"), Some(250));
    until("the report came", || messages(&site, "alice").len() == 1);
    assert!(messages(&site, "alice")[0].contains("Final-Recipient: rfc822; carol@next.test\r\n"));
    until("the queue is empty", || queued(&site) == 0);
    server.end();
    next.end();
    let log = site.read("access.log");
    let sent = "\"RELAY <alice@example.test> <bob@next.test>\" sent 2.0.0 ";
    assert!(log.lines().any(|line| line.contains(sent)), "{log}");
    assert!(log.contains("<carol@next.test>\" bounced 5.1.1 "), "{log}");
}

/// As an office sends by its provider: logged in, over TLS that is checked.
#[test]
fn by_a_smart_host_that_wants_a_login() {
    let provider = Site::new(
        "[accounts]
file = \"users.toml\"

[tls]
certificate = \"host.pem\"
key = \"host.key\"

[smtp.submission]
listen = [\"127.0.0.1:0\"]
hostname = \"mx.next.test\"
role = \"submission\"
domains = [\"next.test\"]
mailboxes = \"mail\"
plaintext_login = \"never\"
",
    );
    let authority = Authority::new(&provider, "ca");
    authority.sign(&provider, "host", &["127.0.0.1"]);
    with_account(&provider, "bob", "bob@next.test");
    let next = provider.serve(MEDUSA);
    let relay = next.address("smtp.submission");
    let destination = |ca: &str, password: &str| {
        format!(
            "retry = [\"1h\"]
[[smtp.submission.destination]]
domain = \"*\"
relay = \"{relay}\"
user = \"bob\"
password_file = \"{password}\"
ca = \"{ca}\"
"
        )
    };
    let ca = provider.path("ca.pem");
    let good = destination(ca.to_str().expect("text"), "relay.password");
    let elsewhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let site = sender(elsewhere, &good);
    site.write_private("relay.password", "secret\n");
    let server = site.serve(MEDUSA);
    let mut submission = Submission::open(&server);
    assert_eq!(submission.send("bob@next.test", "Subject: one\r\n\r\nx"), Some(250));
    until("it came", || messages(&provider, "bob").len() == 1);
    assert!(messages(&provider, "bob")[0].contains(" with ESMTPSA\r\n"));
    until("the queue is empty", || queued(&site) == 0);
    server.end();

    // Somebody else's authority, and a wrong password: mail waits, and it is told why.
    for (ca, password, said) in [
        ("other.pem", "relay.password", "4.7.5 "),
        (ca.to_str().expect("text"), "wrong.password", "535 5.7.8 "),
    ] {
        let site = sender(elsewhere, &destination(ca, password));
        for (name, text) in
            [("relay.password", "secret\n".to_owned()), ("wrong.password", "guessed\n".to_owned())]
        {
            site.write_private(name, text);
        }
        Authority::new(&site, "other");
        let server = site.serve(MEDUSA);
        let mut submission = Submission::open(&server);
        assert_eq!(submission.send("bob@next.test", "Subject: two\r\n\r\nx"), Some(250));
        until(said, || queue(&site, &["list"]).contains(&format!("1 attempts: {said}")));
        server.end();
    }
    next.end();
}

#[test]
fn swaks_submits_what_is_sent_on() {
    if !require("swaks") {
        return;
    }
    let receiver = receiver();
    let next = receiver.serve(MEDUSA);
    let site = sender(next.address("smtp.mx"), "");
    let server = site.serve(MEDUSA);
    let address = server.address("smtp.submission").to_string();
    let output = Command::new("swaks")
        .args(["--server", &address, "--auth", "PLAIN", "--auth-user", "alice"])
        .args(["--auth-password", "secret", "--from", "alice@example.test"])
        .args(["--to", "bob@next.test", "--pipeline"])
        .output()
        .expect("swaks runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    until("it came", || messages(&receiver, "bob").len() == 1);
    server.end();
    next.end();
}

/// Takes mail, or not, as it is told by each connection's number; tells each text that it has taken.
fn scripted(
    takes: impl Fn(usize) -> bool + Send + Sync + 'static,
) -> (SocketAddr, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (tell, told) = mpsc::channel();
    let takes = std::sync::Arc::new(takes);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let (tell, takes) = (tell.clone(), takes.clone());
            let Ok(stream) = stream else { return };
            thread::spawn(move || serve(stream, takes(number), &tell));
        }
    });
    (address, told)
}

fn serve(stream: TcpStream, takes: bool, tell: &mpsc::Sender<String>) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(stream);
    if !takes {
        return reader.get_mut().write_all(b"421 4.3.2 not now\r\n").ok();
    }
    reader.get_mut().write_all(b"220 next.test\r\n").ok()?;
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 0 {
        let is_data = line.starts_with("DATA");
        let reply: &[u8] = if is_data { b"354 go on\r\n" } else { b"250 next.test\r\n" };
        reader.get_mut().write_all(reply).ok()?;
        line.clear();
        if is_data {
            while !line.ends_with("\r\n.\r\n") {
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
            }
            tell.send(std::mem::take(&mut line)).ok()?;
            reader.get_mut().write_all(b"250 2.6.0 taken\r\n").ok()?;
        }
    }
    Some(())
}

#[test]
fn an_operator_looks_and_asks() {
    let (address, told) = scripted(|number| number > 0);
    let site = sender(address, "retry = [\"1h\"]\n");
    let server = site.serve(MEDUSA);
    let mut submission = Submission::open(&server);
    assert_eq!(submission.send("x@next.test", "Subject: first\r\n\r\n1"), Some(250));
    until("it waits", || queue(&site, &["list"]).contains("1 attempts: 421 4.3.2 not now"));
    let rests = format!("\n{address} rests, probed in ");
    until("it is told why", || queue(&site, &["list"]).contains(&rests));
    let listed = queue(&site, &["list"]);
    assert!(listed.starts_with("smtp.submission: 1 entry\n"), "{listed}");
    let id = listed.lines().nth(3).and_then(|line| line.split(' ').next()).expect("an id");
    let shown = queue(&site, &["show", id]);
    assert!(
        shown.contains("recipient x@next.test\n") && shown.ends_with("Subject: first\n"),
        "{shown}"
    );
    assert_eq!(queue(&site, &["retry", id]), format!("{id}: to be tried now\n"));
    let text = told.recv_timeout(PATIENCE).expect("it is tried");
    assert!(text.contains("Subject: first\r\n"), "{text}");
    until("the queue is empty", || queued(&site) == 0);
    server.end();
}

#[test]
fn what_an_operator_drops_is_gone() {
    let (address, _told) = scripted(|_| false);
    let site = sender(address, "");
    let server = site.serve(MEDUSA);
    let mut submission = Submission::open(&server);
    assert_eq!(submission.send("x@next.test", "Subject: first\r\n\r\n1"), Some(250));
    until("it waits", || queue(&site, &["list"]).contains("1 attempts"));
    let listed = queue(&site, &["list"]);
    let row = listed.lines().skip_while(|line| !line.is_empty()).nth(1);
    let id = row.and_then(|line| line.split(' ').next()).expect("an id");
    queue(&site, &["drop", id]);
    until("the queue is empty", || queued(&site) == 0);
    until("its message is gone", || kept(&site) == 0);
    assert!(messages(&site, "alice").is_empty());
    server.end();
}

/// Killed in the middle of deliveries, again and again: everything that got its 250 arrives, at least once.
#[test]
fn a_kill_loses_nothing() {
    const KILLS: usize = 8;
    let (address, told) = scripted(|_| true);
    let site = sender(address, "retry = [\"1s\"]\n");
    let mut taken = Vec::new();
    for round in 0..=KILLS {
        let server = site.serve(MEDUSA);
        let mut submission = Submission::open(&server);
        // The kill comes at another moment each time, with some messages on their way.
        let most = if round < KILLS { 3 + 5 * round } else { 1 };
        for number in 0..most {
            let name = format!("{round}-{number}");
            let text = format!("Subject: {name}\r\n\r\n{}", "x".repeat(100 * number));
            match submission.send("x@next.test", &text) {
                Some(250) => taken.push(name),
                other => panic!("{other:?}"),
            }
        }
        if round == KILLS {
            until("the queue is empty", || queued(&site) == 0);
            server.end();
        } else {
            server.signal(Signal::KILL);
            drop(server);
        }
    }
    let mut arrived: Vec<String> = Vec::new();
    while let Ok(text) = told.try_recv() {
        let subject = text.lines().find_map(|line| line.strip_prefix("Subject: "));
        let name = subject.expect("a subject").to_owned();
        let number: usize = name.split_once('-').expect("two numbers").1.parse().expect("a number");
        assert!(text.ends_with(&format!("{}\r\n.\r\n", "x".repeat(100 * number))), "{name} is cut");
        arrived.push(name);
    }
    for name in &taken {
        assert!(arrived.contains(name), "{name} is lost");
    }
    let repeated = arrived.len() - taken.len();
    // At most what was under way at each kill.
    assert!(repeated <= KILLS * 20, "{repeated} were repeated");
    assert_eq!(kept(&site), 0);
}
