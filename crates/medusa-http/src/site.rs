//! A configuration made into a service: what the keys mean, and everything that can be wrong with them,
//! found before anything is served.

mod dns;
mod listening;
mod routes;

use std::path::{Path, PathBuf};

use http::HeaderValue;
use medusa_core::metrics::Metrics;
use medusa_core::{BuildContext, BuildError, Complaints, Plugin, Service};
use medusa_files::Root;

use crate::config::SiteConfig;
use crate::handler::Handler;
use crate::router::Router;
use crate::service::HttpService;
use crate::static_files::StaticOptions;
use crate::to_tls::RedirectToTls;
use listening::Listening;
use routes::SiteRoute;

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

fn site(config: SiteConfig, cx: &BuildContext) -> Result<HttpService, BuildError> {
    let mut complaints = Complaints::default();
    let listening = complaints.take(Listening::new(&config, cx));
    let options = complaints.take(folder_options(&config)).unwrap_or_default();
    if config.route.is_empty() && config.root.is_none() {
        let message = "nothing to serve: there is neither a root nor a route";
        complaints.push(BuildError::new(message).hint("name a folder: `root = \"public\"`"));
    }
    let mut routes = Vec::new();
    for (index, route) in config.route.into_iter().enumerate() {
        routes.extend(complaints.take(SiteRoute::new(index, route, &options, cx)));
    }
    let mut summary = Vec::new();
    if let Some(path) = &config.root {
        let root = complaints.take(open(path, cx, "root".into()));
        routes.extend(root.map(|root| SiteRoute::rest(root, options)));
        summary.push(path.display().to_string());
    }
    complaints.into_result()?;
    let Some(listening) = listening else { return Err(BuildError::new("it listens nowhere")) };
    match (routes.len(), config.root.is_some()) {
        (0, _) | (1, true) => {}
        (2, true) | (1, false) => summary.push("1 route".into()),
        (all, has_root) => summary.push(format!("{} routes", all - usize::from(has_root))),
    }
    let to_tls = listening.redirect;
    let handler = move || -> Box<dyn Handler> {
        let router = routes.iter().fold(Router::new(), |router, route| route.added_to(router));
        match to_tls {
            Some(port) => Box::new(RedirectToTls::new(router, port)),
            None => Box::new(router),
        }
    };
    let parts = listening.parts.clone().with_summary(summary.join(", "));
    let mut service = HttpService::new(parts, handler);
    if let Some(metrics) = cx.shared::<Metrics>() {
        service = service.with_metrics(&metrics);
    }
    Ok(listening.applied(service))
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

fn open(path: &Path, cx: &BuildContext, key: String) -> Result<Root, BuildError> {
    let whole: PathBuf = cx.path(path);
    Root::new(&whole).map_err(|error| {
        BuildError::at(key, format!("can't serve the folder `{}`: {error}", whole.display()))
    })
}

#[cfg(test)]
mod tests;
