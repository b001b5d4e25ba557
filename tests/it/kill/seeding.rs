//! `kill -9` in the middle of seedings: what is served stays as it was, and so are the rows that take its place.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use freshet::event_log::embedded::EmbeddedLog;
use freshet::event_log::{EventLog, NewRecord};
use freshet::kernel::time::EventTime;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::traffic::Event;
use super::{DEFINITIONS, PARTITIONS, check_lookups, settle};
use crate::http::Api;
use crate::process::Process;

const KILLS: usize = 8;
const EVENTS: u64 = 20_000;
const SETTINGS: [&str; 4] = ["flush_interval_ms=5", "archive_interval_ms=50", "seed_records=1", "job_threads=2"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_seeding_that_is_killed_again_and_again_leaves_nothing_out_and_counts_nothing_twice() {
    let seed = std::env::var("FRESHET_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("FRESHET_SEED={seed} cargo test --test it kill::seeding");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a folder");
    write_log(folder.path()).await;
    let mut process = Process::spawn(folder.path(), &SETTINGS);
    let mut api = process.ready().await;
    api.send("/v1/definitions/apply", "application/yaml", DEFINITIONS).await.json();
    settle(&api).await;
    let (mut kills, mut rebuilds) = (0, 0);
    while kills < KILLS {
        if under_way(&api).await.is_empty() {
            api.post("/v1/rebuilds", &json!({})).await.json();
            rebuilds += 1;
        }
        sleep(Duration::from_micros(random.u64(..400_000))).await;
        process.kill();
        process = Process::spawn(folder.path(), &SETTINGS);
        api = process.ready().await;
        kills += usize::from(!under_way(&api).await.is_empty());
        check_lookups(&api, EVENTS).await;
    }
    println!("{rebuilds} rebuilds were killed {kills} times");
    while !under_way(&api).await.is_empty() {
        check_lookups(&api, EVENTS).await;
    }
    settle(&api).await;
    check_lookups(&api, EVENTS).await;
    check_jobs(&api, rebuilds).await;
    process.stop().await;
}

/// What is archived before any view is rebuilt.
async fn write_log(folder: &Path) {
    let log = EmbeddedLog::open(&folder.join("log")).expect("opens");
    log.create_topic("orders", PARTITIONS).await.expect("creates");
    let ingestion_time: EventTime = "2025-06-01T12:00:00Z".parse().expect("a time");
    let record = |number: u64| {
        let event = Event::numbered(number);
        NewRecord { key: Some(Bytes::from(event.user.clone())), value: event.json().into(), ingestion_time }
    };
    log.append("orders", (0..EVENTS).map(record).collect()).await.expect("appends");
}

async fn under_way(api: &Api) -> Vec<Value> {
    api.get("/v1/rebuilds").await.json()["rebuilds"].as_array().expect("a list").clone()
}

/// One for each generation that was rebuilt, whoever began it and however often; and all have ended well.
async fn check_jobs(api: &Api, rebuilds: usize) {
    let answer = api.get("/v1/seeds").await.json();
    let jobs = answer["jobs"].as_array().expect("a list");
    let rows: BTreeSet<&str> = jobs.iter().map(|job| job["request"]["rows"].as_str().expect("it is told")).collect();
    assert!(jobs.len() == rows.len() && jobs.len() >= 2 * rebuilds, "{answer:#}");
    for job in jobs {
        assert_eq!((&job["state"], &job["error"]), (&json!("done"), &Value::Null), "{job:#}");
        let archived = job["result"]["archived_to"].as_object().expect("offsets").values();
        let archived: u64 = archived.map(|offset| offset.as_u64().expect("a number")).sum();
        // A process may die between the last write and the end of its job: then nothing is left to do.
        assert!([0, archived].contains(&job["result"]["events"].as_u64().expect("a number")), "{job:#}");
    }
}
