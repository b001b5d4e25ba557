//! Who seeds what: new rows begin with what the archive has of them, folded in bulk, and get their part of history files.
//!
//! ```text
//! a new generation ─► decide: up to where the archive gives the rows ─► a job: the seeding ─► the stream, from the cut on
//!                       └─ the archive has little: the stream folds everything
//! ```
//!
//! The decision is in the registry before the first write, and stands: the stream writes no row of a generation before its
//! seeding is done, so neither meets half of the other's work. Where a store lost seeded rows later, nobody folds on top of
//! what is left of them (the stream sees that too): a new generation is built.
//!
//! A seeding is a job in the registry, so that processes see who is at it, and that he is gone. Should two begin at once
//! the store lets one of them through. History waits for nobody: it has a part of its own in each row.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::api::seeds::{self, Archived};
use crate::app::Error;
use crate::app::backends::Backends;
use crate::app::promote::history_rows;
use crate::backfill;
use crate::backfill::seed::{self, Seeded, Seeding};
use crate::batch::Resources;
use crate::clock::Clock;
use crate::config::Config;
use crate::event_log::{self, EventLog};
use crate::kernel::key::HISTORY;
use crate::kernel::plan::{Fingerprint, ViewPlan};
use crate::offline::Archive;
use crate::online::{Nonce, OnlineStore};
use crate::registry::catalogue::{Catalogues, Version};
use crate::registry::{JobState, Offsets, Registry, Seed, VersionState};

mod anew;
mod job;
#[cfg(test)]
mod tests;

/// Between looks at what is to be seeded, and after one that failed.
const LOOK: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_secs(5);

/// What is done at each look at a version.
type Look = for<'a> fn(&'a Seeder, &'a Version) -> BoxFuture<'a, Result<(), Error>>;

pub(super) struct Seeder {
    /// As the stream reads it: what it begins with is not to be left out.
    log: Arc<dyn EventLog>,
    /// Without the archive.
    event_log: Arc<dyn EventLog>,
    online: Arc<dyn OnlineStore>,
    registry: Arc<dyn Registry>,
    catalogues: Catalogues,
    archive: Archive,
    clock: Clock,
    resources: Resources,
    /// Of fewer archived records the stream makes the rows as soon.
    least_records: u64,
    /// What this process calls itself in the registry: drawn at random.
    owner: String,
}

impl Seeder {
    pub fn new(backends: &Backends, catalogues: Catalogues, clock: Clock, config: &Config) -> Result<Seeder, Error> {
        let Backends { online, registry, folder, .. } = backends;
        Ok(Seeder {
            log: backends.tiered_log(&catalogues),
            event_log: backends.log.clone(),
            online: online.clone(),
            registry: registry.clone(),
            catalogues,
            archive: Archive::new(folder.clone()),
            clock,
            resources: config.job_resources,
            least_records: config.seed_records,
            owner: format!("{:016x}", getrandom::u64()?),
        })
    }

    /// A long seeding keeps no other view from beginning: decisions are made beside it.
    pub async fn run(self, closing: impl Future<Output = ()>) -> Result<(), Error> {
        let decided =
            self.look_always("a view cannot begin yet; trying again", |it, version| it.decide(version).boxed());
        let seeded =
            self.look_always("its rows cannot be seeded; trying again", |it, version| it.look_at(version).boxed());
        tokio::select! { () = closing => {}, () = decided => {}, () = seeded => {} }
        Ok(())
    }

    /// Looks at every version: whenever versions change, and now and then. `failed` is said where it cannot.
    async fn look_always(&self, failed: &str, look: Look) {
        let mut applied = self.catalogues.subscribe();
        loop {
            let mut wait = LOOK;
            for version in self.catalogues.current().versions.iter().filter(|version| version.view.online) {
                if let Err(error) = look(self, version).await {
                    tracing::warn!(%error, view = %version.view.name, "{failed}");
                    wait = REST;
                }
            }
            tokio::select! {
                () = sleep(wait) => {}
                changed = applied.changed() => if changed.is_err() { return },
            }
        }
    }

    async fn decide(&self, version: &Version) -> Result<(), Error> {
        let Version { view, generation, seed, .. } = version;
        if !matches!(seed, Seed::Undecided) && *seed != Seed::Begun(Offsets::new()) {
            return Ok(());
        }
        let cut = self.cut(view).await?;
        let stands = self.registry.begin_seed(view.fingerprint, *generation, &cut).await?;
        if stands.is_some_and(|cut| cut.is_empty()) {
            self.registry.end_seed(view.fingerprint, *generation).await?;
        }
        Ok(self.catalogues.refresh(&*self.registry).await?)
    }

    /// Nothing of an archive that cannot be read for good: the stream says what is wrong, should it need it.
    async fn cut(&self, view: &ViewPlan) -> Result<Offsets, Error> {
        let held = match self.log.bounds(&view.source.topic).await {
            Err(event_log::Error::UnknownTopic(_)) => return Ok(Offsets::new()),
            held => held?,
        };
        let (archive, source, least) = (self.archive.clone(), view.source.clone(), self.least_records);
        let cut = spawn_blocking(move || seed::cut(&archive, &source, &held, least)).await;
        match cut.expect("a look at the archive does not panic") {
            Err(error) if !error.is_transient() => {
                tracing::warn!(%error, view = %view.name, "its rows are folded without the archive");
                Ok(Offsets::new())
            }
            cut => Ok(cut?),
        }
    }

    /// The version is as it was when this round began: a seeding may have taken long since.
    async fn look_at(&self, version: &Version) -> Result<(), Error> {
        let Version { view, generation, seed, .. } = version;
        if !self.is_written(view.rows) {
            return Ok(());
        }
        match seed {
            Seed::Undecided => {}
            Seed::Begun(cut) if cut.is_empty() => {}
            Seed::Begun(cut) => {
                if self.was_seeded(view).await? || self.seed(version, Archived::Log, cut).await? {
                    self.registry.end_seed(view.fingerprint, *generation).await?;
                    self.catalogues.refresh(&*self.registry).await?;
                }
            }
            Seed::Done(cut) => self.mend(version, cut).await?,
        }
        self.look_at_history(version).await
    }

    async fn look_at_history(&self, version: &Version) -> Result<(), Error> {
        let Version { view, state, .. } = version;
        if view.source.history.is_empty() || *state == VersionState::Live && self.online.is_complete(view.rows).await? {
            return Ok(());
        }
        let Some(rows) = history_rows(&self.archive, &view.source).await? else { return Ok(()) };
        let cut = BTreeMap::from([(HISTORY, rows)]);
        if !self.is_seeded(view, &cut).await? {
            self.seed(version, Archived::History, &cut).await?;
        }
        Ok(())
    }

    /// Whether every shard has everything below the cut.
    async fn is_seeded(&self, view: &ViewPlan, cut: &Offsets) -> Result<bool, Error> {
        let offsets = self.online.offsets(view.rows).await?.into_iter();
        let seeded = offsets.filter(|(_, partition, offset)| cut.get(partition).is_some_and(|end| offset >= end));
        Ok(seeded.count() == cut.len() * usize::from(self.online.shards()))
    }

    /// Whether somebody has done it and is about to say so, or died before: what its store may have lost since is another
    /// generation's concern.
    async fn was_seeded(&self, view: &ViewPlan) -> Result<bool, Error> {
        let job = self.registry.job(&seeds::id(view.rows, Archived::Log)).await?;
        Ok(job.is_some_and(|job| job.state == JobState::Done))
    }

    /// Whether it is done now.
    async fn seed(&self, version: &Version, from: Archived, cut: &Offsets) -> Result<bool, Error> {
        let view = &version.view;
        let Some(mut job) = self.take(view, from).await? else { return Ok(false) };
        let seeding = Seeding {
            archive: self.archive.clone(),
            view: view.clone(),
            cut: cut.clone(),
            now: self.clock.now(),
            resources: self.resources,
        };
        let work = seed::seed(&*self.online, seeding, Nonce(getrandom::u64()?));
        let outcome = tokio::select! {
            outcome = work => outcome,
            () = self.given_up(view.rows) => Ok(Seeded::TakenOver),
            error = self.keep_alive() => return Err(error),
        };
        job::note(&mut job, from, cut, &outcome, self.clock.now());
        if self.registry.put_job(&job).await? {
            self.heed(version, from, cut, &outcome, job::failures(&job)).await?;
        }
        Ok(matches!(outcome, Ok(Seeded::Done { .. })))
    }

    /// What comes of an attempt that nobody has taken over, beside its job.
    async fn heed(
        &self,
        version: &Version,
        from: Archived,
        cut: &Offsets,
        outcome: &Result<Seeded, backfill::Error>,
        failures: u32,
    ) -> Result<(), Error> {
        let view = &version.view;
        match outcome {
            Ok(Seeded::Done { events }) => {
                let what = match from {
                    Archived::Log => "what was archived is in the online store",
                    Archived::History => "its history is in the online store",
                };
                tracing::info!(view = %view.name, version = %view.fingerprint, events, "{what}");
            }
            Ok(Seeded::TakenOver) => {}
            Err(error) => {
                let reason = seeds::reason(error);
                tracing::warn!(error = reason, view = %view.name, failures, "its rows cannot be seeded; trying again later");
                if from == Archived::Log {
                    self.leave_to_stream(version, cut, error, failures).await?;
                }
            }
        }
        Ok(())
    }

    fn is_written(&self, rows: Fingerprint) -> bool {
        self.catalogues.current().versions.iter().any(|version| version.view.rows == rows)
    }

    /// Ends when nobody wants these rows any more.
    async fn given_up(&self, rows: Fingerprint) {
        let mut catalogue = self.catalogues.subscribe();
        drop(catalogue.wait_for(|it| it.versions.iter().all(|version| version.view.rows != rows)).await);
    }
}
