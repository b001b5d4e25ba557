//! What the archiver does with a log that says who has what, and with an archive that is away or broken.

use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::*;
use crate::archive::Standing;
use crate::event_log::{self, Consumer, Delivery, NewRecord, TopicPartition};
use crate::kernel::name::Name;
use crate::offline::archive::tests::{record, source};
use crate::offline::folder::tests::project;
use crate::offline::{Folder, Span};

/// Far longer than any of it takes: a test that reaches it has failed.
const LIMIT: Duration = Duration::from_secs(60);

/// Delivers what it is given, to one consumer.
struct Told(Mutex<Option<mpsc::UnboundedReceiver<Delivery>>>);

#[async_trait]
impl EventLog for Told {
    async fn create_topic(&self, _: &str, _: u32) -> Result<(), event_log::Error> {
        unreachable!("an archiver makes no topics")
    }

    async fn bounds(&self, _: &str) -> Result<Vec<Range<u64>>, event_log::Error> {
        Ok(std::iter::once(0..100).collect())
    }

    async fn append(&self, _: &str, _: Vec<NewRecord>) -> Result<Vec<(u32, u64)>, event_log::Error> {
        unreachable!("an archiver appends nothing")
    }

    async fn consumer(&self, _: &str, _: &[String]) -> Result<Box<dyn Consumer>, event_log::Error> {
        let deliveries = self.0.lock().expect("no panic").take();
        Ok(Box::new(Listener(deliveries.expect("one session"))))
    }

    async fn takes_replay(&self, _: &str) -> Result<(), event_log::Error> {
        unreachable!("an archiver replays nothing")
    }
}

struct Listener(mpsc::UnboundedReceiver<Delivery>);

#[async_trait]
impl Consumer for Listener {
    async fn next(&mut self) -> Result<Delivery, event_log::Error> {
        match self.0.recv().await {
            Some(delivery) => Ok(delivery),
            None => std::future::pending().await,
        }
    }

    fn seek(&mut self, _: &TopicPartition, _: u64) {}

    fn pause(&mut self, _: &TopicPartition) {}

    fn resume(&mut self, _: &TopicPartition) {}

    async fn is_member(&mut self) -> Result<bool, event_log::Error> {
        Ok(true)
    }

    async fn leave(self: Box<Self>) {}
}

/// Archives the source `clicks` into `folder` until `act` returns.
async fn while_archiving(folder: Folder, act: impl AsyncFnOnce(&mpsc::UnboundedSender<Delivery>, &Progress)) {
    let (tell, told) = mpsc::unbounded_channel();
    let progress = Progress::default();
    let archiver = Archiver {
        log: Arc::new(Told(Mutex::new(Some(told)))),
        archive: Archive::new(folder),
        sources: || vec![source(&[])],
        settings: Settings::new("archive"),
        progress: progress.clone(),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let acting = async {
        act(&tell, &progress).await;
        drop(stop);
    };
    let running = run(archiver, async {
        let _ = stopped.await;
    });
    let (ran, ()) = timeout(LIMIT, async { tokio::join!(running, acting) }).await.expect("it ends");
    ran.expect("nothing is lasting");
}

fn place() -> TopicPartition {
    TopicPartition { topic: "clicks".to_owned(), partition: 0 }
}

async fn until(progress: &Progress, wanted: impl Fn(Option<&Standing>) -> bool) {
    let key: (Name, u32) = ("clicks".parse().expect("a name"), 0);
    let mut standings = progress.subscribe();
    standings.wait_for(|standings| wanted(standings.get(&key))).await.expect("the archiver runs");
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_an_archive_that_is_away() {
    let root = tempfile::tempdir().expect("a folder");
    let folder = project(root.path());
    folder.kill_after(0);
    while_archiving(folder, async |tell, progress| {
        tell.send(Delivery::Assigned(vec![place()])).expect("it listens");
        while !progress.is_listening() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_another_archiver_has_is_not_stopped_here() {
    let root = tempfile::tempdir().expect("a folder");
    let archive = Archive::new(project(root.path()));
    for offset in [0, 2] {
        let span = Span { partition: 0, offsets: offset..offset + 1 };
        archive.commit(&source(&[]), &span, &[record(0, offset, "{}")]).expect("committed");
    }
    while_archiving(project(root.path()), async |tell, progress| {
        tell.send(Delivery::Assigned(vec![place()])).expect("it listens");
        until(progress, |standing| standing.is_some_and(|it| it.stopped.is_some())).await;
        tell.send(Delivery::Revoked(vec![place()])).expect("it listens");
        until(progress, |standing| standing.is_none()).await;
    })
    .await;
}
