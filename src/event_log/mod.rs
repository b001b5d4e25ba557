//! The event log: topics of partitions of ordered, replayable records.
//!
//! # Contract
//!
//! * Offsets of a partition grow by at least one a record; what was appended is never changed or reordered.
//! * [`EventLog::append`] returns once the records are durable: they survive the death of any process. A failed
//!   or unanswered append may have happened.
//! * A consumer delivers each partition's records in order, from where [`Consumer::seek`] put it. It skips
//!   nothing: an offset below the log's start, or beyond its end, is an [`Error`], never a jump.
//!
//! `conformance.rs` holds every log to this.

#[cfg(test)]
pub(crate) mod conformance;
pub mod embedded;
pub mod kafka;
mod partitioner;
mod replaced;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;

use crate::kernel::event::RawRecord;
use crate::kernel::time::EventTime;

pub use replaced::Replaced;

/// A record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// Decides the partition (murmur2, as Kafka's Java producer does); without one, partitions take turns.
    pub key: Option<Bytes>,
    pub value: Bytes,
    /// Whole milliseconds.
    pub ingestion_time: EventTime,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: u32,
}

/// Clones, because one failed commit fails every append that shared it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error("topic `{0}` does not exist: `freshet apply` makes it where it may, or says how to")]
    UnknownTopic(String),
    /// The topic is not fit for what was asked, and why, with what would mend it.
    #[error("topic `{topic}` is refused: {why}")]
    Refused { topic: String, why: String },
    #[error("offset {offset} of {topic}[{partition}] is outside what the log holds, {}..{}", held.start, held.end)]
    OutOfRange { topic: String, partition: u32, offset: u64, held: Range<u64> },
    #[error("the event log is not available: {0}")]
    Unavailable(String),
    #[error("the event log at {place} is damaged: {detail}")]
    Damaged { place: String, detail: String },
    #[error("{member} was replaced by a process of the same name: give each an `instance_id` of its own")]
    Fenced { member: String },
    #[error("{0}")]
    Settings(String),
    #[error("the event log at {place} is already in use by another process")]
    InUse { place: String },
}

impl Error {
    pub fn is_transient(&self) -> bool {
        matches!(self, Error::Unavailable(_))
    }

    /// Whether whoever reads for good may try again: also for a topic that is missing, for definitions and topics are not
    /// made in one step.
    pub fn may_pass(&self) -> bool {
        self.is_transient() || matches!(self, Error::UnknownTopic(_))
    }
}

#[async_trait]
pub trait EventLog: Send + Sync {
    /// Creates the topic with `partitions`, unless it exists.
    async fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), Error>;

    /// What each partition holds now: its first offset, and the offset that the next record will get.
    async fn bounds(&self, topic: &str) -> Result<Vec<Range<u64>>, Error>;

    /// Partition and offset of each record, in their order, once all of them are durable.
    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<(u32, u64)>, Error>;

    /// Joins a group of consumers that share the partitions of `topics`.
    async fn consumer(&self, group: &str, topics: &[String]) -> Result<Box<dyn Consumer>, Error>;

    /// Whether records stamped in the past keep their stamps, and stay: [`Error::Refused`] says why not.
    async fn takes_replay(&self, topic: &str) -> Result<(), Error>;
}

/// Off the threads that serve, for what waits on a disk or on the network.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Error::Unavailable("the log is shutting down".to_owned())))
}

/// What a consumer hears, in order.
#[derive(Debug)]
pub enum Delivery {
    /// Ours from now on, each paused until it is sought. The first delivery of a member is one, be it empty.
    Assigned(Vec<TopicPartition>),
    /// To be released: flush, then let go. Asking for the next delivery says that this is done.
    Revoked(Vec<TopicPartition>),
    /// Next in line of a partition that was sought and is not paused. Reading goes on from `next` once these are
    /// folded: it lies beyond the last record by more than one, and there may be no record at all, where the log
    /// holds something that is not one (a transaction's end, an aborted record).
    Records { partition: TopicPartition, records: Vec<RawRecord>, next: u64, log_end: u64 },
}

/// One member of a group. Dropping it is a crash, as far as the group knows.
#[async_trait]
pub trait Consumer: Send {
    /// Waits for the next delivery. Cancel safe: a future that is dropped loses nothing. After
    /// [`Error::OutOfRange`] that partition stands still until it is sought again; the others go on.
    async fn next(&mut self) -> Result<Delivery, Error>;

    /// Delivers from `offset` on, starting or restarting the partition: also one that was paused. What was handed out
    /// before stays out. Nothing happens to a partition that is not ours (any more), here and in the next two.
    fn seek(&mut self, partition: &TopicPartition, offset: u64);

    fn pause(&mut self, partition: &TopicPartition);

    fn resume(&mut self, partition: &TopicPartition);

    /// Whether the group still counts us in: a synchronous round trip where there is a group.
    async fn is_member(&mut self) -> Result<bool, Error>;

    /// Hands everything over to the other members at once. What was assigned is to be released before.
    async fn leave(self: Box<Self>);
}
