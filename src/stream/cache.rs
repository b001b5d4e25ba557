//! Parts of rows in memory: those that are not flushed yet, and as many others as fit, the least recently used
//! leaving first. Parts that are unflushed, under way to the store or wanted by a waiting batch never leave.

use std::collections::BTreeSet;

use lru::LruCache;

use crate::kernel::engine::{Flushed, Part};
use crate::online::PartKey;

/// Names a batch for as long as it wants its parts kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchId(pub u64);

pub(super) struct Cache {
    parts: LruCache<PartKey, Cached>,
    bytes: usize,
    capacity_bytes: usize,
    waiting: BTreeSet<BatchId>,
}

pub(super) struct Cached {
    pub part: Part,
    /// Folded since it was last flushed.
    pub unflushed: bool,
    /// Its last flush is not acknowledged yet.
    pub in_flight: bool,
    wanted_by: BatchId,
    bytes: usize,
}

impl Cache {
    pub fn new(capacity_bytes: usize) -> Cache {
        Cache { parts: LruCache::unbounded(), bytes: 0, capacity_bytes, waiting: BTreeSet::new() }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Keeps the part for `batch`; false where it has to be loaded first.
    pub fn want(&mut self, key: &PartKey, batch: BatchId) -> bool {
        self.waiting.insert(batch);
        self.parts.get_mut(key).map(|cached| cached.wanted_by = batch).is_some()
    }

    pub fn insert(&mut self, key: PartKey, part: Part, batch: BatchId) {
        let bytes = part.bytes();
        self.bytes += bytes;
        let cached = Cached { part, unflushed: false, in_flight: false, wanted_by: batch, bytes };
        if let Some(replaced) = self.parts.put(key, cached) {
            self.bytes -= replaced.bytes;
        }
    }

    /// Changes a part, which the batch at work wanted, and returns by how much the unflushed bytes grew.
    pub fn update(&mut self, key: &PartKey, change: impl FnOnce(&mut Cached)) -> isize {
        let cached = self.parts.get_mut(key).expect("a batch is folded once its parts are here, and they stay");
        let before = if cached.unflushed { cached.bytes } else { 0 };
        self.bytes -= cached.bytes;
        change(cached);
        cached.bytes = cached.part.bytes();
        self.bytes += cached.bytes;
        let after = if cached.unflushed { cached.bytes } else { 0 };
        after as isize - before as isize
    }

    /// Encodes an unflushed part for its way to the store.
    pub fn flush(&mut self, key: &PartKey, encode: impl FnOnce(&mut Part) -> Flushed) -> Flushed {
        let cached = self.parts.peek_mut(key).expect("unflushed parts stay");
        self.bytes -= cached.bytes;
        let flushed = encode(&mut cached.part);
        (cached.unflushed, cached.in_flight, cached.bytes) = (false, true, cached.part.bytes());
        self.bytes += cached.bytes;
        flushed
    }

    /// The store has what was under way.
    pub fn landed(&mut self, key: &PartKey) {
        if let Some(cached) = self.parts.peek_mut(key) {
            cached.in_flight = false;
        }
    }

    /// The batch is folded or given up: its parts may leave.
    pub fn finish(&mut self, batch: BatchId) {
        self.waiting.remove(&batch);
    }

    /// Forgets parts whatever their state; `leaves` hears how many unflushed bytes go with each.
    pub fn forget(&mut self, mut leaves: impl FnMut(&PartKey, usize) -> bool) {
        let mut freed = 0;
        self.parts.retain(|key, cached| {
            let leaves = leaves(key, if cached.unflushed { cached.bytes } else { 0 });
            freed += if leaves { cached.bytes } else { 0 };
            !leaves
        });
        self.bytes -= freed;
    }

    /// Back within the capacity, as far as parts may leave. One that may not counts as used just now.
    pub fn evict(&mut self) {
        for _ in 0..self.parts.len() {
            if self.bytes <= self.capacity_bytes {
                return;
            }
            let (key, cached) = self.parts.pop_lru().expect("it was counted");
            if cached.unflushed || cached.in_flight || self.waiting.contains(&cached.wanted_by) {
                self.parts.put(key, cached);
            } else {
                self.bytes -= cached.bytes;
            }
        }
    }
}
