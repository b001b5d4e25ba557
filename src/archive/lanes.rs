//! What waits to be archived, by source and partition, and when it is cut into commits. No clock, no file, no await.
//!
//! A lane has at most one commit under way, and its commits follow each other without a gap. If another archiver
//! was faster, the lane drops what it holds and starts over where the other's commit ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::archive::Settings;
use crate::event_log::TopicPartition;
use crate::kernel::definition::Source;
use crate::kernel::event::RawRecord;
use crate::kernel::name::Name;
use crate::kernel::time::EventTime;
use crate::offline::{Committed, Span};

/// What a record takes besides its bytes.
const RECORD_OVERHEAD: usize = size_of::<RawRecord>();

/// Source and partition.
pub(super) type LaneId = (Name, u32);

/// Records to archive in one commit.
#[derive(Debug, PartialEq)]
pub(super) struct Chunk {
    pub source: Arc<Source>,
    pub span: Span,
    pub records: Vec<RawRecord>,
}

impl Chunk {
    pub fn lane(&self) -> LaneId {
        (self.source.name.clone(), self.span.partition)
    }
}

/// Which lanes to cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// Those that are full, or have waited for the interval.
    Due,
    /// All that hold anything: somebody waits, or we stop.
    All,
}

pub(super) struct Lanes {
    settings: Settings,
    lanes: BTreeMap<LaneId, Lane>,
}

struct Lane {
    source: Arc<Source>,
    /// Where the next commit starts.
    from: u64,
    /// The next record to take; those below are here, under way or archived.
    next: u64,
    waiting: Vec<RawRecord>,
    bytes: usize,
    /// When the first of `waiting` came.
    since: EventTime,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    from: u64,
    bytes: usize,
}

impl Lanes {
    pub fn new(settings: Settings) -> Lanes {
        Lanes { settings, lanes: BTreeMap::new() }
    }

    /// Archives the partition for `source` from `position` on.
    pub fn add(&mut self, source: Arc<Source>, partition: u32, position: u64) {
        let id = (source.name.clone(), partition);
        let lane = Lane {
            source,
            from: position,
            next: position,
            waiting: Vec::new(),
            bytes: 0,
            since: EventTime::MIN,
            under_way: None,
        };
        self.lanes.insert(id, lane);
    }

    pub fn remove(&mut self, lane: &LaneId) {
        self.lanes.remove(lane);
    }

    /// The lanes of a partition of the log: several sources may share a topic.
    pub fn of(&self, place: &TopicPartition) -> Vec<LaneId> {
        let here = |(id, lane): (&LaneId, &Lane)| lane.is_of(id, place).then(|| id.clone());
        self.lanes.iter().filter_map(here).collect()
    }

    /// From where the partition must be delivered: what a lane has already, it skips. `None`: no lane wants it.
    pub fn wanted(&self, place: &TopicPartition) -> Option<u64> {
        let here = self.lanes.iter().filter(|(id, lane)| lane.is_of(id, place));
        here.map(|(_, lane)| lane.next).min()
    }

    /// What all lanes hold, under way included.
    pub fn bytes(&self) -> usize {
        self.lanes.values().map(|lane| lane.bytes + lane.under_way.as_ref().map_or(0, |it| it.bytes)).sum()
    }

    pub fn take(&mut self, place: &TopicPartition, records: &[RawRecord], now: EventTime) {
        for (_, lane) in self.lanes.iter_mut().filter(|(id, lane)| lane.is_of(id, place)) {
            let known = records.partition_point(|record| record.offset < lane.next);
            lane.take(&records[known..], now);
        }
    }

    #[must_use]
    pub fn cut(&mut self, now: EventTime, cut: Cut) -> Vec<Chunk> {
        let settings = &self.settings;
        let ready = self.lanes.iter_mut().filter(|(_, lane)| lane.is_due(settings, now, cut));
        ready.map(|((_, partition), lane)| lane.cut(*partition, settings)).collect()
    }

    /// Notes what became of a chunk. Overtaken by another archiver: the partition, to be delivered again from
    /// [`Lanes::wanted`] on.
    #[must_use]
    pub fn committed(&mut self, chunk: &Chunk, outcome: Committed) -> Option<TopicPartition> {
        let lane = self.lanes.get_mut(&chunk.lane())?;
        // A lane that was let go and taken up again starts from the commits, and knows nothing of this chunk.
        lane.under_way.take_if(|it| it.from == chunk.span.offsets.start)?;
        match outcome {
            Committed::AlreadyCommitted { to } if to != chunk.span.offsets.end => {
                lane.start_over(to);
                Some(TopicPartition { topic: lane.source.topic.clone(), partition: chunk.span.partition })
            }
            Committed::Done | Committed::AlreadyCommitted { .. } => None,
        }
    }
}

impl Lane {
    fn is_of(&self, id: &LaneId, place: &TopicPartition) -> bool {
        self.source.topic == place.topic && id.1 == place.partition
    }

    fn take(&mut self, records: &[RawRecord], now: EventTime) {
        let Some(last) = records.last() else { return };
        if self.waiting.is_empty() {
            self.since = now;
        }
        self.next = last.offset + 1;
        self.bytes += records.iter().map(bytes).sum::<usize>();
        self.waiting.extend_from_slice(records);
    }

    fn is_due(&self, settings: &Settings, now: EventTime, cut: Cut) -> bool {
        let full = self.waiting.len() >= settings.events_max || self.bytes >= settings.bytes_max;
        let old = now.since(self.since) >= settings.interval;
        self.under_way.is_none() && !self.waiting.is_empty() && (full || old || cut == Cut::All)
    }

    /// As many records as one commit may have, at least one.
    fn cut(&mut self, partition: u32, settings: &Settings) -> Chunk {
        let (mut count, mut size) = (0, 0);
        for record in self.waiting.iter().take(settings.events_max) {
            if count > 0 && size + bytes(record) > settings.bytes_max {
                break;
            }
            count += 1;
            size += bytes(record);
        }
        let rest = self.waiting.split_off(count);
        let records = std::mem::replace(&mut self.waiting, rest);
        let to = records.last().expect("a lane that is cut holds a record").offset + 1;
        let span = Span { partition, offsets: self.from..to };
        self.under_way = Some(UnderWay { from: self.from, bytes: size });
        self.from = to;
        self.bytes -= size;
        Chunk { source: self.source.clone(), span, records }
    }

    fn start_over(&mut self, position: u64) {
        (self.from, self.next, self.bytes) = (position, position, 0);
        self.waiting.clear();
    }
}

fn bytes(record: &RawRecord) -> usize {
    record.value.len() + RECORD_OVERHEAD
}
