//! Parts of rows in memory: those that are not flushed yet, and as many others as fit, the least used leaving first.
//! Parts that are unflushed, under way to the store or wanted by a waiting batch never leave.
//!
//! A part is found once for each event, by the hash that also decided its shard, and stays in its [`Slot`] until it
//! leaves. Who leaves is decided by a hand that goes around the slots and spares a part that was wanted since it last
//! came by: nearly as good as the exact order of use, without two lists to mend for each event.

use std::collections::BTreeSet;

use hashbrown::HashTable;

use crate::kernel::engine::{Flushed, Part};
use crate::kernel::key::{EntityKey, PartId};
use crate::kernel::plan::Fingerprint;
use crate::online::PartKey;

/// Names a batch for as long as it wants its parts kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct BatchId(pub u64);

/// Where a part is. Holds until the part leaves or is forgotten, so whoever keeps a slot keeps the part here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

/// A [`PartKey`] that is not one yet, with its entity's hash.
#[derive(Clone, Copy)]
pub(super) struct Address<'a> {
    pub version: Fingerprint,
    pub entity: &'a EntityKey,
    pub part: PartId,
    pub hash: u64,
}

pub(super) struct Cache {
    /// By the hash of the entity, for a version and a part tell few apart.
    index: HashTable<Slot>,
    slots: Vec<Option<Cached>>,
    free: Vec<Slot>,
    /// Where the hand stands.
    hand: usize,
    bytes: usize,
    capacity_bytes: usize,
    waiting: BTreeSet<BatchId>,
}

pub(super) struct Cached {
    key: PartKey,
    hash: u64,
    pub part: Part,
    /// Folded since it was last flushed.
    pub unflushed: bool,
    /// Its last flush is not acknowledged yet.
    in_flight: bool,
    /// Since the hand last came by.
    used: bool,
    wanted_by: BatchId,
    bytes: usize,
    /// What its next flush may write, while it is unflushed.
    unflushed_bytes: usize,
}

impl<'a> Address<'a> {
    pub fn of(key: &'a PartKey) -> Address<'a> {
        Address { version: key.version, entity: &key.entity, part: key.part, hash: key.entity.hash() }
    }

    pub fn to_key(self) -> PartKey {
        PartKey { version: self.version, entity: self.entity.clone(), part: self.part }
    }

    fn is_of(&self, key: &PartKey) -> bool {
        key.version == self.version && key.part == self.part && key.entity == *self.entity
    }
}

impl Cache {
    pub fn new(capacity_bytes: usize) -> Cache {
        Cache {
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            hand: 0,
            bytes: 0,
            capacity_bytes,
            waiting: BTreeSet::new(),
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// From now on until it is finished, the batch keeps the parts that it wants.
    pub fn begin(&mut self, batch: BatchId) {
        self.waiting.insert(batch);
    }

    /// Keeps the part for `batch`; `None` where it has to be loaded first.
    pub fn want(&mut self, address: Address, batch: BatchId) -> Option<Slot> {
        let slot = self.find(address)?;
        let cached = self.cached_mut(slot);
        (cached.wanted_by, cached.used) = (batch, true);
        Some(slot)
    }

    pub fn insert(&mut self, key: PartKey, part: Part, batch: BatchId) -> Slot {
        let (hash, bytes) = (key.entity.hash(), part.bytes());
        self.remove(Address { hash, ..Address::of(&key) });
        self.bytes += bytes;
        let cached = Cached {
            key,
            hash,
            part,
            unflushed: false,
            in_flight: false,
            used: true,
            wanted_by: batch,
            bytes,
            unflushed_bytes: 0,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Slot((self.slots.len() - 1) as u32)
        });
        self.slots[slot.0 as usize] = Some(cached);
        let slots = &self.slots;
        self.index.insert_unique(hash, slot, |slot| at(slots, *slot).hash);
        slot
    }

    /// Changes a part, which the batch at work wanted, and returns by how much the unflushed bytes grew.
    pub fn update(&mut self, slot: Slot, change: impl FnOnce(&mut Cached)) -> isize {
        let cached = self.slots[slot.0 as usize].as_mut().expect("a part that is wanted stays");
        let (before, unflushed_before) = (cached.bytes, cached.unflushed_bytes);
        change(cached);
        cached.bytes = cached.part.bytes();
        cached.unflushed_bytes = if cached.unflushed { cached.part.unflushed_bytes() } else { 0 };
        self.bytes = self.bytes + cached.bytes - before;
        cached.unflushed_bytes as isize - unflushed_before as isize
    }

    /// Encodes an unflushed part for its way to the store.
    pub fn flush(&mut self, slot: Slot, encode: impl FnOnce(&mut Part) -> Flushed) -> (PartKey, Flushed) {
        let cached = self.slots[slot.0 as usize].as_mut().expect("unflushed parts stay");
        let before = cached.bytes;
        let flushed = encode(&mut cached.part);
        (cached.unflushed, cached.in_flight, cached.unflushed_bytes) = (false, true, 0);
        cached.bytes = cached.part.bytes();
        self.bytes = self.bytes + cached.bytes - before;
        (cached.key.clone(), flushed)
    }

    /// The store has what was under way.
    pub fn landed(&mut self, key: &PartKey) {
        if let Some(slot) = self.find(Address::of(key)) {
            self.cached_mut(slot).in_flight = false;
        }
    }

    /// The batch is folded or given up: its parts may leave.
    pub fn finish(&mut self, batch: BatchId) {
        self.waiting.remove(&batch);
    }

    /// Forgets parts whatever their state; `leaves` hears how many unflushed bytes go with each.
    pub fn forget(&mut self, mut leaves: impl FnMut(&PartKey, usize) -> bool) {
        for slot in 0..self.slots.len() {
            if self.slots[slot].as_ref().is_some_and(|cached| leaves(&cached.key, cached.unflushed_bytes)) {
                self.vacate(Slot(slot as u32));
            }
        }
    }

    /// Back within the capacity, as far as parts may leave: within two rounds of the hand, which spares each once.
    pub fn evict(&mut self) {
        for _ in 0..2 * self.slots.len() {
            if self.bytes <= self.capacity_bytes {
                return;
            }
            self.hand = (self.hand + 1) % self.slots.len();
            let Some(cached) = &mut self.slots[self.hand] else { continue };
            let stays = cached.unflushed || cached.in_flight || self.waiting.contains(&cached.wanted_by);
            if !stays && !std::mem::take(&mut cached.used) {
                self.vacate(Slot(self.hand as u32));
            }
        }
    }

    fn find(&self, address: Address) -> Option<Slot> {
        self.index.find(address.hash, |slot| address.is_of(&at(&self.slots, *slot).key)).copied()
    }

    fn remove(&mut self, address: Address) {
        if let Some(slot) = self.find(address) {
            self.vacate(slot);
        }
    }

    fn vacate(&mut self, slot: Slot) {
        let cached = self.slots[slot.0 as usize].take().expect("whoever vacates a slot found a part there");
        let entry = self.index.find_entry(cached.hash, |indexed| *indexed == slot);
        entry.expect("every part is in the index").remove();
        self.bytes -= cached.bytes;
        self.free.push(slot);
    }

    fn cached_mut(&mut self, slot: Slot) -> &mut Cached {
        self.slots[slot.0 as usize].as_mut().expect("an indexed slot holds a part")
    }
}

fn at(slots: &[Option<Cached>], slot: Slot) -> &Cached {
    slots[slot.0 as usize].as_ref().expect("an indexed slot holds a part")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::definition::{SourceText, parse};
    use crate::kernel::key::KeyPart;
    use crate::kernel::plan::{ViewPlan, compile};
    use crate::kernel::time::EventTime;

    const BATCH: BatchId = BatchId(1);

    fn view() -> ViewPlan {
        let text = "kind: entity\nname: user\nkeys: [{ name: user_id, type: int64 }]\n---\n\
                    kind: source\nname: clicks\nformat: json\nevent_time: { field: at, unit: s }\n\
                    schema: { version: 1, fields: [{ name: at, type: timestamp, required: true }, \
                    { name: user_id, type: int64 }] }\n---\n\
                    kind: feature_view\nname: activity\nentity: user\nsource: clicks\nfeatures:\n  \
                    - { name: clicks, aggregate: count, windows: [1h] }\n";
        let parsed = parse(&[SourceText { path: "test".into(), text: text.to_owned() }]);
        compile(&parsed.unwrap_or_else(|found| panic!("{found:#?}"))).views[0].as_ref().clone()
    }

    fn key(number: i64) -> PartKey {
        let entity = EntityKey::encode(&[KeyPart::Int(number)]);
        PartKey { version: Fingerprint(1), entity, part: PartId::Partition(0) }
    }

    /// Parts of entities 0 to `count`, in a cache that has room for `room` of them.
    fn cache(view: &ViewPlan, count: i64, room: usize) -> Cache {
        let mut cache = Cache::new(room * Part::new(view).bytes());
        for number in 0..count {
            cache.insert(key(number), Part::new(view), BATCH);
        }
        cache
    }

    /// Which of the entities are here, looking without wanting.
    fn held(cache: &Cache) -> Vec<i64> {
        (0..9).filter(|number| cache.find(Address::of(&key(*number))).is_some()).collect()
    }

    fn mark_unflushed(cache: &mut Cache, number: i64) -> Slot {
        let slot = cache.want(Address::of(&key(number)), BATCH).expect("it is here");
        cache.update(slot, |cached| cached.unflushed = true);
        slot
    }

    #[test]
    fn parts_that_were_wanted_since_the_hand_came_by_are_spared_once() {
        let view = view();
        let mut cache = cache(&view, 4, 3);
        cache.evict();
        let left = held(&cache);
        assert_eq!(left.len(), 3, "the hand went around and took one");
        cache.want(Address::of(&key(left[0])), BATCH).expect("it is here");
        cache.insert(key(8), Part::new(&view), BATCH);
        cache.evict();
        assert_eq!(held(&cache).len(), 3);
        assert!(held(&cache).contains(&left[0]), "it was used after the hand came by");
    }

    #[test]
    fn what_is_unflushed_or_under_way_or_waited_for_stays_and_leaves_later() {
        let view = view();
        let mut cache = cache(&view, 3, 0);
        let (unflushed, flown) = (mark_unflushed(&mut cache, 0), mark_unflushed(&mut cache, 1));
        let now = EventTime::from_micros(0).expect("a time");
        cache.flush(flown, |part| part.flush(&view, now));
        cache.begin(BatchId(2));
        cache.want(Address::of(&key(2)), BatchId(2)).expect("it is here");
        cache.evict();
        assert_eq!(held(&cache), [0, 1, 2]);

        cache.landed(&key(1));
        cache.finish(BatchId(2));
        cache.evict();
        assert_eq!(held(&cache), [0]);
        cache.flush(unflushed, |part| part.flush(&view, now));
        cache.landed(&key(0));
        cache.evict();
        assert_eq!((held(&cache), cache.bytes()), (vec![], 0));
    }

    #[test]
    fn forgetting_tells_what_was_unflushed_and_the_place_is_used_again() {
        let view = view();
        let mut cache = cache(&view, 2, 9);
        mark_unflushed(&mut cache, 1);
        let mut unflushed = Vec::new();
        cache.forget(|key, bytes| {
            unflushed.push((key.clone(), bytes > 0));
            true
        });
        assert_eq!(unflushed, [(key(0), false), (key(1), true)]);
        cache.insert(key(5), Part::new(&view), BATCH);
        assert_eq!((held(&cache), cache.slots.len()), (vec![5], 2));
    }

    #[test]
    fn parts_of_one_entity_are_told_apart_by_version_and_partition() {
        let view = view();
        let mut cache = cache(&view, 1, 9);
        let other_version = PartKey { version: Fingerprint(2), ..key(0) };
        let other_partition = PartKey { part: PartId::Partition(1), ..key(0) };
        for other in [other_version, other_partition] {
            assert_eq!(cache.want(Address::of(&other), BATCH), None);
            cache.insert(other, Part::new(&view), BATCH);
        }
        assert_eq!(cache.slots.len(), 3);
    }
}
