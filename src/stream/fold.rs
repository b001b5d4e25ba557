//! The way of records through the worker: a delivery becomes a batch, missing parts are loaded, and records are
//! folded one after the other for as long as there is room.

use std::collections::BTreeSet;

use crate::event_log::TopicPartition;
use crate::kernel::codec::{self, Image};
use crate::kernel::engine::Part;
use crate::kernel::event::RawRecord;
use crate::kernel::key::Shard;
use crate::kernel::plan::ViewPlan;
use crate::online::{Loaded, PartKey, Position};
use crate::stream::batch::{Batch, Entering, Load};
use crate::stream::cache::{BatchId, Cache};
use crate::stream::partition::{Hold, Lane, LaneId, Phase};
use crate::stream::shard::Shards;
use crate::stream::worker::Worker;
use crate::stream::{Effect, Settings, Ticket};

/// Why the next record cannot be folded now.
enum Full {
    Shard(Shard),
    Worker,
}

impl Worker {
    /// A delivery of an earlier seek is ignored: it may lack records in front, or repeat some.
    pub(super) fn records(
        &mut self,
        ticket: Ticket,
        at: &TopicPartition,
        mut records: Vec<RawRecord>,
        next: u64,
        log_end: u64,
    ) {
        let Some(partition) = self.partitions.get_mut(at) else { return };
        match &partition.phase {
            Phase::Reading { ticket: current, waiting: None } if *current == ticket => {}
            // One batch waits at most. The log did not hold back, so the surplus is read again later.
            Phase::Reading { ticket: current, .. } if *current == ticket => {
                self.halt(at, Phase::Claiming);
                return self.open(at);
            }
            _ => return,
        }
        partition.held.end = partition.held.end.max(log_end);
        records.drain(..records.partition_point(|record| record.offset < partition.next));
        if records.is_empty() {
            return self.advance(at, next);
        }
        let id = BatchId(self.ticket().0);
        let batch = Batch::prepare(id, &self.partitions[at], &records, next, self.shard_count);
        self.wait_for_parts(at, batch);
        self.fold_waiting(at);
    }

    /// Keeps the batch, and asks for the parts that are not in memory: all of them at once.
    fn wait_for_parts(&mut self, at: &TopicPartition, mut batch: Batch) {
        let missing = self.want_parts(&mut batch);
        if !missing.is_empty() {
            let ticket = self.ticket();
            self.effects.push(Effect::Load { ticket, keys: missing.clone() });
            let parts = missing.into_iter().map(|key| (self.stored_offset(&key), key)).map(|(known, key)| (key, known));
            batch.load = Some(Load { ticket, parts: parts.collect() });
            self.pause(at);
        }
        self.hold(at, batch);
    }

    /// Finds the batch's parts in memory, and returns the keys of the others: ordered, each once.
    fn want_parts(&mut self, batch: &mut Batch) -> Vec<PartKey> {
        let (mut missing, id) = (Vec::new(), batch.id);
        self.cache.begin(id);
        batch.find_parts(|address| {
            let slot = self.cache.want(address, id);
            missing.extend(slot.is_none().then(|| address.to_key()));
            slot
        });
        missing.sort_unstable();
        missing.dedup();
        missing
    }

    fn hold(&mut self, at: &TopicPartition, batch: Batch) {
        match self.partitions.get_mut(at).map(|partition| &mut partition.phase) {
            Some(Phase::Reading { waiting, .. }) => *waiting = Some(batch),
            _ => unreachable!("a batch is only prepared and folded while its partition is read"),
        }
    }

    pub(super) fn loaded(&mut self, ticket: Ticket, loaded: Vec<Result<Loaded, String>>) {
        let waits = |batch: &mut Batch| batch.load.as_ref().is_some_and(|load| load.ticket == ticket);
        let mut waiting = self.partitions.iter_mut().filter_map(|(at, partition)| match &mut partition.phase {
            Phase::Reading { waiting, .. } => waiting.take_if(waits).map(|batch| (at.clone(), batch)),
            _ => None,
        });
        let Some((at, mut batch)) = waiting.next() else { return };
        drop(waiting);
        let load = batch.load.take().expect("it waits for this load");
        let taken = self.take_parts(&batch, load, loaded);
        if taken.as_ref().is_ok_and(BTreeSet::is_empty) {
            self.want_parts(&mut batch);
        }
        self.hold(&at, batch);
        match taken {
            Ok(lost) if lost.is_empty() => self.fold_waiting(&at),
            Ok(lost) => self.refuse(&lost),
            Err(reason) => self.stop(&at, reason),
        }
    }

    /// Puts parts into the cache, and returns the lanes that do not stand in the store as we left them: theirs are
    /// images of another offset than the one to fold from.
    fn take_parts(
        &mut self,
        batch: &Batch,
        load: Load,
        loaded: Vec<Result<Loaded, String>>,
    ) -> Result<BTreeSet<LaneId>, String> {
        let mut lost = BTreeSet::new();
        for ((key, known), loaded) in load.parts.into_iter().zip(loaded) {
            let damaged = |why: String| format!("entity `{:?}` of view version {}: {why}", key.entity, key.version);
            let Loaded { image, position } = loaded.map_err(damaged)?;
            let id = self.lane_of(&key);
            let lane = self.lane(id).expect("dropping a version gives its batches up");
            let stands = |position: Position| {
                lane.hold == Hold::Held(position.nonce) && (known..=lane.folded).contains(&position.offset)
            };
            if !position.is_some_and(stands) {
                lost.insert(id);
                continue;
            }
            let part = decode_part(batch.view(key.version), image.as_ref());
            let part = part.map_err(|error| damaged(error.to_string()))?;
            self.cache.insert(key, part, batch.id);
        }
        Ok(lost)
    }

    fn stored_offset(&mut self, key: &PartKey) -> u64 {
        let id = self.lane_of(key);
        self.lane(id).expect("a part is wanted in a lane that is read").stored
    }

    /// Goes on with every batch that waited for room.
    pub(super) fn fold_all_waiting(&mut self) {
        let all: Vec<TopicPartition> = self.partitions.keys().cloned().collect();
        all.iter().for_each(|at| self.fold_waiting(at));
    }

    /// Folds the waiting batch to its end, or until there is no room.
    fn fold_waiting(&mut self, at: &TopicPartition) {
        let Some(mut batch) = self.take_loaded(at) else { return };
        while let Some((offset, full)) = self.fold_until_full(at, &mut batch) {
            // Lanes stand at `offset` before the flush, so that it says what its rows hold.
            self.partitions.get_mut(at).expect("it is read").advance(offset);
            self.make_room(&full);
            if fullness(&self.shards, &self.settings, &batch, offset).is_some() {
                self.pause(at);
                return self.hold(at, batch);
            }
        }
        self.finish(at, batch);
    }

    fn take_loaded(&mut self, at: &TopicPartition) -> Option<Batch> {
        match &mut self.partitions.get_mut(at)?.phase {
            Phase::Reading { waiting, .. } => waiting.take_if(|batch| batch.load.is_none()),
            _ => None,
        }
    }

    /// Flushes what is in the way; room comes at once in a shard, and with the answers in the worker.
    fn make_room(&mut self, full: &Full) {
        match full {
            Full::Shard(shard) => self.flush(*shard),
            Full::Worker => self.flush_unflushed(),
        }
    }

    fn flush_unflushed(&mut self) {
        for shard in (0..self.shard_count).map(Shard) {
            if self.shards.bytes(shard) > 0 {
                self.flush(shard);
            }
        }
    }

    /// Stops at the first record for which there is no room, and says why.
    fn fold_until_full(&mut self, at: &TopicPartition, batch: &mut Batch) -> Option<(u64, Full)> {
        let Worker { partitions, cache, shards, settings, passed, .. } = self;
        let partition = partitions.get_mut(at).expect("it is read");
        partition.record_time = batch.record_time;
        while let Some(offset) = batch.next_offset() {
            if let Some(full) = fullness(shards, settings, batch, offset) {
                return Some((offset, full));
            }
            for entering in &mut batch.views {
                let Some(entrant) = entering.step(offset) else { continue };
                let track = partition.tracks.get_mut(&entering.version);
                let track = track.expect("dropping a version gives its batches up");
                let shard = entering.place(entrant).shard;
                if let Some(grown) = fold_entrant(cache, &mut track.lanes[usize::from(shard.0)], entering, entrant) {
                    shards.grow(shard, grown, *passed);
                }
            }
        }
        None
    }

    fn finish(&mut self, at: &TopicPartition, batch: Batch) {
        self.advance(at, batch.end);
        let partition = self.partitions.get_mut(at).expect("it is read");
        partition.newest_event_time = partition.newest_event_time.max(batch.newest_event_time);
        let resumes = std::mem::take(&mut partition.paused);
        self.cache.finish(batch.id);
        self.cache.evict();
        if resumes {
            self.effects.push(Effect::Resume(at.clone()));
        }
        self.count(at, batch);
    }

    /// Notes that everything below `offset` is folded; where a version is caught up by that, the store hears it soon.
    fn advance(&mut self, at: &TopicPartition, offset: u64) {
        let partition = self.partitions.get_mut(at).expect("it is read");
        let before = partition.next;
        partition.advance(offset);
        if partition.tracks.values().any(|track| before < track.goal && track.goal <= offset) {
            self.shards.forget_told();
        }
    }

    /// Of a batch that is given up: what was folded of it is not folded again.
    pub(super) fn count_folded(&mut self, batch: &Batch) {
        for entering in &batch.views {
            *self.counts.entry(entering.version).or_default() += entering.counts;
        }
    }

    fn count(&mut self, at: &TopicPartition, batch: Batch) {
        let partition = self.partitions.get_mut(at).expect("it is read");
        for seen in &batch.seen {
            let source = self.sources.entry(seen.source.name.clone()).or_default();
            source.clamped += seen.clamped;
            seen.rejected.iter().for_each(|reason| *source.rejected.entry(*reason).or_default() += 1);
        }
        partition.counted = partition.counted.max(batch.end);
        for entering in &batch.views {
            let track = partition.tracks.get_mut(&entering.version).expect("dropping a version gives its batches up");
            if track.counted < batch.end {
                *self.counts.entry(entering.version).or_default() += entering.prepared.counts;
                track.counted = batch.end;
            }
        }
        self.count_folded(&batch);
    }
}

fn fullness(shards: &Shards, settings: &Settings, batch: &Batch, offset: u64) -> Option<Full> {
    if shards.unflushed_bytes() >= settings.unflushed_bytes {
        return Some(Full::Worker);
    }
    let is_full = |shard: &Shard| shards.bytes(*shard) >= settings.flush_bytes;
    batch.shards_at(offset).find(is_full).map(Full::Shard)
}

/// Returns by how much the unflushed bytes grew; `None` where the lane has the record already, or takes none.
fn fold_entrant(cache: &mut Cache, lane: &mut Lane, entering: &mut Entering, entrant: usize) -> Option<isize> {
    let place = entering.place(entrant);
    if place.is_lost || lane.folded > place.offset {
        return None;
    }
    let slot = place.slot();
    let Entering { view, prepared, counts, .. } = entering;
    let mut was_flushed = false;
    let grown = cache.update(slot, |cached| {
        cached.part.fold(view, prepared, entrant, counts);
        was_flushed = !std::mem::replace(&mut cached.unflushed, true);
    });
    if was_flushed {
        lane.unflushed.push(slot);
    }
    Some(grown)
}

fn decode_part(view: &ViewPlan, image: Option<&Image>) -> Result<Part, codec::Error> {
    image.map_or_else(|| Ok(Part::new(view)), |image| Part::decode(view, image))
}
