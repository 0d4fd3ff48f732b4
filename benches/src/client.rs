//! A small HTTP client, over TLS or not: it looks whether a server sends what it should before it is
//! measured, and fills idle connections. It believes the server, and is no test of one.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use medusa_core::testing::SecuredStream;
use medusa_core::tls::{ClientTls, Facts};

/// What came.
pub(crate) struct Reply {
    pub(crate) head: String,
    /// As it was sent, chunks and all.
    pub(crate) body: Vec<u8>,
}

/// How long anything may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    Secured(Box<SecuredStream>),
}

/// Connects, within the patience; with TLS where a client for it is given.
pub(crate) fn connect(address: SocketAddr, tls: Option<&ClientTls>) -> Result<Stream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(match tls {
        None => Stream::Plain(stream),
        Some(tls) => Stream::Secured(Box::new(SecuredStream::handshake(stream, tls, "localhost")?)),
    })
}

impl Stream {
    /// What TLS has agreed upon.
    pub(crate) fn facts(&self) -> Option<Facts> {
        match self {
            Stream::Plain(_) => None,
            Stream::Secured(stream) => Some(stream.facts()),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.read(into),
            Stream::Secured(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Plain(stream) => stream.write(octets),
            Stream::Secured(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Plain(stream) => stream.flush(),
            Stream::Secured(stream) => stream.flush(),
        }
    }
}

/// A request, as wrk would send it.
pub(crate) fn request(path: &str, fields: &[&str]) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n")
}

/// Reads one reply whole.
pub(crate) fn reply(stream: &mut impl Read) -> Result<Reply> {
    let mut octets = Vec::new();
    let mut piece = [0; 16 * 1024];
    let mut whole = None;
    loop {
        if whole.is_none()
            && let Some(end) = memchr::memmem::find(&octets, b"\r\n\r\n")
        {
            let head = String::from_utf8_lossy(&octets[..end]).into_owned();
            octets.drain(..end + 4);
            let length = field(&head, "content-length").map(str::parse::<usize>).transpose()?;
            whole = Some((head, length));
        }
        if let Some((head, length)) = &whole {
            let is_whole = match length {
                Some(length) => octets.len() >= *length,
                None => octets.ends_with(b"\r\n0\r\n\r\n"),
            };
            if is_whole {
                return Ok(Reply { head: head.clone(), body: octets });
            }
        }
        match stream.read(&mut piece).context("no whole reply")? {
            0 => bail!("the connection ended before the reply did"),
            count => octets.extend_from_slice(&piece[..count]),
        }
    }
}

/// Asks once, on a stream that is ready.
pub(crate) fn ask(stream: &mut (impl Read + Write), path: &str, fields: &[&str]) -> Result<Reply> {
    stream.write_all(request(path, fields).as_bytes())?;
    let reply = reply(stream)?;
    let status = reply.head.lines().next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 200") {
        bail!("{path} is answered with `{status}`");
    }
    Ok(reply)
}

impl Reply {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_end_by_length_or_with_the_last_chunk() {
        let mut by_length = &b"HTTP/1.1 200 OK\r\nContent-LENGTH: 3\r\n\r\nabc"[..];
        assert_eq!(reply(&mut by_length).unwrap().body, b"abc");
        let mut chunked =
            &b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n"[..];
        let chunked = reply(&mut chunked).unwrap();
        assert_eq!(chunked.field("transfer-encoding"), Some("chunked"));
        assert_eq!(chunked.body, b"1\r\na\r\n0\r\n\r\n");
        let mut cut = &b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc"[..];
        assert!(reply(&mut cut).is_err());
    }
}
