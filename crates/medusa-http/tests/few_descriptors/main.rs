//! A folder served by a process that has hardly any descriptors left. A program of its own, since the
//! limit is the whole process's.

#![allow(clippy::unwrap_used)]

#[path = "../static_files/support.rs"]
#[allow(dead_code)]
mod support;

use medusa_http::StaticOptions;
use rustix::process::{Resource, getrlimit, setrlimit};

#[test]
fn what_is_kept_open_is_given_up_for_what_is_asked_for() {
    let mut options = StaticOptions::default();
    options.cache.small = 0;
    let names: Vec<String> = (0..100).map(|number| format!("{number}.bin")).collect();
    let files: Vec<_> = names.iter().map(|name| (&name[..], "content")).collect();
    let mut site = support::Site::new(options, &files);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(open + 8);
    setrlimit(Resource::Nofile, limit).unwrap();
    for name in &names {
        let reply = site.get(&format!("/{name}"), "");
        assert_eq!((reply.status, &reply.body[..]), (200, &b"content"[..]), "{name}");
    }
}
