//! What a request for a file costs that was served lately: all but the socket. Prints nanoseconds.
//!
//! `cargo bench -p medusa-http --bench static_files`

#![allow(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::time::Instant;

use medusa_core::testing::{Client, Faults};
use medusa_core::{Endpoint, Peer, Service};
use medusa_files::Root;
use medusa_http::{HttpService, StaticFiles, StaticOptions};

const TABLE: &[(&str, &str, &str)] = &[
    ("13 B", "13.txt", ""),
    ("4 KiB", "4096.bin", ""),
    ("4 KiB, compressible, not asked for", "4096.txt", ""),
    ("1 MiB", "1048576.bin", ""),
    ("304", "4096.bin", "If-None-Match: *\r\n"),
    ("a range", "4096.bin", "Range: bytes=0-99\r\n"),
    ("not there", "none", ""),
    ("gzip on the fly, 4 KiB", "4096.txt", "Accept-Encoding: gzip\r\n"),
];

fn main() {
    let rounds: u32 = std::env::args().find_map(|n| n.parse().ok()).unwrap_or(10_000);
    let folder = tempfile::tempdir().unwrap();
    for (_, name, _) in TABLE {
        if let Some(len) = name.split('.').next().and_then(|len| len.parse().ok()) {
            std::fs::write(folder.path().join(name), vec![b'x'; len]).unwrap();
        }
    }
    let root = Root::new(folder.path()).unwrap();
    let mut options = StaticOptions::default();
    options.gzip = true;
    let service =
        HttpService::new("bench", move || StaticFiles::new(root.clone(), options.clone()));
    let here = Endpoint::Inet(([127, 0, 0, 1], 80).into());
    let peer = Peer::new(here, here);
    for (what, name, fields) in TABLE {
        let session = service.acceptor().accepted(&peer);
        let mut client = Client::with(session, service.parts().limits(), Faults::none());
        let burst = format!("GET /{name} HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}\r\n").repeat(16);
        // The scripted client copies what it is sent; of a large file that would be all there is.
        let rounds = if *what == "1 MiB" { rounds / 1000 } else { rounds };
        let began = Instant::now();
        for _ in 0..rounds {
            client.send(&burst).run_jobs();
            std::hint::black_box(client.output());
        }
        let nanos = began.elapsed().as_nanos() / u128::from(rounds * 16);
        println!("{nanos:8} ns  {what}");
    }
}
