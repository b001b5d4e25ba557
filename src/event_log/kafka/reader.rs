//! Reads of one partition, outside of any group: for people who look at a record, and for what is replayed.
//!
//! One reader serves all calls, one after the other, and stays where it stopped: a call that goes on there costs no
//! round trip.

use std::sync::Mutex;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::Instant;

use bytes::Bytes;

use crate::event_log::Error;
use crate::event_log::kafka::lines::Lines;
use crate::event_log::kafka::reading::stamp;
use crate::event_log::kafka::settings::{Options, create};
use crate::event_log::kafka::topics::{ANSWER, refused, unavailable};
use crate::kernel::event::RawRecord;

/// A read ends beyond so many bytes.
const READ_BYTES: usize = 4 << 20;
/// How long it waits for a record that is there.
const PATIENCE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(100);

pub(super) struct Reader(Mutex<Position>);

struct Position {
    client: BaseConsumer<Lines>,
    /// Topic, partition, and the offset that the client delivers next.
    at: Option<(String, u32, u64)>,
}

impl Reader {
    pub fn new(options: &Options) -> Result<Reader, Error> {
        Ok(Reader(Mutex::new(Position { client: create(&options.reader(), "reader")?, at: None })))
    }

    /// Blocks.
    pub fn read(&self, topic: &str, partition: u32, from: u64, limit: usize) -> Result<Vec<RawRecord>, Error> {
        let mut position = self.0.lock().expect("nothing panics while it reads");
        let (start, end) = match position.client.fetch_watermarks(topic, partition as i32, ANSWER) {
            Ok((start, end)) => (start as u64, end as u64),
            Err(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownPartition)) => {
                return Err(Error::OutOfRange { topic: topic.to_owned(), partition, offset: from, held: 0..0 });
            }
            Err(error) => return Err(unavailable(error)),
        };
        if !(start..=end).contains(&from) {
            return Err(Error::OutOfRange { topic: topic.to_owned(), partition, offset: from, held: start..end });
        }
        if from == end || limit == 0 {
            return Ok(Vec::new());
        }
        let read = position.go_to(topic, partition, from).and_then(|()| position.collect(end, limit));
        if read.is_err() {
            position.at = None;
        }
        read
    }
}

impl Position {
    fn go_to(&mut self, topic: &str, partition: u32, from: u64) -> Result<(), Error> {
        let wanted = (topic.to_owned(), partition, from);
        if self.at.as_ref() != Some(&wanted) {
            let mut assignment = TopicPartitionList::new();
            let offset = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
            assignment.add_partition_offset(topic, partition as i32, offset).map_err(unavailable)?;
            self.client.assign(&assignment).map_err(unavailable)?;
            self.at = Some(wanted);
        }
        Ok(())
    }

    /// Records up to `end`, the limit, or [`READ_BYTES`].
    fn collect(&mut self, end: u64, limit: usize) -> Result<Vec<RawRecord>, Error> {
        let (topic, partition, next) = self.at.as_mut().expect("it was told where to go");
        let patience = Instant::now() + PATIENCE;
        let (mut records, mut bytes) = (Vec::new(), 0);
        while *next < end && records.len() < limit && bytes < READ_BYTES {
            match self.client.poll(POLL) {
                Some(Ok(message)) => {
                    let value = Bytes::copy_from_slice(message.payload().unwrap_or_default());
                    let ingestion_time = stamp(message.timestamp().to_millis().unwrap_or(-1));
                    let offset = message.offset() as u64;
                    *next = offset + 1;
                    bytes += value.len();
                    records.push(RawRecord { partition: *partition, offset, ingestion_time, value });
                }
                // What is left below the end is no record.
                Some(Err(KafkaError::PartitionEOF(_))) => *next = end,
                Some(Err(error)) => {
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::TopicAuthorizationFailed) {
                        return Err(refused(topic, error.to_string()));
                    }
                    tracing::debug!(topic, %error, "a read goes on");
                }
                None => {}
            }
            if Instant::now() > patience {
                return Err(Error::Unavailable(format!("{topic}[{partition}] delivered nothing at offset {next}")));
            }
        }
        Ok(records)
    }
}
