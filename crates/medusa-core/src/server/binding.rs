//! Binding: one socket a shard for each address, and what tells a port that is taken.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;

use mio::net::UdpSocket;
use socket2::{Domain, Protocol, SockAddr, Type};

use crate::config::Listen;
use crate::shard::{Socket, bind_datagrams};

/// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// Binds one listener for each shard.
pub(super) fn bind_all(address: &Listen, shards: usize) -> io::Result<(Listen, Vec<Socket>)> {
    match address {
        Listen::Inet(address) => {
            // SO_REUSEPORT would let a second server of the same user share the port unnoticed.
            drop(bind_tcp(*address, false)?);
            let first = bind_tcp(*address, shards > 1)?;
            let bound = first.local_addr()?;
            let mut sockets = vec![Socket::Tcp(mio::net::TcpListener::from_std(first))];
            for _ in 1..shards {
                let next = bind_tcp(bound, true)?;
                sockets.push(Socket::Tcp(mio::net::TcpListener::from_std(next)));
            }
            Ok((Listen::Inet(bound), sockets))
        }
        Listen::Unix(path) => {
            let listener = bind_unix(path)?;
            let mut sockets = Vec::new();
            for _ in 1..shards {
                sockets.push(Socket::Unix(mio::net::UnixListener::from_std(listener.try_clone()?)));
            }
            sockets.push(Socket::Unix(mio::net::UnixListener::from_std(listener)));
            Ok((address.clone(), sockets))
        }
    }
}

/// Binds one socket for datagrams for each shard.
pub(super) fn bind_all_datagrams(
    address: &Listen,
    shards: usize,
) -> io::Result<(Listen, Vec<UdpSocket>)> {
    let Listen::Inet(address) = address else {
        let message = "datagrams over Unix sockets are not supported";
        return Err(io::Error::new(io::ErrorKind::Unsupported, message));
    };
    // As above: without sharing first, so that a port in use is told.
    drop(bind_datagrams(*address, false)?);
    let first = bind_datagrams(*address, shards > 1)?;
    let bound = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..shards {
        sockets.push(bind_datagrams(bound, true)?);
    }
    Ok((Listen::Inet(bound), sockets))
}

fn bind_tcp(address: SocketAddr, share: bool) -> io::Result<std::net::TcpListener> {
    let socket = socket2::Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if share {
        socket.set_reuse_port(true)?;
    }
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` may be listed side by side.
        socket.set_only_v6(true)?;
    }
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        // A socket that nobody answers is what an earlier run has left.
        Err(error)
            if error.kind() == io::ErrorKind::AddrInUse
                && std::os::unix::net::UnixStream::connect(path)
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) =>
        {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        result => result?,
    };
    listener.set_nonblocking(true)?;
    Ok(listener)
}
