//! What the visitors of a configured server find: the shared root, homes of accounts, folders that
//! differ, and the meters that their transfers share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use medusa_accounts::Identity;
use medusa_core::config::Rate;
use medusa_core::{BuildContext, BuildError};
use medusa_files::{Above, VirtualPath};

use crate::Error;
use crate::home::{Folder, Rights, Visit, Visitor};
use crate::pace::Meter;
use crate::plugin::{FolderConfig, FtpConfig};
use crate::storage::{Disk, Storage, Uploads};

/// What the configuration says about it.
pub(crate) struct Homes {
    root: Option<Disk>,
    folders: Arc<[Folder]>,
    uploads: Uploads,
    greeting: Option<String>,
    message_file: Option<Arc<[u8]>>,
    /// All transfers of the service together.
    upload: Option<Meter>,
    download: Option<Meter>,
    accounts: Meters,
}

/// The meters of accounts that are logged in, by name, rate and direction.
#[derive(Default)]
struct Meters(Mutex<HashMap<(String, u64, bool), Meter>>);

impl Homes {
    pub(crate) fn new(config: &FtpConfig, cx: &BuildContext) -> Result<Homes, BuildError> {
        let uploads = config.uploads;
        let root = match &config.root {
            Some(path) => {
                let whole = cx.path(path);
                let open = Disk::new(&whole).map_err(|error| {
                    let shown = whole.display();
                    BuildError::at("root", format!("can't serve the folder `{shown}`: {error}"))
                });
                Some(open?.uploads(uploads))
            }
            None => None,
        };
        let mut folders = Vec::new();
        for (at, folder) in config.folder.iter().flatten().enumerate() {
            folders.push(differing(folder, at, root.as_ref())?);
        }
        let message_file = config.message_file.as_deref().map(|name| match name.contains('/') {
            false if !name.is_empty() => Ok(name.as_bytes().into()),
            _ => Err(BuildError::at(
                "message_file",
                "the name of a file in each folder belongs here",
            )
            .hint("`message_file = \".message\"`")),
        });
        Ok(Homes {
            root,
            folders: folders.into(),
            uploads,
            greeting: config.greeting.clone(),
            message_file: message_file.transpose()?,
            upload: meter("upload_rate", config.upload_rate)?,
            download: meter("download_rate", config.download_rate)?,
            accounts: Meters::default(),
        })
    }

    /// What somebody finds. Blocks.
    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<Visit, Error> {
        let mut visit = match visitor {
            Visitor::Anonymous => self.at_root(Rights::READ)?,
            Visitor::Account(identity) => self.account(identity)?,
        };
        if let Some(greeting) = &self.greeting {
            visit = visit.greeting(greeting);
        }
        for meter in self.upload.iter().cloned() {
            visit = visit.uploads_metered(meter);
        }
        for meter in self.download.iter().cloned() {
            visit = visit.downloads_metered(meter);
        }
        Ok(visit.message_file(self.message_file.clone()))
    }

    fn account(&self, identity: &Identity) -> Result<Visit, Error> {
        let access = identity.file_access();
        let listed = access.rights.as_deref().map(Rights::of);
        let mut visit = match identity.files() {
            Some(folder) => {
                let disk = Disk::home(folder)?.uploads(self.uploads);
                let disk = match access.quota {
                    Some(quota) => disk.limited(quota.0)?,
                    None => disk,
                };
                Visit::new(disk, listed.unwrap_or(Rights::ALL))
            }
            None => self.at_root(listed.unwrap_or(Rights::READ))?,
        };
        let meter = |rate: Rate, is_upload| self.accounts.of(identity.name(), rate, is_upload);
        if let Some(rate) = access.upload_rate {
            visit = visit.uploads_metered(meter(rate, true));
        }
        if let Some(rate) = access.download_rate {
            visit = visit.downloads_metered(meter(rate, false));
        }
        Ok(visit)
    }

    fn at_root(&self, rights: Rights) -> Result<Visit, Error> {
        let root = self.root.clone().ok_or(Error::NotFound)?;
        Ok(Visit::new(root, rights).folders(Arc::clone(&self.folders)))
    }
}

impl Meters {
    fn of(&self, name: &str, rate: Rate, is_upload: bool) -> Meter {
        let mut meters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        meters.retain(|_, meter| meter.is_shared());
        let key = (name.to_owned(), rate.0, is_upload);
        meters.entry(key).or_insert_with(|| Meter::new(rate.0)).clone()
    }
}

fn meter(key: &str, rate: Option<Rate>) -> Result<Option<Meter>, BuildError> {
    match rate {
        Some(Rate(0)) => {
            Err(BuildError::at(key, "nothing could ever be moved")
                .hint("leave it out for no limit"))
        }
        rate => Ok(rate.map(|rate| Meter::new(rate.0))),
    }
}

fn differing(config: &FolderConfig, at: usize, root: Option<&Disk>) -> Result<Folder, BuildError> {
    let key = format!("folder[{at}].path");
    let path = VirtualPath::new(config.path.as_bytes(), Above::Refuse)
        .map_err(|error| BuildError::at(&key, error.to_string()))?;
    let Some(root) = root else {
        return Err(BuildError::at(&key, "there is no `root` that it could be in"));
    };
    // What is said of a folder that isn't there would be said of one that is made later by anybody.
    match root.info(&path) {
        Ok(info) if info.is_folder => {}
        _ => return Err(BuildError::at(&key, "there is no such folder in `root`")),
    }
    let rights = config.rights.as_deref().map(Rights::of);
    Ok(Folder { path, rights, message: config.message.clone() })
}
