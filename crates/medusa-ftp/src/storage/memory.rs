//! Files in memory: for tests, and for a program that serves what it has just made.
//!
//! Everything is lost with the process. A file is copied when it is written to; readers keep what they
//! began with.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use medusa_files::{Timestamp, VirtualPath};

use super::{Content, Ending, Entries, Entry, Info, Start, Storage, Upload};
use crate::Error;

/// A [`Storage`] in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct Memory {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug)]
struct Shared {
    nodes: BTreeMap<VirtualPath, Node>,
    /// Octets that all files together may have.
    room: u64,
    used: u64,
}

#[derive(Debug, Clone)]
struct Node {
    /// `None` for a folder.
    content: Option<Bytes>,
    modified: Timestamp,
    mode: u32,
}

impl Memory {
    /// An empty root whose files may have `room` octets together.
    pub fn new(room: u64) -> Memory {
        let nodes = BTreeMap::from([(VirtualPath::root(), Node::folder())]);
        Memory { shared: Arc::new(Mutex::new(Shared { nodes, room, used: 0 })) }
    }

    /// Puts a file there, and the folders on its way.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidName`], [`Error::NoSpace`], or a folder that has the name.
    pub fn insert(&self, path: &str, content: impl Into<Bytes>) -> Result<(), Error> {
        let path = VirtualPath::new(path.as_bytes(), medusa_files::Above::Refuse)?;
        let mut shared = self.lock();
        let mut parents = Vec::new();
        let mut parent = path.parent();
        while let Some(folder) = parent {
            parent = folder.parent();
            parents.push(folder);
        }
        for folder in parents {
            shared.nodes.entry(folder).or_insert_with(Node::folder);
        }
        shared.put(&path, content.into())
    }

    /// The content of a file.
    pub fn get(&self, path: &str) -> Option<Bytes> {
        let path = VirtualPath::new(path.as_bytes(), medusa_files::Above::Refuse).ok()?;
        self.lock().nodes.get(&path)?.content.clone()
    }

    /// The same files, for another test.
    #[cfg(test)]
    pub(crate) fn deep_copy(&self) -> Memory {
        let Shared { nodes, room, used } = &*self.lock();
        let (nodes, room, used) = (nodes.clone(), *room, *used);
        Memory { shared: Arc::new(Mutex::new(Shared { nodes, room, used })) }
    }

    /// No code that holds the lock can leave the nodes half changed.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    fn folder() -> Node {
        Node { content: None, modified: SystemTime::now().into(), mode: 0o755 }
    }
}

impl Shared {
    fn node(&self, path: &VirtualPath) -> Result<&Node, Error> {
        self.nodes.get(path).ok_or(Error::NotFound)
    }

    fn folder_above(&self, path: &VirtualPath) -> Result<(), Error> {
        let parent = path.parent().ok_or(Error::IsAFolder)?;
        match self.node(&parent)?.content {
            None => Ok(()),
            Some(_) => Err(Error::NotAFolder),
        }
    }

    fn put(&mut self, path: &VirtualPath, content: Bytes) -> Result<(), Error> {
        self.folder_above(path)?;
        let before = match self.nodes.get(path) {
            Some(Node { content: None, .. }) => return Err(Error::IsAFolder),
            Some(Node { content: Some(before), .. }) => before.len() as u64,
            None => 0,
        };
        let used = self.used - before + content.len() as u64;
        if used > self.room {
            return Err(Error::NoSpace);
        }
        self.used = used;
        let modified = SystemTime::now().into();
        self.nodes.insert(path.clone(), Node { content: Some(content), modified, mode: 0o644 });
        Ok(())
    }

    /// The first entry of `folder` behind `after`.
    fn next_in(&self, folder: &VirtualPath, after: &VirtualPath) -> Option<(VirtualPath, Node)> {
        let behind = (Bound::Excluded(after.clone()), Bound::Unbounded);
        self.nodes
            .range(behind)
            .take_while(|(path, _)| path.as_bytes().starts_with(folder.as_bytes()))
            .find(|(path, _)| path.parent().as_ref() == Some(folder))
            .map(|(path, node)| (path.clone(), node.clone()))
    }
}

fn info_of(node: &Node) -> Info {
    Info {
        is_folder: node.content.is_none(),
        len: node.content.as_ref().map_or(0, |content| content.len() as u64),
        modified: node.modified,
        mode: Some(node.mode),
        unique: None,
    }
}

impl Storage for Memory {
    fn info(&self, path: &VirtualPath) -> Result<Info, Error> {
        self.lock().node(path).map(info_of)
    }

    fn list(&self, path: &VirtualPath) -> Result<Entries, Error> {
        if self.lock().node(path)?.content.is_some() {
            return Err(Error::NotAFolder);
        }
        let (memory, folder, mut after) = (self.clone(), path.clone(), path.clone());
        Ok(Box::new(std::iter::from_fn(move || {
            let (path, node) = memory.lock().next_in(&folder, &after)?;
            let name = path.name().unwrap_or_default().to_vec();
            after = path;
            Some(Ok(Entry { name, info: info_of(&node) }))
        })))
    }

    fn read(&self, path: &VirtualPath) -> Result<Content, Error> {
        let content = self.lock().node(path)?.content.clone();
        content.map(Content::Bytes).ok_or(Error::IsAFolder)
    }

    fn check_write(&self, path: &VirtualPath, start: Start) -> Result<(), Error> {
        // It is in nobody's way until it ends.
        self.write(path, start).map(drop)
    }

    fn write(&self, path: &VirtualPath, start: Start) -> Result<Box<dyn Upload>, Error> {
        let shared = self.lock();
        shared.folder_above(path)?;
        let before = match shared.nodes.get(path) {
            None => None,
            Some(Node { content: None, .. }) => return Err(Error::IsAFolder),
            Some(Node { content: Some(before), .. }) => Some(before.clone()),
        };
        let old = before.unwrap_or_default();
        let content = match start {
            Start::New if shared.nodes.contains_key(path) => return Err(Error::Exists),
            Start::Empty | Start::New => Vec::new(),
            Start::End => old.to_vec(),
            Start::At(offset) => match usize::try_from(offset) {
                Ok(offset) if offset <= old.len() => old[..offset].to_vec(),
                _ => return Err(Error::BeyondEnd),
            },
        };
        let room = shared.room;
        drop(shared);
        Ok(Box::new(Growing { memory: self.clone(), path: path.clone(), content, room }))
    }

    fn remove_file(&self, path: &VirtualPath) -> Result<(), Error> {
        let mut shared = self.lock();
        let Some(content) = &shared.node(path)?.content else { return Err(Error::IsAFolder) };
        shared.used -= content.len() as u64;
        shared.nodes.remove(path);
        Ok(())
    }

    fn remove_folder(&self, path: &VirtualPath) -> Result<(), Error> {
        let mut shared = self.lock();
        if shared.node(path)?.content.is_some() {
            return Err(Error::NotAFolder);
        }
        if path.is_root() || shared.next_in(path, path).is_some() {
            return Err(Error::NotEmpty);
        }
        shared.nodes.remove(path);
        Ok(())
    }

    fn make_folder(&self, path: &VirtualPath) -> Result<(), Error> {
        let mut shared = self.lock();
        if shared.nodes.contains_key(path) {
            return Err(Error::Exists);
        }
        shared.folder_above(path)?;
        shared.nodes.insert(path.clone(), Node::folder());
        Ok(())
    }

    fn rename(&self, from: &VirtualPath, to: &VirtualPath, replace: bool) -> Result<(), Error> {
        let mut shared = self.lock();
        let node = shared.node(from)?.clone();
        if node.content.is_none() {
            // A folder would take all that is below it along.
            return Err(Error::Unsupported);
        }
        shared.folder_above(to)?;
        match shared.nodes.get(to) {
            Some(Node { content: None, .. }) => return Err(Error::IsAFolder),
            Some(_) if !replace => return Err(Error::Exists),
            Some(Node { content: Some(old), .. }) if from != to => {
                shared.used -= old.len() as u64;
            }
            _ => {}
        }
        shared.nodes.remove(from);
        shared.nodes.insert(to.clone(), node);
        Ok(())
    }

    fn set_modified(&self, path: &VirtualPath, modified: Timestamp) -> Result<(), Error> {
        self.lock().nodes.get_mut(path).ok_or(Error::NotFound)?.modified = modified;
        Ok(())
    }

    fn set_mode(&self, path: &VirtualPath, mode: u32) -> Result<(), Error> {
        self.lock().nodes.get_mut(path).ok_or(Error::NotFound)?.mode = mode;
        Ok(())
    }
}

/// An upload: it is in nobody's way until it ends.
struct Growing {
    memory: Memory,
    path: VirtualPath,
    content: Vec<u8>,
    room: u64,
}

impl Upload for Growing {
    fn write(&mut self, octets: &[u8]) -> Result<(), Error> {
        if (self.content.len() + octets.len()) as u64 > self.room {
            return Err(Error::NoSpace);
        }
        self.content.extend_from_slice(octets);
        Ok(())
    }

    fn end(self: Box<Self>, ending: Ending) -> Result<(), Error> {
        match ending {
            Ending::Failed => Ok(()),
            Ending::Complete | Ending::Cut => {
                self.memory.lock().put(&self.path, self.content.into())
            }
        }
    }
}
