//! Seeding: what the archive has of each row, folded in bulk and written to the online store as parts of it: the part of
//! history files, or those of the log's partitions up to a **cut**.
//!
//! ```text
//! archive, up to the cut ─► events by (entity, partition, offset), in lanes ─► parts ─► the store, by shard
//!                                                                            and last ─► its offsets, to the cut
//! ```
//!
//! Promises: a part is what the stream makes of the same records, by the same fold in the same order. Parts are absolute
//! images, and in a shard the offset of a partition is below the cut until all of them are there. So a seeding that died
//! is simply done again with the same cut, nobody takes half a seeding for all of it, and whoever folds on begins at
//! exactly the cut. Of two that seed one version the later one's claim refuses the earlier one's writes.
//!
//! It does not decide when to seed, nor who does; and that nobody else folds below the cut is its caller's concern.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::backfill::Error;
use crate::batch::Resources;
use crate::kernel::definition::Source;
use crate::kernel::key::Shard;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;
use crate::offline::{self, Archive};
use crate::online::{Nonce, OnlineStore, PartWrite};

use fold::fold;
use writer::Writer;

mod fold;
#[cfg(test)]
mod tests;
mod writer;

/// Calls that wait for the store.
const WAITING: usize = 16;

#[derive(Clone)]
pub struct Seeding {
    pub archive: Archive,
    pub view: Arc<ViewPlan>,
    /// For each partition that is seeded, or for history, the offset that its records are below. Commits end there.
    pub cut: BTreeMap<u32, u64>,
    pub now: EventTime,
    pub resources: Resources,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seeded {
    Done {
        /// That are in the rows. None where an earlier seeding had written all of it.
        events: u64,
    },
    /// Somebody else began after us, and goes on.
    TakenOver,
}

/// Parts of one shard.
struct Write {
    shard: Shard,
    parts: Vec<PartWrite>,
}

/// Writes the parts of every row. `nonce` is drawn for this call.
pub async fn seed(online: &dyn OnlineStore, seeding: Seeding, nonce: Nonce) -> Result<Seeded, Error> {
    let mut writer = Writer::claim(online, seeding.view.rows, seeding.cut.clone(), nonce).await?;
    if writer.is_done() {
        return Ok(Seeded::Done { events: 0 });
    }
    let (writes, mut written) = mpsc::channel(WAITING);
    let shards = online.shards();
    // Sorting blocks, and its threads end with the call: they notice when nobody takes what they fold.
    let folded = spawn_blocking(move || fold(&seeding, shards, &writes));
    while let Some(write) = written.recv().await {
        if !writer.write(write).await? {
            return Ok(Seeded::TakenOver);
        }
    }
    let events = folded.await.expect("folding the archive does not panic")?;
    Ok(if writer.finish().await? { Seeded::Done { events } } else { Seeded::TakenOver })
}

/// Up to where the archive can give the rows of a new generation: the ends of those partitions of which it has all that
/// the log has from its start, `held`. Nothing where that is less than `least` records, which the stream folds as soon.
pub fn cut(
    archive: &Archive,
    source: &Source,
    held: &[Range<u64>],
    least: u64,
) -> Result<BTreeMap<u32, u64>, offline::Error> {
    let (mut cut, mut records) = (BTreeMap::new(), 0);
    for (partition, held) in (0..).zip(held) {
        let Some(start) = archive.start(source, partition)? else { continue };
        let Some(end) = archive.position(source, partition)? else { continue };
        if start <= held.start && end <= held.end {
            cut.insert(partition, end);
            records += end - start;
        }
    }
    Ok(if records < least { BTreeMap::new() } else { cut })
}
