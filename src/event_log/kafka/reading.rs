//! One partition as its member reads it: where it stands, and the batch that is being filled.
//!
//! A batch copies its records into one buffer, so that a record costs no allocation of its own.

use std::ops::Range;

use bytes::BytesMut;

use crate::event_log::kafka::handoff::Batch;
use crate::event_log::kafka::native::Record;
use crate::kernel::event::RawRecord;
use crate::kernel::time::EventTime;

/// A batch is handed over when it is this large, or when there is nothing to add to it.
const BATCH_RECORDS: usize = 4_096;
const BATCH_BYTES: usize = 1 << 20;

/// What a record takes besides its bytes.
const RECORD_OVERHEAD: usize = size_of::<RawRecord>();

#[derive(Default)]
pub(super) struct Reading {
    /// Of its last seek.
    pub epoch: u64,
    pub state: State,
    /// Whether Kafka was told to send no more for now.
    pub held_back: bool,
    /// The next offset that is not read yet.
    pub next: u64,
    /// Whether anything was read that is not handed over.
    is_ahead: bool,
    buffer: BytesMut,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Ours, and not sought yet.
    #[default]
    Idle,
    Reading,
    /// Kafka gave up on it: it was sought out of range.
    Failed,
}

struct Entry {
    offset: u64,
    ingestion_time: EventTime,
    value: Range<usize>,
}

impl Reading {
    /// Goes on from `offset`, and forgets what was read before.
    pub fn seek(&mut self, offset: u64, epoch: u64) {
        *self = Reading { epoch, state: State::Reading, next: offset, ..Reading::default() };
    }

    /// Whether the batch is full. A record from before the position was read already.
    pub fn add(&mut self, record: &Record<'_>) -> bool {
        let offset = record.offset();
        if offset < self.next {
            return false;
        }
        let start = self.buffer.len();
        self.buffer.extend_from_slice(record.value());
        let value = start..self.buffer.len();
        self.entries.push(Entry { offset, ingestion_time: stamp(record.timestamp_ms()), value });
        self.skip_to(offset + 1);
        self.entries.len() >= BATCH_RECORDS || self.buffer.len() >= BATCH_BYTES
    }

    /// There is nothing but gaps below `offset`.
    pub fn skip_to(&mut self, offset: u64) {
        self.is_ahead |= offset > self.next;
        self.next = self.next.max(offset);
    }

    /// What was read since the last batch; `None`: nothing.
    pub fn take(&mut self, partition: u32, log_end: impl FnOnce() -> u64) -> Option<Batch> {
        if !std::mem::take(&mut self.is_ahead) {
            return None;
        }
        let values = std::mem::take(&mut self.buffer).freeze();
        let record = |Entry { offset, ingestion_time, value }| RawRecord {
            partition,
            offset,
            ingestion_time,
            value: values.slice(value),
        };
        let records: Vec<RawRecord> = self.entries.drain(..).map(record).collect();
        let bytes = values.len() + records.len() * RECORD_OVERHEAD;
        Some(Batch { records, next: self.next, log_end: log_end().max(self.next), bytes })
    }
}

/// The ingestion time of a stamp. What is outside the years that an event may have is as good as no stamp: the first
/// instant, at which every event is early and rejected with its reason.
pub(super) fn stamp(timestamp_ms: i64) -> EventTime {
    timestamp_ms.checked_mul(1_000).and_then(EventTime::from_micros).unwrap_or(EventTime::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_alone_is_a_batch_without_records() {
        let mut reading = Reading::default();
        reading.seek(5, 1);
        assert!(reading.take(0, || 5).is_none());
        reading.skip_to(4);
        assert!(reading.take(0, || 5).is_none(), "nobody goes back without a seek");
        reading.skip_to(7);
        let batch = reading.take(0, || 6).expect("the gap");
        assert_eq!((batch.records.len(), batch.next, batch.log_end), (0, 7, 7));
        assert!(reading.take(0, || 7).is_none());
    }

    #[test]
    fn a_stamp_out_of_range_is_no_stamp() {
        assert_eq!(stamp(-1).micros(), -1_000);
        assert_eq!(stamp(i64::MAX), EventTime::MIN);
    }
}
