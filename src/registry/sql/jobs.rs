//! Jobs, and the leases of the processes that run them.

use crate::kernel::time::{EventTime, Micros};
use crate::registry::sql::SqlRegistry;
use crate::registry::sql::database::{Cell, Database, Row, cells};
use crate::registry::{Abandoned, Error, Job, JobFilter, JobState};

const STATES: [JobState; 4] = [JobState::Running, JobState::Done, JobState::Failed, JobState::Cancelled];

impl<D: Database> SqlRegistry<D> {
    pub(super) async fn write_job(&self, job: &Job) -> Result<bool, Error> {
        let written = "INSERT INTO job
                 (project, id, kind, state, progress, request, result, error, created_at, finished_at, owner)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (project, id) DO UPDATE SET
                 state = excluded.state, progress = excluded.progress, result = excluded.result,
                 error = excluded.error, finished_at = excluded.finished_at
             WHERE job.owner = excluded.owner RETURNING id";
        Ok(!self.database.run(written, self.cells_of(job)).await?.is_empty())
    }

    pub(super) async fn write_begun_job(&self, job: &Job) -> Result<bool, Error> {
        let begun = "INSERT INTO job
                 (project, id, kind, state, progress, request, result, error, created_at, finished_at, owner)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             ON CONFLICT (project, id) DO UPDATE SET
                 state = excluded.state, progress = excluded.progress, result = excluded.result, stop_asked = 0, deaths = 0,
                 error = excluded.error, finished_at = excluded.finished_at, owner = excluded.owner
             WHERE job.state <> 'running' RETURNING id";
        Ok(!self.database.run(begun, self.cells_of(job)).await?.is_empty())
    }

    /// Of all columns.
    fn cells_of(&self, job: &Job) -> Vec<Cell> {
        let result = job.result.as_ref().map(serde_json::Value::to_string);
        cells![
            self.project(),
            job.id.as_str(),
            job.kind.as_str(),
            job.state.as_str(),
            job.progress,
            job.request.to_string().as_str(),
            result.as_deref(),
            job.error.as_deref(),
            job.created_at.micros(),
            job.finished_at.map(EventTime::micros),
            job.owner.as_str(),
        ]
    }

    pub(super) async fn select_job(&self, id: &str) -> Result<Option<Job>, Error> {
        let rows = "SELECT id, kind, state, progress, request, result, error, created_at, finished_at, owner
             FROM job WHERE project = $1 AND id = $2";
        let rows = self.database.run(rows, cells![self.project(), id]).await?;
        rows.first().map(|row| self.job_of(row)).transpose()
    }

    pub(super) async fn select_jobs(&self, filter: JobFilter<'_>, limit: usize) -> Result<Vec<Job>, Error> {
        let rows = "SELECT id, kind, state, progress, request, result, error, created_at, finished_at, owner
             FROM job WHERE project = $1 AND ($2 IS NULL OR kind = $2) AND ($3 IS NULL OR state = $3)
                 AND (created_at < $4 OR (created_at = $4 AND id < $5))
             ORDER BY created_at DESC, id DESC LIMIT $6";
        let JobFilter { kind, state, below } = filter;
        let (began, id) = below.map_or((i64::MAX, ""), |(began, id)| (began.micros(), id));
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let cells = cells![self.project(), kind, state.map(JobState::as_str), began, id, limit];
        let rows = self.database.run(rows, cells).await?;
        rows.iter().map(|row| self.job_of(row)).collect()
    }

    pub(super) async fn note_stop(&self, job: &str) -> Result<(), Error> {
        let asked = "UPDATE job SET stop_asked = 1 WHERE project = $1 AND id = $2 AND state = 'running'";
        self.database.run(asked, cells![self.project(), job]).await.map(drop)
    }

    pub(super) async fn renew_lease(
        &self,
        owner: &str,
        lease: Micros,
        progress: &[(String, f64)],
    ) -> Result<Vec<String>, Error> {
        let mut transaction = self.database.begin(self.project()).await?;
        let until = transaction.now().await? + lease.get();
        let renewed = "INSERT INTO lease (project, owner, until) VALUES ($1, $2, $3)
             ON CONFLICT (project, owner) DO UPDATE SET until = excluded.until";
        transaction.run(renewed, cells![self.project(), owner, until]).await?;
        for (job, progress) in progress {
            let reported = "UPDATE job SET progress = $1 WHERE project = $2 AND id = $3 AND state = 'running'";
            transaction.run(reported, cells![*progress, self.project(), job.as_str()]).await?;
        }
        let stopping = "SELECT id FROM job
             WHERE project = $1 AND owner = $2 AND state = 'running' AND stop_asked = 1 ORDER BY id";
        let stopping = transaction.run(stopping, cells![self.project(), owner]).await?;
        transaction.commit().await?;
        Ok(stopping.iter().map(|row| row.text(0).to_owned()).collect())
    }

    pub(super) async fn note_begun(&self, job: &str, owner: &str) -> Result<(), Error> {
        let begun = "UPDATE job SET begun = 1 WHERE project = $1 AND id = $2 AND owner = $3 AND state = 'running'";
        self.database.run(begun, cells![self.project(), job, owner]).await.map(drop)
    }

    pub(super) async fn release_jobs(&self, owner: &str) -> Result<(), Error> {
        let mut transaction = self.database.begin(self.project()).await?;
        let released = "UPDATE job SET owner = '', begun = 0 WHERE project = $1 AND owner = $2 AND state = 'running'";
        transaction.run(released, cells![self.project(), owner]).await?;
        transaction.run("DELETE FROM lease WHERE project = $1 AND owner = $2", cells![self.project(), owner]).await?;
        transaction.commit().await
    }

    pub(super) async fn take_jobs_without_lease(&self, kind: &str, owner: &str) -> Result<Vec<Abandoned>, Error> {
        let mut transaction = self.database.begin(self.project()).await?;
        let clock = transaction.now().await?;
        transaction.run("DELETE FROM lease WHERE project = $1 AND until <= $2", cells![self.project(), clock]).await?;
        let taken = "UPDATE job SET owner = $1, deaths = deaths + begun, begun = 0
             WHERE project = $2 AND kind = $3 AND state = 'running'
             AND owner NOT IN (SELECT owner FROM lease WHERE project = $2) RETURNING id, deaths";
        let taken = transaction.run(taken, cells![owner, self.project(), kind]).await?;
        transaction.commit().await?;
        Ok(taken.iter().map(|row| Abandoned { id: row.text(0).to_owned(), deaths: row.integer(1) as u64 }).collect())
    }

    pub(super) async fn fail_jobs_without_lease(&self, error: &str, now: EventTime) -> Result<Vec<String>, Error> {
        let mut transaction = self.database.begin(self.project()).await?;
        let clock = transaction.now().await?;
        transaction.run("DELETE FROM lease WHERE project = $1 AND until <= $2", cells![self.project(), clock]).await?;
        let failed = "UPDATE job SET state = 'failed', error = $1, finished_at = $2
             WHERE project = $3 AND state = 'running' AND owner NOT IN (SELECT owner FROM lease WHERE project = $3)
             RETURNING id";
        let failed = transaction.run(failed, cells![error, now.micros(), self.project()]).await?;
        transaction.commit().await?;
        Ok(failed.iter().map(|row| row.text(0).to_owned()).collect())
    }

    /// From `id, kind, state, progress, request, result, error, created_at, finished_at, owner`.
    fn job_of(&self, row: &Row) -> Result<Job, Error> {
        let json = |text: &str| self.read("JSON value", text, |text| serde_json::from_str(text).ok());
        let state = |text: &str| STATES.into_iter().find(|state| state.as_str() == text);
        Ok(Job {
            id: row.text(0).to_owned(),
            kind: row.text(1).to_owned(),
            state: self.read("job state", row.text(2), state)?,
            progress: row.real(3),
            request: json(row.text(4))?,
            result: row.text_or_null(5).map(json).transpose()?,
            error: row.text_or_null(6).map(str::to_owned),
            created_at: EventTime::unchecked(row.integer(7)),
            finished_at: row.integer_or_null(8).map(EventTime::unchecked),
            owner: row.text(9).to_owned(),
        })
    }
}
