//! HTTP with curl: what a real client asks for and makes of the answers.

use medusa_tests::{Answer, Server, Site, curl};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

const SITE: &str = "\
[http.site]
listen = [\"127.0.0.1:0\", \"unix:medusa.sock\"]
root = \"public\"
listing = true
gzip = true
";

/// A site with files, served, and what curl gets from it; `None` where there is no curl.
fn served() -> (Site, Server) {
    let site = Site::new(SITE);
    site.write("public/index.html", "<!doctype html><title>Home</title>");
    site.write("public/hello.txt", "Hello, world!");
    site.write("public/long.txt", "All work and no play makes Jack a dull boy.\n".repeat(4000));
    site.write("public/large.bin", large());
    site.write("public/folder/one.txt", "1");
    site.write("public/folder/a & <b>.txt", "2");
    site.write("public/zipped.txt", "not compressed");
    site.write("secret.txt", "secret");
    let server = site.serve(MEDUSA);
    (site, server)
}

/// Three megabytes in which every place looks different.
fn large() -> Vec<u8> {
    (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn get(server: &Server, path: &str, options: &[&str]) -> Option<Answer> {
    let url = server.url(path);
    let mut arguments = options.to_vec();
    arguments.push(&url);
    curl(&arguments)
}

#[test]
fn files_folders_and_what_is_not_there() {
    let (_site, server) = served();
    let Some(answer) = get(&server, "/hello.txt", &[]) else { return };
    assert_eq!((answer.status, answer.text()), (200, "Hello, world!"));
    assert!(
        answer.field("content-type").is_some_and(|kind| kind.starts_with("text/plain")),
        "{answer:?}"
    );
    assert!(
        answer.field("date").is_some() && answer.field("last-modified").is_some(),
        "{answer:?}"
    );

    let home = get(&server, "/", &[]).expect("curl");
    assert!(home.text().contains("Home"), "{home:?}");
    let missing = get(&server, "/none", &[]).expect("curl");
    assert_eq!(missing.status, 404);

    let moved = get(&server, "/folder", &[]).expect("curl");
    assert!(matches!(moved.status, 301 | 308), "{moved:?}");
    let followed = get(&server, "/folder", &["--location"]).expect("curl");
    assert_eq!(followed.status, 200);
    assert!(
        followed.text().contains("one.txt") && followed.text().contains("a &amp; &lt;b&gt;.txt"),
        "{followed:?}"
    );
    let escaped = get(&server, "/folder/a%20%26%20%3Cb%3E.txt", &[]).expect("curl");
    assert_eq!((escaped.status, escaped.text()), (200, "2"));
    server.end();
}

#[test]
fn nothing_outside_of_the_root() {
    let (site, server) = served();
    std::os::unix::fs::symlink(site.path("secret.txt"), site.path("public/link.txt"))
        .expect("a link");
    for path in [
        "/../secret.txt",
        "/folder/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/link.txt",
        "//secret.txt",
        "/hello.txt/../../secret.txt",
        "/hello.txt%00.html",
    ] {
        let Some(answer) = get(&server, path, &["--path-as-is"]) else { return };
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        assert!(
            !answer.text().contains("secret\n") && answer.text() != "secret",
            "{path}: {answer:?}"
        );
    }
    server.end();
}

#[test]
fn heads_ranges_and_conditions() {
    let (_site, server) = served();
    let Some(head) = get(&server, "/hello.txt", &["--head"]) else { return };
    assert_eq!((head.status, head.field("content-length"), head.exit), (200, Some("13"), 0));
    let etag = head.field("etag").expect("an ETag").to_owned();
    let modified = head.field("last-modified").expect("a date").to_owned();

    let same =
        get(&server, "/hello.txt", &["--header", &format!("If-None-Match: {etag}")]).expect("curl");
    assert_eq!((same.status, same.text()), (304, ""));
    let same = get(&server, "/hello.txt", &["--header", &format!("If-Modified-Since: {modified}")])
        .expect("curl");
    assert_eq!(same.status, 304);
    let other = get(&server, "/hello.txt", &["--header", "If-Match: \"other\""]).expect("curl");
    assert_eq!(other.status, 412);

    for (range, status, body, content_range) in [
        ("0-4", 206, "Hello", Some("bytes 0-4/13")),
        ("7-", 206, "world!", Some("bytes 7-12/13")),
        ("-6", 206, "world!", Some("bytes 7-12/13")),
        ("99-", 416, "", Some("bytes */13")),
    ] {
        let answer = get(&server, "/hello.txt", &["--range", range]).expect("curl");
        assert_eq!(
            (answer.status, answer.field("content-range")),
            (status, content_range),
            "{range}"
        );
        assert!(status != 206 || answer.text() == body, "{range}: {answer:?}");
    }
    let both = get(&server, "/long.txt", &["--range", "0-2,100000-100010"]).expect("curl");
    assert!(
        both.field("content-type").is_some_and(|kind| kind.starts_with("multipart/byteranges")),
        "{both:?}"
    );
    server.end();
}

#[test]
fn large_files_come_whole_over_every_way() {
    let (_site, server) = served();
    let Some(answer) = get(&server, "/large.bin", &[]) else { return };
    assert!(answer.body == large(), "{} octets came, or not the right ones", answer.body.len());
    let slow = get(&server, "/large.bin", &["--limit-rate", "3M"]).expect("curl");
    assert!(slow.body == large(), "{} octets came, or not the right ones", slow.body.len());
    let resumed = get(&server, "/large.bin", &["--continue-at", "2999990"]).expect("curl");
    assert_eq!((resumed.status, &resumed.body[..]), (206, &large()[2_999_990..]));
    let old = get(&server, "/large.bin", &["--http1.0"]).expect("curl");
    assert!(old.body == large(), "{} octets came, or not the right ones", old.body.len());
    server.end();
}

#[test]
fn texts_are_compressed_for_who_asks() {
    let (_site, server) = served();
    let long = "All work and no play makes Jack a dull boy.\n".repeat(4000);
    let Some(answer) = get(&server, "/long.txt", &["--compressed"]) else { return };
    assert_eq!((answer.status, answer.field("content-encoding")), (200, Some("gzip")));
    assert!(
        answer.field("vary").is_some_and(|vary| vary.eq_ignore_ascii_case("accept-encoding")),
        "{answer:?}"
    );
    assert!(answer.text() == long, "{} octets came out of it", answer.body.len());
    let raw = get(&server, "/long.txt", &["--header", "Accept-Encoding: gzip"]).expect("curl");
    assert!(raw.body.len() < long.len() / 20, "{} octets", raw.body.len());
    let plain = get(&server, "/long.txt", &[]).expect("curl");
    assert_eq!(plain.field("content-encoding"), None);
    assert!(plain.text() == long);
    let old = get(&server, "/long.txt", &["--compressed", "--http1.0"]).expect("curl");
    assert!(old.text() == long, "{} octets", old.body.len());
    server.end();
}

#[test]
fn one_connection_carries_many_requests() {
    let (_site, server) = served();
    let urls: Vec<String> =
        ["/hello.txt", "/none", "/", "/long.txt"].iter().map(|path| server.url(path)).collect();
    let mut arguments =
        vec!["--write-out", "%{num_connects} %{http_code}\n", "--output", "/dev/null"];
    for (index, url) in urls.iter().enumerate() {
        if index > 0 {
            arguments.extend(["--output", "/dev/null"]);
        }
        arguments.push(url);
    }
    let Some(answer) = curl(&arguments) else { return };
    assert_eq!(answer.text(), "1 200\n0 404\n0 200\n0 200\n");
    server.end();
}

#[test]
fn what_is_not_allowed_is_refused_and_the_connection_lives_or_ends_well() {
    let (site, server) = served();
    let upload = site.path("public/large.bin");
    let upload = upload.to_str().expect("a path");
    let Some(answer) = get(&server, "/new.txt", &["--upload-file", upload]) else { return };
    assert_eq!(answer.status, 405, "{answer:?}");
    assert!(answer.field("allow").is_some_and(|allow| allow.contains("GET")), "{answer:?}");
    let post = get(&server, "/hello.txt", &["--data", "a=b"]).expect("curl");
    assert_eq!(post.status, 405);
    let options = get(&server, "/hello.txt", &["--request", "OPTIONS"]).expect("curl");
    assert!(options.status == 204 || options.status == 200, "{options:?}");
    assert!(options.field("allow").is_some_and(|allow| allow.contains("HEAD")), "{options:?}");
    assert!(!site.path("public/new.txt").exists());
    server.end();
}

#[test]
fn a_unix_socket_is_served_like_a_port() {
    let (site, server) = served();
    let socket = site.path("medusa.sock");
    let socket = socket.to_str().expect("a path");
    let Some(answer) = curl(&["--unix-socket", socket, "http://localhost/hello.txt"]) else {
        return;
    };
    assert_eq!((answer.status, answer.text()), (200, "Hello, world!"));
    server.end();
}
