//! Maildirs and the queue on a real disk: names, sizes, locks, quotas, and other programs beside them.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::SystemTime;

use medusa_mail::{
    Commits, DiskQueue, EntryId, Envelope, Error, MailStore, MaildirStore, Maildrop, Queue,
    RealDisk, Recipient, Surrogate,
};

fn store(folder: &Path) -> MaildirStore {
    MaildirStore::open(folder, "mail.example.test").unwrap()
}

fn deliver(store: &MaildirStore, accounts: &[&str], text: &[u8]) {
    let accounts: Vec<String> = accounts.iter().map(|&name| name.to_owned()).collect();
    let mut incoming = store.begin(&accounts).unwrap();
    incoming.write(text).unwrap();
    let (sender, receiver) = channel();
    incoming.commit(Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap().unwrap();
}

fn text_of(store: &MaildirStore, account: &str, index: usize) -> String {
    octets_of(&*store.open(account).unwrap(), index)
}

fn octets_of(drop: &dyn Maildrop, index: usize) -> String {
    String::from_utf8(drop.read(index).unwrap().into_octets().unwrap()).unwrap()
}

#[test]
fn a_message_for_two_is_one_file_with_two_names() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    deliver(&store, &["alice", "bob", "alice"], b"a\r\nb\r\n");
    for account in ["alice", "bob"] {
        assert_eq!(text_of(&store, account, 0), "a\r\nb\r\n");
        let drop = store.open(account).unwrap();
        assert_eq!(drop.messages().len(), 1);
        assert_eq!((drop.messages()[0].size, drop.messages()[0].wire_size), (6, 6));
        assert_eq!(fs::read_dir(folder.path().join(account).join("tmp")).unwrap().count(), 0);
    }
}

#[test]
fn a_maildrop_has_one_reader_and_new_mail_is_for_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for text in ["one\r\n", "two\r\n", "three\r\n"] {
        deliver(&store, &["alice"], text.as_bytes());
    }
    let drop = store.open("alice").unwrap();
    assert!(matches!(store.open("alice").err(), Some(Error::InUse)));
    deliver(&store, &["alice"], b"four\r\n");
    assert_eq!(drop.messages().len(), 3);
    let ids: Vec<String> = drop.messages().iter().map(|m| m.unique_id.clone()).collect();
    drop.remove(&[1]).unwrap();
    drop.remove(&[1]).unwrap();
    assert!(matches!(drop.read(1), Err(Error::Missing)));
    assert!(matches!(drop.read(9), Err(Error::Missing)));
    std::mem::drop(drop);
    let drop = store.open("alice").unwrap();
    let again: Vec<String> = drop.messages().iter().map(|m| m.unique_id.clone()).collect();
    assert_eq!((&again[..2], again.len()), (&[ids[0].clone(), ids[2].clone()][..], 3));
}

#[test]
fn mail_of_other_programs_is_measured_once_and_found_where_they_move_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    deliver(&store, &["alice"], b"ours\r\n");
    let new = folder.path().join("alice/new");
    let cur = folder.path().join("alice/cur");
    fs::write(new.join("5.first.host"), "a\nb\r\nc\n").unwrap();
    fs::write(cur.join("6.second.host,S=2:2,S"), "x\n").unwrap();
    fs::create_dir(cur.join("7.a-folder")).unwrap();
    fs::write(cur.join(".hidden"), "").unwrap();
    let drop = store.open("alice").unwrap();
    let shown: Vec<_> =
        drop.messages().iter().map(|m| (m.unique_id.as_str(), m.size, m.wire_size)).collect();
    assert_eq!(shown[..2], [("5.first.host", 7, 9), ("6.second.host", 2, 3)]);
    assert_eq!(shown.len(), 3);
    fs::rename(new.join("5.first.host,S=7,W=9,U=0"), cur.join("5.first.host,S=7,W=9,U=0:2,S"))
        .unwrap();
    assert_eq!(octets_of(&*drop, 0), "a\nb\r\nc\n");
    assert!(cur.join("6.second.host,S=2,W=3,U=0:2,S").exists());
    // Not measured again: what the names say is taken.
    std::mem::drop(drop);
    fs::write(cur.join("6.second.host,S=2,W=3,U=0:2,S"), "longer\n").unwrap();
    fs::write(cur.join("5.first.host,S=7,W=9,U=0:2,S"), "").unwrap();
    let drop = store.open("alice").unwrap();
    let shown: Vec<_> = drop.messages()[..2].iter().map(|m| (m.size, m.wire_size)).collect();
    assert_eq!(shown, [(7, 9), (2, 3)]);
}

#[test]
fn what_has_foreign_headers_is_known_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let text = "Subject: \u{fc}\r\n\r\n\u{fc}\r\n";
    let surrogate = Surrogate::of(text.as_bytes()).len() as u64;
    deliver(&store, &["alice"], b"Subject: u\r\n\r\n\xc3\xbc\r\n");
    deliver(&store, &["alice"], text.as_bytes());
    let new = folder.path().join("alice/new");
    // By others, with sizes that are taken as they are, and a line end that goes out as CRLF.
    fs::write(new.join("5.other.host,S=1,W=2"), text.replace("\r\n", "\n")).unwrap();
    let check = || {
        let drop = store.open("alice").unwrap();
        let shown = drop.messages().iter().map(|m| (m.wire_size, m.surrogate_size));
        let shown: Vec<_> = shown.collect();
        assert_eq!(shown, [(2, Some(surrogate)), (18, None), (19, Some(surrogate))]);
    };
    check();
    for entry in fs::read_dir(&new).unwrap() {
        fs::write(entry.unwrap().path(), "").unwrap();
    }
    check();
}

#[test]
fn folders_that_are_removed_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let path = |account: &str| folder.path().join(account);
    for account in ["alice", "bob"] {
        deliver(&store, &[account], b"one\r\n");
    }
    for account in ["alice", "bob"] {
        fs::remove_dir_all(path(account)).unwrap();
        deliver(&store, &["alice", "bob"], b"two\r\n");
        assert_eq!(text_of(&store, account, 0), "two\r\n");
    }
    // One of them, while a message is on its way; and where only a part of it has gone.
    let mut incoming = store.begin(&["alice".to_owned()]).unwrap();
    incoming.write(b"lost\r\n").unwrap();
    fs::remove_dir_all(path("alice")).unwrap();
    let (sender, receiver) = channel();
    incoming.commit(Box::new(move |result| sender.send(result).unwrap()));
    assert!(receiver.recv().unwrap().is_err());
    for part in ["tmp", "new", "cur"] {
        deliver(&store, &["alice"], b"three\r\n");
        fs::remove_dir_all(path("alice").join(part)).unwrap();
        assert!(store.open("alice").is_ok());
        // A reader doesn't need them all.
        let _ = fs::remove_dir_all(path("alice").join(part));
        deliver(&store, &["alice"], b"four\r\n");
    }
    fs::remove_dir_all(path("alice")).unwrap();
    assert!(store.open("alice").unwrap().messages().is_empty());
}

#[test]
fn what_lacks_a_last_line_end_is_as_long_as_it_will_be_sent() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    deliver(&store, &["alice"], b"a\nb");
    fs::write(folder.path().join("alice/new/5.other.host"), "a\nb").unwrap();
    let drop = store.open("alice").unwrap();
    let sizes: Vec<_> = drop.messages().iter().map(|m| (m.size, m.wire_size)).collect();
    assert_eq!(sizes, [(3, 6), (3, 6)]);
}

#[test]
fn a_full_maildrop_takes_no_more_until_something_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path()).with_quota(Some(100));
    assert!(store.admit("alice", 100).is_ok());
    assert!(matches!(store.admit("alice", 101), Err(Error::Full)));
    deliver(&store, &["alice"], &[b'x'; 90]);
    assert!(store.admit("alice", 10).is_ok());
    assert!(matches!(store.admit("alice", 11), Err(Error::Full)));
    deliver(&store, &["alice"], &[b'x'; 90]);
    assert!(matches!(store.admit("alice", 0), Err(Error::Full)));
    assert!(store.admit("bob", 100).is_ok());
    store.open("alice").unwrap().remove(&[0, 1]).unwrap();
    assert!(store.admit("alice", 100).is_ok());
}

#[test]
fn names_that_would_be_paths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    for name in ["", ".", "..", "a/b", "../a", ".hidden", "a\0"] {
        assert!(matches!(store.begin(&[name.to_owned()]), Err(Error::Name(_))), "{name:?}");
        assert!(matches!(store.open(name).err(), Some(Error::Name(_))), "{name:?}");
    }
    assert!(matches!(store.begin(&[]), Err(Error::Name(_))));
}

#[test]
fn a_message_that_is_dropped_was_never_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let mut incoming = store.begin(&["alice".into()]).unwrap();
    incoming.write(b"half").unwrap();
    drop(incoming);
    // The thread that removes it does what came before what comes now.
    deliver(&store, &["alice"], b"whole");
    assert_eq!(fs::read_dir(folder.path().join("alice/tmp")).unwrap().count(), 0);
    assert_eq!(store.open("alice").unwrap().messages().len(), 1);
}

#[test]
fn many_commits_at_once_are_all_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(folder.path());
    let (sender, receiver) = channel();
    for n in 0..200u32 {
        let account = ["alice", "bob", "carol"][n as usize % 3].to_owned();
        let mut incoming = store.begin(&[account]).unwrap();
        incoming.write(&n.to_be_bytes()).unwrap();
        let sender = sender.clone();
        incoming.commit(Box::new(move |result| sender.send(result).unwrap()));
    }
    for _ in 0..200 {
        receiver.recv().unwrap().unwrap();
    }
    let count = |account| store.open(account).unwrap().messages().len();
    assert_eq!([count("alice"), count("bob"), count("carol")], [67, 67, 66]);
}

#[test]
fn an_envelope_that_could_not_be_read_again_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let queue = DiskQueue::open(folder.path(), Arc::new(RealDisk), Commits::AtOnce).unwrap();
    let mut envelope = Envelope::new("", SystemTime::now());
    let spare = |envelope: &Envelope, most: usize| "x".repeat(most - envelope.to_bytes().len());
    envelope.recipients.push(Recipient::default());
    envelope.recipients[0].address = spare(&envelope, 4 << 20);
    let mut entry = queue.begin().unwrap();
    envelope.recipients[0].address.push('x');
    assert!(matches!(entry.seal(&envelope), Err(Error::TooLong)));
    envelope.recipients[0].address.pop();
    entry.seal(&envelope).unwrap();
    let id = entry.id().clone();
    entry.commit(Box::new(|result| result.unwrap()));
    assert!(queue.envelope(&id).unwrap() == envelope);
    let before = envelope.clone();
    envelope.recipients[0].last_reply = Some(String::new());
    envelope.recipients[0].last_reply = Some(spare(&envelope, 16 << 20) + "x");
    assert!(matches!(queue.update(&id, &envelope), Err(Error::TooLong)));
    assert!(queue.envelope(&id).unwrap() == before);
    envelope.recipients[0].last_reply.as_mut().unwrap().pop();
    queue.update(&id, &envelope).unwrap();
    assert!(queue.envelope(&id).unwrap() == envelope);
}

#[test]
fn a_queue_entry_goes_through_its_states() {
    let folder = tempfile::tempdir().unwrap();
    let open = || DiskQueue::open(folder.path(), Arc::new(RealDisk), Commits::InThread);
    let queue = open().unwrap();
    assert!(matches!(open().err(), Some(Error::InUse)));
    let mut envelope = Envelope::new("a@b.test", SystemTime::now());
    let mut entry = queue.begin().unwrap();
    entry.write(b"text\r\n").unwrap();
    entry.seal(&envelope).unwrap();
    let id = entry.id().clone();
    assert!(queue.entries().unwrap().is_empty());
    let (sender, receiver) = channel();
    entry.commit(Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap().unwrap();
    assert_eq!(queue.envelope(&id).unwrap(), envelope);

    envelope.submitter = Some("alice".into());
    queue.update(&id, &envelope).unwrap();
    queue.hold(&id, true).unwrap();
    queue.hold(&id, true).unwrap();
    assert!(queue.entries().unwrap()[0].held);
    drop(queue);
    let queue = open().unwrap();
    assert_eq!(queue.envelope(&id).unwrap(), envelope);
    queue.hold(&id, false).unwrap();
    assert!(!queue.entries().unwrap()[0].held);
    queue.remove(&id).unwrap();
    assert!(queue.entries().unwrap().is_empty());
    assert!(matches!(queue.message(&id), Err(Error::Missing)));
    assert!(matches!(queue.remove(&id), Err(Error::Missing)));
    for text in ["", ".", "../x", "a/b"] {
        assert!(EntryId::parse(text).is_err());
    }
    assert_eq!(EntryId::parse(id.as_ref()).unwrap(), id);
}

#[test]
fn a_store_that_is_not_used_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mail = folder.path().join("a/mail");
    let store = MaildirStore::at(&mail, "h").unwrap();
    assert!(!mail.exists());
    store.prepare().unwrap();
    assert!(mail.exists());
    deliver(&store, &["alice"], b"x\r\n");
    fs::write(folder.path().join("file"), "").unwrap();
    assert!(MaildirStore::at(&folder.path().join("file/mail"), "h").is_err());
}

#[test]
fn a_panic_of_one_owner_is_not_the_end_of_all_mail() {
    let folder = tempfile::tempdir().unwrap();
    let store = MaildirStore::open(folder.path(), "h").unwrap();
    assert!(store.delivers_aside());
    let accounts = ["alice".to_owned()];
    store.deliver(&accounts, b"one\r\n".to_vec(), Box::new(|_| panic!("on purpose")));
    let (tell, told) = channel();
    store.deliver(&accounts, b"two\r\n".to_vec(), Box::new(move |kept| tell.send(kept).unwrap()));
    told.recv_timeout(std::time::Duration::from_secs(20)).unwrap().unwrap();
    assert_eq!(store.open("alice").unwrap().messages().len(), 2);
}

#[test]
fn a_maildrop_that_is_moved_away_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = MaildirStore::open(folder.path(), "h").unwrap();
    let deliver = |accounts: &[&str]| {
        let accounts: Vec<String> = accounts.iter().map(|&name| name.to_owned()).collect();
        let (tell, told) = std::sync::mpsc::channel();
        store.deliver(
            &accounts,
            b"x\r\n".to_vec(),
            Box::new(move |result| tell.send(result).unwrap()),
        );
        told.recv().unwrap()
    };
    let count = |account| store.open(account).unwrap().messages().len();
    deliver(&["alice", "bob"]).unwrap();
    for gone in ["alice", "bob"] {
        std::fs::remove_dir_all(folder.path().join(gone)).unwrap();
        deliver(&["alice", "bob"]).unwrap();
    }
    assert_eq!((count("alice"), count("bob")), (2, 1));
    std::fs::rename(folder.path().join("bob"), folder.path().join("old")).unwrap();
    assert_eq!(count("bob"), 0);
    // One part of it alone: at the latest, the second message finds it made again.
    std::fs::remove_dir_all(folder.path().join("bob/new")).unwrap();
    let _ = deliver(&["bob"]);
    deliver(&["bob"]).unwrap();
    assert!(count("bob") >= 1);
}
