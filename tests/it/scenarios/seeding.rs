//! History files, and a view that is added while events come in: what is served is history and log together, at every
//! lookup and on both kinds of parts.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::backend::{Backend, settle};
use crate::http::Api;

/// 2026-01-01T00:00:00Z: history ends and the log begins.
const UNTIL_MS: u64 = 1_767_225_600_000;
const USERS: u64 = 7;
const PAST: u64 = 500;
/// Clicks in one call.
const CHUNK: u64 = 20;

const FIRST: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: clicks
topic: TOPIC
key: user_id
event_time: { field: at, unit: ms }
event_id: id
history:
  - { path: past/*.ndjson, format: ndjson, until: 2026-01-01T00:00:00Z }
schema:
  version: 1
  fields:
    - { name: id, type: int64, required: true }
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
---
kind: feature_view
name: first
entity: user
source: clicks
features: [{ name: clicks, aggregate: count }]
";

const SECOND: &str = "---
kind: feature_view
name: second
entity: user
source: clicks
features:
  - { name: clicks, aggregate: count }
  - { name: numbers, aggregate: sum, column: id }
";

fn click(number: u64, at: u64) -> String {
    format!(r#"{{"id":{number},"at":{at},"user_id":"u{}"}}"#, number % USERS)
}

/// Clicks and the sum of their numbers, by user, of what is numbered from 0 to `end`.
fn totals(end: u64) -> BTreeMap<String, (i64, i64)> {
    let mut totals: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for number in 0..end {
        let total = totals.entry(format!("u{}", number % USERS)).or_default();
        *total = (total.0 + 1, total.1 + number as i64);
    }
    totals
}

/// Numbers 0 to `PAST` in two files, each of them once more as a copy, and what history has nothing to do with.
fn write_past(backend: &Backend) {
    let lines =
        |numbers: std::ops::Range<u64>| numbers.map(|number| click(number, UNTIL_MS - 1_000 * (PAST - number)) + "\n");
    backend.write("past/a.ndjson", &lines(0..300).chain(lines(0..300)).collect::<String>());
    let after = click(9_000_000, UNTIL_MS) + "\nbroken\n";
    backend.write("past/b.ndjson", &lines(300..PAST).chain([after]).collect::<String>());
}

async fn ingest(api: &Api, numbers: std::ops::Range<u64>) {
    let count = numbers.end - numbers.start;
    let lines: Vec<String> = numbers.map(|number| click(number, UNTIL_MS + number)).collect();
    let answer = api.send("/v1/sources/clicks/events?replay=true", "application/x-ndjson", lines.join("\n")).await;
    assert_eq!(answer.json()["accepted"], count);
}

/// `None` while the view is not served.
async fn served(api: &Api, view: &str) -> Option<BTreeMap<String, Vec<i64>>> {
    let users: Vec<String> = (0..USERS).map(|user| format!("u{user}")).collect();
    let lookup = json!({ "features": [view], "entities": { "user_id": users } });
    let answer = api.post("/v1/online-features", &lookup).await;
    if answer.status != 200 {
        assert!([404, 503].contains(&answer.status), "{answer}");
        return None;
    }
    let answer = answer.json();
    let columns = &answer["columns"].as_array().expect("a list")[1..];
    let values = |row: usize| columns.iter().map(|column| column["values"][row].as_i64().expect("a number")).collect();
    Some(users.into_iter().enumerate().map(|(row, user)| (user, values(row))).collect())
}

/// Never less than history and what was seen before, and never more than what was sent.
fn check_counts(counts: &BTreeMap<String, Vec<i64>>, before: &BTreeMap<String, Vec<i64>>, sent: u64) {
    let (past, most) = (totals(PAST), totals(sent));
    for (user, values) in counts {
        let least = before.get(user).map_or(past[user].0, |before| before[0]);
        assert!((least..=most[user].0).contains(&values[0]), "{user}: {values:?}, and before {before:?}");
    }
}

async fn a_view_added_under_ingest_has_history_and_log(backend: Backend) {
    write_past(&backend);
    let (app, api) = backend.start().await;
    backend.apply(&api, FIRST).await;
    settle(&api).await;
    // Of a time of which history has the events.
    let stray = click(8_000_000, UNTIL_MS - 500);
    api.send("/v1/sources/clicks/events?replay=true", "application/x-ndjson", stray).await.json();
    let is_live = AtomicBool::new(false);
    let traffic = async {
        let (mut sent, mut rounds_after) = (PAST, 0);
        let mut before: BTreeMap<&str, BTreeMap<String, Vec<i64>>> = BTreeMap::new();
        while rounds_after < 20 {
            ingest(&api, sent..sent + CHUNK).await;
            sent += CHUNK;
            for view in ["first", "second"] {
                let Some(counts) = served(&api, view).await else { continue };
                check_counts(&counts, before.get(view).unwrap_or(&BTreeMap::new()), sent);
                before.insert(view, counts);
            }
            rounds_after += usize::from(is_live.load(Ordering::Relaxed));
        }
        sent
    };
    let add = async {
        backend.apply(&api, &format!("{FIRST}{SECOND}")).await;
        while served(&api, "second").await.is_none() {}
        is_live.store(true, Ordering::Relaxed);
    };
    let (sent, ()) = tokio::join!(traffic, add);
    settle(&api).await;
    let wanted: BTreeMap<String, Vec<i64>> =
        totals(sent).into_iter().map(|(user, (count, sum))| (user, vec![count, sum])).collect();
    assert_eq!(served(&api, "second").await, Some(wanted.clone()));
    check_offline(&api, &wanted).await;
    app.stop().await.expect("it stops cleanly");
    let (app, api) = backend.start().await;
    settle(&api).await;
    assert_eq!(served(&api, "second").await, Some(wanted), "after a restart");
    app.stop().await.expect("it stops cleanly");
}

/// Every lookup was what the archive says, and a training set of now is what is served now.
async fn check_offline(api: &Api, wanted: &BTreeMap<String, Vec<i64>>) {
    let report = api.post("/v1/parity", &Value::Null).await.json();
    assert_eq!((&report["different"], &report["unchecked"]), (&json!(0), &json!(0)), "{report:#}");
    assert!(report["compared"].as_u64() > Some(0), "{report:#}");
    let letters = api.get("/v1/dead-letters?source=clicks").await.text();
    assert!(letters.contains("undecodable"), "{letters}");
    let status = api.get("/v1/status").await.json();
    let views = status["views"].as_array().expect("a list").iter();
    let first = views.filter(|view| view["view"] == "first").map(|view| view["before_log"].as_u64());
    assert_eq!(first.collect::<Vec<_>>(), [Some(1)], "{status:#}");
    let backfill =
        json!({ "view": "second", "from": "2026-06-01T00:00:00Z", "to": "2026-06-02T00:00:00Z", "every": "1d" });
    let mut job = api.post("/v1/backfills", &backfill).await.json();
    while job["state"] == "running" {
        job = api.get(&format!("/v1/backfills/{}", job["id"].as_str().expect("an id"))).await.json();
    }
    assert_eq!(job["result"]["rows"], wanted.len(), "{job:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_added_under_ingest_has_history_and_log_on_embedded_parts() {
    a_view_added_under_ingest_has_history_and_log(Backend::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_added_under_ingest_has_history_and_log_on_kafka_and_redis() {
    a_view_added_under_ingest_has_history_and_log(Backend::servers().await).await;
}
