//! Generations that are begun anew in place of such whose rows can never be whole: the store lost some of what was seeded, or
//! the archive cannot give them. What there is of their rows is not folded on: nobody knows what it lacks.

use crate::app::Error;
use crate::app::seed::Seeder;
use crate::backfill;
use crate::batch;
use crate::kernel::plan::ViewPlan;
use crate::registry::catalogue::Version;
use crate::registry::{Offsets, Seed};

/// So often the archive may fail to give rows that the log can give too: for good, or for a time.
const FAILURES: u32 = 5;
const PASSING_FAILURES: u32 = 12;

impl Seeder {
    /// Where the store lost seeded rows.
    pub(super) async fn mend(&self, version: &Version, cut: &Offsets) -> Result<(), Error> {
        let view = &version.view;
        if cut.is_empty() || self.online.is_complete(view.rows).await? || self.is_seeded(view, cut).await? {
            return Ok(());
        }
        if self.begin_anew(version, &Seed::Undecided).await? {
            tracing::warn!(view = %view.name, version = %view.fingerprint, "the online store lost its rows: building them anew");
        }
        Ok(())
    }

    /// Where the archive has failed often enough. The log alone has to have all that the cut is of: else there is nothing
    /// but to wait for whoever mends the archive.
    pub(super) async fn leave_to_stream(
        &self,
        version: &Version,
        cut: &Offsets,
        error: &backfill::Error,
        failures: u32,
    ) -> Result<(), Error> {
        let view = &version.view;
        if limit(error).is_none_or(|limit| failures < limit) || !self.log_has(view, cut).await? {
            return Ok(());
        }
        if self.begin_anew(version, &Seed::Done(Offsets::new())).await? {
            tracing::warn!(view = %view.name, version = %view.fingerprint, "the archive does not give its rows: folding them from the log");
        }
        Ok(())
    }

    /// Whether the log has all that the stream would read of these partitions without asking the archive.
    async fn log_has(&self, view: &ViewPlan, cut: &Offsets) -> Result<bool, Error> {
        let topic = &view.source.topic;
        let (all, own) = (self.log.bounds(topic).await?, self.event_log.bounds(topic).await?);
        let start = |bounds: &[std::ops::Range<u64>], partition: u32| bounds.get(partition as usize).map(|it| it.start);
        Ok(cut.keys().all(|partition| start(&own, *partition) == start(&all, *partition)))
    }

    /// Whether nobody else did.
    pub(super) async fn begin_anew(&self, version: &Version, seed: &Seed) -> Result<bool, Error> {
        let Version { view, generation, .. } = version;
        let begun = self.registry.replace_rows(view.fingerprint, *generation, seed, self.clock.now()).await?;
        self.catalogues.refresh(&*self.registry).await?;
        Ok(begun)
    }
}

/// `None`: the stream would fare no better.
fn limit(error: &backfill::Error) -> Option<u32> {
    match error {
        backfill::Error::Files(error) | backfill::Error::Batch(batch::Error::Files(error)) if error.is_transient() => {
            Some(PASSING_FAILURES)
        }
        backfill::Error::Files(_) | backfill::Error::Batch(_) => Some(FAILURES),
        _ => None,
    }
}
