//! GET and HEAD: names, conditions and ranges.

use std::fs;

use medusa_http::StaticOptions;
use proptest::prelude::*;

use crate::support::{MODIFIED_DATE, Reply, Site};

fn options() -> StaticOptions {
    StaticOptions::default()
}

#[test]
fn a_file_is_sent_with_all_that_is_known_of_it() {
    let mut site = Site::new(options(), &[("a/note.txt", "hello")]);
    for _ in 0..3 {
        let reply = site.get("/a/note.txt", "");
        assert_eq!((reply.status, &reply.body[..]), (200, &b"hello"[..]));
        assert_eq!(reply.field("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(reply.field("content-length"), Some("5"));
        assert_eq!(reply.field("last-modified"), Some(MODIFIED_DATE));
        assert_eq!(reply.field("accept-ranges"), Some("bytes"));
        assert_eq!(reply.field("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.field("vary"), Some("Accept-Encoding"));
        assert_eq!(reply.field("cache-control"), None);
        let tag = reply.field("etag").unwrap();
        assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 10, "{tag}");
    }
    let head = site.request("HEAD", "/a/note.txt", "", "");
    assert_eq!((head.status, head.field("content-length"), head.body.len()), (200, Some("5"), 0));
}

#[test]
fn what_is_not_there_is_not_there() {
    let files =
        [("a/b.txt", "x"), (".secret", "x"), ("a/.git/config", "x"), (".well-known/x", "y")];
    let mut site = Site::new(options(), &files);
    std::os::unix::fs::symlink("/etc/passwd", site.path().join("out")).unwrap();
    std::os::unix::fs::symlink("a/b.txt", site.path().join("in.txt")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, site.path().join("fifo"), fifo, mode, 0).unwrap();
    let long = format!("/{}", "x".repeat(300));
    let table = [
        ("/a/b.txt", 200),
        ("/a//b.txt", 200),
        ("/a/./b.txt", 200),
        ("/%61/b%2Etxt", 200),
        ("/x/../a/b.txt", 200),
        ("/in.txt", 200),
        ("/.well-known/x", 200),
        ("/nothing", 404),
        ("/a/b.txt/", 404),
        ("/a/b.txt/c", 404),
        ("/A/b.txt", 404),
        ("/.secret", 404),
        ("/a/.git/config", 404),
        ("/out", 404),
        ("/fifo", 403),
        ("/../etc/passwd", 400),
        ("/%2e%2e/etc/passwd", 400),
        ("/a/%2e%2e/%2e%2e/etc/passwd", 400),
        ("/a/b.txt%00", 400),
        ("/%", 400),
        (&long, 404),
    ];
    for (path, status) in table {
        for _ in 0..2 {
            assert_eq!(site.get(path, "").status, status, "{path}");
        }
    }
    for (method, status) in
        [("POST", 405), ("PUT", 405), ("DELETE", 405), ("OPTIONS", 204), ("BREW", 501)]
    {
        let reply = site.request(method, "/a/b.txt", "", "");
        assert_eq!(reply.status, status, "{method}");
        let allow = (status != 501).then_some("GET, HEAD, OPTIONS");
        assert_eq!(reply.field("allow"), allow);
    }
    let mut hidden = options();
    hidden.hidden = true;
    let mut site = Site::new(hidden, &files);
    assert_eq!(site.get("/.secret", "").status, 200);
}

#[test]
fn a_folder_is_its_index_or_a_list_or_nothing() {
    let files = [
        ("with/index.html", "<p>"),
        ("second/index.htm", "<b>"),
        ("list/b & <i>.txt", "x"),
        ("list/.hidden", "x"),
        ("list/sub/x", "x"),
    ];
    let mut listing = options();
    listing.listing = true;
    listing.index = vec!["index.html".into(), "index.htm".into()];
    let mut site = Site::new(listing, &files);
    let index = site.get("/with/", "");
    assert_eq!((index.status, &index.body[..]), (200, &b"<p>"[..]));
    assert_eq!(index.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(site.get("/second/", "").body, b"<b>");
    for (path, location) in [
        ("/with", "/with/"),
        ("/with?a=1&b=%20", "/with/?a=1&b=%20"),
        ("/list/sub", "/list/sub/"),
        ("//list//sub", "/list/sub/"),
    ] {
        let reply = site.get(path, "");
        assert_eq!((reply.status, reply.field("location")), (301, Some(location)), "{path}");
    }
    let page = site.get("/list/", "");
    assert_eq!(page.status, 200);
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert!(page.field("content-security-policy").unwrap().contains("default-src 'none'"));
    let text = String::from_utf8(page.body).unwrap();
    assert!(text.contains("<a href=\"./b%20%26%20%3Ci%3E.txt\">b &amp; &lt;i&gt;.txt</a>"));
    assert!(text.contains("<a href=\"./sub/\">sub/</a>"));
    assert!(!text.contains("hidden") && text.contains("href=\"../\""));
    assert_eq!(site.request("HEAD", "/list/", "", "").body, b"");
    assert_eq!(site.get("/none/", "").status, 404);

    let mut site = Site::new(options(), &files);
    assert_eq!(site.get("/list/", "").status, 404);
    assert_eq!(site.get("/second/", "").status, 404);
}

#[test]
fn a_redirect_leads_nowhere_else() {
    let mut site = Site::new(options(), &[]);
    for name in ["evil.test", "\\evil.test", "a\r\nSet-Cookie: x", "\u{e9}?#%"] {
        fs::create_dir(site.path().join(name)).unwrap();
    }
    for (path, location) in [
        ("//evil.test", "/evil.test/"),
        ("/\\evil.test", "/%5Cevil.test/"),
        ("/%5Cevil.test", "/%5Cevil.test/"),
        ("/a%0D%0ASet-Cookie:%20x", "/a%0D%0ASet-Cookie%3A%20x/"),
        ("/%C3%A9%3F%23%25", "/%C3%A9%3F%23%25/"),
    ] {
        let reply = site.get(path, "");
        assert_eq!((reply.status, reply.field("location")), (301, Some(location)), "{path}");
    }
}

#[test]
fn conditions_are_judged() {
    let mut site = Site::new(options(), &[("a.txt", "hello")]);
    let tag = site.get("/a.txt", "").field("etag").unwrap().to_owned();
    let earlier = "Sun, 06 Nov 1994 08:49:36 GMT";
    let table = [
        (format!("If-None-Match: {tag}"), 304),
        (format!("If-None-Match: W/{tag}"), 304),
        (format!("If-None-Match: \"x\", {tag}"), 304),
        (format!("If-None-Match: \"x\"\r\nIf-None-Match: {tag}"), 304),
        ("If-None-Match: *".into(), 304),
        ("If-None-Match: \"x\"".into(), 200),
        (format!("If-None-Match: \"x\"\r\nIf-Modified-Since: {MODIFIED_DATE}"), 200),
        (format!("If-Modified-Since: {MODIFIED_DATE}"), 304),
        (format!("If-Modified-Since: {earlier}"), 200),
        ("If-Modified-Since: x".into(), 200),
        (format!("If-Match: {tag}"), 200),
        ("If-Match: *".into(), 200),
        ("If-Match: \"x\"".into(), 412),
        (format!("If-Match: W/{tag}"), 412),
        (format!("If-Unmodified-Since: {MODIFIED_DATE}"), 200),
        (format!("If-Unmodified-Since: {earlier}"), 412),
        (format!("If-Match: \"x\"\r\nIf-None-Match: {tag}"), 412),
    ];
    for (fields, status) in table {
        for method in ["GET", "HEAD"] {
            let reply = site.request(method, "/a.txt", &format!("{fields}\r\n"), "");
            assert_eq!(reply.status, status, "{method} {fields}");
            if status == 304 {
                assert_eq!(reply.field("etag"), Some(&tag[..]));
                assert_eq!(reply.field("vary"), Some("Accept-Encoding"));
                assert_eq!(reply.field("content-type"), None);
                assert_eq!(reply.field("content-length"), None);
                assert!(reply.body.is_empty());
            }
        }
    }
}

#[test]
fn ranges_are_cut() {
    let mut site = Site::new(options(), &[("a.txt", "0123456789")]);
    let tag = site.get("/a.txt", "").field("etag").unwrap().to_owned();
    let table: &[(&str, String, u16, Option<&str>, &str)] = &[
        ("bytes=2-4", String::new(), 206, Some("bytes 2-4/10"), "234"),
        ("bytes=-3", String::new(), 206, Some("bytes 7-9/10"), "789"),
        ("bytes=7-", String::new(), 206, Some("bytes 7-9/10"), "789"),
        ("bytes=0-99", String::new(), 206, Some("bytes 0-9/10"), "0123456789"),
        ("bytes=0-1,3-4", String::new(), 206, Some("bytes 0-4/10"), "01234"),
        ("bytes=10-", String::new(), 416, Some("bytes */10"), ""),
        ("bytes=4-2", String::new(), 200, None, "0123456789"),
        ("lines=1-2", String::new(), 200, None, "0123456789"),
        ("bytes=2-4", format!("If-Range: {tag}\r\n"), 206, Some("bytes 2-4/10"), "234"),
        ("bytes=2-4", format!("If-Range: W/{tag}\r\n"), 200, None, "0123456789"),
        ("bytes=2-4", "If-Range: \"x\"\r\n".into(), 200, None, "0123456789"),
        ("bytes=10-", "If-Range: \"x\"\r\n".into(), 200, None, "0123456789"),
        // Another version may be of the same second.
        ("bytes=2-4", format!("If-Range: {MODIFIED_DATE}\r\n"), 200, None, "0123456789"),
        ("bytes=2-4", format!("If-Range: {tag}\r\nIf-Range: {tag}\r\n"), 200, None, "0123456789"),
        // Two dates are none (RFC 9110 §13.1.3).
        (
            "bytes=2-4",
            format!("If-Modified-Since: {MODIFIED_DATE}\r\n").repeat(2),
            206,
            Some("bytes 2-4/10"),
            "234",
        ),
        ("bytes=2-4", format!("If-None-Match: {tag}\r\n"), 304, None, ""),
        ("bytes=2-4", "If-Match: \"x\"\r\n".into(), 412, None, ""),
    ];
    for (range, fields, status, content_range, body) in table {
        let fields = format!("Range: {range}\r\n{fields}");
        let reply = site.get("/a.txt", &fields);
        assert_eq!(reply.status, *status, "{fields}");
        assert_eq!(reply.field("content-range"), *content_range, "{fields}");
        if matches!(status, 200 | 206) {
            assert_eq!(String::from_utf8_lossy(&reply.body), *body, "{fields}");
            assert_eq!(reply.field("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(reply.field("etag"), Some(&tag[..]));
        }
        // Range is GET's alone.
        let head = site.request("HEAD", "/a.txt", &fields, "");
        assert_eq!(head.field("content-range"), None);
        assert!(matches!(head.status, 200 | 304 | 412));
    }
}

/// Each part of a multipart/byteranges body: the range it says it is, and its bytes.
fn parts(reply: &Reply, media_type: &str, len: usize) -> Vec<(usize, Vec<u8>)> {
    let boundary = reply.field("content-type").unwrap();
    let boundary = boundary.strip_prefix("multipart/byteranges; boundary=").unwrap();
    assert_eq!(reply.field("content-length").unwrap(), reply.body.len().to_string());
    let mut parts = Vec::new();
    let mut rest = &reply.body[..];
    let first = format!("--{boundary}\r\n");
    let next = format!("\r\n--{boundary}");
    rest = rest.strip_prefix(first.as_bytes()).unwrap();
    loop {
        let head = format!("Content-Type: {media_type}\r\nContent-Range: bytes ");
        rest = rest.strip_prefix(head.as_bytes()).unwrap();
        let end = memchr::memmem::find(rest, b"\r\n\r\n").unwrap();
        let range = std::str::from_utf8(&rest[..end]).unwrap();
        let (range, total) = range.split_once('/').unwrap();
        assert_eq!(total, len.to_string());
        let (start, last) = range.split_once('-').unwrap();
        let (start, last): (usize, usize) = (start.parse().unwrap(), last.parse().unwrap());
        let body = &rest[end + 4..][..last - start + 1];
        parts.push((start, body.to_vec()));
        rest = rest[end + 4 + body.len()..].strip_prefix(next.as_bytes()).unwrap();
        if rest == b"--\r\n" {
            return parts;
        }
        rest = rest.strip_prefix(b"\r\n").unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever is asked of whatever file, kept as bytes or as a descriptor, is the same as slices.
    #[test]
    fn any_set_of_ranges_is_the_slices(
        len in 1usize..3000,
        picks in proptest::collection::vec((0usize..3000, 0usize..400), 1..8),
        small in prop_oneof![Just(0u64), Just(1 << 16)],
    ) {
        let content: Vec<u8> = (0..len).map(|at| (at * 7 + at / 251) as u8).collect();
        let mut limits = options();
        limits.cache.small = small;
        let mut site = Site::new(limits, &[]);
        fs::write(site.path().join("data.bin"), &content).unwrap();
        let specs: Vec<String> =
            picks.iter().map(|(first, more)| format!("{first}-{}", first + more)).collect();
        let reply = site.get("/data.bin", &format!("Range: bytes={}\r\n", specs.join(", ")));
        let mut wanted = vec![false; len];
        for &(first, more) in &picks {
            let end = (first + more + 1).min(len);
            wanted[first.min(end)..end].fill(true);
        }
        let mut sent = vec![false; len];
        let parts = match reply.status {
            416 => {
                prop_assert!(!wanted.contains(&true));
                return Ok(());
            }
            206 if reply.field("content-range").is_some() => {
                let range = reply.field("content-range").unwrap();
                let start = range["bytes ".len()..].split('-').next().unwrap();
                vec![(start.parse().unwrap(), reply.body)]
            }
            206 => parts(&reply, "application/octet-stream", len),
            other => panic!("{other}"),
        };
        for (start, body) in parts {
            prop_assert_eq!(&body[..], &content[start..start + body.len()]);
            let sent = &mut sent[start..start + body.len()];
            prop_assert!(!sent.contains(&true), "no byte comes twice");
            sent.fill(true);
        }
        for at in 0..len {
            prop_assert!(sent[at] || !wanted[at], "byte {} is missing", at);
        }
    }
}

#[test]
fn cache_control_is_said_and_repeated() {
    let mut cached = options();
    cached.cache_control = Some(http::HeaderValue::from_static("public, max-age=60"));
    let mut site = Site::new(cached, &[("a.txt", "hello")]);
    let reply = site.get("/a.txt", "");
    assert_eq!(reply.field("cache-control"), Some("public, max-age=60"));
    let again = site.get("/a.txt", "If-None-Match: *\r\n");
    assert_eq!((again.status, again.field("cache-control")), (304, Some("public, max-age=60")));
}

#[test]
fn a_date_that_is_still_to_come_is_not_told() {
    let mut site = Site::new(StaticOptions::default(), &[]);
    // The year 2100.
    site.write("a.txt", "0123456789", 4_102_444_800);
    for fields in ["", "Range: bytes=0-1\r\n", "Range: bytes=0-0,9-9\r\n"] {
        let reply = site.get("/a.txt", fields);
        assert!(matches!(reply.status, 200 | 206) && reply.field("etag").is_some());
        assert_eq!(reply.field("last-modified"), None, "{fields}");
    }
}
