//! What is kept of the files that were served: for how long, in how many descriptors, and what happens
//! to what isn't in memory.

use std::fs;
use std::time::Duration;

use medusa_files::{Lookup, Root, RootOptions};
use medusa_http::StaticOptions;

use crate::support::{MODIFIED, Site};

fn options() -> StaticOptions {
    StaticOptions::default()
}

#[test]
fn a_better_index_is_taken_once_it_is_there() {
    let mut two = options();
    two.index = vec!["index.html".into(), "index.htm".into()];
    let mut site = Site::new(two, &[("a/index.htm", "second")]);
    assert_eq!(site.get("/a/", "").body, b"second");
    site.write("a/index.html", "first", MODIFIED);
    site.client.advance(Duration::from_secs(1));
    assert_eq!(site.get("/a/", "").body, b"first");
    fs::remove_file(site.path().join("a/index.html")).unwrap();
    site.client.advance(Duration::from_secs(1));
    assert_eq!(site.get("/a/", "").body, b"second");
}

#[test]
fn a_route_that_is_asked_for_without_its_slash_is_redirected_whatever_is_kept() {
    let mut site = Site::routed("/deep", options(), &[("index.html", "index")]);
    for _ in 0..2 {
        let reply = site.get("/deep", "");
        assert_eq!((reply.status, reply.field("location")), (301, Some("/deep/")));
        assert_eq!(site.get("/deep/", "").body, b"index");
    }
}

#[test]
fn a_listing_is_made_once_a_second() {
    let mut listing = options();
    listing.listing = true;
    listing.writable = true;
    let mut site = Site::new(listing, &[("sub/a.txt", "x")]);
    let shows = |site: &mut Site, name: &str| {
        let page = String::from_utf8(site.get("/sub/", "").body).unwrap();
        page.contains(&format!(">{name}</a>"))
    };
    assert!(shows(&mut site, "a.txt"));
    site.write("sub/b.txt", "x", MODIFIED);
    assert!(!shows(&mut site, "b.txt"));
    site.client.advance(Duration::from_secs(1));
    assert!(shows(&mut site, "b.txt"));
    // Who writes sees at once what was written.
    assert_eq!(site.request("PUT", "/sub/c.txt", "", "x").status, 201);
    assert!(shows(&mut site, "c.txt"));
    assert_eq!(site.request("DELETE", "/sub/c.txt", "", "").status, 204);
    assert!(!shows(&mut site, "c.txt"));
}

#[test]
fn what_is_kept_is_looked_at_again_after_a_second() {
    for small in [0, 1 << 16] {
        let mut limits = options();
        limits.cache.small = small;
        let mut site = Site::new(limits, &[("a.txt", "one"), ("index.html", "index")]);
        let first = site.get("/a.txt", "").field("etag").unwrap().to_owned();
        assert_eq!(site.get("/", "").body, b"index");
        site.write("a.txt", "three", MODIFIED + 1);
        fs::remove_file(site.path().join("index.html")).unwrap();
        site.client.advance(Duration::from_millis(999));
        assert_eq!(site.get("/a.txt", "").body, b"one");
        assert_eq!(site.get("/", "").status, 200);
        site.client.advance(Duration::from_millis(1));
        let reply = site.get("/a.txt", "");
        assert_eq!(reply.body, b"three");
        assert_ne!(reply.field("etag"), Some(&first[..]));
        assert_eq!(site.get("/", "").status, 404);
        // The same length and time, and another content all the same.
        site.write("a.txt", "other", MODIFIED + 1);
        site.client.advance(Duration::from_secs(1));
        assert_eq!(site.get("/a.txt", "").body, b"other");
    }
}

#[test]
fn what_is_not_in_memory_is_looked_up_in_the_pool() {
    // A root that can't ask for the cache alone has every look-up done there.
    let lookup = Lookup::ComponentWise;
    let mut gzip = options();
    gzip.gzip = true;
    let mut site = Site::with(gzip, &[("a/b.txt", "hello"), ("a/index.html", "i")], |path| {
        Root::with(path, RootOptions { lookup, ..RootOptions::default() }).unwrap()
    });
    site.ask("GET", "/a/b.txt", "", "");
    site.ask("GET", "/a/", "Range: bytes=0-\r\n", "");
    site.ask("GET", "/a", "", "");
    site.ask("GET", "/none", "", "");
    assert!(site.output().is_empty());
    site.run_jobs();
    let replies = site.replies(&["GET"; 4]);
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status).collect();
    assert_eq!(statuses, [200, 206, 301, 404]);
    assert_eq!(replies[0].body, b"hello");
    // What was found is kept.
    site.ask("GET", "/a/b.txt", "", "");
    assert_eq!(site.replies(&["GET"])[0].body, b"hello");
}

/// How many descriptors of this process stand for files in the folder.
fn descriptors(folder: &std::path::Path) -> usize {
    let folder = folder.canonicalize().unwrap();
    fs::read_dir("/proc/self/fd")
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.unwrap().path()).ok())
        .filter(|target| target.starts_with(&folder) && *target != folder)
        .count()
}

#[test]
fn pipelined_requests_for_a_large_file_share_a_descriptor() {
    let mut site = Site::new(options(), &[("big.bin", "")]);
    let big = fs::File::options().write(true).open(site.path().join("big.bin")).unwrap();
    big.set_len(256 << 10).unwrap();
    drop(big);
    site.client.stall();
    let request = "GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n";
    site.client.send(request.repeat(1_500));
    assert!(descriptors(site.path()) <= 2, "{}", descriptors(site.path()));
    // And each of them is answered.
    let mut received = 0;
    site.client.unstall();
    for _ in 0..100_000 {
        site.run_jobs();
        match site.output().len() {
            0 => break,
            more => received += more,
        }
    }
    assert!(received >= 1_500 * (256 << 10));
}

#[test]
fn requests_for_many_large_files_hold_few_descriptors() {
    let mut limits = options();
    limits.cache.small = 0;
    limits.cache.descriptors = 4;
    let names: Vec<String> = (0..60).map(|number| format!("{number}.bin")).collect();
    let files: Vec<_> = names.iter().map(|name| (&name[..], "content")).collect();
    let mut site = Site::new(limits, &files);
    site.client.stall();
    for name in &names {
        site.ask("GET", &format!("/{name}"), "", "");
    }
    site.run_jobs();
    assert!(descriptors(site.path()) <= 10, "{}", descriptors(site.path()));
    site.client.unstall();
    for _ in 0..names.len() {
        site.run_jobs();
    }
    let replies = site.replies(&vec!["GET"; names.len()]);
    assert!(replies.iter().all(|reply| reply.status == 200 && reply.body == b"content"));
}

#[test]
fn without_a_cache_everything_is_served_all_the_same() {
    let mut limits = options();
    limits.gzip = true;
    limits.cache.entries = 0;
    let mut site =
        Site::new(limits, &[("a.txt", "hello"), ("a.txt.gz", "gz"), ("index.html", "i")]);
    assert_eq!(site.get("/a.txt", "").body, b"hello");
    assert_eq!(site.get("/a.txt", "Accept-Encoding: gzip\r\n").body, b"gz");
    assert_eq!(site.get("/", "").body, b"i");
}
