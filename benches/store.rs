//! What the online store in Redis takes in and gives out.
//!
//! ```text
//! tests/servers cargo bench --bench store
//! ```
//!
//! Rows of one body size each: applied 64 to a flush, one flush under way for each of 64 shards (as a worker does), and
//! read 1 and 100 to a call, 32 calls under way. Work is counted, then divided by the wall clock; server and
//! client share the machine.

use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use freshet::kernel::engine::Flushed;
use freshet::kernel::key::{EntityKey, KeyPart, PartId, Shard};
use freshet::kernel::name::Name;
use freshet::kernel::plan::Fingerprint;
use freshet::kernel::time::EventTime;
use freshet::online::{Advance, Applied, Claim, Nonce, OnlineStore, PartKey, PartWrite, Redis, RedisOptions};
use futures::stream::{self, StreamExt};

const SHARDS: u16 = 64;
const ROWS: usize = 64;
const VERSION: Fingerprint = Fingerprint(1);
const NONCE: Nonce = Nonce(1);

/// Never within a run, and never for ever.
const EXPIRES_AT: i64 = 4_000_000_000_000_000;

#[tokio::main]
async fn main() {
    let url = std::env::var("REDIS_URL").expect("REDIS_URL is set: run tests/servers cargo bench --bench store");
    let random = getrandom::u64().expect("random bytes");
    let project: Name = format!("bench_{random:x}").parse().expect("a name");
    let options = RedisOptions { shards: SHARDS, wait: 0, wait_limit: Duration::from_millis(0) };
    let store = Arc::new(Redis::open(&url, &project, options).await.expect("a server"));
    for (bytes, flushes) in [(150, 200), (2_000, 60), (12_000, 12)] {
        let rows = apply(&store, bytes, flushes).await;
        println!("apply {ROWS} rows of {bytes:>6} B: {rows:>9.0} rows/s");
        for (rows, calls) in [(1, 20_000), (100, 400)] {
            let read = read(&store, rows, calls * 150 / bytes.min(1_500)).await;
            println!("read {rows:>3} rows of {bytes:>6} B: {:>9.0} rows/s, {:>7.0} calls/s", read, read / rows as f64);
        }
        store.remove(VERSION).await.expect("removed");
    }
}

fn entities(shard: Shard) -> Vec<EntityKey> {
    let keys = (0..).map(|int| EntityKey::encode(&[KeyPart::Int(int)]));
    keys.filter(|key| key.shard(SHARDS) == shard).take(ROWS).collect()
}

/// Rows a second.
async fn apply(store: &Redis, bytes: usize, flushes: u64) -> f64 {
    let started = Instant::now();
    let shards = stream::iter((0..SHARDS).map(Shard)).map(|shard| async move {
        let claims = [Claim { version: VERSION, partition: 0, initial: 0 }];
        store.claim(shard, &claims, NONCE).await.expect("claimed");
        let flushed = |entity: EntityKey| PartWrite {
            key: PartKey { version: VERSION, entity, part: PartId::Partition(0) },
            flushed: Flushed {
                head: vec![7; bytes].into(),
                body: None,
                ids: None,
                expires_at: EventTime::from_micros(EXPIRES_AT),
                expiry_moved: true,
            },
        };
        let rows: Vec<PartWrite> = entities(shard).into_iter().map(flushed).collect();
        for from in 0..flushes {
            let advance = Advance { version: VERSION, partition: 0, nonce: NONCE, from, to: from + 1 };
            assert_eq!(store.apply(shard, &[advance], &rows).await.expect("answered"), Applied::Done);
        }
    });
    shards.buffer_unordered(usize::from(SHARDS)).collect::<Vec<()>>().await;
    (u64::from(SHARDS) * flushes * ROWS as u64) as f64 / started.elapsed().as_secs_f64()
}

/// Rows a second.
async fn read(store: &Redis, rows: usize, calls: usize) -> f64 {
    let all: Vec<_> = (0..SHARDS).flat_map(|shard| entities(Shard(shard))).map(|entity| (VERSION, entity)).collect();
    let started = Instant::now();
    let calls_made = stream::iter(0..calls).map(|call| {
        let wanted: Vec<_> = (0..rows).map(|row| all[(call * rows + row * 61) % all.len()].clone()).collect();
        async move { assert_eq!(store.read(&wanted).await.expect("read").len(), rows) }
    });
    calls_made.buffer_unordered(32).collect::<Vec<()>>().await;
    (calls * rows) as f64 / started.elapsed().as_secs_f64()
}
