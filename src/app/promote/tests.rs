//! A promoter on an embedded log and a store in memory, with a writer that goes only as far as a test says.

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::app::shop;
use crate::event_log::NewRecord;
use crate::event_log::embedded::EmbeddedLog;
use crate::kernel::key::Shard;
use crate::kernel::time::EventTime;
use crate::offline::Folder;
use crate::online::{Advance, Applied, Claim, Memory, Nonce};
use crate::registry::Offsets;

const SHARDS: u16 = 4;
const WRITER: Nonce = Nonce(1);

/// A view of one partition that was applied a moment ago; the test is its only writer.
struct Build {
    promoter: Promoter,
    view: Arc<ViewPlan>,
    _folder: TempDir,
}

impl Build {
    async fn of(records: usize) -> Build {
        let folder = tempfile::tempdir().expect("a folder");
        let (registry, catalogues) = shop::applied(folder.path(), now()).await;
        let version = catalogues.current().plan.views[0].fingerprint;
        registry.begin_seed(version, 0, &Offsets::new()).await.expect("decided");
        registry.end_seed(version, 0).await.expect("noted");
        catalogues.refresh(&registry).await.expect("refreshes");
        let view = catalogues.current().versions[0].view.clone();
        let backends = Backends {
            log: Arc::new(EmbeddedLog::open(&folder.path().join("log")).expect("opens")),
            online: Arc::new(Memory::new(SHARDS)),
            registry: Arc::new(registry),
            folder: Folder::on_disk(folder.path(), &shop::project()),
        };
        backends.log.create_topic("buys", 1).await.expect("created");
        let claims = [Claim { version: view.rows, partition: 0, initial: 0 }];
        for shard in (0..SHARDS).map(Shard) {
            backends.online.claim(shard, &claims, WRITER).await.expect("claimed");
        }
        let build = Build { promoter: Promoter::new(&backends, catalogues, Clock::System), view, _folder: folder };
        build.append(records).await;
        build
    }

    async fn append(&self, records: usize) {
        let record = NewRecord { key: None, value: Bytes::from_static(b"{}"), ingestion_time: now() };
        self.promoter.log.append("buys", vec![record; records]).await.expect("appended");
    }

    /// Has the writer of a shard stand there.
    async fn fold(&self, shard: u16, to: u64) {
        let Build { promoter, view, .. } = self;
        let stored = promoter.online.offsets(view.rows).await.expect("read");
        let (_, partition, from) = stored[usize::from(shard)];
        let advance = Advance { version: view.rows, partition, nonce: WRITER, from, to };
        let outcome = promoter.online.apply(Shard(shard), &[advance], &[]).await.expect("applied");
        assert_eq!(outcome, Applied::Done);
    }

    async fn fold_all(&self, to: u64) {
        for shard in 0..SHARDS {
            self.fold(shard, to).await;
        }
    }

    /// As if it had gone on for this much longer.
    fn take(&mut self, longer: Duration) {
        let goal = self.promoter.goals.get_mut(&self.view.rows).expect("it was looked at before");
        goal.taken -= longer;
    }

    /// After one more look.
    async fn is_live(&mut self) -> bool {
        self.promoter.look().await.expect("all parts are there");
        self.promoter.catalogues.current().versions[0].state == VersionState::Live
    }
}

fn now() -> EventTime {
    Clock::System.now()
}

#[tokio::test]
async fn a_version_is_not_served_while_a_single_shard_lacks_what_the_log_held() {
    let mut build = Build::of(10).await;
    assert!(!build.is_live().await, "nothing is folded");
    for shard in 1..SHARDS {
        build.fold(shard, 10).await;
    }
    build.fold(0, 9).await;
    assert!(!build.is_live().await, "one shard lacks one event");
    build.fold(0, 10).await;
    assert!(build.is_live().await);
}

#[tokio::test]
async fn a_version_that_took_long_is_not_served_before_it_has_what_came_meanwhile() {
    let mut build = Build::of(10).await;
    assert!(!build.is_live().await);
    build.append(5).await;
    build.fold_all(10).await;
    build.take(10 * NEAR);
    assert!(!build.is_live().await, "it has what the log held ten seconds ago");
    assert!(!build.is_live().await, "and so it has at the next look");
    build.fold(0, 15).await;
    assert!(build.is_live().await, "shards without events are moved on later");
}

#[tokio::test]
async fn a_version_that_was_built_at_once_is_served_without_another_goal() {
    let mut build = Build::of(10).await;
    assert!(!build.is_live().await);
    build.append(5).await;
    build.fold_all(10).await;
    assert!(build.is_live().await);
}

#[test]
fn a_version_gets_another_goal_as_long_as_that_brings_it_nearer_to_the_log() {
    let is_the_last = |before: Option<u64>, took: u64| {
        let before = before.map(Duration::from_secs);
        Goal { places: Vec::new(), taken: Instant::now(), before }.is_the_last(Duration::from_secs(took))
    };
    assert!(is_the_last(None, 1), "it is there");
    assert!(!is_the_last(None, 3_600), "the events of an hour came meanwhile");
    assert!(!is_the_last(Some(3_600), 60));
    assert!(is_the_last(Some(60), 58), "it reads no faster than events come");
}
