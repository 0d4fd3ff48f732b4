//! PUT and DELETE to a folder: what stands there afterwards, and what is left of what broke off.

use std::fs;

use crate::support::Site;
use medusa_core::testing::Faults;
use medusa_files::Root;
use medusa_http::StaticOptions;

fn writable() -> StaticOptions {
    let mut options = StaticOptions::default();
    options.writable = true;
    options
}

/// The names in the folder, those that begin with a dot as well.
fn names(site: &Site) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(site.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_file_is_put_read_replaced_and_deleted() {
    let mut site = Site::new(writable(), &[]);
    let created = site.request("PUT", "/a.txt", "", "hello");
    assert_eq!((created.status, created.body.len()), (201, 0));
    let tag = created.field("etag").unwrap().to_owned();
    let read = site.get("/a.txt", "");
    assert_eq!((&read.body[..], read.field("etag")), (&b"hello"[..], Some(&tag[..])));
    // What was kept of the old one is forgotten at once.
    let replaced = site.request("PUT", "/a.txt", "", "hello again");
    assert_eq!(replaced.status, 204);
    assert_ne!(replaced.field("etag"), Some(&tag[..]));
    assert_eq!(site.get("/a.txt", "").body, b"hello again");
    assert_eq!(site.request("DELETE", "/a.txt", "", "").status, 204);
    assert_eq!(site.get("/a.txt", "").status, 404);
    assert_eq!(site.request("DELETE", "/a.txt", "", "").status, 404);
    assert!(names(&site).is_empty());
    let empty = site.request("PUT", "/empty", "Content-Length: 0\r\n", "");
    assert_eq!((empty.status, names(&site)), (201, vec!["empty".to_owned()]));
    let options = site.request("OPTIONS", "/a.txt", "", "");
    assert_eq!(options.field("allow"), Some("GET, HEAD, OPTIONS, PUT, DELETE"));
}

#[test]
fn a_table_of_conditions() {
    let mut site = Site::new(writable(), &[("a.txt", "hello")]);
    let tag = site.get("/a.txt", "").field("etag").unwrap().to_owned();
    let date = crate::support::MODIFIED_DATE;
    let table = [
        ("PUT", "/a.txt", "If-None-Match: *".to_owned(), 412),
        ("PUT", "/a.txt", format!("If-None-Match: {tag}"), 412),
        ("PUT", "/a.txt", "If-Match: \"x\"".into(), 412),
        ("PUT", "/a.txt", format!("If-Match: W/{tag}"), 412),
        ("PUT", "/a.txt", "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:36 GMT".into(), 412),
        ("PUT", "/new.txt", "If-Match: *".into(), 412),
        ("DELETE", "/a.txt", "If-Match: \"x\"".into(), 412),
        ("DELETE", "/a.txt", format!("If-None-Match: {tag}"), 412),
        ("DELETE", "/new.txt", "If-Match: *".into(), 412),
        ("DELETE", "/new.txt", String::new(), 404),
        // Reading has 304, writing hasn't.
        ("PUT", "/a.txt", format!("If-Modified-Since: {date}"), 204),
        ("PUT", "/new.txt", "If-None-Match: *".into(), 201),
        ("PUT", "/new.txt", "If-None-Match: *".into(), 412),
        ("DELETE", "/new.txt", "If-Match: *".into(), 204),
    ];
    for (method, path, fields, status) in table {
        let fields = if fields.is_empty() { fields } else { format!("{fields}\r\n") };
        let body = if method == "PUT" { "x" } else { "" };
        let reply = site.request(method, path, &fields, body);
        assert_eq!(reply.status, status, "{method} {path} {fields}");
    }
    let tag = site.get("/a.txt", "").field("etag").unwrap().to_owned();
    let matching = format!("If-Match: {tag}\r\n");
    assert_eq!(site.request("PUT", "/a.txt", &matching, "mine").status, 204);
    assert_eq!(site.request("PUT", "/a.txt", &matching, "theirs").status, 412);
    assert_eq!(site.get("/a.txt", "").body, b"mine");
    assert_eq!(names(&site), ["a.txt"]);
}

#[test]
fn what_may_not_be_written_is_not() {
    let mut site = Site::new(writable(), &[("folder/a.txt", "x"), ("file", "x")]);
    std::os::unix::fs::symlink("/tmp", site.path().join("out")).unwrap();
    let table = [
        ("PUT", "/folder", "", 409),
        ("PUT", "/folder/", "", 409),
        ("PUT", "/", "", 409),
        ("PUT", "/none/a.txt", "", 409),
        ("PUT", "/file/a.txt", "", 409),
        ("PUT", "/.htaccess", "", 403),
        ("PUT", "/folder/.git/x", "", 403),
        ("PUT", "/.medusa-part-0", "", 403),
        ("PUT", "/out/a.txt", "", 404),
        ("PUT", "/../a.txt", "", 400),
        ("PUT", "/a.txt", "Content-Range: bytes 0-0/2\r\n", 400),
        ("PUT", "/a.txt", "Content-Encoding: gzip\r\n", 415),
        ("DELETE", "/folder", "", 409),
        ("DELETE", "/folder/", "", 409),
        ("DELETE", "/.htaccess", "", 403),
        ("DELETE", "/out/a.txt", "", 404),
    ];
    for (method, path, fields, status) in table {
        let body = if method == "PUT" { "x" } else { "" };
        assert_eq!(site.request(method, path, fields, body).status, status, "{method} {path}");
    }
    assert_eq!(names(&site), ["file", "folder", "out"]);
    // A link is replaced, not followed.
    std::os::unix::fs::symlink("file", site.path().join("link")).unwrap();
    assert_eq!(site.request("PUT", "/link", "", "new").status, 204);
    assert_eq!(fs::read(site.path().join("file")).unwrap(), b"x");
    assert_eq!(fs::read(site.path().join("link")).unwrap(), b"new");
}

#[test]
fn a_long_body_comes_through_however_it_is_split() {
    let body: String = (0..150_000).map(|number| format!("{number:06} ")).collect();
    for seed in 0..4 {
        let root = |path: &std::path::Path| Root::new(path).unwrap();
        let faults = if seed == 0 { Faults::none() } else { Faults::random(seed, 40_000) };
        let mut site = Site::with_faults(writable(), &[], root, faults);
        assert_eq!(site.request("PUT", "/a.txt", "", &body).status, 201);
        assert!(fs::read(site.path().join("a.txt")).unwrap() == body.as_bytes());
        let mut chunked = String::new();
        for piece in body.as_bytes().chunks(100_000) {
            let piece = std::str::from_utf8(piece).unwrap();
            chunked += &format!("{:x}\r\n{piece}\r\n", piece.len());
        }
        site.client.send(format!(
            "PUT /b.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}0\r\n\r\n"
        ));
        site.run_jobs();
        assert_eq!(site.replies(&["PUT"])[0].status, 201);
        assert!(fs::read(site.path().join("b.txt")).unwrap() == body.as_bytes());
        assert_eq!(names(&site), ["a.txt", "b.txt"]);
    }
}

#[test]
fn a_body_that_breaks_off_leaves_what_was_there() {
    let mut site = Site::new(writable(), &[("a.txt", "before")]);
    site.client.send(format!(
        "PUT /a.txt HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n{}",
        "x".repeat(900_000)
    ));
    site.run_jobs();
    assert_eq!(names(&site).len(), 2, "it is staged");
    assert_eq!(fs::read(site.path().join("a.txt")).unwrap(), b"before");
    site.client.reset();
    assert_eq!(names(&site), ["a.txt"]);
    assert_eq!(fs::read(site.path().join("a.txt")).unwrap(), b"before");
}

#[test]
fn who_leaves_before_there_is_a_place_leaves_nothing() {
    let mut site = Site::new(writable(), &[]);
    site.ask("PUT", "/a.txt", "", "hello");
    site.client.reset();
    site.run_jobs();
    assert!(names(&site).is_empty());
}

#[test]
fn a_body_that_is_too_long_is_refused() {
    let mut bounded = writable();
    bounded.max_upload = Some(10);
    let mut site = Site::new(bounded.clone(), &[]);
    let reply = site.request("PUT", "/a.txt", "", "eleven byte");
    assert_eq!(reply.status, 413);
    let mut site = Site::new(bounded.clone(), &[]);
    assert_eq!(site.request("PUT", "/a.txt", "", "ten bytes.").status, 201);
    let mut site = Site::new(bounded, &[]);
    site.client.send(
        "PUT /a.txt HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
         8\r\n01234567\r\n8\r\n01234567\r\n0\r\n\r\n",
    );
    site.run_jobs();
    assert_eq!(site.replies(&["PUT"])[0].status, 413);
    assert!(names(&site).is_empty());
}

#[test]
fn more_than_the_quota_is_refused() {
    let limited = |path: &std::path::Path| Root::new(path).unwrap().limited(20).unwrap();
    let mut site = Site::with(writable(), &[], limited);
    assert_eq!(site.request("PUT", "/old.txt", "", "fifteen octets.").status, 201);
    assert_eq!(site.request("PUT", "/a.txt", "", "six...").status, 507);
    assert_eq!(names(&site), ["old.txt"]);
    assert_eq!(site.request("PUT", "/old.txt", "", "no more than twenty.").status, 204);
    assert_eq!(site.request("DELETE", "/old.txt", "", "").status, 204);
    assert_eq!(site.request("PUT", "/a.txt", "", "six...").status, 201);
}

#[test]
fn more_than_the_disk_holds_is_refused_before_it_is_sent() {
    let mut unbounded = writable();
    unbounded.max_upload = None;
    let mut site = Site::new(unbounded, &[("a.txt", "before")]);
    let total = Root::new(site.path()).unwrap().space("").unwrap().total;
    site.client.send(format!(
        "PUT /a.txt HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        total * 2
    ));
    site.run_jobs();
    assert_eq!(site.replies(&["PUT"])[0].status, 507);
    assert_eq!(names(&site), ["a.txt"]);
}

#[test]
fn who_expects_to_be_asked_is_asked_when_there_is_a_place() {
    let mut site = Site::new(writable(), &[]);
    site.client.send(
        "PUT /a.txt HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    assert!(site.output().is_empty());
    site.run_jobs();
    assert_eq!(site.output(), b"HTTP/1.1 100 Continue\r\n\r\n");
    site.client.send("hello");
    site.run_jobs();
    assert_eq!(site.replies(&["PUT"])[0].status, 201);
    site.client.send(
        "PUT /none/a.txt HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    site.run_jobs();
    assert_eq!(site.replies(&["PUT"])[0].status, 409);
}

/// What a request changes is seen by those behind it, though they come in one segment.
#[test]
fn pipelined_changes_are_seen_in_their_order() {
    let mut site = Site::new(writable(), &[("old", "to be deleted")]);
    let put = "PUT /new HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello\n";
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    let delete = "DELETE /old HTTP/1.1\r\nHost: a\r\n\r\n";
    site.client.send(format!("{put}{}{delete}{}", get("/new"), get("/old")));
    site.run_jobs();
    let text = String::from_utf8(site.output()).unwrap();
    let statuses: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")).map(|l| &l[..3]).collect();
    assert_eq!(statuses, ["201", "200", "204", "404"]);
}

#[test]
fn what_was_written_is_there_for_every_shard_at_once() {
    let mut writable = StaticOptions::default();
    writable.writable = true;
    let mut site = Site::new(writable, &[("a.txt", "one")]);
    // As another shard has it: with a cache of its own.
    let mut other = site.beside(StaticOptions::default());
    assert_eq!(other.get("/a.txt", "").body, b"one");
    assert_eq!(site.request("PUT", "/a.txt", "", "two").status, 204);
    assert_eq!(other.get("/a.txt", "").body, b"two");
    assert_eq!(site.request("DELETE", "/a.txt", "", "").status, 204);
    assert_eq!(other.get("/a.txt", "").status, 404);
}
