//! A consumer of the tiered log. It learns that a partition is behind the log's start when the log refuses it, delivers
//! it from the archive commit by commit, and hands it back to the log at the first offset that the log holds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep_until};

use crate::archive::tiered::shelf::Shelf;
use crate::archive::tiered::within;
use crate::event_log::{Consumer, Delivery, Error, EventLog, TopicPartition};
use crate::kernel::event::RawRecord;
use crate::offline::ArchivedRecords;

/// Before an archive that could not be read for now is asked again.
const REST: Duration = Duration::from_millis(500);

const DELIVERY_RECORDS: usize = 2_000;
const DELIVERY_BYTES: usize = 1 << 20;

/// Commits in memory, each of at most what the archiver commits at once.
const LOADED: usize = 4;

pub(super) struct TieredConsumer {
    consumer: Box<dyn Consumer>,
    log: Arc<dyn EventLog>,
    shelf: Arc<Shelf>,
    paused: BTreeSet<TopicPartition>,
    /// Below the log's start: the log's own consumer stands still there.
    behind: BTreeMap<TopicPartition, Behind>,
    /// Kept here, so that a wait which is dropped loses nothing of it. One at a time.
    fetch: Option<Fetch>,
    /// Whether the log has its turn while the archive has something to deliver.
    logs_turn: bool,
}

struct Behind {
    /// The next record to deliver.
    next: u64,
    log_end: u64,
    /// The rest of a commit.
    loaded: Option<Loaded>,
    /// The last attempt to read on failed: nothing is asked before.
    rests_until: Option<Instant>,
}

struct Loaded {
    records: VecDeque<RawRecord>,
    /// Where the commit ends.
    end: u64,
}

struct Fetch {
    at: TopicPartition,
    answer: BoxFuture<'static, Result<Fetched, Error>>,
}

enum Fetched {
    Archived(ArchivedRecords),
    /// The log holds the offset.
    InLog,
}

impl TieredConsumer {
    pub fn new(consumer: Box<dyn Consumer>, log: Arc<dyn EventLog>, shelf: Arc<Shelf>) -> TieredConsumer {
        let (paused, behind) = (BTreeSet::new(), BTreeMap::new());
        TieredConsumer { consumer, log, shelf, paused, behind, fetch: None, logs_turn: false }
    }

    /// The next records that are in memory.
    fn deliver(&mut self) -> Option<Delivery> {
        let paused = &self.paused;
        let mut ready = self.behind.iter_mut().filter(|(at, behind)| behind.loaded.is_some() && !paused.contains(at));
        let (at, behind) = ready.next()?;
        let records = behind.take();
        Some(Delivery::Records { partition: at.clone(), records, next: behind.next, log_end: behind.log_end })
    }

    /// Asks for the next commit of a partition that has nothing to deliver.
    fn begin_fetch(&mut self) {
        let wants = |(at, behind): &(&TopicPartition, &Behind)| {
            behind.loaded.is_none() && !behind.rests() && !self.paused.contains(at)
        };
        let Some((at, from)) = self.behind.iter().find(wants).map(|(at, behind)| (at.clone(), behind.next)) else {
            return;
        };
        if self.fetch.is_none() && self.make_room() {
            let answer = fetch(self.log.clone(), self.shelf.clone(), at.clone(), from).boxed();
            self.fetch = Some(Fetch { at, answer });
        }
    }

    /// What a paused partition has loaded is read again later, so that it keeps nobody waiting.
    fn make_room(&mut self) -> bool {
        if self.behind.values().filter(|behind| behind.loaded.is_some()).count() < LOADED {
            return true;
        }
        let paused = &self.paused;
        let mut idle = self.behind.iter_mut().filter(|(at, behind)| behind.loaded.is_some() && paused.contains(at));
        idle.next().map(|(_, behind)| behind.loaded = None).is_some()
    }

    /// When a partition that rests is asked for again.
    fn rests_until(&self) -> Option<Instant> {
        self.behind.values().filter_map(|behind| behind.rests_until.filter(|_| behind.rests())).min()
    }

    /// An error is this partition's alone: it may pass, and else the partition stands still until it is sought again.
    fn fetched(&mut self, outcome: Result<Fetched, Error>) -> Result<(), Error> {
        let Fetch { at, .. } = self.fetch.take().expect("it was just answered");
        match outcome {
            Ok(Fetched::Archived(archived)) => {
                let behind = self.behind.get_mut(&at).expect("a fetch ends with its partition's stay");
                behind.loaded = Some(Loaded { records: archived.records.into(), end: archived.next });
                behind.rests_until = None;
            }
            Ok(Fetched::InLog) => {
                let behind = self.behind.remove(&at).expect("a fetch ends with its partition's stay");
                self.consumer.seek(&at, behind.next);
                if self.paused.contains(&at) {
                    self.consumer.pause(&at);
                }
            }
            Err(error) if error.is_transient() => {
                let behind = self.behind.get_mut(&at).expect("a fetch ends with its partition's stay");
                if behind.rests_until.replace(Instant::now() + REST).is_none() {
                    tracing::warn!(%error, topic = at.topic, partition = at.partition, "reading on every {REST:?}");
                }
            }
            Err(error) => {
                self.behind.remove(&at);
                return Err(error);
            }
        }
        Ok(())
    }

    /// `None`: it concerns only us.
    fn heard(&mut self, heard: Result<Delivery, Error>) -> Result<Option<Delivery>, Error> {
        match heard {
            Err(Error::OutOfRange { topic, partition, offset, held }) if offset < held.start => {
                let at = TopicPartition { topic, partition };
                self.leave_archive(&at);
                self.behind.insert(at, Behind { next: offset, log_end: held.end, loaded: None, rests_until: None });
                Ok(None)
            }
            Ok(Delivery::Revoked(revoked)) => {
                revoked.iter().for_each(|at| self.leave_archive(at));
                Ok(Some(Delivery::Revoked(revoked)))
            }
            heard => heard.map(Some),
        }
    }

    fn leave_archive(&mut self, at: &TopicPartition) {
        self.behind.remove(at);
        self.fetch.take_if(|fetch| fetch.at == *at);
    }
}

impl Behind {
    fn rests(&self) -> bool {
        self.rests_until.is_some_and(|until| Instant::now() < until)
    }

    fn take(&mut self) -> Vec<RawRecord> {
        let Some(loaded) = &mut self.loaded else { return Vec::new() };
        let records = loaded.records.make_contiguous();
        let count = within(records, DELIVERY_RECORDS, DELIVERY_BYTES).min(records.len());
        let taken: Vec<RawRecord> = loaded.records.drain(..count).collect();
        self.next = loaded.records.front().map_or(loaded.end, |following| following.offset);
        if loaded.records.is_empty() {
            self.loaded = None;
        }
        taken
    }
}

#[async_trait]
impl Consumer for TieredConsumer {
    async fn next(&mut self) -> Result<Delivery, Error> {
        loop {
            self.begin_fetch();
            self.logs_turn = !self.logs_turn;
            // Whoever delivered last lets the other go first, so that neither starves.
            let heard = if self.logs_turn { self.consumer.next().now_or_never() } else { None };
            if let Some(heard) = heard {
                if let Some(delivery) = self.heard(heard)? {
                    return Ok(delivery);
                }
                continue;
            }
            if let Some(delivery) = self.deliver() {
                return Ok(delivery);
            }
            let rested = self.rests_until();
            tokio::select! {
                outcome = answer(&mut self.fetch) => self.fetched(outcome)?,
                () = reached(rested) => {}
                heard = self.consumer.next() => if let Some(delivery) = self.heard(heard)? {
                    return Ok(delivery);
                },
            }
        }
    }

    fn seek(&mut self, partition: &TopicPartition, offset: u64) {
        self.leave_archive(partition);
        self.paused.remove(partition);
        self.consumer.seek(partition, offset);
    }

    fn pause(&mut self, partition: &TopicPartition) {
        self.paused.insert(partition.clone());
        self.consumer.pause(partition);
    }

    fn resume(&mut self, partition: &TopicPartition) {
        self.paused.remove(partition);
        self.consumer.resume(partition);
    }

    async fn is_member(&mut self) -> Result<bool, Error> {
        self.consumer.is_member().await
    }

    async fn leave(self: Box<Self>) {
        self.consumer.leave().await;
    }
}

async fn reached(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

async fn answer(fetch: &mut Option<Fetch>) -> Result<Fetched, Error> {
    match fetch {
        Some(fetch) => (&mut fetch.answer).await,
        None => std::future::pending().await,
    }
}

async fn fetch(log: Arc<dyn EventLog>, shelf: Arc<Shelf>, at: TopicPartition, from: u64) -> Result<Fetched, Error> {
    let bounds = log.bounds(&at.topic).await?;
    let Some(held) = bounds.get(at.partition as usize).cloned() else {
        return Err(Error::UnknownTopic(at.topic));
    };
    if held.start <= from {
        return Ok(Fetched::InLog);
    }
    match shelf.records(at.clone(), from).await {
        Ok(Some(archived)) => Ok(Fetched::Archived(archived)),
        Err(error) if error.is_transient() => Err(error),
        outcome => {
            if let Err(error) = outcome {
                tracing::error!(%error, topic = at.topic, partition = at.partition, "the archive cannot be read");
            }
            let TopicPartition { topic, partition } = at;
            Err(Error::OutOfRange { topic, partition, offset: from, held })
        }
    }
}
