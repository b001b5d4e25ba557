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
    Advance, Applied, Claim, Error, Expiry, Loaded, Nonce, OnlineStore, PartKey, PartWrite, Position, StoredRow,
};
use crate::kernel::codec::Image;
use crate::kernel::key::{EntityKey, PartId, SHARDS, Shard};
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;
use database::{Batch, Database, Table, View};
use layout::Positions;

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
const FORMAT: u16 = 1;

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
        for (version, _) in stored.iter().filter(|(_, positions)| positions.is_empty()) {
            self.drop_rows(*version, shard)?;
        }
        let mut offsets = Vec::with_capacity(claims.len());
        for claim in claims {
            let positions = stored.entry(claim.version).or_default();
            let position = positions.entry(claim.partition).or_insert(Position { nonce, offset: claim.initial });
            position.nonce = nonce;
            offsets.push(position.offset);
        }
        let mut batch = self.database.batch();
        put_positions(&mut batch, shard, &stored);
        batch.commit()?;
        Ok(offsets)
    }

    async fn apply(&self, shard: Shard, advances: &[Advance], rows: &[PartWrite]) -> Result<Applied, Error> {
        let _held = self.lock(shard);
        let mut stored = self.stored(shard, advances.iter().map(|advance| advance.version))?;
        let position = |advance: &Advance| stored[&advance.version].get(&advance.partition).copied();
        if !advances.iter().all(|advance| advance.follows(position(advance))) {
            return Ok(Applied::Refused(advances.iter().map(position).collect()));
        }
        if rows.is_empty() && advances.iter().all(|advance| advance.from == advance.to) {
            return Ok(Applied::Done);
        }
        for Advance { version, partition, nonce, to, .. } in advances {
            let moved = Position { nonce: *nonce, offset: *to };
            stored.entry(*version).or_default().insert(*partition, moved);
        }
        let mut batch = self.database.batch();
        put_positions(&mut batch, shard, &stored);
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

    async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<StoredRow>, Error> {
        let view = self.database.view();
        rows.iter().map(|(version, entity)| self.read_row(&view, *version, entity)).collect()
    }

    async fn offsets(&self, version: Fingerprint) -> Result<Vec<(Shard, u32, u64)>, Error> {
        let mut offsets = Vec::new();
        for entry in self.database.view().prefix(Table::Positions, &version.0.to_be_bytes()) {
            let (key, value) = entry?;
            let shard = layout::shard_of(&key).ok_or_else(|| self.database.damaged("the key of positions"))?;
            let positions = self.decode_positions(&value)?;
            offsets.extend(positions.into_iter().map(|(partition, position)| (shard, partition, position.offset)));
        }
        Ok(offsets)
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

    /// The positions of each version in a shard; of a version that nobody claimed, none.
    fn stored(
        &self,
        shard: Shard,
        versions: impl Iterator<Item = Fingerprint>,
    ) -> Result<BTreeMap<Fingerprint, Positions>, Error> {
        let view = self.database.view();
        let mut stored = BTreeMap::new();
        for version in versions {
            if let Entry::Vacant(vacant) = stored.entry(version) {
                vacant.insert(self.positions(&view, version, shard)?);
            }
        }
        Ok(stored)
    }

    fn positions(&self, view: &View, version: Fingerprint, shard: Shard) -> Result<Positions, Error> {
        let bytes = view.get(Table::Positions, &layout::shard_key(version, shard))?;
        self.decode_positions(&bytes.unwrap_or_default())
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
            PartId::Partition(partition) => self.positions(view, key.version, shard)?.remove(&partition),
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

    fn read_row(&self, view: &View, version: Fingerprint, entity: &EntityKey) -> Result<StoredRow, Error> {
        let shard = entity.shard(self.shards());
        let positions = self.positions(view, version, shard)?;
        let offsets = positions.into_iter().map(|(partition, position)| (partition, position.offset)).collect();
        let mut parts = Vec::new();
        for entry in view.prefix(Table::Heads, &layout::row_key(version, shard, entity)) {
            let (key, head) = entry?;
            let part = layout::part_of(&key).ok_or_else(|| self.database.damaged("the key of a part"))?;
            let body = view.get(Table::Bodies, &key)?.unwrap_or_default();
            parts.push((part, Image { head: self.decode_head(&head)?.1, body, ids: Bytes::new() }));
        }
        Ok(StoredRow { parts, offsets })
    }

    fn decode_positions(&self, bytes: &[u8]) -> Result<Positions, Error> {
        layout::decode_positions(bytes).ok_or_else(|| self.database.damaged("a shard's positions"))
    }

    fn decode_head(&self, bytes: &Bytes) -> Result<(Expiry, Bytes), Error> {
        layout::decode_head(bytes).ok_or_else(|| self.database.damaged("the head of a part"))
    }
}

fn put_positions(batch: &mut Batch, shard: Shard, stored: &BTreeMap<Fingerprint, Positions>) {
    for (version, positions) in stored {
        batch.insert(Table::Positions, &layout::shard_key(*version, shard), &layout::encode_positions(positions));
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
    use crate::online::conformance;

    const SMALL: Options = Options { shards: 4, cache_bytes: 1 << 20 };

    #[tokio::test]
    async fn embedded_conforms() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Embedded::open(folder.path(), SMALL).expect("a new store");
        conformance::conforms(&store).await;
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

    #[test]
    fn another_format_is_refused_by_its_number() {
        let folder = tempfile::tempdir().expect("a folder");
        drop(Database::open(folder.path(), 1 << 20, &[("format", vec![0, 9])]).expect("a database"));
        let refusal = Embedded::open(folder.path(), SMALL).map(|_| ()).expect_err("a later format");
        assert!(refusal.to_string().contains("format 9"), "{refusal}");
    }
}
