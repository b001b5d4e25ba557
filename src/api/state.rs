//! What handlers share: the stores, the drivers' hands, and the limits.

use std::sync::Arc;

use tokio::sync::watch;

use crate::api::{Jobs, Phase};
use crate::archive;
use crate::clock::Clock;
use crate::config::Roles;
use crate::event_log::EventLog;
use crate::kernel::name::Name;
use crate::offline::Folder;
use crate::online::OnlineStore;
use crate::registry::Registry;
use crate::registry::catalogue::Catalogues;
use crate::serving::Serving;
use crate::stream;
use crate::telemetry::metrics::Metrics;

/// Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct State {
    pub log: Arc<dyn EventLog>,
    pub online: Arc<dyn OnlineStore>,
    pub registry: Arc<dyn Registry>,
    pub catalogues: Catalogues,
    pub serving: Serving,
    pub clock: Clock,
    pub metrics: Metrics,
    /// What the stream workers of this process report.
    pub stream: stream::Passes,
    pub archived: archive::Reached,
    pub jobs: Jobs,
    /// Of the offline store.
    pub folder: Folder,
    pub project: Name,
    pub roles: Roles,
    pub phase: watch::Receiver<Phase>,
    pub limits: Limits,
    /// Partitions of topics that an apply creates.
    pub partitions: u32,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub body_bytes: usize,
    /// Of a training set's spine, which is a whole table.
    pub spine_bytes: usize,
    /// Events in one ingest call.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { body_bytes: 16 << 20, spine_bytes: 256 << 20, events: 50_000 }
    }
}
