//! A blocking TLS client for tests over real sockets.

use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;

use crate::tls::{ClientTls, Engine, Facts, TlsError};

/// TLS over a blocking TCP stream.
pub struct SecuredStream {
    stream: TcpStream,
    engine: Box<dyn Engine>,
    /// Plaintext that was not asked for yet.
    plaintext: Vec<u8>,
}

impl SecuredStream {
    /// Performs a handshake over `stream` with a server that is known as `name`.
    ///
    /// # Errors
    ///
    /// The handshake fails.
    pub fn handshake(stream: TcpStream, client: &ClientTls, name: &str) -> io::Result<Self> {
        let engine = client.engine(name).map_err(io::Error::other)?;
        let mut secured = SecuredStream { stream, engine, plaintext: Vec::new() };
        while secured.engine.is_handshaking() {
            secured.flush()?;
            if secured.engine.is_handshaking() {
                secured.receive()?;
            }
        }
        secured.flush()?;
        Ok(secured)
    }

    /// What was agreed upon.
    pub fn facts(&self) -> Facts {
        self.engine.facts()
    }

    /// Says that no more will come (close_notify), and ends our side of the stream.
    ///
    /// # Errors
    ///
    /// The socket fails.
    pub fn close(&mut self) -> io::Result<()> {
        self.engine.close();
        self.flush()?;
        self.stream.shutdown(std::net::Shutdown::Write)
    }

    /// Whether the server has said that no more will come.
    pub fn peer_has_closed(&self) -> bool {
        self.engine.peer_has_closed()
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        &self.stream
    }

    /// Reads ciphertext once. Says whether the stream goes on.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 && self.engine.is_handshaking() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut input = &buffer[..count];
        while !input.is_empty() {
            let fed = self.engine.feed(&mut input);
            fed.map_err(|error: TlsError| io::Error::new(io::ErrorKind::InvalidData, error))?;
            let mut plaintext = [0; 20 * 1024];
            let count = self.engine.take_plaintext(&mut plaintext);
            self.plaintext.extend_from_slice(&plaintext[..count]);
        }
        Ok(count > 0 && !self.engine.peer_has_closed())
    }
}

impl Read for SecuredStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.plaintext.is_empty() {
            if !self.receive()? {
                break;
            }
        }
        let count = self.plaintext.len().min(into.len());
        into[..count].copy_from_slice(&self.plaintext[..count]);
        self.plaintext.drain(..count);
        Ok(count)
    }
}

impl Write for SecuredStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.engine.put_plaintext(&[IoSlice::new(bytes)]);
        self.flush()?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.engine.has_ciphertext() {
            self.engine.write_ciphertext(&mut self.stream)?;
        }
        Ok(())
    }
}
