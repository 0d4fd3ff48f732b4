//! Files of a folder over HTTP: GET and HEAD with conditions, ranges and codings; PUT and DELETE where
//! they are allowed.
//!
//! What was served lately is kept for the shard: short files as bytes, long ones as a descriptor that
//! all replies share, each with its header fields ready. It is looked at again at most once a second.
//! A request for it takes neither a system call nor an allocation.
//!
//! What isn't in memory (a directory that must be read from the disk, the content of a short file) is
//! looked up in the server's pool; listings always are. No name leads out of the folder, whatever is in
//! it: that is `medusa-files`' doing.
//!
//! It doesn't run programs, doesn't look into files to guess what they are, and doesn't make folders.

mod answer;
mod cache;
mod conditional;
mod descriptors;
mod encoding;
mod listing;
mod lookup;
mod media_type;
mod multipart;
mod options;
mod ranges;
mod representation;
mod upload;
mod writes;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::time::Instant;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, StatusCode};
use medusa_files::{Error, Root};

use self::answer::{Ask, respond};
use self::cache::{Cache, Weigh, Weight};
use self::lookup::{Entry, Finder, Found, Sibling, Wait, is_hidden_path};
pub use self::options::{CacheLimits, StaticOptions};
use self::representation::{Content, Representation};
use self::writes::Freshness;
use crate::handler::{Answer, Exchange, Handler};
use crate::request::Request;
use crate::response::Response;
use crate::router::refuse_method;

/// Serves the files of a folder. It belongs to one shard; each shard makes its own.
#[derive(Clone)]
pub struct StaticFiles {
    shard: Rc<Shard>,
}

/// What one shard knows of the folder.
pub(crate) struct Shard {
    pub(crate) finder: Arc<Finder>,
    cache: RefCell<Cache<Kept>>,
    /// Files that the cache gave up while replies were still being sent from them.
    loose: RefCell<Vec<Weak<File>>>,
    random: RandomState,
    counter: Cell<u64>,
}

/// What is kept of a path.
enum Kept {
    File(Box<Entry>),
    /// A folder's listing, which is the costliest page there is: a second's requests for it share one.
    Page {
        page: Bytes,
        fresh: Freshness,
    },
}

/// Where a request leads, to outlive it where need be.
#[derive(Clone)]
struct Place<'a> {
    /// Beneath the root.
    path: Cow<'a, [u8]>,
    /// As the client knows it, decoded.
    shown: Cow<'a, [u8]>,
    query: Option<Cow<'a, [u8]>>,
}

impl StaticFiles {
    /// Serves what is beneath `root`.
    pub fn new(root: Root, options: StaticOptions) -> Self {
        let cache = RefCell::new(Cache::new(options.cache.bounds()));
        let shard = Shard {
            finder: Arc::new(Finder::new(root, options)),
            cache,
            loose: RefCell::default(),
            random: RandomState::new(),
            counter: Cell::new(0),
        };
        Self { shard: Rc::new(shard) }
    }

    fn allowed(&self) -> &'static [Method] {
        const READING: &[Method] = &[Method::GET, Method::HEAD, Method::OPTIONS];
        const WRITING: &[Method] =
            &[Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE];
        if self.shard.finder.options.writable { WRITING } else { READING }
    }
}

impl std::fmt::Debug for StaticFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StaticFiles").field("finder", &self.shard.finder).finish_non_exhaustive()
    }
}

impl Handler for StaticFiles {
    fn requested(&self, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
        let is_writable = self.shard.finder.options.writable;
        match *request.method() {
            Method::GET | Method::HEAD => get(&self.shard, request, exchange),
            Method::PUT if is_writable => upload::put(&self.shard, request, exchange),
            Method::DELETE if is_writable => upload::delete(&self.shard, request, exchange),
            Method::OPTIONS => Response::new(StatusCode::NO_CONTENT).allow(self.allowed()).into(),
            _ => refuse_method(request.method(), self.allowed()).into(),
        }
    }

    fn methods(&self) -> Vec<Method> {
        self.allowed().to_vec()
    }
}

fn get(shard: &Rc<Shard>, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
    let ask = Ask::new(request);
    let path = request.rest();
    // A route that is asked for without its slash: before anything, since what is kept has no slash either.
    if (!path.is_empty() || request.path().ends_with(b"/"))
        && let Some(response) = shard.hit(path, &ask, exchange)
    {
        return response.into();
    }
    if is_hidden_path(path, shard.finder.options.hidden) {
        return Response::error(StatusCode::NOT_FOUND).into();
    }
    let place = Place {
        path: Cow::Borrowed(path),
        shown: Cow::Borrowed(request.path()),
        query: request.query().map(Cow::Borrowed),
    };
    let is_folder = place.shown.ends_with(b"/");
    if path.is_empty() && !is_folder {
        return place.with_slash().into();
    }
    let fresh = shard.finder.writes.fresh_from(exchange.now());
    let find = || shard.finder.find(path, is_folder, ask.wants_siblings(), fresh, Wait::Refused);
    let mut found = find();
    if matches!(found, Err(Error::TooManyOpen)) {
        // What is kept open to save time must not be what others lack.
        shard.forget_all();
        found = find();
    }
    match found {
        Err(Error::WouldBlock) => {}
        found => return shard.found(found, &place, &ask, exchange),
    }
    let (finder, shard) = (Arc::clone(&shard.finder), Rc::clone(shard));
    let (place, ask) = (place.into_owned(), ask.into_owned());
    let (path, with_siblings) = (place.path.to_vec(), ask.wants_siblings());
    exchange.offload(
        move || finder.find(&path, is_folder, with_siblings, fresh, Wait::Allowed),
        move |found, exchange| shard.found(found, &place, &ask, exchange),
    )
}

impl Shard {
    /// Answers from what is kept, if it is there and still good.
    #[inline]
    fn hit(&self, path: &[u8], ask: &Ask<'_>, exchange: &Exchange<'_, '_>) -> Option<Response> {
        let mut cache = self.cache.borrow_mut();
        let is_old = |fresh| self.finder.writes.is_stale(fresh, exchange.now());
        match cache.get(path)? {
            Kept::File(entry) => {
                let is_old = is_old(entry.fresh);
                let is_known = !ask.wants_siblings() || !entry.has_unknown_siblings();
                if !is_old && is_known {
                    return Some(self.respond(entry, ask, exchange));
                }
                if self.refresh(entry, is_old, ask, exchange.now()) {
                    self.claim(entry);
                    let response = self.respond(entry, ask, exchange);
                    cache.reweigh(path, |kept| self.let_go(kept));
                    return Some(response);
                }
            }
            Kept::Page { page, fresh } if !is_old(*fresh) => {
                return Some(listed(page.clone()));
            }
            Kept::Page { .. } => {}
        }
        if let Some(kept) = cache.remove(path) {
            self.let_go(kept);
        }
        None
    }

    /// Looks at the disk again, as far as it needs no waiting for. If the file isn't what it was, or
    /// that can't be told at once, it is looked up like one that was never seen.
    #[cold]
    fn refresh(&self, entry: &mut Entry, is_old: bool, ask: &Ask<'_>, now: Instant) -> bool {
        if is_old {
            let fresh = self.finder.writes.fresh_from(now);
            match self.finder.is_fresh(entry, Wait::Refused) {
                Ok(true) => entry.fresh = fresh,
                Ok(false) | Err(_) => return false,
            }
        }
        let has_all = !ask.wants_siblings() || !entry.has_unknown_siblings();
        has_all || self.finder.find_siblings(entry, Wait::Refused).is_ok()
    }

    /// Answers with what a look-up brought, and keeps it.
    fn found(
        self: &Rc<Self>,
        found: Result<Found, Error>,
        place: &Place<'_>,
        ask: &Ask<'_>,
        exchange: &mut Exchange<'_, '_>,
    ) -> Answer {
        match found {
            Ok(Found::File(mut entry)) => {
                self.bound(&mut entry);
                let response = self.respond(&entry, ask, exchange);
                self.keep(&place.path, Kept::File(entry));
                response.into()
            }
            Ok(Found::Folder) => place.with_slash().into(),
            Ok(Found::NoIndex) => self.list(place.clone().into_owned(), exchange),
            Err(error) => {
                if matches!(error, Error::TooManyOpen) {
                    self.forget_all();
                }
                refusal(&error).into()
            }
        }
    }

    /// Answers with a folder's listing, and keeps it.
    fn list(self: &Rc<Self>, place: Place<'static>, exchange: &mut Exchange<'_, '_>) -> Answer {
        let (shard, path) = (Rc::clone(self), place.path.to_vec());
        let fresh = self.finder.writes.fresh_from(exchange.now());
        let finder = Arc::clone(&self.finder);
        exchange.offload(
            move || finder.list(&place.path, &place.shown),
            move |page, _| match page {
                Ok(page) => {
                    let page = Bytes::from(page);
                    shard.keep(&path, Kept::Page { page: page.clone(), fresh });
                    listed(page).into()
                }
                Err(error) => refusal(&error).into(),
            },
        )
    }

    fn keep(&self, path: &[u8], mut kept: Kept) {
        if let Kept::File(entry) = &mut kept {
            self.claim(entry);
        }
        self.cache.borrow_mut().insert(path, kept, |kept| self.let_go(kept));
    }

    fn respond(&self, entry: &Entry, ask: &Ask<'_>, exchange: &Exchange<'_, '_>) -> Response {
        let seed = || {
            self.counter.set(self.counter.get().wrapping_add(1));
            self.random.hash_one(self.counter.get())
        };
        respond(&self.finder, entry, ask, seed, exchange)
    }

    /// Takes a file's descriptor away if too many are open already for replies under way: it is then
    /// opened when its turn comes.
    fn bound(&self, entry: &mut Entry) {
        let bound = self.finder.options.cache.descriptors;
        let mut loose = self.loose.borrow_mut();
        if loose.len() < bound {
            return;
        }
        loose.retain(|file| file.strong_count() > 0);
        if loose.len() >= bound {
            for representation in entry.representations() {
                if matches!(representation.content, Content::Open(_)) {
                    representation.content = Content::Closed;
                }
            }
        }
    }

    /// Has the entry's open files counted for the whole process. If that keeps as many as it may, they are opened
    /// when their turn comes.
    fn claim(&self, entry: &mut Entry) {
        let open = entry.weight().descriptors;
        if !entry.share.hold(open) {
            self.loosen(entry);
            entry.share.hold(0);
        }
    }

    fn let_go(&self, kept: Kept) {
        if let Kept::File(mut entry) = kept {
            self.loosen(&mut entry);
        }
    }

    /// Gives up an entry's descriptors, and keeps count of those that are still in use.
    fn loosen(&self, entry: &mut Entry) {
        for representation in entry.representations() {
            if let Content::Open(file) = &representation.content {
                if Arc::strong_count(file) > 1 {
                    self.loose.borrow_mut().push(Arc::downgrade(file));
                }
                representation.content = Content::Closed;
            }
        }
    }

    fn forget_all(&self) {
        self.cache.borrow_mut().clear(|kept| self.let_go(kept));
    }

    /// Forgets what a path was, since it was written to, and what its folder looked like.
    pub(crate) fn forget(&self, path: &[u8]) {
        let slash = path.iter().rposition(|&byte| byte == b'/');
        let folder = &path[..slash.map_or(0, |slash| slash + 1)];
        for path in [path, folder] {
            if let Some(kept) = self.cache.borrow_mut().remove(path) {
                self.let_go(kept);
            }
        }
    }
}

impl Weigh for Kept {
    fn weight(&self) -> Weight {
        match self {
            Self::File(entry) => entry.weight(),
            Self::Page { page, .. } => Weight { bytes: page.len(), descriptors: 0 },
        }
    }
}

impl Entry {
    fn has_unknown_siblings(&self) -> bool {
        matches!(self.brotli, Sibling::Unknown) || matches!(self.gzip, Sibling::Unknown)
    }

    fn representations(&mut self) -> impl Iterator<Item = &mut Representation> {
        let siblings = [&mut self.brotli, &mut self.gzip];
        let siblings = siblings.into_iter().filter_map(|sibling| match sibling {
            Sibling::Ready(ready) => Some(&mut **ready),
            Sibling::Unknown | Sibling::Absent => None,
        });
        siblings.chain([&mut self.plain])
    }
}

impl Place<'_> {
    fn into_owned(self) -> Place<'static> {
        Place {
            path: Cow::Owned(self.path.into_owned()),
            shown: Cow::Owned(self.shown.into_owned()),
            query: self.query.map(|query| Cow::Owned(query.into_owned())),
        }
    }

    /// Sends the client to the folder's own name, on which relative links depend.
    fn with_slash(&self) -> Response {
        let mut location = String::new();
        for component in self.shown.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            location.push('/');
            listing::push_encoded(&mut location, component);
        }
        let mut location = location.into_bytes();
        location.push(b'/');
        if let Some(query) = &self.query {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        Response::redirect(StatusCode::MOVED_PERMANENTLY, &location)
    }
}

/// A page made of names that others chose may run nothing, whatever it holds.
fn listed(page: Bytes) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
    Response::html(page)
        .field(&header::CONTENT_SECURITY_POLICY, &HeaderValue::from_static(POLICY))
        .field(&header::X_CONTENT_TYPE_OPTIONS, &HeaderValue::from_static("nosniff"))
        .field(&header::CACHE_CONTROL, &HeaderValue::from_static("no-cache"))
}

/// What a client is told when a file can't be had. What leads out of the folder is as good as not
/// there.
pub(crate) fn refusal(error: &Error) -> Response {
    Response::error(match error {
        Error::NotFound
        | Error::NotAFolder
        | Error::IsAFolder
        | Error::EscapesRoot
        | Error::SymlinkRefused
        | Error::InvalidName => StatusCode::NOT_FOUND,
        Error::NotPermitted | Error::NotRegular => StatusCode::FORBIDDEN,
        Error::NoSpace | Error::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
        Error::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Error::TooManyOpen | Error::WouldBlock => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    })
}
