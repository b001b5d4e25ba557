//! What handlers share: the stores, the drivers' hands, the keys and the limits.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::watch;

use crate::api::{Access, Jobs, Lanes, Limits, Phase, Turns};
use crate::archive;
use crate::batch::Resources;
use crate::clock::Clock;
use crate::config::Roles;
use crate::event_log::EventLog;
use crate::kernel::name::Name;
use crate::offline::{Folder, Inputs};
use crate::online::OnlineStore;
use crate::registry::catalogue::Catalogues;
use crate::registry::{self, Registry};
use crate::serving::Serving;
use crate::stream;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::traces::Traces;

/// Clones share everything. One count is all that a clone costs: each layer of the router makes one for each request.
#[derive(Clone)]
pub struct State(Arc<Parts>);

pub struct Parts {
    pub log: Arc<dyn EventLog>,
    pub online: Arc<dyn OnlineStore>,
    pub registry: Arc<dyn Registry>,
    pub catalogues: Catalogues,
    pub serving: Serving,
    pub clock: Clock,
    pub metrics: Metrics,
    pub traces: Traces,
    /// What the stream workers of this process report.
    pub stream: stream::Passes,
    pub archived: archive::Reached,
    pub jobs: Jobs,
    /// What one job may use.
    pub job_resources: Resources,
    /// Of the offline store.
    pub folder: Folder,
    /// Files that a request may name.
    pub inputs: Inputs,
    pub project: Name,
    pub roles: Roles,
    pub phase: watch::Receiver<Phase>,
    pub access: Access,
    /// Whether the service listens on loopback, for those who are on the machine.
    pub is_local: bool,
    pub limits: Limits,
    pub lanes: Lanes,
    pub turns: Turns,
    /// Partitions of topics that an apply creates.
    pub partitions: u32,
}

impl State {
    pub fn new(parts: Parts) -> State {
        State(Arc::new(parts))
    }
}

/// A change that is made stands, and is answered so, where the registry cannot be read just now: it would be made once
/// more by whoever tries again. It is seen here within half a second of when the registry can.
impl State {
    pub(super) async fn follow_definitions(&self) {
        told(self.catalogues.refresh(&*self.registry).await);
    }

    pub(super) async fn follow_keys(&self) {
        told(self.access.refresh(&*self.registry).await);
    }
}

fn told(refreshed: Result<(), registry::Error>) {
    if let Err(error) = refreshed {
        tracing::warn!(%error, "a change is made, and is not seen here before the registry can be read");
    }
}

impl Deref for State {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
