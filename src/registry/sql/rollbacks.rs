//! Versions that are retained: served again by a rollback, dropped when their time has passed.

use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;
use crate::registry::sql::SqlRegistry;
use crate::registry::sql::database::{Database, Row, Transaction, cells};
use crate::registry::{Error, Rollback};

impl<D: Database> SqlRegistry<D> {
    pub(super) async fn exchange_versions(
        &self,
        view: &Name,
        by: &str,
        now: EventTime,
    ) -> Result<Option<Rollback>, Error> {
        let mut transaction = self.database.begin(self.project()).await?;
        let live = self.in_state(&mut *transaction, view, "live").await?;
        let retained = self.in_state(&mut *transaction, view, "retained").await?;
        let (Some((from, since)), Some((to, _))) = (live, retained) else { return Ok(None) };
        let statements = [
            // `since` of what is served stays: by it the catalogue tells what was served before something was added.
            ("UPDATE view_version SET state = 'live', since = $1 WHERE project = $2 AND fingerprint = $3", since, to),
            (
                "UPDATE view_version SET state = 'retained', since = $1, rows_since = $1, rebuilding = NULL
                 WHERE project = $2 AND fingerprint = $3",
                now,
                from,
            ),
        ];
        for (statement, since, version) in statements {
            let cells = cells![since.micros(), self.project(), version.to_string().as_str()];
            transaction.run(statement, cells).await?;
        }
        let done = Rollback { view: view.clone(), from, to, at: now, by: by.to_owned() };
        self.write_rollback(&mut *transaction, &done).await?;
        self.count_change(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(Some(done))
    }

    pub(super) async fn select_rollbacks(&self, limit: usize) -> Result<Vec<Rollback>, Error> {
        let rows = "SELECT view, from_version, to_version, at, who FROM rollback
             WHERE project = $1 ORDER BY at DESC LIMIT $2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.database.run(rows, cells![self.project(), limit]).await?;
        let rollback = |row: &Row| {
            Ok(Rollback {
                view: self.name_of(row.text(0))?,
                from: self.fingerprint_of(row.text(1))?,
                to: self.fingerprint_of(row.text(2))?,
                at: EventTime::unchecked(row.integer(3)),
                by: row.text(4).to_owned(),
            })
        };
        rows.iter().map(rollback).collect()
    }

    pub(super) async fn drop_retained_versions(
        &self,
        before: EventTime,
        now: EventTime,
    ) -> Result<Vec<(Name, Fingerprint)>, Error> {
        let dropped = "UPDATE view_version SET state = 'dropped', since = $1, rows_since = $1
             WHERE project = $2 AND state = 'retained' AND since < $3
                 AND revision <> (SELECT max(number) FROM revision WHERE project = $2)
             RETURNING view, fingerprint";
        let mut transaction = self.database.begin(self.project()).await?;
        let rows = transaction.run(dropped, cells![now.micros(), self.project(), before.micros()]).await?;
        if !rows.is_empty() {
            self.count_change(&mut *transaction).await?;
            transaction.commit().await?;
        }
        rows.iter().map(|row| Ok((self.name_of(row.text(0))?, self.fingerprint_of(row.text(1))?))).collect()
    }

    /// The version of a view in a state of which it has one at most, and since when.
    async fn in_state(
        &self,
        transaction: &mut dyn Transaction,
        view: &Name,
        state: &str,
    ) -> Result<Option<(Fingerprint, EventTime)>, Error> {
        let found = "SELECT fingerprint, since FROM view_version WHERE project = $1 AND view = $2 AND state = $3";
        let rows = transaction.run(found, cells![self.project(), view.as_str(), state]).await?;
        let version = |row: &Row| Ok((self.fingerprint_of(row.text(0))?, EventTime::unchecked(row.integer(1))));
        rows.first().map(version).transpose()
    }

    async fn write_rollback(&self, transaction: &mut dyn Transaction, done: &Rollback) -> Result<(), Error> {
        let written = "INSERT INTO rollback (project, view, at, who, from_version, to_version)
             VALUES ($1, $2, $3, $4, $5, $6)";
        let (from, to) = (done.from.to_string(), done.to.to_string());
        let cells =
            cells![self.project(), done.view.as_str(), done.at.micros(), done.by.as_str(), from.as_str(), to.as_str()];
        transaction.run(written, cells).await.map(drop)
    }
}
