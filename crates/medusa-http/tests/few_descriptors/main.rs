//! A folder served by a process that has hardly any descriptors left. A program of its own, since the
//! limit is the whole process's.

#![allow(clippy::unwrap_used)]

#[path = "../static_files/support.rs"]
#[allow(dead_code)]
mod support;

use medusa_http::StaticOptions;
use rustix::process::{Resource, getrlimit, setrlimit};
use support::Site;

/// A folder of a hundred files none of which is short enough to be kept as bytes.
fn site(names: &[String]) -> Site {
    let mut options = StaticOptions::default();
    options.cache.small = 0;
    let files: Vec<_> = names.iter().map(|name| (&name[..], "content")).collect();
    Site::new(options, &files)
}

fn get_all(site: &mut Site, names: &[String]) {
    for name in names {
        let reply = site.get(&format!("/{name}"), "");
        assert_eq!((reply.status, &reply.body[..]), (200, &b"content"[..]), "{name}");
    }
}

fn open() -> u64 {
    std::fs::read_dir("/proc/self/fd").unwrap().count() as u64
}

fn limit_to(descriptors: u64) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(descriptors);
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn files_that_are_kept_open_leave_descriptors_for_what_is_asked_for() {
    let names: Vec<String> = (0..100).map(|number| format!("{number}.bin")).collect();
    let before = open();
    let mut sites = [site(&names), site(&names), site(&names)];
    // All caches together have a quarter.
    limit_to(400);
    for site in &mut sites {
        get_all(site, &names);
    }
    let kept = open() - before;
    assert!((90..=120).contains(&kept), "{kept}");
    // What a cache gives up is there for others.
    let [first, second, mut third] = sites;
    drop((first, second));
    assert!(open() < before + 60);
    get_all(&mut third, &names);
    // And hardly anything is left.
    limit_to(open() + 8);
    get_all(&mut third, &names);
    let mut last = site(&names);
    get_all(&mut last, &names);
}
