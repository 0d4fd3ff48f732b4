//! Real clients: programs that people use, run and read.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::PATIENCE;

/// What curl got.
#[derive(Debug)]
pub struct Answer {
    /// The status code; 0 without an answer.
    pub status: u16,
    /// The heads of all answers, as they came.
    pub heads: String,
    /// The body of the last answer.
    pub body: Vec<u8>,
    /// curl's own exit code.
    pub exit: i32,
}

/// Whether a client is installed. Where every client must be (`CI=true` or `MEDUSA_REQUIRE_CLIENTS=1`)
/// a missing one fails the test; elsewhere it is told loudly that the test did nothing.
pub fn require(program: &str) -> bool {
    let found =
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if found.is_ok() {
        return true;
    }
    let set = |name, value| std::env::var(name).is_ok_and(|found| found == value);
    let required = set("CI", "true") || set("MEDUSA_REQUIRE_CLIENTS", "1");
    assert!(!required, "{program} is not installed, and this run requires it");
    eprintln!("\n*** SKIPPED: {program} is not installed; this test has shown nothing ***\n");
    false
}

/// Runs curl; `None` where it may be missing.
pub fn curl(arguments: &[&str]) -> Option<Answer> {
    if !require("curl") {
        return None;
    }
    let heads = tempfile::NamedTempFile::new().expect("a file");
    let output = Command::new("curl")
        .args([
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "--max-time",
            &PATIENCE.as_secs().to_string(),
        ])
        .arg("--dump-header")
        .arg(heads.path())
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .expect("curl runs");
    let heads = std::fs::read_to_string(heads.path()).expect("heads are text");
    let status_lines = heads.lines().filter(|line| line.starts_with("HTTP/"));
    let status = status_lines.filter_map(|line| line.split(' ').nth(1)?.parse().ok()).next_back();
    Some(Answer {
        status: status.unwrap_or(0),
        heads,
        body: output.stdout,
        exit: output.status.code().unwrap_or(-1),
    })
}

/// Runs openssl with this input and returns all that it says; `None` where it may be missing.
pub fn openssl(arguments: &[&str], input: &str) -> Option<String> {
    if !require("openssl") {
        return None;
    }
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    // It may have ended without reading any of it.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("openssl ends");
    let said = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&said).into_owned())
}

impl Answer {
    /// A field of the last answer's head.
    pub fn field(&self, name: &str) -> Option<&str> {
        let head = self.heads.trim_end().rsplit("\r\n\r\n").next()?;
        head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}
