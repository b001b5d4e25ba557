//! Records of one partition on their way into its lanes: decoded once for each source, prepared once for each view
//! version, then folded record by record, so that it can stop between any two and go on later.

use std::sync::Arc;

use crate::kernel::definition::Source;
use crate::kernel::engine::{Counts, Entrant, Prepared, prepare};
use crate::kernel::event::{Decoded, RawRecord, Reason, decode};
use crate::kernel::key::{Origin, PartId, Shard};
use crate::kernel::plan::{Fingerprint, ViewPlan};
use crate::kernel::time::EventTime;
use crate::online::PartKey;
use crate::stream::Ticket;
use crate::stream::cache::{Address, BatchId, Slot};
use crate::stream::partition::{Partition, Track};

pub(super) struct Batch {
    pub id: BatchId,
    /// The load that it waits for.
    pub load: Option<Load>,
    /// Where reading goes on after it.
    pub end: u64,
    /// The smallest ingestion time of its records: a tile may be dropped too late, never too early.
    pub record_time: EventTime,
    pub newest_event_time: Option<EventTime>,
    pub views: Vec<Entering>,
    /// What was rejected or clamped, once for each source.
    pub seen: Vec<Seen>,
}

pub(super) struct Load {
    pub ticket: Ticket,
    /// Ordered, each once; with the offset that its lane's store was known to have reached.
    pub parts: Vec<(PartKey, u64)>,
}

/// The events of a batch that enter one view version.
pub(super) struct Entering {
    pub version: Fingerprint,
    pub view: Arc<ViewPlan>,
    pub prepared: Prepared,
    /// Of folding, so far.
    pub counts: Counts,
    entrants: Vec<Place>,
    /// The next entrant to fold.
    next: usize,
}

/// Where an entrant stands in the log, and where it is folded.
pub(super) struct Place {
    pub offset: u64,
    pub shard: Shard,
    /// Of the entity.
    hash: u64,
    part: PartId,
    /// Its lane is not folded: lanes stay as they are while a batch of their partition waits.
    pub is_lost: bool,
    /// Where its part is, once it is in memory.
    slot: Option<Slot>,
}

/// What happened to the records of one source before they were events of a view.
pub(super) struct Seen {
    pub source: Arc<Source>,
    pub rejected: Vec<Reason>,
    pub clamped: u64,
}

impl Batch {
    /// Decodes and prepares what some lane of `partition` does not have yet. `records` is not empty, and all there is
    /// below `end`.
    pub fn prepare(id: BatchId, partition: &Partition, records: &[RawRecord], end: u64, shards: u16) -> Batch {
        let mut decoded: Vec<(&Arc<Source>, Decoded)> = Vec::new();
        let mut views = Vec::new();
        for track in partition.tracks.values().filter(|track| track.smallest_folded().is_some_and(|it| it < end)) {
            let source = &track.view.source;
            let known = decoded.iter().position(|(other, _)| Arc::ptr_eq(other, source) || *other == source);
            let index = known.unwrap_or_else(|| {
                decoded.push((source, decode(source, records)));
                decoded.len() - 1
            });
            views.push(Entering::new(track, prepare(&track.view, &decoded[index].1.events), shards));
        }
        let events = decoded.iter().flat_map(|(_, decoded)| &decoded.events.events);
        Batch {
            id,
            load: None,
            end,
            record_time: records.iter().map(|record| record.ingestion_time).min().expect("a batch has records"),
            newest_event_time: events.map(|event| event.event_time).max(),
            views,
            seen: decoded
                .iter()
                .map(|(source, decoded)| Seen::new(source, decoded, records, partition.counted))
                .collect(),
        }
    }

    /// The view that a part of this batch belongs to.
    pub fn view(&self, version: Fingerprint) -> &Arc<ViewPlan> {
        let entering = self.views.iter().find(|entering| entering.version == version);
        &entering.expect("the batch asked for its own parts").view
    }

    /// The smallest offset that is not folded yet.
    pub fn next_offset(&self) -> Option<u64> {
        self.views.iter().filter_map(|entering| Some(entering.upcoming()?.offset)).min()
    }

    /// Where the record at `offset`, which is the next, will be folded.
    pub fn shards_at(&self, offset: u64) -> impl Iterator<Item = Shard> + '_ {
        let upcoming = self.views.iter().filter_map(Entering::upcoming);
        upcoming.filter(move |place| place.offset == offset && !place.is_lost).map(|place| place.shard)
    }

    /// Asks `find` for each part that is folded into and not known to be in memory.
    pub fn find_parts(&mut self, mut find: impl FnMut(Address) -> Option<Slot>) {
        for entering in &mut self.views {
            for (place, entrant) in entering.entrants.iter_mut().zip(&entering.prepared.entrants) {
                if place.slot.is_none() && !place.is_lost {
                    let Place { hash, part, .. } = *place;
                    place.slot = find(Address { version: entering.version, entity: &entrant.key, part, hash });
                }
            }
        }
    }
}

impl Entering {
    fn new(track: &Track, prepared: Prepared, shards: u16) -> Entering {
        let (view, version) = (&track.view, track.view.rows);
        let place = |entrant: &Entrant| Place::new(entrant, track, shards);
        let entrants = prepared.entrants.iter().map(place).collect();
        Entering { version, view: view.clone(), prepared, counts: Counts::default(), entrants, next: 0 }
    }

    fn upcoming(&self) -> Option<&Place> {
        self.entrants.get(self.next)
    }

    /// Steps over the entrant at `offset`, if there is one, and returns its index.
    pub fn step(&mut self, offset: u64) -> Option<usize> {
        let index = self.next;
        self.next += usize::from(self.upcoming()?.offset == offset);
        (self.next > index).then_some(index)
    }

    pub fn place(&self, entrant: usize) -> &Place {
        &self.entrants[entrant]
    }
}

impl Place {
    fn new(entrant: &Entrant, track: &Track, shards: u16) -> Place {
        let Origin::Log { offset, .. } = entrant.event.origin else {
            unreachable!("{:?} came out of a log record", entrant.event.origin)
        };
        let hash = entrant.key.hash();
        let shard = Shard::of_hash(hash, shards);
        let is_lost = track.lanes[usize::from(shard.0)].is_lost();
        Place { offset, shard, hash, part: entrant.event.origin.part(), is_lost, slot: None }
    }

    /// Of one that is folded: parts that a batch waits for are all here before its first record is.
    pub fn slot(&self) -> Slot {
        self.slot.expect("a batch is folded once its parts are here, and they stay")
    }
}

impl Seen {
    /// Records below `counted` were counted when they were first read.
    fn new(source: &Arc<Source>, decoded: &Decoded, records: &[RawRecord], counted: u64) -> Seen {
        let first = records.partition_point(|record| record.offset < counted);
        let rejected = decoded.rejections.iter().filter(|rejection| rejection.index >= first);
        let is_new = |origin| matches!(origin, Origin::Log { offset, .. } if offset >= counted);
        let clamped = decoded.events.events.iter().filter(|event| event.clamped && is_new(event.origin));
        Seen {
            source: source.clone(),
            rejected: rejected.map(|rejection| rejection.reason).collect(),
            clamped: clamped.count() as u64,
        }
    }
}
