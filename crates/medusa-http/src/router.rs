//! Which handler a request goes to: by host, path and method, the first route that matches.
//!
//! Routes look at the canonical path alone, which is also what handlers find files by, so that no
//! spelling of a path walks around a route.

use http::{Method, StatusCode};

use crate::error::Fault;
use crate::handler::{Answer, Exchange, Handler};
use crate::request::Request;
use crate::response::Response;

/// A list of routes.
#[derive(Default)]
pub struct Router {
    routes: Vec<(Route, Box<dyn Handler>)>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.routes.iter().map(|(route, _)| route)).finish()
    }
}

/// What a request must be like to be taken.
#[derive(Debug, Clone)]
pub struct Route {
    host: Option<Host>,
    path: Vec<u8>,
    exact: bool,
    methods: Option<Vec<Method>>,
}

#[derive(Debug, Clone)]
enum Host {
    Is(String),
    /// `*.example.test`: any name below.
    Below(String),
}

impl Route {
    /// Any path.
    pub fn any() -> Route {
        Route::prefix("/")
    }

    /// This path and all below it: `/a` takes `/a`, `/a/` and `/a/b`, and not `/ab`. `/a/` takes what
    /// is below, and redirects `/a` to itself.
    pub fn prefix(path: impl Into<Vec<u8>>) -> Route {
        Route { host: None, path: path.into(), exact: false, methods: None }
    }

    /// This path alone.
    pub fn exact(path: impl Into<Vec<u8>>) -> Route {
        Route { exact: true, ..Route::prefix(path) }
    }

    /// Only for this host, in any case; `*.example.test` for any below `example.test`. The port
    /// doesn't matter.
    #[must_use]
    pub fn host(mut self, host: &str) -> Route {
        self.host = Some(match host.strip_prefix('*') {
            Some(below) if below.starts_with('.') => Host::Below(below.to_owned()),
            _ => Host::Is(host.to_owned()),
        });
        self
    }

    /// Only for these methods; GET stands for HEAD too. A request that no route takes but for its
    /// method is answered by 405, or to OPTIONS by what is allowed.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Route {
        let mut methods: Vec<Method> = methods.into_iter().collect();
        if methods.contains(&Method::GET) && !methods.contains(&Method::HEAD) {
            methods.push(Method::HEAD);
        }
        self.methods = Some(methods);
        self
    }

    #[inline]
    fn takes_host(&self, request: &Request<'_>) -> bool {
        let Some(host) = &self.host else { return true };
        let Some(asked) = request.host() else { return false };
        match host {
            Host::Is(name) => asked.is(name),
            Host::Below(suffix) => {
                let name = asked.host.strip_suffix(b".").unwrap_or(asked.host);
                name.len() > suffix.len()
                    && name[name.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes())
            }
        }
    }

    #[inline]
    fn takes_method(&self, method: &Method) -> bool {
        self.methods.as_ref().is_none_or(|methods| methods.contains(method))
    }

    #[inline]
    fn takes_path(&self, path: &[u8]) -> Taken {
        match path.strip_prefix(&self.path[..]) {
            Some(b"") => Taken::Yes,
            Some(_) if self.exact => Taken::No,
            Some([b'/', ..]) => Taken::Yes,
            Some(_) if self.path.ends_with(b"/") => Taken::Yes,
            None if !self.exact && self.path.strip_suffix(b"/") == Some(path) => Taken::WithSlash,
            _ => Taken::No,
        }
    }
}

#[derive(PartialEq)]
enum Taken {
    Yes,
    No,
    /// The path is the route's but for the slash at its end.
    WithSlash,
}

impl Router {
    /// No routes: everything is answered by 404.
    pub fn new() -> Router {
        Router::default()
    }

    /// Adds a route behind the others.
    #[must_use]
    pub fn route(mut self, route: Route, handler: impl Handler + 'static) -> Router {
        self.routes.push((route, Box::new(handler)));
        self
    }

    /// No route takes it, or those that would but for its method.
    #[cold]
    fn not_taken(&self, request: &Request<'_>) -> Answer {
        let mut allowed = vec![Method::OPTIONS];
        for (route, _) in &self.routes {
            if route.takes_host(request) && route.takes_path(request.path()) == Taken::Yes {
                for method in route.methods.iter().flatten() {
                    if !allowed.contains(method) {
                        allowed.push(method.clone());
                    }
                }
            }
        }
        if allowed.len() == 1 {
            return Response::error(StatusCode::NOT_FOUND).into();
        }
        if *request.method() == Method::OPTIONS {
            return Response::new(StatusCode::NO_CONTENT).allow(&allowed).into();
        }
        if self.methods().contains(request.method()) {
            return Response::method_not_allowed(&allowed).into();
        }
        refuse_method(request.method(), &allowed).into()
    }
}

impl Handler for Router {
    fn requested(&self, request: &Request<'_>, exchange: &mut Exchange<'_, '_>) -> Answer {
        for (route, handler) in &self.routes {
            if !route.takes_host(request) {
                continue;
            }
            match route.takes_path(request.path()) {
                Taken::No => {}
                Taken::Yes if route.takes_method(request.method()) => {
                    return handler.requested(&request.below(route.path.len()), exchange);
                }
                Taken::Yes => {}
                Taken::WithSlash => return with_slash(request),
            }
        }
        self.not_taken(request)
    }

    fn methods(&self) -> Vec<Method> {
        let mut all = vec![Method::OPTIONS];
        for (route, handler) in &self.routes {
            let own = route.methods.clone().unwrap_or_else(|| handler.methods());
            all.extend(own.into_iter().filter(|m| !all.contains(m)).collect::<Vec<_>>());
        }
        all
    }
}

/// Sends the client to the same path with a slash behind it, since relative references in what is
/// there are relative to that.
fn with_slash(request: &Request<'_>) -> Answer {
    let mut location = encoded_path(request.path());
    location.push(b'/');
    if let Some(query) = request.query() {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    Response::redirect(StatusCode::MOVED_PERMANENTLY, &location).into()
}

/// A canonical path as it may stand in a reference. It begins with one slash, so that it can't be
/// taken for a host (`//example.test`).
pub(crate) fn encoded_path(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    for &octet in path {
        // RFC 3986 §3.3: pchar without sub-delims that nobody needs unencoded.
        if octet.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&octet) {
            out.push(octet);
        } else {
            crate::response::percent_encode(&mut out, octet);
        }
    }
    out
}

/// What a method is answered with that isn't among the allowed: 405 if it is known, 501 if it is one
/// that nobody here knows (RFC 9110 §9.1).
pub(crate) fn refuse_method(method: &Method, allowed: &[Method]) -> Response {
    if is_standard(method) {
        return Response::method_not_allowed(allowed);
    }
    Response::fault(Fault::UnknownMethod)
}

fn is_standard(method: &Method) -> bool {
    [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ]
    .contains(method)
}

/// Redirects what a route takes: `{rest}` in the location stands for what of the path is behind the
/// route's own; the query is kept unless the location has one.
#[derive(Debug, Clone)]
pub struct Redirect {
    status: StatusCode,
    before: Vec<u8>,
    /// What stands behind `{rest}`, where it is named.
    after: Option<Vec<u8>>,
}

impl Redirect {
    /// To `location`, by this status: 301, 302, 303, 307 or 308.
    pub fn new(status: StatusCode, location: &str) -> Redirect {
        let (before, after) = match location.split_once("{rest}") {
            Some((before, after)) => (before, Some(after.as_bytes().to_vec())),
            None => (location, None),
        };
        Redirect { status, before: before.as_bytes().to_vec(), after }
    }
}

impl Handler for Redirect {
    fn requested(&self, request: &Request<'_>, _: &mut Exchange<'_, '_>) -> Answer {
        let mut location = self.before.clone();
        if let Some(after) = &self.after {
            // Without a slash at its front, where `//` would begin a host.
            let rest = encoded_path(request.rest());
            location.extend_from_slice(&rest);
            location.extend_from_slice(after);
        }
        if let Some(query) = request.query().filter(|_| !location.contains(&b'?')) {
            location.push(b'?');
            location.extend_from_slice(query);
        }
        Response::redirect(self.status, &location).into()
    }

    fn methods(&self) -> Vec<Method> {
        vec![Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS]
    }
}
