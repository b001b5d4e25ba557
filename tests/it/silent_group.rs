//! A shutdown waits for no group that is silent.

use std::future::pending;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use freshet::clock::Clock;
use freshet::event_log::embedded::EmbeddedLog;
use freshet::event_log::{self, Consumer, Delivery, EventLog, NewRecord, TopicPartition};
use freshet::online::Memory;
use freshet::stream::{Options, Progress, run};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use crate::stream_run::{PARTITIONS, SHARDS, append, caught_up, options, views};

/// Far longer than any of it takes, and far shorter than the grace of a shutdown.
const LIMIT: Duration = Duration::from_secs(60);

/// Another topic is to be read, so the worker has left its group and joins it anew when it is told to end.
async fn a_worker_ends_while_it_joins_anew(silent_to: SilentTo) {
    let folder = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(folder.path()).expect("an empty folder"));
    for topic in ["buys", "visits"] {
        log.create_topic(topic, PARTITIONS).await.expect("a new topic");
        append(&*log, topic, 60).await;
    }
    let met = Arc::new(Notify::new());
    let log = Arc::new(SilentGroup { log, silent_to, has_joined: AtomicBool::new(false), met: met.clone() });
    let views = views();
    let (versions, wanted) = watch::channel(vec![views[0].clone()]);
    let (published, mut progress) = watch::channel(Progress::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { stopped.await.expect("the test says when") };
    let options = Options { grace: Duration::from_secs(3_600), ..options() };
    let running = run(log, Arc::new(Memory::new(SHARDS)), wanted, published, Clock::System, options, shutdown);
    let using = async {
        caught_up(&mut progress, views[0].fingerprint).await;
        versions.send_replace(views.clone());
        met.notified().await;
        stop.send(()).expect("the stream runs");
    };
    let ended = timeout(LIMIT, async { tokio::join!(running, using) }).await;
    let (result, ()) = ended.expect("it does not wait for the group");
    result.expect("nothing fails");
    assert!(progress.borrow().partitions.is_empty());
}

#[tokio::test]
async fn a_worker_that_is_told_to_end_ends_although_its_group_does_not_let_it_in() {
    a_worker_ends_while_it_joins_anew(SilentTo::WhoJoins).await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_end_ends_although_its_group_does_not_hear_that_it_left() {
    a_worker_ends_while_it_joins_anew(SilentTo::WhoLeaves).await;
}

/// A group that lets the first one in, and answers no more.
struct SilentGroup {
    log: Arc<dyn EventLog>,
    silent_to: SilentTo,
    has_joined: AtomicBool,
    /// Told when somebody begins to wait for an answer.
    met: Arc<Notify>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum SilentTo {
    WhoJoins,
    WhoLeaves,
}

struct SilentlyLeft {
    consumer: Box<dyn Consumer>,
    met: Arc<Notify>,
}

#[async_trait]
impl EventLog for SilentGroup {
    async fn create_topic(&self, topic: &str, partitions: u32) -> Result<(), event_log::Error> {
        self.log.create_topic(topic, partitions).await
    }

    async fn bounds(&self, topic: &str) -> Result<Vec<Range<u64>>, event_log::Error> {
        self.log.bounds(topic).await
    }

    async fn append(&self, topic: &str, records: Vec<NewRecord>) -> Result<Vec<(u32, u64)>, event_log::Error> {
        self.log.append(topic, records).await
    }

    async fn consumer(&self, group: &str, topics: &[String]) -> Result<Box<dyn Consumer>, event_log::Error> {
        if self.has_joined.swap(true, Ordering::Relaxed) {
            self.met.notify_one();
            return pending().await;
        }
        let consumer = self.log.consumer(group, topics).await?;
        match self.silent_to {
            SilentTo::WhoJoins => Ok(consumer),
            SilentTo::WhoLeaves => Ok(Box::new(SilentlyLeft { consumer, met: self.met.clone() })),
        }
    }

    async fn takes_replay(&self, topic: &str) -> Result<(), event_log::Error> {
        self.log.takes_replay(topic).await
    }
}

#[async_trait]
impl Consumer for SilentlyLeft {
    async fn next(&mut self) -> Result<Delivery, event_log::Error> {
        self.consumer.next().await
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) {
        self.consumer.seek(partition, offset);
    }

    fn pause(&mut self, partition: &TopicPartition) {
        self.consumer.pause(partition);
    }

    fn resume(&mut self, partition: &TopicPartition) {
        self.consumer.resume(partition);
    }

    async fn is_member(&mut self) -> Result<bool, event_log::Error> {
        self.consumer.is_member().await
    }

    async fn leave(self: Box<Self>) {
        self.met.notify_one();
        pending().await
    }
}
