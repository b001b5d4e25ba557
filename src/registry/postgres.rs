//! The registry in PostgreSQL: shared by any number of processes. `migrations/postgres/` is its schema, part of the
//! binary; processes that start at once wait for the one that brings it up to date.
//!
//! The URL is PostgreSQL's own: `postgres://user:password@host:port/database?sslmode=verify-full`. Tables go to the
//! first schema of the connection's search path (`options=-csearch_path%3Dfreshet`).

use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::postgres::{PgArguments, PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use sqlx::{Column, ConnectOptions, Connection, Postgres, Row as _, SqlSafeStr, TypeInfo, ValueRef};
use tokio::time::timeout;

use crate::kernel::name::Name;
use crate::registry::Error;
use crate::registry::sql::{Cell, Database, Row, SqlRegistry, Transaction};

/// Of one process: the registry is asked little.
const CONNECTIONS: u32 = 4;

/// How long a connection, or the answer to a statement, may take before the registry counts as away.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a process that starts waits for another one's migration.
const MIGRATION: Duration = Duration::from_secs(60);

pub type PostgresRegistry = SqlRegistry<PostgresDatabase>;

impl PostgresRegistry {
    /// Connects, and brings the schema up to date.
    pub async fn connect(url: &str, project: &Name) -> Result<PostgresRegistry, Error> {
        Ok(SqlRegistry::new(PostgresDatabase::connect(url).await?, project))
    }
}

pub struct PostgresDatabase {
    pool: PgPool,
    place: String,
}

impl PostgresDatabase {
    async fn connect(url: &str) -> Result<PostgresDatabase, Error> {
        let options = options_of(url)?;
        let place = place_of(&options);
        // A connection of its own: a pool tells only that it waited, and not what for.
        let connected = within(&place, PATIENCE, options.connect()).await?;
        migrate(&place, connected).await?;
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(PATIENCE);
        Ok(PostgresDatabase { pool: pool.connect_lazy_with(options), place })
    }
}

async fn migrate(place: &str, mut connection: PgConnection) -> Result<(), Error> {
    // It takes an advisory lock of the database while it works.
    let migrator = migrator();
    let migrated = timeout(MIGRATION, migrator.run(&mut connection)).await;
    let migrated = migrated.map_err(|_| {
        Error::Unavailable(format!("{place}: another process has been changing its schema for {MIGRATION:?}"))
    })?;
    migrated.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => error_of(place, error),
        error => Error::Damaged { place: place.to_owned(), detail: error.to_string() },
    })?;
    within(place, PATIENCE, connection.close()).await
}

#[async_trait]
impl Database for PostgresDatabase {
    fn place(&self) -> &str {
        &self.place
    }

    async fn run(&self, statement: &'static str, arguments: Vec<Cell>) -> Result<Vec<Row>, Error> {
        let rows = within(&self.place, PATIENCE, bound(statement, arguments).fetch_all(&self.pool)).await?;
        rows_of(&self.place, &rows)
    }

    async fn begin(&self, project: &str) -> Result<Box<dyn Transaction>, Error> {
        let mut begun = within(&self.place, PATIENCE, self.pool.begin()).await?;
        // Statements see what was committed before each of them, so after this one all that earlier holders did.
        let turn = sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended('freshet ' || $1, 0))");
        within(&self.place, PATIENCE, turn.bind(project.to_owned()).execute(&mut *begun)).await?;
        Ok(Box::new(PostgresTransaction { begun, place: self.place.clone() }))
    }
}

struct PostgresTransaction {
    begun: sqlx::Transaction<'static, Postgres>,
    place: String,
}

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn run(&mut self, statement: &'static str, arguments: Vec<Cell>) -> Result<Vec<Row>, Error> {
        let rows = bound(statement, arguments).fetch_all(&mut *self.begun);
        rows_of(&self.place, &within(&self.place, PATIENCE, rows).await?)
    }

    async fn now(&mut self) -> Result<i64, Error> {
        let now = sqlx::query_scalar("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)");
        within(&self.place, PATIENCE, now.fetch_one(&mut *self.begun)).await
    }

    async fn commit(self: Box<Self>) -> Result<(), Error> {
        within(&self.place, PATIENCE, self.begun.commit()).await
    }
}

fn bound(statement: &'static str, arguments: Vec<Cell>) -> sqlx::query::Query<'static, Postgres, PgArguments> {
    arguments.into_iter().fold(sqlx::query(statement), |query, cell| match cell {
        Cell::Integer(value) => query.bind(value),
        Cell::Real(value) => query.bind(value),
        Cell::Text(value) => query.bind(value),
    })
}

fn rows_of(place: &str, rows: &[PgRow]) -> Result<Vec<Row>, Error> {
    let cells = |row: &PgRow| (0..row.len()).map(|column| cell_of(row, column)).collect::<Result<_, _>>();
    rows.iter().map(|row| cells(row).map(Row)).collect::<Result<_, _>>().map_err(|error| error_of(place, error))
}

fn cell_of(row: &PgRow, column: usize) -> Result<Cell, sqlx::Error> {
    let value = row.try_get_raw(column)?;
    if value.is_null() {
        return Ok(Cell::Text(None));
    }
    match value.type_info().name() {
        "INT8" => row.try_get(column).map(Cell::Integer),
        "FLOAT8" => row.try_get(column).map(Cell::Real),
        "TEXT" => row.try_get(column).map(Cell::Text),
        other => Err(sqlx::Error::ColumnDecode {
            index: row.column(column).name().to_owned(),
            source: format!("the registry keeps no {other}").into(),
        }),
    }
}

fn migrator() -> Migrator {
    let files = [
        (1, "registry", include_str!("../../migrations/postgres/0001_registry.sql")),
        (2, "access", include_str!("../../migrations/postgres/0002_access.sql")),
        (3, "rollback", include_str!("../../migrations/postgres/0003_rollback.sql")),
        (4, "replays", include_str!("../../migrations/postgres/0004_replays.sql")),
        (5, "seeds", include_str!("../../migrations/postgres/0005_seeds.sql")),
        (6, "deaths", include_str!("../../migrations/postgres/0006_deaths.sql")),
    ];
    let migration = |(version, name, sql): (i64, &'static str, &'static str)| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(files.map(migration).into())
}

fn options_of(url: &str) -> Result<PgConnectOptions, Error> {
    // The client would take any scheme.
    let parsed = match url.split_once("://") {
        Some(("postgres" | "postgresql", _)) => PgConnectOptions::from_str(url).map_err(|error| error.to_string()),
        _ => Err("another scheme".to_owned()),
    };
    // The URL itself may hold a password.
    parsed.map_err(|wrong| Error::Refused {
        place: "the URL that `registry` gives".to_owned(),
        detail: format!("it is not one like `postgres://user:password@host:5432/database`: {wrong}"),
    })
}

/// Without the password.
fn place_of(options: &PgConnectOptions) -> String {
    let host = options.get_socket().map_or(options.get_host().to_owned(), |socket| socket.display().to_string());
    let database = options.get_database().unwrap_or(options.get_username());
    format!("postgres://{}@{host}:{}/{database}", options.get_username(), options.get_port())
}

/// The outcome of a call in the registry's own words; one that takes too long is given up.
async fn within<T>(
    place: &str,
    patience: Duration,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Error> {
    match timeout(patience, call).await {
        Ok(outcome) => outcome.map_err(|error| error_of(place, error)),
        Err(_) => Err(Error::Unavailable(format!("{place} does not answer within {patience:?}"))),
    }
}

fn error_of(place: &str, error: sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(|error| error.code()).unwrap_or_default().into_owned();
    let refused = |mend: &str| Error::Refused { place: place.to_owned(), detail: format!("{error}; {mend}") };
    match code.as_str() {
        "28P01" | "28000" => refused("mend the user or the password in `registry`, or pg_hba.conf"),
        "3D000" => refused("create the database, or name another one in `registry`"),
        "42501" => refused("the user needs the right to create and use tables there"),
        "3F000" => refused("create the schema that its search path names"),
        "" => connection_error(place, &error),
        // Classes: connection lost, rolled back (serialisation, deadlock), out of resources, shut down, system error.
        "25006" => Error::Unavailable(format!("{place}: it is a standby that nothing can be written to: {error}")),
        code if ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) => {
            Error::Unavailable(format!("{place}: {error}"))
        }
        _ => Error::Damaged { place: place.to_owned(), detail: error.to_string() },
    }
}

/// Of an error that PostgreSQL did not send.
fn connection_error(place: &str, error: &sqlx::Error) -> Error {
    match error {
        // Where the connection ends instead of the first answer, the client reads a zero and takes it for one.
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
            Error::Unavailable(format!("{place}: {error}; is it running, and is the address right?"))
        }
        sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => Error::Refused {
            place: place.to_owned(),
            detail: format!("{error}; mend `sslmode` and the certificates in the URL"),
        },
        _ => Error::Damaged { place: place.to_owned(), detail: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::registry::{Registry, conformance};

    fn database_url() -> String {
        std::env::var("DATABASE_URL").expect("DATABASE_URL is missing: run ./test, or tests/servers cargo test ...")
    }

    /// The URL of a schema of its own, which does not exist yet.
    fn own_schema(url: &str) -> (String, String) {
        let schema = format!("freshet_test_{:016x}", RandomState::new().hash_one(url));
        let separator = if url.contains('?') { '&' } else { '?' };
        (format!("{url}{separator}options=-csearch_path%3D{schema}"), schema)
    }

    async fn with_schema(test: impl AsyncFn(&str)) {
        let (url, schema) = own_schema(&database_url());
        let mut connection = PgConnection::connect(&database_url()).await.expect("PostgreSQL answers");
        let change = |statement: String| sqlx::raw_sql(sqlx::AssertSqlSafe(statement));
        change(format!("CREATE SCHEMA {schema}")).execute(&mut connection).await.expect("created");
        test(&url).await;
        change(format!("DROP SCHEMA {schema} CASCADE")).execute(&mut connection).await.expect("dropped");
    }

    async fn refusal(url: &str) -> Error {
        PostgresRegistry::connect(url, &"shop".parse().expect("a name")).await.err().expect("refused")
    }

    #[tokio::test]
    async fn the_postgres_registry_conforms() {
        with_schema(async |url| {
            let open = async |project: &str| {
                let project = project.parse().expect("a name");
                Box::new(PostgresRegistry::connect(url, &project).await.expect("connects")) as Box<dyn Registry>
            };
            conformance::conforms(open).await;
        })
        .await;
    }

    #[tokio::test]
    async fn processes_that_start_at_once_agree_on_one_schema() {
        with_schema(async |url| {
            let project = "shop".parse().expect("a name");
            let starts = (0..6).map(|_| PostgresRegistry::connect(url, &project));
            for started in futures::future::join_all(starts).await {
                assert_eq!(started.expect("connects").shards(8).await.expect("answers"), 8);
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_registry_of_a_later_release_is_left_alone() {
        with_schema(async |url| {
            let registry = PostgresRegistry::connect(url, &"shop".parse().expect("a name")).await.expect("connects");
            let later = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                         VALUES (99, 'later', TRUE, '', 0)";
            registry.database.run(later, Vec::new()).await.expect("written");
            assert!(matches!(refusal(url).await, Error::Damaged { .. }));
        })
        .await;
    }

    #[tokio::test]
    async fn a_server_that_ends_the_connection_instead_of_answering_may_come_back() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let hangs_up = async {
            let (mut client, _) = listener.accept().await.expect("a connection");
            // Asked first, for else the system may report a reset instead of an end.
            client.read_u64().await.expect("the client asks for TLS");
        };
        let url = format!("postgres://ada@127.0.0.1:{port}/shop");
        let (away, ()) = tokio::join!(refusal(&url), hangs_up);
        assert!(away.is_transient() && away.to_string().contains("is it running"), "{away}");
    }

    #[tokio::test]
    async fn what_cannot_be_connected_to_says_what_to_mend_and_hides_the_password() {
        let away = refusal("postgres://ada:secret@127.0.0.1:1/shop").await;
        assert!(away.is_transient(), "{away}");
        let text = away.to_string();
        assert!(text.contains("postgres://ada@127.0.0.1:1/shop") && text.contains("is it running"), "{text}");
        assert!(!text.contains("secret"), "{text}");
        let missing = database_url().replace("/postgres", "/no_such_database");
        let text = refusal(&missing).await.to_string();
        assert!(text.contains("create the database, or name another one"), "{text}");
        let nobody = database_url().replace("freshet@", "nobody_of_that_name@");
        let refused = refusal(&nobody).await;
        assert!(matches!(&refused, Error::Refused { .. }) && !refused.is_transient(), "{refused}");
        assert!(refusal("mysql://here").await.to_string().contains("it is not one like `postgres://"));
        let (no_schema, _) = own_schema(&database_url());
        assert!(matches!(refusal(&no_schema).await, Error::Refused { .. }), "a schema that does not exist");
    }
}
