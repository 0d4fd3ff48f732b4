//! The routes of a site: which requests each takes, what they are answered with, and who is let in.

use std::sync::Arc;
use std::time::Instant;

use http::StatusCode;
use medusa_accounts::{Accounts, Logins};
use medusa_core::metrics::Metrics;
use medusa_core::{BuildContext, BuildError, ServiceNames};
use medusa_files::Root;
use medusa_resolver::Doors;

use super::dns::DnsRoute;
use super::{Overrides, open};
use crate::config::{RouteConfig, StatusKey};
use crate::handler::Handler;
use crate::head::{Authority, canonical_path};
use crate::monitor::{MetricsPage, StatusPage};
use crate::protected::Protected;
use crate::router::{Redirect, Route, Router};
use crate::static_files::{StaticFiles, StaticOptions};

/// A route that was found good. Each shard makes its handler from it.
pub(super) struct SiteRoute {
    matches: Route,
    serves: Serves,
    guard: Option<Guard>,
}

impl SiteRoute {
    pub(super) fn new(
        index: usize,
        route: RouteConfig,
        options: &StaticOptions,
        cx: &BuildContext,
    ) -> Result<SiteRoute, BuildError> {
        let key = |name: &str| format!("route[{index}].{name}");
        let matches = matches(&route, &key)?;
        let guard = guard(route.accounts.as_deref(), cx, &key)?;
        Ok(SiteRoute { matches, serves: serves(route, options, cx, &key)?, guard })
    }

    /// What no other route takes.
    pub(super) fn rest(root: Root, options: StaticOptions) -> SiteRoute {
        let serves = Serves::Files(root, Box::new(options));
        SiteRoute { matches: Route::any(), serves, guard: None }
    }

    pub(super) fn added_to(&self, router: Router) -> Router {
        let handler = self.serves.handler();
        match &self.guard {
            Some(guard) => router.route(self.matches.clone(), guard.protect(handler)),
            None => router.route(self.matches.clone(), handler),
        }
    }
}

/// What a route is answered with.
#[derive(Debug, Clone)]
enum Serves {
    Files(Root, Box<StaticOptions>),
    Redirect(Redirect),
    Status(StatusPage),
    Metrics(MetricsPage),
    Dns(DnsRoute),
}

impl Serves {
    fn handler(&self) -> Box<dyn Handler> {
        match self {
            Serves::Files(root, options) => {
                Box::new(StaticFiles::new(root.clone(), (**options).clone()))
            }
            Serves::Redirect(redirect) => Box::new(redirect.clone()),
            Serves::Status(page) => Box::new(page.clone()),
            Serves::Metrics(page) => Box::new(page.clone()),
            Serves::Dns(route) => Box::new(route.clone()),
        }
    }
}

/// Who may come in to a route.
struct Guard {
    logins: Arc<Logins>,
    service: String,
    names: Vec<String>,
}

impl Guard {
    fn protect(&self, handler: Box<dyn Handler>) -> Protected<Box<dyn Handler>> {
        // One realm a site: who has logged in to a route isn't asked again on the next.
        let realm = self.service.split_once('.').map_or(&*self.service, |(_, name)| name);
        Protected::new(handler, Logins::clone(&self.logins), &self.service, realm)
            .only(self.names.iter().cloned())
    }
}

fn guard(
    names: Option<&[String]>,
    cx: &BuildContext,
    key: &impl Fn(&str) -> String,
) -> Result<Option<Guard>, BuildError> {
    let Some(names) = names else { return Ok(None) };
    if names.is_empty() {
        let message = "nobody would be let in";
        return Err(
            BuildError::at(key("accounts"), message).hint("name who may: `accounts = [\"alice\"]`")
        );
    }
    let Some(logins) = cx.shared::<Logins>() else {
        let message = "there are no accounts to log in to";
        return Err(
            BuildError::at(key("accounts"), message).hint("add a table `[accounts]` with `file`")
        );
    };
    // Accounts that are kept elsewhere can't be asked for their names. Those of a users file may be
    // shared by whoever goes on holding them, too.
    let held = || cx.shared::<Arc<Accounts>>().map(|held| (*held).clone());
    if let Some(accounts) = cx.shared::<Accounts>().or_else(held) {
        let directory = accounts.directory();
        for (at, name) in names.iter().enumerate() {
            if directory.identity(name).is_none() {
                let message = format!("there is no account `{name}`");
                return Err(BuildError::at(format!("{}[{at}]", key("accounts")), message)
                    .hint(format!("add it with `medusa passwd {name}`, or name another")));
            }
        }
    }
    Ok(Some(Guard { logins, service: cx.service_name(), names: names.to_vec() }))
}

/// Which requests a route takes.
fn matches(route: &RouteConfig, key: &impl Fn(&str) -> String) -> Result<Route, BuildError> {
    let path = route.path.as_deref().unwrap_or("/");
    if !path.starts_with('/') {
        return Err(BuildError::at(key("path"), "a path begins with a slash")
            .hint(format!("write `path = \"/{path}\"`")));
    }
    // Requests are matched by their canonical path: another spelling would never be met.
    match canonical_path(path.as_bytes()) {
        Ok(canonical) if *canonical == *path.as_bytes() && !path.contains(['?', '#']) => {}
        Ok(canonical) => {
            let canonical = String::from_utf8_lossy(&canonical).into_owned();
            let canonical = canonical.split(['?', '#']).next().unwrap_or_default();
            return Err(BuildError::at(key("path"), "no request's path looks like that")
                .hint(format!("write it plain, as in `path = \"{canonical}\"`")));
        }
        Err(_) => {
            return Err(BuildError::at(key("path"), "no request's path looks like that")
                .hint("write it plain, without percent signs"));
        }
    }
    let matches = Route::prefix(path);
    match route.host.as_deref() {
        None => Ok(matches),
        Some(host) => {
            let name = host.strip_prefix("*.").unwrap_or(host);
            let is_host = Authority::parse(name.as_bytes())
                .is_some_and(|a| a.port.is_none() && !a.host.is_empty() && !name.contains('*'));
            if !is_host || name.ends_with(':') {
                return Err(BuildError::at(key("host"), "that is not a host's name")
                    .hint("write it without scheme and port, as in \"www.example.test\""));
            }
            Ok(matches.host(host))
        }
    }
}

/// What a route is answered with.
fn serves(
    route: RouteConfig,
    options: &StaticOptions,
    cx: &BuildContext,
    key: &impl Fn(&str) -> String,
) -> Result<Serves, BuildError> {
    let is_status = route.status == Some(StatusKey::Page(true));
    let is_metrics = route.metrics == Some(true);
    let does = [
        ("files", route.files.is_some()),
        ("redirect", route.redirect.is_some()),
        ("status", is_status),
        ("metrics", is_metrics),
        ("dns", route.dns.is_some()),
    ];
    let mut does = does.into_iter().filter(|(_, is_set)| *is_set).map(|(name, _)| name);
    let first = does.next();
    if let (Some(first), Some(second)) = (first, does.next()) {
        let message = format!("a route has one thing to do, and `{first}` is another");
        return Err(BuildError::at(key(second), message).hint("make two routes of it"));
    }
    if first != Some("files") {
        only_for_files(&route, key)?;
    }
    if first != Some("redirect") && matches!(route.status, Some(StatusKey::Code(_))) {
        return Err(BuildError::at(key("status"), "`status` is for a redirection"));
    }
    if let Some(files) = &route.files {
        let root = limited(&route, open(files, cx, key("files"))?, key)?;
        return Ok(Serves::Files(root, Box::new(file_options(route, options, key)?)));
    }
    if let Some(location) = &route.redirect {
        let (status, location) = (redirect_status(&route, key)?, location_of(location, key)?);
        return Ok(Serves::Redirect(Redirect::new(status, location)));
    }
    if let Some(name) = &route.dns {
        let doors = cx.shared::<Doors>().ok_or_else(|| {
            BuildError::at(key("dns"), "there are no DNS services that it could lead to")
        })?;
        if let Some(names) = cx.shared::<ServiceNames>() {
            names.check("dns", name, &key("dns"))?;
        }
        return Ok(Serves::Dns(DnsRoute::new((*doors).clone(), format!("dns.{name}"))));
    }
    let Some(name) = first else {
        return Err(BuildError::at(
            key("").trim_end_matches('.'),
            "this route says what it takes, not what is to be done with it",
        )
        .hint("add `files = \"FOLDER\"` or `redirect = \"/elsewhere\"`"));
    };
    let Some(metrics) = cx.shared::<Metrics>() else {
        return Err(BuildError::at(key(name), "nothing is counted here that could be shown"));
    };
    let since = Instant::now();
    Ok(match is_status {
        true => Serves::Status(StatusPage::new(&metrics, since)),
        false => Serves::Metrics(MetricsPage::new(&metrics, since)),
    })
}

fn file_options(
    route: RouteConfig,
    options: &StaticOptions,
    key: &impl Fn(&str) -> String,
) -> Result<StaticOptions, BuildError> {
    let set = Overrides {
        index: route.index,
        listing: route.listing,
        hidden: route.hidden,
        gzip: route.gzip,
        cache_control: route.cache_control.as_deref(),
    };
    let mut options = set.over(options.clone(), key)?;
    options.writable = route.writable.unwrap_or(false);
    if let Some(size) = route.max_upload {
        if !options.writable {
            let message = "`max_upload` is for a route that is writable";
            return Err(BuildError::at(key("max_upload"), message).hint("add `writable = true`"));
        }
        options.max_upload = Some(size.0);
    }
    Ok(options)
}

/// The route's folder, with its quota.
fn limited(
    route: &RouteConfig,
    root: Root,
    key: &impl Fn(&str) -> String,
) -> Result<Root, BuildError> {
    let Some(size) = route.quota else { return Ok(root) };
    if route.writable != Some(true) {
        let message = "`quota` is for a route that is writable";
        return Err(BuildError::at(key("quota"), message).hint("add `writable = true`"));
    }
    root.limited(size.0).map_err(|error| {
        BuildError::at(key("quota"), format!("what is there can't be counted: {error}"))
    })
}

fn only_for_files(route: &RouteConfig, key: &impl Fn(&str) -> String) -> Result<(), BuildError> {
    let only_files = [
        ("index", route.index.is_some()),
        ("listing", route.listing.is_some()),
        ("hidden", route.hidden.is_some()),
        ("gzip", route.gzip.is_some()),
        ("cache_control", route.cache_control.is_some()),
        ("writable", route.writable.is_some()),
        ("max_upload", route.max_upload.is_some()),
        ("quota", route.quota.is_some()),
    ];
    match only_files.iter().find(|(_, is_set)| *is_set) {
        None => Ok(()),
        Some((name, _)) => {
            let message = format!("`{name}` is for a route with `files`");
            Err(BuildError::at(key(name), message))
        }
    }
}

fn redirect_status(
    route: &RouteConfig,
    key: &impl Fn(&str) -> String,
) -> Result<StatusCode, BuildError> {
    match route.status {
        None | Some(StatusKey::Page(false)) => Ok(StatusCode::MOVED_PERMANENTLY),
        Some(StatusKey::Code(code @ (301 | 302 | 303 | 307 | 308))) => {
            Ok(StatusCode::from_u16(code).unwrap_or(StatusCode::MOVED_PERMANENTLY))
        }
        Some(_) => Err(BuildError::at(key("status"), "this status is no redirection's")
            .hint("301, 302, 303, 307 and 308 are")),
    }
}

fn location_of<'a>(
    location: &'a str,
    key: &impl Fn(&str) -> String,
) -> Result<&'a str, BuildError> {
    let is_absolute = ["/", "http://", "https://"].iter().any(|begin| location.starts_with(begin));
    if !is_absolute || location.matches("{rest}").count() > 1 {
        return Err(BuildError::at(key("redirect"), "that can't be redirected to")
            .hint("write a path or a URL, with at most one {rest}: \"/new/{rest}\""));
    }
    if location.replace("{rest}", "").contains(['{', '}']) {
        // No URL has braces (RFC 3986 §2): it is a slip, and would go to clients as it is.
        let message = "there is no such placeholder: only {rest} stands for something";
        return Err(BuildError::at(key("redirect"), message)
            .hint("{rest} is what of the path stands behind the route's own"));
    }
    if location.contains('#') {
        let message = "a fragment can't be redirected to: the query would stand behind it";
        return Err(BuildError::at(key("redirect"), message).hint("leave out what begins with `#`"));
    }
    // What follows two slashes is a host, with a scheme before it or without (RFC 3986 §4.2).
    let scheme_end = location.find(':').map_or(0, |colon| colon + 1);
    let Some(authority) = location[scheme_end..].strip_prefix("//") else { return Ok(location) };
    let host = authority.split(['/', '?']).next().unwrap_or_default();
    if host.contains("{rest}") {
        // The rest would go on the host's name: `https://host.evil.example` for `.evil.example`.
        let message = "here a client would say where it is redirected to: {rest} goes on the host";
        let fixed = location.replacen("{rest}", "/{rest}", 1);
        return Err(BuildError::at(key("redirect"), message)
            .hint(format!("write a slash before it: \"{fixed}\"")));
    }
    if Authority::parse(host.as_bytes()).is_none_or(|authority| authority.host.is_empty()) {
        let message = "this names no host that could be redirected to";
        return Err(BuildError::at(key("redirect"), message)
            .hint("write a path with one slash at its front, or a URL"));
    }
    Ok(location)
}
