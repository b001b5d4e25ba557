//! History files in an object store: what is seeded, backfilled and cut from them is what files on disk give, bit by bit.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::bucket::Bucket;
use crate::http::Api;
use crate::process::Process;

const DEFINITIONS: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: purchases
event_time: { field: at, unit: ms }
history:
  - { path: ROOT/past/*/*.ndjson, format: ndjson, until: 2026-01-01T00:00:00Z }
  - { path: ROOT/past/*/*.csv, format: csv, until: 2026-01-01T00:00:00Z }
  - { path: ROOT/past/all.parquet, format: parquet, until: 2026-01-01T00:00:00Z }
schema:
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
    - { name: price, type: float64 }
---
kind: feature_view
name: spending
entity: user
source: purchases
features:
  - { name: purchases, aggregate: count }
  - { name: spend, aggregate: sum, column: price }
  - { name: newest, aggregate: last, column: price }
---
kind: feature_service
name: all
features: [spending]
";

/// 2025-12-30T00:00:00Z.
const BEGIN_MS: u64 = 1_767_052_800_000;
const USERS: u64 = 5;

/// What a service made of its history.
#[derive(Debug, PartialEq)]
struct Made {
    served: Value,
    /// The files of a backfill, by day.
    table: BTreeMap<String, Vec<u8>>,
    training_set: Vec<u8>,
}

/// User, time and price of so many purchases, from a number on.
fn purchases(numbers: std::ops::Range<u64>) -> impl Iterator<Item = (String, u64, f64)> {
    numbers.map(|number| (format!("u{}", number % USERS), BEGIN_MS + number * 60_000, number as f64 / 7.0))
}

fn files() -> [(&'static str, Vec<u8>); 4] {
    let lines = |numbers| {
        let line = |(user, at, price)| format!("{{\"at\":{at},\"user_id\":\"{user}\",\"price\":{price}}}\n");
        purchases(numbers).map(line).collect::<String>().into_bytes()
    };
    let csv = purchases(500..800).map(|(user, at, price)| format!("{price},{user},{at}\n")).collect::<String>();
    [
        ("past/dt=1/a.ndjson", lines(0..300)),
        ("past/dt=2/a.ndjson", lines(300..500)),
        ("past/dt=2/b.csv", format!("price,user_id,at\n{csv}").into_bytes()),
        ("past/all.parquet", parquet()),
    ]
}

fn parquet() -> Vec<u8> {
    let rows: Vec<_> = purchases(800..1_000).collect();
    let times = TimestampMillisecondArray::from_iter_values(rows.iter().map(|(_, at, _)| *at as i64));
    let columns: [(&str, ArrayRef); 3] = [
        ("user_id", Arc::new(StringArray::from_iter_values(rows.iter().map(|(user, _, _)| user)))),
        ("at", Arc::new(times)),
        ("price", Arc::new(Float64Array::from_iter_values(rows.iter().map(|(_, _, price)| *price)))),
    ];
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("a writer");
    writer.write(&batch).expect("written");
    writer.into_inner().expect("finished")
}

/// Of a service whose input root is `root`; definitions name files below `prefix`.
async fn made(environment: &[(&str, &str)], root: &str, prefix: &str) -> Made {
    let folder = tempfile::tempdir().expect("a folder");
    let roots = format!("input_roots={root}");
    let mut process = Process::spawn_in(environment, folder.path(), &[&roots, "archive_interval_ms=50"]);
    let api = process.ready().await;
    let definitions = DEFINITIONS.replace("ROOT/", prefix);
    api.send("/v1/definitions/apply", "application/yaml", definitions).await.json();
    let served = served(&api).await;
    let (from, to) = ("2025-12-30T00:00:00Z", "2026-01-02T00:00:00Z");
    let asked = json!({ "view": "spending", "from": from, "to": to, "every": "1h" });
    let backfill = ended(&api, "/v1/backfills", api.post("/v1/backfills", &asked).await.json()).await;
    let spine =
        "user_id,event_timestamp\nu0,2025-12-30T05:00:00Z\nu4,2026-01-01T00:00:00Z\nnobody,2026-01-01T00:00:00Z\n";
    let set = api.send("/v1/training-sets?service=all", "text/csv", spine).await.json();
    let set = ended(&api, "/v1/training-sets", set).await;
    let data = format!("/v1/training-sets/{}/data", set["id"].as_str().expect("a job has an id"));
    let training_set = api.get(&data).await.body;
    process.stop().await;
    Made { served, table: table(&folder.path().join("offline/default"), &backfill), training_set }
}

/// Once the view has its history.
async fn served(api: &Api) -> Value {
    let users: Vec<String> = (0..USERS).map(|user| format!("u{user}")).collect();
    let lookup = json!({ "service": "all", "entities": { "user_id": users } });
    for _ in 0..1_500 {
        let answer = api.post("/v1/online-features", &lookup).await;
        if answer.status == 200 {
            return answer.json()["columns"].clone();
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("the view is not served: {:#}", api.get("/v1/status").await.json());
}

async fn ended(api: &Api, collection: &str, mut job: Value) -> Value {
    while job["state"] == "running" {
        sleep(Duration::from_millis(20)).await;
        job = api.get(&format!("{collection}/{}", job["id"].as_str().expect("a job has an id"))).await.json();
    }
    assert_eq!(job["state"], "done", "{job:#}");
    job
}

fn table(folder: &Path, backfill: &Value) -> BTreeMap<String, Vec<u8>> {
    let files = backfill["result"]["files"].as_array().expect("a list").iter();
    let mut days: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for file in files.map(|file| file.as_str().expect("a path")) {
        let day = file.split('/').find(|part| part.starts_with("dt=")).expect("each file is of a day");
        days.entry(day.to_owned()).or_default().extend(std::fs::read(folder.join(file)).expect("it is there"));
    }
    days
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_of_history_in_a_bucket_is_what_is_made_of_files_on_disk() {
    let (bucket, disk) = (Bucket::create(), tempfile::tempdir().expect("a folder"));
    for (path, bytes) in files() {
        bucket.put(path, &bytes);
        let path = disk.path().join(path);
        std::fs::create_dir_all(path.parent().expect("it has a folder")).expect("made");
        std::fs::write(path, bytes).expect("written");
    }
    let local = made(&[], &disk.path().display().to_string(), "").await;
    let remote = made(&bucket.environment(), &bucket.url(), &format!("{}/", bucket.url())).await;
    let counts = &local.served[1];
    assert_eq!(counts["values"], json!(vec![200; USERS as usize]), "{counts}");
    assert_eq!(local.table.len(), 3);
    assert_eq!(remote, local);
}
