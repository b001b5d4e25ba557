//! A definition that changes, forth and back, under constant lookups and ingest: no lookup fails, and each has values
//! of the old version or of the new one, and nothing less than was seen before the change. On embedded parts, and on
//! Kafka, Redis and PostgreSQL.
//!
//! Each user buys once in each round: for 2.0 in even rounds, else for 0.5. So each version tells by its values alone
//! which rounds it has: the old one counts all of them, the new one the even ones, and both name the last that they
//! counted. (That no shard may lag when a version is promoted, `app::promote` shows shard by shard.)

use std::cell::Cell;
use std::ops::Range;

use serde_json::{Value, json};

use super::{Service, until};
use crate::servers;

const SHOP: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: buys
topic: TOPIC
key: user_id
event_time: { field: at, unit: s }
schema:
  version: 1
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
    - { name: round, type: int64, required: true }
    - { name: price, type: float64, required: true }
---
kind: feature_view
name: tally
entity: user
source: buys
WHERE
features:
  - { name: buys, aggregate: count }
  - { name: last, aggregate: last, column: round }
SPEND
---
VISITS
kind: feature_service
name: model
features: [READS]
";

/// A view that the new definitions have beside the other.
const VISITS: &str = "
kind: feature_view
name: visits
entity: user
source: buys
features: [{ name: visits, aggregate: count }]
---
";

const USERS: usize = 50;

/// Rounds before anything changes, so that a new version has something to read.
const BEFORE: u64 = 1_000;

/// Rounds of one call before that.
const TOGETHER: u64 = 50;

/// Seconds since 1970 of the first round, in January of 2026.
const START: u64 = 1_767_268_800;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Old,
    /// Leaves odd rounds out, and has one more feature; the service reads it too, and a view that is new.
    New,
}

impl Version {
    fn definitions(self, topic: &str) -> String {
        let parts = match self {
            Version::Old => ["", "", "", "tally"],
            Version::New => {
                ["where: price > 1.0", "  - { name: spend, aggregate: sum, column: price }", VISITS, "tally, visits"]
            }
        };
        let given = ["WHERE", "SPEND", "VISITS", "READS"].into_iter().zip(parts);
        given.fold(SHOP.replace("TOPIC", topic), |text, (place, part)| text.replace(place, part))
    }
}

/// What a lookup read of a user: how many rounds at the least, and at the most.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Read {
    version: Version,
    least: u64,
    most: u64,
}

impl Read {
    /// Of values that are one version's, and of no other. A feature that is declared no longer is gone at once, whichever
    /// version is served.
    fn of(buys: u64, last: u64, spend: Option<f64>) -> Option<Read> {
        if spend.is_none() && last + 1 == buys {
            return Some(Read { version: Version::Old, least: buys, most: buys });
        }
        let is_new = last + 2 == 2 * buys && spend.is_none_or(|spend| spend == 2.0 * buys as f64);
        is_new.then_some(Read { version: Version::New, least: 2 * buys - 1, most: 2 * buys })
    }

    /// Of each user, all by one version.
    fn all(answer: &Value) -> Vec<Read> {
        let columns = answer["columns"].as_array().expect("a list");
        let read = |user: usize| {
            let int = |column: usize| columns[column]["values"][user].as_u64();
            let spend = columns.get(3).map(|column| column["values"][user].as_f64().unwrap_or(f64::NAN));
            let read = int(1).zip(int(2)).and_then(|(buys, last)| Read::of(buys, last, spend));
            read.unwrap_or_else(|| panic!("user {user} is of no version: {answer}"))
        };
        let all: Vec<Read> = (0..USERS).map(read).collect();
        assert!(all.iter().all(|read| read.version == all[0].version), "of two versions: {answer}");
        all
    }
}

struct Traffic<'s> {
    service: &'s Service,
    topic: &'s str,
    /// Rounds that are durable.
    sent: Cell<u64>,
    lookups: Cell<u64>,
    /// The most rounds that any lookup had of every user, and how many that were when a version was applied.
    seen: Cell<u64>,
    seen_at_apply: Cell<u64>,
    served: Cell<Version>,
    is_over: Cell<bool>,
}

impl Traffic<'_> {
    async fn ingest(&self) {
        while !self.is_over.get() {
            send(self.service, self.sent.get()..self.sent.get() + 1).await;
            self.sent.set(self.sent.get() + 1);
        }
    }

    async fn look_up(&self) {
        while !self.is_over.get() {
            let at_least = self.seen_at_apply.get();
            let all = lookup(self.service).await;
            // One more may be on its way.
            let at_most = self.sent.get() + 1;
            for (user, read) in all.iter().enumerate() {
                assert!(read.most >= at_least, "user {user}: {read:?}, and {at_least} were seen before the change");
                assert!(read.least <= at_most, "user {user}: {read:?}, and {at_most} were sent");
            }
            self.served.set(all[0].version);
            let every = all.iter().map(|read| read.least).min().expect("there are users");
            self.seen.set(self.seen.get().max(every));
            self.lookups.set(self.lookups.get() + 1);
        }
    }

    async fn change(&self) {
        for version in [Version::New, Version::Old, Version::New] {
            self.seen_at_apply.set(self.seen.get());
            self.service.apply(&version.definitions(self.topic)).await.json();
            self.until_served(version).await;
        }
        for version in [Version::Old, Version::New, Version::Old] {
            self.service.api.post("/v1/rollbacks", &json!({ "view": "tally" })).await.json();
            self.until_served(version).await;
        }
        self.is_over.set(true);
    }

    /// And by some lookups more, which see it settle.
    async fn until_served(&self, version: Version) {
        until("the version is served", async || (self.served.get() == version).then_some(())).await;
        let enough = self.lookups.get() + 20;
        until("it was looked up", async || (self.lookups.get() >= enough).then_some(())).await;
        assert_eq!(self.served.get(), version, "and no other any more");
    }
}

async fn send(service: &Service, rounds: Range<u64>) {
    let event = |round: u64, user: usize| {
        let price = if round.is_multiple_of(2) { 2.0 } else { 0.5 };
        json!({ "at": START + round, "user_id": format!("u{user}"), "round": round, "price": price })
    };
    let events: Vec<Value> = rounds.flat_map(|round| (0..USERS).map(move |user| event(round, user))).collect();
    let answer = service.api.post("/v1/sources/buys/events?replay=true", &json!(events)).await.json();
    assert_eq!(answer["rejected"], json!([]));
}

async fn lookup(service: &Service) -> Vec<Read> {
    let users: Vec<String> = (0..USERS).map(|user| format!("u{user}")).collect();
    let request = json!({ "service": "model", "entities": { "user_id": users } });
    Read::all(&service.api.post("/v1/online-features", &request).await.json())
}

async fn check(settings: &[(&str, &str)]) {
    let service = Service::with(settings).await;
    let topic = servers::unique("buys");
    service.apply(&Version::Old.definitions(&topic)).await.json();
    for first in (0..BEFORE).step_by(TOGETHER as usize) {
        send(&service, first..first + TOGETHER).await;
    }
    service.settle().await;
    let traffic = Traffic {
        service: &service,
        topic: &topic,
        sent: Cell::new(BEFORE),
        lookups: Cell::default(),
        seen: Cell::default(),
        seen_at_apply: Cell::default(),
        served: Cell::new(Version::Old),
        is_over: Cell::default(),
    };
    tokio::join!(traffic.ingest(), traffic.look_up(), traffic.change());
    service.settle().await;
    let (all, sent) = (lookup(&service).await, traffic.sent.get());
    let whole = Read { version: Version::Old, least: sent, most: sent };
    assert_eq!(all, vec![whole; USERS], "nothing is lost or doubled");
    assert!(sent > BEFORE + 20 && traffic.lookups.get() > 100, "{sent} rounds, {} lookups", traffic.lookups.get());
    service.stop().await;
}

/// On threads of its own, so that the service goes on while a lookup is looked at, and the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_neither_fail_nor_mix_while_definitions_change_under_ingest() {
    check(&[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_on_kafka_redis_and_postgresql() {
    let project = servers::unique("changes");
    let (kafka, redis) = (servers::address("KAFKA_BROKERS"), servers::address("REDIS_URL"));
    let registry = servers::schema().await;
    check(&[
        ("project", &project),
        ("kafka", &kafka),
        ("create_topics", "true"),
        ("redis", &redis),
        ("registry", &registry),
    ])
    .await;
}
