//! How far the online store and the archive are, by Freshet's own readers of both.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freshet::kernel::definition::{self, SourceText};
use freshet::kernel::key::SHARDS;
use freshet::kernel::plan::{self, Plan};
use freshet::online::{OnlineStore, Redis, RedisOptions};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::time::{Instant, sleep};

use crate::disk::project;
use crate::freshness::PARTITIONS;
use crate::traffic::TOPIC;
use crate::world::World;

pub const DEFINITIONS: &str = include_str!("definitions.yaml");

/// Of every (view, shard, partition): the next record to fold.
pub type Positions = BTreeMap<(usize, u16, u32), u64>;

/// What one store has and another has not.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ahead {
    pub shards: usize,
    pub records: u64,
}

pub fn plan() -> Plan {
    let file = SourceText { path: "definitions.yaml".into(), text: DEFINITIONS.into() };
    plan::compile(&definition::parse(&[file]).expect("the definitions are right"))
}

pub async fn of(redis: &str) -> anyhow::Result<Positions> {
    let store: Arc<dyn OnlineStore> = Arc::new(Redis::open(redis, &project(), options()).await?);
    let mut positions = Positions::new();
    for (number, view) in plan().views.iter().enumerate() {
        for (shard, partition, offset) in store.offsets(view.rows).await? {
            positions.insert((number, shard.0, partition), offset);
        }
    }
    Ok(positions)
}

pub fn ahead(positions: &Positions, others: &Positions) -> Ahead {
    let mut ahead = Ahead::default();
    for (place, position) in positions {
        let other = others.get(place).copied().unwrap_or(0);
        if *position > other {
            ahead.shards += 1;
            ahead.records += position - other;
        }
    }
    ahead
}

/// The next offset of each partition of the topic.
pub async fn log_ends(brokers: &str) -> anyhow::Result<Vec<u64>> {
    let brokers = brokers.to_owned();
    let ask = move || {
        let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", brokers).create()?;
        let end = |partition: u32| {
            let (_, end) = consumer.fetch_watermarks(TOPIC, partition.cast_signed(), Duration::from_secs(60))?;
            Ok(end.cast_unsigned())
        };
        (0..PARTITIONS).map(end).collect()
    };
    tokio::task::spawn_blocking(ask).await?
}

/// Waits until the archive holds what the log holds now; false where that takes longer than `patience`.
pub async fn archived(world: &World, patience: Duration) -> anyhow::Result<bool> {
    let began = Instant::now();
    let ends = log_ends(&world.brokers).await?;
    while began.elapsed() < patience {
        let archive = world.disk.archive()?;
        let pinned = tokio::task::spawn_blocking(move || archive.pin(&plan().sources[0])).await??;
        let offsets = pinned.offsets();
        let has = |(partition, end): (u32, &u64)| offsets.get(&partition).copied().unwrap_or(0) >= *end;
        if (0..).zip(&ends).all(has) {
            return Ok(true);
        }
        sleep(Duration::from_millis(500)).await;
    }
    Ok(false)
}

/// Waits until every shard of both views has what the log holds now.
pub async fn folded(world: &World, patience: Duration) -> anyhow::Result<bool> {
    let began = Instant::now();
    let ends = log_ends(&world.brokers).await?;
    while began.elapsed() < patience {
        let positions = of(&world.redis.lock().await.primary.url()).await?;
        let is_folded = |((_, _, partition), offset): (&(usize, u16, u32), &u64)| *offset >= ends[*partition as usize];
        if !positions.is_empty() && positions.iter().all(is_folded) {
            return Ok(true);
        }
        sleep(Duration::from_millis(500)).await;
    }
    Ok(false)
}

fn options() -> RedisOptions {
    RedisOptions { shards: SHARDS, wait: 0, wait_limit: Duration::ZERO }
}
