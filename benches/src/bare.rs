//! The floor: an epoll loop that answers every empty line with the same bytes. It parses nothing, keeps
//! nothing and handles no error; what it costs is what the kernel costs.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::event::epoll;

use crate::canned::REPLY;

const LISTENER: u64 = u64::MAX;

/// Serves until the process is killed.
pub(crate) fn serve(address: SocketAddr) -> anyhow::Result<()> {
    let listener = TcpListener::bind(address)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut streams: HashMap<u64, TcpStream> = HashMap::new();
    let mut next = 0;
    let mut buffer = vec![0; 64 * 1024];
    let replies = REPLY.repeat(1024);
    let mut events: Vec<epoll::Event> = Vec::with_capacity(1024);
    loop {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let token = event.data.u64();
            if token == LISTENER {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
                epoll::add(&poll, &stream, epoll::EventData::new_u64(next), flags)?;
                streams.insert(next, stream);
                next += 1;
                continue;
            }
            let Some(stream) = streams.get_mut(&token) else { continue };
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => drop(streams.remove(&token)),
                Ok(count) => {
                    let requests = memchr::memmem::find_iter(&buffer[..count], b"\r\n\r\n").count();
                    stream.write_all(&replies[..requests * REPLY.len()])?;
                }
            }
        }
    }
}
