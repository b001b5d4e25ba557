//! History files, and a view that is added while events come in: what is served is history and some first events of the
//! log together, in all features of a row alike, at every lookup and on both kinds of parts; and once a view is served, it
//! is served from then on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use freshet::kernel::time::{EventTime, Micros};
use serde_json::{Value, json};

use super::backend::{Backend, settle};
use crate::http::Api;

const USERS: u64 = 7;
const PAST: u64 = 500;
/// Clicks of long before the others: no window of a week that ends today has them.
const OLD: u64 = 300;
/// Clicks of the log that are archived before the view is added.
const ARCHIVED: u64 = 400;
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
  - { path: past/*.ndjson, format: ndjson, until: UNTIL }
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
  - { name: recent, aggregate: count, windows: [7d] }
";

/// Each user's values in the order of the features.
type Rows = BTreeMap<String, Vec<i64>>;

fn click(number: u64, at: EventTime) -> String {
    let at = at.micros() / 1_000;
    format!(r#"{{"id":{number},"at":{at},"user_id":"u{}"}}"#, number % USERS)
}

/// When a click happened: history ends and the log begins where the scenario begins.
fn at(backend: &Backend, number: u64) -> EventTime {
    let past = |micros: u64| Micros::new(micros as i64);
    match number {
        ..OLD => backend.begin() - past((PAST - number) * 1_000_000) - Micros::new(10 * Micros::DAY.get()),
        OLD..PAST => backend.begin() - past((PAST - number) * 1_000_000),
        PAST.. => backend.begin() + past(number * 1_000),
    }
}

fn definitions(backend: &Backend, text: &str) -> String {
    text.replace("UNTIL", &backend.begin().to_string())
}

/// What view `second` has of a user after so many of the user's first clicks: how many, the sum of their numbers, and how
/// many of them happened within the week.
fn values(user: u64, clicks: u64) -> Vec<i64> {
    let numbers = || (0..clicks).map(|click| user + click * USERS);
    let within_the_week = numbers().filter(|number| *number >= OLD).count();
    vec![clicks as i64, numbers().sum::<u64>() as i64, within_the_week as i64]
}

/// Clicks of a user among those that are numbered from 0 to `end`.
fn clicks(user: u64, end: u64) -> u64 {
    (0..end).filter(|number| number % USERS == user).count() as u64
}

/// All values of view `second` once it has what is numbered from 0 to `end`.
fn whole(end: u64) -> Rows {
    (0..USERS).map(|user| (format!("u{user}"), values(user, clicks(user, end)))).collect()
}

/// Numbers 0 to `PAST` in two files, each of the first once more as a copy, and what history has nothing to do with.
fn write_past(backend: &Backend) {
    let lines = |numbers: std::ops::Range<u64>| numbers.map(|number| click(number, at(backend, number)) + "\n");
    backend.write("past/a.ndjson", &lines(0..OLD).chain(lines(0..OLD)).collect::<String>());
    let after = click(9_000_000, backend.begin()) + "\nbroken\n";
    backend.write("past/b.ndjson", &lines(OLD..PAST).chain([after]).collect::<String>());
}

async fn ingest(backend: &Backend, api: &Api, numbers: std::ops::Range<u64>) {
    let count = numbers.end - numbers.start;
    let lines: Vec<String> = numbers.map(|number| click(number, at(backend, number))).collect();
    let answer = api.send("/v1/sources/clicks/events?replay=true", "application/x-ndjson", lines.join("\n")).await;
    assert_eq!(answer.json()["accepted"], count);
}

/// `None` while the view is not served.
async fn served(api: &Api, view: &str) -> Option<Rows> {
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

/// All of history and some first clicks of the log, no fewer than before and no more than were sent; and each feature of
/// a row has the same ones.
fn check_rows(rows: &Rows, before: Option<&Rows>, sent: u64) {
    for user in 0..USERS {
        let name = format!("u{user}");
        let row = &rows[&name];
        let least = before.map_or(clicks(user, PAST) as i64, |before| before[&name][0]);
        assert!((least..=clicks(user, sent) as i64).contains(&row[0]), "{name}: {row:?}, and before {before:?}");
        assert_eq!(
            *row,
            values(user, row[0] as u64)[..row.len()],
            "{name} has features of other clicks than its count"
        );
    }
}

async fn a_view_added_under_ingest_has_history_and_log(backend: Backend) {
    write_past(&backend);
    let (app, api) = backend.start().await;
    backend.apply(&api, &definitions(&backend, FIRST)).await;
    settle(&api).await;
    // Of a time of which history has the events.
    let stray = click(8_000_000, backend.begin() - Micros::from_millis(500));
    api.send("/v1/sources/clicks/events?replay=true", "application/x-ndjson", stray).await.json();
    ingest(&backend, &api, PAST..PAST + ARCHIVED).await;
    settle(&api).await;
    let is_live = AtomicBool::new(false);
    let traffic = async {
        let (mut sent, mut rounds_after) = (PAST + ARCHIVED, 0);
        let mut before: BTreeMap<&str, Rows> = BTreeMap::new();
        while rounds_after < 20 {
            ingest(&backend, &api, sent..sent + CHUNK).await;
            sent += CHUNK;
            for view in ["first", "second"] {
                let was_served = view == "first" || is_live.load(Ordering::Relaxed) || before.contains_key(view);
                let Some(rows) = served(&api, view).await else {
                    assert!(!was_served, "view `{view}` was served before, and is not any more");
                    continue;
                };
                check_rows(&rows, before.get(view), sent);
                before.insert(view, rows);
            }
            rounds_after += usize::from(is_live.load(Ordering::Relaxed));
        }
        sent
    };
    let add = async {
        backend.apply(&api, &definitions(&backend, &format!("{FIRST}{SECOND}"))).await;
        while served(&api, "second").await.is_none() {}
        is_live.store(true, Ordering::Relaxed);
    };
    let (sent, ()) = tokio::join!(traffic, add);
    settle(&api).await;
    check_seeds(&api).await;
    let wanted = whole(sent);
    assert_eq!(served(&api, "second").await, Some(wanted.clone()));
    check_offline(&backend, &api, &wanted).await;
    app.stop().await.expect("it stops cleanly");
    let (app, api) = backend.start().await;
    settle(&api).await;
    assert_eq!(served(&api, "second").await, Some(wanted), "after a restart");
    app.stop().await.expect("it stops cleanly");
}

/// The view that was added began with what the archive had of the log then, and both have their history.
async fn check_seeds(api: &Api) {
    let answer = api.get("/v1/seeds").await.json();
    let seeds = answer["jobs"].as_array().expect("a list").iter();
    let told = seeds.map(|job| {
        assert_eq!(job["state"], "done", "{job:#}");
        let of = format!("{} {}", job["request"]["view"], job["request"]["from"]);
        (of.replace('"', ""), job["result"]["events"].as_u64().expect("a number"))
    });
    let told: BTreeMap<String, u64> = told.collect();
    assert_eq!((told["first history"], told["second history"]), (PAST, PAST), "{told:?}");
    assert!(told["second archive"] >= ARCHIVED && told.len() == 3, "{told:?}");
}

/// Every lookup was what the archive says, and a training set of now is what is served now.
async fn check_offline(backend: &Backend, api: &Api, wanted: &Rows) {
    let report = api.post("/v1/parity", &Value::Null).await.json();
    assert_eq!((&report["different"], &report["unchecked"]), (&json!(0), &json!(0)), "{report:#}");
    assert!(report["compared"].as_u64() > Some(0), "{report:#}");
    let letters = api.get("/v1/dead-letters?source=clicks").await.text();
    assert!(letters.contains("undecodable"), "{letters}");
    let status = api.get("/v1/status").await.json();
    let views = status["views"].as_array().expect("a list").iter();
    let first = views.filter(|view| view["view"] == "first").map(|view| view["before_log"].as_u64());
    assert_eq!(first.collect::<Vec<_>>(), [Some(1)], "{status:#}");
    let [from, to] = [1, 2].map(|days| (backend.begin() + Micros::new(days * Micros::DAY.get())).to_string());
    let backfill = json!({ "view": "second", "from": from, "to": to, "every": "1d" });
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
