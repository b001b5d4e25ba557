//! The servers that the tests are given, and the parts of them that one test has for itself.

use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

/// An address from the environment.
pub fn address(variable: &str) -> String {
    let missing = || panic!("{variable} is missing: run ./test, or tests/servers cargo test ...");
    std::env::var(variable).unwrap_or_else(|_| missing())
}

/// A name that no other test has, in this run or another: for projects, topics and schemas.
pub fn unique(prefix: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{:08x}_{number}", fastrand::u32(..))
}

/// The URL of a schema of PostgreSQL that is new.
pub async fn schema() -> String {
    let (url, name) = (address("DATABASE_URL"), unique("freshet"));
    let mut connection = PgConnection::connect(&url).await.expect("PostgreSQL answers");
    connection.execute(AssertSqlSafe(format!("CREATE SCHEMA {name}"))).await.expect("a schema");
    format!("{url}?options=-csearch_path%3D{name}")
}
