//! What an apply would change, with what each change costs and whom it breaks.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;

use crate::api::State;
use crate::api::blocking;
use crate::event_log;
use crate::kernel::definition::Source;
use crate::kernel::plan::{Change, Effect, Plan, ViewPlan, deprecated_uses, lost_features, state_cost};
use crate::offline::Archive;
use crate::registry::VersionState;
use crate::registry::catalogue::{Catalogue, Planned};

/// With more parts than this, lookups of a view read and merge more than they should.
const MANY_PARTS: u64 = 16;

/// What an apply would change, or has changed.
#[derive(Serialize, ToSchema)]
pub(in crate::api) struct Changes {
    /// Planned against, or made.
    pub revision: u64,
    pub changes: Vec<ChangeRow>,
    /// Changes of schemas that their rule forbids: while there is one, nothing can be applied.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<RefusedRow>,
    /// What is worth knowing, and stops nothing: deprecated features that a service uses, lookups that merge many parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize, ToSchema)]
pub(in crate::api) struct ChangeRow {
    /// `new`, `recomputed` (values change, a new version is built), `changed` (nothing is built anew), `described` (no
    /// effect on values) or `removed`.
    change: &'static str,
    kind: &'static str,
    name: String,
    detail: String,
    /// Whom it breaks: what is there now, and answers with an error or is gone afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    breaks: Option<String>,
    /// Of a view that is new or recomputed.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
}

/// What the rows of a view take.
#[derive(Serialize, ToSchema)]
struct Cost {
    /// About, of an entity that is busy all the time.
    state_bytes_per_entity: i64,
    tiles_per_entity: i64,
    /// Whether values are kept besides (first, last, distinct and the like).
    keeps_values: bool,
    /// Records of archive and log that are read before it is served; null: the log does not say.
    events_to_read: Option<u64>,
    /// Parts of a row that a lookup merges: more than one where the message key is not the entity.
    parts_per_read: Option<u64>,
}

/// A change that the compatibility rule of a schema forbids.
#[derive(Serialize, ToSchema)]
struct RefusedRow {
    source: String,
    detail: String,
    /// The way out.
    help: String,
}

impl Changes {
    /// As it is before anything is applied.
    pub async fn of(state: &State, catalogue: &Catalogue, planned: &Planned) -> Changes {
        let (old, new) = (&catalogue.plan, &planned.plan);
        let topics = Topics::of(state, &planned.diff.changes, new).await;
        let refused = planned.diff.refusals.iter().map(|refusal| RefusedRow {
            source: refusal.source.to_string(),
            detail: refusal.what.clone(),
            help: refusal.help.clone(),
        });
        let row = |change: &Change| ChangeRow {
            breaks: broken(old, new, change),
            cost: built(new, change).map(|view| topics.cost(catalogue, view)),
            ..described(change)
        };
        Changes {
            revision: catalogue.revision,
            changes: planned.diff.changes.iter().map(row).collect(),
            refused: refused.collect(),
            warnings: warnings(catalogue, new, &topics),
        }
    }
}

fn described(change: &Change) -> ChangeRow {
    let (word, detail) = match &change.effect {
        Effect::New => ("new", String::new()),
        Effect::Recomputed { reasons, .. } => ("recomputed", reasons.join(", ")),
        Effect::Changed { reasons } | Effect::Altered { reasons } => ("changed", reasons.join(", ")),
        Effect::Described => ("described", "no effect on values".to_owned()),
        Effect::Removed => ("removed", String::new()),
    };
    ChangeRow { change: word, kind: change.kind, name: change.name.to_string(), detail, breaks: None, cost: None }
}

fn broken(old: &Plan, new: &Plan, change: &Change) -> Option<String> {
    match (&change.effect, change.kind) {
        (Effect::Removed, "feature_view") => Some("its values are removed, and lookups of them fail".to_owned()),
        (Effect::Removed, "feature_service") => Some("calls that name it fail".to_owned()),
        (Effect::Removed, "source") => Some("its events are no longer taken".to_owned()),
        _ => {
            let lost: Vec<String> = lost_features(old, new, change).iter().map(|it| format!("`{it}`")).collect();
            (!lost.is_empty()).then(|| format!("lookups of {} fail", lost.join(", ")))
        }
    }
}

/// The view that a change has built.
fn built<'p>(new: &'p Plan, change: &Change) -> Option<&'p Arc<ViewPlan>> {
    let is_built = matches!(change.effect, Effect::New | Effect::Recomputed { .. });
    new.view(change.name.as_str()).filter(|_| is_built && change.kind == "feature_view")
}

fn warnings(catalogue: &Catalogue, new: &Plan, topics: &Topics) -> Vec<String> {
    let deprecated = deprecated_uses(new).into_iter().map(|it| it.to_string());
    let parts = new.views.iter().filter_map(|view| many_parts(view, topics.parts(view)?));
    let rolled_back = new.views.iter().filter_map(|view| rolled_back(catalogue, view));
    deprecated.chain(parts).chain(rolled_back).collect()
}

fn many_parts(view: &ViewPlan, parts: u64) -> Option<String> {
    let (view, source) = (&view.name, &view.source.name);
    (parts > MANY_PARTS).then(|| {
        format!(
            "a lookup of feature view `{view}` merges {parts} parts, for the message key of source `{source}` is not \
             its entity: key the topic by it, or give it fewer partitions"
        )
    })
}

/// Where the view is still defined as what was rolled back.
fn rolled_back(catalogue: &Catalogue, view: &ViewPlan) -> Option<String> {
    let name = view.name.as_str();
    let declared = catalogue.rolled_back(name).filter(|it| it.view.fingerprint == view.fingerprint)?;
    let (declared, served) = (declared.view.fingerprint, catalogue.serving(name)?.fingerprint);
    Some(format!(
        "feature view `{name}` was rolled back from version {declared} to {served}, and stays so: `freshet rollback \
         {name}` serves what is defined here again"
    ))
}

/// What the log and the archive hold of the topics of views that are built.
struct Topics {
    /// Records, and partitions.
    known: BTreeMap<String, Option<(u64, u64)>>,
}

impl Topics {
    async fn of(state: &State, changes: &[Change], new: &Plan) -> Topics {
        let mut known = BTreeMap::new();
        for view in changes.iter().filter_map(|change| built(new, change)) {
            if !known.contains_key(&view.source.topic) {
                known.insert(view.source.topic.clone(), held(state, &view.source).await);
            }
        }
        Topics { known }
    }

    fn cost(&self, catalogue: &Catalogue, view: &ViewPlan) -> Cost {
        let state = state_cost(view);
        let is_built = catalogue
            .versions
            .iter()
            .any(|version| version.view.fingerprint == view.fingerprint && version.state != VersionState::Building);
        let records = self.known.get(&view.source.topic).copied().flatten().map(|(records, _)| records);
        Cost {
            state_bytes_per_entity: state.bytes,
            tiles_per_entity: state.tiles,
            keeps_values: state.keeps_values,
            events_to_read: if is_built || !view.online { Some(0) } else { records },
            parts_per_read: self.parts(view),
        }
    }

    /// One where each entity's events are in one partition.
    fn parts(&self, view: &ViewPlan) -> Option<u64> {
        let is_keyed = view.source.key.is_some_and(|key| view.key_fields == [key]);
        let partitions = self.known.get(&view.source.topic).copied().flatten().map(|(_, partitions)| partitions);
        if is_keyed { Some(1) } else { partitions }
    }
}

/// `None` where the log is away.
async fn held(state: &State, source: &Arc<Source>) -> Option<(u64, u64)> {
    let bounds = match state.log.bounds(&source.topic).await {
        Ok(bounds) => bounds,
        Err(event_log::Error::UnknownTopic(_)) => return Some((0, u64::from(state.partitions))),
        Err(_) => return None,
    };
    let (archive, source) = (Archive::new(state.folder.clone()), source.clone());
    let count = move || {
        let of = |(partition, held): (u32, &Range<u64>)| {
            // Where the archive cannot be read, or is of another topic, what the log holds is what there is.
            let archived = archive.start(&source, partition).ok().flatten();
            held.end - archived.map_or(held.start, |start| start.min(held.start))
        };
        ((0..).zip(&bounds).map(of).sum(), bounds.len() as u64)
    };
    Some(blocking(count).await)
}
