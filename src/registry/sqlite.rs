//! The registry in an SQLite file: for one process. `migrations/sqlite/` is its schema, part of the binary.
//!
//! Writers take their turns at the start of a transaction (`BEGIN IMMEDIATE`), so a call reads what it then changes.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions};
use sqlx::sqlite::{SqliteRow, SqliteSynchronous};
use sqlx::{Column, Row as _, SqlSafeStr, Sqlite, TypeInfo, ValueRef};

use crate::kernel::name::Name;
use crate::registry::Error;
use crate::registry::sql::{Cell, Database, Row, SqlRegistry, Transaction};

/// How long a call waits for another's write before it is [`Error::Unavailable`].
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

pub type SqliteRegistry = SqlRegistry<SqliteDatabase>;

impl SqliteRegistry {
    /// Opens or creates the file, and brings its schema up to date. The file is one process's at a time: leases that
    /// an earlier one held end here.
    pub async fn open(file: &Path, project: &Name) -> Result<SqliteRegistry, Error> {
        let database = SqliteDatabase::open(file).await?;
        database.run("DELETE FROM lease WHERE project = $1", vec![Cell::from(project.as_str())]).await?;
        Ok(SqlRegistry::new(database, project))
    }
}

pub struct SqliteDatabase {
    pool: SqlitePool,
    place: String,
}

impl SqliteDatabase {
    async fn open(file: &Path) -> Result<SqliteDatabase, Error> {
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
            MigrateError::Execute(error) => error_of(&place, error),
            error => Error::Damaged { place: place.clone(), detail: error.to_string() },
        })?;
        Ok(SqliteDatabase { pool, place })
    }
}

#[async_trait]
impl Database for SqliteDatabase {
    fn place(&self) -> &str {
        &self.place
    }

    async fn run(&self, statement: &'static str, arguments: Vec<Cell>) -> Result<Vec<Row>, Error> {
        let rows = bound(statement, arguments).fetch_all(&self.pool).await;
        rows_of(&self.place, rows)
    }

    async fn begin(&self, _project: &str) -> Result<Box<dyn Transaction>, Error> {
        let begun = self.pool.begin_with("BEGIN IMMEDIATE").await.map_err(|error| error_of(&self.place, error))?;
        Ok(Box::new(SqliteTransaction { begun, place: self.place.clone() }))
    }
}

struct SqliteTransaction {
    begun: sqlx::Transaction<'static, Sqlite>,
    place: String,
}

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn run(&mut self, statement: &'static str, arguments: Vec<Cell>) -> Result<Vec<Row>, Error> {
        let rows = bound(statement, arguments).fetch_all(&mut *self.begun).await;
        rows_of(&self.place, rows)
    }

    async fn now(&mut self) -> Result<i64, Error> {
        let now = sqlx::query_scalar("SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)");
        now.fetch_one(&mut *self.begun).await.map_err(|error| error_of(&self.place, error))
    }

    async fn commit(self: Box<Self>) -> Result<(), Error> {
        self.begun.commit().await.map_err(|error| error_of(&self.place, error))
    }
}

fn bound(statement: &'static str, arguments: Vec<Cell>) -> sqlx::query::Query<'static, Sqlite, SqliteArguments> {
    arguments.into_iter().fold(sqlx::query(statement), |query, cell| match cell {
        Cell::Integer(value) => query.bind(value),
        Cell::Real(value) => query.bind(value),
        Cell::Text(value) => query.bind(value),
    })
}

fn rows_of(place: &str, rows: Result<Vec<SqliteRow>, sqlx::Error>) -> Result<Vec<Row>, Error> {
    let cells = |row: &SqliteRow| (0..row.len()).map(|column| cell_of(row, column)).collect::<Result<_, _>>();
    let rows = rows.and_then(|rows| rows.iter().map(|row| cells(row).map(Row)).collect());
    rows.map_err(|error| error_of(place, error))
}

fn cell_of(row: &SqliteRow, column: usize) -> Result<Cell, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(Cell::Text(None));
    }
    match value.type_info().name() {
        "INTEGER" => row.try_get(column).map(Cell::Integer),
        "REAL" => row.try_get(column).map(Cell::Real),
        "TEXT" => row.try_get(column).map(Cell::Text),
        other => Err(sqlx::Error::ColumnDecode {
            index: row.column(column).name().to_owned(),
            source: format!("the registry keeps no {other}").into(),
        }),
    }
}

fn migrator() -> Migrator {
    let files = [
        (1, "registry", include_str!("../../migrations/sqlite/0001_registry.sql")),
        (2, "generations", include_str!("../../migrations/sqlite/0002_generations.sql")),
        (3, "processes", include_str!("../../migrations/sqlite/0003_processes.sql")),
        (4, "access", include_str!("../../migrations/sqlite/0004_access.sql")),
        (5, "rollback", include_str!("../../migrations/sqlite/0005_rollback.sql")),
        (6, "replays", include_str!("../../migrations/sqlite/0006_replays.sql")),
        (7, "seeds", include_str!("../../migrations/sqlite/0007_seeds.sql")),
        (8, "deaths", include_str!("../../migrations/sqlite/0008_deaths.sql")),
    ];
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(files.map(migration).into())
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
    use crate::kernel::time::{EventTime, Micros};
    use crate::registry::{JobState, Registry, conformance};

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
    async fn jobs_of_the_process_that_had_the_file_before_are_left_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, project) = (folder.path().join("registry.db"), "shop".parse().expect("a name"));
        let now = EventTime::from_micros(0).expect("in range");
        let before = SqliteRegistry::open(&file, &project).await.expect("opens");
        before.renew("before", Micros::HOUR, &[]).await.expect("renewed");
        before.put_job(&conformance::running_job("a", "before")).await.expect("written");
        assert_eq!(before.fail_abandoned("", now).await.expect("answers"), Vec::<String>::new());
        drop(before);
        let after = SqliteRegistry::open(&file, &project).await.expect("opens");
        assert_eq!(after.fail_abandoned("gone", now).await.expect("answers"), ["a"]);
        let job = after.job("a").await.expect("answers").expect("known");
        assert_eq!((job.state, job.error.as_deref()), (JobState::Failed, Some("gone")));
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
        registry.database.run(later, Vec::new()).await.expect("written");
        let refused = SqliteRegistry::open(&file, &project).await.err().expect("refused");
        assert!(matches!(refused, Error::Damaged { .. }), "{refused}");
    }
}
