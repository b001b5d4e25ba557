//! A seeding as a job in the registry: one for the rows of a generation and what they are seeded from, however often it is
//! begun. It counts how often it failed, and is begun again later each time.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use crate::api::seeds::{self, Archived, KIND};
use crate::app::Error;
use crate::app::seed::Seeder;
use crate::backfill;
use crate::backfill::seed::Seeded;
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::{EventTime, Micros};
use crate::registry::{Abandoned, Job, JobState, LEASE, Offsets};

/// How often the process of a seeding is heard of.
const RENEW_EVERY: Duration = Duration::from_secs(5);

/// From one that failed to the next attempt: doubled from the first to the longest.
const FIRST_WAIT: Micros = Micros::new(5_000_000);
const LONGEST_WAIT: Micros = Micros::new(300_000_000);

impl Seeder {
    /// The job, if it is ours to do now: new, left behind by another process, or failed long enough ago.
    pub(super) async fn take(&self, view: &ViewPlan, from: Archived) -> Result<Option<Job>, Error> {
        self.registry.renew(&self.owner, LEASE, &[]).await?;
        self.take_left_behind().await?;
        let now = self.clock.now();
        let known = self.registry.job(&seeds::id(view.rows, from)).await?;
        let failures = known.as_ref().map_or(0, failures);
        match known {
            Some(job) if job.state == JobState::Running => return Ok((job.owner == self.owner).then_some(job)),
            Some(job) if now < again_at(&job) => return Ok(None),
            _ => {}
        }
        let job = Job {
            id: seeds::id(view.rows, from),
            kind: KIND.to_owned(),
            state: JobState::Running,
            progress: 0.0,
            request: json!({
                "view": view.name.as_str(),
                "version": view.fingerprint.to_string(),
                "rows": view.rows.to_string(),
                "from": from.as_str(),
            }),
            result: (failures > 0).then(|| json!({ "failures": failures })),
            error: None,
            created_at: now,
            finished_at: None,
            owner: self.owner.clone(),
        };
        Ok(self.registry.begin_job(&job).await?.then_some(job))
    }

    /// Those whose rows nobody wants any more end here.
    async fn take_left_behind(&self) -> Result<(), Error> {
        for Abandoned { id, .. } in self.registry.take_abandoned(KIND, &self.owner).await? {
            let Some(mut job) = self.registry.job(&id).await? else { continue };
            let catalogue = self.catalogues.current();
            let mut wanted = catalogue
                .versions
                .iter()
                .flat_map(|it| [Archived::Log, Archived::History].map(|from| seeds::id(it.view.rows, from)));
            if !wanted.any(|wanted| wanted == id) {
                end(&mut job, JobState::Cancelled, self.clock.now());
                self.registry.put_job(&job).await?;
            }
        }
        Ok(())
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
pub(super) fn note(
    job: &mut Job,
    from: Archived,
    cut: &Offsets,
    outcome: &Result<Seeded, backfill::Error>,
    now: EventTime,
) {
    match outcome {
        Ok(Seeded::Done { events }) => {
            end(job, JobState::Done, now);
            job.progress = 1.0;
            job.result = Some(match from {
                Archived::Log => json!({ "events": events, "archived_to": cut }),
                Archived::History => json!({ "events": events, "rows": cut.values().sum::<u64>() }),
            });
        }
        Ok(Seeded::TakenOver) => end(job, JobState::Cancelled, now),
        Err(error) => {
            end(job, JobState::Failed, now);
            job.error = Some(seeds::reason(error));
            let again_at = now + wait(failures(job) + 1);
            job.result = Some(json!({ "failures": failures(job) + 1, "again_at": again_at.to_string() }));
        }
    }
}

/// How often in a row it failed.
pub(super) fn failures(job: &Job) -> u32 {
    let failures = job.result.as_ref().and_then(|result| result["failures"].as_u64());
    failures.map_or(0, |failures| failures as u32)
}

/// One that was taken over, or whose process ended, waits for nothing.
fn again_at(job: &Job) -> EventTime {
    let waits = job.state == JobState::Failed;
    job.finished_at.filter(|_| waits).map_or(EventTime::MIN, |at| at + wait(failures(job)))
}

fn wait(failures: u32) -> Micros {
    match failures {
        0 => Micros::ZERO,
        _ => Micros::new(FIRST_WAIT.get() << (failures - 1).min(16)).min(LONGEST_WAIT),
    }
}

fn end(job: &mut Job, state: JobState, now: EventTime) {
    (job.state, job.finished_at) = (state, Some(now));
}
