//! FTP with Python's ftplib, curl, lftp and suppaftp: plain, active, with TLS from AUTH on and from the first octet.

mod fixture;
mod rust;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use medusa_tests::{PATIENCE, Site, require};

use fixture::{Ftp, large};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");

fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().expect("it runs")
}

#[test]
fn ftplib_does_all_it_can() {
    if !require("python3") {
        return;
    }
    for mode in ["plain", "active", "explicit", "implicit"] {
        let ftp = Ftp::new();
        let address = if mode == "implicit" { ftp.implicit } else { ftp.explicit };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("support/ftp.py");
        let output = run(Command::new("python3")
            .arg(script)
            .arg(address.ip().to_string())
            .arg(address.port().to_string())
            .arg(ftp.path("fetched"))
            .arg(mode));
        let told = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(told.trim(), "all as it should be", "{mode}: {complaint}");
        assert!(ftp.content("fetched/ftplib.bin") == ftp.content("root/big.bin"));
    }
}

#[test]
fn curl_sends_and_fetches() {
    if !require("curl") {
        return;
    }
    let ftp = Ftp::new();
    std::fs::write(ftp.path("local/large.bin"), large()).expect("a file");
    let curl = |arguments: &[&str], address: SocketAddr, scheme: &str, path: &str| {
        let patience = PATIENCE.as_secs().to_string();
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--insecure", "--noproxy", "*", "--max-time"]);
        command.arg(patience).args(["--user", "alice:secret"]).args(arguments);
        run(command.arg(format!("{scheme}://{address}/{path}")))
    };
    let local = ftp.path("local/large.bin");
    let local = local.to_str().expect("a path");
    let (explicit, implicit) = (ftp.explicit, ftp.implicit);
    let ways: [(&[&str], SocketAddr, &str); 5] = [
        (&[], explicit, "ftp"),
        (&["--disable-epsv"], explicit, "ftp"),
        (&["--ftp-port", "-"], explicit, "ftp"),
        (&["--ssl-reqd"], explicit, "ftp"),
        // Not active with TLS: curl 7.88 begins no handshake then, and is refused.
        (&[], implicit, "ftps"),
    ];
    for (number, (options, address, scheme)) in ways.into_iter().enumerate() {
        let name = format!("new%20folder/{number}.bin");
        let mut arguments = options.to_vec();
        arguments.extend(["--ftp-create-dirs", "--upload-file", local]);
        let sent = curl(&arguments, address, scheme, &name);
        assert!(sent.status.success(), "{number}: {sent:?}");
        assert!(ftp.content(&format!("root/new folder/{number}.bin")) == large());
        let fetched = curl(options, address, scheme, &name);
        assert!(fetched.stdout == large(), "{number}: {:?}", fetched.stderr);
        let mut arguments = options.to_vec();
        arguments.extend(["--continue-at", "1999990"]);
        let resumed = curl(&arguments, address, scheme, &name);
        assert_eq!(resumed.stdout, &large()[1_999_990..], "{number}: {:?}", resumed.stderr);
        let listed = curl(options, address, scheme, "new%20folder/");
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(text.contains(&format!("{number}.bin")), "{number}: {listed:?}");
    }
    // An upload that was cut off is resumed where it ends.
    std::fs::write(ftp.path("root/part.bin"), &large()[..1_234_567]).expect("a file");
    let resumed =
        curl(&["--continue-at", "-", "--upload-file", local], explicit, "ftp", "part.bin");
    assert!(resumed.status.success(), "{resumed:?}");
    assert!(ftp.content("root/part.bin") == large());
    let refused = curl(&[], explicit, "ftp", "%2e%2e/secret.txt");
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
}

#[test]
fn lftp_mirrors_both_ways() {
    if !require("lftp") {
        return;
    }
    let ftp = Ftp::new();
    for (name, content) in [
        ("one.txt", b"1".to_vec()),
        ("deep/er/two.bin", large()),
        ("deep/a \"quoted\" name", b"q".to_vec()),
        ("deep/\u{e4}\u{20ac}.txt", b"utf8".to_vec()),
    ] {
        let path = ftp.path("local").join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, content).expect("a file");
    }
    let lftp = |address: SocketAddr, scheme: &str, settings: &str, script: &str| {
        let script = format!(
            "set net:max-retries 1; set net:timeout 20; set ssl:verify-certificate no; \
             set cmd:fail-exit yes; {settings}; open -u alice,secret {scheme}://{address}; {script}"
        );
        run(Command::new("lftp").current_dir(ftp.folder.path()).args(["--norc", "-c", &script]))
    };
    let (explicit, implicit) = (ftp.explicit, ftp.implicit);
    let clear = "set ftp:ssl-allow no";
    let protected = "set ftp:ssl-force yes; set ftp:ssl-protect-data yes";
    for (number, (address, scheme, settings)) in [
        (explicit, "ftp", clear),
        (explicit, "ftp", "set ftp:ssl-allow no; set ftp:passive-mode no"),
        (explicit, "ftp", "set ftp:ssl-allow no; set ftp:use-mode-z yes"),
        (explicit, "ftp", protected),
        (explicit, "ftp", "set ftp:ssl-force yes; set ftp:passive-mode no"),
        (implicit, "ftps", "set ftp:ssl-protect-data yes"),
    ]
    .into_iter()
    .enumerate()
    {
        let up = format!("mirror --reverse --parallel=2 local mirror-{number}");
        let sent = lftp(address, scheme, settings, &up);
        assert!(sent.status.success(), "{number}: {sent:?}");
        let down = format!("mirror mirror-{number} fetched/{number}");
        let fetched = lftp(address, scheme, settings, &down);
        assert!(fetched.status.success(), "{number}: {fetched:?}");
        for name in
            ["one.txt", "deep/er/two.bin", "deep/a \"quoted\" name", "deep/\u{e4}\u{20ac}.txt"]
        {
            let local = ftp.content(&format!("local/{name}"));
            assert!(ftp.content(&format!("root/mirror-{number}/{name}")) == local, "{name}");
            assert!(ftp.content(&format!("fetched/{number}/{name}")) == local, "{name}");
        }
        let times = |path: String| std::fs::metadata(ftp.path(&path)).and_then(|m| m.modified());
        let (ours, theirs) =
            (times("local/one.txt".into()), times(format!("root/mirror-{number}/one.txt")));
        let (ours, theirs) = (ours.expect("a time"), theirs.expect("a time"));
        let apart = ours.duration_since(theirs).unwrap_or_default();
        assert!(apart.as_secs() < 2, "{number}: MFMT keeps the time");
    }
    // Both directions go on where they ended.
    std::fs::write(ftp.path("root/part"), &large()[..1_000_000]).expect("a file");
    std::fs::write(ftp.path("fetched/part"), &large()[..500_000]).expect("a file");
    let script = "put -c local/deep/er/two.bin -o part; get -c part -o fetched/part; \
                  chmod 600 part; rm -r mirror-0; cls -1";
    let done = lftp(explicit, "ftp", clear, script);
    assert!(done.status.success(), "{done:?}");
    assert!(ftp.content("root/part") == large());
    assert!(ftp.content("fetched/part") == large());
    assert!(!ftp.path("root/mirror-0").exists());
    let listed = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(listed.contains("part") && listed.contains("mirror-1/"), "{listed}");
}

#[test]
fn the_program_serves_a_folder() {
    if !require("curl") {
        return;
    }
    let site = Site::new(
        "[log]\naccess = \"access.log\"\n[ftp.files]\nlisten = [\"127.0.0.1:0\"]\nroot = \"files\"\n\
         anonymous = \"read\"\nuploads = \"atomic\"\nmessage_file = \".message\"\n\
         download_rate = \"10 MiB/s\"\n\
         [[ftp.files.folder]]\npath = \"incoming\"\nrights = [\"write\"]\nmessage = \"Leave it.\"\n",
    );
    site.write("files/hello.txt", "Hello, world!\n");
    site.write("files/incoming/there.txt", "nobody sees this");
    let server = site.serve(MEDUSA);
    let address = server.address("ftp.files");
    let curl = |arguments: &[&str], path: &str| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"]);
        run(command.args(arguments).arg(format!("ftp://{address}/{path}")))
    };
    assert_eq!(curl(&[], "hello.txt").stdout, b"Hello, world!\n");
    let listed = String::from_utf8(curl(&["--list-only"], "").stdout).expect("text");
    let mut names: Vec<_> = listed.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["hello.txt", "incoming"]);
    let toml = site.path("medusa.toml");
    let refused = curl(&["--upload-file", toml.to_str().expect("a path")], "new");
    assert!(!refused.status.success() && !site.path("files/new").exists());
    let left = curl(&["--upload-file", toml.to_str().expect("a path")], "incoming/new");
    assert!(left.status.success() && site.read("files/incoming/new") == site.read("medusa.toml"));
    let hidden = curl(&["--verbose"], "incoming/there.txt");
    let told = String::from_utf8_lossy(&hidden.stderr).into_owned();
    assert!(hidden.stdout.is_empty() && told.contains("250-Leave it."), "{told}");
    server.end();
    let log = site.read("access.log");
    assert!(log.contains(" 14 /hello.txt b _ o a anonymous ftp 0 * c\n"), "{log}");
}

#[test]
fn the_users_file_says_what_an_account_may_do() {
    if !require("curl") {
        return;
    }
    let site = Site::new(
        "[accounts]\nfile = \"users.toml\"\n\
         [ftp.files]\nlisten = [\"127.0.0.1:0\"]\nroot = \"files\"\ngreeting = \"Hello there\"\n",
    );
    site.write("files/hello.txt", "Hello, world!\n").write("home/there.txt", "there\n");
    let mut passwd = site.command(MEDUSA, &["passwd", "alice"]);
    let mut child = passwd.stdin(Stdio::piped()).spawn().expect("it runs");
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), b"secret\n").expect("told");
    assert!(child.wait().expect("it ends").success());
    let account = site.read("users.toml");
    let limits = "files = \"home\"\nrights = [\"list\", \"write\"]\nquota = \"100 KiB\"\n\
                  upload_rate = \"10 MiB/s\"\ndownload_rate = \"10 MiB/s\"\n";
    site.write_private("users.toml", format!("{account}{limits}"));
    site.write("big", vec![b'x'; 60 << 10]);
    let server = site.serve(MEDUSA);
    let address = server.address("ftp.files");
    let curl = |arguments: &[&str], path: &str| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--verbose", "--noproxy", "*"]);
        command.args(["--max-time", "20", "--user", "alice:secret"]).args(arguments);
        let output = run(command.arg(format!("ftp://{address}/{path}")));
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let big = site.path("big");
    let upload = ["--upload-file", big.to_str().expect("a path")];
    let (sent, told) = curl(&upload, "one");
    assert!(sent && told.contains("230 Hello there"), "{told}");
    let (sent, told) = curl(&upload, "two");
    assert!(!sent && told.contains("552 More than is allowed"), "{told}");
    for (arguments, path, reply) in [
        (&[][..], "there.txt", "550 Not permitted"),
        (&upload[..], "there.txt", "550 Exists already"),
        (&["--quote", "DELE one"][..], "", "550 Not permitted"),
        (&["--list-only"][..], "", "226 Done"),
    ] {
        let (_, told) = curl(arguments, path);
        assert!(told.contains(reply), "{path}: {told}");
    }
    server.end();
    assert!(!site.path("home/two").exists() && site.path("home/one").exists());
}
