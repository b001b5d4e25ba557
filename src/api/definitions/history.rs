//! Who applied what and when, and who rolled back what.

use serde::Serialize;
use utoipa::ToSchema;

use crate::kernel::plan::{Plan, diff};
use crate::kernel::time::EventTime;
use crate::registry::catalogue::compile;
use crate::registry::{Error, Registry, Revision, Rollback};

/// What was applied and rolled back.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct History {
    /// The newest first.
    entries: Vec<Entry>,
}

#[derive(Serialize, ToSchema)]
struct Entry {
    at: String,
    by: String,
    /// That an apply made; null: a rollback.
    revision: Option<u64>,
    /// A line for each change; null: this release does not read the revision any more, or the one before it.
    #[schema(example = json!(["+ feature view `activity`: new"]))]
    changes: Option<Vec<String>>,
}

/// The newest `limit` entries.
pub(super) async fn of(registry: &dyn Registry, limit: usize) -> Result<History, Error> {
    let mut entries = applied(registry, limit).await?;
    entries.extend(registry.rollbacks(limit).await?.into_iter().map(rolled_back));
    entries.sort_by(|(one, _), (other, _)| other.cmp(one));
    entries.truncate(limit);
    Ok(History { entries: entries.into_iter().map(|(_, entry)| entry).collect() })
}

type Dated = (EventTime, Entry);

async fn applied(registry: &dyn Registry, limit: usize) -> Result<Vec<Dated>, Error> {
    let mut entries = Vec::new();
    let mut next = registry.revision().await?;
    while let Some(revision) = next.take().filter(|_| entries.len() < limit) {
        let before = registry.revision_numbered(revision.number - 1).await?;
        let entry = Entry {
            at: revision.applied_at.to_string(),
            by: revision.applied_by.clone(),
            revision: Some(revision.number),
            changes: changes(before.as_ref(), &revision),
        };
        entries.push((revision.applied_at, entry));
        next = before;
    }
    Ok(entries)
}

fn changes(before: Option<&Revision>, revision: &Revision) -> Option<Vec<String>> {
    let plan = |revision: &Revision| compile(&revision.files, revision.number).ok();
    let before = before.map_or(Some(Plan::default()), plan)?;
    Some(diff(&before, &plan(revision)?).changes.iter().map(ToString::to_string).collect())
}

fn rolled_back(done: Rollback) -> Dated {
    let line = format!("< feature view `{}`: rolled back ({} → {})", done.view, done.from, done.to);
    (done.at, Entry { at: done.at.to_string(), by: done.by, revision: None, changes: Some(vec![line]) })
}
