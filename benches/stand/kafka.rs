//! Topics, a producer as applications have one, and a consumer that only counts.

use std::time::{Duration, Instant};

use freshet::clock::Clock;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::variable;

const PATIENCE: Duration = Duration::from_secs(30);

pub struct Topic {
    pub name: String,
    pub partitions: u32,
    brokers: String,
}

impl Topic {
    pub async fn create(name: &str, partitions: u32) -> Topic {
        let brokers = variable("KAFKA_BROKERS");
        let mut config = ClientConfig::new();
        let admin: AdminClient<DefaultClientContext> =
            config.set("bootstrap.servers", &brokers).create().expect("a client");
        let topic = NewTopic::new(name, partitions as i32, TopicReplication::Fixed(1));
        let created = admin.create_topics([&topic], &AdminOptions::new()).await.expect("the broker answers");
        created.into_iter().for_each(|result| drop(result.expect("the topic is new")));
        Topic { name: name.to_owned(), partitions, brokers }
    }

    /// With `linger_ms` as the application's choice between batches and waiting.
    pub fn producer(&self, linger_ms: u32) -> Sender<'_> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("partitioner", "murmur2_random")
            .set("linger.ms", linger_ms.to_string())
            .set("queue.buffering.max.messages", "500000")
            .set("queue.buffering.max.kbytes", "262144");
        Sender { topic: &self.name, producer: config.create().expect("a producer") }
    }

    /// Messages and bytes a second of a consumer that does nothing with them.
    pub fn count(&self) -> (u64, Duration) {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", "freshet-bench-bare")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.max.bytes", "16777216")
            .set("queued.min.messages", "50000")
            .set("queued.max.messages.kbytes", "32768")
            .set("fetch.queue.backoff.ms", "10");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut places = TopicPartitionList::new();
        for partition in 0..self.partitions as i32 {
            places.add_partition_offset(&self.name, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&places).expect("it can be assigned");
        let (started, mut messages, mut bytes, mut ended) = (Instant::now(), 0, 0, 0);
        while ended < self.partitions {
            match consumer.poll(PATIENCE).expect("the broker delivers") {
                Ok(message) => (messages, bytes) = (messages + 1, bytes + message.payload_len()),
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                Err(error) => panic!("{error}"),
            }
        }
        assert!(bytes > 0, "the topic has messages");
        (messages, started.elapsed())
    }
}

pub struct Sender<'a> {
    topic: &'a str,
    producer: ThreadedProducer<DefaultProducerContext>,
}

impl Sender<'_> {
    /// Waits while the producer's queue is full.
    pub fn send(&self, key: &str, json: &str, sent_ms: i64) {
        let mut record = BaseRecord::to(self.topic).key(key).payload(json).timestamp(sent_ms);
        while let Err((error, refused)) = self.producer.send(record) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
            self.producer.flush(Duration::from_millis(100)).or_else(still_busy).expect("the broker takes messages");
            record = refused;
        }
    }

    pub fn finish(&self) {
        self.producer.flush(PATIENCE).expect("the broker takes messages");
    }
}

fn still_busy(error: KafkaError) -> Result<(), KafkaError> {
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut) { Ok(()) } else { Err(error) }
}

/// Milliseconds since 1970, as records carry it.
pub fn now_ms() -> i64 {
    Clock::System.now().micros() / 1_000
}
