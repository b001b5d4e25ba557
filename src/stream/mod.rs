//! The stream driver: event log → fold → online store, each record's effect exactly once.
//!
//! ```text
//!              Signal                                   Effect
//! log, store ─────────► Worker (sync, decides) ─────────► run (async, performs, retries) ─► log, store
//! ```
//!
//! The [`Worker`] has no clock, no socket and no await: it is a function of the signals it was given, so every rule
//! of the protocol is tested as a list of signals and a list of effects. [`run()`] is the only place that waits.
//!
//! # Protocol
//!
//! * A **lane** is one (view version, partition) within one shard: it has a nonce, an offset in the store, and an
//!   offset up to which it is folded in memory. Nothing is folded into a lane that is not held by a claim.
//! * A partition is read from the smallest offset of its lanes; each lane skips what it has.
//! * A flush is one `apply` for a shard, never split, and at most one a shard is under way. Folding goes on meanwhile.
//! * A refused flush means that someone else wrote, or that the store lost writes, or that an earlier attempt of the
//!   same call was done after all. The mend is one for all three: prove membership, forget what is in memory of the
//!   lanes that were refused, claim them again, and go on from the offsets that the claim returns.
//! * Nothing is skipped: a partition that cannot be read, whose log ends before what was folded of it, or whose stored
//!   rows are damaged, stops with a reason.
//!
//! Nothing here draws a nonce, logs, counts metrics, writes dead letters or promotes versions: [`run()`] does the
//! first, and others read [`Progress`] for the rest.

mod batch;
mod blocked;
mod cache;
mod calls;
mod flush;
mod fold;
mod partition;
mod progress;
mod retry;
mod run;
mod shard;
mod shell;
mod worker;

use std::ops::Range;
use std::sync::Arc;

use crate::event_log::TopicPartition;
use crate::kernel::event::RawRecord;
use crate::kernel::key::Shard;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::{EventTime, Micros};
use crate::online::{Advance, Applied, Claim, Loaded, Nonce, PartKey, PartWrite};

pub use progress::{PartitionProgress, Passes, Progress, Refusal, SourceProgress, Standing, VersionProgress};
pub use run::{Error, Options, run};
pub use worker::Worker;

/// Names a question, so that an answer which is no longer waited for can be told from one that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A partition, and what the log holds of it now: its first offset, and the offset that the next record will get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub partition: TopicPartition,
    pub held: Range<u64>,
}

/// What the worker hears.
pub enum Signal {
    /// The view versions to write from now on, all of them; and the bounds of what is assigned, for new ones.
    Versions { versions: Vec<Arc<ViewPlan>>, bounds: Vec<Bounds> },
    /// Ours from now on.
    Assigned(Vec<Bounds>),
    /// To be let go once it is flushed.
    Revoked(Vec<TopicPartition>),
    /// The answer to [`Effect::Claim`]: offsets in the order of its claims.
    Claimed { ticket: Ticket, nonce: Nonce, offsets: Vec<u64> },
    /// The next records of a partition, delivered since the [`Effect::Seek`] of that ticket: all that it has below
    /// `next`, which may be none.
    Records { ticket: Ticket, partition: TopicPartition, records: Vec<RawRecord>, next: u64, log_end: u64 },
    /// The answer to [`Effect::Load`], in the order of its keys; of a row that is damaged, how.
    Loaded { ticket: Ticket, loaded: Vec<Result<Loaded, String>> },
    /// The answer to [`Effect::Apply`].
    Applied { shard: Shard, outcome: Applied },
    /// The answer to [`Effect::ProveMembership`]: of a member, with what the log holds now, for what is claimed anew.
    Membership(Option<Vec<Bounds>>),
    /// What the log holds now, asked from time to time: what is not read is not heard of otherwise.
    Bounds(Vec<Bounds>),
    /// The answer to [`Effect::Look`].
    Looked { ticket: Ticket, held: Range<u64> },
    /// The log cannot deliver the partition, and trying again would not help.
    Unreadable { partition: TopicPartition, reason: String },
    /// What time of day it is, and how much time has passed since some beginning: the one may be set back and the other
    /// never goes back, so that is what flushes wait by.
    Tick { now: EventTime, passed: Micros },
    /// Flush and let go of everything that is assigned.
    ReleaseAll,
}

/// What the worker wants done, in order. Whoever performs an effect tries it again, unchanged, for as long as its
/// outcome is unknown.
pub enum Effect {
    /// With a nonce drawn at random for each attempt.
    Claim {
        ticket: Ticket,
        shard: Shard,
        claims: Vec<Claim>,
    },
    /// Deliver from `offset` on; replaces an earlier seek of the partition.
    Seek {
        ticket: Ticket,
        partition: TopicPartition,
        offset: u64,
    },
    Load {
        ticket: Ticket,
        keys: Vec<PartKey>,
    },
    Apply {
        shard: Shard,
        advances: Vec<Advance>,
        rows: Arc<[PartWrite]>,
    },
    Pause(TopicPartition),
    Resume(TopicPartition),
    ProveMembership,
    /// Ask what the log holds of the partition now.
    Look {
        ticket: Ticket,
        partition: TopicPartition,
    },
    /// Flushed and forgotten: someone else may have it.
    Released(TopicPartition),
    /// No longer read, and why. Stays assigned.
    Stopped {
        partition: TopicPartition,
        reason: String,
    },
}

/// Bounds and intervals of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A shard is flushed when its oldest unflushed event has waited this long.
    pub flush_interval: Micros,
    /// The same while the worker is behind the log by more than `behind_records`: events that waited for longer than
    /// this already are not much the fresher for a quick flush, and rows that are flushed less often cost less.
    pub behind_flush_interval: Micros,
    pub behind_records: u64,
    /// Offsets of shards without rows are written at least this often.
    pub idle_interval: Micros,
    /// A shard's unflushed parts pass this size by one record at most.
    pub flush_bytes: usize,
    /// What is due waits while as much as this is under way to the store.
    pub flying_bytes: usize,
    /// Unflushed parts of all shards together; beyond, reading waits.
    pub unflushed_bytes: usize,
    /// Parts kept in memory, the unflushed ones included.
    pub cache_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            flush_interval: Micros::from_millis(10),
            behind_flush_interval: Micros::from_millis(900),
            behind_records: 20_000,
            idle_interval: Micros::new(5_000_000),
            flush_bytes: 4 << 20,
            flying_bytes: 512 << 10,
            unflushed_bytes: 64 << 20,
            cache_bytes: 256 << 20,
        }
    }
}
