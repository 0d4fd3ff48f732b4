//! System calls that no library offers safely. The one file in which `unsafe` is allowed.
#![allow(unsafe_code)]

use std::os::fd::AsFd;

use rustix::ioctl::{self, Getter};

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
