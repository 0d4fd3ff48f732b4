//! Mail for tests: a conversation by SMTP, and what has come into Maildirs.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use crate::PATIENCE;

/// A connection that is spoken on line by line.
pub struct Conversation(BufReader<TcpStream>);

impl Conversation {
    /// Connects. What is heard comes within the test's patience.
    ///
    /// # Errors
    ///
    /// There is no connection.
    pub fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends text as it is.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub fn send(&mut self, text: impl AsRef<[u8]>) -> io::Result<()> {
        self.0.get_mut().write_all(text.as_ref())
    }

    /// One line, without its end.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// The last line of the next SMTP reply.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub fn reply(&mut self) -> io::Result<String> {
        loop {
            let line = self.line()?;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    /// The code of the next SMTP reply.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub fn code(&mut self) -> io::Result<u16> {
        let reply = self.reply()?;
        reply.get(..3).and_then(|code| code.parse().ok()).ok_or(io::ErrorKind::InvalidData.into())
    }

    /// Says each line and hears a reply to each.
    ///
    /// # Errors
    ///
    /// The connection has ended.
    pub fn talk(&mut self, lines: &[&str]) -> io::Result<Vec<String>> {
        let say = |line: &&str| {
            self.send(format!("{line}\r\n"))?;
            self.reply()
        };
        lines.iter().map(say).collect()
    }
}

/// Everything in one folder of a Maildir; none where there is no such folder.
pub fn messages(maildir: &Path, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(maildir.join(folder)).into_iter().flatten();
    entries
        .map(|entry| fs::read_to_string(entry.expect("an entry").path()).expect("text"))
        .collect()
}
