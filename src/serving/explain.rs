//! One entity's row, and how its values came about: what a lookup would have answered, and what from.

use std::sync::Arc;

use crate::kernel::codec::Image;
use crate::kernel::engine::{Explanation, Read, Reading, explain};
use crate::kernel::key::{EntityKey, PartId, Shard};
use crate::kernel::plan::ViewPlan;
use crate::kernel::time::EventTime;
use crate::online::StoredRow;
use crate::registry::catalogue::Catalogue;
use crate::serving::resolve::{self, Resolved, ResolvedView};
use crate::serving::{Distinct, Error, Request, Serving, Unavailable};

pub struct Explained {
    pub as_of: EventTime,
    pub views: Vec<ExplainedView>,
}

/// Of one view that the request reads.
pub struct ExplainedView {
    /// The version that answers.
    pub plan: Arc<ViewPlan>,
    /// Its rows are copies of the same, of which a later one may be built beside the one that serves.
    pub generation: u32,
    /// `None`: a part of the key is null, or too long for any event's.
    pub row: Option<ExplainedRow>,
    /// A value for each of `features`, as a lookup at the as-of answers it.
    pub reading: Reading,
    pub features: Vec<Explanation>,
}

/// A row as it is stored.
pub struct ExplainedRow {
    pub entity: EntityKey,
    pub shard: Shard,
    /// Of each partition, the next offset that the row's shard has not taken in.
    pub offsets: Vec<(u32, u64)>,
    pub parts: Vec<ExplainedPart>,
}

/// What one origin contributed to the row.
pub struct ExplainedPart {
    pub part: PartId,
    pub head_bytes: usize,
    pub body_bytes: usize,
}

impl Serving {
    /// Of a request of one row, at the instant of its own.
    pub async fn explain(&self, catalogue: &Catalogue, request: &Request) -> Result<Explained, Error> {
        let Resolved { views, .. } = resolve::resolve(catalogue, request)?;
        let mut stored = self.store.read(&Distinct::of(&views).keys).await.into_iter();
        let as_of = self.clock.now();
        let mut explained = Vec::with_capacity(views.len());
        for view in views {
            if !view.is_served {
                return Err(Unavailable::Rebuilding(view.plan.name.clone()).into());
            }
            let row = |entity: EntityKey| {
                let stored = stored.next().expect("a store answers each key");
                self.whole(&view.plan, &entity, stored).map(|row| (entity, row))
            };
            let row = view.keys.first().cloned().flatten().map(row).transpose()?;
            explained.push(self.explain_view(catalogue, &view, row, as_of)?);
        }
        Ok(Explained { as_of, views: explained })
    }

    fn explain_view(
        &self,
        catalogue: &Catalogue,
        view: &ResolvedView,
        row: Option<(EntityKey, StoredRow)>,
        as_of: EventTime,
    ) -> Result<ExplainedView, Unavailable> {
        let plan = &view.plan;
        let parts: &[(PartId, Image)] = row.as_ref().map_or(&[][..], |(_, row)| &row.parts[..]);
        let damaged = |error| {
            let (entity, _) = row.as_ref().expect("what is damaged is stored");
            self.damaged(plan, entity, error)
        };
        let read = Read::of(plan, view.features.iter().copied(), as_of);
        Ok(ExplainedView {
            generation: catalogue.versions.iter().find(|it| it.view.rows == plan.rows).map_or(0, |it| it.generation),
            reading: read.images(parts.iter().map(|(_, image)| image)).map_err(damaged)?,
            features: explain(plan, parts, &view.features, as_of).map_err(damaged)?,
            row: row.map(|(entity, row)| ExplainedRow::of(entity, row, self.store.shards())),
            plan: plan.clone(),
        })
    }
}

impl ExplainedRow {
    fn of(entity: EntityKey, row: StoredRow, shards: u16) -> ExplainedRow {
        let part = |(part, image): &(PartId, Image)| ExplainedPart {
            part: *part,
            head_bytes: image.head.len(),
            body_bytes: image.body.len(),
        };
        let shard = entity.shard(shards);
        ExplainedRow { entity, shard, offsets: row.offsets, parts: row.parts.iter().map(part).collect() }
    }
}
