//! The online store on disk, in process: one database for one project under a folder, for one process at a time.
//!
//! It survives the death of the process at any moment: each `apply` is one batch of the database's journal, handed
//! to the operating system before the call returns, and a batch that was cut short is not there when it opens
//! again. It does not sync to the disk: a power failure loses the newest batches, rows and positions together, and
//! the worker folds those records again from the log.
//!
//! Calls are short (memory, the page cache) and run on the caller's thread; when the disk cannot keep up, or a full
//! journal is being sealed, a write waits there.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    Advance, Applied, Claim, Control, Error, Expiry, Loaded, Nonce, OnlineStore, PartKey, PartWrite, StoredRow,
};
use crate::kernel::codec::Image;
use crate::kernel::key::{EntityKey, PartId, SHARDS, Shard};
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;
use database::{Batch, Database, Table, View};

mod database;
mod dropping;
mod layout;

pub struct Embedded {
    database: Database,
    /// One for each shard: held from the checks of a call to its last write.
    locks: Vec<Mutex<()>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How many shards a new store is cut into; one that exists keeps its own.
    pub shards: u16,
    pub cache_bytes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options { shards: SHARDS, cache_bytes: 256 << 20 }
    }
}

/// Raised when a build writes what the one before cannot read.
const FORMAT: u16 = 2;

impl Embedded {
    /// Opens the store under `folder`, creating it where there is none.
    pub fn open(folder: &Path, options: Options) -> Result<Embedded, Error> {
        assert!(options.shards > 0, "entities need a shard to live in");
        let settings = [("format", FORMAT.to_be_bytes().to_vec()), ("shards", options.shards.to_be_bytes().to_vec())];
        let database = Database::open(folder, options.cache_bytes, &settings)?;
        let format = setting(&database, "format")?;
        if format != FORMAT {
            return Err(database.damaged(&format!("format {format}, for this build knows {FORMAT}, which")));
        }
        let shards = setting(&database, "shards")?;
        Ok(Embedded { database, locks: (0..shards).map(|_| Mutex::default()).collect() })
    }
}

#[async_trait]
impl OnlineStore for Embedded {
    fn shards(&self) -> u16 {
        self.locks.len() as u16
    }

    async fn claim(&self, shard: Shard, claims: &[Claim], nonce: Nonce) -> Result<Vec<u64>, Error> {
        let _held = self.lock(shard);
        let mut stored = self.stored(shard, claims.iter().map(|claim| claim.version))?;
        for (version, _) in stored.iter().filter(|(_, control)| control.positions.is_empty()) {
            self.drop_rows(*version, shard)?;
        }
        let claim = |claim: &Claim| stored.entry(claim.version).or_default().claim(claim, nonce);
        let offsets = claims.iter().map(claim).collect();
        let mut batch = self.database.batch();
        put_controls(&mut batch, shard, &stored);
        batch.commit()?;
        Ok(offsets)
    }

    async fn apply(&self, shard: Shard, advances: &[Advance], rows: &[PartWrite]) -> Result<Applied, Error> {
        let _held = self.lock(shard);
        let mut stored = self.stored(shard, advances.iter().map(|advance| advance.version))?;
        let position = |advance: &Advance| stored[&advance.version].positions.get(&advance.partition).copied();
        if !advances.iter().all(|advance| advance.follows(position(advance))) {
            return Ok(Applied::Refused(advances.iter().map(position).collect()));
        }
        if rows.is_empty() && advances.iter().all(|advance| advance.from == advance.to) {
            return Ok(Applied::Done);
        }
        advances.iter().for_each(|advance| stored.entry(advance.version).or_default().advance(advance));
        let mut batch = self.database.batch();
        put_controls(&mut batch, shard, &stored);
        let view = self.database.view();
        for row in rows {
            self.put_part(&view, &mut batch, shard, row)?;
        }
        batch.commit()?;
        Ok(Applied::Done)
    }

    async fn load(&self, keys: &[PartKey]) -> Result<Vec<Loaded>, Error> {
        let view = self.database.view();
        keys.iter().map(|key| self.load_part(&view, key)).collect()
    }

    async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<Option<StoredRow>>, Error> {
        let view = self.database.view();
        rows.iter().map(|(version, entity)| self.read_row(&view, *version, entity)).collect()
    }

    async fn offsets(&self, version: Fingerprint) -> Result<Vec<(Shard, u32, u64)>, Error> {
        let mut offsets = Vec::new();
        for entry in self.database.view().prefix(Table::Controls, &version.0.to_be_bytes()) {
            let (key, value) = entry?;
            let shard = layout::shard_of(&key).ok_or_else(|| self.database.damaged("the key of a control"))?;
            let of_shard = self.decode_control(&value)?.offsets();
            offsets.extend(of_shard.into_iter().map(|(partition, offset)| (shard, partition, offset)));
        }
        Ok(offsets)
    }

    async fn complete(&self, version: Fingerprint, goals: &[(u32, u64)]) -> Result<bool, Error> {
        let mut all = true;
        for shard in (0..self.shards()).map(Shard) {
            all &= self.complete_shard(version, shard, goals)?;
        }
        Ok(all)
    }

    async fn is_complete(&self, version: Fingerprint) -> Result<bool, Error> {
        let view = self.database.view();
        for shard in (0..self.shards()).map(Shard) {
            if !self.control(&view, version, shard)?.complete {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn expire(&self, now: EventTime) -> Result<usize, Error> {
        self.drop_expired(now).await
    }

    async fn remove(&self, version: Fingerprint) -> Result<(), Error> {
        for shard in (0..self.shards()).map(Shard) {
            self.remove_from(version, shard)?;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

impl Embedded {
    fn lock(&self, shard: Shard) -> MutexGuard<'_, ()> {
        self.locks[usize::from(shard.0)].lock().expect("no holder of a shard panics")
    }

    /// The control of each version in a shard; of a version that nobody claimed, an empty one.
    fn stored(
        &self,
        shard: Shard,
        versions: impl Iterator<Item = Fingerprint>,
    ) -> Result<BTreeMap<Fingerprint, Control>, Error> {
        let view = self.database.view();
        let mut stored = BTreeMap::new();
        for version in versions {
            if let Entry::Vacant(vacant) = stored.entry(version) {
                vacant.insert(self.control(&view, version, shard)?);
            }
        }
        Ok(stored)
    }

    fn control(&self, view: &View, version: Fingerprint, shard: Shard) -> Result<Control, Error> {
        let bytes = view.get(Table::Controls, &layout::shard_key(version, shard))?;
        bytes.map_or_else(|| Ok(Control::default()), |bytes| self.decode_control(&bytes))
    }

    fn complete_shard(&self, version: Fingerprint, shard: Shard, goals: &[(u32, u64)]) -> Result<bool, Error> {
        let _held = self.lock(shard);
        let mut control = self.control(&self.database.view(), version, shard)?;
        if control.complete || !control.has_reached(goals) {
            return Ok(control.complete);
        }
        control.complete = true;
        let mut batch = self.database.batch();
        put_controls(&mut batch, shard, &BTreeMap::from([(version, control)]));
        batch.commit()?;
        Ok(true)
    }

    fn put_part(&self, view: &View, batch: &mut Batch, shard: Shard, row: &PartWrite) -> Result<(), Error> {
        let key = layout::part_key(shard, &row.key);
        let stored = self.expiry(view, &key)?;
        let expiry = row.expiry(stored);
        if stored.is_none() && expiry != Expiry::Never {
            batch.insert(Table::Expiries, &layout::expiry_key(expiry, &key), &[]);
        }
        batch.insert(Table::Heads, &key, &layout::encode_head(expiry, &row.flushed.head));
        if let Some(body) = &row.flushed.body {
            batch.insert(Table::Bodies, &key, body);
        }
        if let Some(ids) = &row.flushed.ids {
            batch.insert(Table::Ids, &key, ids);
        }
        Ok(())
    }

    /// When a stored part expires; `None`: there is no such part.
    fn expiry(&self, view: &View, part_key: &[u8]) -> Result<Option<Expiry>, Error> {
        let head = view.get(Table::Heads, part_key)?;
        head.map(|bytes| self.decode_head(&bytes).map(|(expiry, _)| expiry)).transpose()
    }

    fn load_part(&self, view: &View, key: &PartKey) -> Result<Loaded, Error> {
        let shard = key.entity.shard(self.shards());
        let position = match key.part {
            PartId::History => None,
            PartId::Partition(partition) => self.control(view, key.version, shard)?.positions.remove(&partition),
        };
        let part_key = layout::part_key(shard, key);
        let Some(head) = view.get(Table::Heads, &part_key)? else {
            return Ok(Loaded { image: None, position });
        };
        let image = Image {
            head: self.decode_head(&head)?.1,
            body: view.get(Table::Bodies, &part_key)?.unwrap_or_default(),
            ids: view.get(Table::Ids, &part_key)?.unwrap_or_default(),
        };
        Ok(Loaded { image: Some(image), position })
    }

    /// `None`: it is damaged.
    fn read_row(&self, view: &View, version: Fingerprint, entity: &EntityKey) -> Result<Option<StoredRow>, Error> {
        let shard = entity.shard(self.shards());
        let offsets = self.control(view, version, shard)?.told_offsets();
        let mut parts = Vec::new();
        for entry in view.prefix(Table::Heads, &layout::row_key(version, shard, entity)) {
            let (key, head) = entry?;
            let (Some(part), Some((_, head))) = (layout::part_of(&key), layout::decode_head(&head)) else {
                return Ok(None);
            };
            let body = view.get(Table::Bodies, &key)?.unwrap_or_default();
            parts.push((part, Image { head, body, ids: Bytes::new() }));
        }
        Ok(Some(StoredRow { parts, offsets }))
    }

    fn decode_control(&self, bytes: &[u8]) -> Result<Control, Error> {
        layout::decode_control(bytes).ok_or_else(|| self.database.damaged("a shard's control"))
    }

    fn decode_head(&self, bytes: &Bytes) -> Result<(Expiry, Bytes), Error> {
        layout::decode_head(bytes).ok_or_else(|| self.database.damaged("the head of a part"))
    }
}

fn put_controls(batch: &mut Batch, shard: Shard, stored: &BTreeMap<Fingerprint, Control>) {
    for (version, control) in stored {
        batch.insert(Table::Controls, &layout::shard_key(*version, shard), &layout::encode_control(control));
    }
}

fn setting(database: &Database, name: &str) -> Result<u16, Error> {
    let bytes = database.view().get(Table::Settings, name.as_bytes())?;
    let number = bytes.and_then(|bytes| Some(u16::from_be_bytes(*bytes.first_chunk()?)));
    number.ok_or_else(|| database.damaged(&format!("setting `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::online::conformance::{self, Expiring};

    const SMALL: Options = Options { shards: 4, cache_bytes: 1 << 20 };

    #[tokio::test]
    async fn embedded_conforms() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Embedded::open(folder.path(), SMALL).expect("a new store");
        conformance::conforms(&store, Expiring::WhenAsked).await;
    }

    #[tokio::test]
    async fn embedded_survives_reopening_and_keeps_its_shards() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut shards = 4..;
        let open = || {
            let shards = shards.next().expect("numbers do not end");
            Embedded::open(folder.path(), Options { shards, ..SMALL }).expect("opened")
        };
        conformance::survives(open).await;
    }

    #[tokio::test]
    async fn a_row_that_cannot_be_read_is_told_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Embedded::open(folder.path(), SMALL).expect("a new store");
        let (version, entity) = (Fingerprint(7), EntityKey::from_bytes(b"u1"));
        let shard = entity.shard(store.shards());
        let key = PartKey { version, entity: entity.clone(), part: PartId::Partition(0) };
        let mut batch = store.database.batch();
        batch.insert(Table::Heads, &layout::part_key(shard, &key), b"");
        batch.commit().expect("written");
        let rows = [(version, EntityKey::from_bytes(b"u2")), (version, entity.clone()), (Fingerprint(8), entity)];
        let whole = Some(StoredRow::default());
        assert_eq!(store.read(&rows).await.expect("read"), [whole.clone(), None, whole]);
    }

    #[test]
    fn another_format_is_refused_by_its_number() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Database::open(folder.path(), 1 << 20, &[("format", vec![0, 9])]).expect("a database"));
        let refusal = Embedded::open(folder.path(), SMALL).map(|_| ()).expect_err("a later format");
        assert!(refusal.to_string().contains("format 9"), "{refusal}");
    }
}
