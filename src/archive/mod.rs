//! The driver that archives: event log → decoded events and dead letters → commits of the offline archive.
//!
//! ```text
//! consumer ─► lanes (sync: who waits, what is cut) ─► decode, write, commit (blocking threads)
//!                 ▲                                          │
//!                 └──────────── done, or overtaken ◄─────────┘
//! ```
//!
//! Promises: every record of every source's topic becomes one archived event or one dead letter, in the order of its
//! partition, whatever dies when. It starts where the archive's commits end, and consumer offsets decide nothing.
//! [`Tiered`] reads it back as a log, below where the log itself begins.
//! Small commits are compacted beside it, so that what jobs list and read does not grow with how often it commits.
//! What waits in memory is bounded; when the disk is slow or full it stops reading, tries again, and loses nothing.
//! It does not judge events: late and duplicate ones are archived like others.

use std::time::Duration;

use crate::kernel::time::Micros;
use crate::offline::Compaction;

pub use history::run_history;
pub use progress::{Progress, Standing};
pub use reached::{Reached, WaitError};
pub use run::{Archiver, run};
pub use tiered::Tiered;

mod beginnings;
mod compactor;
mod history;
mod lanes;
mod progress;
mod reached;
mod retry;
mod run;
mod session;
mod tiered;

/// When records are committed, and how many may wait.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The group of archivers that share the log's partitions.
    pub group: String,
    /// Of one commit.
    pub events_max: usize,
    pub bytes_max: usize,
    /// How long a record waits for others to be committed with.
    pub interval: Micros,
    pub compaction: Compaction,
    /// Of all records in memory: nothing more is read beyond it.
    pub waiting_bytes_max: usize,
    /// How long a shutdown waits for the last commits.
    pub drain: Duration,
}

impl Settings {
    pub fn new(group: impl Into<String>) -> Settings {
        Settings {
            group: group.into(),
            events_max: 50_000,
            bytes_max: 16 << 20,
            interval: Micros::new(2_000_000),
            compaction: Compaction::USUAL,
            waiting_bytes_max: 128 << 20,
            drain: Duration::from_secs(10),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the archive cannot go on without the event log")]
    Log(#[from] crate::event_log::Error),
    #[error("the archive cannot go on without its files")]
    Offline(#[from] crate::offline::Error),
}
