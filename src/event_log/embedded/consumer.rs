//! The embedded log's consumer. The log has one process, so every consumer is the only member of its group: it is
//! assigned everything at once and for good, and where it stands is its own affair.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::event_log::embedded::store::{BlockKey, ReadLimit, Store};
use crate::event_log::embedded::topic::Topic;
use crate::event_log::{Consumer, Delivery, Error, TopicPartition, blocking};
use crate::kernel::event::RawRecord;

const DELIVERY: ReadLimit = ReadLimit { records: 2_000, bytes: 1_024 * 1_024 };

pub struct EmbeddedConsumer {
    store: Arc<Store>,
    assigned: Vec<Assigned>,
    announced: bool,
    /// Where the search for the next delivery begins, so that no busy partition starves another.
    turn: usize,
    commits: watch::Receiver<u64>,
}

struct Assigned {
    partition: TopicPartition,
    topic: Arc<Topic>,
    /// `None`: not sought, or stopped by an offset out of range.
    next: Option<u64>,
    paused: bool,
}

impl EmbeddedConsumer {
    pub fn new(store: Arc<Store>, topics: &[Arc<Topic>], commits: watch::Receiver<u64>) -> EmbeddedConsumer {
        let assigned = topics.iter().flat_map(|topic| {
            (0..topic.partitions()).map(|partition| Assigned {
                partition: TopicPartition { topic: topic.name().to_owned(), partition },
                topic: topic.clone(),
                next: None,
                paused: false,
            })
        });
        EmbeddedConsumer { store, assigned: assigned.collect(), announced: false, turn: 0, commits }
    }

    /// Index, next offset and end of the partition whose turn it is, of those that have something to deliver.
    fn ready(&mut self) -> Result<Option<(usize, u64, u64)>, Error> {
        let count = self.assigned.len();
        for index in (0..count).map(|step| (self.turn + step) % count) {
            let Assigned { partition, topic, next, paused } = &mut self.assigned[index];
            let Some(from) = next.filter(|_| !*paused) else { continue };
            let end = topic.end_beyond(partition.partition, from).inspect_err(|_| *next = None)?;
            if from < end {
                return Ok(Some((index, from, end)));
            }
        }
        Ok(None)
    }

    async fn read(&self, index: usize, from: u64, end: u64) -> Result<Vec<RawRecord>, Error> {
        let Assigned { partition, topic, .. } = &self.assigned[index];
        let key = BlockKey { topic: topic.id(), partition: partition.partition, offset: from };
        let store = self.store.clone();
        blocking(move || store.read(key, end, DELIVERY)).await
    }

    fn find(&mut self, partition: &TopicPartition) -> Option<&mut Assigned> {
        self.assigned.iter_mut().find(|assigned| assigned.partition == *partition)
    }
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn next(&mut self) -> Result<Delivery, Error> {
        if !std::mem::replace(&mut self.announced, true) {
            return Ok(Delivery::Assigned(self.assigned.iter().map(|assigned| assigned.partition.clone()).collect()));
        }
        loop {
            // Seen before looking: a commit from here on ends the wait below.
            self.commits.borrow_and_update();
            let Some((index, from, log_end)) = self.ready()? else {
                self.commits.changed().await.map_err(|_| Error::Unavailable("the log was closed".to_owned()))?;
                continue;
            };
            let records = self.read(index, from, log_end).await?;
            // Nothing waits below this line, so a future dropped above has moved nothing.
            let last = records.last().expect("a partition that is ready has a record at its next offset");
            let next = last.offset + 1;
            self.assigned[index].next = Some(next);
            self.turn = index + 1;
            return Ok(Delivery::Records { partition: self.assigned[index].partition.clone(), records, next, log_end });
        }
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) {
        if let Some(assigned) = self.find(partition) {
            (assigned.next, assigned.paused) = (Some(offset), false);
        }
    }

    fn pause(&mut self, partition: &TopicPartition) {
        if let Some(assigned) = self.find(partition) {
            assigned.paused = true;
        }
    }

    fn resume(&mut self, partition: &TopicPartition) {
        if let Some(assigned) = self.find(partition) {
            assigned.paused = false;
        }
    }

    async fn is_member(&mut self) -> Result<bool, Error> {
        Ok(true)
    }

    /// There is nobody to hand anything to.
    async fn leave(self: Box<Self>) {}
}
