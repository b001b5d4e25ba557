//! A service of several processes: the real binary, each with a part of the roles, on the servers that the tests are
//! given.

mod away;
#[path = "../../../src/event_log/kafka/tests/broker.rs"]
mod broker;
mod brokers;
mod roles;
mod sasl;
mod settings;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;

use crate::http::{Answer, Api};
use crate::process::Process;
use crate::servers;

const DEFINITIONS: &str = include_str!("orders.yaml");
const PARTITIONS: usize = 4;

/// What all processes of one service share.
struct Cluster {
    project: String,
    registry: String,
    /// Settings that say where Kafka is, and how it is to be used.
    kafka: Vec<(&'static str, String)>,
    folder: TempDir,
}

impl Cluster {
    async fn new() -> Cluster {
        Cluster::on(vec![("kafka", servers::address("KAFKA_BROKERS"))]).await
    }

    async fn on(kafka: Vec<(&'static str, String)>) -> Cluster {
        let folder = tempfile::tempdir().expect("a folder");
        Cluster { project: servers::unique("shop"), registry: servers::schema().await, kafka, folder }
    }

    /// A process with these roles, called `name` in its groups; it may not be ready yet.
    fn spawn(&self, roles: &str, name: &str) -> Process {
        let settings = [
            ("roles", roles.to_owned()),
            ("project", self.project.clone()),
            ("create_topics", "true".to_owned()),
            ("redis", servers::address("REDIS_URL")),
            ("registry", self.registry.clone()),
            ("offline", self.folder.path().join("offline").display().to_string()),
            ("partitions", PARTITIONS.to_string()),
            ("instance_id", name.to_owned()),
            ("archive_interval_ms", "50".to_owned()),
            ("parity_sample", "1".to_owned()),
            ("drain_delay_ms", "2000".to_owned()),
        ];
        let settings = settings.iter().chain(&self.kafka).map(|(name, value)| format!("{name}={value}"));
        let settings: Vec<String> = settings.collect();
        let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
        Process::spawn(&self.folder.path().join(name), &settings)
    }

    fn definitions(&self) -> String {
        DEFINITIONS.replace("TOPIC", &self.topic())
    }

    fn topic(&self) -> String {
        format!("{}-orders", self.project)
    }
}

/// Waits until the process says that it does what its roles promise.
async fn ready(process: &mut Process) -> Api {
    let api = process.ready().await;
    until("the process is ready", async || {
        let answer = api.get("/readyz").await;
        if answer.status == 200 { Ok(()) } else { Err(answer.to_string()) }
    })
    .await;
    api
}

async fn ingest(api: &Api, numbers: Range<u64>) {
    let answer = send(api, &numbers).await.expect("the service answers");
    assert_eq!(answer.json(), json!({ "accepted": numbers.end - numbers.start, "rejected": [] }));
}

/// An order for each number, of one of seven users.
async fn send(api: &Api, numbers: &Range<u64>) -> Result<Answer, reqwest::Error> {
    let order =
        |number: u64| json!({ "id": number, "at": 1_767_225_600_000 + number, "user_id": format!("u{}", number % 7) });
    let lines: Vec<String> = numbers.clone().map(|number| order(number).to_string()).collect();
    let body = lines.join("\n").into_bytes();
    api.call("POST", "/v1/sources/orders/events?replay=true", "application/x-ndjson", body).await
}

/// Orders and the sum of their numbers, by user.
fn wanted(end: u64) -> BTreeMap<String, (i64, i64)> {
    let mut totals: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for number in 0..end {
        let total = totals.entry(format!("u{}", number % 7)).or_default();
        *total = (total.0 + 1, total.1 + number as i64);
    }
    totals
}

fn lookup() -> Value {
    let users: Vec<String> = (0..7).map(|user| format!("u{user}")).collect();
    json!({ "features": ["user_orders:orders", "user_orders:numbers"], "entities": { "user_id": users } })
}

async fn served(api: &Api) -> BTreeMap<String, (i64, i64)> {
    let answer = api.post("/v1/online-features", &lookup()).await.json();
    let values = |column: usize| answer["columns"][column]["values"].as_array().expect("a list").clone();
    let rows = values(0).into_iter().zip(values(1)).zip(values(2));
    let int = |value: &Value| value.as_i64().expect("an int");
    rows.map(|((user, orders), numbers)| (user.as_str().expect("text").to_owned(), (int(&orders), int(&numbers))))
        .collect()
}

/// Waits until `api` says that its view is live, lookups see the whole log, and the archive has it.
async fn settle(api: &Api) {
    let settled = |status: &Value| {
        let partitions = status["partitions"].as_array().expect("a list");
        let done = |it: &Value| it["lag"] == 0 && it["archived_to"] == it["log_end"];
        let live = status["views"].as_array().expect("a list").iter().all(|view| view["state"] != "building");
        partitions.len() == PARTITIONS && partitions.iter().all(done) && live
    };
    until("the service is up to date", async || {
        let status = api.get("/v1/status").await.json();
        settled(&status).then_some(()).ok_or(format!("{status:#}"))
    })
    .await
}

/// Asks again until there is an answer; a minute is for machines that are busy otherwise.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let mut last = String::new();
    for _ in 0..600 {
        match ask().await {
            Ok(answer) => return answer,
            Err(instead) => last = instead,
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("waited in vain until {what}: {last}")
}
