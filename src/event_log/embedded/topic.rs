//! Topics in memory: their partitions, how far each is visible, and whose turn it is.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use crate::event_log::Error;
use crate::event_log::embedded::store::{Store, StoredTopic};
use crate::event_log::partitioner::partition_of;

pub struct Topics {
    by_name: RwLock<BTreeMap<String, Arc<Topic>>>,
    /// Held while a topic is created, so that no two get one id.
    creating: Mutex<()>,
}

impl Topics {
    pub fn load(store: &Store) -> Result<Topics, Error> {
        let stored = store.topics()?.into_iter().map(|topic| (topic.name.clone(), Arc::new(Topic::new(topic))));
        Ok(Topics { by_name: RwLock::new(stored.collect()), creating: Mutex::default() })
    }

    pub fn find(&self, name: &str) -> Result<Arc<Topic>, Error> {
        let topics = self.by_name.read().expect("nothing panics while it holds the topics");
        topics.get(name).cloned().ok_or_else(|| Error::UnknownTopic(name.to_owned()))
    }

    /// Blocks until the topic is durable. Nothing happens if it exists.
    pub fn create(&self, store: &Store, name: &str, partitions: u32) -> Result<(), Error> {
        let _creating = self.creating.lock().expect("nothing panics while it creates a topic");
        if self.find(name).is_ok() {
            return Ok(());
        }
        let id = self.free_id();
        store.create_topic(name, id, partitions)?;
        let topic = Topic::new(StoredTopic { name: name.to_owned(), id, ends: vec![0; partitions as usize] });
        let mut topics = self.by_name.write().expect("nothing panics while it holds the topics");
        topics.insert(name.to_owned(), Arc::new(topic));
        Ok(())
    }

    fn free_id(&self) -> u32 {
        let topics = self.by_name.read().expect("nothing panics while it holds the topics");
        topics.values().map(|topic| topic.id + 1).max().unwrap_or(0)
    }
}

pub struct Topic {
    name: String,
    id: u32,
    /// Offsets below are durable and may be read. Only the commit that leads moves them.
    ends: Vec<AtomicU64>,
    turn: AtomicU32,
}

impl Topic {
    pub fn new(stored: StoredTopic) -> Topic {
        let ends = stored.ends.into_iter().map(AtomicU64::new).collect();
        Topic { name: stored.name, id: stored.id, ends, turn: AtomicU32::new(0) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn partitions(&self) -> u32 {
        self.ends.len() as u32
    }

    /// By the key; records without one take turns.
    pub fn partition_for(&self, key: Option<&[u8]>) -> u32 {
        match key {
            Some(key) => partition_of(key, self.partitions()),
            None => self.turn.fetch_add(1, Ordering::Relaxed) % self.partitions(),
        }
    }

    /// The offset after the last visible record.
    pub fn end(&self, partition: u32) -> u64 {
        self.ends[partition as usize].load(Ordering::Acquire)
    }

    pub fn publish(&self, partition: u32, end: u64) {
        self.ends[partition as usize].store(end, Ordering::Release);
    }

    /// Nothing is ever deleted, so all partitions start at 0.
    pub fn bounds(&self) -> Vec<Range<u64>> {
        (0..self.partitions()).map(|partition| 0..self.end(partition)).collect()
    }

    /// The end of the partition, where `offset` lies within what it holds.
    pub fn end_beyond(&self, partition: u32, offset: u64) -> Result<u64, Error> {
        let end = if partition < self.partitions() { self.end(partition) } else { 0 };
        if partition >= self.partitions() || offset > end {
            return Err(Error::OutOfRange { topic: self.name.clone(), partition, offset, held: 0..end });
        }
        Ok(end)
    }
}
