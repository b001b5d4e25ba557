//! One session of the archiver: a consumer of the log, the lanes it feeds, and the commits under way.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::archive::beginnings::{Beginning, Beginnings};
use crate::archive::compactor::Compactor;
use crate::archive::lanes::{Chunk, Cut, LaneId, Lanes};
use crate::archive::retry::retried;
use crate::archive::run::Archiver;
use crate::archive::{Error, Progress, Settings};
use crate::event_log::{self, Consumer, Delivery, TopicPartition};
use crate::kernel::definition::Source;
use crate::kernel::time::Micros;
use crate::offline::{self, Archive, Committed};

/// How often it is looked whether anything has waited for long, and whether the sources are others.
const TICK: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    Shutdown,
    SourcesChanged,
}

pub(super) struct Session<'a> {
    archive: &'a Archive,
    settings: &'a Settings,
    progress: &'a Progress,
    current_sources: &'a (dyn Fn() -> Vec<Arc<Source>> + Send + Sync),
    sources: Vec<Arc<Source>>,
    /// `None`: there are no sources to listen to.
    consumer: Option<Box<dyn Consumer>>,
    begun: Instant,
    beginnings: Beginnings,
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
            archive: &archiver.archive,
            settings: &archiver.settings,
            progress: &archiver.progress,
            current_sources: &archiver.sources,
            sources,
            consumer,
            begun: Instant::now(),
            beginnings: Beginnings::new(archiver.log.clone(), archiver.archive.clone()),
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
                Some(beginning) = self.beginnings.next() => match beginning {
                    Ok(beginning) => self.begin_lanes(beginning),
                    Err(error) => break Err(error.into()),
                },
                delivery = next(&mut self.consumer), if has_room => match self.hear(delivery) {
                    Ok(()) => {}
                    Err(error) => break Err(error),
                },
            }
        };
        self.drain().await;
        self.progress.forget_all();
        if let (Ok(_), Some(consumer)) = (&ended, self.consumer.take()) {
            // Who is not let go in time is missed by the group a while later.
            let _ = timeout(self.settings.drain, consumer.leave()).await;
        }
        ended
    }

    fn hear(&mut self, delivery: Result<Delivery, event_log::Error>) -> Result<(), Error> {
        match delivery {
            Ok(Delivery::Assigned(places)) => {
                places.into_iter().for_each(|place| self.take_up(place));
                self.progress.listening(true);
            }
            Ok(Delivery::Revoked(places)) => {
                // What they hold is in the log, for whoever archives it next.
                places.iter().for_each(|place| self.let_go(place));
            }
            Ok(Delivery::Records { partition, records, next, .. }) => {
                self.lanes.take(&partition, &records, next, self.passed());
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

    /// Since it began. The time of day may be set back, and what waits would wait for as much longer.
    fn passed(&self) -> Micros {
        Micros::new(self.begun.elapsed().as_micros() as i64)
    }

    fn take_up(&mut self, place: TopicPartition) {
        let here = self.sources.iter().filter(|source| source.topic == place.topic).cloned().collect();
        self.beginnings.ask(place, here);
    }

    /// Starts a lane for each source of the partition's topic.
    fn begin_lanes(&mut self, Beginning { place, lanes }: Beginning) {
        for (source, position) in lanes {
            match position {
                Ok(position) => {
                    self.progress.archived(&source.name, place.partition, position);
                    self.lanes.add(source, place.partition, position);
                }
                Err(error) => self.stop(&(source.name.clone(), place.partition), error.to_string()),
            }
        }
        self.deliver(&place);
    }

    /// How far it is archived, and why no further, is for whoever archives it next to say.
    fn let_go(&mut self, place: &TopicPartition) {
        self.beginnings.forget(place);
        self.lanes.of(place).iter().for_each(|lane| self.lanes.remove(lane));
        for source in self.sources.iter().filter(|source| source.topic == place.topic) {
            self.progress.forget(&source.name, place.partition);
        }
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
        for chunk in self.lanes.cut(self.passed(), cut) {
            let (archive, chunk) = (self.archive.clone(), Arc::new(chunk));
            self.commits.push(Box::pin(async move {
                let written = chunk.clone();
                let commit = move || {
                    let Chunk { source, behind, span, records, .. } = &*written;
                    archive.commit_behind(source, *behind, span, records)
                };
                let outcome = retried(commit).await;
                Finished { chunk, outcome }
            }));
        }
    }

    fn finish(&mut self, Finished { chunk, outcome }: Finished) {
        if !self.lanes.awaits(&chunk) {
            return;
        }
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
