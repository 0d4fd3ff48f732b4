//! The system's own configuration: resolv.conf(5) and hosts(5). The one file here that reads files.
//!
//! Not nsswitch.conf, and no search list: names here are whole.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::special::Hosts;
use crate::upstream::Upstream;

/// Name servers beyond these aren't asked (glibc takes 3).
const SERVERS: usize = 8;
/// The most that glibc takes of the options `timeout` (in seconds) and `attempts`.
const LONGEST_TIMEOUT: u64 = 30;
const MOST_ATTEMPTS: u32 = 5;

/// Where the files are.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    resolv_conf: PathBuf,
    hosts: PathBuf,
}

/// What tells that a file has changed: its number, length and times.
type Stamp = Option<(u64, u64, i64, i64)>;

/// What stands in the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct System {
    pub(crate) resolv_conf: ResolvConf,
    pub(crate) hosts: Hosts,
    stamps: [Stamp; 2],
}

/// What is used of a resolv.conf.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResolvConf {
    pub(crate) servers: Vec<Upstream>,
    /// `options timeout:`
    pub(crate) timeout: Option<Duration>,
    /// `options attempts:`
    pub(crate) attempts: Option<u32>,
    /// `options trust-ad`
    pub(crate) trust_ad: bool,
}

impl Files {
    /// Those of the system.
    pub(crate) fn of_the_system() -> Self {
        Files { resolv_conf: "/etc/resolv.conf".into(), hosts: "/etc/hosts".into() }
    }

    /// Those of a folder.
    #[cfg(test)]
    pub(crate) fn of(folder: &Path) -> Self {
        Files { resolv_conf: folder.join("resolv.conf"), hosts: folder.join("hosts") }
    }

    /// Reads them. A file that isn't there, or can't be read, says nothing.
    pub(crate) fn read(&self) -> System {
        // Before they are read: what changes meanwhile is read again the next time.
        let stamps = self.stamps();
        let text = |path: &Path| {
            let octets = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&octets).into_owned()
        };
        System {
            resolv_conf: ResolvConf::parse(&text(&self.resolv_conf)),
            hosts: Hosts::parse(&text(&self.hosts)),
            stamps,
        }
    }

    /// Reads them again if one has changed.
    pub(crate) fn read_again(&self, before: &System) -> Option<System> {
        (self.stamps() != before.stamps).then(|| self.read())
    }

    fn stamps(&self) -> [Stamp; 2] {
        [&self.resolv_conf, &self.hosts].map(|path| {
            let data = fs::metadata(path).ok()?;
            Some((data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
        })
    }
}

impl ResolvConf {
    /// Reads a resolv.conf's text; what it has beyond this is skipped. A server on this machine is asked
    /// where it names none, as glibc does.
    pub(crate) fn parse(text: &str) -> Self {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    let Some(address) = address else {
                        tracing::debug!(line, "resolv.conf names a server that can't be asked");
                        continue;
                    };
                    let upstream = Upstream::new((address, crate::upstream::PORT).into());
                    if conf.servers.len() < SERVERS && !conf.servers.contains(&upstream) {
                        conf.servers.push(upstream);
                    }
                }
                Some("options") => words.for_each(|word| conf.set(word)),
                _ => {}
            }
        }
        if conf.servers.is_empty() {
            let here = (Ipv4Addr::LOCALHOST, crate::upstream::PORT);
            conf.servers.push(Upstream::new(here.into()));
        }
        conf
    }

    fn set(&mut self, option: &str) {
        let (name, value) = option.split_once(':').unwrap_or((option, ""));
        let number = || value.parse::<u64>().ok().filter(|number| *number > 0);
        match name {
            "timeout" => {
                self.timeout = number().map(|n| Duration::from_secs(n.min(LONGEST_TIMEOUT)));
            }
            "attempts" => {
                self.attempts =
                    number().map(|n| u32::try_from(n).unwrap_or(u32::MAX).min(MOST_ATTEMPTS));
            }
            "trust-ad" => self.trust_ad = true,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolv_conf_is_read() {
        let conf = ResolvConf::parse(
            "# nameserver 192.0.2.9\nsearch example.test\nnameserver 192.0.2.1\n nameserver ::1 # here\n\
             nameserver 192.0.2.1\nnameserver fe80::1%eth0\noptions edns0 timeout:2 attempts:900 trust-ad\n",
        );
        let servers: Vec<_> = conf.servers.iter().map(Upstream::to_string).collect();
        assert_eq!(servers, ["192.0.2.1:53", "[::1]:53"]);
        assert_eq!((conf.timeout, conf.attempts), (Some(Duration::from_secs(2)), Some(5)));
        assert!(conf.trust_ad);
        let conf = ResolvConf::parse("options timeout:0 attempts:x");
        assert_eq!((conf.timeout, conf.attempts, conf.trust_ad), (None, None, false));
        assert_eq!(conf.servers[0].to_string(), "127.0.0.1:53");
    }

    #[test]
    fn files_are_read_again_when_they_have_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let files = Files::of(folder.path());
        let system = files.read();
        assert_eq!(system.resolv_conf.servers.len(), 1);
        assert_eq!(files.read_again(&system), None);
        fs::write(&files.resolv_conf, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n")
            .expect("a file");
        let system = files.read_again(&system).expect("a change");
        assert_eq!(system.resolv_conf.servers.len(), 2);
        assert_eq!(files.read_again(&system), None);
        fs::write(&files.hosts, "192.0.2.3 a\n").expect("a file");
        let system = files.read_again(&system).expect("a change");
        fs::remove_file(&files.hosts).expect("removed");
        assert_eq!(files.read_again(&system).expect("a change").hosts, Hosts::default());
    }
}
