//! The two ways to put bytes into a stream socket: from memory and from a file.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::AsFd;

use rustix::net::{SendAncillaryBuffer, SendFlags};

pub(super) trait Stream {
    /// Sends slices with one system call; `more` says that a file or the end follows at once.
    fn send(&self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize>;

    /// Sends a part of a file without bringing it into memory.
    fn send_file(&self, file: &File, offset: u64, length: u64) -> io::Result<usize>;
}

impl<S: AsFd> Stream for S {
    fn send(&self, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        let flags = match more {
            true => SendFlags::NOSIGNAL | SendFlags::MORE,
            false => SendFlags::NOSIGNAL,
        };
        let sent = match slices {
            [slice] => rustix::net::send(self, slice, flags),
            _ => rustix::net::sendmsg(self, slices, &mut SendAncillaryBuffer::default(), flags),
        };
        Ok(sent?)
    }

    fn send_file(&self, file: &File, offset: u64, length: u64) -> io::Result<usize> {
        let mut offset = offset;
        // Linux sends at most 2 GiB less a page at once (sendfile(2)).
        let length = length.min(1 << 30) as usize;
        match rustix::fs::sendfile(self, file, Some(&mut offset), length)? {
            0 => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was sent",
            )),
            sent => Ok(sent),
        }
    }
}
