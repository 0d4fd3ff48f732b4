//! The files of this folder: journals of zones that are changed by message, and zones that came from a
//! primary. Everything here blocks, and belongs in the offload pool or before the server begins.
//!
//! What is written is synced before anybody hears of it, and replaces what was there in one step.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::delta::Delta;
use super::journal::{self, Recovered};
use crate::name::{Name, Shown};
use crate::types::RecordType;
use crate::zone::{Record, Zone};

/// A journal may take so many octets before it is written anew, or as many as its zone if that is more.
const LEAST_JOURNAL: u64 = 1 << 20;

/// The journal of one zone, beside its master file, which is never written to. Nothing is written before
/// [`prepare`](Self::prepare): a configuration that is only checked leaves all files as they are.
#[derive(Debug)]
pub(crate) struct JournalFile {
    path: PathBuf,
    /// The serial of the master file.
    origin: u32,
    state: State,
    octets: u64,
    /// How many octets of it are the whole zone at its beginning.
    whole: u64,
}

#[derive(Debug)]
enum State {
    /// There is none.
    Missing,
    /// There is one, in order as far as `octets`.
    Found,
    /// There is one that counts no more, as the master file is newer.
    Outdated,
    /// It can be written to.
    Open(File),
    /// What stands on the disk isn't known, and nothing may be written on it until the server starts again.
    Broken,
}

impl JournalFile {
    /// The journal of the zone that was read from `master` with this serial, and what it holds, if there is
    /// one.
    ///
    /// # Errors
    ///
    /// It is there and can't be read.
    pub(crate) fn find(
        master: &Path,
        apex: &Name,
        serial: u32,
    ) -> io::Result<(JournalFile, Option<Recovered>)> {
        let path = beside(master, ".journal");
        let mut journal =
            JournalFile { path, origin: serial, state: State::Missing, octets: 0, whole: 0 };
        let bytes = match std::fs::read(&journal.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((journal, None)),
            Err(error) => return Err(error),
        };
        let found = journal::recover(apex, &bytes).map_err(io::Error::other)?;
        journal.origin = found.origin;
        journal.octets = found.sound as u64;
        journal.state = State::Found;
        Ok((journal, Some(found)))
    }

    /// Whether nothing was ever changed.
    pub(crate) fn is_empty(&self) -> bool {
        !matches!(self.state, State::Found | State::Open(_) | State::Broken)
    }

    /// Has the journal put aside when it is prepared: the master file, of this serial, is newer than all
    /// that it holds.
    pub(crate) fn outdate(&mut self, serial: u32) {
        if !self.is_empty() {
            self.state = State::Outdated;
        }
        self.origin = serial;
    }

    /// Brings the files into the state that was found out.
    pub(crate) fn prepare(&mut self) -> io::Result<()> {
        match self.state {
            State::Missing | State::Open(_) => {}
            State::Broken => return Err(io::Error::other("writing to it has failed before")),
            State::Found => {
                let file = OpenOptions::new().append(true).open(&self.path)?;
                let length = file.metadata()?.len();
                if let Some(lost) = length.checked_sub(self.octets).filter(|lost| *lost > 0) {
                    let path = self.path.display();
                    tracing::warn!(
                        "{path}: {lost} octets at its end are of a change that wasn't done"
                    );
                    // Should they have been one that was done, and damaged since, somebody may want them.
                    std::fs::copy(&self.path, self.path.with_extension("journal.damaged"))?;
                    file.set_len(self.octets)?;
                    file.sync_all()?;
                }
                self.state = State::Open(file);
            }
            State::Outdated => {
                std::fs::rename(&self.path, self.path.with_extension("journal.old"))?;
                sync_folder(&self.path)?;
                self.state = State::Missing;
                self.octets = 0;
            }
        }
        Ok(())
    }

    /// Adds a change of `old`, which makes `new` of it. It lasts once this returns.
    pub(crate) fn append(&mut self, old: &Zone, new: &Zone, delta: &Delta) -> io::Result<()> {
        self.prepare()?;
        let mut bytes = Vec::new();
        journal::change_into(&mut bytes, delta);
        let most = LEAST_JOURNAL.max(self.whole * 2);
        if self.octets + bytes.len() as u64 > most {
            return self.rewrite(new);
        }
        if let State::Missing = self.state {
            self.rewrite(old)?;
        }
        let State::Open(file) = &mut self.state else { return Err(io::ErrorKind::NotFound.into()) };
        let outcome = file.write_all(&bytes).and_then(|()| file.sync_data());
        match outcome {
            Ok(()) => self.octets += bytes.len() as u64,
            // What may be there of it must not be found again: nobody was told that it is done.
            Err(_) => {
                if file.set_len(self.octets).and_then(|()| file.sync_all()).is_err() {
                    self.state = State::Broken;
                }
            }
        }
        outcome
    }

    /// Begins anew with the zone as it is.
    fn rewrite(&mut self, zone: &Zone) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(zone.octets());
        journal::whole_into(&mut bytes, self.origin, zone);
        let (new, file) = write_beside(&self.path, |file| file.write_all(&bytes))?;
        // The file that is open may be nobody's from here on.
        self.state = State::Broken;
        put_in_place(&new, &self.path)?;
        self.state = State::Open(file);
        self.octets = bytes.len() as u64;
        self.whole = self.octets;
        Ok(())
    }
}

/// Writes a zone that came from a primary as a master file.
pub(crate) fn write_zone(path: &Path, zone: &Zone) -> io::Result<()> {
    replace_file(path, |file| {
        let mut out = BufWriter::with_capacity(1 << 16, file);
        writeln!(
            out,
            "; {} as its primary has it. It is written anew when that changes.",
            zone.apex()
        )?;
        // Elsewhere the SOA record may come first; here order is canonical, and readers don't mind.
        for record in zone.records() {
            write_record(&mut out, &record)?;
        }
        out.flush()
    })
}

/// Says that a zone's file was right at this time, and so when it will no longer be (BIND does the same).
pub(crate) fn touch(path: &Path, now: SystemTime) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.set_modified(now)
}

/// When a zone's file was right for the last time.
pub(crate) fn touched(path: &Path) -> io::Result<SystemTime> {
    std::fs::metadata(path)?.modified()
}

/// Makes the folder of a catalog's zones.
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// Removes a zone's file, if it is there.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// Writes a file beside, and puts it in its place when all of it has reached the disk.
fn replace_file(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let (new, _) = write_beside(path, write)?;
    put_in_place(&new, path)
}

/// Writes a file beside another, to the disk. It can be appended to.
fn write_beside(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<(PathBuf, File)> {
    let new = beside(path, ".new");
    remove(&new)?;
    let mut file = OpenOptions::new().append(true).create_new(true).open(&new)?;
    if let Err(error) = write(&mut file).and_then(|()| file.sync_all()) {
        let _ = std::fs::remove_file(&new);
        return Err(error);
    }
    Ok((new, file))
}

fn put_in_place(new: &Path, path: &Path) -> io::Result<()> {
    if let Err(error) = std::fs::rename(new, path) {
        let _ = std::fs::remove_file(new);
        return Err(error);
    }
    sync_folder(path)
}

/// A new name lasts once its folder does.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// One line of a master file. What people read most is readable, the rest in the general form (RFC 3597
/// §5).
fn write_record(out: &mut impl Write, record: &Record) -> io::Result<()> {
    let Record { owner, rtype, ttl, rdata } = record;
    write!(out, "{owner} {ttl} IN {rtype} ")?;
    let number = |at: usize| {
        rdata.get(at..at + 2).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    match *rtype {
        RecordType::A if rdata.len() == 4 => {
            writeln!(out, "{}.{}.{}.{}", rdata[0], rdata[1], rdata[2], rdata[3])
        }
        RecordType::AAAA => {
            let octets = rdata.first_chunk::<16>().copied().unwrap_or_default();
            writeln!(out, "{}", std::net::Ipv6Addr::from(octets))
        }
        RecordType::NS | RecordType::CNAME | RecordType::PTR | RecordType::DNAME => {
            writeln!(out, "{}", Shown(rdata))
        }
        RecordType::MX => writeln!(out, "{} {}", number(0), Shown(&rdata[2..])),
        RecordType::SOA => {
            let first = crate::name::wire_length(rdata).unwrap_or(0);
            write!(out, "{} {}", Shown(&rdata[..first]), Shown(&rdata[first..]))?;
            for number in rdata[rdata.len().saturating_sub(20)..].chunks_exact(4) {
                write!(
                    out,
                    " {}",
                    u32::from_be_bytes([number[0], number[1], number[2], number[3]])
                )?;
            }
            writeln!(out)
        }
        _ => {
            write!(out, "\\# {} ", rdata.len())?;
            for byte in rdata {
                write!(out, "{byte:02x}")?;
            }
            writeln!(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load_zone;
    use crate::transfer::testing::{apex, zone};

    #[test]
    fn a_zone_that_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("example.test.zone");
        let zone = zone(
            7,
            &[
                "a AAAA 2001:db8::1",
                "b\\.c\\@\\032d CNAME a",
                "@ MX 10 mail",
                "mail A 192.0.2.7",
                "t TXT \"one two\" \"\\\"\"",
                "x TYPE65280 \\# 3 010203",
                "y TYPE65281 \\# 0",
                "s 60 SRV 1 2 3 mail.Example.test.",
                "c CAA 0 issue \"ca.example\"",
                "w HTTPS 1 . alpn=h2",
            ],
        );
        write_zone(&path, &zone).unwrap();
        let read = load_zone(&path, Some(&apex())).zone.unwrap();
        assert!(read.records().eq(zone.records()));
        assert!(!beside(&path, ".new").exists());
        let then = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        touch(&path, then).unwrap();
        assert_eq!(touched(&path).unwrap(), then);
    }

    #[test]
    fn a_journal_goes_on_where_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let master = folder.path().join("example.test.zone");
        let path = beside(&master, ".journal");
        let zones: Vec<_> = (1..=5).map(|at| zone(at, &[&format!("a TXT v{at}")])).collect();
        let mut lengths = Vec::new();
        for pair in zones.windows(2) {
            let (mut journal, found) = JournalFile::find(&master, &apex(), 1).unwrap();
            let serial = found.map_or(1, |found| found.zone.soa().serial);
            assert_eq!(serial, pair[0].soa().serial);
            let delta = Delta::between(&pair[0], &pair[1]).unwrap();
            journal.append(&pair[0], &pair[1], &delta).unwrap();
            lengths.push(std::fs::metadata(&path).unwrap().len());
        }
        // A change that was cut off is dropped, and the next one is written where it began.
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let (mut journal, found) = JournalFile::find(&master, &apex(), 1).unwrap();
        assert_eq!(found.unwrap().zone.soa().serial, 4);
        journal
            .append(&zones[3], &zones[4], &Delta::between(&zones[3], &zones[4]).unwrap())
            .unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        let copy = std::fs::read(path.with_extension("journal.damaged")).unwrap();
        assert_eq!(copy, bytes[..bytes.len() - 1]);
        assert!(lengths.windows(2).all(|pair| pair[0] < pair[1]));

        journal.outdate(9);
        assert!(path.exists() && journal.is_empty());
        journal.prepare().unwrap();
        assert!(!path.exists() && path.with_extension("journal.old").exists());
        assert!(JournalFile::find(&master, &apex(), 9).unwrap().1.is_none());
    }

    #[test]
    fn nothing_is_written_where_it_would_be_lost() {
        let folder = tempfile::tempdir().unwrap();
        let master = folder.path().join("example.test.zone");
        let path = beside(&master, ".journal");
        let zones = [zone(1, &[]), zone(2, &["a TXT x"]), zone(3, &["a TXT y"])];
        let delta = |at: usize| Delta::between(&zones[at], &zones[at + 1]).unwrap();
        let begun = || {
            let _ = std::fs::remove_file(&path);
            let (mut journal, _) = JournalFile::find(&master, &apex(), 1).unwrap();
            journal.append(&zones[0], &zones[1], &delta(0)).unwrap();
            journal
        };
        // Neither written nor cut back.
        let mut journal = begun();
        journal.state = State::Open(File::open(&path).unwrap());
        assert!(journal.append(&zones[1], &zones[2], &delta(1)).is_err());
        assert!(matches!(journal.state, State::Broken));
        // Written anew, but not put in its place: the file that was open is gone by then.
        let mut journal = begun();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(journal.rewrite(&zones[1]).is_err());
        assert!(journal.append(&zones[1], &zones[2], &delta(1)).is_err());
    }

    #[test]
    fn a_journal_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let master = folder.path().join("example.test.zone");
        let text = format!("a TXT {}", vec!["x".repeat(250); 200].join(" "));
        let zones = [zone(1, &[]), zone(2, &[&text]), zone(1, &[])];
        let there = Delta::between(&zones[0], &zones[1]).unwrap();
        let back = Delta::between(&zones[1], &zones[2]).unwrap();
        let (mut journal, _) = JournalFile::find(&master, &apex(), 1).unwrap();
        for _ in 0..30 {
            journal.append(&zones[0], &zones[1], &there).unwrap();
            journal.append(&zones[1], &zones[2], &back).unwrap();
            let length = std::fs::metadata(beside(&master, ".journal")).unwrap().len();
            assert!(length <= LEAST_JOURNAL, "{length}");
        }
        assert!(JournalFile::find(&master, &apex(), 1).unwrap().1.is_some());
    }
}
