//! The registry as statements that SQLite and PostgreSQL both understand. What differs between them is behind
//! [`Database`]: how to connect, what locks a project, which clock ticks, and what an error means. Here are projects
//! and revisions; the files below have the rest.

use async_trait::async_trait;

use crate::kernel::definition::SourceText;
use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::{EventTime, Micros};
use crate::registry::access::{ApiKey, AuditEntry};
use crate::registry::{
    Abandoned, Error, Job, JobFilter, Offsets, Registry, Replay, Revision, Revocation, Rollback, Seed, Seeds,
    ViewVersion,
};

use database::cells;
pub use database::{Cell, Database, Row, Transaction};

mod access;
mod database;
mod jobs;
mod offsets;
mod replays;
mod rollbacks;
mod seeds;
mod versions;

/// One project in a database.
pub struct SqlRegistry<D> {
    pub(super) database: D,
    project: String,
}

impl<D: Database> SqlRegistry<D> {
    /// The schema is up to date.
    pub(super) fn new(database: D, project: &Name) -> SqlRegistry<D> {
        SqlRegistry { database, project: project.to_string() }
    }

    fn project(&self) -> &str {
        &self.project
    }

    /// One of our own spellings, read back.
    fn read<T>(&self, what: &str, text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
        parse(text).ok_or_else(|| Error::Damaged {
            place: self.database.place().to_owned(),
            detail: format!("`{text}` is not a {what}"),
        })
    }

    async fn write_revision(&self, transaction: &mut dyn Transaction, revision: &Revision) -> Result<(), Error> {
        let number = revision.number as i64;
        let header = cells![self.project(), number, revision.applied_at.micros(), revision.applied_by.as_str()];
        transaction
            .run("INSERT INTO revision (project, number, applied_at, applied_by) VALUES ($1, $2, $3, $4)", header)
            .await?;
        for (position, file) in (0_i64..).zip(&revision.files) {
            let file = cells![self.project(), number, position, file.path.as_str(), file.text.as_str()];
            transaction
                .run(
                    "INSERT INTO revision_file (project, revision, position, path, text) VALUES ($1, $2, $3, $4, $5)",
                    file,
                )
                .await?;
        }
        Ok(())
    }

    /// What was applied or is served has changed, or who may call: [`Registry::changes`] moves.
    async fn count_change(&self, transaction: &mut dyn Transaction) -> Result<(), Error> {
        let counted = "INSERT INTO change (project, count) VALUES ($1, 1)
             ON CONFLICT (project) DO UPDATE SET count = change.count + 1";
        transaction.run(counted, cells![self.project()]).await.map(drop)
    }
}

const NEWEST: &str = "SELECT coalesce(max(number), 0) FROM revision WHERE project = $1";

/// The number in the one row of an aggregate.
fn number(rows: &[Row]) -> u64 {
    rows[0].integer(0) as u64
}

#[async_trait]
impl<D: Database> Registry for SqlRegistry<D> {
    async fn shards(&self, shards: u16) -> Result<u16, Error> {
        let mut transaction = self.database.begin(self.project()).await?;
        let created = "INSERT INTO project (name, shards) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        transaction.run(created, cells![self.project(), i64::from(shards)]).await?;
        let stored = transaction.run("SELECT shards FROM project WHERE name = $1", cells![self.project()]).await?;
        transaction.commit().await?;
        let stored = number(&stored);
        let shards = |text: &str| text.parse().ok().filter(|shards| *shards > 0);
        self.read("number of shards", &stored.to_string(), shards)
    }

    async fn changes(&self) -> Result<u64, Error> {
        let counted = "SELECT coalesce(max(count), 0) FROM change WHERE project = $1";
        Ok(number(&self.database.run(counted, cells![self.project()]).await?))
    }

    async fn revision(&self) -> Result<Option<Revision>, Error> {
        // Revisions are never changed, so two statements see what one transaction would.
        let newest = number(&self.database.run(NEWEST, cells![self.project()]).await?);
        self.revision_numbered(newest).await
    }

    async fn revision_numbered(&self, number: u64) -> Result<Option<Revision>, Error> {
        let wanted = cells![self.project(), number as i64];
        let header = "SELECT applied_at, applied_by FROM revision WHERE project = $1 AND number = $2";
        let header = self.database.run(header, wanted.clone()).await?;
        let Some(header) = header.first() else { return Ok(None) };
        let files = "SELECT path, text FROM revision_file WHERE project = $1 AND revision = $2 ORDER BY position";
        let files = self.database.run(files, wanted).await?;
        let file = |row: &Row| SourceText { path: row.text(0).to_owned(), text: row.text(1).to_owned() };
        Ok(Some(Revision {
            number,
            files: files.iter().map(file).collect(),
            applied_at: EventTime::unchecked(header.integer(0)),
            applied_by: header.text(1).to_owned(),
        }))
    }

    async fn apply(
        &self,
        expected: u64,
        files: &[SourceText],
        by: &str,
        versions: &[(Name, Fingerprint)],
        now: EventTime,
    ) -> Result<u64, Error> {
        let mut transaction = self.database.begin(self.project()).await?;
        let found = number(&transaction.run(NEWEST, cells![self.project()]).await?);
        if found != expected {
            return Err(Error::Conflict { expected, found });
        }
        let number = expected + 1;
        let revision = Revision { number, files: files.to_vec(), applied_at: now, applied_by: by.to_owned() };
        self.write_revision(&mut *transaction, &revision).await?;
        self.write_versions(&mut *transaction, number, versions, now).await?;
        self.count_change(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(number)
    }

    async fn versions(&self) -> Result<Vec<ViewVersion>, Error> {
        self.select_versions().await
    }

    async fn promote(&self, fingerprint: Fingerprint, generation: u32, now: EventTime) -> Result<(), Error> {
        self.promote_generation(fingerprint, generation, now).await
    }

    async fn versions_of(&self, view: &Name) -> Result<Vec<ViewVersion>, Error> {
        self.select_versions_of(view).await
    }

    async fn roll_back(&self, view: &Name, by: &str, now: EventTime) -> Result<Option<Rollback>, Error> {
        self.exchange_versions(view, by, now).await
    }

    async fn rollbacks(&self, limit: usize) -> Result<Vec<Rollback>, Error> {
        self.select_rollbacks(limit).await
    }

    async fn drop_retained(&self, before: EventTime, now: EventTime) -> Result<Vec<(Name, Fingerprint)>, Error> {
        self.drop_retained_versions(before, now).await
    }

    async fn rebuild(&self, versions: &[Fingerprint], now: EventTime) -> Result<(), Error> {
        self.begin_generations(versions, now).await
    }

    async fn replace_rows(
        &self,
        fingerprint: Fingerprint,
        generation: u32,
        seed: &Seed,
        now: EventTime,
    ) -> Result<bool, Error> {
        self.replace_generation(fingerprint, generation, seed, now).await
    }

    async fn stop_rebuild(&self, versions: &[Fingerprint], now: EventTime) -> Result<(), Error> {
        self.give_up_generations(versions, now).await
    }

    async fn seeds(&self) -> Result<Seeds, Error> {
        self.select_seeds().await
    }

    async fn begin_seed(
        &self,
        fingerprint: Fingerprint,
        generation: u32,
        cut: &Offsets,
    ) -> Result<Option<Offsets>, Error> {
        self.write_cut(fingerprint, generation, cut).await
    }

    async fn end_seed(&self, fingerprint: Fingerprint, generation: u32) -> Result<(), Error> {
        self.write_seeded(fingerprint, generation).await
    }

    async fn retired(&self, before: EventTime) -> Result<Vec<(Fingerprint, u32)>, Error> {
        self.select_retired(before).await
    }

    async fn rows_removed(&self, fingerprint: Fingerprint, generation: u32) -> Result<(), Error> {
        self.delete_copy(fingerprint, generation).await
    }

    async fn put_replay(&self, replay: &Replay) -> Result<(), Error> {
        self.write_replay(replay).await
    }

    async fn replay(&self, source: &Name, decoding: Fingerprint) -> Result<Option<Replay>, Error> {
        self.select_replay(source, decoding).await
    }

    async fn put_job(&self, job: &Job) -> Result<bool, Error> {
        self.write_job(job).await
    }

    async fn begin_job(&self, job: &Job) -> Result<bool, Error> {
        self.write_begun_job(job).await
    }

    async fn job(&self, id: &str) -> Result<Option<Job>, Error> {
        self.select_job(id).await
    }

    async fn jobs(&self, filter: JobFilter<'_>, limit: usize) -> Result<Vec<Job>, Error> {
        self.select_jobs(filter, limit).await
    }

    async fn ask_to_stop(&self, job: &str) -> Result<(), Error> {
        self.note_stop(job).await
    }

    async fn renew(&self, owner: &str, lease: Micros, progress: &[(String, f64)]) -> Result<Vec<String>, Error> {
        self.renew_lease(owner, lease, progress).await
    }

    async fn began(&self, job: &str, owner: &str) -> Result<(), Error> {
        self.note_begun(job, owner).await
    }

    async fn release(&self, owner: &str) -> Result<(), Error> {
        self.release_jobs(owner).await
    }

    async fn take_abandoned(&self, kind: &str, owner: &str) -> Result<Vec<Abandoned>, Error> {
        self.take_jobs_without_lease(kind, owner).await
    }

    async fn fail_abandoned(&self, error: &str, now: EventTime) -> Result<Vec<String>, Error> {
        self.fail_jobs_without_lease(error, now).await
    }

    async fn add_key(&self, key: &ApiKey) -> Result<(), Error> {
        self.insert_key(key).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, Error> {
        self.select_keys().await
    }

    async fn revoke_key(&self, id: &str, by: &str, now: EventTime) -> Result<Revocation, Error> {
        self.end_key(id, by, now).await
    }

    async fn begin_audit(&self, entry: &AuditEntry) -> Result<(), Error> {
        self.insert_audit(entry).await
    }

    async fn end_audit(&self, id: &str, outcome: &str) -> Result<(), Error> {
        self.update_audit(id, outcome).await
    }

    async fn audit(&self, limit: usize) -> Result<Vec<AuditEntry>, Error> {
        self.select_audit(limit).await
    }
}
