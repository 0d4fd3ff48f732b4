//! After 250, no crash, kill, full disk or power cut loses a message or leaves half of it: the program itself is
//! killed at moments drawn by lot and at each system call of a delivery, has those fail, runs out of disk, and
//! loses what its file system held in memory.
//!
//! `injection` makes system calls fail; `queue` has those fail that take mail into the queue and work it there.
//!
//! `MEDUSA_CRASH_ROUNDS` sets how often it is killed and its power cut (hundreds, for an evening);
//! `MEDUSA_CRASH_SEED` repeats a run as far as the system's scheduler does. What needs a file system of its own
//! needs root and loop devices, and is skipped without them unless `MEDUSA_REQUIRE_POWER_CUT` is set.

mod injection;
mod queue;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use injection::Injection;
use medusa_tests::{Conversation, PATIENCE, Server, Signal, Site, messages, require, until};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

const SITE: &str = r#"
[server]
shards = 2
[accounts]
file = "users.toml"
[limits]
connections_per_peer = false
[smtp.mx]
listen = ["127.0.0.1:0"]
hostname = "mx.example.test"
domains = ["example.test"]
mailboxes = "disk/mail"
"#;

/// Its commits are another thread's than those of the maildrops.
const QUEUE: &str = r#"
[smtp.submission]
listen = ["127.0.0.1:0"]
hostname = "mx.example.test"
role = "submission"
domains = ["example.test"]
mailboxes = "disk/mail"
queue = "disk/queue"
relay = "127.0.0.1:1"
"#;

/// `password`, by the test suite of argon2's reference implementation; it costs little.
const HASH: &str =
    "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";

const ACCOUNTS: [&str; 2] = ["alice", "bob"];
/// Every other one submits mail for elsewhere, which comes to be in the queue: nobody is at the relay's port.
const CLIENTS: usize = 4;
/// Between the numbers of two rounds' messages.
const ROUND: usize = 100_000;

fn site(queue: &str) -> Site {
    let site = Site::new(&format!("{SITE}{queue}"));
    let users = ACCOUNTS
        .map(|name| format!("[{name}]\npassword = \"{HASH}\"\nmail = [\"{name}@example.test\"]\n"));
    site.write_private("users.toml", users.concat());
    fs::create_dir(site.path("disk")).expect("a folder");
    site
}

fn rounds(few: usize) -> usize {
    let asked = std::env::var("MEDUSA_CRASH_ROUNDS").ok();
    asked.map_or(few, |rounds| rounds.parse().expect("MEDUSA_CRASH_ROUNDS is a number"))
}

/// Moments drawn by lot, the same for a seed (SplitMix64).
struct Lot(u64);

impl Lot {
    fn new() -> Self {
        let asked = std::env::var("MEDUSA_CRASH_SEED").ok();
        let seed = asked.map_or(4, |seed| seed.parse().expect("MEDUSA_CRASH_SEED is a number"));
        println!("MEDUSA_CRASH_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Message number `id`, of a length of its own: some go to the store in one piece, some in many.
fn text(id: usize) -> String {
    let line = format!("line of {id}\r\n");
    let count = if id.is_multiple_of(7) { 8_000 } else { id % 300 };
    format!("Subject: {id}\r\n\r\n{}END {id}\r\n", line.repeat(count))
}

/// Sends a message for both accounts, and says what was answered.
fn deliver(conversation: &mut Conversation, id: usize) -> io::Result<u16> {
    conversation.send(
        "MAIL FROM:<>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n",
    )?;
    for code in [250, 250, 250, 354] {
        assert_eq!(conversation.code()?, code);
    }
    conversation.send(format!("{}.\r\n", text(id)))?;
    conversation.code()
}

fn greet(address: SocketAddr) -> io::Result<Conversation> {
    let mut conversation = Conversation::connect(address)?;
    conversation.code()?;
    conversation.send("EHLO c.test\r\n")?;
    conversation.code()?;
    Ok(conversation)
}

fn is_onward(id: usize) -> bool {
    id % 2 == 1
}

/// Logs in and submits mail for elsewhere until the server is gone or takes no more.
fn submit(address: SocketAddr, first: usize, answered: &Sender<usize>) -> io::Result<()> {
    let mut conversation = greet(address)?;
    conversation.send("AUTH PLAIN AGFsaWNlAHBhc3N3b3Jk\r\n")?;
    assert_eq!(conversation.code()?, 235);
    for id in (first..).step_by(CLIENTS) {
        conversation
            .send("MAIL FROM:<alice@example.test>\r\nRCPT TO:<x@elsewhere.test>\r\nDATA\r\n")?;
        for code in [250, 250, 354] {
            assert_eq!(conversation.code()?, code);
        }
        conversation.send(format!("{}.\r\n", text(id)))?;
        if conversation.code()? != 250 || answered.send(id).is_err() {
            break;
        }
    }
    Ok(())
}

/// Sends messages until the server is gone or takes no more, and tells those that were answered by 250.
fn client(address: SocketAddr, first: usize, answered: &Sender<usize>) -> io::Result<()> {
    let mut conversation = greet(address)?;
    for id in (first..).step_by(CLIENTS) {
        if deliver(&mut conversation, id)? != 250 || answered.send(id).is_err() {
            break;
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Start,
    FirstMessage,
}

/// Loads the server until `moment` has passed since its start, or since the first message was taken, then ends
/// it in one way or another. What was answered by 250 is added to `promised`.
fn interrupted(
    server: Server,
    first: usize,
    (since, moment): (Since, Duration),
    promised: &mut BTreeSet<usize>,
    end: impl FnOnce(Server),
) {
    let [mx, submission] = ["smtp.mx", "smtp.submission"].map(|name| server.address(name));
    let (sender, receiver) = channel();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|index| {
            let sender = sender.clone();
            // An error is the end of the server; a wrong reply panics, and fails the test at the join.
            thread::spawn(move || {
                drop(match is_onward(index) {
                    true => submit(submission, first + index, &sender),
                    false => client(mx, first + index, &sender),
                });
            })
        })
        .collect();
    drop(sender);
    if since == Since::FirstMessage {
        promised.insert(receiver.recv_timeout(PATIENCE).expect("a message is taken"));
    }
    let end_of_round = Instant::now() + moment;
    let left = || end_of_round.saturating_duration_since(Instant::now());
    while let Ok(id) = receiver.recv_timeout(left()) {
        promised.insert(id);
    }
    end(server);
    promised.extend(receiver.iter());
    for client in clients {
        client.join().expect("every reply is as expected");
    }
}

/// A message's number, if it is whole.
fn number_of(message: &str) -> usize {
    let (_, message) = message.split_once(" +0000\r\n").expect("whole trace fields");
    let number = message.lines().next().and_then(|line| line.strip_prefix("Subject: "));
    let id = number.and_then(|number| number.parse().ok()).expect("its number");
    assert!(message == text(id), "message {id} isn't whole");
    id
}

fn assert_kept(place: &str, seen: &BTreeSet<usize>, promised: impl Iterator<Item = usize>) {
    let lost: Vec<_> = promised.filter(|id| !seen.contains(id)).collect();
    assert!(lost.is_empty(), "{place} has lost {lost:?}");
}

/// Every message in `new` is whole, and all that was promised is there for both; and so in the queue, with an
/// envelope that is whole too.
fn verify(disk: &Path, promised: &BTreeSet<usize>) -> usize {
    let mut kept = 0;
    for account in ACCOUNTS {
        let found = messages(&disk.join("mail").join(account), "new");
        let seen: BTreeSet<_> = found.iter().map(|message| number_of(message)).collect();
        assert_kept(account, &seen, promised.iter().copied().filter(|id| !is_onward(*id)));
        kept += seen.len();
    }
    let mut seen = BTreeSet::new();
    for entry in fs::read_dir(disk.join("queue/waiting")).into_iter().flatten() {
        let entry = entry.expect("an entry");
        let envelope = fs::read_to_string(entry.path()).expect("an envelope");
        assert!(envelope.contains("\nrecipient x@elsewhere.test\n"), "{envelope}");
        assert!(envelope.ends_with("\nend\n"), "{envelope}");
        let message = disk.join("queue/messages").join(entry.file_name());
        seen.insert(number_of(&fs::read_to_string(message).expect("its message")));
    }
    assert_kept("the queue", &seen, promised.iter().copied().filter(|id| is_onward(*id)));
    kept + seen.len()
}

/// What a crash left half-written is swept when a shard begins to serve, and what was refused at once.
fn verify_swept(mail: &Path) {
    for account in ACCOUNTS {
        let tmp = mail.join(account).join("tmp");
        until("remains in tmp go", || fs::read_dir(&tmp).map_or(0, Iterator::count) == 0);
    }
}

#[test]
fn what_was_answered_by_250_survives_kills_at_any_moment() {
    let (site, mut lot) = (site(QUEUE), Lot::new());
    let (disk, mail) = (site.path("disk"), site.path("disk/mail"));
    let mut promised = BTreeSet::new();
    for round in 0..rounds(25) {
        let server = site.serve(MEDUSA);
        verify_swept(&mail);
        let moment = Duration::from_micros(lot.below(80_000));
        let moment = (Since::Start, moment);
        interrupted(server, round * ROUND, moment, &mut promised, |server| {
            server.signal(Signal::KILL);
            assert!(!server.wait().success());
        });
    }
    let kept = verify(&disk, &promised);
    let onward = promised.iter().filter(|id| is_onward(**id)).count();
    assert!(onward > 0 && onward < promised.len(), "{onward} of {}", promised.len());
    site.serve(MEDUSA).end();
    verify_swept(&mail);
    println!("{} messages promised, {onward} of them in the queue; {kept} kept", promised.len());
}

// ---- each system call of a delivery ----------------------------------------------------------

/// The thread that delivers.
const DELIVERS: &[(&str, usize)] = &[("mail-commit", 1)];

/// The system calls of a delivery to two accounts, and how many of each are tried at most. Of the writes the
/// second wakes an event loop, which no disk has to do with.
const CALLS: [(&str, usize); 5] =
    [("openat", 8), ("write", 1), ("fsync", 8), ("linkat", 2), ("rename", 2)];

/// The next small message's number: it comes in one piece, for accounts.
fn next(id: usize) -> usize {
    if (id + 2).is_multiple_of(7) { id + 4 } else { id + 2 }
}

#[test]
fn a_system_call_that_fails_loses_and_halves_nothing() {
    if !require("strace") {
        return;
    }
    let site = site("");
    let (disk, mail) = (site.path("disk"), site.path("disk/mail"));
    let server = site.serve(MEDUSA);
    let mut conversation = greet(server.address("smtp.mx")).expect("a greeting");
    let mut promised = BTreeSet::from([2]);
    // The folders are made by the first.
    assert_eq!(deliver(&mut conversation, 2).expect("a reply"), 250);
    let (mut id, mut refused) = (2_usize, 0);
    for (call, most) in CALLS {
        for errno in ["EIO", "ENOSPC"] {
            for at in 1..=most {
                id = next(id);
                let injection = Injection::attach(
                    &site,
                    &server,
                    DELIVERS,
                    call,
                    &format!("error={errno}:when={at}"),
                );
                let code = deliver(&mut conversation, id).expect("a reply");
                let was_reached = injection.detach();
                match (code, errno) {
                    (250, _) => drop(promised.insert(id)),
                    (452, "ENOSPC") | (451, "EIO") => refused += 1,
                    _ => {
                        panic!("{call} number {at} failed with {errno}, and was answered by {code}")
                    }
                }
                assert!(was_reached || code == 250);
                if !was_reached {
                    assert!(at > 1, "a delivery does without {call}");
                    break;
                }
            }
        }
    }
    // Each of two opens, one write, two or three syncs, a link and a rename, with two errors.
    assert!(refused >= 12, "only {refused} failures were told");
    assert_eq!(verify(&disk, &promised), 2 * promised.len(), "what was refused isn't there");
    verify_swept(&mail);
    server.end();
}

#[test]
fn a_kill_at_any_system_call_loses_and_halves_nothing() {
    if !require("strace") {
        return;
    }
    let site = site("");
    let (disk, mail) = (site.path("disk"), site.path("disk/mail"));
    let mut promised = BTreeSet::new();
    let (mut id, mut kills) = (0_usize, 0);
    for (call, most) in CALLS {
        for at in 1..=most {
            id = next(id);
            let server = site.serve(MEDUSA);
            verify_swept(&mail);
            let mut conversation = greet(server.address("smtp.mx")).expect("a greeting");
            let injection = Injection::attach(
                &site,
                &server,
                DELIVERS,
                call,
                &format!("signal=KILL:when={at}"),
            );
            let answer = deliver(&mut conversation, id);
            let (was_reached, answer_came) = (injection.detach(), answer.is_ok());
            match answer {
                Ok(code) => {
                    assert_eq!(code, 250);
                    promised.insert(id);
                }
                Err(_) => kills += 1,
            }
            if !was_reached && answer_came {
                server.end();
                break;
            }
            assert!(!server.wait().success());
        }
    }
    assert!(kills >= 6, "it was killed {kills} times");
    verify(&disk, &promised);
}

// ---- a file system of its own ----------------------------------------------------------------

/// An ext4 in a file, mounted for a test.
struct Volume {
    image: PathBuf,
    place: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

impl Volume {
    /// Mounts a new file system of so many MiB on the site's `disk`; `None` where that can't be done.
    fn mount(site: &Site, mebibytes: u64) -> Option<Self> {
        let volume = Self { image: site.path("image"), place: site.path("disk") };
        let image = fs::File::create(&volume.image).expect("a file");
        image.set_len(mebibytes << 20).expect("room");
        let made = run("mkfs.ext4", &["-q", "-F", volume.image()])
            .and_then(|()| volume.attach())
            .and_then(|()| run("xfs_io", &["-V"]));
        if let Err(error) = made {
            let is_required = std::env::var_os("MEDUSA_REQUIRE_POWER_CUT").is_some();
            assert!(!is_required, "no file system to be broken: {error}");
            eprintln!("\n*** SKIPPED: no file system to be broken here ({error}) ***\n");
            return None;
        }
        Some(volume)
    }

    fn image(&self) -> &str {
        self.image.to_str().expect("text")
    }

    fn place(&self) -> &str {
        self.place.to_str().expect("text")
    }

    fn attach(&self) -> Result<(), String> {
        run("mount", &["-t", "ext4", "-o", "loop", self.image(), self.place()])
    }

    /// What isn't on the disk is lost, and nothing gets there any more.
    fn cut_power(&self) {
        run("xfs_io", &["-x", "-c", "shutdown", self.place()]).expect("it can be shut down");
    }

    /// Mounts it again, as after a start of the machine: the journal is replayed.
    fn restart(&self) {
        run("umount", &[self.place()]).expect("nobody has it open");
        self.attach().expect("it can be mounted again");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = run("umount", &[self.place()]);
    }
}

#[test]
fn what_was_answered_by_250_survives_power_cuts() {
    let (site, mut lot) = (site(QUEUE), Lot::new());
    let Some(volume) = Volume::mount(&site, 64) else { return };
    let (disk, mail) = (site.path("disk"), site.path("disk/mail"));
    let mut promised = BTreeSet::new();
    for round in 0..rounds(5) {
        let server = site.serve(MEDUSA);
        verify_swept(&mail);
        let moment = (Since::FirstMessage, Duration::from_millis(lot.below(150)));
        interrupted(server, round * ROUND, moment, &mut promised, |server| {
            volume.cut_power();
            server.signal(Signal::KILL);
            assert!(!server.wait().success());
        });
        volume.restart();
        verify(&disk, &promised);
        // So that the next rounds have room, and what is checked is this round's.
        for account in ACCOUNTS {
            // A power cut early on may have left none.
            let _ = fs::remove_dir_all(mail.join(account));
        }
        let _ = fs::remove_dir_all(disk.join("queue"));
        println!("{} messages promised before power cut {round}", promised.len());
        promised.clear();
    }
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let site = site("");
    let Some(_volume) = Volume::mount(&site, 4) else { return };
    let (disk, mail) = (site.path("disk"), site.path("disk/mail"));
    let server = site.serve(MEDUSA);
    let mut conversation = greet(server.address("smtp.mx")).expect("a greeting");
    let mut promised = BTreeSet::new();
    let full = (2..2000).step_by(2).find(|id| {
        let code = deliver(&mut conversation, *id).expect("a reply");
        assert!(code == 250 || code == 452, "a full disk was answered by {code}");
        code == 250 && !promised.insert(*id) || code == 452
    });
    assert!(full.is_some() && promised.len() > 10, "{} messages were taken", promised.len());
    assert_eq!(verify(&disk, &promised), 2 * promised.len());
    verify_swept(&mail);
    for account in ACCOUNTS {
        for entry in fs::read_dir(mail.join(account).join("new")).expect("a folder") {
            fs::remove_file(entry.expect("an entry").path()).expect("it goes");
        }
    }
    assert_eq!(deliver(&mut conversation, 2002).expect("a reply"), 250);
    verify(&disk, &BTreeSet::from([2002]));
    server.end();
}
