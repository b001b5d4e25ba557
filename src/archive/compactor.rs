//! Has lanes compacted that have gathered enough small commits: one lane at a time, beside the archiving, which does not
//! wait for it. What is not compacted when a session ends is compacted by a later one.

use std::collections::BTreeMap;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::task::spawn_blocking;

use crate::archive::lanes::{Chunk, LaneId};
use crate::offline::{Archive, Compaction};

pub(super) struct Compactor {
    archive: Archive,
    compaction: Compaction,
    /// What lanes have gathered since they were compacted, or this session began.
    gathered: BTreeMap<LaneId, Gathered>,
    under_way: FuturesUnordered<BoxFuture<'static, ()>>,
}

#[derive(Default)]
struct Gathered {
    commits: usize,
    records: usize,
}

impl Compactor {
    pub fn new(archive: Archive, compaction: Compaction) -> Compactor {
        Compactor { archive, compaction, gathered: BTreeMap::new(), under_way: FuturesUnordered::new() }
    }

    /// A commit has been made of the chunk.
    pub fn committed(&mut self, chunk: &Chunk) {
        let gathered = self.gathered.entry(chunk.lane()).or_default();
        gathered.commits += 1;
        gathered.records += chunk.records.len();
        let is_due = gathered.commits > self.compaction.commits_max || gathered.records > self.compaction.records_max;
        if is_due && self.under_way.is_empty() {
            self.gathered.remove(&chunk.lane());
            self.begin(chunk);
        }
    }

    /// Returns when a lane has been compacted; `None` while none is.
    pub async fn next(&mut self) -> Option<()> {
        self.under_way.next().await
    }

    fn begin(&self, chunk: &Chunk) {
        let (source, partition) = (chunk.source.clone(), chunk.span.partition);
        let (archive, compaction) = (self.archive.clone(), self.compaction);
        let compact = move || archive.compact(&source, partition, &compaction);
        let lane = chunk.lane();
        self.under_way.push(Box::pin(async move {
            loop {
                match spawn_blocking(compact.clone()).await.expect("compacting does not panic") {
                    Ok(Some(offsets)) => tracing::debug!(source = %lane.0, partition, ?offsets, "compacted"),
                    Ok(None) => return,
                    Err(error) => {
                        tracing::warn!(%error, cause = error.cause(), "commits of the archive stay as small as they are for now");
                        return;
                    }
                }
            }
        }));
    }
}
