//! Apache Kafka as the event log: for more than one machine.
//!
//! * Durable: an append is answered once all replicas that are in sync have it.
//! * Shared: consumers of one group divide the partitions among themselves, cooperatively. One that is named keeps
//!   its partitions over a restart, unless it left in so many words.
//! * Offsets have gaps where transactions end or were aborted; a delivery tells where reading goes on.
//! * Only committed records are read, and nothing is skipped: an offset out of range is an error.
//! * Not for compacted topics, which forget what was counted: they are refused.
//!
//! ```text
//! topics    what there is, what it holds, how it is kept      settings  what librdkafka is told
//! producer  appends                                           lines     what it says on its own
//! native    events of librdkafka, read by unsafe code
//! consumer ◄─ handoff ─► member (a thread) ─► reading
//! ```

mod consumer;
mod handoff;
mod lines;
mod member;
mod native;
mod producer;
mod reading;
mod settings;
mod topics;

use std::ops::Range;

use async_trait::async_trait;

use crate::event_log::kafka::consumer::KafkaConsumer;
use crate::event_log::kafka::producer::Appender;
use crate::event_log::kafka::topics::Topics;
use crate::event_log::{Consumer, Error, EventLog, NewRecord};

pub use settings::Options;

pub struct KafkaLog {
    options: Options,
    topics: Topics,
    appender: Appender,
}

impl KafkaLog {
    /// Fails where the settings are wrong, or where no broker answers.
    pub async fn connect(options: Options) -> Result<KafkaLog, Error> {
        options.check()?;
        let log = KafkaLog { topics: Topics::new(&options)?, appender: Appender::new(&options)?, options };
        log.topics.reach().await?;
        Ok(log)
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        self.topics.create(topic, partitions).await
    }

    async fn bounds(&self, topic: &str) -> Result<Vec<Range<u64>>, Error> {
        self.topics.bounds(topic).await
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<(u32, u64)>, Error> {
        // librdkafka would try a missing topic for seconds.
        self.topics.check(topic).await?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        self.appender.append(topic, &records).await
    }

    async fn consumer(&self, group: &str, topics: &[String]) -> Result<Box<dyn Consumer>, Error> {
        for topic in topics {
            self.topics.partitions(topic).await?;
            self.topics.check(topic).await?;
        }
        Ok(Box::new(KafkaConsumer::join(&self.options, group, topics)?))
    }

    async fn takes_replay(&self, topic: &str) -> Result<(), Error> {
        self.topics.takes_replay(topic).await
    }
}

#[cfg(test)]
mod tests;
