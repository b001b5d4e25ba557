//! What leaves the embedded store: expired parts, and versions. Both in bounded steps, each under its shard's lock.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::database::{Batch, Table, View};
use super::{Embedded, layout};
use crate::kernel::key::Shard;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;
use crate::online::{Error, Expiry};

/// Parts to a batch: it bounds memory, and for how long a shard is held.
const STEP: usize = 4_096;

impl Embedded {
    pub(super) async fn drop_expired(&self, now: EventTime) -> Result<usize, Error> {
        let view = self.database.view();
        let mut due = view.keys(Table::Expiries, ..layout::expiry_bytes(Expiry::At(now))).peekable();
        let mut dropped = 0;
        while due.peek().is_some() {
            dropped += self.expire_step(due.by_ref().take(STEP), now)?;
            tokio::task::yield_now().await;
        }
        Ok(dropped)
    }

    /// Drops or puts off the parts whose expiries are due; returns how many it dropped. There is one entry for each
    /// part that expires, noted when the part was first written: so a flush that prolongs a part writes none.
    fn expire_step(&self, due: impl Iterator<Item = Result<Bytes, Error>>, now: EventTime) -> Result<usize, Error> {
        let mut by_shard: BTreeMap<Shard, Vec<Bytes>> = BTreeMap::new();
        for entry in due {
            let entry = entry?;
            let shard = layout::shard_of(layout::expiring(&entry));
            let shard = shard.ok_or_else(|| self.database.damaged("the key of an expiry"))?;
            by_shard.entry(shard).or_default().push(entry);
        }
        let mut dropped = 0;
        for (shard, entries) in by_shard {
            let _held = self.lock(shard);
            let (view, mut batch) = (self.database.view(), self.database.batch());
            entries.iter().for_each(|entry| batch.remove(Table::Expiries, entry));
            // A part may have a second entry, left by an earlier row of a version that was removed.
            let parts: BTreeSet<&[u8]> = entries.iter().map(|entry| layout::expiring(entry)).collect();
            for part_key in parts {
                dropped += usize::from(self.expire_part(&view, &mut batch, part_key, now)?);
            }
            batch.commit()?;
        }
        Ok(dropped)
    }

    /// Whether a part that may be due is dropped. It may live longer by now, or be gone with its version.
    fn expire_part(&self, view: &View, batch: &mut Batch, part_key: &[u8], now: EventTime) -> Result<bool, Error> {
        match self.expiry(view, part_key)? {
            Some(expiry) if expiry < Expiry::At(now) => {
                drop_part(batch, part_key);
                Ok(true)
            }
            Some(expiry @ Expiry::At(_)) => {
                batch.insert(Table::Expiries, &layout::expiry_key(expiry, part_key), &[]);
                Ok(false)
            }
            Some(Expiry::Never) | None => Ok(false),
        }
    }

    /// The control first: from then on writers are refused.
    pub(super) fn remove_from(&self, version: Fingerprint, shard: Shard) -> Result<(), Error> {
        let _held = self.lock(shard);
        let mut batch = self.database.batch();
        batch.remove(Table::Controls, &layout::shard_key(version, shard));
        batch.commit()?;
        self.drop_rows(version, shard)
    }

    /// Their expiries stay, and find nothing when they are due.
    pub(super) fn drop_rows(&self, version: Fingerprint, shard: Shard) -> Result<(), Error> {
        let view = self.database.view();
        let of_shard = layout::shard_key(version, shard);
        let mut rows = view.prefix(Table::Heads, &of_shard).peekable();
        while rows.peek().is_some() {
            let mut batch = self.database.batch();
            for row in rows.by_ref().take(STEP) {
                drop_part(&mut batch, &row?.0);
            }
            batch.commit()?;
        }
        Ok(())
    }
}

fn drop_part(batch: &mut Batch, part_key: &[u8]) {
    for table in [Table::Heads, Table::Bodies, Table::Ids] {
        batch.remove(table, part_key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::engine::Flushed;
    use crate::kernel::key::{EntityKey, PartId};
    use crate::online::{Advance, Claim, EmbeddedOptions, Nonce, OnlineStore, PartKey, PartWrite, StoredRow};

    const SMALL: EmbeddedOptions = EmbeddedOptions { shards: 4, cache_bytes: 1 << 20 };

    #[tokio::test]
    async fn rows_that_a_removal_left_behind_are_gone_with_the_next_claim() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Embedded::open(folder.path(), SMALL).expect("a new store");
        let (version, entity) = (Fingerprint(1), EntityKey::from_bytes(b"a"));
        let shard = entity.shard(SMALL.shards);
        let flushed = Flushed { head: "head".into(), body: None, ids: None, expires_at: None, expiry_moved: true };
        let key = PartKey { version, entity: entity.clone(), part: PartId::History };
        let mut batch = store.database.batch();
        store.put_part(&store.database.view(), &mut batch, shard, &PartWrite { key, flushed }).expect("put");
        batch.commit().expect("committed");
        store.claim(shard, &[Claim { version, partition: 0, initial: 3 }], Nonce(1)).await.expect("claimed");
        store.complete(version, &[]).await.expect("answered");
        let row = store.read(&[(version, entity)]).await.expect("read").remove(0).expect("it is whole");
        assert_eq!(row, StoredRow { parts: vec![], offsets: vec![(0, 3)] });
    }

    #[tokio::test]
    async fn a_part_that_is_prolonged_keeps_one_noted_expiry() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Embedded::open(folder.path(), SMALL).expect("a new store");
        let (version, entity) = (Fingerprint(1), EntityKey::from_bytes(b"a"));
        let shard = entity.shard(SMALL.shards);
        store.claim(shard, &[Claim { version, partition: 0, initial: 0 }], Nonce(1)).await.expect("claimed");
        for from in 0..5 {
            let expires_at = Some(EventTime::unchecked(10 + from as i64));
            let flushed = Flushed { head: "head".into(), body: None, ids: None, expires_at, expiry_moved: true };
            let key = PartKey { version, entity: entity.clone(), part: PartId::Partition(0) };
            let advance = Advance { version, partition: 0, nonce: Nonce(1), from, to: from + 1 };
            store.apply(shard, &[advance], &[PartWrite { key, flushed }]).await.expect("answered");
        }
        let noted = || store.database.view().keys(Table::Expiries, ..[0xff; 8]).count();
        assert_eq!(noted(), 1);
        assert_eq!(store.expire(EventTime::unchecked(12)).await.expect("put off"), 0);
        assert_eq!(noted(), 1);
        assert_eq!(store.expire(EventTime::unchecked(15)).await.expect("dropped"), 1);
        assert_eq!(noted(), 0);
    }
}
