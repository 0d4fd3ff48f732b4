//! A folder of the disk, which nothing can leave: `medusa-files` sees to that.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use medusa_files::{
    Create, File, Kind, Metadata, Replace, Root, StagedFile, Staging, Start as Begin, Timestamp,
    VirtualPath, Writing,
};

use super::{Content, Ending, Entries, Entry, Info, Start, Storage, Upload};
use crate::Error;

/// A folder as a [`Storage`].
#[derive(Debug, Clone)]
pub struct Disk {
    root: Root,
    atomic: bool,
}

impl Disk {
    /// This folder and what is below.
    ///
    /// # Errors
    ///
    /// It can't be opened.
    pub fn new(folder: impl AsRef<Path>) -> Result<Disk, Error> {
        Ok(Disk { root: Root::new(folder)?, atomic: false })
    }

    /// Whether an upload appears under its name whole or not at all. Otherwise a new file grows under
    /// its name and a broken upload can be resumed.
    #[must_use]
    pub fn atomic(mut self, atomic: bool) -> Disk {
        self.atomic = atomic;
        self
    }

    fn stage(&self, path: &VirtualPath, mode: u32, replace: Replace) -> Result<StagedFile, Error> {
        Ok(self.root.stage(path, Staging { replace, mode, sync: false })?)
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
        Ok(Box::new(InPlace { root: self.root.clone(), path: path.clone(), file, before }))
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
        let file = self.root.open(visible(path)?)?;
        let len = file.metadata().len;
        Ok(Content::File(Arc::new(file.into_std()), len))
    }

    fn write(&self, path: &VirtualPath, start: Start) -> Result<Box<dyn Upload>, Error> {
        let path = visible(path)?;
        match start {
            Start::End => self.write_in_place(path, Create::IfMissing, Begin::End),
            Start::At(offset) => self.write_in_place(path, Create::IfMissing, Begin::At(offset)),
            Start::New if !self.atomic => self.write_in_place(path, Create::Always, Begin::Empty),
            Start::New => {
                let staged = self.stage(path, 0o666, Replace::Refused)?;
                Ok(Box::new(Staged { staged, atomic: true }))
            }
            Start::Empty => match self.root.link_metadata(path) {
                // Staged even where it needn't be atomic: if the disk fills up, the old file stays.
                Ok(metadata) if metadata.kind == Kind::File => {
                    self.refuse_read_only(path)?;
                    let staged = self.stage(path, metadata.mode, Replace::Allowed)?;
                    let permissions =
                        std::os::unix::fs::PermissionsExt::from_mode(metadata.mode & 0o777);
                    let _ = staged.as_std().set_permissions(permissions);
                    Ok(Box::new(Staged { staged, atomic: self.atomic }))
                }
                Err(medusa_files::Error::NotFound) if self.atomic => {
                    let staged = self.stage(path, 0o666, Replace::Allowed)?;
                    Ok(Box::new(Staged { staged, atomic: true }))
                }
                // What a link leads to is written itself, and not the link replaced.
                _ => self.write_in_place(path, Create::IfMissing, Begin::Empty),
            },
        }
    }

    fn remove_file(&self, path: &VirtualPath) -> Result<(), Error> {
        Ok(self.root.remove_file(visible(path)?)?)
    }

    fn remove_folder(&self, path: &VirtualPath) -> Result<(), Error> {
        Ok(self.root.remove_folder(visible(path)?)?)
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
    /// A file that may not be written isn't replaced either, though its folder would allow it.
    fn refuse_read_only(&self, path: &VirtualPath) -> Result<(), Error> {
        let (create, start) = (Create::Never, Begin::End);
        self.root.open_for_writing(path, Writing { create, start, ..Writing::default() })?;
        Ok(())
    }
}

/// An upload that has a temporary name until it ends.
struct Staged {
    staged: StagedFile,
    atomic: bool,
}

impl Upload for Staged {
    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        Ok(self.staged.write_all(octets)?)
    }

    fn end(self: Box<Self>, ending: Ending) -> Result<(), Error> {
        match ending {
            Ending::Complete => self.staged.commit().map(drop)?,
            Ending::Cut if !self.atomic => self.staged.commit().map(drop)?,
            // Dropping it removes it.
            Ending::Cut | Ending::Failed => {}
        }
        Ok(())
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
        Ok(self.file.as_std().write_all(octets)?)
    }

    fn end(self: Box<Self>, ending: Ending) -> Result<(), Error> {
        if ending == Ending::Failed {
            match self.before {
                None => self.root.remove_file(&self.path)?,
                // What was cut off by a resumption is lost; nothing is added to what stayed.
                Some(before) if self.file.as_std().metadata()?.len() > before => {
                    self.file.as_std().set_len(before)?;
                }
                Some(_) => {}
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
