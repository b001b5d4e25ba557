//! Groups that give a worker trouble: a shutdown waits for no silent one, and whom its group takes for another joins anew.

use std::future::pending;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use freshet::clock::Clock;
use freshet::event_log::embedded::EmbeddedLog;
use freshet::event_log::{self, Consumer, Delivery, EventLog, NewRecord, TopicPartition};
use freshet::online::Memory;
use freshet::stream::{self, Options, Progress, run};
use tokio::sync::{Notify, oneshot, watch};
use tokio::time::timeout;

use crate::stream_run::{PARTITIONS, SHARDS, append, caught_up, options, views};

/// Far longer than any of it takes, and far shorter than the grace of a shutdown.
const LIMIT: Duration = Duration::from_secs(60);

/// Another topic is to be read, so the worker has left its group and joins it anew when it is told to end.
async fn a_worker_ends_while_it_joins_anew(trouble: Trouble) {
    let folder = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(folder.path()).expect("an empty folder"));
    for topic in ["buys", "visits"] {
        log.create_topic(topic, PARTITIONS).await.expect("a new topic");
        append(&*log, topic, 60).await;
    }
    let met = Arc::new(Notify::new());
    let log = Arc::new(TroubledGroup { log, trouble, joined: AtomicUsize::new(0), met: met.clone() });
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
    a_worker_ends_while_it_joins_anew(Trouble::SilentToWhoJoins).await;
}

#[tokio::test]
async fn a_worker_that_is_told_to_end_ends_although_its_group_does_not_hear_that_it_left() {
    a_worker_ends_while_it_joins_anew(Trouble::SilentToWhoLeaves).await;
}

/// What comes of a worker whose first members, so many, hear that they were replaced; it is told to end once it has
/// caught up.
async fn a_worker_is_replaced(members: usize) -> Result<(), stream::Error> {
    let folder = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn EventLog> = Arc::new(EmbeddedLog::open(folder.path()).expect("an empty folder"));
    log.create_topic("buys", PARTITIONS).await.expect("a new topic");
    append(&*log, "buys", 60).await;
    let trouble = Trouble::Replaced { members };
    let log = Arc::new(TroubledGroup { log, trouble, joined: AtomicUsize::new(0), met: Arc::default() });
    let view = views().swap_remove(0);
    let (_versions, wanted) = watch::channel(vec![view.clone()]);
    let (published, mut progress) = watch::channel(Progress::default());
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async { stopped.await.expect("the test says when") };
    let running = run(log, Arc::new(Memory::new(SHARDS)), wanted, published, Clock::System, options(), shutdown);
    let using = async {
        caught_up(&mut progress, view.fingerprint).await;
        stop.send(()).expect("the stream runs");
        pending().await
    };
    let ended = timeout(LIMIT, async {
        tokio::select! { result = running => result, result = using => result }
    })
    .await;
    ended.expect("it catches up, or ends")
}

#[tokio::test]
async fn a_worker_that_is_taken_for_another_joins_anew_and_catches_up() {
    a_worker_is_replaced(3).await.expect("it catches up with the fourth member");
}

#[tokio::test]
async fn a_worker_that_is_replaced_again_and_again_ends() {
    let ended = a_worker_is_replaced(usize::MAX).await.expect_err("another has its name");
    assert!(matches!(ended, stream::Error::Log(event_log::Error::Fenced { .. })), "{ended}");
}

struct TroubledGroup {
    log: Arc<dyn EventLog>,
    trouble: Trouble,
    joined: AtomicUsize,
    /// Told when somebody begins to wait for an answer.
    met: Arc<Notify>,
}

/// The silent ones let the first one in, and answer no more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    SilentToWhoJoins,
    SilentToWhoLeaves,
    /// The first so many members hear that somebody of their name came once they are in.
    Replaced {
        members: usize,
    },
}

struct Troubled {
    consumer: Box<dyn Consumer>,
    trouble: Trouble,
    is_in: bool,
    met: Arc<Notify>,
}

#[async_trait]
impl EventLog for TroubledGroup {
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
        let before = self.joined.fetch_add(1, Ordering::Relaxed);
        let is_troubled = match self.trouble {
            Trouble::SilentToWhoJoins | Trouble::SilentToWhoLeaves if before > 0 => {
                self.met.notify_one();
                return pending().await;
            }
            Trouble::SilentToWhoJoins => false,
            Trouble::SilentToWhoLeaves => true,
            Trouble::Replaced { members } => before < members,
        };
        let consumer = self.log.consumer(group, topics).await?;
        let (trouble, met) = (self.trouble, self.met.clone());
        Ok(if is_troubled { Box::new(Troubled { consumer, trouble, is_in: false, met }) } else { consumer })
    }

    async fn takes_replay(&self, topic: &str) -> Result<(), event_log::Error> {
        self.log.takes_replay(topic).await
    }
}

#[async_trait]
impl Consumer for Troubled {
    async fn next(&mut self) -> Result<Delivery, event_log::Error> {
        if self.is_in && matches!(self.trouble, Trouble::Replaced { .. }) {
            return Err(event_log::Error::Fenced { member: "s1".to_owned() });
        }
        let delivery = self.consumer.next().await;
        self.is_in = true;
        delivery
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
        if self.trouble == Trouble::SilentToWhoLeaves {
            self.met.notify_one();
            pending::<()>().await;
        }
        self.consumer.leave().await;
    }
}
