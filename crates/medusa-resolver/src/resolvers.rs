//! The resolvers of a program whose services are built from a configuration: one that all share, and
//! those that a service wants for itself. Whoever builds them mounts what was asked for, and no more.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use medusa_core::metrics::Metrics;
use medusa_core::tls::TlsError;
use medusa_core::{BuildContext, Service};

use crate::asker::Resolver;
use crate::forwarding::{Forwarding, Settings};
use crate::upstream::Upstream;

/// The resolvers of a program. A plug-in finds it as `cx.shared::<Resolvers>()`; one that only looks names up
/// takes `cx.shared::<Arc<dyn Resolver>>()` instead.
///
/// ```
/// # use std::sync::Arc;
/// # use medusa_core::BuildContext;
/// use medusa_resolver::{Forwarding, Resolver, Resolvers, Settings};
///
/// // Who builds the services:
/// let settings = Settings::asking(vec!["192.0.2.53".parse()?]);
/// let cx = Resolvers::share(settings, BuildContext::new("dns", "zones", "."))?;
/// // A plug-in that is built:
/// let resolvers = cx.shared::<Resolvers>().expect("shared above");
/// let upstream = resolvers.asking(&["192.0.2.54".parse()?])?;
/// // Afterwards:
/// let services = resolvers.services(&cx);
/// assert_eq!(services.len(), 1, "nobody wants the other");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Resolvers {
    settings: Settings,
    common: Forwarding,
    resolver: Resolving,
    wanted: AtomicBool,
    others: Mutex<Vec<(Vec<Upstream>, Forwarding)>>,
    /// How many of the others, and whether the common one, were given to be mounted.
    given: Mutex<(usize, bool)>,
}

/// The common one as most services see it; how many hold it tells whether it is wanted.
struct Resolving(Arc<dyn Resolver>);

impl std::fmt::Debug for Resolving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Resolving")
    }
}

impl Resolvers {
    /// Adds resolvers to what services share, the common one with these settings.
    ///
    /// # Errors
    ///
    /// Servers are asked over TLS, and the authorities can't be read.
    pub fn share(settings: Settings, cx: BuildContext) -> Result<BuildContext, TlsError> {
        let common = Forwarding::with(settings.clone())?;
        let resolver: Arc<dyn Resolver> = Arc::new(common.clone());
        let resolvers = Resolvers {
            settings,
            common,
            resolver: Resolving(Arc::clone(&resolver)),
            wanted: AtomicBool::new(false),
            others: Mutex::default(),
            given: Mutex::default(),
        };
        Ok(cx.with_shared(resolvers).with_shared(resolver))
    }

    /// The one that all share.
    pub fn common(&self) -> Forwarding {
        self.wanted.store(true, Ordering::Relaxed);
        self.common.clone()
    }

    /// One that asks these servers, and is otherwise like the common one: the same for all who want the same
    /// servers.
    ///
    /// # Errors
    ///
    /// One of them is asked over TLS, and the authorities can't be read.
    pub fn asking(&self, servers: &[Upstream]) -> Result<Forwarding, TlsError> {
        let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, known)) = others.iter().find(|(of, _)| of == servers) {
            return Ok(known.clone());
        }
        let settings = Settings { servers: Some(servers.into()), ..self.settings.clone() };
        let forwarding = Forwarding::with(settings)?;
        others.push((servers.into(), forwarding.clone()));
        Ok(forwarding)
    }

    /// The services of those that somebody wants, to be mounted before all others; each is given once. `cx` is
    /// what the services were built with; its metrics show what they do.
    pub fn services(&self, cx: &BuildContext) -> Vec<Box<dyn Service>> {
        let wants_common = self.wants_common(cx);
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let (others_given, common_given) = *given;
        *given = (others.len(), common_given || wants_common);
        let common = (wants_common && !common_given).then_some(&self.common);
        let others = others.iter().skip(others_given).map(|(_, forwarding)| forwarding);
        let metrics = cx.shared::<Metrics>();
        let mounted = |forwarding: &Forwarding| {
            let service = forwarding.service();
            if let Some(metrics) = &metrics {
                forwarding.counts().show(&metrics.service(service.parts().name()));
            }
            service
        };
        common.into_iter().chain(others).map(mounted).collect()
    }

    fn wants_common(&self, cx: &BuildContext) -> bool {
        // One is here and one in the context; and the context's own is held by it and, now, by us.
        let held = cx.shared::<Arc<dyn Resolver>>().is_some_and(|shared| {
            Arc::strong_count(&shared) > 2 || Arc::strong_count(&self.resolver.0) > 2
        });
        held || self.wanted.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_is_mounted_and_nothing_else() {
        let settings = Settings::asking(vec!["192.0.2.53".parse().expect("one")]);
        let cx = Resolvers::share(settings, BuildContext::new("", "", ".")).expect("no TLS");
        let resolvers = cx.shared::<Resolvers>().expect("shared");
        let wanted = || resolvers.wants_common(&cx);
        assert!(!wanted());
        drop(cx.shared::<Arc<dyn Resolver>>());
        drop(cx.for_service("smtp", "mx"));
        assert!(!wanted());
        let held = cx.shared::<Arc<dyn Resolver>>().map(|shared| (*shared).clone());
        assert!(wanted());
        drop(held);
        let held = cx.shared::<Arc<dyn Resolver>>();
        assert!(wanted());
        drop(held);
        let held = cx.clone();
        assert!(wanted());
        drop(held);
        assert!(!wanted());
        let metrics = Metrics::default();
        let cx = cx.with_shared(metrics.clone());
        let mounted = || resolvers.services(&cx).len();
        assert_eq!(mounted(), 0);
        let other = ["192.0.2.54".parse().expect("one")];
        resolvers.asking(&other).expect("no TLS");
        resolvers.asking(&other).expect("no TLS");
        assert_eq!((mounted(), mounted()), (1, 0));
        resolvers.common();
        assert_eq!((mounted(), mounted()), (1, 0));
        resolvers.common().counts().hits.add();
        resolvers.asking(&other).expect("no TLS").counts().hits.add();
        let counters = metrics.service("resolver").counters();
        assert_eq!(counters.len(), 10);
        assert!(counters.contains(&("cache_hits", 2)) && counters.contains(&("questions", 0)));
    }
}
