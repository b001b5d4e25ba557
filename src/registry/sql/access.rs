//! API keys, and the audit log.

use crate::kernel::name::Name;
use crate::kernel::time::EventTime;
use crate::registry::access::{ApiKey, AuditEntry, Digest, Scope};
use crate::registry::sql::SqlRegistry;
use crate::registry::sql::database::{Database, Row, cells};
use crate::registry::{Error, Revocation};

impl<D: Database> SqlRegistry<D> {
    pub(super) async fn insert_key(&self, key: &ApiKey) -> Result<(), Error> {
        let cells = cells![
            self.project(),
            key.id.as_str(),
            key.name.as_str(),
            key.digest.to_hex().as_str(),
            listed(key.scopes.iter().map(|scope| scope.as_str())).as_str(),
            listed(key.services.iter().map(Name::as_str)).as_str(),
            listed(key.sources.iter().map(Name::as_str)).as_str(),
            key.created_at.micros(),
            key.created_by.as_str(),
        ];
        let added = "INSERT INTO api_key
                 (project, id, name, digest, scopes, services, sources, created_at, created_by)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let mut transaction = self.database.begin(self.project()).await?;
        transaction.run(added, cells).await?;
        self.count_change(&mut *transaction).await?;
        transaction.commit().await
    }

    pub(super) async fn select_keys(&self) -> Result<Vec<ApiKey>, Error> {
        let rows = "SELECT id, name, digest, scopes, services, sources, created_at, created_by, revoked_at, revoked_by
             FROM api_key WHERE project = $1 ORDER BY created_at DESC, id DESC";
        let rows = self.database.run(rows, cells![self.project()]).await?;
        rows.iter().map(|row| self.key_of(row)).collect()
    }

    pub(super) async fn end_key(&self, id: &str, by: &str, now: EventTime) -> Result<Revocation, Error> {
        let revoked = "UPDATE api_key SET revoked_at = $1, revoked_by = $2
             WHERE project = $3 AND id = $4 AND revoked_at IS NULL RETURNING id";
        let mut transaction = self.database.begin(self.project()).await?;
        let revoked = transaction.run(revoked, cells![now.micros(), by, self.project(), id]).await?;
        if !revoked.is_empty() {
            self.count_change(&mut *transaction).await?;
            transaction.commit().await?;
            return Ok(Revocation::Done);
        }
        let known = "SELECT id FROM api_key WHERE project = $1 AND id = $2";
        let known = transaction.run(known, cells![self.project(), id]).await?;
        Ok(if known.is_empty() { Revocation::Unknown } else { Revocation::DoneBefore })
    }

    pub(super) async fn insert_audit(&self, entry: &AuditEntry) -> Result<(), Error> {
        let written = "INSERT INTO audit (project, id, at, who, call, outcome) VALUES ($1, $2, $3, $4, $5, $6)";
        let AuditEntry { id, at, by, call, outcome } = entry;
        let cells = cells![self.project(), id.as_str(), at.micros(), by.as_str(), call.as_str(), outcome.as_deref()];
        self.database.run(written, cells).await.map(drop)
    }

    pub(super) async fn update_audit(&self, id: &str, outcome: &str) -> Result<(), Error> {
        let ended = "UPDATE audit SET outcome = $1 WHERE project = $2 AND id = $3";
        self.database.run(ended, cells![outcome, self.project(), id]).await.map(drop)
    }

    pub(super) async fn select_audit(&self, limit: usize) -> Result<Vec<AuditEntry>, Error> {
        let rows = "SELECT id, at, who, call, outcome FROM audit WHERE project = $1 ORDER BY at DESC, id DESC LIMIT $2";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let entry = |row: &Row| AuditEntry {
            id: row.text(0).to_owned(),
            at: EventTime::unchecked(row.integer(1)),
            by: row.text(2).to_owned(),
            call: row.text(3).to_owned(),
            outcome: row.text_or_null(4).map(str::to_owned),
        };
        Ok(self.database.run(rows, cells![self.project(), limit]).await?.iter().map(entry).collect())
    }

    /// From `id, name, digest, scopes, services, sources, created_at, created_by, revoked_at, revoked_by`.
    fn key_of(&self, row: &Row) -> Result<ApiKey, Error> {
        let scope = |text: &str| Scope::ALL.into_iter().find(|scope| scope.as_str() == text);
        let name = |text: &str| text.parse::<Name>().ok();
        let revoked_by = row.text_or_null(9).unwrap_or_default().to_owned();
        Ok(ApiKey {
            id: row.text(0).to_owned(),
            name: row.text(1).to_owned(),
            digest: self.read("digest", row.text(2), Digest::from_hex)?,
            scopes: self.read("list of scopes", row.text(3), |text| parts(text, scope))?,
            services: self.read("list of names", row.text(4), |text| parts(text, name))?,
            sources: self.read("list of names", row.text(5), |text| parts(text, name))?,
            created_at: EventTime::unchecked(row.integer(6)),
            created_by: row.text(7).to_owned(),
            revoked: row.integer_or_null(8).map(|at| (EventTime::unchecked(at), revoked_by)),
        })
    }
}

fn listed<'a>(parts: impl Iterator<Item = &'a str>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

fn parts<T>(text: &str, part: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').filter(|it| !it.is_empty()).map(part).collect()
}
