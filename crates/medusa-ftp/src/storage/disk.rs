//! A folder of the disk, which nothing can leave: `medusa-files` sees to that.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use medusa_files::{
    Above, Create, File, Kind, Metadata, Replace, Root, StagedFile, Staging, Start as Begin,
    Timestamp, VirtualPath, Writing,
};

use super::{Content, Ending, Entries, Entry, Info, Start, Storage, Upload};
use crate::Error;

/// A folder as a [`Storage`].
#[derive(Debug, Clone)]
pub struct Disk {
    root: Root,
    uploads: Uploads,
}

/// What a [`Disk`] does with uploads.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Uploads {
    /// A new file grows under its name, and a broken one can be resumed.
    #[default]
    Direct,
    /// A file appears under its name whole or not at all.
    Atomic,
    /// The same, and what a broken one has left of a new file can be resumed.
    Resumable,
}

impl Disk {
    /// This folder and what is below.
    ///
    /// # Errors
    ///
    /// It can't be opened.
    pub fn new(folder: impl AsRef<Path>) -> Result<Disk, Error> {
        Ok(Disk { root: Root::new(folder)?, uploads: Uploads::Direct })
    }

    /// An account's folder. It is made when it is first wanted, as a mailbox is, but never the folders above
    /// it: where these are missing, a disk may not be mounted.
    pub(crate) fn home(folder: &Path) -> Result<Disk, Error> {
        match Disk::new(folder) {
            Err(Error::NotFound) => match DirBuilder::new().mode(0o750).create(folder) {
                // Another login has made it.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error.into()),
                _ => Disk::new(folder),
            },
            opened => opened,
        }
    }

    /// The same with another way with uploads.
    #[must_use]
    pub fn uploads(self, uploads: Uploads) -> Disk {
        Disk { uploads, ..self }
    }

    /// The same with so much room for files; what would be more is [`Error::TooMuch`]. See
    /// [`Root::limited`] for how it is counted.
    ///
    /// # Errors
    ///
    /// What is there can't be counted.
    pub fn limited(self, octets: u64) -> Result<Disk, Error> {
        Ok(Disk { root: self.root.limited(octets)?, ..self })
    }

    fn stage(&self, path: &VirtualPath, mode: u32, replace: Replace) -> Result<StagedFile, Error> {
        Ok(self.root.stage(path, Staging { replace, mode, sync: false })?)
    }

    fn staged(&self, path: &VirtualPath, staged: StagedFile, kept: Kept) -> Box<dyn Upload> {
        let (staged, resumed) = (Some(staged), None);
        Box::new(Staged { root: self.root.clone(), path: path.clone(), staged, kept, resumed })
    }

    /// A file that isn't there yet.
    fn stage_new(&self, path: &VirtualPath, replace: Replace) -> Result<Box<dyn Upload>, Error> {
        Ok(self.staged(path, self.stage(path, 0o666, replace)?, self.kept()))
    }

    /// What becomes of a broken upload of a new file.
    fn kept(&self) -> Kept {
        match self.uploads {
            Uploads::Resumable => Kept::Part,
            _ => Kept::Nothing,
        }
    }

    fn is_atomic(&self) -> bool {
        self.uploads != Uploads::Direct
    }

    /// Whether a file may be made in the folder of this one.
    fn check_folder(&self, path: &VirtualPath) -> Result<(), Error> {
        let folder = path.parent().ok_or(Error::IsAFolder)?;
        Ok(self.root.check_changeable(folder)?)
    }

    /// The file itself where a link leads to one, so that it can be replaced as a whole.
    fn behind_link(&self, path: &VirtualPath) -> Option<VirtualPath> {
        let metadata = self.root.link_metadata(path).ok()?;
        let target = (metadata.kind == Kind::Symlink).then(|| self.root.resolved(path))?.ok()?;
        VirtualPath::new(&target, Above::Refuse).ok()
    }

    fn is_missing(&self, path: &VirtualPath) -> bool {
        matches!(self.root.link_metadata(path), Err(medusa_files::Error::NotFound))
    }

    /// Goes on with what a broken upload has left of a file that isn't there.
    fn resume(&self, path: &VirtualPath, at: Option<u64>) -> Result<Box<dyn Upload>, Error> {
        // The part has its mode already.
        let staged = self.root.resume_part(path, at, Staging::default())?;
        let resumed = Some(staged.len()?);
        let (root, path, kept) = (self.root.clone(), path.clone(), self.kept());
        Ok(Box::new(Staged { root, path, staged: Some(staged), kept, resumed }))
    }

    fn write_in_place(
        &self,
        path: &VirtualPath,
        create: Create,
        start: Begin,
    ) -> Result<Box<dyn Upload>, Error> {
        let before = match self.root.metadata(path) {
            Ok(metadata) => Some(metadata.len),
            Err(medusa_files::Error::NotFound) => None,
            Err(error) => return Err(error.into()),
        };
        let writing = Writing { create, start, ..Writing::default() };
        let file = self.root.open_for_writing(path, writing)?;
        // Where a link led to nothing, it is what was made that is undone, not the link.
        let target = if before.is_none() { self.behind_link(path) } else { None };
        let path = target.unwrap_or_else(|| path.clone());
        Ok(Box::new(InPlace { root: self.root.clone(), path, file, before }))
    }
}

impl Storage for Disk {
    fn info(&self, path: &VirtualPath) -> Result<Info, Error> {
        let path = visible(path)?;
        info_of(&self.root.metadata(path)?).ok_or(Error::NotFound)
    }

    fn list(&self, path: &VirtualPath) -> Result<Entries, Error> {
        let mut listing = self.root.list(visible(path)?)?;
        Ok(Box::new(std::iter::from_fn(move || {
            loop {
                let entry = match listing.next()? {
                    Ok(entry) => entry,
                    Err(error) => return Some(Err(error.into())),
                };
                if entry.name.starts_with(StagedFile::PREFIX) {
                    continue;
                }
                // A link that leads nowhere or out, a socket, an entry that has gone meanwhile: nothing
                // that a client could do anything with.
                let info = listing.metadata(&entry).ok().and_then(|metadata| info_of(&metadata));
                if let Some(info) = info {
                    return Some(Ok(Entry { name: entry.name, info }));
                }
            }
        })))
    }

    fn read(&self, path: &VirtualPath) -> Result<Content, Error> {
        Ok(content_of(self.root.open(visible(path)?)?))
    }

    fn try_info(&self, path: &VirtualPath) -> Option<Result<Info, Error>> {
        let found = at_once(visible(path).map(|path| self.root.try_metadata(path)))?;
        Some(found.and_then(|metadata| info_of(&metadata).ok_or(Error::NotFound)))
    }

    fn try_read(&self, path: &VirtualPath) -> Option<Result<Content, Error>> {
        let opened = at_once(visible(path).map(|path| self.root.try_open(path)))?;
        Some(opened.map(content_of))
    }

    fn check_write(&self, path: &VirtualPath, start: Start) -> Result<(), Error> {
        let path = visible(path)?;
        let found = self.root.link_metadata(path);
        match (found, start) {
            (Err(medusa_files::Error::NotFound), Start::At(offset @ 1..)) => {
                let part = if self.is_atomic() { self.part(path)? } else { 0 };
                if offset > part {
                    return Err(if part > 0 { Error::BeyondEnd } else { Error::NotFound });
                }
                self.check_folder(path)
            }
            (Err(medusa_files::Error::NotFound), _) => self.check_folder(path),
            (Err(error), _) => Err(error.into()),
            (Ok(_), Start::New) => Err(Error::Exists),
            (Ok(found), _) => {
                let file = match self.open_in_place(path) {
                    // A link that leads to nothing in the root: a file may be made there.
                    Err(medusa_files::Error::NotFound) if found.kind == Kind::Symlink => {
                        return Ok(());
                    }
                    opened => opened?,
                };
                match start {
                    Start::At(offset) if offset > file.metadata().len => Err(Error::BeyondEnd),
                    Start::Empty => self.check_folder(path),
                    _ => Ok(()),
                }
            }
        }
    }

    fn write(&self, path: &VirtualPath, start: Start) -> Result<Box<dyn Upload>, Error> {
        let path = visible(path)?;
        let target = if start == Start::Empty { self.behind_link(path) } else { None };
        let path = target.as_ref().unwrap_or(path);
        match start {
            Start::At(offset) if self.is_atomic() && self.is_missing(path) => {
                self.resume(path, Some(offset))
            }
            Start::End if self.is_atomic() && self.is_missing(path) => {
                match self.resume(path, None) {
                    Err(Error::NotFound) => self.stage_new(path, Replace::Allowed),
                    resumed => resumed,
                }
            }
            Start::End => self.write_in_place(path, Create::IfMissing, Begin::End),
            Start::At(offset) => self.write_in_place(path, Create::IfMissing, Begin::At(offset)),
            Start::New if !self.is_atomic() => {
                self.write_in_place(path, Create::Always, Begin::Empty)
            }
            Start::New => self.stage_new(path, Replace::Refused),
            Start::Empty => match self.root.link_metadata(path) {
                // Staged even where it needn't be atomic: if the disk fills up, the old file stays.
                Ok(metadata) if metadata.kind == Kind::File => {
                    self.refuse_read_only(path)?;
                    let staged = self.stage(path, metadata.mode, Replace::Allowed)?;
                    let permissions =
                        std::os::unix::fs::PermissionsExt::from_mode(metadata.mode & 0o777);
                    let _ = staged.as_std().set_permissions(permissions);
                    // The old file is there still, and would be taken for what is to be gone on with.
                    let kept = if self.is_atomic() { Kept::Nothing } else { Kept::Whole };
                    Ok(self.staged(path, staged, kept))
                }
                Err(medusa_files::Error::NotFound) if self.is_atomic() => {
                    self.stage_new(path, Replace::Allowed)
                }
                // There is nothing that could be replaced.
                _ => self.write_in_place(path, Create::IfMissing, Begin::Empty),
            },
        }
    }

    fn part(&self, path: &VirtualPath) -> Result<u64, Error> {
        Ok(self.root.part_len(visible(path)?)?)
    }

    fn remove_file(&self, path: &VirtualPath) -> Result<(), Error> {
        match self.root.remove_file(visible(path)?) {
            // It may be there in part.
            Err(medusa_files::Error::NotFound) => Ok(self.root.remove_part(path)?),
            removed => Ok(removed?),
        }
    }

    fn remove_folder(&self, path: &VirtualPath) -> Result<(), Error> {
        match self.root.remove_folder(visible(path)?) {
            // Parts, and what a crash has left, are nobody's business, also where they are in the way.
            Err(medusa_files::Error::NotEmpty) if self.remove_parts(path)? => {
                Ok(self.root.remove_folder(path)?)
            }
            removed => Ok(removed?),
        }
    }

    fn make_folder(&self, path: &VirtualPath) -> Result<(), Error> {
        Ok(self.root.make_folder(visible(path)?, 0o777)?)
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: bool) -> Result<(), Error> {
        let replace = if replace { Replace::Allowed } else { Replace::Refused };
        Ok(self.root.rename(visible(from)?, visible(to)?, replace)?)
    }

    fn set_modified(&self, path: &VirtualPath, modified: Timestamp) -> Result<(), Error> {
        Ok(self.root.set_times(visible(path)?, None, Some(modified))?)
    }

    fn set_mode(&self, path: &VirtualPath, mode: u32) -> Result<(), Error> {
        Ok(self.root.set_mode(visible(path)?, mode)?)
    }
}

impl Disk {
    /// Removes the parts in a folder that holds nothing else; says whether it does.
    fn remove_parts(&self, path: &VirtualPath) -> Result<bool, Error> {
        self.root.sweep(path)?;
        let mut parts = Vec::new();
        for entry in self.root.list(path)? {
            match entry?.name.strip_prefix(StagedFile::PART) {
                Some(name) => parts.push(path.join(name, Above::Refuse)?),
                None => return Ok(false),
            }
        }
        for part in parts {
            self.root.remove_part(&part)?;
        }
        Ok(true)
    }

    /// A file that may not be written isn't replaced either, though its folder would allow it.
    fn refuse_read_only(&self, path: &VirtualPath) -> Result<(), Error> {
        self.open_in_place(path)?;
        Ok(())
    }

    /// Opens a file that is there, without a change.
    fn open_in_place(&self, path: &VirtualPath) -> Result<File, medusa_files::Error> {
        let (create, start) = (Create::Never, Begin::End);
        self.root.open_for_writing(path, Writing { create, start, ..Writing::default() })
    }
}

/// An upload that has a temporary name until it ends.
struct Staged {
    root: Root,
    path: VirtualPath,
    /// Gone when it has ended.
    staged: Option<StagedFile>,
    kept: Kept,
    /// How long the part was that it goes on with.
    resumed: Option<u64>,
}

/// What stays of an upload that was broken off.
#[derive(Clone, Copy)]
enum Kept {
    Nothing,
    /// A part, to be resumed.
    Part,
    /// What has come, under the file's name.
    Whole,
}

impl Upload for Staged {
    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        match &mut self.staged {
            Some(staged) => Ok(staged.write_all(octets)?),
            None => Ok(()),
        }
    }

    fn end(mut self: Box<Self>, ending: Ending) -> Result<(), Error> {
        let Some(mut staged) = self.staged.take() else { return Ok(()) };
        match (ending, self.kept) {
            (Ending::Complete, kept) => {
                staged.commit()?;
                if matches!(kept, Kept::Part) {
                    // That of an earlier try. As a rule there is none.
                    let _ = self.root.remove_part(&self.path);
                }
            }
            (Ending::Cut, Kept::Whole) => drop(staged.commit()?),
            (Ending::Cut, Kept::Part) => drop(staged.keep_part()?),
            (Ending::Failed, _) => {
                // What was there before is there again; dropping a new one removes it.
                if let Some(len) = self.resumed {
                    staged.truncate(len)?;
                    staged.keep_part()?;
                }
            }
            (Ending::Cut, Kept::Nothing) => {}
        }
        Ok(())
    }
}

/// One that nobody is left to end: what may be resumed is kept all the same.
impl Drop for Staged {
    fn drop(&mut self) {
        if let (Some(staged), Kept::Part) = (self.staged.take(), self.kept) {
            let _ = staged.keep_part();
        }
    }
}

/// An upload that grows under its name.
struct InPlace {
    root: Root,
    path: VirtualPath,
    file: File,
    /// How long the file was before; `None` where there was none.
    before: Option<u64>,
}

impl Upload for InPlace {
    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        Ok(self.file.write_all(octets)?)
    }

    fn end(self: Box<Self>, ending: Ending) -> Result<(), Error> {
        if ending == Ending::Failed {
            match self.before {
                // Another may have stored or renamed a file to this name, which is not ours to remove.
                None => drop(self.root.remove_own(&self.path, &self.file)?),
                // What was cut off by a resumption is lost; nothing is added to what stayed.
                Some(before) => self.file.truncate(before)?,
            }
        }
        Ok(())
    }
}

/// Refuses the names that uploads have on their way: they are nobody's business.
fn visible(path: &VirtualPath) -> Result<&VirtualPath, Error> {
    match path.components().any(|name| name.starts_with(StagedFile::PREFIX)) {
        true => Err(Error::NotFound),
        false => Ok(path),
    }
}

fn content_of(file: File) -> Content {
    let len = file.metadata().len;
    Content::File(Arc::new(file.into_std()), len)
}

/// `None` where the disk has to be waited for.
fn at_once<T>(result: Result<Result<T, medusa_files::Error>, Error>) -> Option<Result<T, Error>> {
    match result {
        Ok(Err(medusa_files::Error::WouldBlock)) => None,
        Ok(result) => Some(result.map_err(Error::from)),
        Err(error) => Some(Err(error)),
    }
}

/// `None` for what is neither a file nor a folder.
fn info_of(metadata: &Metadata) -> Option<Info> {
    let is_folder = match metadata.kind {
        Kind::File => false,
        Kind::Folder => true,
        Kind::Symlink | Kind::Other => return None,
    };
    Some(Info {
        is_folder,
        len: metadata.len,
        modified: metadata.modified,
        mode: Some(metadata.mode & 0o777),
        unique: Some((metadata.device, metadata.inode)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_made_and_what_is_above_it_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("alice");
        for _ in 0..2 {
            Disk::home(&home).unwrap();
            assert!(home.is_dir());
        }
        let below = folder.path().join("missing/alice");
        assert!(matches!(Disk::home(&below), Err(Error::NotFound)));
        assert!(!folder.path().join("missing").exists());
        std::fs::write(folder.path().join("file"), "").unwrap();
        assert!(Disk::home(&folder.path().join("file")).is_err());
    }
}
