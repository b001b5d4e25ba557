//! A definition that changes, forth and back, under constant lookups and ingest: no lookup fails, and each has a value
//! of the old version or of the new one.
//!
//! Event `n` of the only user costs 2.0 where `n` is even, else 0.5. So each version tells by its values alone which
//! events it has: the old one counts all of them, the new one the even ones, and both name the last that they counted.

use std::cell::Cell;

use serde_json::{Value, json};

use super::{Service, until};

const SHOP: &str = "
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: buys
key: user_id
event_time: { field: at, unit: s }
schema:
  version: 1
  fields:
    - { name: at, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
    - { name: number, type: int64, required: true }
    - { name: price, type: float64, required: true }
---
kind: feature_view
name: tally
entity: user
source: buys
WHERE
features:
  - { name: buys, aggregate: count }
  - { name: last, aggregate: last, column: number }
SPEND
---
kind: feature_service
name: model
features: [tally]
";

/// Before anything changes, so that a new version has something to read.
const BEFORE: u64 = 50_000;

/// Seconds since 1970 of the first event, in January of 2026.
const START: u64 = 1_767_268_800;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Old,
    /// Leaves odd events out, and has one more feature, which the service reads too.
    New,
}

impl Version {
    fn definitions(self) -> String {
        let (filter, spend) = match self {
            Version::Old => ("", ""),
            Version::New => ("where: price > 1.0", "  - { name: spend, aggregate: sum, column: price }"),
        };
        SHOP.replace("WHERE", filter).replace("SPEND", spend)
    }
}

/// What a lookup read: how many events at the least, and at the most.
#[derive(Debug)]
struct Read {
    version: Version,
    least: u64,
    most: u64,
}

impl Read {
    /// Of values that are one version's, and of no other. A feature that is declared no longer is gone at once, whichever
    /// version is served.
    fn of(answer: &Value) -> Read {
        let columns = answer["columns"].as_array().expect("a list");
        let value = |at: usize| columns[at]["values"][0].as_u64().unwrap_or_else(|| panic!("a number: {answer}"));
        let (buys, last) = (value(1), value(2));
        let spend = columns.get(3).map(|column| column["values"][0].as_f64().expect("a number"));
        if spend.is_none() && last + 1 == buys {
            return Read { version: Version::Old, least: buys, most: buys };
        }
        assert_eq!(
            (last, spend.unwrap_or(2.0 * buys as f64)),
            (2 * (buys - 1), 2.0 * buys as f64),
            "of none: {answer}"
        );
        Read { version: Version::New, least: 2 * buys - 1, most: 2 * buys }
    }
}

struct Traffic<'s> {
    service: &'s Service,
    /// Events that are durable.
    sent: Cell<u64>,
    lookups: Cell<u64>,
    /// The most events that any lookup had, and those of them that had been seen when a version was applied.
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
            let read = lookup(self.service).await;
            assert!(read.most >= at_least, "{read:?} has less than was seen before it was applied: {at_least} events");
            // One more may be on its way.
            assert!(read.least <= self.sent.get() + 1, "{read:?} of {} events", self.sent.get());
            self.served.set(read.version);
            self.seen.set(self.seen.get().max(read.least));
            self.lookups.set(self.lookups.get() + 1);
        }
    }

    async fn change(&self) {
        for version in [Version::New, Version::Old, Version::New] {
            self.seen_at_apply.set(self.seen.get());
            self.service.apply(&version.definitions()).await.json();
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

async fn send(service: &Service, numbers: std::ops::Range<u64>) {
    let event = |number: u64| {
        let price = if number.is_multiple_of(2) { 2.0 } else { 0.5 };
        json!({ "at": START + number, "user_id": "u1", "number": number, "price": price })
    };
    let events: Vec<Value> = numbers.map(event).collect();
    let answer = service.api.post("/v1/sources/buys/events?replay=true", &json!(events)).await.json();
    assert_eq!(answer["rejected"], json!([]));
}

async fn lookup(service: &Service) -> Read {
    let request = json!({ "service": "model", "entities": { "user_id": ["u1"] } });
    Read::of(&service.api.post("/v1/online-features", &request).await.json())
}

/// On threads of its own, so that the service goes on while a lookup is looked at, and the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lookups_neither_fail_nor_mix_while_definitions_change_under_ingest() {
    let service = Service::empty().await;
    service.apply(&Version::Old.definitions()).await.json();
    send(&service, 0..BEFORE).await;
    service.settle().await;
    let traffic = Traffic {
        service: &service,
        sent: Cell::new(BEFORE),
        lookups: Cell::default(),
        seen: Cell::default(),
        seen_at_apply: Cell::default(),
        served: Cell::new(Version::Old),
        is_over: Cell::default(),
    };
    tokio::join!(traffic.ingest(), traffic.look_up(), traffic.change());
    service.settle().await;
    let (read, sent) = (lookup(&service).await, traffic.sent.get());
    assert_eq!((read.version, read.least), (Version::Old, sent), "nothing is lost or doubled");
    assert!(sent > BEFORE + 20 && traffic.lookups.get() > 100, "{sent} events, {} lookups", traffic.lookups.get());
    service.stop().await;
}
