//! What is sent while faults are injected: good events, events of long ago and of the future, copies, poison, and the
//! canaries of `freshness.rs`. Most through a Kafka producer, some through HTTP ingest. What was acknowledged is
//! remembered, for the log has to hold it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use anyhow::bail;
use freshet::clock::Clock;
use rdkafka::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::watch;
use tokio::time::{Instant, interval, sleep};

use crate::api::Api;
use crate::events::Event;
use crate::freshness::{PARTITIONS, canary};
use crate::poison::KINDS;

pub const TOPIC: &str = "orders";

/// One event in so many goes through HTTP ingest.
const HTTP_SHARE: u64 = 20;
const BATCH_EVERY: Duration = Duration::from_millis(100);
const CANARY_EVERY: Duration = Duration::from_millis(100);

/// After the broker was away, this many times the rate until what was missed is sent.
const CATCH_UP: u64 = 2;

/// Stands for no event, where an acknowledgement tells an id.
const POISON: usize = usize::MAX;

pub struct Traffic {
    seed: u64,
    rate: u64,
    producer: ThreadedProducer<Acknowledged>,
    next_id: AtomicU64,
    stop: watch::Sender<bool>,
    pub sent: Sent,
}

/// How many of each kind were handed to the producer, or sent by HTTP.
#[derive(Default)]
pub struct Sent {
    pub events: AtomicU64,
    pub poison: AtomicU64,
    pub copies: AtomicU64,
    pub late: AtomicU64,
    pub early: AtomicU64,
    pub by_http: AtomicU64,
    /// Sent again by HTTP, because no answer came.
    pub again_by_http: AtomicU64,
}

/// Of the log's acknowledgements.
#[derive(Default)]
pub struct Acknowledged {
    ids: Mutex<Vec<u64>>,
    pub poison: AtomicU64,
}

impl Acknowledged {
    pub fn ids(&self) -> MutexGuard<'_, Vec<u64>> {
        self.ids.lock().expect("nobody panics while holding it")
    }
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, id: usize) {
        match result {
            // It may be in the log all the same, and is counted there.
            Err(_) => {}
            Ok(_) if id == POISON => drop(self.poison.fetch_add(1, Ordering::Relaxed)),
            Ok(_) => self.ids().push(id as u64),
        }
    }
}

impl Traffic {
    pub fn new(brokers: &str, seed: u64, rate: u64) -> anyhow::Result<Traffic> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("enable.idempotence", "true").set("linger.ms", "5");
        config.set("partitioner", "murmur2_random").set("message.timeout.ms", "300000");
        config.set("queue.buffering.max.messages", "200000").set("reconnect.backoff.max.ms", "500");
        Ok(Traffic {
            seed,
            rate,
            producer: config.create_with_context(Acknowledged::default())?,
            next_id: AtomicU64::new(1),
            stop: watch::Sender::new(false),
            sent: Sent::default(),
        })
    }

    pub fn acknowledged(&self) -> &Acknowledged {
        self.producer.context()
    }

    /// Nothing new is sent from now on; what is under way goes on.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Sends at the rate, until stopped.
    pub async fn produce(&self) -> anyhow::Result<()> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let began = Instant::now();
        let mut sent = 0;
        let mut every = interval(Duration::from_millis(10));
        while !*self.stop.borrow() {
            every.tick().await;
            let due = (began.elapsed().as_millis() as u64 * self.rate / 1_000).saturating_sub(sent);
            for _ in 0..due.min((CATCH_UP * self.rate / 100).max(1)) {
                self.produce_one(&mut random).await?;
                sent += 1;
            }
        }
        Ok(())
    }

    async fn produce_one(&self, random: &mut fastrand::Rng) -> anyhow::Result<()> {
        let now = now_ms();
        match random.u32(..1_000) {
            0..100 => {
                let event = Event::new(self.seed, random.u64(..1 << 40), now);
                let (_, spoil) = random.choice(KINDS).expect("there are kinds");
                self.sent.poison.fetch_add(1, Ordering::Relaxed);
                self.send(POISON, None, &event.user, &spoil(&event)).await
            }
            100..130 => {
                // Up to four minutes: some are too late to count.
                self.sent.late.fetch_add(1, Ordering::Relaxed);
                self.send_good(&self.next(now - random.i64(0..240_000))).await
            }
            130..140 => {
                self.sent.early.fetch_add(1, Ordering::Relaxed);
                self.send_good(&self.next(now + random.i64(0..60_000))).await
            }
            140..160 => {
                self.sent.copies.fetch_add(1, Ordering::Relaxed);
                let event = self.next(now);
                self.send_good(&event).await?;
                self.send_good(&event).await
            }
            _ => self.send_good(&self.next(now)).await,
        }
    }

    fn next(&self, at: i64) -> Event {
        self.sent.events.fetch_add(1, Ordering::Relaxed);
        Event::new(self.seed, self.next_id.fetch_add(1, Ordering::SeqCst), at)
    }

    async fn send_good(&self, event: &Event) -> anyhow::Result<()> {
        self.send(event.id as usize, None, &event.user, event.json().as_bytes()).await
    }

    /// Waits while the producer's queue is full.
    async fn send(&self, id: usize, partition: Option<i32>, key: &str, value: &[u8]) -> anyhow::Result<()> {
        loop {
            let mut record = BaseRecord::with_opaque_to(TOPIC, id).key(key).payload(value);
            record.partition = partition;
            match self.producer.send(record) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                    sleep(Duration::from_millis(20)).await;
                }
                Err((error, _)) => bail!("the producer fails: {error}"),
            }
        }
    }

    /// One event to each partition every 100 ms, until stopped.
    pub async fn send_canaries(&self) -> anyhow::Result<()> {
        let mut every = interval(CANARY_EVERY);
        while !*self.stop.borrow() {
            every.tick().await;
            for partition in 0..PARTITIONS {
                let user = canary(partition);
                let event = Event { user, item: "canary".to_owned(), ..self.next(now_ms()) };
                let value = event.json();
                self.send(event.id as usize, Some(partition.cast_signed()), &event.user, value.as_bytes()).await?;
            }
        }
        Ok(())
    }

    /// Posts batches of good events, each again until it is acknowledged: what was lost on the way back is a copy.
    pub async fn post(&self, api: &Api) -> anyhow::Result<()> {
        let batch = self.rate / HTTP_SHARE * BATCH_EVERY.as_millis() as u64 / 1_000;
        let mut every = interval(BATCH_EVERY);
        while !*self.stop.borrow() {
            every.tick().await;
            let events: Vec<Event> = (0..batch.max(1)).map(|_| self.next(now_ms())).collect();
            let lines: Vec<String> = events.iter().map(Event::json).collect();
            self.sent.by_http.fetch_add(events.len() as u64, Ordering::Relaxed);
            while api.ingest(lines.join("\n"), events.len()).await.is_err() {
                self.sent.again_by_http.fetch_add(1, Ordering::Relaxed);
                sleep(BATCH_EVERY).await;
            }
            let ids = events.iter().map(|event| event.id as u64);
            self.acknowledged().ids().extend(ids);
        }
        Ok(())
    }

    /// Waits until all that was produced is acknowledged.
    pub async fn flush(&self) -> anyhow::Result<()> {
        for _ in 0..600 {
            if self.producer.in_flight_count() == 0 {
                return Ok(());
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("{} records are not acknowledged after a minute", self.producer.in_flight_count())
    }
}

fn now_ms() -> i64 {
    Clock::System.now().micros() / 1_000
}
