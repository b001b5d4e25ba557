//! How far the worker is, and what it met: facts for `status`, for metrics, and for the step from Building to Live.

use std::collections::{BTreeMap, BTreeSet};

use crate::event_log::TopicPartition;
use crate::kernel::engine::Counts;
use crate::kernel::event::Reason;
use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;

/// A worker's own view: of the partitions that it holds, since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    pub partitions: BTreeMap<TopicPartition, PartitionProgress>,
    pub versions: BTreeMap<Fingerprint, VersionProgress>,
    pub sources: BTreeMap<Name, SourceProgress>,
    /// Lanes whose newest writes the store had lost, and that were folded again.
    pub rewound_lanes: u64,
    pub cached_bytes: usize,
    pub unflushed_bytes: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PartitionProgress {
    /// The next record to read.
    pub folded: u64,
    /// Records below are in the store, for every version.
    pub flushed: u64,
    /// The offset that the log's next record will get, as last heard.
    pub log_end: u64,
    /// Of the events folded; lookups see it one flush later.
    pub newest_event_time: Option<EventTime>,
    /// Why it is not read any more.
    pub stopped: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct VersionProgress {
    /// A record that is folded again after a rewind is counted again.
    pub counts: Counts,
    /// Partitions of which the store has everything that the log held when the version was first claimed.
    pub caught_up: BTreeSet<u32>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceProgress {
    pub rejected: BTreeMap<Reason, u64>,
    pub clamped: u64,
}

impl Progress {
    /// Whether all `partitions` of the version's topic are caught up here.
    pub fn is_caught_up(&self, version: Fingerprint, partitions: usize) -> bool {
        self.versions.get(&version).is_some_and(|version| version.caught_up.len() >= partitions)
    }
}
