//! How long after it is produced an event is readable by HTTP, while others come at a steady rate.
//!
//! ```text
//! tests/servers cargo bench --bench freshness -- --rates 1000,10000,50000 --seconds 30
//! ```
//!
//! Every few milliseconds one event of a user that nobody has seen is due among the others. A reader asks for all
//! users that it still misses, in one request after the other, and takes the time from when the event was due until an
//! answer has it. So the producer's batching, the broker, the worker, Redis, the lookup, and the reader's own turn are all
//! in the figure; everything runs on the same processors.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock, and has threads of its own")]

mod stand;
mod workload;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use hdrhistogram::Histogram;
use serde_json::json;

use stand::kafka::{Topic, now_ms};
use stand::redis::Server;
use stand::service::Service;

const PARTITIONS: u32 = 4;
const USERS: usize = 100_000;
const PROBE_EVERY: Duration = Duration::from_millis(10);
/// The producer's choice between batches and waiting: what Kafka's own producer has.
const LINGER_MS: u32 = 5;
/// Of a lookup at most: what it may have.
const ROWS: usize = 10_000;
const LOOK: Duration = Duration::from_millis(1);
/// Until groups have formed and the worker has met most of the users.
const WARM_UP: Duration = Duration::from_secs(15);

#[derive(Parser)]
struct Arguments {
    /// Events a second.
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,50000")]
    rates: Vec<u32>,
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Of `freshet serve`: name=value.
    #[arg(long)]
    set: Vec<String>,
    /// Cargo passes it along.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Probes whose event was produced and not read yet, and when it was due.
#[derive(Clone, Default)]
struct Missing(Arc<Mutex<BTreeMap<u64, Instant>>>);

impl Missing {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<u64, Instant>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    println!(
        "{:>10} {:>10} {:>10} {:>10} {:>10} {:>10} {:>8}",
        "events/s", "made", "p50 ms", "p99 ms", "p99.9 ms", "max ms", "probes"
    );
    for rate in &arguments.rates {
        measure(&arguments, *rate).await;
    }
}

async fn measure(arguments: &Arguments, rate: u32) {
    let project = stand::random_name("bench");
    let topic = Topic::create(&project, PARTITIONS).await;
    let settings = stand::settings(&arguments.set);
    let redis = Server::start().await;
    let service = Service::start(&project, &redis.url, &settings).await;
    service.apply(&workload::definitions(&topic.name, "user_id")).await;
    service
        .until(|status| status["views"].as_array().is_some_and(|it| it.iter().all(|view| view["state"] == "live")))
        .await;
    let missing = Missing::default();
    let length = WARM_UP + Duration::from_secs(arguments.seconds);
    let (producing, probes) = (missing.clone(), Instant::now() + WARM_UP);
    let producer = tokio::task::spawn_blocking(move || produce(&topic, rate, length, probes, &producing));
    let times = read(&service, &missing, &producer).await;
    let made = producer.await.expect("the producer ends") as f64 / length.as_secs_f64();
    let at = |quantile| times.value_at_quantile(quantile) as f64 / 1_000.0;
    let (max, probes) = (times.max() as f64 / 1_000.0, times.len());
    println!(
        "{rate:>10} {made:>10.0} {:>10.1} {:>10.1} {:>10.1} {max:>10.1} {probes:>8}",
        at(0.5),
        at(0.99),
        at(0.999)
    );
}

/// How many were produced: as many a millisecond as the rate asks for, late ones made up for.
fn produce(topic: &Topic, rate: u32, length: Duration, probes_from: Instant, missing: &Missing) -> u64 {
    let (sender, started, mut random) = (topic.producer(LINGER_MS), Instant::now(), fastrand::Rng::with_seed(7));
    let (mut made, mut probe, mut next_probe) = (0, 0, probes_from);
    while started.elapsed() < length {
        let due = (started.elapsed().as_secs_f64() * f64::from(rate)) as u64;
        while made < due {
            send(&sender, &format!("u{}", random.usize(..USERS)), &mut random);
            made += 1;
        }
        if Instant::now() >= next_probe {
            missing.with(|missing| missing.insert(probe, next_probe));
            send(&sender, &user(probe), &mut random);
            (probe, next_probe) = (probe + 1, next_probe + PROBE_EVERY);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
    sender.finish();
    made
}

fn send(sender: &stand::kafka::Sender, user: &str, random: &mut fastrand::Rng) {
    let now = now_ms();
    sender.send(user, &workload::json(user, "i1", now, random), now);
}

fn user(probe: u64) -> String {
    format!("probe{probe}")
}

/// Asks until nothing is missing and nothing more comes. Microseconds.
async fn read(service: &Service, missing: &Missing, producer: &tokio::task::JoinHandle<u64>) -> Histogram<u64> {
    let mut times = Histogram::new(3).expect("three digits");
    loop {
        let asked: Vec<u64> = missing.with(|missing| missing.keys().take(ROWS).copied().collect());
        if asked.is_empty() {
            if producer.is_finished() {
                return times;
            }
            tokio::time::sleep(LOOK).await;
            continue;
        }
        let users: Vec<String> = asked.iter().copied().map(user).collect();
        let lookup = json!({ "features": ["user_activity:events_1h"], "entities": { "user_id": users } });
        let answer = service.post("/v1/online-features", &lookup).await;
        let counts = answer["columns"][1]["values"].as_array().expect("a list").clone();
        let read = Instant::now();
        for (probe, _) in asked.iter().zip(counts).filter(|(_, count)| count.as_u64() > Some(0)) {
            let due = missing.with(|missing| missing.remove(probe)).expect("it was asked for");
            times.record((read - due).as_micros() as u64).expect("in range");
        }
        tokio::time::sleep(LOOK).await;
    }
}
