//! The archive's disk is full for a while.

use std::time::Duration;

use tokio::time::sleep;

use crate::disturbance::Reach;
use crate::faults::{Begun, Fault, PATIENCE};
use crate::world::World;

/// As the system words it.
const FULL: &str = "No space left on device";

pub(super) async fn fill_disk(world: &World, mut random: fastrand::Rng) -> anyhow::Result<()> {
    if !world.disk.can_be_full() {
        return Ok(());
    }
    let archive = world.fleet.archive.hold().await;
    let begun = Begun::now(world, Fault::DiskFull, Reach::Member);
    let before = archive.log_lines_with(FULL)?;
    let full = world.disk.fill().await?;
    sleep(Duration::from_millis(random.u64(4_000..9_000))).await;
    let told = archive.log_lines_with(FULL)? - before;
    drop(full);
    let healed = begun.archived(PATIENCE).await?;
    begun.end("of the archive".to_owned(), (told > 0).then(|| format!("{told} lines of its log say so")), healed);
    Ok(())
}
