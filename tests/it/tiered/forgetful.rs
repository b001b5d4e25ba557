//! A log with retention: records below a partition's start are gone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use freshet::event_log::{Consumer, Delivery, Error, EventLog, NewRecord, TopicPartition};

pub struct Forgetful {
    /// The log that forgets nothing.
    pub whole: Arc<dyn EventLog>,
    starts: Arc<Starts>,
}

type Starts = Mutex<BTreeMap<TopicPartition, u64>>;

impl Forgetful {
    pub fn new(whole: Arc<dyn EventLog>) -> Forgetful {
        Forgetful { whole, starts: Arc::default() }
    }

    pub fn forget(&self, at: &TopicPartition, below: u64) {
        self.starts.lock().expect("no panic").insert(at.clone(), below);
    }
}

fn held(starts: &Starts, at: &TopicPartition, held: Range<u64>) -> Range<u64> {
    let start = starts.lock().expect("no panic").get(at).copied().unwrap_or(0);
    held.start.max(start)..held.end
}

#[async_trait]
impl EventLog for Forgetful {
    async fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        self.whole.create_topic(topic, partitions).await
    }

    async fn bounds(&self, topic: &str) -> Result<Vec<Range<u64>>, Error> {
        let at = |partition| TopicPartition { topic: topic.to_owned(), partition };
        let bounds = self.whole.bounds(topic).await?;
        Ok((0..).zip(bounds).map(|(partition, all)| held(&self.starts, &at(partition), all)).collect())
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<(u32, u64)>, Error> {
        self.whole.append(topic, records).await
    }

    async fn consumer(&self, group: &str, topics: &[String]) -> Result<Box<dyn Consumer>, Error> {
        let consumer = self.whole.consumer(group, topics).await?;
        let silent = BTreeSet::new();
        Ok(Box::new(ForgetfulConsumer { consumer, starts: self.starts.clone(), refused: VecDeque::new(), silent }))
    }

    async fn takes_replay(&self, topic: &str) -> Result<(), Error> {
        self.whole.takes_replay(topic).await
    }
}

struct ForgetfulConsumer {
    consumer: Box<dyn Consumer>,
    starts: Arc<Starts>,
    refused: VecDeque<Error>,
    /// Refused, and not sought since.
    silent: BTreeSet<TopicPartition>,
}

#[async_trait]
impl Consumer for ForgetfulConsumer {
    async fn next(&mut self) -> Result<Delivery, Error> {
        match self.refused.pop_front() {
            Some(error) => Err(error),
            None => self.consumer.next().await,
        }
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) {
        let held = held(&self.starts, partition, 0..1_000);
        if held.start <= offset {
            self.silent.remove(partition);
            return self.consumer.seek(partition, offset);
        }
        self.consumer.pause(partition);
        self.silent.insert(partition.clone());
        let TopicPartition { topic, partition } = partition.clone();
        self.refused.push_back(Error::OutOfRange { topic, partition, offset, held });
    }

    fn pause(&mut self, partition: &TopicPartition) {
        self.consumer.pause(partition);
    }

    fn resume(&mut self, partition: &TopicPartition) {
        if !self.silent.contains(partition) {
            self.consumer.resume(partition);
        }
    }

    async fn is_member(&mut self) -> Result<bool, Error> {
        self.consumer.is_member().await
    }

    async fn leave(self: Box<Self>) {
        self.consumer.leave().await;
    }
}
