//! `kill -9` while training sets are cut: whoever comes next cuts them from the start, to the same bytes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::traffic::USERS;
use super::{DEFINITIONS, backfill};
use crate::http::Api;
use crate::process::Process;

const KILLS: usize = 5;
const SETTINGS: [&str; 3] = ["flush_interval_ms=5", "archive_interval_ms=50", "partitions=3"];

const SERVICE: &str = "---
kind: feature_service
name: totals
features: [user_totals, item_totals]
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn training_sets_whose_process_is_killed_are_cut_to_the_same_bytes() {
    let seed = std::env::var("FRESHET_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("FRESHET_SEED={seed} cargo test --test it kill::training_set");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::spawn(folder.path(), &SETTINGS);
    let mut api = process.ready().await;
    backfill::fill(&api).await;
    api.send("/v1/definitions/apply", "application/yaml", format!("{DEFINITIONS}{SERVICE}")).await.json();
    let undisturbed = rows(&api, &begin(&api).await).await;
    let mut kills = 0;
    while kills < KILLS {
        let job = begin(&api).await;
        sleep(Duration::from_micros(random.u64(..20_000))).await;
        process.kill();
        process = Process::spawn(folder.path(), &SETTINGS);
        api = process.ready().await;
        // It was hit if it still runs.
        kills += usize::from(state(&api, &job).await["state"] == "running");
        assert!(rows(&api, &job).await == undisturbed, "{job:#} has other bytes");
    }
    process.stop().await;
}

/// Of each user and item at each hour of two days.
async fn begin(api: &Api) -> Value {
    let hours = (1..=2).flat_map(|day| (0..24).map(move |hour| format!("2025-01-{day:02}T{hour:02}:00:00Z")));
    let rows = hours.flat_map(|at| (0..USERS).map(move |user| format!("u{user},i{},{at}\n", user % 7)));
    let spine = format!("user_id,item_id,event_timestamp\n{}", rows.collect::<String>());
    api.send("/v1/training-sets?service=totals", "text/csv", spine).await.json()
}

async fn state(api: &Api, job: &Value) -> Value {
    api.get(&format!("/v1/training-sets/{}", job["id"].as_str().expect("a job has an id"))).await.json()
}

/// As they are stored, once the job is done.
async fn rows(api: &Api, job: &Value) -> Vec<u8> {
    for _ in 0..6_000 {
        let job = state(api, job).await;
        match job["state"].as_str() {
            Some("running") => sleep(Duration::from_millis(20)).await,
            Some("done") => {
                assert_eq!(job["result"]["rows"], json!(2 * 24 * USERS), "{job:#}");
                let data = format!("/v1/training-sets/{}/data", job["id"].as_str().expect("a job has an id"));
                return api.get(&data).await.body;
            }
            _ => panic!("{job:#}"),
        }
    }
    panic!("a training set does not end");
}
