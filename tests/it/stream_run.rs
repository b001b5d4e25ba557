//! The stream's shell on a log on disk and a store in memory: what is written is caught up, taken up and let go.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use freshet::clock::Clock;
use freshet::event_log::embedded::EmbeddedLog;
use freshet::event_log::{self, Consumer, EventLog, NewRecord};
use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::key::{EntityKey, Shard};
use freshet::kernel::plan::{Fingerprint, ViewPlan, compile};
use freshet::kernel::time::{EventTime, Micros};
use freshet::online::{
    Advance, Applied, Claim, Error, Loaded, Memory, Nonce, OnlineStore, PartKey, PartWrite, StoredRow,
};
use freshet::stream::{Options, Progress, Settings, run};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

pub const SHARDS: u16 = 4;
pub const PARTITIONS: u32 = 2;

const DEFINITIONS: &str = r#"
kind: entity
name: user
keys: [{ name: user, type: string }]
---
kind: source
name: buys
event_time: { field: at, unit: ms }
schema: { version: 1, fields: [{ name: at, type: timestamp, required: true }, { name: user, type: string }] }
---
kind: source
name: visits
event_time: { field: at, unit: ms }
schema: { version: 1, fields: [{ name: at, type: timestamp, required: true }, { name: user, type: string }] }
---
kind: feature_view
name: buys_of
entity: user
source: buys
features: [{ name: buys, aggregate: count }]
---
kind: feature_view
name: buys_idle
entity: user
source: buys
features: [{ name: idle, aggregate: seconds_since_last }]
---
kind: feature_view
name: visits_of
entity: user
source: visits
features: [{ name: visits, aggregate: count }]
"#;

#[tokio::test]
async fn views_are_caught_up_as_they_come_and_a_shutdown_leaves_nothing_unflushed() {
    let folder = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(folder.path()).expect("an empty folder"));
    let store = Arc::new(Memory::new(SHARDS));
    let views = views();
    for topic in ["buys", "visits"] {
        log.create_topic(topic, PARTITIONS).await.expect("a new topic");
        append(&*log, topic, 60).await;
    }
    let using = async |stream: &mut Stream| {
        for (index, view) in views.iter().enumerate() {
            stream.versions.send_replace(views[..=index].to_vec());
            caught_up(&mut stream.progress, view.fingerprint).await;
        }
        append(&*log, "buys", 30).await;
        append(&*log, "buys", 1).await;
        let folded = |progress: &Progress| progress.partitions.values().map(|partition| partition.folded).sum::<u64>();
        stream.progress.wait_for(|progress| folded(progress) == 151).await.expect("the stream runs");
    };
    let stream = run_while(log.clone(), store.clone(), views[..1].to_vec(), using).await;
    for (view, records) in views.iter().zip([91, 91, 60]) {
        let offsets = store.offsets(view.fingerprint).await.expect("memory does not fail");
        assert_eq!(offsets.len(), usize::from(SHARDS) * PARTITIONS as usize);
        let stored: u64 = offsets.iter().map(|(_, _, offset)| offset).sum();
        assert_eq!(stored, records * u64::from(SHARDS), "{}", view.name);
    }
    assert!(stream.progress.borrow().partitions.is_empty());
}

#[tokio::test]
async fn a_topic_that_is_missing_holds_up_the_others_until_it_is_no_longer_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(folder.path()).expect("an empty folder"));
    log.create_topic("buys", PARTITIONS).await.expect("a new topic");
    append(&*log, "buys", 60).await;
    let views = views();
    let using = async |stream: &mut Stream| {
        // It has tried to join by then.
        stream.progress.changed().await.expect("the stream runs");
        stream.versions.send_replace(views[..1].to_vec());
        caught_up(&mut stream.progress, views[0].fingerprint).await;
    };
    run_while(log, Arc::new(Memory::new(SHARDS)), views.clone(), using).await;
}

/// A log of which those who are asked hear of the last partition later than those who assign it.
struct Lagging {
    log: EmbeddedLog,
    looks: AtomicUsize,
}

#[async_trait]
impl EventLog for Lagging {
    async fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), event_log::Error> {
        self.log.create_topic(topic, partitions).await
    }

    async fn bounds(&self, topic: &str) -> Result<Vec<Range<u64>>, event_log::Error> {
        let mut bounds = self.log.bounds(topic).await?;
        if self.looks.fetch_add(1, Ordering::SeqCst) < 3 {
            bounds.pop();
        }
        Ok(bounds)
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<(u32, u64)>, event_log::Error> {
        self.log.append(topic, records).await
    }

    async fn consumer(&self, group: &str, topics: &[String]) -> Result<Box<dyn Consumer>, event_log::Error> {
        self.log.consumer(group, topics).await
    }

    async fn takes_replay(&self, topic: &str) -> Result<(), event_log::Error> {
        self.log.takes_replay(topic).await
    }
}

#[tokio::test]
async fn a_partition_that_is_assigned_before_it_is_known_everywhere_is_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = EmbeddedLog::open(folder.path()).expect("an empty folder");
    log.create_topic("buys", PARTITIONS).await.expect("a new topic");
    append(&log, "buys", 60).await;
    let log: Arc<dyn EventLog> = Arc::new(Lagging { log, looks: AtomicUsize::new(0) });
    let view = views().remove(0);
    let using = async |stream: &mut Stream| {
        let caught_up = caught_up(&mut stream.progress, view.fingerprint);
        timeout(Duration::from_secs(60), caught_up).await.expect("it is read");
    };
    run_while(log, Arc::new(Memory::new(SHARDS)), vec![view.clone()], using).await;
}

/// A store that takes no flush while it is full, and answers everything else.
struct Full {
    store: Memory,
    is_full: AtomicBool,
}

#[async_trait]
impl OnlineStore for Full {
    fn shards(&self) -> u16 {
        self.store.shards()
    }

    async fn apply(&self, shard: Shard, advances: &[Advance], rows: &[PartWrite]) -> Result<Applied, Error> {
        match self.is_full.load(Ordering::SeqCst) {
            true => Err(Error::Unavailable("it is full".to_owned())),
            false => self.store.apply(shard, advances, rows).await,
        }
    }

    async fn claim(&self, shard: Shard, claims: &[Claim], nonce: Nonce) -> Result<Vec<u64>, Error> {
        self.store.claim(shard, claims, nonce).await
    }

    async fn load(&self, keys: &[PartKey]) -> Result<Vec<Loaded>, Error> {
        self.store.load(keys).await
    }

    async fn read(&self, rows: &[(Fingerprint, EntityKey)]) -> Result<Vec<Option<StoredRow>>, Error> {
        self.store.read(rows).await
    }

    async fn offsets(&self, version: Fingerprint) -> Result<Vec<(Shard, u32, u64)>, Error> {
        self.store.offsets(version).await
    }

    async fn complete(&self, version: Fingerprint, goals: &[(u32, u64)]) -> Result<bool, Error> {
        self.store.complete(version, goals).await
    }

    async fn is_complete(&self, version: Fingerprint) -> Result<bool, Error> {
        self.store.is_complete(version).await
    }

    async fn expire(&self, now: EventTime) -> Result<usize, Error> {
        self.store.expire(now).await
    }

    async fn remove(&self, version: Fingerprint) -> Result<(), Error> {
        self.store.remove(version).await
    }
}

#[tokio::test]
async fn a_worker_whose_every_flush_fails_for_long_says_why_until_one_gets_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(folder.path()).expect("an empty folder"));
    let store = Arc::new(Full { store: Memory::new(SHARDS), is_full: AtomicBool::new(true) });
    log.create_topic("buys", PARTITIONS).await.expect("a new topic");
    append(&*log, "buys", 60).await;
    let view = views().remove(0);
    let using = async |stream: &mut Stream| {
        let progress = &mut stream.progress;
        let blocked = progress.wait_for(|progress| progress.blocked.is_some()).await.expect("the stream runs");
        assert_eq!(blocked.blocked.as_deref(), Some("the online store is not available: it is full"));
        drop(blocked);
        store.is_full.store(false, Ordering::SeqCst);
        progress.wait_for(|progress| progress.blocked.is_none()).await.expect("the stream runs");
        caught_up(progress, view.fingerprint).await;
    };
    run_while(log, store.clone(), vec![view.clone()], using).await;
}

/// What a stream that runs is told, and tells.
struct Stream {
    versions: watch::Sender<Vec<Arc<ViewPlan>>>,
    progress: watch::Receiver<Progress>,
}

/// Runs a stream, first of `versions`, for as long as it is used; as it is left.
async fn run_while(
    log: Arc<dyn EventLog>,
    store: Arc<dyn OnlineStore>,
    versions: Vec<Arc<ViewPlan>>,
    using: impl AsyncFnOnce(&mut Stream),
) -> Stream {
    let (versions, wanted) = watch::channel(versions);
    let (published, progress) = watch::channel(Progress::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { stopped.await.expect("the test says when") };
    let mut stream = Stream { versions, progress };
    let used = async {
        using(&mut stream).await;
        stop.send(()).expect("the stream runs");
    };
    let (result, ()) = tokio::join!(run(log, store, wanted, published, Clock::System, options(), shutdown), used);
    result.expect("nothing fails");
    stream
}

pub fn options() -> Options {
    let grace = std::time::Duration::from_secs(60);
    Options { group: "freshet".into(), worker: Settings::default(), grace }
}

pub async fn caught_up(progress: &mut watch::Receiver<Progress>, version: Fingerprint) {
    let is_caught_up = |progress: &Progress| progress.is_caught_up(version, PARTITIONS as usize);
    progress.wait_for(is_caught_up).await.expect("the stream runs");
}

pub async fn append(log: &dyn EventLog, topic: &str, count: usize) {
    let now = EventTime::MIN + Micros::DAY;
    let record = |index: usize| {
        let value = format!(r#"{{"at": {}, "user": "u{}"}}"#, now.micros() / 1_000, index % 7);
        NewRecord { key: None, value: value.into(), ingestion_time: now }
    };
    log.append(topic, (0..count).map(record).collect()).await.expect("the log takes it");
}

pub fn views() -> Vec<Arc<ViewPlan>> {
    let file = SourceText { path: "buys.yaml".into(), text: DEFINITIONS.into() };
    compile(&parse(&[file]).expect("the definitions are right")).views
}
