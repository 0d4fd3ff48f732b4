//! How a folder is served: what may be said of it in a program or a configuration.

use http::header::HeaderValue;

use super::cache::Bounds;

/// How [`StaticFiles`](super::StaticFiles) serves a folder.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StaticOptions {
    /// The names that stand for a folder, the first that exists being served. `index.html`, as
    /// everywhere.
    pub index: Vec<String>,
    /// Whether a folder without any of them is shown as a list. Off, as in nginx and Apache.
    pub listing: bool,
    /// Whether names that begin with a dot are served and listed. Off: such files are configuration,
    /// histories and repositories more often than content. `.well-known` (RFC 8615) always is.
    pub hidden: bool,
    /// Whether what compresses well is compressed for each client that takes it. Off, as in nginx.
    pub gzip: bool,
    /// How hard, from 1 to 9: zlib's own default of 6.
    pub gzip_level: u32,
    /// Files shorter than this are sent as they are: what fits a packet gains nothing. 1 KiB.
    pub gzip_minimum: u64,
    /// Whether `x.br` and `x.gz` are sent instead of `x` where they lie beside it and are no older.
    pub precompressed: bool,
    /// The Cache-Control field, if there is to be one.
    pub cache_control: Option<HeaderValue>,
    /// Whether PUT and DELETE are allowed.
    pub writable: bool,
    /// How long a file may be that is PUT; `None` is as long as the disk holds. 1 GiB.
    pub max_upload: Option<u64>,
    /// Whether a PUT is on the disk (`fsync`) before it is answered.
    pub sync: bool,
    /// What each shard may keep of the files it serves.
    pub cache: CacheLimits,
}

/// What each shard may keep of the files it serves. Nothing of it is served unchecked for longer than
/// a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheLimits {
    /// How many files; 0 turns the cache off. 4,096.
    pub entries: usize,
    /// How many bytes of content. 16 MiB.
    pub bytes: usize,
    /// How many descriptors: 256. All caches of a process together keep at most a quarter of what it may open.
    pub descriptors: usize,
    /// Files up to this length are kept as bytes, longer ones as a descriptor. 64 KiB.
    pub small: u64,
}

impl Default for StaticOptions {
    fn default() -> Self {
        Self {
            index: vec!["index.html".to_owned()],
            listing: false,
            hidden: false,
            gzip: false,
            gzip_level: 6,
            gzip_minimum: 1024,
            precompressed: true,
            cache_control: None,
            writable: false,
            max_upload: Some(1 << 30),
            sync: false,
            cache: CacheLimits::default(),
        }
    }
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { entries: 4096, bytes: 16 << 20, descriptors: 256, small: 64 << 10 }
    }
}

impl CacheLimits {
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { entries: self.entries, bytes: self.bytes, descriptors: self.descriptors }
    }
}
