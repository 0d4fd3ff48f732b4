//! What an operator asks of the process that works a queue: one empty file a request in the folder
//! `control`, named `ID.retry`, `ID.drop`, `all.retry`.
//!
//! A file's name comes to be at once, so no half request is ever seen; the worker removes it as it takes it.
//! Nothing is lost by a crash that hasn't been asked for again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::EntryId;
use crate::Error;

/// What stands in the place of an id for all entries.
const ALL: &str = "all";

/// What is to be done with entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Try to send them now.
    Retry,
    /// End them without telling anybody.
    Drop,
}

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// Which entry; none for all of them.
    pub id: Option<EntryId>,
    /// What is to be done.
    pub action: Action,
}

const ACTIONS: [(Action, &str); 2] = [(Action::Retry, "retry"), (Action::Drop, "drop")];

impl Request {
    fn file_name(&self) -> String {
        let name = ACTIONS.iter().find(|(action, _)| *action == self.action).map_or("", |(_, n)| n);
        let id = self.id.as_ref().map_or(ALL, |id| id.as_ref());
        format!("{id}.{name}")
    }

    fn parse(name: &str) -> Option<Request> {
        let (id, action) = name.rsplit_once('.')?;
        let (action, _) = *ACTIONS.iter().find(|(_, name)| *name == action)?;
        let id = match id {
            ALL => None,
            id => Some(EntryId::parse(id).ok()?),
        };
        Some(Request { id, action })
    }
}

/// Leaves a request.
pub(super) fn put(folder: &Path, request: &Request) -> Result<(), Error> {
    let path = folder.join(request.file_name());
    File::create(&path).map(drop).map_err(Error::at(path))
}

/// Takes all requests. What isn't one is left where it is.
pub(super) fn take(folder: &Path) -> Result<Vec<Request>, Error> {
    let entries = fs::read_dir(folder).map_err(Error::at(folder))?;
    take_named(folder, entries.map(|entry| Ok(entry?.file_name())))
}

/// All names are read before the first request is taken: one that is taken is never lost to an error.
fn take_named(
    folder: &Path,
    names: impl Iterator<Item = io::Result<OsString>>,
) -> Result<Vec<Request>, Error> {
    let names: io::Result<Vec<OsString>> = names.collect();
    let names = names.map_err(Error::at(folder))?;
    let taken = names.iter().filter_map(|name| {
        let request = Request::parse(name.to_str()?)?;
        fs::remove_file(folder.join(name)).ok()?;
        Some(request)
    });
    Ok(taken.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let id = Some(EntryId::parse("1.M2P3").unwrap());
        let wanted = [
            Request { id: id.clone(), action: Action::Drop },
            Request { id, action: Action::Retry },
            Request { id: None, action: Action::Retry },
        ];
        for request in &wanted {
            put(folder.path(), request).unwrap();
            put(folder.path(), request).unwrap();
        }
        fs::write(folder.path().join("README"), "").unwrap();
        fs::write(folder.path().join(".retry"), "").unwrap();
        let mut taken = take(folder.path()).unwrap();
        taken.sort_by_key(Request::file_name);
        assert_eq!(taken, wanted);
        assert_eq!(take(folder.path()).unwrap(), []);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_folder_that_can_not_be_read_to_its_end_loses_no_request() {
        let folder = tempfile::tempdir().unwrap();
        let request = Request { id: None, action: Action::Retry };
        put(folder.path(), &request).unwrap();
        let names = [Ok(request.file_name().into()), Err(io::Error::other("broken"))];
        assert!(take_named(folder.path(), names.into_iter()).is_err());
        assert_eq!(take(folder.path()).unwrap(), [request]);
    }
}
