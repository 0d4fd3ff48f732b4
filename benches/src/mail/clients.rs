//! What asks the mail servers: Postfix's smtp-source, a POP3 session of our own, and connections that say
//! EHLO and no more. They believe the server as far as its replies look right, and are no test of one.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::client::PATIENCE;

/// How long a server may take to deliver what it has accepted.
const DELIVERY: Duration = Duration::from_secs(60);

/// Sends so many messages of 4 KiB over 16 sessions at once, and says how long it took until all were
/// accepted. Waits until they are delivered.
pub(super) fn submit(
    address: SocketAddr,
    new_mail: &Path,
    messages: usize,
    one_connection: bool,
) -> Result<Duration> {
    let mut command = Command::new("smtp-source");
    command.args(["-s", "16", "-l", "4096", "-f", "a@b.test", "-t", "alice@example.test"]);
    command.args(["-m", &messages.to_string()]);
    if one_connection {
        command.arg("-d");
    }
    let begun = Instant::now();
    let output = command.arg(address.to_string()).output().context("can't run smtp-source")?;
    let took = begun.elapsed();
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() && said.is_empty(), "smtp-source said: {said}");
    // Which is its server's work as well, and has to be counted.
    loop {
        let delivered = fs::read_dir(new_mail)?.count();
        match delivered.cmp(&messages) {
            std::cmp::Ordering::Equal => break,
            std::cmp::Ordering::Less if begun.elapsed() < took + DELIVERY => {
                std::thread::sleep(Duration::from_millis(20));
            }
            _ => bail!("{delivered} of {messages} messages were delivered"),
        }
    }
    put_aside(new_mail)?;
    Ok(took)
}

/// Takes what was delivered out of the Maildir. It isn't removed: ext4 looks at each inode that was freed in the last
/// minutes before it gives out another, which would be two thirds of what a server spends in the next round.
fn put_aside(new_mail: &Path) -> Result<()> {
    let aside = new_mail.with_file_name("aside");
    fs::create_dir_all(&aside)?;
    for entry in fs::read_dir(new_mail)? {
        let entry = entry?;
        fs::rename(entry.path(), aside.join(entry.file_name()))?;
    }
    Ok(())
}

/// A conversation in lines.
pub(super) struct Line(BufReader<TcpStream>);

impl Line {
    pub(super) fn connect(address: SocketAddr) -> Result<Line> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Line(BufReader::with_capacity(8 << 10, stream)))
    }

    pub(super) fn say(&mut self, text: &str) -> Result<()> {
        Ok(self.0.get_mut().write_all(text.as_bytes())?)
    }

    fn hear(&mut self, line: &mut Vec<u8>) -> Result<()> {
        line.clear();
        let count = self.0.read_until(b'\n', line)?;
        ensure!(count > 0 && line.ends_with(b"\r\n"), "the connection ended within a reply");
        Ok(())
    }

    /// One line, which must be `+OK`.
    fn ok(&mut self, line: &mut Vec<u8>) -> Result<()> {
        self.hear(line)?;
        ensure!(line.starts_with(b"+OK"), "it said {}", String::from_utf8_lossy(line));
        Ok(())
    }

    /// All lines up to the dot, and how many octets they have.
    fn lines(&mut self, line: &mut Vec<u8>) -> Result<usize> {
        let mut octets = 0;
        loop {
            self.hear(line)?;
            if line == b".\r\n" {
                return Ok(octets);
            }
            octets += line.len();
        }
    }

    /// An SMTP reply, which must have this code.
    pub(super) fn code(&mut self, code: &str) -> Result<()> {
        let mut line = Vec::new();
        loop {
            self.hear(&mut line)?;
            let said = || String::from_utf8_lossy(&line);
            ensure!(line.starts_with(code.as_bytes()), "it said {}", said());
            if line.get(3) == Some(&b' ') {
                return Ok(());
            }
        }
    }
}

/// Logs in, asks STAT, LIST and UIDL, fetches so many messages of so many octets, one after the other or all
/// at once, and leaves.
pub(super) fn fetch(
    address: SocketAddr,
    (messages, octets): (usize, usize),
    pipelined: bool,
) -> Result<()> {
    let mut line = Vec::new();
    let mut session = Line::connect(address)?;
    session.ok(&mut line)?;
    for said in ["USER alice\r\n", "PASS secret\r\n", "STAT\r\n"] {
        session.say(said)?;
        session.ok(&mut line)?;
    }
    for said in ["LIST\r\n", "UIDL\r\n"] {
        session.say(said)?;
        session.ok(&mut line)?;
        session.lines(&mut line)?;
    }
    if pipelined {
        let all: String = (1..=messages).map(|number| format!("RETR {number}\r\n")).collect();
        session.say(&all)?;
    }
    for number in 1..=messages {
        if !pipelined {
            session.say(&format!("RETR {number}\r\n"))?;
        }
        session.ok(&mut line)?;
        let came = session.lines(&mut line)?;
        ensure!(came == octets, "message {number} has {came} octets instead of {octets}");
    }
    session.say("QUIT\r\n")?;
    session.ok(&mut line)
}
