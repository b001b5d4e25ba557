//! `kill -9` in the middle of backfills: whoever comes next goes on, and ends in the same files byte for byte.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::traffic::Event;
use super::{DEFINITIONS, settle};
use crate::http::Api;
use crate::process::Process;

const KILLS: usize = 20;
const EVENTS: u64 = 2_000;
/// Little memory makes many steps.
const SETTINGS: [&str; 5] =
    ["flush_interval_ms=5", "archive_interval_ms=50", "job_memory_mb=32", "job_threads=2", "partitions=3"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_that_is_killed_twenty_times_ends_in_the_files_of_one_that_was_not() {
    let seed = std::env::var("FRESHET_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("FRESHET_SEED={seed} cargo test --test it kill::backfill");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let mut process = Process::spawn(folder.path(), &SETTINGS);
    let mut api = process.ready().await;
    fill(&api).await;
    let undisturbed = ended(&api, &begin(&api).await).await;
    let expected = files(folder.path(), &undisturbed);
    assert!(expected.len() > 20, "{} files are hardly worth a kill", expected.len());
    let mut jobs = vec![begin(&api).await];
    let mut kills = 0;
    while kills < KILLS {
        sleep(Duration::from_micros(random.u64(..1_000_000))).await;
        process.kill();
        process = Process::spawn(folder.path(), &SETTINGS);
        api = process.ready().await;
        // It was hit if it still runs; else the next one is.
        match state(&api, jobs.last().expect("one was begun")).await["state"].as_str() {
            Some("running") => kills += 1,
            Some("done") => jobs.push(begin(&api).await),
            other => panic!("a killed job is {other:?}"),
        }
    }
    println!("{} backfills were killed {kills} times", jobs.len());
    for job in jobs {
        let killed = ended(&api, &job).await;
        assert_eq!(killed["result"]["rows"], undisturbed["result"]["rows"], "{killed:#}");
        let found = files(folder.path(), &killed);
        assert!(found.keys().eq(expected.keys()), "{:?} and {:?}", found.keys(), expected.keys());
        found.iter().for_each(|(name, bytes)| assert!(*bytes == expected[name], "{name} has other bytes"));
    }
    process.stop().await;
}

pub(super) async fn fill(api: &Api) {
    api.send("/v1/definitions/apply", "application/yaml", DEFINITIONS).await.json();
    for from in (0..EVENTS).step_by(500) {
        let lines: Vec<String> = (from..from + 500).map(|number| Event::numbered(number).json()).collect();
        let path = "/v1/sources/orders/events?replay=true";
        let answer = api.send(path, "application/x-ndjson", lines.join("\n")).await.json();
        assert_eq!(answer["accepted"], 500, "{answer}");
    }
    settle(api).await;
}

/// Of each user at each minute of the days of the events and some more: all are found for good.
async fn begin(api: &Api) -> Value {
    let asked =
        json!({ "view": "user_totals", "from": "2025-01-01T00:00:00Z", "to": "2025-01-11T00:00:00Z", "every": "1m" });
    api.post("/v1/backfills", &asked).await.json()
}

async fn state(api: &Api, job: &Value) -> Value {
    api.get(&format!("/v1/backfills/{}", job["id"].as_str().expect("a job has an id"))).await.json()
}

async fn ended(api: &Api, job: &Value) -> Value {
    for _ in 0..6_000 {
        let job = state(api, job).await;
        match job["state"].as_str() {
            Some("running") => sleep(Duration::from_millis(20)).await,
            Some("done") => return job,
            _ => panic!("{job:#}"),
        }
    }
    panic!("a backfill does not end");
}

/// The bytes of each file of a job, by its name without the job's; the folder has no other file of it.
fn files(folder: &Path, job: &Value) -> BTreeMap<String, Vec<u8>> {
    let id = job["id"].as_str().expect("a job has an id");
    let named = job["result"]["files"].as_array().expect("a list").iter();
    let named = named.map(|path| folder.join("offline/default").join(path.as_str().expect("a path")));
    let own_name = |path: &Path| {
        let day = path.parent().and_then(Path::file_name).expect("a day").to_string_lossy().into_owned();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        name.strip_prefix(id).map(|rest| format!("{day}{rest}"))
    };
    let found: BTreeMap<String, Vec<u8>> = named
        .map(|path| (own_name(&path).expect("it has its job's name"), std::fs::read(&path).expect("it is there")))
        .collect();
    let table = Path::new(job["result"]["folder"].as_str().expect("it says where"));
    let days = std::fs::read_dir(table).expect("listed").map(|day| day.expect("listed").path());
    let days = days.filter(|day| day.file_name().is_some_and(|name| name.to_string_lossy().starts_with("dt=")));
    let all = days.flat_map(|day| std::fs::read_dir(day).expect("listed")).map(|file| file.expect("listed").path());
    assert_eq!(all.filter(|file| own_name(file).is_some()).count(), found.len(), "files that no manifest names");
    found
}
