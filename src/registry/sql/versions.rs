//! Versions of views, and the generations of their rows.

use crate::kernel::name::Name;
use crate::kernel::plan::Fingerprint;
use crate::kernel::time::EventTime;
use crate::registry::sql::SqlRegistry;
use crate::registry::sql::database::{Cell, Database, Row, Transaction, cells};
use crate::registry::{Error, Seed, VersionState, ViewVersion};

const STATES: [VersionState; 4] =
    [VersionState::Building, VersionState::Live, VersionState::Retained, VersionState::Dropped];

impl<D: Database> SqlRegistry<D> {
    pub(super) async fn select_versions(&self) -> Result<Vec<ViewVersion>, Error> {
        let rows = "SELECT fingerprint, view, state, since, revision, generation, rebuilding FROM view_version
             WHERE project = $1 AND state <> 'dropped' ORDER BY view, since, fingerprint";
        let rows = self.database.run(rows, cells![self.project()]).await?;
        rows.iter().map(|row| self.version_of(row)).collect()
    }

    pub(super) async fn select_versions_of(&self, view: &Name) -> Result<Vec<ViewVersion>, Error> {
        let rows = "SELECT fingerprint, view, state, since, revision, generation, rebuilding FROM view_version
             WHERE project = $1 AND view = $2 ORDER BY since DESC, fingerprint";
        let rows = self.database.run(rows, cells![self.project(), view.as_str()]).await?;
        rows.iter().map(|row| self.version_of(row)).collect()
    }

    /// Names each version in `revision`; what is not dropped and not named after that has been left behind.
    pub(super) async fn write_versions(
        &self,
        transaction: &mut dyn Transaction,
        revision: u64,
        versions: &[(Name, Fingerprint)],
        now: EventTime,
    ) -> Result<(), Error> {
        let revision = revision as i64;
        let since = self.after_live(transaction, now).await?;
        for (view, fingerprint) in versions {
            let version =
                cells![self.project(), fingerprint.to_string().as_str(), view.as_str(), since.micros(), revision];
            transaction
                .run(
                    "INSERT INTO view_version (project, fingerprint, view, state, since, revision)
                     VALUES ($1, $2, $3, 'building', $4, $5)
                     ON CONFLICT (project, fingerprint) DO UPDATE SET
                         since = CASE WHEN view_version.state = 'dropped' OR (view_version.state = 'retained'
                             AND view_version.revision < excluded.revision - 1)
                             THEN excluded.since ELSE view_version.since END,
                         generation = CASE view_version.state WHEN 'dropped' THEN view_version.begun
                             ELSE view_version.generation END,
                         begun = CASE view_version.state WHEN 'dropped' THEN view_version.begun + 1
                             ELSE view_version.begun END,
                         state = CASE WHEN view_version.state = 'dropped' OR (view_version.state = 'retained'
                             AND view_version.revision < excluded.revision - 1)
                             THEN 'building' ELSE view_version.state END,
                         revision = excluded.revision",
                    version,
                )
                .await?;
        }
        let left_behind = "UPDATE view_version SET state = 'dropped', since = $1, rows_since = $1, rebuilding = NULL
             WHERE project = $2 AND revision <> $3 AND state <> 'dropped' AND (state = 'building' OR view NOT IN
                 (SELECT view FROM view_version WHERE project = $2 AND revision = $3))";
        transaction.run(left_behind, cells![now.micros(), self.project(), revision]).await?;
        self.write_copies(transaction).await
    }

    /// Now, and later than each version became live that is so by now, whatever the clocks say of those who said so: a
    /// version that comes after them is built beside them.
    async fn after_live(&self, transaction: &mut dyn Transaction, now: EventTime) -> Result<EventTime, Error> {
        let next = "SELECT coalesce(max(since) + 1, $2) FROM view_version WHERE project = $1 AND state = 'live'";
        let next = transaction.run(next, cells![self.project(), now.micros()]).await?;
        Ok(now.max(EventTime::unchecked(next[0].integer(0))))
    }

    pub(super) async fn promote_generation(
        &self,
        fingerprint: Fingerprint,
        generation: u32,
        now: EventTime,
    ) -> Result<(), Error> {
        let statements = [
            // Of a Building version: the one that was retained goes for the live one, whose place it takes.
            "UPDATE view_version SET state = CASE state WHEN 'live' THEN 'retained' ELSE 'dropped' END,
                 since = $1, rows_since = $1, rebuilding = NULL
             WHERE project = $2 AND state IN ('live', 'retained') AND view = (SELECT view FROM view_version
                 WHERE project = $2 AND fingerprint = $3 AND generation = $4 AND state = 'building')",
            "UPDATE view_version SET state = 'live', since = $1
             WHERE project = $2 AND fingerprint = $3 AND generation = $4 AND state = 'building'",
            "UPDATE view_version SET generation = $4, rebuilding = NULL, rows_since = $1
             WHERE project = $2 AND fingerprint = $3 AND rebuilding = $4 AND state = 'live'",
        ];
        let cells = self.about(fingerprint, generation, now);
        let mut transaction = self.database.begin(self.project()).await?;
        for statement in statements {
            transaction.run(statement, cells.clone()).await?;
        }
        self.count_change(&mut *transaction).await?;
        transaction.commit().await
    }

    pub(super) async fn begin_generations(&self, versions: &[Fingerprint], now: EventTime) -> Result<(), Error> {
        let begun = "UPDATE view_version SET
                 generation = CASE state WHEN 'live' THEN generation ELSE begun END,
                 rebuilding = CASE state WHEN 'live' THEN begun END,
                 begun = begun + 1, rows_since = $1
             WHERE project = $2 AND fingerprint = $3 AND state <> 'dropped'";
        self.change_each(begun, versions, now).await
    }

    pub(super) async fn replace_generation(
        &self,
        fingerprint: Fingerprint,
        generation: u32,
        seed: &Seed,
        now: EventTime,
    ) -> Result<bool, Error> {
        let begun = "UPDATE view_version SET
                 generation = CASE state WHEN 'live' THEN generation ELSE begun END,
                 rebuilding = CASE state WHEN 'live' THEN begun END,
                 begun = begun + 1, rows_since = $1
             WHERE project = $2 AND fingerprint = $3 AND state <> 'dropped'
                 AND coalesce(rebuilding, generation) = $4
             RETURNING begun - 1";
        let mut transaction = self.database.begin(self.project()).await?;
        let begun = transaction.run(begun, self.about(fingerprint, generation, now)).await?;
        if let Some(row) = begun.first() {
            self.write_copy(&mut *transaction, fingerprint, row.integer(0), seed).await?;
            self.count_change(&mut *transaction).await?;
        }
        transaction.commit().await?;
        Ok(!begun.is_empty())
    }

    pub(super) async fn give_up_generations(&self, versions: &[Fingerprint], now: EventTime) -> Result<(), Error> {
        let stopped = "UPDATE view_version SET rebuilding = NULL, rows_since = $1
             WHERE project = $2 AND fingerprint = $3 AND rebuilding IS NOT NULL";
        self.change_each(stopped, versions, now).await
    }

    pub(super) async fn select_retired(&self, before: EventTime) -> Result<Vec<(Fingerprint, u32)>, Error> {
        let rows = "SELECT held.fingerprint, held.generation FROM row_copy held
             JOIN view_version used ON used.project = held.project AND used.fingerprint = held.fingerprint
             WHERE held.project = $1 AND used.rows_since < $2 AND (used.state = 'dropped' OR
                 (held.generation <> used.generation AND held.generation IS DISTINCT FROM used.rebuilding))
             ORDER BY held.fingerprint, held.generation";
        let rows = self.database.run(rows, cells![self.project(), before.micros()]).await?;
        rows.iter().map(|row| Ok((self.fingerprint_of(row.text(0))?, row.integer(1) as u32))).collect()
    }

    pub(super) async fn delete_copy(&self, fingerprint: Fingerprint, generation: u32) -> Result<(), Error> {
        let removed = "DELETE FROM row_copy WHERE project = $1 AND fingerprint = $2 AND generation = $3";
        let cells = cells![self.project(), fingerprint.to_string().as_str(), i64::from(generation)];
        self.database.run(removed, cells).await.map(drop)
    }

    /// A statement of now (`$1`), project and fingerprint for each version, as one change.
    async fn change_each(
        &self,
        statement: &'static str,
        versions: &[Fingerprint],
        now: EventTime,
    ) -> Result<(), Error> {
        let mut transaction = self.database.begin(self.project()).await?;
        for version in versions {
            let cells = cells![now.micros(), self.project(), version.to_string().as_str()];
            transaction.run(statement, cells).await?;
        }
        self.write_copies(&mut *transaction).await?;
        self.count_change(&mut *transaction).await?;
        transaction.commit().await
    }

    /// Notes the copies of rows that are begun by now.
    async fn write_copies(&self, transaction: &mut dyn Transaction) -> Result<(), Error> {
        let written = "INSERT INTO row_copy (project, fingerprint, generation)
             SELECT project, fingerprint, coalesce(rebuilding, generation) FROM view_version
             WHERE project = $1 AND state <> 'dropped' ON CONFLICT DO NOTHING";
        transaction.run(written, cells![self.project()]).await.map(drop)
    }

    fn about(&self, fingerprint: Fingerprint, generation: u32, now: EventTime) -> Vec<Cell> {
        cells![now.micros(), self.project(), fingerprint.to_string().as_str(), i64::from(generation)]
    }

    /// From `fingerprint, view, state, since, revision, generation, rebuilding`.
    fn version_of(&self, row: &Row) -> Result<ViewVersion, Error> {
        let state = |text: &str| STATES.into_iter().find(|state| state.as_str() == text);
        Ok(ViewVersion {
            view: self.name_of(row.text(1))?,
            fingerprint: self.fingerprint_of(row.text(0))?,
            state: self.read("version state", row.text(2), state)?,
            since: EventTime::unchecked(row.integer(3)),
            revision: row.integer(4) as u64,
            generation: row.integer(5) as u32,
            rebuilding: row.integer_or_null(6).map(|generation| generation as u32),
        })
    }

    pub(super) fn fingerprint_of(&self, text: &str) -> Result<Fingerprint, Error> {
        self.read("fingerprint", text, |text| u64::from_str_radix(text, 16).ok().map(Fingerprint))
    }

    pub(super) fn name_of(&self, text: &str) -> Result<Name, Error> {
        self.read("name", text, |text| text.parse().ok())
    }
}
