//! Relaying to a real Postfix, and from one: what users submit goes by it to another server of ours.
//!
//! Postfix runs in a folder of its own, on loopback, for the time of the test. It has to be started by root.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use medusa_tests::{Authority, PATIENCE, Server, Site, require, until};
use rustix::process::{Pid, Signal, geteuid, kill_process};

const MEDUSA: &str = env!("CARGO_BIN_EXE_medusa-under-test");
/// Where Debian and most others keep Postfix's daemons.
const DAEMONS: &str = "/usr/lib/postfix/sbin";
/// `nobody`: Postfix delivers for users alone that aren't root.
const NOBODY: u32 = 65534;

/// A Postfix that keeps mail for `kept.test`, and sends that for `next.test` to a server.
struct Postfix {
    master: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Postfix {
    /// None where there is none, or nobody who may start it.
    fn start(site: &Site, next: SocketAddr) -> Option<Postfix> {
        if !require("postconf") {
            return None;
        }
        assert!(geteuid().is_root(), "Postfix can only be started by root");
        let folder = site.path("postfix");
        fs::create_dir(&folder).expect("a folder");
        for open in [site.path("."), folder.clone()] {
            fs::set_permissions(open, fs::Permissions::from_mode(0o755)).expect("readable");
        }
        for made in ["conf", "data", "queue", "mail"] {
            fs::create_dir(folder.join(made)).expect("a folder");
        }
        let said = Command::new("id").args(["-u", "postfix"]).output().expect("id runs");
        let owner = String::from_utf8_lossy(&said.stdout).trim().parse().expect("a user postfix");
        chown(folder.join("data"), Some(owner), None).expect("given");
        chown(folder.join("mail"), Some(NOBODY), Some(NOBODY)).expect("given");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        Authority::new(site, "ca").sign(site, "postfix-tls", &["postfix.test"]);
        let pem = site.read("postfix-tls.key") + &site.read("postfix-tls.pem");
        fs::write(folder.join("conf/tls.pem"), pem).expect("written");
        configure(&folder, address, next);
        let conf = folder.join("conf");
        let check = Command::new("postfix").arg("-c").arg(&conf).arg("check").output();
        let check = check.expect("postfix runs");
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
        let master = Command::new(Path::new(DAEMONS).join("master"))
            .arg("-s")
            .arg("-c")
            .arg(&conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("it starts");
        let postfix = Postfix { master, folder, address };
        until("Postfix greets", || greets(address));
        Some(postfix)
    }

    fn kept(&self, account: &str) -> Vec<String> {
        messages(&self.folder.join("mail").join(account).join("new"))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("mail.log")).unwrap_or_default()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        // It takes its children with it.
        let _ = kill_process(Pid::from_child(&self.master), Signal::TERM);
        let _ = self.master.wait();
    }
}

fn configure(folder: &Path, address: SocketAddr, next: SocketAddr) {
    let (conf, port) = (folder.join("conf"), next.port());
    let folder = folder.display();
    let main = format!(
        "compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
daemon_directory = {DAEMONS}
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
myhostname = postfix.test
mydestination =
mynetworks =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
relay_domains = next.test
relay_recipient_maps =
relay_transport = smtp:[127.0.0.1]:{port}
smtpd_relay_restrictions = reject_unauth_destination
virtual_mailbox_domains = kept.test
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = inline:{{bob@kept.test=bob/}}
virtual_uid_maps = static:{NOBODY}
virtual_gid_maps = static:{NOBODY}
smtpd_tls_security_level = may
smtpd_tls_chain_files = {folder}/conf/tls.pem
smtpd_tls_received_header = yes
"
    );
    let master = format!(
        "{address} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
"
    );
    fs::write(conf.join("main.cf"), main).expect("written");
    fs::write(conf.join("master.cf"), master).expect("written");
}

fn greets(address: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("220 ")
}

fn messages(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths
        .map(|path| String::from_utf8_lossy(&fs::read(path).expect("a file")).into_owned())
        .collect()
}

fn account(site: &Site, name: &str, address: &str) {
    let mut command = site.command(MEDUSA, &["passwd", name]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it runs");
    child.stdin.take().expect("a pipe").write_all(b"secret\n").expect("it reads");
    assert!(child.wait().expect("it ends").success());
    let users = site.read("users.toml");
    site.write("users.toml", format!("{users}mail = [\"{address}\"]\n"));
}

/// Says each line as alice; the replies' codes.
fn submit(server: &Server, lines: &[&[u8]]) -> String {
    let mut reader = BufReader::new(server.connect("smtp.submission"));
    let mut codes = Vec::new();
    for line in [&b""[..]].iter().chain(lines) {
        if !line.is_empty() {
            reader
                .get_mut()
                .write_all(line)
                .and_then(|()| reader.get_mut().write_all(b"\r\n"))
                .expect("it reads");
        }
        let mut reply = String::new();
        while reply.get(3..4) == Some("-") || reply.is_empty() {
            reply.clear();
            reader.read_line(&mut reply).expect("text");
        }
        codes.push(reply[..3].to_owned());
    }
    codes.join(" ")
}

#[test]
fn to_postfix_and_from_it() {
    let receiver = Site::new(
        "[accounts]
file = \"users.toml\"

[smtp.mx]
listen = [\"127.0.0.1:0\"]
hostname = \"mx.next.test\"
domains = [\"next.test\"]
mailboxes = \"mail\"
",
    );
    account(&receiver, "bob", "bob@next.test");
    let next = receiver.serve(MEDUSA);
    let site = Site::new("");
    let Some(postfix) = Postfix::start(&site, next.address("smtp.mx")) else { return };
    let relay = postfix.address;
    site.write(
        "medusa.toml",
        format!(
            "[accounts]
file = \"users.toml\"

[smtp.submission]
listen = [\"127.0.0.1:0\"]
hostname = \"out.example.test\"
role = \"submission\"
domains = [\"example.test\"]
mailboxes = \"mail\"
queue = \"queue\"
relay = \"{relay}\"
"
        ),
    );
    account(&site, "alice", "alice@example.test");
    let server = site.serve(MEDUSA);
    let mut text = "Subject: b\u{e9}\r\nFrom: alice@example.test\r\n\r\n..\r\n..x\r\n".to_owned();
    for _ in 0..20_000 {
        text.push_str("a line of text, with an \u{e9}\r\n");
    }
    text.push('.');
    let codes = submit(
        &server,
        &[
            b"EHLO client.test",
            // `\0alice\0secret`
            b"AUTH PLAIN AGFsaWNlAHNlY3JldA==",
            b"MAIL FROM:<alice@example.test> BODY=8BITMIME",
            b"RCPT TO:<bob@kept.test>",
            b"RCPT TO:<bob@next.test>",
            b"RCPT TO:<carol@kept.test>",
            b"RCPT TO:<dave@foreign.test>",
            b"DATA",
            text.as_bytes(),
        ],
    );
    assert_eq!(codes, "220 250 235 250 250 250 250 250 354 250");
    // Postfix keeps it, and sends it on to the other server.
    until("Postfix has it", || postfix.kept("bob").len() == 1);
    until("the other server has it", || !messages(&receiver.path("mail/bob/new")).is_empty());
    let sent = text.split_once("\r\n\r\n").expect("a body").1;
    let body = sent.strip_suffix("\r\n.").expect("an end").replace("\r\n..", "\r\n.");
    let body = body.strip_prefix('.').expect("a dot").to_owned() + "\r\n";
    let kept = &postfix.kept("bob")[0];
    assert!(kept.contains("from out.example.test"), "{}", &kept[..1000]);
    // Over TLS, as it is offered.
    assert!(kept.contains("ESMTPS id"), "{}", &kept[..1000]);
    assert_eq!(kept.split_once("\n\n").expect("a body").1, body.replace("\r\n", "\n"));
    let came = &messages(&receiver.path("mail/bob/new"))[0];
    assert_eq!(came.split_once("\r\n\r\n").expect("a body").1, body);
    // What Postfix doesn't take comes back.
    until("alice is told", || messages(&site.path("mail/alice/new")).len() == 1);
    let report = &messages(&site.path("mail/alice/new"))[0];
    for part in [
        "Final-Recipient: rfc822; carol@kept.test\r\nAction: failed\r\nStatus: 5.1.1\r\n",
        "Final-Recipient: rfc822; dave@foreign.test\r\nAction: failed\r\nStatus: 5.7.1\r\n",
    ] {
        assert!(report.contains(part), "{part} is not in\n{report}\n{}", postfix.log());
    }
    server.end();
    next.end();
}
