//! What is unflushed of each shard, and what is under way to the store: at most one flush a shard.

use std::sync::Arc;

use crate::kernel::key::Shard;
use crate::kernel::time::Micros;
use crate::online::{Advance, PartWrite};
use crate::stream::partition::Partition;

pub(super) struct Shards {
    states: Vec<State>,
    /// Of all shards, what is under way included.
    unflushed_bytes: usize,
    flying_bytes: usize,
    /// Whose turn it is to be looked at.
    turn: u16,
}

struct State {
    unflushed_bytes: usize,
    /// When the oldest unflushed event was folded. Time here is what has passed since some beginning.
    unflushed_since: Option<Micros>,
    /// When the offsets of all its lanes were last written, or found to be where they were. `None`: that is to be done.
    told_at: Option<Micros>,
    flight: Option<Flight>,
}

/// When a shard with something unflushed is flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As soon as it has waited for this long.
    After(Micros),
    /// At its turn within this time: evenly, so that folding and writing go on side by side.
    Within(Micros),
}

/// A flush that is not answered yet.
pub(super) struct Flight {
    pub advances: Vec<Advance>,
    pub rows: Arc<[PartWrite]>,
    pub bytes: usize,
}

impl Shards {
    pub fn new(count: u16) -> Shards {
        let state = || State { unflushed_bytes: 0, unflushed_since: None, told_at: None, flight: None };
        Shards { states: (0..count).map(|_| state()).collect(), unflushed_bytes: 0, flying_bytes: 0, turn: 0 }
    }

    /// Of all shards, what is under way included.
    pub fn unflushed_bytes(&self) -> usize {
        self.unflushed_bytes
    }

    /// What is under way.
    pub fn flying_bytes(&self) -> usize {
        self.flying_bytes
    }

    /// Each in turn, and on from there the next time.
    pub fn next_turn(&mut self) -> Shard {
        let shard = Shard(self.turn);
        self.turn = (self.turn + 1) % self.states.len() as u16;
        shard
    }

    pub fn bytes(&self, shard: Shard) -> usize {
        self.state(shard).unflushed_bytes
    }

    pub fn are_landed(&self) -> bool {
        self.states.iter().all(|state| state.flight.is_none())
    }

    pub fn is_in_flight(&self, shard: Shard) -> bool {
        self.state(shard).flight.is_some()
    }

    /// Whether something under way names a lane of `partition`, be it only to ask where it stands.
    pub fn are_moving(&self, partition: &Partition) -> bool {
        let is_of = |it: &Advance| it.partition == partition.at.partition && partition.tracks.contains_key(&it.version);
        self.states.iter().filter_map(|state| state.flight.as_ref()).any(|flight| flight.advances.iter().any(is_of))
    }

    /// Whether time has come to flush what is unflushed, and nothing is under way.
    pub fn is_due(&self, shard: Shard, now: Micros, pace: Pace) -> bool {
        let state = self.state(shard);
        let waited = state.unflushed_since.is_some_and(|since| match pace {
            Pace::After(interval) => now >= since + interval,
            Pace::Within(interval) => self.turns(shard, now, interval) > self.turns(shard, since, interval),
        });
        waited && state.flight.is_none()
    }

    /// When the offsets of all its lanes were last written, or found to be where they were.
    pub fn told_at(&self, shard: Shard) -> Option<Micros> {
        self.state(shard).told_at
    }

    /// How often the shard has had its turn, where each has it once an interval, one after the other.
    fn turns(&self, shard: Shard, now: Micros, interval: Micros) -> i64 {
        let offset = interval.get() * i64::from(shard.0) / self.states.len() as i64;
        (now.get() - offset).div_euclid(interval.get())
    }

    /// Makes every shard due, whether or not it has rows.
    pub fn forget_told(&mut self) {
        self.states.iter_mut().for_each(|state| state.told_at = None);
    }

    /// An event was folded.
    pub fn grow(&mut self, shard: Shard, bytes: isize, now: Micros) {
        let state = &mut self.states[usize::from(shard.0)];
        state.unflushed_bytes = state.unflushed_bytes.saturating_add_signed(bytes);
        state.unflushed_since.get_or_insert(now);
        self.unflushed_bytes = self.unflushed_bytes.saturating_add_signed(bytes);
    }

    /// Unflushed parts were forgotten.
    pub fn shrink(&mut self, shard: Shard, bytes: usize) {
        self.states[usize::from(shard.0)].unflushed_bytes -= bytes;
        self.unflushed_bytes -= bytes;
    }

    /// All that was unflushed is on its way now, or there was nothing to write; `tells_all` lanes, or some.
    pub fn take_off(&mut self, shard: Shard, now: Micros, flight: Option<Flight>, tells_all: bool) {
        self.flying_bytes += flight.as_ref().map_or(0, |flight| flight.bytes);
        let state = &mut self.states[usize::from(shard.0)];
        state.unflushed_since = None;
        state.told_at = if tells_all { Some(now) } else { state.told_at };
        state.flight = flight;
        state.unflushed_bytes = 0;
    }

    /// The flush that was answered.
    pub fn land(&mut self, shard: Shard) -> Option<Flight> {
        let flight = self.states[usize::from(shard.0)].flight.take()?;
        self.unflushed_bytes -= flight.bytes;
        self.flying_bytes -= flight.bytes;
        Some(flight)
    }

    fn state(&self, shard: Shard) -> &State {
        &self.states[usize::from(shard.0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn within_an_interval_every_shard_has_a_turn_of_its_own() {
        let mut shards = Shards::new(4);
        (0..4).for_each(|shard| shards.grow(Shard(shard), 1, Micros::ZERO));
        let due = |millis| -> Vec<u16> {
            let pace = Pace::Within(Micros::from_millis(100));
            (0..4).filter(|shard| shards.is_due(Shard(*shard), Micros::from_millis(millis), pace)).collect()
        };
        assert_eq!([24, 25, 50, 99, 100].map(due), [&[][..], &[1], &[1, 2], &[1, 2, 3], &[0, 1, 2, 3]]);
    }
}
