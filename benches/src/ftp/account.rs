//! The processor time of a server and of all that it ever started, by a control group of its own (cgroups(7),
//! version 2). /proc alone would forget what a process spent that nobody waited for: half of a session of
//! vsftpd. Where no group can be made, /proc has to do.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::process::Spent;

/// A group. It goes when it is dropped, if all in it have ended.
pub(super) struct Account {
    folder: PathBuf,
}

impl Account {
    /// Puts a process in a group, before it starts others.
    pub(super) fn open(pid: u32) -> Option<Account> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        let root = mounts.lines().find_map(|line| {
            let mut words = line.split(' ').skip(1);
            let folder = words.next()?;
            (words.next() == Some("cgroup2")).then_some(folder)
        })?;
        let account = Account { folder: PathBuf::from(root).join(format!("medusa-bench-{pid}")) };
        fs::create_dir(&account.folder).ok()?;
        fs::write(account.folder.join("cgroup.procs"), pid.to_string()).ok()?;
        account.spent().ok()?;
        Some(account)
    }

    pub(super) fn spent(&self) -> Result<Spent> {
        let text = fs::read_to_string(self.folder.join("cpu.stat"))?;
        let field = |name: &str| -> Result<Duration> {
            let value = text.lines().find_map(|line| line.strip_prefix(name));
            Ok(Duration::from_micros(value.with_context(|| format!("no {name}"))?.trim().parse()?))
        };
        Ok(Spent { user: field("user_usec")?, system: field("system_usec")? })
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // A process leaves its group a moment after it was waited for.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
