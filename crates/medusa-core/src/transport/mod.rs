//! What carries a connection's bytes: plain TCP or a Unix-domain socket, and TLS on either.
//!
//! The only place, with `shard/`, that knows of sockets. A transport empties an [`Outbox`] with as few
//! system calls as it can and fills the shard's scratch buffer; it knows nothing of frames or sessions.

mod stream;
pub(crate) mod tls;

use std::io::{self, IoSlice, Read, Write};
use std::net::Shutdown;

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use crate::outbox::Outbox;
use crate::tls::{Engine, Facts, Secure, TlsError};

/// How many slices go into one `writev`.
const SLICES: usize = 64;

/// So many are enough for a head and a body. To lay out a list of the others for every reply is as dear as
/// a tenth of the rest of it.
const FEW: usize = 4;

/// What is read from a plain socket at one time.
const PLAIN_READ: usize = 64 * 1024;

/// Ciphertext read at one time. With what a record may have left inside of TLS (16 KiB), its plaintext
/// fits into the rest of the scratch buffer.
const CIPHER_READ: usize = 48 * 1024;

/// How large a scratch buffer must be.
pub(crate) const SCRATCH: usize = 128 * 1024;

/// What a read brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intake {
    /// So many bytes at the front of the scratch buffer; whether the socket is `drained`.
    Bytes { count: usize, drained: bool },
    /// The peer will send no more. Over TLS it is `truncated` when it did not say so.
    Ended { truncated: bool },
}

/// What a transport's turn at writing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrote {
    /// Bytes of the outbox that were taken.
    pub(crate) bytes: u64,
    /// The socket takes no more now; an event will tell when it does.
    pub(crate) blocked: bool,
}

/// Why a transport failed.
#[derive(Debug)]
pub(crate) enum TransportError {
    Io(io::Error),
    Tls(TlsError),
}

impl From<io::Error> for TransportError {
    fn from(error: io::Error) -> Self {
        TransportError::Io(error)
    }
}

/// What a connection's step asks of whatever carries its bytes: a socket, or a test's idea of a network.
pub(crate) trait Carrier {
    /// Begins a TLS handshake, by what the connection has for it.
    fn secure(&mut self, secure: Option<&Secure>) -> Result<(), TlsError>;

    fn is_handshaking(&self) -> bool;

    /// What was agreed upon, where there is TLS.
    fn facts(&self) -> Option<Facts>;

    /// Reads once into the front of `scratch`.
    fn read(&mut self, scratch: &mut [u8]) -> Result<Intake, TransportError>;

    /// Reads once into what `room` has left of its capacity. `None` where bytes don't come as they are: over
    /// TLS.
    fn read_into(&mut self, room: &mut Vec<u8>) -> Option<io::Result<Intake>>;

    /// Whether there is something to write that isn't in the outbox.
    fn has_pending(&self) -> bool;

    /// Writes until the outbox is empty, `budget` bytes are gone or nothing more is taken. If they are the
    /// `last`, our end of the stream follows at once.
    fn write(&mut self, outbox: &mut Outbox, budget: u64, last: bool) -> io::Result<Wrote>;

    /// Tells the peer that no more will come.
    fn shut_down(&mut self) -> io::Result<()>;

    /// Has the end be a reset.
    fn reset(&self);

    /// An outbound connection's error, once it is writable.
    fn take_error(&self) -> io::Result<()>;

    /// Octets that were taken and are not sent yet, as far as that is known.
    fn unsent(&self) -> u64;
}

/// A connection's socket, and TLS if it has begun.
pub(crate) struct Transport {
    socket: Socket,
    tls: Option<Box<dyn Engine>>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl From<TcpStream> for Transport {
    fn from(stream: TcpStream) -> Self {
        Transport { socket: Socket::Tcp(stream), tls: None }
    }
}

impl From<UnixStream> for Transport {
    fn from(stream: UnixStream) -> Self {
        Transport { socket: Socket::Unix(stream), tls: None }
    }
}

impl Transport {
    /// Registers the socket once, for both directions, edge-triggered.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match &mut self.socket {
            Socket::Tcp(stream) => stream.register(registry, token, interest),
            Socket::Unix(stream) => stream.register(registry, token, interest),
        }
    }

    /// Registers the socket under another token. What is readable already is told again.
    pub(crate) fn reregister(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match &mut self.socket {
            Socket::Tcp(stream) => stream.reregister(registry, token, interest),
            Socket::Unix(stream) => stream.reregister(registry, token, interest),
        }
    }

    /// Looks at what has come without taking it.
    pub(crate) fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        use rustix::net::{RecvFlags, recv};
        let (_, count) = match &self.socket {
            Socket::Tcp(stream) => recv(stream, buffer, RecvFlags::PEEK)?,
            Socket::Unix(stream) => recv(stream, buffer, RecvFlags::PEEK)?,
        };
        Ok(count)
    }

    /// Says a last word to a peer that isn't served, as far as the socket takes it, and closes.
    pub(crate) fn refuse(mut self, words: &[u8]) {
        let _ = self.socket.write(words);
        let _ = self.shut_down();
        // What has come already is read, so that no reset destroys the words.
        let _ = self.socket.read(&mut [0; 4096]);
    }
}

impl Carrier for Transport {
    fn secure(&mut self, secure: Option<&Secure>) -> Result<(), TlsError> {
        let secure = secure.ok_or_else(|| TlsError::Settings("no certificate".into()))?;
        self.tls = Some(secure.engine()?);
        Ok(())
    }

    fn is_handshaking(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.is_handshaking())
    }

    fn facts(&self) -> Option<Facts> {
        self.tls.as_ref().map(|tls| tls.facts())
    }

    fn read(&mut self, scratch: &mut [u8]) -> Result<Intake, TransportError> {
        let Some(tls) = &mut self.tls else {
            let room = scratch.len().min(PLAIN_READ);
            return Ok(match self.socket.read(&mut scratch[..room])? {
                0 => Intake::Ended { truncated: false },
                count => Intake::Bytes { count, drained: count < room },
            });
        };
        if tls.peer_has_closed() {
            return Ok(Intake::Ended { truncated: false });
        }
        let plaintext_room = scratch.len() - CIPHER_READ;
        let (plaintext, ciphertext) = scratch.split_at_mut(plaintext_room);
        let received = self.socket.read(ciphertext)?;
        if received == 0 {
            return Ok(Intake::Ended { truncated: true });
        }
        let drained = received < ciphertext.len();
        let mut input = &ciphertext[..received];
        let mut count = 0;
        while !input.is_empty() {
            if let Err(error) = tls.feed(&mut input) {
                // The alert that tells the peer why, as far as the socket takes it.
                let _ = tls.write_ciphertext(&mut self.socket);
                return Err(TransportError::Tls(error));
            }
            count += tls.take_plaintext(&mut plaintext[count..]);
        }
        // A close_notify is the end, whether the socket has ended or not.
        Ok(Intake::Bytes { count, drained: drained && !tls.peer_has_closed() })
    }

    fn read_into(&mut self, room: &mut Vec<u8>) -> Option<io::Result<Intake>> {
        if self.tls.is_some() {
            return None;
        }
        let spare = room.capacity() - room.len();
        let buffer = rustix::buffer::spare_capacity(room);
        let read = match &self.socket {
            Socket::Tcp(stream) => rustix::io::read(stream, buffer),
            Socket::Unix(stream) => rustix::io::read(stream, buffer),
        };
        Some(match read {
            Ok(0) => Ok(Intake::Ended { truncated: false }),
            Ok(count) => Ok(Intake::Bytes { count, drained: count < spare }),
            Err(error) => Err(error.into()),
        })
    }

    fn has_pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_ciphertext())
    }

    fn write(&mut self, outbox: &mut Outbox, budget: u64, last: bool) -> io::Result<Wrote> {
        if let Some(tls) = &mut self.tls {
            return write_secured(&mut **tls, &mut self.socket, outbox, budget);
        }
        match &self.socket {
            Socket::Tcp(socket) => write_all(socket, outbox, budget, last),
            Socket::Unix(socket) => write_all(socket, outbox, budget, last),
        }
    }

    fn shut_down(&mut self) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.close();
            while tls.has_ciphertext() {
                tls.write_ciphertext(&mut self.socket)?;
            }
        }
        match &self.socket {
            Socket::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Socket::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    fn reset(&self) {
        if let Socket::Tcp(stream) = &self.socket {
            let _ = socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO));
        }
    }

    fn take_error(&self) -> io::Result<()> {
        let error = match &self.socket {
            Socket::Tcp(stream) => stream.take_error()?,
            Socket::Unix(stream) => stream.take_error()?,
        };
        error.map_or(Ok(()), Err)
    }

    fn unsent(&self) -> u64 {
        match &self.socket {
            Socket::Tcp(stream) => crate::sys::unsent_octets(stream),
            Socket::Unix(stream) => crate::sys::unsent_octets(stream),
        }
    }
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.read(buffer),
            Socket::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write(bytes),
            Socket::Unix(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.write_vectored(slices),
            Socket::Unix(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[inline(never)]
fn put_slices<const MOST: usize>(tls: &mut dyn Engine, outbox: &Outbox) -> usize {
    let mut slices = [IoSlice::new(&[]); MOST];
    let count = outbox.gather(&mut slices);
    tls.put_plaintext(&slices[..count])
}

/// Writes what TLS holds, then lets it take more, by turns: plaintext leaves the outbox only when the
/// ciphertext before it is gone.
fn write_secured(
    tls: &mut dyn Engine,
    socket: &mut Socket,
    outbox: &mut Outbox,
    budget: u64,
) -> io::Result<Wrote> {
    let mut bytes = 0;
    loop {
        while tls.has_ciphertext() {
            match tls.write_ciphertext(socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(Wrote { bytes, blocked: true });
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if outbox.is_empty() || tls.is_handshaking() || bytes >= budget {
            return Ok(Wrote { bytes, blocked: false });
        }
        let taken = match (outbox.sole(), outbox.pieces()) {
            (Some(bytes), _) => tls.put_plaintext(&[IoSlice::new(bytes)]),
            (None, ..=FEW) => put_slices::<FEW>(tls, outbox),
            _ => put_slices::<SLICES>(tls, outbox),
        } as u64;
        if taken == 0 {
            return Err(io::Error::other("TLS takes no plaintext"));
        }
        outbox.advance(taken);
        bytes += taken;
    }
}

/// Sends as many pieces as go into one system call: how many octets were to go, and what became of it.
#[inline(never)]
fn send_slices<S: stream::Stream, const MOST: usize>(
    socket: &S,
    outbox: &Outbox,
    last: bool,
) -> (u64, io::Result<usize>) {
    let mut slices = [IoSlice::new(&[]); MOST];
    let count = outbox.gather(&mut slices);
    let slices = &slices[..count];
    let wanted = slices.iter().map(|slice| slice.len() as u64).sum();
    // With a file behind it, the head travels in the file's first packet, and the last octets with the end.
    let more = if wanted < outbox.len() { outbox.has_file() } else { last };
    (wanted, socket.send(slices, more))
}

fn write_all<S: stream::Stream>(
    socket: &S,
    outbox: &mut Outbox,
    budget: u64,
    last: bool,
) -> io::Result<Wrote> {
    let mut bytes = 0;
    while !outbox.is_empty() {
        if bytes >= budget {
            return Ok(Wrote { bytes, blocked: false });
        }
        let is_file = outbox.front_file().is_some();
        let (wanted, result) = match outbox.front_file() {
            Some((file, offset, length)) => {
                let wanted = length.min(budget - bytes);
                (wanted, socket.send_file(file, offset, wanted))
            }
            None => match (outbox.sole(), outbox.pieces()) {
                (Some(bytes), _) => (bytes.len() as u64, socket.send(&[IoSlice::new(bytes)], last)),
                (None, ..=FEW) => send_slices::<S, FEW>(socket, outbox, last),
                _ => send_slices::<S, SLICES>(socket, outbox, last),
            },
        };
        match result {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                outbox.advance(count as u64);
                bytes += count as u64;
                // A short write means that the socket is full: no second one to hear EAGAIN.
                // Of a file it may also be that it became shorter: that the next call tells.
                if (count as u64) < wanted && !is_file {
                    return Ok(Wrote { bytes, blocked: true });
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(Wrote { bytes, blocked: true });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(Wrote { bytes, blocked: false })
}
