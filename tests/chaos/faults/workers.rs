//! Stream workers: killed and started again at once, frozen beyond their session, added and removed.

use std::time::Duration;

use freshet::clock::Clock;
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::disturbance::Reach;
use crate::faults::{Begun, Fault, PATIENCE};
use crate::fleet::{Held, SESSION_TIMEOUT_MS};
use crate::freshness::all_partitions;
use crate::refusals::refused_by;
use crate::world::World;

/// SIGKILL, and a start at once under the same instance id: the partitions are still its own. Recovered once lookups
/// of these partitions are fresh, from the kill on.
pub(super) async fn kill(world: &World, mut random: fastrand::Rng) -> anyhow::Result<()> {
    let (mut worker, partitions) = world.busy_worker(&mut random).await;
    let begun = Begun::now(world, Fault::WorkerKilled, Reach::Member);
    worker.kill()?;
    let killed = Clock::System.now();
    worker.start().await?;
    let healed = world.freshness.recovers(&partitions, killed, begun.at, PATIENCE).await;
    let target = format!("{} with partitions {partitions:?}", worker.member.name);
    begun.end(target, healed.map(|_| "it took up where the store was".to_owned()), healed);
    Ok(())
}

/// SIGSTOP until the group has given its partitions to others, then SIGCONT: what it still wants to write must be
/// refused.
pub(super) async fn freeze(world: &World, mut random: fastrand::Rng) -> anyhow::Result<()> {
    let (worker, partitions) = world.busy_worker(&mut random).await;
    let begun = Begun::now(world, Fault::WorkerFrozen, Reach::Group);
    let before = refused_by(&world.api, worker.member, "replaced").await;
    worker.signal(Signal::SIGSTOP)?;
    let frozen = Clock::System.now();
    sleep(Duration::from_millis(SESSION_TIMEOUT_MS)).await;
    let taken_over = world.freshness.recovers(&partitions, frozen, begun.at, PATIENCE).await;
    worker.signal(Signal::SIGCONT)?;
    let refused = refused_since(world, &worker, before).await;
    let healed = begun.healed(&all_partitions()).await;
    let took_over = taken_over.map_or("never".to_owned(), |time| format!("in {:.1} s", time.as_secs_f64()));
    let target = format!("{} with partitions {partitions:?}, taken over {took_over}", worker.member.name);
    begun.end(target, refused.map(|count| format!("{count} of its flushes were refused")), taken_over.and(healed));
    Ok(())
}

/// The spare worker joins where it is out, and leaves (SIGTERM) where it is in.
pub(super) async fn come_or_go(world: &World) -> anyhow::Result<()> {
    let mut spare = world.fleet.spare().hold().await;
    let begun = Begun::now(world, Fault::WorkerCameOrWent, Reach::Group);
    let (target, detected) = if spare.is_running() {
        let partitions = world.partitions_of(spare.member).await;
        spare.stop().await?;
        let began = Instant::now();
        let taken = world.freshness.recovers(&partitions, Clock::System.now(), began, PATIENCE).await;
        let detected = taken.map(|time| format!("the others had them {:.1} s after it was gone", time.as_secs_f64()));
        (format!("{} left partitions {partitions:?}", spare.member.name), detected)
    } else {
        spare.start().await?;
        let partitions = gets_partitions(world, &spare).await;
        (format!("{} came", spare.member.name), partitions.map(|partitions| format!("it got {partitions:?}")))
    };
    let healed = begun.healed(&all_partitions()).await;
    begun.end(target, detected, healed);
    Ok(())
}

async fn gets_partitions(world: &World, worker: &Held<'_>) -> Option<Vec<u32>> {
    let began = Instant::now();
    while began.elapsed() < PATIENCE {
        let partitions = world.partitions_of(worker.member).await;
        if !partitions.is_empty() {
            return Some(partitions);
        }
        sleep(Duration::from_millis(100)).await;
    }
    None
}

/// How many flushes of a zombie were refused, once one was.
async fn refused_since(world: &World, zombie: &Held<'_>, before: u64) -> Option<u64> {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(20) {
        let refused = refused_by(&world.api, zombie.member, "replaced").await;
        if refused > before {
            return Some(refused - before);
        }
        sleep(Duration::from_millis(100)).await;
    }
    None
}
