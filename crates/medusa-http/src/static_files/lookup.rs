//! What the disk is asked for one path: the file, its index, its compressed siblings, or the lines of a
//! listing. Here and in `upload.rs` alone does serving files touch the disk, so that all of it can be
//! handed to the pool.

use std::sync::Arc;

use bytes::Bytes;
use medusa_files::{Error, File, Metadata, Root, StagedFile};

use super::cache::{Weigh, Weight};
use super::descriptors::Share;
use super::encoding::Coding;
use super::listing::{Line, MAX_ENTRIES, page};
use super::media_type::{self, MediaType};
use super::options::StaticOptions;
use super::representation::{Content, Fields, Representation};
use super::writes::{Freshness, Writes};

/// Whether the disk may be waited for. On the event loop it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Allowed,
    Refused,
}

/// A file that was found, with what stands beside it.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Where it is beneath the root: what was asked for, or the index of it.
    pub(crate) path: Box<[u8]>,
    /// Whether it is an index before which others go that may come to be.
    is_second_choice: bool,
    pub(crate) fresh: Freshness,
    pub(crate) plain: Representation,
    pub(crate) brotli: Sibling,
    pub(crate) gzip: Sibling,
    /// What is said of it when it is compressed for one response.
    pub(crate) deflated: Option<Box<Fields>>,
    /// What is counted of its open files, once it is kept.
    pub(crate) share: Share,
}

/// A file compressed in advance.
#[derive(Debug)]
pub(crate) enum Sibling {
    /// Nobody has asked for it yet.
    Unknown,
    Absent,
    Ready(Box<Representation>),
}

/// What a path turned out to be.
#[derive(Debug)]
pub(crate) enum Found {
    File(Box<Entry>),
    /// A folder, where a file was asked for.
    Folder,
    /// A folder without an index.
    NoIndex,
}

/// Where and how to look.
#[derive(Debug)]
pub(crate) struct Finder {
    pub(crate) root: Root,
    pub(crate) options: StaticOptions,
    pub(crate) writes: Arc<Writes>,
}

impl Finder {
    pub(crate) fn new(root: Root, options: StaticOptions) -> Self {
        let writes = Writes::of(&root);
        Self { root, options, writes }
    }

    /// Looks a path up. A folder's ends with a slash, or is empty. `with_siblings` says that the
    /// client would take them.
    pub(crate) fn find(
        &self,
        path: &[u8],
        is_folder: bool,
        with_siblings: bool,
        fresh: Freshness,
        wait: Wait,
    ) -> Result<Found, Error> {
        if !is_folder {
            return match self.open(path, wait) {
                Ok(file) => {
                    let found = self.entry(path, file, with_siblings, fresh, wait)?;
                    Ok(Found::File(Box::new(found)))
                }
                Err(Error::IsAFolder) => Ok(Found::Folder),
                Err(error) => Err(error),
            };
        }
        for (place, name) in self.options.index.iter().enumerate() {
            let path = [path, name.as_bytes()].concat();
            match self.open(&path, wait) {
                Ok(file) => {
                    let mut found = self.entry(&path, file, with_siblings, fresh, wait)?;
                    found.is_second_choice = place > 0;
                    return Ok(Found::File(Box::new(found)));
                }
                // An index that can't be served is none: the next may be.
                Err(Error::NotFound | Error::IsAFolder) => {}
                Err(error) => return Err(error),
            }
        }
        // With neither index nor listing a folder is no more than a name that isn't there.
        if !self.options.listing {
            return Err(Error::NotFound);
        }
        let metadata = match wait {
            Wait::Allowed => self.root.metadata(path),
            Wait::Refused => self.root.try_metadata(path),
        }?;
        if metadata.is_folder() { Ok(Found::NoIndex) } else { Err(Error::NotAFolder) }
    }

    /// Looks again for the siblings of a file that was found.
    pub(crate) fn find_siblings(&self, entry: &mut Entry, wait: Wait) -> Result<(), Error> {
        let (path, media) = (&entry.path, entry.plain.media);
        if matches!(entry.brotli, Sibling::Unknown) {
            entry.brotli =
                self.sibling(path, &entry.plain.metadata, media, Coding::Brotli, wait)?;
        }
        if matches!(entry.gzip, Sibling::Unknown) {
            entry.gzip = self.sibling(path, &entry.plain.metadata, media, Coding::Gzip, wait)?;
        }
        Ok(())
    }

    /// Whether a file that was found is still the same. If so, its siblings are to be looked at anew.
    pub(crate) fn is_fresh(&self, entry: &mut Entry, wait: Wait) -> Result<bool, Error> {
        if entry.is_second_choice || !self.is_unchanged(&entry.path, &entry.plain.metadata, wait)? {
            return Ok(false);
        }
        for (sibling, coding) in
            [(&mut entry.brotli, Coding::Brotli), (&mut entry.gzip, Coding::Gzip)]
        {
            let is_unchanged = match sibling {
                Sibling::Ready(ready) => {
                    let path = sibling_path(&entry.path, coding);
                    match self.is_unchanged(&path, &ready.metadata, wait) {
                        Err(Error::WouldBlock) => return Err(Error::WouldBlock),
                        result => result.unwrap_or(false),
                    }
                }
                Sibling::Unknown | Sibling::Absent => false,
            };
            if !is_unchanged {
                *sibling = Sibling::Unknown;
            }
        }
        Ok(true)
    }

    /// Opens a file again that was closed meanwhile. It must be the same.
    pub(crate) fn reopen(&self, path: &[u8], metadata: &Metadata) -> std::io::Result<File> {
        let file = self.root.open(path).map_err(std::io::Error::other)?;
        if file.metadata().is_unchanged_from(metadata) {
            Ok(file)
        } else {
            Err(std::io::Error::other("the file was changed before it was sent"))
        }
    }

    /// A folder as a page. It waits for the disk.
    pub(crate) fn list(&self, path: &[u8], shown_path: &[u8]) -> Result<String, Error> {
        let mut listing = self.root.list(path)?;
        let mut lines = Vec::new();
        let mut is_cut = false;
        while let Some(entry) = listing.next() {
            let entry = entry?;
            if is_hidden(&entry.name, self.options.hidden) {
                continue;
            }
            if lines.len() == MAX_ENTRIES {
                is_cut = true;
                break;
            }
            // What went away meanwhile, leads out of the root or is no file isn't shown: it would not
            // be served either.
            let Ok(metadata) = listing.metadata(&entry) else {
                continue;
            };
            if matches!(metadata.kind, medusa_files::Kind::File | medusa_files::Kind::Folder) {
                lines.push(Line {
                    name: entry.name,
                    is_folder: metadata.is_folder(),
                    len: metadata.len,
                    modified: metadata.modified,
                });
            }
        }
        Ok(page(shown_path, lines, is_cut))
    }

    fn entry(
        &self,
        path: &[u8],
        file: File,
        with_siblings: bool,
        fresh: Freshness,
        wait: Wait,
    ) -> Result<Entry, Error> {
        let media = media_type::of(path);
        let metadata = *file.metadata();
        let plain = self.representation(file, &metadata, media, Coding::Identity, wait)?;
        let deflated =
            self.options.gzip && media.is_compressible && metadata.len >= self.options.gzip_minimum;
        let deflated = deflated.then(|| {
            let coding = Coding::Gzip;
            Box::new(Fields::new(&metadata, &metadata, media, coding, true, &self.options))
        });
        // Where there is nothing to look for, it isn't there.
        let unasked = || match media.is_compressible && self.options.precompressed {
            true => Sibling::Unknown,
            false => Sibling::Absent,
        };
        let (brotli, gzip) = (unasked(), unasked());
        let mut entry = Entry {
            path: path.into(),
            is_second_choice: false,
            fresh,
            plain,
            brotli,
            gzip,
            deflated,
            share: Share::default(),
        };
        if with_siblings {
            self.find_siblings(&mut entry, wait)?;
        }
        Ok(entry)
    }

    fn sibling(
        &self,
        path: &[u8],
        plain: &Metadata,
        media: MediaType,
        coding: Coding,
        wait: Wait,
    ) -> Result<Sibling, Error> {
        let path = sibling_path(path, coding);
        match self.open(&path, wait) {
            // One older than the file is of another version of it.
            Ok(file) if file.metadata().modified >= plain.modified => {
                let ready = self.representation(file, plain, media, coding, wait)?;
                Ok(Sibling::Ready(Box::new(ready)))
            }
            Err(error @ (Error::WouldBlock | Error::TooManyOpen)) => Err(error),
            Ok(_) | Err(_) => Ok(Sibling::Absent),
        }
    }

    fn representation(
        &self,
        file: File,
        plain: &Metadata,
        media: MediaType,
        coding: Coding,
        wait: Wait,
    ) -> Result<Representation, Error> {
        let metadata = *file.metadata();
        let fields = Fields::new(plain, &metadata, media, coding, false, &self.options);
        let mut content = None;
        if metadata.len <= self.options.cache.small {
            let read = match wait {
                Wait::Allowed => file.read_whole(),
                Wait::Refused => file.try_read_whole(),
            }?;
            content = read.map(|bytes| Content::Bytes(Bytes::from(bytes)));
        }
        // A file that is being written to isn't kept: what is sent is what is there by then.
        let content = content.unwrap_or_else(|| Content::Open(Arc::new(file.into_std())));
        Ok(Representation { metadata, content, fields, media })
    }

    fn open(&self, path: &[u8], wait: Wait) -> Result<File, Error> {
        match wait {
            Wait::Allowed => self.root.open(path),
            Wait::Refused => self.root.try_open(path),
        }
    }

    fn is_unchanged(&self, path: &[u8], before: &Metadata, wait: Wait) -> Result<bool, Error> {
        let metadata = match wait {
            Wait::Allowed => self.root.metadata(path),
            Wait::Refused => self.root.try_metadata(path),
        }?;
        Ok(metadata.is_unchanged_from(before))
    }
}

/// Whether a component of the path is one that isn't served. What is only staged never is.
pub(crate) fn is_hidden_path(path: &[u8], show_hidden: bool) -> bool {
    path.split(|&byte| byte == b'/').any(|name| is_hidden(name, show_hidden))
}

fn is_hidden(name: &[u8], show_hidden: bool) -> bool {
    let may_be_shown = show_hidden && !name.starts_with(StagedFile::PREFIX);
    name.starts_with(b".") && name != b".well-known" && !may_be_shown
}

pub(crate) fn sibling_path(path: &[u8], coding: Coding) -> Vec<u8> {
    let extension: &[u8] = match coding {
        Coding::Brotli => b".br",
        Coding::Gzip => b".gz",
        Coding::Identity => b"",
    };
    [path, extension].concat()
}

impl Weigh for Entry {
    fn weight(&self) -> Weight {
        let siblings = [&self.brotli, &self.gzip].into_iter().filter_map(|sibling| match sibling {
            Sibling::Ready(ready) => Some(&**ready),
            Sibling::Unknown | Sibling::Absent => None,
        });
        // Fields, names and the entry itself come to about this.
        let mut weight = Weight { bytes: 2048, descriptors: 0 };
        for representation in siblings.chain([&self.plain]) {
            match &representation.content {
                Content::Bytes(bytes) => weight.bytes += bytes.len(),
                Content::Open(_) => weight.descriptors += 1,
                Content::Closed => {}
            }
        }
        weight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_a_dot_is_hidden() {
        let table: &[(&str, bool, bool)] = &[
            ("a/b", false, false),
            ("", false, false),
            (".htpasswd", true, false),
            ("a/.git/config", true, false),
            ("a.b/c.", false, false),
            (".well-known/acme-challenge/x", false, false),
            (".well-known/.x", true, false),
            (".well-knownx", true, false),
            (".medusa-part-0123", true, true),
            ("a/.medusa-part-0123", true, true),
        ];
        for &(path, by_default, with_hidden) in table {
            assert_eq!(is_hidden_path(path.as_bytes(), false), by_default, "{path}");
            assert_eq!(is_hidden_path(path.as_bytes(), true), with_hidden, "{path}");
        }
    }
}
