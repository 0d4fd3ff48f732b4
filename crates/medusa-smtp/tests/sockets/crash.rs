//! A server that is killed again and again in the middle of its work: what was answered by 250 is there, and
//! nothing by halves.
//!
//! The server is this program once more, told by the environment to be one.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use medusa_mail::MaildirStore;

use crate::support::{Kind, Line, PATIENCE, messages, serve};

const FOLDER: &str = "MEDUSA_SMTP_CRASH_FOLDER";
const KILLS: usize = 50;
const CLIENTS: usize = 6;

#[test]
fn a_server_to_be_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let (running, address) = serve(Path::new(&folder), &Kind::Mx);
    println!("\nserving {address}");
    running.join().unwrap();
}

fn start(folder: &Path) -> (Child, SocketAddr) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::a_server_to_be_killed", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| line.unwrap().strip_prefix("serving ")?.parse().ok());
    (child, address.expect("the server says where it is"))
}

/// Message number `id`, of a length of its own: some go to the store in one piece, some in many.
fn text(id: usize) -> String {
    let line = format!("line of {id}\r\n");
    let count = if id.is_multiple_of(7) { 8_000 } else { id % 300 };
    format!("Subject: {id}\r\n\r\n{}END {id}\r\n", line.repeat(count))
}

/// Sends messages until the server is gone.
fn client(address: SocketAddr, first: usize, answered: &Sender<usize>) -> std::io::Result<()> {
    let mut line = Line::connect(address)?;
    line.code()?;
    line.send("EHLO c\r\n")?;
    line.code()?;
    for id in (first..).step_by(CLIENTS) {
        line.send("MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")?;
        for code in [250, 250, 250, 354] {
            assert_eq!(line.code()?, code);
        }
        line.send(&format!("{}.\r\n", text(id)))?;
        assert_eq!(line.code()?, 250);
        if answered.send(id).is_err() {
            break;
        }
    }
    Ok(())
}

#[test]
fn what_was_answered_by_250_is_there_after_any_number_of_kills() {
    let folder = tempfile::tempdir().unwrap();
    let mut promised = Vec::new();
    let mut next = 0;
    for kill in 0..KILLS {
        let (mut child, address) = start(folder.path());
        let (sender, receiver) = channel();
        let clients: Vec<_> = (0..CLIENTS)
            .map(|index| {
                let sender = sender.clone();
                // An error is the kill; a wrong reply panics, and fails the test at the join.
                thread::spawn(move || drop(client(address, next + index, &sender)))
            })
            .collect();
        drop(sender);
        // At once, or after some messages, so that every client is somewhere else in its own.
        for _ in 0..(kill * 7) % 23 {
            promised.push(receiver.recv_timeout(PATIENCE).expect("a message is answered"));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        promised.extend(receiver.iter());
        for client in clients {
            client.join().unwrap();
        }
        next += 10_000;
    }
    assert!(promised.len() > KILLS * 5, "only {} messages", promised.len());

    let mut seen = HashSet::new();
    for account in ["alice", "bob"] {
        for message in messages(folder.path(), account, "new") {
            let (_, kept) = message.split_once("+0000\r\n").expect("a trace");
            let id: usize = kept.lines().next().unwrap()["Subject: ".len()..].parse().unwrap();
            assert!(kept == text(id), "message {id} is not whole");
            seen.insert((account, id));
        }
    }
    for id in &promised {
        for account in ["alice", "bob"] {
            assert!(seen.contains(&(account, *id)), "message {id} is lost for {account}");
        }
    }
    // What the last kill left behind is swept by the next start.
    let store = MaildirStore::open(&folder.path().join("mail"), "h").unwrap();
    for account in ["alice", "bob"] {
        assert!(messages(folder.path(), account, "tmp").is_empty());
    }
    drop(store);
    println!("{} messages promised, {} kept", promised.len(), seen.len() / 2);
}
