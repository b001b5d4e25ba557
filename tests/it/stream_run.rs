//! The stream's shell on a log on disk and a store in memory: what is written is caught up, taken up and let go.

use std::sync::Arc;

use freshet::clock::Clock;
use freshet::event_log::embedded::EmbeddedLog;
use freshet::event_log::{EventLog, NewRecord};
use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::plan::{Fingerprint, ViewPlan, compile};
use freshet::kernel::time::{EventTime, Micros};
use freshet::online::{Memory, OnlineStore};
use freshet::stream::{Options, Progress, Settings, run};
use tokio::sync::{oneshot, watch};

const SHARDS: u16 = 4;
const PARTITIONS: u32 = 2;

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
    let (versions, wanted) = watch::channel(vec![views[0].clone()]);
    let (published, mut progress) = watch::channel(Progress::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { stopped.await.expect("the test says when") };
    let running = run(log.clone(), store.clone(), wanted, published, Clock::System, options(), shutdown);

    let using = async {
        for (index, view) in views.iter().enumerate() {
            versions.send_replace(views[..=index].to_vec());
            caught_up(&mut progress, view.fingerprint).await;
        }
        append(&*log, "buys", 30).await;
        append(&*log, "buys", 1).await;
        let folded = |progress: &Progress| progress.partitions.values().map(|partition| partition.folded).sum::<u64>();
        progress.wait_for(|progress| folded(progress) == 151).await.expect("the stream runs");
        stop.send(()).expect("the stream runs");
    };
    let (result, ()) = tokio::join!(running, using);
    result.expect("nothing fails");
    for (view, records) in views.iter().zip([91, 91, 60]) {
        let offsets = store.offsets(view.fingerprint).await.expect("memory does not fail");
        assert_eq!(offsets.len(), usize::from(SHARDS) * PARTITIONS as usize);
        let stored: u64 = offsets.iter().map(|(_, _, offset)| offset).sum();
        assert_eq!(stored, records * u64::from(SHARDS), "{}", view.name);
    }
    assert!(progress.borrow().partitions.is_empty());
}

fn options() -> Options {
    let grace = std::time::Duration::from_secs(60);
    Options { group: "freshet".into(), worker: Settings::default(), grace }
}

async fn caught_up(progress: &mut watch::Receiver<Progress>, version: Fingerprint) {
    let is_caught_up = |progress: &Progress| progress.is_caught_up(version, PARTITIONS as usize);
    progress.wait_for(is_caught_up).await.expect("the stream runs");
}

async fn append(log: &dyn EventLog, topic: &str, count: usize) {
    let now = EventTime::MIN + Micros::DAY;
    let record = |index: usize| {
        let value = format!(r#"{{"at": {}, "user": "u{}"}}"#, now.micros() / 1_000, index % 7);
        NewRecord { key: None, value: value.into(), ingestion_time: now }
    };
    log.append(topic, (0..count).map(record).collect()).await.expect("the log takes it");
}

fn views() -> Vec<Arc<ViewPlan>> {
    let file = SourceText { path: "buys.yaml".into(), text: DEFINITIONS.into() };
    compile(&parse(&[file]).expect("the definitions are right")).views
}
