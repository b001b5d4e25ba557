//! The worker: signals in, effects out. This file holds who reads what: assignment, claims, versions, stops. The
//! way of records is in `fold.rs`, the way to the store in `flush.rs`.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::event_log::TopicPartition;
use crate::kernel::engine::Counts;
use crate::kernel::key::Shard;
use crate::kernel::name::Name;
use crate::kernel::plan::{Fingerprint, ViewPlan};
use crate::kernel::time::{EventTime, Micros};
use crate::online::{Claim, Nonce, PartKey};
use crate::stream::cache::Cache;
use crate::stream::partition::{Hold, Lane, LaneId, Partition, Phase};
use crate::stream::progress::{PartitionProgress, Progress, Refusal, SourceProgress, Standing, VersionProgress};
use crate::stream::shard::Shards;
use crate::stream::{Bounds, Effect, Settings, Signal, Ticket};

/// Of a log that ends before where it was read to: what it is, and what mends it.
pub(super) const WENT_BACK: &str = "the log went back: `freshet rebuild` builds the rows anew from what it holds now";

pub struct Worker {
    pub(super) settings: Settings,
    /// Into how many shards the project's entities are cut.
    pub(super) shard_count: u16,
    /// The time of day.
    pub(super) now: EventTime,
    /// Since some beginning.
    pub(super) passed: Micros,
    pub(super) partitions: BTreeMap<TopicPartition, Partition>,
    pub(super) shards: Shards,
    pub(super) cache: Cache,
    pub(super) effects: Vec<Effect>,
    /// Whether a proof of membership was asked for and not yet given.
    pub(super) proving: bool,
    pub(super) counts: BTreeMap<Fingerprint, Counts>,
    pub(super) sources: BTreeMap<Name, SourceProgress>,
    pub(super) rewound_lanes: u64,
    pub(super) refused_flushes: BTreeMap<Refusal, u64>,
    /// What is to be written.
    versions: BTreeMap<Fingerprint, Arc<ViewPlan>>,
    /// Claims that are not answered yet.
    claiming: BTreeMap<Ticket, (Shard, Vec<Claim>)>,
    tickets: u64,
}

impl Worker {
    pub fn new(shard_count: u16, settings: Settings) -> Worker {
        Worker {
            now: EventTime::MIN,
            passed: Micros::ZERO,
            partitions: BTreeMap::new(),
            shards: Shards::new(shard_count),
            cache: Cache::new(settings.cache_bytes),
            effects: Vec::new(),
            proving: false,
            counts: BTreeMap::new(),
            sources: BTreeMap::new(),
            rewound_lanes: 0,
            refused_flushes: BTreeMap::new(),
            versions: BTreeMap::new(),
            claiming: BTreeMap::new(),
            tickets: 0,
            settings,
            shard_count,
        }
    }

    /// Takes one step. The effects are to be performed in their order.
    #[must_use]
    pub fn handle(&mut self, signal: Signal) -> Vec<Effect> {
        match signal {
            Signal::Versions { versions, bounds } => self.write_versions(versions, bounds),
            Signal::Assigned(assigned) => self.assigned(assigned),
            Signal::Revoked(revoked) => self.revoked(&revoked),
            Signal::Claimed { ticket, nonce, offsets } => self.claimed(ticket, nonce, &offsets),
            Signal::Records { ticket, partition, records, next, log_end } => {
                self.records(ticket, &partition, records, next, log_end)
            }
            Signal::Loaded { ticket, loaded } => self.loaded(ticket, loaded),
            Signal::Applied { shard, outcome } => self.applied(shard, outcome),
            Signal::Membership(proven) => self.membership(proven),
            Signal::Bounds(bounds) => self.learn(bounds),
            Signal::Looked { ticket, held } => self.looked(ticket, held),
            Signal::Unreadable { partition, reason } => self.stop(&partition, reason),
            Signal::Tick { now, passed } => self.tick(now, passed),
            Signal::ReleaseAll => self.release_all(),
        }
        std::mem::take(&mut self.effects)
    }

    /// Whether nothing is assigned and nothing is under way to the store.
    pub fn is_idle(&self) -> bool {
        self.partitions.is_empty() && self.shards.are_landed()
    }

    pub fn progress(&self) -> Progress {
        let mut versions: BTreeMap<Fingerprint, VersionProgress> = BTreeMap::new();
        for (version, counts) in &self.counts {
            versions.entry(*version).or_default().counts = *counts;
        }
        for partition in self.partitions.values() {
            for (version, _) in partition.tracks.iter().filter(|(_, track)| track.is_caught_up()) {
                versions.entry(*version).or_default().caught_up.insert(partition.at.partition);
            }
        }
        let is_claiming = |partition: &Partition| match partition.phase {
            Phase::Claiming => !partition.is_claimed(),
            Phase::Looking(_) => true,
            _ => false,
        };
        let is_claiming = self.partitions.values().any(is_claiming);
        Progress {
            standing: if is_claiming { Standing::Claiming } else { Standing::Reading },
            blocked: None,
            partitions: self.partitions.iter().map(|(at, partition)| (at.clone(), progress_of(partition))).collect(),
            versions,
            sources: self.sources.clone(),
            rewound_lanes: self.rewound_lanes,
            refused_flushes: self.refused_flushes.clone(),
            cached_bytes: self.cache.bytes(),
            unflushed_bytes: self.shards.unflushed_bytes(),
        }
    }

    fn assigned(&mut self, assigned: Vec<Bounds>) {
        for Bounds { partition: at, held } in assigned {
            let mut partition = Partition::new(at.clone(), held);
            for view in self.versions.values().filter(|view| view.source.topic == at.topic) {
                partition.follow(view, self.shard_count);
            }
            self.remove(&at);
            self.partitions.insert(at, partition);
        }
        self.claim();
    }

    /// Flushes what is folded, then lets go. What is not ours is let go at once.
    fn revoked(&mut self, revoked: &[TopicPartition]) {
        for at in revoked {
            if self.partitions.contains_key(at) {
                self.halt(at, Phase::Releasing);
            } else {
                self.effects.push(Effect::Released(at.clone()));
            }
        }
        self.release();
    }

    fn release_all(&mut self) {
        let all: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        self.revoked(&all);
    }

    /// Starts with the versions that are new, and forgets those that are no longer written.
    fn write_versions(&mut self, versions: Vec<Arc<ViewPlan>>, bounds: Vec<Bounds>) {
        self.versions = versions.into_iter().map(|view| (view.rows, view)).collect();
        self.learn(bounds);
        let all: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        for at in &all {
            self.follow_versions(at);
        }
        self.claim();
        self.open_claimed();
        // A stopped partition may have lost a lane to a refused flush, and is read again now.
        self.halt_refused();
    }

    fn learn(&mut self, bounds: Vec<Bounds>) {
        for Bounds { partition, held } in bounds {
            if let Some(partition) = self.partitions.get_mut(&partition) {
                partition.held = held;
            }
        }
    }

    fn follow_versions(&mut self, at: &TopicPartition) {
        let partition = self.partitions.get_mut(at).expect("it was listed");
        let wanted = |version: &Fingerprint| self.versions.contains_key(version);
        let dropped: Vec<Fingerprint> = partition.tracks.keys().copied().filter(|version| !wanted(version)).collect();
        let is_new = |view: &&Arc<ViewPlan>| {
            view.source.topic == at.topic && !partition.tracks.contains_key(&view.rows) && partition.stays()
        };
        let new: Vec<Arc<ViewPlan>> = self.versions.values().filter(is_new).cloned().collect();
        if dropped.is_empty() && new.is_empty() {
            return;
        }
        for view in &new {
            partition.follow(view, self.shard_count);
        }
        partition.tracks.retain(|version, _| !dropped.contains(version));
        let part = partition.part();
        // One that was stopped is tried again: new rows may not need what the old ones stopped for.
        if partition.is_read() || !new.is_empty() {
            self.halt(at, Phase::Claiming);
        }
        self.forget(|key| key.part == part && dropped.contains(&key.version));
    }

    /// Claims every lane that is to be read and that nobody claimed yet.
    pub(super) fn claim(&mut self) {
        for shard in (0..self.shard_count).map(Shard) {
            let ticket = self.ticket();
            let mut claims = Vec::new();
            for partition in self.partitions.values_mut().filter(|partition| partition.is_read()) {
                partition.claim(shard, ticket, &mut claims);
            }
            if !claims.is_empty() {
                self.claiming.insert(ticket, (shard, claims.clone()));
                self.effects.push(Effect::Claim { ticket, shard, claims });
            }
        }
    }

    fn claimed(&mut self, ticket: Ticket, nonce: Nonce, offsets: &[u64]) {
        let Some((shard, claims)) = self.claiming.remove(&ticket) else { return };
        for (claim, offset) in claims.iter().zip(offsets) {
            // A version is read from one topic, so others with a partition of this number do not have it.
            let numbered = self.partitions.values_mut().filter(|it| it.at.partition == claim.partition);
            numbered.for_each(|partition| partition.take(shard, ticket, claim, nonce, *offset));
        }
        self.open_claimed();
        self.release();
    }

    /// Reads every partition whose last lane was just claimed, from the smallest offset that some lane needs; one of which
    /// no lane needs any is left alone. Where the store has more than the log had when it was asked, it is asked again:
    /// others may have written meanwhile.
    fn open_claimed(&mut self) {
        let claimed = |partition: &&Partition| {
            matches!(partition.phase, Phase::Claiming) && partition.is_claimed() && partition.is_folded()
        };
        let ready: Vec<TopicPartition> = self.partitions.values().filter(claimed).map(|one| one.at.clone()).collect();
        for at in &ready {
            let partition = &self.partitions[at];
            match partition.largest_stored() <= partition.held.end {
                true => self.open(at),
                false => self.look(at),
            }
        }
    }

    fn look(&mut self, at: &TopicPartition) {
        let ticket = self.ticket();
        self.partitions.get_mut(at).expect("it was just claimed").phase = Phase::Looking(ticket);
        self.effects.push(Effect::Look { ticket, partition: at.clone() });
    }

    /// A log that ends before what was folded of it has lost records: new ones get their offsets, and lanes that are
    /// beyond would skip them.
    fn looked(&mut self, ticket: Ticket, held: Range<u64>) {
        let waits =
            |partition: &&mut Partition| matches!(partition.phase, Phase::Looking(current) if current == ticket);
        let Some(partition) = self.partitions.values_mut().find(waits) else { return };
        let (at, stored, end) = (partition.at.clone(), partition.largest_stored(), held.end);
        partition.held = held;
        match stored <= end {
            true => self.open(&at),
            false => {
                self.stop(&at, format!("offset {stored} was reached before, and the log ends at {end}: {WENT_BACK}"))
            }
        }
    }

    pub(super) fn open(&mut self, at: &TopicPartition) {
        let ticket = self.ticket();
        let partition = self.partitions.get_mut(at).expect("an open partition is assigned");
        partition.next = partition.smallest_folded();
        partition.phase = Phase::Reading { ticket, waiting: None };
        self.effects.push(Effect::Seek { ticket, partition: at.clone(), offset: partition.next });
        if std::mem::take(&mut partition.paused) {
            self.effects.push(Effect::Resume(at.clone()));
        }
    }

    /// Gives up what waits to be folded; it is read again when the partition is opened again.
    pub(super) fn halt(&mut self, at: &TopicPartition, phase: Phase) {
        let Some(partition) = self.partitions.get_mut(at) else { return };
        if let Phase::Reading { waiting: Some(batch), .. } = std::mem::replace(&mut partition.phase, phase) {
            self.cache.finish(batch.id);
            self.count_folded(&batch);
        }
        self.pause(at);
    }

    pub(super) fn pause(&mut self, at: &TopicPartition) {
        let Some(partition) = self.partitions.get_mut(at) else { return };
        if !std::mem::replace(&mut partition.paused, true) {
            self.effects.push(Effect::Pause(at.clone()));
        }
    }

    /// Reads no further: going on would skip something.
    pub(super) fn stop(&mut self, at: &TopicPartition, reason: String) {
        if self.partitions.get(at).is_some_and(Partition::is_read) {
            self.halt(at, Phase::Stopped(reason.clone()));
            self.effects.push(Effect::Stopped { partition: at.clone(), reason });
        }
    }

    /// Without membership someone else may own every partition: nothing more is written. Where the store has forgotten
    /// a lane, it begins where the log does by now.
    fn membership(&mut self, proven: Option<Vec<Bounds>>) {
        self.proving = false;
        let Some(bounds) = proven else {
            let all: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
            return all.iter().for_each(|at| self.let_go(at));
        };
        self.learn(bounds);
        let lanes = self.partitions.values_mut().flat_map(|partition| partition.tracks.values_mut());
        for lane in lanes.flat_map(|track| &mut track.lanes).filter(|lane| lane.hold == Hold::Refused) {
            lane.hold = Hold::Unclaimed;
        }
        self.claim();
    }

    /// Forgets a partition as it is, flushed or not, and says so.
    pub(super) fn let_go(&mut self, at: &TopicPartition) {
        self.remove(at);
        self.effects.push(Effect::Released(at.clone()));
    }

    fn remove(&mut self, at: &TopicPartition) {
        let Some(partition) = self.partitions.remove(at) else { return };
        let part = partition.part();
        self.forget(|key| key.part == part && partition.tracks.contains_key(&key.version));
        if let Phase::Reading { waiting: Some(batch), .. } = partition.phase {
            self.cache.finish(batch.id);
        }
    }

    pub(super) fn forget(&mut self, leaves: impl Fn(&PartKey) -> bool) {
        let Worker { cache, shards, shard_count, .. } = self;
        cache.forget(|key, unflushed| {
            let leaves = leaves(key);
            if leaves {
                shards.shrink(key.entity.shard(*shard_count), unflushed);
            }
            leaves
        });
    }

    pub(super) fn lane(&mut self, id: LaneId) -> Option<&mut Lane> {
        let mut numbered = self.partitions.values_mut().filter(|partition| partition.part() == id.part);
        let track = numbered.find_map(|partition| partition.tracks.get_mut(&id.version))?;
        Some(&mut track.lanes[usize::from(id.shard.0)])
    }

    pub(super) fn lane_of(&self, key: &PartKey) -> LaneId {
        LaneId { shard: key.entity.shard(self.shard_count), version: key.version, part: key.part }
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }
}

fn progress_of(partition: &Partition) -> PartitionProgress {
    PartitionProgress {
        folded: partition.next,
        flushed: partition.smallest_stored(),
        log_end: partition.held.end,
        record_time: partition.record_time,
        newest_event_time: partition.newest_event_time,
        stopped: match &partition.phase {
            Phase::Stopped(reason) => Some(reason.clone()),
            _ => None,
        },
    }
}
