//! A configuration made into a service: what the keys mean, and everything that can be wrong with them,
//! found before anything is served.

mod listening;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderValue, StatusCode};
use medusa_accounts::{Accounts, Logins};
use medusa_core::{BuildContext, BuildError, Limits, Plugin, Service};
use medusa_files::Root;

use crate::config::{RouteConfig, SiteConfig, StatusKey};
use crate::handler::Handler;
use crate::head::{Authority, canonical_path};
use crate::protected::Protected;
use crate::router::{Redirect, Route, Router};
use crate::service::HttpService;
use crate::static_files::{StaticFiles, StaticOptions};
use crate::to_tls::RedirectToTls;
use listening::Listening;

/// The plug-in: `[http.NAME]`.
#[derive(Debug)]
pub struct Http;

impl Plugin for Http {
    const KIND: &'static str = "http";
    type Config = SiteConfig;

    fn build(config: SiteConfig, cx: &BuildContext) -> Result<Box<dyn Service>, BuildError> {
        Ok(Box::new(site(config, cx)?))
    }
}

/// What a route, or what no route takes, is answered with. Each shard makes its handlers from it.
#[derive(Debug, Clone)]
enum Serves {
    Files(Root, Box<StaticOptions>),
    Redirect(Redirect),
}

impl Serves {
    fn handler(&self) -> Box<dyn Handler> {
        match self {
            Serves::Files(root, options) => {
                Box::new(StaticFiles::new(root.clone(), (**options).clone()))
            }
            Serves::Redirect(redirect) => Box::new(redirect.clone()),
        }
    }
}

fn site(config: SiteConfig, cx: &BuildContext) -> Result<HttpService, BuildError> {
    refuse_later_keys(&config)?;
    let listening = Listening::new(&config, cx)?;
    let options = folder_options(&config)?;
    let mut routes = Vec::new();
    for (index, route) in config.route.into_iter().enumerate() {
        let key = |name: &str| format!("route[{index}].{name}");
        let matches = matches(&route, &key)?;
        let guard = guard(route.accounts.as_deref(), cx, &key)?;
        routes.push((matches, serves(route, &options, cx, &key)?, guard));
    }
    let mut summary = Vec::new();
    if let Some(path) = &config.root {
        let root = open(path, cx, "root".into())?;
        routes.push((Route::any(), Serves::Files(root, Box::new(options)), None));
        summary.push(path.display().to_string());
    }
    match (routes.len(), config.root.is_some()) {
        (0, _) => {
            return Err(BuildError::new("nothing to serve: there is neither a root nor a route")
                .hint("name a folder: `root = \"public\"`"));
        }
        (1, true) => {}
        (2, true) | (1, false) => summary.push("1 route".into()),
        (all, has_root) => summary.push(format!("{} routes", all - usize::from(has_root))),
    }
    let to_tls = listening.redirect;
    let handler = move || -> Box<dyn Handler> {
        let mut router = Router::new();
        for (route, serves, guard) in &routes {
            let handler = serves.handler();
            router = match guard {
                Some(guard) => router.route(route.clone(), guard.protect(handler)),
                None => router.route(route.clone(), handler),
            };
        }
        match to_tls {
            Some(port) => Box::new(RedirectToTls::new(router, port)),
            None => Box::new(router),
        }
    };
    let service = HttpService::new(cx.service_name(), listening.listeners.clone(), handler);
    Ok(listening
        .applied(service)
        .with_limits(cx.limits(Limits::default()))
        .with_access(cx.access())
        .with_summary(summary.join(", ")))
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
    // Accounts that are kept elsewhere can't be asked for their names.
    if let Some(accounts) = cx.shared::<Arc<Accounts>>() {
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

fn refuse_later_keys(config: &SiteConfig) -> Result<(), BuildError> {
    let mut keys = Vec::new();
    for (index, route) in config.route.iter().enumerate() {
        let status_page = matches!(route.status, Some(StatusKey::Page(_)));
        keys.push((format!("route[{index}].metrics"), route.metrics.is_some()));
        keys.push((format!("route[{index}].dns"), route.dns.is_some()));
        keys.push((format!("route[{index}].status"), status_page));
    }
    match keys.into_iter().find(|(_, is_set)| *is_set) {
        None => Ok(()),
        Some((key, _)) => {
            let name = key.rsplit('.').next().unwrap_or_default();
            let message = match name {
                // Served to everybody, what was to be for some would be worse than not at all.
                "status" => "the status page is not offered by this build yet".to_owned(),
                _ => format!("`{name}` is not offered by this build yet"),
            };
            Err(BuildError::at(key, message).hint("leave it out, and what depends on it"))
        }
    }
}

/// How the site's folders are served, unless a route says otherwise.
fn folder_options(config: &SiteConfig) -> Result<StaticOptions, BuildError> {
    let key = |name: &str| name.to_owned();
    let set = Overrides {
        index: config.index.clone(),
        listing: config.listing,
        hidden: config.hidden,
        gzip: config.gzip,
        cache_control: config.cache_control.as_deref(),
    };
    set.over(StaticOptions::default(), &key)
}

struct Overrides<'a> {
    index: Option<Vec<String>>,
    listing: Option<bool>,
    hidden: Option<bool>,
    gzip: Option<bool>,
    cache_control: Option<&'a str>,
}

impl Overrides<'_> {
    fn over(
        self,
        mut options: StaticOptions,
        key: &impl Fn(&str) -> String,
    ) -> Result<StaticOptions, BuildError> {
        if let Some(index) = self.index {
            if let Some(at) = index.iter().position(|name| !is_name(name)) {
                let message = format!("`{}` is not the name of a file", index[at]);
                return Err(BuildError::at(format!("{}[{at}]", key("index")), message)
                    .hint("write a name without a slash, such as \"index.html\""));
            }
            options.index = index;
        }
        options.listing = self.listing.unwrap_or(options.listing);
        options.hidden = self.hidden.unwrap_or(options.hidden);
        options.gzip = self.gzip.unwrap_or(options.gzip);
        if let Some(text) = self.cache_control {
            let value = HeaderValue::from_str(text).ok().filter(|_| !text.trim().is_empty());
            options.cache_control = Some(value.ok_or_else(|| {
                BuildError::at(key("cache_control"), "this can't stand in a header field")
                    .hint("write something like \"public, max-age=3600\"")
            })?);
        }
        Ok(options)
    }
}

fn is_name(name: &str) -> bool {
    !(name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']))
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
    match (&route.files, &route.redirect) {
        (Some(_), Some(_)) => {
            let message = "a route serves files or redirects, not both";
            Err(BuildError::at(key("redirect"), message).hint("make two routes of it"))
        }
        (Some(files), None) => {
            if route.status.is_some() {
                let message = "`status` is for a redirection";
                return Err(BuildError::at(key("status"), message));
            }
            let root = open(files, cx, key("files"))?;
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
                    return Err(
                        BuildError::at(key("max_upload"), message).hint("add `writable = true`")
                    );
                }
                options.max_upload = Some(size.0);
            }
            Ok(Serves::Files(root, Box::new(options)))
        }
        (None, Some(location)) => {
            let only_files = [
                ("index", route.index.is_some()),
                ("listing", route.listing.is_some()),
                ("hidden", route.hidden.is_some()),
                ("gzip", route.gzip.is_some()),
                ("cache_control", route.cache_control.is_some()),
                ("writable", route.writable.is_some()),
                ("max_upload", route.max_upload.is_some()),
            ];
            if let Some((name, _)) = only_files.iter().find(|(_, is_set)| *is_set) {
                let message = format!("`{name}` is for a route with `files`");
                return Err(BuildError::at(key(name), message));
            }
            Ok(Serves::Redirect(Redirect::new(
                redirect_status(&route, key)?,
                location_of(location, key)?,
            )))
        }
        (None, None) => Err(BuildError::at(
            key("").trim_end_matches('.'),
            "this route says what it takes, not what is to be done with it",
        )
        .hint("add `files = \"FOLDER\"` or `redirect = \"/elsewhere\"`")),
    }
}

fn redirect_status(
    route: &RouteConfig,
    key: &impl Fn(&str) -> String,
) -> Result<StatusCode, BuildError> {
    match route.status {
        None => Ok(StatusCode::MOVED_PERMANENTLY),
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
    Ok(location)
}

fn open(path: &Path, cx: &BuildContext, key: String) -> Result<Root, BuildError> {
    let whole: PathBuf = cx.path(path);
    Root::new(&whole).map_err(|error| {
        BuildError::at(key, format!("can't serve the folder `{}`: {error}", whole.display()))
    })
}

#[cfg(test)]
mod tests;
