//! The tiered log: the event log, and below its start the archive, as one log.
//!
//! ```text
//! 0 ─────── archived ───────────────────► archive's end
//!                  log's start ──────────────────────────► log's end
//! read from the archive ──┘└── read from the log
//! ```
//!
//! Promises what any event log does, over all that either of the two holds. The log is asked first, so the archive
//! costs nothing where the log reaches. An offset that neither holds is [`Error::OutOfRange`], never a jump: also one
//! in a hole between the archive's end and the log's start. It archives nothing: the archiver reads the log itself.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use crate::event_log::{Consumer, Error, EventLog, NewRecord, TopicPartition};
use crate::kernel::definition::Source;
use crate::kernel::event::RawRecord;
use crate::offline::Archive;
use consumer::TieredConsumer;
use shelf::Shelf;

mod consumer;
mod shelf;

pub struct Tiered {
    log: Arc<dyn EventLog>,
    shelf: Arc<Shelf>,
}

impl Tiered {
    /// `sources`: as they are now, asked often. Any of those that share a topic may be the archive of it.
    pub fn new(
        log: Arc<dyn EventLog>,
        archive: Archive,
        sources: impl Fn() -> Vec<Arc<Source>> + Send + Sync + 'static,
    ) -> Tiered {
        Tiered { log, shelf: Arc::new(Shelf::new(archive, sources)) }
    }
}

#[async_trait]
impl EventLog for Tiered {
    async fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), Error> {
        self.log.create_topic(topic, partitions).await
    }

    async fn bounds(&self, topic: &str) -> Result<Vec<Range<u64>>, Error> {
        let mut bounds = self.log.bounds(topic).await?;
        for (partition, held) in (0..).zip(&mut bounds).filter(|(_, held)| held.start > 0) {
            let at = TopicPartition { topic: topic.to_owned(), partition };
            held.start = self.shelf.start(at).await?.map_or(held.start, |start| start.min(held.start));
        }
        Ok(bounds)
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<(u32, u64)>, Error> {
        self.log.append(topic, records).await
    }

    async fn consumer(&self, group: &str, topics: &[String]) -> Result<Box<dyn Consumer>, Error> {
        let consumer = self.log.consumer(group, topics).await?;
        Ok(Box::new(TieredConsumer::new(consumer, self.log.clone(), self.shelf.clone())))
    }

    async fn takes_replay(&self, topic: &str) -> Result<(), Error> {
        self.log.takes_replay(topic).await
    }
}

/// How many of `records` may go at once: at most `limit` of at most `bytes` together, but one of any size.
fn within(records: &[RawRecord], limit: usize, bytes: usize) -> usize {
    let mut left = bytes;
    let fitting = records.iter().take(limit).take_while(|record| match left.checked_sub(record.value.len()) {
        Some(rest) => {
            left = rest;
            true
        }
        None => false,
    });
    fitting.count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_log::conformance;
    use crate::event_log::embedded::EmbeddedLog;
    use crate::offline::folder::tests::project;

    #[tokio::test]
    async fn the_tiered_log_conforms() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = Arc::new(EmbeddedLog::open(&folder.path().join("log")).expect("opens"));
        let log = Arc::new(Tiered::new(log, Archive::new(project(folder.path())), Vec::new));
        let subject = conformance::Subject { log, prefix: String::new(), earliest_ms: -1, large: Some(12 << 20) };
        conformance::conforms(&subject).await;
    }
}
