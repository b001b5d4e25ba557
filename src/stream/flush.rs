//! The way to the store: what is flushed when, what an answer means, and when a partition may be let go.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event_log::TopicPartition;
use crate::kernel::key::{PartId, Shard};
use crate::kernel::time::{EventTime, Micros};
use crate::online::{Advance, Applied, PartWrite, Position};
use crate::stream::partition::{Hold, LaneId, Partition, Phase};
use crate::stream::progress::Refusal;
use crate::stream::shard::{Flight, Pace};
use crate::stream::worker::Worker;
use crate::stream::{Effect, Settings};

impl Worker {
    pub(super) fn tick(&mut self, now: EventTime, passed: Micros) {
        (self.now, self.passed) = (now, passed);
        self.flush_due();
        for shard in (0..self.shard_count).map(Shard) {
            if self.wants_offsets(shard) {
                self.flush(shard);
            }
        }
    }

    /// Sends what is due, one shard after the other, while little is under way: a load that a batch waits for would
    /// stand behind all of it, and the store would rest while the next is folded.
    fn flush_due(&mut self) {
        let pace = self.pace();
        for _ in 0..self.shard_count {
            if self.shards.flying_bytes() >= self.settings.flying_bytes {
                return;
            }
            let shard = self.shards.next_turn();
            if self.shards.is_due(shard, self.passed, pace) {
                self.flush(shard);
            }
        }
    }

    fn wants_offsets(&self, shard: Shard) -> bool {
        let told_at = self.shards.told_at(shard);
        told_at.is_none_or(|told_at| self.passed >= told_at + self.settings.idle_interval)
    }

    fn pace(&self) -> Pace {
        let Settings { flush_interval, behind_flush_interval, behind_records, .. } = self.settings;
        let behind =
            |partition: &Partition| partition.is_read() && partition.is_folded() && partition.lag() > behind_records;
        match self.partitions.values().any(behind) {
            true => Pace::Within(behind_flush_interval.max(flush_interval)),
            false => Pace::After(flush_interval),
        }
    }

    /// Sends all that is unflushed of a shard as one call, unless one is under way. Lanes without rows go along where they
    /// cost little beside those with rows, and else when their offsets were not written for some time: so these stay
    /// close to the log's end, and a lane that went back is noticed.
    pub(super) fn flush(&mut self, shard: Shard) {
        self.flush_lanes(shard, self.wants_offsets(shard));
    }

    fn flush_lanes(&mut self, shard: Shard, tells_all: bool) {
        if self.shards.is_in_flight(shard) {
            return;
        }
        let all = tells_all || self.has_many_rows(shard);
        let mut advances = Vec::new();
        let mut rows = Vec::new();
        let bytes = self.shards.bytes(shard);
        for partition in self.partitions.values_mut() {
            let now = self.now.min(partition.record_time);
            let stays = partition.stays();
            for (version, track) in &mut partition.tracks {
                let lane = &mut track.lanes[usize::from(shard.0)];
                // One that is to be let go is not held up by a call that it has no part in.
                if lane.is_ahead() && !stays || all && stays || !lane.unflushed.is_empty() {
                    advances.extend(lane.step(*version, partition.at.partition));
                }
                for slot in lane.unflushed.drain(..) {
                    let (key, flushed) = self.cache.flush(slot, |part| part.flush(&track.view, now));
                    rows.push(PartWrite { key, flushed });
                }
            }
        }
        let rows: Arc<[PartWrite]> = rows.into();
        let flight = Flight { advances: advances.clone(), rows: rows.clone(), bytes };
        self.shards.take_off(shard, self.passed, (!advances.is_empty()).then_some(flight), all);
        if !advances.is_empty() {
            self.effects.push(Effect::Apply { shard, advances, rows });
        }
    }

    fn has_many_rows(&self, shard: Shard) -> bool {
        let tracks = self.partitions.values().flat_map(|partition| partition.tracks.values());
        let rows = tracks.map(|track| track.lanes[usize::from(shard.0)].unflushed.len());
        let (lanes, rows) = rows.fold((0, 0), |(lanes, all), rows| (lanes + 1, all + rows));
        rows >= lanes
    }

    pub(super) fn applied(&mut self, shard: Shard, outcome: Applied) {
        let Some(flight) = self.shards.land(shard) else { return };
        match outcome {
            Applied::Done => self.landed(shard, &flight),
            Applied::Refused(stored) => self.refused(shard, &flight.advances, &stored),
        }
        self.fold_all_waiting();
        self.release();
        self.flush_due();
    }

    fn landed(&mut self, shard: Shard, flight: &Flight) {
        flight.rows.iter().for_each(|row| self.cache.landed(&row.key));
        for advance in &flight.advances {
            if let Some(lane) = self.lane(lane_of(shard, advance))
                && lane.hold.nonce() == Some(advance.nonce)
            {
                lane.stored = advance.to;
            }
        }
    }

    /// Nothing was written, also of the lanes that stood as they should.
    fn refused(&mut self, shard: Shard, advances: &[Advance], stored: &[Option<Position>]) {
        let mut lost = BTreeSet::new();
        let reasons = advances.iter().zip(stored).filter_map(|(advance, stored)| Refusal::of(advance, *stored));
        if let Some(reason) = reasons.max() {
            *self.refused_flushes.entry(reason).or_default() += 1;
        }
        for (advance, stored) in advances.iter().zip(stored) {
            let id = lane_of(shard, advance);
            if self.lane(id).is_some_and(|lane| lane.hold.nonce() == Some(advance.nonce)) {
                lost.insert(id);
                self.rewound_lanes += u64::from(Refusal::of(advance, *stored) == Some(Refusal::Rewound));
            }
        }
        self.refuse(&lost);
    }

    /// What is in memory of these lanes stands on what the store does not hold, so it goes, and they are claimed
    /// again once membership is proven.
    pub(super) fn refuse(&mut self, lost: &BTreeSet<LaneId>) {
        for id in lost {
            let lane = self.lane(*id).expect("a refused lane is ours");
            lane.hold = Hold::Refused;
            lane.unflushed.clear();
        }
        let shards = self.shard_count;
        self.forget(|key| {
            lost.contains(&LaneId { shard: key.entity.shard(shards), version: key.version, part: key.part })
        });
        self.halt_refused();
    }

    /// Partitions that lost a lane are not read until it is claimed again, which needs a proof of membership.
    pub(super) fn halt_refused(&mut self) {
        let is_refused = |partition: &&Partition| {
            let mut lanes = partition.tracks.values().flat_map(|track| &track.lanes);
            partition.is_read() && lanes.any(|lane| lane.hold == Hold::Refused)
        };
        let refused: Vec<TopicPartition> =
            self.partitions.values().filter(is_refused).map(|partition| partition.at.clone()).collect();
        for at in &refused {
            self.halt(at, Phase::Claiming);
        }
        if !refused.is_empty() && !std::mem::replace(&mut self.proving, true) {
            self.effects.push(Effect::ProveMembership);
        }
    }

    /// Flushes what is to be released, and lets go of what is flushed. A call that is still under way would find the
    /// next owner's claim and be refused with all that goes with it, or, a claim itself, shut the next owner out: so
    /// they are waited for.
    pub(super) fn release(&mut self) {
        let releasing = |partition: &&Partition| matches!(partition.phase, Phase::Releasing);
        let leaving: Vec<TopicPartition> =
            self.partitions.values().filter(releasing).map(|partition| partition.at.clone()).collect();
        if leaving.is_empty() {
            return;
        }
        for shard in (0..self.shard_count).map(Shard) {
            if leaving.iter().any(|at| self.partitions[at].is_ahead(shard)) {
                self.flush_lanes(shard, true);
            }
        }
        for at in &leaving {
            let partition = &self.partitions[at];
            if partition.is_flushed() && !partition.is_claiming() && !self.shards.are_moving(partition) {
                self.let_go(at);
            }
        }
    }
}

fn lane_of(shard: Shard, advance: &Advance) -> LaneId {
    LaneId { shard, version: advance.version, part: PartId::Partition(advance.partition) }
}
