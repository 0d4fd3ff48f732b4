//! The kinds of service that a launcher can mount, each behind one face whatever its `Config` is.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use medusa_core::{BuildContext, BuildError, Plugin, Service};

use crate::config::diagnostic::Diagnostic;
use crate::config::document::Table;
use crate::config::read::read;

/// Every kind that this launcher knows, by its name.
#[derive(Clone, Default)]
pub(crate) struct Kinds {
    list: Vec<Arc<dyn Kind>>,
}

/// A plug-in, its types hidden.
pub(crate) trait Kind: Send + Sync {
    fn name(&self) -> &'static str;

    /// Reads a service's table, but for the keys in `without`.
    fn read(
        &self,
        table: &Table<'_, '_>,
        without: &[&str],
        errors: &mut Vec<Diagnostic>,
    ) -> Option<Box<dyn Configured>>;
}

/// A table that was read, ready to become a service.
pub(crate) trait Configured {
    fn build(self: Box<Self>, cx: &BuildContext) -> Result<Box<dyn Service>, BuildError>;
}

/// It has no `P`, it only makes some.
struct KindOf<P>(PhantomData<fn() -> P>);

struct ConfigOf<P: Plugin>(P::Config);

impl Kinds {
    /// Adds a plug-in; one of the same name is replaced.
    pub(crate) fn add<P: Plugin + 'static>(&mut self) {
        self.list.retain(|kind| kind.name() != P::KIND);
        self.list.push(Arc::new(KindOf::<P>(PhantomData)));
    }

    /// Their names, in the order in which they were added.
    pub(crate) fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.list.iter().map(|kind| kind.name())
    }

    pub(crate) fn named(&self, name: &str) -> Option<&dyn Kind> {
        self.list.iter().find(|kind| kind.name() == name).map(Arc::as_ref)
    }
}

impl fmt::Debug for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl<P: Plugin + 'static> Kind for KindOf<P> {
    fn name(&self) -> &'static str {
        P::KIND
    }

    fn read(
        &self,
        table: &Table<'_, '_>,
        without: &[&str],
        errors: &mut Vec<Diagnostic>,
    ) -> Option<Box<dyn Configured>> {
        let config = read(table, without, errors)?;
        Some(Box::new(ConfigOf::<P>(config)))
    }
}

impl<P: Plugin> Configured for ConfigOf<P> {
    fn build(self: Box<Self>, cx: &BuildContext) -> Result<Box<dyn Service>, BuildError> {
        P::build(self.0, cx)
    }
}
