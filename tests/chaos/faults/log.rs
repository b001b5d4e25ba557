//! The broker: SIGKILL, and a start in the same folder.

use std::time::Duration;

use tokio::time::sleep;

use crate::disturbance::Reach;
use crate::faults::{Begun, Fault};
use crate::freshness::all_partitions;
use crate::world::World;

pub(super) async fn kill(world: &World, mut random: fastrand::Rng) -> anyhow::Result<()> {
    let mut kafka = world.kafka.lock().await;
    let begun = Begun::now(world, Fault::BrokerKilled, Reach::Log);
    kafka.kill()?;
    sleep(Duration::from_millis(random.u64(..3_000))).await;
    kafka.start_again().await?;
    let away = begun.at.elapsed();
    let healed = begun.healed(&all_partitions()).await;
    let detected = format!("lookups fell up to {:.1} s behind", away.as_secs_f64());
    begun.end(format!("away for {:.1} s", away.as_secs_f64()), Some(detected), healed);
    Ok(())
}
