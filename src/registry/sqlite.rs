//! The registry in an SQLite file: for one machine. `migrations/sqlite/` is its schema, part of the binary.
//!
//! Writers take their turns at the start of a transaction (`BEGIN IMMEDIATE`), so a call reads what it then changes.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{SqlSafeStr, Sqlite, SqliteExecutor, Transaction};

use crate::kernel::definition::SourceText;
use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;
use crate::registry::{Error, Job, JobState, Registry, Revision, VersionState, ViewVersion};

/// How long a call waits for another process's write before it is [`Error::Unavailable`].
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

pub struct SqliteRegistry {
    pool: SqlitePool,
    place: String,
    project: String,
}

impl SqliteRegistry {
    /// Opens or creates the file, and brings its schema up to date.
    pub async fn open(file: &Path, project: &Name) -> Result<SqliteRegistry, Error> {
        let place = file.display().to_string();
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await;
        let pool = pool.map_err(|error| error_of(&place, error))?;
        migrator().run(&pool).await.map_err(|error| match error {
            sqlx::migrate::MigrateError::Execute(error) => error_of(&place, error),
            error => Error::Damaged { place: place.clone(), detail: error.to_string() },
        })?;
        Ok(SqliteRegistry { pool, place, project: project.to_string() })
    }

    async fn begin(&self) -> Result<Transaction<'static, Sqlite>, Error> {
        self.told(self.pool.begin_with("BEGIN IMMEDIATE").await)
    }

    /// The outcome of a statement in the registry's own words.
    fn told<T>(&self, outcome: Result<T, sqlx::Error>) -> Result<T, Error> {
        outcome.map_err(|error| error_of(&self.place, error))
    }

    fn damaged(&self, detail: impl Into<String>) -> Error {
        Error::Damaged { place: self.place.clone(), detail: detail.into() }
    }

    /// One of our own spellings, read back.
    fn read<T>(&self, what: &str, text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Error> {
        parse(text).ok_or_else(|| self.damaged(format!("`{text}` is not a {what}")))
    }

    fn job_of(&self, row: JobRow) -> Result<Job, Error> {
        let (id, kind, state, progress, request, result, error, created_at, finished_at) = row;
        let json = |text: &str| self.read("JSON value", text, |text| serde_json::from_str(text).ok());
        Ok(Job {
            id,
            kind,
            state: self
                .read("job state", &state, |text| JOB_STATES.into_iter().find(|state| state.as_str() == text))?,
            progress,
            request: json(&request)?,
            result: result.as_deref().map(json).transpose()?,
            error,
            created_at: EventTime::unchecked(created_at),
            finished_at: finished_at.map(EventTime::unchecked),
        })
    }

    fn version_of(&self, row: VersionRow) -> Result<ViewVersion, Error> {
        let (fingerprint, view, state, since, revision, generation, rebuilding) = row;
        Ok(ViewVersion {
            view: self.read("name", &view, |text| text.parse().ok())?,
            fingerprint: self.fingerprint_of(&fingerprint)?,
            state: self.read("version state", &state, |text| {
                VERSION_STATES.into_iter().find(|state| state.as_str() == text)
            })?,
            since: EventTime::unchecked(since),
            revision: revision as u64,
            generation,
            rebuilding,
        })
    }

    fn fingerprint_of(&self, text: &str) -> Result<Fingerprint, Error> {
        self.read("fingerprint", text, |text| u64::from_str_radix(text, 16).ok().map(Fingerprint))
    }

    async fn newest(&self, executor: impl SqliteExecutor<'_>) -> Result<u64, Error> {
        let newest = sqlx::query_scalar::<_, i64>("SELECT coalesce(max(number), 0) FROM revision WHERE project = ?")
            .bind(&self.project)
            .fetch_one(executor)
            .await;
        Ok(self.told(newest)? as u64)
    }

    async fn write_revision(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
        revision: &Revision,
    ) -> Result<(), Error> {
        let written = sqlx::query("INSERT INTO revision (project, number, applied_at, applied_by) VALUES (?, ?, ?, ?)")
            .bind(&self.project)
            .bind(revision.number as i64)
            .bind(revision.applied_at.micros())
            .bind(&revision.applied_by)
            .execute(&mut **transaction)
            .await;
        self.told(written)?;
        for (position, file) in revision.files.iter().enumerate() {
            let written = sqlx::query(
                "INSERT INTO revision_file (project, revision, position, path, text) VALUES (?, ?, ?, ?, ?)",
            )
            .bind(&self.project)
            .bind(revision.number as i64)
            .bind(position as i64)
            .bind(&file.path)
            .bind(&file.text)
            .execute(&mut **transaction)
            .await;
            self.told(written)?;
        }
        Ok(())
    }

    /// Names each version in `revision`; what is not dropped and not named after that has been left behind.
    async fn write_versions(
        &self,
        transaction: &mut Transaction<'static, Sqlite>,
        revision: u64,
        versions: &[(Name, Fingerprint)],
        now: EventTime,
    ) -> Result<(), Error> {
        for (view, fingerprint) in versions {
            let written = sqlx::query(
                "INSERT INTO view_version (project, fingerprint, view, state, since, revision)
                 VALUES (?, ?, ?, 'building', ?, ?)
                 ON CONFLICT (project, fingerprint) DO UPDATE SET
                     since = CASE state WHEN 'dropped' THEN excluded.since ELSE since END,
                     generation = CASE state WHEN 'dropped' THEN begun ELSE generation END,
                     begun = CASE state WHEN 'dropped' THEN begun + 1 ELSE begun END,
                     state = CASE state WHEN 'dropped' THEN 'building' ELSE state END,
                     revision = excluded.revision",
            )
            .bind(&self.project)
            .bind(fingerprint.to_string())
            .bind(view.as_str())
            .bind(now.micros())
            .bind(revision as i64)
            .execute(&mut **transaction)
            .await;
            self.told(written)?;
        }
        let dropped = sqlx::query(
            "UPDATE view_version SET state = 'dropped', since = ?1, rows_since = ?1, rebuilding = NULL
             WHERE project = ?2 AND revision <> ?3 AND state <> 'dropped' AND (state = 'building' OR view NOT IN
                 (SELECT view FROM view_version WHERE project = ?2 AND revision = ?3))",
        )
        .bind(now.micros())
        .bind(&self.project)
        .bind(revision as i64)
        .execute(&mut **transaction)
        .await;
        self.told(dropped)?;
        self.write_copies(transaction).await
    }

    /// Notes the copies of rows that are begun by now.
    async fn write_copies(&self, transaction: &mut Transaction<'static, Sqlite>) -> Result<(), Error> {
        let written = sqlx::query(
            "INSERT INTO row_copy (project, fingerprint, generation)
             SELECT project, fingerprint, coalesce(rebuilding, generation) FROM view_version
             WHERE project = ? AND state <> 'dropped' ON CONFLICT DO NOTHING",
        )
        .bind(&self.project)
        .execute(&mut **transaction)
        .await;
        self.told(written).map(drop)
    }
}

#[async_trait]
impl Registry for SqliteRegistry {
    async fn shards(&self, shards: u16) -> Result<u16, Error> {
        let mut transaction = self.begin().await?;
        let created = sqlx::query("INSERT INTO project (name, shards) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(&self.project)
            .bind(shards)
            .execute(&mut *transaction)
            .await;
        self.told(created)?;
        let stored = sqlx::query_scalar::<_, u16>("SELECT shards FROM project WHERE name = ?")
            .bind(&self.project)
            .fetch_one(&mut *transaction)
            .await;
        let stored = self.told(stored)?;
        self.told(transaction.commit().await)?;
        Ok(stored)
    }

    async fn revision(&self) -> Result<Option<Revision>, Error> {
        // Revisions are never changed, so two statements see what one transaction would.
        self.revision_numbered(self.newest(&self.pool).await?).await
    }

    async fn revision_numbered(&self, number: u64) -> Result<Option<Revision>, Error> {
        let header = sqlx::query_as::<_, (i64, String)>(
            "SELECT applied_at, applied_by FROM revision WHERE project = ? AND number = ?",
        )
        .bind(&self.project)
        .bind(number as i64)
        .fetch_optional(&self.pool)
        .await;
        let Some((applied_at, applied_by)) = self.told(header)? else { return Ok(None) };
        let files = sqlx::query_as::<_, (String, String)>(
            "SELECT path, text FROM revision_file WHERE project = ? AND revision = ? ORDER BY position",
        )
        .bind(&self.project)
        .bind(number as i64)
        .fetch_all(&self.pool)
        .await;
        let files = self.told(files)?.into_iter().map(|(path, text)| SourceText { path, text }).collect();
        Ok(Some(Revision { number, files, applied_at: EventTime::unchecked(applied_at), applied_by }))
    }

    async fn apply(
        &self,
        expected: u64,
        files: &[SourceText],
        by: &str,
        versions: &[(Name, Fingerprint)],
        now: EventTime,
    ) -> Result<u64, Error> {
        let mut transaction = self.begin().await?;
        let found = self.newest(&mut *transaction).await?;
        if found != expected {
            return Err(Error::Conflict { expected, found });
        }
        let number = expected + 1;
        let revision = Revision { number, files: files.to_vec(), applied_at: now, applied_by: by.to_owned() };
        self.write_revision(&mut transaction, &revision).await?;
        self.write_versions(&mut transaction, number, versions, now).await?;
        self.told(transaction.commit().await)?;
        Ok(number)
    }

    async fn versions(&self) -> Result<Vec<ViewVersion>, Error> {
        let rows = sqlx::query_as::<_, VersionRow>(
            "SELECT fingerprint, view, state, since, revision, generation, rebuilding FROM view_version
             WHERE project = ? AND state <> 'dropped' ORDER BY view, since, fingerprint",
        )
        .bind(&self.project)
        .fetch_all(&self.pool)
        .await;
        self.told(rows)?.into_iter().map(|row| self.version_of(row)).collect()
    }

    async fn promote(&self, fingerprint: Fingerprint, generation: u32, now: EventTime) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        let replaced = [
            // The live version whose place a Building one takes.
            "UPDATE view_version SET state = 'dropped', since = ?1, rows_since = ?1, rebuilding = NULL
             WHERE project = ?2 AND state = 'live' AND view = (SELECT view FROM view_version
                 WHERE project = ?2 AND fingerprint = ?3 AND generation = ?4 AND state = 'building')",
            "UPDATE view_version SET state = 'live', since = ?1
             WHERE project = ?2 AND fingerprint = ?3 AND generation = ?4 AND state = 'building'",
            "UPDATE view_version SET generation = ?4, rebuilding = NULL, rows_since = ?1
             WHERE project = ?2 AND fingerprint = ?3 AND rebuilding = ?4 AND state = 'live'",
        ];
        for statement in replaced {
            let promoted = sqlx::query(statement)
                .bind(now.micros())
                .bind(&self.project)
                .bind(fingerprint.to_string())
                .bind(generation)
                .execute(&mut *transaction)
                .await;
            self.told(promoted)?;
        }
        self.told(transaction.commit().await)
    }

    async fn rebuild(&self, versions: &[Fingerprint], now: EventTime) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for version in versions {
            let begun = sqlx::query(
                "UPDATE view_version SET
                     generation = CASE state WHEN 'building' THEN begun ELSE generation END,
                     rebuilding = CASE state WHEN 'live' THEN begun END,
                     begun = begun + 1, rows_since = ?1
                 WHERE project = ?2 AND fingerprint = ?3 AND state <> 'dropped'",
            )
            .bind(now.micros())
            .bind(&self.project)
            .bind(version.to_string())
            .execute(&mut *transaction)
            .await;
            self.told(begun)?;
        }
        self.write_copies(&mut transaction).await?;
        self.told(transaction.commit().await)
    }

    async fn stop_rebuild(&self, versions: &[Fingerprint], now: EventTime) -> Result<(), Error> {
        let mut transaction = self.begin().await?;
        for version in versions {
            let stopped = sqlx::query(
                "UPDATE view_version SET rebuilding = NULL, rows_since = ?1
                 WHERE project = ?2 AND fingerprint = ?3 AND rebuilding IS NOT NULL",
            )
            .bind(now.micros())
            .bind(&self.project)
            .bind(version.to_string())
            .execute(&mut *transaction)
            .await;
            self.told(stopped)?;
        }
        self.told(transaction.commit().await)
    }

    async fn retired(&self, before: EventTime) -> Result<Vec<(Fingerprint, u32)>, Error> {
        let rows = sqlx::query_as::<_, (String, u32)>(
            "SELECT it.fingerprint, it.generation FROM row_copy it
             JOIN view_version of ON of.project = it.project AND of.fingerprint = it.fingerprint
             WHERE it.project = ? AND of.rows_since < ? AND (of.state = 'dropped' OR
                 (it.generation <> of.generation AND it.generation IS DISTINCT FROM of.rebuilding))
             ORDER BY it.fingerprint, it.generation",
        )
        .bind(&self.project)
        .bind(before.micros())
        .fetch_all(&self.pool)
        .await;
        let rows = self.told(rows)?.into_iter();
        rows.map(|(fingerprint, generation)| Ok((self.fingerprint_of(&fingerprint)?, generation))).collect()
    }

    async fn rows_removed(&self, fingerprint: Fingerprint, generation: u32) -> Result<(), Error> {
        let removed = sqlx::query("DELETE FROM row_copy WHERE project = ? AND fingerprint = ? AND generation = ?")
            .bind(&self.project)
            .bind(fingerprint.to_string())
            .bind(generation)
            .execute(&self.pool)
            .await;
        self.told(removed).map(drop)
    }

    async fn put_job(&self, job: &Job) -> Result<(), Error> {
        let written = sqlx::query(
            "INSERT OR REPLACE INTO job
                 (project, id, kind, state, progress, request, result, error, created_at, finished_at)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&self.project)
        .bind(&job.id)
        .bind(&job.kind)
        .bind(job.state.as_str())
        .bind(job.progress)
        .bind(job.request.to_string())
        .bind(job.result.as_ref().map(serde_json::Value::to_string))
        .bind(&job.error)
        .bind(job.created_at.micros())
        .bind(job.finished_at.map(EventTime::micros))
        .execute(&self.pool)
        .await;
        self.told(written).map(drop)
    }

    async fn job(&self, id: &str) -> Result<Option<Job>, Error> {
        let row = sqlx::query_as::<_, JobRow>(
            "SELECT id, kind, state, progress, request, result, error, created_at, finished_at
             FROM job WHERE project = ? AND id = ?",
        )
        .bind(&self.project)
        .bind(id)
        .fetch_optional(&self.pool)
        .await;
        self.told(row)?.map(|row| self.job_of(row)).transpose()
    }

    async fn jobs(&self, kind: Option<&str>, limit: usize) -> Result<Vec<Job>, Error> {
        let rows = sqlx::query_as::<_, JobRow>(
            "SELECT id, kind, state, progress, request, result, error, created_at, finished_at
             FROM job WHERE project = ?1 AND (?2 IS NULL OR kind = ?2)
             ORDER BY created_at DESC, id DESC LIMIT ?3",
        )
        .bind(&self.project)
        .bind(kind)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&self.pool)
        .await;
        self.told(rows)?.into_iter().map(|row| self.job_of(row)).collect()
    }
}

const VERSION_STATES: [VersionState; 3] = [VersionState::Building, VersionState::Live, VersionState::Dropped];
const JOB_STATES: [JobState; 4] = [JobState::Running, JobState::Done, JobState::Failed, JobState::Cancelled];

/// fingerprint, view, state, since, revision, generation, rebuilding
type VersionRow = (String, String, String, i64, i64, u32, Option<u32>);

/// id, kind, state, progress, request, result, error, created_at, finished_at
type JobRow = (String, String, String, f64, String, Option<String>, Option<String>, i64, Option<i64>);

fn migrator() -> Migrator {
    let scripts = [
        ("registry", include_str!("../../migrations/sqlite/0001_registry.sql").into_sql_str()),
        ("generations", include_str!("../../migrations/sqlite/0002_generations.sql").into_sql_str()),
    ];
    let migrations = (1..)
        .zip(scripts)
        .map(|(number, (name, script))| Migration::new(number, name.into(), MigrationType::Simple, script, false));
    Migrator::with_migrations(migrations.collect())
}

/// SQLite's primary result codes for what may pass by itself: busy, locked, readonly, I/O, full, cannot open.
const PASSING: [i32; 6] = [5, 6, 8, 10, 13, 14];

fn error_of(place: &str, error: sqlx::Error) -> Error {
    let code = match &error {
        sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<i32>().ok()),
        _ => None,
    };
    let passing = match code {
        Some(code) => PASSING.contains(&(code & 0xff)),
        None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed),
    };
    match passing {
        true => Error::Unavailable(format!("{place}: {error}")),
        false => Error::Damaged { place: place.to_owned(), detail: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::conformance;

    #[tokio::test]
    async fn the_sqlite_registry_conforms() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("registry.db");
        let open = async |project: &str| {
            let project = project.parse().expect("a name");
            Box::new(SqliteRegistry::open(&file, &project).await.expect("opens")) as Box<dyn Registry>
        };
        conformance::conforms(open).await;
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_damaged_and_not_worth_a_retry() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("registry.db");
        std::fs::write(&file, "this is no database, and it is longer than the header of one".repeat(20))
            .expect("written");
        let refused = SqliteRegistry::open(&file, &"shop".parse().expect("a name")).await.err().expect("refused");
        assert!(matches!(&refused, Error::Damaged { place, .. } if place.ends_with("registry.db")), "{refused}");
        assert!(!refused.is_transient());
    }

    #[tokio::test]
    async fn a_registry_of_a_later_release_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, project) = (folder.path().join("registry.db"), "shop".parse().expect("a name"));
        let registry = SqliteRegistry::open(&file, &project).await.expect("opens");
        let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                     VALUES (99, 'later', TRUE, x'00', 0)";
        sqlx::query(later).execute(&registry.pool).await.expect("written");
        let refused = SqliteRegistry::open(&file, &project).await.err().expect("refused");
        assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
    }
}
