//! The simulated log: how much of the workload's records each partition has by now, and still has.

use std::ops::Range;
use std::sync::Arc;

use fastrand::Rng;
use freshet::kernel::event::RawRecord;

use super::workload::{LOG_END, Workload};

pub struct Log {
    workload: Arc<Workload>,
    /// By place.
    held: Vec<Range<u64>>,
}

impl Log {
    pub fn new(workload: Arc<Workload>) -> Log {
        let held = vec![0..0; workload.places.len()];
        Log { workload, held }
    }

    pub fn held(&self, place: usize) -> Range<u64> {
        self.held[place].clone()
    }

    pub fn write(&mut self, place: usize, slots: u64) {
        let end = &mut self.held[place].end;
        *end = (*end + slots).min(LOG_END);
    }

    /// Retention: what is below `start` is gone.
    pub fn truncate(&mut self, place: usize, start: u64) {
        let held = &mut self.held[place];
        held.start = held.start.max(start.min(held.end));
    }

    /// At most `limit` records from `from` on, and where to read on: right after the last of them, or after the gap
    /// that follows it. `None` at the log's end.
    pub fn read(&self, place: usize, from: u64, limit: usize, rng: &mut Rng) -> Option<(Vec<RawRecord>, u64)> {
        let end = self.held[place].end;
        let records = &self.workload.places[place].records;
        let rest = &records[records.partition_point(|record| record.offset < from)..];
        let here = &rest[..rest.partition_point(|record| record.offset < end)];
        let taken = &here[..limit.min(here.len())];
        let furthest = here.get(limit).map_or(end, |record| record.offset);
        let nearest = taken.last().map_or(from, |record| record.offset + 1);
        let next = if taken.is_empty() { furthest } else { rng.u64(nearest..=furthest) };
        (from < end).then(|| (taken.to_vec(), next))
    }
}
