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
use crate::kernel::time::Micros;
use crate::offline::{Committed, Span};

/// What a record takes besides its bytes.
const RECORD_OVERHEAD: usize = size_of::<RawRecord>();

/// Source and partition.
pub(super) type LaneId = (Name, u32);

/// Records to archive in one commit.
#[derive(Debug, PartialEq)]
pub(super) struct Chunk {
    /// No other chunk has it. Of two that start at the same offset, one may be of a lane that was let go since.
    number: u64,
    pub source: Arc<Source>,
    /// Where the commit before it starts, if this lane knows.
    pub behind: Option<u64>,
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
    /// How many chunks were cut.
    chunks: u64,
}

struct Lane {
    source: Arc<Source>,
    /// Where the last commit starts, once there was one.
    behind: Option<u64>,
    /// Where the next commit starts.
    from: u64,
    /// The next record to take; those below are here, under way or archived.
    next: u64,
    waiting: Vec<RawRecord>,
    bytes: usize,
    /// When the first came of what waits. Time here is what has passed since some beginning: it never goes back.
    since: Micros,
    under_way: Option<UnderWay>,
}

struct UnderWay {
    /// Of the chunk.
    number: u64,
    bytes: usize,
}

impl Lanes {
    pub fn new(settings: Settings) -> Lanes {
        Lanes { settings, lanes: BTreeMap::new(), chunks: 0 }
    }

    /// Archives the partition for `source` from `position` on.
    pub fn add(&mut self, source: Arc<Source>, partition: u32, position: u64) {
        let id = (source.name.clone(), partition);
        let lane = Lane {
            source,
            behind: None,
            from: position,
            next: position,
            waiting: Vec::new(),
            bytes: 0,
            since: Micros::ZERO,
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

    /// `records` are all there is below `next`.
    pub fn take(&mut self, place: &TopicPartition, records: &[RawRecord], next: u64, now: Micros) {
        for (_, lane) in self.lanes.iter_mut().filter(|(id, lane)| lane.is_of(id, place)) {
            let known = records.partition_point(|record| record.offset < lane.next);
            lane.take(&records[known..], next, now);
        }
    }

    #[must_use]
    pub fn cut(&mut self, now: Micros, cut: Cut) -> Vec<Chunk> {
        let Lanes { settings, lanes, chunks } = self;
        let ready = lanes.iter_mut().filter(|(_, lane)| lane.is_due(settings, now, cut));
        let cut = ready.map(|((_, partition), lane)| {
            *chunks += 1;
            lane.cut(*chunks, *partition, settings)
        });
        cut.collect()
    }

    /// Whether a lane waits for this chunk to be committed. One that was let go and taken up again starts from the
    /// commits, and knows nothing of what was cut before.
    pub fn awaits(&self, chunk: &Chunk) -> bool {
        let under_way = self.lanes.get(&chunk.lane()).and_then(|lane| lane.under_way.as_ref());
        under_way.is_some_and(|it| it.number == chunk.number)
    }

    /// Notes what became of a chunk. Overtaken by another archiver: the partition, to be delivered again from
    /// [`Lanes::wanted`] on.
    #[must_use]
    pub fn committed(&mut self, chunk: &Chunk, outcome: Committed) -> Option<TopicPartition> {
        let lane = self.lanes.get_mut(&chunk.lane())?;
        lane.under_way.take_if(|it| it.number == chunk.number)?;
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

    fn take(&mut self, records: &[RawRecord], next: u64, now: Micros) {
        if !self.is_behind() {
            self.since = now;
        }
        self.next = self.next.max(next);
        self.bytes += records.iter().map(bytes).sum::<usize>();
        self.waiting.extend_from_slice(records);
    }

    /// Whether anything is left to commit: where the log skips offsets, that may be a span without a record.
    fn is_behind(&self) -> bool {
        self.from < self.next
    }

    fn is_due(&self, settings: &Settings, now: Micros, cut: Cut) -> bool {
        let full = self.waiting.len() >= settings.events_max || self.bytes >= settings.bytes_max;
        let old = now >= self.since + settings.interval;
        self.under_way.is_none() && self.is_behind() && (full || old || cut == Cut::All)
    }

    /// As many records as one commit may have, at least one if any waits.
    fn cut(&mut self, number: u64, partition: u32, settings: &Settings) -> Chunk {
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
        let to = self.waiting.first().map_or(self.next, |left| left.offset);
        let span = Span { partition, offsets: self.from..to };
        self.under_way = Some(UnderWay { number, bytes: size });
        let behind = self.behind.replace(self.from);
        self.from = to;
        self.bytes -= size;
        Chunk { number, source: self.source.clone(), behind, span, records }
    }

    fn start_over(&mut self, position: u64) {
        (self.behind, self.from, self.next, self.bytes) = (None, position, position, 0);
        self.waiting.clear();
    }
}

fn bytes(record: &RawRecord) -> usize {
    record.value.len() + RECORD_OVERHEAD
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::offline::archive::tests::{record, source};

    const AT_ONCE: Micros = Micros::ZERO;

    fn clicks() -> Arc<Source> {
        source(&[])
    }

    fn place() -> TopicPartition {
        TopicPartition { topic: "clicks".to_owned(), partition: 0 }
    }

    fn records(offsets: std::ops::Range<u64>) -> Vec<RawRecord> {
        offsets.map(|offset| record(0, offset, "{}")).collect()
    }

    fn lanes(settings: Settings) -> Lanes {
        let mut lanes = Lanes::new(settings);
        lanes.add(clicks(), 0, 0);
        lanes
    }

    fn spans(chunks: &[Chunk]) -> Vec<(u64, u64)> {
        chunks.iter().map(|chunk| (chunk.span.offsets.start, chunk.span.offsets.end)).collect()
    }

    #[test]
    fn a_lane_is_cut_when_it_waited_for_the_interval_or_is_full_or_somebody_waits() {
        let mut lanes = lanes(Settings { events_max: 3, ..Settings::new("archive") });
        assert_eq!(lanes.cut(AT_ONCE, Cut::All), []);
        lanes.take(&place(), &records(0..2), 2, AT_ONCE);
        assert_eq!(lanes.cut(AT_ONCE, Cut::Due), []);
        let later = AT_ONCE + Micros::new(2_000_000);
        let first = lanes.cut(later, Cut::Due);
        assert_eq!(spans(&first), [(0, 2)]);
        lanes.take(&place(), &records(2..5), 5, later);
        assert_eq!(lanes.cut(later, Cut::All), [], "one commit at a time");
        assert_eq!(lanes.committed(&first[0], Committed::Done), None);
        assert_eq!(spans(&lanes.cut(later, Cut::Due)), [(2, 5)]);
    }

    #[test]
    fn a_commit_is_no_larger_than_its_bounds_but_has_a_record() {
        let large = RawRecord { value: Bytes::from(vec![0; 100]), ..record(0, 0, "") };
        let mut lanes = lanes(Settings { bytes_max: 90, ..Settings::new("archive") });
        lanes.take(&place(), &[large, record(0, 1, "")], 2, AT_ONCE);
        let chunks = lanes.cut(AT_ONCE, Cut::Due);
        assert_eq!(spans(&chunks), [(0, 1)]);
        assert_eq!(lanes.bytes(), 100 + 2 * RECORD_OVERHEAD);
        assert_eq!(lanes.committed(&chunks[0], Committed::Done), None);
        assert_eq!(lanes.bytes(), RECORD_OVERHEAD);
    }

    #[test]
    fn offsets_that_hold_no_record_are_archived_too() {
        let mut lanes = lanes(Settings { events_max: 2, ..Settings::new("archive") });
        lanes.take(&place(), &[record(0, 1, ""), record(0, 4, ""), record(0, 7, "")], 9, AT_ONCE);
        let first = lanes.cut(AT_ONCE, Cut::Due);
        assert_eq!(spans(&first), [(0, 7)]);
        assert_eq!(lanes.committed(&first[0], Committed::Done), None);
        let second = lanes.cut(AT_ONCE, Cut::All);
        assert_eq!(spans(&second), [(7, 9)]);
        assert_eq!(lanes.committed(&second[0], Committed::Done), None);
        lanes.take(&place(), &[], 12, AT_ONCE);
        assert_eq!(lanes.cut(AT_ONCE, Cut::Due), [], "it waits for more, as a record would");
        let third = lanes.cut(AT_ONCE, Cut::All);
        assert_eq!((spans(&third), third[0].records.len()), (vec![(9, 12)], 0));
    }

    #[test]
    fn an_overtaken_lane_starts_over_where_the_other_ended() {
        let mut lanes = lanes(Settings::new("archive"));
        lanes.take(&place(), &records(0..4), 4, AT_ONCE);
        let chunks = lanes.cut(AT_ONCE, Cut::All);
        lanes.take(&place(), &records(4..6), 6, AT_ONCE);
        let overtaken = Committed::AlreadyCommitted { to: 2 };
        assert_eq!(lanes.committed(&chunks[0], overtaken), Some(place()));
        assert_eq!((lanes.wanted(&place()), lanes.bytes()), (Some(2), 0));
        lanes.take(&place(), &records(0..6), 6, AT_ONCE);
        assert_eq!(spans(&lanes.cut(AT_ONCE, Cut::All)), [(2, 6)], "what the other archived is skipped");
    }

    #[test]
    fn a_lost_answer_is_not_an_overtaking() {
        let mut lanes = lanes(Settings::new("archive"));
        lanes.take(&place(), &records(0..4), 4, AT_ONCE);
        let chunks = lanes.cut(AT_ONCE, Cut::All);
        assert_eq!(lanes.committed(&chunks[0], Committed::AlreadyCommitted { to: 4 }), None);
        assert_eq!(lanes.wanted(&place()), Some(4));
    }

    #[test]
    fn a_lane_that_was_let_go_and_taken_up_again_ignores_its_old_commit() {
        let mut lanes = lanes(Settings::new("archive"));
        lanes.take(&place(), &records(0..4), 4, AT_ONCE);
        let old = lanes.cut(AT_ONCE, Cut::All);
        lanes.of(&place()).iter().for_each(|lane| lanes.remove(lane));
        lanes.add(clicks(), 0, 4);
        lanes.take(&place(), &records(4..5), 5, AT_ONCE);
        assert_eq!(lanes.committed(&old[0], Committed::AlreadyCommitted { to: 2 }), None);
        assert_eq!(spans(&lanes.cut(AT_ONCE, Cut::All)), [(4, 5)]);
    }

    #[test]
    fn an_old_commit_does_not_pass_for_the_new_one_that_starts_at_the_same_offset() {
        let mut lanes = lanes(Settings::new("archive"));
        lanes.take(&place(), &records(0..4), 4, AT_ONCE);
        let old = lanes.cut(AT_ONCE, Cut::All);
        lanes.of(&place()).iter().for_each(|lane| lanes.remove(lane));
        lanes.add(clicks(), 0, 0);
        lanes.take(&place(), &records(0..6), 6, AT_ONCE);
        let new = lanes.cut(AT_ONCE, Cut::All);
        assert_eq!((lanes.awaits(&old[0]), lanes.awaits(&new[0])), (false, true));
        assert_eq!(lanes.committed(&old[0], Committed::Done), None);
        assert_eq!(lanes.committed(&new[0], Committed::AlreadyCommitted { to: 4 }), Some(place()));
        assert_eq!(lanes.wanted(&place()), Some(4), "what only the new one had is read again");
    }

    #[test]
    fn a_commit_says_where_the_one_before_it_starts() {
        let mut lanes = lanes(Settings { events_max: 2, ..Settings::new("archive") });
        lanes.take(&place(), &records(0..6), 6, AT_ONCE);
        let mut behind = Vec::new();
        for outcome in [Committed::Done, Committed::AlreadyCommitted { to: 3 }] {
            let chunks = lanes.cut(AT_ONCE, Cut::All);
            behind.push(chunks[0].behind);
            let _ = lanes.committed(&chunks[0], outcome);
        }
        lanes.take(&place(), &records(3..6), 6, AT_ONCE);
        behind.push(lanes.cut(AT_ONCE, Cut::All)[0].behind);
        assert_eq!(behind, [None, Some(0), None], "whoever starts over does not know how the other cut");
    }

    #[test]
    fn sources_that_share_a_topic_each_have_a_lane() {
        let mut lanes = lanes(Settings::new("archive"));
        let other = Source { name: "taps".parse().expect("a name"), ..Source::clone(&clicks()) };
        lanes.add(Arc::new(other), 0, 3);
        assert_eq!(lanes.wanted(&place()), Some(0));
        lanes.take(&place(), &records(0..5), 5, AT_ONCE);
        assert_eq!(spans(&lanes.cut(AT_ONCE, Cut::All)), [(0, 5), (3, 5)]);
    }
}
