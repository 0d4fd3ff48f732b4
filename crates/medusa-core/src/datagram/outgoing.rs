//! Datagrams that services have sent and that the kernel has not been given yet, in buffers that go round.

use std::net::{IpAddr, SocketAddr};

use super::SocketId;

/// A datagram on its way out.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) socket: SocketId,
    pub(crate) to: Option<SocketAddr>,
    pub(crate) from: Option<IpAddr>,
    pub(crate) bytes: Vec<u8>,
}

/// What the services of a shard have sent and the kernel has not been given, and spare buffers.
#[derive(Default)]
pub(crate) struct Outgoing {
    pub(crate) letters: Vec<Letter>,
    pub(super) bytes: usize,
    spare: Vec<Vec<u8>>,
}

impl Outgoing {
    /// Letters that make it worth while to send them at once.
    const MANY: usize = crate::sys::BATCH;
    pub(super) const MANY_BYTES: usize = 256 * 1024;
    /// Buffers kept for reuse, and how large they may be.
    const SPARE: usize = 2 * Self::MANY;
    const SPARE_BYTES: usize = 16 * 1024;
    /// What a letter costs beside its bytes.
    const ENVELOPE: usize = size_of::<Letter>();

    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Whether it should be sent before more is added.
    pub(crate) fn is_full(&self) -> bool {
        self.letters.len() >= Self::MANY || self.bytes >= Self::MANY_BYTES
    }

    /// Takes everything, to be sent.
    pub(crate) fn take(&mut self) -> Vec<Letter> {
        self.bytes = 0;
        std::mem::take(&mut self.letters)
    }

    /// Takes what is to leave by one socket.
    pub(crate) fn take_by(&mut self, socket: SocketId) -> Vec<Letter> {
        let letters: Vec<_> =
            self.letters.extract_if(.., |letter| letter.socket == socket).collect();
        self.bytes -= letters.iter().map(Letter::cost).sum::<usize>();
        letters
    }

    /// Takes back an emptied list of letters.
    pub(crate) fn restore(&mut self, mut letters: Vec<Letter>) {
        for letter in letters.drain(..) {
            self.recycle(letter.bytes);
        }
        if self.letters.is_empty() {
            self.letters = letters;
        }
    }

    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        let useful = (1..=Self::SPARE_BYTES).contains(&buffer.capacity());
        if useful && self.spare.len() < Self::SPARE {
            buffer.clear();
            self.spare.push(buffer);
        }
    }

    /// Drops all but the first `count` letters.
    pub(crate) fn truncate(&mut self, count: usize) {
        for letter in self.letters.drain(count..).collect::<Vec<_>>() {
            self.bytes -= letter.cost();
            self.recycle(letter.bytes);
        }
    }

    pub(super) fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(512))
    }

    pub(super) fn push(&mut self, letter: Letter) {
        self.bytes += letter.cost();
        self.letters.push(letter);
    }
}

impl Letter {
    /// What it counts for against [`DatagramLimits::unsent_bytes`].
    pub(crate) fn cost(&self) -> usize {
        self.bytes.len() + Outgoing::ENVELOPE
    }
}
