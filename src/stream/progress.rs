//! How far the worker is, and what it met: facts for `status`, for metrics, and for the step from Building to Live.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

use crate::event_log::TopicPartition;
use crate::kernel::engine::Counts;
use crate::kernel::event::Reason;
use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;
use crate::online::{Advance, Position};

/// A worker's own view: of the partitions that it holds, since it started.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Progress {
    pub standing: Standing,
    /// Why no flush gets through to the store, where none has for many attempts.
    pub blocked: Option<String>,
    pub partitions: BTreeMap<TopicPartition, PartitionProgress>,
    pub versions: BTreeMap<Fingerprint, VersionProgress>,
    pub sources: BTreeMap<Name, SourceProgress>,
    /// Lanes whose newest writes the store had lost, and that were folded again.
    pub rewound_lanes: u64,
    /// Flushes of which nothing was written. Each was made good, here or by whoever owns the partition now.
    pub refused_flushes: BTreeMap<Refusal, u64>,
    pub cached_bytes: usize,
    pub unflushed_bytes: usize,
}

/// What the two workers of a process tell: of what is served, and of what is built beside it.
#[derive(Clone)]
pub struct Passes {
    pub serving: watch::Receiver<Progress>,
    pub building: watch::Receiver<Progress>,
}

/// Where the worker stands in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not a member, or on the way out.
    #[default]
    Joining,
    /// The store has not said yet from where some partition is to be folded.
    Claiming,
    /// Whatever is assigned is folded as it comes.
    Reading,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PartitionProgress {
    /// The next record to read.
    pub folded: u64,
    /// Records below are in the store, for every version; but for shards of which the store lost seeded rows, which stand
    /// still until the version is built anew.
    pub flushed: u64,
    /// The offset that the log's next record will get, as last heard.
    pub log_end: u64,
    /// The smallest ingestion time of the batch that was read last.
    pub record_time: EventTime,
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

/// Why the store refused a flush. Ordered: a flush that was refused for several reasons counts for the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    /// An attempt of it that was not answered had been done.
    Repeated,
    /// The store is behind what it acknowledged: a failover, or a restart.
    Rewound,
    /// The store has forgotten the shard.
    Emptied,
    /// Somebody else claimed the partition: this worker is a zombie, or about to hear that it was revoked.
    Replaced,
}

impl Refusal {
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::Repeated => "repeated",
            Refusal::Rewound => "rewound",
            Refusal::Emptied => "emptied",
            Refusal::Replaced => "replaced",
        }
    }

    /// `None`: the lane stood as the flush said.
    pub(super) fn of(advance: &Advance, stored: Option<Position>) -> Option<Refusal> {
        match stored {
            None => Some(Refusal::Emptied),
            Some(stored) if stored.nonce != advance.nonce => Some(Refusal::Replaced),
            Some(stored) if stored.offset < advance.from => Some(Refusal::Rewound),
            Some(stored) => (stored.offset > advance.from).then_some(Refusal::Repeated),
        }
    }
}

impl Progress {
    /// Whether all `partitions` of the version's topic are caught up here.
    pub fn is_caught_up(&self, version: Fingerprint, partitions: usize) -> bool {
        self.versions.get(&version).is_some_and(|version| version.caught_up.len() >= partitions)
    }

    /// The smaller of clock and record time: by it rows may be dropped, for what a record that is still to be folded
    /// must be compared with has to be there. `None`: nothing is assigned, so nobody knows.
    pub fn expiry_time(&self, now: EventTime) -> Option<EventTime> {
        let reached = |it: &PartitionProgress| if it.flushed < it.log_end { it.record_time.min(now) } else { now };
        self.partitions.values().map(reached).min()
    }
}

/// Of a process that folds nothing.
impl Default for Passes {
    fn default() -> Passes {
        let none = || watch::channel(Progress::default()).1;
        Passes { serving: none(), building: none() }
    }
}

impl Passes {
    /// Of both: standing, partitions and sources as lookups depend on them, and the sum of what was counted.
    pub fn progress(&self) -> Progress {
        let (mut both, building) = (self.serving.borrow().clone(), self.building.borrow());
        for (version, it) in &building.versions {
            let of = both.versions.entry(*version).or_default();
            of.counts += it.counts;
            of.caught_up.extend(&it.caught_up);
        }
        for (refusal, count) in &building.refused_flushes {
            *both.refused_flushes.entry(*refusal).or_default() += count;
        }
        both.rewound_lanes += building.rewound_lanes;
        both.cached_bytes += building.cached_bytes;
        both.unflushed_bytes += building.unflushed_bytes;
        both
    }

    /// Why versions of a topic that are built beside others get no further.
    pub fn building_stopped(&self, topic: &str) -> Option<String> {
        let building = self.building.borrow();
        let mut partitions = building.partitions.iter().filter(|(at, _)| at.topic == *topic);
        partitions.find_map(|(at, it)| Some(format!("partition {}: {}", at.partition, it.stopped.as_ref()?)))
    }

    /// See [`Progress::expiry_time`]; what is built is not to lose rows either.
    pub fn expiry_time(&self, now: EventTime) -> Option<EventTime> {
        let serving = self.serving.borrow().expiry_time(now)?;
        Some(self.building.borrow().expiry_time(now).map_or(serving, |building| building.min(serving)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::online::Nonce;

    #[test]
    fn a_refusal_is_told_by_what_the_store_has_instead() {
        let [ours, theirs] = [Nonce(1), Nonce(2)];
        let advance = Advance { version: Fingerprint(7), partition: 0, nonce: ours, from: 10, to: 20 };
        let of = |stored: Option<(Nonce, u64)>| {
            Refusal::of(&advance, stored.map(|(nonce, offset)| Position { nonce, offset }))
        };
        assert_eq!(of(Some((ours, 10))), None, "another lane of the flush was refused");
        assert_eq!(of(Some((ours, 20))), Some(Refusal::Repeated));
        assert_eq!(of(Some((ours, 9))), Some(Refusal::Rewound));
        assert_eq!(of(Some((theirs, 10))), Some(Refusal::Replaced));
        assert_eq!(of(None), Some(Refusal::Emptied));
    }

    #[test]
    fn rows_expire_by_the_clock_only_where_every_partition_is_caught_up() {
        let at = |second: i64| EventTime::unchecked(second * 1_000_000);
        let partition = |flushed, record_time| PartitionProgress {
            folded: flushed,
            flushed,
            log_end: 10,
            record_time: at(record_time),
            newest_event_time: None,
            stopped: None,
        };
        let of = |partitions: &[(u64, i64)]| {
            let place = |number| TopicPartition { topic: "clicks".to_owned(), partition: number };
            let numbered =
                (0..).zip(partitions).map(|(number, (flushed, time))| (place(number), partition(*flushed, *time)));
            Progress { partitions: numbered.collect(), ..Progress::default() }.expiry_time(at(100))
        };
        assert_eq!(of(&[(10, 50), (10, 40)]), Some(at(100)));
        assert_eq!(of(&[(10, 50), (9, 60)]), Some(at(60)));
        assert_eq!(of(&[(9, 200)]), Some(at(100)), "a producer's clock may be ahead");
        assert_eq!(of(&[]), None);
    }
}
