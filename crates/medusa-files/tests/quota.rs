//! What a quota counts, what it refuses, and what the parts of broken files count for.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;

use medusa_files::{Error, Replace, Root, Staging, Start, Writing};

fn limited(folder: &std::path::Path, octets: u64) -> Root {
    Root::new(folder).unwrap().limited(octets).unwrap()
}

fn is_refused(written: std::io::Result<()>) -> bool {
    written.is_err_and(|error| matches!(Error::from_io(error), Error::QuotaExceeded))
}

fn stage(root: &Root, name: &str, content: &[u8]) -> std::io::Result<()> {
    let mut staged = root.stage(name, Staging::default()).unwrap();
    staged.write_all(content)?;
    staged.commit().unwrap();
    Ok(())
}

#[test]
fn what_is_there_counts_and_what_goes_is_given_back() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a/b")).unwrap();
    fs::write(folder.path().join("a/b/old"), [0; 30]).unwrap();
    std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
    let root = limited(folder.path(), 100);
    assert_eq!(root.used(), Some(30));
    stage(&root, "new", &[0; 70]).unwrap();
    assert!(is_refused(stage(&root, "more", &[0; 1])));
    // One that is refused leaves nothing, and counts for nothing.
    assert_eq!((root.used(), folder.path().join("more").exists()), (Some(100), false));
    root.rename("new", "a/b/old", Replace::Allowed).unwrap();
    assert_eq!(root.used(), Some(70));
    root.rename("a/b/old", "a/b/old", Replace::Allowed).unwrap();
    assert_eq!(root.used(), Some(70));
    root.remove_file("a/b/old").unwrap();
    root.remove_file("link").unwrap();
    assert_eq!(root.used(), Some(0));
    // A root of a folder beneath it is bound by it as well.
    assert!(is_refused(stage(&root.subroot("a").unwrap(), "x", &[0; 101])));
}

#[test]
fn a_file_in_place_counts_as_it_grows() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), [0; 40]).unwrap();
    let root = limited(folder.path(), 100);
    let open =
        |start| root.open_for_writing("file", Writing { start, ..Writing::default() }).unwrap();
    let mut file = open(Start::End);
    file.write_all(&[0; 60]).unwrap();
    assert!(is_refused(file.write_all(&[0])));
    file.truncate(90).unwrap();
    assert_eq!(root.used(), Some(90));
    drop(open(Start::At(50)));
    assert_eq!(root.used(), Some(50));
    open(Start::Empty).write_all(&[0; 100]).unwrap();
    assert!(is_refused(open(Start::End).write_all(&[0])));
    assert_eq!(fs::metadata(folder.path().join("file")).unwrap().len(), 100);
}

#[test]
fn a_file_may_be_replaced_by_one_as_long() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), [1; 80]).unwrap();
    let root = limited(folder.path(), 100);
    stage(&root, "file", &[2; 100]).unwrap();
    assert_eq!(root.used(), Some(100));
    assert!(is_refused(stage(&root, "file", &[3; 101])));
    assert_eq!(root.used(), Some(100));
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), [2; 100]);
}

#[test]
fn roots_of_one_folder_share_what_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let one = limited(folder.path(), 100);
    let other = limited(folder.path(), 50);
    stage(&one, "file", &[0; 60]).unwrap();
    assert_eq!(other.used(), Some(60));
    assert!(is_refused(stage(&other, "small", &[0])));
    drop((one, other));
    // Nobody holds one: it is counted anew, with what others have done.
    fs::write(folder.path().join("file"), [0; 10]).unwrap();
    assert_eq!(limited(folder.path(), 50).used(), Some(10));
}

#[test]
fn a_part_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let root = limited(folder.path(), 100);
    let mut staged = root.stage("file", Staging::default()).unwrap();
    staged.write_all(b"0123456789").unwrap();
    staged.keep_part().unwrap();
    assert_eq!((root.part_len("file").unwrap(), root.used()), (10, Some(10)));
    assert!(matches!(root.open("file"), Err(Error::NotFound)));
    let resume = |at| root.resume_part("file", at, Staging::default());
    assert!(matches!(resume(Some(11)), Err(Error::BeyondEnd)));
    let mut staged = resume(Some(4)).unwrap();
    assert!(matches!(resume(None), Err(Error::NotFound)), "somebody else has it");
    assert_eq!(root.used(), Some(4));
    staged.write_all(b"abc").unwrap();
    staged.keep_part().unwrap();
    let mut staged = resume(None).unwrap();
    staged.write_all(b"xyz").unwrap();
    assert!(is_refused(staged.write_all(&[0; 91])));
    staged.commit().unwrap();
    assert_eq!(fs::read(folder.path().join("file")).unwrap(), b"0123abcxyz");
    assert_eq!((root.used(), root.part_len("file").is_err()), (Some(10), true));
    // One that is dropped goes.
    root.stage("other", Staging::default()).unwrap().keep_part().unwrap();
    drop(root.resume_part("other", None, Staging::default()).unwrap());
    assert!(root.part_len("other").is_err());
    root.stage("other", Staging::default()).unwrap().keep_part().unwrap();
    root.remove_part("other").unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let long = "n".repeat(250);
    let staged = root.stage(&long, Staging::default()).unwrap();
    assert!(matches!(staged.keep_part(), Err(Error::InvalidName)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}
