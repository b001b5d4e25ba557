//! Events a second from Kafka to Redis, with broker and Redis on the same processors; memory for each entity; and what
//! it costs when messages are not keyed by the entity.
//!
//! ```text
//! tests/servers cargo bench --bench pipeline                                       throughput
//! tests/servers cargo bench --bench pipeline -- --flink FOLDER                     beside Apache Flink (benches/flink/get FOLDER)
//! tests/servers cargo bench --bench pipeline -- --users 1000000 --even             memory for each of 1 M entities
//! tests/servers cargo bench --bench pipeline -- --key item_id --partitions 16      every user in every partition
//! ```
//!
//! A backlog is produced first. The clock runs from when the service is seen to have read, and counts what it writes to
//! Redis from then to the end; a consumer that only counts, and Flink, read the same broker in the same run.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock, and has threads of its own")]

mod flink;
mod stand;
mod workload;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use freshet::kernel::time::EventTime;
use stand::kafka::{Topic, now_ms};
use stand::redis::Server;
use stand::service::{Service, sum};
use workload::Users;

const SEED: u64 = 7;
const FEATURES: f64 = 12.0;
const LOOKUPS: u32 = 5_000;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 5_000_000)]
    events: usize,
    #[arg(long, default_value_t = 100_000)]
    users: usize,
    /// All users alike, instead of zipf 1.0.
    #[arg(long)]
    even: bool,
    #[arg(long, default_value_t = 4)]
    partitions: u32,
    /// What messages are keyed by.
    #[arg(long, value_enum, default_value = "user_id")]
    key: Key,
    /// Where `benches/flink/get` has put Apache Flink.
    #[arg(long)]
    flink: Option<PathBuf>,
    #[arg(long, default_value_t = 500_000)]
    flink_events: usize,
    /// Of `freshet serve`: name=value.
    #[arg(long)]
    set: Vec<String>,
    /// Cargo passes it along.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Key {
    UserId,
    ItemId,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let (topic, users) = produce(&arguments, arguments.events).await;
    let bare = {
        let (messages, took) = topic.count();
        messages as f64 / took.as_secs_f64()
    };
    println!("a consumer that only counts        {bare:>12.0} events/s");
    let ours = measure(&arguments, &topic, users).await;
    println!("freshet, Kafka to Redis            {ours:>12.0} events/s, {:.2} of that", ours / bare);
    if let Some(folder) = &arguments.flink {
        let (backlog, _) = produce(&arguments, arguments.flink_events).await;
        let flink = flink::rate(folder, &backlog, arguments.flink_events).await;
        println!(
            "Apache Flink {}, Kafka to nowhere {flink:>12.0} events/s: freshet is {:.1} times as fast",
            flink::VERSION,
            ours / flink
        );
    }
}

/// And how many users the events are of.
async fn produce(arguments: &Arguments, count: usize) -> (Topic, usize) {
    let topic = Topic::create(&stand::random_name("bench"), arguments.partitions).await;
    let users = if arguments.even { Users::Even(arguments.users) } else { Users::Zipf(arguments.users) };
    let end = EventTime::from_micros(now_ms() * 1_000).expect("a time of our century");
    let (producer, mut bytes, mut met) = (topic.producer(50), 0, HashSet::new());
    for event in workload::events(count, users, end, SEED) {
        let key = match arguments.key {
            Key::UserId => &event.user,
            Key::ItemId => &event.item,
        };
        producer.send(key, &event.json, event.sent_ms);
        bytes += event.json.len();
        met.insert(event.user);
    }
    producer.finish();
    let (each, partitions) = (bytes / count, topic.partitions);
    println!("{count} events of {each} bytes in {partitions} partitions, {users:?}: of {} users", met.len());
    (topic, met.len())
}

/// Events a second, once the service is under way.
async fn measure(arguments: &Arguments, topic: &Topic, users: usize) -> f64 {
    let project = stand::random_name("bench");
    let settings = stand::settings(&arguments.set);
    let mut redis = Server::start().await;
    println!("Redis {}", redis.version().await);
    let service = Service::start(&project, &redis.url, &settings).await;
    let memory = redis.number("used_memory").await;
    let applied = Instant::now();
    let key = arguments.key.to_possible_value().expect("none is hidden");
    service.apply(&workload::definitions(&topic.name, key.get_name())).await;
    let begun = service.until(|status| partition(status, |it| !it["newest_event_time"].is_null())).await;
    let early = sum(&begun, "folded_to");
    let (started, processor, redis_processor) =
        (Instant::now(), service.processor_seconds(), redis.processor_seconds().await);
    service.until(|status| sum(status, "folded_to") == arguments.events as u64).await;
    let took = started.elapsed();
    println!("apply to the first record          {:>12.2} s", (started - applied).as_secs_f64());
    println!("first record to the last           {:>12.2} s", took.as_secs_f64());
    println!("processor time of freshet          {:>12.2} s", service.processor_seconds() - processor);
    println!("processor time of Redis            {:>12.2} s", redis.processor_seconds().await - redis_processor);
    println!("peak memory of freshet             {:>12.0} MB", service.peak_memory() / 1e6);
    service
        .until(|status| status["views"].as_array().is_some_and(|it| it.iter().all(|view| view["state"] == "live")))
        .await;
    let memory = redis.number("used_memory").await - memory;
    let each = memory / users as f64;
    println!("memory in Redis                    {each:>12.0} bytes an entity, {:.1} a feature", each / FEATURES);
    lookups(&service, arguments.users).await;
    (arguments.events as u64 - early) as f64 / took.as_secs_f64()
}

fn partition(status: &Value, is: impl Fn(&Value) -> bool) -> bool {
    status["partitions"].as_array().is_some_and(|partitions| partitions.iter().any(is))
}

/// One after the other, of one entity each.
async fn lookups(service: &Service, users: usize) {
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut took = Histogram::<u64>::new(3).expect("three digits");
    for _ in 0..LOOKUPS {
        let lookup =
            json!({ "service": "activity", "entities": { "user_id": [format!("u{}", random.usize(..users))] } });
        let asked = Instant::now();
        service.post("/v1/online-features", &lookup).await;
        took.record(asked.elapsed().as_micros() as u64).expect("in range");
    }
    let at = |quantile| Duration::from_micros(took.value_at_quantile(quantile));
    println!("a lookup of one user by HTTP       p50 {:?}, p99 {:?}", at(0.5), at(0.99));
}
