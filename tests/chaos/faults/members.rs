//! What hits API servers, the archive, connections and the registry.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::disturbance::Reach;
use crate::faults::{Begun, Fault, PATIENCE};
use crate::fleet::Held;
use crate::freshness::all_partitions;
use crate::world::World;

/// The other one answers meanwhile; both are never away at once.
pub(super) async fn kill_api(world: &World, mut random: fastrand::Rng) -> anyhow::Result<()> {
    let [one, other] = &world.fleet.apis;
    let (mut one, mut other) = (one.hold().await, other.hold().await);
    let victim = if random.bool() { &mut one } else { &mut other };
    let begun = Begun::now(world, Fault::ApiKilled, Reach::Member);
    let ready = kill_for_a_moment(world, victim, &mut random).await?;
    let healed = begun.healed(&all_partitions()).await;
    begun.end(victim.member.name.clone(), ready, healed);
    Ok(())
}

pub(super) async fn kill_archive(world: &World, mut random: fastrand::Rng) -> anyhow::Result<()> {
    let mut archive = world.fleet.archive.hold().await;
    let begun = Begun::now(world, Fault::ArchiveKilled, Reach::Member);
    let ready = kill_for_a_moment(world, &mut archive, &mut random).await?;
    let healed = begun.archived(PATIENCE).await?;
    begun.end(archive.member.name.clone(), ready, healed);
    Ok(())
}

async fn kill_for_a_moment(
    world: &World,
    victim: &mut Held<'_>,
    random: &mut fastrand::Rng,
) -> anyhow::Result<Option<String>> {
    victim.kill()?;
    sleep(Duration::from_millis(random.u64(..2_000))).await;
    victim.start().await?;
    Ok(world.is_ready(victim.member, PATIENCE).await.then(|| "it was ready again".to_owned()))
}

/// All connections to one server at once.
pub(super) async fn cut(world: &World, mut random: fastrand::Rng) -> anyhow::Result<()> {
    let (name, proxy, reach) = match random.u32(..4) {
        0 => ("Kafka", &world.kafka_proxy, Reach::Log),
        1 => ("PostgreSQL", &world.postgres_proxy, Reach::Registry),
        _ => ("Redis", &world.redis_proxy, Reach::Store),
    };
    let begun = Begun::now(world, Fault::ConnectionsCut, reach);
    let cut = proxy.cut();
    let healed = begun.healed(&all_partitions()).await;
    let back = proxy.open_connections();
    begun.end(format!("{cut} to {name}"), (back > 0).then(|| format!("{back} were there again")), healed);
    Ok(())
}

/// Nobody reaches PostgreSQL for some seconds: lookups and the stream go on with what they know.
pub(super) async fn take_registry_away(world: &World, mut random: fastrand::Rng) -> anyhow::Result<()> {
    let begun = Begun::now(world, Fault::RegistryAway, Reach::Registry);
    let away = Duration::from_millis(random.u64(3_000..8_000));
    world.postgres_proxy.refuse();
    // No longer than that: a worker that another fault kills meanwhile comes back only once the registry does.
    let went_on = timeout(away, begun.healed(&all_partitions())).await.ok().flatten();
    sleep(away.saturating_sub(begun.at.elapsed())).await;
    world.postgres_proxy.point_to(world.postgres_port);
    let target = format!("for {:.1} s", begun.at.elapsed().as_secs_f64());
    let healed = begun.healed(&all_partitions()).await;
    let how = if went_on.is_some() { "lookups and stream went on without it" } else { "they went on when it was back" };
    let detected = healed.map(|_| how.to_owned());
    begun.end(target, detected, healed);
    Ok(())
}
