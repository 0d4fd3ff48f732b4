//! The queue under the same: what is submitted for elsewhere while system calls fail is there whole or was
//! refused, and what becomes of it afterwards (tried again, sent, returned) is neither lost nor repeated nor
//! halved.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use medusa_tests::{Conversation, Site, messages, require, until};

use super::injection::Injection;
use super::{MEDUSA, QUEUE, greet, number_of, site, text, verify};

/// Whoever writes for the queue: the pool, and the threads that commit for the maildrops and for it.
const WRITERS: &[(&str, usize)] = &[("offload-", 4), ("mail-commit", 2)];

/// The system calls of an acceptance, and how many of each are tried at most. Files are opened and written by one
/// thread of the pool; of its writes the third wakes an event loop.
const CALLS: [(&str, usize); 4] = [("openat", 4), ("write", 2), ("fsync", 6), ("rename", 2)];

/// One shard, whose timers make up for a wake that was made to fail.
fn sending_site(queue: &str) -> Site {
    let one = site(queue);
    let configuration = one.read("medusa.toml").replace("shards = 2", "shards = 1");
    one.write("medusa.toml", configuration);
    one
}

fn log_in(address: SocketAddr) -> Conversation {
    let mut conversation = greet(address).expect("a greeting");
    conversation.send("AUTH PLAIN AGFsaWNlAHBhc3N3b3Jk\r\n").expect("sent");
    assert_eq!(conversation.code().expect("a reply"), 235);
    conversation
}

fn submit(conversation: &mut Conversation, to: &str, id: usize) -> u16 {
    let group = format!("MAIL FROM:<alice@example.test>\r\nRCPT TO:<{to}>\r\nDATA\r\n");
    conversation.send(group).expect("sent");
    for code in [250, 250, 354] {
        assert_eq!(conversation.code().expect("a reply"), code);
    }
    conversation.send(format!("{}.\r\n", text(id))).expect("sent");
    conversation.code().expect("a reply")
}

#[test]
fn a_system_call_that_fails_loses_and_halves_nothing_that_is_submitted() {
    if !require("strace") {
        return;
    }
    let site = sending_site(QUEUE);
    let disk = site.path("disk");
    let server = site.serve(MEDUSA);
    let mut conversation = log_in(server.address("smtp.submission"));
    let (mut promised, mut refused) = (BTreeSet::new(), BTreeMap::new());
    let mut id = 1;
    for (call, most) in CALLS {
        for errno in ["EIO", "ENOSPC"] {
            for at in 1..=most {
                id += 2;
                let what = format!("error={errno}:when={at}");
                let injection = Injection::attach(&site, &server, WRITERS, call, &what);
                let code = submit(&mut conversation, "x@elsewhere.test", id);
                injection.detach();
                match (code, errno) {
                    (250, _) => drop(promised.insert(id)),
                    (452, "ENOSPC") | (451, "EIO") => drop(refused.insert(id, (call, at))),
                    _ => {
                        panic!("{call} number {at} failed with {errno}, and was answered by {code}")
                    }
                }
            }
        }
    }
    println!("{} promised, refused {:?}", promised.len(), refused.values());
    // Each errno has each call fail once at least: two opened and written, four synced, one moved.
    for (call, _) in CALLS {
        assert!(
            refused.values().filter(|(one, _)| *one == call).count() >= 2,
            "{call}: {refused:?}"
        );
    }
    verify(&disk, &promised);
    server.end();
    // What was refused isn't there, and what there was of it is swept at the next start.
    let server = site.serve(MEDUSA);
    let count = |folder: &str| fs::read_dir(disk.join("queue").join(folder)).expect("one").count();
    until("the queue is in order", || count("messages") == promised.len());
    assert_eq!((count("waiting"), count("held")), (promised.len(), 0));
    assert_eq!(verify(&disk, &promised), promised.len());
    server.end();
}

// ---- what becomes of it ----------------------------------------------------------------------

/// What a server has taken: the numbers of messages, each of which was whole. It puts off whoever is called `later` the
/// first time, and refuses `no`.
#[derive(Clone, Default)]
struct Next(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    whole: Vec<usize>,
    broken: Vec<String>,
    put_off: BTreeSet<String>,
}

impl Next {
    fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let next = self.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let next = next.clone();
                thread::spawn(move || drop(next.converse(&stream)));
            }
        });
        address
    }

    fn converse(&self, stream: &TcpStream) -> io::Result<()> {
        let (mut lines, mut out) = (BufReader::new(stream).lines(), stream);
        out.write_all(b"220 next.test\r\n")?;
        while let Some(line) = lines.next() {
            let line = line?;
            let reply = match line.split([' ', ':']).next().unwrap_or_default() {
                "RCPT" if line.contains("<no") => "550 5.1.1 no\r\n",
                "RCPT"
                    if line.contains("<later")
                        && self
                            .0
                            .lock()
                            .expect("nobody has panicked")
                            .put_off
                            .insert(line.clone()) =>
                {
                    "451 4.3.0 later\r\n"
                }
                "DATA" => {
                    out.write_all(b"354 go on\r\n")?;
                    let mut text = String::new();
                    loop {
                        // One who leaves before the dot has sent nothing.
                        let Some(line) = lines.next() else { return Ok(()) };
                        match &*line? {
                            "." => break,
                            line => text.push_str(&format!(
                                "{}\r\n",
                                line.strip_prefix('.').unwrap_or(line)
                            )),
                        }
                    }
                    self.take(text);
                    "250 2.0.0 taken\r\n"
                }
                _ => "250 ok\r\n",
            };
            out.write_all(reply.as_bytes())?;
        }
        Ok(())
    }

    fn take(&self, message: String) {
        let whole = std::panic::catch_unwind(|| number_of(&message)).ok();
        let mut taken = self.0.lock().expect("nobody has panicked");
        match whole {
            Some(id) => taken.whole.push(id),
            None => taken.broken.push(message),
        }
    }
}

#[test]
fn whatever_fails_while_mail_is_sent_it_arrives_once_or_is_returned() {
    if !require("strace") {
        return;
    }
    let next = Next::default();
    let queue = QUEUE.replace("127.0.0.1:1\"", &format!("{}\"\nretry = [\"1s\"]", next.serve()));
    let site = sending_site(&queue);
    let disk = site.path("disk");
    let server = site.serve(MEDUSA);
    let mut conversation = log_in(server.address("smtp.submission"));
    let (mut sent, mut returned) = (BTreeSet::new(), BTreeSet::new());
    let calls = "openat,fsync,rename,unlink";
    for (round, errno) in ["EIO", "ENOSPC"].into_iter().enumerate() {
        // Each ninth call of each kind and thread fails.
        let what = format!("error={errno}:when=2+9");
        let injection = Injection::attach(&site, &server, WRITERS, calls, &what);
        for count in 0..30 {
            let id = round * 1000 + count * 2 + 1;
            let to = format!("{}{id}@elsewhere.test", ["ok", "later", "no"][count % 3]);
            if submit(&mut conversation, &to, id) == 250 {
                if count % 3 == 2 { &mut returned } else { &mut sent }.insert(id);
            }
        }
        assert!(injection.detach(), "nothing has failed");
    }
    assert!(sent.len() >= 3 && returned.len() >= 2, "{} and {}", sent.len(), returned.len());
    let count = |folder: &str| fs::read_dir(disk.join("queue").join(folder)).expect("one").count();
    until("the queue is empty", || count("waiting") == 0);
    assert_eq!(count("held"), 0);
    {
        let taken = next.0.lock().expect("nobody has panicked");
        assert!(taken.broken.is_empty(), "half a message was sent: {:?}", taken.broken);
        let arrived: BTreeSet<usize> = taken.whole.iter().copied().collect();
        let lost: Vec<_> = sent.difference(&arrived).collect();
        assert!(lost.is_empty(), "{lost:?} were lost");
        assert_eq!(taken.whole.len(), arrived.len(), "some were sent twice: {:?}", taken.whole);
    }
    let reports = messages(&disk.join("mail/alice"), "new");
    let untold: Vec<_> = returned
        .iter()
        .filter(|id| !reports.iter().any(|report| report.contains(&format!("<no{id}@"))))
        .collect();
    assert!(untold.is_empty(), "nobody was told of {untold:?}");
    println!("{} sent, {} returned by {} reports", sent.len(), returned.len(), reports.len());
    server.end();
    site.serve(MEDUSA).end();
    assert_eq!(count("messages"), 0);
}
