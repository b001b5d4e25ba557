//! An online store in memory: the whole contract, and nothing outlives the process. For tests and trials.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;

use super::{
    Advance, Applied, Claim, Control, Error, Expiry, Loaded, Nonce, OnlineStore, PartKey, PartWrite, Position,
    StoredRow,
};
use crate::kernel::codec::Image;
use crate::kernel::key::{EntityKey, PartId, Shard};
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;

pub struct Memory {
    /// What is atomic is behind one lock.
    shards: Vec<Mutex<ShardState>>,
}

/// All that one shard held at some instant. Cheap to take, for images are shared.
#[derive(Clone, Default)]
pub struct ShardState(BTreeMap<Fingerprint, Stored>);

#[derive(Clone, Default)]
struct Stored {
    control: Control,
    rows: HashMap<EntityKey, BTreeMap<PartId, Kept>>,
}

#[derive(Clone)]
struct Kept {
    image: Image,
    expiry: Expiry,
}

impl Memory {
    pub fn new(shards: u16) -> Memory {
        assert!(shards > 0, "entities need a shard to live in");
        Memory { shards: (0..shards).map(|_| Mutex::default()).collect() }
    }

    pub fn snapshot(&self, shard: Shard) -> ShardState {
        self.lock(shard).clone()
    }

    /// Puts a shard back to what it held, as a failover to a lagging replica does.
    pub fn restore(&self, shard: Shard, state: ShardState) {
        *self.lock(shard) = state;
    }

    fn lock(&self, shard: Shard) -> MutexGuard<'_, ShardState> {
        self.shards[usize::from(shard.0)].lock().expect("no holder of a shard panics")
    }

    fn lock_of(&self, entity: &EntityKey) -> MutexGuard<'_, ShardState> {
        self.lock(entity.shard(self.shards()))
    }
}

#[async_trait]
impl OnlineStore for Memory {
    fn shards(&self) -> u16 {
        self.shards.len() as u16
    }

    async fn claim(&self, shard: Shard, claims: &[Claim], nonce: Nonce) -> Result<Vec<u64>, Error> {
        let mut state = self.lock(shard);
        Ok(claims.iter().map(|claim| state.claim(claim, nonce)).collect())
    }

    async fn apply(&self, shard: Shard, advances: &[Advance], rows: &[PartWrite]) -> Result<Applied, Error> {
        let mut state = self.lock(shard);
        let stored: Vec<_> =
            advances.iter().map(|advance| state.position(advance.version, advance.partition)).collect();
        if !advances.iter().zip(&stored).all(|(advance, stored)| advance.follows(*stored)) {
            return Ok(Applied::Refused(stored));
        }
        rows.iter().for_each(|row| state.write(row));
        advances.iter().for_each(|advance| state.advance(advance));
        Ok(Applied::Done)
    }

    async fn load(&self, keys: &[PartKey]) -> Result<Vec<Loaded>, Error> {
        Ok(keys.iter().map(|key| self.lock_of(&key.entity).load(key)).collect())
    }

    async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<Option<StoredRow>>, Error> {
        Ok(rows.iter().map(|(version, entity)| Some(self.lock_of(entity).read(*version, entity))).collect())
    }

    async fn offsets(&self, version: Fingerprint) -> Result<Vec<(Shard, u32, u64)>, Error> {
        let of_shard = |shard: u16| {
            let offsets = self.lock(Shard(shard)).offsets(version);
            offsets.into_iter().map(move |(partition, offset)| (Shard(shard), partition, offset))
        };
        Ok((0..self.shards()).flat_map(of_shard).collect())
    }

    async fn complete(&self, version: Fingerprint, goals: &[(u32, u64)]) -> Result<bool, Error> {
        let marked = (0..self.shards()).filter(|shard| self.lock(Shard(*shard)).complete(version, goals));
        Ok(marked.count() == self.shards.len())
    }

    async fn is_complete(&self, version: Fingerprint) -> Result<bool, Error> {
        Ok((0..self.shards()).all(|shard| self.lock(Shard(shard)).control(version).is_some_and(|it| it.complete)))
    }

    async fn expire(&self, now: EventTime) -> Result<usize, Error> {
        Ok((0..self.shards()).map(|shard| self.lock(Shard(shard)).expire(now)).sum())
    }

    async fn remove(&self, version: Fingerprint) -> Result<(), Error> {
        for shard in 0..self.shards() {
            self.lock(Shard(shard)).0.remove(&version);
        }
        Ok(())
    }
}

impl ShardState {
    fn claim(&mut self, claim: &Claim, nonce: Nonce) -> u64 {
        self.0.entry(claim.version).or_default().control.claim(claim, nonce)
    }

    fn control(&self, version: Fingerprint) -> Option<&Control> {
        Some(&self.0.get(&version)?.control)
    }

    fn position(&self, version: Fingerprint, partition: u32) -> Option<Position> {
        self.control(version)?.positions.get(&partition).copied()
    }

    fn advance(&mut self, advance: &Advance) {
        self.0.entry(advance.version).or_default().control.advance(advance);
    }

    fn complete(&mut self, version: Fingerprint, goals: &[(u32, u64)]) -> bool {
        let Some(Stored { control, .. }) = self.0.get_mut(&version) else { return false };
        control.complete = control.has_reached(goals);
        control.complete
    }

    fn write(&mut self, row: &PartWrite) {
        let stored = self.0.entry(row.key.version).or_default();
        let parts = stored.rows.entry(row.key.entity.clone()).or_default();
        let old = parts.remove(&row.key.part);
        let expiry = row.expiry(old.as_ref().map(|kept| kept.expiry));
        let old = old.map(|kept| kept.image).unwrap_or_default();
        let image = Image {
            head: row.flushed.head.clone(),
            body: row.flushed.body.clone().unwrap_or(old.body),
            ids: row.flushed.ids.clone().unwrap_or(old.ids),
        };
        parts.insert(row.key.part, Kept { image, expiry });
    }

    fn load(&self, key: &PartKey) -> Loaded {
        let Some(stored) = self.0.get(&key.version) else { return Loaded::default() };
        let position = match key.part {
            PartId::History => None,
            PartId::Partition(partition) => stored.control.positions.get(&partition).copied(),
        };
        let kept = stored.rows.get(&key.entity).and_then(|parts| parts.get(&key.part));
        Loaded { image: kept.map(|kept| kept.image.clone()), position }
    }

    fn read(&self, version: Fingerprint, entity: &EntityKey) -> StoredRow {
        let without_ids = |(part, kept): (&PartId, &Kept)| {
            let image = Image { head: kept.image.head.clone(), body: kept.image.body.clone(), ..Image::default() };
            (*part, image)
        };
        let Some(stored) = self.0.get(&version) else { return StoredRow::default() };
        let parts = stored.rows.get(entity).into_iter().flatten().map(without_ids).collect();
        StoredRow { parts, offsets: stored.control.told_offsets() }
    }

    fn offsets(&self, version: Fingerprint) -> Vec<(u32, u64)> {
        self.control(version).map(Control::offsets).unwrap_or_default()
    }

    fn expire(&mut self, now: EventTime) -> usize {
        let mut dropped = 0;
        for stored in self.0.values_mut() {
            stored.rows.retain(|_, parts| {
                let before = parts.len();
                parts.retain(|_, kept| kept.expiry >= Expiry::At(now));
                dropped += before - parts.len();
                !parts.is_empty()
            });
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::online::conformance::{self, Expiring};

    #[tokio::test]
    async fn memory_conforms() {
        conformance::conforms(&Memory::new(4), Expiring::WhenAsked).await;
    }

    #[tokio::test]
    async fn a_restored_shard_is_what_it_was_and_others_stay() {
        let store = Memory::new(2);
        let claims = [Claim { version: Fingerprint(1), partition: 0, initial: 0 }];
        let before = store.snapshot(Shard(0));
        for shard in [Shard(0), Shard(1)] {
            store.claim(shard, &claims, Nonce(1)).await.expect("claimed");
        }
        store.restore(Shard(0), before);
        assert_eq!(store.offsets(Fingerprint(1)).await.expect("offsets"), [(Shard(1), 0, 0)]);
    }
}
