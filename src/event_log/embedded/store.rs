//! The disk under the embedded log: topics and blocks in a `fjall` database, and nothing of queues or readers. Every
//! call blocks.
//!
//! ```text
//! topics  name                                            → id u32 · partitions u32
//! blocks  topic id u32 · partition u32 · first offset u64 → block (see block.rs)
//! ```
//!
//! Numbers are big endian, so that a partition's blocks stand in the order of their offsets.

use std::path::Path;

use bytes::Bytes;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use crate::event_log::Error;
use crate::event_log::embedded::block::{self, Records};
use crate::exclusive_folder::{self, ExclusiveFolder};
use crate::kernel::event::RawRecord;

pub struct Store {
    place: String,
    database: Database,
    topics: Keyspace,
    blocks: Keyspace,
    /// Last, so that it is let go after the database.
    _folder: ExclusiveFolder,
}

/// A topic as it is kept.
pub struct StoredTopic {
    pub name: String,
    pub id: u32,
    /// For each partition, the offset that the next record will get.
    pub ends: Vec<u64>,
}

/// Where a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockKey {
    pub topic: u32,
    pub partition: u32,
    pub offset: u64,
}

/// How much one read returns at most; a single record may be larger.
#[derive(Clone, Copy, Debug)]
pub struct ReadLimit {
    pub records: usize,
    pub bytes: usize,
}

impl Store {
    /// Opens or creates the database in `folder`, which no other process may have open.
    pub fn open(folder: &Path) -> Result<Store, Error> {
        let place = folder.display().to_string();
        let exclusive = ExclusiveFolder::open(folder).map_err(|error| match error {
            exclusive_folder::Error::InUse => Error::InUse { place: place.clone() },
            exclusive_folder::Error::Io(error) => error_of(&place, error.into()),
        })?;
        let opened = exclusive.database(|aside| open_keyspaces(aside).map(drop)).and_then(|path| open_keyspaces(&path));
        let (database, topics, blocks) = opened.map_err(|error| error_of(&place, error))?;
        Ok(Store { place, database, topics, blocks, _folder: exclusive })
    }

    pub fn topics(&self) -> Result<Vec<StoredTopic>, Error> {
        self.topics.iter().map(|entry| self.topic(entry.into_inner().map_err(|error| self.error(error))?)).collect()
    }

    fn topic(&self, (name, value): fjall::KvPair) -> Result<StoredTopic, Error> {
        let numbers = <[u8; 8]>::try_from(&*value).ok();
        let number_pair = numbers.map(u64::from_be_bytes).map(|pair| ((pair >> 32) as u32, pair as u32));
        let name = String::from_utf8(name.to_vec()).ok();
        let (Some((id, partitions)), Some(name)) = (number_pair, name) else {
            return Err(self.damaged("a topic's entry has another form".to_owned()));
        };
        let ends = (0..partitions).map(|partition| self.end(id, partition)).collect::<Result<_, _>>()?;
        Ok(StoredTopic { name, id, ends })
    }

    fn end(&self, topic: u32, partition: u32) -> Result<u64, Error> {
        let from = |offset| BlockKey { topic, partition, offset }.to_bytes();
        let Some(last) = self.blocks.range(from(0)..=from(u64::MAX)).next_back() else { return Ok(0) };
        let (key, value) = last.into_inner().map_err(|error| self.error(error))?;
        let count = block::count(&value).map_err(|detail| self.damaged(detail))?;
        Ok(self.offset_of(&key)? + u64::from(count))
    }

    /// Durable when it returns.
    pub fn create_topic(&self, name: &str, id: u32, partitions: u32) -> Result<(), Error> {
        let value = (u64::from(id) << 32 | u64::from(partitions)).to_be_bytes();
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        batch.insert(&self.topics, name, value);
        batch.commit().map_err(|error| self.error(error))
    }

    /// Writes all blocks or none, with one fsync: durable when it returns.
    pub fn write(&self, blocks: Vec<(BlockKey, Vec<u8>)>) -> Result<(), Error> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (key, block) in blocks {
            batch.insert(&self.blocks, key.to_bytes(), block);
        }
        batch.commit().map_err(|error| self.error(error))
    }

    /// Records from `from` (its block included) up to, not including, `end`.
    pub fn read(&self, from: BlockKey, end: u64, limit: ReadLimit) -> Result<Vec<RawRecord>, Error> {
        let at = |offset| BlockKey { offset, ..from }.to_bytes();
        let Some(first) = self.blocks.range(at(0)..=at(from.offset)).next_back() else { return Ok(Vec::new()) };
        let first = first.key().map_err(|error| self.error(error))?;
        let mut read = Batch { records: Vec::new(), bytes: 0, limit };
        for entry in self.blocks.range(&*first..&at(end)[..]) {
            let (key, value) = entry.into_inner().map_err(|error| self.error(error))?;
            let offset = self.offset_of(&key)?;
            let records = Records::new(from.partition, offset, Bytes::from_owner(value));
            for record in records.map_err(|detail| self.damaged(detail))? {
                let record = record.map_err(|detail| self.damaged(detail))?;
                if record.offset >= end || read.is_full() {
                    return Ok(read.records);
                }
                if record.offset >= from.offset {
                    read.push(record);
                }
            }
        }
        Ok(read.records)
    }

    fn offset_of(&self, key: &[u8]) -> Result<u64, Error> {
        let offset = key.last_chunk::<8>().map(|bytes| u64::from_be_bytes(*bytes));
        offset.ok_or_else(|| self.damaged("a block's key has another form".to_owned()))
    }

    fn error(&self, error: fjall::Error) -> Error {
        error_of(&self.place, error)
    }

    fn damaged(&self, detail: String) -> Error {
        Error::Damaged { place: self.place.clone(), detail }
    }
}

impl BlockKey {
    fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&self.topic.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.partition.to_be_bytes());
        bytes[8..].copy_from_slice(&self.offset.to_be_bytes());
        bytes
    }
}

struct Batch {
    records: Vec<RawRecord>,
    bytes: usize,
    limit: ReadLimit,
}

impl Batch {
    fn is_full(&self) -> bool {
        self.records.len() >= self.limit.records || (self.bytes >= self.limit.bytes && !self.records.is_empty())
    }

    fn push(&mut self, record: RawRecord) {
        self.bytes += record.value.len();
        self.records.push(record);
    }
}

fn open_keyspaces(folder: &Path) -> fjall::Result<(Database, Keyspace, Keyspace)> {
    let database = Database::builder(folder).open()?;
    let topics = database.keyspace("topics", KeyspaceCreateOptions::default)?;
    // Blocks are never overwritten: kept apart from their keys they are written once, not again by each compaction.
    let apart = || KeyspaceCreateOptions::default().with_kv_separation(Some(KvSeparationOptions::default()));
    let blocks = database.keyspace("blocks", apart)?;
    // What a killed process had written without a sync is visible from here on, so it must be as durable as the rest.
    database.persist(PersistMode::SyncAll)?;
    Ok((database, topics, blocks))
}

fn error_of(place: &str, error: fjall::Error) -> Error {
    let place = place.to_owned();
    match error {
        fjall::Error::Locked => Error::InUse { place },
        // What the disk refuses for now; bytes that do not add up are another matter.
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            Error::Unavailable(format!("{place}: {error}"))
        }
        fjall::Error::Poisoned => {
            Error::Unavailable(format!("{place}: a write failed earlier; mend the disk and restart the service"))
        }
        error => Error::Damaged { place, detail: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn what_the_disk_refuses_for_now_is_no_damage() {
        let refused = || io::Error::other("too many open files");
        for error in [fjall::Error::Io(refused()), fjall::Error::Storage(fjall::LsmError::Io(refused()))] {
            let error = error_of("log", error);
            assert!(error.is_transient(), "{error}");
        }
    }
}
