//! What carries a connection's bytes: plain TCP or a Unix-domain socket.
//!
//! The only place, with `shard/`, that knows of sockets. A transport empties an [`Outbox`] with as few
//! system calls as it can and fills the shard's scratch buffer; it knows nothing of frames or sessions.

mod stream;

use std::io::{self, IoSlice};

use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};

use crate::outbox::Outbox;

/// How many slices go into one `writev`.
const SLICES: usize = 64;

/// What a transport's turn at writing came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wrote {
    pub(crate) bytes: u64,
    /// The socket takes no more now; an event will tell when it does.
    pub(crate) blocked: bool,
}

/// A connection's socket.
#[derive(Debug)]
pub(crate) enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Transport {
    /// Registers the socket once, for both directions, edge-triggered.
    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Transport::Tcp(stream) => stream.register(registry, token, interest),
            Transport::Unix(stream) => stream.register(registry, token, interest),
        }
    }

    /// Reads once.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Tcp(stream) => io::Read::read(stream, buffer),
            Transport::Unix(stream) => io::Read::read(stream, buffer),
        }
    }

    /// Writes until the outbox is empty, `budget` bytes are gone or the socket is full.
    pub(crate) fn write(&mut self, outbox: &mut Outbox, budget: u64) -> io::Result<Wrote> {
        match self {
            Transport::Tcp(socket) => write_all(socket, outbox, budget),
            Transport::Unix(socket) => write_all(socket, outbox, budget),
        }
    }

    /// Tells the peer that no more will come.
    pub(crate) fn shut_down(&mut self) -> io::Result<()> {
        match self {
            Transport::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Transport::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
        }
    }

    /// An outbound connection's error, once the socket is writable.
    pub(crate) fn take_error(&self) -> io::Result<()> {
        let error = match self {
            Transport::Tcp(stream) => stream.take_error()?,
            Transport::Unix(stream) => stream.take_error()?,
        };
        error.map_or(Ok(()), Err)
    }

    /// Octets that the kernel has taken and not sent yet. Where it can't tell, none.
    pub(crate) fn unsent(&self) -> u64 {
        match self {
            Transport::Tcp(stream) => crate::sys::unsent_octets(stream),
            Transport::Unix(stream) => crate::sys::unsent_octets(stream),
        }
    }
}

fn write_all<S: stream::Stream>(socket: &S, outbox: &mut Outbox, budget: u64) -> io::Result<Wrote> {
    let mut bytes = 0;
    while !outbox.is_empty() {
        if bytes >= budget {
            return Ok(Wrote { bytes, blocked: false });
        }
        let (wanted, result) = match outbox.front_file() {
            Some((file, offset, length)) => {
                let wanted = length.min(budget - bytes);
                (wanted, socket.send_file(file, offset, wanted))
            }
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = outbox.gather(&mut slices);
                let slices = &slices[..count];
                let wanted = slices.iter().map(|slice| slice.len() as u64).sum();
                // With a file behind it, the head travels in the file's first packet.
                let more = outbox.has_file() && wanted < outbox.len();
                (wanted, socket.send(slices, more))
            }
        };
        match result {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                outbox.advance(count as u64);
                bytes += count as u64;
                // A short write means that the socket is full: no second one to hear EAGAIN.
                if (count as u64) < wanted {
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
