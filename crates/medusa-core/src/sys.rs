//! System calls that no library offers safely. The one file in which `unsafe` is allowed.
#![allow(unsafe_code)]

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::{io, mem, ptr};

use rustix::ioctl::{self, Getter};

use crate::ancillary::{RawAddress, RawControl};

/// TIOCOUTQ, under which number tcp(7) and unix(7) know it as SIOCOUTQ.
const SIOCOUTQ: ioctl::Opcode = 0x5411;

/// How many octets of a stream socket's output the kernel has not sent yet, or the peer has not
/// acknowledged. Where the kernel can't tell, none.
pub(crate) fn unsent_octets(socket: &impl AsFd) -> u64 {
    // SAFETY: SIOCOUTQ writes one C `int` through its argument, which is what `Getter` with `i32` lends
    // it.
    let answer = unsafe { ioctl::ioctl(socket, Getter::<SIOCOUTQ, i32>::new()) };
    answer.ok().and_then(|octets| u64::try_from(octets).ok()).unwrap_or(0)
}

/// Has a socket that is bound to an address alone get its port when it connects.
pub(crate) fn choose_port_late(socket: &impl AsFd) -> io::Result<()> {
    let (on, fd): (libc::c_int, _) = (1, socket.as_fd().as_raw_fd());
    let size = size_of_val(&on) as libc::socklen_t;
    let option = libc::IP_BIND_ADDRESS_NO_PORT;
    // SAFETY: the option reads one C `int`; `on` is one and outlives the call. It is one of IPPROTO_IP for
    // IPv6 too.
    let result =
        unsafe { libc::setsockopt(fd, libc::IPPROTO_IP, option, (&raw const on).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Datagrams that one system call takes or sends at most.
pub(crate) const BATCH: usize = 64;

/// Has the kernel tell with each datagram to which of our addresses it was sent.
pub(crate) fn tell_local_addresses(socket: &impl AsFd, ipv6: bool) -> io::Result<()> {
    let (level, option) = match ipv6 {
        false => (libc::IPPROTO_IP, libc::IP_PKTINFO),
        true => (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO),
    };
    let on: libc::c_int = 1;
    let fd = socket.as_fd().as_raw_fd();
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: both options read one C `int`; `on` is one and outlives the call.
    let result = unsafe { libc::setsockopt(fd, level, option, (&raw const on).cast(), size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A batch of datagrams that have come in, and the buffers that they stand in.
pub(crate) struct Arrivals {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    addresses: Vec<RawAddress>,
    controls: Vec<RawControl>,
    bytes: Vec<u8>,
    /// The longest datagram that is taken whole.
    size: usize,
    /// How many headers the last call has changed.
    filled: usize,
}

/// A datagram that has come in.
pub(crate) struct Arrival<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) from: Option<SocketAddr>,
    /// The address of ours that it was sent to, where the socket was told to say so.
    pub(crate) local: Option<IpAddr>,
    pub(crate) truncated: bool,
}

impl Default for Arrivals {
    fn default() -> Self {
        Arrivals {
            headers: vec![empty_header(); BATCH],
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH],
            addresses: vec![RawAddress::default(); BATCH],
            controls: vec![RawControl::default(); BATCH],
            bytes: Vec::new(),
            size: 0,
            filled: 0,
        }
    }
}

impl Arrivals {
    /// Takes what waits, without waiting. Of a datagram longer than `size` only so much is kept.
    pub(crate) fn receive(&mut self, socket: &impl AsFd, size: usize) -> io::Result<usize> {
        if self.size != size {
            self.lay_out(size);
        }
        for header in &mut self.headers[..self.filled] {
            reset(&mut header.msg_hdr);
        }
        self.filled = 0;
        let fd = socket.as_fd().as_raw_fd();
        let headers = self.headers.as_mut_ptr();
        let flags = libc::MSG_DONTWAIT as _;
        // SAFETY: there are BATCH headers. Each points at buffers of this struct, of the lengths that
        // it gives, since `lay_out`; the vectors are never resized, so they don't move, and `&mut self`
        // keeps everybody else away during the call.
        let count =
            unsafe { libc::recvmmsg(fd, headers, BATCH as libc::c_uint, flags, ptr::null_mut()) };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.filled = count;
        Ok(count)
    }

    /// One of the datagrams that the last [`receive`](Self::receive) has counted.
    pub(crate) fn datagram(&self, index: usize) -> Arrival<'_> {
        let header = &self.headers[index];
        let start = index * stride(self.size);
        let length = (header.msg_len as usize).min(self.size);
        #[allow(clippy::unnecessary_cast, reason = "musl has a socklen_t there")]
        let control = header.msg_hdr.msg_controllen as usize;
        Arrival {
            bytes: &self.bytes[start..start + length],
            from: self.addresses[index].read(),
            local: self.controls[index].read(control),
            truncated: is_truncated(header),
        }
    }

    /// How many of the last batch were longer than the size.
    pub(crate) fn truncated(&self) -> usize {
        self.headers[..self.filled].iter().filter(|header| is_truncated(header)).count()
    }

    fn lay_out(&mut self, size: usize) {
        self.size = size;
        self.filled = 0;
        if self.bytes.len() < stride(size) * BATCH {
            self.bytes = vec![0; stride(size) * BATCH];
        }
        let bytes = self.bytes.chunks_exact_mut(stride(size));
        let buffers = bytes.zip(&mut self.vectors).zip(&mut self.addresses).zip(&mut self.controls);
        for ((((bytes, vector), address), control), header) in buffers.zip(&mut self.headers) {
            vector.iov_base = bytes.as_mut_ptr().cast();
            vector.iov_len = size;
            let header = &mut header.msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut *address).cast();
            header.msg_control = (&raw mut *control).cast();
            reset(header);
        }
    }
}

fn is_truncated(header: &libc::mmsghdr) -> bool {
    header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0
}

/// From one datagram's buffer to the next: a cache line more than its size, since buffers a power of two
/// apart would all compete for the same few lines of the cache.
fn stride(size: usize) -> usize {
    size.next_multiple_of(64) + 64
}

/// Says again how long the buffers are; the kernel has put in how much of them it used.
fn reset(header: &mut libc::msghdr) {
    header.msg_namelen = RawAddress::CAPACITY as _;
    header.msg_controllen = RawControl::CAPACITY as _;
    header.msg_flags = 0;
}

/// A datagram to be sent.
pub(crate) struct Departure<'a> {
    pub(crate) bytes: &'a [u8],
    /// None for the peer of a connected socket.
    pub(crate) to: Option<SocketAddr>,
    /// None for the socket's own address.
    pub(crate) from: Option<IpAddr>,
}

/// Room to send a batch of datagrams.
pub(crate) struct Departures {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    addresses: Vec<RawAddress>,
    controls: Vec<RawControl>,
}

impl Default for Departures {
    fn default() -> Self {
        Departures {
            headers: vec![empty_header(); BATCH],
            vectors: vec![libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; BATCH],
            addresses: vec![RawAddress::default(); BATCH],
            controls: vec![RawControl::default(); BATCH],
        }
    }
}

impl Departures {
    /// Sends the first of `datagrams`, as many as one call takes, without waiting. Says how many
    /// were sent; an error is about the very first.
    pub(crate) fn send<'a>(
        &mut self,
        socket: &impl AsFd,
        datagrams: impl Iterator<Item = Departure<'a>>,
    ) -> io::Result<usize> {
        let mut count = 0;
        let rooms = self.vectors.iter_mut().zip(&mut self.addresses).zip(&mut self.controls);
        let rooms = rooms.zip(&mut self.headers);
        for (datagram, (((vector, address), control), header)) in datagrams.zip(rooms) {
            vector.iov_base = datagram.bytes.as_ptr().cast_mut().cast();
            vector.iov_len = datagram.bytes.len();
            let header = &mut header.msg_hdr;
            header.msg_iov = vector;
            header.msg_iovlen = 1;
            (header.msg_name, header.msg_namelen) = match datagram.to {
                Some(to) => {
                    let length = address.write(to);
                    ((&raw mut *address).cast(), length as _)
                }
                None => (ptr::null_mut(), 0),
            };
            (header.msg_control, header.msg_controllen) = match datagram.from {
                Some(from) => {
                    let length = control.write(from);
                    ((&raw mut *control).cast(), length as _)
                }
                None => (ptr::null_mut(), 0),
            };
            count += 1;
        }
        let fd = socket.as_fd().as_raw_fd();
        let headers = self.headers.as_mut_ptr();
        let flags = (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _;
        // SAFETY: the first `count` headers, at most BATCH, have just been pointed at buffers of this
        // struct and at the bytes of `datagrams`, which are lent for 'a and so outlive the call; the
        // kernel only reads what it sends.
        let sent = unsafe { libc::sendmmsg(fd, headers, count, flags) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

fn empty_header() -> libc::mmsghdr {
    // SAFETY: an mmsghdr is integers and pointers; zeroes are null pointers and lengths of nothing.
    unsafe { mem::zeroed() }
}
