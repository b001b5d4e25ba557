//! Redis: killed and started again, failed over to a replica that lags, slowed down.

use std::fs::File;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::disturbance::Reach;
use crate::faults::{Begun, Fault};
use crate::freshness::all_partitions;
use crate::positions;
use crate::servers::redis::Server;
use crate::world::World;

/// SIGKILL, and a start on its append-only file. A killed process loses nothing that it had written to that file, so
/// half of the times the end of it is cut off, as a power cut would: up to a second of acknowledged writes.
pub(super) async fn kill(world: &World, mut random: fastrand::Rng) -> anyhow::Result<()> {
    let mut redis = world.redis.lock().await;
    let begun = Begun::now(world, Fault::RedisKilled, Reach::Store);
    let rewound = world.refusals.total("rewound");
    let safe = redis.primary.appended()?;
    let unsafe_for = Duration::from_millis(if random.bool() { random.u64(100..1_000) } else { 0 });
    sleep(unsafe_for).await;
    redis.primary.kill()?;
    let cut = if unsafe_for.is_zero() { 0 } else { cut_off(&redis.primary, &safe)? };
    sleep(Duration::from_millis(random.u64(..1_000))).await;
    redis.primary.start_again().await?;
    let healed = begun.healed(&all_partitions()).await;
    let detected = if cut == 0 { healed.map(|_| "all came back".to_owned()) } else { noticed(world, rewound).await };
    begun.end(format!("{cut} bytes of its file cut off"), detected, healed);
    Ok(())
}

/// Back to the length that the file had some time ago; how many bytes that loses. Nothing if Redis began a new file
/// meanwhile.
fn cut_off(server: &Server, (path, length): &(std::path::PathBuf, u64)) -> anyhow::Result<u64> {
    let (newest, end) = server.appended()?;
    if newest != *path {
        return Ok(0);
    }
    File::options().write(true).open(path)?.set_len(*length)?;
    Ok(end - length)
}

/// The replica stops following, the primary goes on acknowledging for a moment, and dies. That its last writes are
/// lost is seen by comparing the positions of shards in both before.
pub(super) async fn fail_over(world: &World, mut random: fastrand::Rng) -> anyhow::Result<()> {
    let mut redis = world.redis.lock().await;
    redis.replica_follows().await?;
    let begun = Begun::now(world, Fault::RedisFailedOver, Reach::Store);
    let rewound = world.refusals.total("rewound");
    redis.replica.stop_following().await?;
    sleep(Duration::from_millis(random.u64(200..1_000))).await;
    let [kept, acknowledged] = [&redis.replica, &redis.primary].map(Server::url);
    let (kept, acknowledged) = (positions::of(&kept).await?, positions::of(&acknowledged).await?);
    let lost = positions::ahead(&acknowledged, &kept);
    let promoted = redis.replica.port();
    redis.fail_over().await?;
    world.redis_proxy.point_to(promoted);
    let healed = begun.healed(&all_partitions()).await;
    let detected = if lost.shards == 0 { None } else { noticed(world, rewound).await };
    let target = format!("{} records of {} shards lost, as was confirmed", lost.records, lost.shards);
    begun.end(target, detected, healed);
    Ok(())
}

/// Every answer of Redis comes late for some seconds.
pub(super) async fn slow_down(world: &World, mut random: fastrand::Rng) -> anyhow::Result<()> {
    let _turn = world.redis.lock().await;
    let begun = Begun::now(world, Fault::RedisSlow, Reach::Log);
    let delay = Duration::from_millis(random.u64(20..150));
    world.redis_proxy.delay(delay);
    sleep(Duration::from_millis(random.u64(3_000..8_000))).await;
    let lag = world.freshness.lag();
    world.redis_proxy.delay(Duration::ZERO);
    let healed = begun.healed(&all_partitions()).await;
    begun.end(format!("by {delay:?} each way"), Some(format!("lookups were {} behind", lag)), healed);
    Ok(())
}

/// Whether workers were refused because the store went back.
async fn noticed(world: &World, before: u64) -> Option<String> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        let refused = world.refusals.total("rewound") - before;
        if refused > 0 {
            return Some(format!("{refused} flushes were refused, and folded again"));
        }
        sleep(Duration::from_millis(100)).await;
    }
    None
}
