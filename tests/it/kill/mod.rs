//! `kill -9` in the middle of ingest, again and again: what was acknowledged is there, once.
//!
//! ```text
//! broken and good records in the log ─► 50 × (start, send chunks, SIGKILL in flight) ─► start, settle, stop ─► compare
//! ```
//!
//! A chunk that was not answered is sent again by the next round: some of those are in the log already, and their
//! ids tell. Flushes and commits run every few milliseconds, so kills at random moments hit them too.

mod backfill;
mod seeding;
mod traffic;
mod training_set;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use freshet::event_log::embedded::EmbeddedLog;
use freshet::event_log::{EventLog, NewRecord};
use freshet::kernel::definition::{self, Source, SourceText};
use freshet::kernel::key::Origin;
use freshet::kernel::plan;
use freshet::kernel::time::EventTime;
use freshet::offline::{Archive, Filter, Folder, Scope};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::http::{Answer, Api};
use crate::process::Process;
use traffic::{Event, ITEMS, Totals, Traffic, USERS};

const ROUNDS: usize = 50;
const IN_FLIGHT: usize = 3;
const PARTITIONS: u32 = 3;
const DEFINITIONS: &str = include_str!("totals.yaml");
const SETTINGS: [&str; 4] = ["flush_interval_ms=5", "archive_interval_ms=50", "parity_sample=1", "worker_cache_mb=1"];

/// Good events that are in the log before the first start.
const HISTORY: u64 = 60;

/// What a producer that writes to the log itself can get wrong, with the reason of each dead letter.
const BROKEN: [(&str, &[u8]); 10] = [
    ("undecodable", b""),
    ("undecodable", b"\xff\xfe\x00"),
    ("undecodable", b"{\"id\":1,\"at\":17357000"),
    ("undecodable", b"[1,2]"),
    ("undecodable", br#"{"id":1,"at":1735700000000,"user_id":"u1","item_id":"i1"} {}"#),
    ("missing_field", br#"{"id":1,"at":1735700000000,"item_id":"i1"}"#),
    ("wrong_type", br#"{"id":"1","at":1735700000000,"user_id":"u1","item_id":"i1"}"#),
    ("out_of_range", br#"{"id":1,"at":1735700000000,"user_id":"u1","item_id":"i1","units":2147483648}"#),
    ("time_out_of_range", br#"{"id":1,"at":9223372036854775807,"user_id":"u1","item_id":"i1"}"#),
    ("too_far_in_future", br#"{"id":1,"at":4102444800000,"user_id":"u1","item_id":"i1"}"#),
];

/// Reason and bytes of each broken record, by partition and offset.
type Broken = BTreeMap<(u32, u64), (String, Bytes)>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_kills_in_the_middle_of_ingest_lose_nothing_and_count_nothing_twice() {
    let seed = std::env::var("FRESHET_SEED").map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("a number"));
    println!("FRESHET_SEED={seed} cargo test --test it kill");
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let broken = write_history(folder.path()).await;
    let mut traffic = Traffic::starting_at(HISTORY);
    for round in 0..ROUNDS {
        let mut process = Process::spawn(folder.path(), &SETTINGS);
        let life = Duration::from_micros(random.u64(..400_000));
        // Some die while they start: the recovery from a kill must survive one too.
        if round % 5 == 4 {
            tokio::select! { () = sleep(life) => {}, _ = process.ready() => {} }
            process.kill();
            continue;
        }
        let api = process.ready().await;
        if round == 0 {
            api.send("/v1/definitions/apply", "application/yaml", DEFINITIONS).await.json();
        }
        ingest_until_killed(&mut process, &api, &mut traffic, sleep(life)).await;
    }
    let mut process = Process::spawn(folder.path(), &SETTINGS);
    let api = process.ready().await;
    while traffic.has_unanswered() {
        let chunk = traffic.next();
        let answer = send(&api, &chunk).await.expect("the service answers");
        acknowledge(&mut traffic, &chunk, &answer);
    }
    println!("{} events; {} chunks were sent again", traffic.end(), traffic.sent_again);
    settle(&api).await;
    check_lookups(&api, traffic.end()).await;
    check_parity(&api).await;
    process.stop().await;
    check_archive(folder.path(), &broken, traffic.end()).await;
}

/// Appends to the log directly, as a producer of another make would: good events and broken ones by turns.
async fn write_history(folder: &Path) -> Broken {
    let log = EmbeddedLog::open(&folder.join("log")).expect("opens");
    log.create_topic("orders", PARTITIONS).await.expect("creates");
    let ingestion_time: EventTime = "2025-06-01T12:00:00Z".parse().expect("a time");
    let mut records = Vec::new();
    let mut reasons = Vec::new();
    for number in 0..HISTORY {
        let event = Event::numbered(number);
        let key = Some(Bytes::from(event.user.clone()));
        records.push(NewRecord { key: key.clone(), value: event.json().into(), ingestion_time });
        reasons.push(None);
        let (reason, bytes) = BROKEN[number as usize % BROKEN.len()];
        records.push(NewRecord { key, value: Bytes::from_static(bytes), ingestion_time });
        reasons.push(Some((reason.to_owned(), Bytes::from_static(bytes))));
    }
    let places = log.append("orders", records).await.expect("appends");
    places.into_iter().zip(reasons).filter_map(|(place, reason)| Some((place, reason?))).collect()
}

/// Keeps chunks in flight for as long as the service lives, and kills it in the middle of them.
async fn ingest_until_killed(process: &mut Process, api: &Api, traffic: &mut Traffic, life: impl Future<Output = ()>) {
    let mut life = pin!(life);
    let mut flying = FuturesUnordered::new();
    loop {
        while flying.len() < IN_FLIGHT {
            let chunk = traffic.next();
            flying.push(async move { (send(api, &chunk).await, chunk) });
        }
        let (answer, chunk) = tokio::select! {
            () = &mut life => break,
            Some(answered) = flying.next() => answered,
        };
        match answer {
            Ok(answer) => acknowledge(traffic, &chunk, &answer),
            Err(error) => panic!("the service died by itself: {error}\n{}", process.last_words().await),
        }
    }
    process.kill();
    // An answer that left the service before it died is an acknowledgement like any other.
    while let Some((answer, chunk)) = flying.next().await {
        answer.iter().for_each(|answer| acknowledge(traffic, &chunk, answer));
    }
    traffic.service_died();
}

async fn send(api: &Api, chunk: &Range<u64>) -> Result<Answer, reqwest::Error> {
    let lines: Vec<String> = chunk.clone().map(|number| Event::numbered(number).json()).collect();
    let body = lines.join("\n").into_bytes();
    let answer = api.call("POST", "/v1/sources/orders/events", "application/x-ndjson", body).await?;
    // Logged for parity. What it answers is looked at when all is quiet, and it may be cut off.
    let lookup = lookup_body("user_totals", "user_id", [Event::numbered(chunk.start).user]).to_string();
    drop(api.call("POST", "/v1/online-features", "application/json", lookup.into_bytes()).await);
    Ok(answer)
}

fn acknowledge(traffic: &mut Traffic, chunk: &Range<u64>, answer: &Answer) {
    assert_eq!(answer.json(), json!({ "accepted": chunk.end - chunk.start, "rejected": [] }));
    traffic.acknowledged(chunk);
}

/// Waits until lookups see the whole log, and the archive has it.
async fn settle(api: &Api) {
    let settled = |status: &Value| {
        let partitions = status["partitions"].as_array().expect("a list");
        let done = |it: &Value| it["lag"] == 0 && it["archived_to"] == it["log_end"];
        let live = status["views"].as_array().expect("a list").iter().all(|view| view["state"] != "building");
        partitions.len() == PARTITIONS as usize && partitions.iter().all(done) && live
    };
    let mut status = Value::Null;
    for _ in 0..1_500 {
        status = api.get("/v1/status").await.json();
        if settled(&status) {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the service does not catch up: {status:#}");
}

async fn check_lookups(api: &Api, end: u64) {
    let (users, items) = traffic::totals(0..end);
    assert_eq!((users.len() as u64, items.len() as u64), (USERS, ITEMS), "every entity has events");
    assert_eq!(served(api, "user_totals", "user_id", &users).await, users);
    assert_eq!(served(api, "item_totals", "item_id", &items).await, items);
}

async fn served(api: &Api, view: &str, key: &str, wanted: &BTreeMap<String, Totals>) -> BTreeMap<String, Totals> {
    let answer = api.post("/v1/online-features", &lookup_body(view, key, wanted.keys().cloned())).await.json();
    let column = |name: &str| {
        let mut columns = answer["columns"].as_array().expect("a list").iter();
        columns.find(|column| column["name"] == name).unwrap_or_else(|| panic!("no {name}"))["values"].clone()
    };
    let [events, units, price] = ["events", "units", "price"].map(|name| column(&format!("{view}:{name}")));
    let totals = |(row, key): (usize, &String)| {
        let (events, units) = (events[row].as_i64().expect("an int"), units[row].as_i64().expect("an int"));
        (key.clone(), Totals { events, units, price: price[row].as_f64().expect("a double") })
    };
    wanted.keys().enumerate().map(totals).collect()
}

fn lookup_body(view: &str, key: &str, entities: impl IntoIterator<Item = String>) -> Value {
    json!({ "features": [view], "entities": { key: entities.into_iter().collect::<Vec<_>>() } })
}

async fn check_parity(api: &Api) {
    let report = api.post("/v1/parity", &Value::Null).await.json();
    println!("parity: {} values of {} rows", report["compared"], report["lookups"]);
    assert!(report["compared"].as_u64() > Some(0), "{report:#}");
    assert_eq!((&report["different"], &report["unchecked"]), (&json!(0), &json!(0)), "{report:#}");
}

/// Every place in the log is in the archive exactly once: as an event, or as the dead letter that it has to be.
async fn check_archive(folder: &Path, broken: &Broken, end: u64) {
    let source = source();
    let archive = Archive::new(Folder::on_disk(&folder.join("offline"), &"default".parse().expect("a name")));
    let mut places = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for events in archive.read(&source, &archive.pin(&source).expect("pins"), &Scope::default()) {
        let events = events.expect("reads");
        numbers
            .extend(events.fields.column(0).as_primitive::<Int64Type>().values().iter().map(|number| *number as u64));
        for (origin, _) in events.positions {
            let Origin::Log { partition, offset } = origin else { panic!("{origin:?} is not of the log") };
            assert!(places.insert((partition, offset)), "{partition}/{offset} is archived twice");
        }
    }
    assert!(numbers.iter().copied().eq(0..end), "an acknowledged event is missing");
    println!("{} copies of an event in the log", places.len() - numbers.len());
    let mut letters = Broken::new();
    for letter in archive.dead_letters(&source, Filter { reason: None, limit: usize::MAX }).expect("reads") {
        let place = (letter.partition, letter.offset);
        assert!(places.insert(place), "{place:?} is both an event and a dead letter");
        assert_eq!(letters.insert(place, (letter.reason, letter.raw)), None, "{place:?} is a dead letter twice");
    }
    assert_eq!(&letters, broken);
    let log = EmbeddedLog::open(&folder.join("log")).expect("opens");
    let bounds = log.bounds("orders").await.expect("the topic is there");
    let held = (0..).zip(bounds).flat_map(|(partition, held)| held.map(move |offset| (partition, offset)));
    assert!(places.into_iter().eq(held), "the log and the archive hold other places");
}

fn source() -> Arc<Source> {
    let file = SourceText { path: "totals.yaml".into(), text: DEFINITIONS.into() };
    let plan = plan::compile(&definition::parse(&[file]).expect("the definitions are right"));
    plan.source("orders").expect("it is defined").clone()
}
