//! Parity of millions of lookups: how fast they are computed again from the archive, and that none differs.
//!
//! ```text
//! cargo bench --bench parity                        two million rows, about two minutes
//! cargo bench --bench parity -- --requests 50000    five million
//! ```
//!
//! The service runs on its own parts and logs every row that it looks up. Half of the events are folded before the
//! lookups, the others while they go on, so that rows are read at many offsets.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock, and has threads of its own")]

mod stand;
mod workload;

use std::time::{Duration, Instant};

use clap::Parser;
use freshet::kernel::time::EventTime;
use serde_json::{Value, json};

use stand::load::Load;
use stand::service::Service;
use workload::{Event, Users};

const USERS: usize = 100_000;
const SEED: u64 = 7;
/// Rows of a request.
const ROWS: usize = 100;
/// Events of a call.
const EVENTS: usize = 5_000;
const CONNECTIONS: usize = 4;

#[derive(Parser)]
struct Arguments {
    #[arg(long, default_value_t = 1_000_000)]
    events: usize,
    /// Of a hundred users each.
    #[arg(long, default_value_t = 20_000)]
    requests: u64,
    /// Cargo passes it along.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    let folder = tempfile::tempdir().expect("a folder");
    let service = Service::embedded(folder.path(), &[("parity_sample", "1")]);
    service.apply(&workload::definitions("shop", "user_id")).await;
    let now = EventTime::from_micros(stand::kafka::now_ms() * 1_000).expect("a time of our century");
    let mut events = workload::events(arguments.events, Users::Zipf(USERS), now, SEED);
    ingest(&service, events.by_ref().take(arguments.events / 2)).await;

    let address = service.url.strip_prefix("http://").expect("an address").to_owned();
    let looked_up = tokio::task::spawn_blocking(move || look_up(&address, arguments.requests));
    ingest(&service, events).await;
    let (rows, took) = looked_up.await.expect("each request is answered");
    println!("{rows} rows looked up, {:.0} a second beside the ingest", rows as f64 / took.as_secs_f64());

    let started = Instant::now();
    let report = service.post("/v1/parity?last=24h", &Value::Null).await;
    let took = started.elapsed().as_secs_f64();
    let [lookups, compared, different, unchecked] =
        ["lookups", "compared", "different", "unchecked"].map(|field| report[field].as_u64().expect("a number"));
    println!(
        "{lookups} of them logged: {compared} values compared, {different} different, {unchecked} unchecked, \
         in {took:.1} s; {:.0} rows a second; at most {:.0} MB of memory",
        lookups as f64 / took,
        service.peak_memory() / 1e6
    );
    assert_eq!((different, unchecked), (0, 0), "{report:#}");
}

/// Until all of them are folded.
async fn ingest(service: &Service, events: impl Iterator<Item = Event>) {
    let (url, http) = (format!("{}/v1/sources/shop_events/events?replay=true", service.url), reqwest::Client::new());
    let lines: Vec<String> = events.map(|event| event.json).collect();
    for lines in lines.chunks(EVENTS) {
        let request = http.post(&url).header("content-type", "application/x-ndjson").body(lines.join("\n"));
        let answer = request.send().await.expect("the service answers");
        assert!(answer.status().is_success(), "{}", answer.text().await.expect("a text"));
    }
    service.until(|status| stand::service::sum(status, "lag") == 0).await;
}

/// How many rows, and how long it took.
fn look_up(address: &str, requests: u64) -> (u64, Duration) {
    let mut random = fastrand::Rng::with_seed(SEED);
    let body = |_| {
        let users: Vec<String> = (0..ROWS).map(|_| format!("u{}", random.usize(..USERS))).collect();
        json!({ "service": "activity", "entities": { "user_id": users } }).to_string()
    };
    let load = Load::post(address, "/v1/online-features", (0..1_000).map(body));
    let (started, mut answers) = (Instant::now(), 0);
    while answers < requests {
        answers += load.closed(CONNECTIONS, Duration::from_secs(5)).answers;
    }
    (answers * ROWS as u64, started.elapsed())
}
