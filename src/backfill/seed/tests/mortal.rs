//! A store for seedings that do not go well.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use crate::kernel::key::{EntityKey, Shard};
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;
use crate::online::{
    Advance, Applied, Claim, Error, Loaded, Memory, Nonce, OnlineStore, PartKey, PartWrite, StoredRow,
};

/// Dies before a call to `apply`, or goes back to what a shard was before the last one, once.
pub struct Mortal {
    pub store: Memory,
    calls: AtomicUsize,
    dies_at: Option<usize>,
    goes_back_at: Option<usize>,
}

impl Mortal {
    pub fn new(dies_at: Option<usize>, goes_back_at: Option<usize>) -> Mortal {
        Mortal { store: Memory::new(super::SHARDS), calls: AtomicUsize::new(0), dies_at, goes_back_at }
    }

    /// How often it was to write.
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl OnlineStore for Mortal {
    fn shards(&self) -> u16 {
        self.store.shards()
    }

    async fn claim(&self, shard: Shard, claims: &[Claim], nonce: Nonce) -> Result<Vec<u64>, Error> {
        self.store.claim(shard, claims, nonce).await
    }

    async fn apply(&self, shard: Shard, advances: &[Advance], rows: &[PartWrite]) -> Result<Applied, Error> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.dies_at == Some(call) {
            return Err(Error::Unusable { place: "here".to_owned(), detail: "it dies".to_owned() });
        }
        let before = self.store.snapshot(shard);
        let outcome = self.store.apply(shard, advances, rows).await?;
        if self.goes_back_at == Some(call) {
            self.store.restore(shard, before);
        }
        Ok(outcome)
    }

    async fn load(&self, keys: &[PartKey]) -> Result<Vec<Loaded>, Error> {
        self.store.load(keys).await
    }

    async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<Option<StoredRow>>, Error> {
        self.store.read(rows).await
    }

    async fn offsets(&self, version: Fingerprint) -> Result<Vec<(Shard, u32, u64)>, Error> {
        self.store.offsets(version).await
    }

    async fn complete(&self, version: Fingerprint, goals: &[(u32, u64)]) -> Result<bool, Error> {
        self.store.complete(version, goals).await
    }

    async fn is_complete(&self, version: Fingerprint) -> Result<bool, Error> {
        self.store.is_complete(version).await
    }

    async fn expire(&self, now: EventTime) -> Result<usize, Error> {
        self.store.expire(now).await
    }

    async fn remove(&self, version: Fingerprint) -> Result<(), Error> {
        self.store.remove(version).await
    }
}
