//! Mail for elsewhere: submitted, queued, and sent on to servers that are real, scripted or not there.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Instant;

use medusa_accounts::{Logins, ThrottleLimits};
use medusa_core::config::Listen;
use medusa_core::server::Running;
use medusa_core::{Listener, Server};
use medusa_mail::{Commits, DiskQueue, MaildirStore, Queue, RealDisk};
use medusa_smtp::{Outbound, PlaintextLogin, Relay, Sending, SmtpService};

use crate::support::{Everybody, Kind, Line, PATIENCE, messages, serve};

/// Waits until something is so.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        thread::yield_now();
    }
}

fn queue(folder: &Path) -> Arc<dyn Queue> {
    Arc::new(DiskQueue::at(&folder.join("queue"), Arc::new(RealDisk), Commits::InThread))
}

/// A submission server for `example.test` that sends on as it is told.
fn submission(folder: &Path, outbound: Outbound) -> (Running, SocketAddr, Sending) {
    let store = Arc::new(MaildirStore::open(&folder.join("mail"), "out.example.test").unwrap());
    let domains = vec!["example.test".to_owned()];
    let outbound = outbound.with_local(domains.clone(), Arc::new(Everybody), store.clone());
    let sending = outbound.build().unwrap();
    let service = SmtpService::new(
        "smtp.submission",
        vec![Listener::new(Listen::Inet(([127, 0, 0, 1], 0).into()))],
        "out.example.test",
        domains,
        Arc::new(Everybody),
        store,
    );
    let logins = Logins::new(Arc::new(Everybody), ThrottleLimits::default());
    let service = service
        .with_submission(logins, PlaintextLogin::Loopback)
        .with_sending(Some(sending.clone()))
        .build();
    let server = Server::builder().shards(2).mount(service).bind().unwrap();
    let Listen::Inet(address) = server.bound()[0].address else { panic!("not TCP") };
    (server.start().unwrap(), address, sending)
}

/// Submits a message from alice; the code that its end gets.
fn submit(address: SocketAddr, recipients: &[&str], text: &str) -> u16 {
    let mut line = Line::connect(address).unwrap();
    let mut say = |text: &str, code: u16| {
        if !text.is_empty() {
            line.send(&format!("{text}\r\n")).unwrap();
        }
        assert_eq!(line.code().unwrap(), code, "{text}");
    };
    say("", 220);
    say("EHLO client.test", 250);
    // `\0alice\0ecila`
    say("AUTH PLAIN AGFsaWNlAGVjaWxh", 235);
    say("MAIL FROM:<alice@example.test>", 250);
    for recipient in recipients {
        say(&format!("RCPT TO:<{recipient}>"), 250);
    }
    say("DATA", 354);
    line.send(&format!("{text}\r\n.\r\n")).unwrap();
    line.code().unwrap()
}

/// One who answers as a test says, and tells what it was told.
struct Scripted {
    address: SocketAddr,
    heard: mpsc::Receiver<String>,
}

/// Serves connections one after the other; `answer` is asked for the reply to each line, and with "" for the
/// greeting. A message's text is one line to it.
fn scripted(mut answer: impl FnMut(usize, &str) -> String + Send + 'static) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, heard) = mpsc::channel();
    thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let Ok(stream) = stream else { return };
            if converse(stream, &mut |line| answer(count, line), &tell).is_none() {
                return;
            }
        }
    });
    Scripted { address, heard }
}

fn converse(
    stream: TcpStream,
    answer: &mut dyn FnMut(&str) -> String,
    tell: &mpsc::Sender<String>,
) -> Option<()> {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    let mut in_text = false;
    loop {
        if in_text && !line.ends_with("\r\n.\r\n") && line != ".\r\n" {
            if reader.read_line(&mut line).ok()? == 0 {
                return Some(());
            }
            continue;
        }
        if !line.is_empty() {
            tell.send(line.trim_end().to_owned()).ok()?;
        }
        let reply = answer(line.trim_end());
        if reply.is_empty() || reader.get_mut().write_all(reply.as_bytes()).is_err() {
            return Some(());
        }
        in_text = reply.starts_with("354");
        line.clear();
        if !in_text && reader.read_line(&mut line).unwrap_or(0) == 0 {
            return Some(());
        }
    }
}

/// What a server says that takes everything and offers nothing.
fn plainly(line: &str) -> String {
    let verb = line.split([' ', ':']).next().unwrap_or_default();
    match verb {
        "" => "220 next.test\r\n",
        "DATA" => "354 go on\r\n",
        "QUIT" => "",
        _ => "250 next.test\r\n",
    }
    .to_owned()
}

impl Scripted {
    fn hear(&self) -> String {
        self.heard.recv_timeout(PATIENCE).expect("something is said")
    }

    /// Everything up to a line that begins so.
    fn hear_until(&self, verb: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.hear());
            if heard[heard.len() - 1].starts_with(verb) {
                return heard;
            }
        }
    }

    fn relay(&self) -> Option<Relay> {
        Relay::parse(&self.address.to_string())
    }
}

#[test]
fn from_one_server_to_the_next() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mx, address) = serve(there.path(), &Kind::Mx);
    let relay = Relay::parse(&address.to_string());
    let outbound = Outbound::new(queue(here.path()), "out.example.test").with_relay(relay);
    let (running, address, sending) = submission(here.path(), outbound);
    // One here, which is example.test for both; the others' server knows it as its own.
    let text = "Subject: hello\r\n\r\n..two dots\r\n";
    assert_eq!(submit(address, &["bob@example.test"], text), 250);
    until("local mail", || messages(here.path(), "bob", "new").len() == 1);
    assert_eq!(sending.queue_length(), 0);
    running.handle().stop();
    running.join().unwrap();
    mx.handle().stop();
    mx.join().unwrap();
}

#[test]
fn a_relay_gets_what_is_for_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let next = scripted(|_, line| plainly(line));
    let outbound = Outbound::new(queue(folder.path()), "out.example.test").with_relay(next.relay());
    let (running, address, sending) = submission(folder.path(), outbound);
    let to = ["x@elsewhere.test", "bob@example.test", "y@other.test"];
    assert_eq!(submit(address, &to, "Subject: hello\r\n\r\n..two dots"), 250);
    let heard = next.hear_until("Received:");
    assert_eq!(
        heard[..5],
        [
            "EHLO out.example.test",
            "MAIL FROM:<alice@example.test>",
            "RCPT TO:<x@elsewhere.test>",
            "RCPT TO:<y@other.test>",
            "DATA"
        ]
    );
    assert!(heard[5].ends_with("\r\n\r\n..two dots\r\n."), "{}", heard[5]);
    assert!(!heard[5].contains("Return-Path"), "{}", heard[5]);
    until("the queue is empty", || sending.queue_length() == 0);
    assert!(sending.queue().entries().unwrap().is_empty());
    let here = messages(folder.path(), "bob", "new");
    assert!(here[0].starts_with("Return-Path: <alice@example.test>\r\nReceived: "), "{}", here[0]);
    running.handle().stop();
    running.join().unwrap();
}
