//! How the rows of each generation begin.

use crate::kernel::plan::Fingerprint;
use crate::registry::sql::SqlRegistry;
use crate::registry::sql::database::{Database, Row, Transaction, cells};
use crate::registry::sql::offsets::{offsets_of, text_of};
use crate::registry::{Error, Offsets, Seed, Seeds};

impl<D: Database> SqlRegistry<D> {
    pub(super) async fn select_seeds(&self) -> Result<Seeds, Error> {
        let rows = "SELECT fingerprint, generation, cut, seeded FROM row_copy WHERE project = $1";
        let rows = self.database.run(rows, cells![self.project()]).await?;
        let seed = |row: &Row| Ok(((self.fingerprint_of(row.text(0))?, row.integer(1) as u32), self.seed_of(row)?));
        rows.iter().map(seed).collect()
    }

    pub(super) async fn write_cut(
        &self,
        fingerprint: Fingerprint,
        generation: u32,
        cut: &Offsets,
    ) -> Result<Option<Offsets>, Error> {
        let copy = cells![self.project(), fingerprint.to_string().as_str(), i64::from(generation)];
        let mut written = copy.clone();
        written.extend(cells![text_of(cut).as_str()]);
        let mut transaction = self.database.begin(self.project()).await?;
        let first = "UPDATE row_copy SET cut = $4
             WHERE project = $1 AND fingerprint = $2 AND generation = $3 AND cut IS NULL";
        transaction.run(first, written).await?;
        let stands = "SELECT cut FROM row_copy WHERE project = $1 AND fingerprint = $2 AND generation = $3";
        let stands = transaction.run(stands, copy).await?;
        self.count_change(&mut *transaction).await?;
        transaction.commit().await?;
        stands.first().map(|row| self.cut_of(row.text(0))).transpose()
    }

    pub(super) async fn write_seeded(&self, fingerprint: Fingerprint, generation: u32) -> Result<(), Error> {
        let seeded = "UPDATE row_copy SET seeded = 1
             WHERE project = $1 AND fingerprint = $2 AND generation = $3 AND cut IS NOT NULL";
        let mut transaction = self.database.begin(self.project()).await?;
        let copy = cells![self.project(), fingerprint.to_string().as_str(), i64::from(generation)];
        transaction.run(seeded, copy).await?;
        self.count_change(&mut *transaction).await?;
        transaction.commit().await
    }

    /// Notes a copy that is begun, and how its rows begin.
    pub(super) async fn write_copy(
        &self,
        transaction: &mut dyn Transaction,
        fingerprint: Fingerprint,
        generation: i64,
        seed: &Seed,
    ) -> Result<(), Error> {
        let (cut, seeded) = match seed {
            Seed::Undecided => (None, 0_i64),
            Seed::Begun(cut) => (Some(text_of(cut)), 0),
            Seed::Done(cut) => (Some(text_of(cut)), 1),
        };
        let written =
            "INSERT INTO row_copy (project, fingerprint, generation, cut, seeded) VALUES ($1, $2, $3, $4, $5)";
        let copy = cells![self.project(), fingerprint.to_string().as_str(), generation, cut.as_deref(), seeded];
        transaction.run(written, copy).await.map(drop)
    }

    /// From `fingerprint, generation, cut, seeded`.
    fn seed_of(&self, row: &Row) -> Result<Seed, Error> {
        let Some(cut) = row.text_or_null(2) else { return Ok(Seed::Undecided) };
        let cut = self.cut_of(cut)?;
        Ok(if row.integer(3) == 0 { Seed::Begun(cut) } else { Seed::Done(cut) })
    }

    fn cut_of(&self, text: &str) -> Result<Offsets, Error> {
        self.read("list of partitions and offsets", text, offsets_of)
    }
}
