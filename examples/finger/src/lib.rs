//! The Finger User Information Protocol (RFC 1288) as a plug-in: who is there, and what are they up to?
//!
//! An example of a protocol that lives outside of Medusa's house and comes in by the same door as the
//! built-in ones. `query` reads what was asked, `session` answers it, `plans` reads the disk. Questions
//! are not forwarded to other hosts (RFC 1288 §3.2.1 lets a server refuse that, and it should).

mod plans;
mod query;
mod session;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use medusa_core::config::Listen;
use medusa_core::{
    Acceptor, BuildContext, BuildError, Limits, Peer, Plugin, Refusal, Service, ServiceParts,
    Session,
};
use serde::Deserialize;

pub use plans::Plans;
pub use session::FingerSession;

/// The service: a folder of plans, and where it is asked for.
#[derive(Debug)]
pub struct Finger {
    parts: ServiceParts,
    plans: Arc<Plans>,
}

/// `[finger.NAME]`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Config {
    listen: Vec<Listen>,
    plans: PathBuf,
}

impl Plugin for Finger {
    const KIND: &'static str = "finger";
    type Config = Config;

    fn build(config: Config, cx: &BuildContext) -> Result<Box<dyn Service>, BuildError> {
        let folder = cx.path(&config.plans);
        let plans = Plans::open(&folder).map_err(|error| {
            BuildError::at("plans", format!("`{}` can't be opened: {error}", folder.display()))
                .hint("it is a folder with a file for each user")
        })?;
        let parts = cx.parts(&config.listen, &[], "127.0.0.1:7979", Limits::default())?;
        let parts = parts.with_summary(folder.display().to_string());
        Ok(Box::new(Finger { parts, plans: Arc::new(plans) }))
    }
}

impl Service for Finger {
    fn parts(&self) -> ServiceParts {
        self.parts.clone()
    }

    fn acceptor(&self) -> Box<dyn Acceptor> {
        Box::new(Door { plans: Arc::clone(&self.plans) })
    }
}

/// One shard's acceptor.
struct Door {
    plans: Arc<Plans>,
}

impl Acceptor for Door {
    fn accepted(&mut self, _peer: &Peer) -> Box<dyn Session> {
        Box::new(FingerSession::new(Arc::clone(&self.plans)))
    }

    fn refused(&mut self, _refusal: Refusal) -> Bytes {
        Bytes::from_static(session::BUSY)
    }
}
