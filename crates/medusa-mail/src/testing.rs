//! Disks that fail and forget, to prove that a store keeps its promise: [`FaultyDisk`] lets one step
//! fail, or the machine die at it; [`ModelDisk`] knows what a power cut would leave.
//!
//! Both act on the real disk as well, so that a store reads what it wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::{Disk, DiskFile, RealDisk};

/// How a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// EIO.
    Io,
    /// ENOSPC.
    NoSpace,
    /// A write takes half of what it is given, once; another step fails with EIO.
    Short,
    /// This step and all after it fail: the process is as good as dead.
    Dies,
}

/// A disk one of whose steps fails.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    disk: Arc<dyn Disk>,
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    at: usize,
    fault: Fault,
    steps: AtomicUsize,
}

impl FaultyDisk {
    /// `disk`, whose step number `at` fails; the first is 0.
    pub fn new(disk: Arc<dyn Disk>, at: usize, fault: Fault) -> FaultyDisk {
        FaultyDisk { disk, plan: Arc::new(Plan { at, fault, steps: AtomicUsize::new(0) }) }
    }

    /// How many steps were taken.
    pub fn steps(&self) -> usize {
        self.plan.steps.load(Ordering::SeqCst)
    }
}

impl Plan {
    /// Takes a step, which fails if its turn has come.
    fn step(&self) -> io::Result<()> {
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        let errno = match self.fault {
            Fault::Dies if step >= self.at => Errno::IO,
            _ if step != self.at => return Ok(()),
            Fault::NoSpace => Errno::NOSPC,
            Fault::Io | Fault::Short | Fault::Dies => Errno::IO,
        };
        Err(errno.into())
    }
}

impl Disk for FaultyDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.plan.step()?;
        let file = self.disk.create(path)?;
        Ok(Box::new(FaultyFile { file, plan: Arc::clone(&self.plan) }))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.step()?;
        self.disk.link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.step()?;
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.plan.step()?;
        self.disk.remove(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<bool> {
        self.plan.step()?;
        self.disk.make_folder(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.plan.step()?;
        self.disk.sync_folder(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn DiskFile>,
    plan: Arc<Plan>,
}

impl DiskFile for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.plan.step() {
            Ok(()) => self.file.write(bytes),
            Err(_) if self.plan.fault == Fault::Short => {
                self.file.write(&bytes[..bytes.len() / 2 + 1])
            }
            Err(error) => {
                // A full disk takes what it has room for.
                self.file.write(&bytes[..bytes.len() / 2])?;
                Err(error)
            }
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.plan.step()?;
        self.file.sync()
    }
}

/// A disk that knows what it would have kept if the power were cut.
#[derive(Debug, Clone, Default)]
pub struct ModelDisk(Arc<Mutex<Model>>);

/// What is certain after a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PowerCut {
    /// Names and contents that weren't synced are gone.
    LosesAll,
    /// Every name is there, and of contents only what was synced.
    LosesContents,
    /// Nothing is lost: the process alone has died.
    LosesNothing,
}

#[derive(Debug, Default)]
struct Model {
    names: BTreeMap<PathBuf, usize>,
    durable: BTreeMap<PathBuf, usize>,
    folders: BTreeSet<PathBuf>,
    durable_folders: BTreeSet<PathBuf>,
    /// By inode: content, and how much of it is on disk.
    files: Vec<(Vec<u8>, usize)>,
}

impl ModelDisk {
    /// The files that a power cut now would leave below `root`, by their paths from there.
    pub fn survivors(&self, root: &Path, cut: PowerCut) -> BTreeMap<PathBuf, Vec<u8>> {
        let model = self.model();
        let names = match cut {
            PowerCut::LosesAll => &model.durable,
            _ => &model.names,
        };
        let stands = |path: &Path| {
            path.ancestors()
                .skip(1)
                .take_while(|folder| *folder != root)
                .all(|folder| cut != PowerCut::LosesAll || model.durable_folders.contains(folder))
        };
        let below = names.iter().filter_map(|(path, inode)| {
            let (content, synced) = &model.files[*inode];
            let kept = if cut == PowerCut::LosesNothing { content.len() } else { *synced };
            let name = path.strip_prefix(root).ok()?;
            stands(path).then(|| (name.to_owned(), content[..kept].to_vec()))
        });
        below.collect()
    }

    fn model(&self) -> MutexGuard<'_, Model> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for ModelDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = RealDisk.create(path)?;
        let mut model = self.model();
        let inode = model.files.len();
        model.files.push((Vec::new(), 0));
        model.names.insert(path.to_owned(), inode);
        Ok(Box::new(ModelFile { file, inode, disk: self.clone() }))
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.link(from, to)?;
        let mut model = self.model();
        let inode = model.names[from];
        model.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)?;
        let mut model = self.model();
        if let Some(inode) = model.names.remove(from) {
            model.names.insert(to.to_owned(), inode);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)?;
        self.model().names.remove(path);
        Ok(())
    }

    fn make_folder(&self, path: &Path) -> io::Result<bool> {
        let is_new = RealDisk.make_folder(path)?;
        self.model().folders.insert(path.to_owned());
        Ok(is_new)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut model = self.model();
        let inside = |name: &Path| name.parent() == Some(path);
        let Model { names, durable, folders, durable_folders, .. } = &mut *model;
        durable.retain(|name, _| !inside(name));
        durable
            .extend(names.iter().filter(|(n, _)| inside(n)).map(|(n, inode)| (n.clone(), *inode)));
        durable_folders.extend(folders.iter().filter(|folder| inside(folder)).cloned());
        Ok(())
    }
}

#[derive(Debug)]
struct ModelFile {
    file: Box<dyn DiskFile>,
    inode: usize,
    disk: ModelDisk,
}

impl DiskFile for ModelFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.disk.model().files[self.inode].0.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn sync(&mut self) -> io::Result<()> {
        let (content, synced) = &mut self.disk.model().files[self.inode];
        *synced = content.len();
        Ok(())
    }
}
