//! Everything that runs, and everything that may be done to it. One fault holds one thing at a time: the lock of a
//! member or of a server is its turn.

use std::path::Path;
use std::time::Duration;

use anyhow::ensure;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use crate::api::Api;
use crate::disk::Disk;
use crate::disturbance::Disturbances;
use crate::fleet::{Fleet, Held, Member, Shared};
use crate::freshness::{self, Freshness};
use crate::journal::Journal;
use crate::process::free_ports;
use crate::proxy::Proxy;
use crate::refusals::Refusals;
use crate::servers::kafka::Kafka;
use crate::servers::postgres::Postgres;
use crate::servers::redis::Redis;
use crate::traffic::TOPIC;

pub struct World {
    pub began: Instant,
    pub fleet: Fleet,
    pub api: Api,
    pub freshness: Freshness,
    pub refusals: Refusals,
    pub disturbances: Disturbances,
    pub journal: Journal,
    pub kafka: Mutex<Kafka>,
    pub redis: Mutex<Redis>,
    pub kafka_proxy: Proxy,
    pub redis_proxy: Proxy,
    pub postgres_proxy: Proxy,
    pub postgres_port: u16,
    pub disk: Disk,
    pub brokers: String,
    _postgres: Postgres,
}

/// How long a member may take to be ready for the first time.
const START: Duration = Duration::from_secs(60);

/// A fault waits this long for its turn at a member.
const TURN: Duration = Duration::from_millis(50);

impl World {
    /// Starts the servers.
    pub async fn start(root: &Path, logs: &Path, workers: usize, minutes: f64) -> anyhow::Result<World> {
        let mut random = fastrand::Rng::new();
        let [kafka_port, controller, redis, replica, postgres] = free_ports(&mut random)?;
        let [kafka_proxy, redis_proxy, postgres_proxy] = free_ports(&mut random)?;
        let kafka_log = logs.join("kafka.log");
        let kafka = Kafka::start(&root.join("kafka"), &kafka_log, [kafka_port, controller], kafka_proxy).await?;
        let kafka_proxy = Proxy::start(kafka_proxy, kafka_port).await?;
        let redis = Redis::start(&root.join("redis"), logs, [redis, replica]).await?;
        let redis_proxy = Proxy::start(redis_proxy, redis.primary.port()).await?;
        let postgres_port = postgres;
        let postgres = Postgres::start(&root.join("postgres"), &logs.join("postgres.log"), postgres_port).await?;
        let postgres_proxy = Proxy::start(postgres_proxy, postgres_port).await?;
        let brokers = format!("127.0.0.1:{}", kafka_proxy.port());
        Kafka::create_topic(&brokers, TOPIC, freshness::PARTITIONS.cast_signed()).await?;
        let disk = Disk::new(&root.join("offline"), minutes)?;
        let shared = Shared {
            brokers: brokers.clone(),
            redis: format!("redis://127.0.0.1:{}", redis_proxy.port()),
            registry: format!("postgres://freshet@127.0.0.1:{}/postgres", postgres_proxy.port()),
            offline: disk.folder().to_owned(),
            logs: logs.to_owned(),
            data: root.to_owned(),
        };
        let fleet = Fleet::new(&shared, &free_ports::<20>(&mut random)?[..workers + 3]);
        Ok(World {
            began: Instant::now(),
            api: Api::new(fleet.apis.each_ref().map(|api| api.url.clone()))?,
            fleet,
            freshness: Freshness::new(),
            refusals: Refusals::default(),
            disturbances: Disturbances::default(),
            journal: Journal::default(),
            kafka: Mutex::new(kafka),
            redis: Mutex::new(redis),
            kafka_proxy,
            redis_proxy,
            postgres_proxy,
            postgres_port,
            disk,
            brokers,
            _postgres: postgres,
        })
    }

    /// Starts all members but the worker that comes and goes, and applies the definitions.
    pub async fn start_fleet(&self, definitions: &str) -> anyhow::Result<()> {
        let members = || self.fleet.all().filter(|member| !std::ptr::eq(*member, self.fleet.spare()));
        for member in members() {
            member.hold().await.start().await?;
        }
        for member in members() {
            ensure!(self.is_ready(member, START).await, "{} is not ready after {START:?}", member.name);
        }
        self.api.apply(definitions).await?;
        for api in &self.fleet.apis {
            while !self.api.page(&api.url, "/v1/definitions").await.is_some_and(|page| page.contains("item_totals")) {
                sleep(TURN).await;
            }
        }
        Ok(())
    }

    /// A worker that runs and that nothing is done to, with the partitions that it has; waits until there is one.
    pub async fn busy_worker(&self, random: &mut fastrand::Rng) -> (Held<'_>, Vec<u32>) {
        loop {
            let workers = &self.fleet.workers;
            let held = workers[random.usize(..workers.len())].try_hold().filter(Held::is_running);
            if let Some(held) = held {
                let partitions = self.partitions_of(held.member).await;
                if !partitions.is_empty() {
                    return (held, partitions);
                }
            }
            sleep(TURN).await;
        }
    }

    /// Which partitions a worker has, as its metrics say.
    pub async fn partitions_of(&self, worker: &Member) -> Vec<u32> {
        let page = self.api.page(&worker.url, "/metrics").await.unwrap_or_default();
        let lags = page.lines().filter(|line| line.starts_with("freshet_lag_records{"));
        lags.filter_map(|line| line.split("partition=\"").nth(1)?.split('"').next()?.parse().ok()).collect()
    }

    /// Waits until a member says that it is ready.
    pub async fn is_ready(&self, member: &Member, patience: Duration) -> bool {
        let began = Instant::now();
        while began.elapsed() < patience {
            if self.api.page(&member.url, "/readyz").await.is_some() {
                return true;
            }
            sleep(TURN).await;
        }
        false
    }
}
