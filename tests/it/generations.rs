//! Generations of a version's rows: built beside each other from one log, or from the archive and then the log, with
//! crashes in between, to the same bits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use freshet::backfill::seed::{Seeded, Seeding, seed};
use freshet::batch::Resources;
use freshet::clock::Clock;
use freshet::event_log::embedded::EmbeddedLog;
use freshet::event_log::{EventLog, NewRecord, TopicPartition};
use freshet::kernel::codec::encode_values;
use freshet::kernel::definition::{SourceText, parse};
use freshet::kernel::engine::{Part, read};
use freshet::kernel::key::{EntityKey, KeyPart, Shard};
use freshet::kernel::plan::{Fingerprint, ViewPlan, compile};
use freshet::kernel::time::{EventTime, Micros};
use freshet::offline::{Archive, Committed, Folder, Span};
use freshet::online::{Claim, Memory, Nonce, OnlineStore};
use freshet::stream::{Error, Options, Progress, Settings, run};
use tokio::sync::{oneshot, watch};

use crate::tiered::held;

const SHARDS: u16 = 4;
const PARTITIONS: u32 = 2;
const USERS: usize = 40;
const TOPIC: &str = "buys";

/// Aggregates whose rows would differ with the order or the number of their events.
const SHOP: &str = "
kind: entity
name: user
keys: [{ name: user, type: string }]
---
kind: source
name: buys
event_time: { field: at, unit: ms }
event_id: id
schema:
  version: 1
  fields:
    - { name: id, type: int64 }
    - { name: at, type: timestamp, required: true }
    - { name: user, type: string }
    - { name: price, type: float64 }
---
kind: feature_view
name: activity
entity: user
source: buys
features:
  - { name: buys, aggregate: count, windows: [10m, 1h] }
  - { name: spend, aggregate: sum, column: price, windows: [10m, 1h] }
  - { name: last, aggregate: last, column: price, windows: [1h] }
  - { name: ever, aggregate: mean, column: price }
";

struct Project {
    _folder: tempfile::TempDir,
    log: Arc<dyn EventLog>,
    store: Arc<Memory>,
    view: ViewPlan,
    archive: Archive,
    /// Up to where later generations than the first have their rows from the archive.
    cut: BTreeMap<u32, u64>,
    appended: usize,
}

impl Project {
    async fn new() -> Project {
        let folder = tempfile::tempdir().expect("a folder");
        let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(&folder.path().join("log")).expect("an empty folder"));
        let archive = Archive::new(Folder::on_disk(folder.path(), &"default".parse().expect("a name")));
        log.create_topic(TOPIC, PARTITIONS).await.expect("a new topic");
        let file = SourceText { path: "shop.yaml".into(), text: SHOP.into() };
        let view = ViewPlan::clone(&compile(&parse(&[file]).expect("the definitions are right")).views[0]);
        let (store, cut) = (Arc::new(Memory::new(SHARDS)), BTreeMap::new());
        Project { _folder: folder, log, store, view, archive, cut, appended: 0 }
    }

    /// All that the log has by now.
    async fn archive(&mut self) {
        for partition in 0..PARTITIONS {
            let at = TopicPartition { topic: TOPIC.to_owned(), partition };
            let records = held(&*self.log, &at).await;
            let offsets = 0..records.last().expect("there are records").offset + 1;
            self.cut.insert(partition, offsets.end);
            let committed = self.archive.commit(&self.view.source, &Span { partition, offsets }, &records);
            assert_eq!(committed.expect("committed"), Committed::Done);
        }
    }

    /// Gives a generation the rows of what is archived.
    async fn seed(&self, generation: u32) {
        let view = self.generations(&[generation]).remove(0);
        let (archive, cut) = (self.archive.clone(), self.cut.clone());
        let seeding = Seeding { archive, view, cut, now: Clock::System.now(), resources: Resources::default() };
        let outcome = seed(&*self.store, seeding, Nonce(1)).await.expect("seeded");
        assert!(matches!(outcome, Seeded::Done { events: 1.. }), "{outcome:?}");
    }

    /// Prices that no float sum of another order would add up to; every tenth record is a copy.
    async fn append(&mut self, count: usize) {
        let record = |number: usize| {
            let id = number - usize::from(number % 10 == 9);
            let at = start() + Micros::from_millis(id as i64 * 700);
            let value = format!(
                r#"{{"id": {id}, "at": {}, "user": "u{}", "price": {}}}"#,
                at.micros() / 1_000,
                id % USERS,
                0.1 * (id % 97) as f64
            );
            let key = format!("u{}", id % USERS);
            NewRecord { key: Some(key.into()), value: value.into(), ingestion_time: at }
        };
        let records = (self.appended..self.appended + count).map(record).collect();
        self.log.append(TOPIC, records).await.expect("the log takes it");
        self.appended += count;
    }

    fn generations(&self, numbers: &[u32]) -> Vec<Arc<ViewPlan>> {
        let view = |number: &u32| match number {
            0 => self.view.clone(),
            later => self.view.in_generation(*later).seeded(&self.cut),
        };
        numbers.iter().map(view).map(Arc::new).collect()
    }

    /// Streams these generations until `until` says so, then shuts down, or dies as a process that is killed.
    async fn stream(&self, numbers: &[u32], end: End, until: impl Fn(&Progress) -> bool) {
        let (_versions, wanted) = watch::channel(self.generations(numbers));
        let (published, mut progress) = watch::channel(Progress::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let worker = Settings { flush_bytes: 2_000, ..Settings::default() };
        let options = Options { group: "freshet".into(), worker, grace: Duration::from_secs(60) };
        let shutdown = async { drop(stopped.await) };
        let running = run(self.log.clone(), self.store.clone(), wanted, published, Clock::System, options, shutdown);
        let mut running = std::pin::pin!(running);
        tokio::select! {
            ended = &mut running => panic!("it ended early: {ended:?}"),
            reached = progress.wait_for(until) => drop(reached.expect("the stream runs")),
        }
        if end == End::Shutdown {
            drop(stop);
            let ended: Result<(), Error> = running.await;
            ended.expect("nothing fails");
        }
    }

    /// What a lookup of each user reads now and at several earlier times, as bytes.
    async fn rows(&self, generation: u32) -> Vec<Vec<u8>> {
        let view = self.view.in_generation(generation);
        let mut rows = Vec::new();
        for user in 0..USERS {
            let entity = EntityKey::encode(&[KeyPart::Text(format!("u{user}"))]);
            let row = self
                .store
                .read(&[(view.rows, entity)])
                .await
                .expect("memory does not fail")
                .remove(0)
                .expect("it is whole");
            let parts: Vec<Part> =
                row.parts.iter().map(|(_, image)| Part::decode(&view, image).expect("our own bytes")).collect();
            for minutes in [1, 5, 17, 40, 300] {
                let as_of = start() + Micros::new(minutes * 60_000_000);
                rows.push(encode_values(&read(&view, &parts.iter().collect::<Vec<_>>(), as_of).values));
            }
        }
        rows
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Shutdown,
    Kill,
}

fn start() -> EventTime {
    "2026-11-21T10:00:00Z".parse().expect("a time")
}

fn caught_up(version: Fingerprint) -> impl Fn(&Progress) -> bool {
    move |progress| progress.is_caught_up(version, PARTITIONS as usize)
}

#[tokio::test]
async fn a_generation_that_is_built_later_and_with_crashes_has_the_bits_of_the_first() {
    let mut project = Project::new().await;
    let rows = |generation: u32| project.view.in_generation(generation).rows;
    let (first, second) = (rows(0), rows(1));
    assert_ne!(first, second);
    for _ in 0..4 {
        project.append(700).await;
        project.stream(&[0], End::Kill, caught_up(first)).await;
    }
    let served = project.rows(0).await;
    // Each attempt is killed as soon as it has begun, and the next one goes on.
    for _ in 0..5 {
        project.append(100).await;
        project.stream(&[0, 1], End::Kill, |progress| !progress.partitions.is_empty()).await;
    }
    project.append(10).await;
    project.stream(&[0, 1], End::Shutdown, caught_up(second)).await;
    assert_eq!(project.rows(1).await, project.rows(0).await);
    let distinct: BTreeSet<Vec<u8>> = project.rows(1).await.into_iter().collect();
    assert!(distinct.len() > USERS, "the rows must differ from each other for the check to mean something");
    assert_ne!(project.rows(0).await, served, "what came during the rebuild is in them");
}

#[tokio::test]
async fn a_generation_that_is_seeded_and_streamed_from_the_cut_with_crashes_has_the_bits_of_the_first() {
    let mut project = Project::new().await;
    let (first, second) = (project.view.rows, project.view.in_generation(1).rows);
    project.append(2_000).await;
    project.archive().await;
    project.append(300).await;
    project.stream(&[0], End::Kill, caught_up(first)).await;
    project.seed(1).await;
    assert_ne!(project.rows(1).await, project.rows(0).await, "it lacks what came after the cut");
    for _ in 0..5 {
        project.append(100).await;
        project.stream(&[0, 1], End::Kill, |progress| !progress.partitions.is_empty()).await;
    }
    project.append(10).await;
    project.stream(&[0, 1], End::Shutdown, |progress| caught_up(first)(progress) && caught_up(second)(progress)).await;
    assert_eq!(project.rows(1).await, project.rows(0).await);
}

#[tokio::test]
async fn a_generation_that_is_half_seeded_is_left_alone_and_the_others_go_on() {
    let mut project = Project::new().await;
    project.append(500).await;
    project.archive().await;
    let (first, second) = (project.view.rows, project.view.in_generation(1).rows);
    let claim = |partition| Claim { version: second, partition, initial: 0 };
    for shard in (0..SHARDS).map(Shard) {
        let claims: Vec<Claim> = (0..PARTITIONS).map(claim).collect();
        project.store.claim(shard, &claims, Nonce(7)).await.expect("memory does not fail");
    }
    let before = project.store.offsets(second).await.expect("memory does not fail");
    project.append(100).await;
    project.stream(&[0, 1], End::Shutdown, caught_up(first)).await;
    assert_eq!(project.store.offsets(second).await.expect("memory does not fail"), before);
    let rows: BTreeSet<Vec<u8>> = project.rows(1).await.into_iter().collect();
    assert_eq!(rows.len(), 1, "no row has any event");
}

#[tokio::test]
async fn a_removed_generation_leaves_the_other_as_it_is() {
    let mut project = Project::new().await;
    project.append(300).await;
    let (first, second) = (project.view.rows, project.view.in_generation(1).rows);
    project.stream(&[0, 1], End::Shutdown, |progress| caught_up(first)(progress) && caught_up(second)(progress)).await;
    let before = project.rows(1).await;
    project.store.remove(first).await.expect("memory does not fail");
    assert_eq!(project.rows(1).await, before);
    assert_ne!(project.rows(0).await, before, "its rows are gone");
}
