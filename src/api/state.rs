//! What handlers share: the stores, the drivers' hands, and the limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::api::Jobs;
use crate::archive;
use crate::clock::Clock;
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
    /// What the stream worker of this process reports.
    pub stream: watch::Receiver<stream::Progress>,
    pub archived: archive::Progress,
    pub jobs: Jobs,
    /// Of the offline store.
    pub folder: Folder,
    pub project: Name,
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

impl State {
    /// What the archive of this process has of a source, by partition.
    pub fn archived_offsets(&self, source: &Name) -> BTreeMap<u32, u64> {
        let standings = self.archived.standings().into_iter();
        standings
            .filter(|((name, _), _)| name == source)
            .map(|((_, partition), it)| (partition, it.archived_to))
            .collect()
    }
}
