//! LIST, NLST and MLSD: of folders, of patterns, and of more than would fit into memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use medusa_core::testing::Faults;
use medusa_files::{Timestamp, VirtualPath};

use super::fixture::{builder, check_in, lines, play};
use crate::Error;
use crate::home::{Rights, Visit, Visitor};
use crate::service::FtpService;
use crate::storage::{Content, Entries, Entry, Info, Memory, Start, Storage, Upload};

const PASSIVE: &str = "227 Entering Passive Mode (127,0,0,1,195,80)";

#[test]
fn lists() {
    let memory = Memory::new(1000);
    memory.insert("folder/a", "1").unwrap();
    memory.insert("folder/b c", "22").unwrap();
    check_in(
        &memory,
        builder,
        &[
            "OPTS MLST type;size;",
            "CWD folder",
            "PASV",
            "NLST -a",
            "@connect",
            "@get",
            "EPSV",
            "MLSD",
            "@connect",
            "@get",
            "PASV",
            "MLSD a",
            "NLST a",
            "@connect",
            "@get",
        ],
        &[
            "200 MLST OPTS type;size;",
            "250 There you are",
            PASSIVE,
            "150 Here it comes",
            "226 Done",
            "[a",
            "b c",
            "|]",
            "229 Entering Extended Passive Mode (|||50001|)",
            "150 Here it comes",
            "226 Done",
            "[type=cdir; /folder",
            "type=file;size=1; a",
            "type=file;size=2; b c",
            "|]",
            "227 Entering Passive Mode (127,0,0,1,195,82)",
            "550 Not a folder",
            "150 Here it comes",
            "226 Done",
            "[a",
            "|]",
        ],
    );
}

#[test]
fn patterns_in_lists() {
    let memory = Memory::new(1000);
    for name in ["a.txt", "b.txt", "c.rs", "deep/d.txt", "*.md", ".e.txt"] {
        memory.insert(name, "1").unwrap();
    }
    let told = |line: &'static str| {
        let script = ["USER alice", "PASS secret", "PASV", line, "@connect", "@get"];
        let world = play(builder(&memory.deep_copy()), &script, Faults::none());
        lines(&world)[4..].iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()
    };
    let head = ["150 Here it comes", "226 Done"];
    assert_eq!(told("NLST *.txt"), [&head[..], &["[a.txt", "b.txt", "|]"]].concat());
    assert_eq!(told("NLST deep/?.txt"), [&head[..], &["[deep/d.txt", "|]"]].concat());
    assert_eq!(told("NLST -la [!a].*"), [&head[..], &["[*.md", "b.txt", "c.rs", "|]"]].concat());
    // One that is called so is meant; what fits nothing is no error, as from vsftpd.
    assert_eq!(told("NLST *.md"), [&head[..], &["[*.md", "|]"]].concat());
    assert_eq!(told("NLST *.none"), [&head[..], &["[|]"]].concat());
    assert!(told("LIST ?.rs")[2].ends_with(" c.rs"));
    assert_eq!(told("NLST none/*")[0], "550 No such file or folder");
    assert_eq!(told("NLST *.txt/")[0], "550 No such file or folder");
    assert_eq!(told("MLSD *.txt")[0], "550 No such file or folder");
}

/// A folder of so many entries, which are made as they are asked for and counted.
struct Endless(u64, Arc<AtomicU64>);

impl Storage for Endless {
    fn info(&self, _: &VirtualPath) -> Result<Info, Error> {
        let modified = Timestamp::default();
        Ok(Info { is_folder: true, len: 0, modified, mode: None, unique: None })
    }

    fn list(&self, path: &VirtualPath) -> Result<Entries, Error> {
        let info = Info { is_folder: false, ..self.info(path)? };
        let (count, made) = (self.0, Arc::clone(&self.1));
        Ok(Box::new((0..count).map(move |number| {
            made.fetch_add(1, Ordering::Relaxed);
            Ok(Entry { name: format!("entry-{number:07}").into_bytes(), info })
        })))
    }

    fn read(&self, _: &VirtualPath) -> Result<Content, Error> {
        Err(Error::IsAFolder)
    }

    fn write(&self, _: &VirtualPath, _: Start) -> Result<Box<dyn Upload>, Error> {
        Err(Error::Unsupported)
    }

    fn remove_file(&self, _: &VirtualPath) -> Result<(), Error> {
        Err(Error::Unsupported)
    }

    fn remove_folder(&self, _: &VirtualPath) -> Result<(), Error> {
        Err(Error::Unsupported)
    }

    fn make_folder(&self, _: &VirtualPath) -> Result<(), Error> {
        Err(Error::Unsupported)
    }

    fn rename(&self, _: &VirtualPath, _: &VirtualPath, _: bool) -> Result<(), Error> {
        Err(Error::Unsupported)
    }
}

#[test]
fn any_number_of_entries_is_made_as_it_is_taken() {
    for (command, count) in [("NLST", 300_000), ("LIST", 50_000), ("MLSD", 50_000)] {
        let made = Arc::<AtomicU64>::default();
        let counted = Arc::clone(&made);
        let home = move |_: Visitor<'_>| {
            Ok(Visit::new(Endless(count, Arc::clone(&counted)), Rights::READ))
        };
        let builder = FtpService::builder("ftp.test", home).anonymous(true);
        let script = ["USER ftp", "PASS x", "PASV", "@connect", "@stall", command];
        let mut world = play(builder, &script, Faults::none());
        // Nobody takes anything: some are made, and no more.
        let early = made.load(Ordering::Relaxed);
        assert!((1..20_000).contains(&early), "{command}: {early}");
        world.data.as_mut().unwrap().unstall();
        let mut lines = 0;
        for _ in 0..100_000 {
            world.settle();
            let data = world.data.as_mut().unwrap();
            lines += data.output().iter().filter(|&&octet| octet == b'\n').count() as u64;
            if data.is_closed() {
                break;
            }
        }
        assert_eq!(lines - u64::from(command == "MLSD"), count, "{command}");
    }
}
