//! The faults: which there are, how many, when. What each does is in a file of its own.

mod log;
mod members;
mod offline;
mod store;
mod workers;

use std::time::Duration;

use freshet::clock::Clock;
use tokio::time::Instant;

use crate::arguments::Arguments;
use crate::disturbance::{Disturbance, Reach};
use crate::journal::Entry;
use crate::positions;
use crate::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    WorkerKilled,
    WorkerFrozen,
    WorkerCameOrWent,
    ApiKilled,
    ArchiveKilled,
    BrokerKilled,
    RedisKilled,
    RedisFailedOver,
    ConnectionsCut,
    RedisSlow,
    RegistryAway,
    DiskFull,
}

/// Name, and how many in an hour. Of each there is one at least.
const FAULTS: [(Fault, &str, f64); 12] = [
    (Fault::WorkerKilled, "worker killed", 510.0),
    (Fault::WorkerFrozen, "worker frozen", 75.0),
    (Fault::WorkerCameOrWent, "worker came or went", 24.0),
    (Fault::ApiKilled, "API server killed", 30.0),
    (Fault::ArchiveKilled, "archive killed", 30.0),
    (Fault::BrokerKilled, "broker killed", 12.0),
    (Fault::RedisKilled, "Redis killed", 75.0),
    (Fault::RedisFailedOver, "Redis failed over", 36.0),
    (Fault::ConnectionsCut, "connections cut", 48.0),
    (Fault::RedisSlow, "Redis slow", 18.0),
    (Fault::RegistryAway, "registry away", 9.0),
    (Fault::DiskFull, "disk full", 9.0),
];

/// How long a system may take to be well again.
const PATIENCE: Duration = Duration::from_secs(90);

impl Fault {
    pub fn name(self) -> &'static str {
        FAULTS.iter().find(|(fault, ..)| *fault == self).expect("every fault is listed").1
    }

    pub async fn inject(self, world: &World, random: fastrand::Rng) -> anyhow::Result<()> {
        match self {
            Fault::WorkerKilled => workers::kill(world, random).await,
            Fault::WorkerFrozen => workers::freeze(world, random).await,
            Fault::WorkerCameOrWent => workers::come_or_go(world).await,
            Fault::ApiKilled => members::kill_api(world, random).await,
            Fault::ArchiveKilled => members::kill_archive(world, random).await,
            Fault::BrokerKilled => log::kill(world, random).await,
            Fault::RedisKilled => store::kill(world, random).await,
            Fault::RedisFailedOver => store::fail_over(world, random).await,
            Fault::ConnectionsCut => members::cut(world, random).await,
            Fault::RedisSlow => store::slow_down(world, random).await,
            Fault::RegistryAway => members::take_registry_away(world, random).await,
            Fault::DiskFull => offline::fill_disk(world, random).await,
        }
    }
}

/// What is done when, in order: the same for the same seed.
pub fn schedule(arguments: &Arguments) -> Vec<(Duration, Fault)> {
    let duration = arguments.duration();
    let mut random = fastrand::Rng::with_seed(arguments.seed);
    let mut schedule = Vec::new();
    for (fault, name, hourly) in FAULTS {
        let count = (hourly * duration.as_secs_f64() / 3_600.0).ceil() as usize;
        let times: Vec<Duration> = (0..count).map(|_| duration.mul_f64(random.f64())).collect();
        if arguments.only.as_ref().is_none_or(|only| only == name) {
            schedule.extend(times.into_iter().map(|at| (at, fault)));
        }
    }
    schedule.sort_by_key(|(at, _)| *at);
    schedule
}

/// A fault that is under way, to be told of when it is over.
struct Begun<'a> {
    world: &'a World,
    fault: Fault,
    at: Instant,
    disturbance: Disturbance<'a>,
}

impl<'a> Begun<'a> {
    fn now(world: &'a World, fault: Fault, reach: Reach) -> Begun<'a> {
        Begun { world, fault, at: Instant::now(), disturbance: world.disturbances.begin(reach) }
    }

    /// Waits until lookups of these partitions see what happens from now on.
    async fn healed(&self, partitions: &[u32]) -> Option<Duration> {
        self.world.freshness.recovers(partitions, Clock::System.now(), self.at, PATIENCE).await
    }

    /// Waits until the archive holds what the log holds now.
    async fn archived(&self, patience: Duration) -> anyhow::Result<Option<Duration>> {
        let reached = positions::archived(self.world, patience).await?;
        Ok(reached.then(|| self.at.elapsed()))
    }

    fn end(self, target: String, detected: Option<String>, healed: Option<Duration>) {
        let (fault, at) = (self.fault.name(), self.at - self.world.began);
        let alone = self.disturbance.was_alone();
        self.world.journal.note(Entry { fault, at, target, detected, healed, alone });
    }
}
