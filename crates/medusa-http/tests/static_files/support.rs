//! A folder, a server for it, and a client that reads replies.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use medusa_core::testing::{Client, Faults};
use medusa_core::{Endpoint, Limits, Peer, Service};
use medusa_files::Root;
use medusa_http::{Handler, HttpService, Route, Router, StaticFiles, StaticOptions};

/// When every file was last modified.
pub(crate) const MODIFIED: u64 = 784_111_777;
/// The same as HTTP writes it.
pub(crate) const MODIFIED_DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// A folder that is served.
pub(crate) struct Site {
    folder: Arc<tempfile::TempDir>,
    /// The one connection to it.
    pub(crate) client: Client,
    /// What came out of it and wasn't looked at.
    received: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Site {
    pub(crate) fn new(options: StaticOptions, files: &[(&str, &str)]) -> Self {
        Self::with(options, files, |path| Root::new(path).unwrap())
    }

    pub(crate) fn with(
        options: StaticOptions,
        files: &[(&str, &str)],
        root: impl Fn(&Path) -> Root,
    ) -> Self {
        Self::with_faults(options, files, root, Faults::none())
    }

    pub(crate) fn with_faults(
        options: StaticOptions,
        files: &[(&str, &str)],
        root: impl Fn(&Path) -> Root,
        faults: Faults,
    ) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let root = root(folder.path());
        let handler = move || StaticFiles::new(root.clone(), options.clone());
        Self::served(folder, handler, files, faults)
    }

    /// The folder is what a route of this path serves.
    pub(crate) fn routed(
        path: &'static str,
        options: StaticOptions,
        files: &[(&str, &str)],
    ) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        let root = Root::new(folder.path()).unwrap();
        let handler = move || {
            let files = StaticFiles::new(root.clone(), options.clone());
            Router::new().route(Route::prefix(path), files)
        };
        Self::served(folder, handler, files, Faults::none())
    }

    /// Another server for the same folder.
    pub(crate) fn beside(&self, options: StaticOptions) -> Self {
        let root = Root::new(self.folder.path()).unwrap();
        let handler = move || StaticFiles::new(root.clone(), options.clone());
        Self::served(Arc::clone(&self.folder), handler, &[], Faults::none())
    }

    fn served<H: Handler + 'static>(
        folder: Arc<tempfile::TempDir>,
        handler: impl Fn() -> H + Send + Sync + 'static,
        files: &[(&str, &str)],
        faults: Faults,
    ) -> Self {
        let service = HttpService::new("http.test", handler);
        let local = |port| Endpoint::Inet(([127, 0, 0, 1], port).into());
        let session = service.acceptor().accepted(&Peer::new(local(1), local(2)));
        let client = Client::with(session, Limits::default(), faults);
        let site = Self { folder, client, received: Vec::new() };
        for (name, content) in files {
            site.write(name, content, MODIFIED);
        }
        site
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Puts a file in its place that was last modified at a time.
    pub(crate) fn write(&self, name: &str, content: &str, modified: u64) {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let new = self.path().join("new");
        fs::write(&new, content).unwrap();
        let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(modified);
        fs::File::options().write(true).open(&new).unwrap().set_modified(modified).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Sends a request and leaves it at that.
    pub(crate) fn ask(&mut self, method: &str, target: &str, fields: &str, body: &str) {
        let length = match body.len() {
            0 => String::new(),
            length => format!("Content-Length: {length}\r\n"),
        };
        self.client
            .send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{length}{fields}\r\n{body}"));
    }

    /// Does all that is to be done in the pool, also what a reply needs that is under way.
    pub(crate) fn run_jobs(&mut self) {
        // A file system that can't tell what it holds in memory has every piece of a file read there.
        for _ in 0..100_000 {
            let before = self.received.len();
            self.client.run_jobs();
            if let Some(remote) = self.client.remote() {
                remote.wake();
            }
            self.client.deliver().run_jobs();
            self.received.extend(self.client.output());
            if self.received.len() == before {
                return;
            }
        }
    }

    /// Takes what has come so far.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        self.received.extend(self.client.output());
        std::mem::take(&mut self.received)
    }

    pub(crate) fn request(
        &mut self,
        method: &str,
        target: &str,
        fields: &str,
        body: &str,
    ) -> Reply {
        self.ask(method, target, fields, body);
        self.run_jobs();
        self.replies(&[method]).swap_remove(0)
    }

    pub(crate) fn get(&mut self, target: &str, fields: &str) -> Reply {
        self.request("GET", target, fields, "")
    }

    /// The replies to requests with these methods, and nothing behind them.
    pub(crate) fn replies(&mut self, methods: &[&str]) -> Vec<Reply> {
        let output = self.output();
        let mut rest = &output[..];
        let replies = methods.iter().map(|method| Reply::take(&mut rest, method)).collect();
        assert_eq!(String::from_utf8_lossy(rest), "");
        replies
    }
}

impl Reply {
    /// The first value of a field.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head
            .split("\r\n")
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .find(|(field, _)| field.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    fn take(rest: &mut &[u8], method: &str) -> Self {
        let end = memchr::memmem::find(rest, b"\r\n\r\n").unwrap_or_else(|| {
            panic!("no whole head in {:?}", String::from_utf8_lossy(rest));
        });
        let head = String::from_utf8(rest[..end].to_vec()).unwrap();
        *rest = &rest[end + 4..];
        let status = head["HTTP/1.1 ".len()..][..3].parse().unwrap();
        let mut reply = Self { status, head, body: Vec::new() };
        if method == "HEAD" || matches!(status, 204 | 304) {
            return reply;
        }
        if reply.field("transfer-encoding") == Some("chunked") {
            loop {
                let end = memchr::memmem::find(rest, b"\r\n").unwrap();
                let size = std::str::from_utf8(&rest[..end]).unwrap();
                let size = usize::from_str_radix(size, 16).unwrap();
                reply.body.extend_from_slice(&rest[end + 2..][..size]);
                *rest = rest[end + 2 + size..].strip_prefix(b"\r\n").unwrap();
                if size == 0 {
                    return reply;
                }
            }
        }
        let length = reply.field("content-length").unwrap().parse().unwrap();
        reply.body = rest[..length].to_vec();
        *rest = &rest[length..];
        reply
    }
}
