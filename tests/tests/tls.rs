//! TLS with openssl and curl: what is spoken and what is not, names, resumption, new certificates,
//! client certificates, and peers that aren't up to any good.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Output, Stdio};

use medusa_tests::{Authority, Server, Signal, Site, curl, openssl, require, until};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

const SITE: &str = "\
[tls]
certificate = \"www.pem\"
key = \"www.key\"

[[tls.name]]
host = \"other.example.test\"
certificate = \"other.pem\"
key = \"other.key\"

[limits]
handshake = \"300ms\"

[http.site]
listen = [\"127.0.0.1:0\"]
tls_listen = [\"127.0.0.1:0\"]
root = \"public\"
";

/// A folder with certificates for two names.
fn site() -> (Site, Authority) {
    let site = Site::new(SITE);
    site.write("public/hello.txt", "Hello, world!");
    let authority = Authority::new(&site, "ca");
    authority.sign(&site, "www", &["www.example.test"]);
    authority.sign(&site, "other", &["other.example.test"]);
    (site, authority)
}

/// A server whose log goes to the file `log`.
fn served(site: &Site) -> Server {
    let mut command = site.command(MEDUSA, &["serve", "medusa.toml"]);
    command.stderr(std::fs::File::create(site.path("log")).expect("a file"));
    Server::start(command)
}

/// What `openssl s_client` says of a connection with these options.
fn s_client(server: &Server, options: &[&str], input: &str) -> Option<String> {
    let address = server.secured_address("http.site").to_string();
    let arguments = [&["s_client", "-connect", &address], options].concat();
    openssl(&arguments, input)
}

fn run(site: &Site, arguments: &[&str]) -> Output {
    site.command(MEDUSA, arguments).output().expect("it runs")
}

fn told(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

/// The facts that testssl.sh and its like look for.
#[test]
fn protocols_ciphers_and_groups_are_those_that_are_sound() {
    let (site, _) = site();
    let server = served(&site);
    let any = ["-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"];
    for (options, agreed) in [
        // RFC 8996: these are not to be used.
        (&["-tls1"][..], None),
        (&["-tls1_1"], None),
        (&["-tls1_2"], Some("New, TLSv1.2, Cipher is ECDHE-ECDSA-")),
        (&["-tls1_3"], Some("New, TLSv1.3, Cipher is TLS_")),
        // No forward secrecy, no authenticated encryption, no authentication, no encryption.
        (&["-tls1_2", "-cipher", "kRSA:@SECLEVEL=0"], None),
        (&["-tls1_2", "-cipher", "SHA1:SHA256:SHA384:@SECLEVEL=0"], None),
        (&["-tls1_2", "-cipher", "aNULL:eNULL:@SECLEVEL=0"], None),
        (&["-tls1_2", "-cipher", "DHE:@SECLEVEL=0"], None),
        (&["-tls1_2", "-cipher", "3DES:RC4:DES:EXPORT:CAMELLIA:ARIA:@SECLEVEL=0"], None),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256"], Some("AES128-GCM")),
        (&["-tls1_2", "-cipher", "ECDHE-ECDSA-CHACHA20-POLY1305"], Some("CHACHA20")),
        (&["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"], None),
        (&["-groups", "X25519"], Some("TLSv1.3")),
        (&["-groups", "P-256"], Some("TLSv1.3")),
        (&["-groups", "P-384"], Some("TLSv1.3")),
        (&["-groups", "ffdhe2048"], None),
    ] {
        let options = match options.contains(&"-cipher") {
            true => options.to_vec(),
            false => [options, &any].concat(),
        };
        let Some(said) = s_client(&server, &options, "") else { return };
        match agreed {
            Some(agreed) => assert!(said.contains(agreed), "{options:?}: {said}"),
            None => assert!(!said.contains("New, TLSv1"), "{options:?}: {said}"),
        }
        assert!(!said.contains("Compression: zlib"), "{said}");
    }
    server.end();
}

#[test]
fn nothing_is_compressed_and_nothing_renegotiated() {
    let (site, _) = site();
    let server = served(&site);
    let Some(said) = s_client(&server, &["-tls1_2", "-comp"], "") else { return };
    assert!(said.contains("Compression: NONE"), "{said}");
    // RFC 5746 is understood, so that nobody can splice a renegotiation in.
    assert!(said.contains("Secure Renegotiation IS supported"), "{said}");
    assert!(said.contains("Extended master secret: yes"), "{said}");
    let said = s_client(&server, &["-tls1_2"], "R\n").expect("openssl");
    assert!(said.contains("RENEGOTIATING") && said.contains("no renegotiation"), "{said}");
    let said = s_client(&server, &["-tls1_3"], "").expect("openssl");
    assert!(
        said.contains("Early data was not sent") && said.contains("Compression: NONE"),
        "{said}"
    );
    server.end();
}

#[test]
fn the_application_protocol_is_agreed_upon() {
    let (site, _) = site();
    let server = served(&site);
    let Some(said) = s_client(&server, &["-alpn", "h2,http/1.1"], "") else { return };
    assert!(said.contains("ALPN protocol: http/1.1"), "{said}");
    let said = s_client(&server, &[], "").expect("openssl");
    assert!(said.contains("No ALPN negotiated") && said.contains("New, TLSv1.3"), "{said}");
    // RFC 7301 §3.2.
    let said = s_client(&server, &["-alpn", "h2"], "").expect("openssl");
    assert!(said.contains("no application protocol"), "{said}");
    server.end();
}

#[test]
fn each_name_has_its_certificate() {
    let (site, _) = site();
    let server = served(&site);
    for (options, subject) in [
        (&["-servername", "www.example.test"][..], "CN = www"),
        (&["-servername", "other.example.test"], "CN = other"),
        (&["-servername", "OTHER.example.test"], "CN = other"),
        (&["-servername", "unknown.example.test"], "CN = www"),
        (&["-noservername"], "CN = www"),
    ] {
        let Some(said) = s_client(&server, options, "") else { return };
        let line = said.lines().find(|line| line.starts_with("subject=")).unwrap_or_default();
        // Newer versions leave the spaces out.
        assert_eq!(
            line.replace(' ', ""),
            format!("subject={}", subject.replace(' ', "")),
            "{options:?}"
        );
    }
    server.end();
}

#[test]
fn curl_believes_the_certificate_and_gets_the_file() {
    let (site, _) = site();
    let server = served(&site);
    let port = server.secured_address("http.site").port();
    let (authority, to) = (site.path("ca.pem"), format!("other.example.test:{port}:127.0.0.1"));
    let arguments = [
        "--cacert",
        authority.to_str().expect("a path"),
        "--resolve",
        &to,
        &format!("https://other.example.test:{port}/hello.txt"),
    ];
    let Some(answer) = curl(&arguments) else { return };
    assert_eq!((answer.status, answer.text(), answer.exit), (200, "Hello, world!", 0));
    // 35: the handshake failed; 56: the server went.
    let plain = curl(&[&format!("http://127.0.0.1:{port}/hello.txt")]).expect("curl");
    assert!(plain.status != 200 && plain.exit != 0, "{plain:?}");
    server.end();
}

#[test]
fn a_session_is_resumed() {
    let (site, _) = site();
    let server = served(&site);
    let ticket = site.path("ticket");
    let ticket = ticket.to_str().expect("a path");
    for version in ["-tls1_2", "-tls1_3"] {
        // Tickets come behind the handshake; who waits for an answer has them.
        let request = "GET /hello.txt HTTP/1.0\r\n\r\n";
        let options = [version, "-ign_eof", "-sess_out", ticket];
        let Some(said) = s_client(&server, &options, request) else { return };
        assert!(said.contains("Hello, world!"), "{said}");
        let said = s_client(&server, &[version, "-sess_in", ticket], "").expect("openssl");
        assert!(said.contains("Reused, TLSv1."), "{version}: {said}");
    }
    server.end();
}

#[test]
fn new_certificates_are_shown_and_connections_go_on() {
    if !require("openssl") {
        return;
    }
    let (site, authority) = site();
    let server = served(&site);
    let mut child = Command::new("openssl")
        .args(["s_client", "-quiet", "-connect", &server.secured_address("http.site").to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl runs");
    let mut to = child.stdin.take().expect("a pipe");
    let mut from = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut ask = || {
        to.write_all(b"GET /hello.txt HTTP/1.1\r\nHost: www.example.test\r\n\r\n").expect("asked");
        let mut line = String::new();
        while !line.contains("\r\n\r\n") {
            assert!(from.read_line(&mut line).expect("text") > 0, "it ended: {line:?}");
        }
        let mut body = [0; 13];
        from.read_exact(&mut body).expect("a body");
        assert_eq!(&body, b"Hello, world!");
    };
    ask();

    // A file that can't be used changes nothing, and is told.
    let old = site.read("www.key");
    site.write_private("www.key", "nothing");
    server.signal(Signal::HUP);
    until("a complaint", || site.read("log").contains("www.key holds no private key"));
    let said = s_client(&server, &[], "").expect("openssl");
    assert!(said.contains("New, TLSv1.3"), "{said}");
    site.write_private("www.key", old);

    authority.sign(&site, "renewed", &["www.example.test"]);
    site.write("www.pem", site.read("renewed.pem")).write("www.key", site.read("renewed.key"));
    server.signal(Signal::HUP);
    let renewed = |said: &str| said.contains("CN = renewed") || said.contains("CN=renewed");
    until("the new certificate", || renewed(&s_client(&server, &[], "").expect("openssl")));
    until("a line in the log", || site.read("log").contains("the certificates were read again"));
    ask();
    child.kill().expect("openssl runs still");
    child.wait().expect("openssl has ended");
    server.end();
}

#[test]
fn a_client_certificate_is_asked_for() {
    let (site, authority) = site();
    let wanted = "[http.site]\nclient_ca = \"ca.pem\"\nclient_certificate = \"require\"\n";
    site.write("medusa.toml", SITE.replace("[http.site]\n", wanted));
    authority.sign(&site, "alice", &[]);
    Authority::new(&site, "stranger").sign(&site, "mallory", &[]);
    let server = served(&site);
    let request = "GET /hello.txt HTTP/1.0\r\n\r\n";
    for (options, served) in [
        (&["-cert", "alice.pem", "-key", "alice.key"][..], true),
        (&["-cert", "mallory.pem", "-key", "mallory.key"], false),
        (&[], false),
    ] {
        let options: Vec<String> = options
            .iter()
            .map(|option| match option.starts_with('-') {
                true => (*option).to_owned(),
                false => site.path(option).display().to_string(),
            })
            .collect();
        let options: Vec<&str> = options.iter().map(String::as_str).chain(["-ign_eof"]).collect();
        let Some(said) = s_client(&server, &options, request) else { return };
        assert_eq!(said.contains("Hello, world!"), served, "{options:?}: {said}");
    }
    server.end();
}

#[test]
fn who_does_not_speak_tls_is_cut_off() {
    let (site, _) = site();
    let server = served(&site);
    let connect = || {
        let stream = std::net::TcpStream::connect(server.secured_address("http.site"));
        let stream = stream.expect("a connection");
        stream.set_read_timeout(Some(medusa_tests::PATIENCE)).expect("a timeout");
        stream
    };
    // Nothing at all, and the beginning of a ClientHello: until the handshake's time is over.
    for begun in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let mut stream = connect();
        stream.write_all(begun).expect("sent");
        let mut rest = Vec::new();
        // A reset is as good as an end.
        let _ = stream.read_to_end(&mut rest);
        assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    }
    let mut stream = connect();
    stream.write_all(b"GET /hello.txt HTTP/1.1\r\nHost: a\r\n\r\n").expect("sent");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    // An alert (RFC 8446 §6), or nothing.
    assert!(rest.is_empty() || rest[0] == 0x15, "{rest:?}");
    server.end();
}

#[test]
fn a_check_tells_names_and_dates() {
    let (site, authority) = site();
    let output = run(&site, &["check", "medusa.toml"]);
    assert!(output.status.success(), "{}", told(&output));
    let table = String::from_utf8(output.stdout).expect("text");
    let cells: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split("  ").map(str::trim).filter(|c| !c.is_empty()).collect())
        .collect();
    assert!(
        cells.contains(&vec!["www.pem", "2100-01-01", "www.example.test, every other name"]),
        "{table}"
    );
    assert!(cells.contains(&vec!["other.pem", "2100-01-01", "other.example.test"]), "{table}");
    assert!(
        table.contains("public, TLS") && table.ends_with("medusa.toml: no errors\n"),
        "{table}"
    );

    // Expired: an error to the check, a warning at the start.
    authority.sign_until(&site, "www", &["www.example.test"], 2001);
    let output = run(&site, &["check", "medusa.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let said = told(&output);
    for part in
        ["error: the certificate in www.pem has expired on", "medusa.toml:2:15", "all the same"]
    {
        assert!(said.contains(part), "{part:?} is not in:\n{said}");
    }
    let server = served(&site);
    assert!(
        site.read("log").contains("the certificate in www.pem has expired"),
        "{}",
        site.read("log")
    );
    if let Some(said) = s_client(&server, &[], "") {
        assert!(said.contains("New, TLSv1.3"), "{said}");
    }
    server.end();

    // Not of one pair: an error to both.
    site.write_private("www.key", site.read("other.key"));
    for command in ["check", "serve"] {
        let output = run(&site, &[command, "medusa.toml"]);
        assert_eq!(output.status.code(), Some(2));
        assert!(output.stdout.is_empty());
        let said = told(&output);
        for part in ["www.key is not the key of the certificate in www.pem", "medusa.toml:3:7"] {
            assert!(said.contains(part), "{part:?} is not in:\n{said}");
        }
    }

    // No certificate at all: the service says what it needs.
    let (_, services) = SITE.split_once("[limits]").expect("two parts");
    site.write("medusa.toml", format!("[limits]{services}"));
    let said = told(&run(&site, &["check", "medusa.toml"]));
    assert!(said.contains("name one: `[tls]` with") && said.contains("medusa.toml:6:14"), "{said}");
}
