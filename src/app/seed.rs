//! Who seeds what: a generation of rows that is being built, of a source with history files, gets its part of history
//! from one of the stream processes.
//!
//! A seeding is a job in the registry, so that processes see who is at it, and that he is gone. Should two begin at once
//! the store lets one of them through.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::api::seeds::KIND;
use crate::app::Error;
use crate::app::backends::Backends;
use crate::app::promote::history_rows;
use crate::backfill::seed::{Seeded, Seeding, seed};
use crate::batch::Resources;
use crate::clock::Clock;
use crate::kernel::key::HISTORY;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::Micros;
use crate::offline::Archive;
use crate::online::{Nonce, OnlineStore};
use crate::registry::catalogue::{Catalogues, Version};
use crate::registry::{Job, JobState, Registry, VersionState};

/// Between looks at what is to be seeded.
const LOOK: Duration = Duration::from_millis(500);

/// How long a seeding counts as running after its process was last heard of, and how often it is.
const LEASE: Micros = Micros::new(30_000_000);
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// The newest jobs: more are never under way.
const JOBS: usize = 100;

pub(super) struct Seeder {
    online: Arc<dyn OnlineStore>,
    registry: Arc<dyn Registry>,
    catalogues: Catalogues,
    archive: Archive,
    clock: Clock,
    resources: Resources,
    /// What this process calls itself in the registry: drawn at random.
    owner: String,
}

impl Seeder {
    pub fn new(
        backends: &Backends,
        catalogues: Catalogues,
        clock: Clock,
        resources: Resources,
    ) -> Result<Seeder, Error> {
        let Backends { online, registry, folder, .. } = backends;
        let (online, registry, archive) = (online.clone(), registry.clone(), Archive::new(folder.clone()));
        let owner = format!("{:016x}", getrandom::u64()?);
        Ok(Seeder { online, registry, catalogues, archive, clock, resources, owner })
    }

    pub async fn run(self, closing: impl Future<Output = ()>) -> Result<(), Error> {
        let follow = async {
            loop {
                if let Err(error) = self.look().await {
                    tracing::warn!(%error, "history cannot be written to the online store; trying again");
                }
                sleep(LOOK).await;
            }
        };
        tokio::select! { () = closing => Ok(()), () = follow => Ok(()) }
    }

    async fn look(&self) -> Result<(), Error> {
        for Version { view, state, .. } in &self.catalogues.current().versions {
            if !view.online || view.source.history.is_empty() {
                continue;
            }
            if *state == VersionState::Live && self.online.is_complete(view.rows).await? {
                continue;
            }
            let Some(rows) = history_rows(&self.archive, &view.source).await? else { continue };
            if !self.is_seeded(view, rows).await? {
                self.seed(view, rows).await?;
            }
        }
        Ok(())
    }

    async fn is_seeded(&self, view: &ViewPlan, rows: u64) -> Result<bool, Error> {
        let offsets = self.online.offsets(view.rows).await?;
        let seeded = offsets.iter().filter(|(_, partition, offset)| *partition == HISTORY && *offset >= rows);
        Ok(seeded.count() == usize::from(self.online.shards()))
    }

    async fn seed(&self, view: &Arc<ViewPlan>, rows: u64) -> Result<(), Error> {
        let Some(mut job) = self.take(view).await? else { return Ok(()) };
        let now = self.clock.now();
        let (archive, view) = (self.archive.clone(), view.clone());
        let seeding = Seeding { archive, view: view.clone(), rows, now, resources: self.resources };
        let work = seed(&*self.online, seeding, Nonce(getrandom::u64()?));
        let outcome = tokio::select! { outcome = work => outcome, error = self.keep_alive() => return Err(error) };
        job.finished_at = Some(self.clock.now());
        match &outcome {
            Ok(Seeded::Done) => {
                tracing::info!(view = %view.name, version = %view.fingerprint, rows, "its history is in the online store");
                (job.state, job.progress, job.result) =
                    (JobState::Done, 1.0, Some(serde_json::json!({ "rows": rows })));
            }
            Ok(Seeded::TakenOver) => job.state = JobState::Cancelled,
            Err(error) => (job.state, job.error) = (JobState::Failed, Some(error.to_string())),
        }
        self.registry.put_job(&job).await?;
        outcome.map(drop).map_err(Error::from)
    }

    /// The job, if it is ours: new, or one that another process left behind. Should two begin at once the store refuses one.
    async fn take(&self, view: &ViewPlan) -> Result<Option<Job>, Error> {
        self.registry.renew(&self.owner, LEASE, &[]).await?;
        self.registry.take_abandoned(KIND, &self.owner).await?;
        let rows = view.rows.to_string();
        let mut jobs = self.registry.jobs(Some(KIND), JOBS).await?.into_iter();
        let running = jobs.find(|job| job.state == JobState::Running && job.request["rows"] == rows);
        if let Some(job) = running {
            return Ok((job.owner == self.owner).then_some(job));
        }
        let now = self.clock.now();
        let job = Job {
            id: format!("{KIND}-{rows}-{:x}", now.micros()),
            kind: KIND.to_owned(),
            state: JobState::Running,
            progress: 0.0,
            request: serde_json::json!({ "view": view.name.as_str(), "version": view.fingerprint.to_string(), "rows": rows }),
            result: None,
            error: None,
            created_at: now,
            finished_at: None,
            owner: self.owner.clone(),
        };
        self.registry.put_job(&job).await?;
        Ok(Some(job))
    }

    /// Ends when the registry cannot be told any more.
    async fn keep_alive(&self) -> Error {
        loop {
            sleep(RENEW_EVERY).await;
            match self.registry.renew(&self.owner, LEASE, &[]).await {
                Err(error) if !error.is_transient() => return error.into(),
                _ => {}
            }
        }
    }
}
