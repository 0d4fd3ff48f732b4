//! Uploads while the offload pool has no room.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use medusa_ftp::{Disk, Rights, Visit, Visitor};

use super::fixture::{Control, Fixture, connect};

/// A server whose pool has one thread and room for one more job, and who holds both up: the logins of
/// anonymous visitors, each of which waits for a word.
fn held_up() -> (Fixture, std::sync::mpsc::Sender<()>, Receiver<()>) {
    let (release, released) = channel();
    let (begin, begun) = channel();
    let released = Arc::new(Mutex::new(released));
    let fixture = Fixture::with_small_pool(move |root, visitor| {
        if let Visitor::Anonymous = visitor {
            begin.send(()).unwrap();
            // Whoever let go of the other end says the same.
            let _ = released.lock().unwrap().recv();
        }
        Ok(Visit::new(Disk::new(root)?, Rights::ALL))
    });
    (fixture, release, begun)
}

/// Whether a login was answered, by which the pool can only have refused it.
fn is_refused(other: &mut Control<TcpStream>) -> bool {
    matches!(other.reader.get_mut().peek(&mut [0; 4]), Ok(4))
}

/// How far an upload is, as STAT tells.
fn progress<S: Read + Write>(control: &mut Control<S>) -> usize {
    let told = control.ask("STAT");
    let words: Vec<&str> = told.split(' ').collect();
    let at = words.iter().position(|word| *word == "bytes").unwrap_or_else(|| panic!("{told}"));
    words[at - 1].parse().unwrap()
}

#[test]
fn an_upload_that_has_come_whole_is_kept_though_a_reset_follows() {
    // The pool owes a piece of the longer one; the shorter one's end was refused by a pool that is full.
    for (length, is_full) in [(200_000, false), (100_000, true)] {
        let (fixture, release, begun) = held_up();
        let mut control = fixture.alice();
        let mut data = connect(control.passive());
        assert_eq!(control.ask("STOU file"), "150 FILE: file");
        let mut visitors = [(); 3].map(|()| fixture.connect());
        for visitor in &mut visitors {
            assert!(visitor.ask("USER ftp").starts_with("331 "));
        }
        let [first, others @ ..] = &mut visitors;
        first.say("PASS x");
        begun.recv().unwrap();
        if is_full {
            for other in &mut *others {
                other.say("PASS x");
                other.reader.get_mut().set_nonblocking(true).unwrap();
            }
            assert!((0..1_000_000).any(|_| others.iter_mut().any(is_refused)));
        }
        data.write_all(&vec![b'x'; length]).unwrap();
        data.shutdown(Shutdown::Write).unwrap();
        assert!((0..100_000).any(|_| progress(&mut control) == length));
        // Its end is read by then, and so is the reset.
        let settle = |control: &mut Control<TcpStream>| {
            for _ in 0..100 {
                progress(control);
            }
        };
        settle(&mut control);
        rustix::net::sockopt::set_socket_linger(&data, Some(std::time::Duration::ZERO)).unwrap();
        drop(data);
        settle(&mut control);
        drop(release);
        assert_eq!(control.hear(), "226 Done", "{length}");
        assert_eq!(std::fs::read(fixture.path("file")).unwrap().len(), length);
    }
}

#[test]
fn an_upload_waits_for_a_full_pool_within_bounds_and_loses_nothing() {
    let content: Vec<u8> = (0..20_000_000u32).map(|n| (n / 7 % 251) as u8).collect();
    for (length, before) in [(100_000, 0), (20_000_000, 0), (20_000_000, 5_000_000)] {
        let (fixture, release, begun) = held_up();
        let mut control = fixture.alice();
        let mut data = connect(control.passive());
        assert_eq!(control.ask("STOR file"), "150 Send it");
        // What has come before goes its way, so that pieces are of their full length.
        data.write_all(&content[..before]).unwrap();
        while progress(&mut control) < before {}
        let mut visitors = [(); 3].map(|()| fixture.connect());
        for visitor in &mut visitors {
            assert!(visitor.ask("USER ftp").starts_with("331 "));
        }
        let [first, others @ ..] = &mut visitors;
        first.say("PASS x");
        begun.recv().unwrap();
        // One of two finds room in the queue, and the other is refused: then there is none.
        for other in &mut *others {
            other.say("PASS x");
            other.reader.get_mut().set_nonblocking(true).unwrap();
        }
        while !others.iter_mut().any(is_refused) {}
        let rest = content[before..length].to_vec();
        let sending = std::thread::spawn(move || {
            data.write_all(&rest).unwrap();
            data.shutdown(Shutdown::Write).unwrap();
            data
        });
        // It rests with what it may hold: two pieces of 512 KiB, and two that it had given away.
        let mut last = (progress(&mut control), 0);
        while last.1 < 2000 {
            let now = progress(&mut control);
            last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
        }
        let most = before + 4 * 512 * 1024;
        assert!(last.0 > before && last.0 <= most.min(length), "{last:?} of {most}");
        drop(release);
        assert_eq!(control.hear(), "226 Done");
        drop(sending.join().unwrap());
        assert!(std::fs::read(fixture.path("file")).unwrap() == content[..length]);
    }
}
