//! Appends: idempotent, to all replicas, and answered when every record of the call is there.
//!
//! A full queue is back-pressure, not an error: the call waits. A broker that is away is an error once librdkafka
//! has tried for as long as a record may take; what became of the records is not known then.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use crate::event_log::kafka::lines::Lines;
use crate::event_log::kafka::settings;
use crate::event_log::kafka::settings::Options;
use crate::event_log::kafka::topics::{is_passing, refused};
use crate::event_log::{Error, NewRecord};

/// How long a call waits before it tries a full queue again.
const FULL: Duration = Duration::from_millis(5);

/// Partition and offset of each record of a call.
type Places = Vec<(u32, u64)>;

pub(super) struct Appender {
    options: Options,
    producer: Mutex<Arc<ThreadedProducer<Deliveries>>>,
}

/// Hears what became of each record.
struct Deliveries(Lines);

/// One call: where its records went.
struct Call {
    topic: String,
    state: Mutex<CallState>,
}

struct CallState {
    places: Places,
    /// Records that nothing was heard of yet.
    open: usize,
    failed: Option<Error>,
    done: Option<oneshot::Sender<Result<Places, Error>>>,
}

/// A record's index within its call.
struct Receipt {
    call: Arc<Call>,
    index: usize,
}

impl Appender {
    pub fn new(options: &Options) -> Result<Appender, Error> {
        Ok(Appender { options: options.clone(), producer: Mutex::new(Arc::new(produce(options)?)) })
    }

    /// The topic exists, and there is a record.
    pub async fn append(&self, topic: &str, records: &[NewRecord]) -> Result<Places, Error> {
        if let Some(early) = records.iter().find(|record| record.ingestion_time.micros() < 1_000) {
            let why = format!("Kafka has no stamps before 1970, and a record is to have {}", early.ingestion_time);
            return Err(refused(topic, why));
        }
        let producer = self.producer()?;
        let (done, heard) = oneshot::channel();
        let call = Arc::new(Call::new(topic, records.len(), done));
        for (index, record) in records.iter().enumerate() {
            if let Err(error) = send(&producer, &call, index, record).await {
                call.gave_up(records.len() - index, error);
                break;
            }
        }
        heard.await.unwrap_or_else(|_| Err(Error::Unavailable("the producer has ended".to_owned())))
    }

    /// One that has met a fatal error sends nothing any more: it is replaced.
    fn producer(&self) -> Result<Arc<ThreadedProducer<Deliveries>>, Error> {
        let mut producer = self.producer.lock().expect("nothing panics while it holds the producer");
        if let Some((code, reason)) = producer.client().fatal_error() {
            tracing::warn!(?code, reason, "the producer is replaced");
            *producer = Arc::new(produce(&self.options)?);
        }
        Ok(producer.clone())
    }
}

impl Call {
    fn new(topic: &str, records: usize, done: oneshot::Sender<Result<Places, Error>>) -> Call {
        let state = CallState { places: vec![(0, 0); records], open: records, failed: None, done: Some(done) };
        Call { topic: topic.to_owned(), state: Mutex::new(state) }
    }

    fn delivered(&self, index: usize, outcome: Result<(u32, u64), Error>) {
        self.settle(1, |state| match outcome {
            Ok(place) => state.places[index] = place,
            Err(error) => state.failed = Some(error),
        });
    }

    /// The last `records` were not even sent.
    fn gave_up(&self, records: usize, error: Error) {
        self.settle(records, |state| state.failed = Some(error));
    }

    fn settle(&self, records: usize, note: impl FnOnce(&mut CallState)) {
        let mut state = self.state.lock().expect("nothing panics while it notes a delivery");
        note(&mut state);
        state.open -= records;
        if state.open == 0
            && let Some(done) = state.done.take()
        {
            let places = std::mem::take(&mut state.places);
            // A caller that stopped waiting does not want to know.
            let _ = done.send(state.failed.take().map_or(Ok(places), Err));
        }
    }
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        self.0.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Box<Receipt>) {
        let Receipt { call, index } = *receipt;
        let outcome = match result {
            Ok(message) => Ok((message.partition() as u32, message.offset() as u64)),
            Err((error, _)) => Err(failure(&call.topic, error)),
        };
        call.delivered(index, outcome);
    }
}

fn produce(options: &Options) -> Result<ThreadedProducer<Deliveries>, Error> {
    let context = Deliveries(Lines::of("producer"));
    options.producer().create_with_context(context).map_err(settings::refused)
}

/// Waits while the queue is full.
async fn send(
    producer: &ThreadedProducer<Deliveries>,
    call: &Arc<Call>,
    index: usize,
    NewRecord { key, value, ingestion_time }: &NewRecord,
) -> Result<(), Error> {
    loop {
        let mut record =
            BaseRecord::<[u8], [u8], _>::with_opaque_to(&call.topic, Box::new(Receipt { call: call.clone(), index }));
        record = record.payload(&value[..]).timestamp(ingestion_time.micros().div_euclid(1_000));
        if let Some(key) = key {
            record = record.key(&key[..]);
        }
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => tokio::time::sleep(FULL).await,
            Err((error, _)) => return Err(failure(&call.topic, &error)),
        }
    }
}

fn failure(topic: &str, error: &KafkaError) -> Error {
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => {
            Error::UnknownTopic(topic.to_owned())
        }
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
            refused(topic, "a record is larger than its `max.message.bytes`".to_owned())
        }
        Some(code) if !is_passing(code) && is_refusal(code) => refused(topic, code.to_string()),
        _ => Error::Unavailable(format!("topic `{topic}`: {error}")),
    }
}

fn is_refusal(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::TopicAuthorizationFailed | Code::InvalidTopic | Code::InvalidTimestamp | Code::PolicyViolation)
}
