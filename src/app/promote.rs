//! From Building to Live: a version is served once the store has everything that the log held when the version was
//! first seen, and is about as far as what it replaces.
//!
//! ```text
//! goal: the log's ends, and history's ─► positions in the store, again and again ─► all there ─► complete ─► live
//!        ▲                                                                             │
//!        └──────────────── it took long: the log has gone on meanwhile ◄───────────────┘
//! ```
//!
//! Without the way back, a build of an hour would be served as of an hour ago: the events that came meanwhile are read
//! next, and until then lookups would see less than from the version before.
//!
//! Positions are read from the store, so any number of stream processes share the work, and each of them may be the
//! one that promotes: every step is idempotent. A live or retained version whose shards were emptied is made complete
//! again the same way. A restart may take a later goal, never an earlier one than the version's beginning.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use crate::app::Error;
use crate::app::backends::Backends;
use crate::clock::Clock;
use crate::event_log::EventLog;
use crate::kernel::definition::Source;
use crate::kernel::key::HISTORY;
use crate::kernel::plan::{Fingerprint, ViewPlan};
use crate::offline::Archive;
use crate::online::OnlineStore;
use crate::registry::catalogue::{Catalogues, Version};
use crate::registry::{Registry, Seed, VersionState};

/// Between looks at the store: doubled from the first to the longest while nothing happens.
const LOOK_FIRST: Duration = Duration::from_millis(50);
const LOOK_LONGEST: Duration = Duration::from_secs(1);

/// A version that has what the log held this long ago is as far as what is served, give or take a flush.
const NEAR: Duration = Duration::from_secs(1);

pub(super) struct Promoter {
    log: Arc<dyn EventLog>,
    online: Arc<dyn OnlineStore>,
    registry: Arc<dyn Registry>,
    catalogues: Catalogues,
    archive: Archive,
    clock: Clock,
    /// For generations of rows that are not complete, or not served yet.
    goals: HashMap<Fingerprint, Goal>,
}

/// The log's end of each partition, and that of history, at one time.
#[derive(Clone, PartialEq)]
struct Goal {
    places: Vec<(u32, u64)>,
    taken: Instant,
    /// How long it took to get to the goal before this one.
    before: Option<Duration>,
}

impl Goal {
    /// Whether another goal would bring a version no nearer to the log's end: it is there, or reads no faster than
    /// events come.
    fn is_the_last(&self, took: Duration) -> bool {
        took <= NEAR || self.before.is_some_and(|before| took >= before.mul_f64(0.9))
    }
}

impl Promoter {
    pub fn new(backends: &Backends, catalogues: Catalogues, clock: Clock) -> Promoter {
        let Backends { log, online, registry, folder } = backends;
        let (log, online, registry) = (log.clone(), online.clone(), registry.clone());
        let archive = Archive::new(folder.clone());
        Promoter { log, online, registry, catalogues, archive, clock, goals: HashMap::new() }
    }

    pub async fn run(mut self, closing: impl Future<Output = ()>) -> Result<(), Error> {
        let mut closing = std::pin::pin!(closing);
        let mut applied = self.catalogues.subscribe();
        let mut wait = LOOK_FIRST;
        loop {
            let before = self.goals.clone();
            match self.look().await {
                Ok(()) => {}
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "whether views are caught up cannot be told; trying again");
                }
                Err(error) => return Err(error),
            }
            wait = if self.goals == before { (wait * 2).min(LOOK_LONGEST) } else { LOOK_FIRST };
            tokio::select! {
                () = &mut closing => return Ok(()),
                () = sleep(wait) => {}
                changed = applied.changed() => match changed {
                    Ok(()) => wait = LOOK_FIRST,
                    Err(_) => return Ok(()),
                },
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let catalogue = self.catalogues.current();
        self.goals.retain(|rows, _| catalogue.versions.iter().any(|version| version.view.rows == *rows));
        let mut promoted = false;
        for version in &catalogue.versions {
            promoted |= self.look_at(version).await?;
        }
        if promoted {
            self.catalogues.refresh(&*self.registry).await?;
        }
        Ok(())
    }

    /// Whether the version went live.
    async fn look_at(&mut self, version: &Version) -> Result<bool, Error> {
        let Version { view, generation, seed, state, .. } = version;
        if view.online && !matches!(seed, Seed::Done(_)) {
            return Ok(false);
        }
        let is_built = *state != VersionState::Building;
        if is_built && (!view.online || self.online.is_complete(view.rows).await?) {
            self.goals.remove(&view.rows);
            return Ok(false);
        }
        if !self.is_caught_up(view).await? || !(is_built || self.is_near(view).await?) {
            return Ok(false);
        }
        self.goals.remove(&view.rows);
        if is_built {
            tracing::info!(view = %view.name, version = %view.fingerprint, generation, "complete again");
            return Ok(false);
        }
        self.registry.promote(view.fingerprint, *generation, self.clock.now()).await?;
        tracing::info!(view = %view.name, version = %view.fingerprint, generation, "live");
        Ok(true)
    }

    /// Whether every shard is complete, which those that have reached the goal become. A view that is not kept online
    /// has nothing to catch up with.
    async fn is_caught_up(&mut self, view: &ViewPlan) -> Result<bool, Error> {
        if !view.online {
            return Ok(true);
        }
        let Some(goal) = self.goals.get(&view.rows) else { return self.set_goal(view, None).await };
        Ok(self.online.complete(view.rows, &goal.places).await?)
    }

    /// Whether a version that is complete is no more than a moment behind the log; where it is more, it gets another goal.
    async fn is_near(&mut self, view: &ViewPlan) -> Result<bool, Error> {
        let Some(goal) = self.goals.get(&view.rows) else { return Ok(true) };
        if !self.is_reached(view, goal).await? {
            return Ok(false);
        }
        let took = goal.taken.elapsed();
        if goal.is_the_last(took) { Ok(true) } else { self.set_goal(view, Some(took)).await }
    }

    /// Whether the writers of a version that is complete by an earlier goal have passed this one: a shard that has been
    /// written tells for all of its partition, for those without events are moved on only now and then.
    async fn is_reached(&self, view: &ViewPlan, goal: &Goal) -> Result<bool, Error> {
        let positions = self.online.offsets(view.rows).await?;
        let newest =
            |partition: u32| positions.iter().filter(|(_, it, _)| *it == partition).map(|(_, _, offset)| *offset).max();
        Ok(goal.places.iter().all(|(partition, end)| newest(*partition).is_some_and(|offset| offset >= *end)))
    }

    /// Never reached at once. A topic that the log does not know yet has no end that could be reached, nor has history
    /// that is still being read.
    async fn set_goal(&mut self, view: &ViewPlan, before: Option<Duration>) -> Result<bool, Error> {
        let Ok(bounds) = self.log.bounds(&view.source.topic).await else { return Ok(false) };
        // A shard below the cut of a seeding has half of its rows, however short the log is by now.
        let place = |(partition, held): (u32, &Range<u64>)| (partition, held.end.max(view.folded_from(partition)));
        let mut places: Vec<(u32, u64)> = (0..).zip(&bounds).map(place).collect();
        if !view.source.history.is_empty() {
            let Some(rows) = history_rows(&self.archive, &view.source).await? else { return Ok(false) };
            places.push((HISTORY, rows));
        }
        self.goals.insert(view.rows, Goal { places, taken: Instant::now(), before });
        Ok(false)
    }
}

/// How many rows of a source's history are archived, once all are.
pub(super) async fn history_rows(archive: &Archive, source: &Arc<Source>) -> Result<Option<u64>, Error> {
    let (archive, source) = (archive.clone(), source.clone());
    let found = spawn_blocking(move || archive.history(&source)).await.expect("a look at the archive does not panic");
    Ok(found?.map(|history| history.rows))
}

#[cfg(test)]
mod tests;
