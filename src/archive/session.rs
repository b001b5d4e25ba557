//! One session of the archiver: a consumer of the log, the lanes it feeds, and the commits under way.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::archive::compactor::Compactor;
use crate::archive::lanes::{Chunk, Cut, LaneId, Lanes};
use crate::archive::run::{Archiver, RETRY_FIRST, RETRY_LONGEST};
use crate::archive::{Error, Progress, Settings};
use crate::clock::Clock;
use crate::event_log::{self, Consumer, Delivery, EventLog, TopicPartition};
use crate::kernel::definition::Source;
use crate::offline::{self, Archive, Committed};

/// How often the clock and the sources are looked at.
const TICK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Shutdown,
    SourcesChanged,
}

pub(super) struct Session<'a> {
    log: &'a dyn EventLog,
    archive: &'a Archive,
    clock: &'a Clock,
    settings: &'a Settings,
    progress: &'a Progress,
    current_sources: &'a (dyn Fn() -> Vec<Arc<Source>> + Send + Sync),
    sources: Vec<Arc<Source>>,
    /// `None`: there are no sources to listen to.
    consumer: Option<Box<dyn Consumer>>,
    lanes: Lanes,
    commits: FuturesUnordered<BoxFuture<'static, Finished>>,
    compactor: Compactor,
}

struct Finished {
    chunk: Arc<Chunk>,
    outcome: Result<Committed, offline::Error>,
}

impl<'a> Session<'a> {
    pub async fn begin<S: Fn() -> Vec<Arc<Source>> + Send + Sync>(
        archiver: &'a Archiver<S>,
    ) -> Result<Session<'a>, Error> {
        let sources = (archiver.sources)();
        let topics: BTreeSet<String> = sources.iter().map(|source| source.topic.clone()).collect();
        let topics = Vec::from_iter(topics);
        let consumer = match topics.is_empty() {
            true => None,
            false => Some(archiver.log.consumer(&archiver.settings.group, &topics).await?),
        };
        Ok(Session {
            log: archiver.log.as_ref(),
            archive: &archiver.archive,
            clock: &archiver.clock,
            settings: &archiver.settings,
            progress: &archiver.progress,
            current_sources: &archiver.sources,
            sources,
            consumer,
            lanes: Lanes::new(archiver.settings.clone()),
            commits: FuturesUnordered::new(),
            compactor: Compactor::new(archiver.archive.clone(), archiver.settings.compaction),
        })
    }

    pub async fn run(mut self, mut shutdown: Pin<&mut impl Future<Output = ()>>) -> Result<Ended, Error> {
        if self.consumer.is_none() {
            self.progress.listening(true);
        }
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ended = loop {
            self.cut(if self.progress.is_awaited() { Cut::All } else { Cut::Due });
            let has_room = self.lanes.bytes() < self.settings.waiting_bytes_max;
            tokio::select! {
                () = &mut shutdown => break Ok(Ended::Shutdown),
                _ = tick.tick() => if (self.current_sources)() != self.sources { break Ok(Ended::SourcesChanged) },
                Some(finished) = self.commits.next() => self.finish(finished),
                Some(()) = self.compactor.next() => {}
                delivery = next(&mut self.consumer), if has_room => match self.hear(delivery).await {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
            }
        };
        self.drain().await;
        if let (Ok(_), Some(consumer)) = (&ended, self.consumer.take()) {
            // Who is not let go in time is missed by the group a while later.
            let _ = timeout(self.settings.drain, consumer.leave()).await;
        }
        ended
    }

    async fn hear(&mut self, delivery: Result<Delivery, event_log::Error>) -> Result<(), Error> {
        match delivery {
            Ok(Delivery::Assigned(places)) => {
                for place in places {
                    self.take_up(&place).await?;
                }
                self.progress.listening(true);
            }
            Ok(Delivery::Revoked(places)) => {
                // What they hold is in the log, for whoever archives it next.
                let lanes: Vec<LaneId> = places.iter().flat_map(|place| self.lanes.of(place)).collect();
                lanes.iter().for_each(|lane| self.lanes.remove(lane));
            }
            Ok(Delivery::Records { partition, records, next, .. }) => {
                self.lanes.take(&partition, &records, next, self.clock.now());
            }
            Err(event_log::Error::OutOfRange { topic, partition, offset, held }) => {
                let error = event_log::Error::OutOfRange { topic: topic.clone(), partition, offset, held };
                let place = TopicPartition { topic, partition };
                self.lanes.of(&place).iter().for_each(|lane| self.stop(lane, error.to_string()));
                self.deliver(&place);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Starts a lane for each source of the topic where its commits end, or at the log's start.
    async fn take_up(&mut self, place: &TopicPartition) -> Result<(), Error> {
        let bounds = self.log.bounds(&place.topic).await?;
        let start = bounds.get(place.partition as usize).map_or(0, |held| held.start);
        let here: Vec<_> = self.sources.iter().filter(|source| source.topic == place.topic).cloned().collect();
        for source in here {
            match self.position(&source, place.partition).await {
                Ok(position) => {
                    let position = position.unwrap_or(start);
                    self.progress.archived(&source.name, place.partition, position);
                    self.lanes.add(source, place.partition, position);
                }
                Err(error) => self.stop(&(source.name.clone(), place.partition), error.to_string()),
            }
        }
        self.deliver(place);
        Ok(())
    }

    /// Tries again until the archive can be read, or is known to be broken.
    fn position(
        &self,
        source: &Arc<Source>,
        partition: u32,
    ) -> impl Future<Output = Result<Option<u64>, offline::Error>> + Send + 'static {
        let (archive, source) = (self.archive.clone(), source.clone());
        retried(move || archive.position(&source, partition))
    }

    /// Has the partition delivered from where its lanes want it; without a lane it stays silent.
    fn deliver(&mut self, place: &TopicPartition) {
        let consumer = self.consumer.as_mut().expect("deliveries come from a consumer");
        match self.lanes.wanted(place) {
            Some(offset) => consumer.seek(place, offset),
            None => consumer.pause(place),
        }
    }

    fn cut(&mut self, cut: Cut) {
        for chunk in self.lanes.cut(self.clock.now(), cut) {
            let (archive, chunk) = (self.archive.clone(), Arc::new(chunk));
            self.commits.push(Box::pin(async move {
                let written = chunk.clone();
                let outcome = retried(move || archive.commit(&written.source, &written.span, &written.records)).await;
                Finished { chunk, outcome }
            }));
        }
    }

    fn finish(&mut self, Finished { chunk, outcome }: Finished) {
        let (source, partition) = chunk.lane();
        match outcome {
            Ok(committed) => {
                let to = match committed {
                    Committed::Done => chunk.span.offsets.end,
                    Committed::AlreadyCommitted { to } => to,
                };
                self.progress.archived(&source, partition, to);
                self.compactor.committed(&chunk);
                if let Some(place) = self.lanes.committed(&chunk, committed) {
                    self.deliver(&place);
                }
            }
            Err(error) => self.stop(&(source, partition), error.to_string()),
        }
    }

    /// Archives no more of a lane until the next session; the others go on.
    fn stop(&mut self, lane: &LaneId, reason: String) {
        tracing::error!(source = %lane.0, partition = lane.1, reason, "the archive of a partition has stopped");
        self.lanes.remove(lane);
        self.progress.stopped(&lane.0, lane.1, reason);
    }

    /// Commits what the lanes hold. What does not get there in time is in the log still.
    async fn drain(&mut self) {
        let limit = self.settings.drain;
        let commits = async {
            loop {
                self.cut(Cut::All);
                match self.commits.next().await {
                    Some(finished) => self.finish(finished),
                    None => return,
                }
            }
        };
        if timeout(limit, commits).await.is_err() {
            tracing::warn!("the archive stops before everything it read was committed; the next start repeats it");
        }
    }
}

async fn next(consumer: &mut Option<Box<dyn Consumer>>) -> Result<Delivery, event_log::Error> {
    match consumer {
        Some(consumer) => consumer.next().await,
        None => std::future::pending().await,
    }
}

/// Works on a thread that may block, again and again while the world is in the way.
async fn retried<T: Send + 'static>(
    work: impl Fn() -> Result<T, offline::Error> + Clone + Send + 'static,
) -> Result<T, offline::Error> {
    let mut wait = RETRY_FIRST;
    loop {
        match spawn_blocking(work.clone()).await.expect("archiving does not panic") {
            Err(error) if error.is_transient() => {
                tracing::warn!(%error, cause = error.cause(), "the archive will try its files again");
                sleep(wait).await;
                wait = (wait * 2).min(RETRY_LONGEST);
            }
            outcome => return outcome,
        }
    }
}
