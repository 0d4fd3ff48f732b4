//! Content codings: what is compressed in advance or on the fly, and for whom.

use std::fs;
use std::io::Read as _;
use std::time::Duration;

use flate2::read::GzDecoder;
use medusa_http::StaticOptions;

use crate::support::{MODIFIED, MODIFIED_DATE, Site};

fn options() -> StaticOptions {
    StaticOptions::default()
}

#[test]
fn what_compresses_well_is_compressed_for_those_who_take_it() {
    let mut gzip = options();
    gzip.gzip = true;
    let text = "all work and no play ".repeat(20_000);
    let files = [("a.txt", &text[..]), ("short.txt", "short"), ("b.png", &text[..])];
    for small in [0, 1 << 20] {
        gzip.cache.small = small;
        let mut site = Site::new(gzip.clone(), &files);
        for _ in 0..2 {
            let reply = site.get("/a.txt", "Accept-Encoding: gzip\r\n");
            assert_eq!(reply.status, 200);
            assert_eq!(reply.field("content-encoding"), Some("gzip"));
            assert_eq!(reply.field("vary"), Some("Accept-Encoding"));
            assert_eq!(reply.field("content-type"), Some("text/plain; charset=utf-8"));
            assert_eq!(reply.field("accept-ranges"), None);
            let mut plain = String::new();
            GzDecoder::new(&reply.body[..]).read_to_string(&mut plain).unwrap();
            assert!(plain == text && reply.body.len() < text.len() / 10);
            let tag = reply.field("etag").unwrap().to_owned();
            assert!(tag.starts_with("W/\"") && tag.ends_with("-gz\""));
            let again = format!("Accept-Encoding: gzip\r\nIf-None-Match: {tag}\r\n");
            assert_eq!(site.get("/a.txt", &again).status, 304);
            assert_eq!(site.get("/a.txt", &format!("If-None-Match: {tag}\r\n")).status, 200);
            // Who goes on with a file gets it as it is.
            let part = site.get("/a.txt", "Accept-Encoding: gzip\r\nRange: bytes=0-2\r\n");
            assert_eq!((part.status, part.field("content-encoding")), (206, None));
            assert_eq!(part.body, b"all");
            let part = format!("Accept-Encoding: gzip\r\nRange: bytes=0-2\r\nIf-Range: {tag}\r\n");
            assert_eq!(site.get("/a.txt", &part).status, 200);
        }
        for (path, accept) in
            [("/a.txt", ""), ("/a.txt", "gzip;q=0"), ("/short.txt", "gzip"), ("/b.png", "gzip")]
        {
            let reply = site.get(path, &format!("Accept-Encoding: {accept}\r\n"));
            assert_eq!(reply.field("content-encoding"), None, "{path} {accept}");
        }
        let head = site.request("HEAD", "/a.txt", "Accept-Encoding: gzip\r\n", "");
        assert_eq!((head.status, head.field("content-encoding")), (200, Some("gzip")));
        assert_eq!((head.field("content-length"), head.body.len()), (None, 0));
        assert_eq!(site.get("/b.png", "").field("vary"), None);
    }
}

#[test]
fn what_was_compressed_in_advance_is_sent_while_it_is_fresh() {
    let files =
        [("a.txt", "plain"), ("a.txt.gz", "gzipped"), ("a.txt.br", "brotli"), ("b.png", "p")];
    let mut site = Site::new(options(), &files);
    fs::write(site.path().join("b.png.gz"), "x").unwrap();
    let table = [
        ("gzip, br", Some("br"), "brotli"),
        ("gzip", Some("gzip"), "gzipped"),
        ("br;q=0.5, gzip", Some("gzip"), "gzipped"),
        ("identity", None, "plain"),
        ("deflate", None, "plain"),
    ];
    for (accept, coding, body) in table {
        let reply = site.get("/a.txt", &format!("Accept-Encoding: {accept}\r\n"));
        assert_eq!(reply.field("content-encoding"), coding, "{accept}");
        assert_eq!(String::from_utf8_lossy(&reply.body), body);
        assert_eq!(reply.field("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(reply.field("last-modified"), Some(MODIFIED_DATE));
        let part = format!("Accept-Encoding: {accept}\r\nRange: bytes=1-2\r\n");
        let part = site.get("/a.txt", &part);
        assert_eq!((part.status, &part.body[..]), (206, &body.as_bytes()[1..3]));
        assert_eq!(part.field("etag"), reply.field("etag"));
    }
    let png = site.get("/b.png", "Accept-Encoding: gzip\r\n");
    assert_eq!((png.field("content-encoding"), &png.body[..]), (None, &b"p"[..]));
    assert_eq!(site.get("/a.txt.gz", "").field("content-type"), Some("application/gzip"));
    // One that is older than the file is another version's.
    site.write("a.txt", "plain, but new", MODIFIED + 10);
    site.client.advance(Duration::from_secs(1));
    let reply = site.get("/a.txt", "Accept-Encoding: gzip, br\r\n");
    assert_eq!((reply.field("content-encoding"), &reply.body[..]), (None, &b"plain, but new"[..]));
    site.write("a.txt.br", "brotli, new", MODIFIED + 10);
    site.client.advance(Duration::from_secs(1));
    assert_eq!(site.get("/a.txt", "Accept-Encoding: gzip, br\r\n").body, b"brotli, new");
    fs::remove_file(site.path().join("a.txt.br")).unwrap();
    site.client.advance(Duration::from_secs(1));
    assert_eq!(site.get("/a.txt", "Accept-Encoding: gzip, br\r\n").body, b"plain, but new");
}
