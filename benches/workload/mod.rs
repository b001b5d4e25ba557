//! The events that the benchmarks share: shop events of two hours, one in a hundred out of order, about 120 bytes of
//! JSON each. The same seed gives the same events. Not every benchmark uses all of it.

#![allow(dead_code, reason = "each benchmark uses a part")]

use std::sync::Arc;

use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::plan::{ViewPlan, compile};
use freshet::kernel::time::EventTime;

const ITEMS: usize = 5_000;
const SPAN_MS: i64 = 2 * 3_600_000;
/// An event out of order is this much older than its neighbours at most.
const DELAY_MS_MAX: i64 = 60_000;

/// Four aggregates over three sliding windows, of a topic whose messages have the field `{key}` as their key.
const DEFINITIONS: &str = r#"
kind: entity
name: user
keys: [{ name: user_id, type: string }]
---
kind: source
name: shop_events
topic: {topic}
format: json
key: {key}
event_time: { field: timestamp, unit: ms }
schema:
  version: 1
  compatibility: backward
  fields:
    - { name: timestamp, type: timestamp, required: true }
    - { name: user_id, type: string, required: true }
    - { name: event, type: string }
    - { name: item_id, type: string }
    - { name: price, type: float64 }
    - { name: quantity, type: int64 }
---
kind: feature_view
name: user_activity
entity: user
source: shop_events
features:
  - { name: events, aggregate: count, windows: [10m, 1h, 24h] }
  - { name: spend, aggregate: sum, column: price, windows: [10m, 1h, 24h] }
  - { name: dearest, aggregate: max, column: price, windows: [10m, 1h, 24h] }
  - { name: last_item, aggregate: last, column: item_id, windows: [10m, 1h, 24h] }
---
kind: feature_service
name: activity
features: [user_activity]
"#;

/// Who the events are of.
#[derive(Clone, Copy, Debug)]
pub enum Users {
    /// The busiest has most by far: its share is that of 1 in the sum of 1/rank.
    Zipf(usize),
    Even(usize),
}

pub struct Event {
    pub user: String,
    pub item: String,
    pub json: String,
    /// When a producer sent it: the order of events, in milliseconds.
    pub sent_ms: i64,
}

pub fn definitions(topic: &str, key: &str) -> String {
    DEFINITIONS.replace("{topic}", topic).replace("{key}", key)
}

pub fn view(topic: &str) -> Arc<ViewPlan> {
    let text = definitions(topic, "user_id");
    let parsed = parse(&[SourceText { path: "bench".to_owned(), text }]);
    compile(&parsed.unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))).views.remove(0)
}

/// `count` events, the newest sent at `end`.
pub fn events(count: usize, users: Users, end: EventTime, seed: u64) -> impl Iterator<Item = Event> {
    let mut random = fastrand::Rng::with_seed(seed);
    let weights = match users {
        Users::Zipf(users) => zipf(users),
        Users::Even(_) => Vec::new(),
    };
    let start_ms = end.micros() / 1_000 - SPAN_MS;
    (0..count).map(move |index| {
        let sent_ms = start_ms + (SPAN_MS * (index as i64 + 1)) / count as i64;
        let delay_ms = if random.u8(..100) == 0 { random.i64(1..=DELAY_MS_MAX) } else { 0 };
        let user = match users {
            Users::Zipf(_) => format!("u{}", pick(&weights, random.f64())),
            Users::Even(users) => format!("u{}", random.usize(..users)),
        };
        let item = format!("i{}", random.usize(..ITEMS));
        let json = json(&user, &item, sent_ms - delay_ms, &mut random);
        Event { user, item, json, sent_ms }
    })
}

pub fn json(user: &str, item: &str, timestamp_ms: i64, random: &mut fastrand::Rng) -> String {
    let (cents, quantity) = (random.u32(99..50_000), random.u8(1..5));
    let (whole, cents) = (cents / 100, cents % 100);
    format!(
        r#"{{"timestamp":{timestamp_ms},"user_id":"{user}","event":"purchase","item_id":"{item}","price":{whole}.{cents:02},"quantity":{quantity}}}"#
    )
}

/// Cumulated shares of the users, the busiest first.
fn zipf(users: usize) -> Vec<f64> {
    let total: f64 = (1..=users).map(|rank| 1.0 / rank as f64).sum();
    let mut cumulated = 0.0;
    (1..=users)
        .map(|rank| {
            cumulated += 1.0 / rank as f64 / total;
            cumulated
        })
        .collect()
}

fn pick(cumulated: &[f64], point: f64) -> usize {
    cumulated.partition_point(|share| *share < point).min(cumulated.len() - 1)
}
