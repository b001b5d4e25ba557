//! A seeding as a job in the registry.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::api::seeds::KIND;
use crate::app::Error;
use crate::app::seed::Seeder;
use crate::backfill;
use crate::backfill::seed::Seeded;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;
use crate::registry::{Job, JobState, LEASE, Offsets};

/// How often the process of a seeding is heard of.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// The newest jobs: more are never under way.
const JOBS: usize = 100;

/// What is seeded from: the archive of the log, or that of history files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Archived {
    Log,
    History,
}

impl Archived {
    fn as_str(self) -> &'static str {
        match self {
            Archived::Log => "archive",
            Archived::History => "history",
        }
    }

    /// What is to be said at the end.
    pub fn seeded(self) -> &'static str {
        match self {
            Archived::Log => "what was archived is in the online store",
            Archived::History => "its history is in the online store",
        }
    }
}

impl Seeder {
    /// The job, if it is ours: new, or one that another process left behind. Should two begin at once the store refuses one.
    pub(super) async fn take(&self, view: &ViewPlan, from: Archived) -> Result<Option<Job>, Error> {
        self.registry.renew(&self.owner, LEASE, &[]).await?;
        self.registry.take_abandoned(KIND, &self.owner).await?;
        let rows = view.rows.to_string();
        let mut jobs = self.registry.jobs(Some(KIND), JOBS).await?.into_iter();
        let is_it = |job: &Job| job.request["rows"] == rows && job.request["from"] == from.as_str();
        if let Some(job) = jobs.find(|job| job.state == JobState::Running && is_it(job)) {
            return Ok((job.owner == self.owner).then_some(job));
        }
        let now = self.clock.now();
        let job = Job {
            id: format!("{KIND}-{rows}-{:x}", now.micros()),
            kind: KIND.to_owned(),
            state: JobState::Running,
            progress: 0.0,
            request: json!({
                "view": view.name.as_str(),
                "version": view.fingerprint.to_string(),
                "rows": rows,
                "from": from.as_str(),
            }),
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
    pub(super) async fn keep_alive(&self) -> Error {
        loop {
            sleep(RENEW_EVERY).await;
            match self.registry.renew(&self.owner, LEASE, &[]).await {
                Err(error) if !error.is_transient() => return error.into(),
                _ => {}
            }
        }
    }
}

/// Notes what became of it.
pub(super) fn end(
    job: &mut Job,
    from: Archived,
    cut: &Offsets,
    outcome: &Result<Seeded, backfill::Error>,
    now: EventTime,
) {
    job.finished_at = Some(now);
    match outcome {
        Ok(Seeded::Done { events }) => {
            job.state = JobState::Done;
            job.progress = 1.0;
            job.result = Some(match from {
                Archived::Log => json!({ "events": events, "archived_to": cut }),
                Archived::History => json!({ "events": events, "rows": cut.values().sum::<u64>() }),
            });
        }
        Ok(Seeded::TakenOver) => job.state = JobState::Cancelled,
        Err(error) => (job.state, job.error) = (JobState::Failed, Some(error.to_string())),
    }
}
