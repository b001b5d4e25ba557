//! The log with the archive below its start: where the two meet, and the stream on top of them.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use freshet::archive::Tiered;
use freshet::clock::Clock;
use freshet::event_log::embedded::EmbeddedLog;
use freshet::event_log::{Consumer, Delivery, Error, EventLog, NewRecord, TopicPartition};
use freshet::kernel::definition::{Source, SourceText, parse};
use freshet::kernel::event::RawRecord;
use freshet::kernel::plan::{Plan, compile};
use freshet::kernel::time::EventTime;
use freshet::offline::{Archive, Committed, Folder, Span};
use freshet::online::{Memory, OnlineStore};
use freshet::stream::{self, Options, Progress, Settings};
use futures::FutureExt;
use tokio::sync::{oneshot, watch};

use forgetful::Forgetful;

mod forgetful;

/// Two sources of one topic, and a view of the first.
const SHOP: &str = "
kind: entity
name: user
keys: [{ name: user, type: string }]
---
kind: source
name: clicks
topic: shop
event_time: { field: at, unit: rfc3339 }
schema: { version: 1, fields: [{ name: at, type: timestamp, required: true }, { name: user, type: string }] }
---
kind: source
name: taps
topic: shop
event_time: { field: at, unit: rfc3339 }
schema: { version: 1, fields: [{ name: at, type: timestamp, required: true }] }
---
kind: feature_view
name: clicks_of
entity: user
source: clicks
features: [{ name: clicks, aggregate: count }]
";

const TOPIC: &str = "shop";

struct Fixture {
    root: tempfile::TempDir,
    log: Arc<Forgetful>,
    archive: Archive,
    plan: Plan,
    tiered: Arc<Tiered>,
}

impl Fixture {
    /// With ten records in each of two partitions.
    async fn new() -> Fixture {
        let root = tempfile::tempdir().expect("a folder");
        let embedded = Arc::new(EmbeddedLog::open(&root.path().join("log")).expect("opens"));
        let log = Arc::new(Forgetful::new(embedded));
        let archive = Archive::new(Folder::on_disk(root.path(), &"default".parse().expect("a name")));
        let file = SourceText { path: "shop.yaml".into(), text: SHOP.into() };
        let plan = compile(&parse(&[file]).expect("the definitions are right"));
        let sources = plan.sources.clone();
        let tiered = Arc::new(Tiered::new(log.clone(), archive.clone(), move || sources.clone()));
        log.create_topic(TOPIC, 2).await.expect("created");
        // Records without a key take turns.
        log.append(TOPIC, (0..20).map(new_record).collect()).await.expect("appended");
        Fixture { root, log, archive, plan, tiered }
    }

    fn source(&self, name: &str) -> &Arc<Source> {
        self.plan.source(name).expect("it is defined")
    }

    /// Archives what the log holds of `offsets`, in one commit.
    async fn archive(&self, source: &str, partition: u32, offsets: Range<u64>) {
        let records = &self.all(partition).await[offsets.start as usize..offsets.end as usize];
        let outcome = self.archive.commit(self.source(source), &Span { partition, offsets }, records);
        assert_eq!(outcome.expect("committed"), Committed::Done);
    }

    /// All records that the partition ever had.
    async fn all(&self, partition: u32) -> Vec<RawRecord> {
        held(&*self.log.whole, &at(partition)).await
    }

    async fn consumer(&self) -> Box<dyn Consumer> {
        let mut consumer = self.tiered.consumer("group", &[TOPIC.to_owned()]).await.expect("joins");
        let first = consumer.next().await.expect("a delivery");
        assert!(matches!(first, Delivery::Assigned(all) if all.len() == 2));
        consumer
    }
}

/// All records that a log holds of a partition, from its first on.
pub async fn held(log: &dyn EventLog, at: &TopicPartition) -> Vec<RawRecord> {
    let end = log.bounds(&at.topic).await.expect("known")[at.partition as usize].end;
    let mut consumer = log.consumer("held", std::slice::from_ref(&at.topic)).await.expect("joins");
    consumer.next().await.expect("an assignment");
    consumer.seek(at, 0);
    delivered(&mut *consumer, end).await
}

fn at(partition: u32) -> TopicPartition {
    TopicPartition { topic: TOPIC.to_owned(), partition }
}

/// Every third one decodes to nothing.
fn new_record(number: usize) -> NewRecord {
    let value = match number % 3 {
        2 => format!("broken {number}"),
        _ => r#"{"at": "2026-11-21T10:00:00Z", "user": "u1"}"#.to_owned(),
    };
    let ingestion_time: EventTime = "2026-11-21T10:00:00Z".parse().expect("a time");
    NewRecord { key: None, value: Bytes::from(value), ingestion_time }
}

/// What is delivered until one partition reaches `end`.
async fn delivered(consumer: &mut dyn Consumer, end: u64) -> Vec<RawRecord> {
    let (mut all, mut reached) = (Vec::new(), 0);
    while reached < end {
        match consumer.next().await.expect("a delivery") {
            Delivery::Records { records, next, log_end, .. } => {
                assert!(log_end >= end && next > reached, "{next} follows {reached}");
                all.extend(records);
                reached = next;
            }
            other => panic!("expected records, got {other:?}"),
        }
    }
    all
}

#[tokio::test]
async fn from_every_offset_all_records_come_in_order_wherever_the_log_begins() {
    for start in 0..=10 {
        let fixture = Fixture::new().await;
        for commit in [0..3, 3..4, 4..10] {
            fixture.archive("clicks", 0, commit).await;
        }
        fixture.log.forget(&at(0), start);
        assert_eq!(fixture.tiered.bounds(TOPIC).await.expect("known"), [0..10, 0..10], "from {start} on");
        let all = fixture.all(0).await;
        let mut consumer = fixture.consumer().await;
        for from in 0..10 {
            let case = format!("a log from {start} on, read from {from}");
            consumer.seek(&at(0), from);
            assert_eq!(delivered(&mut *consumer, 10).await, all[from as usize..], "{case}");
        }
    }
}

#[tokio::test]
async fn what_neither_holds_is_out_of_range_and_stops_its_partition_alone() {
    let fixture = Fixture::new().await;
    fixture.archive("clicks", 0, 2..5).await;
    fixture.log.forget(&at(0), 7);
    assert_eq!(fixture.tiered.bounds(TOPIC).await.expect("known"), [2..10, 0..10]);
    let mut consumer = fixture.consumer().await;
    for lost in [0, 1, 5, 6] {
        consumer.seek(&at(0), lost);
        let refused = consumer.next().await;
        assert!(matches!(refused, Err(Error::OutOfRange { offset, .. }) if offset == lost), "{lost}: {refused:?}");
    }
    consumer.seek(&at(0), 3);
    assert_eq!(delivered(&mut *consumer, 5).await, fixture.all(0).await[3..5]);
    let refused = consumer.next().await;
    assert!(matches!(refused, Err(Error::OutOfRange { partition: 0, offset: 5, .. })), "{refused:?}");
    consumer.seek(&at(1), 0);
    assert_eq!(delivered(&mut *consumer, 10).await, fixture.all(1).await);
}

#[tokio::test]
async fn the_archive_of_any_source_of_the_topic_will_do() {
    let fixture = Fixture::new().await;
    fixture.archive("clicks", 0, 4..9).await;
    fixture.archive("taps", 0, 1..6).await;
    fixture.log.forget(&at(0), 8);
    assert_eq!(fixture.tiered.bounds(TOPIC).await.expect("known")[0], 1..10);
    let mut consumer = fixture.consumer().await;
    consumer.seek(&at(0), 1);
    assert_eq!(delivered(&mut *consumer, 10).await, fixture.all(0).await[1..]);
}

/// Makes the archive of a source unreadable for now, or readable again: what is in the way is a file instead of a folder.
fn take_away(fixture: &Fixture, source: &str) -> impl FnOnce() {
    let commits = fixture.root.path().join(format!("default/events/{source}/_commits"));
    let aside = commits.with_extension("aside");
    std::fs::rename(&commits, &aside).expect("moved away");
    std::fs::write(&commits, "").expect("in the way");
    move || {
        std::fs::remove_file(&commits).expect("removed");
        std::fs::rename(&aside, &commits).expect("moved back");
    }
}

#[tokio::test]
async fn the_beginning_is_not_known_while_the_archive_of_some_source_cannot_be_read() {
    let fixture = Fixture::new().await;
    fixture.archive("clicks", 0, 0..9).await;
    fixture.archive("taps", 0, 4..9).await;
    fixture.log.forget(&at(0), 8);
    let give_back = take_away(&fixture, "clicks");
    let refused = fixture.tiered.bounds(TOPIC).await;
    assert!(refused.as_ref().is_err_and(Error::is_transient), "{refused:?}");
    let mut consumer = fixture.consumer().await;
    consumer.seek(&at(0), 4);
    assert_eq!(delivered(&mut *consumer, 10).await, fixture.all(0).await[4..], "any copy of a record will do");
    give_back();
    assert_eq!(fixture.tiered.bounds(TOPIC).await.expect("known"), [0..10, 0..10]);
}

#[tokio::test]
async fn an_archive_that_is_moved_away_is_where_the_log_begins_no_more() {
    let fixture = Fixture::new().await;
    fixture.archive("clicks", 0, 0..3).await;
    fixture.log.forget(&at(0), 8);
    assert_eq!(fixture.tiered.bounds(TOPIC).await.expect("known"), [0..10, 0..10]);
    std::fs::remove_dir_all(fixture.root.path().join("default/events/clicks")).expect("moved away");
    assert_eq!(fixture.tiered.bounds(TOPIC).await.expect("known"), [8..10, 0..10]);
}

#[tokio::test]
async fn an_archive_that_is_away_for_now_holds_up_no_partition_but_those_behind_the_log() {
    let fixture = Fixture::new().await;
    fixture.archive("clicks", 0, 0..10).await;
    fixture.log.forget(&at(0), 9);
    let give_back = take_away(&fixture, "clicks");
    let mut consumer = fixture.consumer().await;
    consumer.seek(&at(0), 0);
    consumer.seek(&at(1), 0);
    assert_eq!(delivered(&mut *consumer, 10).await, fixture.all(1).await, "nothing is told of the other");
    give_back();
    assert_eq!(delivered(&mut *consumer, 10).await, fixture.all(0).await);
}

#[tokio::test]
async fn a_pause_and_a_dropped_wait_lose_nothing_of_the_archive() {
    let fixture = Fixture::new().await;
    fixture.archive("clicks", 0, 0..5).await;
    fixture.archive("clicks", 0, 5..10).await;
    fixture.log.forget(&at(0), 10);
    let mut consumer = fixture.consumer().await;
    consumer.seek(&at(0), 0);
    let (all, others) = (fixture.all(0).await, fixture.all(1).await);
    let first = loop {
        // Each wait is dropped as soon as it would have to wait, for the archive is read on another thread.
        match consumer.next().now_or_never() {
            Some(delivery) => break delivery.expect("a delivery"),
            None => tokio::task::yield_now().await,
        }
    };
    assert!(matches!(first, Delivery::Records { records, next: 5, .. } if records == all[..5]));
    consumer.pause(&at(0));
    consumer.seek(&at(1), 0);
    assert_eq!(delivered(&mut *consumer, 10).await, others, "a paused partition is silent");
    consumer.resume(&at(0));
    assert_eq!(delivered(&mut *consumer, 10).await, all[5..], "it goes on where it was");
    consumer.pause(&at(0));
    consumer.seek(&at(0), 2);
    assert_eq!(delivered(&mut *consumer, 10).await, all[2..], "a seek ends a pause");
}

#[tokio::test]
async fn a_new_view_is_built_from_all_that_was_archived() {
    let fixture = Fixture::new().await;
    for partition in 0..2 {
        fixture.archive("clicks", partition, 0..8).await;
        fixture.log.forget(&at(partition), 6);
    }
    let (store, view) = (Arc::new(Memory::new(4)), fixture.plan.views[0].clone());
    let (_versions, wanted) = watch::channel(vec![view.clone()]);
    let (published, mut progress) = watch::channel(Progress::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let options = Options { group: "stream".into(), worker: Settings::default(), grace: Duration::from_secs(60) };
    let shutdown = async { stopped.await.expect("the test says when") };
    let running =
        stream::run(fixture.tiered.clone(), store.clone(), wanted, published, Clock::System, options, shutdown);
    let using = async {
        progress.wait_for(|progress| progress.is_caught_up(view.rows, 2)).await.expect("the stream runs");
        let counts = progress.borrow().versions[&view.rows].counts;
        stop.send(()).expect("the stream runs");
        counts
    };
    let (ran, counts) = tokio::join!(running, using);
    ran.expect("nothing fails");
    assert_eq!(counts.applied, 14, "all twenty records but the six broken ones");
    assert!(store.offsets(view.rows).await.expect("memory does not fail").iter().all(|(_, _, offset)| *offset == 10));
}
