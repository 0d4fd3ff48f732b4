//! The promise under every fault: after an error nothing half-written is to be seen, and after a yes it
//! is whole, in all of its places, whatever the disk forgets.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use medusa_mail::testing::{Fault, FaultyDisk, ModelDisk, PowerCut};
use medusa_mail::{
    Commits, DiskQueue, Envelope, Error, MailStore, MaildirStore, Queue, RealDisk, Recipient,
};

const FAULTS: [Fault; 4] = [Fault::Io, Fault::NoSpace, Fault::Short, Fault::Dies];
const CUTS: [PowerCut; 3] = [PowerCut::LosesAll, PowerCut::LosesContents, PowerCut::LosesNothing];

fn message() -> Vec<u8> {
    b"Subject: a\r\n\r\n".iter().copied().chain((0..5000).map(|n| b'a' + (n % 26) as u8)).collect()
}

/// Delivers one message in three pieces.
fn deliver(store: &MaildirStore, accounts: &[&str]) -> Result<(), Error> {
    let accounts: Vec<String> = accounts.iter().map(|&name| name.to_owned()).collect();
    let mut incoming = store.begin(&accounts)?;
    for piece in message().chunks(2000) {
        incoming.write(piece)?;
    }
    let outcome = Arc::new(Mutex::new(None));
    let told = Arc::clone(&outcome);
    incoming.commit(Box::new(move |result| *told.lock().unwrap() = Some(result)));
    outcome.lock().unwrap().take().expect("the commit is answered")
}

/// Files below `new`, by their maildrop.
fn delivered(files: &BTreeMap<PathBuf, Vec<u8>>) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut drops: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (path, content) in files {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        if let [account, "new", _] = parts[..] {
            drops.entry(account.to_owned()).or_default().push(content.clone());
        }
    }
    drops
}

fn on_disk(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => {
                    let name = entry.path().strip_prefix(root).unwrap().to_owned();
                    files.insert(name, fs::read(entry.path()).unwrap());
                }
            }
        }
    }
    files
}

#[test]
fn a_delivery_whose_steps_fail_is_whole_or_was_never_there() {
    for fault in FAULTS {
        let mut succeeded = false;
        for at in 0.. {
            assert!(at < 100, "no end of steps");
            let folder = tempfile::tempdir().unwrap();
            let disk = FaultyDisk::new(Arc::new(RealDisk), at, fault);
            let store = MaildirStore::with_disk(
                folder.path(),
                "h",
                Arc::new(disk.clone()),
                Commits::AtOnce,
            )
            .unwrap();
            let outcome = deliver(&store, &["alice", "bob"]);
            let files = on_disk(folder.path());
            let drops = delivered(&files);
            let case = format!("{fault:?} at {at}: {outcome:?}");
            for content in drops.values().flatten() {
                assert_eq!(*content, message(), "{case}");
            }
            match outcome {
                Ok(()) => {
                    assert_eq!(drops.keys().collect::<Vec<_>>(), ["alice", "bob"], "{case}");
                    succeeded = true;
                }
                // Where the clean-up can be done, it is.
                Err(error) if fault != Fault::Dies => {
                    assert!(drops.is_empty(), "{case}");
                    let left = files.keys().filter(|path| path.iter().any(|part| part == "tmp"));
                    assert_eq!(left.count(), 0, "{case}");
                    assert_eq!(matches!(error, Error::NoSpace), fault == Fault::NoSpace, "{case}");
                }
                Err(_) => {}
            }
            if disk.steps() <= at {
                break;
            }
        }
        assert!(succeeded);
    }
}

#[test]
fn a_power_cut_at_any_step_of_a_delivery_loses_nothing_that_was_accepted() {
    for at in 0.. {
        assert!(at < 100, "no end of steps");
        let folder = tempfile::tempdir().unwrap();
        let model = ModelDisk::default();
        let disk = FaultyDisk::new(Arc::new(model.clone()), at, Fault::Dies);
        let store =
            MaildirStore::with_disk(folder.path(), "h", Arc::new(disk.clone()), Commits::AtOnce)
                .unwrap();
        let outcome = deliver(&store, &["alice", "bob"]);
        for cut in CUTS {
            let drops = delivered(&model.survivors(folder.path(), cut));
            for content in drops.values().flatten() {
                assert_eq!(*content, message(), "{cut:?} at {at}");
            }
            if outcome.is_ok() {
                assert_eq!(drops.keys().collect::<Vec<_>>(), ["alice", "bob"], "{cut:?} at {at}");
            }
        }
        if disk.steps() <= at {
            assert!(outcome.is_ok());
            break;
        }
    }
}

#[test]
fn what_was_never_finished_is_swept_at_the_next_start_and_the_rest_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::new(Arc::new(RealDisk), 9, Fault::Dies);
    let store =
        MaildirStore::with_disk(folder.path(), "h", Arc::new(disk), Commits::AtOnce).unwrap();
    assert!(deliver(&store, &["alice"]).is_err());
    let tmp = folder.path().join("alice/tmp");
    let count = || fs::read_dir(&tmp).unwrap().count();
    assert_eq!(count(), 1);
    fs::write(tmp.join("1.another.programs"), "x").unwrap();
    // Another process delivers here still: what is young may be its.
    let other =
        MaildirStore::with_disk(folder.path(), "h", Arc::new(RealDisk), Commits::AtOnce).unwrap();
    assert_eq!(count(), 2);
    drop((store, other));
    MaildirStore::with_disk(folder.path(), "h", Arc::new(RealDisk), Commits::AtOnce).unwrap();
    assert_eq!(count(), 1);
}

fn envelope() -> Envelope {
    let mut envelope = Envelope::new("alice@example.test", SystemTime::UNIX_EPOCH);
    envelope
        .recipients
        .push(Recipient { address: "bob@elsewhere.test".into(), ..Recipient::default() });
    envelope
}

fn enqueue(queue: &DiskQueue) -> Result<(), Error> {
    let mut entry = queue.begin()?;
    for piece in message().chunks(2000) {
        entry.write(piece)?;
    }
    entry.seal(&envelope())?;
    let outcome = Arc::new(Mutex::new(None));
    let told = Arc::clone(&outcome);
    entry.commit(Box::new(move |result| *told.lock().unwrap() = Some(result)));
    outcome.lock().unwrap().take().expect("the commit is answered")
}

/// What a queue that is opened after a crash holds: every entry whole.
fn recovered(files: &BTreeMap<PathBuf, Vec<u8>>) -> usize {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files.iter().filter(|(name, _)| *name != Path::new("lock")) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let queue = DiskQueue::open(folder.path(), Arc::new(RealDisk), Commits::AtOnce).unwrap();
    let entries = queue.entries().unwrap();
    for entry in &entries {
        assert!(!entry.held);
        assert_eq!(queue.envelope(&entry.id).unwrap(), envelope());
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut queue.message(&entry.id).unwrap(), &mut content).unwrap();
        assert_eq!(content, message());
    }
    let left = fs::read_dir(folder.path().join("messages")).unwrap().count();
    assert_eq!(left, entries.len(), "what was never accepted is swept");
    entries.len()
}

#[test]
fn a_queue_whose_steps_fail_has_whole_entries_alone() {
    for fault in FAULTS {
        for at in 6.. {
            assert!(at < 100, "no end of steps");
            let folder = tempfile::tempdir().unwrap();
            let model = ModelDisk::default();
            let disk = FaultyDisk::new(Arc::new(model.clone()), at, fault);
            let queue =
                DiskQueue::open(folder.path(), Arc::new(disk.clone()), Commits::AtOnce).unwrap();
            let outcome = enqueue(&queue);
            for cut in CUTS {
                let count = recovered(&model.survivors(folder.path(), cut));
                match outcome {
                    Ok(()) => assert_eq!(count, 1, "{fault:?} {cut:?} at {at}"),
                    // Not told of, and there all the same: at most if nothing could be undone.
                    Err(_) => {
                        let undone = fault != Fault::Dies && cut == PowerCut::LosesNothing;
                        assert!(count <= usize::from(!undone), "{fault:?} {cut:?} at {at}");
                    }
                }
            }
            if disk.steps() <= at {
                assert!(outcome.is_ok());
                break;
            }
        }
    }
}

/// An attempt changes an entry, and the next one ends it.
#[test]
fn an_entry_that_changes_or_ends_is_whole_or_gone() {
    let mut changed = envelope();
    changed.recipients[0].attempts = 1;
    for fault in FAULTS {
        for at in 6.. {
            assert!(at < 100, "no end of steps");
            let folder = tempfile::tempdir().unwrap();
            let model = ModelDisk::default();
            let disk = FaultyDisk::new(Arc::new(model.clone()), at, fault);
            let queue =
                DiskQueue::open(folder.path(), Arc::new(disk.clone()), Commits::AtOnce).unwrap();
            if enqueue(&queue).is_err() {
                continue;
            }
            let id = queue.entries().unwrap()[0].id.clone();
            let updated = queue.update(&id, &changed).is_ok();
            let ended = Arc::new(Mutex::new(None));
            let told = Arc::clone(&ended);
            queue.retire(&id, Box::new(move |result| *told.lock().unwrap() = Some(result)));
            let ended = ended.lock().unwrap().take().expect("the end is answered").is_ok();
            for cut in CUTS {
                let left = envelopes(&model.survivors(folder.path(), cut));
                match &left[..] {
                    [] => {}
                    [one] => {
                        assert!(!ended, "{fault:?} {cut:?} at {at}");
                        assert!(*one == changed || (!updated && *one == envelope()), "{one:?}");
                    }
                    more => panic!("{more:?}"),
                }
            }
            if disk.steps() <= at {
                assert!(updated && ended);
                break;
            }
        }
    }
}

/// The envelopes of a queue that is opened after a crash, each with its whole message.
fn envelopes(files: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<Envelope> {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files.iter().filter(|(name, _)| *name != Path::new("lock")) {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let queue = DiskQueue::open(folder.path(), Arc::new(RealDisk), Commits::AtOnce).unwrap();
    let read = |id| {
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut queue.message(id).unwrap(), &mut content).unwrap();
        assert_eq!(content, message());
        queue.envelope(id).unwrap()
    };
    queue.entries().unwrap().iter().filter(|one| !one.held).map(|one| read(&one.id)).collect()
}
