//! What asks the FTP servers: one client, which reads each reply before it says more, as most do. It
//! believes the server as far as its replies look right, and is no test of one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use anyhow::{Context, Result, ensure};

use crate::client::PATIENCE;

use super::servers::SMALL;

/// What is read and written at once.
const PIECE: usize = 256 * 1024;

/// A control connection.
pub(super) struct Control {
    lines: BufReader<TcpStream>,
    address: SocketAddr,
}

/// Connects, logs in, fetches the small file and quits.
pub(super) fn session(address: SocketAddr) -> Result<()> {
    let mut control = Control::log_in(address)?;
    let octets = control.fetch("small")?;
    ensure!(octets == SMALL as u64, "{octets} octets came of {SMALL}");
    control.ask("QUIT", "221")?;
    Ok(())
}

impl Control {
    pub(super) fn log_in(address: SocketAddr) -> Result<Control> {
        let stream = connect(address)?;
        // No more than the longest reply: there are many of these.
        let mut control = Control { lines: BufReader::with_capacity(512, stream), address };
        control.hear("220")?;
        control.ask("USER anonymous", "331")?;
        control.ask("PASS a@b.test", "230")?;
        control.ask("TYPE I", "200")?;
        Ok(control)
    }

    /// Fetches a file and says how long it was.
    pub(super) fn fetch(&mut self, name: &str) -> Result<u64> {
        let mut data = self.open(&format!("RETR {name}"))?;
        let (mut buffer, mut octets) = (vec![0; PIECE], 0);
        loop {
            match data.read(&mut buffer)? {
                0 => break,
                count => octets += count as u64,
            }
        }
        drop(data);
        self.hear("226")?;
        Ok(octets)
    }

    /// Sends so many MiB.
    pub(super) fn store(&mut self, name: &str, mebibytes: u64) -> Result<()> {
        let mut data = self.open(&format!("STOR {name}"))?;
        let piece = vec![b'x'; PIECE];
        for _ in 0..mebibytes * (1 << 20) / PIECE as u64 {
            data.write_all(&piece)?;
        }
        data.shutdown(Shutdown::Write)?;
        self.hear("226")?;
        Ok(())
    }

    /// Hears of something that the server does when all before it is done.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.ask("NOOP", "200")?;
        Ok(())
    }

    /// The data connection of a command.
    fn open(&mut self, command: &str) -> Result<TcpStream> {
        let told = self.ask("EPSV", "229")?;
        let port = told.split('|').nth(3).context("no port is told")?.parse()?;
        let data = connect(SocketAddr::new(self.address.ip(), port))?;
        self.ask(command, "150")?;
        Ok(data)
    }

    fn ask(&mut self, command: &str, code: &str) -> Result<String> {
        self.lines.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        self.hear(code).with_context(|| format!("at {command}"))
    }

    /// The last line of a reply.
    fn hear(&mut self, code: &str) -> Result<String> {
        loop {
            let mut line = String::new();
            self.lines.read_line(&mut line)?;
            ensure!(line.starts_with(code), "`{}` instead of {code}", line.trim_end());
            if line.as_bytes().get(3) == Some(&b' ') {
                return Ok(line);
            }
        }
    }
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
